//! `y = ln Σ e^x` over any set of axes, as `m + ln Σ e^(x - m)` with the maximum `m`, so that nothing overflows: a
//! smooth maximum, and the normaliser of the softmax.
//!
//! `dy/dx = e^x/Σ e^x = e^(x - y)`, the softmax: `dx = dy·e^(x - y)`. Where `m` is infinite 0 takes its place, so that
//! of nothing but `-inf` the result is `-inf`, and with a `+inf` it is `+inf`. Of nothing it is `-inf`.

use super::Axes;
use crate::elementwise;
use crate::error::{Result, expect_shape};
use crate::exec::Exec;
use crate::lanes::Map;
use crate::math;
use crate::reduce::{self, Extreme, Greatest, Numbers, Parts, Reduced, SumOf, Term};
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// Nanoseconds of one core an element, for the split over threads.
const NS: f64 = 0.25;

/// `y = ln Σ e^x` over `axes`; the shape of `y` is that of `x` with size one on these axes, or without them.
///
/// # Errors
/// If an axis is out of range or named twice, or `y` has another shape.
pub fn forward<'a, 'b>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    x: impl Into<View<'a>>,
    axes: impl Into<Axes<'b>>,
) -> Result<()> {
    let (y, x) = (y.into(), x.into());
    let reduced = Reduced::new("logsumexp::forward", x.shape(), axes)?;
    let mut y = reduced.out("y", y)?;
    if x.is_empty() {
        y.fill(f32::NEG_INFINITY);
        return Ok(());
    }
    let reduced = reduced.set;
    Parts { out: [y], other: (), inp: [x], reduced }.run(exec, NS, |part| {
        let Parts { out: [mut y], inp: [x], .. } = part;
        let mut max = Numbers::new(x.shape(), reduced, 0.0);
        reduce::fold(exec, 0.06, [max.out()], [x], reduced, Extreme(Greatest));
        elementwise::map(exec, 0.06, [max.out()], [], FiniteOrZero);
        reduce::fold(exec, 0.15, [y.reborrow()], [x, max.repeated(x.shape())], reduced, SumOf(SumExp));
        elementwise::map(exec, 0.06, [y], [max.out().as_view()], Plus);
    });
    Ok(())
}

/// `dx = dy·e^(x - y)`; `y` and `dy` have the shape of the output, `dx` that of `x`.
///
/// # Errors
/// If an axis is out of range or named twice, or shapes do not match.
pub fn backward<'a, 'b>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    y: impl Into<View<'a>>,
    axes: impl Into<Axes<'b>>,
) -> Result<()> {
    let (dx, dy, x, y) = (dx.into(), dy.into(), x.into(), y.into());
    let reduced = Reduced::new("logsumexp::backward", x.shape(), axes)?;
    let (dy, y) = (reduced.repeated("dy", dy)?, reduced.repeated("y", y)?);
    expect_shape("logsumexp::backward", "dx", x.shape(), dx.shape())?;
    elementwise::map(exec, 0.15, [dx], [dy, x, y], Gradient);
    Ok(())
}

/// `ln Σ e^(x - max)` of `x` and `max`.
#[derive(Clone, Copy)]
pub(super) struct SumExp;

impl Term<2> for SumExp {
    #[inline(always)]
    fn add<S: Simd>(self, s: S, acc: S::F32, [x, max]: [S::F32; 2]) -> S::F32 {
        s.add(acc, math::exp(s, s.sub(x, max)))
    }
    #[inline(always)]
    fn finish<S: Simd>(self, s: S, sum: S::F32) -> S::F32 {
        math::ln(s, sum)
    }
}

/// What stands there, or zero if that is infinite.
#[derive(Clone, Copy)]
struct FiniteOrZero;

impl Map<0, 1> for FiniteOrZero {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, _: [S::F32; 0], [old]: [S::F32; 1]) -> [S::F32; 1] {
        [s.select(s.eq(s.abs(old), s.splat(f32::INFINITY)), s.zero(), old)]
    }
}

/// What stands there, plus `x`.
#[derive(Clone, Copy)]
struct Plus;

impl Map<1, 1> for Plus {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x]: [S::F32; 1], [old]: [S::F32; 1]) -> [S::F32; 1] {
        [s.add(old, x)]
    }
}

/// `dy·e^(x - y)`.
#[derive(Clone, Copy)]
struct Gradient;

impl Map<3, 1> for Gradient {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [dy, x, y]: [S::F32; 3], _: [S::F32; 1]) -> [S::F32; 1] {
        [s.mul(dy, math::exp(s, s.sub(x, y)))]
    }
}
