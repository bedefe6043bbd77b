//! Joining along a new axis: operands of one shape, side by side.
//!
//! `y[i, k] = xs[k][i]` (here for axis 1), and so `dxs[k][i] = dy[i, k]`.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::stack;
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let (a, b) = ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]);
//! let xs = [View::new(&a, &[3])?, View::new(&b, &[3])?];
//! let mut y = [f32::NAN; 6];
//! stack::forward(&exec, ViewMut::new(&mut y, stack::shape(&xs, 1)?.as_slice())?, &xs, 1)?;
//! assert_eq!(y, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
//!
//! let (mut da, mut db) = ([f32::NAN; 3], [f32::NAN; 3]);
//! let mut grads = [ViewMut::new(&mut da, &[3])?, ViewMut::new(&mut db, &[3])?];
//! stack::backward(&exec, &mut grads, View::new(&y, &[3, 2])?, 1)?;
//! assert_eq!((da, db), (a, b));
//! # Ok(())
//! # }
//! ```

use crate::elementwise;
use crate::error::{Dims, ErrorKind, MAX_RANK, Result, expect_shape};
use crate::exec::Exec;
use crate::lanes::Same;
use crate::reduce::axis_index;
use crate::view::{View, ViewMut};

/// The shape of the output.
///
/// # Errors
/// As [`forward`].
pub fn shape(xs: &[View<'_>], axis: isize) -> Result<Dims> {
    stacked("stack::shape", "xs", xs.iter().map(View::shape), axis).map(|(_, shape)| shape)
}

/// `y` has a new axis, `axis`, along which it is the `xs`, all of one shape.
///
/// # Errors
/// If there is no operand, if the axis is out of range, if shapes do not match, or if `y` would have more than 8 axes.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, xs: &[View<'_>], axis: isize) -> Result<()> {
    const OP: &str = "stack::forward";
    let mut y = y.into();
    let (axis, shape) = stacked(OP, "xs", xs.iter().map(View::shape), axis)?;
    expect_shape(OP, "y", shape.as_slice(), y.shape())?;
    for (k, &x) in xs.iter().enumerate() {
        elementwise::map(exec, 0.06, [y.reborrow().select(axis as isize, k as isize)?], [x], Same);
    }
    Ok(())
}

/// Each of `dxs` is its part of `dy`; shapes are as in [`forward`].
///
/// # Errors
/// As [`forward`].
pub fn backward<'a>(exec: &Exec, dxs: &mut [ViewMut<'_>], dy: impl Into<View<'a>>, axis: isize) -> Result<()> {
    const OP: &str = "stack::backward";
    let dy = dy.into();
    let (axis, shape) = stacked(OP, "dxs", dxs.iter().map(ViewMut::shape), axis)?;
    expect_shape(OP, "dy", shape.as_slice(), dy.shape())?;
    for (k, dx) in dxs.iter_mut().enumerate() {
        elementwise::map(exec, 0.06, [dx.reborrow()], [dy.select(axis as isize, k as isize)?], Same);
    }
    Ok(())
}

/// `y` of row-major operands that are `outer x inner`, with the new axis between, by its definition.
#[must_use]
pub fn reference(xs: &[&[f64]], outer: usize, inner: usize) -> Vec<f64> {
    (0..outer).flat_map(|i| xs.iter().flat_map(move |x| &x[i * inner..][..inner])).copied().collect()
}

/// The parts of `dy` for `count` operands; arguments are as in [`reference()`].
#[must_use]
pub fn reference_backward(dy: &[f64], count: usize, outer: usize, inner: usize) -> Vec<Vec<f64>> {
    let part = |k: usize, i: usize| &dy[(i * count + k) * inner..][..inner];
    (0..count).map(|k| (0..outer).flat_map(|i| part(k, i)).copied().collect()).collect()
}

/// The axis, and the shape of the output.
fn stacked<'s>(
    op: &'static str,
    arg: &'static str,
    mut shapes: impl ExactSizeIterator<Item = &'s [usize]>,
    axis: isize,
) -> Result<(usize, Dims)> {
    let count = shapes.len();
    let Some(first) = shapes.next() else {
        return Err(ErrorKind::Length { op, arg, want: 1, got: 0 }.into());
    };
    let rank = first.len();
    if rank == MAX_RANK {
        return Err(ErrorKind::Value { op, arg, want: "of rank 7 at most", got: rank as f64 }.into());
    }
    let axis = axis_index(op, axis, rank + 1)?;
    shapes.try_for_each(|shape| expect_shape(op, arg, first, shape))?;
    let mut shape = [count; MAX_RANK];
    shape[..axis].copy_from_slice(&first[..axis]);
    shape[axis + 1..=rank].copy_from_slice(&first[axis..]);
    Ok((axis, Dims::new(&shape[..=rank])))
}
