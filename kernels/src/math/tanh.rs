use super::{EXP2, poly};
use crate::simd::Simd;

/// `tanh x` within 1.2 ULP [2.0 without fused multiply-add]; odd, `±1` beyond `|x| = 9.02`, NaN stays NaN.
///
/// Two pieces, blended lane by lane. Below 0.7, where `1 - 2/(e^2x + 1)` would cancel, an odd polynomial
/// `x + x³·q(x²)`; above it `1 - 2/(e^{2|x|} + 1)` with the sign of `x`.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let t = s.mul(x, x);
    let q = poly(s, t, [-4.995_159e-3, 1.991_667_2e-2, -5.348_414e-2, 0.133_278_24, -0.333_331_2]);
    let small = s.fma(s.mul(t, x), q, x);

    // e^2a = 2^(n + r) with n + r = a·2/ln 2, rounded once: what that costs e^2a, the quotient makes small. Beyond 10
    // the quotient no longer counts; with `a` as the second operand NaN passes through.
    let a = s.abs(x);
    let y = s.min(s.splat(10.0), a);
    let two_over_ln2 = s.splat(2.0 * std::f32::consts::LOG2_E);
    let n = s.round(s.mul(y, two_over_ln2));
    let r = s.fma(y, two_over_ln2, s.neg(n));
    let power = poly(s, r, EXP2);
    let denominator = s.add(s.scale2(power, n), s.splat(1.0));
    let large = s.sub(s.splat(1.0), s.div(s.splat(2.0), denominator));

    // The sign is taken for both pieces: of -0 the first makes +0.
    s.copysign(s.select(s.lt(a, s.splat(0.7)), small, large), x)
}

/// `dy·(1 - y²)`: the gradient through `tanh`, from its output.
#[inline(always)]
pub(crate) fn tanh_grad<S: Simd>(s: S, dy: S::F32, y: S::F32) -> S::F32 {
    s.mul(dy, s.fnma(y, y, s.splat(1.0)))
}
