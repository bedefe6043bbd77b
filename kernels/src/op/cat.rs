//! Joining along an axis: the operands one after the other, equal in all other sizes.
//!
//! Each element of an operand is copied to one of the output, so backward cuts `dy` where forward joined, and copies
//! the pieces back. It is the adjoint of a [split](View::split) as well: the gradient of what was split is the
//! gradients of the pieces, joined.
//!
//! As in PyTorch, operands of the shape `0` may stand among operands of any rank, and add nothing.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::cat;
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let (a, b) = ([1.0, 2.0], [3.0, 4.0, 5.0, 6.0]);
//! let xs = [View::new(&a, &[2, 1])?, View::new(&b, &[2, 2])?];
//! let mut y = [f32::NAN; 6];
//! cat::forward(&exec, ViewMut::new(&mut y, cat::shape(&xs, 1)?.as_slice())?, &xs, 1)?;
//! assert_eq!(y, [1.0, 3.0, 4.0, 2.0, 5.0, 6.0]);
//!
//! let (mut da, mut db) = ([f32::NAN; 2], [f32::NAN; 4]);
//! let mut grads = [ViewMut::new(&mut da, &[2, 1])?, ViewMut::new(&mut db, &[2, 2])?];
//! cat::backward(&exec, &mut grads, View::new(&y, &[2, 3])?, 1)?;
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
    joined("cat::shape", "xs", xs.iter().map(View::shape), axis).map(|(_, shape)| shape)
}

/// `y` is the elements of all `xs`, one operand after the other along `axis`.
///
/// # Errors
/// If there is no operand, if one is a scalar, if the axis is out of range, or if shapes do not match.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, xs: &[View<'_>], axis: isize) -> Result<()> {
    const OP: &str = "cat::forward";
    let mut y = y.into();
    let (axis, shape) = joined(OP, "xs", xs.iter().map(View::shape), axis)?;
    expect_shape(OP, "y", shape.as_slice(), y.shape())?;
    let mut start = 0;
    for &x in xs.iter().filter(|x| !is_nothing(x.shape())) {
        let len = x.shape()[axis];
        elementwise::map(exec, 0.06, [y.reborrow().narrow(axis as isize, start, len)?], [x], Same);
        start += len;
    }
    Ok(())
}

/// Each of `dxs` is its piece of `dy`; shapes are as in [`forward`].
///
/// # Errors
/// As [`forward`].
pub fn backward<'a>(exec: &Exec, dxs: &mut [ViewMut<'_>], dy: impl Into<View<'a>>, axis: isize) -> Result<()> {
    const OP: &str = "cat::backward";
    let dy = dy.into();
    let (axis, shape) = joined(OP, "dxs", dxs.iter().map(ViewMut::shape), axis)?;
    expect_shape(OP, "dy", shape.as_slice(), dy.shape())?;
    let mut start = 0;
    for dx in dxs.iter_mut().filter(|dx| !is_nothing(dx.shape())) {
        let len = dx.shape()[axis];
        elementwise::map(exec, 0.06, [dx.reborrow()], [dy.narrow(axis as isize, start, len)?], Same);
        start += len;
    }
    Ok(())
}

/// `y` of row-major operands that are `outer x size x inner`, each with its own size, along the middle axis.
#[must_use]
pub fn reference(xs: &[(&[f64], usize)], outer: usize, inner: usize) -> Vec<f64> {
    let row = |i: usize, &(x, size): &(&[f64], usize)| x[i * size * inner..(i + 1) * size * inner].to_vec();
    (0..outer).flat_map(|i| xs.iter().flat_map(move |x| row(i, x))).collect()
}

/// The pieces of `dy` that go to operands of these sizes; arguments are as in [`reference()`].
#[must_use]
pub fn reference_backward(dy: &[f64], sizes: &[usize], outer: usize, inner: usize) -> Vec<Vec<f64>> {
    let mut dxs: Vec<Vec<f64>> = vec![Vec::new(); sizes.len()];
    let mut left = dy;
    for _ in 0..outer {
        for (dx, size) in dxs.iter_mut().zip(sizes) {
            let (piece, rest) = left.split_at(size * inner);
            dx.extend(piece);
            left = rest;
        }
    }
    dxs
}

/// Whether an operand of this shape is passed over.
fn is_nothing(shape: &[usize]) -> bool {
    shape == [0]
}

/// The axis, and the shape of the output.
fn joined<'s>(
    op: &'static str,
    arg: &'static str,
    shapes: impl Iterator<Item = &'s [usize]> + Clone,
    axis: isize,
) -> Result<(usize, Dims)> {
    let count = shapes.clone().count();
    if count == 0 {
        return Err(ErrorKind::Length { op, arg, want: 1, got: 0 }.into());
    }
    if shapes.clone().any(<[usize]>::is_empty) {
        return Err(ErrorKind::Value { op, arg, want: "of rank 1 at least", got: 0.0 }.into());
    }
    let mut joined = shapes.filter(|shape| !is_nothing(shape));
    let Some(first) = joined.next() else {
        return axis_index(op, axis, 1).map(|axis| (axis, [0].into()));
    };
    let axis = axis_index(op, axis, first.len())?;
    let mut want = Dims::new(first);
    let mut total = first[axis];
    for shape in joined {
        want = with_size(&want, axis, *shape.get(axis).unwrap_or(&total));
        expect_shape(op, arg, want.as_slice(), shape)?;
        total = total.saturating_add(shape[axis]);
    }
    Ok((axis, with_size(&want, axis, total)))
}

/// A shape with another size on one axis.
fn with_size(shape: &Dims, axis: usize, size: usize) -> Dims {
    let mut sizes = [0; MAX_RANK];
    let rank = shape.as_slice().len();
    sizes[..rank].copy_from_slice(shape.as_slice());
    sizes[axis] = size;
    Dims::new(&sizes[..rank])
}
