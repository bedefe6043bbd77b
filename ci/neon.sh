#!/usr/bin/env bash
# Runs the quick set on aarch64, where the portable tier is NEON and has a fused multiply-add, so that its bits are
# those of the scalar tier. The machine is emulated by qemu. Needs Debian, and to be root for its packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. ci/common.sh

target=aarch64-unknown-linux-gnu
packages qemu-user gcc gcc-aarch64-linux-gnu libc6-dev libc6-dev-arm64-cross ||
    skip NEON "its emulator and linker are Debian packages that could not be installed."
debian_rust || skip NEON "Debian's compiler could not be had."

# The standard library for the other architecture, from package lists of its own.
lists=$ci_dir/arm64
if [ ! -e "$rust/packages/arm64.done" ]; then
    mkdir -p "$lists"/{lists/partial,cache/archives/partial}
    arm64=(-oAPT::Architecture=arm64 -oAPT::Architectures=arm64)
    arm64+=(-oDir::State::Lists="$lists/lists" -oDir::Cache="$lists/cache")
    (cd "$lists" && apt-get "${arm64[@]}" update >&2 && apt-get "${arm64[@]}" download libstd-rust-web-dev >&2) ||
        skip NEON "the standard library for aarch64 could not be had."
    dpkg -x "$lists"/libstd-rust-web-dev_*_arm64.deb "$rust"
    touch "$rust/packages/arm64.done"
fi

quick_profile
export CARGO_TARGET_DIR=$ci_dir/neon
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="env -u LD_LIBRARY_PATH qemu-aarch64 -L /usr/aarch64-linux-gnu"
"$cargo" test --locked --package handgrad-quick --target "$target" -- --nocapture
