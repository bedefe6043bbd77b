//! Whole slices picked along an axis: `y[i, j] = x[i, index[j]]` (here for axis 1). The slices come in the order of the
//! index, which may name one several times.
//!
//! `dx[i, index[j]] += dy[i, j]`, from zero and in the order of the index. `index` has one axis, or none for a single
//! slice, whose axis `y` keeps with size one. A scalar `x` counts as a vector of one element, of which one is picked,
//! and `y` is a scalar too.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::index_select;
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let (x, index) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 0, 2]);
//! let (x, index) = (View::new(&x, &[2, 3])?, View::new(&index, &[3])?);
//! let mut y = [f32::NAN; 6];
//! index_select::forward(&exec, ViewMut::new(&mut y, &[2, 3])?, x, index, 1)?;
//! assert_eq!(y, [3.0, 1.0, 3.0, 6.0, 4.0, 6.0]);
//!
//! let (dy, mut dx) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [f32::NAN; 6]);
//! index_select::backward(&exec, ViewMut::new(&mut dx, &[2, 3])?, View::new(&dy, &[2, 3])?, index, 1)?;
//! assert_eq!(dx, [2.0, 0.0, 4.0, 5.0, 0.0, 10.0]);
//! # Ok(())
//! # }
//! ```

use crate::elementwise;
use crate::error::{Dims, ErrorKind, MAX_RANK, Result, expect_shape};
use crate::exec::Exec;
use crate::lanes::Zero;
use crate::lookup::{self, Signs, expect_places, places, spread};
use crate::reduce::axis_index;
use crate::view::{Integers, View, ViewMut};

/// `y[…, j, …] = x[…, index[j], …]` along `axis`; `y` has the shape of `x` but for that axis, which has as many indices
/// as `index`.
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
    const OP: &str = "index_select::forward";
    let (y, x, index) = (y.into(), x.into(), index.into());
    let (axis, shape) = check(OP, x.shape(), ("y", y.shape()), index, axis)?;
    if y.is_empty() {
        return Ok(());
    }
    let (y, x) = if x.rank() == 0 { (y.unsqueeze(0)?, x.unsqueeze(0)?) } else { (y, x) };
    lookup::read(exec, y, x, &places(&[integers(axis, index, &shape)?]));
    Ok(())
}

/// `dx` is zero but for `dx[…, index[j], …] += dy[…, j, …]`; shapes are as in [`forward`].
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
    const OP: &str = "index_select::backward";
    let (mut dx, dy, index) = (dx.into(), dy.into(), index.into());
    let (axis, shape) = check(OP, dx.shape(), ("dy", dy.shape()), index, axis)?;
    elementwise::map(exec, 0.06, [dx.reborrow()], [], Zero);
    if dy.is_empty() {
        return Ok(());
    }
    let (dx, dy) = if dx.rank() == 0 { (dx.unsqueeze(0)?, dy.unsqueeze(0)?) } else { (dx, dy) };
    lookup::add(exec, dx, dy, &places(&[integers(axis, index, &shape)?]), &[], None);
    Ok(())
}

/// `y` of a row-major `x` of `outer x size x inner`, along the middle axis, by its definition.
#[must_use]
pub fn reference(x: &[f64], [outer, size, inner]: [usize; 3], index: &[i64]) -> Vec<f64> {
    let slice = |i: usize, at: i64| &x[(i * size + at as usize) * inner..][..inner];
    (0..outer).flat_map(|i| index.iter().flat_map(move |&at| slice(i, at))).copied().collect()
}

/// `dx`, by its definition; arguments are as in [`reference()`].
#[must_use]
pub fn reference_backward(dy: &[f64], [outer, size, inner]: [usize; 3], index: &[i64]) -> Vec<f64> {
    let mut dx = vec![0.0; outer * size * inner];
    for i in 0..outer {
        for (j, &at) in index.iter().enumerate() {
            for k in 0..inner {
                dx[(i * size + at as usize) * inner + k] += dy[(i * index.len() + j) * inner + k];
            }
        }
    }
    dx
}

/// The index, for each element of `y`.
fn integers<'a>(axis: usize, index: View<'a, i64>, shape: &Dims) -> Result<Integers<'a>> {
    let after = shape.as_slice().len() - 1 - axis;
    Ok(Integers { axis, index: spread(index.reshape(&[-1])?, after, shape.as_slice())? })
}

/// Checks the operands; returns the axis and the shape of `y`, as a vector if it is a scalar.
fn check(
    op: &'static str,
    x: &[usize],
    (arg, y): (&'static str, &[usize]),
    index: View<'_, i64>,
    axis: isize,
) -> Result<(usize, Dims)> {
    let axis = axis_index(op, axis, x.len())?;
    if index.rank() > 1 {
        return Err(ErrorKind::Value { op, arg: "index", want: "of rank 1 at most", got: index.rank() as f64 }.into());
    }
    let (count, bound) = (index.len(), x.get(axis).copied().unwrap_or(1));
    if x.is_empty() && count != 1 {
        return Err(ErrorKind::Length { op, arg: "index", want: 1, got: count }.into());
    }
    let mut shape = [1; MAX_RANK];
    shape[..x.len()].copy_from_slice(x);
    shape[axis] = count;
    expect_shape(op, arg, &shape[..x.len()], y)?;
    expect_places(op, "index", index, bound, Signs::Positive)?;
    Ok((axis, Dims::new(&shape[..x.len().max(1)])))
}
