//! `y = e^(x - m)/Σ e^(x - m)` along an axis, `m` being the maximum there: logits to probabilities.
//!
//! Taking `m` off changes nothing (numerator and denominator shrink alike) and lets nothing overflow. With
//! `dy[i]/dx[j] = y[i]·([i = j] - y[j])`,
//!
//! ```text
//! dx[j] = Σ_i dy[i]·y[i]·([i = j] - y[j]) = y[j]·(dy[j] - Σ_i dy[i]·y[i])
//! ```
//!
//! so backward needs only the output, and `dx` sums to zero along the axis. It saturates where one probability is near
//! 1. A row of `-inf` gives NaN, as in PyTorch.

use crate::elementwise;
use crate::error::{Result, expect_shape};
use crate::exec::Exec;
use crate::lanes::Map;
use crate::math;
use crate::reduce::{self, Extreme, Greatest, Numbers, Parts, Product, Reduced, SumOf, Value};
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// Nanoseconds of one core an element, for the split over threads.
const NS: f64 = 0.3;

/// `y = softmax(x)` along `axis`; shapes are equal.
///
/// # Errors
/// If the axis is out of range or the shapes differ.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>, axis: isize) -> Result<()> {
    const OP: &str = "softmax::forward";
    let (y, x) = (y.into(), x.into());
    let reduced = Reduced::new(OP, x.shape(), axis)?.set;
    expect_shape(OP, "y", x.shape(), y.shape())?;
    Parts { out: [y], other: (), inp: [x], reduced }.run(exec, NS, |part| {
        let Parts { out: [mut y], inp: [x], .. } = part;
        let (mut max, mut sum) = (Numbers::new(x.shape(), reduced, 0.0), Numbers::new(x.shape(), reduced, 0.0));
        reduce::fold(exec, 0.06, [max.out()], [x], reduced, Extreme(Greatest));
        elementwise::map(exec, 0.15, [y.reborrow()], [x, max.repeated(x.shape())], ExpLess);
        reduce::fold(exec, 0.06, [sum.out()], [y.as_view()], reduced, SumOf(Value));
        elementwise::map(exec, 0.06, [y], [sum.repeated(x.shape())], Over);
    });
    Ok(())
}

/// `dx = y·(dy - Σ dy·y)`, the sum along `axis`; shapes are equal.
///
/// # Errors
/// As [`forward`].
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    y: impl Into<View<'a>>,
    axis: isize,
) -> Result<()> {
    const OP: &str = "softmax::backward";
    let (dx, dy, y) = (dx.into(), dy.into(), y.into());
    let reduced = Reduced::new(OP, y.shape(), axis)?.set;
    expect_shape(OP, "dy", y.shape(), dy.shape())?;
    expect_shape(OP, "dx", y.shape(), dx.shape())?;
    Parts { out: [dx], other: (), inp: [dy, y], reduced }.run(exec, NS, |part| {
        let Parts { out, inp: [dy, y], .. } = part;
        let mut sum = Numbers::new(y.shape(), reduced, 0.0);
        reduce::fold(exec, 0.06, [sum.out()], [dy, y], reduced, SumOf(Product));
        elementwise::map(exec, 0.06, out, [dy, y, sum.repeated(y.shape())], Gradient);
    });
    Ok(())
}

/// The softmax of one row, by its definition.
#[must_use]
pub fn reference(x: &[f64]) -> Vec<f64> {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = x.iter().map(|x| (x - max).exp()).sum();
    x.iter().map(|x| (x - max).exp() / sum).collect()
}

/// `dy` times the matrix of derivatives at `x`, by its definition.
#[must_use]
pub fn reference_backward(dy: &[f64], x: &[f64]) -> Vec<f64> {
    let y = reference(x);
    let derivative = |i: usize, j: usize| y[i] * (f64::from(u8::from(i == j)) - y[j]);
    (0..x.len()).map(|j| (0..x.len()).map(|i| dy[i] * derivative(i, j)).sum()).collect()
}

/// `e^(x - max)`.
#[derive(Clone, Copy)]
pub(super) struct ExpLess;

impl Map<2, 1> for ExpLess {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x, max]: [S::F32; 2], _: [S::F32; 1]) -> [S::F32; 1] {
        [math::exp(s, s.sub(x, max))]
    }
}

/// What stands there, over `sum`.
#[derive(Clone, Copy)]
struct Over;

impl Map<1, 1> for Over {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [sum]: [S::F32; 1], [old]: [S::F32; 1]) -> [S::F32; 1] {
        [s.div(old, sum)]
    }
}

/// `y·(dy - sum)`.
#[derive(Clone, Copy)]
struct Gradient;

impl Map<3, 1> for Gradient {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [dy, y, sum]: [S::F32; 3], _: [S::F32; 1]) -> [S::F32; 1] {
        [s.mul(y, s.sub(dy, sum))]
    }
}
