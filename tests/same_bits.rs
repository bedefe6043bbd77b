//! The same bits everywhere: a thousand steps give the same losses and the same parameters on any number of threads, on
//! every tier that has a fused multiply-add, and whether gradients are written down or used where they arise. A tier
//! without one stays close.

mod common;

use common::compare::{Tolerance, same_bits, within};
use common::zoo::{self, Animal};
use common::{Way, makemore, serial, state, tiers};
use handgrad::kernels::view::Mat;
use handgrad::{
    Activation, BatchNorm, Exec, Input, Inputs, Isa, Layer, Linear, Loss, Many, Mlp, Options, Trainer, Variance,
};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use std::time::{Duration, Instant};

/// Steps of a whole run.
const STEPS: usize = 1_000;
/// Steps after which parameters are compared too, and after which tiers that round otherwise are still close.
const FEW: usize = 200;
/// Steps of a short run.
const SHORT: usize = 60;
/// How long a second worker may take to start.
const PATIENCE: Duration = Duration::from_secs(20);
/// Batches in the data, the last of them smaller.
const BATCHES: usize = 8;

/// A network and the data it is trained on.
struct Task {
    name: &'static str,
    mlp: Mlp,
    batch: usize,
    last: usize,
    lr: f32,
    x: Data,
    labels: Vec<i64>,
}

enum Data {
    Tokens(Vec<i64>),
    /// Rows that stand in reverse order, apart from each other.
    Dense(Vec<f32>),
}

/// What a run leaves: its losses, and the parameters and running statistics after [`FEW`] steps and at its end.
#[derive(Clone)]
struct Run {
    losses: Vec<u32>,
    after_few: Vec<u32>,
    at_end: Vec<u32>,
}

fn biasless(outputs: usize) -> Layer {
    Linear { bias: false, ..Linear::new(outputs) }.into()
}

/// The notebook's network, and two whose every size is odd: with and without biases, one and two norms.
fn tasks() -> Vec<Task> {
    let odd_tokens = Mlp {
        input: Input::Tokens { vocab: 13, context: 5, embedding: 7 },
        layers: vec![
            biasless(37),
            BatchNorm { variance: Variance::Unbiased, ..BatchNorm::default() }.into(),
            Activation::Tanh.into(),
            Linear::new(37).into(),
            Activation::Sigmoid.into(),
            Linear::new(11).into(),
        ],
        loss: Loss::cross_entropy(),
    };
    let odd_rows = Mlp {
        input: Input::Dense { features: 19 },
        layers: vec![
            Linear::new(37).into(),
            Activation::Sigmoid.into(),
            biasless(37),
            BatchNorm::default().into(),
            Activation::Tanh.into(),
            biasless(5),
        ],
        loss: Loss::cross_entropy(),
    };
    vec![
        Task::new("makemore, hidden 200", makemore(27, 3, 10, 200), [32, 21], 0.1),
        Task::new("odd, tokens", odd_tokens, [29, 17], 0.2),
        Task::new("odd, dense", odd_rows, [29, 13], 0.2),
    ]
}

impl Task {
    fn new(name: &'static str, mlp: Mlp, [batch, last]: [usize; 2], lr: f32) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let samples = batch * (BATCHES - 1) + last;
        let classes = mlp.outputs().unwrap() as i64;
        let x = match mlp.input {
            Input::Tokens { vocab, context, .. } => {
                Data::Tokens((0..samples * context).map(|_| rng.random_range(0..vocab as i64)).collect())
            }
            Input::Dense { features } => {
                Data::Dense((0..samples * (features + 3)).map(|_| rng.random_range(-2.0..2.0)).collect())
            }
        };
        let labels = (0..samples).map(|_| rng.random_range(0..classes)).collect();
        Self { name, mlp, batch, last, lr, x, labels }
    }

    /// The samples and labels of a step.
    fn minibatch(&self, step: usize) -> (Inputs<'_>, &[i64]) {
        let at = step % BATCHES;
        let batch = if at == BATCHES - 1 { self.last } else { self.batch };
        let rows = at * self.batch..at * self.batch + batch;
        let labels = &self.labels[rows.clone()];
        let x = match (&self.x, self.mlp.input) {
            (Data::Tokens(tokens), Input::Tokens { context, .. }) => {
                Inputs::Tokens(&tokens[rows.start * context..rows.end * context])
            }
            (Data::Dense(values), Input::Dense { features }) => {
                let stride = features + 3;
                let values = &values[rows.start * stride..rows.end * stride];
                let last = (batch - 1) * stride;
                Inputs::Strided(Mat::with_strides(values, batch, features, -(stride as isize), 1, last).unwrap())
            }
            _ => unreachable!("the data is made for the network"),
        };
        (x, labels)
    }

