//! Gradients of a loss of the user's own, of the cross-entropy, and of the input, against central differences of an
//! independent network in f64.

use crate::common::compare::{Tolerance, within};
use crate::common::reference::{Named, Reference, Rows, Samples, Statistics, cross_entropy, differences};
use crate::common::{serial, tiers};
use crate::{DENSE, TOKENS, biasless, data, linear, mlp, norm, stir};
use handgrad::kernels::op::gelu::Form;
use handgrad::kernels::view::{Mat, View};
use handgrad::{Activation, Exec, Input, Isa, Layer, LayerNorm, Mlp, Options, RmsNorm, Trainer, Variance};

/// Samples in the batch; the trainer has room for more.
pub(crate) const BATCH: usize = 7;
/// The part of the largest element of a gradient that rounding in f32 may take.
const SHARE: f64 = 1e-5;

/// The networks: each kind of layer at each end and beside each other kind.
fn networks() -> Vec<(&'static str, Mlp)> {
    let (tanh, sigmoid) = (|| Layer::from(Activation::Tanh), || Layer::from(Activation::Sigmoid));
    let (biased, unbiased) = (|| norm(Variance::Biased), || norm(Variance::Unbiased));
    vec![
        ("the notebook's", mlp(TOKENS, &[linear(5), unbiased(), tanh(), linear(4)])),
        ("dense, two hidden", mlp(DENSE, &[biasless(5), biased(), sigmoid(), linear(19), tanh(), linear(3)])),
        ("one output", mlp(DENSE, &[linear(5), tanh(), linear(1)])),
        ("one output, no bias", mlp(TOKENS, &[biasless(3), sigmoid(), biasless(1)])),
        ("one hidden unit", mlp(DENSE, &[linear(1), biased(), tanh(), linear(3)])),
        ("ends in tanh", mlp(DENSE, &[linear(4), tanh()])),
        ("ends in sigmoid after a norm", mlp(TOKENS, &[linear(4), biased(), sigmoid()])),
        ("ends in a norm", mlp(DENSE, &[linear(4), unbiased()])),
        ("begins with tanh", mlp(DENSE, &[tanh(), linear(4)])),
        ("begins with sigmoid, tokens", mlp(TOKENS, &[sigmoid(), linear(4)])),
        ("begins with a norm", mlp(DENSE, &[biased(), linear(4)])),
        ("two activations in a row", mlp(DENSE, &[linear(4), tanh(), sigmoid(), linear(3)])),
        ("three activations at the end", mlp(TOKENS, &[linear(4), sigmoid(), tanh(), sigmoid()])),
        ("two norms in a row", mlp(DENSE, &[linear(4), unbiased(), biased(), tanh(), linear(3)])),
        ("only linear", mlp(DENSE, &[linear(4), biasless(17), linear(3)])),
        ("only an activation", mlp(DENSE, &[sigmoid()])),
        ("only activations, tokens", mlp(TOKENS, &[tanh(), sigmoid()])),
        ("no layers", mlp(DENSE, &[])),
        ("no layers, tokens", mlp(TOKENS, &[])),
        ("one feature", mlp(Input::Dense { features: 1 }, &[linear(3), tanh(), linear(2)])),
    ]
    .into_iter()
    .chain(more_networks())
    .collect()
}

