//! What can be asked of a trainer between its passes: parameters, gradients, outputs, statistics.

use crate::error::{Error, Result};
use crate::step::{Phase, Trainer, check_lr};
use crate::workspace::rows;
use handgrad_kernels::Exec;
use handgrad_kernels::optim;
use handgrad_kernels::view::{Mat, View, ViewMut};

impl Trainer {
    /// The names of the parameters, in the order of the flat buffer.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.plan.params.iter().map(|tensor| tensor.name.as_str())
    }

    /// A parameter by its name, with PyTorch's shape: a linear `weight` is `[outputs, inputs]` (its transpose is the
    /// notebook's `W`), other vectors have one axis.
    ///
    /// # Errors
    /// If there is no parameter of this name.
    pub fn param(&self, name: &str) -> Result<View<'_>> {
        self.plan.params.view(name, &self.params)
    }

    /// A parameter, to be written.
    ///
    /// # Errors
    /// As [`param`](Trainer::param).
    pub fn param_mut(&mut self, name: &str) -> Result<ViewMut<'_>> {
        self.plan.params.view_mut(name, &mut self.params)
    }

    /// The gradient of a parameter, with the parameter's shape.
    ///
    /// # Errors
    /// If there is no parameter of this name, or there are no gradients: they are there from
    /// [`backward`](Trainer::backward) to [`update`](Trainer::update), and never after a fused
    /// [`step`](Trainer::step).
    pub fn grad(&self, name: &str) -> Result<View<'_>> {
        self.backward_batch("gradients")?;
        self.plan.params.view(name, &self.grads)
    }

    /// All gradients as one flat slice, in the order of [`names`](Trainer::names). Rows begin at multiples of 16 floats;
    /// what lies between them is zero. The weights of a linear layer lie as `inputs x outputs`, or, with fewer than 48
    /// outputs and more inputs than that, as `outputs x inputs`.
    ///
    /// # Errors
    /// As [`grad`](Trainer::grad).
    pub fn grads(&self) -> Result<&[f32]> {
        self.backward_batch("gradients")?;
        Ok(&self.grads)
    }

    /// All gradients, to be changed before the update. What lies between the rows must stay zero.
    ///
    /// # Errors
    /// As [`grad`](Trainer::grad).
    pub fn grads_mut(&mut self) -> Result<&mut [f32]> {
        self.backward_batch("gradients")?;
        Ok(&mut self.grads)
    }

    /// All parameters as one flat slice, laid out as [`grads`](Trainer::grads).
    #[must_use]
    pub fn params(&self) -> &[f32] {
        &self.params
    }

    /// The names of the running statistics.
    pub fn running_names(&self) -> impl Iterator<Item = &str> {
        self.plan.running.iter().map(|tensor| tensor.name.as_str())
    }

    /// A running statistic by its name, such as `layers.1.running_mean`.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn running(&self, name: &str) -> Result<View<'_>> {
        self.plan.running.view(name, &self.running)
    }

    /// The outputs of the last forward pass, `batch x outputs`.
    ///
    /// # Errors
    /// If there was none since the last update.
    pub fn outputs(&self) -> Result<Mat<'_>> {
        let (Phase::Forward(batch) | Phase::Backward(batch) | Phase::Stepped(batch)) = self.phase else {
            return Err(not_available("outputs", "call `forward` first"));
        };
        Ok(self.activations.value(&self.plan, self.plan.widths.len() - 1, batch)?)
    }

    /// The gradient of the last batch's input, `batch x features`; for tokens, of their embeddings side by side
    /// (`embcat`).
    ///
    /// # Errors
    /// If there was no backward pass since the last update, or the input is dense and
    /// [`input_gradient`](crate::Options::input_gradient) was not asked for.
    pub fn d_input(&self) -> Result<Mat<'_>> {
        let batch = match self.phase {
            Phase::Stepped(batch) | Phase::Backward(batch) => batch,
            Phase::Idle | Phase::Forward(_) => {
                return Err(not_available("gradient of the input", "call `backward` first"));
            }
        };
        if self.plan.embedding.is_none() && !self.input_gradient {
            return Err(not_available("gradient of the input", "set `input_gradient` in the options"));
        }
        Ok(rows(&self.gradients.flow[0], batch, self.plan.width())?)
    }

    /// The learning rate of the next update: that of the options, or of [`set_lr`](Trainer::set_lr), moved by the schedule.
    #[must_use]
    pub fn lr(&self) -> f32 {
        self.schedule.lr(self.lr, self.updates)
    }

    /// Sets the learning rate that the schedule moves.
    ///
    /// # Errors
    /// If it is not finite.
    pub fn set_lr(&mut self, lr: f32) -> Result<()> {
        check_lr(lr)?;
        self.lr = lr;
        Ok(())
    }

    /// How many updates were done.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The norm of all gradients together before they were clipped in the last update, if they are clipped.
    #[must_use]
    pub fn clipped_norm(&self) -> Option<f32> {
        self.grad_norm
    }

    /// What is run for a step, one line a kernel call: which activations are applied on the way.
    #[must_use]
    pub fn plan(&self) -> impl std::fmt::Display + '_ {
        &self.plan
    }

    /// The norm of all gradients together.
    ///
    /// # Errors
    /// As [`grad`](Trainer::grad).
    pub fn grad_norm(&self) -> Result<f32> {
        Ok(optim::global_norm(&self.exec, self.grads()?))
    }

    /// What runs the kernels.
    #[must_use]
    pub fn exec(&self) -> &Exec {
        &self.exec
    }

    /// The most samples in a batch.
    #[must_use]
    pub fn max_batch(&self) -> usize {
        self.max_batch
    }

    /// The width of the outputs.
    #[must_use]
    pub fn output_width(&self) -> usize {
        self.plan.outputs()
    }

    /// The batch whose outputs stand, and none of whose gradients have been taken yet or used up.
    pub(crate) fn forward_batch(&self) -> Result<usize> {
        match self.phase {
            Phase::Forward(batch) | Phase::Backward(batch) => Ok(batch),
            Phase::Idle | Phase::Stepped(_) => Err(not_available("outputs", "call `forward` first")),
        }
    }

    /// The batch whose gradients stand.
    pub(crate) fn backward_batch(&self, what: &'static str) -> Result<usize> {
        match self.phase {
            Phase::Backward(batch) => Ok(batch),
            Phase::Stepped(_) => Err(not_available(
                what,
                "a whole `step` uses its gradients up; call `forward`, `backward`, `update` instead",
            )),
            Phase::Idle | Phase::Forward(_) => Err(not_available(what, "call `backward` first")),
        }
    }
}

fn not_available(what: &'static str, reason: &'static str) -> Error {
    Error::NotAvailable { what, reason }
}
