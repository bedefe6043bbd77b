//! `y = x` for positive `x`, else `slope·x`: a relu whose units cannot die. PyTorch's default slope is 0.01.
//!
//! `dy/dx` is 1 for positive `x`, else `slope`, also at the kink `x = 0`, as in PyTorch: `dx = dy` or `dx = slope·dy`.

use super::unary::{self, Unary};
use crate::error::Result;
use crate::exec::Exec;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = max(x, 0) + slope·min(x, 0)`, element by element; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>, slope: f32) -> Result<()> {
    unary::forward("leaky_relu::forward", exec, y.into(), x.into(), LeakyRelu { slope })
}

/// `dx = dy·(1 or slope)`, element by element, from the input `x`; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    slope: f32,
) -> Result<()> {
    unary::backward("leaky_relu::backward", exec, dx.into(), dy.into(), x.into(), LeakyRelu { slope })
}

/// `max(x, 0) + slope·min(x, 0)` by its definition.
#[must_use]
pub fn reference(x: f64, slope: f64) -> f64 {
    if x > 0.0 { x } else { slope * x }
}

/// `dy` times the derivative at `x`, by its definition.
#[must_use]
pub fn reference_backward(dy: f64, x: f64, slope: f64) -> f64 {
    if x > 0.0 { dy } else { slope * dy }
}

/// The function; saves its input.
#[derive(Clone, Copy)]
pub(crate) struct LeakyRelu {
    pub(crate) slope: f32,
}

impl Unary for LeakyRelu {
    const NS: [f64; 2] = [0.06, 0.06];
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        s.select(s.lt(s.zero(), x), x, s.mul(s.splat(self.slope), x))
    }
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, dy: S::F32, x: S::F32) -> S::F32 {
        s.select(s.lt(s.zero(), x), dy, s.mul(s.splat(self.slope), dy))
    }
}
