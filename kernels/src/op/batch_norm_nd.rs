//! Batch normalisation over views: `y = weight·x̂ + bias` with `x̂ = (x - mean)·inv_std`, channel by channel.
//!
//! `x` is `samples x channels`, or `samples x channels x …` with any further axes; a channel's elements are all that
//! have its index on axis 1. Weight, bias and statistics are vectors of one element a channel. With `n` elements in a
//! channel, `mean = Σx/n`, `var = Σ(x - mean)²/(n - c)` and `inv_std = 1/√(var + eps)`; the correction `c` is 0 in
//! PyTorch, or 1. [`batch_norm`](super::batch_norm) is the norm of matrices that a training step takes.
//!
//! # Training
//!
//! The statistics are those of `x`. Samples are taken in blocks of 64. In each block the sums are in the order of
//! `reduce`, in two passes: `s = Σ(x - first)`, where `first` is the channel's first element, then `q = Σ(x - centre)²`
//! with `centre = first + s/m` over the block's `m` elements. Blocks are joined from first to last: with `S` and `Q` of
//! the `M` elements before it, a block makes
//!
//! ```text
//! Q ← Q + q + (s/m - S/M)²·m·M/(m + M)     and     S ← S + s
//! ```
//!
//! (Chan and others 1979). At the end `mean = first + S/n` and `var = Q/(n - c)`. So `x` is read once for its
//! statistics, a large mean costs no more than its own rounding, and a constant channel has exactly no variance.
//!
//! Backward is as in [`batch_norm`](super::batch_norm), which derives it:
//!
//! ```text
//! dbias = Σ dy     dweight = Σ dy·x̂     dx = weight·inv_std·(dy - dbias/n - x̂·dweight/(n - c))
//! ```
//!
//! # Evaluation
//!
//! The statistics are given, so nothing flows back through them: `dx = weight·inv_std·dy`.
//!
//! NaN or an infinity in a channel makes all of its outputs NaN when training. A channel of one element has no variance
//! and is an error when training, as in PyTorch; of a channel of no elements the statistics are NaN and the running
//! ones stay as they are.
//!
//! Source: Ioffe and Szegedy 2015; `torch.nn.functional.batch_norm`.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::batch_norm_nd::{self, Config, Params, Statistics};
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! // Two samples of one channel of two elements.
//! let x = [1.0, 3.0, 3.0, 1.0];
//! let (mut y, mut mean, mut inv_std) = ([f32::NAN; 4], [f32::NAN], [f32::NAN]);
//! let statistics =
//!     Statistics { mean: ViewMut::new(&mut mean, &[1])?, inv_std: ViewMut::new(&mut inv_std, &[1])? };
//! let (y_view, x) = (ViewMut::new(&mut y, &[2, 1, 2])?, View::new(&x, &[2, 1, 2])?);
//! let config = Config { eps: 0.0, ..Config::default() };
//! batch_norm_nd::forward(&exec, y_view, statistics, None, x, Params::default(), config)?;
//! assert_eq!((y, mean), ([-1.0, 1.0, 1.0, -1.0], [2.0]));
//! # Ok(())
//! # }
//! ```

mod columns;
mod functions;
mod views;

pub use super::batch_norm::{Config, Variance};
pub use super::norms::{Grads, Params, Saved, Statistics};

use super::norms::{as_mat, as_mat_mut, expect_param, has_rows, product};
use crate::error::{ErrorKind, MAX_RANK, Result, expect_shape};
use crate::exec::Exec;
use crate::gemm::Accum;
use crate::reduce::{Axes, Reduced};
use crate::view::{Mat, MatMut, View, ViewMut};

/// Samples whose mean and variance are taken in two passes.
const BLOCK: usize = 64;

/// Nanoseconds of one core an element, for the split over threads.
const FORWARD_NS: f64 = 0.2;
const BACKWARD_NS: f64 = 0.25;

/// Running statistics, one element a channel, to which a batch is joined:
/// `running = (1 - momentum)·running + momentum·batch`. The variance is the unbiased one, whichever the batch is
/// normalised with.
pub struct Running<V> {
    /// The running mean.
    pub mean: V,
    /// The running variance.
    pub var: V,
    /// The share of the new batch; PyTorch's default is 0.1.
    pub momentum: f32,
}

/// The operands of a forward pass: views, or `samples x channels` matrices and rows of one element a channel.
struct Forward<W, R> {
    y: W,
    x: R,
    params: Params<R>,
    source: Source<W, R>,
    config: Config,
}

