use super::{poly, reduce_ln2};
use crate::simd::Simd;

/// `e^x` within 1.0 ULP [1.5 without fused multiply-add], subnormal results included.
///
/// Beyond 89 the result is infinite, below -104 it is zero; NaN stays NaN.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::F32) -> S::F32 {
    // Clamped to where the result is already infinite or zero; with `x` as the second operand NaN passes through.
    let x = s.min(s.splat(89.5), s.max(s.splat(-104.5), x));
    let (p, n) = expm1_parts(s, x);
    s.scale2(s.add(p, s.splat(1.0)), n)
}

/// `e^x = (1 + p)·2^n` for `|x| <= 170`: `p` before it is rounded with the one, for what is multiplied by `1 + p`.
///
/// `x = n·ln 2 + r`, so `e^x = 2^n·e^r`, and on `|r| <= ln(2)/2` a polynomial gives `e^r - 1 = r + r²·p(r)`.
#[inline(always)]
pub(crate) fn expm1_parts<S: Simd>(s: S, x: S::F32) -> (S::F32, S::F32) {
    let (n, r) = reduce_ln2(s, x);
    (expm1_small(s, r), n)
}

/// `e^r - 1` for `|r| <= ln(2)/2`.
#[inline(always)]
pub(super) fn expm1_small<S: Simd>(s: S, r: S::F32) -> S::F32 {
    let p = poly(s, r, [1.979_024_2e-4, 1.394_475_8e-3, 8.333_498e-3, 4.166_629_5e-2, 0.166_666_66, 0.5]);
    s.fma(s.mul(r, r), p, r)
}

/// `e^x - 1` within 1.5 ULP [2.5 without fused multiply-add] for `x <= 0`, without cancellation near zero; of `-0` it
/// is `-0`, and NaN stays NaN. Beyond -17.4 the result is -1. Not for positive `x`.
#[inline(always)]
pub(crate) fn expm1<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let y = s.max(s.splat(-20.0), x);
    let (n, r) = reduce_ln2(s, y);
    let expm1 = expm1_small(s, r);
    // 2^n - 1 is exact but for the smallest n, where it is -1 to the last place.
    let power = s.scale2(s.splat(1.0), n);
    let y = s.fma(power, expm1, s.sub(power, s.splat(1.0)));
    s.select(s.eq(x, s.zero()), x, y)
}
