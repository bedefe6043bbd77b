//! A network in f64, by the definition, one element at a time: an oracle that shares no code with the crate but the
//! references of its operations.

use super::widened;
use handgrad::kernels::op::dropout::{self, Key};
use handgrad::kernels::op::{elu, gelu, hardtanh, layer_norm, leaky_relu, rms_norm, silu, softplus};
use handgrad::{Activation, BatchNorm, Input, Layer, LayerNorm, Linear, Mlp, RmsNorm, Trainer, Variance};
use std::collections::BTreeMap;

/// Tensors by their names, in logical order.
pub(crate) type Named = BTreeMap<String, Vec<f64>>;

/// A network with its parameters and running statistics.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    mlp: Mlp,
    pub(crate) params: Named,
    pub(crate) running: Named,
}

/// The samples of a batch.
#[derive(Clone, Debug)]
pub(crate) enum Samples {
    Tokens(Vec<i64>),
    Dense(Vec<f32>),
}

/// Where a normalisation takes its statistics from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statistics {
    Batch,
    Running,
}

/// Rows of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    pub(crate) width: usize,
    pub(crate) values: Vec<f64>,
}

impl Rows {
    pub(crate) fn count(&self) -> usize {
        self.values.len() / self.width
    }

    pub(crate) fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.width..][..self.width]
    }

    fn column(&self, j: usize) -> impl Iterator<Item = f64> + Clone {
        self.values.iter().skip(j).step_by(self.width).copied()
    }

    /// The mean of each column, and its sum of squared distances from it divided by `rows - correction`.
    pub(crate) fn moments(&self, correction: f64) -> (Vec<f64>, Vec<f64>) {
        let rows = self.count() as f64;
        let column = |j| {
            let mean = self.column(j).sum::<f64>() / rows;
            let squares: f64 = self.column(j).map(|x| (x - mean).powi(2)).sum();
            (mean, squares / (rows - correction))
        };
        (0..self.width).map(column).unzip()
    }

    fn map_rows(&self, f: impl Fn(&[f64]) -> Vec<f64>) -> Self {
        Self { width: self.width, values: (0..self.count()).flat_map(|i| f(self.row(i))).collect() }
    }

    fn map(mut self, f: impl Fn(f64) -> f64) -> Self {
        self.values.iter_mut().for_each(|x| *x = f(*x));
        self
    }
}

impl Reference {
    /// The network of a trainer, with what it has learned.
    pub(crate) fn new(mlp: &Mlp, trainer: &Trainer) -> Self {
        let params = trainer.names().map(|name| (name.to_owned(), widened(trainer.param(name).unwrap()))).collect();
        let running =
            trainer.running_names().map(|name| (name.to_owned(), widened(trainer.running(name).unwrap()))).collect();
        Self { mlp: mlp.clone(), params, running }
    }

    /// What the first layer is given.
    pub(crate) fn input(&self, x: &Samples) -> Rows {
        match (x, self.mlp.input) {
            (Samples::Tokens(tokens), Input::Tokens { context, embedding, .. }) => {
                let table = &self.params["embedding.weight"];
                let row = |token: &i64| table[*token as usize * embedding..][..embedding].iter().copied();
                Rows { width: context * embedding, values: tokens.iter().flat_map(row).collect() }
            }
            (Samples::Dense(values), Input::Dense { features }) => {
                Rows { width: features, values: values.iter().map(|&x| x.into()).collect() }
            }
            _ => panic!("samples of another kind"),
        }
    }

    /// The outputs.
    pub(crate) fn outputs(&self, input: Rows, statistics: Statistics) -> Rows {
        self.up_to(self.mlp.layers.len(), input, statistics)
    }

    /// What layer `end` is given.
    pub(crate) fn up_to(&self, end: usize, input: Rows, statistics: Statistics) -> Rows {
        self.run(&self.mlp.layers[..end], "layers", input, statistics, &mut 0)
    }

    /// What layers make of `x`; `dropouts` counts those met so far.
    fn run(&self, layers: &[Layer], place: &str, x: Rows, statistics: Statistics, dropouts: &mut u64) -> Rows {
        let mut x = x;
        for (i, layer) in layers.iter().enumerate() {
            x = self.layer(layer, &format!("{place}.{i}"), x, statistics, dropouts);
        }
        x
    }