/// Where the statistics of a forward pass come from.
enum Source<W, R> {
    /// From the batch; they are written down.
    Batch(Statistics<W>, Option<Running<W>>),
    /// They are given: the mean and the variance.
    Given([R; 2]),
}

/// The operands of a backward pass, as in [`Forward`].
struct Backward<W, R> {
    grads: Grads<W>,
    accum: Accum,
    dy: R,
    x: R,
    mean: R,
    /// What [`Mode`] says.
    spread: R,
    weight: Option<R>,
    mode: Mode,
}

/// Where the statistics of a backward pass came from.
#[derive(Clone, Copy)]
enum Mode {
    /// From the batch of `n` elements; the spread is `inv_std`.
    Batch { n: f32, divisor: f32 },
    /// They were given; the spread is the variance.
    Given { eps: f32 },
}

/// `y = weight·(x - mean)·inv_std + bias` with the statistics of `x`, which it writes; joins them to running ones.
///
/// # Errors
/// If shapes do not match, if `x` has no axis of channels, if `eps` is negative or NaN, or if a channel has one
/// element.
pub fn forward<'a>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    mut statistics: Statistics<ViewMut<'a>>,
    running: Option<Running<ViewMut<'a>>>,
    x: impl Into<View<'a>>,
    params: Params<View<'a>>,
    config: Config,
) -> Result<()> {
    const OP: &str = "batch_norm_nd::forward";
    let (y, x) = (y.into(), x.into());
    let shape = Shape::new(OP, x.shape())?;
    shape.counts(config.variance)?;
    expect_shape(OP, "y", x.shape(), y.shape())?;
    let of_running = running.as_ref().map(|running| [running.mean.shape(), running.var.shape()]);
    shape.expect_vectors([
        ("mean", Some(statistics.mean.shape())),
        ("inv_std", Some(statistics.inv_std.shape())),
        ("running.mean", of_running.map(|shapes| shapes[0])),
        ("running.var", of_running.map(|shapes| shapes[1])),
        ("weight", params.weight.as_ref().map(View::shape)),
        ("bias", params.bias.as_ref().map(View::shape)),
    ])?;
    expect_eps(OP, config.eps)?;
    if x.is_empty() {
        statistics.mean.fill(f32::NAN);
        statistics.inv_std.fill(f32::NAN);
        return Ok(());
    }
    run_forward(exec, &shape, Forward { y, x, params, source: Source::Batch(statistics, running), config })
}

/// `y = weight·(x - mean)/√(var + eps) + bias` with given statistics, those of a training set for instance.
///
/// # Errors
/// If shapes do not match, if `x` has no axis of channels, or if `eps` is negative or NaN.
pub fn forward_with<'a>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    x: impl Into<View<'a>>,
    mean: impl Into<View<'a>>,
    var: impl Into<View<'a>>,
    params: Params<View<'a>>,
    eps: f32,
) -> Result<()> {
    const OP: &str = "batch_norm_nd::forward_with";
    let (y, x, mean, var) = (y.into(), x.into(), mean.into(), var.into());
    let shape = Shape::new(OP, x.shape())?;
    expect_shape(OP, "y", x.shape(), y.shape())?;
    shape.expect_vectors([
        ("mean", Some(mean.shape())),
        ("var", Some(var.shape())),
        ("weight", params.weight.as_ref().map(View::shape)),
        ("bias", params.bias.as_ref().map(View::shape)),
    ])?;
    expect_eps(OP, eps)?;
    if x.is_empty() {
        return Ok(());
    }
    let config = Config { eps, ..Config::default() };
    run_forward(exec, &shape, Forward { y, x, params, source: Source::Given([mean, var]), config })
}

/// The gradients of [`forward`]; shapes are as there. `dx` is overwritten; `accum` says what happens to the old
/// `dweight` and `dbias`.
///
/// # Errors
/// As [`forward`].
pub fn backward<'a>(
    exec: &Exec,
    grads: Grads<ViewMut<'a>>,
    accum: Accum,
    dy: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    saved: Saved<View<'a>>,
    weight: Option<View<'a>>,
    config: Config,
) -> Result<()> {
    const OP: &str = "batch_norm_nd::backward";
    let (dy, x, Saved { mean, inv_std: spread }) = (dy.into(), x.into(), saved);
    let shape = Shape::new(OP, x.shape())?;
    let mode = shape.counts(config.variance)?;
    expect_eps(OP, config.eps)?;
    run_backward(exec, &shape, "inv_std", Backward { grads, accum, dy, x, mean, spread, weight, mode })
}

