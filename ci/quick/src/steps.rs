//! Twenty steps of each network of the zoo: the outputs of the first against the network in f64, then the bits of every
//! loss and of all that is learned.

use crate::common::serial;
use crate::common::tiers::on_every_tier;
use crate::compare::{Tolerance, same_bits, within};
use crate::reference::{Reference, Samples, Statistics};
use crate::zoo::{Animal, animals};
use handgrad::kernels::view::View;
use handgrad::{Exec, Inputs, Isa, Trainer};

const STEPS: usize = 20;
/// The part of the largest output that rounding in f32 may take.
const SHARE: f64 = 1e-5;

fn samples(x: &Inputs<'_>) -> Samples {
    match x {
        Inputs::Tokens(tokens) => Samples::Tokens(tokens.to_vec()),
        Inputs::Dense(rows) => Samples::Dense(rows.to_vec()),
        Inputs::Strided(_) => unreachable!("the zoo has no other samples"),
    }
}

/// Fails unless the first outputs are those of the network in f64.
fn check_outputs(animal: &Animal, exec: &Exec) {
    let mut trainer = Trainer::new(&animal.mlp, animal.options.clone(), exec).unwrap();
    let reference = Reference::new(&animal.mlp, &trainer);
    let (x, _) = animal.batch(0);
    let want = reference.outputs(reference.input(&samples(&x)), Statistics::Batch);
    let got: Vec<f32> = View::from(trainer.forward(x).unwrap()).iter().collect();
    let tolerance = Tolerance::of_largest(SHARE, &want.values);
    within(&[want.count(), want.width], &got, &want.values, tolerance)
        .unwrap_or_else(|wrong| panic!("{} on {}: {wrong}", animal.name, exec.isa()));
}

/// The losses, and the parameters and running statistics at the end, as bits.
fn run(animal: &Animal, exec: &Exec) -> [Vec<u32>; 2] {
    let mut trainer = Trainer::new(&animal.mlp, animal.options.clone(), exec).unwrap();
    let step = |step| {
        let (x, y) = animal.batch(step);
        trainer.step(x, y).unwrap().to_bits()
    };
    let losses = (0..STEPS).map(step).collect();
    let running = trainer.running_names().flat_map(|name| trainer.running(name).unwrap().to_vec());
    let state = trainer.params().iter().copied().chain(running).map(f32::to_bits).collect();
    [losses, state]
}

fn mean(losses: &[u32]) -> f32 {
    losses.iter().map(|&loss| f32::from_bits(loss)).sum::<f32>() / losses.len() as f32
}

/// Whether a run has the bits of that on a fused tier; one that is not fused need only come near its mean loss.
fn compare(isa: Isa, got: &[Vec<u32>; 2], want: &[Vec<u32>; 2]) -> Result<(), String> {
    if isa.is_fused() {
        return got.iter().zip(want).try_for_each(|(got, want)| same_bits(got, want));
    }
    let (got, want) = (mean(&got[0]), mean(&want[0]));
    if (got - want).abs() < 0.02 * want { Ok(()) } else { Err(format!("the mean loss is {got}, not {want}")) }
}

#[test]
fn twenty_steps_of_the_zoo() {
    let animals = animals();
    let scalar = serial(Isa::from_name("scalar").unwrap());
    let wants: Vec<_> = animals.iter().map(|animal| run(animal, &scalar)).collect();
    on_every_tier(&format!("quick: {STEPS} steps of {} networks", animals.len()), |isa| {
        let exec = serial(isa);
        for (animal, want) in animals.iter().zip(&wants) {
            check_outputs(animal, &exec);
            compare(isa, &run(animal, &exec), want).unwrap_or_else(|wrong| panic!("{} on {isa}: {wrong}", animal.name));
        }
    });
}

/// Threads share parts of the same buffers: what a sanitizer of threads looks at.
#[test]
#[cfg_attr(target_family = "wasm", ignore = "there are no threads")]
fn threads_give_the_same_bits() {
    let exec = Exec::with_threads(3).unwrap().with_min_piece(0);
    for animal in animals() {
        let want = run(&animal, &serial(exec.isa()));
        let got = exec.install(|| run(&animal, &exec));
        for (got, want) in got.iter().zip(&want) {
            same_bits(got, want).unwrap_or_else(|wrong| panic!("{}, 3 threads: {wrong}", animal.name));
        }
    }
}

#[test]
fn a_wrong_run_is_found() {
    let fused = Isa::from_name("scalar").unwrap();
    let unfused = Isa::available().find(|isa| !isa.is_fused());
    let want = [vec![1.5_f32.to_bits(); 4], vec![0.25_f32.to_bits(); 3]];
    let mut got = want.clone();
    assert_eq!(compare(fused, &got, &want), Ok(()));
    got[1][2] ^= 1;
    assert!(compare(fused, &got, &want).unwrap_err().contains("1 of 3 differ"));
    got[0] = vec![1.4_f32.to_bits(); 4];
    assert!(unfused.is_none_or(|isa| compare(isa, &got, &want).unwrap_err().contains("mean loss")));
}
