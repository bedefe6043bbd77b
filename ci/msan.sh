#!/usr/bin/env bash
# Runs the quick set under MemorySanitizer, with a standard library compiled for it: a decision that depends on memory
# that nobody has written is found. Needs a stable toolchain of rustup's and Debian, and to be root for its packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. ci/common.sh

[ "$(uname -m)" = x86_64 ] || skip MEMORYSANITIZER "it is set up for x86-64 only."
packages gcc libc6-dev || skip MEMORYSANITIZER "the linker is a Debian package that could not be installed."
instrumented memory msan || skip MEMORYSANITIZER "its compiler or its runtime could not be had."

unwritten='fn main() {
    let x = Box::<[u8; 4]>::new_uninit();
    std::process::exit(if unsafe { std::hint::black_box(x.as_ptr()).read() }[0] == 1 { 0 } else { 0 });
}'
planted "$unwritten" "use-of-uninitialized-value" "" "$RUSTC" -Zsanitizer=memory -Cunsafe-allow-abi-mismatch=sanitizer
"$cargo" test --locked -Zbuild-std --package handgrad-quick --target x86_64-unknown-linux-gnu -- --nocapture
