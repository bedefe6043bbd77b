//! What a step is given: samples and their targets, borrowed, checked against the model before anything is written.

use crate::error::{Error, Result};
use crate::model::Input;
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

/// What the outputs of a batch are compared with.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// A label for each sample.
    Labels(&'a [i64]),
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
        Targets::Labels(labels)
    }
}

impl<'a> From<&'a Vec<i64>> for Targets<'a> {
    fn from(labels: &'a Vec<i64>) -> Self {
        Targets::Labels(labels)
    }
}

/// A batch that fits the model.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Samples<'a> {
    Tokens(&'a [i64]),
    Dense(Mat<'a>),
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
    /// The labels of a batch.
    ///
    /// # Errors
    /// If there are not as many as samples, or one is not in `0..classes`.
    pub(crate) fn check_labels(self, batch: usize, classes: usize) -> Result<&'a [i64]> {
        let Targets::Labels(labels) = self;
        if labels.len() != batch {
            return Err(mismatch("number of labels", batch, labels.len()));
        }
        check_range("label", labels, 1, classes)?;
        Ok(labels)
    }
}

fn divide(len: usize, width: usize, what: &'static str) -> Result<usize> {
    if !len.is_multiple_of(width) {
        return Err(mismatch("input", format!("a multiple of {width} {what}"), len));
    }
    Ok(len / width)
}

fn check_range(what: &'static str, values: &[i64], per_sample: usize, bound: usize) -> Result<()> {
    // As the kernels do it: the sign of a value, or of its distance from the last, tells whether one is outside.
    let last = (bound as i64).wrapping_sub(1);
    if values.iter().fold(0, |signs, &value| signs | value | last.wrapping_sub(value)) >= 0 {
        return Ok(());
    }
    let outside = |&value: &i64| value as u64 >= bound as u64;
    match values.iter().position(outside) {
        None => Ok(()),
        Some(at) => Err(Error::Index { what, sample: at / per_sample, value: values[at], bound }),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "numbers and texts are given alike")]
pub(crate) fn mismatch(what: &'static str, want: impl ToString, got: impl ToString) -> Error {
    Error::Batch { what, want: want.to_string(), got: got.to_string() }
}
