//! `y = e^x`: what turns the notebook's logits into counts. Range `(0, inf)`; above 88.72 the result is infinite, below
//! -103.97 zero, in between subnormal results are exact to their last place.
//!
//! `d e^x/dx = e^x`, so backward needs only the output: `dx = dy·y`. It does not saturate upwards: a large `x` makes a
//! large gradient, which is why softmax subtracts the row maximum first.

use super::unary::{self, Unary};
use crate::error::Result;
use crate::exec::Exec;
use crate::math;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = e^x`, element by element; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>) -> Result<()> {
    unary::forward("exp::forward", exec, y.into(), x.into(), Exp)
}

/// `dx = dy·y`, element by element, from the output `y`; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    y: impl Into<View<'a>>,
) -> Result<()> {
    unary::backward("exp::backward", exec, dx.into(), dy.into(), y.into(), Exp)
}

/// `e^x` by its definition.
#[must_use]
pub fn reference(x: f64) -> f64 {
    x.exp()
}

/// `dy` times the derivative at `x`, by its definition.
#[must_use]
pub fn reference_backward(dy: f64, x: f64) -> f64 {
    dy * x.exp()
}

/// The function; saves its output.
#[derive(Clone, Copy)]
pub(crate) struct Exp;

impl Unary for Exp {
    const NS: [f64; 2] = [0.12, 0.06];
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        math::exp(s, x)
    }
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, dy: S::F32, y: S::F32) -> S::F32 {
        s.mul(dy, y)
    }
}
