//! Inference: the forward pass alone, normalised by running statistics, over any number of samples.

use crate::batch::{Inputs, Samples, Targets, mismatch};
use crate::error::Result;
use crate::model::Input;
use crate::plan::{Kind, Plan};
use crate::step::{Norms, Trainer, stage_forward};
use crate::tensors::Buffer;
use crate::workspace::{Activations, rows, rows_mut, scratch_len};
use handgrad_kernels::Exec;
use handgrad_kernels::op::activation::{self, Activation};
use handgrad_kernels::op::loss::Reduction;
use handgrad_kernels::op::{cross_entropy, embedding};
use handgrad_kernels::view::{Mat, View, ViewMut};

/// Samples that pass through the network at a time: enough to keep the kernels busy, few enough to stay in cache.
const BLOCK: usize = 256;

/// A trained network for inference, with its own copy of the parameters and of the running statistics.
#[derive(Debug)]
pub struct Predictor {
    plan: Plan,
    exec: Exec,
    params: Buffer,
    running: Buffer,
    activations: Activations,
    losses: Buffer,
    scratch: Buffer,
}

impl Predictor {
    /// Copies what the trainer has learned so far.
    ///
    /// # Errors
    /// If there is no room for it.
    pub fn new(trainer: &Trainer) -> Result<Self> {
        let Trainer { plan, exec, params, running, .. } = trainer;
        let copy = |from: &Buffer| -> Result<Buffer> {
            let mut to = Buffer::zeros(from.len())?;
            to.copy_from_slice(from);
            Ok(to)
        };
        Ok(Self {
            activations: Activations::new(plan, BLOCK)?,
            losses: Buffer::zeros(BLOCK)?,
            scratch: Buffer::zeros(scratch_len(plan, exec, BLOCK))?,
            plan: plan.clone(),
            exec: exec.clone(),
            params: copy(params)?,
            running: copy(running)?,
        })
    }

    /// The outputs of any number of samples, row by row into `outputs` (`samples x outputs`).
    ///
    /// # Errors
    /// If the samples do not fit the model, or `outputs` has another length.
    pub fn predict<'a>(&mut self, x: impl Into<Inputs<'a>>, outputs: &mut [f32]) -> Result<()> {
        let (x, samples) = x.into().check(self.plan.input, usize::MAX)?;
        let width = self.plan.outputs();
        if outputs.len() != samples * width {
            return Err(mismatch("length of `outputs`", samples * width, outputs.len()));
        }
        let stages = self.plan.stages.len();
        for start in (0..samples).step_by(BLOCK) {
            let range = start..samples.min(start + BLOCK);
            let batch = range.len();
            let out = &mut outputs[range.start * width..range.end * width];
            self.forward(x, range, stages)?;
            let logits = rows(&self.activations.values[stages], batch, width)?;
            let out = handgrad_kernels::view::MatMut::new(out, batch, width)?;
            activation::forward(&self.exec, out, logits, Activation::Identity)?;
        }
        Ok(())
    }

    /// The mean loss over any number of samples.
    ///
    /// # Errors
    /// If samples or targets do not fit the model.
    pub fn loss<'a>(&mut self, x: impl Into<Inputs<'a>>, y: impl Into<Targets<'a>>) -> Result<f64> {
        let (x, samples) = x.into().check(self.plan.input, usize::MAX)?;
        let labels = y.into().check_labels(samples, self.plan.outputs())?;
        let stages = self.plan.stages.len();
        let mut sum = 0.0;
        for start in (0..samples).step_by(BLOCK) {
            let range = start..samples.min(start + BLOCK);
            self.forward(x, range.clone(), stages)?;
            let logits = rows(&self.activations.values[stages], range.len(), self.plan.outputs())?;
            let losses = &mut self.losses[..range.len()];
            let each = ViewMut::new(losses, &[range.len()])?;
            let config = cross_entropy::Config::default();
            let labels = View::new(&labels[range.clone()], &[range.len()])?;
            cross_entropy::forward(&self.exec, each, logits, labels, config, Reduction::None, &mut [])?;
            sum += losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
        }
        Ok(sum / samples as f64)
    }

    /// Passes a block of samples through the first `stages` stages.
    fn forward(&mut self, x: Samples<'_>, range: std::ops::Range<usize>, stages: usize) -> Result<()> {
        let Self { plan, exec, params, running, activations, scratch, .. } = self;
        let batch = range.len();
        let embcat = rows_mut(&mut activations.values[0], batch, plan.width)?;
        match (x, plan.embedding, plan.input) {
            (Samples::Tokens(tokens), Some(table), Input::Tokens { context, .. }) => {
                embedding::forward(
                    exec,
                    embcat,
                    table.mat(params)?,
                    &tokens[range.start * context..range.end * context],
                )?;
            }
            (Samples::Dense(x), ..) => activation::forward(exec, embcat, x.rows_at(range)?, Activation::Identity)?,
            (Samples::Tokens(_), ..) => unreachable!("tokens are refused by a model that has no table for them"),
        }
        for i in 0..stages {
            stage_forward(plan, exec, i, batch, params, Norms::Running(running), activations, scratch)?;
        }
        Ok(())
    }
}

/// Mean and sum of squared distances of each column, over the samples seen so far.
struct Moments {
    count: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    fn new(width: usize) -> Self {
        Self { count: 0.0, mean: vec![0.0; width], squares: vec![0.0; width] }
    }

    /// Joins a block of samples (Chan, Golub and `LeVeque` 1979).
    fn join(&mut self, x: Mat<'_>) {
        let (seen, new) = (self.count, x.rows() as f64);
        let total = seen + new;
        for (j, (mean, squares)) in self.mean.iter_mut().zip(&mut self.squares).enumerate() {
            let column = || (0..x.rows()).map(|i| x.get(i, j).map_or(f64::NAN, f64::from));
            let here = column().sum::<f64>() / new;
            let spread = column().map(|x| (x - here) * (x - here)).sum::<f64>();
            let distance = here - *mean;
            *mean += distance * new / total;
            *squares += spread + distance * distance * seen * new / total;
        }
        self.count = total;
    }
}

impl Trainer {
    /// Sets the running statistics of every normalisation to those of a whole set of samples, as the notebook does
    /// after training. The variance is the unbiased one.
    ///
    /// # Errors
    /// If the samples do not fit the model, or there are fewer than two.
    pub fn calibrate<'a>(&mut self, x: impl Into<Inputs<'a>>) -> Result<()> {
        let (x, samples) = x.into().check(self.plan.input, usize::MAX)?;
        if samples < 2 {
            return Err(mismatch("number of samples", "at least 2", samples));
        }
        // Stage by stage: what a normalisation sees depends on the statistics of those before it.
        let mut predictor = Predictor::new(self)?;
        for (i, stage) in self.plan.stages.iter().enumerate() {
            let Kind::BatchNorm { mean, var, .. } = stage.kind else { continue };
            let mut moments = Moments::new(stage.inputs);
            for start in (0..samples).step_by(BLOCK) {
                let range = start..samples.min(start + BLOCK);
                predictor.forward(x, range.clone(), i)?;
                moments.join(rows(&predictor.activations.values[i], range.len(), stage.inputs)?);
            }
            for j in 0..stage.inputs {
                predictor.running[mean.offset + j] = moments.mean[j] as f32;
                predictor.running[var.offset + j] = (moments.squares[j] / (moments.count - 1.0)) as f32;
            }
        }
        self.running.copy_from_slice(&predictor.running);
        Ok(())
    }
}
