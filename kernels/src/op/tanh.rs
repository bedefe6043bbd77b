//! `y = tanh x`: the activation of the notebook. Range (-1, 1), zero-centred; it saturates beyond `|x| ≈ 3`, where the
//! gradient dies.
//!
//! `d tanh(x)/dx = 1 - tanh²(x)`, so backward needs only the output: `dx = dy·(1 - y²)`.

use super::unary::Unary;
use crate::math;
use crate::simd::Simd;

/// The function; saves its output.
#[derive(Clone, Copy)]
pub(crate) struct Tanh;

impl Unary for Tanh {
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        math::tanh(s, x)
    }
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, dy: S::F32, y: S::F32) -> S::F32 {
        s.mul(dy, s.fnma(y, y, s.splat(1.0)))
    }
}
