//! `y = a·x`, a matrix of `m x k` times a vector of `k`.
//!
//! ```text
//! y[i]     = Σ_p a[i, p]·x[p]
//! da[i, p] = dy[i]·x[p]
//! dx[p]    = Σ_i a[i, p]·dy[i]      dx = Aᵀ·dy
//! ```
//!
//! Each element of `y` and of `dx` is a sum [along a row](crate#the-order-of-sums), as a [`dot`](super::dot) is, and
//! has the bits of [`matmul`](super::matmul) of these operands.
//!
//! A sum of nothing (`k = 0`) is zero. A NaN or an infinity times zero makes a NaN of every sum it is in.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::mv;
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let (a, x) = (View::new(&[1.0, 2.0, 3.0, 4.0], &[2, 2])?, View::new(&[10.0, 1.0], &[2])?);
//! let mut scratch = vec![0.0; mv::scratch(&exec, a.shape(), x.shape())];
//! let mut y = [f32::NAN; 2];
//! mv::forward(&exec, ViewMut::new(&mut y, &[2])?, a, x, &mut scratch)?;
//! assert_eq!(y, [12.0, 34.0]);
//! # Ok(())
//! # }
//! ```

use super::product::{Names, Product, expect_rank};
use crate::error::Result;
use crate::exec::Exec;
use crate::view::{View, ViewMut};

/// Floats of scratch that every function of this module may need on `exec` for operands of these shapes; 0 if they
/// cannot be multiplied.
#[must_use]
pub fn scratch(exec: &Exec, a_shape: &[usize], x_shape: &[usize]) -> usize {
    product("mv::scratch", a_shape, x_shape).map_or(0, |product| product.scratch(exec))
}

/// `y = a·x`, of `m`. `scratch` holds [`scratch`](fn@scratch) floats.
///
/// # Errors
/// If `a` has not two axes or `x` not one, if the inner sizes differ, if `y` has another shape, or if `scratch` is too
/// short.
pub fn forward<'a>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    a: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    scratch: &mut [f32],
) -> Result<()> {
    let (a, x) = (a.into(), x.into());
    product("mv::forward", a.shape(), x.shape())?.forward(exec, y.into(), a, x, scratch)
}

/// `da = dy·xᵀ` and `dx = aᵀ·dy`. `scratch` holds [`scratch`](fn@scratch) floats.
///
/// # Errors
/// As [`forward`], and if a gradient has another shape than its value.
pub fn backward<'a>(
    exec: &Exec,
    da: impl Into<ViewMut<'a>>,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    a: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    scratch: &mut [f32],
) -> Result<()> {
    let (a, x) = (a.into(), x.into());
    let product = product("mv::backward", a.shape(), x.shape())?;
    product.backward(exec, [da.into(), dx.into()], dy.into(), [a, x], scratch)
}

fn product(op: &'static str, a: &[usize], x: &[usize]) -> Result<Product> {
    expect_rank(op, "a", 2, a)?;
    expect_rank(op, "x", 1, x)?;
    Product::new(op, Names { a: "a", b: "x", da: "da", db: "dx" }, a, x)
}

/// `y` from a row-major matrix of as many columns as `x` has elements, by the definition.
#[must_use]
pub fn reference(a: &[f64], x: &[f64], rows: usize) -> Vec<f64> {
    (0..rows).map(|i| a[i * x.len()..].iter().zip(x).map(|(a, x)| a * x).sum()).collect()
}

/// `da` and `dx`, by the definition.
#[must_use]
pub fn reference_backward(dy: &[f64], a: &[f64], x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let da = dy.iter().flat_map(|dy| x.iter().map(move |x| dy * x)).collect();
    let dx = |p: usize| dy.iter().enumerate().map(|(i, dy)| a[i * x.len() + p] * dy).sum();
    (da, (0..x.len()).map(dx).collect())
}
