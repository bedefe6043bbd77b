//! This crate.

use crate::data::{BATCH, CONTEXT, Case, EMBEDDING, EPS, Kind, VOCAB, WEIGHT_DECAY};
use crate::{Report, Result, digest, threads};
use handgrad::kernels::gemm::Accum;
use handgrad::kernels::op::gelu::Form;
use handgrad::kernels::op::layer_norm::{Config, Grads, Params, Saved, Statistics};
use handgrad::kernels::op::{cross_entropy, layer_norm};
use handgrad::kernels::optim::{Step, adam};
use handgrad::kernels::view::{Mat, MatMut, View, ViewMut};
use handgrad::{Activation, Adam, BatchNorm, Decay, Exec, Input, Layer, LayerNorm, Linear, Loss, Mlp};
use handgrad::{Optimizer, Options, Trainer, Variance};

pub(crate) fn run(case: &Case) -> Result<Report> {
    let exec = match threads()? {
        1 => Exec::serial()?,
        threads => Exec::with_threads(threads)?,
    };
    let about = format!(", {}", exec.isa());
    exec.install(|| match case.kind {
        Kind::Makemore => makemore(case, &exec, &about),
        Kind::Relu | Kind::Gelu | Kind::Tanh => network(case, &exec, &about),
        Kind::CrossEntropy => losses(case, &exec, &about),
        Kind::LayerNormForward | Kind::LayerNormBackward => norm(case, &exec, &about),
        Kind::AdamW => update(case, &exec, &about),
    })
}

/// A trainer with the parameters of the case: pairs of our names and the data's.
fn trainer(case: &Case, mlp: &Mlp, optimizer: Optimizer, exec: &Exec, names: &[(String, String)]) -> Result<Trainer> {
    let options = Options { max_batch: case.batch, lr: case.lr(), optimizer, ..Options::default() };
    let mut trainer = Trainer::new(mlp, options, exec)?;
    assert_eq!(trainer.names().count(), names.len(), "every parameter comes from the data");
    for (ours, theirs) in names {
        let values = case.floats(theirs)?;
        let mut param = trainer.param_mut(ours)?;
        match *param.shape() {
            // The data have weights as the notebook has them, inputs x outputs.
            [outputs, inputs] if !ours.starts_with("embedding") => {
                let mut places = (0..outputs * inputs).map(|i| i % inputs * outputs + i / inputs);
                param.fill_with(|| places.next().map_or(f32::NAN, |place| values[place]));
            }
            _ => {
                let mut values = values.into_iter();
                param.fill_with(|| values.next().unwrap_or(f32::NAN));
            }
        }
    }
    Ok(trainer)
}

fn makemore(case: &Case, exec: &Exec, about: &str) -> Result<Report> {
    let mlp = Mlp {
        input: Input::Tokens { vocab: VOCAB, context: CONTEXT, embedding: EMBEDDING },
        layers: vec![
            Linear::new(case.sizes[1]).without_bias().into(),
            // No other peer keeps running statistics.
            BatchNorm { variance: Variance::Unbiased, momentum: 0.0, eps: EPS }.into(),
            Activation::Tanh.into(),
            Linear::new(VOCAB).into(),
        ],
        loss: Loss::cross_entropy(),
    };
    let names = [
        ("embedding.weight", "c"),
        ("layers.0.weight", "w1"),
        ("layers.1.weight", "bngain"),
        ("layers.1.bias", "bnbias"),
        ("layers.3.weight", "w2"),
        ("layers.3.bias", "b2"),
    ];
    let names = names.map(|(ours, theirs)| (ours.to_owned(), theirs.to_owned()));
    let mut trainer = trainer(case, &mlp, Optimizer::default(), exec, &names)?;
    let data = case.names()?;
    let (mut x, mut y) = ([0_i64; CONTEXT * BATCH], [0_i64; BATCH]);
    Report::of_steps(case, about, |number| {
        data.gather(number, &mut x, &mut y);
        Ok(trainer.step(&x[..], &y[..])?)
    })
}

fn network(case: &Case, exec: &Exec, about: &str) -> Result<Report> {
    let (mut layers, mut names) = (Vec::<Layer>::new(), Vec::new());
    for (layer, &width) in case.sizes[1..].iter().enumerate() {
        let mut name = |place: usize, ours: &str, theirs: &str| {
            names.push((format!("layers.{place}.{ours}"), format!("{theirs}{layer}")));
        };
        name(layers.len(), "weight", "w");
        name(layers.len(), "bias", "b");
        layers.push(Linear::new(width).into());
        if layer + 2 == case.sizes.len() {
            break;
        }
        if case.kind == Kind::Gelu {
            name(layers.len(), "weight", "g");
            name(layers.len(), "bias", "s");
            layers.push(LayerNorm { eps: EPS, ..LayerNorm::default() }.into());
        }
        layers.push(match case.kind {
            Kind::Relu => Activation::Relu.into(),
            Kind::Gelu => Activation::Gelu { form: Form::Erf }.into(),
            _ => Activation::Tanh.into(),
        });
    }
    let (loss, optimizer) = match case.kind {
        Kind::Relu => (Loss::cross_entropy(), Optimizer::default()),
        Kind::Gelu => (Loss::Mse, Optimizer::adamw(WEIGHT_DECAY)),
        _ => (Loss::Mse, Optimizer::adam()),
    };
    let mlp = Mlp { input: Input::Dense { features: case.sizes[0] }, layers, loss };
    let mut trainer = trainer(case, &mlp, optimizer, exec, &names)?;
    let data = case.table()?;
    Report::of_steps(case, about, |number| {
        let (x, labels, values) = data.batch(number);
        Ok(if case.kind == Kind::Relu { trainer.step(x, labels) } else { trainer.step(x, values) }?)
    })
}

