//! Training of a network that the bytes describe, on batches that may not fit.
//!
//! The bytes choose the input, the layers, the loss, the options, and then for each batch its size, its numbers, its
//! targets and what is wrong with it, if anything. What is checked:
//!
//! - a batch is refused exactly if it does not fit; then parameters, statistics, the optimiser's memory, the outputs and
//!   the gradients that stand are as they were, bit for bit, and so they are of a step stopped at a number not finite but
//!   for outputs and gradients;
//! - a whole `step` has the bits of `forward`, `backward` and `update`, of `step_with`, and of `accumulate`;
//! - another tier on two threads that split whatever can be split has the bits of the best tier on one.

use super::input::{Bytes, EDGES, Stream, fused, serial, split};
use super::state::State;
use handgrad::init::{Fan, Init};
use handgrad::kernels::op::gelu::Form;
use handgrad::kernels::view::Mat;
use handgrad::{
    Activation, Adam, BatchNorm, BceWithLogits, Contents, CrossEntropy, Decay, Error, Group, Input, Inputs, Layer,
    LayerNorm, Linear, Loss, Members, Mlp, Notes, Optimizer, Options, Predictor, Result, RmsNorm, RmsProp, Schedule,
    Sgd, Targets, Trainer, Variance,
};

/// Trains what the bytes describe, and panics if anything is wrong with it.
pub(crate) fn check(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mlp = network(&mut bytes);
    let options = options(&mut bytes);
    let made = Trainer::new(&mlp, options.clone(), serial());
    let Ok(outputs) = mlp.outputs() else {
        assert!(made.is_err(), "a trainer of what is refused, {mlp:?}");
        return;
    };
    let Ok(mut whole) = made else { return };
    let tiers = fused();
    let exec = if tiers.is_empty() { split().clone() } else { split().clone().with_isa(bytes.pick(&tiers)) };
    let mut parted = Trainer::new(&mlp, options.clone(), serial()).expect("it was had before");
    let mut shared = Trainer::new(&mlp, options.clone(), &exec).expect("it was had before");
    for _ in 0..MOST_BATCHES {
        if bytes.is_empty() {
            break;
        }
        let way = bytes.pick(&[Way::Passes, Way::Hook, Way::Accumulate]);
        let batch = Batch::read(&mut bytes, &mlp, outputs, options.max_batch);
        let about = || format!("{mlp:?}, {options:?}, {batch:?}");
        let fits = batch.fits(&mlp, outputs, options.max_batch);
        let before = State::of(&whole);
        let result = whole.step(batch.x(), batch.y());
        let after = State::of(&whole);
        match &result {
            Ok(_) => assert!(fits, "a batch that does not fit was taken, {}", about()),
            Err(Error::NotFinite { .. }) => {
                assert!(options.stop_at_non_finite, "stopped unasked, {}", about());
                assert!(exactly(&after, &before), "a step that was stopped has changed something, {}", about());
            }
            Err(error) => {
                assert!(!fits, "{error}, but the batch fits, {}", about());
                assert!(after == before, "{error}, but something has changed, {}", about());
            }
        }
        let other = exec.install(|| shared.step(batch.x(), batch.y()));
        assert_eq!(outcome(&other), outcome(&result), "on {} threads, {}", exec.threads(), about());
        let after = after.run();
        assert!(State::of(&shared).run() == after, "{} has other bits, {}", exec.isa(), about());

        follow(&mut parted, way, &batch, &result);
        if result.is_err() {
            // Where the passes have got to depends on what was wrong.
            let bytes = whole.to_safetensors(Contents::Everything, &Notes::new()).expect("there is room");
            parted.restore(&bytes, Contents::Everything).expect("the networks are the same");
        }
        assert!(State::of(&parted).run() == after, "{way:?} has other bits, {}", about());
    }
    // Whatever the parameters have become, inference takes them.
    let batch = Batch::read(&mut bytes, &mlp, outputs, options.max_batch);
    let mut predictor = Predictor::new(&whole).expect("there is room");
    let loss = predictor.loss(batch.x(), batch.y());
    assert!(loss.is_ok() || !batch.fits(&mlp, outputs, options.max_batch), "{loss:?}, {mlp:?}, {batch:?}");
}

const MOST_BATCHES: usize = 4;

/// Sizes below, at and above a register, a cache line, and what turns a weight around.
const SIZES: [usize; 16] = [3, 1, 2, 4, 5, 7, 8, 9, 13, 15, 16, 17, 33, 47, 48, 65];

