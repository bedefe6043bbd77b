//! The positive part, and the gradient through it.

use crate::simd::Simd;

/// `max(x, 0)`, exact; NaN stays NaN and `-0` stays `-0`.
#[inline(always)]
pub(crate) fn relu<S: Simd>(s: S, x: S::F32) -> S::F32 {
    s.max(s.zero(), x)
}

/// `dy·[y > 0]`: the gradient through `relu`, from its output. Where `y` is NaN the gradient passes.
#[inline(always)]
pub(crate) fn relu_grad<S: Simd>(s: S, dy: S::F32, y: S::F32) -> S::F32 {
    s.select(s.lt(y, s.splat(f32::from_bits(1))), s.zero(), dy)
}
