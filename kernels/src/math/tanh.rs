use super::{poly, reduce_ln2};
use crate::simd::Simd;

/// `tanh x` within 1.1 ULP [2.0 without fused multiply-add]; odd, `±1` beyond `|x| = 9.02`, NaN stays NaN.
///
/// Two pieces, blended lane by lane. Below 0.7, where `1 - 2/(e^2x + 1)` would cancel, an odd polynomial
/// `x + x³·q(x²)`; above it `1 - 2/(e^{2|x|} + 1)` with the sign of `x`.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let a = s.abs(x);
    let t = s.mul(x, x);
    let q = poly(s, t, [1.895_555_3e-3, -7.883_162e-3, 2.157_098_8e-2, -5.392_094e-2, 0.133_329_84, -0.333_333_25]);
    let small = s.fma(s.mul(t, x), q, x);

    // Beyond 10 the quotient no longer counts; with `a + a` as the second operand NaN passes through.
    let y = s.min(s.splat(20.0), s.add(a, a));
    let (n, r) = reduce_ln2(s, y);
    let p = poly(s, r, [1.381_446_4e-3, 8.368_781e-3, 4.166_839_3e-2, 0.166_665_2, 0.499_999_94]);
    let expm1 = s.fma(s.mul(r, r), p, r);
    // e^y + 1 = 2^n·(expm1 + 1) + 1, with 2^n + 1 rounded only where it exceeds 2^24.
    let power = s.scale2(s.splat(1.0), n);
    let denominator = s.fma(power, expm1, s.add(power, s.splat(1.0)));
    let large = s.sub(s.splat(1.0), s.div(s.splat(2.0), denominator));

    // The sign is taken for both pieces: of -0 the first makes +0.
    s.copysign(s.select(s.lt(a, s.splat(0.7)), small, large), x)
}

/// `dy·(1 - y²)`: the gradient through `tanh`, from its output.
#[inline(always)]
pub(crate) fn tanh_grad<S: Simd>(s: S, dy: S::F32, y: S::F32) -> S::F32 {
    s.mul(dy, s.fnma(y, y, s.splat(1.0)))
}
