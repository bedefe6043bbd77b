//! `y = 1/√x`, within 1.5 ULP: the notebook's `bnvar_inv`, where `x` is the variance plus `eps`. Of a negative number it
//! is NaN, of `±0` it is `±inf`.
//!
//! `dy/dx = -½·x^(-3/2) = -½·y³`, so backward needs only the output: `dx = -½·dy·y³`.

use super::unary::{self, Unary};
use crate::error::Result;
use crate::exec::Exec;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = 1/√x`, element by element; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>) -> Result<()> {
    unary::forward("rsqrt::forward", exec, y.into(), x.into(), Rsqrt)
}

/// `dx = -½·dy·y³`, element by element, from the output `y`; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    y: impl Into<View<'a>>,
) -> Result<()> {
    unary::backward("rsqrt::backward", exec, dx.into(), dy.into(), y.into(), Rsqrt)
}

/// `1/√x` by its definition.
#[must_use]
pub fn reference(x: f64) -> f64 {
    1.0 / x.sqrt()
}

/// `dy` times the derivative at `x`, by its definition.
#[must_use]
pub fn reference_backward(dy: f64, x: f64) -> f64 {
    let y = 1.0 / x.sqrt();
    -0.5 * dy * y * y * y
}

/// The function; saves its output.
#[derive(Clone, Copy)]
pub(crate) struct Rsqrt;

impl Unary for Rsqrt {
    const NS: [f64; 2] = [0.15, 0.06];
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        s.div(s.splat(1.0), s.sqrt(x))
    }
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, dy: S::F32, y: S::F32) -> S::F32 {
        // The half with two of the three: y³ overflows where the result does not.
        s.mul(s.mul(s.mul(s.splat(-0.5), dy), y), s.mul(y, y))
    }
}
