//! `y = max(x, 0)`: range `[0, inf)`. It does not saturate for positive `x`; a unit that is negative for every example
//! gets no gradient and is dead. NaN stays NaN, and of `-0` it is `-0`.
//!
//! `dy/dx` is 1 for positive `x`, else 0; at the kink, `x = 0`, it is 0, as in PyTorch. The output tells which, so
//! backward needs only that: `dx = dy·[y > 0]`. Where `y` is NaN the gradient passes.

use super::unary::{self, Unary};
use crate::error::Result;
use crate::exec::Exec;
use crate::math;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = max(x, 0)`, element by element; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>) -> Result<()> {
    unary::forward("relu::forward", exec, y.into(), x.into(), Relu)
}

/// `dx = dy·[y > 0]`, element by element, from the output `y`; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    y: impl Into<View<'a>>,
) -> Result<()> {
    unary::backward("relu::backward", exec, dx.into(), dy.into(), y.into(), Relu)
}

/// `max(x, 0)` by its definition.
#[must_use]
pub fn reference(x: f64) -> f64 {
    if x.is_nan() || x > 0.0 { x } else { 0.0 }
}

/// `dy` times the derivative at `x`, by its definition.
#[must_use]
pub fn reference_backward(dy: f64, x: f64) -> f64 {
    if x <= 0.0 { 0.0 } else { dy }
}

/// The function; saves its output.
#[derive(Clone, Copy)]
pub(crate) struct Relu;

impl Unary for Relu {
    const NS: [f64; 2] = [0.06, 0.06];
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        math::relu(s, x)
    }
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, dy: S::F32, y: S::F32) -> S::F32 {
        math::relu_grad(s, dy, y)
    }
}
