//! Networks that PyTorch trained for some steps, trained again through the public functions, on every tier and both ways
//! that a step can be done: first outputs and gradients, losses, learning rates, norms, final parameters, and what the
//! trained network says.

mod common;
#[path = "mlp/config.rs"]
mod config;

use common::compare::{Tolerance, within};
use common::golden::{Golden, files};
use common::{serial, widened};
use config::Config;
use handgrad::{Input, Inputs, Isa, Optimizer, Predictor, Result, Target, Targets, Trainer};
use safetensors::tensor::Dtype;
use std::path::Path;

const LOSSES: Tolerance = Tolerance { rtol: 1e-5, atol: 1e-7 };
const FIRST: Tolerance = Tolerance { rtol: 1e-5, atol: 1e-6 };

/// Parameters after the last step; the early steps of Adam divide by tiny numbers.
fn final_tolerance(optimizer: Optimizer) -> Tolerance {
    let adam = matches!(optimizer, Optimizer::Adam(_) | Optimizer::RmsProp(_));
    Tolerance { rtol: 1e-4, atol: if adam { 1e-5 } else { 1e-6 } }
}

/// The batches of a golden file, in the types that a trainer takes.
enum Batches {
    Integers(Vec<i64>),
    Floats(Vec<f32>),
}

impl Batches {
    fn read(golden: &Golden, name: &str) -> Self {
        match golden.dtype(name) {
            Dtype::F32 => Batches::Floats(golden.f32(name)),
            Dtype::F64 => Batches::Floats(golden.f64(name).into_iter().map(|x| x as f32).collect()),
            _ => Batches::Integers(golden.i64(name)),
        }
    }

    fn inputs(&self, step: usize, steps: usize) -> Inputs<'_> {
        match self {
            Batches::Integers(all) => Inputs::Tokens(part(all, step, steps)),
            Batches::Floats(all) => Inputs::Dense(part(all, step, steps)),
        }
    }

    fn targets(&self, step: usize, steps: usize) -> Targets<'_> {
        match self {
            Batches::Integers(all) => Target::Labels(part(all, step, steps)).into(),
            Batches::Floats(all) => Target::Values(part(all, step, steps)).into(),
        }
    }
}

fn part<T>(all: &[T], step: usize, steps: usize) -> &[T] {
    let each = all.len() / steps;
    &all[step * each..][..each]
}

/// A golden network with its files.
struct Case {
    config: Config,
    golden: Golden,
    x: Batches,
    y: Batches,
}

