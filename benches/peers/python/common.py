"""What the peers in Python share: the cases, their data, the clock.

A peer is a program `PEER.py VARIANT CASE` that prints one line of JSON: the times of a step in microseconds, one for
each repeat, and what it computed first, which run.py compares with the same in f64.
"""

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

DATA = Path(os.environ["PEERS_DATA"])
THREADS = int(os.environ["PEERS_THREADS"])
SECONDS = float(os.environ["PEERS_SECONDS"])
REPEATS = int(os.environ["PEERS_REPEATS"])

# The notebook's network.
VOCAB, CONTEXT, EMBEDDING, BATCH = 27, 3, 10, 32
MINIBATCHES = 4096
EPS = 1e-5


@dataclass
class Case:
    """A network and how it is trained, or an operation."""

    name: str
    kind: str
    # Widths, from the features to the outputs.
    sizes: tuple = ()
    batch: int = 0
    # Batches of data, which the steps take in turn.
    batches: int = 1
    lr: float = 0.1
    # How many losses are compared.
    checked: int = 10
    # Rows and columns of an operation.
    shape: tuple = field(default=())


CASES = {
    case.name: case
    for case in [
        Case("makemore_h64", "makemore", (30, 64, 27), BATCH),
        Case("makemore_h200", "makemore", (30, 200, 27), BATCH),
        Case("mnist_b128", "relu", (784, 512, 512, 10), 128, batches=16, lr=0.01),
        Case("mnist_b1024", "relu", (784, 512, 512, 10), 1024, batches=4, lr=0.01),
        Case("tabular_b4096", "gelu", (256, 1024, 1024, 1024, 1), 4096, batches=2, lr=1e-3, checked=3),
        Case("tiny_b10000", "tanh", (4, 32, 16, 4), 10_000, lr=1e-3),
        Case("cross_entropy_1024x1000", "cross_entropy", shape=(1024, 1000)),
        Case("layer_norm_fwd_4096x1024", "layer_norm_fwd", shape=(4096, 1024)),
        Case("layer_norm_bwd_4096x1024", "layer_norm_bwd", shape=(4096, 1024)),
        Case("adamw_10m", "adamw", lr=1e-3, shape=(10_000_000,)),
    ]
}


def read(case, name, dtype=None):
    """An array of a case, as written by data.py."""
    about = json.loads((DATA / case.name / "arrays.json").read_text())[name]
    array = np.fromfile(DATA / case.name / name, about["dtype"]).reshape(about["shape"])
    return array if dtype is None else array.astype(dtype)


def params(case, dtype=np.float32):
    """The parameters that training begins with, in order; a weight is inputs x outputs."""
    names = json.loads((DATA / case.name / "arrays.json").read_text())
    return {name: read(case, name, dtype) for name in names if not name.startswith("_")}


def digest(*arrays):
    """Some elements of each array, and its mean square: what is compared of an operation."""
    values = []
    for array in arrays:
        flat = np.asarray(array).reshape(-1)
        values += [float(flat[i * 7919 % flat.size]) for i in range(16)]
        values.append(float(np.mean(np.square(flat.astype(np.float64)))))
    return values


def measure(step, sync=lambda: None, steps_in_a_call=1):
    """The microseconds of a step, one number for each repeat. `step` is called with the number of the step."""
    number = 0

    def run(calls):
        nonlocal number
        start = time.perf_counter()
        for _ in range(calls):
            step(number)
            number += 1
        sync()
        return time.perf_counter() - start

    run(1)
    once = max(run(2) / 2, 1e-7)
    if once < 1e-3:
        once = run(200) / 200
    calls = max(1, round(SECONDS / once))
    return [run(calls) / calls / steps_in_a_call * 1e6 for _ in range(REPEATS)]


def report(times, values, about=""):
    print(json.dumps({"us": times, "values": [float(x) for x in values], "about": about}), flush=True)
