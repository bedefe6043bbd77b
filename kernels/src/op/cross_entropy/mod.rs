//! Cross-entropy of logits, with its softmax: `loss = -Σ_j q[j]·ln softmax(x)[j]` along the axis of classes, for
//! targets that are classes or probabilities.
//!
//! `x` is `[classes]`, `[batch, classes]` or `[batch, classes, …]`, and the losses have that shape without the classes.
//! What `q` is follows from the target, the weights `w` of the classes and the label smoothing `ε`:
//!
//! * of a class `t`: `q[j] = w[j]·((1 - ε)·[j = t] + ε/classes)`. A target that is `ignore_index` has the loss 0, and
//!   no gradient. The mean is the sum of the losses over `Σ w[t]` of the targets that are not ignored, so with none of
//!   them it is NaN;
//! * of probabilities `t` (of the shape of `x`; they need not sum to one): `q[j] = w[j]·((1 - ε)·t[j] + ε/classes)`.
//!   The mean divides by the number of losses, whatever the weights.
//!
//! All this is as in PyTorch. With the maximum `m` of the logits taken off, nothing overflows: with `S = Σ e^(x - m)`
//! the logarithm of the softmax is `x[j] - m - ln S`. The maximum itself has no gradient: it cancels. Of the rest,
//!
//! ```text
//! dx[j] = dloss·(softmax(x)[j]·Σ q - q[j])            dt[j] = -dloss·(1 - ε)·w[j]·ln softmax(x)[j]
//! ```
//!
//! so for one class without weights the row of the gradient, `softmax(x) - onehot(t)`, sums to zero: it pulls the
//! label's logit up by what it pushes the others down. The notebook takes ten small steps for this, and one line in
//! exercise 2. The weights have no gradient. A row of `-inf`, or with a `+inf`, gives NaN, as in PyTorch.
//!
//! What a class counts for is kept as `q[j] = own·[j = t] + share[j]`: what a label counts for, and the rest, of which
//! there is often none. With `S` as above,
//!
//! ```text
//! loss  = own·(ln S - (x[t] - m)) + ln S·Σ share - Σ share·(x - m)
//! dx[j] = dloss·(e^(x[j] - m)·(own + Σ share)/S - share[j] - own·[j = t])
//! ```
//!
//! Sums along the classes of `[classes]` and `[batch, classes]` have 64 running values, whatever their number; with
//! axes behind that of the classes they have the order of every reduction.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::cross_entropy::{self, Config};
//! use handgrad_kernels::op::loss::{self, Reduction};
//! use handgrad_kernels::view::{Mat, MatMut, View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let (x, labels) = ([1.0, 1.0, 3.0, 3.0], [0_i64, 1]);
//! // As PyTorch has it: F.cross_entropy(x, labels).
//! let (view, target, config) = (View::new(&x, &[2, 2])?, View::new(&labels, &[2])?, Config::default());
//! let mut loss = f32::NAN;
//! let mut scratch = vec![f32::NAN; cross_entropy::scratch(&[2, 2], Reduction::Mean)];
//! cross_entropy::forward(&exec, ViewMut::scalar(&mut loss), view, target, config, Reduction::Mean, &mut scratch)?;
//! assert_eq!(loss, 2_f32.ln());
//! // As a training step has it: the losses of the rows and the gradient of their mean, in one pass.
//! let (mut losses, mut dx) = ([f32::NAN; 2], [f32::NAN; 4]);
//! let (x, out) = (Mat::new(&x, 2, 2)?, MatMut::new(&mut dx, 2, 2)?);
//! cross_entropy::forward_backward(&exec, &mut losses, out, 1.0 / 2.0, x, &labels[..], None, config)?;
//! assert_eq!((dx, loss::mean(&exec, &losses, 2.0)), ([-0.25, 0.25, 0.25, -0.25], loss));
//! # Ok(())
//! # }
//! ```

