//! The makemore notebook against PyTorch: the trainer on a thousand minibatches, and the notebook's exercises, each
//! gradient printed as `name | exact | approximate | maxdiff` like its `cmp`.

#[path = "notebook/cmp.rs"]
mod cmp;
mod common;
#[path = "notebook/exercise1.rs"]
mod exercise1;
#[path = "notebook/fused.rs"]
mod fused;

use cmp::Cmp;
use common::compare::{Tolerance, within};
use common::golden::{self, Golden};
use common::{Way, makemore, serial, tiers};
use handgrad::kernels::view::View;
use handgrad::{Exec, Options, Trainer};
use std::fmt::Write as _;

/// How far a loss or a parameter may be from PyTorch's float64.
const TOLERANCE: Tolerance = Tolerance::absolute(1e-5);

/// The notebook's name of each parameter, ours, and whether ours is the transpose of the notebook's.
const PARAMS: [(&str, &str, bool); 7] = [
    ("C", "embedding.weight", false),
    ("W1", "layers.0.weight", true),
    ("b1", "layers.0.bias", false),
    ("bngain", "layers.1.weight", false),
    ("bnbias", "layers.1.bias", false),
    ("W2", "layers.3.weight", true),
    ("b2", "layers.3.bias", false),
];

/// A trainer with the initial parameters of a file.
fn trainer(golden: &Golden, lr: f32, exec: &Exec) -> Trainer {
    let [vocab, embedding] = golden.sizes("init.C");
    let [inputs, hidden] = golden.sizes("init.W1");
    let [_, batch, context] = golden.sizes("X");
    assert_eq!(inputs, context * embedding);
    let options = Options { max_batch: batch, lr, ..Options::default() };
    let mut trainer = Trainer::new(&makemore(vocab, context, embedding, hidden), options, exec).unwrap();
    for (theirs, ours, transposed) in PARAMS {
        let values = golden.f32(&format!("init.{theirs}"));
        let param = trainer.param_mut(ours).unwrap();
        let mut param = if transposed { param.t().unwrap() } else { param };
        let shape = param.shape().to_vec();
        param.copy_from(View::new(&values, &shape).unwrap()).unwrap();
    }
    trainer
}

/// The steps after which a file has the parameters.
fn recorded_steps(golden: &Golden) -> Vec<usize> {
    let names = golden.names();
    let step = |name: &String| name.strip_prefix("f64.step")?.strip_suffix(".W1")?.parse().ok();
    let mut steps: Vec<usize> = names.iter().filter_map(step).collect();
    steps.sort_unstable();
    assert!(!steps.is_empty(), "the file has parameters after no step");
    steps
}

/// Trains on the minibatches of a file and compares every loss, and the parameters after each recorded step. One line
/// that says how far off they were.
fn train(golden: &Golden, lr: f32, exec: &Exec, way: Way) -> Result<String, String> {
    let [steps, batch, context] = golden.sizes("X");
    let (x, y) = (golden.i64("X"), golden.i64("Y"));
    let mut trainer = trainer(golden, lr, exec);
    let recorded = recorded_steps(golden);
    let mut losses = Vec::with_capacity(steps);
    let mut line = String::new();
    for (i, (x, y)) in x.chunks(batch * context).zip(y.chunks(batch)).enumerate() {
        losses.push(way.run(&mut trainer, x, y).map_err(|e| e.to_string())?);
        if recorded.contains(&(i + 1)) {
            let mut largest: f64 = 0.0;
            for (theirs, ours, transposed) in PARAMS {
                let name = format!("f64.step{}.{theirs}", i + 1);
                let param = trainer.param(ours).unwrap();
                let param = if transposed { param.t().unwrap() } else { param };
                let error = within(&golden.shape(&name), &param.to_vec(), &golden.f64(&name), TOLERANCE);
                largest = largest.max(error.map_err(|wrong| format!("{name}: {wrong}"))?);
            }
            write!(line, ", parameters after {} within {largest:.1e}", i + 1).unwrap();
        }
    }
    let error = within(&[steps], &losses, &golden.f64("f64.losses"), TOLERANCE)?;
    Ok(format!("{steps} losses within {error:.1e}{line}"))
}

