//! Exercise 1: the whole network in the notebook's smallest steps, forward, and then each step's backward, read upwards.
//! Nothing is taken from the golden file but the minibatch and the parameters.

use crate::cmp::Cmp;
use crate::common::golden::Golden;
use handgrad::kernels::gemm::Accum;
use handgrad::kernels::op::activation::Activation::Identity;
use handgrad::kernels::op::{Axes, embedding};
use handgrad::kernels::op::{
    add, exp, gather, linear, log, max, mean, mul, neg, reciprocal, rsqrt, square, sub, sum, tanh,
};
use handgrad::kernels::view::{Mat, MatMut, View, ViewMut};
use handgrad::kernels::{Exec, Result};

/// A value with its shape.
struct Tensor {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Tensor {
    /// A parameter of the notebook.
    fn read(golden: &Golden, name: &str) -> Self {
        Self { shape: golden.shape(name), values: golden.f32(name) }
    }

    fn view(&self) -> View<'_> {
        View::new(&self.values, &self.shape).unwrap()
    }

    fn view_mut(&mut self) -> ViewMut<'_> {
        ViewMut::new(&mut self.values, &self.shape).unwrap()
    }

    /// All of it as one matrix; a vector is one row.
    fn mat(&self) -> Mat<'_> {
        let cols = self.shape.last().copied().unwrap_or(1);
        Mat::new(&self.values, self.values.len() / cols, cols).unwrap()
    }

    /// The same elements in another shape.
    fn reshaped(&self, shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), values: self.values.clone() }
    }
}

