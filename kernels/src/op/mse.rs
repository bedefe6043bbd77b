//! The squared error, `(x - t)²` for each prediction `x` and target `t`, which are broadcast to each other.
//!
//! With `e = x - t` the gradients are `dx = 2e·dloss` and `dt = -dx`; where an operand was repeated, its gradient is
//! summed. Weights, if given, are broadcast to the losses and multiply them; they have no gradient. As in PyTorch, the
//! mean is then `Σ w·e²/Σ w`. The mean of nothing is NaN, its sum 0. NaN, and the difference of equal infinities, give
//! NaN.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::loss::Reduction;
//! use handgrad_kernels::op::mse;
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let (x, target) = ([1.0, 2.0, 4.0, 3.0], [1.0, 4.0]);
//! let (x, target) = (View::new(&x, &[2, 2])?, View::new(&target, &[2])?);
//! let mut loss = f32::NAN;
//! mse::forward(&exec, ViewMut::scalar(&mut loss), x, target, None, Reduction::Mean)?;
//! assert_eq!(loss, (0.0 + 4.0 + 9.0 + 1.0) / 4.0);
//! let mut dx = [f32::NAN; 4];
//! let dloss = View::scalar(&1.0);
//! mse::backward(&exec, ViewMut::new(&mut dx, &[2, 2])?, dloss, x, target, None, Reduction::Mean)?;
//! assert_eq!(dx, [0.0, -1.0, 1.5, -0.5]);
//! # Ok(())
//! # }
//! ```

use super::loss::Reduction;
use super::loss::pointwise::{self, Between, Distance, Operands, Pairing};
use crate::error::Result;
use crate::exec::Exec;
use crate::simd::Simd;
use crate::view::{Mat, MatMut, View, ViewMut};

/// `loss = w·(x - target)²`, reduced; the loss has the shape that broadcasting gives, or that of a scalar.
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
    let operands = operands("mse::forward", x.into(), target.into(), weight)?;
    operands.forward(exec, loss.into(), reduction, Between(Square))
}

/// `dx = dloss·w·2(x - target)`, summed to the shape of `x`; `dloss` has the shape of the loss.
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
    let operands = operands("mse::backward", x.into(), target.into(), weight)?;
    operands.backward(exec, dx.into(), dloss.into(), reduction, Between(Square))
}

/// `dtarget = -dloss·w·2(x - target)`, summed to the shape of `target`.
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
    let operands = operands("mse::backward_target", x.into(), target.into(), weight)?;
    operands.backward_target(exec, dtarget.into(), dloss.into(), reduction, Between(Square))
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
    const OP: &str = "mse::forward_backward";
    let (inp, weights) = ([x, target], [weight, None]);
    pointwise::forward_backward(OP, exec, (losses, dx), dloss, inp, &weights, sample_weights, Between(Square))
}

fn operands<'a>(op: &'static str, x: View<'a>, target: View<'a>, weight: Option<View<'a>>) -> Result<Operands<'a>> {
    Operands::new(op, x, target, Pairing::Broadcast)?.weight(weight)
}

/// The loss by its definition.
#[must_use]
pub fn reference(x: f64, target: f64) -> f64 {
    (x - target) * (x - target)
}

/// `dloss` times the derivatives by `x` and by the target.
#[must_use]
pub fn reference_backward(dloss: f64, x: f64, target: f64) -> [f64; 2] {
    let dx = dloss * 2.0 * (x - target);
    [dx, -dx]
}

/// `e²`.
#[derive(Clone, Copy)]
struct Square;

impl Distance for Square {
    #[inline(always)]
    fn loss<S: Simd>(self, s: S, e: S::F32) -> S::F32 {
        s.mul(e, e)
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, e: S::F32) -> S::F32 {
        s.add(e, e)
    }
}
