//! `y[i, j] = a[i]·b[j]`: every product of an element of one vector with one of another.
//!
//! ```text
//! da[i] = Σ_j dy[i, j]·b[j]      db[j] = Σ_i dy[i, j]·a[i]
//! ```
//!
//! `da` is summed [along rows](crate#the-order-of-sums), `db` down columns; a sum of nothing is zero.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::outer;
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let (a, b) = (View::new(&[1.0, 2.0], &[2])?, View::new(&[3.0, 4.0, 5.0], &[3])?);
//! let mut y = [f32::NAN; 6];
//! outer::forward(&exec, ViewMut::new(&mut y, &[2, 3])?, a, b)?;
//! assert_eq!(y, [3.0, 4.0, 5.0, 6.0, 8.0, 10.0]);
//! # Ok(())
//! # }
//! ```

use super::product::{Dot, Times, expect_rank};
use crate::elementwise;
use crate::error::{Result, expect_shape};
use crate::exec::Exec;
use crate::reduce::{self, AxisSet};
use crate::view::{View, ViewMut};

/// `y[i, j] = a[i]·b[j]`; `y` has a row for each element of `a` and a column for each of `b`.
///
/// # Errors
/// If an operand has not one axis, or `y` has another shape.
pub fn forward<'a>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    a: impl Into<View<'a>>,
    b: impl Into<View<'a>>,
) -> Result<()> {
    let (y, a, b) = (y.into(), a.into(), b.into());
    let inp = repeated("outer::forward", ("y", y.shape()), a, b)?;
    elementwise::map(exec, 0.06, [y], inp, Times);
    Ok(())
}

/// `da = dy·b` and `db = dyᵀ·a`; `dy` has the shape of the output.
///
/// # Errors
/// As [`forward`], and if a gradient has another shape than its value.
pub fn backward<'a>(
    exec: &Exec,
    da: impl Into<ViewMut<'a>>,
    db: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    a: impl Into<View<'a>>,
    b: impl Into<View<'a>>,
) -> Result<()> {
    const OP: &str = "outer::backward";
    let (da, db, dy, a, b) = (da.into(), db.into(), dy.into(), a.into(), b.into());
    let [rows, cols] = repeated(OP, ("dy", dy.shape()), a, b)?;
    expect_shape(OP, "da", a.shape(), da.shape())?;
    expect_shape(OP, "db", b.shape(), db.shape())?;
    let [mut along, mut down] = [AxisSet::default(); 2];
    along.insert(1);
    down.insert(0);
    reduce::fold(exec, 0.06, [da.unsqueeze(1)?], [dy, cols], along, Dot);
    reduce::fold(exec, 0.06, [db.unsqueeze(0)?], [dy, rows], down, Dot);
    Ok(())
}

/// Checks the shapes; `a` repeated along columns and `b` along rows.
fn repeated<'a>(
    op: &'static str,
    (arg, shape): (&'static str, &[usize]),
    a: View<'a>,
    b: View<'a>,
) -> Result<[View<'a>; 2]> {
    expect_rank(op, "a", 1, a.shape())?;
    expect_rank(op, "b", 1, b.shape())?;
    expect_shape(op, arg, &[a.len(), b.len()], shape)?;
    Ok([a.unsqueeze(1)?.broadcast_to(shape)?, b.broadcast_to(shape)?])
}

/// `y`, row after row, by the definition.
#[must_use]
pub fn reference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().flat_map(|a| b.iter().map(move |b| a * b)).collect()
}

/// `da` and `db` from the row-major `dy`, by the definition.
#[must_use]
pub fn reference_backward(dy: &[f64], a: &[f64], b: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let at = |i: usize, j: usize| dy[i * b.len() + j];
    let da = |i: usize| (0..b.len()).map(|j| at(i, j) * b[j]).sum();
    let db = |j: usize| (0..a.len()).map(|i| at(i, j) * a[i]).sum();
    ((0..a.len()).map(da).collect(), (0..b.len()).map(db).collect())
}
