//! `y = tanh x`: the activation of the notebook. Range (-1, 1), zero-centred; it saturates beyond `|x| ≈ 3`, where the
//! gradient dies.
//!
//! `d tanh(x)/dx = 1 - tanh²(x)`, so backward needs only the output: `dx = dy·(1 - y²)`.

use super::unary::{self, Unary};
use crate::error::Result;
use crate::exec::Exec;
use crate::math;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = tanh x`, element by element; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>) -> Result<()> {
    unary::forward("tanh::forward", exec, y.into(), x.into(), Tanh)
}

/// `dx = dy·(1 - y²)`, element by element, from the output `y`; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    y: impl Into<View<'a>>,
) -> Result<()> {
    unary::backward("tanh::backward", exec, dx.into(), dy.into(), y.into(), Tanh)
}

/// `tanh x` by its definition.
#[must_use]
pub fn reference(x: f64) -> f64 {
    x.tanh()
}

/// `dy` times the derivative at `x`, by its definition.
#[must_use]
pub fn reference_backward(dy: f64, x: f64) -> f64 {
    let y = x.tanh();
    dy * (1.0 - y * y)
}

/// The function; saves its output.
#[derive(Clone, Copy)]
pub(crate) struct Tanh;

impl Unary for Tanh {
    const NS: [f64; 2] = [0.2, 0.06];
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        math::tanh(s, x)
    }
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, dy: S::F32, y: S::F32) -> S::F32 {
        math::tanh_grad(s, dy, y)
    }
}
