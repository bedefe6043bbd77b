//! From a description to what is run: stages, each one kernel call forward, with their tensors placed.
//!
//! An activation that follows a linear layer or a norm belongs to that layer's stage, whose kernel applies it on the way
//! out. Its gradient is taken by the stage after it, on the way out of *its* backward kernel: so the gradient that
//! reaches a stage is always that of the value before the stage's activation.
//!
//! A residual block is a [`Kind::Fork`], the block's stages, and a [`Kind::Join`]. The fork gives what it takes, without a
//! copy; in the backward pass the join keeps the gradient that it is given, and the fork adds it to that of the block.

use crate::error::Result;
use crate::init::Init;
use crate::model::{BatchNorm, Input, Layer, LayerNorm, Linear, Mlp, RmsNorm};
use crate::tensors::{Shown, Slot, Table};
use handgrad_kernels::op::activation::{Activation, Saves};
use std::fmt;

/// One kernel call forward.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stage {
    pub(crate) kind: Kind,
    /// What is applied to the result.
    pub(crate) activation: Activation,
    /// The number of the value it takes.
    pub(crate) x: usize,
    /// The number of the value it gives.
    pub(crate) y: usize,
    /// The width of what it takes.
    pub(crate) inputs: usize,
    /// The width of what it gives.
    pub(crate) outputs: usize,
}

/// What a stage computes before its activation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// `x·W + b`
    Linear { weight: Slot, bias: Option<Slot>, init: Init },
    /// Normalisation over the batch.
    BatchNorm { weight: Slot, bias: Slot, mean: Slot, var: Slot, config: BatchNorm },
    /// Normalisation of each row to mean 0 and variance 1.
    LayerNorm { weight: Option<Slot>, bias: Option<Slot>, eps: f32 },
    /// Normalisation of each row to a mean square of 1.
    RmsNorm { weight: Option<Slot>, eps: f32 },
    /// Zeros with probability `p`; `number` tells the dropouts of a network apart.
    Dropout { p: f32, number: u64 },
    /// Nothing: an activation that follows no layer.
    Activation,
    /// The beginning of a residual block, whose way around it is `skip`.
    Fork { skip: usize },
    /// The end of a residual block: `x +` the value `from` before it.
    Join { skip: usize, from: usize },
}

impl Stage {
    /// Whether its value is another buffer than the one it takes.
    pub(crate) fn writes(&self) -> bool {
        self.y != self.x
    }

    /// Whether what the activation is given has a buffer of its own.
    pub(crate) fn keeps_before(&self) -> bool {
        !matches!(self.kind, Kind::Activation) && self.activation.saves() == Saves::Input
    }

    /// Whether it takes its statistics over the batch.
    pub(crate) fn is_batch_norm(&self) -> bool {
        matches!(self.kind, Kind::BatchNorm { .. })
    }

    /// The place of each of its parameters, and whether it belongs to a norm or is a bias.
    pub(crate) fn params(&self) -> impl Iterator<Item = (Slot, Role)> {
        let (weight, bias, norm) = match self.kind {
            Kind::Linear { weight, bias, .. } => (Some(weight), bias, false),
            Kind::BatchNorm { weight, bias, .. } => (Some(weight), Some(bias), true),
            Kind::LayerNorm { weight, bias, .. } => (weight, bias, true),
            Kind::RmsNorm { weight, .. } => (weight, None, true),
            Kind::Dropout { .. } | Kind::Activation | Kind::Fork { .. } | Kind::Join { .. } => (None, None, false),
        };
        let role = |plain| if norm { Role::Norm } else { plain };
        let weight = weight.map(|slot| (slot, role(Role::Weight)));
        weight.into_iter().chain(bias.map(|slot| (slot, role(Role::Bias))))
    }
}

/// What a parameter is, for the choice of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The weights of a linear layer.
    Weight,
    /// The bias of a linear layer.
    Bias,
    /// Weight or bias of a norm.
    Norm,
    /// The table of the embedding.
    Embedding,
}

