//! The binary cross-entropy of logits: `-(p·t·ln σ(x) + (1 - t)·ln(1 - σ(x)))` for each logit `x` and target `t`, `σ`
//! being the sigmoid and `p` a weight of positive targets.
//!
//! With `l = ln(1 + e^-|x|)` both logarithms are sums of terms of one sign, so nothing overflows or cancels:
//!
//! ```text
//! -ln σ(x) = max(-x, 0) + l        -ln(1 - σ(x)) = max(x, 0) + l
//! dx = dloss·((1 - t)·σ(x) - p·t·σ(-x))
//! dt = dloss·(-p·ln σ(x) + ln(1 - σ(x))) = dloss·((p - 1)·(max(-x, 0) + l) - x)
//! ```
//!
//! Both weights, if given, are broadcast to the losses; they have no gradient, and the mean divides by the number of
//! elements all the same, as in PyTorch. The mean of nothing is NaN, its sum 0.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::binary_cross_entropy_with_logits::{self as bce, Config};
//! use handgrad_kernels::op::loss::Reduction;
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let (x, target, p) = ([0.0, 1000.0, -1000.0, 0.0], [1.0, 0.0, 0.0, 0.0], [3.0, 1.0]);
//! let (x, target) = (View::new(&x, &[2, 2])?, View::new(&target, &[2, 2])?);
//! let config = Config { pos_weight: Some(View::new(&p, &[2])?), ..Config::default() };
//! let (mut losses, mut dx) = ([f32::NAN; 4], [f32::NAN; 4]);
//! bce::forward(&exec, ViewMut::new(&mut losses, &[2, 2])?, x, target, config, Reduction::None)?;
//! let near = |got: &[f32], want: &[f32]| got.iter().zip(want).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs());
//! assert!(near(&losses, &[3.0 * 2_f32.ln(), 1000.0, 0.0, 2_f32.ln()]));
//! bce::backward(&exec, ViewMut::new(&mut dx, &[2, 2])?, View::scalar(&1.0), x, target, config, Reduction::Sum)?;
//! assert!(near(&dx, &[-1.5, 1.0, 0.0, 0.5]));
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

/// The weights, each broadcast to the shape of the losses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Config<'a> {
    /// Of the losses.
    pub weight: Option<View<'a>>,
    /// Of positive targets: above 1 it values recall, below 1 precision.
    pub pos_weight: Option<View<'a>>,
}

/// `loss = -w·(p·target·ln σ(x) + (1 - target)·ln(1 - σ(x)))`, reduced; `target` has the shape of `x`, the loss that
/// shape or that of a scalar.
///
/// # Errors
/// If shapes do not match.
pub fn forward<'a>(
    exec: &Exec,
    loss: impl Into<ViewMut<'a>>,
    x: impl Into<View<'a>>,
    target: impl Into<View<'a>>,
    config: Config<'_>,
    reduction: Reduction,
) -> Result<()> {
    let operands = operands("binary_cross_entropy_with_logits::forward", x.into(), target.into(), &config)?;
    operands.forward(exec, loss.into(), reduction, Logits)
}

/// `dx = dloss·w·((1 - target)·σ(x) - p·target·σ(-x))`; `dloss` has the shape of the loss.
///
/// # Errors
/// As [`forward`].
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dloss: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    target: impl Into<View<'a>>,
    config: Config<'_>,
    reduction: Reduction,
) -> Result<()> {
    let operands = operands("binary_cross_entropy_with_logits::backward", x.into(), target.into(), &config)?;
    operands.backward(exec, dx.into(), dloss.into(), reduction, Logits)
}

/// `dtarget = dloss·w·(ln(1 - σ(x)) - p·ln σ(x))`.
///
/// # Errors
/// As [`forward`].
pub fn backward_target<'a>(
    exec: &Exec,
    dtarget: impl Into<ViewMut<'a>>,
    dloss: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    target: impl Into<View<'a>>,
    config: Config<'_>,
    reduction: Reduction,
) -> Result<()> {
    let operands = operands("binary_cross_entropy_with_logits::backward_target", x.into(), target.into(), &config)?;
    operands.backward_target(exec, dtarget.into(), dloss.into(), reduction, Logits)
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
    config: Config<'_>,
) -> Result<()> {
    const OP: &str = "binary_cross_entropy_with_logits::forward_backward";
    let (inp, weights) = ([x, target], [config.weight, config.pos_weight]);
    pointwise::forward_backward(OP, exec, (losses, dx), dloss, inp, &weights, sample_weights, Logits)
}

fn operands<'a>(op: &'static str, x: View<'a>, target: View<'a>, config: &Config<'a>) -> Result<Operands<'a>> {
    Operands::new(op, x, target, Pairing::Equal)?.weight(config.weight)?.pos_weight(config.pos_weight)
}

/// The loss by its definition.
#[must_use]
pub fn reference(x: f64, target: f64, pos_weight: f64) -> f64 {
    let tail = (-x.abs()).exp().ln_1p();
    (1.0 - target) * (x.max(0.0) + tail) + pos_weight * target * ((-x).max(0.0) + tail)
}

/// `dloss` times the derivatives by `x` and by the target.
#[must_use]
pub fn reference_backward(dloss: f64, x: f64, target: f64, pos_weight: f64) -> [f64; 2] {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let dx = (1.0 - target) * sigmoid(x) - pos_weight * target * sigmoid(-x);
    [dloss * dx, dloss * (reference(x, 1.0, pos_weight) - reference(x, 0.0, pos_weight))]
}

/// The loss.
#[derive(Clone, Copy)]
struct Logits;

/// `-ln σ(x)` and `-ln(1 - σ(x))`.
#[inline(always)]
fn logs<S: Simd>(s: S, x: S::F32) -> [S::F32; 2] {
    let (zero, less) = (s.zero(), s.neg(x));
    let tail = math::softplus(s, s.neg(s.abs(x)));
    // With `x` as the second operand NaN passes through.
    [s.add(s.max(zero, less), tail), s.add(s.max(zero, x), tail)]
}

impl Pointwise for Logits {
    const NS: f64 = 0.4;
    #[inline(always)]
    fn loss<S: Simd>(self, s: S, x: S::F32, t: S::F32, p: S::F32) -> S::F32 {
        let [positive, negative] = logs(s, x);
        s.fma(s.mul(p, t), positive, s.mul(s.sub(s.splat(1.0), t), negative))
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, x: S::F32, t: S::F32, p: S::F32) -> S::F32 {
        let one = s.splat(1.0);
        let e = math::exp(s, s.neg(s.abs(x)));
        let sum = s.add(one, e);
        let (great, small) = (s.div(one, sum), s.div(e, sum));
        let below = s.lt(x, s.zero());
        let (sigmoid, rest) = (s.select(below, small, great), s.select(below, great, small));
        s.fnma(s.mul(p, t), rest, s.mul(s.sub(one, t), sigmoid))
    }
    #[inline(always)]
    fn target_slope<S: Simd>(self, s: S, x: S::F32, _: S::F32, p: S::F32) -> S::F32 {
        let [positive, _] = logs(s, x);
        // Not infinite, which times a zero would be NaN.
        let positive = s.min(s.splat(f32::MAX), positive);
        s.fma(s.sub(p, s.splat(1.0)), positive, s.neg(x))
    }
}
