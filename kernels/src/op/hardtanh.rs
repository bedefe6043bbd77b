//! `y = min(max(x, low), high)`: a tanh of straight lines, with PyTorch's defaults -1 and 1. It saturates outside
//! `[low, high]`. NaN stays NaN.
//!
//! `dy/dx` is 1 inside and 0 outside; at both kinks it is 0, as in PyTorch (unlike [`clamp`](super::clamp)).

use super::unary::{self, Unary};
use crate::error::{ErrorKind, Result};
use crate::exec::Exec;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = min(max(x, low), high)`, element by element; shapes are equal.
///
/// # Errors
/// If the shapes differ, or `high` is below `low`.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>, low: f32, high: f32) -> Result<()> {
    check("hardtanh::forward", low, high)?;
    unary::forward("hardtanh::forward", exec, y.into(), x.into(), Hardtanh { low, high })
}

/// `dx = dy·[low < x < high]`, element by element, from the input `x`; shapes are equal.
///
/// # Errors
/// If the shapes differ, or `high` is below `low`.
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    low: f32,
    high: f32,
) -> Result<()> {
    check("hardtanh::backward", low, high)?;
    unary::backward("hardtanh::backward", exec, dx.into(), dy.into(), x.into(), Hardtanh { low, high })
}

/// `min(max(x, low), high)` by its definition.
#[must_use]
pub fn reference(x: f64, low: f64, high: f64) -> f64 {
    if x.is_nan() { x } else { x.max(low).min(high) }
}

/// `dy` times the derivative at `x`, by its definition.
#[must_use]
pub fn reference_backward(dy: f64, x: f64, low: f64, high: f64) -> f64 {
    if x <= low || x >= high { 0.0 } else { dy }
}

/// Checks the bounds.
fn check(op: &'static str, low: f32, high: f32) -> Result<()> {
    if low <= high {
        return Ok(());
    }
    Err(ErrorKind::Value { op, arg: "high", want: "at least `low`", got: high.into() }.into())
}

/// The function; saves its input.
#[derive(Clone, Copy)]
pub(crate) struct Hardtanh {
    pub(crate) low: f32,
    pub(crate) high: f32,
}

impl Unary for Hardtanh {
    const NS: [f64; 2] = [0.06, 0.06];
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        s.min(s.splat(self.high), s.max(s.splat(self.low), x))
    }
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, dy: S::F32, x: S::F32) -> S::F32 {
        let inside = s.select(s.lt(s.splat(self.low), x), dy, s.zero());
        let inside = s.select(s.lt(x, s.splat(self.high)), inside, s.zero());
        s.select(s.is_nan(x), dy, inside)
    }
}
