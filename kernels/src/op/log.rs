//! `y = ln x`, the natural logarithm: `logprobs` in the notebook. Defined for `x > 0`; `ln 0` is `-inf`, of a negative
//! number it is NaN, and subnormal arguments are exact to the last place.
//!
//! `d ln(x)/dx = 1/x`: `dx = dy/x`. The gradient has no bound near zero: a label that got a tiny probability pulls
//! hard.

use super::unary::{self, Unary};
use crate::error::Result;
use crate::exec::Exec;
use crate::math;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = ln x`, element by element; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>) -> Result<()> {
    unary::forward("log::forward", exec, y.into(), x.into(), Log)
}

/// `dx = dy/x`, element by element, from the input `x`; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
) -> Result<()> {
    unary::backward("log::backward", exec, dx.into(), dy.into(), x.into(), Log)
}

/// `ln x` by its definition.
#[must_use]
pub fn reference(x: f64) -> f64 {
    x.ln()
}

/// `dy` times the derivative at `x`, by its definition.
#[must_use]
pub fn reference_backward(dy: f64, x: f64) -> f64 {
    dy / x
}

/// The function; saves its input.
#[derive(Clone, Copy)]
pub(crate) struct Log;

impl Unary for Log {
    const NS: [f64; 2] = [0.16, 0.08];
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        math::ln(s, x)
    }
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, dy: S::F32, x: S::F32) -> S::F32 {
        s.div(dy, x)
    }
}
