//! `y = 1/(1 + e^-x)`: squashes to (0, 1), to be read as a probability. It saturates beyond `|x| ≈ 6`, and its gradient
//! is at most 1/4.
//!
//! `dy/dx = y·(1 - y)`, so backward needs only the output: `dx = dy·y·(1 - y)`.

use super::unary::{self, Unary};
use crate::error::Result;
use crate::exec::Exec;
use crate::math;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = 1/(1 + e^-x)`, element by element; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>) -> Result<()> {
    unary::forward("sigmoid::forward", exec, y.into(), x.into(), Sigmoid)
}

/// `dx = dy·y·(1 - y)`, element by element, from the output `y`; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    y: impl Into<View<'a>>,
) -> Result<()> {
    unary::backward("sigmoid::backward", exec, dx.into(), dy.into(), y.into(), Sigmoid)
}

/// `1/(1 + e^-x)` by its definition.
#[must_use]
pub fn reference(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `dy` times the derivative at `x`, by its definition.
#[must_use]
pub fn reference_backward(dy: f64, x: f64) -> f64 {
    let y = reference(x);
    dy * y * (1.0 - y)
}

/// The function; saves its output.
#[derive(Clone, Copy)]
pub(crate) struct Sigmoid;

impl Unary for Sigmoid {
    const NS: [f64; 2] = [0.17, 0.06];
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        math::sigmoid(s, x)
    }
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, dy: S::F32, y: S::F32) -> S::F32 {
        math::sigmoid_grad(s, dy, y)
    }
}
