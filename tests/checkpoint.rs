//! Checkpoints: a run that is interrupted goes on bit for bit, files move to and from PyTorch, and a file that does not fit
//! changes nothing.

mod common;

use common::compare::{Tolerance, within};
use common::golden::{Golden, directory};
use common::{serial, state};
use handgrad::{Activation, Adam, BatchNorm, Decay, Group, LayerNorm, RmsProp, Sgd};
use handgrad::{Contents, Error, Input, Isa, Layer, Linear, Loss, Mlp, Notes, Optimizer, Options, Predictor};
use handgrad::{Result, Schedule, Trainer};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::path::PathBuf;

const BATCH: usize = 6;
const STEPS: usize = 24;

fn mlp() -> Mlp {
    Mlp {
        input: Input::Tokens { vocab: 11, context: 3, embedding: 5 },
        layers: vec![
            Linear::new(20).into(),
            BatchNorm::default().into(),
            Activation::Silu.into(),
            Layer::Dropout { p: 0.3 },
            Layer::Residual(vec![LayerNorm::default().into(), Linear::new(20).into(), Activation::Relu.into()]),
            Linear::new(7).into(),
        ],
        loss: Loss::cross_entropy(),
    }
}

fn optimizers() -> Vec<Optimizer> {
    vec![
        Optimizer::Adam(Adam { weight_decay: 0.02, decay: Decay::Decoupled, ..Adam::default() }),
        Optimizer::default(),
        Optimizer::Sgd(Sgd { momentum: 0.9, nesterov: true, ..Sgd::default() }),
        Optimizer::RmsProp(RmsProp { momentum: 0.5, centered: true, ..RmsProp::default() }),
        Optimizer::RmsProp(RmsProp { centered: true, ..RmsProp::default() }),
        Optimizer::RmsProp(RmsProp { momentum: 0.5, ..RmsProp::default() }),
    ]
}

fn options(optimizer: Optimizer, seed: u64) -> Options {
    Options {
        max_batch: BATCH,
        lr: 0.01,
        seed,
        optimizer,
        schedule: Schedule::Cosine { warmup: 3, total: 20, min_lr: 1e-4 },
        clip_grad_norm: Some(0.7),
        groups: vec![Group::no_decay()],
        ..Options::default()
    }
}

fn trainer(optimizer: Optimizer, seed: u64) -> Trainer {
    Trainer::new(&mlp(), options(optimizer, seed), &serial(Isa::best())).unwrap()
}

fn step(trainer: &mut Trainer, step: usize) -> u32 {
    let x: Vec<i64> = (0..3 * BATCH).map(|i| ((i * i + 7 * step) % 11) as i64).collect();
    let y: Vec<i64> = (0..BATCH).map(|i| ((i + 2 * step) % 7) as i64).collect();
    trainer.step(&x, &y).unwrap().to_bits()
}

#[test]
fn a_run_interrupted_after_any_step_goes_on_bit_for_bit() {
    for optimizer in optimizers() {
        let mut whole = trainer(optimizer, 5);
        let mut saved = vec![whole.to_safetensors(Contents::Everything, &Notes::new()).unwrap()];
        let losses: Vec<u32> = (0..STEPS)
            .map(|i| {
                let loss = step(&mut whole, i);
                saved.push(whole.to_safetensors(Contents::Everything, &Notes::new()).unwrap());
                loss
            })
            .collect();
        for (done, bytes) in saved.iter().enumerate() {
            // Another seed, other parameters: everything comes from the file.
            let mut resumed = trainer(optimizer, 99);
            step(&mut resumed, 3);
            resumed.restore(bytes, Contents::Everything).unwrap();
            assert_eq!(resumed.updates(), done as u64);
            let rest: Vec<u32> = (done..STEPS).map(|i| step(&mut resumed, i)).collect();
            assert_eq!(rest, losses[done..], "{optimizer:?}, interrupted after {done}");
            assert_eq!(state(&resumed), state(&whole), "{optimizer:?}, interrupted after {done}");
            assert_eq!(resumed.lr().to_bits(), whole.lr().to_bits());
        }
    }
}

