use super::{LN2_HI, LN2_LO, poly};
use crate::simd::Simd;

/// The natural logarithm within 1.0 ULP [1.5 without fused multiply-add], subnormal arguments included; `ln 0` is
/// `-inf`, of a negative number NaN, and NaN stays NaN.
///
/// `x = m·2^e` with `m` in `[0.75, 1.5)` and `f = m - 1`: `ln x = e·ln 2 + f - f²/2 + f³·…`. The head `e·LN2_HI + f`
/// is rounded once, and what that rounding lost joins the small terms.
#[inline(always)]
pub(crate) fn ln<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let (m, e) = s.frexp(x);
    let f = s.sub(m, s.splat(1.0));
    let p = poly(
        s,
        f,
        [
            -4.491_635_4e-2,
            0.104_497_835,
            -0.131_631_08,
            0.144_821_38,
            -0.166_476_95,
            0.199_905_93,
            -0.250_000_57,
            0.333_334_54,
            -0.5,
        ],
    );
    let tail = s.fma(s.mul(f, f), p, s.mul(e, s.splat(LN2_LO)));
    let hi = s.splat(LN2_HI);
    let head = s.fma(e, hi, f);
    let lost = s.sub(f, s.sub(head, s.mul(e, hi)));
    let y = s.add(head, s.add(lost, tail));

    // Infinity and NaN are their own logarithms; then zero, then the negative numbers.
    let y = s.select(s.lt(x, s.splat(f32::INFINITY)), y, x);
    let y = s.select(s.eq(x, s.zero()), s.splat(f32::NEG_INFINITY), y);
    s.select(s.lt(x, s.zero()), s.splat(f32::NAN), y)
}
