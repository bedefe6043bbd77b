#!/usr/bin/env bash
# Fuzzes for hours, with AddressSanitizer, one target after the other:
#   fuzz/run-long.sh [HOURS] [TARGET...]     (2 hours each of all targets)
# New inputs go to target/corpus/TARGET, what fails to fuzz/artifacts/TARGET; a failure does not stop the others.
# Needs rustup's nightly toolchain, a C++ compiler, and `cargo install cargo-fuzz --locked`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

hours=${1:-2}
shift || true
if (($# > 0)); then
    targets=("$@")
else
    mapfile -t targets < <(cargo +nightly fuzz list)
fi

failed=()
for target in "${targets[@]}"; do
    printf '\n== %s, %s h\n' "$target" "$hours"
    mkdir -p "target/corpus/$target"
    cargo +nightly fuzz run "$target" "target/corpus/$target" "fuzz/corpus/$target" -- \
        -max_total_time=$((hours * 3600)) -max_len=1024 -timeout=60 -rss_limit_mb=4096 -print_final_stats=1 ||
        failed+=("$target")
done

if ((${#failed[@]} > 0)); then
    printf '\nfailed: %s; the inputs are in fuzz/artifacts\n' "${failed[*]}" >&2
    exit 1
fi
