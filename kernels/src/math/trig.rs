//! Sine and cosine of any finite argument.

use super::poly;
use crate::simd::Simd;

/// `π/2` in four parts. The first three have so few bits that their products with a quadrant's number are exact.
const HALF_PI: [f32; 4] = [1.570_312_5, 4.837_513e-4, 7.549_533_6e-8, 2.563_344e-12];

/// Up to here the parts are enough: the number of a quadrant has 13 bits.
const LARGE: f32 = 10_000.0;

/// `sin x` within 1.5 ULP; odd, of infinity NaN, and NaN stays NaN.
///
/// `x = n·π/2 + r` with `|r| <= π/4`; the sine or the cosine of `r`, and its sign, go by `n mod 4`.
#[inline(always)]
pub(crate) fn sin<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let (quadrant, r, low) = reduce(s, x);
    let odd = s.eq(s.abs(quadrant), s.splat(1.0));
    let y = s.select(odd, cos_small(s, r, low), sin_small(s, r, low));
    // Quadrants -2 and 2 are the same; -1 is the third.
    let opposite = s.lt(s.splat(1.5), s.abs(quadrant));
    let third = s.eq(quadrant, s.splat(-1.0));
    let y = s.select(opposite, s.neg(y), s.select(third, s.neg(y), y));
    // The reduction loses the sign of a zero.
    s.select(s.eq(x, s.zero()), x, y)
}

/// `cos x` within 1.5 ULP; even, of infinity NaN, and NaN stays NaN. See [`sin`].
#[inline(always)]
pub(crate) fn cos<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let (quadrant, r, low) = reduce(s, x);
    let odd = s.eq(s.abs(quadrant), s.splat(1.0));
    let y = s.select(odd, sin_small(s, r, low), cos_small(s, r, low));
    let opposite = s.lt(s.splat(1.5), s.abs(quadrant));
    let first = s.eq(quadrant, s.splat(1.0));
    s.select(opposite, s.neg(y), s.select(first, s.neg(y), y))
}

/// `x = n·π/2 + r + low`: the quadrant `n mod 4` in `-2..=2`, the rest, and what rounding the rest lost.
#[inline(always)]
fn reduce<S: Simd>(s: S, x: S::F32) -> (S::F32, S::F32, S::F32) {
    let [c1, c2, c3, c4] = HALF_PI;
    let (c1, c2, c3, c4) = (s.splat(c1), s.splat(c2), s.splat(c3), s.splat(c4));
    let near = s.lt(s.abs(x), s.splat(LARGE));
    let small = s.select(near, x, s.zero());
    let n = s.round(s.mul(small, s.splat(std::f32::consts::FRAC_2_PI)));
    let exact = s.fnma(n, c2, s.fnma(n, c1, small));
    let r = s.fnma(n, c3, exact);
    let low = s.fnma(n, c4, s.fnma(n, c3, s.sub(exact, r)));
    let quadrant = s.fnma(s.splat(4.0), s.round(s.mul(n, s.splat(0.25))), n);
    if !s.any(s.not(near)) {
        return (quadrant, r, low);
    }
    // Large arguments take another way, lane by lane; those of small ones are not changed by it.
    let [far_quadrant, far_r, far_low] = s.lanewise(x, reduce_large);
    (s.select(near, quadrant, far_quadrant), s.select(near, r, far_r), s.select(near, low, far_low))
}

/// The bits of `2/π` behind the binary point, after 32 zeros.
const TWO_OVER_PI: [u32; 9] =
    [0, 0xa2f9_836e, 0x4e44_1529, 0xfc27_57d1, 0xf534_ddc0, 0xdb62_9599, 0x3c43_9041, 0xfe51_63ab, 0xdebb_c561];

/// [`reduce`] for `|x| >= LARGE`, after Payne and Hanek: of `2/π` only the bits count whose products with `x` are not
/// multiples of four. For other numbers some result.
#[inline(never)]
fn reduce_large(x: f32) -> [f32; 3] {
    let bits = x.to_bits();
    let exponent = ((bits >> 23) & 0xff) as i32 - 150;
    if exponent == 105 {
        return [0.0, f32::NAN, 0.0];
    }
    if exponent < -10 {
        return [0.0; 3];
    }
    let mantissa = u128::from((bits & 0x7f_ffff) | 0x80_0000);
    // 96 bits from the one on whose weight times the mantissa's unit is 2.
    let start = (exponent + 30) as usize;
    let (word, shift) = (start / 32, start % 32);
    let window = TWO_OVER_PI[word..word + 4].iter().fold(0_u128, |window, &word| (window << 32) | u128::from(word));
    let window = (window << shift) >> 32;
    // The product modulo 4, with 94 bits behind the point, brought to the top of the word.
    let product = mantissa.wrapping_mul(window) << 32;
    let fraction = (product << 2) as i128;
    // To the nearest quadrant: a fraction of a half or more is the next one less a bit.
    let quadrant = (product >> 126) as i32 + i32::from(fraction < 0);
    let r = fraction as f64 * (std::f64::consts::FRAC_PI_2 / 340_282_366_920_938_463_463_374_607_431_768_211_456.0);
    let (quadrant, r) = if x < 0.0 { (-quadrant, -r) } else { (quadrant, r) };
    let high = r as f32;
    let nearest = ((quadrant + 1) & 3) - 1;
    [nearest as f32, high, (r - f64::from(high)) as f32]
}

/// `sin(r + low)` for `|r| <= π/4`.
#[inline(always)]
fn sin_small<S: Simd>(s: S, r: S::F32, low: S::F32) -> S::F32 {
    let t = s.mul(r, r);
    let p = poly(s, t, [-1.951_463_2e-4, 8.332_156e-3, -0.166_666_55]);
    s.add(r, s.fma(s.mul(t, r), p, low))
}

/// `cos(r + low)` for `|r| <= π/4`.
#[inline(always)]
fn cos_small<S: Simd>(s: S, r: S::F32, low: S::F32) -> S::F32 {
    let t = s.mul(r, r);
    let p = poly(s, t, [2.443_241_5e-5, -1.388_731e-3, 4.166_664_6e-2]);
    // 1 - t/2, and what rounding that lost.
    let one = s.splat(1.0);
    let half = s.mul(s.splat(0.5), t);
    let head = s.sub(one, half);
    let lost = s.sub(s.sub(one, head), half);
    s.add(head, s.add(s.fma(s.mul(t, t), p, s.neg(s.mul(r, low))), lost))
}