    fn layer(&self, layer: &Layer, name: &str, x: Rows, statistics: Statistics, dropouts: &mut u64) -> Rows {
        let param = |field: &str| &self.params[&format!("{name}.{field}")];
        match *layer {
            Layer::Linear(Linear { outputs, bias, .. }) => {
                let mut values = Vec::with_capacity(x.count() * outputs);
                for row in (0..x.count()).map(|b| x.row(b)) {
                    for o in 0..outputs {
                        let w = &param("weight")[o * x.width..][..x.width];
                        let b = if bias { param("bias")[o] } else { 0.0 };
                        values.push(row.iter().zip(w).map(|(x, w)| x * w).sum::<f64>() + b);
                    }
                }
                Rows { width: outputs, values }
            }
            Layer::BatchNorm(BatchNorm { eps, variance, .. }) => {
                let running = |field: &str| self.running[&format!("{name}.{field}")].clone();
                let (mean, var) = match statistics {
                    Statistics::Batch => x.moments(if variance == Variance::Unbiased { 1.0 } else { 0.0 }),
                    Statistics::Running => (running("running_mean"), running("running_var")),
                };
                let (gamma, beta) = (param("weight"), param("bias"));
                let norm = |(at, &x): (usize, &f64)| {
                    let j = at % mean.len();
                    gamma[j] * (x - mean[j]) / (var[j] + f64::from(eps)).sqrt() + beta[j]
                };
                Rows { width: x.width, values: x.values.iter().enumerate().map(norm).collect() }
            }
            Layer::LayerNorm(LayerNorm { eps, weight, bias }) => x.map_rows(|row| {
                let (weight, bias) = (weight.then(|| &param("weight")[..]), bias.then(|| &param("bias")[..]));
                layer_norm::reference(row, weight, bias, eps.into())
            }),
            Layer::RmsNorm(RmsNorm { eps, weight }) => {
                x.map_rows(|row| rms_norm::reference(row, weight.then(|| &param("weight")[..]), eps.into()))
            }
            Layer::Dropout { p } => {
                *dropouts += 1;
                if statistics == Statistics::Running {
                    return x;
                }
                // The first forward pass of a trainer with the seed 0.
                let (key, config, width) = (Key::new(0, 1, *dropouts), dropout::Config { p }, x.width);
                let dropped = |(at, &x): (usize, &f64)| dropout::reference(x, at / width, at % width, config, key);
                Rows { width, values: x.values.iter().enumerate().map(dropped).collect() }
            }
            Layer::Residual(ref block) => {
                let around = x.values.clone();
                let mut y = self.run(block, &format!("{name}.block"), x, statistics, dropouts);
                y.values.iter_mut().zip(around).for_each(|(y, x)| *y += x);
                y
            }
            Layer::Activation(activation) => x.map(|x| activated(activation, x)),
            _ => panic!("the reference does not know this layer"),
        }
    }

    /// The derivative of a function of this network in every parameter, by central differences.
    pub(crate) fn differences(&self, f: impl Fn(&Reference) -> f64) -> Named {
        let mut moved = self.clone();
        let mut gradients = Named::new();
        for (name, values) in &self.params {
            let gradient = differences(values, |values| {
                moved.params.get_mut(name).unwrap().copy_from_slice(values);
                f(&moved)
            });
            moved.params.get_mut(name).unwrap().copy_from_slice(values);
            gradients.insert(name.clone(), gradient);
        }
        gradients
    }
}

/// The derivative of `f` in each of its arguments at `x`, by central differences.
pub(crate) fn differences(x: &[f64], mut f: impl FnMut(&[f64]) -> f64) -> Vec<f64> {
    // In f64 the error is about 1e-10 from both ends: rounding over the step, and its square.
    const STEP: f64 = 1e-5;
    let mut x = x.to_vec();
    let mut gradient = Vec::with_capacity(x.len());
    for i in 0..x.len() {
        let here = x[i];
        x[i] = here + STEP;
        let above = f(&x);
        x[i] = here - STEP;
        let below = f(&x);
        x[i] = here;
        gradient.push((above - below) / (2.0 * STEP));
    }
    gradient
}

/// An activation by its definition.
fn activated(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Relu => x.max(0.0),
        Activation::LeakyRelu { slope } => leaky_relu::reference(x, slope.into()),
        Activation::Elu { alpha } => elu::reference(x, alpha.into()),
        Activation::Gelu { form } => gelu::reference(x, form),
        Activation::Silu => silu::reference(x),
        Activation::Softplus { beta, threshold } => softplus::reference(x, beta.into(), threshold.into()),
        Activation::Hardtanh { low, high } => hardtanh::reference(x, low.into(), high.into()),
        _ => panic!("the reference does not know this activation"),
    }
}

/// The mean softmax cross-entropy of rows against their labels.
pub(crate) fn cross_entropy(logits: &Rows, labels: &[i64]) -> f64 {
    assert_eq!(logits.count(), labels.len());
    let loss = |(i, &label): (usize, &i64)| {
        let row = logits.row(i);
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.iter().map(|x| (x - max).exp()).sum::<f64>().ln() + max - row[label as usize]
    };
    labels.iter().enumerate().map(loss).sum::<f64>() / labels.len() as f64
}