/// Ways to do one step in parts.
#[derive(Clone, Copy, Debug)]
enum Way {
    Passes,
    Hook,
    Accumulate,
}

/// The step in parts, which must have the same outcome.
fn follow(trainer: &mut Trainer, way: Way, batch: &Batch, whole: &Result<f32>) {
    let before = State::of(trainer);
    let refused = !matches!(whole, Ok(_) | Err(Error::NotFinite { .. }));
    if let Way::Hook = way {
        let result = trainer.step_with(batch.x(), batch.y(), |_| {});
        assert_eq!(result.is_err(), refused, "{result:?} with a hook, {whole:?} without");
        assert!(!refused || State::of(trainer) == before, "{result:?}, but something has changed");
        agree(&result, whole);
        return;
    }
    if let Err(error) = trainer.forward(batch.x()) {
        assert!(refused, "{error} in the forward pass alone");
        assert!(State::of(trainer) == before, "{error}, but something has changed");
        return;
    }
    let before = State::of(trainer);
    let loss = match way {
        Way::Accumulate => trainer.accumulate(batch.y(), 1.0),
        _ => trainer.backward(batch.y()),
    };
    assert_eq!(loss.is_err(), refused, "{loss:?} in parts, {whole:?} in one");
    if refused {
        assert!(State::of(trainer) == before, "{loss:?}, but something has changed");
        assert!(trainer.update().is_err(), "an update without gradients");
        return;
    }
    trainer.update().expect("there are gradients");
    agree(&loss, whole);
}

fn agree(parts: &Result<f32>, whole: &Result<f32>) {
    if let (Ok(parts), Ok(whole)) = (parts, whole) {
        assert!(
            parts.to_bits() == whole.to_bits() || parts.is_nan() && whole.is_nan(),
            "{parts} in parts, not {whole}"
        );
    }
}

/// The same bits in all that a run goes on from, the payloads of NaN included.
fn exactly(x: &State, y: &State) -> bool {
    x.about == y.about && x.tensors == y.tensors
}

/// A loss, with one NaN for all of them, or an error.
fn outcome(result: &Result<f32>) -> std::result::Result<u32, String> {
    match result {
        Ok(loss) => Ok(if loss.is_nan() { f32::NAN } else { *loss }.to_bits()),
        Err(error) => Err(error.to_string()),
    }
}

/// A number of a few that are ordinary, or seldom one at the edges.
fn number(bytes: &mut Bytes<'_>, ordinary: &[f32]) -> f32 {
    let byte = usize::from(bytes.next());
    if byte >= 240 { EDGES[byte - 240] } else { ordinary[byte % ordinary.len()] }
}

/// A size, seldom none or one whose products overflow.
fn size(bytes: &mut Bytes<'_>) -> usize {
    match bytes.next() {
        255 => usize::MAX,
        254 => 1 << 60,
        253 => isize::MAX as usize,
        252 => 0,
        byte => SIZES[usize::from(byte) % 16],
    }
}

fn network(bytes: &mut Bytes<'_>) -> Mlp {
    let input = if bytes.next().is_multiple_of(2) {
        Input::Dense { features: size(bytes) }
    } else {
        Input::Tokens { vocab: size(bytes), context: size(bytes).min(1 << 60), embedding: size(bytes) }
    };
    let mut width = input.width().unwrap_or(1);
    let mut layers: Vec<Layer> = (0..bytes.below(5)).map(|_| layer(bytes, &mut width, 2)).collect();
    if layers.is_empty() || bytes.next() % 4 != 3 {
        layers.push(linear(bytes, &mut width));
    }
    Mlp { input, layers, loss: loss(bytes, width) }
}

fn linear(bytes: &mut Bytes<'_>, width: &mut usize) -> Layer {
    *width = size(bytes);
    let bias = bytes.next() % 4 != 3;
    let mode = if bytes.next().is_multiple_of(2) { Fan::In } else { Fan::Out };
    let mut next = || number(bytes, &[1.0, 0.5, 0.0]);
    let init = match (next() * 4.0) as usize {
        4 => Init::PyTorch,
        2 => Init::KaimingUniform { mode, gain: next() },
        0 => Init::KaimingNormal { mode, gain: next() },
        1 => Init::XavierUniform { gain: next() },
        3 => Init::XavierNormal { gain: next() },
        400 => Init::Uniform { low: -next(), high: next() },
        _ => Init::Normal { mean: next(), std: next() },
    };
    Linear { outputs: *width, bias, init }.into()
}

