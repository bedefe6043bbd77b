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
        let least = s.max(s.splat(-FAR), x);
        let Logistic { p, n, e, sum } = Logistic::of(s, x);
        // x·(1 + p) is rounded once and scaled last, so nothing is lost where e^x is subnormal and x·e^x is not.
        let top = s.select(s.lt(x, s.zero()), s.scale2(s.fma(least, p, least), n), x);
        let y = s.div(top, sum);
        // What rounding the sum and the quotient lost, over the sum, of which a few bits are enough. Far from zero that
        // is nothing, and of infinity no number.
        let lost = s.fnma(y, lost_in_sum(s, e, sum), s.fnma(y, sum, top));
        let near = s.fma(lost, s.fma(s.splat(-0.5), e, s.splat(0.957)), y);
        s.copysign(s.select(s.lt(s.abs(x), s.splat(FAR)), near, y), x)
    }
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, dy: S::F32, x: S::F32) -> S::F32 {
        let one = s.splat(1.0);
        let Logistic { p, n, e, sum } = Logistic::of(s, x);
        // Beyond 200 the slope is 1, beyond -120 it is 0, and infinity times zero is avoided.
        let x = s.min(s.splat(200.0), s.max(s.splat(-FAR), x));
        // σ(|x|) = 1/(1 + e), with what rounding the sum and the quotient lost.
        let rough = s.div(one, sum);
        let lost = s.fnma(rough, lost_in_sum(s, e, sum), s.fnma(rough, sum, one));
        let near = s.fma(lost, rough, rough);
        let above = s.mul(near, s.fma(x, s.mul(e, near), one));
        // Below zero σ(x) = e·σ(|x|): the power is applied last, so that a subnormal slope has all its bits.
        let below = s.mul(near, s.fma(x, near, one));
        let below = s.scale2(s.fma(below, p, below), n);
        s.mul(dy, s.select(s.lt(x, s.zero()), below, above))
    }
}

/// Beyond it the exponential of the magnitude is nothing beside one, and so is `x·e^x`.
const FAR: f32 = 120.0;

/// `e = e^-|x| = (1 + p)·2^n` and `1 + e`: only that is formed, so nothing overflows.
struct Logistic<S: Simd> {
    p: S::F32,
    n: S::F32,
    e: S::F32,
    sum: S::F32,
}

impl<S: Simd> Logistic<S> {
    #[inline(always)]
    fn of(s: S, x: S::F32) -> Self {
        let (p, n) = math::expm1_parts(s, s.neg(s.min(s.splat(FAR), s.abs(x))));
        let e = s.scale2(s.add(s.splat(1.0), p), n);
        Self { p, n, e, sum: s.add(s.splat(1.0), e) }
    }
}

/// What `sum = 1 + e` is short of the exact sum, for `e` up to one.
#[inline(always)]
fn lost_in_sum<S: Simd>(s: S, e: S::F32, sum: S::F32) -> S::F32 {
    s.sub(e, s.sub(sum, s.splat(1.0)))
}
