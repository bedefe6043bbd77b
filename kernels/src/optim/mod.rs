//! Update rules over flat buffers of parameters and their gradients, each one pass.
//!
//! The formulas are those of `torch.optim`. A rule takes the parameters, then what it remembers from step to step, then
//! the gradients, all of one length, then the [`Step`] and its settings. Where all of them are zero they stay exactly
//! zero, so that buffers may be padded. A parameter whose gradient is NaN becomes NaN, and no other does.
//!
//! Clipping takes one more pass, which reads the gradients: [`global_norm`] and [`clip_scale`] give the factor that a
//! rule takes them times.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::optim::{self, Step, adam};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let (mut params, grads) = ([1.0, -2.0], [30.0, -40.0]);
//! let (mut exp_avg, mut exp_avg_sq) = ([0.0; 2], [0.0; 2]);
//! let norm = optim::global_norm(&exec, &grads);
//! assert_eq!(norm, 50.0);
//! let step = Step { lr: 0.1, scale: optim::clip_scale(norm, 1.0), number: 1 };
//! adam::update(&exec, &mut params, &mut exp_avg, &mut exp_avg_sq, &grads, step, adam::Config::default())?;
//! // The first step of Adam is as long as `lr`, however long the gradient is.
//! assert!((params[0] - 0.9).abs() < 1e-6 && (params[1] + 1.9).abs() < 1e-6);
//! # Ok(())
//! # }
//! ```

pub mod adam;
mod norm;
pub mod rmsprop;
pub mod sgd;

pub use norm::{clip_scale, global_norm};

use crate::error::{ErrorKind, Result};
use crate::exec::{Axis, BlockKernel, Exec};
use crate::lanes::{self, Map};
use crate::simd::Simd;
use crate::view::{Mat, MatMut};
use std::ops::RangeBounds;

/// What changes from one step to the next, whatever the rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The learning rate.
    pub lr: f32,
    /// What the gradients are taken times, as clipping has it; 1 changes no bit.
    pub scale: f32,
    /// The number of the step; the first is 1.
    pub number: u64,
}

/// The gradient a rule works with: `scale·g + weight_decay·p`.
#[derive(Clone, Copy)]
struct Gradient {
    scale: f32,
    weight_decay: f32,
}

impl Gradient {
    #[inline(always)]
    fn at<S: Simd>(self, s: S, g: S::F32, p: S::F32) -> S::F32 {
        let g = s.mul(s.splat(self.scale), g);
        // Without decay an infinite parameter has no part in it.
        if self.weight_decay == 0.0 { g } else { s.fma(s.splat(self.weight_decay), p, g) }
    }
}

/// An exponential moving average: `beta` of the old one and the rest of the new value.
#[derive(Clone, Copy)]
struct Average {
    beta: f32,
    /// `1 - beta`, rounded once.
    rest: f32,
}

impl Average {
    fn new(beta: f32) -> Self {
        Self { beta, rest: (1.0 - f64::from(beta)) as f32 }
    }

    /// Of `x`: on the way from one to the other, begun at the nearer end, as `torch.lerp` does.
    #[inline(always)]
    fn of<S: Simd>(self, s: S, old: S::F32, x: S::F32) -> S::F32 {
        let way = s.sub(x, old);
        if self.rest < 0.5 { s.fma(s.splat(self.rest), way, old) } else { s.fnma(s.splat(self.beta), way, x) }
    }

    /// Of `x²`.
    #[inline(always)]
    fn of_square<S: Simd>(self, s: S, old: S::F32, x: S::F32) -> S::F32 {
        s.fma(s.mul(s.splat(self.rest), x), x, s.mul(s.splat(self.beta), old))
    }
}

/// One pass of a rule over all elements; `nanoseconds` is what one costs one core, for the split over threads.
fn pass<F: Map<1, O>, const O: usize>(exec: &Exec, nanoseconds: f64, out: [&mut [f32]; O], grads: &[f32], rule: F) {
    let nanoseconds = (grads.len() as f64 * nanoseconds) as usize;
    exec.blocks(nanoseconds, Axis::Cols, 64, out.map(MatMut::from_row), [Mat::from_row(grads)], Pass(rule));
}

/// A rule over a range of elements.
#[derive(Clone, Copy)]
struct Pass<F>(F);

impl<F: Map<1, O>, const O: usize> BlockKernel<O, 1> for Pass<F> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, _: usize, out: [MatMut<'_>; O], inp: [Mat<'_>; 1]) {
        lanes::map_row(s, out, inp, self.0);
    }
}

/// Checks a setting.
///
/// # Errors
/// [`ErrorKind::Value`] if it lies outside of what is allowed; NaN does.
fn expect_setting(
    op: &'static str,
    arg: &'static str,
    allowed: impl RangeBounds<f32>,
    want: &'static str,
    got: f32,
) -> Result<()> {
    if allowed.contains(&got) { Ok(()) } else { Err(ErrorKind::Value { op, arg, want, got: got.into() }.into()) }
}

/// Checks the number of a step.
///
/// # Errors
/// [`ErrorKind::Value`] if it is 0.
fn expect_number(op: &'static str, step: Step) -> Result<()> {
    let Step { number, .. } = step;
    if number > 0 { Ok(()) } else { Err(ErrorKind::Value { op, arg: "number", want: "at least 1", got: 0.0 }.into()) }
}
