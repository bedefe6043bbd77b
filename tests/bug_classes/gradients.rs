//! Gradients that are wrong where tests seldom look.

use crate::kernels::random::Random;
use crate::kernels::serial;
use crate::{bits, poisoned};
use handgrad::kernels::gemm::Accum;
use handgrad::kernels::op::batch_norm_nd::{self, Grads, Params, Saved, Statistics};
use handgrad::kernels::op::gelu::Form;
use handgrad::kernels::op::{amax, max};
use handgrad::kernels::view::{View, ViewMut};
use handgrad::{Activation, Exec, Input, Isa, Layer, Linear, Loss, Mlp, Options, Trainer};

fn column(values: &mut [f32]) -> ViewMut<'_> {
    let len = values.len();
    ViewMut::new(values, &[len]).unwrap()
}

/// [dfdx#111, mxnet#18563]
#[test]
fn a_gradient_of_tied_maxima() {
    for isa in Isa::available() {
        let exec = serial(isa);
        for len in 1..=33 {
            for ties in [1, 2, 4, 8].into_iter().filter(|&ties| ties <= len) {
                // The greatest stands in the last places; there is a lesser value before.
                let x: Vec<f32> = (0..len).map(|i| if i + ties >= len { 2.5 } else { -1.0 - i as f32 }).collect();
                let view = View::new(&x, &[1, len]).unwrap();
                let (mut y, mut at, dy) = (poisoned(1), [-1_i64], [3.0]);
                let dy = View::new(&dy, &[1, 1]).unwrap();
                max::forward(
                    &exec,
                    ViewMut::new(&mut y, &[1, 1]).unwrap(),
                    ViewMut::new(&mut at, &[1, 1]).unwrap(),
                    view,
                    1,
                )
                .unwrap();
                let mut dx = poisoned(len);
                let out = ViewMut::new(&mut dx, &[1, len]).unwrap();
                max::backward(&exec, out, dy, View::new(&at, &[1, 1]).unwrap(), 1).unwrap();
                let first: Vec<f32> = (0..len).map(|i| if i == len - ties { 3.0 } else { 0.0 }).collect();
                assert_eq!((y[0], at[0], bits(&dx)), (2.5, (len - ties) as i64, bits(&first)), "{isa}: max of {len}");
                let mut dx = poisoned(len);
                let out = ViewMut::new(&mut dx, &[1, len]).unwrap();
                amax::backward(&exec, out, dy, view, View::new(&y, &[1, 1]).unwrap(), &[1][..]).unwrap();
                // A power of two of ties divides exactly, so nothing of the gradient may be lost.
                let shared = |i| if i + ties >= len { 3.0 / ties as f32 } else { 0.0 };
                assert_eq!(
                    bits(&dx),
                    bits(&(0..len).map(shared).collect::<Vec<_>>()),
                    "{isa}: amax of {len}, {ties} ties"
                );
            }
        }
    }
}

/// [candle#2168]
#[test]
fn a_fast_path_without_a_backward() {
    let activations = [
        Activation::Identity,
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Relu,
        Activation::LeakyRelu { slope: 0.1 },
        Activation::Elu { alpha: 1.0 },
        Activation::Gelu { form: Form::Erf },
        Activation::Gelu { form: Form::Tanh },
        Activation::Silu,
        Activation::Softplus { beta: 1.0, threshold: 20.0 },
        Activation::Hardtanh { low: -1.0, high: 1.0 },
    ];
    let mut random = Random::new(15);
    let x: Vec<f32> = (0..12 * 7).map(|_| 2.0 * random.unit()).collect();
    let labels: Vec<i64> = (0..12).map(|i| i % 5).collect();
    for isa in Isa::available() {
        for activation in activations {
            let layers: Vec<Layer> = vec![
                Linear::new(19).into(),
                activation.into(),
                Linear::new(8).into(),
                activation.into(),
                Linear::new(5).into(),
            ];
            let mlp = Mlp { input: Input::Dense { features: 7 }, layers, loss: Loss::cross_entropy() };
            let options = Options { max_batch: 12, lr: 0.25, ..Options::default() };
            let exec = Exec::serial().unwrap().with_isa(isa);
            let trainer = || Trainer::new(&mlp, options.clone(), &exec).unwrap();
            let (mut fused, mut passes, before) = (trainer(), trainer(), trainer());
            fused.step(&x[..], &labels[..]).unwrap();
            passes.forward(&x[..]).unwrap();
            passes.backward(&labels[..]).unwrap();
            let names: Vec<String> = passes.names().map(str::to_owned).collect();
            for name in &names {
                let gradient = passes.grad(name).unwrap().to_vec();
                assert!(gradient.iter().any(|&d| d != 0.0), "{isa}, {activation:?}: {name} has no gradient");
                // The gradient of a step with a rate of 1/4 is four times what it took off, but for a rounding.
                let moved = before.param(name).unwrap().iter().zip(fused.param(name).unwrap().iter());
                for ((before, after), d) in moved.zip(gradient) {
                    let off = (before - after - 0.25 * d).abs();
                    assert!(
                        off <= f32::EPSILON * (before.abs() + d.abs()),
                        "{isa}, {activation:?}: {name} moved elsewhere"
                    );
                }
            }
            passes.update().unwrap();
            assert_eq!(bits(fused.params()), bits(passes.params()), "{isa}, {activation:?}");
        }
    }
}

