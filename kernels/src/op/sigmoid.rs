//! `y = 1/(1 + e^-x)`: squashes to (0, 1), a probability; saturates beyond `|x| ≈ 6`, and its gradient is at most 1/4.
//!
//! `dy/dx = y·(1 - y)`, so backward needs only the output: `dx = dy·y·(1 - y)`.

use super::unary::Unary;
use crate::math;
use crate::simd::Simd;

/// The function; saves its output.
#[derive(Clone, Copy)]
pub(crate) struct Sigmoid;

impl Unary for Sigmoid {
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        math::sigmoid(s, x)
    }
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, dy: S::F32, y: S::F32) -> S::F32 {
        s.mul(dy, s.mul(y, s.sub(s.splat(1.0), y)))
    }
}
