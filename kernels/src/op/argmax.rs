//! Where the maximum stands, over one axis or all of them: the first of several equals, and the first NaN if there is
//! one.
//!
//! The result is an integer and has no gradient.

use super::Axes;
use crate::error::{ErrorKind, Result};
use crate::exec::Exec;
use crate::reduce::{self, Greatest, Reduced};
use crate::view::{View, ViewMut};

/// The index of the greatest `x` along one axis, or, over all axes, its number in row-major order. The shape of
/// `indices` is that of `x` with size one on these axes, or without them.
///
/// # Errors
/// If the axis is out of range, if `axes` is a list of several, if `indices` has another shape, or if there is nothing
/// to choose from.
pub fn forward<'a, 'b>(
    exec: &Exec,
    indices: impl Into<ViewMut<'a, i64>>,
    x: impl Into<View<'a>>,
    axes: impl Into<Axes<'b>>,
) -> Result<()> {
    const OP: &str = "argmax::forward";
    let (indices, x, axes) = (indices.into(), x.into(), axes.into());
    if let Axes::List(list) = axes
        && list.len() != 1
    {
        return Err(ErrorKind::Length { op: OP, arg: "axes", want: 1, got: list.len() }.into());
    }
    let reduced = Reduced::new(OP, x.shape(), axes)?;
    let indices = reduced.out("indices", indices)?;
    reduced.expect_count(1, "at least one element for a maximum")?;
    reduce::place(exec, [], indices, x, reduced.set, Greatest);
    Ok(())
}