/// [CrypTen#143]
#[test]
fn a_batch_norm_whose_backward_was_seen_with_ones_only() {
    let (rows, cols) = (23, 18);
    let mut random = Random::new(16);
    let mut draw = |len: usize| (0..len).map(|_| random.unit()).collect::<Vec<_>>();
    let (x, uneven, gamma) = (draw(rows * cols), draw(rows * cols), draw(cols));
    let eps = 1e-5;
    for isa in Isa::available() {
        let exec = serial(isa);
        let run = |dy: &[f32]| {
            let (mut y, mut mean, mut inv_std) = (poisoned(rows * cols), poisoned(cols), poisoned(cols));
            let shape = [rows, cols];
            let (x, weight) = (View::new(&x, &shape).unwrap(), View::new(&gamma, &[cols]).unwrap());
            let params = Params { weight: Some(weight), bias: None };
            let config = batch_norm_nd::Config { eps, ..Default::default() };
            let statistics = Statistics { mean: column(&mut mean), inv_std: column(&mut inv_std) };
            batch_norm_nd::forward(&exec, ViewMut::new(&mut y, &shape).unwrap(), statistics, None, x, params, config)
                .unwrap();
            let (mut dx, mut dweight, mut dbias) = (poisoned(rows * cols), poisoned(cols), poisoned(cols));
            let grads = Grads {
                dx: ViewMut::new(&mut dx, &shape).unwrap(),
                dweight: Some(column(&mut dweight)),
                dbias: Some(column(&mut dbias)),
            };
            let saved =
                Saved { mean: View::new(&mean, &[cols]).unwrap(), inv_std: View::new(&inv_std, &[cols]).unwrap() };
            let dy = View::new(dy, &shape).unwrap();
            batch_norm_nd::backward(&exec, grads, Accum::Replace, dy, x, saved, Some(weight), config).unwrap();
            dx
        };
        for (dy, is_even) in [(&vec![1.0; rows * cols], true), (&uneven, false)] {
            let dx = run(dy);
            for j in 0..cols {
                let wide = |values: &[f32]| (0..rows).map(|i| f64::from(values[i * cols + j])).collect::<Vec<_>>();
                let (x, dy, n) = (wide(&x), wide(dy), rows as f64);
                let mean = x.iter().sum::<f64>() / n;
                let inv_std = 1.0 / (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n + f64::from(eps)).sqrt();
                let xhat: Vec<f64> = x.iter().map(|x| (x - mean) * inv_std).collect();
                let even = dy.iter().sum::<f64>() / n;
                let along = dy.iter().zip(&xhat).map(|(dy, xhat)| dy * xhat).sum::<f64>() / n;
                let scale = f64::from(gamma[j]) * inv_std;
                let mut largest = 0.0_f64;
                for i in 0..rows {
                    let want = scale * (dy[i] - even - xhat[i] * along);
                    let terms = scale.abs() * (dy[i].abs() + 1.0 + xhat[i].abs());
                    let (got, bound) = (f64::from(dx[i * cols + j]), 64.0 * f64::from(f32::EPSILON) * terms);
                    assert!((got - want).abs() <= bound, "{isa}: dx of row {i}, column {j} is {got}, not {want}");
                    largest = largest.max(want.abs());
                }
                // With ones there is nothing to see; otherwise there is.
                let visible = largest > 1e-3 * scale.abs();
                assert_eq!(visible, !is_even, "column {j}: the largest gradient is {largest}");
            }
        }
    }
}
