//! RMS normalisation: `y = weight·x̂` with `x̂ = x·inv_rms`, row by row: layer norm without its mean and its bias.
//!
//! A row is what lies on the last axes of `x`, those of `normalized_shape`; the weight has that shape, `inv_rms` has
//! the shape of the axes before it. With `n` elements in a row, `inv_rms = 1/√(Σx²/n + eps)`.
//!
//! Backward. Let `g = dy·weight`. `x̂` depends on `x` directly and through the root:
//!
//! ```text
//! dx̂[i]/dx[j] = inv_rms·([i = j] - x̂[i]·x̂[j]/n)
//! dx          = inv_rms·(g - x̂·Σ(g·x̂)/n)
//! dweight     = Σ dy·x̂ over the rows
//! ```
//!
//! Sums along a row are in the order of a run, those over the rows in blocks of 256, as everywhere in this crate. Of a
//! row of nothing `inv_rms` is NaN. NaN in a row makes all of its outputs NaN, as does a mean square below `-eps`; an
//! infinity makes the finite elements of its row 0 and itself NaN.
//!
//! Source: Zhang and Sennrich 2019; `torch.nn.functional.rms_norm`.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::rms_norm::{self, Config};
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let x = [3.0, -3.0, 0.5, 0.5];
//! let (mut y, mut inv_rms) = ([f32::NAN; 4], [f32::NAN; 2]);
//! let (y_view, inv_view) = (ViewMut::new(&mut y, &[2, 2])?, ViewMut::new(&mut inv_rms, &[2])?);
//! rms_norm::forward(&exec, y_view, inv_view, View::new(&x, &[2, 2])?, &[2], None, Config { eps: 0.0 })?;
//! assert_eq!((y[2], y[3], inv_rms[1]), (1.0, 1.0, 2.0));
//! # Ok(())
//! # }
//! ```

use super::activation::Activation;
use super::norms::{Params, product};
use super::row_norm;
use crate::error::Result;
use crate::exec::Exec;
use crate::gemm::Accum;
use crate::view::{Mat, MatMut, View, ViewMut};

/// Choices of an RMS normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Added to the mean square before its root. The default is the distance from 1 to the next float, PyTorch's
    /// `eps=None`.
    pub eps: f32,
}

impl Default for Config {
    fn default() -> Self {
        Self { eps: f32::EPSILON }
    }
}

/// The gradients that the backward pass writes.
pub struct Grads<V> {
    /// Of the input; overwritten.
    pub dx: V,
    /// Of the weight, if it is wanted.
    pub dweight: Option<V>,
}

/// `y = weight·x·inv_rms` over the last axes of `x`, which are `normalized_shape`; `y` has the shape of `x`. Writes the
/// `inv_rms` it used: it has the shape of the axes before, or that of `x` with size one on the axes of a row.
///
/// # Errors
/// If shapes do not match, or `normalized_shape` has no axis.
pub fn forward<'a>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    inv_rms: impl Into<ViewMut<'a>>,
    x: impl Into<View<'a>>,
    normalized_shape: &[usize],
    weight: Option<View<'a>>,
    config: Config,
) -> Result<()> {
    let (y, inv_std, x, params) = (y.into(), inv_rms.into(), x.into(), Params { weight, bias: None });
    let call = row_norm::Forward { y, mean: None, inv_std, x, params, eps: config.eps };
    row_norm::forward("rms_norm::forward", exec, call, normalized_shape)
}

/// The gradients of [`forward`]; shapes are as there. `dx` is overwritten; `accum` says what happens to the old
/// `dweight`. `scratch` holds [`backward_scratch`] floats.
///
/// # Errors
/// As [`forward`], and if `scratch` is too short.
pub fn backward<'a>(
    exec: &Exec,
    grads: Grads<ViewMut<'a>>,
    accum: Accum,
    dy: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    inv_rms: impl Into<View<'a>>,
    normalized_shape: &[usize],
    weight: Option<View<'a>>,
    scratch: &mut [f32],
) -> Result<()> {
    let Grads { dx, dweight } = grads;
    let (dy, x, inv_std) = (dy.into(), x.into(), inv_rms.into());
    let call = row_norm::Backward { dx, dy, x, mean: None, inv_std, weight };
    let params = [dweight, None];
    row_norm::backward("rms_norm::backward", exec, call, params, accum, normalized_shape, scratch)
}