/// The same of the layers that the notebook's network has no use for.
fn more_networks() -> Vec<(&'static str, Mlp)> {
    let act = |activation: Activation| Layer::from(activation);
    let (relu, leaky, elu) = (
        || act(Activation::Relu),
        || act(Activation::LeakyRelu { slope: 0.2 }),
        || act(Activation::Elu { alpha: 1.3 }),
    );
    let gelu = |form| act(Activation::Gelu { form });
    let (erf, by_tanh) = (|| gelu(Form::Erf), || gelu(Form::Tanh));
    let (silu, softplus, hardtanh) = (
        || act(Activation::Silu),
        || act(Activation::Softplus { beta: 1.5, threshold: 20.0 }),
        || act(Activation::Hardtanh { low: -0.75, high: 0.5 }),
    );
    let layer = || Layer::from(LayerNorm::default());
    let plain = || Layer::from(LayerNorm { weight: false, bias: false, ..LayerNorm::default() });
    let half = |weight| Layer::from(LayerNorm { weight, bias: !weight, ..LayerNorm::default() });
    let rms = |weight| Layer::from(RmsNorm { weight, ..RmsNorm::default() });
    let batch = || norm(Variance::Biased);
    let drop = |p| Layer::Dropout { p };
    let residual = Layer::Residual;
    vec![
        ("relu", mlp(DENSE, &[linear(17), relu(), linear(9), relu(), linear(3)])),
        ("no bias before relu", mlp(DENSE, &[biasless(17), relu(), biasless(3)])),
        ("leaky relu and elu", mlp(TOKENS, &[linear(7), leaky(), linear(9), elu(), linear(3)])),
        ("gelu in both forms", mlp(DENSE, &[linear(20), erf(), linear(5), by_tanh(), linear(4)])),
        ("silu and softplus", mlp(DENSE, &[linear(8), silu(), linear(18), softplus(), linear(3)])),
        ("hardtanh", mlp(DENSE, &[linear(8), hardtanh(), linear(3)])),
        ("one hidden unit after gelu", mlp(DENSE, &[linear(1), erf(), linear(3)])),
        ("one output after silu", mlp(DENSE, &[linear(19), silu(), linear(1)])),
        ("ends in gelu", mlp(DENSE, &[linear(4), erf()])),
        ("begins with gelu and silu", mlp(DENSE, &[erf(), silu(), linear(4)])),
        ("three activations after a layer", mlp(TOKENS, &[linear(6), relu(), silu(), elu(), linear(3)])),
        ("layer norm", mlp(DENSE, &[linear(9), layer(), linear(3)])),
        (
            "layer norm with gelu, twice",
            mlp(DENSE, &[linear(9), layer(), erf(), linear(17), layer(), relu(), linear(3)]),
        ),
        ("layer norm without parameters", mlp(TOKENS, &[plain(), linear(9), plain(), softplus(), linear(3)])),
        ("layer norm with a half of them", mlp(DENSE, &[half(true), linear(9), silu(), half(false), linear(3)])),
        (
            "RMS norm",
            mlp(DENSE, &[rms(true), linear(9), rms(false), by_tanh(), linear(7), rms(true), silu(), linear(3)]),
        ),
        ("batch norm with gelu", mlp(DENSE, &[linear(9), batch(), erf(), linear(3)])),
        ("batch norm behind silu", mlp(DENSE, &[linear(9), silu(), batch(), relu(), linear(3)])),
        ("ends in a layer norm with silu", mlp(DENSE, &[linear(4), layer(), silu()])),
        ("dropout", mlp(DENSE, &[linear(30), relu(), drop(0.4), linear(20), erf(), drop(0.1), linear(3)])),
        ("dropout at both ends", mlp(TOKENS, &[drop(0.3), linear(5), drop(0.2)])),
        ("dropout and an activation behind it", mlp(DENSE, &[linear(9), drop(0.5), silu(), linear(3)])),
        ("residual", mlp(DENSE, &[linear(9), residual(vec![linear(20), relu(), linear(9)]), linear(3)])),
        ("residual behind gelu", mlp(DENSE, &[linear(9), erf(), residual(vec![layer(), linear(9), erf()]), linear(3)])),
        ("residual first and last", mlp(DENSE, &[residual(vec![linear(6), silu()])])),
        ("residual of tokens", mlp(TOKENS, &[residual(vec![rms(true), linear(12)]), relu(), linear(3)])),
        (
            "two residuals in a row",
            mlp(DENSE, &[residual(vec![linear(6)]), residual(vec![linear(6), relu()]), linear(3)]),
        ),
        (
            "residual in residual",
            mlp(
                DENSE,
                &[
                    linear(7),
                    silu(),
                    residual(vec![residual(vec![batch(), erf(), linear(7)]), relu(), linear(7)]),
                    linear(3),
                ],
            ),
        ),
        ("residual with dropout", mlp(DENSE, &[linear(9), residual(vec![linear(9), relu(), drop(0.3)]), linear(3)])),
        ("residual of an activation", mlp(DENSE, &[linear(9), residual(vec![erf()]), linear(3)])),
        ("empty residual", mlp(DENSE, &[linear(9), erf(), residual(vec![]), linear(3)])),
    ]
}

