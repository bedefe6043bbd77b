#!/usr/bin/env bash
# Runs the quick set on an x86-64 without AVX, emulated by qemu: the choice of a tier must fall back, and nothing may
# use an instruction that such a CPU lacks. Needs Debian, and to be root for its packages, unless qemu is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. ci/common.sh

[ "$(uname -m)" = x86_64 ] || skip "NO-AVX" "it runs on x86-64 only."
command -v qemu-x86_64 >/dev/null || packages qemu-user ||
    skip "NO-AVX" "its emulator is a Debian package that could not be installed."

native_quick_set
log=$ci_dir/no-avx.log
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="qemu-x86_64 -cpu Nehalem"
cargo test --locked --package handgrad-quick --target x86_64-unknown-linux-gnu -- --nocapture 2>&1 | tee "$log"
if ! grep -q '^quick: .* ran on scalar, portable$' "$log" || grep -q 'ran on .*avx' "$log"; then
    echo "no-avx: the tiers were not those of a CPU without AVX" >&2
    exit 1
fi
