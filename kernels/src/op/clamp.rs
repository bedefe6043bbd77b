//! `y = min(max(x, low), high)`, with either bound perhaps missing (an infinity). If `low` is above `high` every
//! element becomes `high`. NaN stays NaN, and a bound that is NaN makes every element NaN, as in PyTorch.
//!
//! `dy/dx` is 0 where `x < low` or `x > high`, else 1, on the bounds too, as in PyTorch. So where `x` is NaN the gradient
//! passes; PyTorch has 0 there.

use super::unary::{self, Unary};
use crate::error::Result;
use crate::exec::Exec;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = min(max(x, low), high)`, element by element; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>, low: f32, high: f32) -> Result<()> {
    unary::forward("clamp::forward", exec, y.into(), x.into(), Clamp { low, high })
}

/// `dx = dy` but for zero where `x < low` or `x > high`, element by element, from the input `x`; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    low: f32,
    high: f32,
) -> Result<()> {
    unary::backward("clamp::backward", exec, dx.into(), dy.into(), x.into(), Clamp { low, high })
}

/// `min(max(x, low), high)` by its definition.
#[must_use]
pub fn reference(x: f64, low: f64, high: f64) -> f64 {
    if x.is_nan() { x } else { x.max(low).min(high) }
}

/// `dy` times the derivative at `x`, by its definition.
#[must_use]
pub fn reference_backward(dy: f64, x: f64, low: f64, high: f64) -> f64 {
    if x < low || x > high { 0.0 } else { dy }
}

/// The function; saves its input.
#[derive(Clone, Copy)]
struct Clamp {
    low: f32,
    high: f32,
}

impl Unary for Clamp {
    const NS: [f64; 2] = [0.06, 0.06];
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        s.minimum(s.maximum(x, s.splat(self.low)), s.splat(self.high))
    }
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, dy: S::F32, x: S::F32) -> S::F32 {
        let above = s.select(s.lt(x, s.splat(self.low)), s.zero(), dy);
        s.select(s.lt(s.splat(self.high), x), s.zero(), above)
    }
}
