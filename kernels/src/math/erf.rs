use super::{exp, poly};
use crate::simd::Simd;

/// `erf x = 2/√π·∫ e^(-t²)dt` from 0 to `x`, within 2 ULP [3 without fused multiply-add]; odd, `±1` beyond
/// `|x| = 3.95`, NaN stays NaN.
///
/// Two pieces, blended lane by lane. Below 0.93 an odd polynomial `x + x·q(x²)`; above it `1 - e^-p(|x|)` with the sign
/// of `x`, since the logarithm of what is missing to 1 is smooth.
#[inline(always)]
pub(crate) fn erf<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let a = s.abs(x);
    let q = poly(
        s,
        s.mul(x, x),
        [8.185_101e-5, -8.097_705_4e-4, 5.196_952_3e-3, -2.685_770_6e-2, 0.112_836_63, -0.376_126_32, 0.128_379_17],
    );
    let small = s.fma(a, q, a);

    // With `a` as the second operand NaN passes through.
    let far = s.min(s.splat(3.95), a);
    let p = poly(
        s,
        far,
        [
            2.121_792_2e-5,
            -4.358_847_8e-4,
            4.177_963e-3,
            -2.513_762_4e-2,
            0.108_308_28,
            0.633_321_2,
            1.129_527_7,
            -1.773_353_1e-4,
        ],
    );
    let large = s.sub(s.splat(1.0), exp(s, s.neg(p)));

    // The sign goes on last: the polynomial loses that of a zero.
    s.copysign(s.select(s.lt(a, s.splat(0.93)), small, large), x)
}
