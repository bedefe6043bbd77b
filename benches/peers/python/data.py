"""Writes the data of all cases for the peers: raw arrays, and `arrays.json` with their types and shapes.

Names that begin with `_` are data, the others are parameters. Beside them go the values that are expected, computed in
f64.
"""

import json
import sys

import numpy as np

from common import BATCH, CASES, CONTEXT, DATA, EMBEDDING, MINIBATCHES, VOCAB


def samples_of(names):
    """The notebook's samples: three characters of context and the one that follows."""
    contexts, labels = [], []
    for name in names:
        context = [0] * CONTEXT
        for character in [ord(c) - ord("a") + 1 for c in name] + [0]:
            contexts.append(context)
            labels.append(character)
            context = context[1:] + [character]
    return np.array(contexts, np.int32), np.array(labels, np.int32)


def makemore(case, rng, names):
    contexts, labels = samples_of(names)
    hidden = case.sizes[1]

    def normal(*shape, scale=1.0):
        return rng.standard_normal(shape, np.float32) * np.float32(scale)

    return {
        "_contexts": contexts,
        "_labels": labels,
        "_minibatches": rng.integers(0, len(labels), (MINIBATCHES, BATCH), np.int32),
        "c": normal(VOCAB, EMBEDDING),
        "w1": normal(CONTEXT * EMBEDDING, hidden, scale=5 / 3 / (CONTEXT * EMBEDDING) ** 0.5),
        "bngain": 1 + normal(hidden, scale=0.1),
        "bnbias": normal(hidden, scale=0.1),
        "w2": normal(hidden, VOCAB, scale=0.1),
        "b2": normal(VOCAB, scale=0.1),
    }


def network(case, rng):
    rows = case.batch * case.batches
    features, outputs = case.sizes[0], case.sizes[-1]
    x = rng.random((rows, features), np.float32)
    if case.kind == "relu":
        y = rng.integers(0, outputs, rows, np.int32)
    else:
        x = 2 * x - 1
        y = rng.standard_normal((rows, outputs), np.float32)
    arrays = {"_x": x, "_y": y}
    for layer, (inputs, width) in enumerate(zip(case.sizes, case.sizes[1:])):
        scale = np.float32((2 / inputs) ** 0.5)
        arrays[f"w{layer}"] = rng.standard_normal((inputs, width), np.float32) * scale
        arrays[f"b{layer}"] = rng.standard_normal(width, np.float32) * np.float32(0.1)
        if case.kind == "gelu" and width != outputs:
            arrays[f"g{layer}"] = 1 + rng.standard_normal(width, np.float32) * np.float32(0.1)
            arrays[f"s{layer}"] = rng.standard_normal(width, np.float32) * np.float32(0.1)
    return arrays


def operation(case, rng):
    x = rng.standard_normal(case.shape, np.float32)
    if case.kind == "cross_entropy":
        return {"_x": x, "_labels": rng.integers(0, case.shape[1], case.shape[0], np.int32)}
    if case.kind == "adamw":
        return {"_p": x, "_g": rng.standard_normal(case.shape, np.float32)}
    columns = case.shape[1]
    arrays = {"_x": x, "_g": 1 + rng.standard_normal(columns, np.float32) / 10}
    arrays["_s"] = rng.standard_normal(columns, np.float32) / 10
    if case.kind == "layer_norm_bwd":
        arrays["_dy"] = rng.standard_normal(case.shape, np.float32)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def main():
    names = open(sys.argv[1], encoding="ascii").read().split()
    for case in (CASES[name] for name in sys.argv[2:]):
        place = DATA / case.name
        if (place / "expected.json").exists():
            continue
        place.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(2147483647)
        if case.kind == "makemore":
            arrays = makemore(case, rng, names)
        else:
            arrays = network(case, rng) if case.sizes else operation(case, rng)
        about = {}
        for name, array in arrays.items():
            array = np.ascontiguousarray(array)
            array.tofile(place / name)
            about[name] = {"dtype": array.dtype.str, "shape": array.shape}
        (place / "arrays.json").write_text(json.dumps(about))
        from numpy_peer import expected

        (place / "expected.json").write_text(json.dumps(expected(case)))
        print(f"data: {case.name}", file=sys.stderr, flush=True)


main()
