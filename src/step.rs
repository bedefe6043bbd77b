//! The training step: forward, backward, update, each a list of kernel calls. The backward list is the forward list
//! read upwards.

use crate::batch::{Goal, Inputs, Samples, Targets, mismatch};
use crate::error::{Error, Result};
use crate::init;
use crate::model::{Input, Loss, Mlp, number, size};
use crate::optimizer::{Group, Optimizer, Rule};
use crate::plan::{Plan, Stage};
use crate::schedule::Schedule;
use crate::stage::{self, Context, Destination, Mode};
use crate::tensors::{Buffer, Tensor, product, zeros};
use crate::workspace::{Activations, Gradients, Purpose, rows, rows_mut, scratch_len};
use handgrad_kernels::Exec;
use handgrad_kernels::gemm::Accum;
use handgrad_kernels::op::activation::{self, Activation};
use handgrad_kernels::op::{embedding, loss};
use handgrad_kernels::optim::{self, Step};
use handgrad_kernels::view::{Mat, View};

/// How a network is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The most samples in a batch; smaller batches are allowed.
    pub max_batch: usize,
    /// The learning rate to begin with.
    pub lr: f32,
    /// The seed of the initial parameters and of dropout.
    pub seed: u64,
    /// The rule by which parameters follow their gradients.
    pub optimizer: Optimizer,
    /// How the learning rate moves from update to update.
    pub schedule: Schedule,
    /// The greatest norm of all gradients together, if there is one: longer ones are shortened to it.
    pub clip_grad_norm: Option<f32>,
    /// Parameters that are updated in another way than the rest.
    pub groups: Vec<Group>,
    /// Whether the backward pass also gives the gradient of a dense input. That of the embedded tokens is always there.
    pub input_gradient: bool,
    /// Whether [`step`](Trainer::step) stops with [`Error::NotFinite`](crate::Error::NotFinite) instead of updating where
    /// the loss or a gradient is NaN or infinite; parameters, statistics and the optimiser's memory are then as before. It
    /// costs a look at all gradients, and without it such a number goes where the formulas take it.
    pub stop_at_non_finite: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_batch: 32,
            lr: 0.1,
            seed: 0,
            optimizer: Optimizer::default(),
            schedule: Schedule::Constant,
            clip_grad_norm: None,
            groups: Vec::new(),
            input_gradient: false,
            stop_at_non_finite: false,
        }
    }
}

/// A network with its parameters, its gradients and all memory that training it takes.
///
/// [`step`](Trainer::step) does a whole step. [`forward`](Trainer::forward), [`backward`](Trainer::backward) and
/// [`update`](Trainer::update) do the same, bit for bit, with the gradients there to be looked at or changed in between,
/// [`accumulate`](Trainer::accumulate) adds up those of several batches, and [`backward_with`](Trainer::backward_with)
/// takes a loss of the user's own. Nothing is allocated after `new`. A batch that is refused leaves the trainer as it was.
#[derive(Debug)]
pub struct Trainer {
    pub(crate) plan: Plan,
    pub(crate) exec: Exec,
    pub(crate) loss: Loss,
    pub(crate) max_batch: usize,
    pub(crate) lr: f32,
    pub(crate) seed: u64,
    pub(crate) schedule: Schedule,
    pub(crate) clip_grad_norm: Option<f32>,
    pub(crate) input_gradient: bool,
    pub(crate) params: Buffer,
    pub(crate) running: Buffer,
    /// The running statistics before the step, if it may be stopped.
    kept_running: Option<Buffer>,
    pub(crate) grads: Buffer,
    pub(crate) rule: Rule,
    /// The tokens of the batch, for the scatter back into the embedding.
    tokens: Vec<i64>,
    pub(crate) activations: Activations,
    pub(crate) gradients: Gradients,
    scratch: Buffer,
    pub(crate) phase: Phase,
    /// Whether gradients of batches since the last update stand, to be added to.
    accumulated: bool,
    /// Updates done.
    pub(crate) updates: u64,
    /// Forward passes done, which tell the masks of dropout apart.
    pub(crate) passes: u64,
    pub(crate) grad_norm: Option<f32>,
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
    /// A whole step was done, its gradients used up.
    Stepped(usize),
}