/// Dropout without its place in the stream would make the same masks again.
#[test]
fn weights_alone_do_not_continue_a_run() {
    let optimizer = optimizers()[0];
    let mut whole = trainer(optimizer, 5);
    (0..4).for_each(|i| _ = step(&mut whole, i));
    let bytes = whole.to_safetensors(Contents::Everything, &Notes::new()).unwrap();
    let mut other = trainer(optimizer, 5);
    other.restore(&bytes, Contents::Weights).unwrap();
    assert_eq!(state(&other), state(&whole));
    assert_eq!(other.updates(), 0);
    assert_ne!(step(&mut other, 4), step(&mut whole, 4));
    let weights = whole.to_safetensors(Contents::Weights, &Notes::new()).unwrap();
    let error = other.restore(&weights, Contents::Everything).unwrap_err().to_string();
    assert!(error.contains("it holds weights only"), "{error}");
}

#[test]
fn notes_come_back_and_files_are_replaced_whole() {
    let directory = std::env::temp_dir().join(format!("handgrad-checkpoint-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("model.safetensors");
    let trainer = trainer(Optimizer::adam(), 1);
    let notes = Notes::from([("epoch".to_owned(), "3".to_owned())]);
    trainer.save(&path, Contents::Everything, &notes).unwrap();
    trainer.save(&path, Contents::Everything, &notes).unwrap();
    let mut other = self::trainer(Optimizer::adam(), 2);
    assert_eq!(other.load(&path, Contents::Everything).unwrap(), notes);
    assert_eq!(state(&other), state(&trainer));
    let files: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["model.safetensors"], "nothing else is left");

    // A place that cannot be written to: the old file stays whole, and the error names the new one.
    let before = std::fs::read(&path).unwrap();
    let nowhere = path.join("below-a-file.safetensors");
    let error = trainer.save(&nowhere, Contents::Weights, &notes).unwrap_err();
    assert!(matches!(&error, Error::Checkpoint { place, .. } if place.contains("below-a-file")), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let missing = other.load(directory.join("missing"), Contents::Weights).unwrap_err().to_string();
    assert!(missing.contains("missing: "), "{missing}");
    std::fs::remove_dir_all(&directory).unwrap();
}

/// A file with tensors changed, as bytes.
fn changed(bytes: &[u8], change: impl Fn(&mut Vec<(String, Dtype, Vec<usize>, Vec<u8>)>)) -> Vec<u8> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).unwrap();
    let file = SafeTensors::deserialize(bytes).unwrap();
    let mut tensors: Vec<_> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        .collect();
    change(&mut tensors);
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, data)| (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
    safetensors::serialize(views.collect::<Vec<_>>(), metadata.metadata().clone()).unwrap()
}

/// A file with a text of its metadata changed, as bytes.
fn noted(bytes: &[u8], name: &str, text: &str) -> Vec<u8> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).unwrap();
    let mut about = metadata.metadata().clone().unwrap();
    about.insert(name.to_owned(), text.to_owned());
    safetensors::serialize(SafeTensors::deserialize(bytes).unwrap().tensors(), Some(about)).unwrap()
}

/// All that a file holds, in order.
fn held(trainer: &Trainer) -> (Notes, Vec<(String, Vec<u8>)>) {
    let bytes = trainer.to_safetensors(Contents::Everything, &Notes::new()).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<_> = file.iter().map(|(name, view)| (name.to_owned(), view.data().to_vec())).collect();
    tensors.sort_unstable();
    (metadata.metadata().clone().unwrap().into_iter().collect(), tensors)
}

