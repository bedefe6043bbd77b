//! The training step: forward, backward, update, each a list of kernel calls. The backward list is the forward list
//! read upwards.

use crate::batch::{Inputs, Samples, Targets, mismatch};
use crate::error::Result;
use crate::init;
use crate::model::{BatchNorm, Input, Loss, Mlp, number, size};
use crate::plan::{Kind, Plan};
use crate::tensors::{Buffer, Slot, product, zeros};
use crate::workspace::{Activations, Gradients, rows, rows_mut, scratch_len, statistics, statistics_mut};
use handgrad_kernels::Exec;
use handgrad_kernels::gemm::Accum;
use handgrad_kernels::op::activation::{self, Activation};
use handgrad_kernels::op::{batch_norm, cross_entropy, embedding, linear, loss};
use handgrad_kernels::optim::sgd;
use handgrad_kernels::view::{Mat, MatMut};
use std::ops::Range;

/// How a network is trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// The most samples in a batch; smaller batches are allowed.
    pub max_batch: usize,
    /// The learning rate to begin with.
    pub lr: f32,
    /// The seed of the initial parameters.
    pub seed: u64,
    /// Whether the backward pass also gives the gradient of a dense input. That of the embedded tokens is always there.
    pub input_gradient: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_batch: 32, lr: 0.1, seed: 0, input_gradient: false }
    }
}

/// A network with its parameters, its gradients and all memory that training it takes.
///
/// [`step`](Trainer::step) does a whole step. [`forward`](Trainer::forward), [`backward`](Trainer::backward) and
/// [`update`](Trainer::update) do the same, bit for bit, with the gradients there to be looked at in between, and
/// [`backward_with`](Trainer::backward_with) takes a loss of the user's own. Nothing is allocated after `new`. A batch
/// that is refused leaves the trainer as it was.
#[derive(Debug)]
pub struct Trainer {
    pub(crate) plan: Plan,
    pub(crate) exec: Exec,
    loss: Loss,
    pub(crate) max_batch: usize,
    pub(crate) lr: f32,
    pub(crate) input_gradient: bool,
    pub(crate) params: Buffer,
    pub(crate) running: Buffer,
    pub(crate) grads: Buffer,
    /// The tokens of the batch, for the scatter back into the embedding.
    tokens: Vec<i64>,
    pub(crate) activations: Activations,
    pub(crate) gradients: Gradients,
    scratch: Buffer,
    pub(crate) phase: Phase,
}

/// How far the current batch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No batch, or its parameters are updated.
    Idle,
    /// Outputs are there, of this many samples.
    Forward(usize),
    /// Outputs and gradients are there.
    Backward(usize),
    /// A whole step was done, its gradients used up where they arose.
    Fused(usize),
}

/// What becomes of the parameters' gradients.
#[derive(Clone, Copy, Debug)]
enum Destination {
    /// They are written down.
    Grads,
    /// They go straight into the parameters, with this learning rate.
    Params(f32),
}

impl Trainer {
    /// Checks the model, allocates everything and initialises the parameters as PyTorch does.
    ///
    /// # Errors
    /// Names the place and the field at fault.
    pub fn new(mlp: &Mlp, options: Options, exec: &Exec) -> Result<Self> {
        let Options { max_batch, lr, seed, input_gradient } = options;
        let plan = Plan::new(mlp)?;
        if max_batch == 0 {
            return Err(size("options", "max_batch", "at least 1", 0));
        }
        check_lr(lr)?;
        let context = if let Input::Tokens { context, .. } = plan.input { context } else { 0 };
        let mut trainer = Self {
            exec: exec.clone(),
            loss: mlp.loss,
            max_batch,
            lr,
            input_gradient,
            params: Buffer::zeros(plan.params.len())?,
            running: Buffer::zeros(plan.running.len())?,
            grads: Buffer::zeros(plan.params.len())?,
            tokens: zeros(product(max_batch, context)?)?,
            activations: Activations::new(&plan, max_batch)?,
            gradients: Gradients::new(&plan, max_batch, input_gradient || context > 0)?,
            scratch: Buffer::zeros(scratch_len(&plan, exec, max_batch))?,
            plan,
            phase: Phase::Idle,
        };
        init::pytorch_defaults(&mut trainer, seed)?;
        Ok(trainer)
    }

