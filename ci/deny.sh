#!/usr/bin/env bash
# Checks the licences, the sources and the duplicates of everything that is linked, by deny.toml. Installs cargo-deny
# into target/ci if it is missing (minutes). Known vulnerabilities are not looked up here: their list is no part of a
# registry.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. ci/common.sh

PATH=$ci_dir/tools/bin:$PATH
if ! cargo deny --version >/dev/null 2>&1; then
    # It runs for a second, so it is not worth optimising.
    export CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=64
    cargo install --locked --quiet --root "$ci_dir/tools" cargo-deny ||
        skip "CARGO DENY" "cargo-deny could not be installed."
fi
cargo deny --workspace --locked check licenses bans sources