    fn run(&self, exec: &Exec, way: Way, steps: usize) -> Run {
        let options = Options { max_batch: self.batch, lr: self.lr, seed: 3, ..Options::default() };
        let mut trainer = Trainer::new(&self.mlp, options, exec).unwrap();
        let mut run = Run { losses: Vec::with_capacity(steps), after_few: Vec::new(), at_end: Vec::new() };
        exec.install(|| {
            for step in 0..steps {
                let (x, y) = self.minibatch(step);
                run.losses.push(way.run(&mut trainer, x, y).unwrap().to_bits());
                if step + 1 == FEW {
                    run.after_few = state(&trainer);
                }
            }
        });
        run.at_end = state(&trainer);
        run
    }
}

/// Whether two runs are the same; the first may be shorter.
fn same(run: &Run, whole: &Run) -> Result<(), String> {
    let steps = run.losses.len();
    same_bits(&run.losses, &whole.losses[..steps]).map_err(|wrong| format!("losses: {wrong}"))?;
    same_bits(&run.after_few, &whole.after_few).map_err(|wrong| format!("parameters after {FEW}: {wrong}"))?;
    if steps < whole.losses.len() {
        return Ok(());
    }
    same_bits(&run.at_end, &whole.at_end).map_err(|wrong| format!("parameters at the end: {wrong}"))
}

/// Whether the losses and parameters of a tier without a fused multiply-add are those of the others but for rounding.
fn close(run: &Run, whole: &Run) -> Result<f64, String> {
    let floats = |bits: &[u32]| bits.iter().map(|&x| f32::from_bits(x)).collect::<Vec<_>>();
    let wide = |bits: &[u32]| bits.iter().map(|&x| f32::from_bits(x).into()).collect::<Vec<f64>>();
    let (few, tolerance) = (&run.losses[..FEW], Tolerance::absolute(1e-4));
    let loss = within(&[FEW], &floats(few), &wide(&whole.losses[..FEW]), tolerance)?;
    let params = within(&[run.after_few.len()], &floats(&run.after_few), &wide(&whole.after_few), tolerance)?;
    Ok(loss.max(params))
}

fn learns(run: &Run) -> bool {
    let mean = |losses: &[u32]| losses.iter().map(|&x| f32::from_bits(x)).sum::<f32>() / losses.len() as f32;
    mean(&run.losses[STEPS - BATCHES..]) < 0.9 * mean(&run.losses[..BATCHES])
}

#[test]
fn threads_and_ways_give_the_same_bits() {
    let isa = Exec::serial().unwrap().isa();
    let tasks = tasks();
    let alone = |task: &Task| {
        let whole = task.run(&serial(isa), Way::Step, STEPS);
        assert!(learns(&whole), "{} must learn, or its bits say little", task.name);
        let passes = task.run(&serial(isa), Way::Passes, STEPS);
        same(&passes, &whole).unwrap_or_else(|wrong| panic!("{}, in passes: {wrong}", task.name));
        whole
    };
    let wholes: Vec<_> = tasks.iter().map(alone).collect();
    for threads in 1..=4 {
        let exec = Exec::with_threads(threads).unwrap().with_min_piece(0);
        let begun = Instant::now();
        loop {
            for (task, whole) in tasks.iter().zip(&wholes) {
                for (way, steps) in [(Way::Step, STEPS), (Way::Passes, FEW)] {
                    let wrong = same(&task.run(&exec, way, steps), whole);
                    wrong.unwrap_or_else(|wrong| panic!("{}, {threads} threads, {way:?}: {wrong}", task.name));
                }
            }
            // On a busy machine one worker may have done it all while the others were still to start.
            if exec.workers_seen() > 1 || threads == 1 || begun.elapsed() > PATIENCE {
                break;
            }
        }
        println!("same bits, {threads} threads on {isa}: {STEPS} steps, {} workers seen", exec.workers_seen());
        assert!(threads == 1 || exec.workers_seen() > 1, "only one of {threads} threads worked");
    }
}

