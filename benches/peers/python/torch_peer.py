"""PyTorch.

    torch_peer.py VARIANT CASE

`manual` is hand-written gradients into buffers that stay, without a graph; `autograd` is modules of torch.nn, autograd
and the fused optimisers, and for an operation the kernels that autograd calls.
"""

import sys

import torch
import torch.nn.functional as F
from torch import nn

from common import BATCH, CASES, EMBEDDING, EPS, MINIBATCHES, THREADS, digest, measure, params, read, report

A = torch.ops.aten
WEIGHT_DECAY = 0.01


def tensors(case):
    return {name: torch.from_numpy(value) for name, value in params(case).items()}


def optimizer(case, values):
    if case.kind in ("relu", "makemore"):
        return torch.optim.SGD(values, lr=case.lr, fused=True)
    if case.kind == "tanh":
        return torch.optim.Adam(values, lr=case.lr, fused=True)
    return torch.optim.AdamW(values, lr=case.lr, weight_decay=WEIGHT_DECAY, fused=True)


def minibatches(case):
    contexts, labels = (torch.from_numpy(read(case, name)).long() for name in ("_contexts", "_labels"))
    rows = list(torch.from_numpy(read(case, "_minibatches")).long())
    return lambda number: (contexts[rows[number % MINIBATCHES]], labels[rows[number % MINIBATCHES]])


class Makemore(nn.Module):
    """The batch's variance is Bessel's, which F.batch_norm has not: (x - mean) / sqrt(v·n/(n-1) + eps) is
    sqrt((n-1)/n)·(x - mean) / sqrt(v + eps·(n-1)/n)."""

    def __init__(self, p):
        super().__init__()
        self.c, self.w1t, self.w2t = (nn.Parameter(v.contiguous()) for v in (p["c"], p["w1"].T, p["w2"].T))
        self.bngain, self.bnbias, self.b2 = (nn.Parameter(p[name]) for name in ("bngain", "bnbias", "b2"))
        self.share = (BATCH - 1) / BATCH

    def forward(self, x):
        hprebn = F.linear(F.embedding(x, self.c).view(BATCH, -1), self.w1t)
        gain = self.bngain * self.share**0.5
        hpreact = F.batch_norm(hprebn, None, None, gain, self.bnbias, True, 0.0, EPS * self.share)
        return F.linear(torch.tanh(hpreact), self.w2t, self.b2)


def makemore_autograd(case):
    net = Makemore(tensors(case))
    update, batch = optimizer(case, net.parameters()), minibatches(case)

    def step(number):
        x, y = batch(number)
        loss = F.cross_entropy(net(x), y)
        update.zero_grad(set_to_none=True)
        loss.backward()
        update.step()
        return loss

    return step


def makemore_manual(case):
    p = tensors(case)
    c, w1, bngain, bnbias, w2, b2 = p.values()
    values, batch, n = list(p.values()), minibatches(case), BATCH
    rows = torch.arange(n)

    @torch.inference_mode()
    def step(number):
        x, y = batch(number)
        embcat = c[x].view(n, -1)
        hprebn = embcat @ w1
        var, mean = torch.var_mean(hprebn, 0, keepdim=True, correction=1)
        inv_std = torch.rsqrt(var + EPS)
        bnraw = (hprebn - mean) * inv_std
        h = torch.tanh(torch.addcmul(bnbias, bngain, bnraw))
        log_probs = F.log_softmax(torch.addmm(b2, h, w2), 1)
        loss = F.nll_loss(log_probs, y)
        dlogits = log_probs.exp_()
        dlogits[rows, y] -= 1
        dlogits /= n
        dhpreact = A.tanh_backward(dlogits @ w2.T, h)
        dbngain, dbnbias = (bnraw * dhpreact).sum(0), dhpreact.sum(0)
        dhprebn = (bngain * inv_std / n) * (n * dhpreact - dbnbias - n / (n - 1) * bnraw * dbngain)
        dc = torch.zeros_like(c).index_add_(0, x.view(-1), (dhprebn @ w1.T).view(-1, EMBEDDING))
        gradients = [dc, embcat.T @ dhprebn, dbngain, dbnbias, h.T @ dlogits, dlogits.sum(0)]
        torch._foreach_add_(values, gradients, alpha=-case.lr)
        return loss

    return step


def batches(case):
    x, y = (torch.from_numpy(read(case, name)) for name in ("_x", "_y"))
    y = y.long() if case.kind == "relu" else y
    parts = list(zip(x.split(case.batch), y.split(case.batch)))
    return lambda number: parts[number % case.batches]