#[test]
fn files_that_do_not_fit_are_refused_and_change_nothing() {
    let mut whole = trainer(Optimizer::adam(), 5);
    (0..3).for_each(|i| _ = step(&mut whole, i));
    let good = whole.to_safetensors(Contents::Everything, &Notes::new()).unwrap();
    let mut target = trainer(Optimizer::adam(), 6);
    step(&mut target, 0);
    let before = held(&target);
    let mut refused = |bytes: &[u8], says: &str| {
        for contents in [Contents::Everything, Contents::Weights] {
            // What concerns the optimiser does not matter for the weights.
            if contents == Contents::Weights && says.contains("optimizer") {
                continue;
            }
            let error = target.restore(bytes, contents).unwrap_err().to_string();
            assert!(error.contains(says), "{error}, wanted {says}");
            assert!(held(&target) == before, "{error}, but something has changed");
        }
    };
    for len in [0, 1, 7, 8, 9, 100, good.len() / 2, good.len() - 1] {
        refused(&good[..len], "checkpoint: ");
    }
    refused(b"a file of another kind, and long enough to have a header", "checkpoint: ");
    let lost = |name: &'static str| changed(&good, |tensors| tensors.retain(|(other, ..)| other != name));
    refused(&lost("layers.5.weight"), "the tensor `layers.5.weight` is missing");
    refused(&lost("layers.1.running_var"), "the tensor `layers.1.running_var` is missing");
    refused(&lost("optimizer.exp_avg.layers.4.block.0.bias"), "`optimizer.exp_avg.layers.4.block.0.bias` is missing");
    let turned = changed(&good, |tensors| {
        tensors.iter_mut().filter(|(name, ..)| name == "layers.5.weight").for_each(|(_, _, shape, _)| shape.reverse());
    });
    refused(&turned, "the tensor `layers.5.weight` must have the shape [7, 20], got [20, 7]");
    let retyped = changed(&good, |tensors| {
        tensors.iter_mut().filter(|(name, ..)| name == "layers.0.bias").for_each(|(_, dtype, ..)| *dtype = Dtype::I32);
    });
    refused(&retyped, "the tensor `layers.0.bias` must hold F32 or F64, got I32");
    let foreign = changed(&good, |tensors| {
        tensors.push(("layers.9.weight".to_owned(), Dtype::F32, vec![1], vec![0; 4]));
    });
    refused(&foreign, "the tensor `layers.9.weight` has no place in this network");
    let foreign_memory = changed(&good, |tensors| {
        tensors.push(("optimizer.exp_avg.layers.9.weight".to_owned(), Dtype::F32, vec![1], vec![0; 4]));
    });
    refused(&foreign_memory, "the tensor `optimizer.exp_avg.layers.9.weight` has no place in this network");
    let other_rule = trainer(Optimizer::Sgd(Sgd { momentum: 0.9, ..Sgd::default() }), 5);
    let other_rule = other_rule.to_safetensors(Contents::Everything, &Notes::new()).unwrap();
    refused(&other_rule, "optimizer.");
    // Counting goes on from what the file says, so that it must leave room.
    for count in ["updates", "passes"] {
        let count = format!("handgrad.{count}");
        let endless = noted(&good, &count, "18446744073709551615");
        assert!(target.restore(&endless, Contents::Everything).unwrap_err().to_string().contains("below 2^63"));
        assert!(held(&target) == before, "{count} is refused, but something has changed");
    }
    target.restore(&good, Contents::Everything).unwrap();
    assert_eq!(state(&target), state(&whole));
}

/// The tensors of a golden file that begin with a prefix, as the file that PyTorch would have written of them.
fn from_pytorch(golden: &PathBuf, prefix: &str) -> Vec<u8> {
    let bytes = std::fs::read(golden).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let views = file.tensors().into_iter();
    let named: Vec<_> = views.filter_map(|(name, view)| Some((name.strip_prefix(prefix)?.to_owned(), view))).collect();
    safetensors::serialize(named, None).unwrap()
}

/// What PyTorch has trained says the same here, and our file has PyTorch's names, types and shapes.
#[test]
fn files_of_pytorch() -> Result<()> {
    let path = directory().join("mlp/bn_tanh_tokens.safetensors");
    let mlp = common::makemore(27, 3, 10, 64);
    let bytes = from_pytorch(&path, "final.");
    let exec = serial(Isa::best());
    let mut predictor = Predictor::from_safetensors(&mlp, &bytes, &exec)?;
    let golden = Golden::open(&path);
    let x = golden.i64("X");
    let mut outputs = vec![f32::NAN; 32 * 27];
    predictor.predict(&x[..32 * 3], &mut outputs)?;
    let tolerance = Tolerance { rtol: 1e-5, atol: 1e-5 };
    within(&[32, 27], &outputs, &golden.f64("eval.logits"), tolerance).unwrap();

    let mut trainer = Trainer::new(&mlp, Options::default(), &exec)?;
    trainer.restore(&bytes, Contents::Weights)?;
    let ours = trainer.to_safetensors(Contents::Weights, &Notes::new())?;
    let (ours, theirs) = (SafeTensors::deserialize(&ours).unwrap(), SafeTensors::deserialize(&bytes).unwrap());
    let (mut names, mut wanted) = (ours.names(), theirs.names());
    names.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(names, wanted);
    for name in names {
        let (ours, theirs) = (ours.tensor(name).unwrap(), theirs.tensor(name).unwrap());
        assert_eq!(ours.shape(), theirs.shape(), "{name}");
        assert_eq!(ours.dtype() == Dtype::I64, theirs.dtype() == Dtype::I64, "{name}");
    }
    Ok(())
}
