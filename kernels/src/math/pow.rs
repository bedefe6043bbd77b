use super::exp::expm1_small;
use super::{LN2_HI, LN2_LO, poly, reduce_ln2};
use crate::simd::Simd;

/// A number as the sum of two floats, the second far smaller.
#[derive(Clone, Copy)]
struct Two<V> {
    high: V,
    low: V,
}

/// `a^b` within 2 ULP [2.5 without fused multiply-add]. Special values are those of C and IEEE 754: `a^0` and `1^b` are
/// 1 even if the other is NaN, a negative base has a power only if `b` is an integer, and zero and infinity keep the
/// sign of a negative base where `b` is odd.
///
/// `e^(b·ln |a|)`, with the logarithm and the product as sums of two floats: an error in the exponent is a relative
/// error of the result.
#[inline(always)]
pub(crate) fn pow<S: Simd>(s: S, a: S::F32, b: S::F32) -> S::F32 {
    let (zero, one, infinity) = (s.zero(), s.splat(1.0), s.splat(f32::INFINITY));
    let base = s.abs(a);
    let log = ln_two(s, base);
    let Two { high, low } = product(s, b, log.high);
    let low = s.fma(b, log.low, low);
    // Beyond this the result is 0 or infinite whatever the second part says (which may be NaN there).
    let low = s.select(s.lt(s.abs(high), s.splat(150.0)), low, zero);
    // Of a huge exponent the halves overflow; the logarithm is then zero, or the result beyond.
    let low = s.select(s.lt(s.abs(b), s.splat(1e18)), low, zero);
    let y = exp_two(s, Two { high, low });

    // b = 4k + rest: an integer if the rest is, odd if that is ±1. Beyond 2^24 every float is even.
    let rest = s.fnma(s.splat(4.0), s.round(s.mul(b, s.splat(0.25))), b);
    let bounded = s.lt(s.abs(b), s.splat(16_777_216.0));
    let is_odd = |t: S::F32, f: S::F32| s.select(bounded, s.select(s.eq(s.abs(rest), one), t, f), f);
    let is_integer = |t: S::F32, f: S::F32| s.select(bounded, s.select(s.eq(s.round(rest), rest), t, f), t);
    // The sign of the base, where it is negative (or a negative zero).
    let signed = s.copysign(y, a);
    let y = is_odd(signed, y);
    let y = s.select(s.lt(a, zero), is_integer(y, s.select(s.eq(base, infinity), y, s.splat(f32::NAN))), y);
    // (±1)^±inf is 1; a^0 and 1^b are 1 whatever the other is.
    let y = s.select(s.eq(s.abs(b), infinity), s.select(s.eq(base, one), one, y), y);
    let y = s.select(s.eq(b, zero), one, y);
    s.select(s.eq(a, one), one, y)
}

/// `a·b` and what rounding it lost; exact unless one of them is tiny or huge.
#[inline(always)]
fn product<S: Simd>(s: S, a: S::F32, b: S::F32) -> Two<S::F32> {
    let high = s.mul(a, b);
    if S::FUSED {
        return Two { high, low: s.fma(a, b, s.neg(high)) };
    }
    // Dekker's product: halves of twelve bits have exact products.
    let halves = |x: S::F32| {
        let scaled = s.mul(s.splat(4097.0), x);
        let upper = s.sub(scaled, s.sub(scaled, x));
        (upper, s.sub(x, upper))
    };
    let ((a, a_low), (b, b_low)) = (halves(a), halves(b));
    let sum = s.add(s.sub(s.mul(a, b), high), s.mul(a, b_low));
    Two { high, low: s.add(s.add(sum, s.mul(a_low, b)), s.mul(a_low, b_low)) }
}

/// `ln x` of a number that is not negative, as the sum of two floats.
///
/// `x = m·2^e` and `ln m = 2·atanh t` with `t = (m - 1)/(m + 1)`: the first two terms, `2t + ⅔t³`, in two floats, the
/// rest in one.
#[inline(always)]
fn ln_two<S: Simd>(s: S, x: S::F32) -> Two<S::F32> {
    let (m, e) = s.frexp(x);
    let one = s.splat(1.0);
    let (numerator, denominator) = (s.sub(m, one), s.add(m, one));
    let lost = s.sub(m, s.sub(denominator, one));
    let t = s.div(numerator, denominator);
    let whole = product(s, t, denominator);
    let t_low = s.div(s.fnma(t, lost, s.sub(s.sub(numerator, whole.high), whole.low)), denominator);
    let Two { high: t2, low } = product(s, t, t);
    let t2_low = s.fma(s.add(t, t), t_low, low);
    let Two { high: t3, low } = product(s, t2, t);
    let t3_low = s.fma(t2, t_low, s.fma(t2_low, t, low));
    let (third, third_low) = (s.splat(0.666_666_7), s.splat(-1.986_821_6e-8));
    let Two { high: cube, low } = product(s, third, t3);
    let cube_low = s.fma(third, t3_low, s.fma(third_low, t3, low));
    let rest = poly(s, t2, [0.238_741_3, 0.285_255_46, 0.400_003_9]);
    let rest = s.mul(s.mul(t3, t2), rest);

    // e·ln 2 + 2t + cube: the sums of the high parts are exact with what they lose, larger first.
    let (hi, twice) = (s.mul(e, s.splat(LN2_HI)), s.add(t, t));
    let head = s.add(hi, twice);
    let head_lost = s.add(s.sub(hi, s.sub(head, twice)), s.sub(twice, s.sub(head, s.sub(head, twice))));
    let sum = s.add(head, cube);
    let sum_lost = s.sub(cube, s.sub(sum, head));
    let small = s.fma(e, s.splat(LN2_LO), s.add(t_low, t_low));
    let low = s.add(s.add(head_lost, sum_lost), s.add(s.add(rest, cube_low), small));
    let high = s.add(sum, low);
    let low = s.sub(low, s.sub(high, sum));

    // Zero, infinity and NaN have no mantissa.
    let high = s.select(s.eq(x, s.zero()), s.splat(f32::NEG_INFINITY), high);
    let finite = s.lt(x, s.splat(f32::INFINITY));
    Two { high: s.select(finite, high, x), low: s.select(finite, low, s.zero()) }
}

/// `e^x` of a sum of two floats; see [`exp`](super::exp).
#[inline(always)]
fn exp_two<S: Simd>(s: S, x: Two<S::F32>) -> S::F32 {
    let high = s.min(s.splat(89.5), s.max(s.splat(-104.5), x.high));
    let (n, r) = reduce_ln2(s, high);
    let r = s.add(r, x.low);
    s.scale2(s.add(expm1_small(s, r), s.splat(1.0)), n)
}