#[test]
fn the_trainer_follows_pytorch() {
    for path in golden::files("notebook", "train_", ".safetensors") {
        let golden = Golden::open(&path);
        let (mut cases, mut failures) = (0, Vec::new());
        tiers::on_every_tier("notebook, trainer", |isa| {
            for way in Way::ALL {
                cases += 1;
                let what = format!("{} on {isa}, {way:?}", golden::name(&path));
                match train(&golden, 0.1, &serial(isa), way) {
                    Ok(line) => println!("{what}: {line}"),
                    Err(wrong) => failures.push(format!("{what}: {wrong}")),
                }
            }
        });
        println!("{}", cmp::summary("notebook, trainer", cases, &failures));
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }
}

/// The values of exercise 1, in the notebook's order.
const GRADIENTS: [&str; 26] = [
    "logprobs",
    "probs",
    "counts_sum_inv",
    "counts_sum",
    "counts",
    "norm_logits",
    "logit_maxes",
    "logits",
    "h",
    "W2",
    "b2",
    "hpreact",
    "bngain",
    "bnbias",
    "bnraw",
    "bnvar_inv",
    "bnvar",
    "bndiff2",
    "bndiff",
    "bnmeani",
    "hprebn",
    "embcat",
    "W1",
    "b1",
    "emb",
    "C",
];

#[test]
fn exercise_1_step_by_step() {
    tiers::on_every_tier("notebook, exercise 1", |isa| {
        for (single, double) in cmp::exercises() {
            let mut cmp = Cmp::new(format!("notebook, exercise 1 on {isa}"), &single, &double);
            exercise1::run(&mut cmp, &single, &serial(isa), 1.0);
            assert_eq!(cmp.names(), GRADIENTS);
            cmp.finish().unwrap();
        }
    });
}

#[test]
fn exercises_2_and_3_fused() {
    tiers::on_every_tier("notebook, exercises 2 and 3", |isa| {
        for (single, double) in cmp::exercises() {
            let mut cmp = Cmp::new(format!("notebook, exercises 2 and 3 on {isa}"), &single, &double);
            fused::run(&mut cmp, &single, &serial(isa), 1.0);
            cmp.finish().unwrap();
        }
    });
}

#[test]
fn another_learning_rate_is_found() {
    let golden = Golden::open(&golden::files("notebook", "train_", ".safetensors")[0]);
    let wrong = train(&golden, 0.1001, &Exec::serial().unwrap(), Way::Step).unwrap_err();
    assert!(wrong.contains("f64.step1.") && wrong.contains("are off; worst at"), "{wrong}");
}

#[test]
fn a_gradient_that_is_slightly_wrong_is_found() {
    let (single, double) = &cmp::exercises()[0];
    let mut cmp = Cmp::new("a wrong answer".to_owned(), single, double);
    fused::run(&mut cmp, single, &Exec::serial().unwrap(), 1.0001);
    let wrong = cmp.finish().unwrap_err();
    for name in ["logits", "hprebn", "bngain", "bnbias"] {
        assert!(wrong.contains(&format!("\n{name}: ")), "{wrong}");
    }
    let mut cmp = Cmp::new("a wrong answer".to_owned(), single, double);
    exercise1::run(&mut cmp, single, &Exec::serial().unwrap(), 1.0001);
    let wrong = cmp.finish().unwrap_err();
    // What these two are the gradients of has no effect on the loss, so that they are zero but for rounding.
    for name in GRADIENTS.into_iter().filter(|name| !["logit_maxes", "b1"].contains(name)) {
        assert!(wrong.contains(&format!("\n{name}: ")), "{name} in {wrong}");
    }
}

#[test]
fn a_tier_that_did_not_run_is_found() {
    let all = tiers::expected();
    assert_eq!(tiers::all_ran(&all), Ok(()));
    for missing in &all {
        let ran: Vec<_> = all.iter().copied().filter(|name| name != missing).collect();
        assert!(tiers::all_ran(&ran).unwrap_err().contains(missing));
    }
}
