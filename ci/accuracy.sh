#!/usr/bin/env bash
# Walks functions over all floats and writes what was found to docs/accuracy.md. Minutes a function, on all cores.
#   ci/accuracy.sh                 every function
#   ci/accuracy.sh silu gelu_erf   these; the lines of the others stay as they are
# Fails if a function is not as promised, after having written the table all the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

all=(exp log tanh sigmoid sin cos sqrt rsqrt reciprocal silu softplus elu gelu_erf gelu_tanh pow)
table=docs/accuracy.md
# How much of a walk the scalar tier sees: one block of 8,192 inputs of so many.
export HANDGRAD_ACCURACY_SCALAR=${HANDGRAD_ACCURACY_SCALAR:-1}

rows() { # FUNCTION: its lines of the table that there is
    [ ! -f "$table" ] || grep -E "^\| $1('| of)" "$table" || true
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name in "${all[@]}"; do
    rows "$name" >"$work/$name"
done

[ $# -gt 0 ] || set -- "${all[@]}"
cargo test --locked --release --test accuracy --no-run
failed=()
for name in "$@"; do
    test=all_floats::$name
    [ "$name" != pow ] || test=pow::$test
    echo "== $name"
    RUST_BACKTRACE=0 cargo test --locked --release --test accuracy -- --ignored --exact --nocapture "$test" \
        2>&1 | tee "$work/=output" || failed+=("$name")
    grep '^| ' "$work/=output" >"$work/$name" || { echo "$name: nothing was measured" >&2; exit 1; }
done

{
    cat <<TEXT
# Accuracy

How far the functions of one argument, their derivatives and \`pow\` are from exact ones, over all 2^32 floats, and \`pow\`
over 10^9 random pairs. Errors are in units of the last place (ULP), with the argument of the worst one and its bits.
\`f of x\` is a function and \`f' of x\` its derivative in what its kernel receives: the input \`x\`, or the output \`y\`,
over all outputs that the function can have. Where the terms of a formula can cancel, an error beyond the limit may be a
share of the magnitudes of its terms instead: so many times 2^-23, at most 1, and 2 without a fused multiply-add.

The exact results are in f64, within 2^-10 ULP (\`tests/accuracy/mpmath_table.txt\`). The tiers with a fused multiply-add
are compared bit by bit with the one that is measured; the column says over how many million inputs. The portable tier
without a fused multiply-add (SSE2) has a column of its own.

Made by \`ci/accuracy.sh\` on $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1) with $(rustc --version | cut -d ' ' -f 1-2).

| function | limit, ULP | largest error, ULP | the same bits on (million inputs) | portable without fused multiply-add |
|---|---|---|---|---|
TEXT
    missing=()
    for name in "${all[@]}"; do
        if [ -s "$work/$name" ]; then cat "$work/$name"; else missing+=("$name"); fi
    done
    [ ${#missing[@]} -eq 0 ] || printf '\nNot walked yet: %s.\n' "${missing[*]}" | tee /dev/stderr
} >"$work/table"
mv "$work/table" "$table"

if [ ${#failed[@]} -gt 0 ]; then
    echo "not as promised: ${failed[*]}" >&2
    exit 1
fi