/// What an operation writes.
fn made(shape: &[usize], op: impl FnOnce(ViewMut<'_>) -> Result<()>) -> Tensor {
    let mut y = Tensor { shape: shape.to_vec(), values: vec![f32::NAN; shape.iter().product()] };
    op(y.view_mut()).unwrap();
    y
}

/// What an operation writes that gives two gradients, each of an operand's shape.
fn made_both(a: &Tensor, b: &Tensor, op: impl FnOnce(ViewMut<'_>, ViewMut<'_>) -> Result<()>) -> (Tensor, Tensor) {
    let mut da = made(&a.shape, |_| Ok(()));
    let db = made(&b.shape, |db| op(da.view_mut(), db));
    (da, db)
}

/// `f·x` for a number `f`.
fn times(exec: &Exec, x: &Tensor, f: f32) -> Tensor {
    made(&x.shape, |y| mul::forward(exec, y, x.view(), View::scalar(&f)))
}

/// `a + b` of one shape: where a value is used twice, its gradient has two parts.
fn both(exec: &Exec, a: &Tensor, b: &Tensor) -> Tensor {
    made(&a.shape, |y| add::forward(exec, y, a.view(), b.view(), 1.0))
}

/// `x @ w + b`
fn affine(exec: &Exec, x: &Tensor, w: &Tensor, b: &Tensor) -> Tensor {
    let (x, w, b) = (x.mat(), w.mat(), b.mat());
    let mut scratch = vec![f32::NAN; linear::scratch_len(exec, x.rows(), x.cols(), w.cols())];
    made(&[x.rows(), w.cols()], |y| linear::forward(exec, MatMut::try_from(y)?, x, w, Some(b), Identity, &mut scratch))
}

/// The gradients of [`affine`]: of `x`, `w` and `b`.
fn affine_backward(exec: &Exec, dy: &Tensor, x: &Tensor, w: &Tensor, b: &Tensor) -> [Tensor; 3] {
    let mut scratch = vec![f32::NAN; linear::scratch_len(exec, x.mat().rows(), x.mat().cols(), w.mat().cols())];
    let dx = made(&x.shape, |dx| {
        linear::backward_input(exec, MatMut::try_from(dx)?, dy.mat(), w.mat(), Identity, x.mat(), &mut scratch)
    });
    let (dw, db) = made_both(w, b, |dw, db| {
        let grads = linear::Grads { dw: MatMut::try_from(dw)?, db: Some(MatMut::try_from(db.unsqueeze(0)?)?) };
        linear::backward_params(exec, grads, Accum::Replace, dy.mat(), x.mat(), &mut scratch)
    });
    [dx, dw, db]
}

/// The parameters and the minibatch.
struct Given {
    x: Vec<i64>,
    y: Vec<i64>,
    c: Tensor,
    w1: Tensor,
    b1: Tensor,
    gain: Tensor,
    bias: Tensor,
    w2: Tensor,
    b2: Tensor,
}

/// Every value that the forward pass names.
struct Values {
    emb: Tensor,
    embcat: Tensor,
    hprebn: Tensor,
    bnmeani: Tensor,
    bndiff: Tensor,
    bndiff2: Tensor,
    bnvar: Tensor,
    bnvar_inv: Tensor,
    bnraw: Tensor,
    scaled: Tensor,
    hpreact: Tensor,
    h: Tensor,
    logits: Tensor,
    logit_maxes: Tensor,
    max_indices: Vec<i64>,
    norm_logits: Tensor,
    counts: Tensor,
    counts_sum: Tensor,
    counts_sum_inv: Tensor,
    probs: Tensor,
    logprobs: Tensor,
    picked: Tensor,
    loss: Tensor,
}

impl Given {
    fn read(golden: &Golden) -> Self {
        let tensor = |name| Tensor::read(golden, name);
        Self {
            x: golden.i64("Xb"),
            y: golden.i64("Yb"),
            c: tensor("C"),
            w1: tensor("W1"),
            b1: tensor("b1"),
            gain: tensor("bngain"),
            bias: tensor("bnbias"),
            w2: tensor("W2"),
            b2: tensor("b2"),
        }
    }

    fn batch(&self) -> usize {
        self.y.len()
    }

    /// The labels as the index of one element in each row.
    fn labels(&self) -> View<'_, i64> {
        View::new(&self.y, &[self.batch(), 1]).unwrap()
    }

    fn forward(&self, exec: &Exec) -> Values {
        let Given { x, c, w1, b1, gain, bias, w2, b2, .. } = self;
        let n = self.batch();
        let (context, dim) = (x.len() / n, c.shape[1]);
        let embcat = made(&[n, context * dim], |y| embedding::forward(exec, MatMut::try_from(y)?, c.mat(), x));
        let emb = embcat.reshaped(&[n, context, dim]);
        let hprebn = affine(exec, &embcat, w1, b1);

        let (full, row) = (&hprebn.shape[..], &gain.shape[..]);
        let total = made(row, |y| sum::forward(exec, y, hprebn.view(), 0));
        let bnmeani = times(exec, &total, 1.0 / n as f32);
        let bndiff = made(full, |y| sub::forward(exec, y, hprebn.view(), bnmeani.view(), 1.0));
        let bndiff2 = made(full, |y| square::forward(exec, y, bndiff.view()));
        let total = made(row, |y| sum::forward(exec, y, bndiff2.view(), 0));
        let bnvar = times(exec, &total, 1.0 / (n - 1) as f32);
        let shifted = made(row, |y| add::forward(exec, y, bnvar.view(), View::scalar(&1e-5), 1.0));
        let bnvar_inv = made(row, |y| rsqrt::forward(exec, y, shifted.view()));
        let bnraw = made(full, |y| mul::forward(exec, y, bndiff.view(), bnvar_inv.view()));
        let scaled = made(full, |y| mul::forward(exec, y, gain.view(), bnraw.view()));
        let hpreact = made(full, |y| add::forward(exec, y, scaled.view(), bias.view(), 1.0));

        let h = made(full, |y| tanh::forward(exec, y, hpreact.view()));
        let logits = affine(exec, &h, w2, b2);

        let (full, column) = (&logits.shape[..], &[n, 1][..]);
        let mut max_indices = vec![-1; n];
        let logit_maxes =
            made(column, |y| max::forward(exec, y, ViewMut::new(&mut max_indices, column)?, logits.view(), 1));
        let norm_logits = made(full, |y| sub::forward(exec, y, logits.view(), logit_maxes.view(), 1.0));
        let counts = made(full, |y| exp::forward(exec, y, norm_logits.view()));
        let counts_sum = made(column, |y| sum::forward(exec, y, counts.view(), 1));
        let counts_sum_inv = made(column, |y| reciprocal::forward(exec, y, counts_sum.view()));
        let probs = made(full, |y| mul::forward(exec, y, counts.view(), counts_sum_inv.view()));
        let logprobs = made(full, |y| log::forward(exec, y, probs.view()));
        let picked = made(column, |y| gather::forward(exec, y, logprobs.view(), self.labels(), 1));
        let mean = made(&[], |y| mean::forward(exec, y, picked.view(), Axes::All));
        let loss = made(&[], |y| neg::forward(exec, y, mean.view()));
        Values {
            emb,
            embcat,
            hprebn,
            bnmeani,
            bndiff,
            bndiff2,
            bnvar,
            bnvar_inv,
            bnraw,
            scaled,
            hpreact,
            h,
            logits,
            logit_maxes,
            max_indices,
            norm_logits,
            counts,
            counts_sum,
            counts_sum_inv,
            probs,
            logprobs,
            picked,
            loss,
        }
    }
}

