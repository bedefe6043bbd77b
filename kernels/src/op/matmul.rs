//! `y = a·b`, the product of matrices by the rules of NumPy and PyTorch, for operands of rank 1 to 8.
//!
//! The last two axes are matrices, `m x k` by `k x n`; the axes before them are a batch, and are broadcast to each
//! other. An operand of one axis is a row on the left and a column on the right, and the axis it lacks is lacking in
//! `y` too.
//!
//! | `a` | `b` | `y` | |
//! |---|---|---|---|
//! | `k` | `k` | scalar | [`dot`](super::dot) |
//! | `m, k` | `k` | `m` | [`mv`](super::mv) |
//! | `k` | `k, n` | `n` | a row times a matrix |
//! | `m, k` | `k, n` | `m, n` | [`mm`](super::mm) |
//! | `…, m, k` | `k, n` | `…, m, n` | one matrix for the whole batch: one product, if the rows lie evenly |
//! | `c, m, k` | `c, k, n` | `c, m, n` | [`bmm`](super::bmm) |
//! | `c, 1, m, k` | `d, k, n` | `c, d, m, n` | both repeated |
//!
//! Each element of `y` is linear in a row of `a` and in a column of `b`, so
//!
//! ```text
//! y[…, i, j]  = Σ_p a[…, i, p]·b[…, p, j]
//! da[…, i, p] = Σ_j dy[…, i, j]·b[…, p, j]      dA = dY·Bᵀ
//! db[…, p, j] = Σ_i a[…, i, p]·dy[…, i, j]      dB = Aᵀ·dY
//! ```
//!
//! and an operand that is repeated along batch axes gets the sum over them, added up in place.
//!
//! An element of `y` is one chain of fused multiply-adds in the order of `p`; with one column (`n = 1`), where there is
//! nothing but the sum to spread over the lanes, it is a sum [along a row](crate#the-order-of-sums). So `a·v` has the
//! same bits for a vector `v` as for a matrix of that one column, and a row of `a` alone the same as among others. The
//! gradients go by the same rule: `db` is one chain in the order of `i` and, where `b` was repeated, on through the
//! batch in row-major order, `da` likewise in the order of `j`; with one column (`n = 1` for `db`, `k = 1` for `da`)
//! they are sums along a row, those of a batch added from first to last.
//!
//! A sum of nothing (`k = 0`) is zero. A NaN or an infinity times zero makes a NaN of every sum it is in.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::matmul;
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [0.5, -1.0]);
//! // Two matrices times one vector.
//! let (a, b) = (View::new(&a, &[2, 2, 2])?, View::new(&b, &[2])?);
//! let mut scratch = vec![0.0; matmul::scratch(&exec, a.shape(), b.shape())];
//! let mut y = [f32::NAN; 4];
//! matmul::forward(&exec, ViewMut::new(&mut y, &[2, 2])?, a, b, &mut scratch)?;
//! assert_eq!(y, [-1.5, -2.5, -3.5, -4.5]);
//!
//! let (mut da, mut db) = ([f32::NAN; 8], [f32::NAN; 2]);
//! let dy = View::new(&[1.0, 0.0, 0.0, 2.0], &[2, 2])?;
//! let (da_view, db_view) = (ViewMut::new(&mut da, &[2, 2, 2])?, ViewMut::new(&mut db, &[2])?);
//! matmul::backward(&exec, da_view, db_view, dy, a, b, &mut scratch)?;
//! assert_eq!(da, [0.5, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0, -2.0]);
//! assert_eq!(db, [1.0 + 2.0 * 7.0, 2.0 + 2.0 * 8.0]);
//! # Ok(())
//! # }
//! ```

use super::product::{NAMES, Names, Product};
use crate::error::Result;
use crate::exec::Exec;
use crate::view::{View, ViewMut};

/// Floats of scratch that every function of this module may need on `exec` for operands of these shapes; 0 if they
/// cannot be multiplied.
#[must_use]
pub fn scratch(exec: &Exec, a_shape: &[usize], b_shape: &[usize]) -> usize {
    Product::new("matmul::scratch", NAMES, a_shape, b_shape).map_or(0, |product| product.scratch(exec))
}

/// `y = a·b`; the [top of the module](self) has the shapes. `scratch` holds [`scratch`](fn@scratch) floats.
///
/// # Errors
/// If an operand is a scalar, if the inner sizes differ or the batches do not broadcast, if `y` has another shape, or
/// if `scratch` is too short.
pub fn forward<'a>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    a: impl Into<View<'a>>,
    b: impl Into<View<'a>>,
    scratch: &mut [f32],
) -> Result<()> {
    let (a, b) = (a.into(), b.into());
    Product::new("matmul::forward", NAMES, a.shape(), b.shape())?.forward(exec, y.into(), a, b, scratch)
}

