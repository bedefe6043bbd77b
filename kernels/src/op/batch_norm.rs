//! Batch normalisation: `y = gamma·x̂ + beta` with `x̂ = (x - mean)·inv_std`, column by column over the batch.
//!
//! With `n` rows, `mean = Σx/n`, `var = Σ(x - mean)²/(n - c)` and `inv_std = 1/√(var + eps)`. The correction `c` is a
//! choice: 1 (Bessel's, the notebook's) or 0 (PyTorch's). The variance is two-pass and the mean is summed as distances
//! from the first row, so a large mean costs no more than its own rounding, and a constant column has exactly no
//! variance.
//!
//! Backward. `x̂` depends on `x` three times, directly and through `mean` and `var`:
//!
//! ```text
//! dbeta  = Σ dy
//! dgamma = Σ dy·x̂
//! dvar   = Σ gamma·dy·(x - mean)·(-½)·inv_std³      = -½·gamma·inv_std²·dgamma
//! dmean  = -inv_std·gamma·dbeta                      (through var it has no effect: Σ(x - mean) = 0)
//! dx     = gamma·inv_std·dy + dvar·2(x - mean)/(n - c) + dmean/n
//!        = gamma·inv_std·(dy - dbeta/n - x̂·dgamma/(n - c))
//! ```
//!
//! Source: Ioffe and Szegedy 2015; the last line is exercise 3 of the notebook.

use super::activation::{self, Activation, Identity};
use super::tanh::Tanh;
use super::unary::Unary;
use crate::error::{ErrorKind, Result, expect_scratch};
use crate::exec::{Axis, BlockKernel, Exec};
use crate::gemm::Accum;
use crate::lanes::{self, ColFold, ColMap, Map};
use crate::simd::Simd;
use crate::view::{Mat, MatMut};
use std::ops::Range;

/// What the sum of squares is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Variance {
    /// The number of rows, as PyTorch normalises.
    #[default]
    Biased,
    /// One less (Bessel's correction), as the notebook does.
    Unbiased,
}

/// Choices of a batch normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Added to the variance before its root; not negative.
    pub eps: f32,
    /// What the sum of squares is divided by.
    pub variance: Variance,
}

impl Default for Config {
    fn default() -> Self {
        Self { eps: 1e-5, variance: Variance::Biased }
    }
}

/// What the forward pass leaves for the backward pass, all `1 x features`.
#[derive(Clone, Copy)]
pub struct Saved<'a> {
    /// The mean of each column.
    pub mean: Mat<'a>,
    /// The variance of each column, as [`Variance`] has it.
    pub var: Mat<'a>,
    /// `1/√(var + eps)` of each column.
    pub inv_std: Mat<'a>,
}

/// The statistics that the forward pass writes, all `1 x features` with adjacent columns.
pub struct Statistics<'a> {
    /// The mean of each column.
    pub mean: MatMut<'a>,
    /// The variance of each column, as [`Variance`] has it.
    pub var: MatMut<'a>,
    /// `1/√(var + eps)` of each column.
    pub inv_std: MatMut<'a>,
}

impl Statistics<'_> {
    /// The same statistics for a shorter time.
    #[must_use]
    pub fn reborrow(&mut self) -> Statistics<'_> {
        Statistics { mean: self.mean.reborrow(), var: self.var.reborrow(), inv_std: self.inv_std.reborrow() }
    }

    /// The statistics once they are written.
    #[must_use]
    pub fn as_saved(&self) -> Saved<'_> {
        Saved { mean: self.mean.as_mat(), var: self.var.as_mat(), inv_std: self.inv_std.as_mat() }
    }
}

/// The gradients that the backward pass writes.
pub struct Grads<'a> {
    /// Of the input, `batch x features`; overwritten.
    pub dx: MatMut<'a>,
    /// Of the gain, `1 x features`.
    pub dgamma: MatMut<'a>,
    /// Of the bias, `1 x features`.
    pub dbeta: MatMut<'a>,
}

/// Nanoseconds of one core an element, for the split over threads.
const FORWARD_NS: f64 = 0.25;
const BACKWARD_NS: f64 = 0.1;

fn nanoseconds(x: Mat<'_>, each: f64) -> usize {
    (x.rows() as f64 * x.cols() as f64 * each) as usize
}

