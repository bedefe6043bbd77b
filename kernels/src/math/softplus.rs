use super::{exp, poly};
use crate::simd::Simd;

/// `ln(1 + e^x)` within 2.5 ULP [3.5 without fused multiply-add], down to subnormal results; NaN stays NaN.
///
/// `max(x, 0) + ln(1 + e)` with `e = e^-|x|`, and `ln(1 + e) = 2·atanh t` with `t = e/(2 + e) <= 1/3`, an odd
/// polynomial in `t`.
#[inline(always)]
pub(crate) fn softplus<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let e = exp(s, s.neg(s.abs(x)));
    let two = s.splat(2.0);
    let sum = s.add(two, e);
    let t = s.div(e, sum);
    // What rounding the sum and the quotient lost, over the sum; of that a few bits are enough.
    let lost = s.fnma(t, s.sub(e, s.sub(sum, two)), s.fnma(t, sum, e));
    let inverse = poly(s, e, [0.083_333_336, -0.25, 0.5]);
    let t_low = s.mul(lost, inverse);
    let t2 = s.mul(t, t);
    let p = poly(s, t2, [0.242_895_66, 0.214_307_4, 0.286_165_95, 0.399_988_9, 0.666_666_75]);
    let log = s.add(s.add(t, t), s.fma(s.mul(t2, t), p, s.add(t_low, t_low)));
    // With `x` as the second operand NaN passes through; of a subnormal `e` the polynomial is too small to count.
    let tiny = s.lt(e, s.splat(1e-7));
    s.add(s.select(tiny, e, log), s.max(s.zero(), x))
}