/// `da = dy·bᵀ` and `db = aᵀ·dy`, each summed to the shape of its operand; `dy` has the shape of the output. `scratch`
/// holds [`scratch`](fn@scratch) floats.
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
    let product = Product::new("matmul::backward", NAMES, a.shape(), b.shape())?;
    product.backward(exec, [da.into(), db.into()], dy.into(), [a, b], scratch)
}

/// The first half of [`backward`], where the right operand needs no gradient; `da` has the shape of `a`.
///
/// # Errors
/// As [`backward`].
pub fn backward_a<'a>(
    exec: &Exec,
    da: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    b: impl Into<View<'a>>,
    scratch: &mut [f32],
) -> Result<()> {
    let (da, b) = (da.into(), b.into());
    let product = Product::new("matmul::backward_a", Names { a: "da", ..NAMES }, da.shape(), b.shape())?;
    product.backward_left(exec, da, dy.into(), b, scratch)
}

/// The second half of [`backward`], where the left operand needs no gradient; `db` has the shape of `b`.
///
/// # Errors
/// As [`backward`].
pub fn backward_b<'a>(
    exec: &Exec,
    db: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    a: impl Into<View<'a>>,
    scratch: &mut [f32],
) -> Result<()> {
    let (db, a) = (db.into(), a.into());
    let product = Product::new("matmul::backward_b", Names { b: "db", ..NAMES }, a.shape(), db.shape())?;
    product.backward_right(exec, db, dy.into(), a, scratch)
}

/// `y` from row-major operands, by the definition.
#[must_use]
pub fn reference(a: &[f64], a_shape: &[usize], b: &[f64], b_shape: &[usize]) -> Vec<f64> {
    let mut y = vec![0.0; outputs(a_shape, b_shape)];
    each_term(a_shape, b_shape, |at, i, j| y[at] += a[i] * b[j]);
    y
}

/// `da` and `db` from the row-major `dy` and operands, by the definition.
#[must_use]
pub fn reference_backward(
    dy: &[f64],
    a: &[f64],
    a_shape: &[usize],
    b: &[f64],
    b_shape: &[usize],
) -> (Vec<f64>, Vec<f64>) {
    let (mut da, mut db) = (vec![0.0; a.len()], vec![0.0; b.len()]);
    each_term(a_shape, b_shape, |at, i, j| {
        da[i] += dy[at] * b[j];
        db[j] += dy[at] * a[i];
    });
    (da, db)
}

/// How many elements the product has.
fn outputs(a_shape: &[usize], b_shape: &[usize]) -> usize {
    let product = Product::new("matmul::reference", NAMES, a_shape, b_shape).expect("operands that can be multiplied");
    product.out().as_slice().iter().product()
}

/// Calls `f` with the places in `y`, `a` and `b` of each term of each sum.
fn each_term(a_shape: &[usize], b_shape: &[usize], mut f: impl FnMut(usize, usize, usize)) {
    let (a_batch, [m, k]) = match *a_shape {
        [ref batch @ .., m, k] => (batch, [m, k]),
        _ => (&a_shape[..0], [1, a_shape[0]]),
    };
    let (b_batch, n) = match *b_shape {
        [ref batch @ .., _, n] => (batch, n),
        _ => (&b_shape[..0], 1),
    };
    let rank = a_batch.len().max(b_batch.len());
    let size = |batch: &[usize], axis: usize| (axis + batch.len()).checked_sub(rank).map_or(1, |axis| batch[axis]);
    let count = outputs(a_shape, b_shape) / (m * n).max(1);
    for number in 0..count {
        // The index in the batch, its last axis first, and the number of the matrix it means in each operand.
        let (mut rest, mut strides, mut matrix) = (number, [1, 1], [0, 0]);
        for axis in (0..rank).rev() {
            let sizes = [size(a_batch, axis), size(b_batch, axis)];
            let all = if sizes[0] == 1 { sizes[1] } else { sizes[0] };
            for (side, size) in sizes.into_iter().enumerate() {
                matrix[side] += if size == 1 { 0 } else { rest % all * strides[side] };
                strides[side] *= size;
            }
            rest /= all;
        }
        for i in 0..m {
            for j in 0..n {
                for p in 0..k {
                    f((number * m + i) * n + j, (matrix[0] * m + i) * k + p, (matrix[1] * k + p) * n + j);
                }
            }
        }
    }
}
