//! Stochastic gradient descent, plain and with momentum.
//!
//! With `g = scale·grad + weight_decay·p`, all of it element by element:
//!
//! ```text
//! buffer = g                                       in the first step
//! buffer = momentum·buffer + (1 - dampening)·g     in every other
//! p     -= lr·buffer                               or, with Nesterov's momentum,
//! p     -= lr·(g + momentum·buffer)
//! ```
//!
//! The buffer is a sum of all gradients so far, the older ones shrunk: what points the same way from step to step adds
//! up, to `1/(1 - momentum)` times a gradient, and what turns to and fro cancels. Nesterov's form takes the gradient
//! where the buffer will have led. Without momentum there is no buffer: `p -= lr·g`.
//!
//! Source: Sutskever, Martens, Dahl and Hinton 2013; `torch.optim.SGD`, whose learning rate is outside of the buffer.

use super::{Gradient, Step, expect_number, expect_setting, pass};
use crate::error::{ErrorKind, Result, expect_len};
use crate::exec::{Axis, BlockKernel, Exec};
use crate::lanes::{self, Map};
use crate::simd::Simd;
use crate::view::{Mat, MatMut};

/// `w - lr·dw`.
#[derive(Clone, Copy)]
pub(crate) struct Plain {
    pub(crate) lr: f32,
}

impl Map<1, 1> for Plain {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [dw]: [S::F32; 1], [w]: [S::F32; 1]) -> [S::F32; 1] {
        [s.fnma(s.splat(self.lr), dw, w)]
    }
}

impl BlockKernel<1, 1> for Plain {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, _: usize, w: [MatMut<'_>; 1], dw: [Mat<'_>; 1]) {
        lanes::map(s, w, dw, self);
    }
}

/// `params -= lr·grads`, element by element, rounded once.
///
/// # Errors
/// If the lengths differ.
pub fn update(exec: &Exec, params: &mut [f32], grads: &[f32], lr: f32) -> Result<()> {
    expect_len("sgd::update", "grads", params.len(), grads.len())?;
    let nanoseconds = params.len() / 8;
    exec.blocks(nanoseconds, Axis::Cols, 64, [MatMut::from_row(params)], [Mat::from_row(grads)], Plain { lr });
    Ok(())
}

/// Settings of [`momentum_update`]; those of PyTorch with its defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Config {
    /// How much of the buffer is kept, at least 0. With 0 the buffer has no part.
    pub momentum: f32,
    /// How much of a gradient does not go into the buffer.
    pub dampening: f32,
    /// Whether a step goes on from where the buffer will have led; only with momentum and without dampening.
    pub nesterov: bool,
    /// How much of each parameter is added to its gradient, at least 0.
    pub weight_decay: f32,
}

impl Config {
    fn expect(self, op: &'static str) -> Result<()> {
        expect_setting(op, "momentum", 0.0.., "at least 0", self.momentum)?;
        expect_setting(op, "weight_decay", 0.0.., "at least 0", self.weight_decay)?;
        let value = |arg, want, got: f32| Err(ErrorKind::Value { op, arg, want, got: got.into() }.into());
        if self.nesterov && self.momentum == 0.0 {
            return value("momentum", "above 0 with `nesterov`", self.momentum);
        }
        if self.nesterov && self.dampening != 0.0 {
            return value("dampening", "0 with `nesterov`", self.dampening);
        }
        Ok(())
    }
}

/// One step without momentum: `params -= lr·(scale·grads + weight_decay·params)`. With a scale of 1 and no decay the
/// same bits as [`update`].
///
/// # Errors
/// If the lengths differ, or `weight_decay` is below 0.
pub fn decay_update(exec: &Exec, params: &mut [f32], grads: &[f32], step: Step, weight_decay: f32) -> Result<()> {
    const OP: &str = "sgd::decay_update";
    expect_len(OP, "grads", params.len(), grads.len())?;
    expect_setting(OP, "weight_decay", 0.0.., "at least 0", weight_decay)?;
    let Step { lr, scale, .. } = step;
    pass(exec, 0.05, [params], grads, Decayed { gradient: Gradient { scale, weight_decay }, lr });
    Ok(())
}

/// One step with momentum. The first step overwrites `momentum_buffer`, whatever it held; with a momentum of 0 it stays
/// as it is.
///
/// # Errors
/// If lengths differ, the step has the number 0, or a setting is not allowed.
pub fn momentum_update(
    exec: &Exec,
    params: &mut [f32],
    momentum_buffer: &mut [f32],
    grads: &[f32],
    step: Step,
    config: Config,
) -> Result<()> {
    const OP: &str = "sgd::momentum_update";
    expect_len(OP, "momentum_buffer", params.len(), momentum_buffer.len())?;
    expect_len(OP, "grads", params.len(), grads.len())?;
    expect_number(OP, step)?;
    config.expect(OP)?;
    let Config { momentum, dampening, nesterov, weight_decay } = config;
    if momentum == 0.0 {
        return decay_update(exec, params, grads, step, weight_decay);
    }
    let Step { lr, scale, number } = step;
    let new = (1.0 - f64::from(dampening)) as f32;
    let step = Decayed { gradient: Gradient { scale, weight_decay }, lr };
    let rule = Momentum { step, is_first: number == 1, kept: momentum, new, nesterov };
    pass(exec, 0.1, [params, momentum_buffer], grads, rule);
    Ok(())
}

/// The new `[param, buffer]` by their definition.
#[must_use]
pub fn reference([p, buffer]: [f64; 2], grad: f64, step: Step, config: Config) -> [f64; 2] {
    let [lr, scale] = [step.lr, step.scale].map(f64::from);
    let [momentum, dampening, weight_decay] = [config.momentum, config.dampening, config.weight_decay].map(f64::from);
    let g = scale * grad + weight_decay * p;
    if momentum == 0.0 {
        return [p - lr * g, buffer];
    }
    let buffer = if step.number == 1 { g } else { momentum * buffer + (1.0 - dampening) * g };
    let direction = if config.nesterov { g + momentum * buffer } else { buffer };
    [p - lr * direction, buffer]
}

/// `p - lr·g`.
#[derive(Clone, Copy)]
struct Decayed {
    gradient: Gradient,
    lr: f32,
}

impl Map<1, 1> for Decayed {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [g]: [S::F32; 1], [p]: [S::F32; 1]) -> [S::F32; 1] {
        [s.fnma(s.splat(self.lr), self.gradient.at(s, g, p), p)]
    }
}

/// `p - lr·buffer`, or Nesterov's form of it, and the buffer.
#[derive(Clone, Copy)]
struct Momentum {
    step: Decayed,
    is_first: bool,
    /// The share of the buffer that is kept.
    kept: f32,
    /// `1 - dampening`
    new: f32,
    nesterov: bool,
}

impl Map<1, 2> for Momentum {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [g]: [S::F32; 1], [p, buffer]: [S::F32; 2]) -> [S::F32; 2] {
        let kept = s.splat(self.kept);
        let g = self.step.gradient.at(s, g, p);
        let buffer = if self.is_first { g } else { s.fma(s.splat(self.new), g, s.mul(kept, buffer)) };
        let direction = if self.nesterov { s.fma(kept, buffer, g) } else { buffer };
        [s.fnma(s.splat(self.step.lr), direction, p), buffer]
    }
}
