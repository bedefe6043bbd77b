//! `y = Σ x / n` over any set of axes, `n` being the number of elements that make one output: the notebook's `bnmeani`
//! and its loss.
//!
//! Each element has a derivative of `1/n`, so `dx = dy/n`, repeated. The mean of nothing is an error.

use super::Axes;
use crate::elementwise;
use crate::error::Result;
use crate::exec::Exec;
use crate::lanes::Map;
use crate::reduce::{self, Reduced, SumOf, Term};
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = Σ x / n` over `axes`; the shape of `y` is that of `x` with size one on these axes, or without them.
///
/// # Errors
/// If an axis is out of range or named twice, if `y` has another shape, or if there is nothing to take a mean of.
pub fn forward<'a, 'b>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    x: impl Into<View<'a>>,
    axes: impl Into<Axes<'b>>,
) -> Result<()> {
    let (y, x) = (y.into(), x.into());
    let reduced = Reduced::new("mean::forward", x.shape(), axes)?;
    let y = reduced.out("y", y)?;
    reduced.expect_count(1, "at least one element for a mean")?;
    reduce::fold(exec, 0.06, [y], [x], reduced.set, SumOf(Mean(reduced.count() as f32)));
    Ok(())
}

/// `dx = dy/n`, repeated along `axes`; the shape of `dy` is that of `dx` with size one on these axes, or without them.
///
/// # Errors
/// If an axis is out of range or named twice, or `dy` has another shape.
pub fn backward<'a, 'b>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    axes: impl Into<Axes<'b>>,
) -> Result<()> {
    let (dx, dy) = (dx.into(), dy.into());
    let reduced = Reduced::new("mean::backward", dx.shape(), axes)?;
    let dy = reduced.repeated("dy", dy)?;
    elementwise::map(exec, 0.06, [dx], [dy], Mean(reduced.count() as f32));
    Ok(())
}

/// The sum divided by this number, or what is repeated.
#[derive(Clone, Copy)]
pub(super) struct Mean(pub(super) f32);

impl Term<1> for Mean {
    #[inline(always)]
    fn add<S: Simd>(self, s: S, acc: S::F32, [x]: [S::F32; 1]) -> S::F32 {
        s.add(acc, x)
    }
    #[inline(always)]
    fn finish<S: Simd>(self, s: S, sum: S::F32) -> S::F32 {
        s.div(sum, s.splat(self.0))
    }
}

impl Map<1, 1> for Mean {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [dy]: [S::F32; 1], _: [S::F32; 1]) -> [S::F32; 1] {
        [s.div(dy, s.splat(self.0))]
    }
}