/// A loss that no library has: it couples the outputs of a sample, and weighs every one differently.
fn own_loss(outputs: &Rows) -> f64 {
    let sample = |b: usize| {
        let row = outputs.row(b).iter().enumerate();
        let weighted: f64 = row.clone().map(|(j, o)| (0.3 + j as f64 * 0.1) * o).sum();
        let curved: f64 = row.map(|(j, o)| (o - 0.2 * j as f64 + 0.1).powi(3)).sum();
        (1.0 + 0.1 * b as f64) * (0.5 * weighted * weighted + curved / 3.0)
    };
    (0..outputs.count()).map(sample).sum()
}

/// Its gradient in the outputs, by hand.
fn own_gradient(outputs: &Rows) -> Vec<f32> {
    let mut gradient = Vec::with_capacity(outputs.values.len());
    for b in 0..outputs.count() {
        let row = outputs.row(b).iter().enumerate();
        let weighted: f64 = row.clone().map(|(j, o)| (0.3 + j as f64 * 0.1) * o).sum();
        for (j, o) in row {
            let d = weighted * (0.3 + j as f64 * 0.1) + (o - 0.2 * j as f64 + 0.1).powi(2);
            gradient.push(((1.0 + 0.1 * b as f64) * d) as f32);
        }
    }
    gradient
}

/// The outputs that a trainer has.
fn rows(outputs: Mat<'_>) -> Rows {
    Rows { width: outputs.cols(), values: View::from(outputs).iter().map(f64::from).collect() }
}

/// A network with its batch, and the truth about a loss: the loss, its derivative in every parameter, and in the input.
pub(crate) struct Truth {
    mlp: Mlp,
    pub(crate) x: Samples,
    labels: Vec<i64>,
    outputs: Rows,
    pub(crate) loss: f64,
    params: Named,
    input: Vec<f64>,
}

pub(crate) fn trainer(mlp: &Mlp, exec: &Exec) -> Trainer {
    let options = Options { max_batch: BATCH + 2, input_gradient: true, ..Options::default() };
    let mut trainer = Trainer::new(mlp, options, exec).unwrap();
    stir(&mut trainer, 11);
    trainer
}

impl Truth {
    pub(crate) fn new(mlp: &Mlp, loss: impl Fn(&Rows, &[i64]) -> f64) -> Self {
        let (x, labels) = data(mlp, BATCH, 5);
        let reference = Reference::new(mlp, &trainer(mlp, &Exec::serial().unwrap()));
        let embcat = reference.input(&x);
        let of = |reference: &Reference, input| loss(&reference.outputs(input, Statistics::Batch), &labels);
        let params = reference.differences(|reference| of(reference, reference.input(&x)));
        let input =
            differences(&embcat.values, |values| of(&reference, Rows { width: embcat.width, values: values.to_vec() }));
        let outputs = reference.outputs(embcat, Statistics::Batch);
        Self { loss: loss(&outputs, &labels), mlp: mlp.clone(), x, labels, outputs, params, input }
    }

    /// Compares what stands in a trainer after its backward pass; the largest share of a tolerance that was used.
    pub(crate) fn check(&self, trainer: &Trainer) -> Result<(), String> {
        self.check_params(trainer)?;
        let d_input = View::from(trainer.d_input().map_err(|e| e.to_string())?);
        within(d_input.shape(), &d_input.to_vec(), &self.input, self.tolerance())
            .map_err(|wrong| format!("input: {wrong}"))?;
        Ok(())
    }

    fn tolerance(&self) -> Tolerance {
        // A derivative that is zero is still a sum of terms that are not: those of the outputs set its scale.
        let all = self.params.values().flatten().chain(&self.input);
        let scale = all.fold(0.0, |max: f64, d| max.max(d.abs()));
        Tolerance::absolute(SHARE * scale)
    }

    /// The part of [`check`](Truth::check) that concerns the parameters.
    pub(crate) fn check_params(&self, trainer: &Trainer) -> Result<(), String> {
        let tolerance = self.tolerance();
        for (name, want) in &self.params {
            let grad = trainer.grad(name).map_err(|e| e.to_string())?;
            within(grad.shape(), &grad.to_vec(), want, tolerance).map_err(|wrong| format!("{name}: {wrong}"))?;
        }
        Ok(())
    }
}

