//! What is kept when something goes wrong in the middle of a step.

mod common;

use common::{Way, serial, state, zoo};
use handgrad::{Activation, BatchNorm, Contents, Error, Input, Isa, Linear, Loss, Mlp, Notes, Options, Trainer};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A hook that panics leaves the parameters as they were and the gradients where they are: the step can be finished.
#[test]
fn a_panic_in_the_hook() {
    for animal in zoo::animals() {
        let new = || Trainer::new(&animal.mlp, animal.options.clone(), &serial(Isa::best())).unwrap();
        let (mut trainer, mut whole) = (new(), new());
        let (x, y) = animal.batch(0);
        let before = trainer.params().to_vec();
        let fell = catch_unwind(AssertUnwindSafe(|| trainer.step_with(x, y, |_| panic!("of the hook's own"))));
        assert!(fell.is_err());
        assert_eq!(trainer.params(), before, "{}", animal.name);
        assert!(trainer.grads().unwrap().iter().any(|&d| d != 0.0));
        trainer.update().unwrap();
        whole.step(x, y).unwrap();
        assert_eq!(state(&trainer), state(&whole), "{}", animal.name);
    }
}

/// The hook sees the gradients of the passes, and what it makes of them is what is used.
#[test]
fn the_hook_is_between_backward_and_update() {
    for animal in zoo::animals() {
        let new = || Trainer::new(&animal.mlp, animal.options.clone(), &serial(Isa::best())).unwrap();
        let (mut hooked, mut passes) = (new(), new());
        let (x, y) = animal.batch(1);
        let mut seen = Vec::new();
        hooked
            .step_with(x, y, |grads| {
                seen = grads.to_vec();
                for d in grads {
                    *d *= 0.5;
                }
            })
            .unwrap();
        passes.forward(x).unwrap();
        passes.backward(y).unwrap();
        assert_eq!(passes.grads().unwrap(), seen, "{}", animal.name);
        for d in passes.grads_mut().unwrap() {
            *d *= 0.5;
        }
        passes.update().unwrap();
        assert_eq!(state(&hooked), state(&passes), "{}", animal.name);
    }
}

fn watched(mlp: &Mlp, stop_at_non_finite: bool) -> Trainer {
    let options = Options { max_batch: 2, stop_at_non_finite, ..Options::default() };
    Trainer::new(mlp, options, &serial(Isa::best())).unwrap()
}

/// Everything a file would hold.
fn everything(trainer: &Trainer) -> (Vec<u32>, u64, usize) {
    let bytes = trainer.to_safetensors(Contents::Everything, &Notes::new()).unwrap();
    (state(trainer), trainer.updates(), bytes.len())
}

#[test]
fn numbers_that_are_not_finite() {
    let mlp = Mlp {
        input: Input::Dense { features: 2 },
        layers: vec![
            Linear::new(3).into(),
            BatchNorm::default().into(),
            Activation::Relu.into(),
            Linear::new(1).without_bias().into(),
        ],
        loss: Loss::Mse,
    };
    let good = [1.0, 2.0, -1.0, 0.5];
    let stopped = |trainer: &mut Trainer, x: &[f32], y: &[f32], says: &str| {
        let before = everything(trainer);
        let error = trainer.step(x, y).unwrap_err();
        assert!(matches!(&error, Error::NotFinite { tensor } if tensor == says), "{error}, wanted {says}");
        assert_eq!(everything(trainer), before, "{says}");
        trainer.step(&good[..], &[0.5, 1.0][..]).unwrap();
    };
    for bad in [f32::NAN, f32::INFINITY] {
        let x = [1.0, bad, -1.0, 0.5];
        // By default it goes where the formulas take it.
        let mut plain = watched(&mlp, false);
        assert!(plain.step(&x[..], &[0.5, 1.0][..]).unwrap().is_nan());
        assert!(plain.params().iter().any(|p| p.is_nan()));

        stopped(&mut watched(&mlp, true), &x, &[0.5, 1.0], "the input");
        stopped(&mut watched(&mlp, true), &good, &[0.5, bad], "the loss");
    }
    let mut trainer = watched(&mlp, true);
    trainer.param_mut("layers.3.weight").unwrap().fill(1e38);
    let error = trainer.step(&[3.0, 3.0, -3.0, 9.0][..], &[0.0, 0.0][..]).unwrap_err().to_string();
    assert!(error.contains("the loss is not finite") || error.contains("the output of layers.3"), "{error}");

    // A loss that is a number, and a gradient that is not.
    let line = Mlp {
        input: Input::Dense { features: 1 },
        layers: vec![Linear::new(1).without_bias().into()],
        loss: Loss::Mse,
    };
    let mut trainer = watched(&line, true);
    trainer.param_mut("layers.0.weight").unwrap().fill(0.0);
    let error = trainer.step(&[1e25, 1e25][..], &[1e15, 1e15][..]).unwrap_err().to_string();
    assert!(error.contains("the gradient of layers.0.weight is not finite"), "{error}");
}

/// Watching changes no bit of a step that goes well.
#[test]
fn watched_steps_have_the_same_bits() {
    for animal in zoo::animals() {
        let run = |stop_at_non_finite| {
            let options = Options { stop_at_non_finite, ..animal.options.clone() };
            let mut trainer = Trainer::new(&animal.mlp, options, &serial(Isa::best())).unwrap();
            for step in 0..10 {
                let (x, y) = animal.batch(step);
                Way::Step.run(&mut trainer, x, y).unwrap();
            }
            state(&trainer)
        };
        assert_eq!(run(true), run(false), "{}", animal.name);
    }
}
