//! `y = 1/x`: `counts_sum_inv` in the notebook. `1/±0` is `±inf`, `1/±inf` is `±0`.
//!
//! `dy/dx = -1/x² = -y²`, so backward needs only the output: `dx = -dy·y²`.

use super::unary::{self, Unary};
use crate::error::Result;
use crate::exec::Exec;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = 1/x`, element by element; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>) -> Result<()> {
    unary::forward("reciprocal::forward", exec, y.into(), x.into(), Reciprocal)
}

/// `dx = -dy·y²`, element by element, from the output `y`; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    y: impl Into<View<'a>>,
) -> Result<()> {
    unary::backward("reciprocal::backward", exec, dx.into(), dy.into(), y.into(), Reciprocal)
}

/// `1/x` by its definition.
#[must_use]
pub fn reference(x: f64) -> f64 {
    1.0 / x
}

/// `dy` times the derivative at `x`, by its definition.
#[must_use]
pub fn reference_backward(dy: f64, x: f64) -> f64 {
    -dy / (x * x)
}

/// The function; saves its output.
#[derive(Clone, Copy)]
pub(crate) struct Reciprocal;

impl Unary for Reciprocal {
    const NS: [f64; 2] = [0.08, 0.06];
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        s.div(s.splat(1.0), x)
    }
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, dy: S::F32, y: S::F32) -> S::F32 {
        s.neg(s.mul(dy, s.mul(y, y)))
    }
}
