//! The negative log-likelihood: of log-probabilities `x` that of the target's class, `loss = -weight[t]·x[t]`.
//!
//! `x` is `[classes]`, `[batch, classes]` or `[batch, classes, …]`; the targets are class indices of that shape without
//! the classes, and so are the losses. A target that is `ignore_index`, whether or not that is a class, has the loss 0
//! and no gradient. The sum is that of all losses; the mean is the sum over `Σ weight[t]` of the targets that are not
//! ignored, so with none of them it is NaN, as in PyTorch. Each loss depends on one number: `dx[t] = -dloss·weight[t]`,
//! and 0 elsewhere. The weights have no gradient.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::loss::Reduction;
//! use handgrad_kernels::op::nll_loss::{self, Config};
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let x = [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0];
//! let (x, target, weight) = (View::new(&x, &[3, 2])?, View::new(&[0_i64, 1, -100], &[3])?, [0.5, 1.5]);
//! let config = Config { weight: Some(View::new(&weight, &[2])?), ..Config::default() };
//! let mut loss = f32::NAN;
//! let mut scratch = vec![f32::NAN; nll_loss::scratch(x.shape(), Reduction::Mean)];
//! nll_loss::forward(&exec, ViewMut::scalar(&mut loss), x, target, config, Reduction::Mean, &mut scratch)?;
//! assert_eq!(loss, (0.5 * 1.0 + 1.5 * 4.0) / 2.0);
//! let mut dx = [f32::NAN; 6];
//! let out = ViewMut::new(&mut dx, &[3, 2])?;
//! nll_loss::backward(&exec, out, View::scalar(&4.0), target, config, Reduction::Mean)?;
//! assert_eq!(dx, [-1.0, 0.0, 0.0, -3.0, 0.0, 0.0]);
//! # Ok(())
//! # }
//! ```

use super::loss::classes::{self, Counts, Targets, class_axis, expect_weights};
use super::loss::{self, Reduction, expect_samples, number};
use crate::elementwise;
use crate::error::{Result, expect_len, expect_scratch, expect_shape};
use crate::exec::{Axis, BlockKernel, Exec};
use crate::lanes::{self, Zero};
use crate::reduce::{AxisSet, Parts};
use crate::simd::Simd;
use crate::view::{Mat, MatMut, View, ViewMut};

/// Nanoseconds of one core a target, for the split over threads.
const NS: f64 = 8.0;

/// What the classes count for.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// One weight for each class; absent, each is one.
    pub weight: Option<View<'a>>,
    /// Targets with this value are left out.
    pub ignore_index: i64,
}

/// No weights, and -100 for a target to ignore, as in PyTorch.
impl Default for Config<'_> {
    fn default() -> Self {
        Self { weight: None, ignore_index: -100 }
    }
}

impl<'a> Config<'a> {
    fn counts(self) -> Counts<'a> {
        Counts { weight: self.weight, ignore_index: self.ignore_index }
    }
}

/// Floats of scratch that [`forward`] needs for an `x` of `shape`: one for each loss if they are reduced.
#[must_use]
pub fn scratch(shape: &[usize], reduction: Reduction) -> usize {
    classes::scratch(shape, reduction)
}

/// `loss = -weight[target]·x[target]`, reduced; `target` has the shape of `x` without its classes, the loss that shape
/// or that of a scalar. `scratch` holds [`scratch`](fn@scratch) floats.
///
/// # Errors
/// If shapes do not match, if a target is neither a class nor ignored, or if `scratch` is too short.
pub fn forward<'a>(
    exec: &Exec,
    loss: impl Into<ViewMut<'a>>,
    x: impl Into<View<'a>>,
    target: impl Into<View<'a, i64>>,
    config: Config<'_>,
    reduction: Reduction,
    scratch: &mut [f32],
) -> Result<()> {
    const OP: &str = "nll_loss::forward";
    let (mut loss, x, target, counts) = (loss.into(), x.into(), target.into(), config.counts());
    let axis = class_axis(OP, x.shape())?;
    counts.check(OP, &target, x.shape(), axis)?;
    let shape = target.shape();
    expect_shape(OP, "loss", reduction.shape(shape).as_slice(), loss.shape())?;
    let len = self::scratch(x.shape(), reduction);
    expect_scratch(OP, len, scratch.len())?;
    if reduction == Reduction::None {
        return pick(exec, loss, x, target, &counts, axis);
    }
    pick(exec, ViewMut::new(&mut scratch[..len], shape)?, x, target, &counts, axis)?;
    let total = if reduction == Reduction::Mean { counts.total(exec, Targets::new(&target), None) } else { 1.0 };
    loss.fill(loss::mean(exec, &scratch[..len], total));
    Ok(())
}

/// `dx[target] = -dloss·weight[target]`, and zero elsewhere; `dloss` has the shape of the loss.
///
/// # Errors
/// If shapes do not match, or if a target is neither a class nor ignored.
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dloss: impl Into<View<'a>>,
    target: impl Into<View<'a, i64>>,
    config: Config<'_>,
    reduction: Reduction,
) -> Result<()> {
    const OP: &str = "nll_loss::backward";
    let (mut dx, dloss, target, counts) = (dx.into(), dloss.into(), target.into(), config.counts());
    let axis = class_axis(OP, dx.shape())?;
    counts.check(OP, &target, dx.shape(), axis)?;
    let shape = target.shape();
    expect_shape(OP, "dloss", reduction.shape(shape).as_slice(), dloss.shape())?;
    let each = match reduction {
        Reduction::None => 0.0,
        Reduction::Sum => number(dloss),
        Reduction::Mean => number(dloss) / counts.total(exec, Targets::new(&target), None),
    };
    let dloss = if reduction == Reduction::None { dloss } else { View::scalar(&each).broadcast_to(shape)? };
    let dloss = dloss.unsqueeze(axis as isize)?.broadcast_to(dx.shape())?;
    elementwise::map(exec, 0.06, [dx.reborrow()], [], Zero);
    over_targets(exec, [dx], [dloss], target, &counts, axis, |[dx], [dloss], place, of| {
        if let Some((_, weight)) = of {
            put(dx, place, -dloss.get(place).unwrap_or(f32::NAN) * weight);
        }
    })
}

