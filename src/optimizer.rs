//! Optimisers: which rule moves the parameters, and what the rule remembers.

use crate::error::Result;
use crate::model::{number, size};
use crate::plan::{Plan, Role};
use crate::tensors::Buffer;
use handgrad_kernels::Exec;
use handgrad_kernels::optim::{Step, adam, rmsprop, sgd};
use std::ops::Range;

pub use handgrad_kernels::optim::adam::{Config as Adam, Decay};
pub use handgrad_kernels::optim::rmsprop::Config as RmsProp;
pub use handgrad_kernels::optim::sgd::Config as Sgd;

/// The rule by which the parameters follow their gradients; the formulas are those of `torch.optim`.
///
/// ```
/// use handgrad::{Adam, Decay, Optimizer, Sgd};
/// let sgd = Optimizer::Sgd(Sgd { momentum: 0.9, nesterov: true, ..Sgd::default() });
/// let adamw = Optimizer::Adam(Adam { weight_decay: 0.01, decay: Decay::Decoupled, ..Adam::default() });
/// assert_eq!(Optimizer::adamw(0.01), adamw);
/// # let _ = sgd;
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Optimizer {
    /// Stochastic gradient descent; by default without momentum or decay.
    Sgd(Sgd),
    /// Adam, and with [`Decay::Decoupled`] `AdamW`.
    Adam(Adam),
    /// `RMSprop`.
    RmsProp(RmsProp),
}

impl Default for Optimizer {
    fn default() -> Self {
        Optimizer::Sgd(Sgd::default())
    }
}

impl Optimizer {
    /// Adam with PyTorch's settings.
    #[must_use]
    pub fn adam() -> Self {
        Optimizer::Adam(Adam::default())
    }

    /// `AdamW` with PyTorch's settings (whose weight decay is 0.01).
    #[must_use]
    pub fn adamw(weight_decay: f32) -> Self {
        Optimizer::Adam(Adam { weight_decay, decay: Decay::Decoupled, ..Adam::default() })
    }

    /// Whether a step is `p -= lr·dp` and nothing else.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Optimizer::Sgd(Sgd { momentum: 0.0, weight_decay: 0.0, .. }))
    }

    /// The names of what it remembers of each parameter, as PyTorch has them.
    fn memory(&self) -> &'static [&'static str] {
        match self {
            Optimizer::Sgd(Sgd { momentum: 0.0, .. }) => &[],
            Optimizer::Sgd(_) => &["momentum_buffer"],
            Optimizer::Adam(_) => &["exp_avg", "exp_avg_sq"],
            Optimizer::RmsProp(RmsProp { momentum, centered, .. }) => match (*momentum > 0.0, centered) {
                (false, false) => &["square_avg"],
                (true, false) => &["square_avg", "momentum_buffer"],
                (false, true) => &["square_avg", "grad_avg"],
                (true, true) => &["square_avg", "momentum_buffer", "grad_avg"],
            },
        }
    }

    /// The same with another weight decay.
    fn with_decay(mut self, decay: Option<f32>) -> Self {
        let weight_decay = match &mut self {
            Optimizer::Sgd(config) => &mut config.weight_decay,
            Optimizer::Adam(config) => &mut config.weight_decay,
            Optimizer::RmsProp(config) => &mut config.weight_decay,
        };
        *weight_decay = decay.unwrap_or(*weight_decay);
        self
    }

    /// One update of some parameters. `memory` is as [`memory`](Optimizer::memory) has it.
    ///
    /// # Errors
    /// If a setting is not possible.
    pub(crate) fn update(
        self,
        exec: &Exec,
        params: &mut [f32],
        memory: [&mut [f32]; 3],
        grads: &[f32],
        step: Step,
    ) -> Result<()> {
        let [first, second, third] = memory;
        match self {
            Optimizer::Sgd(Sgd { momentum: 0.0, weight_decay, .. }) => {
                sgd::decay_update(exec, params, grads, step, weight_decay)?;
            }
            Optimizer::Sgd(config) => sgd::momentum_update(exec, params, first, grads, step, config)?,
            Optimizer::Adam(config) => adam::update(exec, params, first, second, grads, step, config)?,
            Optimizer::RmsProp(config) => {
                let (momentum_buffer, grad_avg) = match (config.momentum > 0.0, config.centered) {
                    (false, false) => (None, None),
                    (true, false) => (Some(second), None),
                    (false, true) => (None, Some(second)),
                    (true, true) => (Some(second), Some(third)),
                };
                let state = rmsprop::State { square_avg: first, grad_avg, momentum_buffer };
                rmsprop::update(exec, params, state, grads, step, config)?;
            }
        }
        Ok(())
    }

    /// Checks the settings, by an update of nothing.
    pub(crate) fn check(self, exec: &Exec) -> Result<()> {
        let step = Step { lr: 0.0, scale: 1.0, number: 1 };
        if let Optimizer::Sgd(config) = self {
            // Without momentum an update would not look at what belongs to it.
            return Ok(sgd::momentum_update(exec, &mut [], &mut [], &[], step, config)?);
        }
        self.update(exec, &mut [], [&mut [], &mut [], &mut []], &[], step)
    }
}

