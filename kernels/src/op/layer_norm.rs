//! Layer normalisation: `y = weight·x̂ + bias` with `x̂ = (x - mean)·inv_std`, row by row.
//!
//! A row is what lies on the last axes of `x`, those of `normalized_shape`; weight and bias have that shape, the
//! statistics have the shape of the axes before it. With `n` elements in a row, `mean = Σx/n`, `var = Σ(x - mean)²/n`
//! and `inv_std = 1/√(var + eps)`. The variance is two-pass and the mean is summed as distances from the row's first
//! element, so a large mean costs no more than its own rounding, and a constant row has exactly no variance.
//!
//! Backward. Let `g = dy·weight`. `x̂` depends on `x` three times, directly and through the two statistics:
//!
//! ```text
//! dx̂[i]/dx[j] = inv_std·([i = j] - 1/n - x̂[i]·x̂[j]/n)
//! dx          = inv_std·(g - Σg/n - x̂·Σ(g·x̂)/n)
//! dweight     = Σ dy·x̂  and  dbias = Σ dy over the rows
//! ```
//!
//! Sums along a row are in the order of a run, those over the rows in blocks of 256, as everywhere in this crate. Of a
//! row of nothing the statistics are NaN. NaN or an infinity in a row makes all of its outputs NaN; `var + eps` below
//! zero does too.
//!
//! Source: Ba, Kiros and Hinton 2016; `torch.nn.functional.layer_norm`.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::layer_norm::{self, Config, Params, Statistics};
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let x = [1.0, 3.0, -2.0, -2.0];
//! let (mut y, mut mean, mut inv_std) = ([f32::NAN; 4], [f32::NAN; 2], [f32::NAN; 2]);
//! let statistics =
//!     Statistics { mean: ViewMut::new(&mut mean, &[2])?, inv_std: ViewMut::new(&mut inv_std, &[2])? };
//! let (y_view, x) = (ViewMut::new(&mut y, &[2, 2])?, View::new(&x, &[2, 2])?);
//! layer_norm::forward(&exec, y_view, statistics, x, &[2], Params::default(), Config { eps: 0.0 })?;
//! assert_eq!((y[0], y[1], mean), (-1.0, 1.0, [2.0, -2.0]));
//! # Ok(())
//! # }
//! ```

pub use super::norms::{Grads, Params, Saved, Statistics};

use super::activation::Activation;
use super::norms::product;
use super::row_norm;
use crate::error::Result;
use crate::exec::Exec;
use crate::gemm::Accum;
use crate::view::{Mat, MatMut, View, ViewMut};

/// Choices of a layer normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Added to the variance before its root.
    pub eps: f32,
}

impl Default for Config {
    fn default() -> Self {
        Self { eps: 1e-5 }
    }
}

/// `y = weight·(x - mean)·inv_std + bias` over the last axes of `x`, which are `normalized_shape`; `y` has the shape of
/// `x`. Writes the statistics it used: they have the shape of the axes before, or that of `x` with size one on the axes
/// of a row.
///
/// # Errors
/// If shapes do not match, or `normalized_shape` has no axis.
pub fn forward<'a>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    statistics: Statistics<ViewMut<'a>>,
    x: impl Into<View<'a>>,
    normalized_shape: &[usize],
    params: Params<View<'a>>,
    config: Config,
) -> Result<()> {
    let Statistics { mean, inv_std } = statistics;
    let (y, mean, x, eps) = (y.into(), Some(mean), x.into(), config.eps);
    let call = row_norm::Forward { y, mean, inv_std, x, params, eps };
    row_norm::forward("layer_norm::forward", exec, call, normalized_shape)
}

/// The gradients of [`forward`]; shapes are as there. `dx` is overwritten; `accum` says what happens to the old
/// `dweight` and `dbias`. `scratch` holds [`backward_scratch`] floats.
///
/// # Errors
/// As [`forward`], and if `scratch` is too short.
pub fn backward<'a>(
    exec: &Exec,
    grads: Grads<ViewMut<'a>>,
    accum: Accum,
    dy: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    saved: Saved<View<'a>>,
    normalized_shape: &[usize],
    weight: Option<View<'a>>,
    scratch: &mut [f32],
) -> Result<()> {
    let (Grads { dx, dweight, dbias }, Saved { mean, inv_std }) = (grads, saved);
    let call = row_norm::Backward { dx, dy: dy.into(), x: x.into(), mean: Some(mean), inv_std, weight };
    let params = [dweight, dbias];
    row_norm::backward("layer_norm::backward", exec, call, params, accum, normalized_shape, scratch)
}

/// Floats of scratch that [`backward`] of an `x` of this shape needs.
#[must_use]
pub fn backward_scratch(shape: &[usize], normalized_shape: &[usize]) -> usize {
    let outer = shape.len().saturating_sub(normalized_shape.len());
    row_norm::scratch_len(product(&shape[..outer]), product(normalized_shape))
}

