//! Picking along an axis: `y[i, j] = x[i, index[i, j]]` (here for axis 1), the notebook's `logprobs[range(n), Yb]`.
//!
//! An element of `x` has a derivative of 1 in every output that picked it and of 0 in the others, so backward starts
//! from zero and adds each `dy` at its index, in the row-major order of the index: `dx[i, index[i, j]] += dy[i, j]`.
//! With the notebook's labels that is one number a row, `-1/n`.

use crate::elementwise;
use crate::error::{Dims, ErrorKind, MAX_RANK, Result, expect_shape};
use crate::exec::Exec;
use crate::lanes::Zero;
use crate::reduce::axis_index;
use crate::view::{View, ViewMut};

/// `y[…, j, …] = x[…, index[…, j, …], …]` along `axis`. `y` and `index` have one shape, of the rank of `x` and on the
/// other axes no larger than it.
///
/// # Errors
/// If the axis is out of range, if shapes do not match, or if an index is not one of the axis.
pub fn forward<'a>(
    _exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    x: impl Into<View<'a>>,
    index: impl Into<View<'a, i64>>,
    axis: isize,
) -> Result<()> {
    const OP: &str = "gather::forward";
    let (mut y, x, index) = (y.into(), x.into(), index.into());
    let axis = check(OP, x.shape(), index, axis)?;
    expect_shape(OP, "y", index.shape(), y.shape())?;
    each(index, |place, at| {
        let mut from = *place;
        let rank = index.rank();
        if rank > 0 {
            from[axis] = at;
        }
        // The index is checked at the door, and y has its shape.
        x.get(&from[..rank]).map_or(Ok(()), |value| y.set(&place[..rank], value))
    })
}

/// `dx` is zero but for `dx[…, index[…, j, …], …] += dy[…, j, …]`; shapes are as in [`forward`].
///
/// # Errors
/// As [`forward`].
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    index: impl Into<View<'a, i64>>,
    axis: isize,
) -> Result<()> {
    scatter("gather::backward", exec, dx.into(), dy.into(), index.into(), axis)
}

/// [`backward`] under another name.
pub(super) fn scatter(
    op: &'static str,
    exec: &Exec,
    mut dx: ViewMut<'_>,
    dy: View<'_>,
    index: View<'_, i64>,
    axis: isize,
) -> Result<()> {
    let axis = check(op, dx.shape(), index, axis)?;
    expect_shape(op, "dy", index.shape(), dy.shape())?;
    elementwise::map(exec, 0.06, [dx.reborrow()], [], Zero);
    each(index, |place, at| {
        let mut to = *place;
        let rank = index.rank();
        if rank > 0 {
            to[axis] = at;
        }
        // The index is checked at the door, and dy has its shape.
        let sum = dx.get(&to[..rank]).zip(dy.get(&place[..rank])).map(|(old, value)| old + value);
        sum.map_or(Ok(()), |sum| dx.set(&to[..rank], sum))
    })
}

/// Checks the index against the operand it points into; returns the axis.
fn check(op: &'static str, shape: &[usize], index: View<'_, i64>, axis: isize) -> Result<usize> {
    let axis = axis_index(op, axis, shape.len())?;
    let mut most = [1; MAX_RANK];
    most[..shape.len()].copy_from_slice(shape);
    let mut want = most;
    let fits = index.rank() == shape.len();
    for (other, want) in want.iter_mut().enumerate().take(shape.len()) {
        if fits && (other == axis || index.shape()[other] <= *want) {
            *want = index.shape()[other];
        }
    }
    expect_shape(op, "index", &want[..shape.len()], index.shape())?;
    let bound = most[axis];
    match index.iter().position(|value| value as u64 >= bound as u64) {
        None => Ok(axis),
        Some(position) => {
            let value = index.iter().nth(position).unwrap_or_default();
            Err(ErrorKind::Index { op, arg: "index", position, value, bound }.into())
        }
    }
}

/// Calls `f` with each place of `index`, in row-major order, and what stands there.
fn each(index: View<'_, i64>, mut f: impl FnMut(&[usize; MAX_RANK], usize) -> Result<()>) -> Result<()> {
    let shape = Dims::new(index.shape());
    let mut place = [0; MAX_RANK];
    for value in index {
        f(&place, value as usize)?;
        for (at, &size) in place.iter_mut().zip(shape.as_slice()).rev() {
            *at += 1;
            if *at < size {
                break;
            }
            *at = 0;
        }
    }
    Ok(())
}