    /// One step on a batch: forward, backward and update, with each gradient used where it arises. Returns the loss.
    ///
    /// # Errors
    /// If the batch does not fit the model.
    pub fn step<'a>(&mut self, x: impl Into<Inputs<'a>>, y: impl Into<Targets<'a>>) -> Result<f32> {
        let (x, batch) = x.into().check(self.plan.input, self.max_batch)?;
        let y = y.into().check_labels(batch, self.plan.outputs())?;
        self.check_norms(batch)?;
        self.forward_pass(x, batch)?;
        let loss = self.loss_pass(y, batch)?;
        self.backward_pass(batch, Destination::Params(self.lr))?;
        self.phase = Phase::Fused(batch);
        Ok(loss)
    }

    /// The outputs of a batch, `batch x outputs`, with statistics of the batch itself where it is normalised.
    ///
    /// # Errors
    /// If the batch does not fit the model.
    pub fn forward<'a>(&mut self, x: impl Into<Inputs<'a>>) -> Result<Mat<'_>> {
        let (x, batch) = x.into().check(self.plan.input, self.max_batch)?;
        self.check_norms(batch)?;
        self.forward_pass(x, batch)?;
        self.phase = Phase::Forward(batch);
        self.outputs()
    }

    /// The loss of the last forward pass against its targets, and the gradients of all parameters.
    ///
    /// # Errors
    /// If there was no forward pass since the last update, or the targets do not fit it.
    pub fn backward<'a>(&mut self, y: impl Into<Targets<'a>>) -> Result<f32> {
        let batch = self.forward_batch()?;
        let y = y.into().check_labels(batch, self.plan.outputs())?;
        let loss = self.loss_pass(y, batch)?;
        self.backward_pass(batch, Destination::Grads)?;
        self.phase = Phase::Backward(batch);
        Ok(loss)
    }

    /// The gradients of all parameters from the gradient of a loss of the user's own in the outputs,
    /// `batch x outputs` with any strides.
    ///
    /// # Errors
    /// If there was no forward pass since the last update, or the shape is another.
    pub fn backward_with(&mut self, d_outputs: Mat<'_>) -> Result<()> {
        let batch = self.forward_batch()?;
        let want = (batch, self.plan.outputs());
        if (d_outputs.rows(), d_outputs.cols()) != want {
            let got = format!("{}x{}", d_outputs.rows(), d_outputs.cols());
            return Err(mismatch("gradient of the outputs", format!("{}x{}", want.0, want.1), got));
        }
        let d = rows_mut(&mut self.gradients.flow[0], batch, want.1)?;
        let y = rows(&self.activations.values[self.plan.stages.len()], batch, want.1)?;
        activation::backward(&self.exec, d, d_outputs, y, self.plan.activation_before(self.plan.stages.len()))?;
        self.backward_pass(batch, Destination::Grads)?;
        self.phase = Phase::Backward(batch);
        Ok(())
    }

    /// Moves the parameters against their gradients.
    ///
    /// # Errors
    /// If there was no backward pass since the last update.
    pub fn update(&mut self) -> Result<()> {
        self.backward_batch("gradients")?;
        sgd::update(&self.exec, &mut self.params, &self.grads, self.lr)?;
        self.phase = Phase::Idle;
        Ok(())
    }

    /// Refuses a batch whose normalisation is not defined: one sample has no variance.
    fn check_norms(&self, batch: usize) -> Result<()> {
        let normalises = self.plan.stages.iter().any(|stage| matches!(stage.kind, Kind::BatchNorm { .. }));
        if normalises && batch < 2 {
            return Err(mismatch("number of samples", "at least 2 where a batch is normalised", batch));
        }
        Ok(())
    }

    /// Everything up to the outputs.
    fn forward_pass(&mut self, x: Samples<'_>, batch: usize) -> Result<()> {
        let Self { plan, exec, params, running, activations, scratch, tokens, .. } = self;
        self.phase = Phase::Idle;
        let embcat = rows_mut(&mut activations.values[0], batch, plan.width)?;
        match (x, plan.embedding) {
            (Samples::Tokens(x), Some(table)) => {
                tokens[..x.len()].copy_from_slice(x);
                embedding::forward(exec, embcat, table.mat(params)?, x)?;
            }
            (Samples::Dense(x), _) => activation::forward(exec, embcat, x, Activation::Identity)?,
            (Samples::Tokens(_), None) => unreachable!("tokens are refused by a model that has no table for them"),
        }
        for i in 0..plan.stages.len() {
            stage_forward(plan, exec, i, batch, params, Norms::Batch(running), activations, scratch)?;
        }
        Ok(())
    }

    /// The mean loss, leaving its gradient in the outputs in `flow[0]`.
    fn loss_pass(&mut self, y: &[i64], batch: usize) -> Result<f32> {
        let Self { plan, exec, activations, gradients: Gradients { flow, losses }, loss, .. } = self;
        let outputs = plan.outputs();
        let last = plan.stages.len();
        let logits = rows(&activations.values[last], batch, outputs)?;
        let losses = &mut losses[..batch];
        match loss {
            Loss::CrossEntropy => {
                let dlogits = rows_mut(&mut flow[0], batch, outputs)?;
                let (each, config) = (1.0 / batch as f32, cross_entropy::Config::default());
                cross_entropy::forward_backward(exec, losses, dlogits, each, logits, y, None, config)?;
            }
        }
        let through = plan.activation_before(last);
        if through != Activation::Identity {
            let (d, copy) = flow.split_at_mut(1);
            let d_outputs = rows(&d[0], batch, outputs)?;
            activation::backward(exec, rows_mut(&mut copy[0], batch, outputs)?, d_outputs, logits, through)?;
            flow.swap(0, 1);
        }
        Ok(loss::mean(exec, losses, batch as f32))
    }

    /// From the gradient of the outputs in `flow[0]` to those of all parameters. Each stage reads its weights before it
    /// changes them.
    fn backward_pass(&mut self, batch: usize, destination: Destination) -> Result<()> {
        let Self { plan, exec, params, grads, activations, gradients, scratch, tokens, .. } = self;
        let flow = &mut gradients.flow;
        for (i, stage) in plan.stages.iter().enumerate().rev() {
            let through = plan.activation_before(i);
            let wanted = i > 0 || plan.embedding.is_some() || self.input_gradient;
            let [dy, dx] = flow;
            let dy = rows(dy, batch, stage.outputs)?;
            let x = rows(&activations.values[i], batch, stage.inputs)?;
            match stage.kind {
                Kind::Linear { weight, bias } => {
                    if wanted {
                        let dx = rows_mut(dx, batch, stage.inputs)?;
                        linear::backward_input(exec, dx, dy, weight.mat(params)?, through, x, scratch)?;
                    }
                    linear_params(exec, destination, [params, grads], weight, bias, dy, x, scratch)?;
                }
                Kind::BatchNorm { weight, bias, config, .. } => {
                    let dx = rows_mut(dx, batch, stage.inputs)?;
                    let saved = statistics(&activations.statistics[i], stage.outputs);
                    let [dgamma, dbeta] = two_slots(grads, weight, bias)?;
                    let out = batch_norm::Grads { dx, dgamma, dbeta };
                    let gamma = weight.mat(params)?;
                    let config = norm_config(config);
                    batch_norm::backward(exec, out, Accum::Replace, dy, x, saved, gamma, config, through, scratch)?;
                    descend(exec, destination, params, grads, weight.offset..bias.range().end)?;
                }
                Kind::Activation => {
                    activation::backward(exec, rows_mut(dx, batch, stage.inputs)?, dy, x, through)?;
                }
            }
            flow.swap(0, 1);
        }
        if let Some(table) = plan.embedding {
            let dembcat = rows(&flow[0], batch, plan.width)?;
            let tokens = &tokens[..batch * (plan.width / table.cols)];
            embedding::backward(exec, table.mat_mut(grads)?, Accum::Replace, dembcat, tokens)?;
            descend(exec, destination, params, grads, table.range())?;
        }
        Ok(())
    }
}

