//! The variance: `y = Σ (x - mean)²/(n - c)` over any set of axes, `n` being the number of elements that make one
//! output and `c` the correction: 1 is Bessel's, which makes it unbiased, 0 that of batch norm.
//!
//! Two passes: the mean first, then the squares of what is left, so that a large mean costs no digits and a constant
//! has the variance 0 exactly.
//!
//! The variance depends on `x` directly and through the mean, but `Σ (x - mean)` is zero, so the second way has no
//! effect: `dx = dy·2(x - mean)/(n - c)`.
//!
//! With `n <= c` PyTorch's result is NaN, or infinite; so is this. Of nothing it is an error.

use super::Axes;
use super::mean::Mean;
use crate::elementwise;
use crate::error::{Result, expect_shape};
use crate::exec::Exec;
use crate::lanes::Map;
use crate::reduce::{self, AxisSet, Numbers, Parts, Reduced, SumOf, Term};
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// Nanoseconds of one core an element, for the split over threads.
const NS: f64 = 0.12;

/// `y = (Σ (x - mean)²/(n - correction))` over `axes`; the shape of `y` is that of `x` with size one on these axes, or
/// without them.
///
/// # Errors
/// If an axis is out of range or named twice, if `y` has another shape, or if there is nothing to measure.
pub fn forward<'a, 'b>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    x: impl Into<View<'a>>,
    axes: impl Into<Axes<'b>>,
    correction: f32,
) -> Result<()> {
    let (y, x) = (y.into(), x.into());
    let reduced = Reduced::new("var::forward", x.shape(), axes)?;
    let y = reduced.out("y", y)?;
    reduced.expect_count(1, "at least one element")?;
    let squares = Squares { divisor: super::var::divisor(&reduced, correction), root: false };
    let reduced = reduced.set;
    Parts { out: [y], other: (), inp: [x], reduced }.run(exec, NS, |part| {
        let Parts { out, inp: [x], .. } = part;
        let mean = super::var::mean(exec, x, reduced);
        reduce::fold(exec, 0.06, out, [x, mean.repeated(x.shape())], reduced, SumOf(squares));
    });
    Ok(())
}

/// `dx = dy·2(x - mean)/(n - correction)`; `dy` has the shape of the output, `dx` that of `x`.
///
/// # Errors
/// If an axis is out of range or named twice, or shapes do not match.
pub fn backward<'a, 'b>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    axes: impl Into<Axes<'b>>,
    correction: f32,
) -> Result<()> {
    let (dx, dy, x) = (dx.into(), dy.into(), x.into());
    let reduced = Reduced::new("var::backward", x.shape(), axes)?;
    let dy = reduced.repeated("dy", dy)?;
    expect_shape("var::backward", "dx", x.shape(), dx.shape())?;
    let divisor = divisor(&reduced, correction);
    let reduced = reduced.set;
    Parts { out: [dx], other: (), inp: [x, dy], reduced }.run(exec, NS, |part| {
        let Parts { out, inp: [x, dy], .. } = part;
        let mean = mean(exec, x, reduced);
        elementwise::map(exec, 0.06, out, [x, mean.repeated(x.shape()), dy], Gradient { divisor });
    });
    Ok(())
}

/// `n - correction`, or zero if that is negative, as PyTorch has it.
pub(super) fn divisor(reduced: &Reduced, correction: f32) -> f32 {
    (reduced.count() as f32 - correction).max(0.0)
}

/// The mean of each output's elements.
pub(super) fn mean(exec: &Exec, x: View<'_>, reduced: AxisSet) -> Numbers {
    let mut mean = Numbers::new(x.shape(), reduced, 0.0);
    let count = x.len() / mean.values().len();
    reduce::fold(exec, 0.06, [mean.out()], [x], reduced, SumOf(Mean(count as f32)));
    mean
}

/// `Σ (x - mean)²`, divided, and perhaps its root.
#[derive(Clone, Copy)]
pub(super) struct Squares {
    pub(super) divisor: f32,
    pub(super) root: bool,
}

impl Term<2> for Squares {
    #[inline(always)]
    fn add<S: Simd>(self, s: S, acc: S::F32, [x, mean]: [S::F32; 2]) -> S::F32 {
        let distance = s.sub(x, mean);
        s.fma(distance, distance, acc)
    }
    #[inline(always)]
    fn finish<S: Simd>(self, s: S, sum: S::F32) -> S::F32 {
        let var = s.div(sum, s.splat(self.divisor));
        if self.root { s.sqrt(var) } else { var }
    }
}

/// `dy·2(x - mean)/divisor`.
#[derive(Clone, Copy)]
struct Gradient {
    divisor: f32,
}

impl Map<3, 1> for Gradient {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x, mean, dy]: [S::F32; 3], _: [S::F32; 1]) -> [S::F32; 1] {
        [s.mul(s.div(s.add(dy, dy), s.splat(self.divisor)), s.sub(x, mean))]
    }
}
