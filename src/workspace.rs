//! Everything a network's passes write, allocated once.

use crate::error::Result;
use crate::plan::{Kind, Plan, Stage};
use crate::tensors::{Buffer, lines, padded, product};
use handgrad_kernels::Exec;
use handgrad_kernels::op::batch_norm::{self, Saved, Statistics};
use handgrad_kernels::op::linear;
use handgrad_kernels::view::{Mat, MatMut};

/// What the forward pass writes: the values between the stages, and what the backward pass needs besides.
#[derive(Debug)]
pub(crate) struct Activations {
    /// The input of stage `i` is `values[i]`, its output `values[i + 1]`.
    pub(crate) values: Vec<Buffer>,
    /// Mean, variance and `1/√(var + eps)` of each stage that normalises; empty for the others.
    pub(crate) statistics: Vec<Buffer>,
}

/// What only the backward pass writes.
#[derive(Debug)]
pub(crate) struct Gradients {
    /// The gradient of the value that a stage takes is in one, that of the value it gives in the other.
    pub(crate) flow: [Buffer; 2],
    /// The loss of each sample.
    pub(crate) losses: Buffer,
}

impl Activations {
    pub(crate) fn new(plan: &Plan, max_batch: usize) -> Result<Self> {
        let widths = std::iter::once(plan.width).chain(plan.stages.iter().map(|stage| stage.outputs));
        let values = widths.map(|width| batch_buffer(max_batch, width)).collect::<Result<_>>()?;
        let statistics = plan.stages.iter().map(|stage| match stage.kind {
            Kind::BatchNorm { .. } => Buffer::zeros(3 * lines(stage.outputs)?),
            Kind::Linear { .. } | Kind::Activation => Buffer::zeros(0),
        });
        Ok(Self { values, statistics: statistics.collect::<Result<_>>()? })
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
            widest = widest.max(plan.width);
        }
        let flow = [batch_buffer(max_batch, widest)?, batch_buffer(max_batch, widest)?];
        Ok(Self { flow, losses: Buffer::zeros(lines(max_batch)?)? })
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
        Kind::Activation => 0,
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

/// The statistics that a normalisation left, for reading.
pub(crate) fn statistics(buffer: &[f32], width: usize) -> Saved<'_> {
    let line = padded(width);
    let row = |i: usize| Mat::from_row(&buffer[i * line..][..width]);
    Saved { mean: row(0), var: row(1), inv_std: row(2) }
}

/// Room for the statistics of a normalisation.
pub(crate) fn statistics_mut(buffer: &mut [f32], width: usize) -> Statistics<'_> {
    let line = padded(width);
    let (mean, rest) = buffer.split_at_mut(line);
    let (var, inv_std) = rest.split_at_mut(line);
    let row = |line| MatMut::from_row(line);
    Statistics { mean: row(&mut mean[..width]), var: row(&mut var[..width]), inv_std: row(&mut inv_std[..width]) }
}
