//! A network in f64, by the definition, one element at a time: an oracle that shares no code with the crate.

use super::widened;
use handgrad::{BatchNorm, Input, Layer, Linear, Mlp, Trainer, Variance};
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
        (0..end).fold(input, |x, i| self.layer(i, x, statistics))
    }

    /// What layer `i` makes of `x`.
    pub(crate) fn layer(&self, i: usize, x: Rows, statistics: Statistics) -> Rows {
        let param = |field: &str| &self.params[&format!("layers.{i}.{field}")];
        match self.mlp.layers[i] {
            Layer::Linear(Linear { outputs, bias }) => {
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
                let running = |field: &str| self.running[&format!("layers.{i}.{field}")].clone();
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
            Layer::Tanh => x.map(f64::tanh),
            Layer::Sigmoid => x.map(|x| 1.0 / (1.0 + (-x).exp())),
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
