//! Exercises 2 and 3: the gradient of the cross-entropy in one line, and that of the batch norm in one line, with the
//! kernels that the training step uses. What they are given comes from our own kernels too.

use crate::cmp::Cmp;
use crate::common::golden::Golden;
use handgrad::Exec;
use handgrad::kernels::gemm::Accum;
use handgrad::kernels::op::activation::Activation;
use handgrad::kernels::op::batch_norm::{self, Config, Grads, Saved, Statistics, Variance};
use handgrad::kernels::op::loss::Reduction;
use handgrad::kernels::op::{cross_entropy, embedding, linear, loss};
use handgrad::kernels::view::{Mat, MatMut, View, ViewMut};

/// A matrix with its elements; new ones are NaN, for kernels to overwrite.
struct Dense {
    rows: usize,
    cols: usize,
    values: Vec<f32>,
}

impl Dense {
    fn new(rows: usize, cols: usize) -> Self {
        Self { rows, cols, values: vec![f32::NAN; rows * cols] }
    }

    fn mat(&self) -> Mat<'_> {
        Mat::new(&self.values, self.rows, self.cols).unwrap()
    }

    fn mat_mut(&mut self) -> MatMut<'_> {
        MatMut::new(&mut self.values, self.rows, self.cols).unwrap()
    }
}

/// Runs the network there and back and compares what the two exercises ask for. The gradient of the loss is `dloss`:
/// anything but 1 is a wrong answer.
pub(crate) fn run(cmp: &mut Cmp<'_>, golden: &Golden, exec: &Exec, dloss: f32) {
    let [batch, context] = golden.sizes("Xb");
    let [vocab, dim] = golden.sizes("C");
    let [inputs, hidden] = golden.sizes("W1");
    assert_eq!(inputs, context * dim);
    let (x, y) = (golden.i64("Xb"), golden.i64("Yb"));
    let tensor = |name, rows, cols| Dense { rows, cols, values: golden.f32(name) };
    let (table, w1, b1) = (tensor("C", vocab, dim), tensor("W1", inputs, hidden), tensor("b1", 1, hidden));
    let (w2, b2) = (tensor("W2", hidden, vocab), tensor("b2", 1, vocab));
    let (gain, bias) = (tensor("bngain", 1, hidden), tensor("bnbias", 1, hidden));
    let lens = [linear::scratch_len(exec, batch, inputs, hidden), linear::scratch_len(exec, batch, hidden, vocab)];
    let mut scratch = vec![f32::NAN; lens[0].max(lens[1]).max(batch_norm::backward_scratch(hidden))];
    let config = Config { eps: 1e-5, variance: Variance::Unbiased };

    let mut embcat = Dense::new(batch, inputs);
    embedding::forward(exec, embcat.mat_mut(), table.mat(), &x).unwrap();
    let mut hprebn = Dense::new(batch, hidden);
    let (none, through) = (Activation::Identity, Activation::Tanh);
    linear::forward(exec, hprebn.mat_mut(), embcat.mat(), w1.mat(), Some(b1.mat()), none, &mut scratch).unwrap();
    let (mut mean, mut var, mut inv_std) = (Dense::new(1, hidden), Dense::new(1, hidden), Dense::new(1, hidden));
    let statistics = Statistics { mean: mean.mat_mut(), var: var.mat_mut(), inv_std: inv_std.mat_mut() };
    let mut h = Dense::new(batch, hidden);
    batch_norm::forward(exec, h.mat_mut(), statistics, hprebn.mat(), gain.mat(), bias.mat(), config, through).unwrap();
    let saved = Saved { mean: mean.mat(), var: var.mat(), inv_std: inv_std.mat() };
    let mut logits = Dense::new(batch, vocab);
    linear::forward(exec, logits.mat_mut(), h.mat(), w2.mat(), Some(b2.mat()), none, &mut scratch).unwrap();

    let (mut losses, mut dlogits) = (vec![f32::NAN; batch], Dense::new(batch, vocab));
    let each = dloss / batch as f32;
    let plain = cross_entropy::Config::default();
    let out = dlogits.mat_mut();
    cross_entropy::forward_backward(exec, &mut losses, out, each, logits.mat(), &y[..], None, plain).unwrap();
    cmp.value("loss", &[loss::mean(exec, &losses, batch as f32)]);
    cmp.gradient("logits", &dlogits.values);
    in_two_passes(exec, &losses, &dlogits, each, &logits, &y);

    let mut dhpreact = Dense::new(batch, hidden);
    linear::backward_input(exec, dhpreact.mat_mut(), dlogits.mat(), w2.mat(), through, h.mat(), &mut scratch).unwrap();
    let (mut dhprebn, mut dgain, mut dbias) = (Dense::new(batch, hidden), Dense::new(1, hidden), Dense::new(1, hidden));
    let grads = Grads { dx: dhprebn.mat_mut(), dgamma: dgain.mat_mut(), dbeta: dbias.mat_mut() };
    let (dy, x) = (dhpreact.mat(), hprebn.mat());
    batch_norm::backward(exec, grads, Accum::Replace, dy, x, saved, gain.mat(), config, &mut scratch).unwrap();
    cmp.gradient("hprebn", &dhprebn.values);
    cmp.gradient("bngain", &dgain.values);
    cmp.gradient("bnbias", &dbias.values);
}

/// The losses alone and the gradient alone have the same bits as both in one pass.
fn in_two_passes(exec: &Exec, losses: &[f32], dlogits: &Dense, each: f32, logits: &Dense, y: &[i64]) {
    let (mut alone, mut gradient) = (vec![f32::NAN; losses.len()], Dense::new(logits.rows, logits.cols));
    let (out, plain) = (ViewMut::new(&mut alone, &[losses.len()]).unwrap(), cross_entropy::Config::default());
    let labels = View::new(y, &[y.len()]).unwrap();
    cross_entropy::forward(exec, out, logits.mat(), labels, plain, Reduction::None, &mut []).unwrap();
    assert_eq!(alone, losses);
    let each = View::scalar(&each).broadcast_to(&[losses.len()]).unwrap();
    cross_entropy::backward(exec, gradient.mat_mut(), each, logits.mat(), labels, plain, Reduction::None).unwrap();
    assert_eq!(gradient.values, dlogits.values);
}
