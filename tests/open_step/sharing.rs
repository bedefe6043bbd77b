//! Several trainers on one `Exec`, one after the other and at once; samples with any strides.

use crate::common::serial;
use crate::common::tiers;
use crate::{DENSE, Snapshot, TOKENS, data, linear, mlp, norm};
use handgrad::kernels::view::Mat;
use handgrad::{Activation, Exec, Inputs, Mlp, Options, Trainer, Variance};

const BATCH: usize = 23;
const STEPS: usize = 40;

fn networks() -> [Mlp; 2] {
    [
        mlp(TOKENS, &[linear(33), norm(Variance::Unbiased), Activation::Tanh.into(), linear(5)]),
        mlp(
            DENSE,
            &[
                linear(40),
                Activation::Sigmoid.into(),
                linear(21),
                norm(Variance::Biased),
                Activation::Tanh.into(),
                linear(3),
            ],
        ),
    ]
}

fn trainer(mlp: &Mlp, exec: &Exec) -> Trainer {
    Trainer::new(mlp, Options { max_batch: BATCH, ..Options::default() }, exec).unwrap()
}

/// Trains for some steps, the ways alternating.
fn train(mlp: &Mlp, trainer: &mut Trainer, steps: std::ops::Range<usize>) {
    for step in steps {
        let (x, y) = data(mlp, BATCH - step % 3, step as u64);
        if step % 2 == 0 {
            trainer.step(&x, &y).unwrap();
        } else {
            trainer.forward(&x).unwrap();
            trainer.backward(&y).unwrap();
            trainer.update().unwrap();
        }
    }
}

/// What each network becomes alone, on one thread.
fn alone() -> [Snapshot; 2] {
    networks().map(|mlp| {
        let mut trainer = trainer(&mlp, &Exec::serial().unwrap());
        train(&mlp, &mut trainer, 0..STEPS);
        Snapshot::of(&trainer)
    })
}

#[test]
fn trainers_take_turns_on_one_exec() {
    let exec = Exec::with_threads(2).unwrap().with_min_piece(0);
    let networks = networks();
    let mut trainers = [trainer(&networks[0], &exec), trainer(&networks[1], &exec)];
    exec.install(|| {
        for step in 0..STEPS {
            for (mlp, trainer) in networks.iter().zip(&mut trainers) {
                train(mlp, trainer, step..step + 1);
            }
        }
    });
    assert_eq!(trainers.each_ref().map(Snapshot::of), alone());
}

#[test]
fn trainers_work_at_once_on_one_exec() {
    let alone = alone();
    for threads in [1, 2, 3] {
        let exec = Exec::with_threads(threads).unwrap().with_min_piece(0);
        let [first, second] = networks();
        let (mut one, mut two) = (trainer(&first, &exec), trainer(&second, &exec));
        exec.install(|| {
            rayon::join(|| train(&first, &mut one, 0..STEPS), || train(&second, &mut two, 0..STEPS));
        });
        assert_eq!([Snapshot::of(&one), Snapshot::of(&two)], alone, "{threads} threads");
    }
}

#[test]
fn a_trainer_works_in_a_pool_that_is_not_its_own() {
    let alone = alone();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let exec = Exec::in_current_pool(2).unwrap().with_min_piece(0);
    let networks = networks();
    for (mlp, alone) in networks.iter().zip(&alone) {
        let (mut inside, mut outside) = (trainer(mlp, &exec), trainer(mlp, &exec));
        pool.install(|| train(mlp, &mut inside, 0..STEPS));
        train(mlp, &mut outside, 0..STEPS);
        assert_eq!(Snapshot::of(&inside), *alone, "inside");
        assert_eq!(Snapshot::of(&outside), *alone, "outside");
    }
}

#[test]
fn samples_may_have_any_strides() {
    let [_, mlp] = networks();
    let features = mlp.input.width().unwrap();
    let (x, y) = data(&mlp, BATCH, 1);
    let Inputs::Dense(x) = Inputs::from(&x) else { unreachable!("the input is dense") };
    tiers::on_every_tier("open step, strides", |isa| {
        let exec = serial(isa);
        let after = |x: Inputs<'_>| {
            let mut trainer = trainer(&mlp, &exec);
            let loss = trainer.step(x, &y).unwrap();
            trainer.forward(x).unwrap();
            trainer.backward(&y).unwrap();
            (loss, Snapshot::of(&trainer))
        };
        let want = after(Inputs::Dense(x));
        let (b, f) = (BATCH as isize, features as isize);
        let layouts = [
            ("padded", [f + 5, 1], 0),
            ("upside down", [-f, 1], (BATCH - 1) * features),
            ("transposed", [1, b], 0),
            ("mirrored", [f, -1], features - 1),
            ("spread", [3 * f + 1, 3], 2),
        ];
        for (name, [row, col], offset) in layouts {
            let mut buffer = vec![f32::NAN; 3 * x.len() + BATCH + 5 * BATCH + 3];
            for (place, &value) in x.iter().enumerate() {
                let (i, j) = ((place / features) as isize, (place % features) as isize);
                buffer[(offset as isize + i * row + j * col) as usize] = value;
            }
            let strided = Mat::with_strides(&buffer, BATCH, features, row, col, offset).unwrap();
            assert_eq!(after(strided.into()), want, "{name} on {isa}");
        }
        let one_row = Mat::with_strides(x, BATCH, features, 0, 1, 0).unwrap();
        let repeated = x[..features].repeat(BATCH);
        assert_eq!(after(one_row.into()), after(Inputs::Dense(&repeated)), "one row on {isa}");
    });
}
