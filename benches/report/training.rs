//! Whole training steps of ordinary networks, on one thread and on two.

use crate::Report;
use crate::cases::numbers;
use handgrad::kernels::op::gelu::Form;
use handgrad::{Activation, Adam, Exec, Input, Inputs, Layer, LayerNorm, Linear, Loss, Many, Mlp, Optimizer, Options};
use handgrad::{Result, Targets, Trainer};

/// All cases, on as many threads as `exec` has.
pub(crate) fn run(report: &mut Report, exec: &Exec) -> Result<()> {
    let relu = || Activation::Relu.into();
    let mnist = [Linear::new(512).into(), relu(), Linear::new(512).into(), relu(), Linear::new(10).into()];
    for batch in [128, 1024] {
        step(
            report,
            exec,
            &format!("mnist_b{batch}"),
            784,
            &mnist,
            Loss::cross_entropy(),
            Optimizer::default(),
            batch,
        )?;
    }

    let gelu: Layer = Activation::Gelu { form: Form::Erf }.into();
    let block = || [Linear::new(1024).into(), LayerNorm::default().into(), gelu.clone()];
    let tabular: Vec<Layer> = (0..3).flat_map(|_| block()).chain([Linear::new(1).into()]).collect();
    step(report, exec, "tabular_b4096", 256, &tabular, Loss::Mse, Optimizer::adamw(0.01), 4096)?;

    let tanh = || Activation::Tanh.into();
    let tiny = [Linear::new(32).into(), tanh(), Linear::new(16).into(), tanh(), Linear::new(4).into()];
    let adam = Optimizer::Adam(Adam::default());
    step(report, exec, "tiny_b10000", 4, &tiny, Loss::Mse, adam, 10_000)?;
    many(report, exec, &tiny, adam)
}

/// Useful operations of a step with one sample: each weight takes part in the product forward and in those of both
/// gradients, but for that of the input.
fn flops(features: usize, layers: &[Layer]) -> usize {
    let (mut width, mut flops) = (features, 0);
    for layer in layers {
        if let Layer::Linear(Linear { outputs, .. }) = layer {
            flops += if flops == 0 { 4 } else { 6 } * width * outputs;
            width = *outputs;
        }
    }
    flops
}

/// A step of a network on a batch that stays the same.
fn step(
    report: &mut Report,
    exec: &Exec,
    name: &str,
    features: usize,
    layers: &[Layer],
    loss: Loss,
    optimizer: Optimizer,
    batch: usize,
) -> Result<()> {
    let name = format!("{name}_{}t", exec.threads());
    if !report.wants(&name) {
        return Ok(());
    }
    let flops = (flops(features, layers) * batch) as f64;
    let mlp = Mlp { input: Input::Dense { features }, layers: layers.to_vec(), loss };
    let outputs = mlp.outputs()?;
    let options = Options { max_batch: batch, lr: 1e-3, optimizer, ..Options::default() };
    let mut trainer = Trainer::new(&mlp, options, exec)?;
    let x = numbers(batch * features, 1);
    let labels: Vec<i64> = (0..batch).map(|i| (i * 7 % outputs) as i64).collect();
    let values = numbers(batch * outputs, 2);
    let y: Targets<'_> = if let Loss::CrossEntropy(_) = mlp.loss { (&labels).into() } else { (&values).into() };
    let mut fault = None;
    exec.install(|| {
        report.flops(&name, exec, flops, || fault = fault.take().or(trainer.step(&x, y).err()));
    });
    fault.map_or(Ok(()), Err)
}

/// Sixty-four small networks side by side, each on batches of 32.
fn many(report: &mut Report, exec: &Exec, layers: &[Layer], optimizer: Optimizer) -> Result<()> {
    const NETWORKS: usize = 64;
    const BATCH: usize = 32;
    let mlp = Mlp { input: Input::Dense { features: 4 }, layers: layers.to_vec(), loss: Loss::Mse };
    let options = Options { max_batch: BATCH, lr: 1e-3, optimizer, ..Options::default() };
    let seeds: Vec<u64> = (0..NETWORKS as u64).collect();
    let mut many = Many::new(&mlp, &options, &seeds, exec)?;
    let (x, y) = (numbers(NETWORKS * BATCH * 4, 1), numbers(NETWORKS * BATCH * 4, 2));
    let mut losses = [0.0; NETWORKS];
    let mut fault = None;
    exec.install(|| {
        report.steps(&format!("many_{NETWORKS}_tiny_b{BATCH}_{}t", exec.threads()), NETWORKS as f64, || {
            let batch = |network: usize| {
                let rows = network * BATCH * 4..(network + 1) * BATCH * 4;
                (Inputs::Dense(&x[rows.clone()]), Targets::from(&y[rows]))
            };
            fault = fault.take().or(many.step(batch, &mut losses).err());
        });
    });
    fault.map_or(Ok(()), Err)
}
