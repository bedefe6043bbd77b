//! From a description to what is run: stages, each one kernel call forward, with their tensors placed.
//!
//! An activation that follows a layer belongs to the layer's stage, whose kernel applies it on the way out. Its gradient
//! is taken by the stage after it, on the way out of *its* backward kernel: so the gradient that reaches a stage is
//! always that of the value before the stage's activation.

use crate::error::Result;
use crate::model::{BatchNorm, Input, Layer, Linear, Mlp};
use crate::tensors::{Shown, Slot, Table};
use handgrad_kernels::op::activation::Activation;

/// One kernel call forward.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stage {
    pub(crate) kind: Kind,
    /// What is applied to the result.
    pub(crate) activation: Activation,
    /// The width of what it takes.
    pub(crate) inputs: usize,
    /// The width of what it gives.
    pub(crate) outputs: usize,
}

/// What a stage computes before its activation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// `x·W + b`
    Linear { weight: Slot, bias: Option<Slot> },
    /// Normalisation over the batch.
    BatchNorm { weight: Slot, bias: Slot, mean: Slot, var: Slot, config: BatchNorm },
    /// Nothing: an activation that follows no layer.
    Activation,
}

/// A network ready to be run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) input: Input,
    /// The width of the input to the first stage.
    pub(crate) width: usize,
    /// The table of the embedding, for tokens.
    pub(crate) embedding: Option<Slot>,
    pub(crate) stages: Vec<Stage>,
    /// The parameters.
    pub(crate) params: Table,
    /// The running statistics.
    pub(crate) running: Table,
}

impl Plan {
    /// Places every tensor of a checked model.
    pub(crate) fn new(mlp: &Mlp) -> Result<Self> {
        mlp.outputs()?;
        let width = mlp.input.width()?;
        let (mut params, mut running) = (Table::default(), Table::default());
        let embedding = match mlp.input {
            Input::Dense { .. } => None,
            Input::Tokens { vocab, embedding, .. } => {
                Some(params.push("embedding.weight".to_owned(), vocab, embedding, Shown::Matrix)?)
            }
        };
        let mut stages: Vec<Stage> = Vec::with_capacity(mlp.layers.len());
        let mut inputs = width;
        for (i, layer) in mlp.layers.iter().enumerate() {
            let name = |field: &str| format!("layers.{i}.{field}");
            let (kind, outputs) = match *layer {
                Layer::Linear(Linear { outputs, bias }) => {
                    let weight = params.push(name("weight"), inputs, outputs, Shown::Transposed)?;
                    let bias = bias.then(|| params.push(name("bias"), 1, outputs, Shown::Vector)).transpose()?;
                    (Kind::Linear { weight, bias }, outputs)
                }
                Layer::BatchNorm(config) => {
                    let weight = params.push(name("weight"), 1, inputs, Shown::Vector)?;
                    let bias = params.push(name("bias"), 1, inputs, Shown::Vector)?;
                    let mean = running.push(name("running_mean"), 1, inputs, Shown::Vector)?;
                    let var = running.push(name("running_var"), 1, inputs, Shown::Vector)?;
                    (Kind::BatchNorm { weight, bias, mean, var, config }, inputs)
                }
                Layer::Tanh | Layer::Sigmoid => {
                    let activation = if *layer == Layer::Tanh { Activation::Tanh } else { Activation::Sigmoid };
                    match stages.last_mut() {
                        Some(stage) if stage.activation == Activation::Identity => stage.activation = activation,
                        _ => stages.push(Stage { kind: Kind::Activation, activation, inputs, outputs: inputs }),
                    }
                    continue;
                }
            };
            stages.push(Stage { kind, activation: Activation::Identity, inputs, outputs });
            inputs = outputs;
        }
        Ok(Self { input: mlp.input, width, embedding, stages, params, running })
    }

    /// The width of the outputs.
    pub(crate) fn outputs(&self) -> usize {
        self.stages.last().map_or(self.width, |stage| stage.outputs)
    }

    /// The activation that made the input of stage `i`; for the number of stages, the one that made the outputs.
    pub(crate) fn activation_before(&self, i: usize) -> Activation {
        i.checked_sub(1).map_or(Activation::Identity, |last| self.stages[last].activation)
    }
}