/// `y = activation(gamma·(x - mean)·inv_std + beta)` over a batch: `x` and `y` are `batch x features`, `gamma` and
/// `beta` are `1 x features`; writes the statistics it used.
///
/// # Errors
/// If shapes do not match, if columns are not adjacent, if `eps` is negative or NaN, or if `x` has too few rows to have
/// the variance asked for (one for the biased, two for the unbiased).
pub fn forward(
    exec: &Exec,
    y: MatMut<'_>,
    statistics: Statistics<'_>,
    x: Mat<'_>,
    gamma: Mat<'_>,
    beta: Mat<'_>,
    config: Config,
    activation: Activation,
) -> Result<()> {
    const OP: &str = "batch_norm::forward";
    let Statistics { mean, var, inv_std } = statistics;
    let divisor = divisor(OP, x, config)?;
    let (rows, cols) = (x.rows(), x.cols());
    x.expect_adjacent(OP, "x")?;
    y.expect(OP, "y", rows, cols)?;
    mean.expect(OP, "mean", 1, cols)?;
    var.expect(OP, "var", 1, cols)?;
    inv_std.expect(OP, "inv_std", 1, cols)?;
    gamma.expect(OP, "gamma", 1, cols)?;
    beta.expect(OP, "beta", 1, cols)?;

    let (mut y, inp, eps, cost) = (y, [x, gamma, beta], config.eps, nanoseconds(x, FORWARD_NS));
    let out = [y.reborrow(), mean, var, inv_std];
    if activation == Activation::Tanh {
        exec.blocks(cost, Axis::Cols, 16, out, inp, Forward { divisor, eps, f: Tanh });
        return Ok(());
    }
    exec.blocks(cost, Axis::Cols, 16, out, inp, Forward { divisor, eps, f: Identity });
    activation::in_place(exec, y, activation);
    Ok(())
}

/// `y = activation(gamma·(x - mean)·inv_std + beta)` with given statistics (those of a training set, say), all
/// `1 x features`.
///
/// # Errors
/// If shapes do not match or columns are not adjacent.
pub fn forward_with(
    exec: &Exec,
    y: MatMut<'_>,
    saved: Saved<'_>,
    x: Mat<'_>,
    gamma: Mat<'_>,
    beta: Mat<'_>,
    activation: Activation,
) -> Result<()> {
    const OP: &str = "batch_norm::forward_with";
    let Saved { mean, inv_std, .. } = saved;
    let (rows, cols) = (x.rows(), x.cols());
    x.expect_adjacent(OP, "x")?;
    y.expect(OP, "y", rows, cols)?;
    mean.expect(OP, "mean", 1, cols)?;
    inv_std.expect(OP, "inv_std", 1, cols)?;
    gamma.expect(OP, "gamma", 1, cols)?;
    beta.expect(OP, "beta", 1, cols)?;

    let (mut y, inp, cost) = (y, [x, mean, inv_std, gamma, beta], nanoseconds(x, FORWARD_NS));
    if activation == Activation::Tanh {
        exec.blocks(cost, Axis::Cols, 16, [y], inp, Affine { f: Tanh });
        return Ok(());
    }
    exec.blocks(cost, Axis::Cols, 16, [y.reborrow()], inp, Affine { f: Identity });
    activation::in_place(exec, y, activation);
    Ok(())
}

/// Joins a batch of `rows` to running statistics: `running = (1 - momentum)·running + momentum·batch`, all
/// `1 x features`. As in PyTorch the running variance is the unbiased one, whichever the batch was normalised with.
///
/// # Errors
/// If shapes do not match or columns are not adjacent.
pub fn update_running(
    exec: &Exec,
    running_mean: MatMut<'_>,
    running_var: MatMut<'_>,
    batch: Saved<'_>,
    rows: usize,
    config: Config,
    momentum: f32,
) -> Result<()> {
    const OP: &str = "batch_norm::update_running";
    let Saved { mean, var, .. } = batch;
    let cols = mean.cols();
    mean.expect(OP, "mean", 1, cols)?;
    var.expect(OP, "var", 1, cols)?;
    running_mean.expect(OP, "running_mean", 1, cols)?;
    running_var.expect(OP, "running_var", 1, cols)?;
    let bessel = match config.variance {
        Variance::Biased if rows > 1 => rows as f32 / (rows - 1) as f32,
        Variance::Biased | Variance::Unbiased => 1.0,
    };
    let kernel = Running { momentum, bessel };
    exec.blocks(mean.cols(), Axis::Cols, 16, [running_mean, running_var], [mean, var], kernel);
    Ok(())
}