fn losses(case: &Case, exec: &Exec, about: &str) -> Result<Report> {
    let (logits, labels) = (case.floats("_x")?, case.indices("_labels")?);
    let labels: Vec<i64> = labels.into_iter().map(i64::from).collect();
    let (rows, classes) = (labels.len(), logits.len() / labels.len());
    let (mut losses, mut out) = (vec![0.0; rows], vec![0.0; logits.len()]);
    let call = |losses: &mut [f32], out: &mut [f32]| -> Result<()> {
        let (dx, x) = (MatMut::new(out, rows, classes)?, Mat::new(&logits, rows, classes)?);
        let (each, config) = (1.0 / rows as f32, cross_entropy::Config::default());
        Ok(cross_entropy::forward_backward(exec, losses, dx, each, x, &labels[..], None, config)?)
    };
    call(&mut losses, &mut out)?;
    let loss = losses.iter().copied().map(f64::from).sum::<f64>() / rows as f64;
    let values = [loss].into_iter().chain(digest(&out)).collect();
    Report::of_call(values, about, |_| call(&mut losses, &mut out))
}

fn norm(case: &Case, exec: &Exec, about: &str) -> Result<Report> {
    let (x, gain, bias) = (case.floats("_x")?, case.floats("_g")?, case.floats("_s")?);
    let (rows, cols) = (case.batch, gain.len());
    let shape = [rows, cols];
    let params = Params { weight: Some(View::new(&gain, &[cols])?), bias: Some(View::new(&bias, &[cols])?) };
    let (mut mean, mut inv_std, mut out) = (vec![0.0; rows], vec![0.0; rows], vec![0.0; rows * cols]);
    let forward = |out: &mut [f32], mean: &mut [f32], inv_std: &mut [f32]| -> Result<()> {
        let statistics =
            Statistics { mean: ViewMut::new(mean, &[rows, 1])?, inv_std: ViewMut::new(inv_std, &[rows, 1])? };
        let (y, x) = (ViewMut::new(out, &shape)?, View::new(&x, &shape)?);
        Ok(layer_norm::forward(exec, y, statistics, x, &[cols], params, Config { eps: EPS })?)
    };
    forward(&mut out, &mut mean, &mut inv_std)?;
    if case.kind == Kind::LayerNormForward {
        let values = digest(&out).collect();
        return Report::of_call(values, about, |_| forward(&mut out, &mut mean, &mut inv_std));
    }
    let dy = case.floats("_dy")?;
    let (mut dweight, mut dbias) = (vec![0.0; cols], vec![0.0; cols]);
    let mut scratch = vec![0.0; layer_norm::backward_scratch(&shape, &[cols])];
    let mut backward = |out: &mut [f32], dweight: &mut [f32], dbias: &mut [f32]| -> Result<()> {
        let saved = Saved { mean: View::new(&mean, &[rows, 1])?, inv_std: View::new(&inv_std, &[rows, 1])? };
        let grads = Grads {
            dx: ViewMut::new(out, &shape)?,
            dweight: Some(ViewMut::new(dweight, &[cols])?),
            dbias: Some(ViewMut::new(dbias, &[cols])?),
        };
        let (dy, x, accum) = (View::new(&dy, &shape)?, View::new(&x, &shape)?, Accum::Replace);
        Ok(layer_norm::backward(exec, grads, accum, dy, x, saved, &[cols], params.weight, &mut scratch)?)
    };
    backward(&mut out, &mut dweight, &mut dbias)?;
    let values = [&out, &dweight, &dbias].into_iter().flat_map(|array| digest(array)).collect();
    Report::of_call(values, about, |_| backward(&mut out, &mut dweight, &mut dbias))
}

fn update(case: &Case, exec: &Exec, about: &str) -> Result<Report> {
    let (mut p, g) = (case.floats("_p")?, case.floats("_g")?);
    let (mut m, mut v) = (vec![0.0; p.len()], vec![0.0; p.len()]);
    let config = Adam { weight_decay: WEIGHT_DECAY, decay: Decay::Decoupled, ..Adam::default() };
    let mut number = 0;
    let mut call = |p: &mut [f32]| -> Result<()> {
        number += 1;
        Ok(adam::update(exec, p, &mut m, &mut v, &g, Step { lr: case.lr(), scale: 1.0, number }, config)?)
    };
    call(&mut p)?;
    let values = digest(&p).collect();
    Report::of_call(values, about, |_| call(&mut p))
}
