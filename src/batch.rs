//! What a step is given: samples and their targets, borrowed, checked against the model before anything is written.

use crate::error::{Error, Result};
use crate::model::{CrossEntropy, Input, Loss};
use handgrad_kernels::error::first_outside;
use handgrad_kernels::view::Mat;

/// The samples of a batch, row by row.
#[derive(Clone, Copy, Debug)]
pub enum Inputs<'a> {
    /// Tokens, `batch x context`.
    Tokens(&'a [i64]),
    /// Numbers, `batch x features`, one row after the other.
    Dense(&'a [f32]),
    /// Numbers, `batch x features`, with any strides.
    Strided(Mat<'a>),
}

/// What the outputs of a batch are compared with, and how much each sample counts.
///
/// A slice or a matrix becomes targets by itself; [`weighted`](Targets::weighted) adds weights:
///
/// ```
/// use handgrad::Targets;
/// let targets = Targets::from(&[0, 2, 1][..]).weighted(&[1.0, 0.5, 2.0]);
/// # let _ = targets;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    target: Target<'a>,
    weights: Option<&'a [f32]>,
}

/// What the outputs of a batch are compared with.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// A label for each sample.
    Labels(&'a [i64]),
    /// Numbers, `batch x outputs`, one row after the other: for a cross-entropy the probability of each class.
    Values(&'a [f32]),
    /// Numbers, `batch x outputs`, with any strides.
    Strided(Mat<'a>),
}

impl<'a> Targets<'a> {
    /// The same with a weight for each sample: finite, at least 0, and not all 0.
    #[must_use]
    pub fn weighted(self, weights: &'a [f32]) -> Self {
        Self { weights: Some(weights), ..self }
    }
}

impl<'a> From<Target<'a>> for Targets<'a> {
    fn from(target: Target<'a>) -> Self {
        Self { target, weights: None }
    }
}

impl<'a> From<&'a [i64]> for Inputs<'a> {
    fn from(tokens: &'a [i64]) -> Self {
        Inputs::Tokens(tokens)
    }
}

impl<'a> From<&'a Vec<i64>> for Inputs<'a> {
    fn from(tokens: &'a Vec<i64>) -> Self {
        Inputs::Tokens(tokens)
    }
}

impl<'a> From<&'a [f32]> for Inputs<'a> {
    fn from(rows: &'a [f32]) -> Self {
        Inputs::Dense(rows)
    }
}

impl<'a> From<&'a Vec<f32>> for Inputs<'a> {
    fn from(rows: &'a Vec<f32>) -> Self {
        Inputs::Dense(rows)
    }
}

impl<'a> From<Mat<'a>> for Inputs<'a> {
    fn from(rows: Mat<'a>) -> Self {
        Inputs::Strided(rows)
    }
}

impl<'a> From<&'a [i64]> for Targets<'a> {
    fn from(labels: &'a [i64]) -> Self {
        Target::Labels(labels).into()
    }
}

impl<'a> From<&'a Vec<i64>> for Targets<'a> {
    fn from(labels: &'a Vec<i64>) -> Self {
        Target::Labels(labels).into()
    }
}

impl<'a> From<&'a [f32]> for Targets<'a> {
    fn from(values: &'a [f32]) -> Self {
        Target::Values(values).into()
    }
}

impl<'a> From<&'a Vec<f32>> for Targets<'a> {
    fn from(values: &'a Vec<f32>) -> Self {
        Target::Values(values).into()
    }
}

impl<'a> From<Mat<'a>> for Targets<'a> {
    fn from(values: Mat<'a>) -> Self {
        Target::Strided(values).into()
    }
}

