//! Networks that between them have every layer, activation, loss, optimiser, schedule and option, with data to train them.

use handgrad::kernels::op::gelu::Form;
use handgrad::{
    Activation, Adam, BatchNorm, BceWithLogits, CrossEntropy, Decay, Group, Input, Inputs, Layer, LayerNorm, Linear,
    Loss, Members, Mlp, Optimizer, Options, RmsNorm, RmsProp, Schedule, Sgd, Targets,
};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// A network, how it is trained, and on what.
pub(crate) struct Animal {
    pub(crate) name: &'static str,
    pub(crate) mlp: Mlp,
    pub(crate) options: Options,
    tokens: Vec<i64>,
    rows: Vec<f32>,
    labels: Vec<i64>,
    values: Vec<f32>,
    weights: Option<Vec<f32>>,
}

/// Samples in a batch.
pub(crate) const BATCH: usize = 21;
/// Batches in the data.
const BATCHES: usize = 5;

const DENSE: Input = Input::Dense { features: 13 };
const TOKENS: Input = Input::Tokens { vocab: 11, context: 3, embedding: 5 };

fn linear(outputs: usize) -> Layer {
    Linear::new(outputs).into()
}

fn act(activation: Activation) -> Layer {
    activation.into()
}

/// All of them.
pub(crate) fn animals() -> Vec<Animal> {
    let adamw = Optimizer::Adam(Adam { weight_decay: 0.02, decay: Decay::Decoupled, ..Adam::default() });
    let cosine = Schedule::Cosine { warmup: 5, total: 40, min_lr: 1e-4 };
    let of = |optimizer, lr| Options { max_batch: BATCH, lr, optimizer, ..Options::default() };
    vec![
        Animal::new(
            "layer norm, gelu, dropout; smooth labels; AdamW, clipped, groups, cosine",
            DENSE,
            vec![
                linear(33),
                LayerNorm::default().into(),
                act(Activation::Gelu { form: Form::Erf }),
                Layer::Dropout { p: 0.25 },
                linear(19),
                act(Activation::Gelu { form: Form::Tanh }),
                linear(7),
            ],
            Loss::CrossEntropy(CrossEntropy { label_smoothing: 0.1, ..CrossEntropy::default() }),
            Options { schedule: cosine, clip_grad_norm: Some(0.5), groups: vec![Group::no_decay()], ..of(adamw, 0.01) },
        ),
        Animal::new(
            "residuals, batch norm, RMS norm, relu; weighted classes; RMSprop with all it has, one cycle",
            TOKENS,
            vec![
                linear(20),
                BatchNorm::default().into(),
                act(Activation::Relu),
                Layer::Residual(vec![
                    RmsNorm::default().into(),
                    Linear::new(20).without_bias().into(),
                    act(Activation::Silu),
                    Layer::Residual(vec![linear(20), Layer::Dropout { p: 0.1 }]),
                ]),
                linear(5),
            ],
            Loss::CrossEntropy(CrossEntropy {
                class_weights: vec![1.0, 2.0, 0.5, 1.0, 1.5],
                ignore_index: Some(3),
                ..CrossEntropy::default()
            }),
            Options {
                schedule: Schedule::OneCycle { total: 50, pct_start: 0.3, div_factor: 25.0, final_div_factor: 1e3 },
                ..of(Optimizer::RmsProp(RmsProp { momentum: 0.5, centered: true, ..RmsProp::default() }), 0.003)
            },
        ),
        Animal::new(
            "silu and softplus; squares; momentum with decay, steps",
            DENSE,
            vec![
                linear(18),
                act(Activation::Silu),
                linear(9),
                act(Activation::Softplus { beta: 1.5, threshold: 20.0 }),
                linear(3),
            ],
            Loss::Mse,
            Options {
                schedule: Schedule::Step { every: 10, gamma: 0.5 },
                groups: vec![Group { members: Members::Named("layers.0.".into()), lr: 0.5, weight_decay: None }],
                ..of(Optimizer::Sgd(Sgd { momentum: 0.9, nesterov: true, weight_decay: 1e-3, ..Sgd::default() }), 0.02)
            },
        ),
        Animal::new(
            "elu, leaky relu, hardtanh; logits; Adam, warm-up",
            DENSE,
            vec![
                linear(40),
                act(Activation::Elu { alpha: 1.2 }),
                linear(17),
                act(Activation::LeakyRelu { slope: 0.1 }),
                linear(10),
                act(Activation::Hardtanh { low: -0.8, high: 0.8 }),
                linear(2),
            ],
            Loss::BceWithLogits(BceWithLogits { pos_weight: vec![2.0, 0.5] }),
            Options { schedule: Schedule::Linear { warmup: 10 }, ..of(Optimizer::adam(), 0.01) },
        ),
        Animal::new(
            "sigmoid; differences; RMSprop",
            TOKENS,
            vec![linear(16), act(Activation::Sigmoid), linear(4)],
            Loss::L1,
            of(Optimizer::RmsProp(RmsProp::default()), 0.01),
        ),
        Animal::new(
            "tanh; Huber; plain descent, clipped",
            DENSE,
            vec![linear(24), act(Activation::Tanh), linear(4)],
            Loss::Huber { delta: 0.5 },
            Options { clip_grad_norm: Some(1.0), ..of(Optimizer::default(), 0.1) },
        ),
        Animal::new(
            "one output; smooth differences, weights of samples; plain descent with decay",
            DENSE,
            vec![linear(24), act(Activation::Relu), linear(1)],
            Loss::SmoothL1 { beta: 0.5 },
            of(Optimizer::Sgd(Sgd { weight_decay: 1e-3, ..Sgd::default() }), 0.1),
        )
        .weighted(),
    ]
}

