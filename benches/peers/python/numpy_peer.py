"""NumPy: hand-written gradients; the error function is SciPy's. In f64 the same code gives what all are compared with.

    numpy_peer.py manual CASE
"""

import sys

import numpy as np
from scipy.special import erf

from common import BATCH, CASES, EMBEDDING, EPS, MINIBATCHES, digest, measure, params, read, report

BETAS = (0.9, 0.999)
ADAM_EPS = 1e-8
WEIGHT_DECAY = 0.01


def cross_entropy(logits, labels):
    """The mean loss, and the gradient in place of the logits."""
    rows = np.arange(len(labels))
    logits -= logits.max(1, keepdims=True)
    own = logits[rows, labels]
    np.exp(logits, out=logits)
    sums = logits.sum(1, keepdims=True)
    loss = (np.log(sums[:, 0]) - own).mean()
    logits /= sums
    logits[rows, labels] -= 1
    logits /= logits.dtype.type(len(labels))
    return loss


def makemore(case, dtype):
    contexts, labels = read(case, "_contexts"), read(case, "_labels")
    minibatches = read(case, "_minibatches")
    p = params(case, dtype)
    c, w1, bngain, bnbias, w2, b2 = p.values()
    n, f = BATCH, np.dtype(dtype).type
    one_hot, lr = np.eye(len(c), dtype=dtype), f(case.lr)

    def step(number):
        ix = minibatches[number % MINIBATCHES]
        x, y = contexts[ix], labels[ix]
        embcat = c[x].reshape(n, -1)
        hprebn = embcat @ w1
        centred = hprebn - hprebn.mean(0)
        inv_std = 1 / np.sqrt((centred * centred).sum(0) * f(1 / (n - 1)) + f(EPS))
        bnraw = centred * inv_std
        h = np.tanh(bngain * bnraw + bnbias)
        logits = h @ w2
        logits += b2
        loss = cross_entropy(logits, y)
        dlogits = logits
        dw2, db2 = h.T @ dlogits, dlogits.sum(0)
        dhpreact = (1 - h * h) * (dlogits @ w2.T)
        dbngain, dbnbias = (bnraw * dhpreact).sum(0), dhpreact.sum(0)
        dhprebn = (bngain * inv_std * f(1 / n)) * (n * dhpreact - dbnbias - f(n / (n - 1)) * bnraw * dbngain)
        dw1 = embcat.T @ dhprebn
        # The sum over the places of each token, as a product: np.add.at is slower.
        dc = one_hot[x.reshape(-1)].T @ (dhprebn @ w1.T).reshape(-1, EMBEDDING)
        for value, gradient in zip(p.values(), (dc, dw1, dbngain, dbnbias, dw2, db2)):
            gradient *= lr
            value -= gradient
        return loss

    return step


class Adam:
    """Of all parameters; with a decay it is AdamW."""

    def __init__(self, values, lr, decay):
        self.lr, self.decay, self.t = lr, decay, 0
        self.m = [np.zeros_like(value) for value in values]
        self.v = [np.zeros_like(value) for value in values]

    def update(self, values, gradients):
        self.t += 1
        first, second = BETAS
        c1, c2 = 1 - first**self.t, 1 - second**self.t
        for value, gradient, m, v in zip(values, gradients, self.m, self.v):
            m *= first
            m += (1 - first) * gradient
            v *= second
            gradient *= gradient
            gradient *= 1 - second
            v += gradient
            root = np.sqrt(v)
            root *= 1 / c2**0.5
            root += ADAM_EPS
            np.divide(m, root, out=root)
            root *= self.lr / c1
            if self.decay:
                value *= 1 - self.lr * self.decay
            value -= root


def layer_norm(x, gain, bias):
    """The output, and what the gradient needs."""
    raw = x - x.mean(1, keepdims=True)
    inv_std = 1 / np.sqrt(np.mean(raw * raw, 1, keepdims=True) + x.dtype.type(EPS))
    raw *= inv_std
    return raw * gain + bias, raw, inv_std


def layer_norm_backward(dy, raw, inv_std, gain):
    dgain, dbias = (dy * raw).sum(0), dy.sum(0)
    d = dy * gain
    dx = inv_std * (d - d.mean(1, keepdims=True) - raw * (d * raw).mean(1, keepdims=True))
    return dx, dgain, dbias


