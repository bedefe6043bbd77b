//! `y = Σ x` over any set of axes: in the notebook the sums of the batch norm, `counts_sum`, and every bias gradient.
//!
//! Each element has a derivative of 1 in its sum, so backward repeats: `dx[i, j] = dy[i]`. The sum of nothing is 0. The
//! order in which elements are added is a function of the shape alone.

use super::Axes;
use crate::elementwise;
use crate::error::Result;
use crate::exec::Exec;
use crate::lanes::Same;
use crate::reduce::{self, Reduced, SumOf, Value};
use crate::view::{View, ViewMut};

/// `y = Σ x` over `axes`; the shape of `y` is that of `x` with size one on these axes, or without them.
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
    let reduced = Reduced::new("sum::forward", x.shape(), axes)?;
    let y = reduced.out("y", y)?;
    reduce::fold(exec, 0.06, [y], [x], reduced.set, SumOf(Value));
    Ok(())
}

/// `dx[…] = dy[…]` repeated along `axes`; the shape of `dy` is that of `dx` with size one on these axes, or without
/// them.
///
/// # Errors
/// As [`forward`].
pub fn backward<'a, 'b>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    axes: impl Into<Axes<'b>>,
) -> Result<()> {
    let (dx, dy) = (dx.into(), dy.into());
    let dy = Reduced::new("sum::backward", dx.shape(), axes)?.repeated("dy", dy)?;
    elementwise::map(exec, 0.06, [dx], [dy], Same);
    Ok(())
}
