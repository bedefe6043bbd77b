//! Running statistics by PyTorch's rule, their calibration over a whole set, and the predictor, against f64.

use crate::common::compare::{Tolerance, assert_within};
use crate::common::reference::{Reference, Rows, Samples, Statistics, cross_entropy};
use crate::common::{serial, tiers};
use crate::{DENSE, TOKENS, data, linear, mlp, norm, stir};
use handgrad::kernels::view::Mat;
use handgrad::{Activation, BatchNorm, Exec, Inputs, Isa, Layer, Mlp, Options, Predictor, Trainer, Variance};

/// The predictor works on 256 samples at a time: one, around one block, and several.
const COUNTS: [usize; 5] = [1, 255, 256, 257, 1_000];

fn networks() -> [Mlp; 3] {
    let quick = BatchNorm { momentum: 0.3, eps: 1e-3, ..BatchNorm::default() }.into();
    [
        mlp(TOKENS, &[linear(17), norm(Variance::Unbiased), Activation::Tanh.into(), linear(5)]),
        mlp(
            DENSE,
            &[
                linear(19),
                quick,
                Activation::Sigmoid.into(),
                linear(8),
                norm(Variance::Unbiased),
                Activation::Tanh.into(),
                linear(1),
            ],
        ),
        mlp(
            DENSE,
            &[
                norm(Variance::Biased),
                linear(33),
                Activation::Tanh.into(),
                Activation::Sigmoid.into(),
                linear(3),
                Activation::Tanh.into(),
            ],
        ),
    ]
}

fn trainer(mlp: &Mlp, isa: Isa) -> Trainer {
    let options = Options { max_batch: 30, lr: 0.2, ..Options::default() };
    let mut trainer = Trainer::new(mlp, options, &serial(isa)).unwrap();
    stir(&mut trainer, 4);
    trainer
}

/// A trainer that has learned a little, so that its statistics are those of no batch.
fn trained(mlp: &Mlp, isa: Isa) -> Trainer {
    let mut trainer = trainer(mlp, isa);
    for step in 0..10 {
        let (x, y) = data(mlp, 30, step);
        trainer.step(&x, &y).unwrap();
    }
    trainer
}

/// The normalisations of a network: where they are and what they are.
fn norms(mlp: &Mlp) -> Vec<(usize, BatchNorm)> {
    let norm = |(i, layer): (usize, &Layer)| if let Layer::BatchNorm(norm) = layer { Some((i, *norm)) } else { None };
    mlp.layers.iter().enumerate().filter_map(norm).collect()
}

fn assert_running(what: &str, trainer: &Trainer, name: &str, want: &[f64]) {
    let got = trainer.running(name).unwrap().to_vec();
    let tolerance = Tolerance { rtol: 1e-5, ..Tolerance::of_largest(1e-6, want) };
    assert_within(format!("{what}, {name}"), &[want.len()], &got, want, tolerance);
}

#[test]
fn running_statistics_follow_pytorch() {
    tiers::on_every_tier("open step, running statistics", |isa| {
        for mlp in networks() {
            let mut trainer = trainer(&mlp, isa);
            for (i, norm) in norms(&mlp) {
                let width = trainer.running(&format!("layers.{i}.running_mean")).unwrap().len();
                assert_running("new", &trainer, &format!("layers.{i}.running_mean"), &vec![0.0; width]);
                assert_running("new", &trainer, &format!("layers.{i}.running_var"), &vec![1.0; width]);
                assert!(norm.momentum > 0.0);
            }
            for (step, batch) in [30, 2, 29, 7].into_iter().enumerate() {
                let (x, y) = data(&mlp, batch, step as u64);
                let before = Reference::new(&mlp, &trainer);
                trainer.step(&x, &y).unwrap();
                for (i, norm) in norms(&mlp) {
                    // Whatever the batch is normalised with, the running variance is the unbiased one.
                    let (mean, var) = before.up_to(i, before.input(&x), Statistics::Batch).moments(1.0);
                    for (field, new) in [("running_mean", mean), ("running_var", var)] {
                        let name = format!("layers.{i}.{field}");
                        let momentum = f64::from(norm.momentum);
                        let join = |(old, new): (&f64, &f64)| (1.0 - momentum) * old + momentum * new;
                        let want: Vec<_> = before.running[&name].iter().zip(&new).map(join).collect();
                        assert_running(&format!("{isa}, step {step}"), &trainer, &name, &want);
                    }
                }
            }
        }
    });
}

#[test]
fn calibration_takes_the_statistics_of_a_whole_set() {
    tiers::on_every_tier("open step, calibration", |isa| {
        for mlp in networks() {
            for samples in [2, 256, 1_000] {
                let mut trainer = trained(&mlp, isa);
                let (x, _) = data(&mlp, samples, 99);
                let mut reference = Reference::new(&mlp, &trainer);
                trainer.calibrate(&x).unwrap();
                for (i, _) in norms(&mlp) {
                    // Those of the norms before this one are in force already.
                    let (mean, var) = reference.up_to(i, reference.input(&x), Statistics::Running).moments(1.0);
                    for (field, want) in [("running_mean", mean), ("running_var", var)] {
                        let name = format!("layers.{i}.{field}");
                        assert_running(&format!("{isa}, {samples} samples"), &trainer, &name, &want);
                        reference.running.insert(name, want);
                    }
                }
            }
        }
    });
}

