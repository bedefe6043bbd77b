//! `y = x·sigmoid(x) = x/(1 + e^-x)`, the swish: smooth, close to `x` for large `x` and to 0 for very negative ones,
//! with its least value -0.278 at `x = -1.278`. Within 2.5 ULP. Of `-inf` it is `-0`, the limit.
//!
//! `dy/dx = p·(1 + x·(1 - p))` with `p = sigmoid(x)`: backward needs the input.

use super::unary::{self, Unary};
use crate::error::Result;
use crate::exec::Exec;
use crate::math;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = x/(1 + e^-x)`, element by element; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>) -> Result<()> {
    unary::forward("silu::forward", exec, y.into(), x.into(), Silu)
}

/// `dx = dy·p·(1 + x·(1 - p))`, element by element, from the input `x`; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
) -> Result<()> {
    unary::backward("silu::backward", exec, dx.into(), dy.into(), x.into(), Silu)
}

/// `x/(1 + e^-x)` by its definition.
#[must_use]
pub fn reference(x: f64) -> f64 {
    if x == f64::NEG_INFINITY { -0.0 } else { x / (1.0 + (-x).exp()) }
}

/// `dy` times the derivative at `x`, by its definition.
#[must_use]
pub fn reference_backward(dy: f64, x: f64) -> f64 {
    if x.is_infinite() {
        return if x > 0.0 { dy } else { 0.0 };
    }
    let p = 1.0 / (1.0 + (-x).exp());
    dy * p * (1.0 + x * (1.0 - p))
}

/// The function; saves its input.
#[derive(Clone, Copy)]
pub(crate) struct Silu;

impl Unary for Silu {
    const NS: [f64; 2] = [0.2, 0.35];
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        // e^-|x| = (1 + p)·2^n: only that is formed, so nothing overflows, and x·(1 + p) is rounded once and scaled last,
        // so nothing is lost where e^x is subnormal and x·e^x is not. Below -120 the result is zero, and infinity times
        // zero is avoided.
        let least = s.max(s.splat(-120.0), x);
        let (p, n) = math::expm1_parts(s, s.neg(s.min(s.splat(120.0), s.abs(x))));
        let top = s.select(s.lt(x, s.zero()), s.scale2(s.fma(least, p, least), n), x);
        s.div(top, s.add(s.splat(1.0), s.scale2(s.add(s.splat(1.0), p), n)))
    }
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, dy: S::F32, x: S::F32) -> S::F32 {
        let p = math::sigmoid(s, x);
        let other = math::sigmoid(s, s.neg(x));
        // Beyond 200 the product is 0 or 1, and infinity times zero is avoided.
        let x = s.min(s.splat(200.0), s.max(s.splat(-200.0), x));
        s.mul(dy, s.mul(p, s.fma(x, other, s.splat(1.0))))
    }
}
