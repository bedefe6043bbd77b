//! Files that go to PyTorch and come back. These two tests are the ends of `ci/pytorch.sh`, which runs
//! `tests/pytorch/load_state_dict.py` between them; by themselves they have nobody to talk to.

mod common;

use common::compare::{Tolerance, same_bits, within};
use common::{bits, makemore, serial};
use handgrad::kernels::op::gelu::Form;
use handgrad::{Activation, BatchNorm, Input, Inputs, Isa, Layer, LayerNorm, Linear, Loss, Mlp, RmsNorm};
use handgrad::{Contents, Notes, Optimizer, Options, Predictor, Result, Trainer};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::path::{Path, PathBuf};

const BATCH: usize = 32;
const STEPS: usize = 20;
const SAMPLES: usize = 64;

/// The networks; the Python script builds the same by these names.
fn networks() -> [(&'static str, Mlp); 3] {
    let linear = |outputs| Layer::from(Linear::new(outputs));
    let digits = Mlp {
        input: Input::Dense { features: 784 },
        layers: vec![
            linear(128),
            Activation::Relu.into(),
            linear(128),
            Activation::Relu.into(),
            Layer::Dropout { p: 0.2 },
            linear(10),
        ],
        loss: Loss::cross_entropy(),
    };
    let block = vec![
        LayerNorm::default().into(),
        linear(24),
        Activation::Gelu { form: Form::Erf }.into(),
        Linear::new(40).without_bias().into(),
    ];
    let mixed = Mlp {
        input: Input::Dense { features: 12 },
        layers: vec![
            Linear::new(40).without_bias().into(),
            BatchNorm { eps: 1e-3, momentum: 0.2, ..BatchNorm::default() }.into(),
            Activation::Silu.into(),
            Layer::Residual(block),
            RmsNorm::default().into(),
            Activation::Tanh.into(),
            linear(3),
        ],
        loss: Loss::Mse,
    };
    [("makemore", makemore(27, 3, 10, 64)), ("digits", digits), ("mixed", mixed)]
}

/// How far two ways of rounding may be apart, as a share of the largest output: `k` roundings to 24 bits for each
/// product of `k` terms on the way, and eight for each layer in between.
fn tolerance(mlp: &Mlp, outputs: &[f64]) -> Tolerance {
    fn roundings(width: &mut usize, layers: &[Layer]) -> usize {
        let mut sum = 0;
        for layer in layers {
            sum += match layer {
                Layer::Linear(linear) => std::mem::replace(width, linear.outputs),
                Layer::Residual(block) => roundings(width, block),
                _ => 8,
            };
        }
        sum
    }
    let mut width = mlp.input.width().unwrap();
    Tolerance::of_largest(roundings(&mut width, &mlp.layers) as f64 * 2f64.powi(-24), outputs)
}

/// Untidy numbers from -1 to 1.
fn numbers(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
}

/// Samples of either kind.
enum Samples {
    Tokens(Vec<i64>),
    Dense(Vec<f32>),
}

impl Samples {
    fn make(input: Input, samples: usize, seed: usize) -> Self {
        match input {
            Input::Tokens { vocab, context, .. } => {
                Samples::Tokens((0..samples * context).map(|i| ((i * i + seed * 13 + i / 5) % vocab) as i64).collect())
            }
            Input::Dense { features } => Samples::Dense(numbers(samples * features, seed)),
        }
    }

    fn inputs(&self) -> Inputs<'_> {
        match self {
            Samples::Tokens(tokens) => tokens[..].into(),
            Samples::Dense(numbers) => numbers[..].into(),
        }
    }

    fn bytes(&self) -> (Dtype, Vec<u8>) {
        match self {
            Samples::Tokens(tokens) => (Dtype::I64, tokens.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Samples::Dense(numbers) => (Dtype::F32, numbers.iter().flat_map(|x| x.to_le_bytes()).collect()),
        }
    }
}

/// Where the two programs meet.
fn place() -> PathBuf {
    std::env::var_os("HANDGRAD_PYTORCH_DIR").expect("HANDGRAD_PYTORCH_DIR: run ci/pytorch.sh").into()
}

/// A network that has learned for a while, so that no parameter and no statistic is what it began with.
fn trained(mlp: &Mlp) -> Result<Trainer> {
    let options =
        Options { max_batch: BATCH, lr: 0.01, seed: 3, optimizer: Optimizer::adamw(0.01), ..Options::default() };
    let mut trainer = Trainer::new(mlp, options, &serial(Isa::best()))?;
    let outputs = mlp.outputs()?;
    for step in 0..STEPS {
        let x = Samples::make(mlp.input, BATCH, step);
        match mlp.loss {
            Loss::CrossEntropy(_) => {
                let labels: Vec<i64> = (0..BATCH).map(|i| ((i * 5 + step) % outputs) as i64).collect();
                trainer.step(x.inputs(), &labels)?
            }
            _ => trainer.step(x.inputs(), &numbers(BATCH * outputs, step))?,
        };
    }
    Ok(trainer)
}

#[test]
#[ignore = "one half of ci/pytorch.sh"]
fn written_for_pytorch() -> Result<()> {
    for (name, mlp) in networks() {
        let trainer = trained(&mlp)?;
        let directory = place().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        trainer.save(directory.join("ours.safetensors"), Contents::Weights, &Notes::new())?;
        trainer.save(directory.join("ours_everything.safetensors"), Contents::Everything, &Notes::new())?;
        let x = Samples::make(mlp.input, SAMPLES, 1000);
        let outputs = outputs(&mut Predictor::new(&trainer)?, &x)?;
        let (dtype, x) = x.bytes();
        let y: Vec<u8> = outputs.iter().flat_map(|y| y.to_le_bytes()).collect();
        let tensors = [
            ("x", TensorView::new(dtype, vec![SAMPLES, mlp_inputs(mlp.input)], &x).unwrap()),
            ("outputs", TensorView::new(Dtype::F32, vec![SAMPLES, mlp.outputs()?], &y).unwrap()),
        ];
        let file = directory.join("ours_said.safetensors");
        std::fs::write(file, safetensors::serialize(tensors, None).unwrap()).unwrap();
    }
    Ok(())
}

/// The numbers or tokens of a sample.
fn mlp_inputs(input: Input) -> usize {
    match input {
        Input::Tokens { context, .. } => context,
        Input::Dense { features } => features,
    }
}

fn outputs(predictor: &mut Predictor, x: &Samples) -> Result<Vec<f32>> {
    let mut outputs = vec![f32::NAN; SAMPLES * predictor.output_width()];
    predictor.predict(x.inputs(), &mut outputs)?;
    Ok(outputs)
}

/// The samples and outputs of a file.
fn said(path: &Path) -> (Samples, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |name| -> Vec<f32> {
        let tensor = file.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::F32, "{name}");
        tensor.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
    };
    let x = file.tensor("x").unwrap();
    let x = match x.dtype() {
        Dtype::I64 => Samples::Tokens(x.data().as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect()),
        _ => Samples::Dense(floats("x")),
    };
    (x, floats("outputs"))
}

