//! The binary cross-entropy of probabilities: `-(t·ln x + (1 - t)·ln(1 - x))` for each probability `x` and target `t`.
//!
//! As in PyTorch each logarithm is at least -100, so that the loss of a certain mistake is 100 and not infinite, and
//!
//! ```text
//! dx = dloss·(x - t)/max(x·(1 - x), 1e-12)        dt = dloss·(ln(1 - x) - ln x)
//! ```
//!
//! the logarithms of `dt` without that bound. Weights, if given, are broadcast to the losses and multiply them; they
//! have no gradient, and the mean divides by the number of elements all the same. The mean of nothing is NaN, its sum
//! 0.
//!
//! `x` must lie in `[0, 1]`: outside, where PyTorch fails, the loss is NaN, as it is of NaN. `ln(1 - x)` is taken with
//! what rounding `1 - x` loses, so that a small `x` keeps its digits.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::binary_cross_entropy;
//! use handgrad_kernels::op::loss::Reduction;
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let (x, target) = ([0.5, 0.25, 0.0], [1.0, 0.0, 1.0]);
//! let (x, target) = (View::new(&x, &[3])?, View::new(&target, &[3])?);
//! let (mut losses, mut dx) = ([f32::NAN; 3], [f32::NAN; 3]);
//! binary_cross_entropy::forward(&exec, ViewMut::new(&mut losses, &[3])?, x, target, None, Reduction::None)?;
//! let near = |got: &[f32], want: &[f32]| got.iter().zip(want).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs());
//! assert!(near(&losses, &[2_f32.ln(), (4.0_f32 / 3.0).ln(), 100.0]));
//! let dloss = View::scalar(&1.0);
//! binary_cross_entropy::backward(&exec, ViewMut::new(&mut dx, &[3])?, dloss, x, target, None, Reduction::Sum)?;
//! assert!(near(&dx, &[-2.0, 4.0 / 3.0, -1e12]));
//! # Ok(())
//! # }
//! ```

use super::loss::Reduction;
use super::loss::pointwise::{self, Operands, Pairing, Pointwise};
use crate::error::Result;
use crate::exec::Exec;
use crate::math;
use crate::simd::Simd;
use crate::view::{Mat, MatMut, View, ViewMut};

/// `loss = -w·(target·ln x + (1 - target)·ln(1 - x))`, reduced; `target` has the shape of `x`, the loss that shape or
/// that of a scalar.
///
/// # Errors
/// If shapes do not match.
pub fn forward<'a>(
    exec: &Exec,
    loss: impl Into<ViewMut<'a>>,
    x: impl Into<View<'a>>,
    target: impl Into<View<'a>>,
    weight: Option<View<'_>>,
    reduction: Reduction,
) -> Result<()> {
    let operands = operands("binary_cross_entropy::forward", x.into(), target.into(), weight)?;
    operands.forward(exec, loss.into(), reduction, Bce)
}

/// `dx = dloss·w·(x - target)/max(x·(1 - x), 1e-12)`; `dloss` has the shape of the loss.
///
/// # Errors
/// As [`forward`].
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dloss: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    target: impl Into<View<'a>>,
    weight: Option<View<'_>>,
    reduction: Reduction,
) -> Result<()> {
    let operands = operands("binary_cross_entropy::backward", x.into(), target.into(), weight)?;
    operands.backward(exec, dx.into(), dloss.into(), reduction, Bce)
}

/// `dtarget = dloss·w·(ln(1 - x) - ln x)`.
///
/// # Errors
/// As [`forward`].
pub fn backward_target<'a>(
    exec: &Exec,
    dtarget: impl Into<ViewMut<'a>>,
    dloss: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    target: impl Into<View<'a>>,
    weight: Option<View<'_>>,
    reduction: Reduction,
) -> Result<()> {
    let operands = operands("binary_cross_entropy::backward_target", x.into(), target.into(), weight)?;
    operands.backward_target(exec, dtarget.into(), dloss.into(), reduction, Bce)
}

/// The mean loss of each row of `x` (`batch x outputs`) times the weight of its sample, and the gradient of `dloss`
/// times the sum of those; `target` and `dx` have the shape of `x`.
///
/// # Errors
/// If shapes do not match.
pub fn forward_backward(
    exec: &Exec,
    losses: &mut [f32],
    dx: MatMut<'_>,
    dloss: f32,
    x: Mat<'_>,
    target: Mat<'_>,
    sample_weights: Option<&[f32]>,
    weight: Option<View<'_>>,
) -> Result<()> {
    const OP: &str = "binary_cross_entropy::forward_backward";
    let (inp, weights) = ([x, target], [weight, None]);
    pointwise::forward_backward(OP, exec, (losses, dx), dloss, inp, &weights, sample_weights, Bce)
}

fn operands<'a>(op: &'static str, x: View<'a>, target: View<'a>, weight: Option<View<'a>>) -> Result<Operands<'a>> {
    Operands::new(op, x, target, Pairing::Equal)?.weight(weight)
}

/// The loss by its definition.
#[must_use]
pub fn reference(x: f64, target: f64) -> f64 {
    let log = |x: f64| if x.is_nan() { x } else { x.max(-100.0) };
    -(target * log(x.ln()) + (1.0 - target) * log((-x).ln_1p()))
}

/// `dloss` times the derivatives by `x` and by the target.
#[must_use]
pub fn reference_backward(dloss: f64, x: f64, target: f64) -> [f64; 2] {
    let spread = x * (1.0 - x);
    let spread = if spread.is_nan() { spread } else { spread.max(1e-12) };
    [dloss * (x - target) / spread, dloss * ((-x).ln_1p() - x.ln())]
}

/// The loss.
#[derive(Clone, Copy)]
struct Bce;

/// `ln x` and `ln(1 - x)`.
#[inline(always)]
fn logs<S: Simd>(s: S, x: S::F32) -> [S::F32; 2] {
    let one = s.splat(1.0);
    let rest = s.sub(one, x);
    // What rounding took from 1 - x, over it; from a half on that is nothing.
    let lost = s.div(s.sub(s.sub(one, rest), x), s.max(rest, s.splat(0.25)));
    [math::ln(s, x), s.add(math::ln(s, rest), lost)]
}

impl Pointwise for Bce {
    const NS: f64 = 0.5;
    #[inline(always)]
    fn loss<S: Simd>(self, s: S, x: S::F32, t: S::F32, _: S::F32) -> S::F32 {
        let ([log, log_rest], least) = (logs(s, x), s.splat(-100.0));
        let other = s.mul(s.sub(t, s.splat(1.0)), s.maximum(log_rest, least));
        s.fnma(t, s.maximum(log, least), other)
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, x: S::F32, t: S::F32, _: S::F32) -> S::F32 {
        let spread = s.mul(s.sub(s.splat(1.0), x), x);
        s.div(s.sub(x, t), s.maximum(spread, s.splat(1e-12)))
    }
    #[inline(always)]
    fn target_slope<S: Simd>(self, s: S, x: S::F32, _: S::F32, _: S::F32) -> S::F32 {
        let [log, log_rest] = logs(s, x);
        s.sub(log_rest, log)
    }
}