/// Sets the statistics that [`forward_with`] takes from a mean and a variance, all `1 x features`.
///
/// # Errors
/// If shapes do not match or columns are not adjacent.
pub fn set_statistics(
    exec: &Exec,
    statistics: &mut Statistics<'_>,
    mean: Mat<'_>,
    var: Mat<'_>,
    eps: f32,
) -> Result<()> {
    let Statistics { mean: to_mean, var: to_var, inv_std } = statistics.reborrow();
    const OP: &str = "batch_norm::set_statistics";
    let cols = mean.cols();
    mean.expect(OP, "mean", 1, cols)?;
    var.expect(OP, "var", 1, cols)?;
    to_mean.expect(OP, "statistics.mean", 1, cols)?;
    to_var.expect(OP, "statistics.var", 1, cols)?;
    inv_std.expect(OP, "statistics.inv_std", 1, cols)?;
    exec.blocks(mean.cols(), Axis::Cols, 16, [to_mean, to_var, inv_std], [mean, var], Given { eps });
    Ok(())
}

/// The gradients of [`forward`] (before its activation): `dy` and `x` are `batch x features`, `gamma` is
/// `1 x features`. `dx` is overwritten; `accum` says what happens to the old `dgamma` and `dbeta`. `scratch` holds
/// [`backward_scratch`] floats.
///
/// # Errors
/// As [`forward`], and if `scratch` is too short.
pub fn backward(
    exec: &Exec,
    grads: Grads<'_>,
    accum: Accum,
    dy: Mat<'_>,
    x: Mat<'_>,
    saved: Saved<'_>,
    gamma: Mat<'_>,
    config: Config,
    scratch: &mut [f32],
) -> Result<()> {
    const OP: &str = "batch_norm::backward";
    let Grads { dx, dgamma, dbeta } = grads;
    let Saved { mean, inv_std, .. } = saved;
    let divisor = divisor(OP, x, config)?;
    let (rows, cols) = (x.rows(), x.cols());
    x.expect_adjacent(OP, "x")?;
    dx.expect(OP, "dx", rows, cols)?;
    dy.expect(OP, "dy", rows, cols)?;
    dgamma.expect(OP, "dgamma", 1, cols)?;
    dbeta.expect(OP, "dbeta", 1, cols)?;
    mean.expect(OP, "mean", 1, cols)?;
    inv_std.expect(OP, "inv_std", 1, cols)?;
    gamma.expect(OP, "gamma", 1, cols)?;
    let want = backward_scratch(x.cols());
    expect_scratch(OP, want, scratch.len())?;
    let (sum_dy, sum_dy_xhat) = scratch[..want].split_at_mut(x.cols());
    let out = [dx, dgamma, dbeta, MatMut::from_row(sum_dy), MatMut::from_row(sum_dy_xhat)];
    let inp = [dy, x, mean, inv_std, gamma];
    exec.blocks(nanoseconds(x, BACKWARD_NS), Axis::Cols, 16, out, inp, Backward { divisor, accum });
    Ok(())
}

/// Floats of scratch that [`backward`] needs.
#[must_use]
pub const fn backward_scratch(features: usize) -> usize {
    2 * features
}

/// `n - c`, and the checks of the configuration.
fn divisor(op: &'static str, x: Mat<'_>, config: Config) -> Result<f32> {
    if config.eps.is_nan() || config.eps < 0.0 {
        return Err(ErrorKind::Value { op, arg: "eps", want: "at least 0", got: config.eps.into() }.into());
    }
    let (least, want, divisor) = match config.variance {
        Variance::Biased => (1, "at least 1 row", x.rows() as f32),
        Variance::Unbiased => (2, "at least 2 rows for an unbiased variance", x.rows() as f32 - 1.0),
    };
    if x.rows() < least {
        return Err(ErrorKind::Value { op, arg: "x", want, got: x.rows() as f64 }.into());
    }
    Ok(divisor)
}

/// Columns that are taken through all passes together, so that every pass but the first finds them in cache.
fn blocks(cols: usize) -> impl Iterator<Item = Range<usize>> {
    const WIDTH: usize = 128;
    (0..cols).step_by(WIDTH).map(move |j| j..cols.min(j + WIDTH))
}

/// Some columns of an output.
#[inline(always)]
fn part<'a>(mat: &'a mut MatMut<'_>, cols: &Range<usize>) -> MatMut<'a> {
    mat.reborrow().cols_in(cols.clone())
}

