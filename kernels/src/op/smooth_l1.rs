//! The smooth absolute error: with `e = x - t`, `½e²/beta` where `|e| < beta` and `|e| - ½beta` beyond. Predictions `x`
//! and targets `t` are broadcast to each other. It is the Huber loss over `beta`; with `beta = 0` it is the absolute
//! error.
//!
//! `dx = dloss·e/beta` inside and `dloss·sign(e)` outside, `dt = -dx`; where an operand was repeated, its gradient is
//! summed. The sign of 0 is 0, that of NaN is NaN. The mean of nothing is NaN, its sum 0.
//!
//! Source: Girshick 2015.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::loss::Reduction;
//! use handgrad_kernels::op::smooth_l1;
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let (x, target) = ([1.0, 2.0, 9.0], [1.0, 3.0, 4.0]);
//! let (x, target) = (View::new(&x, &[3])?, View::new(&target, &[3])?);
//! let (mut losses, mut dx) = ([f32::NAN; 3], [f32::NAN; 3]);
//! let (beta, dloss) = (2.0, View::scalar(&3.0));
//! smooth_l1::forward(&exec, ViewMut::new(&mut losses, &[3])?, x, target, beta, Reduction::None)?;
//! smooth_l1::backward(&exec, ViewMut::new(&mut dx, &[3])?, dloss, x, target, beta, Reduction::Mean)?;
//! assert_eq!((losses, dx), ([0.0, 0.25, 4.0], [0.0, -0.5, 1.0]));
//! # Ok(())
//! # }
//! ```

use super::l1::Absolute;
use super::loss::Reduction;
use super::loss::pointwise::{self, Between, Distance, Operands, Pairing};
use crate::error::{ErrorKind, Result};
use crate::exec::Exec;
use crate::simd::Simd;
use crate::view::{Mat, MatMut, View, ViewMut};

/// `loss` is the smooth absolute error of `x - target`, reduced; the loss has the shape that broadcasting gives, or
/// that of a scalar.
///
/// # Errors
/// If shapes do not match, or `beta` is negative or NaN.
pub fn forward<'a>(
    exec: &Exec,
    loss: impl Into<ViewMut<'a>>,
    x: impl Into<View<'a>>,
    target: impl Into<View<'a>>,
    beta: f32,
    reduction: Reduction,
) -> Result<()> {
    let operands = operands("smooth_l1::forward", x.into(), target.into(), beta)?;
    operands.forward(exec, loss.into(), reduction, Between(SmoothL1 { beta }))
}

/// `dx = dloss·slope(x - target)`, summed to the shape of `x`; `dloss` has the shape of the loss.
///
/// # Errors
/// As [`forward`].
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dloss: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    target: impl Into<View<'a>>,
    beta: f32,
    reduction: Reduction,
) -> Result<()> {
    let operands = operands("smooth_l1::backward", x.into(), target.into(), beta)?;
    operands.backward(exec, dx.into(), dloss.into(), reduction, Between(SmoothL1 { beta }))
}

/// `dtarget = -dloss·slope(x - target)`, summed to the shape of `target`.
///
/// # Errors
/// As [`forward`].
pub fn backward_target<'a>(
    exec: &Exec,
    dtarget: impl Into<ViewMut<'a>>,
    dloss: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    target: impl Into<View<'a>>,
    beta: f32,
    reduction: Reduction,
) -> Result<()> {
    let operands = operands("smooth_l1::backward_target", x.into(), target.into(), beta)?;
    operands.backward_target(exec, dtarget.into(), dloss.into(), reduction, Between(SmoothL1 { beta }))
}

/// The mean loss of each row of `x` (`batch x outputs`) times the weight of its sample, and the gradient of `dloss`
/// times the sum of those; `target` and `dx` have the shape of `x`.
///
/// # Errors
/// If shapes do not match, or `beta` is negative or NaN.
pub fn forward_backward(
    exec: &Exec,
    losses: &mut [f32],
    dx: MatMut<'_>,
    dloss: f32,
    x: Mat<'_>,
    target: Mat<'_>,
    sample_weights: Option<&[f32]>,
    beta: f32,
) -> Result<()> {
    const OP: &str = "smooth_l1::forward_backward";
    expect_beta(OP, beta)?;
    let (inp, weights) = ([x, target], [None, None]);
    pointwise::forward_backward(
        OP,
        exec,
        (losses, dx),
        dloss,
        inp,
        &weights,
        sample_weights,
        Between(SmoothL1 { beta }),
    )
}

fn operands<'a>(op: &'static str, x: View<'a>, target: View<'a>, beta: f32) -> Result<Operands<'a>> {
    expect_beta(op, beta)?;
    Operands::new(op, x, target, Pairing::Broadcast)
}

fn expect_beta(op: &'static str, beta: f32) -> Result<()> {
    if beta >= 0.0 {
        return Ok(());
    }
    Err(ErrorKind::Value { op, arg: "beta", want: "0 or more", got: beta.into() }.into())
}

/// The loss by its definition.
#[must_use]
pub fn reference(x: f64, target: f64, beta: f64) -> f64 {
    let e = (x - target).abs();
    if e < beta { 0.5 * e * e / beta } else { e - 0.5 * beta }
}

/// `dloss` times the derivatives by `x` and by the target.
#[must_use]
pub fn reference_backward(dloss: f64, x: f64, target: f64, beta: f64) -> [f64; 2] {
    let e = x - target;
    let dx = if e.abs() < beta { dloss * e / beta } else { super::abs::reference_backward(dloss, e) };
    [dx, -dx]
}

/// The loss of a difference.
#[derive(Clone, Copy)]
struct SmoothL1 {
    beta: f32,
}

impl Distance for SmoothL1 {
    #[inline(always)]
    fn loss<S: Simd>(self, s: S, e: S::F32) -> S::F32 {
        let (half, beta, size) = (s.splat(0.5), s.splat(self.beta), s.abs(e));
        let beyond = s.fnma(half, beta, size);
        s.select(s.lt(size, beta), s.mul(s.mul(half, size), s.div(size, beta)), beyond)
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, e: S::F32) -> S::F32 {
        let beta = s.splat(self.beta);
        s.select(s.lt(s.abs(e), beta), s.div(e, beta), Absolute.slope(s, e))
    }
}