impl Trainer {
    /// Checks the model, allocates everything and initialises the parameters.
    ///
    /// # Errors
    /// Names the place and the field at fault.
    pub fn new(mlp: &Mlp, options: Options, exec: &Exec) -> Result<Self> {
        let Options { max_batch, lr, seed, optimizer, schedule, clip_grad_norm, groups, .. } = options;
        let Options { input_gradient, stop_at_non_finite, .. } = options;
        let plan = Plan::new(mlp)?;
        if max_batch == 0 {
            return Err(size("options", "max_batch", "at least 1", 0));
        }
        check_lr(lr)?;
        schedule.check()?;
        if let Some(norm) = clip_grad_norm
            && (norm.is_nan() || norm <= 0.0)
        {
            return Err(number("options", "clip_grad_norm", "positive", norm));
        }
        let context = if let Input::Tokens { context, .. } = plan.input { context } else { 0 };
        let mut trainer = Self {
            exec: exec.clone(),
            loss: mlp.loss.clone(),
            max_batch,
            lr,
            seed,
            schedule,
            clip_grad_norm,
            input_gradient,
            params: Buffer::zeros(plan.params.len())?,
            running: Buffer::zeros(plan.running.len())?,
            kept_running: if stop_at_non_finite { Some(Buffer::zeros(plan.running.len())?) } else { None },
            grads: Buffer::zeros(plan.params.len())?,
            rule: Rule::new(optimizer, &groups, &plan, exec)?,
            tokens: zeros(product(max_batch, context)?)?,
            activations: Activations::new(&plan, max_batch, Purpose::Training)?,
            gradients: Gradients::new(&plan, max_batch, input_gradient || context > 0)?,
            scratch: Buffer::zeros(scratch_len(&plan, exec, max_batch))?,
            plan,
            phase: Phase::Idle,
            accumulated: false,
            updates: 0,
            passes: 0,
            grad_norm: None,
        };
        init::parameters(&trainer.plan, &mut trainer.params, &mut trainer.running, seed)?;
        Ok(trainer)
    }