/// Runs the network there and back and compares the notebook's 26 gradients, in its order. The gradient of the loss is
/// `dloss`: anything but 1 is a wrong answer.
pub(crate) fn run(cmp: &mut Cmp<'_>, golden: &Golden, exec: &Exec, dloss: f32) {
    let given = Given::read(golden);
    let values = given.forward(exec);
    cmp.value("loss", &values.loss.values);
    let dlogits = loss_backward(cmp, exec, &given, &values, dloss);
    let Values { h, hpreact, .. } = &values;

    let [dh, dw2, db2] = affine_backward(exec, &dlogits, h, &given.w2, &given.b2);
    cmp.gradient("h", &dh.values);
    cmp.gradient("W2", &dw2.values);
    cmp.gradient("b2", &db2.values);
    let dhpreact = made(&hpreact.shape, |dx| tanh::backward(exec, dx, dh.view(), h.view()));
    cmp.gradient("hpreact", &dhpreact.values);
    let dhprebn = norm_backward(cmp, exec, &given, &values, &dhpreact);

    let [dembcat, dw1, db1] = affine_backward(exec, &dhprebn, &values.embcat, &given.w1, &given.b1);
    cmp.gradient("embcat", &dembcat.values);
    cmp.gradient("W1", &dw1.values);
    cmp.gradient("b1", &db1.values);
    let demb = dembcat.reshaped(&values.emb.shape);
    cmp.gradient("emb", &demb.values);
    let rows = dembcat.mat();
    let dc =
        made(&given.c.shape, |dc| embedding::backward(exec, MatMut::try_from(dc)?, Accum::Replace, rows, &given.x));
    cmp.gradient("C", &dc.values);
}