mod parts;
mod rows;
mod shares;

use self::parts::Parted;
use self::rows::{Rows, Upstream};
use super::loss::classes::{self, Counts, Targets, class_axis, expect_weights, losses_shape};
use super::loss::{self, ONE, Reduction, ZERO, expect_samples, number};
use crate::error::{ErrorKind, Result, expect_len, expect_scratch, expect_shape};
use crate::exec::Exec;
use crate::view::{Mat, MatMut, View, ViewMut};

/// What the targets are.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// One class for each loss; of the shape of the losses.
    Classes(View<'a, i64>),
    /// One probability for each logit; of the shape of the logits.
    Probabilities(View<'a>),
}

impl<'a> From<View<'a, i64>> for Target<'a> {
    fn from(classes: View<'a, i64>) -> Self {
        Target::Classes(classes)
    }
}

impl<'a> From<&'a [i64]> for Target<'a> {
    fn from(classes: &'a [i64]) -> Self {
        Target::Classes(View::new(classes, &[classes.len()]).expect("as many as there are"))
    }
}

impl<'a> From<View<'a>> for Target<'a> {
    fn from(probabilities: View<'a>) -> Self {
        Target::Probabilities(probabilities)
    }
}

/// What the targets of the rows of a matrix are.
#[derive(Clone, Copy, Debug)]
pub enum RowTarget<'a> {
    /// One class for each row.
    Classes(&'a [i64]),
    /// One probability for each logit.
    Probabilities(Mat<'a>),
}

impl<'a> From<&'a [i64]> for RowTarget<'a> {
    fn from(classes: &'a [i64]) -> Self {
        RowTarget::Classes(classes)
    }
}

impl<'a> From<Mat<'a>> for RowTarget<'a> {
    fn from(probabilities: Mat<'a>) -> Self {
        RowTarget::Probabilities(probabilities)
    }
}

/// What the classes count for, and how sure the targets are.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// One weight for each class; absent, each is one.
    pub weight: Option<View<'a>>,
    /// Targets with this value are left out; probabilities have no such value.
    pub ignore_index: i64,
    /// From 0 to 1: the share of each target that is spread evenly over the classes.
    pub label_smoothing: f32,
}

/// No weights, no smoothing, and -100 for a target to ignore, as in PyTorch.
impl Default for Config<'_> {
    fn default() -> Self {
        Self { weight: None, ignore_index: -100, label_smoothing: 0.0 }
    }
}

impl<'a> Config<'a> {
    #[inline]
    fn counts(&self) -> Counts<'a> {
        Counts { weight: self.weight, ignore_index: self.ignore_index }
    }

    #[inline]
    fn check(&self, op: &'static str, classes: usize) -> Result<()> {
        let smoothing = self.label_smoothing;
        if !(0.0..=1.0).contains(&smoothing) {
            let want = "from 0 to 1";
            return Err(ErrorKind::Value { op, arg: "label_smoothing", want, got: smoothing.into() }.into());
        }
        expect_weights(op, self.weight.as_ref(), classes)
    }
}

/// Floats of scratch that [`forward`] needs for logits of `shape`: one for each loss if they are reduced.
#[must_use]
pub fn scratch(shape: &[usize], reduction: Reduction) -> usize {
    classes::scratch(shape, reduction)
}

