//! Whole trainings: the losses of every step, and all that is learned.

use crate::common::{Way, makemore, state, zoo};
use crate::run::{Case, Run};
use crate::tensor::Layout;
use handgrad::kernels::view::Mat;
use handgrad::{Activation, BatchNorm, Input, Inputs, Layer, LayerNorm, Linear, Loss, Mlp, Options, Targets, Trainer};

/// Steps of the trainings of networks made here.
const STEPS: usize = 500;
/// Steps of a training that only shows that each layer, loss and optimiser is there.
const SHORT: usize = 60;
/// Samples in a batch, and in the last one.
const BATCH: [usize; 2] = [32, 21];
const BATCHES: usize = 8;
const SAMPLES: usize = BATCH[0] * (BATCHES - 1) + BATCH[1];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![Case { has_layouts: false, ..training("notebook", notebook) }, training("dense rows", dense)];
    let short = zoo::animals().into_iter().map(|animal| {
        let name = animal.name.replace([',', ';'], "");
        let run =
            move |r: &mut Run<'_>| train(r, &animal.mlp, animal.options.clone(), SHORT, |step| animal.batch(step));
        Case { has_layouts: false, ..training(&name, run) }
    });
    cases.extend(short);
    cases
}

/// A case that cannot fail but by a panic.
fn training(name: &str, run: impl Fn(&mut Run<'_>) + Send + Sync + 'static) -> Case {
    Case::new(&format!("training/{name}"), move |r| {
        run(r);
        Ok(())
    })
}

/// Runs steps on batches and keeps the losses and all that is learned.
fn train<'a>(
    r: &mut Run<'_>,
    mlp: &Mlp,
    options: Options,
    steps: usize,
    batch: impl Fn(usize) -> (Inputs<'a>, Targets<'a>),
) {
    let mut trainer = Trainer::new(mlp, options, r.exec).expect("the network is right");
    let step = |step: usize| {
        let (x, y) = batch(step);
        // Both ways of doing a step, which have the same bits.
        let way = if step.is_multiple_of(3) { Way::Passes } else { Way::Step };
        way.run(&mut trainer, x, y).expect("the batch is right")
    };
    let losses: Vec<f32> = (0..steps).map(step).collect();
    r.keep_slice(&losses);
    let learned: Vec<f32> = state(&trainer).into_iter().map(f32::from_bits).collect();
    r.keep_slice(&learned);
}

/// The samples of a step.
fn samples(step: usize) -> std::ops::Range<usize> {
    let at = step % BATCHES;
    at * BATCH[0]..at * BATCH[0] + BATCH[usize::from(at == BATCHES - 1)]
}

fn notebook(r: &mut Run<'_>) {
    let (tokens, labels) = (r.indices(SAMPLES * 3, 27), r.indices(SAMPLES, 27));
    let options = Options { max_batch: BATCH[0], lr: 0.1, seed: 5, ..Options::default() };
    train(r, &makemore(27, 3, 10, 64), options, STEPS, |step| {
        let rows = samples(step);
        (Inputs::Tokens(&tokens[rows.start * 3..rows.end * 3]), (&labels[rows]).into())
    });
}

fn dense(r: &mut Run<'_>) {
    const FEATURES: usize = 19;
    let act = |activation: Activation| Layer::from(activation);
    let mlp = Mlp {
        input: Input::Dense { features: FEATURES },
        layers: vec![
            Linear::new(37).into(),
            BatchNorm::default().into(),
            act(Activation::Tanh),
            Linear::new(29).into(),
            LayerNorm::default().into(),
            act(Activation::Silu),
            Linear::new(5).into(),
        ],
        loss: Loss::cross_entropy(),
    };
    let values = r.values(SAMPLES * FEATURES, [-2.0, 2.0]);
    let labels = r.indices(SAMPLES, 5);
    // A batch's rows one behind the other; or from the last to the first, apart; or its columns so.
    let layout = r.layout;
    let laid = move |row: usize, col: usize, rows: usize| match layout {
        Layout::Dense => row * FEATURES + col,
        Layout::Apart => (rows - 1 - row) * (FEATURES + 3) + col,
        Layout::Turned => (FEATURES - 1 - col) * (rows + 5) + row,
    };
    let mut batches = Vec::new();
    for at in 0..BATCHES {
        let rows = samples(at);
        let places = (0..rows.len()).flat_map(|row| (0..FEATURES).map(move |col| (row, col)));
        let last = places.map(|(row, col)| laid(row, col, rows.len())).max().expect("a batch has rows");
        let mut data = vec![f32::NAN; last + 1];
        for (i, row) in rows.clone().enumerate() {
            for col in 0..FEATURES {
                data[laid(i, col, rows.len())] = values[row * FEATURES + col];
            }
        }
        batches.push(data);
    }
    let options = Options { max_batch: BATCH[0], lr: 0.1, seed: 5, ..Options::default() };
    train(r, &mlp, options, STEPS, |step| {
        let (rows, data) = (samples(step), &batches[step % BATCHES]);
        let place = |row, col| laid(row, col, rows.len()) as isize;
        let (down, right) = (place(1, 0) - place(0, 0), place(0, 1) - place(0, 0));
        let mat = Mat::with_strides(data, rows.len(), FEATURES, down, right, place(0, 0) as usize);
        let x = if layout == Layout::Dense { Inputs::Dense(data) } else { Inputs::Strided(mat.expect("it fits")) };
        (x, (&labels[rows]).into())
    });
}
