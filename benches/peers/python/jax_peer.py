"""JAX: the gradient is its own, compiled.

    jax_peer.py VARIANT CASE

`step` is one compiled step a call, with the parameters donated; `scan` is many steps in one compiled loop, which
nothing in Python interrupts.
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from common import BATCH, CASES, EPS, MINIBATCHES, REPEATS, SECONDS, VOCAB
from common import digest, measure, params, read, report

BETAS = (0.9, 0.999)
ADAM_EPS = 1e-8
WEIGHT_DECAY = 0.01


def cross_entropy(logits, labels):
    one_hot = jax.nn.one_hot(labels, logits.shape[1])
    return -(jax.nn.log_softmax(logits) * one_hot).sum() / len(labels)


def cross_entropy_and_gradient(logits, labels):
    """By hand, which is faster than its own."""
    log_probs, one_hot = jax.nn.log_softmax(logits), jax.nn.one_hot(labels, logits.shape[1])
    return -(log_probs * one_hot).sum() / len(labels), (jnp.exp(log_probs) - one_hot) / len(labels)


def makemore(p, x, y):
    # Both look-ups as products with one-hot rows: their gradients are no scatter, which is slower here.
    embcat = (jax.nn.one_hot(x, VOCAB) @ p["c"]).reshape(BATCH, -1)
    hprebn = embcat @ p["w1"]
    bnraw = (hprebn - hprebn.mean(0)) * lax.rsqrt(hprebn.var(0, ddof=1) + EPS)
    h = jnp.tanh(p["bngain"] * bnraw + p["bnbias"])
    return cross_entropy(h @ p["w2"] + p["b2"], y)


def layer_norm(x, gain, bias):
    centred = x - x.mean(1, keepdims=True)
    return centred * lax.rsqrt((centred * centred).mean(1, keepdims=True) + EPS) * gain + bias


def network(case):
    last = len(case.sizes) - 2

    def loss(p, x, y):
        for layer in range(last + 1):
            x = x @ p[f"w{layer}"] + p[f"b{layer}"]
            if layer == last:
                break
            if case.kind == "gelu":
                x = jax.nn.gelu(layer_norm(x, p[f"g{layer}"], p[f"s{layer}"]), approximate=False)
            else:
                x = jax.nn.relu(x) if case.kind == "relu" else jnp.tanh(x)
        return cross_entropy(x, y) if case.kind == "relu" else jnp.square(x - y).mean()

    return loss


def adam(case, state, gradients, decay):
    first, second = BETAS
    t = state["t"] + 1
    m = jax.tree.map(lambda m, g: first * m + (1 - first) * g, state["m"], gradients)
    v = jax.tree.map(lambda v, g: second * v + (1 - second) * g * g, state["v"], gradients)
    c1, c2 = 1 / (1 - first**t), 1 / (1 - second**t)

    def update(p, m, v):
        return p * (1 - case.lr * decay) - case.lr * (m * c1) / (jnp.sqrt(v * c2) + ADAM_EPS)

    return {"p": jax.tree.map(update, state["p"], m, v), "m": m, "v": v, "t": t}


def training(case):
    """The first state; a function from a state, the number of a step and the data to the next state and the loss."""
    p = {name: jnp.array(value) for name, value in params(case).items()}
    loss_of = makemore if case.kind == "makemore" else network(case)
    sgd = case.kind in ("makemore", "relu")
    state = {"p": p} if sgd else {"p": p, "t": jnp.float32(0)}
    if not sgd:
        state["m"], state["v"] = jax.tree.map(jnp.zeros_like, p), jax.tree.map(jnp.zeros_like, p)

    def step(state, number, data):
        if case.kind == "makemore":
            contexts, labels, minibatches = data
            ix = minibatches[number % MINIBATCHES]
            x, y = contexts[ix], labels[ix]
        else:
            x, y = (lax.dynamic_index_in_dim(part, number % case.batches, keepdims=False) for part in data)
        loss, gradients = jax.value_and_grad(loss_of)(state["p"], x, y)
        if sgd:
            return {"p": jax.tree.map(lambda p, g: p - case.lr * g, state["p"], gradients)}, loss
        return adam(case, state, gradients, WEIGHT_DECAY if case.kind == "gelu" else 0.0), loss

    if case.kind == "makemore":
        data = tuple(jnp.asarray(read(case, name)) for name in ("_contexts", "_labels", "_minibatches"))
    else:
        x, y = read(case, "_x"), read(case, "_y")
        data = tuple(jnp.asarray(a.reshape(case.batches, case.batch, *a.shape[1:])) for a in (x, y))
    return state, step, data


def one_by_one(case):
    state, step, data = training(case)
    compiled = jax.jit(step, donate_argnums=0)
    numbers = [jnp.int32(number) for number in range(MINIBATCHES)]
    held = {"state": state}

    def call(number):
        held["state"], held["loss"] = compiled(held["state"], numbers[number % MINIBATCHES], data)
        return held["loss"]

    values = [float(call(number)) for number in range(case.checked)]
    return measure(call, lambda: jax.block_until_ready(held["state"])), values


def in_a_loop(case):
    state, step, data = training(case)
    # Arguments, since a compiler may fold what is captured.
    compiled = jax.jit(lambda state, numbers, data: lax.scan(lambda s, n: step(s, n, data), state, numbers),
                       donate_argnums=0)
    state, losses = compiled(state, jnp.arange(case.checked), data)
    values = np.asarray(losses).tolist()
    start = time.perf_counter()
    state, losses = jax.block_until_ready(compiled(state, jnp.arange(case.checked), data))
    once = (time.perf_counter() - start) / case.checked
    length = max(2, min(MINIBATCHES, round(SECONDS / once)))
    numbers, times = jnp.arange(length), []
    state, losses = jax.block_until_ready(compiled(state, numbers, data))
    calls = max(1, round(SECONDS / once / length))
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _ in range(calls):
            state, losses = compiled(state, numbers, data)
        jax.block_until_ready(state)
        times.append((time.perf_counter() - start) / calls / length * 1e6)
    return times, values


def operation(case):
    if case.kind == "adamw":
        state = {"p": jnp.asarray(read(case, "_p")), "t": jnp.float32(0)}
        state["m"], state["v"] = jnp.zeros_like(state["p"]), jnp.zeros_like(state["p"])
        gradient = jnp.asarray(read(case, "_g"))
        compiled = jax.jit(lambda state, g: adam(case, state, g, WEIGHT_DECAY), donate_argnums=0)
        held = {"state": state}

        def update(_):
            held["state"] = jax.block_until_ready(compiled(held["state"], gradient))

        return update, lambda: digest(held["state"]["p"])
    x = jnp.asarray(read(case, "_x"))
    if case.kind == "cross_entropy":
        labels = jnp.asarray(read(case, "_labels"))
        compiled, args = jax.jit(cross_entropy_and_gradient), (x, labels)
    else:
        gain, bias = jnp.asarray(read(case, "_g")), jnp.asarray(read(case, "_s"))
        if case.kind == "layer_norm_fwd":
            compiled, args = jax.jit(layer_norm), (x, gain, bias)
        else:
            # What the forward pass would have kept is computed by the way: two cheap sums for each row.
            dy = jnp.asarray(read(case, "_dy"))
            compiled = jax.jit(lambda dy, *args: jax.vjp(layer_norm, *args)[1](dy))
            args = (dy, x, gain, bias)
    held = {}

    def call(_):
        held["y"] = jax.block_until_ready(compiled(*args))

    def tell():
        if case.kind == "cross_entropy":
            return [float(held["y"][0]), *digest(held["y"][1])]
        return digest(*held["y"]) if isinstance(held["y"], tuple) else digest(held["y"])

    return call, tell


def main():
    variant, case = sys.argv[1], CASES[sys.argv[2]]
    about = f"JAX {jax.__version__}"
    if case.sizes:
        times, values = (one_by_one if variant == "step" else in_a_loop)(case)
        report(times, values, about)
    else:
        call, tell = operation(case)
        call(0)
        values = tell()
        report(measure(call), values, about)


main()
