//! Picking along an axis: `y[i, j] = x[i, index[i, j]]` (here for axis 1), the notebook's `logprobs[range(n), Yb]`.
//!
//! An element of `x` has a derivative of 1 in every output that picked it and of 0 in the others, so backward starts
//! from zero and adds each `dy` at its index, in the row-major order of the index: `dx[i, index[i, j]] += dy[i, j]`.
//! With the notebook's labels that is one number a row, `-1/n`.
//!
//! `index` has the rank of `x`, is on the other axes no larger than it, and gives `y` its shape; a scalar counts as a
//! vector of one element. An empty `index` may have any shape. Where it repeats its elements along an axis, at stride
//! zero, whole rows are copied.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::gather;
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let (logprobs, labels) = ([-0.1, -2.0, -3.0, -1.0, -0.5, -4.0], [2, 0]);
//! let (logprobs, labels) = (View::new(&logprobs, &[2, 3])?, View::new(&labels, &[2, 1])?);
//! let mut picked = [f32::NAN; 2];
//! gather::forward(&exec, ViewMut::new(&mut picked, &[2, 1])?, logprobs, labels, 1)?;
//! assert_eq!(picked, [-3.0, -1.0]);
//!
//! let (dy, mut dlogprobs) = ([-0.5; 2], [f32::NAN; 6]);
//! let dy = View::new(&dy, &[2, 1])?;
//! gather::backward(&exec, ViewMut::new(&mut dlogprobs, &[2, 3])?, dy, labels, 1)?;
//! assert_eq!(dlogprobs, [0.0, 0.0, -0.5, -0.5, 0.0, 0.0]);
//! # Ok(())
//! # }
//! ```

use crate::elementwise;
use crate::error::{MAX_RANK, Result, expect_shape};
use crate::exec::Exec;
use crate::lanes::Zero;
use crate::lookup::{self, Signs, expect_places, places};
use crate::reduce::axis_index;
use crate::view::{Integers, View, ViewMut};

/// `y[…, j, …] = x[…, index[…, j, …], …]` along `axis`. `y` and `index` have one shape, of the rank of `x` and on the
/// other axes no larger than it.
///
/// # Errors
/// If the axis is out of range, if shapes do not match, or if an index is not one of the axis.
pub fn forward<'a>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    x: impl Into<View<'a>>,
    index: impl Into<View<'a, i64>>,
    axis: isize,
) -> Result<()> {
    const OP: &str = "gather::forward";
    let (y, x, index) = (y.into(), x.into(), index.into());
    let axis = check([OP, "index"], x.shape(), index, axis)?;
    expect_shape(OP, "y", index.shape(), y.shape())?;
    if index.is_empty() {
        return Ok(());
    }
    let y = if y.rank() == 0 { y.unsqueeze(0)? } else { y };
    lookup::read(exec, y, vector(x)?, &places(&[Integers { axis, index: vector(index)? }]));
    Ok(())
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
    scatter(["gather::backward", "index"], exec, dx.into(), dy.into(), index.into(), axis)
}

/// [`backward`] under another name, and with another one for its indices.
pub(super) fn scatter(
    [op, arg]: [&'static str; 2],
    exec: &Exec,
    mut dx: ViewMut<'_>,
    dy: View<'_>,
    index: View<'_, i64>,
    axis: isize,
) -> Result<()> {
    let axis = check([op, arg], dx.shape(), index, axis)?;
    expect_shape(op, "dy", index.shape(), dy.shape())?;
    elementwise::map(exec, 0.06, [dx.reborrow()], [], Zero);
    if index.is_empty() {
        return Ok(());
    }
    let dx = if dx.rank() == 0 { dx.unsqueeze(0)? } else { dx };
    lookup::add(exec, dx, vector(dy)?, &places(&[Integers { axis, index: vector(index)? }]), &[], None);
    Ok(())
}

/// `y` along axis `axis` of row-major operands, by its definition: `x` has the shape `shape`, `index` the shape
/// `picks`.
#[must_use]
pub fn reference(x: &[f64], shape: &[usize], index: &[i64], picks: &[usize], axis: usize) -> Vec<f64> {
    index.iter().enumerate().map(|(i, &at)| x[place(shape, picks, i, at, axis)]).collect()
}

/// `dx`, by its definition; arguments are as in [`reference()`].
#[must_use]
pub fn reference_backward(dy: &[f64], shape: &[usize], index: &[i64], picks: &[usize], axis: usize) -> Vec<f64> {
    let mut dx = vec![0.0; shape.iter().product()];
    for (i, (&at, dy)) in index.iter().zip(dy).enumerate() {
        dx[place(shape, picks, i, at, axis)] += dy;
    }
    dx
}

/// Where the `i`-th index, which is `at`, points to in a row-major operand.
fn place(shape: &[usize], picks: &[usize], mut i: usize, at: i64, axis: usize) -> usize {
    let (mut place, mut stride) = (0, 1);
    for other in (0..shape.len()).rev() {
        place += stride * if other == axis { at as usize } else { i % picks[other] };
        i /= picks[other];
        stride *= shape[other];
    }
    place
}

/// A scalar as a vector of one element.
fn vector<T: crate::view::Element>(x: View<'_, T>) -> Result<View<'_, T>> {
    if x.rank() == 0 { x.unsqueeze(0) } else { Ok(x) }
}

/// Checks the index against the operand it points into; returns the axis.
fn check([op, arg]: [&'static str; 2], shape: &[usize], index: View<'_, i64>, axis: isize) -> Result<usize> {
    let axis = axis_index(op, axis, shape.len())?;
    if index.is_empty() {
        return Ok(axis);
    }
    let (shape, picks) = (if shape.is_empty() { &[1][..] } else { shape }, vector(index)?);
    let mut want = [1; MAX_RANK];
    want[..shape.len()].copy_from_slice(shape);
    if picks.rank() == shape.len() {
        for (other, (want, &size)) in want.iter_mut().zip(picks.shape()).enumerate() {
            *want = if other == axis { size } else { size.min(*want) };
        }
    }
    expect_shape(op, arg, &want[..shape.len()], picks.shape())?;
    expect_places(op, arg, index, shape[axis], Signs::Positive)?;
    Ok(axis)
}