/// `loss = -Σ q·ln softmax(x)`, reduced; it has the shape of `x` without its classes, or that of a scalar. `scratch`
/// holds [`scratch`](fn@scratch) floats.
///
/// # Errors
/// If shapes do not match, if a target is neither a class nor ignored, if the smoothing is not in `[0, 1]`, or if
/// `scratch` is too short.
pub fn forward<'a>(
    exec: &Exec,
    loss: impl Into<ViewMut<'a>>,
    x: impl Into<View<'a>>,
    target: impl Into<Target<'a>>,
    config: Config<'_>,
    reduction: Reduction,
    scratch: &mut [f32],
) -> Result<()> {
    const OP: &str = "cross_entropy::forward";
    let (mut loss, x) = (loss.into(), x.into());
    let problem = Problem::new(OP, x, target.into(), config)?;
    let shape = losses_shape(x.shape(), problem.axis);
    expect_shape(OP, "loss", reduction.shape(shape.as_slice()).as_slice(), loss.shape())?;
    let len = self::scratch(x.shape(), reduction);
    expect_scratch(OP, len, scratch.len())?;
    if reduction == Reduction::None {
        return problem.run(exec, Some(loss), None, View::scalar(&ONE));
    }
    let losses = ViewMut::new(&mut scratch[..len], shape.as_slice())?;
    problem.run(exec, Some(losses), None, View::scalar(&ONE))?;
    loss.fill(loss::mean(exec, &scratch[..len], problem.total(exec, reduction)));
    Ok(())
}

/// `dx = dloss·(softmax(x)·Σ q - q)`; `dloss` has the shape of the loss.
///
/// # Errors
/// If shapes do not match, if a target is neither a class nor ignored, or if the smoothing is not in `[0, 1]`.
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dloss: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    target: impl Into<Target<'a>>,
    config: Config<'_>,
    reduction: Reduction,
) -> Result<()> {
    const OP: &str = "cross_entropy::backward";
    let (dx, x) = (dx.into(), x.into());
    let problem = Problem::new(OP, x, target.into(), config)?;
    expect_shape(OP, "dx", x.shape(), dx.shape())?;
    let mut each = 1.0;
    let dloss = problem.upstream(exec, dloss.into(), reduction, &mut each)?;
    problem.run(exec, None, Some(dx), dloss)
}

/// `dtarget = -dloss·(1 - label_smoothing)·weight·ln softmax(x)`, for probabilities `target`.
///
/// # Errors
/// As [`backward`].
pub fn backward_target<'a>(
    exec: &Exec,
    dtarget: impl Into<ViewMut<'a>>,
    dloss: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    config: Config<'_>,
    reduction: Reduction,
) -> Result<()> {
    const OP: &str = "cross_entropy::backward_target";
    let (dtarget, x) = (dtarget.into(), x.into());
    // The targets themselves play no part: any of their shape will do.
    let problem = Problem::new(OP, x, Target::Probabilities(x), config)?;
    expect_shape(OP, "dtarget", x.shape(), dtarget.shape())?;
    let mut each = 1.0;
    let dloss = problem.upstream(exec, dloss.into(), reduction, &mut each)?;
    problem.parted(dloss)?.target_gradient(exec, dtarget);
    Ok(())
}

/// The loss of each row of `x` (`batch x classes`) times the weight of its sample, and the gradient of `dloss` times
/// the sum of those; `dx` has the shape of `x`. Without sample weights the bits are those of [`forward`] and
/// [`backward`].
///
/// # Errors
/// As [`backward`].
pub fn forward_backward<'a>(
    exec: &Exec,
    losses: &mut [f32],
    dx: MatMut<'_>,
    dloss: f32,
    x: Mat<'_>,
    target: impl Into<RowTarget<'a>>,
    sample_weights: Option<&[f32]>,
    config: Config<'_>,
) -> Result<()> {
    const OP: &str = "cross_entropy::forward_backward";
    let (batch, classes, target) = (x.rows(), x.cols(), target.into());
    dx.expect_size(OP, "dx", batch, classes)?;
    expect_len(OP, "losses", batch, losses.len())?;
    expect_samples(OP, sample_weights, batch)?;
    config.check(OP, classes)?;
    let counts = config.counts();
    let (targets, probabilities) = match target {
        RowTarget::Classes(targets) => {
            expect_len(OP, "target", batch, targets.len())?;
            counts.expect_within(OP, Targets::Adjacent(targets), classes)?;
            (Some(Targets::Adjacent(targets)), None)
        }
        RowTarget::Probabilities(target) => {
            target.expect_size(OP, "target", batch, classes)?;
            (None, Some(target))
        }
    };
    if classes == 0 {
        losses.fill(0.0);
        return Ok(());
    }
    let smoothing = config.label_smoothing;
    let rows = Rows { targets, counts: &counts, samples: sample_weights, upstream: Upstream::One(dloss), smoothing };
    let weights = rows.shared_weights(batch, classes)?;
    rows.run(exec, Some(MatMut::from_row(losses).t()), Some(dx), x, probabilities, weights);
    Ok(())
}

