//! `y = x` for positive `x`, else `alpha·(e^x - 1)`: like a relu, but smooth (for `alpha = 1`) and with a mean near
//! zero. It saturates at `-alpha`. Within 2.5 ULP; `e^x - 1` does not cancel near zero.
//!
//! `dy/dx` is 1 for positive `x`, else `alpha·e^x`: at `x = 0` it is `alpha`, as in PyTorch.

use super::unary::{self, Unary};
use crate::error::Result;
use crate::exec::Exec;
use crate::math;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = x or alpha·(e^x - 1)`, element by element; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>, alpha: f32) -> Result<()> {
    unary::forward("elu::forward", exec, y.into(), x.into(), Elu { alpha })
}

/// `dx = dy·(1 or alpha·e^x)`, element by element, from the input `x`; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    alpha: f32,
) -> Result<()> {
    unary::backward("elu::backward", exec, dx.into(), dy.into(), x.into(), Elu { alpha })
}

/// `x or alpha·(e^x - 1)` by its definition.
#[must_use]
pub fn reference(x: f64, alpha: f64) -> f64 {
    if x > 0.0 { x } else { alpha * x.exp_m1() }
}

/// `dy` times the derivative at `x`, by its definition.
#[must_use]
pub fn reference_backward(dy: f64, x: f64, alpha: f64) -> f64 {
    if x > 0.0 { dy } else { dy * alpha * x.exp() }
}

/// The function; saves its input.
#[derive(Clone, Copy)]
pub(crate) struct Elu {
    pub(crate) alpha: f32,
}

impl Unary for Elu {
    const NS: [f64; 2] = [0.15, 0.15];
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        s.select(s.lt(s.zero(), x), x, s.mul(s.splat(self.alpha), math::expm1(s, s.min(s.zero(), x))))
    }
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, dy: S::F32, x: S::F32) -> S::F32 {
        let slope = s.mul(s.splat(self.alpha), math::exp(s, s.min(s.zero(), x)));
        s.mul(dy, s.select(s.lt(s.zero(), x), s.splat(1.0), slope))
    }
}