impl Case {
    fn open(json: &Path) -> std::result::Result<Self, config::Unsupported> {
        let text = std::fs::read_to_string(json).unwrap_or_else(|e| panic!("{}: {e}", json.display()));
        let config = Config::parse(serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", json.display())))?;
        let golden = Golden::open(&json.with_extension("safetensors"));
        let (x, y) = (Batches::read(&golden, "X"), Batches::read(&golden, "Y"));
        match (&x, config.mlp.input) {
            (Batches::Integers(_), Input::Tokens { .. }) | (Batches::Floats(_), Input::Dense { .. }) => {}
            _ => return Err("an input of another type than its batches".to_owned()),
        }
        Ok(Self { config, golden, x, y })
    }

    /// A trainer with the parameters and statistics that PyTorch began with.
    fn trainer(&self, isa: Isa) -> Result<Trainer> {
        let mut trainer = Trainer::new(&self.config.mlp, self.config.options.clone(), &serial(isa))?;
        for name in trainer.names().map(str::to_owned).collect::<Vec<_>>() {
            let values = self.golden.f32(&format!("init.{name}"));
            let mut values = values.into_iter();
            trainer.param_mut(&name)?.fill_with(|| values.next().unwrap());
        }
        Ok(trainer)
    }

    /// Runs it and compares all that the file holds; the largest error of a loss.
    fn run(&self, isa: Isa, way: Way) -> std::result::Result<f64, String> {
        self.steps(isa, way).map_err(|e| e.to_string()).and_then(|inner| inner)
    }

    fn steps(&self, isa: Isa, way: Way) -> Result<std::result::Result<f64, String>> {
        let Self { config, golden, x, y } = self;
        let steps = config.steps;
        let mut trainer = self.trainer(isa)?;
        let mut checks = Checks { golden, failed: Vec::new(), largest: 0.0 };
        let (mut losses, mut lrs, mut norms) = (Vec::new(), Vec::new(), Vec::new());
        for step in 0..steps {
            lrs.push(trainer.lr());
            let (x, y) = (x.inputs(step, steps), y.targets(step, steps));
            if way == Way::Step && step > 0 {
                losses.push(trainer.step(x, y)?);
                norms.extend(trainer.clipped_norm());
                continue;
            }
            let outputs = widened(trainer.forward(x)?.into());
            if step == 0 {
                let outputs: Vec<f32> = outputs.iter().map(|&x| x as f32).collect();
                checks.compare("step1.logits", &outputs, FIRST);
            }
            losses.push(trainer.backward(y)?);
            if step == 0 {
                for name in trainer.names() {
                    checks.compare(&format!("step1.grad.{name}"), &trainer.grad(name)?.to_vec(), FIRST);
                }
            }
            trainer.update()?;
            norms.extend(trainer.clipped_norm());
        }
        checks.compare("losses", &losses, LOSSES);
        checks.compare("lrs", &lrs, LOSSES);
        if golden.names().iter().any(|name| name == "grad_norms") && config.options.clip_grad_norm.is_some() {
            checks.compare("grad_norms", &norms, LOSSES);
        }
        let tolerance = final_tolerance(config.options.optimizer);
        for name in trainer.names() {
            checks.compare(&format!("final.{name}"), &trainer.param(name)?.to_vec(), tolerance);
        }
        for name in trainer.running_names() {
            checks.compare(&format!("final.{name}"), &trainer.running(name)?.to_vec(), tolerance);
        }
        let mut predictor = Predictor::new(&trainer)?;
        let mut outputs = vec![f32::NAN; config.batch * predictor.output_width()];
        predictor.predict(x.inputs(0, steps), &mut outputs)?;
        checks.compare("eval.logits", &outputs, Tolerance { rtol: 1e-4, atol: 10.0 * tolerance.atol });
        Ok(if checks.failed.is_empty() { Ok(checks.largest) } else { Err(checks.failed.join("\n")) })
    }
}

/// Comparisons with one file.
struct Checks<'a> {
    golden: &'a Golden,
    failed: Vec<String>,
    /// The largest error of a loss.
    largest: f64,
}

impl Checks<'_> {
    fn compare(&mut self, name: &str, got: &[f32], tolerance: Tolerance) {
        match within(&self.golden.shape(name), got, &self.golden.f64(name), tolerance) {
            Ok(error) if name == "losses" => self.largest = error,
            Ok(_) => {}
            Err(wrong) => self.failed.push(format!("{name}: {wrong}")),
        }
    }
}

/// The two ways to do a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Step,
    Passes,
}

#[test]
fn mlp() {
    let paths = files("mlp", "", ".json");
    let (mut passed, mut failed, mut unsupported) = (0, 0, 0);
    for path in &paths {
        let id = path.file_stem().unwrap().to_string_lossy();
        let case = match Case::open(path) {
            Ok(case) => case,
            Err(what) => {
                println!("{id}: unsupported: {what}");
                unsupported += 1;
                continue;
            }
        };
        let runs = Isa::available().flat_map(|isa| [(isa, Way::Step), (isa, Way::Passes)]);
        let (largest, wrong) = runs.fold((0.0_f64, None), |(largest, wrong), (isa, way)| match case.run(isa, way) {
            Ok(error) => (largest.max(error), wrong),
            Err(what) => (largest, wrong.or(Some(format!("{isa}, {way:?}: {what}")))),
        });
        match wrong {
            None => {
                println!("{id}: losses within {largest:.1e}");
                passed += 1;
            }
            Some(what) => {
                println!("{id}: {what}");
                failed += 1;
            }
        }
    }
    println!("mlp: {} cases, {passed} passed, {failed} failed, {unsupported} unsupported", paths.len());
    assert_eq!((failed, unsupported), (0, 0));
}

#[test]
fn a_wrong_start_is_found() {
    let path = &files("mlp", "", ".json")[0];
    let mut case = Case::open(path).unwrap();
    case.config.options.lr *= 1.01;
    assert!(case.run(Isa::best(), Way::Step).is_err());
}
