//! `y[c] = a[c]·b[c]`: the product of two matrices for each index `c` of a batch, `batch x m x k` by `batch x k x n`.
//! Nothing is broadcast; see [`matmul`](super::matmul), whose bits it has, for that.
//!
//! ```text
//! y[c, i, j]  = Σ_p a[c, i, p]·b[c, p, j]
//! da[c, i, p] = Σ_j dy[c, i, j]·b[c, p, j]      dA[c] = dY[c]·B[c]ᵀ
//! db[c, p, j] = Σ_i a[c, i, p]·dy[c, i, j]      dB[c] = A[c]ᵀ·dY[c]
//! ```
//!
//! Small matrices are shared out among threads whole, large ones one after the other in parts. A sum of nothing
//! (`k = 0`) is zero. A NaN or an infinity times zero makes a NaN of every sum it is in.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::bmm;
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let a = View::new(&[1.0, 2.0, 3.0, 4.0], &[2, 1, 2])?;
//! let mut scratch = vec![0.0; bmm::scratch(&exec, &[2, 1, 2], &[2, 2, 1])];
//! let mut y = [f32::NAN; 2];
//! bmm::forward(&exec, ViewMut::new(&mut y, &[2, 1, 1])?, a, a.transpose(1, 2)?, &mut scratch)?;
//! assert_eq!(y, [5.0, 25.0]);
//! # Ok(())
//! # }
//! ```

use super::mm;
use super::product::{NAMES, Product, expect_rank};
use crate::error::{Result, expect_shape};
use crate::exec::Exec;
use crate::view::{View, ViewMut};

/// Floats of scratch that every function of this module may need on `exec` for operands of these shapes; 0 if they
/// cannot be multiplied.
#[must_use]
pub fn scratch(exec: &Exec, a_shape: &[usize], b_shape: &[usize]) -> usize {
    product("bmm::scratch", a_shape, b_shape).map_or(0, |product| product.scratch(exec))
}

/// `y[c] = a[c]·b[c]`, of `batch x m x n`. `scratch` holds [`scratch`](fn@scratch) floats.
///
/// # Errors
/// If an operand has not three axes, if the batches or the inner sizes differ, if `y` has another shape, or if
/// `scratch` is too short.
pub fn forward<'a>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    a: impl Into<View<'a>>,
    b: impl Into<View<'a>>,
    scratch: &mut [f32],
) -> Result<()> {
    let (a, b) = (a.into(), b.into());
    product("bmm::forward", a.shape(), b.shape())?.forward(exec, y.into(), a, b, scratch)
}

/// `da[c] = dy[c]·b[c]ᵀ` and `db[c] = a[c]ᵀ·dy[c]`. `scratch` holds [`scratch`](fn@scratch) floats.
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
    let product = product("bmm::backward", a.shape(), b.shape())?;
    product.backward(exec, [da.into(), db.into()], dy.into(), [a, b], scratch)
}

fn product(op: &'static str, a: &[usize], b: &[usize]) -> Result<Product> {
    expect_rank(op, "a", 3, a)?;
    expect_rank(op, "b", 3, b)?;
    expect_shape(op, "b", &[a[0], a[2], b[2]], b)?;
    Product::new(op, NAMES, a, b)
}

/// `y` from row-major operands of `batch x m x k` and `batch x k x n`, by the definition.
#[must_use]
pub fn reference(a: &[f64], b: &[f64], [batch, m, k, n]: [usize; 4]) -> Vec<f64> {
    let matrix = |c: usize| mm::reference(&a[c * m * k..], &b[c * k * n..], [m, k, n]);
    (0..batch).flat_map(matrix).collect()
}

/// `da` and `db` from row-major `dy` and operands, by the definition.
#[must_use]
pub fn reference_backward(dy: &[f64], a: &[f64], b: &[f64], [batch, m, k, n]: [usize; 4]) -> (Vec<f64>, Vec<f64>) {
    let matrices = |c: usize| (&dy[c * m * n..], &a[c * m * k..], &b[c * k * n..]);
    let (mut da, mut db) = (Vec::new(), Vec::new());
    for (dy, a, b) in (0..batch).map(matrices) {
        let grads = mm::reference_backward(dy, a, b, [m, k, n]);
        da.extend(grads.0);
        db.extend(grads.1);
    }
    (da, db)
}
