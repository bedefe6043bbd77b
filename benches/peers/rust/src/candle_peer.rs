//! candle: its modules, its autograd, its optimisers where it has them.

use crate::data::{BATCH, CONTEXT, Case, EMBEDDING, EPS, Kind, VOCAB, WEIGHT_DECAY};
use crate::{Report, Result};
use candle_core::{D, Device, Tensor, Var};
use candle_nn::loss::{cross_entropy, mse};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, SGD};

const CPU: Device = Device::Cpu;

pub(crate) fn run(case: &Case) -> Result<Report> {
    match case.kind {
        Kind::Makemore => makemore(case),
        _ => network(case),
    }
}

fn var(case: &Case, name: &str, shape: &[usize]) -> Result<Var> {
    Ok(Var::from_tensor(&Tensor::from_vec(case.floats(name)?, shape, &CPU)?)?)
}

fn makemore(case: &Case) -> Result<Report> {
    let hidden = case.sizes[1];
    let c = var(case, "c", &[VOCAB, EMBEDDING])?;
    let w1 = var(case, "w1", &[CONTEXT * EMBEDDING, hidden])?;
    let (gain, bias) = (var(case, "bngain", &[hidden])?, var(case, "bnbias", &[hidden])?);
    let (w2, b2) = (var(case, "w2", &[hidden, VOCAB])?, var(case, "b2", &[VOCAB])?);
    let vars = [&c, &w1, &gain, &bias, &w2, &b2].map(Var::clone).to_vec();
    let mut update = SGD::new(vars, case.lr().into())?;
    let data = case.names()?;
    let (mut x, mut y) = ([0_i64; CONTEXT * BATCH], [0_i64; BATCH]);
    Report::of_steps(case, "", |number| {
        data.gather(number, &mut x, &mut y);
        let (x, y) = (Tensor::new(&x[..], &CPU)?, Tensor::new(&y[..], &CPU)?);
        let embcat = c.index_select(&x, 0)?.reshape((BATCH, CONTEXT * EMBEDDING))?;
        let hprebn = embcat.matmul(&w1)?;
        let centred = hprebn.broadcast_sub(&hprebn.mean_keepdim(0)?)?;
        let variance = (centred.sqr()?.sum_keepdim(0)? / (BATCH as f64 - 1.0))?;
        let bnraw = centred.broadcast_div(&(variance + f64::from(EPS))?.sqrt()?)?;
        let h = bnraw.broadcast_mul(&gain)?.broadcast_add(&bias)?.tanh()?;
        let logits = h.matmul(&w2)?.broadcast_add(&b2)?;
        let loss = cross_entropy(&logits, &y)?;
        update.backward_step(&loss)?;
        Ok(loss.to_scalar()?)
    })
}

/// By differences and products: candle's own operation has no gradient.
fn layer_norm(x: &Tensor, gain: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let raw = centred.broadcast_div(&(variance + f64::from(EPS))?.sqrt()?)?;
    Ok(raw.broadcast_mul(gain)?.broadcast_add(bias)?)
}

enum Rule {
    Sgd(SGD),
    Adam(AdamW),
}

fn network(case: &Case) -> Result<Report> {
    let layers = case.sizes.len() - 1;
    let (mut vars, mut params) = (Vec::new(), Vec::new());
    for layer in 0..layers {
        let (inputs, width) = (case.sizes[layer], case.sizes[layer + 1]);
        let mut these = vec![var(case, &format!("w{layer}"), &[inputs, width])?];
        these.push(var(case, &format!("b{layer}"), &[width])?);
        if case.kind == Kind::Gelu && layer + 1 < layers {
            these.push(var(case, &format!("g{layer}"), &[width])?);
            these.push(var(case, &format!("s{layer}"), &[width])?);
        }
        vars.extend(these.iter().cloned());
        params.push(these);
    }
    let lr = f64::from(case.lr());
    let weight_decay = if case.kind == Kind::Gelu { f64::from(WEIGHT_DECAY) } else { 0.0 };
    let mut rule = match case.kind {
        Kind::Relu => Rule::Sgd(SGD::new(vars, lr)?),
        _ => Rule::Adam(AdamW::new(vars, ParamsAdamW { lr, weight_decay, ..ParamsAdamW::default() })?),
    };
    // Tensors of their own for each batch, made before anything is timed.
    let data = case.table()?;
    let batches = (0..data.batches)
        .map(|number| {
            let (x, labels, values) = data.batch(number);
            let x = Tensor::from_slice(x, (case.batch, case.sizes[0]), &CPU)?;
            let y = match case.kind {
                Kind::Relu => Tensor::from_slice(labels, case.batch, &CPU)?,
                _ => Tensor::from_slice(values, (case.batch, case.sizes[layers]), &CPU)?,
            };
            Ok((x, y))
        })
        .collect::<Result<Vec<_>>>()?;
    Report::of_steps(case, "", |number| {
        let (x, y) = &batches[number % batches.len()];
        let mut a = x.clone();
        for (layer, params) in params.iter().enumerate() {
            a = a.matmul(&params[0])?.broadcast_add(&params[1])?;
            if layer + 1 == layers {
                break;
            }
            a = match case.kind {
                Kind::Relu => a.relu()?,
                Kind::Gelu => layer_norm(&a, &params[2], &params[3])?.gelu_erf()?,
                _ => a.tanh()?,
            };
        }
        let loss = if case.kind == Kind::Relu { cross_entropy(&a, y)? } else { mse(&a, y)? };
        match &mut rule {
            Rule::Sgd(sgd) => sgd.backward_step(&loss)?,
            Rule::Adam(adam) => adam.backward_step(&loss)?,
        }
        Ok(loss.to_scalar()?)
    })
}