/// The gradients of the user's own loss; `twist` may spoil what is handed to the trainer.
fn through_own_loss(truth: &Truth, exec: &Exec, twist: impl Fn(&mut [f32])) -> Result<(), String> {
    let mut trainer = trainer(&truth.mlp, exec);
    let outputs = rows(trainer.forward(&truth.x).map_err(|e| e.to_string())?);
    let got: Vec<f32> = outputs.values.iter().map(|&x| x as f32).collect();
    let shape = [BATCH, outputs.width];
    within(&shape, &got, &truth.outputs.values, Tolerance::of_largest(SHARE, &truth.outputs.values))
        .map_err(|wrong| format!("outputs: {wrong}"))?;
    let mut d_outputs = own_gradient(&outputs);
    twist(&mut d_outputs);
    trainer.backward_with(Mat::new(&d_outputs, BATCH, outputs.width).unwrap()).map_err(|e| e.to_string())?;
    truth.check(&trainer)?;
    transposed(&mut trainer, &d_outputs, outputs.width)
}

/// The same gradient of the outputs, column after column and backwards, gives the same bits.
fn transposed(trainer: &mut Trainer, d_outputs: &[f32], width: usize) -> Result<(), String> {
    let before = trainer.grads().unwrap().to_vec();
    let mut columns = vec![0.0; d_outputs.len()];
    for (place, &d) in d_outputs.iter().enumerate() {
        columns[d_outputs.len() - 1 - (place % width * BATCH + place / width)] = d;
    }
    let last = columns.len() - 1;
    let strided = Mat::with_strides(&columns, BATCH, width, -1, -(BATCH as isize), last).unwrap();
    trainer.backward_with(strided).map_err(|e| e.to_string())?;
    if trainer.grads().unwrap() == before { Ok(()) } else { Err("a strided gradient of the outputs differs".into()) }
}

#[test]
fn a_loss_of_ones_own() {
    let truths: Vec<_> =
        networks().into_iter().map(|(name, mlp)| (name, Truth::new(&mlp, |rows, _| own_loss(rows)))).collect();
    tiers::on_every_tier("open step, own loss", |isa| {
        for (name, truth) in &truths {
            through_own_loss(truth, &serial(isa), |_| ()).unwrap_or_else(|wrong| panic!("{name} on {isa}: {wrong}"));
        }
    });
    let derivatives: usize = truths.iter().map(|(_, t)| t.input.len() + t.params.values().flatten().count()).sum();
    println!("open step, own loss: {derivatives} derivatives of {} networks", truths.len());
}

#[test]
fn the_cross_entropy_in_passes_and_fused() {
    let truths: Vec<_> = networks().into_iter().map(|(name, mlp)| (name, Truth::new(&mlp, cross_entropy))).collect();
    tiers::on_every_tier("open step, cross-entropy", |isa| {
        for (name, truth) in &truths {
            let what = format!("{name} on {isa}");
            let mut passes = trainer(&truth.mlp, &serial(isa));
            passes.forward(&truth.x).unwrap();
            let loss = passes.backward(&truth.labels).unwrap();
            assert!((f64::from(loss) - truth.loss).abs() <= 1e-5 * truth.loss, "{what}: {loss}, want {}", truth.loss);
            truth.check(&passes).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
            passes.update().unwrap();

            let mut fused = trainer(&truth.mlp, &serial(isa));
            assert_eq!(fused.step(&truth.x, &truth.labels).unwrap().to_bits(), loss.to_bits(), "{what}");
            assert_eq!(fused.params(), passes.params(), "{what}");
        }
    });
}

#[test]
fn one_output_has_nothing_to_lose() {
    let mlp = mlp(DENSE, &[linear(5), Activation::Tanh.into(), linear(1)]);
    let (x, _) = data(&mlp, BATCH, 5);
    let mut trainer = trainer(&mlp, &Exec::serial().unwrap());
    trainer.forward(&x).unwrap();
    assert_eq!(trainer.backward(&[0; BATCH][..]).unwrap(), 0.0);
    assert!(trainer.grads().unwrap().iter().all(|&d| d == 0.0));
}

#[test]
fn a_gradient_that_is_slightly_wrong_is_found() {
    let exec = Exec::serial().unwrap().with_isa(Isa::best());
    for (name, mlp) in networks() {
        let truth = Truth::new(&mlp, |rows, _| own_loss(rows));
        let wrong = through_own_loss(&truth, &exec, |d| d.iter_mut().for_each(|d| *d *= 1.0001));
        assert!(wrong.is_err(), "{name}: one part in ten thousand");
        let wrong = through_own_loss(&truth, &exec, |d| d.fill(1.0));
        assert!(wrong.is_err(), "{name}: all ones");
    }
}