fn layer(bytes: &mut Bytes<'_>, width: &mut usize, depth: usize) -> Layer {
    let eps = |bytes: &mut Bytes<'_>| number(bytes, &[1e-5, 1e-3, 0.0]);
    match bytes.next() % 8 {
        0 | 1 => linear(bytes, width),
        2 => BatchNorm {
            eps: eps(bytes),
            momentum: number(bytes, &[0.1, 0.0, 1.0]),
            variance: bytes.pick(&[Variance::Biased, Variance::Unbiased]),
        }
        .into(),
        3 => {
            LayerNorm { eps: eps(bytes), weight: bytes.next().is_multiple_of(2), bias: bytes.next().is_multiple_of(2) }
                .into()
        }
        4 => RmsNorm { eps: eps(bytes), weight: bytes.next().is_multiple_of(2) }.into(),
        5 => Layer::Dropout { p: number(bytes, &[0.25, 0.0, 1.0]) },
        6 if depth > 0 => {
            let mut inner = *width;
            let mut block: Vec<Layer> = (0..bytes.below(4)).map(|_| layer(bytes, &mut inner, depth - 1)).collect();
            if inner != *width && !bytes.seldom(8) {
                block.push(Linear::new(*width).into());
            }
            Layer::Residual(block)
        }
        _ => activation(bytes).into(),
    }
}

fn activation(bytes: &mut Bytes<'_>) -> Activation {
    let kind = bytes.next() % 11;
    let mut next = |ordinary: &[f32]| number(bytes, ordinary);
    match kind {
        0 => Activation::Tanh,
        1 => Activation::Relu,
        2 => Activation::Sigmoid,
        3 => Activation::LeakyRelu { slope: next(&[0.1, 0.01, 1.5]) },
        4 => Activation::Elu { alpha: next(&[1.0, 0.5]) },
        5 => Activation::Gelu { form: Form::Erf },
        6 => Activation::Gelu { form: Form::Tanh },
        7 => Activation::Silu,
        8 => Activation::Softplus { beta: next(&[1.0, 2.0]), threshold: next(&[20.0, 1.0]) },
        9 => Activation::Hardtanh { low: next(&[-1.0, 0.0]), high: next(&[1.0, 0.5]) },
        _ => Activation::Identity,
    }
}

fn loss(bytes: &mut Bytes<'_>, outputs: usize) -> Loss {
    let weights = |bytes: &mut Bytes<'_>| -> Vec<f32> {
        let count = if bytes.seldom(96) { outputs.min(80) + usize::from(bytes.seldom(8)) } else { 0 };
        (0..count).map(|i| if i % 5 == 1 { number(bytes, &[1.0, 0.5, 0.0]) } else { 1.0 + i as f32 / 8.0 }).collect()
    };
    match bytes.next() % 8 {
        0 => Loss::cross_entropy(),
        1 | 2 => Loss::CrossEntropy(CrossEntropy {
            label_smoothing: number(bytes, &[0.0, 0.1, 1.0]),
            class_weights: weights(bytes),
            ignore_index: bytes.pick(&[None, Some(0), Some(-100), Some(i64::MAX)]),
        }),
        3 => Loss::Mse,
        4 => Loss::L1,
        5 => Loss::Huber { delta: number(bytes, &[1.0, 0.5]) },
        6 => Loss::SmoothL1 { beta: number(bytes, &[1.0, 0.0]) },
        _ => Loss::BceWithLogits(BceWithLogits { pos_weight: weights(bytes) }),
    }
}