/// What the mean of a batch's losses divides by: `Σ w[t]` of the targets that are not ignored, or the number of rows of
/// probabilities, each times its sample's weight. One over this is the `dloss` of a mean.
///
/// # Errors
/// If there is not one sample weight for each target, or a target has no weight.
pub fn weights_total<'a>(
    exec: &Exec,
    target: impl Into<RowTarget<'a>>,
    sample_weights: Option<&[f32]>,
    config: Config<'_>,
) -> Result<f32> {
    const OP: &str = "cross_entropy::weights_total";
    match target.into() {
        RowTarget::Classes(targets) => {
            config.counts().checked_total(OP, exec, Targets::Adjacent(targets), sample_weights)
        }
        RowTarget::Probabilities(target) => {
            expect_samples(OP, sample_weights, target.rows())?;
            Ok(loss::weights_total(exec, target.rows(), sample_weights))
        }
    }
}

/// The loss of one row by its definition, `q` being what each class counts for.
#[must_use]
pub fn reference(x: &[f64], q: &[f64]) -> f64 {
    -super::log_softmax::reference(x).iter().zip(q).map(|(log, q)| q * log).sum::<f64>()
}

/// `dloss` times the derivatives by the logits of one row, by their definition.
#[must_use]
pub fn reference_backward(dloss: f64, x: &[f64], q: &[f64]) -> Vec<f64> {
    let all: f64 = q.iter().sum();
    super::softmax::reference(x).iter().zip(q).map(|(y, q)| dloss * (y * all - q)).collect()
}

/// `dloss` times the derivatives by the probabilities of one row, by their definition; `rate` is the derivative of each
/// `q` by its probability, `(1 - label_smoothing)·weight`.
#[must_use]
pub fn reference_backward_target(dloss: f64, x: &[f64], rate: &[f64]) -> Vec<f64> {
    super::log_softmax::reference(x).iter().zip(rate).map(|(log, rate)| -dloss * rate * log).collect()
}

/// What is asked: the logits, the targets and the weights, checked.
#[derive(Clone, Copy)]
struct Problem<'a> {
    op: &'static str,
    x: View<'a>,
    /// The axis of classes.
    axis: usize,
    target: Target<'a>,
    config: Config<'a>,
}

impl<'a> Problem<'a> {
    fn new(op: &'static str, x: View<'a>, target: Target<'a>, config: Config<'a>) -> Result<Self> {
        let axis = class_axis(op, x.shape())?;
        config.check(op, x.shape()[axis])?;
        match &target {
            Target::Classes(target) => config.counts().check(op, target, x.shape(), axis)?,
            Target::Probabilities(target) => expect_shape(op, "target", x.shape(), target.shape())?,
        }
        Ok(Self { op, x, axis, target, config })
    }

    /// What the sum of the losses is divided by.
    fn total(&self, exec: &Exec, reduction: Reduction) -> f32 {
        match (reduction, &self.target) {
            (Reduction::Mean, Target::Classes(target)) => self.config.counts().total(exec, Targets::new(target), None),
            // Without classes the losses of probabilities are zero, and their mean is NaN all the same.
            (Reduction::Mean, _) => self.x.len().checked_div(self.x.shape()[self.axis]).unwrap_or(0) as f32,
            _ => 1.0,
        }
    }