#[test]
#[ignore = "the other half of ci/pytorch.sh"]
fn read_from_pytorch() -> Result<()> {
    let exec = serial(Isa::best());
    for (name, mlp) in networks() {
        let directory = place().join(name);
        let (x, theirs) = said(&directory.join("theirs_said.safetensors"));
        let mut predictor = Predictor::load(&mlp, directory.join("theirs.safetensors"), &exec)?;
        let ours = outputs(&mut predictor, &x)?;
        let want: Vec<f64> = theirs.iter().map(|&y| y.into()).collect();
        let tolerance = tolerance(&mlp, &want);
        let shape = [SAMPLES, mlp.outputs()?];
        let largest = within(&shape, &ours, &want, tolerance).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
        println!("{name}: from PyTorch, largest difference {largest:.2e} (allowed {:.2e})", tolerance.atol);

        // What a network that was never PyTorch's says must not pass for it.
        let stranger = outputs(&mut Predictor::new(&trained(&mlp)?)?, &x)?;
        assert!(within(&shape, &stranger, &want, tolerance).is_err(), "{name}: another network passes for PyTorch's");

        // Our own weights, read and written again by PyTorch: not a bit has changed.
        let (x, before) = said(&directory.join("ours_said.safetensors"));
        let mut again = Predictor::load(&mlp, directory.join("ours_again.safetensors"), &exec)?;
        same_bits(&bits(outputs(&mut again, &x)?), &bits(before)).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
    }
    Ok(())
}
