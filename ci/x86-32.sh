#!/usr/bin/env bash
# Runs the quick set as a 32-bit x86 program, where sizes and strides are half as wide. The standard library is compiled
# from source. Needs Debian, and to be root for its packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. ci/common.sh

[ "$(uname -m)" = x86_64 ] || skip X86-32 "it runs on x86-64 only."
packages gcc gcc-i686-linux-gnu libc6-dev libc6-dev-i386-cross ||
    skip X86-32 "its linker is a Debian package that could not be installed."
debian_rust rust-web-src || skip X86-32 "Debian's compiler could not be had."

quick_profile
export CARGO_TARGET_DIR=$ci_dir/x86-32
export CARGO_TARGET_I686_UNKNOWN_LINUX_GNU_LINKER=i686-linux-gnu-gcc
libraries=/usr/i686-linux-gnu/lib
runner="env -u LD_LIBRARY_PATH $libraries/ld-linux.so.2 --library-path $libraries"
export CARGO_TARGET_I686_UNKNOWN_LINUX_GNU_RUNNER=$runner
# Half of the address space is not there for threads' stacks.
export RUST_MIN_STACK=16777216
"$cargo" test --locked -Zbuild-std --package handgrad-quick --target i686-unknown-linux-gnu -- --nocapture