/// Floats of scratch that [`backward`] of an `x` of this shape needs.
#[must_use]
pub fn backward_scratch(shape: &[usize], normalized_shape: &[usize]) -> usize {
    let outer = shape.len().saturating_sub(normalized_shape.len());
    row_norm::scratch_len(product(&shape[..outer]), product(normalized_shape))
}

/// [`forward`] of the rows of a matrix, then an activation: `y = activation(gamma·x·inv_rms)`. `x` and `y` are
/// `batch x features`, `gamma` is `1 x features`, `inv_rms` is `batch x 1`.
///
/// # Errors
/// If shapes do not match, or columns are not adjacent.
pub fn forward_rows(
    exec: &Exec,
    y: MatMut<'_>,
    inv_rms: MatMut<'_>,
    x: Mat<'_>,
    gamma: Option<Mat<'_>>,
    config: Config,
    activation: Activation,
) -> Result<()> {
    let params = Params { weight: gamma, bias: None };
    let call = row_norm::Forward { y, mean: None, inv_std: inv_rms, x, params, eps: config.eps };
    row_norm::forward_rows("rms_norm::forward_rows", exec, call, None, activation)
}

/// [`forward_rows`] that keeps what the activation is given in `z`, which has the shape of `y`.
///
/// # Errors
/// As [`forward_rows`].
pub fn forward_rows_saving(
    exec: &Exec,
    y: MatMut<'_>,
    z: MatMut<'_>,
    inv_rms: MatMut<'_>,
    x: Mat<'_>,
    gamma: Option<Mat<'_>>,
    config: Config,
    activation: Activation,
) -> Result<()> {
    let params = Params { weight: gamma, bias: None };
    let call = row_norm::Forward { y: z, mean: None, inv_std: inv_rms, x, params, eps: config.eps };
    row_norm::forward_rows("rms_norm::forward_rows_saving", exec, call, Some(y), activation)
}

/// The gradients of [`forward_rows`] (before its activation): `dy` is that of `gamma·x̂`. `dx` is overwritten; `accum`
/// says what happens to the old `dweight`. `scratch` holds [`backward_rows_scratch`] floats.
///
/// # Errors
/// As [`forward_rows`], and if `scratch` is too short.
pub fn backward_rows(
    exec: &Exec,
    grads: Grads<MatMut<'_>>,
    accum: Accum,
    dy: Mat<'_>,
    x: Mat<'_>,
    inv_rms: Mat<'_>,
    gamma: Option<Mat<'_>>,
    scratch: &mut [f32],
) -> Result<()> {
    let Grads { dx, dweight } = grads;
    let call = row_norm::Backward { dx, dy, x, mean: None, inv_std: inv_rms, weight: gamma };
    row_norm::backward_rows("rms_norm::backward_rows", exec, call, [dweight, None], accum, scratch)
}

/// Floats of scratch that [`backward_rows`] needs.
#[must_use]
pub const fn backward_rows_scratch(batch: usize, features: usize) -> usize {
    row_norm::scratch_len(batch, features)
}

/// One row by the definition; without a weight it is 1.
#[must_use]
pub fn reference(x: &[f64], weight: Option<&[f64]>, eps: f64) -> Vec<f64> {
    let inv_rms = inv_root(x, eps);
    x.iter().enumerate().map(|(i, x)| weight.map_or(1.0, |weight| weight[i]) * x * inv_rms).collect()
}

/// `1/√(Σx²/n + eps)`.
fn inv_root(x: &[f64], eps: f64) -> f64 {
    1.0 / (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + eps).sqrt()
}

/// `dx` of one row, and what the row adds to `dweight`, by the matrix of derivatives.
#[must_use]
pub fn reference_backward(dy: &[f64], x: &[f64], weight: Option<&[f64]>, eps: f64) -> [Vec<f64>; 2] {
    let (n, inv_rms) = (x.len() as f64, inv_root(x, eps));
    let xhat: Vec<f64> = x.iter().map(|x| x * inv_rms).collect();
    let g: Vec<f64> = dy.iter().enumerate().map(|(i, dy)| dy * weight.map_or(1.0, |weight| weight[i])).collect();
    let derivative = |i: usize, j: usize| inv_rms * (f64::from(u8::from(i == j)) - xhat[i] * xhat[j] / n);
    let dx = (0..x.len()).map(|j| (0..x.len()).map(|i| g[i] * derivative(i, j)).sum()).collect();
    [dx, dy.iter().zip(&xhat).map(|(dy, xhat)| dy * xhat).collect()]
}
