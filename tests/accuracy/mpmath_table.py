"""Writes mpmath_table.txt: the functions of functions.rs and their derivatives at some floats, to 41 digits.

    pip install mpmath==1.4.1
    python3 tests/accuracy/mpmath_table.py > tests/accuracy/mpmath_table.txt

Each line is `name direction bits value`; the argument is the float of those bits, and that of a derivative is what its
kernel receives: the output of the function where that tells the slope.
"""

import random
import struct

from mpmath import mp, mpf

mp.dps = 60


def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def normal(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2


def inner(x):
    return mp.sqrt(2 / mp.pi) * (x + mpf("0.044715") * x**3)


def silu_slope(x):
    return sigmoid(x) * (1 + x * sigmoid(-x))


def gelu_erf_slope(x):
    return normal(x) + x * mp.npdf(x)


def gelu_tanh_slope(x):
    slope = mp.sqrt(2 / mp.pi) * (1 + 3 * mpf("0.044715") * x**2)
    return (1 + mp.tanh(inner(x))) / 2 + x / 2 * mp.sech(inner(x)) ** 2 * slope


# Name: function, where its arguments lie, derivative, where its arguments lie.
FUNCTIONS = {
    "exp": (mp.exp, (-104, 89), lambda y: y, (0, 3e38)),
    "log": (mp.log, (0, 3e38), lambda x: 1 / x, (-3e38, 3e38)),
    "tanh": (mp.tanh, (-12, 12), lambda y: 1 - y**2, (-1, 1)),
    "sigmoid": (sigmoid, (-104, 40), lambda y: y * (1 - y), (0, 1)),
    "sin": (mp.sin, (-3e38, 3e38), mp.cos, (-3e38, 3e38)),
    "cos": (mp.cos, (-3e38, 3e38), lambda x: -mp.sin(x), (-3e38, 3e38)),
    "sqrt": (mp.sqrt, (0, 3e38), lambda y: 1 / (2 * y), (0, 1.8e19)),
    "rsqrt": (lambda x: 1 / mp.sqrt(x), (0, 3e38), lambda y: -(y**3) / 2, (1e-19, 1e12)),
    "reciprocal": (lambda x: 1 / x, (-3e38, 3e38), lambda y: -(y**2), (-1e19, 1e19)),
    "silu": (lambda x: x * sigmoid(x), (-110, 110), silu_slope, (-110, 110)),
    "softplus": (lambda x: mp.log1p(mp.exp(x)), (-104, 110), sigmoid, (-104, 110)),
    "elu": (
        lambda x: x if x > 0 else mp.expm1(x), (-40, 40),
        lambda x: mpf(1) if x > 0 else mp.exp(x), (-104, 40),
    ),
    "gelu_erf": (lambda x: x * normal(x), (-14, 14), gelu_erf_slope, (-14, 14)),
    "gelu_tanh": (lambda x: x * (1 + mp.tanh(inner(x))) / 2, (-14, 14), gelu_tanh_slope, (-14, 14)),
}

# Around zero crossings, the ends of pieces, and hard cases of the reduction by pi/2.
SPECIAL = [1e-38, 1e-5, 0.3, 0.6931472, 0.7, 0.7517916, 0.93, 1.0, 1.278464, 1.5707964, 3.1415927, 5.0, 9.01, 13.2]
LARGE = [10000.0, 1e10, 16367173.0 * 2.0**72, 3.4028235e38]


def float32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def arguments(low, high, rng):
    for x in SPECIAL + LARGE:
        yield from (float32(y) for y in (x, -x) if low <= y <= high)
    for _ in range(8):
        yield float32(rng.uniform(low, high))
        sign = -1 if low < 0 and rng.random() < 0.5 else 1
        limit = min(127, mp.floor(mp.log(max(abs(low), abs(high)), 2)) - 1)
        x = float32(sign * 2.0 ** rng.uniform(-30, float(limit)))
        if low <= x <= high:
            yield x


def main():
    rng = random.Random(1)
    for name, (forward, domain, backward, outputs) in FUNCTIONS.items():
        for direction, f, (low, high) in (("forward", forward, domain), ("backward", backward, outputs)):
            for x in sorted(set(arguments(low, high, rng))):
                if x == 0:
                    continue
                bits = struct.unpack("<I", struct.pack("<f", x))[0]
                print(name, direction, f"{bits:08x}", mp.nstr(mpf(f(mpf(x))), 41, min_fixed=0, max_fixed=0))


main()