/// A batch that fits the model.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Samples<'a> {
    Tokens(&'a [i64]),
    Dense(Mat<'a>),
}

/// Targets that fit the loss.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal<'a> {
    pub(crate) target: GoalTarget<'a>,
    pub(crate) weights: Option<&'a [f32]>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum GoalTarget<'a> {
    Labels(&'a [i64]),
    Values(Mat<'a>),
}

impl Goal<'_> {
    /// How many samples there are.
    pub(crate) fn len(&self) -> usize {
        match self.target {
            GoalTarget::Labels(labels) => labels.len(),
            GoalTarget::Values(values) => values.rows(),
        }
    }

    /// The part of it that belongs to a range of the samples.
    pub(crate) fn part(&self, samples: std::ops::Range<usize>) -> Result<Self> {
        let target = match self.target {
            GoalTarget::Labels(labels) => GoalTarget::Labels(&labels[samples.clone()]),
            GoalTarget::Values(values) => GoalTarget::Values(values.rows_at(samples.clone())?),
        };
        Ok(Goal { target, weights: self.weights.map(|weights| &weights[samples]) })
    }
}

impl<'a> Inputs<'a> {
    /// The samples and how many there are.
    ///
    /// # Errors
    /// If they are of another kind or width than the model's, if a token is out of range, if there is none, or more
    /// than `max_batch`.
    pub(crate) fn check(self, input: Input, max_batch: usize) -> Result<(Samples<'a>, usize)> {
        let (samples, batch) = match (self, input) {
            (Inputs::Tokens(tokens), Input::Tokens { vocab, context, .. }) => {
                let batch = divide(tokens.len(), context, "tokens")?;
                check_range("token", tokens, context, vocab)?;
                (Samples::Tokens(tokens), batch)
            }
            (Inputs::Dense(values), Input::Dense { features }) => {
                let batch = divide(values.len(), features, "numbers")?;
                (Samples::Dense(Mat::new(values, batch, features)?), batch)
            }
            (Inputs::Strided(rows), Input::Dense { features }) => {
                if rows.cols() != features {
                    return Err(mismatch("width of the input", features, rows.cols()));
                }
                (Samples::Dense(rows), rows.rows())
            }
            (Inputs::Tokens(_), Input::Dense { .. }) => return Err(mismatch("input", "numbers", "tokens")),
            (_, Input::Tokens { .. }) => return Err(mismatch("input", "tokens", "numbers")),
        };
        if batch == 0 || batch > max_batch {
            return Err(mismatch("number of samples", format!("between 1 and {max_batch}"), batch));
        }
        Ok((samples, batch))
    }
}

impl<'a> Targets<'a> {
    /// The targets of a batch, as the loss takes them.
    ///
    /// # Errors
    /// If they are of another kind or number than the loss wants, if a label is not in `0..outputs`, or a weight is not
    /// one.
    pub(crate) fn check(self, loss: &Loss, batch: usize, outputs: usize) -> Result<Goal<'a>> {
        let Self { target, weights } = self;
        let target = match (target, loss) {
            (Target::Labels(labels), Loss::CrossEntropy(CrossEntropy { ignore_index, .. })) => {
                if labels.len() != batch {
                    return Err(mismatch("number of labels", batch, labels.len()));
                }
                match ignore_index {
                    None => check_range("label", labels, 1, outputs)?,
                    Some(ignored) => check_labels(labels, *ignored, outputs)?,
                }
                GoalTarget::Labels(labels)
            }
            (Target::Labels(_), _) => return Err(mismatch("target", "numbers", "labels")),
            (Target::Values(values), _) => {
                if outputs.checked_mul(batch) != Some(values.len()) {
                    return Err(mismatch("target", format!("{batch}x{outputs} numbers"), values.len()));
                }
                GoalTarget::Values(Mat::new(values, batch, outputs)?)
            }
            (Target::Strided(values), _) => {
                if (values.rows(), values.cols()) != (batch, outputs) {
                    let got = format!("{}x{}", values.rows(), values.cols());
                    return Err(mismatch("target", format!("{batch}x{outputs}"), got));
                }
                GoalTarget::Values(values)
            }
        };
        if let Some(weights) = weights {
            if weights.len() != batch {
                return Err(mismatch("number of weights", batch, weights.len()));
            }
            if let Some(weight) = weights.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0)) {
                return Err(mismatch("weight of a sample", "finite and at least 0", weight));
            }
            if weights.iter().all(|&weight| weight == 0.0) {
                return Err(mismatch("weight of a sample", "positive for at least one", 0));
            }
        }
        Ok(Goal { target, weights })
    }
}

fn divide(len: usize, width: usize, what: &'static str) -> Result<usize> {
    if !len.is_multiple_of(width) {
        return Err(mismatch("input", format!("a multiple of {width} {what}"), len));
    }
    Ok(len / width)
}

fn check_range(what: &'static str, values: &[i64], per_sample: usize, bound: usize) -> Result<()> {
    match first_outside(values, bound) {
        None => Ok(()),
        Some(at) => Err(Error::Index { what, sample: at / per_sample, value: values[at], bound }),
    }
}

/// [`check_range`] of labels, some of which are left out.
fn check_labels(labels: &[i64], ignored: i64, bound: usize) -> Result<()> {
    let outside = |&label: &i64| label != ignored && label as u64 >= bound as u64;
    match labels.iter().position(outside) {
        None => Ok(()),
        Some(at) => Err(Error::Index { what: "label", sample: at, value: labels[at], bound }),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "numbers and texts are given alike")]
pub(crate) fn mismatch(what: &'static str, want: impl ToString, got: impl ToString) -> Error {
    Error::Batch { what, want: want.to_string(), got: got.to_string() }
}