#[derive(Clone, Copy)]
struct Forward<F> {
    divisor: f32,
    eps: f32,
    f: F,
}

impl<F: Unary> BlockKernel<4, 3> for Forward<F> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, _: usize, mut out: [MatMut<'_>; 4], inp: [Mat<'_>; 3]) {
        for cols in blocks(inp[0].cols()) {
            let [y, mean, var, inv_std] = &mut out;
            let (y, var) = (part(y, &cols), part(var, &cols));
            let (mut mean, mut inv_std) = (part(mean, &cols), part(inv_std, &cols));
            let [x, gamma, beta] = inp;
            let (x, gamma, beta) = (x.cols_in(cols.clone()), gamma.cols_in(cols.clone()), beta.cols_in(cols));
            let (divisor, eps) = (self.divisor, self.eps);
            let (first, rows) = (x.rows_in(0..1), x.rows() as f32);
            lanes::fold_cols(s, [mean.reborrow()], [x], [first], Distance, MeanOfDistances { rows });
            let variance = [var, inv_std.reborrow()];
            lanes::fold_cols(s, variance, [x], [mean.as_mat()], SquaredDistance, Spread { divisor, eps });
            let params = [mean.as_mat(), inv_std.as_mat(), gamma, beta];
            lanes::map_cols(s, [y], [x], params, Affine { f: self.f });
        }
    }
}

/// `f(gamma·(x - mean)·inv_std + beta)`.
#[derive(Clone, Copy)]
struct Affine<F> {
    f: F,
}

impl<F: Unary> ColMap<1, 4, 1> for Affine<F> {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x]: [S::F32; 1], [mean, inv_std, gamma, beta]: [S::F32; 4]) -> [S::F32; 1] {
        [self.f.forward(s, s.fma(s.sub(x, mean), s.mul(gamma, inv_std), beta))]
    }
}

impl<F: Unary> BlockKernel<1, 5> for Affine<F> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, _: usize, out: [MatMut<'_>; 1], [x, mean, inv_std, gamma, beta]: [Mat<'_>; 5]) {
        lanes::map_cols(s, out, [x], [mean, inv_std, gamma, beta], self);
    }
}

#[derive(Clone, Copy)]
struct Backward {
    divisor: f32,
    accum: Accum,
}

impl BlockKernel<5, 5> for Backward {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, _: usize, mut out: [MatMut<'_>; 5], inp: [Mat<'_>; 5]) {
        let rows = inp[0].rows() as f32;
        for cols in blocks(inp[0].cols()) {
            let [dx, dgamma, dbeta, sum_dy, sum_dy_xhat] = &mut out;
            let (dx, dgamma, dbeta) = (part(dx, &cols), part(dgamma, &cols), part(dbeta, &cols));
            let (mut sum_dy, mut sum_dy_xhat) = (part(sum_dy, &cols), part(sum_dy_xhat, &cols));
            let [dy, x, mean, inv_std, gamma] = inp;
            let (dy, x, gamma) = (dy.cols_in(cols.clone()), x.cols_in(cols.clone()), gamma.cols_in(cols.clone()));
            let (mean, inv_std) = (mean.cols_in(cols.clone()), inv_std.cols_in(cols));
            let sums = [sum_dy.reborrow(), sum_dy_xhat.reborrow()];
            lanes::fold_cols(s, sums, [dy, x], [mean, inv_std], GradSums, GradSums);
            let sums = [sum_dy.as_mat(), sum_dy_xhat.as_mat()];
            lanes::map(s, [dbeta, dgamma], sums, lanes::Collect(self.accum));
            let params = [mean, inv_std, gamma, sums[0], sums[1]];
            lanes::map_cols(s, [dx], [dy, x], params, InputGrad { rows, divisor: self.divisor });
        }
    }
}

/// `gamma·inv_std·(dy - Σdy/n - x̂·Σ(dy·x̂)/(n - c))`.
#[derive(Clone, Copy)]
struct InputGrad {
    rows: f32,
    divisor: f32,
}