def network(case, dtype):
    x, y = read(case, "_x"), read(case, "_y")
    x = x.astype(dtype)
    y = y if case.kind == "relu" else y.astype(dtype)
    p = params(case, dtype)
    layers, n, f = len(case.sizes) - 1, case.batch, np.dtype(dtype).type
    w, b = [p[f"w{i}"] for i in range(layers)], [p[f"b{i}"] for i in range(layers)]
    outputs = [np.empty((n, width), dtype) for width in case.sizes[1:]]
    above = [np.empty((n, width), dtype) for width in case.sizes[1:]]
    gradients = {name: np.empty_like(value) for name, value in p.items()}
    adam = None if case.kind == "relu" else Adam(p.values(), case.lr, WEIGHT_DECAY if case.kind == "gelu" else 0)

    def activate(layer, z):
        """The activation of a hidden layer, and a function that takes its gradient in place."""
        if case.kind == "relu":
            np.maximum(z, 0, out=z)
            return z, lambda d: np.multiply(d, z > 0, out=d)
        if case.kind == "tanh":
            np.tanh(z, out=z)
            return z, lambda d: np.multiply(d, 1 - z * z, out=d)
        gain = p[f"g{layer}"]
        u, raw, inv_std = layer_norm(z, gain, p[f"s{layer}"])
        cdf = f(0.5) * (1 + erf(u * f(0.5**0.5)))

        def backward(d):
            d *= cdf + u * np.exp(f(-0.5) * u * u) * f((2 * np.pi) ** -0.5)
            dgain, dbias = gradients[f"g{layer}"], gradients[f"s{layer}"]
            d[...], dgain[...], dbias[...] = layer_norm_backward(d, raw, inv_std, gain)

        return u * cdf, backward

    def step(number):
        first = number % case.batches * n
        rows = slice(first, first + n)
        inputs, backwards = [x[rows]], []
        for layer in range(layers):
            z = outputs[layer]
            np.matmul(inputs[layer], w[layer], out=z)
            z += b[layer]
            if layer < layers - 1:
                a, backward = activate(layer, z)
                inputs.append(a)
                backwards.append(backward)
        if case.kind == "relu":
            loss, d = cross_entropy(z, y[rows]), z
        else:
            d = z - y[rows]
            loss = np.mean(d * d)
            d *= f(2 / d.size)
        for layer in reversed(range(layers)):
            np.matmul(inputs[layer].T, d, out=gradients[f"w{layer}"])
            np.sum(d, 0, out=gradients[f"b{layer}"])
            if layer:
                d = np.matmul(d, w[layer].T, out=above[layer - 1])
                backwards[layer - 1](d)
        if adam:
            adam.update(p.values(), gradients.values())
        else:
            for value, gradient in zip(p.values(), gradients.values()):
                gradient *= f(case.lr)
                value -= gradient
        return loss

    return step


def operation(case, dtype):
    """A call of it, and a function that tells what came of the last one."""
    held = {}
    if case.kind == "adamw":
        p, g = read(case, "_p", dtype), read(case, "_g", dtype)
        adam, spare = Adam([p], case.lr, WEIGHT_DECAY), np.empty_like(g)

        def call(_):
            np.copyto(spare, g)
            adam.update([p], [spare])

        return call, lambda: digest(p)
    x = read(case, "_x", dtype)
    if case.kind == "cross_entropy":
        labels, spare = read(case, "_labels"), np.empty_like(x)

        def call(_):
            np.copyto(spare, x)
            held["loss"] = cross_entropy(spare, labels)

        return call, lambda: [held["loss"], *digest(spare)]
    gain, bias = read(case, "_g", dtype), read(case, "_s", dtype)
    if case.kind == "layer_norm_fwd":

        def call(_):
            held["y"] = layer_norm(x, gain, bias)[0]

        return call, lambda: digest(held["y"])
    dy = read(case, "_dy", dtype)
    _, raw, inv_std = layer_norm(x, gain, bias)

    def call(_):
        held["d"] = layer_norm_backward(dy, raw, inv_std, gain)

    return call, lambda: digest(*held["d"])


def expected(case):
    """What every peer must compute."""
    if case.sizes:
        step = makemore(case, np.float64) if case.kind == "makemore" else network(case, np.float64)
        return [float(step(number)) for number in range(case.checked)]
    call, values = operation(case, np.float64)
    call(0)
    return values()


def main():
    case = CASES[sys.argv[2]]
    if case.sizes:
        step = makemore(case, np.float32) if case.kind == "makemore" else network(case, np.float32)
        values = [step(number) for number in range(case.checked)]
    else:
        step, tell = operation(case, np.float32)
        step(0)
        values = tell()
    report(measure(step), values, f"NumPy {np.__version__}")


if __name__ == "__main__":
    main()