/// The gradients of [`forward_with`]; shapes are as there. `dx` is overwritten; `accum` says what happens to the old
/// `dweight` and `dbias`.
///
/// # Errors
/// As [`forward_with`].
pub fn backward_with<'a>(
    exec: &Exec,
    grads: Grads<ViewMut<'a>>,
    accum: Accum,
    dy: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    mean: impl Into<View<'a>>,
    var: impl Into<View<'a>>,
    weight: Option<View<'a>>,
    eps: f32,
) -> Result<()> {
    const OP: &str = "batch_norm_nd::backward_with";
    let (dy, x, mean, spread) = (dy.into(), x.into(), mean.into(), var.into());
    let shape = Shape::new(OP, x.shape())?;
    expect_eps(OP, eps)?;
    let mode = Mode::Given { eps };
    run_backward(exec, &shape, "var", Backward { grads, accum, dy, x, mean, spread, weight, mode })
}

/// How a shape falls into channels.
struct Shape {
    op: &'static str,
    /// All axes but that of the channels.
    reduced: Reduced,
    samples: usize,
    channels: usize,
    /// The elements of a channel in one sample.
    positions: usize,
}

impl Shape {
    /// # Errors
    /// If there is no axis of channels. PyTorch takes an empty vector for no samples of no channels; so does this.
    fn new(op: &'static str, shape: &[usize]) -> Result<Self> {
        let (samples, channels, positions) = match *shape {
            [0] => (0, 0, 1),
            [samples, channels, ref rest @ ..] => (samples, channels, product(rest)),
            _ => {
                let (want, got) = ("of two axes or more", shape.len() as f64);
                return Err(ErrorKind::Value { op, arg: "x", want, got }.into());
            }
        };
        let mut axes = [0; MAX_RANK];
        for (place, axis) in axes[1..].iter_mut().zip(2..shape.len()) {
            *place = axis as isize;
        }
        let reduced = Reduced::new(op, shape, Axes::List(&axes[..shape.len() - 1]))?;
        Ok(Self { op, reduced, samples, channels, positions })
    }

    /// The divisors of sums over a channel of a batch.
    ///
    /// # Errors
    /// If a channel has one element.
    fn counts(&self, variance: Variance) -> Result<Mode> {
        let n = self.samples.saturating_mul(self.positions);
        if n == 1 && self.channels > 0 {
            let want = "more than one element a channel when training";
            return Err(ErrorKind::Value { op: self.op, arg: "x", want, got: 1.0 }.into());
        }
        Ok(Mode::Batch { n: n as f32, divisor: divisor(n, variance) })
    }

    /// Checks operands that have one element a channel, or may be missing.
    ///
    /// # Errors
    /// If one has another shape.
    fn expect_vectors<const N: usize>(&self, vectors: [(&'static str, Option<&[usize]>); N]) -> Result<()> {
        vectors.into_iter().try_for_each(|(arg, got)| expect_param(self.op, arg, &[self.channels], got))
    }

    /// Whether an operand is a matrix of samples and channels, the channels adjacent.
    fn is_matrix(&self, x: View<'_>) -> bool {
        self.positions == 1 && has_rows(x, 1)
    }

    /// A vector of one element a channel as a row.
    fn row<'a>(&self, vector: View<'a>) -> Result<Mat<'a>> {
        as_mat(vector, [1, self.channels])
    }

    /// As [`row`](Self::row), to be written.
    fn row_mut<'a>(&self, vector: ViewMut<'a>) -> Result<MatMut<'a>> {
        as_mat_mut(vector, [1, self.channels])
    }
}

/// `n - c`.
fn divisor(n: usize, variance: Variance) -> f32 {
    match variance {
        Variance::Biased => n as f32,
        Variance::Unbiased => n as f32 - 1.0,
    }
}

fn expect_eps(op: &'static str, eps: f32) -> Result<()> {
    if eps.is_nan() || eps < 0.0 {
        return Err(ErrorKind::Value { op, arg: "eps", want: "at least 0", got: eps.into() }.into());
    }
    Ok(())
}

