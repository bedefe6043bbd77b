#!/usr/bin/env bash
# Runs the quick set under AddressSanitizer: every operand has a buffer of its own, not an element too long, so an
# access past it is found. Needs a nightly toolchain.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. ci/common.sh

cargo +nightly --version >/dev/null 2>&1 || skip ADDRESSSANITIZER "it needs a nightly toolchain."

planted "$past_the_end" "heap-buffer-overflow" "" rustc +nightly -Zsanitizer=address
quick_profile -Zsanitizer=address
export CARGO_TARGET_DIR=$ci_dir/asan
cargo +nightly test --locked --package handgrad-quick --target "$(uname -m)-unknown-linux-gnu" -- --nocapture
