//! `y = x²`: `bndiff2` in the notebook. It overflows above 1.84e19.
//!
//! `dy/dx = 2x`: `dx = dy·2x`.

use super::unary::{self, Unary};
use crate::error::Result;
use crate::exec::Exec;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = x²`, element by element; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>) -> Result<()> {
    unary::forward("square::forward", exec, y.into(), x.into(), Square)
}

/// `dx = dy·2x`, element by element, from the input `x`; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
) -> Result<()> {
    unary::backward("square::backward", exec, dx.into(), dy.into(), x.into(), Square)
}

/// `x²` by its definition.
#[must_use]
pub fn reference(x: f64) -> f64 {
    x * x
}

/// `dy` times the derivative at `x`, by its definition.
#[must_use]
pub fn reference_backward(dy: f64, x: f64) -> f64 {
    dy * 2.0 * x
}

/// The function; saves its input.
#[derive(Clone, Copy)]
pub(crate) struct Square;

impl Unary for Square {
    const NS: [f64; 2] = [0.06, 0.06];
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        s.mul(x, x)
    }
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, dy: S::F32, x: S::F32) -> S::F32 {
        s.mul(dy, s.add(x, x))
    }
}