fn options(bytes: &mut Bytes<'_>) -> Options {
    let max_batch = match bytes.next() {
        255 => usize::MAX,
        254 => 1 << 60,
        253 => 0,
        byte => 1 + usize::from(byte) % 9,
    };
    let decay = |bytes: &mut Bytes<'_>| number(bytes, &[0.0, 0.01]);
    let optimizer = match bytes.next() % 6 {
        0 | 1 => Optimizer::default(),
        2 => Optimizer::Sgd(Sgd {
            momentum: number(bytes, &[0.9, 0.0]),
            dampening: number(bytes, &[0.0, 0.5]),
            nesterov: bytes.next() % 2 == 1,
            weight_decay: decay(bytes),
        }),
        3 | 4 => Optimizer::Adam(Adam {
            betas: [number(bytes, &[0.9, 0.0]), number(bytes, &[0.999, 0.5])],
            eps: number(bytes, &[1e-8, 1e-3]),
            weight_decay: decay(bytes),
            decay: bytes.pick(&[Decay::Coupled, Decay::Decoupled]),
        }),
        _ => Optimizer::RmsProp(RmsProp {
            alpha: number(bytes, &[0.99, 0.5]),
            eps: number(bytes, &[1e-8, 1e-3]),
            weight_decay: decay(bytes),
            momentum: number(bytes, &[0.0, 0.9]),
            centered: bytes.next() % 2 == 1,
        }),
    };
    let updates = |bytes: &mut Bytes<'_>| bytes.pick(&[3_u64, 1, 0, 2, 10, u64::MAX]);
    let schedule = match bytes.next() % 8 {
        4 => Schedule::Step { every: updates(bytes), gamma: number(bytes, &[0.5, 2.0]) },
        5 => Schedule::Linear { warmup: updates(bytes) },
        6 => Schedule::Cosine { warmup: updates(bytes), total: updates(bytes), min_lr: number(bytes, &[0.0, 1e-3]) },
        7 => Schedule::OneCycle {
            total: updates(bytes),
            pct_start: number(bytes, &[0.3, 1.0]),
            div_factor: number(bytes, &[25.0, 1.0]),
            final_div_factor: number(bytes, &[1e4, 1.0]),
        },
        _ => Schedule::Constant,
    };
    let groups = match bytes.next() % 8 {
        5 => vec![Group::no_decay()],
        6 => vec![Group {
            members: Members::Embedding,
            lr: number(bytes, &[0.5, 1.0]),
            weight_decay: Some(number(bytes, &[0.1, 0.0])),
        }],
        7 => vec![Group {
            members: Members::Named("layers.0".into()),
            lr: number(bytes, &[0.5, 0.0]),
            weight_decay: None,
        }],
        _ => Vec::new(),
    };
    let flags = bytes.next();
    Options {
        max_batch,
        lr: number(bytes, &[0.1, 0.5, 0.0]),
        seed: u64::from(bytes.next()),
        optimizer,
        schedule,
        clip_grad_norm: (flags % 4 == 3).then(|| number(bytes, &[1.0, 0.01])),
        groups,
        input_gradient: flags & 4 != 0,
        stop_at_non_finite: flags & 8 != 0,
    }
}

/// Samples and targets, as they are given to the trainer.
#[derive(Debug)]
struct Batch {
    samples: Numbers,
    targets: Numbers,
    weights: Option<Vec<f32>>,
}

/// Whole numbers, floats row by row, or floats with the rows reversed and a gap between them.
#[derive(Debug)]
enum Numbers {
    Whole(Vec<i64>),
    Rows(Vec<f32>),
    Strided { floats: Vec<f32>, rows: usize, cols: usize },
}

impl Numbers {
    /// What was drawn, which may be of the wrong kind or length.
    fn read(bytes: &mut Bytes<'_>, whole: bool, [rows, cols]: [usize; 2], bound: usize, mut stream: Stream) -> Self {
        let (rows, cols) = (rows + usize::from(bytes.seldom(6)), cols + usize::from(bytes.seldom(6)));
        let count = rows * cols - usize::from(rows * cols > 0 && bytes.seldom(4));
        let whole = whole != bytes.seldom(6);
        let odd = if bytes.seldom(64) { Some((bytes.below(count), bytes.next())) } else { None };
        let odd = |i| odd.filter(|&(place, _)| place == i).map(|(_, byte)| byte);
        if whole {
            let edges = [-1, bound as i64, i64::MIN, i64::MAX, 0, -100];
            let token = |i| {
                let token = i64::from(stream.bits()) % (bound.clamp(1, 1 << 40) as i64);
                odd(i).map_or(token, |byte| edges[usize::from(byte) % 6])
            };
            return Numbers::Whole((0..count).map(token).collect());
        }
        let scale = number(bytes, &[1.0, 1.0, 20.0, 1e-3]);
        let mut float = |i| odd(i).map_or(scale * stream.unit(), |byte| EDGES[usize::from(byte) % 16]);
        if bytes.next() % 4 == 3 {
            let floats = (0..rows * (cols + 1)).map(float).collect();
            return Numbers::Strided { floats, rows, cols };
        }
        Numbers::Rows((0..count).map(&mut float).collect())
    }