/// A network ready to be run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) input: Input,
    /// The table of the embedding, for tokens.
    pub(crate) embedding: Option<Slot>,
    pub(crate) stages: Vec<Stage>,
    /// The width of each value; the first is what the first stage takes.
    pub(crate) widths: Vec<usize>,
    /// What made each value: `input`, or the layer.
    pub(crate) makers: Vec<String>,
    /// The width of the way around each residual block.
    pub(crate) skips: Vec<usize>,
    /// The parameters.
    pub(crate) params: Table,
    /// The running statistics.
    pub(crate) running: Table,
    dropouts: u64,
}

impl Plan {
    /// Places every tensor of a checked model.
    pub(crate) fn new(mlp: &Mlp) -> Result<Self> {
        mlp.outputs()?;
        let mut params = Table::default();
        let embedding = match mlp.input {
            Input::Dense { .. } => None,
            Input::Tokens { vocab, embedding, .. } => {
                Some(params.push("embedding.weight".to_owned(), vocab, embedding, Shown::Matrix)?)
            }
        };
        let mut plan = Self {
            input: mlp.input,
            embedding,
            stages: Vec::with_capacity(mlp.layers.len()),
            widths: vec![mlp.input.width()?],
            makers: vec!["input".to_owned()],
            skips: Vec::new(),
            params,
            running: Table::default(),
            dropouts: 0,
        };
        plan.push_all(&mlp.layers, "layers")?;
        Ok(plan)
    }

    fn push_all(&mut self, layers: &[Layer], place: &str) -> Result<()> {
        for (i, layer) in layers.iter().enumerate() {
            let inputs = self.outputs();
            let name = |field: &str| format!("{place}.{i}.{field}");
            let mut vector = |wanted: bool, field| {
                wanted.then(|| self.params.push(name(field), 1, inputs, Shown::Vector)).transpose()
            };
            let (kind, outputs) = match *layer {
                Layer::Linear(Linear { outputs, bias, init }) => {
                    let weight = self.params.push(name("weight"), inputs, outputs, Shown::Transposed)?;
                    let bias = bias.then(|| self.params.push(name("bias"), 1, outputs, Shown::Vector)).transpose()?;
                    (Kind::Linear { weight, bias, init }, outputs)
                }
                Layer::BatchNorm(config) => {
                    let weight = self.params.push(name("weight"), 1, inputs, Shown::Vector)?;
                    let bias = self.params.push(name("bias"), 1, inputs, Shown::Vector)?;
                    let mean = self.running.push(name("running_mean"), 1, inputs, Shown::Vector)?;
                    let var = self.running.push(name("running_var"), 1, inputs, Shown::Vector)?;
                    (Kind::BatchNorm { weight, bias, mean, var, config }, inputs)
                }
                Layer::LayerNorm(LayerNorm { eps, weight, bias }) => {
                    let (weight, bias) = (vector(weight, "weight")?, vector(bias, "bias")?);
                    (Kind::LayerNorm { weight, bias, eps }, inputs)
                }
                Layer::RmsNorm(RmsNorm { eps, weight }) => {
                    (Kind::RmsNorm { weight: vector(weight, "weight")?, eps }, inputs)
                }
                Layer::Dropout { p } => {
                    self.dropouts += 1;
                    (Kind::Dropout { p, number: self.dropouts }, inputs)
                }
                Layer::Activation(activation) => {
                    self.activate(activation, format!("{place}.{i}"));
                    continue;
                }
                Layer::Residual(ref block) => {
                    let (skip, from) = (self.skips.len(), self.value());
                    self.skips.push(inputs);
                    self.push(Kind::Fork { skip }, inputs, String::new());
                    self.push_all(block, &name("block"))?;
                    (Kind::Join { skip, from }, inputs)
                }
            };
            self.push(kind, outputs, format!("{place}.{i}"));
        }
        Ok(())
    }

    /// The number of the newest value.
    fn value(&self) -> usize {
        self.widths.len() - 1
    }