#[test]
fn tiers_give_the_same_bits() {
    let best = Isa::best();
    assert!(best.is_fused() || Isa::available().count() == 2, "the best tier of this CPU is fused");
    let tasks = tasks();
    let fused = Isa::available().filter(|isa| isa.is_fused()).last().expect("the scalar tier is fused");
    let whole: Vec<_> = tasks.iter().map(|task| task.run(&serial(fused), Way::Step, STEPS)).collect();
    tiers::on_every_tier("same bits, tiers", |isa| {
        for (task, whole) in tasks.iter().zip(&whole) {
            for way in Way::ALL {
                // On the scalar tier one of the two ways goes to the end.
                let whole_run = isa.is_fused() && (isa.name() != "scalar" || way == Way::Step);
                let steps = if whole_run { STEPS } else { FEW };
                let run = task.run(&serial(isa), way, steps);
                let what = format!("{} on {isa}, {way:?}", task.name);
                if isa.is_fused() {
                    same(&run, whole).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
                    println!("same bits, {what}: {steps} steps as on {fused}");
                } else {
                    let off = close(&run, whole).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
                    println!("same bits, {what}: not fused, {steps} steps within {off:.1e} of {fused}");
                }
            }
        }
    });
}

#[test]
fn wide_products_give_the_same_bits() {
    // Wide enough for operands to be packed, for two threads to be worth while, and odd all the same.
    let wide = Mlp {
        input: Input::Dense { features: 1_101 },
        layers: vec![
            Linear::new(523).into(),
            BatchNorm::default().into(),
            Activation::Tanh.into(),
            Linear::new(1_033).into(),
        ],
        loss: Loss::cross_entropy(),
    };
    let task = Task::new("wide", wide, [130, 61], 0.1);
    let [begun, whole] = [2, BATCHES].map(|steps| task.run(&serial(Isa::best()), Way::Step, steps));
    let pool = Exec::with_threads(2).unwrap();
    let forced = Exec::with_threads(3).unwrap().with_min_piece(0);
    for isa in Isa::available().filter(|isa| isa.is_fused() == Isa::best().is_fused()) {
        let runs = [(serial(isa), Way::Passes), (pool.clone(), Way::Step), (forced.clone(), Way::Passes)];
        // The scalar tier takes a hundred times as long: two steps on one thread must do.
        let (steps, runs, whole) =
            if isa.name() == "scalar" { (2, &runs[..1], &begun) } else { (BATCHES, &runs[..], &whole) };
        for (exec, way) in runs {
            let exec = exec.clone().with_isa(isa);
            let run = task.run(&exec, *way, steps);
            same(&run, whole).unwrap_or_else(|wrong| panic!("{isa}, {} threads: {wrong}", exec.threads()));
        }
    }
    println!("same bits, 1101x523x1033: 1 to 3 threads, every tier that is fused");
}

/// The losses of some steps and what is learned.
fn short_run(animal: &Animal, exec: &Exec, way: Way) -> [Vec<u32>; 2] {
    let mut trainer = Trainer::new(&animal.mlp, animal.options.clone(), exec).unwrap();
    let losses = exec.install(|| {
        let step = |step| {
            let (x, y) = animal.batch(step);
            way.run(&mut trainer, x, y).unwrap().to_bits()
        };
        (0..SHORT).map(step).collect()
    });
    [losses, state(&trainer)]
}

