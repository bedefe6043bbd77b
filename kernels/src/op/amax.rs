//! The maximum over any set of axes, without its place; NaN where there is one.
//!
//! The output is one of the elements, so the gradient goes to the elements that equal it. Where several do, each gets
//! an equal share, as in PyTorch: `dx = dy·[x = y]/#{x = y}`. The shares add up to `dy`. ([`max`](super::max) gives all
//! of it to the one element it names.) Where `y` is NaN no element equals it, and the gradient is NaN. The maximum of
//! nothing is an error.

use super::Axes;
use crate::error::{Result, expect_shape};
use crate::exec::Exec;
use crate::reduce::{self, Extreme, Greatest, Reduced};
use crate::view::{View, ViewMut};

/// The greatest `x` over `axes`; the shape of `y` is that of `x` with size one on these axes, or without them.
///
/// # Errors
/// If an axis is out of range or named twice, if `y` has another shape, or if there is nothing to choose from.
pub fn forward<'a, 'b>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    x: impl Into<View<'a>>,
    axes: impl Into<Axes<'b>>,
) -> Result<()> {
    let (y, x) = (y.into(), x.into());
    let reduced = Reduced::new("amax::forward", x.shape(), axes)?;
    let y = reduced.out("y", y)?;
    reduced.expect_count(1, "at least one element for a maximum")?;
    reduce::fold(exec, 0.06, [y], [x], reduced.set, Extreme(Greatest));
    Ok(())
}

/// `dx = dy·[x = y]/#{x = y}`; `y` and `dy` have the shape of the output, `dx` that of `x`.
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
    let reduced = Reduced::new("amax::backward", x.shape(), axes)?;
    let (dy, y) = (reduced.repeated("dy", dy)?, reduced.repeated("y", y)?);
    expect_shape("amax::backward", "dx", x.shape(), dx.shape())?;
    reduce::share(exec, dx, &[x, y, dy], reduced.set);
    Ok(())
}