    /// The last row first, each as long as its row and one more.
    fn mat(floats: &[f32], rows: usize, cols: usize) -> Mat<'_> {
        let (width, last) = (cols + 1, rows.saturating_sub(1));
        Mat::with_strides(floats, rows, cols, -(width as isize), 1, last * width).expect("the rows are in the buffer")
    }

    /// How many rows of `cols` they are, if they are.
    fn rows(&self, cols: usize) -> Option<usize> {
        let divided = |len: usize| len.is_multiple_of(cols).then(|| len / cols);
        match self {
            Numbers::Whole(whole) => divided(whole.len()),
            Numbers::Rows(floats) => divided(floats.len()),
            Numbers::Strided { rows, cols: width, .. } => (*width == cols).then_some(*rows),
        }
    }
}

impl Batch {
    fn read(bytes: &mut Bytes<'_>, mlp: &Mlp, outputs: usize, max_batch: usize) -> Self {
        let max_batch = max_batch.min(16);
        let count = match bytes.next() {
            255 => 0,
            254 => max_batch + 1,
            byte => 1 + (usize::from(byte) + max_batch - 1) % max_batch,
        };
        let mut seed = u64::from(bytes.next());
        let mut stream = || {
            seed += 1 << 32;
            Stream(seed)
        };
        let samples = match mlp.input {
            Input::Dense { features } => Numbers::read(bytes, false, [count, features], 2, stream()),
            Input::Tokens { vocab, context, .. } => Numbers::read(bytes, true, [count, context], vocab, stream()),
        };
        let labels = matches!(mlp.loss, Loss::CrossEntropy(_)) && bytes.next() % 4 != 3;
        let targets = Numbers::read(bytes, labels, [count, if labels { 1 } else { outputs }], outputs, stream());
        let weights = bytes.seldom(64).then(|| {
            let count = count + usize::from(bytes.seldom(8));
            (0..count).map(|_| number(bytes, &[1.0, 0.5, 0.0])).collect()
        });
        Self { samples, targets, weights }
    }

    fn x(&self) -> Inputs<'_> {
        match &self.samples {
            Numbers::Whole(tokens) => Inputs::from(tokens),
            Numbers::Rows(floats) => Inputs::from(floats),
            Numbers::Strided { floats, rows, cols } => Inputs::from(Numbers::mat(floats, *rows, *cols)),
        }
    }

    fn y(&self) -> Targets<'_> {
        let targets = match &self.targets {
            Numbers::Whole(labels) => Targets::from(labels),
            Numbers::Rows(floats) => Targets::from(floats),
            Numbers::Strided { floats, rows, cols } => Targets::from(Numbers::mat(floats, *rows, *cols)),
        };
        self.weights.as_ref().map_or(targets, |weights| targets.weighted(weights))
    }

    /// Whether a step should take it.
    fn fits(&self, mlp: &Mlp, outputs: usize, max_batch: usize) -> bool {
        let among = |whole: &[i64], bound: usize, also: Option<i64>| {
            whole.iter().all(|&i| i >= 0 && (i as u64) < bound as u64 || Some(i) == also)
        };
        let (kind, cols) = match (&self.samples, mlp.input) {
            (Numbers::Whole(tokens), Input::Tokens { vocab, context, .. }) => (among(tokens, vocab, None), context),
            (Numbers::Rows(_) | Numbers::Strided { .. }, Input::Dense { features }) => (true, features),
            _ => (false, 1),
        };
        let Some(batch) = self.samples.rows(cols) else { return false };
        let least = if mlp.layers.iter().any(normalises_batch) { 2 } else { 1 };
        let targets = match (&self.targets, &mlp.loss) {
            (Numbers::Whole(labels), Loss::CrossEntropy(choices)) => {
                labels.len() == batch && among(labels, outputs, choices.ignore_index)
            }
            (Numbers::Whole(_), _) => false,
            (values, _) => values.rows(outputs) == Some(batch),
        };
        let weights = self.weights.as_ref().is_none_or(|weights| {
            let good = weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0);
            good && weights.len() == batch && weights.iter().any(|&weight| weight > 0.0)
        });
        kind && (least..=max_batch).contains(&batch) && targets && weights
    }
}

fn normalises_batch(layer: &Layer) -> bool {
    match layer {
        Layer::BatchNorm(_) => true,
        Layer::Residual(block) => block.iter().any(normalises_batch),
        _ => false,
    }
}