    /// One step on a batch: forward, backward and update. Returns the loss. Plain gradient descent uses each gradient where
    /// it arises, with the same bits.
    ///
    /// # Errors
    /// If the batch does not fit the model.
    pub fn step<'a>(&mut self, x: impl Into<Inputs<'a>>, y: impl Into<Targets<'a>>) -> Result<f32> {
        let (x, batch) = self.check_inputs(x.into())?;
        let y = y.into().check(&self.loss, batch, self.plan.outputs())?;
        if let Some(kept) = &mut self.kept_running {
            kept.copy_from_slice(&self.running);
        }
        self.forward_pass(x, batch)?;
        let loss = self.loss_pass(y, batch, 1.0)?;
        if self.kept_running.is_some() {
            self.backward_pass(batch, Destination::Grads(Accum::Replace))?;
            self.expect_finite(loss, batch)?;
            self.update_pass()?;
        } else if self.rule.is_plain() && self.clip_grad_norm.is_none() {
            self.backward_pass(batch, Destination::Params(self.lr()))?;
            self.grad_norm = None;
            self.updates += 1;
        } else {
            self.backward_pass(batch, Destination::Grads(Accum::Replace))?;
            self.update_pass()?;
        }
        self.accumulated = false;
        self.phase = Phase::Stepped(batch);
        Ok(loss)
    }

    /// One step with a look at the gradients, or a change of them, between the backward pass and the update: what the
    /// all-reduce of several processes needs. They are laid out as [`grads`](Trainer::grads) says, and what lies between
    /// their rows must stay zero. If `hook` panics, the parameters are as they were and the gradients stand.
    ///
    /// # Errors
    /// As [`step`](Trainer::step).
    pub fn step_with<'a>(
        &mut self,
        x: impl Into<Inputs<'a>>,
        y: impl Into<Targets<'a>>,
        hook: impl FnOnce(&mut [f32]),
    ) -> Result<f32> {
        let (x, y) = (x.into(), y.into());
        self.check(x, y)?;
        self.forward(x)?;
        let loss = self.backward(y)?;
        hook(self.grads_mut()?);
        self.update()?;
        Ok(loss)
    }

    /// The outputs of a batch, `batch x outputs`, with statistics of the batch itself where it is normalised.
    ///
    /// # Errors
    /// If the batch does not fit the model.
    pub fn forward<'a>(&mut self, x: impl Into<Inputs<'a>>) -> Result<Mat<'_>> {
        let (x, batch) = self.check_inputs(x.into())?;
        self.forward_pass(x, batch)?;
        self.phase = Phase::Forward(batch);
        self.outputs()
    }

    /// The loss of the last forward pass against its targets, and the gradients of all parameters.
    ///
    /// # Errors
    /// If there was no forward pass since the last update, or the targets do not fit it.
    pub fn backward<'a>(&mut self, y: impl Into<Targets<'a>>) -> Result<f32> {
        self.backward_share(y.into(), 1.0, Accum::Replace)
    }

    /// As [`backward`](Trainer::backward), but adds `share` times the gradients to those that stand since the last update:
    /// with `share = 1/n` after each of `n` forward passes, the gradients of the mean of `n` losses. Returns the loss, not
    /// its share.
    ///
    /// # Errors
    /// As [`backward`](Trainer::backward).
    pub fn accumulate<'a>(&mut self, y: impl Into<Targets<'a>>, share: f32) -> Result<f32> {
        let accum = if self.accumulated { Accum::Add } else { Accum::Replace };
        self.backward_share(y.into(), share, accum)
    }

    fn backward_share(&mut self, y: Targets<'_>, share: f32, accum: Accum) -> Result<f32> {
        let batch = self.forward_batch()?;
        let y = y.check(&self.loss, batch, self.plan.outputs())?;
        let loss = self.loss_pass(y, batch, share)?;
        self.backward_pass(batch, Destination::Grads(accum))?;
        self.accumulated = true;
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
        let (through, saved) = self.activations.through(&self.plan, self.plan.stages.len(), batch)?;
        activation::backward(&self.exec, d, d_outputs, saved, through)?;
        self.backward_pass(batch, Destination::Grads(Accum::Replace))?;
        self.accumulated = true;
        self.phase = Phase::Backward(batch);
        Ok(())
    }

    /// Moves the parameters against their gradients, by the optimiser, with the learning rate of the schedule.
    ///
    /// # Errors
    /// If there was no backward pass since the last update.
    pub fn update(&mut self) -> Result<()> {
        self.backward_batch("gradients")?;
        self.update_pass()?;
        self.accumulated = false;
        self.phase = Phase::Idle;
        Ok(())
    }

    /// Forgets what a batch has left.
    pub(crate) fn forget(&mut self) {
        self.phase = Phase::Idle;
        self.accumulated = false;
        self.grad_norm = None;
    }

    /// The number of samples of a batch that a step would accept.
    pub(crate) fn check(&self, x: Inputs<'_>, y: Targets<'_>) -> Result<usize> {
        let (_, batch) = self.check_inputs(x)?;
        y.check(&self.loss, batch, self.plan.outputs())?;
        Ok(batch)
    }

    /// The samples of a batch and how many there are. One sample has no variance to be normalised by.
    fn check_inputs<'a>(&self, x: Inputs<'a>) -> Result<(Samples<'a>, usize)> {
        let (x, batch) = x.check(self.plan.input, self.max_batch)?;
        if batch < 2 && self.plan.stages.iter().any(Stage::is_batch_norm) {
            return Err(mismatch("number of samples", "at least 2 where a batch is normalised", batch));
        }
        Ok((x, batch))
    }

    /// Stops a step whose loss or gradients are not finite, and takes back what its forward pass has changed.
    fn expect_finite(&mut self, loss: f32, batch: usize) -> Result<()> {
        if loss.is_finite() && self.grads.iter().all(|d| d.is_finite()) {
            return Ok(());
        }
        let Self { plan, activations, grads, .. } = &*self;
        let value = |number: &usize| {
            let value = activations.value(plan, *number, batch).map(View::from);
            value.is_ok_and(|value| value.iter().any(|x| !x.is_finite()))
        };
        let grad = |tensor: &&Tensor| !grads[tensor.slot.range()].iter().all(|d| d.is_finite());
        let tensor = match (0..plan.widths.len()).find(value) {
            Some(0) => "the input".to_owned(),
            Some(number) => format!("the output of {}", plan.makers[number]),
            None if !loss.is_finite() => "the loss".to_owned(),
            // Gradients arise from the last layer to the first.
            None => plan
                .params
                .iter()
                .filter(grad)
                .last()
                .map_or_else(String::new, |tensor| format!("the gradient of {}", tensor.name)),
        };
        if let Some(kept) = &self.kept_running {
            self.running.copy_from_slice(kept);
        }
        self.passes -= 1;
        self.forget();
        Err(Error::NotFinite { tensor })
    }

    /// Everything up to the outputs.
    fn forward_pass(&mut self, x: Samples<'_>, batch: usize) -> Result<()> {
        let Self { plan, exec, params, running, activations, scratch, tokens, seed, .. } = self;
        self.phase = Phase::Idle;
        self.passes += 1;
        if let Samples::Tokens(x) = x {
            tokens[..x.len()].copy_from_slice(x);
        }
        embed(plan, exec, params, x, batch, activations)?;
        let mut mode = Mode::Training { running, seed: *seed, pass: self.passes };
        for i in 0..plan.stages.len() {
            stage::forward(plan, exec, i, batch, params, &mut mode, activations, scratch)?;
        }
        Ok(())
    }

    /// The mean loss, leaving in `flow[0]` the gradient of `share` times it in the outputs, through their activation.
    fn loss_pass(&mut self, y: Goal<'_>, batch: usize, share: f32) -> Result<f32> {
        let Self { plan, exec, activations, gradients: Gradients { flow, losses, .. }, loss, .. } = self;
        let (outputs, losses) = (plan.outputs(), &mut losses[..batch]);
        let total = loss.total(exec, y, batch)?;
        let d_outputs = rows_mut(&mut flow[0], batch, outputs)?;
        let values = activations.value(plan, plan.widths.len() - 1, batch)?;
        loss.forward_backward(exec, losses, d_outputs, share / total, values, y)?;
        let (through, saved) = activations.through(plan, plan.stages.len(), batch)?;
        if through != Activation::Identity {
            activation::backward_in_place(exec, rows_mut(&mut flow[0], batch, outputs)?, saved, through)?;
        }
        Ok(loss::mean(exec, losses, total))
    }

    /// From the gradient of the outputs in `flow[0]` to those of all parameters.
    fn backward_pass(&mut self, batch: usize, destination: Destination) -> Result<()> {
        let Self { plan, exec, params, grads, activations, gradients, scratch, tokens, .. } = self;
        let input_wanted = plan.embedding.is_some() || self.input_gradient;
        let (seed, pass) = (self.seed, self.passes);
        let context = Context { plan, exec, activations, batch, input_wanted, destination, seed, pass };
        for i in (0..plan.stages.len()).rev() {
            stage::backward(context, i, params, grads, gradients, scratch)?;
        }
        if let Some(table) = plan.embedding {
            let dembcat = rows(&gradients.flow[0], batch, plan.width())?;
            let tokens = &tokens[..batch * (plan.width() / table.cols)];
            embedding::backward(exec, table.mat_mut(grads)?, destination.accum(), dembcat, tokens)?;
            stage::descend(exec, destination, params, grads, table.range())?;
        }
        Ok(())
    }

    /// Clips the gradients and takes one step of the optimiser.
    fn update_pass(&mut self) -> Result<()> {
        let lr = self.lr();
        let scale = match self.clip_grad_norm {
            None => 1.0,
            Some(most) => {
                let norm = optim::global_norm(&self.exec, &self.grads);
                self.grad_norm = Some(norm);
                optim::clip_scale(norm, most)
            }
        };
        let step = Step { lr, scale, number: self.updates + 1 };
        self.rule.update(&self.exec, &mut self.params, &self.grads, step)?;
        self.updates += 1;
        Ok(())
    }
}

/// The first value: the samples, or the embeddings of their tokens side by side.
pub(crate) fn embed(
    plan: &Plan,
    exec: &Exec,
    params: &[f32],
    x: Samples<'_>,
    batch: usize,
    activations: &mut Activations,
) -> Result<()> {
    let first = rows_mut(&mut activations.values[0], batch, plan.width())?;
    match (x, plan.embedding) {
        (Samples::Tokens(x), Some(table)) => embedding::forward(exec, first, table.mat(params)?, x)?,
        (Samples::Dense(x), _) => activation::forward(exec, first, x, Activation::Identity)?,
        (Samples::Tokens(_), None) => unreachable!("tokens are refused by a model that has no table for them"),
    }
    Ok(())
}

pub(crate) fn check_lr(lr: f32) -> Result<()> {
    if lr.is_finite() { Ok(()) } else { Err(number("options", "lr", "finite", lr)) }
}