#[test]
fn every_layer_loss_and_optimiser_gives_the_same_bits() {
    let fused = Isa::available().filter(|isa| isa.is_fused()).last().expect("the scalar tier is fused");
    for animal in zoo::animals() {
        let name = animal.name;
        let whole = short_run(&animal, &serial(fused), Way::Step);
        let mean = |losses: &[u32]| losses.iter().map(|&x| f32::from_bits(x)).sum::<f32>() / losses.len() as f32;
        let (first, last) = (mean(&whole[0][..10]), mean(&whole[0][SHORT - 10..]));
        assert!(last < first, "{name}: the loss goes from {first} to {last}");
        tiers::on_every_tier("same bits, zoo", |isa| {
            for way in Way::ALL {
                let run = short_run(&animal, &serial(isa), way);
                if isa.is_fused() {
                    for (got, want) in run.iter().zip(&whole) {
                        same_bits(got, want).unwrap_or_else(|wrong| panic!("{name} on {isa}, {way:?}: {wrong}"));
                    }
                } else {
                    let near = (mean(&run[0]) - mean(&whole[0])).abs() < 0.02 * mean(&whole[0]);
                    assert!(near, "{name} on {isa}: the mean loss is {}", mean(&run[0]));
                }
            }
        });
        for threads in [2, 3, 4, 7] {
            let exec = Exec::with_threads(threads).unwrap().with_min_piece(0).with_isa(fused);
            for way in Way::ALL {
                for (got, want) in short_run(&animal, &exec, way).iter().zip(&whole) {
                    same_bits(got, want).unwrap_or_else(|wrong| panic!("{name}, {threads} threads, {way:?}: {wrong}"));
                }
            }
        }
    }
}

/// Networks trained side by side have the bits they have alone.
#[test]
fn many_networks_give_the_bits_of_each_alone() {
    let seeds = [3, 1, 4, 1, 5];
    for animal in zoo::animals() {
        let alone: Vec<_> = seeds
            .iter()
            .map(|&seed| {
                let options = Options { seed, ..animal.options.clone() };
                let mut trainer = Trainer::new(&animal.mlp, options, &serial(Isa::best())).unwrap();
                let losses: Vec<u32> = (0..SHORT)
                    .map(|step| {
                        let (x, y) = animal.batch(step + seed as usize);
                        trainer.step(x, y).unwrap().to_bits()
                    })
                    .collect();
                (losses, state(&trainer))
            })
            .collect();
        for threads in [1, 2, 4] {
            let exec = Exec::with_threads(threads).unwrap().with_min_piece(0);
            let mut many = Many::new(&animal.mlp, &animal.options, &seeds, &exec).unwrap();
            let mut losses = vec![Vec::new(); seeds.len()];
            exec.install(|| {
                let mut now = [f32::NAN; 5];
                for step in 0..SHORT {
                    many.step(|network| animal.batch(step + seeds[network] as usize), &mut now).unwrap();
                    losses.iter_mut().zip(now).for_each(|(all, now)| all.push(now.to_bits()));
                }
            });
            for (network, (want, learned)) in alone.iter().enumerate() {
                let what = format!("{}, network {network}, {threads} threads", animal.name);
                same_bits(&losses[network], want).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
                let state = state(many.get(network).unwrap());
                same_bits(&state, learned).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
            }
        }
        // A batch that does not fit changes no network.
        let mut many = Many::new(&animal.mlp, &animal.options, &seeds, &serial(Isa::best())).unwrap();
        let before: Vec<_> = (0..5).map(|network| state(many.get(network).unwrap())).collect();
        let wrong = |network| if network == 3 { (animal.batch(0).0, animal.batch(2).1) } else { animal.batch(0) };
        assert!(many.step(wrong, &mut [0.0; 5]).is_err());
        assert!(many.step(|_| animal.batch(0), &mut [0.0; 4]).is_err());
        assert_eq!((0..5).map(|network| state(many.get(network).unwrap())).collect::<Vec<_>>(), before);
    }
}

#[test]
fn one_bit_is_found() {
    let task = &tasks()[1];
    let whole = task.run(&Exec::serial().unwrap(), Way::Step, STEPS);
    assert_eq!(same(&whole, &whole), Ok(()));
    let mut wrong = whole.clone();
    wrong.losses[123] ^= 1;
    assert!(same(&wrong, &whole).unwrap_err().contains("losses: 1 of 1000 differ in their bits, first at 123"));
    let mut wrong = whole.clone();
    wrong.after_few[5] ^= 1;
    assert!(same(&wrong, &whole).unwrap_err().contains("parameters after 200: 1 of"));
    let mut wrong = whole.clone();
    wrong.at_end.pop();
    assert!(same(&wrong, &whole).unwrap_err().contains("parameters at the end"));
    let mut wrong = whole.clone();
    wrong.after_few[5] = (f32::from_bits(wrong.after_few[5]) + 3e-4).to_bits();
    assert!(close(&wrong, &whole).unwrap_err().contains("1 of"));
}
