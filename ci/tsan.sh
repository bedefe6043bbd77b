#!/usr/bin/env bash
# Runs the part of the quick set that has threads under ThreadSanitizer, with a standard library compiled for it. Needs
# a stable toolchain of rustup's and Debian, and to be root for its packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. ci/common.sh

[ "$(uname -m)" = x86_64 ] || skip THREADSANITIZER "it is set up for x86-64 only."
packages gcc libc6-dev || skip THREADSANITIZER "the linker is a Debian package that could not be installed."
instrumented thread tsan || skip THREADSANITIZER "its compiler or its runtime could not be had."

race='fn main() {
    static mut SHARED: u64 = 0;
    let add = || for _ in 0..100_000 { unsafe { (&raw mut SHARED).write((&raw const SHARED).read() + 1) } };
    std::thread::scope(|s| { s.spawn(add); s.spawn(add); });
}'
planted "$race" "data race" "env TSAN_OPTIONS=halt_on_error=1" \
    "$RUSTC" -Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer
"$cargo" test --locked -Zbuild-std --package handgrad-quick --target x86_64-unknown-linux-gnu -- --nocapture steps
