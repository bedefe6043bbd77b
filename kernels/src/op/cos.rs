//! `y = cos x`, within 1.5 ULP for every finite `x`, the largest included. Of an infinity it is NaN.
//!
//! `dy/dx = -sin x`, so backward needs the input: `dx = -dy·sin x`.

use super::unary::{self, Unary};
use crate::error::Result;
use crate::exec::Exec;
use crate::math;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = cos x`, element by element; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>) -> Result<()> {
    unary::forward("cos::forward", exec, y.into(), x.into(), Cos)
}

/// `dx = -dy·sin x`, element by element, from the input `x`; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
) -> Result<()> {
    unary::backward("cos::backward", exec, dx.into(), dy.into(), x.into(), Cos)
}

/// `cos x` by its definition.
#[must_use]
pub fn reference(x: f64) -> f64 {
    x.cos()
}

/// `dy` times the derivative at `x`, by its definition.
#[must_use]
pub fn reference_backward(dy: f64, x: f64) -> f64 {
    -dy * x.sin()
}

/// The function; saves its input.
#[derive(Clone, Copy)]
pub(crate) struct Cos;

impl Unary for Cos {
    const NS: [f64; 2] = [0.25, 0.25];
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        math::cos(s, x)
    }
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, dy: S::F32, x: S::F32) -> S::F32 {
        s.neg(s.mul(dy, math::sin(s, x)))
    }
}
