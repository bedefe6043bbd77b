//! `y = a·b`, the product of two matrices, `m x k` by `k x n`; see [`matmul`](super::matmul), whose bits it has, for
//! operands of other ranks.
//!
//! ```text
//! y[i, j]  = Σ_p a[i, p]·b[p, j]
//! da[i, p] = Σ_j dy[i, j]·b[p, j]      dA = dY·Bᵀ
//! db[p, j] = Σ_i a[i, p]·dy[i, j]      dB = Aᵀ·dY
//! ```
//!
//! A sum of nothing (`k = 0`) is zero. A NaN or an infinity times zero makes a NaN of every sum it is in.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::mm;
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let a = View::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3])?;
//! let mut scratch = vec![0.0; mm::scratch(&exec, &[2, 3], &[3, 2])];
//! let mut y = [f32::NAN; 4];
//! mm::forward(&exec, ViewMut::new(&mut y, &[2, 2])?, a, a.t()?, &mut scratch)?;
//! assert_eq!(y, [14.0, 32.0, 32.0, 77.0]);
//! # Ok(())
//! # }
//! ```

use super::product::Product;
use crate::error::Result;
use crate::exec::Exec;
use crate::view::{View, ViewMut};

/// Floats of scratch that every function of this module may need on `exec` for operands of these shapes; 0 if they
/// cannot be multiplied.
#[must_use]
pub fn scratch(exec: &Exec, a_shape: &[usize], b_shape: &[usize]) -> usize {
    Product::of_matrices("mm::scratch", a_shape, b_shape).map_or(0, |product| product.scratch(exec))
}

/// `y = a·b`, of `m x n`. `scratch` holds [`scratch`](fn@scratch) floats.
///
/// # Errors
/// If an operand has not two axes, if the inner sizes differ, if `y` has another shape, or if `scratch` is too short.
pub fn forward<'a>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    a: impl Into<View<'a>>,
    b: impl Into<View<'a>>,
    scratch: &mut [f32],
) -> Result<()> {
    let (a, b) = (a.into(), b.into());
    Product::of_matrices("mm::forward", a.shape(), b.shape())?.forward(exec, y.into(), a, b, scratch)
}

/// `da = dy·bᵀ` and `db = aᵀ·dy`. `scratch` holds [`scratch`](fn@scratch) floats.
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
    scratch: &mut [f32],
) -> Result<()> {
    let (a, b) = (a.into(), b.into());
    let product = Product::of_matrices("mm::backward", a.shape(), b.shape())?;
    product.backward(exec, [da.into(), db.into()], dy.into(), [a, b], scratch)
}

/// `y` from row-major operands of `m x k` and `k x n`, by the definition.
#[must_use]
pub fn reference(a: &[f64], b: &[f64], [m, k, n]: [usize; 3]) -> Vec<f64> {
    let element = |i: usize, j: usize| (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum();
    (0..m).flat_map(|i| (0..n).map(move |j| element(i, j))).collect()
}

/// `da` and `db` from row-major `dy` and operands, by the definition.
#[must_use]
pub fn reference_backward(dy: &[f64], a: &[f64], b: &[f64], [m, k, n]: [usize; 3]) -> (Vec<f64>, Vec<f64>) {
    let da = |i: usize, p: usize| (0..n).map(|j| dy[i * n + j] * b[p * n + j]).sum();
    let db = |p: usize, j: usize| (0..m).map(|i| a[i * k + p] * dy[i * n + j]).sum();
    (
        (0..m).flat_map(|i| (0..k).map(move |p| da(i, p))).collect(),
        (0..k).flat_map(|p| (0..n).map(move |j| db(p, j))).collect(),
    )
}
