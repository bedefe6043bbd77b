//! `y = √x`, correctly rounded. Of a negative number it is NaN, and `√-0` is `-0`.
//!
//! `dy/dx = 1/(2√x) = 1/(2y)`, so backward needs only the output: `dx = dy/(2y)`, infinite at zero.

use super::unary::{self, Unary};
use crate::error::Result;
use crate::exec::Exec;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = √x`, element by element; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>) -> Result<()> {
    unary::forward("sqrt::forward", exec, y.into(), x.into(), Sqrt)
}

/// `dx = dy/(2y)`, element by element, from the output `y`; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    y: impl Into<View<'a>>,
) -> Result<()> {
    unary::backward("sqrt::backward", exec, dx.into(), dy.into(), y.into(), Sqrt)
}

/// `√x` by its definition.
#[must_use]
pub fn reference(x: f64) -> f64 {
    x.sqrt()
}

/// `dy` times the derivative at `x`, by its definition.
#[must_use]
pub fn reference_backward(dy: f64, x: f64) -> f64 {
    dy / (2.0 * x.sqrt())
}

/// The function; saves its output.
#[derive(Clone, Copy)]
pub(crate) struct Sqrt;

impl Unary for Sqrt {
    const NS: [f64; 2] = [0.1, 0.08];
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        s.sqrt(x)
    }
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, dy: S::F32, y: S::F32) -> S::F32 {
        s.div(dy, s.add(y, y))
    }
}
