//! The step is open: a loss of the user's own, several trainers on one `Exec`, any shape of network, and what happens
//! when something is asked for that cannot be.

mod common;
#[path = "open_step/gradients.rs"]
mod gradients;
#[path = "open_step/inference.rs"]
mod inference;
#[path = "open_step/losses.rs"]
mod losses;
#[path = "open_step/models.rs"]
mod models;
#[path = "open_step/rejected.rs"]
mod rejected;
#[path = "open_step/sharing.rs"]
mod sharing;

use common::bits;
use common::reference::Samples;
use handgrad::{BatchNorm, Input, Inputs, Layer, Linear, Loss, Mlp, Trainer, Variance};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// A network of these layers.
fn mlp(input: Input, layers: &[Layer]) -> Mlp {
    Mlp { input, layers: layers.to_vec(), loss: Loss::cross_entropy() }
}

fn linear(outputs: usize) -> Layer {
    Linear::new(outputs).into()
}

fn biasless(outputs: usize) -> Layer {
    Linear::new(outputs).without_bias().into()
}

fn norm(variance: Variance) -> Layer {
    BatchNorm { variance, ..BatchNorm::default() }.into()
}

const TOKENS: Input = Input::Tokens { vocab: 9, context: 3, embedding: 4 };
const DENSE: Input = Input::Dense { features: 6 };

impl<'a> From<&'a Samples> for Inputs<'a> {
    fn from(samples: &'a Samples) -> Self {
        match samples {
            Samples::Tokens(tokens) => Inputs::Tokens(tokens),
            Samples::Dense(values) => Inputs::Dense(values),
        }
    }
}

/// Random samples for a network, and random labels.
fn data(mlp: &Mlp, samples: usize, seed: u64) -> (Samples, Vec<i64>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let classes = mlp.outputs().unwrap() as i64;
    let labels = (0..samples).map(|_| rng.random_range(0..classes)).collect();
    let x = match mlp.input {
        Input::Tokens { vocab, context, .. } => {
            Samples::Tokens((0..samples * context).map(|_| rng.random_range(0..vocab as i64)).collect())
        }
        Input::Dense { features } => {
            Samples::Dense((0..samples * features).map(|_| rng.random_range(-2.0..2.0)).collect())
        }
    };
    (x, labels)
}

/// Moves every parameter off its initial value, so that gains are not all 1 and no bias is 0.
fn stir(trainer: &mut Trainer, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let names: Vec<_> = trainer.names().map(str::to_owned).collect();
    for name in names {
        let mut param = trainer.param_mut(&name).unwrap();
        let moved: Vec<f32> = param.as_view().iter().map(|x| x + rng.random_range(-0.3..0.3)).collect();
        let mut moved = moved.into_iter();
        param.fill_with(|| moved.next().unwrap());
    }
}

/// Everything of a trainer that can be read, as bits: what is not available is empty.
#[derive(Clone, Debug, PartialEq)]
struct Snapshot {
    params: Vec<u32>,
    running: Vec<u32>,
    outputs: Option<Vec<u32>>,
    grads: Option<Vec<u32>>,
    d_input: Option<Vec<u32>>,
    lr: f32,
}

impl Snapshot {
    fn of(trainer: &Trainer) -> Self {
        let rows = |mat: handgrad::kernels::view::Mat<'_>| bits(handgrad::kernels::view::View::from(mat).iter());
        Self {
            params: bits(trainer.params().iter().copied()),
            running: bits(trainer.running_names().flat_map(|name| trainer.running(name).unwrap().to_vec())),
            outputs: trainer.outputs().ok().map(rows),
            grads: trainer.grads().ok().map(|grads| bits(grads.iter().copied())),
            d_input: trainer.d_input().ok().map(rows),
            lr: trainer.lr(),
        }
    }
}
