//! `y = (x - m) - ln Σ e^(x - m)` along an axis, `m` being the maximum there: the notebook's `logprobs`.
//!
//! The logarithm of the softmax, but taken before the division, so that a probability too small for a float has a
//! finite logarithm. With `dy[i]/dx[j] = [i = j] - e^y[j]`,
//!
//! ```text
//! dx[j] = dy[j] - e^y[j]·Σ_i dy[i]
//! ```
//!
//! so backward needs only the output. With `dy = -1/n` at the label this is `(softmax - onehot)/n`, the cross-entropy's
//! gradient. A row of `-inf` gives NaN, as in PyTorch.

use crate::elementwise;
use crate::error::{Result, expect_shape};
use crate::exec::Exec;
use crate::lanes::Map;
use crate::math;
use crate::op::logsumexp::SumExp;
use crate::reduce::{self, Extreme, Greatest, Numbers, Parts, Reduced, SumOf, Value};
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// Nanoseconds of one core an element, for the split over threads.
const NS: f64 = 0.3;

/// `y = ln softmax(x)` along `axis`; shapes are equal.
///
/// # Errors
/// If the axis is out of range or the shapes differ.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>, axis: isize) -> Result<()> {
    const OP: &str = "log_softmax::forward";
    let (y, x) = (y.into(), x.into());
    let reduced = Reduced::new(OP, x.shape(), axis)?.set;
    expect_shape(OP, "y", x.shape(), y.shape())?;
    Parts { out: [y], other: (), inp: [x], reduced }.run(exec, NS, |part| {
        let Parts { out, inp: [x], .. } = part;
        let (mut max, mut log) = (Numbers::new(x.shape(), reduced, 0.0), Numbers::new(x.shape(), reduced, 0.0));
        reduce::fold(exec, 0.06, [max.out()], [x], reduced, Extreme(Greatest));
        let repeated = max.repeated(x.shape());
        reduce::fold(exec, 0.15, [log.out()], [x, repeated], reduced, SumOf(SumExp));
        elementwise::map(exec, 0.06, out, [x, repeated, log.repeated(x.shape())], Less);
    });
    Ok(())
}

/// `dx = dy - e^y·Σ dy`, the sum along `axis`; shapes are equal.
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
    const OP: &str = "log_softmax::backward";
    let (dx, dy, y) = (dx.into(), dy.into(), y.into());
    let reduced = Reduced::new(OP, y.shape(), axis)?.set;
    expect_shape(OP, "dy", y.shape(), dy.shape())?;
    expect_shape(OP, "dx", y.shape(), dx.shape())?;
    Parts { out: [dx], other: (), inp: [dy, y], reduced }.run(exec, NS, |part| {
        let Parts { out, inp: [dy, y], .. } = part;
        let mut sum = Numbers::new(y.shape(), reduced, 0.0);
        reduce::fold(exec, 0.06, [sum.out()], [dy], reduced, SumOf(Value));
        elementwise::map(exec, 0.15, out, [dy, y, sum.repeated(y.shape())], Gradient);
    });
    Ok(())
}

/// The logarithm of the softmax of one row, by its definition.
#[must_use]
pub fn reference(x: &[f64]) -> Vec<f64> {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log = x.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
    x.iter().map(|x| x - max - log).collect()
}

/// `dy` times the matrix of derivatives at `x`, by its definition.
#[must_use]
pub fn reference_backward(dy: &[f64], x: &[f64]) -> Vec<f64> {
    let y = reference(x);
    let derivative = |i: usize, j: usize| f64::from(u8::from(i == j)) - y[j].exp();
    (0..x.len()).map(|j| (0..x.len()).map(|i| dy[i] * derivative(i, j)).sum()).collect()
}

/// `(x - max) - log`.
#[derive(Clone, Copy)]
struct Less;

impl Map<3, 1> for Less {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x, max, log]: [S::F32; 3], _: [S::F32; 1]) -> [S::F32; 1] {
        [s.sub(s.sub(x, max), log)]
    }
}

/// `dy - e^y·sum`.
#[derive(Clone, Copy)]
struct Gradient;

impl Map<3, 1> for Gradient {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [dy, y, sum]: [S::F32; 3], _: [S::F32; 1]) -> [S::F32; 1] {
        [s.fnma(math::exp(s, y), sum, dy)]
    }
}