    /// The gradient of each loss, or one number that is that of all of them, kept in `each`.
    fn upstream<'u>(&self, exec: &Exec, dloss: View<'u>, reduction: Reduction, each: &'u mut f32) -> Result<View<'u>> {
        let shape = losses_shape(self.x.shape(), self.axis);
        expect_shape(self.op, "dloss", reduction.shape(shape.as_slice()).as_slice(), dloss.shape())?;
        if reduction == Reduction::None {
            return Ok(dloss);
        }
        *each = number(dloss) / self.total(exec, reduction);
        Ok(View::scalar(each))
    }

    /// Writes the losses, which have the shape of `x` without its classes, and the gradient of the logits; `dloss` has
    /// the shape of the losses, or is one number. All shapes are right.
    fn run(&self, exec: &Exec, losses: Option<ViewMut<'_>>, dx: Option<ViewMut<'_>>, dloss: View<'_>) -> Result<()> {
        if self.x.is_empty() {
            if let Some(mut losses) = losses {
                losses.fill(0.0);
            }
            return Ok(());
        }
        match self.x.rank() {
            // A single row is a batch of one.
            1 => {
                let target = match self.target {
                    Target::Classes(target) => Target::Classes(target.unsqueeze(0)?),
                    Target::Probabilities(target) => Target::Probabilities(target.unsqueeze(0)?),
                };
                let losses = losses.map(|losses| losses.unsqueeze(0)).transpose()?;
                let dx = dx.map(|dx| dx.unsqueeze(0)).transpose()?;
                Problem { x: self.x.unsqueeze(0)?, axis: 1, target, ..*self }.rows(exec, losses, dx, dloss)
            }
            2 => self.rows(exec, losses, dx, dloss),
            _ => self.parted(dloss)?.run(exec, losses, dx),
        }
    }

    /// [`run`](Self::run) for a matrix.
    fn rows(&self, exec: &Exec, losses: Option<ViewMut<'_>>, dx: Option<ViewMut<'_>>, dloss: View<'_>) -> Result<()> {
        let (x, counts) = (Mat::try_from(self.x)?, self.config.counts());
        let (targets, probabilities) = match &self.target {
            Target::Classes(target) => (Some(Targets::new(target)), None),
            Target::Probabilities(target) => (None, Some(Mat::try_from(*target)?)),
        };
        let upstream = if dloss.rank() == 0 { Upstream::One(number(dloss)) } else { Upstream::Each(&dloss) };
        let smoothing = self.config.label_smoothing;
        let rows = Rows { targets, counts: &counts, samples: None, upstream, smoothing };
        let weights = rows.shared_weights(x.rows(), x.cols())?;
        let losses = losses.map(|losses| losses.unsqueeze(1)?.try_into()).transpose()?;
        rows.run(exec, losses, dx.map(MatMut::try_from).transpose()?, x, probabilities, weights);
        Ok(())
    }

    fn parted<'p>(&'p self, dloss: View<'p>) -> Result<Parted<'p>> {
        let (shape, axis) = (self.x.shape(), self.axis);
        let dloss = if dloss.rank() + 1 == shape.len() { dloss.unsqueeze(axis as isize)? } else { dloss };
        let mut weight = self.config.weight.unwrap_or(View::scalar(&ONE));
        if weight.rank() == 1 {
            for _ in axis + 1..shape.len() {
                weight = weight.unsqueeze(-1)?;
            }
        }
        let (probabilities, labels) = match self.target {
            Target::Classes(target) => (View::scalar(&ZERO), Some(target.unsqueeze(axis as isize)?)),
            Target::Probabilities(target) => (target, None),
        };
        let [probabilities, weight, dloss] = [probabilities, weight, dloss].map(|view| view.broadcast_to(shape));
        Ok(Parted::new(&[self.x, probabilities?, weight?, dloss?], axis, labels, self.config))
    }
}