/// From the loss up to the logits.
fn loss_backward(cmp: &mut Cmp<'_>, exec: &Exec, given: &Given, values: &Values, dloss: f32) -> Tensor {
    let Values { logits, logit_maxes, counts, counts_sum, counts_sum_inv, probs, logprobs, picked, .. } = values;
    let full = &logits.shape[..];
    let dmean = made(&[], |dx| neg::backward(exec, dx, View::scalar(&dloss)));
    let dpicked = made(&picked.shape, |dx| mean::backward(exec, dx, dmean.view(), Axes::All));
    let dlogprobs = made(&logprobs.shape, |dx| gather::backward(exec, dx, dpicked.view(), given.labels(), 1));
    cmp.gradient("logprobs", &dlogprobs.values);
    let dprobs = made(full, |dx| log::backward(exec, dx, dlogprobs.view(), probs.view()));
    cmp.gradient("probs", &dprobs.values);
    let (dcounts, dcounts_sum_inv) = made_both(counts, counts_sum_inv, |da, db| {
        mul::backward(exec, da, db, dprobs.view(), counts.view(), counts_sum_inv.view())
    });
    cmp.gradient("counts_sum_inv", &dcounts_sum_inv.values);
    let dcounts_sum =
        made(&counts_sum.shape, |dx| reciprocal::backward(exec, dx, dcounts_sum_inv.view(), counts_sum_inv.view()));
    cmp.gradient("counts_sum", &dcounts_sum.values);
    let through_sum = made(full, |dx| sum::backward(exec, dx, dcounts_sum.view(), 1));
    let dcounts = both(exec, &dcounts, &through_sum);
    cmp.gradient("counts", &dcounts.values);
    let dnorm_logits = made(&values.norm_logits.shape, |dx| exp::backward(exec, dx, dcounts.view(), counts.view()));
    cmp.gradient("norm_logits", &dnorm_logits.values);
    let (dlogits, dlogit_maxes) =
        made_both(logits, logit_maxes, |da, db| sub::backward(exec, da, db, dnorm_logits.view(), 1.0));
    cmp.gradient("logit_maxes", &dlogit_maxes.values);
    let indices = View::new(&values.max_indices, &logit_maxes.shape).unwrap();
    let through_max = made(full, |dx| max::backward(exec, dx, dlogit_maxes.view(), indices, 1));
    let dlogits = both(exec, &dlogits, &through_max);
    cmp.gradient("logits", &dlogits.values);
    dlogits
}

/// From what the tanh is given up to what the normalisation is given.
fn norm_backward(cmp: &mut Cmp<'_>, exec: &Exec, given: &Given, values: &Values, dhpreact: &Tensor) -> Tensor {
    let Given { gain, bias, .. } = given;
    let Values { hprebn, bnmeani, bndiff, bndiff2, bnvar, bnvar_inv, bnraw, scaled, .. } = values;
    let (full, n) = (&hprebn.shape[..], given.batch());
    let (dscaled, dbias) = made_both(scaled, bias, |da, db| add::backward(exec, da, db, dhpreact.view(), 1.0));
    let (dgain, dbnraw) =
        made_both(gain, bnraw, |da, db| mul::backward(exec, da, db, dscaled.view(), gain.view(), bnraw.view()));
    cmp.gradient("bngain", &dgain.values);
    cmp.gradient("bnbias", &dbias.values);
    cmp.gradient("bnraw", &dbnraw.values);
    let (dbndiff, dbnvar_inv) = made_both(bndiff, bnvar_inv, |da, db| {
        mul::backward(exec, da, db, dbnraw.view(), bndiff.view(), bnvar_inv.view())
    });
    cmp.gradient("bnvar_inv", &dbnvar_inv.values);
    let dbnvar = made(&bnvar.shape, |dx| rsqrt::backward(exec, dx, dbnvar_inv.view(), bnvar_inv.view()));
    cmp.gradient("bnvar", &dbnvar.values);
    let dtotal = times(exec, &dbnvar, 1.0 / (n - 1) as f32);
    let dbndiff2 = made(&bndiff2.shape, |dx| sum::backward(exec, dx, dtotal.view(), 0));
    cmp.gradient("bndiff2", &dbndiff2.values);
    let through_square = made(full, |dx| square::backward(exec, dx, dbndiff2.view(), bndiff.view()));
    let dbndiff = both(exec, &dbndiff, &through_square);
    cmp.gradient("bndiff", &dbndiff.values);
    let (dhprebn, dbnmeani) = made_both(hprebn, bnmeani, |da, db| sub::backward(exec, da, db, dbndiff.view(), 1.0));
    cmp.gradient("bnmeani", &dbnmeani.values);
    let dtotal = times(exec, &dbnmeani, 1.0 / n as f32);
    let through_mean = made(full, |dx| sum::backward(exec, dx, dtotal.view(), 0));
    let dhprebn = both(exec, &dhprebn, &through_mean);
    cmp.gradient("hprebn", &dhprebn.values);
    dhprebn
}
