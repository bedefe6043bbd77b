//! `y = Σ a[i]·b[i]`, the product of two vectors, a scalar.
//!
//! ```text
//! da[i] = dy·b[i]      db[i] = dy·a[i]
//! ```
//!
//! It is a sum [along a row](crate#the-order-of-sums) of fused multiply-adds. A sum of nothing is zero.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::dot;
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let (a, b) = (View::new(&[1.0, 2.0, 3.0], &[3])?, View::new(&[4.0, 5.0, 6.0], &[3])?);
//! let mut y = f32::NAN;
//! dot::forward(&exec, ViewMut::scalar(&mut y), a, b)?;
//! assert_eq!(y, 32.0);
//!
//! let (mut da, mut db) = ([f32::NAN; 3], [f32::NAN; 3]);
//! let grads = (ViewMut::new(&mut da, &[3])?, ViewMut::new(&mut db, &[3])?);
//! dot::backward(&exec, grads.0, grads.1, View::scalar(&0.5), a, b)?;
//! assert_eq!((da, db), ([2.0, 2.5, 3.0], [0.5, 1.0, 1.5]));
//! # Ok(())
//! # }
//! ```

use super::product::{Dot, Times, expect_rank};
use crate::elementwise;
use crate::error::{Result, expect_shape};
use crate::exec::Exec;
use crate::reduce::{self, AxisSet};
use crate::view::{View, ViewMut};

/// `y = Σ a[i]·b[i]`; `y` is a scalar.
///
/// # Errors
/// If an operand has not one axis, if they differ in length, or if `y` is no scalar.
pub fn forward<'a>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    a: impl Into<View<'a>>,
    b: impl Into<View<'a>>,
) -> Result<()> {
    const OP: &str = "dot::forward";
    let (y, a, b) = (y.into(), a.into(), b.into());
    check(OP, a, b)?;
    expect_shape(OP, "y", &[], y.shape())?;
    let mut reduced = AxisSet::default();
    reduced.insert(0);
    reduce::fold(exec, 0.06, [y.unsqueeze(0)?], [a, b], reduced, Dot);
    Ok(())
}

/// `da = dy·b` and `db = dy·a`; `dy` is a scalar.
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
    const OP: &str = "dot::backward";
    let (da, db, dy, a, b) = (da.into(), db.into(), dy.into(), a.into(), b.into());
    check(OP, a, b)?;
    expect_shape(OP, "dy", &[], dy.shape())?;
    expect_shape(OP, "da", a.shape(), da.shape())?;
    expect_shape(OP, "db", b.shape(), db.shape())?;
    let dy = dy.broadcast_to(a.shape())?;
    elementwise::map(exec, 0.06, [da], [dy, b], Times);
    elementwise::map(exec, 0.06, [db], [dy, a], Times);
    Ok(())
}

fn check(op: &'static str, a: View<'_>, b: View<'_>) -> Result<()> {
    expect_rank(op, "a", 1, a.shape())?;
    expect_rank(op, "b", 1, b.shape())?;
    expect_shape(op, "b", a.shape(), b.shape())
}

/// `y`, by the definition.
#[must_use]
pub fn reference(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `da` and `db`, by the definition.
#[must_use]
pub fn reference_backward(dy: f64, a: &[f64], b: &[f64]) -> (Vec<f64>, Vec<f64>) {
    (b.iter().map(|b| dy * b).collect(), a.iter().map(|a| dy * a).collect())
}
