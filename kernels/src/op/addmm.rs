//! `y = beta·input + alpha·(a·b)`, a product of matrices added to what there is, `input` being broadcast to its shape.
//!
//! ```text
//! dinput   = beta·Σ dy                       summed to the shape of `input`
//! da[i, p] = alpha·Σ_j dy[i, j]·b[p, j]      dA = alpha·dY·Bᵀ
//! db[p, j] = alpha·Σ_i a[i, p]·dy[i, j]      dB = alpha·Aᵀ·dY
//! ```
//!
//! The product comes first, with the bits of [`mm`](super::mm); then `y = fma(beta, input, alpha·y)`. With `beta = 0`
//! the input is not read, so that a NaN or an infinity in it does not spread, as in PyTorch. Zero has no such meaning
//! elsewhere: `alpha = 0` leaves the NaN of a product a NaN. A sum of nothing (`k = 0`) is zero.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::addmm::{self, Factors};
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let (a, b) = (View::new(&[1.0, 2.0, 3.0, 4.0], &[2, 2])?, View::new(&[1.0, 0.0, 1.0, 1.0], &[2, 2])?);
//! let row = View::new(&[10.0, 20.0], &[2])?;
//! let mut scratch = vec![0.0; addmm::scratch(&exec, a.shape(), b.shape())];
//! let mut y = [f32::NAN; 4];
//! let factors = Factors { beta: 0.5, alpha: 2.0 };
//! addmm::forward(&exec, ViewMut::new(&mut y, &[2, 2])?, row, a, b, factors, &mut scratch)?;
//! assert_eq!(y, [11.0, 14.0, 19.0, 18.0]);
//! # Ok(())
//! # }
//! ```

use super::broadcast;
use super::product::Product;
use crate::elementwise;
use crate::error::Result;
use crate::exec::Exec;
use crate::lanes::Map;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// What the parts of the sum are multiplied by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factors {
    /// The factor of the input; with 0 it is not read.
    pub beta: f32,
    /// The factor of the product.
    pub alpha: f32,
}

impl Default for Factors {
    fn default() -> Self {
        Self { beta: 1.0, alpha: 1.0 }
    }
}

/// The gradients that the backward pass writes.
pub struct Grads<'a> {
    /// Of `input`, in its shape.
    pub dinput: ViewMut<'a>,
    /// Of `a`, in its shape.
    pub da: ViewMut<'a>,
    /// Of `b`, in its shape.
    pub db: ViewMut<'a>,
}

/// Floats of scratch that every function of this module may need on `exec` for operands of these shapes; 0 if they
/// cannot be multiplied.
#[must_use]
pub fn scratch(exec: &Exec, a_shape: &[usize], b_shape: &[usize]) -> usize {
    Product::of_matrices("addmm::scratch", a_shape, b_shape).map_or(0, |product| product.scratch(exec))
}

/// `y = beta·input + alpha·(a·b)`, of `m x n`, for `a` of `m x k` and `b` of `k x n`. `scratch` holds
/// [`scratch`](fn@scratch) floats.
///
/// # Errors
/// If `a` or `b` has not two axes, if the inner sizes differ, if `input` does not broadcast to the product, if `y` has
/// another shape, or if `scratch` is too short.
pub fn forward<'a>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    input: impl Into<View<'a>>,
    a: impl Into<View<'a>>,
    b: impl Into<View<'a>>,
    factors: Factors,
    scratch: &mut [f32],
) -> Result<()> {
    const OP: &str = "addmm::forward";
    let (mut y, a, b) = (y.into(), a.into(), b.into());
    let product = Product::of_matrices(OP, a.shape(), b.shape())?;
    let input = elementwise::broadcast(OP, "input", input.into(), product.out().as_slice())?;
    product.forward(exec, y.reborrow(), a, b, scratch)?;
    if factors.beta == 0.0 {
        scale(exec, y, factors.alpha);
    } else {
        elementwise::map(exec, 0.06, [y], [input], Combine(factors));
    }
    Ok(())
}

/// The gradients of all three, from `dy` of `m x n`. `scratch` holds [`scratch`](fn@scratch) floats.
///
/// # Errors
/// As [`forward`], and if a gradient has another shape than its value; that of `input` is known by its gradient alone.
pub fn backward<'a>(
    exec: &Exec,
    grads: Grads<'_>,
    dy: impl Into<View<'a>>,
    a: impl Into<View<'a>>,
    b: impl Into<View<'a>>,
    factors: Factors,
    scratch: &mut [f32],
) -> Result<()> {
    const OP: &str = "addmm::backward";
    let Grads { dinput, mut da, mut db } = grads;
    let (dy, a, b) = (dy.into(), a.into(), b.into());
    let product = Product::of_matrices(OP, a.shape(), b.shape())?;
    elementwise::broadcast(OP, "dinput", dinput.as_view(), product.out().as_slice())?;
    product.backward(exec, [da.reborrow(), db.reborrow()], dy, [a, b], scratch)?;
    scale(exec, da, factors.alpha);
    scale(exec, db, factors.alpha);
    broadcast::sum_scaled([OP, "dinput"], exec, dinput, dy, factors.beta)
}

/// `y = alpha·y`.
fn scale(exec: &Exec, y: ViewMut<'_>, alpha: f32) {
    if alpha != 1.0 {
        elementwise::map(exec, 0.06, [y], [], Scale(alpha));
    }
}

/// What stands there, times a number.
#[derive(Clone, Copy)]
struct Scale(f32);

impl Map<0, 1> for Scale {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, _: [S::F32; 0], [old]: [S::F32; 1]) -> [S::F32; 1] {
        [s.mul(s.splat(self.0), old)]
    }
}

/// `beta·input + alpha·y`, `y` being what stands there.
#[derive(Clone, Copy)]
struct Combine(Factors);

impl Map<1, 1> for Combine {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [input]: [S::F32; 1], [old]: [S::F32; 1]) -> [S::F32; 1] {
        let Factors { beta, alpha } = self.0;
        [s.fma(s.splat(beta), input, s.mul(s.splat(alpha), old))]
    }
}

/// `y` from row-major operands, `input` being of `m x n` already, by the definition.
#[must_use]
pub fn reference(input: &[f64], a: &[f64], b: &[f64], [m, k, n]: [usize; 3], [beta, alpha]: [f64; 2]) -> Vec<f64> {
    let product = super::mm::reference(a, b, [m, k, n]);
    let scaled = |input: &f64| if beta == 0.0 { 0.0 } else { beta * input };
    input.iter().zip(product).map(|(input, product)| scaled(input) + alpha * product).collect()
}

/// `dinput` (of `m x n`), `da` and `db` from row-major `dy` and operands, by the definition.
#[must_use]
pub fn reference_backward(
    dy: &[f64],
    a: &[f64],
    b: &[f64],
    sizes: [usize; 3],
    [beta, alpha]: [f64; 2],
) -> [Vec<f64>; 3] {
    let (da, db) = super::mm::reference_backward(dy, a, b, sizes);
    let times = |factor: f64, values: &[f64]| values.iter().map(|x| factor * x).collect();
    [times(beta, dy), times(alpha, &da), times(alpha, &db)]
}
