//! `y = |x|`.
//!
//! `dy/dx` is the sign of `x`. At the kink, `x = 0`, every number of `[-1, 1]` is a subgradient; as in PyTorch it is 0.
//! A NaN stays NaN both ways.

use super::unary::{self, Unary};
use crate::error::Result;
use crate::exec::Exec;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = |x|`, element by element; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>) -> Result<()> {
    unary::forward("abs::forward", exec, y.into(), x.into(), Abs)
}

/// `dx = dy·sign(x)`, element by element, from the input `x`; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
) -> Result<()> {
    unary::backward("abs::backward", exec, dx.into(), dy.into(), x.into(), Abs)
}

/// `|x|` by its definition.
#[must_use]
pub fn reference(x: f64) -> f64 {
    x.abs()
}

/// `dy` times the derivative at `x`, by its definition.
#[must_use]
pub fn reference_backward(dy: f64, x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { dy * x.signum() }
}

/// The function; saves its input.
#[derive(Clone, Copy)]
pub(crate) struct Abs;

impl Unary for Abs {
    const NS: [f64; 2] = [0.06, 0.06];
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        s.abs(x)
    }
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, dy: S::F32, x: S::F32) -> S::F32 {
        let sign = s.copysign(s.splat(1.0), x);
        // Zero and NaN are their own signs.
        s.mul(dy, s.select(s.lt(s.zero(), s.abs(x)), sign, x))
    }
}
