//! Gradients of a loss of the user's own, of the cross-entropy, and of the input, against central differences of an
//! independent network in f64.

use crate::common::compare::{Tolerance, within};
use crate::common::reference::{Named, Reference, Rows, Samples, Statistics, cross_entropy, differences};
use crate::common::{serial, tiers};
use crate::{DENSE, TOKENS, biasless, data, linear, mlp, norm, stir};
use handgrad::kernels::view::{Mat, View};
use handgrad::{Exec, Input, Isa, Layer, Mlp, Options, Trainer, Variance};

/// Samples in the batch; the trainer has room for more.
const BATCH: usize = 7;
/// The part of the largest element of a gradient that rounding in f32 may take.
const SHARE: f64 = 1e-5;

/// The networks: each kind of layer at each end and beside each other kind.
fn networks() -> Vec<(&'static str, Mlp)> {
    let (tanh, sigmoid) = (Layer::Tanh, Layer::Sigmoid);
    let (biased, unbiased) = (norm(Variance::Biased), norm(Variance::Unbiased));
    vec![
        ("the notebook's", mlp(TOKENS, &[linear(5), unbiased, tanh, linear(4)])),
        ("dense, two hidden", mlp(DENSE, &[biasless(5), biased, sigmoid, linear(19), tanh, linear(3)])),
        ("one output", mlp(DENSE, &[linear(5), tanh, linear(1)])),
        ("one output, no bias", mlp(TOKENS, &[biasless(3), sigmoid, biasless(1)])),
        ("one hidden unit", mlp(DENSE, &[linear(1), biased, tanh, linear(3)])),
        ("ends in tanh", mlp(DENSE, &[linear(4), tanh])),
        ("ends in sigmoid after a norm", mlp(TOKENS, &[linear(4), biased, sigmoid])),
        ("ends in a norm", mlp(DENSE, &[linear(4), unbiased])),
        ("begins with tanh", mlp(DENSE, &[tanh, linear(4)])),
        ("begins with sigmoid, tokens", mlp(TOKENS, &[sigmoid, linear(4)])),
        ("begins with a norm", mlp(DENSE, &[biased, linear(4)])),
        ("two activations in a row", mlp(DENSE, &[linear(4), tanh, sigmoid, linear(3)])),
        ("three activations at the end", mlp(TOKENS, &[linear(4), sigmoid, tanh, sigmoid])),
        ("two norms in a row", mlp(DENSE, &[linear(4), unbiased, biased, tanh, linear(3)])),
        ("only linear", mlp(DENSE, &[linear(4), biasless(17), linear(3)])),
        ("only an activation", mlp(DENSE, &[sigmoid])),
        ("only activations, tokens", mlp(TOKENS, &[tanh, sigmoid])),
        ("no layers", mlp(DENSE, &[])),
        ("no layers, tokens", mlp(TOKENS, &[])),
        ("one feature", mlp(Input::Dense { features: 1 }, &[linear(3), tanh, linear(2)])),
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
struct Truth {
    mlp: Mlp,
    x: Samples,
    labels: Vec<i64>,
    outputs: Rows,
    loss: f64,
    params: Named,
    input: Vec<f64>,
}

fn trainer(mlp: &Mlp, exec: &Exec) -> Trainer {
    let options = Options { max_batch: BATCH + 2, input_gradient: true, ..Options::default() };
    let mut trainer = Trainer::new(mlp, options, exec).unwrap();
    stir(&mut trainer, 11);
    trainer
}

impl Truth {
    fn new(mlp: &Mlp, loss: impl Fn(&Rows, &[i64]) -> f64) -> Self {
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
    fn check(&self, trainer: &Trainer) -> Result<(), String> {
        // A derivative that is zero is still a sum of terms that are not: those of the outputs set its scale.
        let all = self.params.values().flatten().chain(&self.input);
        let scale = all.fold(0.0, |max: f64, d| max.max(d.abs()));
        let tolerance = Tolerance::absolute(SHARE * scale);
        for (name, want) in &self.params {
            let grad = trainer.grad(name).map_err(|e| e.to_string())?;
            within(grad.shape(), &grad.to_vec(), want, tolerance).map_err(|wrong| format!("{name}: {wrong}"))?;
        }
        let d_input = View::from(trainer.d_input().map_err(|e| e.to_string())?);
        within(d_input.shape(), &d_input.to_vec(), &self.input, tolerance)
            .map_err(|wrong| format!("input: {wrong}"))?;
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
    let mlp = mlp(DENSE, &[linear(5), Layer::Tanh, linear(1)]);
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