/// [`forward`] of the rows of a matrix, then an activation: `y = activation(gamma·(x - mean)·inv_std + beta)`. `x` and
/// `y` are `batch x features`, the parameters `1 x features`, the statistics `batch x 1`.
///
/// # Errors
/// If shapes do not match, or columns are not adjacent.
pub fn forward_rows(
    exec: &Exec,
    y: MatMut<'_>,
    statistics: Statistics<MatMut<'_>>,
    x: Mat<'_>,
    params: Params<Mat<'_>>,
    config: Config,
    activation: Activation,
) -> Result<()> {
    let Statistics { mean, inv_std } = statistics;
    let call = row_norm::Forward { y, mean: Some(mean), inv_std, x, params, eps: config.eps };
    row_norm::forward_rows("layer_norm::forward_rows", exec, call, None, activation)
}

/// [`forward_rows`] that keeps what the activation is given in `z`, which has the shape of `y`.
///
/// # Errors
/// As [`forward_rows`].
pub fn forward_rows_saving(
    exec: &Exec,
    y: MatMut<'_>,
    z: MatMut<'_>,
    statistics: Statistics<MatMut<'_>>,
    x: Mat<'_>,
    params: Params<Mat<'_>>,
    config: Config,
    activation: Activation,
) -> Result<()> {
    let Statistics { mean, inv_std } = statistics;
    let call = row_norm::Forward { y: z, mean: Some(mean), inv_std, x, params, eps: config.eps };
    row_norm::forward_rows("layer_norm::forward_rows_saving", exec, call, Some(y), activation)
}

/// The gradients of [`forward_rows`] (before its activation): `dy` is that of `gamma·x̂ + beta`. `dx` is overwritten;
/// `accum` says what happens to the old `dweight` and `dbias`. `scratch` holds [`backward_rows_scratch`] floats.
///
/// # Errors
/// As [`forward_rows`], and if `scratch` is too short.
pub fn backward_rows(
    exec: &Exec,
    grads: Grads<MatMut<'_>>,
    accum: Accum,
    dy: Mat<'_>,
    x: Mat<'_>,
    saved: Saved<Mat<'_>>,
    gamma: Option<Mat<'_>>,
    scratch: &mut [f32],
) -> Result<()> {
    let (Grads { dx, dweight, dbias }, Saved { mean, inv_std }) = (grads, saved);
    let call = row_norm::Backward { dx, dy, x, mean: Some(mean), inv_std, weight: gamma };
    row_norm::backward_rows("layer_norm::backward_rows", exec, call, [dweight, dbias], accum, scratch)
}

/// Floats of scratch that [`backward_rows`] needs.
#[must_use]
pub const fn backward_rows_scratch(batch: usize, features: usize) -> usize {
    row_norm::scratch_len(batch, features)
}

/// One row by the definition; without a weight it is 1, without a bias 0.
#[must_use]
pub fn reference(x: &[f64], weight: Option<&[f64]>, bias: Option<&[f64]>, eps: f64) -> Vec<f64> {
    let of = |param: Option<&[f64]>, i: usize, missing: f64| param.map_or(missing, |param| param[i]);
    let affine = |(i, xhat): (usize, f64)| of(weight, i, 1.0) * xhat + of(bias, i, 0.0);
    normalised(x, eps).0.into_iter().enumerate().map(affine).collect()
}

/// `x̂` and `1/√(var + eps)` of a row.
fn normalised(x: &[f64], eps: f64) -> (Vec<f64>, f64) {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let var = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
    let inv_std = 1.0 / (var + eps).sqrt();
    (x.iter().map(|x| (x - mean) * inv_std).collect(), inv_std)
}

/// `dx` of one row, and what the row adds to `dweight` and `dbias`, by the matrix of derivatives.
#[must_use]
pub fn reference_backward(dy: &[f64], x: &[f64], weight: Option<&[f64]>, eps: f64) -> [Vec<f64>; 3] {
    let n = x.len() as f64;
    let (xhat, inv_std) = normalised(x, eps);
    let g: Vec<f64> = dy.iter().enumerate().map(|(i, dy)| dy * weight.map_or(1.0, |weight| weight[i])).collect();
    let derivative = |i: usize, j: usize| inv_std * (f64::from(u8::from(i == j)) - 1.0 / n - xhat[i] * xhat[j] / n);
    let dx = (0..x.len()).map(|j| (0..x.len()).map(|i| g[i] * derivative(i, j)).sum()).collect();
    [dx, dy.iter().zip(&xhat).map(|(dy, xhat)| dy * xhat).collect(), dy.to_vec()]
}
