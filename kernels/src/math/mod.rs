//! Functions of one register. None knows a slice; each states its error bound, in units in the last place of the
//! exact result (ULP), over all finite inputs.
//!
//! A branch that depends on the data is blended lane by lane, so that a value never depends on its neighbours.
//! Every tier with a fused multiply-add gives the same bits; the others stay within the bounds given in brackets.

mod exp;
mod ln;
mod normal;
mod pow;
mod relu;
mod sigmoid;
mod softplus;
mod tanh;
mod threefry;
mod trig;

pub(crate) use exp::{exp, expm1, expm1_parts};
pub(crate) use ln::ln;
pub(crate) use normal::{normal, normal_moment};
pub(crate) use pow::pow;
pub(crate) use relu::{relu, relu_grad};
pub(crate) use sigmoid::{sigmoid, sigmoid_grad};
pub(crate) use softplus::softplus;
pub(crate) use tanh::{tanh, tanh_grad};
pub(crate) use threefry::{threefry2x32, threefry2x32_one};
pub(crate) use trig::{cos, sin};

use crate::simd::Simd;

/// The high part of `ln 2`: its 13 lowest bits are zero, so that its product with an exponent is exact.
const LN2_HI: f32 = 0.693_145_75;
/// `ln 2 - LN2_HI`.
const LN2_LO: f32 = 1.428_606_8e-6;

/// Coefficients of `2^r` for `|r| <= ½`.
const EXP2: [f32; 7] = [1.550_33e-4, 1.341_351e-3, 9.617_903e-3, 5.550_281_7e-2, 0.240_226_52, 0.693_147_24, 1.0];

/// Horner's scheme: `c[0]·x^(n-1) + … + c[n-1]`, one fma a coefficient.
#[inline(always)]
fn poly<S: Simd, const N: usize>(s: S, x: S::F32, c: [f32; N]) -> S::F32 {
    let mut sum = s.splat(c[0]);
    for &c in &c[1..] {
        sum = s.fma(sum, x, s.splat(c));
    }
    sum
}

/// `x = n·ln 2 + r` with integral `n` and `|r| <= ln(2)/2`: returns `(n, r)`.
#[inline(always)]
fn reduce_ln2<S: Simd>(s: S, x: S::F32) -> (S::F32, S::F32) {
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.fnma(n, s.splat(LN2_HI), x);
    (n, s.fnma(n, s.splat(LN2_LO), r))
}

#[cfg(test)]
mod tests;