    fn push(&mut self, kind: Kind, outputs: usize, maker: String) {
        let (x, inputs) = (self.value(), self.outputs());
        if !matches!(kind, Kind::Fork { .. }) {
            self.widths.push(outputs);
            self.makers.push(maker);
        }
        self.stages.push(Stage { kind, activation: Activation::Identity, x, y: self.value(), inputs, outputs });
    }

    /// Gives an activation to the last stage if that can apply it, or else makes it a stage.
    fn activate(&mut self, activation: Activation, maker: String) {
        if let Some(Stage {
            kind: Kind::Linear { .. } | Kind::BatchNorm { .. } | Kind::LayerNorm { .. } | Kind::RmsNorm { .. },
            activation: last @ Activation::Identity,
            ..
        }) = self.stages.last_mut()
        {
            *last = activation;
            return;
        }
        self.push(Kind::Activation, self.outputs(), maker);
        if let Some(stage) = self.stages.last_mut() {
            stage.activation = activation;
        }
    }

    /// The width of what the first stage takes.
    pub(crate) fn width(&self) -> usize {
        self.widths[0]
    }

    /// The width of the outputs.
    pub(crate) fn outputs(&self) -> usize {
        self.widths[self.value()]
    }

    /// The stage whose activation stage `i` takes the gradient through; for the number of stages, the one that made the
    /// outputs. A fork does it for the stage behind it.
    pub(crate) fn activated_before(&self, i: usize) -> Option<usize> {
        let last = i.checked_sub(1)?;
        let Stage { kind, activation, .. } = self.stages[last];
        (activation != Activation::Identity && !matches!(kind, Kind::Fork { .. })).then_some(last)
    }

    /// The place of each parameter and what it is, in the order of the flat buffer.
    pub(crate) fn roles(&self) -> impl Iterator<Item = (Slot, Role)> {
        let embedding = self.embedding.map(|slot| (slot, Role::Embedding));
        embedding.into_iter().chain(self.stages.iter().flat_map(Stage::params))
    }
}

/// One line a stage: what one kernel call forward does, and what the gradient is taken through in the backward one.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.input {
            Input::Dense { features } => writeln!(f, "input: {features} numbers")?,
            Input::Tokens { vocab, context, embedding } => {
                writeln!(f, "input: {context} of {vocab} tokens, {embedding} numbers each, side by side")?;
            }
        }
        for (i, stage) in self.stages.iter().enumerate() {
            let Stage { kind, activation, inputs, outputs, .. } = *stage;
            write!(f, "{i:>3}: ")?;
            match kind {
                Kind::Linear { bias, .. } => {
                    write!(f, "linear {inputs} -> {outputs}{}", if bias.is_some() { " + bias" } else { "" })?;
                }
                Kind::BatchNorm { .. } => write!(f, "batch norm of {outputs}")?,
                Kind::LayerNorm { .. } => write!(f, "layer norm of {outputs}")?,
                Kind::RmsNorm { .. } => write!(f, "RMS norm of {outputs}")?,
                Kind::Dropout { p, .. } => write!(f, "dropout of {outputs} with {p}")?,
                Kind::Activation => write!(f, "{activation:?} of {outputs}")?,
                Kind::Fork { skip } => write!(f, "residual block {skip} begins")?,
                Kind::Join { skip, .. } => write!(f, "residual block {skip} ends: + what it was given")?,
            }
            let pass = |same| if same { "in the same pass" } else { "in a pass of its own" };
            if activation != Activation::Identity && !matches!(kind, Kind::Activation) {
                // A column is normalised as a whole before it goes through anything but the notebook's tanh.
                let same = !stage.is_batch_norm() || activation == Activation::Tanh;
                write!(f, ", then {activation:?} {}", pass(same))?;
                if stage.keeps_before() {
                    f.write_str(", keeping what it is given")?;
                }
            }
            if let Some(last) = self.activated_before(i) {
                let same = matches!(kind, Kind::Linear { .. });
                write!(f, "; backward through the activation of {last} {}", pass(same))?;
            }
            writeln!(f)?;
        }
        write!(f, "outputs: {}", self.outputs())
    }
}
