#!/usr/bin/env bash
# Checkpoints in PyTorch, and PyTorch's here: ci/pytorch.sh
# Installs PyTorch and safetensors from PyPI into target/pytorch, or uses the interpreter that HANDGRAD_PYTHON names.
# Where neither can be had it says so and succeeds, having compared nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

place=$PWD/target/pytorch
python=${HANDGRAD_PYTHON:-$place/venv/bin/python}

has_torch() {
    "$python" -c 'import torch, safetensors.torch' >/dev/null 2>&1
}

skip() {
    {
        printf '%s\n' '***************************************************************'
        printf '%s\n' '**  PYTORCH SKIPPED: nothing was compared with it.'
        printf '**  %s\n' "$1"
        printf '%s\n' '***************************************************************'
    } >&2
    exit 0
}

if [[ -n ${HANDGRAD_PYTHON:-} ]]; then
    has_torch || { echo "HANDGRAD_PYTHON=$HANDGRAD_PYTHON has no torch or no safetensors" >&2; exit 1; }
elif ! has_torch; then
    mkdir -p "$place"
    python3 -m venv "$place/venv" || skip 'It needs python3 with its venv module.'
    "$python" -m pip install --quiet --no-cache-dir torch safetensors numpy ||
        skip 'PyPI was not reached, or has no PyTorch for this machine.'
    has_torch || skip 'PyTorch was installed and cannot be imported.'
fi

files=$(mktemp -d)
trap 'rm -r "$files"' EXIT
export HANDGRAD_PYTORCH_DIR=$files
half() {
    cargo test --locked --quiet --test pytorch -- --ignored --exact --nocapture "$1"
}
half written_for_pytorch
"$python" tests/pytorch/load_state_dict.py "$files"
half read_from_pytorch
echo 'pytorch: both ways passed'