/// Parameters that are updated in another way than the rest.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Which parameters.
    pub members: Members,
    /// What the learning rate is taken times.
    pub lr: f32,
    /// Their weight decay, if it is not that of the optimiser.
    pub weight_decay: Option<f32>,
}

/// Which parameters belong to a [`Group`]. A parameter belongs to the first group that has it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Members {
    /// The biases of linear layers, and weights and biases of norms: what is usually not decayed.
    BiasesAndNorms,
    /// The table of the embedding.
    Embedding,
    /// Those whose names begin so, such as `layers.0.`.
    Named(String),
}

impl Group {
    /// No decay of biases and norms.
    #[must_use]
    pub fn no_decay() -> Self {
        Self { members: Members::BiasesAndNorms, lr: 1.0, weight_decay: Some(0.0) }
    }

    fn has(&self, name: &str, role: Role) -> bool {
        match &self.members {
            Members::BiasesAndNorms => matches!(role, Role::Bias | Role::Norm),
            Members::Embedding => role == Role::Embedding,
            Members::Named(prefix) => name.starts_with(prefix),
        }
    }
}

/// A part of the flat buffer whose parameters are updated alike.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    range: Range<usize>,
    /// What the learning rate is taken times.
    lr: f32,
    optimizer: Optimizer,
}

/// The optimiser of a network, with what it remembers.
#[derive(Debug)]
pub(crate) struct Rule {
    optimizer: Optimizer,
    pub(crate) memory: Vec<Buffer>,
    parts: Vec<Part>,
}

impl Rule {
    /// # Errors
    /// If a setting is not possible, or a group has no members.
    pub(crate) fn new(optimizer: Optimizer, groups: &[Group], plan: &Plan, exec: &Exec) -> Result<Self> {
        optimizer.check(exec)?;
        let mut members = vec![0; groups.len()];
        let mut parts: Vec<Part> = Vec::new();
        for (tensor, (slot, role)) in plan.params.iter().zip(plan.roles()) {
            debug_assert_eq!(tensor.slot, slot);
            let group = groups.iter().position(|group| group.has(&tensor.name, role));
            if let Some(group) = group {
                members[group] += 1;
            }
            let group = group.map(|group| &groups[group]);
            let (lr, decay) = group.map_or((1.0, None), |group| (group.lr, group.weight_decay));
            let part = Part { range: slot.range(), lr, optimizer: optimizer.with_decay(decay) };
            match parts.last_mut() {
                Some(last) if last.lr == part.lr && last.optimizer == part.optimizer => last.range.end = part.range.end,
                _ => parts.push(part),
            }
        }
        for (i, group) in groups.iter().enumerate() {
            let place = format!("options.groups[{i}]");
            if members[i] == 0 {
                return Err(size(&place, "members", "at least one parameter of the network", 0));
            }
            if !(group.lr.is_finite() && group.lr >= 0.0) {
                return Err(number(&place, "lr", "finite and at least 0", group.lr));
            }
            optimizer.with_decay(group.weight_decay).check(exec)?;
        }
        let memory = optimizer.memory().iter().map(|_| Buffer::zeros(plan.params.len())).collect::<Result<_>>()?;
        Ok(Self { optimizer, memory, parts })
    }

    /// The names of what is remembered of each parameter.
    pub(crate) fn memory_names(&self) -> &'static [&'static str] {
        self.optimizer.memory()
    }

    /// Whether a step is `p -= lr·dp` for all parameters alike.
    pub(crate) fn is_plain(&self) -> bool {
        self.parts.iter().all(|part| part.optimizer.is_plain() && part.lr == 1.0)
    }

    /// One update of all parameters.
    pub(crate) fn update(&mut self, exec: &Exec, params: &mut [f32], grads: &[f32], step: Step) -> Result<()> {
        for Part { range, lr, optimizer } in &self.parts {
            let mut memory = [const { [].as_mut_slice() }; 3];
            for (part, buffer) in memory.iter_mut().zip(&mut self.memory) {
                *part = &mut buffer[range.clone()];
            }
            let step = Step { lr: step.lr * lr, ..step };
            optimizer.update(exec, &mut params[range.clone()], memory, &grads[range.clone()], step)?;
        }
        Ok(())
    }
}
