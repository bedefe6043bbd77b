#!/usr/bin/env bash
# Fuzzes each target for a few seconds, from the committed corpora: ci/fuzz-briefly.sh [SECONDS]
# Where there is no nightly toolchain or no cargo-fuzz it says so and succeeds; `cargo test` replays the corpora anyway.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-10}
if ! cargo +nightly --version >/dev/null 2>&1 || ! cargo fuzz --version >/dev/null 2>&1; then
    {
        printf '%s\n' '*********************************************************************'
        printf '%s\n' '**  FUZZING SKIPPED: it needs a nightly toolchain and cargo-fuzz.  **'
        printf '%s\n' '*********************************************************************'
    } >&2
    exit 0
fi

mapfile -t targets < <(cargo +nightly fuzz list)
for target in "${targets[@]}"; do
    printf '\n== fuzz %s, %s s\n' "$target" "$seconds"
    # What is found here goes to a directory that is thrown away: the committed corpora change only on purpose.
    found=$(mktemp -d)
    cargo +nightly fuzz run "$target" "$found" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -max_len=1024 -timeout=60 -rss_limit_mb=4096
    rm -r "$found"
done
