//! burn, with its backend `flex`: its tensors, its autograd, its optimisers.

use crate::data::{BATCH, CONTEXT, Case, EMBEDDING, EPS, Kind, VOCAB, WEIGHT_DECAY};
use crate::{Report, Result};
use burn::optim::{AdamW, AdamWConfig, Optimizer, Sgd, SgdConfig};
use burn::tensor::module::{embedding, layer_norm, linear};
use burn::tensor::{Device, Int, Tensor, TensorData, activation};

pub(crate) fn run(case: &Case) -> Result<Report> {
    let device = Device::flex().autodiff();
    match case.kind {
        Kind::Makemore => makemore(case, &device),
        _ => network(case, &device),
    }
}

/// A parameter, with what its optimiser remembers.
struct Param<const D: usize, O: Optimizer> {
    value: Tensor<D>,
    state: Option<O::State<D>>,
}

impl<const D: usize, O: Optimizer> Param<D, O> {
    fn new(case: &Case, name: &str, shape: [usize; D], device: &Device) -> Result<Self> {
        let value = Tensor::from_data(TensorData::new(case.floats(name)?, shape), device).require_grad();
        Ok(Self { value, state: None })
    }

    fn get(&self) -> Tensor<D> {
        self.value.clone()
    }

    fn update(&mut self, rule: &O, lr: f32, grads: &mut burn::tensor::Gradients) -> Result<()> {
        let grad = self.value.grad_remove(grads).ok_or("a parameter without a gradient")?;
        let (value, state) = rule.step(lr.into(), self.get().inner(), grad, self.state.take());
        (self.value, self.state) = (value.autodiff().require_grad(), state);
        Ok(())
    }
}

/// The mean over the rows.
fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    activation::log_softmax(logits, 1).gather(1, labels.unsqueeze_dim(1)).mean().neg()
}

fn makemore(case: &Case, device: &Device) -> Result<Report> {
    type Matrix = Param<2, Sgd>;
    let (hidden, rule) = (case.sizes[1], SgdConfig::new().build());
    let mut c = Matrix::new(case, "c", [VOCAB, EMBEDDING], device)?;
    let mut w1 = Matrix::new(case, "w1", [CONTEXT * EMBEDDING, hidden], device)?;
    let mut gain = Matrix::new(case, "bngain", [1, hidden], device)?;
    let mut bias = Matrix::new(case, "bnbias", [1, hidden], device)?;
    let mut w2 = Matrix::new(case, "w2", [hidden, VOCAB], device)?;
    let mut b2 = Param::<1, Sgd>::new(case, "b2", [VOCAB], device)?;
    let data = case.names()?;
    let (mut x, mut y) = ([0_i64; CONTEXT * BATCH], [0_i64; BATCH]);
    Report::of_steps(case, "", |number| {
        data.gather(number, &mut x, &mut y);
        let tokens = Tensor::<2, Int>::from_data(TensorData::new(x.to_vec(), [BATCH, CONTEXT]), device);
        let labels = Tensor::<1, Int>::from_data(TensorData::new(y.to_vec(), [BATCH]), device);
        let embcat = embedding(c.get(), tokens).reshape([BATCH, CONTEXT * EMBEDDING]);
        // The variance of `var_mean` is Bessel's.
        let hprebn = embcat.matmul(w1.get());
        let (variance, mean) = hprebn.clone().var_mean(0);
        let bnraw = (hprebn - mean) / (variance + EPS).sqrt();
        let h = (bnraw * gain.get() + bias.get()).tanh();
        let loss = cross_entropy(linear(h, w2.get(), Some(b2.get())), labels);
        let mut grads = loss.backward();
        for param in [&mut c, &mut w1, &mut gain, &mut bias, &mut w2] {
            param.update(&rule, case.lr(), &mut grads)?;
        }
        b2.update(&rule, case.lr(), &mut grads)?;
        Ok(loss.into_scalar::<f32>())
    })
}

fn network(case: &Case, device: &Device) -> Result<Report> {
    let decay = if case.kind == Kind::Gelu { WEIGHT_DECAY } else { 0.0 };
    match case.kind {
        Kind::Relu => train::<Sgd>(case, &SgdConfig::new().build(), device),
        // Without a decay it is Adam.
        _ => {
            let rule: AdamW = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(decay).build();
            train(case, &rule, device)
        }
    }
}

fn train<O: Optimizer>(case: &Case, rule: &O, device: &Device) -> Result<Report> {
    let layers = case.sizes.len() - 1;
    let (mut weights, mut vectors) = (Vec::new(), Vec::new());
    for layer in 0..layers {
        let (inputs, width) = (case.sizes[layer], case.sizes[layer + 1]);
        weights.push(Param::<2, O>::new(case, &format!("w{layer}"), [inputs, width], device)?);
        let norm = case.kind == Kind::Gelu && layer + 1 < layers;
        let names = if norm { &["b", "g", "s"][..] } else { &["b"] };
        let these = names.iter().map(|name| Param::<1, O>::new(case, &format!("{name}{layer}"), [width], device));
        vectors.push(these.collect::<Result<Vec<_>>>()?);
    }
    // Tensors of their own for each batch, made before anything is timed.
    let data = case.table()?;
    let batches: Vec<_> = (0..data.batches)
        .map(|number| {
            let (x, labels, values) = data.batch(number);
            let x = Tensor::<2>::from_data(TensorData::new(x.to_vec(), [case.batch, case.sizes[0]]), device);
            let labels = Tensor::<1, Int>::from_data(TensorData::new(labels.to_vec(), [labels.len()]), device);
            let shape = [values.len() / case.sizes[layers], case.sizes[layers]];
            (x, labels, Tensor::<2>::from_data(TensorData::new(values.to_vec(), shape), device))
        })
        .collect();
    Report::of_steps(case, "", |number| {
        let (x, labels, values) = batches[number % batches.len()].clone();
        let mut a = x;
        for (layer, (weight, vectors)) in weights.iter().zip(&vectors).enumerate() {
            a = linear(a, weight.get(), Some(vectors[0].get()));
            if layer + 1 == layers {
                break;
            }
            a = match case.kind {
                Kind::Relu => activation::relu(a),
                Kind::Gelu => activation::gelu(layer_norm(a, vectors[1].get(), Some(vectors[2].get()), f64::from(EPS))),
                _ => a.tanh(),
            };
        }
        let loss = match case.kind {
            Kind::Relu => cross_entropy(a, labels),
            _ => (a - values).square().mean(),
        };
        let mut grads = loss.backward();
        for weight in &mut weights {
            weight.update(rule, case.lr(), &mut grads)?;
        }
        for vector in vectors.iter_mut().flatten() {
            vector.update(rule, case.lr(), &mut grads)?;
        }
        Ok(loss.into_scalar::<f32>())
    })
}
