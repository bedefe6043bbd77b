use super::exp;
use crate::simd::Simd;

/// `1 / (1 + e^-x)` within 2.5 ULP [3.5 without fused multiply-add], down to subnormal results; NaN stays NaN.
///
/// Only `e^-|x| <= 1` is ever formed, so nothing overflows: `1/(1+e)` for positive `x`, `e/(1+e)` for negative.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let one = s.splat(1.0);
    let e = exp(s, s.sub(s.zero(), s.abs(x)));
    s.div(s.select(s.lt(x, s.zero()), e, one), s.add(one, e))
}

/// `dy·y·(1 - y)`: the gradient through `sigmoid`, from its output.
#[inline(always)]
pub(crate) fn sigmoid_grad<S: Simd>(s: S, dy: S::F32, y: S::F32) -> S::F32 {
    s.mul(dy, s.mul(y, s.sub(s.splat(1.0), y)))
}
