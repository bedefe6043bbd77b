//! The Huber loss: with `e = x - t`, `½e²` where `|e| <= delta` and `delta·(|e| - ½delta)` beyond, so that large errors
//! count no more than in proportion. Predictions `x` and targets `t` are broadcast to each other.
//!
//! The two forms and their slopes meet at `delta`: `dx = dloss·e` inside and `dloss·delta·sign(e)` outside, `dt = -dx`;
//! where an operand was repeated, its gradient is summed. Weights, if given, are broadcast to the losses and multiply
//! them; they have no gradient, and the mean divides by the number of elements all the same, as in PyTorch. The mean
//! of nothing is NaN, its sum 0.
//!
//! Source: Huber 1964.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::huber;
//! use handgrad_kernels::op::loss::Reduction;
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let (x, target) = ([1.0, 2.0, 9.0], [1.0, 3.0, 4.0]);
//! let (x, target) = (View::new(&x, &[3])?, View::new(&target, &[3])?);
//! let (mut losses, mut dx) = ([f32::NAN; 3], [f32::NAN; 3]);
//! let (delta, dloss) = (2.0, View::scalar(&3.0));
//! huber::forward(&exec, ViewMut::new(&mut losses, &[3])?, x, target, delta, None, Reduction::None)?;
//! huber::backward(&exec, ViewMut::new(&mut dx, &[3])?, dloss, x, target, delta, None, Reduction::Mean)?;
//! assert_eq!((losses, dx), ([0.0, 0.5, 8.0], [0.0, -1.0, 2.0]));
//! # Ok(())
//! # }
//! ```

use super::loss::Reduction;
use super::loss::pointwise::{self, Between, Distance, Divisor, Operands, Pairing};
use crate::error::{ErrorKind, Result};
use crate::exec::Exec;
use crate::simd::Simd;
use crate::view::{Mat, MatMut, View, ViewMut};

/// `loss` is the weighted Huber loss of `x - target`, reduced; the loss has the shape that broadcasting gives, or that
/// of a scalar.
///
/// # Errors
/// If shapes do not match, or `delta` is not positive.
pub fn forward<'a>(
    exec: &Exec,
    loss: impl Into<ViewMut<'a>>,
    x: impl Into<View<'a>>,
    target: impl Into<View<'a>>,
    delta: f32,
    weight: Option<View<'_>>,
    reduction: Reduction,
) -> Result<()> {
    let operands = operands("huber::forward", x.into(), target.into(), delta, weight)?;
    operands.forward(exec, loss.into(), reduction, Between(Huber { delta }))
}

/// `dx = dloss·w·slope(x - target)`, summed to the shape of `x`; `dloss` has the shape of the loss.
///
/// # Errors
/// As [`forward`].
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dloss: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    target: impl Into<View<'a>>,
    delta: f32,
    weight: Option<View<'_>>,
    reduction: Reduction,
) -> Result<()> {
    let operands = operands("huber::backward", x.into(), target.into(), delta, weight)?;
    operands.backward(exec, dx.into(), dloss.into(), reduction, Between(Huber { delta }))
}

/// `dtarget = -dloss·w·slope(x - target)`, summed to the shape of `target`.
///
/// # Errors
/// As [`forward`].
pub fn backward_target<'a>(
    exec: &Exec,
    dtarget: impl Into<ViewMut<'a>>,
    dloss: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    target: impl Into<View<'a>>,
    delta: f32,
    weight: Option<View<'_>>,
    reduction: Reduction,
) -> Result<()> {
    let operands = operands("huber::backward_target", x.into(), target.into(), delta, weight)?;
    operands.backward_target(exec, dtarget.into(), dloss.into(), reduction, Between(Huber { delta }))
}

/// The mean loss of each row of `x` (`batch x outputs`) times the weight of its sample, and the gradient of `dloss`
/// times the sum of those; `target` and `dx` have the shape of `x`.
///
/// # Errors
/// If shapes do not match, or `delta` is not positive.
pub fn forward_backward(
    exec: &Exec,
    losses: &mut [f32],
    dx: MatMut<'_>,
    dloss: f32,
    x: Mat<'_>,
    target: Mat<'_>,
    sample_weights: Option<&[f32]>,
    delta: f32,
    weight: Option<View<'_>>,
) -> Result<()> {
    const OP: &str = "huber::forward_backward";
    expect_delta(OP, delta)?;
    let (inp, weights) = ([x, target], [weight, None]);
    pointwise::forward_backward(OP, exec, (losses, dx), dloss, inp, &weights, sample_weights, Between(Huber { delta }))
}

fn operands<'a>(
    op: &'static str,
    x: View<'a>,
    target: View<'a>,
    delta: f32,
    weight: Option<View<'a>>,
) -> Result<Operands<'a>> {
    expect_delta(op, delta)?;
    Operands::new(op, x, target, Pairing::Broadcast)?.weight(weight)
}

fn expect_delta(op: &'static str, delta: f32) -> Result<()> {
    if delta > 0.0 {
        return Ok(());
    }
    Err(ErrorKind::Value { op, arg: "delta", want: "positive", got: delta.into() }.into())
}

/// The loss by its definition.
#[must_use]
pub fn reference(x: f64, target: f64, delta: f64) -> f64 {
    let e = (x - target).abs();
    if e > delta { delta * (e - 0.5 * delta) } else { 0.5 * e * e }
}

/// `dloss` times the derivatives by `x` and by the target.
#[must_use]
pub fn reference_backward(dloss: f64, x: f64, target: f64, delta: f64) -> [f64; 2] {
    let e = x - target;
    let dx = dloss * if e.abs() > delta { delta * e.signum() } else { e };
    [dx, -dx]
}

/// The loss of a difference.
#[derive(Clone, Copy)]
struct Huber {
    delta: f32,
}

impl Distance for Huber {
    const DIVISOR: Divisor = Divisor::Elements;
    #[inline(always)]
    fn loss<S: Simd>(self, s: S, e: S::F32) -> S::F32 {
        let (half, delta, size) = (s.splat(0.5), s.splat(self.delta), s.abs(e));
        let beyond = s.mul(delta, s.fnma(half, delta, size));
        s.select(s.lt(delta, size), beyond, s.mul(s.mul(half, e), e))
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, e: S::F32) -> S::F32 {
        let delta = s.splat(self.delta);
        s.select(s.lt(delta, s.abs(e)), s.copysign(delta, e), e)
    }
}