impl ColMap<2, 5, 1> for InputGrad {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [dy, x]: [S::F32; 2], p: [S::F32; 5]) -> [S::F32; 1] {
        let [mean, inv_std, gamma, sum_dy, sum_dy_xhat] = p;
        let scale = s.mul(gamma, inv_std);
        let mean_dy = s.div(sum_dy, s.splat(self.rows));
        let mean_dy_xhat = s.div(sum_dy_xhat, s.splat(self.divisor));
        // All but the last line is the same for every row.
        let slope = s.mul(s.mul(scale, inv_std), mean_dy_xhat);
        [s.fnma(s.sub(x, mean), slope, s.mul(scale, s.sub(dy, mean_dy)))]
    }
}

/// `Σ dy` and `Σ dy·x̂`, which is `inv_std·Σ dy·(x - mean)`.
#[derive(Clone, Copy)]
struct GradSums;

impl ColFold<2, 2, 2> for GradSums {
    #[inline(always)]
    fn step<S: Simd>(self, s: S, acc: [S::F32; 2], [dy, x]: [S::F32; 2], [mean, _]: [S::F32; 2]) -> [S::F32; 2] {
        [s.add(acc[0], dy), s.fma(dy, s.sub(x, mean), acc[1])]
    }
}

impl ColMap<2, 2, 2> for GradSums {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [dy, dy_distance]: [S::F32; 2], [_, inv_std]: [S::F32; 2]) -> [S::F32; 2] {
        [dy, s.mul(dy_distance, inv_std)]
    }
}

/// `Σ (x - mean)²`.
#[derive(Clone, Copy)]
struct SquaredDistance;

impl ColFold<1, 1, 1> for SquaredDistance {
    #[inline(always)]
    fn step<S: Simd>(self, s: S, [acc]: [S::F32; 1], [x]: [S::F32; 1], [mean]: [S::F32; 1]) -> [S::F32; 1] {
        let d = s.sub(x, mean);
        [s.fma(d, d, acc)]
    }
}

/// `Σ (x - first)`.
#[derive(Clone, Copy)]
struct Distance;

impl ColFold<1, 1, 1> for Distance {
    #[inline(always)]
    fn step<S: Simd>(self, s: S, [acc]: [S::F32; 1], [x]: [S::F32; 1], [first]: [S::F32; 1]) -> [S::F32; 1] {
        [s.add(acc, s.sub(x, first))]
    }
}

/// `first + sum/rows`.
#[derive(Clone, Copy)]
struct MeanOfDistances {
    rows: f32,
}

impl ColMap<1, 1, 1> for MeanOfDistances {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [sum]: [S::F32; 1], [first]: [S::F32; 1]) -> [S::F32; 1] {
        [s.add(first, s.div(sum, s.splat(self.rows)))]
    }
}

/// The variance and `1/√(var + eps)` of a sum of squares.
#[derive(Clone, Copy)]
struct Spread {
    divisor: f32,
    eps: f32,
}

impl ColMap<1, 1, 2> for Spread {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [squares]: [S::F32; 1], _: [S::F32; 1]) -> [S::F32; 2] {
        let var = s.div(squares, s.splat(self.divisor));
        let [inv_std] = InvStd(self.eps).eval(s, [var], [var]);
        [var, inv_std]
    }
}

/// `1/√(var + eps)`.
#[derive(Clone, Copy)]
struct InvStd(f32);

impl Map<1, 1> for InvStd {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [var]: [S::F32; 1], _: [S::F32; 1]) -> [S::F32; 1] {
        [s.div(s.splat(1.0), s.sqrt(s.add(var, s.splat(self.0))))]
    }
}

#[derive(Clone, Copy)]
struct Running {
    momentum: f32,
    bessel: f32,
}

impl BlockKernel<2, 2> for Running {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, _: usize, out: [MatMut<'_>; 2], batch: [Mat<'_>; 2]) {
        lanes::map(s, out, batch, self);
    }
}

impl Map<2, 2> for Running {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [mean, var]: [S::F32; 2], old: [S::F32; 2]) -> [S::F32; 2] {
        let (new, kept) = (s.splat(self.momentum), s.splat(1.0 - self.momentum));
        let var = s.mul(var, s.splat(self.bessel));
        [s.fma(new, mean, s.mul(kept, old[0])), s.fma(new, var, s.mul(kept, old[1]))]
    }
}

#[derive(Clone, Copy)]
struct Given {
    eps: f32,
}

impl BlockKernel<3, 2> for Given {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, _: usize, [mean, var, inv_std]: [MatMut<'_>; 3], given: [Mat<'_>; 2]) {
        lanes::map(s, [mean, var], given, lanes::Same);
        lanes::map(s, [inv_std], [given[1]], InvStd(self.eps));
    }
}
