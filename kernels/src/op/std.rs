//! The standard deviation: `y = √var` over any set of axes
//! where `var = Σ (x - mean)²/(n - c)` with the correction `c`.
//!
//! `dy/dvar = 1/(2y)`, so with the variance's gradient `dx = dy·(x - mean)/(y·(n - c))`. The root has no slope at zero:
//! where `y` is zero `dx` is zero too, as in PyTorch.
//!
//! With `n <= c` PyTorch's result is NaN, or infinite; so is this. Of nothing it is an error.

use super::Axes;
use super::var::Squares;
use crate::elementwise;
use crate::error::{Result, expect_shape};
use crate::exec::Exec;
use crate::lanes::Map;
use crate::reduce::{self, Parts, Reduced, SumOf};
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// Nanoseconds of one core an element, for the split over threads.
const NS: f64 = 0.12;

/// `y = √(Σ (x - mean)²/(n - correction))` over `axes`; the shape of `y` is that of `x` with size one on these axes, or
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
    let reduced = Reduced::new("std::forward", x.shape(), axes)?;
    let y = reduced.out("y", y)?;
    reduced.expect_count(1, "at least one element")?;
    let squares = Squares { divisor: super::var::divisor(&reduced, correction), root: true };
    let reduced = reduced.set;
    Parts { out: [y], other: (), inp: [x], reduced }.run(exec, NS, |part| {
        let Parts { out, inp: [x], .. } = part;
        let mean = super::var::mean(exec, x, reduced);
        reduce::fold(exec, 0.06, out, [x, mean.repeated(x.shape())], reduced, SumOf(squares));
    });
    Ok(())
}

/// `dx = dy·(x - mean)/(y·(n - correction))`; `y` and `dy` have the shape of the output, `dx` that of `x`.
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
    correction: f32,
) -> Result<()> {
    let (dx, dy, x, y) = (dx.into(), dy.into(), x.into(), y.into());
    let reduced = Reduced::new("std::backward", x.shape(), axes)?;
    let (dy, y) = (reduced.repeated("dy", dy)?, reduced.repeated("y", y)?);
    expect_shape("std::backward", "dx", x.shape(), dx.shape())?;
    let divisor = super::var::divisor(&reduced, correction);
    let reduced = reduced.set;
    Parts { out: [dx], other: (), inp: [x, dy, y], reduced }.run(exec, NS, |part| {
        let Parts { out, inp: [x, dy, y], .. } = part;
        let mean = super::var::mean(exec, x, reduced);
        elementwise::map(exec, 0.06, out, [x, mean.repeated(x.shape()), dy, y], Gradient { divisor });
    });
    Ok(())
}

/// `dy·(x - mean)/(y·divisor)`, or zero where `y` is.
#[derive(Clone, Copy)]
struct Gradient {
    divisor: f32,
}

impl Map<4, 1> for Gradient {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x, mean, dy, y]: [S::F32; 4], _: [S::F32; 1]) -> [S::F32; 1] {
        let over = s.div(dy, s.mul(y, s.splat(self.divisor)));
        let over = s.select(s.eq(y, s.zero()), s.zero(), over);
        [s.mul(over, s.sub(x, mean))]
    }
}