impl Animal {
    fn new(name: &'static str, input: Input, layers: Vec<Layer>, loss: Loss, options: Options) -> Self {
        let mlp = Mlp { input, layers, loss };
        let outputs = mlp.outputs().unwrap();
        let samples = BATCH * BATCHES;
        let mut rng = ChaCha8Rng::seed_from_u64(17);
        let (mut tokens, mut rows) = (Vec::new(), Vec::new());
        match input {
            Input::Dense { features } => rows = (0..samples * features).map(|_| rng.random_range(-2.0..2.0)).collect(),
            Input::Tokens { vocab, context, .. } => {
                tokens = (0..samples * context).map(|_| rng.random_range(0..vocab as i64)).collect();
            }
        }
        let labels = (0..samples).map(|_| rng.random_range(0..outputs as i64)).collect();
        let values = (0..samples * outputs).map(|_| rng.random_range(0.0..1.0)).collect();
        Self { name, mlp, options, tokens, rows, labels, values, weights: None }
    }

    fn weighted(mut self) -> Self {
        self.weights = Some((0..BATCH * BATCHES).map(|i| 0.5 + (i % 4) as f32).collect());
        self
    }

    /// The batch of a step; every third is smaller.
    pub(crate) fn batch(&self, step: usize) -> (Inputs<'_>, Targets<'_>) {
        let start = step % BATCHES * BATCH;
        let rows = start..start + if step % 3 == 2 { BATCH - 8 } else { BATCH };
        let x = match self.mlp.input {
            Input::Dense { features } => Inputs::Dense(&self.rows[rows.start * features..rows.end * features]),
            Input::Tokens { context, .. } => Inputs::Tokens(&self.tokens[rows.start * context..rows.end * context]),
        };
        let y: Targets<'_> = if let Loss::CrossEntropy(_) = self.mlp.loss {
            (&self.labels[rows.clone()]).into()
        } else {
            let outputs = self.values.len() / (BATCH * BATCHES);
            (&self.values[rows.start * outputs..rows.end * outputs]).into()
        };
        (x, self.weights.as_ref().map_or(y, |weights| y.weighted(&weights[rows])))
    }
}
