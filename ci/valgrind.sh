#!/usr/bin/env bash
# Runs the quick set under valgrind, which sees reads of memory that nobody has written and accesses past an allocation.
# Valgrind 3.19 hides AVX-512: the tiers are scalar, portable and AVX2. Needs Debian, and to be root for its packages,
# unless valgrind is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. ci/common.sh

[ "$(uname -m)" = x86_64 ] || skip VALGRIND "it is set up for x86-64 only."
command -v valgrind >/dev/null || packages valgrind libc6-dbg ||
    skip VALGRIND "it is a Debian package that could not be installed."

runner="valgrind --quiet --error-exitcode=9 --leak-check=no"
planted "$past_the_end" "Invalid read" "$runner" rustc
native_quick_set
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$runner
cargo test --locked --package handgrad-quick --target x86_64-unknown-linux-gnu -- --nocapture --test-threads=1
