//! Everything a network's passes write, allocated once.

use crate::error::Result;
use crate::plan::{Kind, Plan, Stage};
use crate::tensors::{Buffer, lines, padded, product};
use handgrad_kernels::Exec;
use handgrad_kernels::op::activation::{Activation, Saves};
use handgrad_kernels::op::batch_norm::{self, Saved, Statistics};
use handgrad_kernels::op::{layer_norm, linear, rms_norm};
use handgrad_kernels::view::{Mat, MatMut};

/// What the forward pass writes: the values between the stages, and what the backward pass needs besides.
#[derive(Debug)]
pub(crate) struct Activations {
    /// The values, by their numbers.
    pub(crate) values: Vec<Buffer>,
    /// For each stage what its activation is given, where that is needed; empty for the others.
    pub(crate) before: Vec<Buffer>,
    /// The statistics of each stage that normalises, of columns or of rows; empty for the others.
    pub(crate) statistics: Vec<Buffer>,
}

/// Whether there will be a backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Training,
    Inference,
}

/// What only the backward pass writes.
#[derive(Debug)]
pub(crate) struct Gradients {
    /// The gradient of the value that a stage gives is in the first, and where it is not changed in place, that of the
    /// value it takes in the second.
    pub(crate) flow: [Buffer; 2],
    /// The gradients that go around residual blocks.
    pub(crate) skips: Vec<Buffer>,
    /// The loss of each sample.
    pub(crate) losses: Buffer,
}

impl Activations {
    pub(crate) fn new(plan: &Plan, max_batch: usize, purpose: Purpose) -> Result<Self> {
        let kept = |stage: &Stage| purpose == Purpose::Training && stage.keeps_before();
        let before =
            |stage: &Stage| if kept(stage) { batch_buffer(max_batch, stage.outputs) } else { Buffer::zeros(0) };
        let statistics = |stage: &Stage| match stage.kind {
            Kind::BatchNorm { .. } => Buffer::zeros(3 * lines(stage.outputs)?),
            Kind::LayerNorm { .. } | Kind::RmsNorm { .. } => Buffer::zeros(product(2, lines(max_batch)?)?),
            _ => Buffer::zeros(0),
        };
        Ok(Self {
            values: plan.widths.iter().map(|&width| batch_buffer(max_batch, width)).collect::<Result<_>>()?,
            before: plan.stages.iter().map(before).collect::<Result<_>>()?,
            statistics: plan.stages.iter().map(statistics).collect::<Result<_>>()?,
        })
    }

    /// Value `number`, of a batch.
    #[inline]
    pub(crate) fn value(&self, plan: &Plan, number: usize, batch: usize) -> handgrad_kernels::Result<Mat<'_>> {
        rows(&self.values[number], batch, plan.widths[number])
    }

    /// The activation whose gradient stage `i` takes (for the number of stages, that of the outputs), and what it saved;
    /// the identity and the value itself if there is none.
    #[inline]
    pub(crate) fn through(
        &self,
        plan: &Plan,
        i: usize,
        batch: usize,
    ) -> handgrad_kernels::Result<(Activation, Mat<'_>)> {
        let Some(last) = plan.activated_before(i) else {
            let number = plan.stages.get(i).map_or(plan.widths.len() - 1, |stage| stage.x);
            return Ok((Activation::Identity, self.value(plan, number, batch)?));
        };
        let stage = &plan.stages[last];
        let saved = match (stage.activation.saves(), stage.kind) {
            (Saves::Output, _) => &self.values[stage.y],
            (Saves::Input, Kind::Activation) => &self.values[stage.x],
            (Saves::Input, _) => &self.before[last],
        };
        Ok((stage.activation, rows(saved, batch, stage.outputs)?))
    }
}

impl Gradients {
    /// `input` says whether the gradient of the input will be wanted too.
    pub(crate) fn new(plan: &Plan, max_batch: usize, input: bool) -> Result<Self> {
        let mut widest = plan.outputs();
        for stage in &plan.stages {
            widest = widest.max(stage.outputs);
        }
        if input {
            widest = widest.max(plan.width());
        }
        Ok(Self {
            flow: [batch_buffer(max_batch, widest)?, batch_buffer(max_batch, widest)?],
            skips: plan.skips.iter().map(|&width| batch_buffer(max_batch, width)).collect::<Result<_>>()?,
            losses: Buffer::zeros(lines(max_batch)?)?,
        })
    }
}

/// Room for `batch` rows of a width.
fn batch_buffer(batch: usize, width: usize) -> Result<Buffer> {
    Buffer::zeros(product(batch, lines(width)?)?)
}

/// Floats of scratch that every stage can do with.
pub(crate) fn scratch_len(plan: &Plan, exec: &Exec, batch: usize) -> usize {
    let stage = |stage: &Stage| match stage.kind {
        Kind::Linear { .. } => linear::scratch_len(exec, batch, stage.inputs, stage.outputs),
        Kind::BatchNorm { .. } => batch_norm::backward_scratch(stage.outputs),
        Kind::LayerNorm { .. } => layer_norm::backward_rows_scratch(batch, stage.outputs),
        Kind::RmsNorm { .. } => rms_norm::backward_rows_scratch(batch, stage.outputs),
        Kind::Dropout { .. } | Kind::Activation | Kind::Fork { .. } | Kind::Join { .. } => 0,
    };
    plan.stages.iter().map(stage).max().unwrap_or(0)
}

/// The rows of a batch in a buffer of [`batch_buffer`].
#[inline]
pub(crate) fn rows(buffer: &[f32], batch: usize, width: usize) -> handgrad_kernels::Result<Mat<'_>> {
    Mat::with_row_stride(buffer, batch, width, padded(width))
}

/// The rows of a batch in a buffer of [`batch_buffer`], to be written.
#[inline]
pub(crate) fn rows_mut(buffer: &mut [f32], batch: usize, width: usize) -> handgrad_kernels::Result<MatMut<'_>> {
    MatMut::with_row_stride(buffer, batch, width, padded(width))
}

/// The statistics of columns that a normalisation left, for reading.
pub(crate) fn statistics(buffer: &[f32], width: usize) -> Saved<'_> {
    let line = padded(width);
    let row = |i: usize| Mat::from_row(&buffer[i * line..][..width]);
    Saved { mean: row(0), var: row(1), inv_std: row(2) }
}

/// Room for the statistics of columns.
pub(crate) fn statistics_mut(buffer: &mut [f32], width: usize) -> Statistics<'_> {
    let line = padded(width);
    let (mean, rest) = buffer.split_at_mut(line);
    let (var, inv_std) = rest.split_at_mut(line);
    let row = |line| MatMut::from_row(line);
    Statistics { mean: row(&mut mean[..width]), var: row(&mut var[..width]), inv_std: row(&mut inv_std[..width]) }
}

/// The two statistics of each row of a batch, as columns: the mean, if there is one, and what a row was multiplied by.
pub(crate) fn row_statistics(buffer: &[f32], batch: usize) -> [Mat<'_>; 2] {
    let (mean, inv) = buffer.split_at(buffer.len() / 2);
    [mean, inv].map(|column| Mat::from_row(&column[..batch]).t())
}

/// Room for the two statistics of each row.
pub(crate) fn row_statistics_mut(buffer: &mut [f32], batch: usize) -> [MatMut<'_>; 2] {
    let (mean, inv) = buffer.split_at_mut(buffer.len() / 2);
    [mean, inv].map(|column| MatMut::from_row(&mut column[..batch]).t())
}
