#!/usr/bin/env bash
# Instructions of kernels and whole steps against those in benches/counts.txt: ci/counts.sh [--bless]
# Prints what grew or shrank by more than 2 %, and fails if something grew. The numbers are of one compiler: with another
# one they are printed and not judged. With --bless they are written down. Without valgrind it says so and succeeds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stored=benches/counts.txt
if ! command -v valgrind >/dev/null; then
    {
        printf '%s\n' '******************************************************'
        printf '%s\n' '**  COUNTING SKIPPED: valgrind is not installed.    **'
        printf '%s\n' '******************************************************'
    } >&2
    exit 0
fi

compiler=$(rustc --version)
program=$(cargo bench --locked --bench counts --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*counts[^"]*\)".*/\1/p' | tail -n 1)
now=$(mktemp)
printf '# %s, AVX2 tier\n' "$compiler" >"$now"
for name in $("$program" --list); do
    # Only what happens inside `counted` is counted.
    count=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect='counts::counted*' \
        "$program" "$name" 2>&1 | sed -n 's/.*Collected : \([0-9]*\).*/\1/p')
    if [ -z "$count" ] || [ "$count" -eq 0 ]; then
        printf 'ci/counts.sh: nothing was counted of %s\n' "$name" >&2
        exit 1
    fi
    printf '%s %s\n' "$name" "$count" >>"$now"
done

if [ "${1:-}" = --bless ]; then
    mv "$now" "$stored"
    cat "$stored"
    exit 0
fi
awk -v compiler="# $compiler, AVX2 tier" '
    FNR == NR { if (/^#/) { same = ($0 == compiler); print "stored: " $0 } else stored[$1] = $2; next }
    /^#/ { print "now:    " $0; next }
    !($1 in stored) { printf "%-24s %10d  new\n", $1, $2; next }
    {
        share = $2 / stored[$1] - 1
        if (share > 0.02 || share < -0.02) printf "%-24s %10d  was %10d  %+.1f %%\n", $1, $2, stored[$1], 100 * share
        if (share > 0.02) grown++
        seen++
    }
    END {
        printf "counts: %d compared, %d grew by more than 2 %%\n", seen, grown
        if (!same) print "counts: another compiler, not judged"
        exit (same && grown > 0)
    }
' "$stored" "$now"
rm "$now"