/// The forward pass of checked operands that are not empty.
fn run_forward(exec: &Exec, shape: &Shape, call: Forward<ViewMut<'_>, View<'_>>) -> Result<()> {
    if !(shape.is_matrix(call.x) && shape.is_matrix(call.y.as_view())) {
        return views::forward(exec, shape, call);
    }
    let Forward { y, x, params, source, config } = call;
    let size = [shape.samples, shape.channels];
    let row = |vector: Option<_>| vector.map(|vector| shape.row(vector)).transpose();
    let source = match source {
        Source::Given([mean, var]) => Source::Given([shape.row(mean)?, shape.row(var)?]),
        Source::Batch(Statistics { mean, inv_std }, running) => {
            let statistics = Statistics { mean: shape.row_mut(mean)?, inv_std: shape.row_mut(inv_std)? };
            let rows = |Running { mean, var, momentum }| -> Result<_> {
                Ok(Running { mean: shape.row_mut(mean)?, var: shape.row_mut(var)?, momentum })
            };
            Source::Batch(statistics, running.map(rows).transpose()?)
        }
    };
    let params = Params { weight: row(params.weight)?, bias: row(params.bias)? };
    columns::forward(exec, Forward { y: as_mat_mut(y, size)?, x: as_mat(x, size)?, params, source, config });
    Ok(())
}

/// The backward pass; checks its operands.
fn run_backward(
    exec: &Exec,
    shape: &Shape,
    spread_name: &'static str,
    call: Backward<ViewMut<'_>, View<'_>>,
) -> Result<()> {
    let Backward { grads: Grads { dx, dweight, dbias }, accum, dy, x, mean, spread, weight, mode } = call;
    expect_shape(shape.op, "dx", x.shape(), dx.shape())?;
    expect_shape(shape.op, "dy", x.shape(), dy.shape())?;
    shape.expect_vectors([
        ("mean", Some(mean.shape())),
        (spread_name, Some(spread.shape())),
        ("weight", weight.as_ref().map(View::shape)),
        ("dweight", dweight.as_ref().map(ViewMut::shape)),
        ("dbias", dbias.as_ref().map(ViewMut::shape)),
    ])?;
    if x.is_empty() {
        // Sums of nothing.
        if accum == Accum::Replace {
            dweight.into_iter().chain(dbias).for_each(|mut grad| grad.fill(0.0));
        }
        return Ok(());
    }
    if !(shape.is_matrix(x) && shape.is_matrix(dy) && shape.is_matrix(dx.as_view())) {
        let grads = Grads { dx, dweight, dbias };
        return views::backward(exec, shape, Backward { grads, accum, dy, x, mean, spread, weight, mode });
    }
    let size = [shape.samples, shape.channels];
    let row_mut = |vector: Option<_>| vector.map(|vector| shape.row_mut(vector)).transpose();
    let call = Backward {
        grads: Grads { dx: as_mat_mut(dx, size)?, dweight: row_mut(dweight)?, dbias: row_mut(dbias)? },
        accum,
        dy: as_mat(dy, size)?,
        x: as_mat(x, size)?,
        mean: shape.row(mean)?,
        spread: shape.row(spread)?,
        weight: weight.map(|weight| shape.row(weight)).transpose()?,
        mode,
    };
    columns::backward(exec, call);
    Ok(())
}

/// One channel by the definition.
#[must_use]
pub fn reference(x: &[f64], weight: f64, bias: f64, config: Config) -> Vec<f64> {
    normalised(x, config).0.into_iter().map(|xhat| weight * xhat + bias).collect()
}

/// `dx` of one channel, and its `dweight` and `dbias`, by the matrix of derivatives.
#[must_use]
pub fn reference_backward(dy: &[f64], x: &[f64], weight: f64, config: Config) -> (Vec<f64>, f64, f64) {
    let (n, (xhat, inv_std, divisor)) = (x.len() as f64, normalised(x, config));
    let derivative =
        |i: usize, j: usize| inv_std * (f64::from(u8::from(i == j)) - 1.0 / n - xhat[i] * xhat[j] / divisor);
    let dx = (0..x.len()).map(|j| (0..x.len()).map(|i| weight * dy[i] * derivative(i, j)).sum()).collect();
    (dx, dy.iter().zip(&xhat).map(|(dy, xhat)| dy * xhat).sum(), dy.iter().sum())
}

/// `x̂`, `1/√(var + eps)` and `n - c` of a channel.
fn normalised(x: &[f64], config: Config) -> (Vec<f64>, f64, f64) {
    let n = x.len() as f64;
    let divisor = if config.variance == Variance::Unbiased { n - 1.0 } else { n };
    let mean = x.iter().sum::<f64>() / n;
    let var = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / divisor;
    let inv_std = 1.0 / (var + f64::from(config.eps)).sqrt();
    (x.iter().map(|x| (x - mean) * inv_std).collect(), inv_std, divisor)
}
