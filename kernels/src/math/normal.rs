use super::{EXP2, poly};
use crate::simd::Simd;

/// Beyond it the distribution is 0 or 1 to the last place of 1.
const FAR: f32 = 10.5;

/// [`EXP2`] of half the size.
const HALF_EXP2: [f32; 7] = {
    let (mut half, mut i) = (EXP2, 0);
    while i < half.len() {
        half[i] *= 0.5;
        i += 1;
    }
    half
};

/// `2^t` for `-252 <= t <= 0` with the coefficients [`EXP2`], within a few ULP, or half of it.
#[inline(always)]
fn exp2<S: Simd>(s: S, t: S::F32, coefficients: [f32; 7]) -> S::F32 {
    let n = s.round(t);
    s.scale2(poly(s, s.sub(t, n), coefficients), n)
}

/// The normal distribution `Φ(x) = ½·(1 + erf(x/√2))`, the probability of a number below `x`, within `2^-23` of its
/// value: in the lower tail that is an absolute error, not one of the last place. From -10.5 on down it is zero; NaN
/// stays NaN.
///
/// The tail `½·erfc(|x|/√2)` is `½·2^p(|x|)` with a polynomial `p`, since the logarithm of a tail is smooth; above
/// zero it is what is missing to 1.
#[inline(always)]
pub(crate) fn normal<S: Simd>(s: S, x: S::F32) -> S::F32 {
    // With the magnitude as the second operand NaN passes through.
    let a = s.min(s.splat(FAR), s.abs(x));
    let p = poly(
        s,
        a,
        [
            -2.842_364_4e-6,
            3.946_502_3e-5,
            -1.865_906_8e-4,
            -1.359_444_7e-4,
            7.062_107_3e-3,
            -5.249_524_5e-2,
            -0.459_208_52,
            -1.151_105_2,
        ],
    );
    let tail = exp2(s, s.mul(p, a), HALF_EXP2);
    s.select(s.lt(x, s.zero()), tail, s.sub(s.splat(1.0), tail))
}

/// `x·φ(x)` with the density `φ(x) = e^(-x²/2)/√(2π)` of [`normal`], within `2^-23` of the sum of both; the derivative of
/// `x·Φ(x)` is that sum. Beyond ±18 it is zero; NaN stays NaN.
#[inline(always)]
pub(crate) fn normal_moment<S: Simd>(s: S, x: S::F32) -> S::F32 {
    // Infinity times zero is avoided; with `x` as the second operand NaN passes through.
    let x = s.min(s.splat(18.0), s.max(s.splat(-18.0), x));
    let t = s.mul(s.mul(x, x), s.splat(-0.5 * std::f32::consts::LOG2_E));
    s.mul(s.mul(x, s.splat(0.398_942_3)), exp2(s, t, EXP2))
}