/// Where a normalisation takes its statistics from.
pub(crate) enum Norms<'a> {
    /// From the batch, which then joins the running statistics.
    Batch(&'a mut Buffer),
    /// From the running statistics.
    Running(&'a Buffer),
}

/// Stage `i`: its value from the value before it.
pub(crate) fn stage_forward(
    plan: &Plan,
    exec: &Exec,
    i: usize,
    batch: usize,
    params: &[f32],
    norms: Norms<'_>,
    activations: &mut Activations,
    scratch: &mut [f32],
) -> Result<()> {
    let stage = plan.stages[i];
    let (before, after) = activations.values.split_at_mut(i + 1);
    let x = rows(&before[i], batch, stage.inputs)?;
    let y = rows_mut(&mut after[0], batch, stage.outputs)?;
    match stage.kind {
        Kind::Linear { weight, bias } => {
            let bias = bias.map(|bias| bias.mat(params)).transpose()?;
            linear::forward(exec, y, x, weight.mat(params)?, bias, stage.activation, scratch)?;
        }
        Kind::BatchNorm { weight, bias, mean, var, config } => {
            let (gamma, beta) = (weight.mat(params)?, bias.mat(params)?);
            let mut statistics = statistics_mut(&mut activations.statistics[i], stage.outputs);
            match norms {
                Norms::Batch(running) => {
                    let kernel = norm_config(config);
                    batch_norm::forward(exec, y, statistics.reborrow(), x, gamma, beta, kernel, stage.activation)?;
                    if config.momentum > 0.0 {
                        let [mean, var] = two_slots(running, mean, var)?;
                        let batch = statistics.as_saved();
                        batch_norm::update_running(exec, mean, var, batch, x.rows(), kernel, config.momentum)?;
                    }
                }
                Norms::Running(running) => {
                    batch_norm::set_statistics(
                        exec,
                        &mut statistics,
                        mean.mat(running)?,
                        var.mat(running)?,
                        config.eps,
                    )?;
                    batch_norm::forward_with(exec, y, statistics.as_saved(), x, gamma, beta, stage.activation)?;
                }
            }
        }
        Kind::Activation => activation::forward(exec, y, x, stage.activation)?,
    }
    Ok(())
}

/// The gradients of a linear layer's parameters, or the descent along them.
fn linear_params(
    exec: &Exec,
    destination: Destination,
    [params, grads]: [&mut Buffer; 2],
    weight: Slot,
    bias: Option<Slot>,
    dy: Mat<'_>,
    x: Mat<'_>,
    scratch: &mut [f32],
) -> Result<()> {
    let buffer = match destination {
        Destination::Grads => grads,
        Destination::Params(_) => params,
    };
    let (w, b) = match bias {
        Some(bias) => {
            let [w, b] = two_slots(buffer, weight, bias)?;
            (w, Some(b))
        }
        None => (weight.mat_mut(buffer)?, None),
    };
    match destination {
        Destination::Grads => {
            linear::backward_params(exec, linear::Grads { dw: w, db: b }, Accum::Replace, dy, x, scratch)?;
        }
        Destination::Params(lr) => linear::backward_sgd(exec, w, b, lr, dy, x, scratch)?,
    }
    Ok(())
}

/// Moves the parameters of a range against gradients that were written down, if that is where they are to go.
fn descend(
    exec: &Exec,
    destination: Destination,
    params: &mut [f32],
    grads: &[f32],
    range: Range<usize>,
) -> Result<()> {
    if let Destination::Params(lr) = destination {
        sgd::update(exec, &mut params[range.clone()], &grads[range], lr)?;
    }
    Ok(())
}

/// Two tensors of one buffer, the first before the second.
fn two_slots(buffer: &mut [f32], first: Slot, second: Slot) -> handgrad_kernels::Result<[MatMut<'_>; 2]> {
    let (head, tail) = buffer.split_at_mut(second.offset);
    let second = Slot { offset: 0, ..second };
    Ok([first.mat_mut(head)?, second.mat_mut(tail)?])
}

fn norm_config(config: BatchNorm) -> batch_norm::Config {
    batch_norm::Config { eps: config.eps, variance: config.variance }
}

pub(crate) fn check_lr(lr: f32) -> Result<()> {
    if lr.is_finite() { Ok(()) } else { Err(number("options".to_owned(), "lr", "finite", lr)) }
}
