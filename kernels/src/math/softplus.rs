use super::{exp, poly};
use crate::simd::Simd;

/// `ln(1 + e^x)` within 2.5 ULP [3.5 without fused multiply-add], down to subnormal results; NaN stays NaN.
///
/// `max(x, 0) + ln(1 + e)` with `e = e^-|x|`, and `ln(1 + e) = 2·atanh t` with `t = e/(2 + e) <= 1/3`, an odd polynomial in `t`.
#[inline(always)]
pub(crate) fn softplus<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let e = exp(s, s.neg(s.abs(x)));
    let t = s.div(e, s.add(s.splat(2.0), e));
    let t2 = s.mul(t, t);
    let p = poly(s, t2, [0.242_895_66, 0.214_307_4, 0.286_165_95, 0.399_988_9, 0.666_666_75]);
    let log = s.fma(s.mul(t2, t), p, s.add(t, t));
    // With `x` as the second operand NaN passes through; of a subnormal `e` the polynomial is too small to count.
    let tiny = s.lt(e, s.splat(1e-7));
    s.add(s.select(tiny, e, log), s.max(s.zero(), x))
}
