//! The minimum along one axis, and where it stands.
//!
//! Of several equals the first counts, and the first NaN if there is one. The output is one of the elements: as a
//! function of the row it is a one-hot vector times the row, so backward puts `dy` at the index that forward returned
//! and zero elsewhere. (In the notebook that gradient comes out as zero up to rounding: softmax does not change when a
//! number is added to its row.) The minimum of nothing is an error.

use crate::error::{ErrorKind, Result};
use crate::exec::Exec;
use crate::op::gather;
use crate::reduce::{self, Least, Reduced};
use crate::view::{View, ViewMut};

/// The least `x` along `axis`, and its index there; the shape of both is that of `x` with size one on the axis, or
/// without it.
///
/// # Errors
/// If the axis is out of range, if an output has another shape, or if there is nothing to choose from.
pub fn forward<'a>(
    exec: &Exec,
    values: impl Into<ViewMut<'a>>,
    indices: impl Into<ViewMut<'a, i64>>,
    x: impl Into<View<'a>>,
    axis: isize,
) -> Result<()> {
    let (values, indices, x) = (values.into(), indices.into(), x.into());
    let reduced = Reduced::new("min::forward", x.shape(), axis)?;
    let (values, indices) = (reduced.out("values", values)?, reduced.out("indices", indices)?);
    reduced.expect_count(1, "at least one element for a minimum")?;
    reduce::place(exec, [values], indices, x, reduced.set, Least);
    Ok(())
}

/// `dx` is `dy` at the index that [`forward`] returned, and zero elsewhere; `dy` and `indices` have the shape of the
/// output.
///
/// # Errors
/// If the axis is out of range, if shapes do not match, or if an index is not one of the axis.
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    indices: impl Into<View<'a, i64>>,
    axis: isize,
) -> Result<()> {
    const OP: &str = "min::backward";
    let (dx, dy, indices) = (dx.into(), dy.into(), indices.into());
    let reduced = Reduced::new(OP, dx.shape(), axis)?;
    let (dy, indices) = (reduced.inp("dy", dy)?, reduced.inp("indices", indices)?);
    if dx.rank() > 0 {
        return gather::scatter([OP, "indices"], exec, dx, dy, indices, axis);
    }
    match indices.get(&[]) {
        Some(0) | None => crate::op::broadcast::forward(exec, dx, dy),
        Some(value) => Err(ErrorKind::Index { op: OP, arg: "indices", position: 0, value, bound: 1 }.into()),
    }
}