/// The outputs and the loss of a predictor against those of the same network in f64.
fn check(predictor: &mut Predictor, reference: &Reference, x: &Samples, y: &[i64], width: usize) -> Result<(), String> {
    let want = reference.outputs(reference.input(x), Statistics::Running);
    let mut got = vec![f32::NAN; y.len() * width];
    predictor.predict(x, &mut got).map_err(|e| e.to_string())?;
    let tolerance = Tolerance::of_largest(1e-5, &want.values);
    crate::common::compare::within(&[y.len(), width], &got, &want.values, tolerance)?;
    let (loss, truth) = (predictor.loss(x, y).map_err(|e| e.to_string())?, cross_entropy(&want, y));
    if (loss - truth).abs() <= 1e-5 * truth { Ok(()) } else { Err(format!("loss {loss}, want {truth}")) }
}

#[test]
fn the_predictor_follows_f64() {
    tiers::on_every_tier("open step, predictor", |isa| {
        for mlp in networks() {
            let trainer = trained(&mlp, isa);
            let reference = Reference::new(&mlp, &trainer);
            let mut predictor = Predictor::new(&trainer).unwrap();
            // Falling, then rising: what a longer run left behind must not show in a shorter one.
            for samples in COUNTS.into_iter().rev().chain(COUNTS) {
                let (x, y) = data(&mlp, samples, samples as u64);
                check(&mut predictor, &reference, &x, &y, mlp.outputs().unwrap())
                    .unwrap_or_else(|wrong| panic!("{isa}, {samples} samples: {wrong}"));
            }
        }
    });
    println!("open step, predictor: {COUNTS:?} samples");
}

#[test]
fn a_predictor_gives_the_same_bits_for_a_sample_alone_strided_and_on_two_threads() {
    let [_, mlp, _] = networks();
    let trainer = trained(&mlp, Isa::best());
    let mut predictor = Predictor::new(&trainer).unwrap();
    let (x, _) = data(&mlp, 300, 1);
    let Inputs::Dense(x) = Inputs::from(&x) else { unreachable!("the input is dense") };
    let features = mlp.input.width().unwrap();
    let mut together = vec![f32::NAN; 300];
    predictor.predict(x, &mut together).unwrap();
    let mut alone = [f32::NAN];
    for (sample, together) in x.chunks(features).zip(&together) {
        predictor.predict(sample, &mut alone).unwrap();
        assert_eq!(alone[0].to_bits(), together.to_bits());
    }
    let last = 299 * features;
    let upside_down = Mat::with_strides(x, 300, features, -(features as isize), 1, last).unwrap();
    let mut reversed = vec![f32::NAN; 300];
    predictor.predict(upside_down, &mut reversed).unwrap();
    reversed.reverse();
    assert_eq!(reversed, together);

    let exec = Exec::with_threads(2).unwrap().with_isa(Isa::best()).with_min_piece(0);
    let mut other = Trainer::new(&mlp, Options { max_batch: 30, lr: 0.2, ..Options::default() }, &exec).unwrap();
    stir(&mut other, 4);
    exec.install(|| {
        for step in 0..10 {
            let (x, y) = data(&mlp, 30, step);
            other.step(&x, &y).unwrap();
        }
        Predictor::new(&other).unwrap().predict(x, &mut reversed).unwrap();
    });
    assert_eq!(reversed, together);
}

#[test]
fn a_predictor_keeps_what_it_copied() {
    let [mlp, ..] = networks();
    let mut trainer = trained(&mlp, Isa::best());
    let (x, y) = data(&mlp, 20, 7);
    let mut predictor = Predictor::new(&trainer).unwrap();
    let before = predictor.loss(&x, &y).unwrap();
    trainer.step(&x, &y).unwrap();
    assert_eq!(predictor.loss(&x, &y).unwrap(), before);
    let after = Predictor::new(&trainer).unwrap().loss(&x, &y).unwrap();
    assert!(after < before, "a step on the same samples lowers their loss: {before} to {after}");
}

#[test]
fn statistics_of_another_set_are_found() {
    let [mlp, ..] = networks();
    let trainer = trained(&mlp, Isa::best());
    let mut reference = Reference::new(&mlp, &trainer);
    let mut predictor = Predictor::new(&trainer).unwrap();
    let (x, y) = data(&mlp, 50, 7);
    check(&mut predictor, &reference, &x, &y, 5).unwrap();
    reference.running.get_mut("layers.1.running_var").unwrap()[3] *= 1.001;
    assert!(check(&mut predictor, &reference, &x, &y, 5).unwrap_err().contains("are off"));
    let moments = Rows { width: 2, values: vec![1.0, 5.0, 3.0, 5.0] };
    assert_eq!(moments.moments(1.0), (vec![2.0, 5.0], vec![2.0, 0.0]));
}