def network_autograd(case):
    p, layers = tensors(case), []
    for layer, (inputs, width) in enumerate(zip(case.sizes, case.sizes[1:])):
        linear = nn.Linear(inputs, width)
        linear.weight.data, linear.bias.data = p[f"w{layer}"].T.contiguous(), p[f"b{layer}"]
        layers.append(linear)
        if layer == len(case.sizes) - 2:
            break
        if case.kind == "gelu":
            norm = nn.LayerNorm(width, eps=EPS)
            norm.weight.data, norm.bias.data = p[f"g{layer}"], p[f"s{layer}"]
            layers.append(norm)
        layers.append({"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}[case.kind]())
    net = nn.Sequential(*layers)
    update, batch = optimizer(case, net.parameters()), batches(case)
    loss_of = F.cross_entropy if case.kind == "relu" else F.mse_loss

    def step(number):
        x, y = batch(number)
        loss = loss_of(net(x), y)
        update.zero_grad(set_to_none=True)
        loss.backward()
        update.step()
        return loss

    return step


def network_manual(case):
    p, batch, last = tensors(case), batches(case), len(case.sizes) - 2
    values = [nn.Parameter(value) for value in p.values()]
    gradients = {name: torch.empty_like(value) for name, value in p.items()}
    for value, gradient in zip(values, gradients.values()):
        value.grad = gradient
    update = optimizer(case, values)
    z = [torch.empty(case.batch, width) for width in case.sizes[1:]]
    above = [torch.empty(case.batch, width) for width in case.sizes[1:-1]]
    rows = torch.arange(case.batch)

    def activate(layer, z):
        """The activation of a hidden layer, and a function that turns its gradient."""
        if case.kind == "relu":
            z.relu_()
            return z, lambda d: A.threshold_backward.grad_input(d, z, 0, grad_input=d)
        if case.kind == "tanh":
            z.tanh_()
            return z, lambda d: A.tanh_backward.grad_input(d, z, grad_input=d)
        gain, bias, width = p[f"g{layer}"], p[f"s{layer}"], [z.shape[1]]
        u, mean, inv_std = A.native_layer_norm(z, width, gain, bias, EPS)

        def backward(d):
            A.gelu_backward.grad_input(d, u, grad_input=d)
            d, dgain, dbias = A.native_layer_norm_backward(d, z, width, mean, inv_std, gain, bias, [True] * 3)
            gradients[f"g{layer}"].copy_(dgain)
            gradients[f"s{layer}"].copy_(dbias)
            return d

        return F.gelu(u), backward

    @torch.no_grad()
    def step(number):
        x, y = batch(number)
        inputs, backwards = [x], []
        for layer in range(last + 1):
            torch.addmm(p[f"b{layer}"], inputs[layer], p[f"w{layer}"], out=z[layer])
            if layer < last:
                a, backward = activate(layer, z[layer])
                inputs.append(a)
                backwards.append(backward)
        if case.kind == "relu":
            log_probs = F.log_softmax(z[last], 1)
            loss = F.nll_loss(log_probs, y)
            d = log_probs.exp_()
            d[rows, y] -= 1
            d /= case.batch
        else:
            d = z[last] - y
            loss = d.square().mean()
            d *= 2 / d.numel()
        for layer in range(last, -1, -1):
            torch.mm(inputs[layer].T, d, out=gradients[f"w{layer}"])
            torch.sum(d, 0, out=gradients[f"b{layer}"])
            if layer:
                d = backwards[layer - 1](torch.mm(d, p[f"w{layer}"].T, out=above[layer - 1]))
        update.step()
        return loss

    return step


@torch.no_grad()
def operation(case):
    """A call of it, and a function that tells what came of the last one."""
    held = {}
    if case.kind == "adamw":
        p = nn.Parameter(torch.from_numpy(read(case, "_p")))
        p.grad = torch.from_numpy(read(case, "_g"))
        update = optimizer(case, [p])
        return lambda _: update.step(), lambda: digest(p.detach().numpy())
    x = torch.from_numpy(read(case, "_x"))
    if case.kind == "cross_entropy":
        labels = torch.from_numpy(read(case, "_labels")).long()
        one, count = torch.ones(()), torch.tensor(float(len(labels)))

        def call(_):
            log_probs = F.log_softmax(x, 1)
            held["loss"] = F.nll_loss(log_probs, labels)
            d = A.nll_loss_backward(one, log_probs, labels, None, 1, -100, count)
            held["d"] = A._log_softmax_backward_data(d, log_probs, 1, torch.float32)

        return call, lambda: [held["loss"].item(), *digest(held["d"].numpy())]
    gain, bias = torch.from_numpy(read(case, "_g")), torch.from_numpy(read(case, "_s"))
    width = [case.shape[1]]
    if case.kind == "layer_norm_fwd":

        def call(_):
            held["y"] = A.native_layer_norm(x, width, gain, bias, EPS)[0]

        return call, lambda: digest(held["y"].numpy())
    dy = torch.from_numpy(read(case, "_dy"))
    _, mean, inv_std = A.native_layer_norm(x, width, gain, bias, EPS)

    def call(_):
        held["d"] = A.native_layer_norm_backward(dy, x, width, mean, inv_std, gain, bias, [True] * 3)

    return call, lambda: digest(*(d.numpy() for d in held["d"]))


def main():
    torch.set_num_threads(THREADS)
    torch.set_flush_denormal(False)
    variant, case = sys.argv[1], CASES[sys.argv[2]]
    if case.sizes:
        makers = {"manual": (makemore_manual, network_manual), "autograd": (makemore_autograd, network_autograd)}
        step = makers[variant][case.kind != "makemore"](case)
        values = [step(number).item() for number in range(case.checked)]
    else:
        with torch.inference_mode(case.kind != "adamw"):
            step, tell = operation(case)
            step(0)
            values = tell()
    about = f"PyTorch {torch.__version__.split('+')[0]}, {torch.backends.cpu.get_cpu_capability()}"
    with torch.inference_mode(not case.sizes and case.kind != "adamw"):
        report(measure(step), values, about)


main()