/// The loss of each row of `x` (`batch x classes`) times the weight of its sample, and the gradient of `dloss` times
/// the sum of those; `dx` has the shape of `x`.
///
/// # Errors
/// As [`forward`].
pub fn forward_backward(
    exec: &Exec,
    losses: &mut [f32],
    dx: MatMut<'_>,
    dloss: f32,
    x: Mat<'_>,
    target: &[i64],
    sample_weights: Option<&[f32]>,
    config: Config<'_>,
) -> Result<()> {
    const OP: &str = "nll_loss::forward_backward";
    let (batch, classes, counts) = (x.rows(), x.cols(), config.counts());
    expect_len(OP, "target", batch, target.len())?;
    expect_weights(OP, counts.weight.as_ref(), classes)?;
    counts.expect_within(OP, Targets::Adjacent(target), classes)?;
    dx.expect_size(OP, "dx", batch, classes)?;
    expect_len(OP, "losses", batch, losses.len())?;
    expect_samples(OP, sample_weights, batch)?;
    let nanoseconds = batch as f64 * (NS + 0.06 * classes as f64);
    let rows = Rows { target, counts: &counts, samples: sample_weights, dloss };
    exec.blocks(nanoseconds as usize, Axis::Rows, 1, [MatMut::from_row(losses).t(), dx], [x], rows);
    Ok(())
}

/// The weights of all targets that are not ignored, each times its sample's: one over this is the `dloss` of a mean.
///
/// # Errors
/// If there is not one sample weight for each target, or a target has no weight.
pub fn weights_total(exec: &Exec, target: &[i64], sample_weights: Option<&[f32]>, config: Config<'_>) -> Result<f32> {
    config.counts().checked_total("nll_loss::weights_total", exec, Targets::Adjacent(target), sample_weights)
}

/// The loss of one row, by its definition.
#[must_use]
pub fn reference(x: &[f64], class: usize, weight: f64) -> f64 {
    -weight * x[class]
}

/// `dloss` times the derivatives by one row, by their definition.
#[must_use]
pub fn reference_backward(dloss: f64, classes: usize, class: usize, weight: f64) -> Vec<f64> {
    (0..classes).map(|j| if j == class { -dloss * weight } else { 0.0 }).collect()
}

/// Rows of log-probabilities with their targets.
#[derive(Clone, Copy)]
struct Rows<'a> {
    target: &'a [i64],
    counts: &'a Counts<'a>,
    samples: Option<&'a [f32]>,
    dloss: f32,
}

impl BlockKernel<2, 1> for Rows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, start: usize, [mut losses, mut dx]: [MatMut<'_>; 2], [x]: [Mat<'_>; 1]) {
        lanes::map(s, [dx.reborrow()], [], Zero);
        for i in 0..x.rows() {
            *losses.at(i, 0) = 0.0;
            if let Some((class, weight)) = self.counts.of(self.target[start + i]) {
                let weight = self.samples.map_or(weight, |samples| samples[start + i] * weight);
                *losses.at(i, 0) = -weight * x.get(i, class).unwrap_or(f32::NAN);
                *dx.at(i, class) = -self.dloss * weight;
            }
        }
    }
}

/// Writes the losses.
fn pick(
    exec: &Exec,
    loss: ViewMut<'_>,
    x: View<'_>,
    target: View<'_, i64>,
    counts: &Counts<'_>,
    axis: usize,
) -> Result<()> {
    let loss = loss.unsqueeze(axis as isize)?;
    over_targets(exec, [loss], [x], target, counts, axis, |[loss], [x], place, of| {
        let value = of.map_or(0.0, |(_, weight)| -weight * x.get(place).unwrap_or(f32::NAN));
        place[axis] = 0;
        put(loss, place, value);
    })
}

/// Writes one element, whose place is inside.
fn put(view: &mut ViewMut<'_>, place: &[usize], value: f32) {
    let written = view.set(place, value);
    debug_assert!(written.is_ok(), "the place comes from the targets' shape");
}

/// Calls `f` for each target, on several threads, with the place of its class and with the class and its weight, or
/// with the place of class 0 for a target that is ignored. Outputs and inputs have the rank of a prediction, and the
/// first input has its shape.
fn over_targets<const O: usize, const I: usize>(
    exec: &Exec,
    out: [ViewMut<'_>; O],
    inp: [View<'_>; I],
    target: View<'_, i64>,
    counts: &Counts<'_>,
    axis: usize,
    f: impl Fn(&mut [ViewMut<'_>; O], &[View<'_>; I], &mut [usize], Option<(usize, f32)>) + Sync,
) -> Result<()> {
    let target = target.unsqueeze(axis as isize)?;
    let mut reduced = AxisSet::default();
    reduced.insert(axis);
    let nanoseconds = (target.len() as f64 * NS) as usize;
    exec.par.run(nanoseconds, 1, Parts { out, other: target, inp, reduced }, |part| {
        let Parts { mut out, other: target, inp, .. } = part;
        classes::each(target, |_, place, class| {
            let of = counts.of(class);
            place[axis] = of.map_or(0, |(class, _)| class);
            f(&mut out, &inp, place, of);
        });
    });
    Ok(())
}
