"""The PyTorch half of ci/pytorch.sh: checkpoints of handgrad in the equivalent torch.nn modules, and the way back.

    load_state_dict.py DIRECTORY

For each network DIRECTORY/NAME holds `ours.safetensors` (weights), `ours_everything.safetensors` (with what the
optimiser remembers) and `ours_said.safetensors` (inputs `x` and the `outputs` of handgrad). Written beside them are
`theirs.safetensors` (a module of PyTorch's own), `theirs_said.safetensors`, and `ours_again.safetensors` (what was
read, saved again).
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn


class Residual(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.block = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.block(x)


class Mlp(nn.Module):
    def __init__(self, *layers, embedding=None):
        super().__init__()
        if embedding is not None:
            self.embedding = nn.Embedding(*embedding)
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        if hasattr(self, "embedding"):
            x = self.embedding(x).flatten(1)
        return self.layers(x)


def makemore():
    return Mlp(nn.Linear(30, 64), nn.BatchNorm1d(64), nn.Tanh(), nn.Linear(64, 27), embedding=(27, 10))


def digits():
    hidden = nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()
    return Mlp(*hidden, nn.Dropout(0.2), nn.Linear(128, 10))


def mixed():
    block = Residual(nn.LayerNorm(40), nn.Linear(40, 24), nn.GELU(), nn.Linear(24, 40, bias=False))
    eps = torch.finfo(torch.float32).eps
    return Mlp(
        nn.Linear(12, 40, bias=False),
        nn.BatchNorm1d(40, eps=1e-3, momentum=0.2),
        nn.SiLU(),
        block,
        # None stands for the epsilon of the type of the input, which would change with a run in f64.
        nn.RMSNorm(40, eps=eps),
        nn.Tanh(),
        nn.Linear(40, 3),
    )


NETWORKS = {"makemore": makemore, "digits": digits, "mixed": mixed}


def tolerance(module, outputs):
    """As in tests/pytorch.rs: k roundings to 24 bits for each product of k terms, eight for each layer in between."""
    between = (nn.BatchNorm1d, nn.LayerNorm, nn.RMSNorm, nn.Tanh, nn.ReLU, nn.SiLU, nn.GELU, nn.Dropout)
    roundings = sum(m.in_features for m in module.modules() if isinstance(m, nn.Linear))
    roundings += sum(8 for m in module.modules() if isinstance(m, between))
    return roundings * 2.0**-24 * outputs.abs().max().item()


def difference(got, want):
    """The largest; infinite where one has another shape or is no number."""
    if got.shape != want.shape or not bool(torch.isfinite(got).all()):
        return float("inf")
    return (got.double() - want.double()).abs().max().item()


def must_depend_on_the_sample(name, outputs):
    """A network that says the same of every sample would hide most of its weights."""
    if not bool((outputs.std(0) > 0.01 * outputs.abs().max()).all()):
        raise SystemExit(f"{name}: some output is the same for all samples")


def must_refuse(what, load):
    try:
        load()
    except (RuntimeError, KeyError):
        return
    raise SystemExit(f"{what} was not refused")


@torch.no_grad()
def check(name, directory):
    module = NETWORKS[name]().eval()
    said = load_file(directory / "ours_said.safetensors")
    weights = load_file(directory / "ours.safetensors")
    module.load_state_dict(weights, strict=True)
    for key, value in module.state_dict().items():
        if key in weights and value.dtype != weights[key].dtype:
            raise SystemExit(f"{name}: {key} is {weights[key].dtype}, PyTorch has {value.dtype}")
    want = module(said["x"])
    must_depend_on_the_sample(name, want)
    allowed = tolerance(module, want)
    largest = difference(said["outputs"], want)
    x = said["x"].double() if said["x"].is_floating_point() else said["x"]
    exact = NETWORKS[name]().eval().double()
    exact.load_state_dict(weights, strict=True)
    truth = exact(x)
    print(
        f"{name}: to PyTorch, largest difference {largest:.2e} (allowed {allowed:.2e}); "
        f"from f64: ours {difference(said['outputs'], truth):.2e}, PyTorch's {difference(want, truth):.2e}"
    )
    if not largest <= allowed:
        raise SystemExit(f"{name}: the outputs differ by {largest:e}, allowed is {allowed:e}")

    # The file of a whole run is the same weights and more, by names of its own.
    everything = load_file(directory / "ours_everything.safetensors")
    must_refuse(f"{name}: a file with the optimiser's memory", lambda: module.load_state_dict(everything))
    kept = {key: value for key, value in everything.items() if not key.startswith("optimizer.")}
    if kept.keys() != weights.keys() or any(not torch.equal(kept[key], weights[key]) for key in kept):
        raise SystemExit(f"{name}: the weights of a whole run are others")

    # What must not pass: a tensor less, and a weight that has moved.
    first = next(key for key in weights if key.endswith("weight"))
    lost = {key: value for key, value in weights.items() if key != first}
    must_refuse(f"{name}: a file without {first}", lambda: NETWORKS[name]().load_state_dict(lost))
    moved = NETWORKS[name]().eval()
    moved.load_state_dict({**weights, first: weights[first] * 1.001})
    if difference(said["outputs"], moved(said["x"])) <= allowed:
        raise SystemExit(f"{name}: {first} may be a thousandth off without being noticed")

    save_file(module.state_dict(), directory / "ours_again.safetensors")


def send(name, directory):
    """A module of PyTorch's own, with statistics and gains that are not those it began with."""
    torch.manual_seed(1 + list(NETWORKS).index(name))
    module = NETWORKS[name]()
    x = load_file(directory / "ours_said.safetensors")["x"]
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.002)
    target = torch.randn_like(module(x))
    for _ in range(20):
        optimizer.zero_grad()
        (module(x) - target).square().mean().backward()
        optimizer.step()
    module.eval()
    with torch.no_grad():
        outputs = module(x)
        must_depend_on_the_sample(name, outputs)
        save_file(module.state_dict(), directory / "theirs.safetensors")
        save_file({"x": x, "outputs": outputs}, directory / "theirs_said.safetensors")


def main():
    place = Path(sys.argv[1])
    torch.set_num_threads(1)
    for name in NETWORKS:
        check(name, place / name)
        send(name, place / name)
    print(f"pytorch {torch.__version__}: {len(NETWORKS)} networks, {len(NETWORKS)} passed, 0 failed")


main()
