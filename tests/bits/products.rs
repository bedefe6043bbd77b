//! Matrix products and layers.

use crate::run::{Case, Run};
use handgrad::Activation;
use handgrad::kernels::Result;
use handgrad::kernels::gemm::{self, Accum};
use handgrad::kernels::op::{self, activation, addmm, gelu, linear};

const X: [f32; 2] = [-1.0, 1.0];

/// A case of a product of two operands, with scratch or without.
macro_rules! product {
    ($module:ident, $what:literal, $a:expr, $b:expr => $y:expr $(, $scratch:ident)?) => {
        Case::new(&format!("{}/{}", stringify!($module), $what), |r| {
            let (a, b, dy) = (r.input(&$a, X), r.input(&$b, X), r.input(&$y, X));
            let [mut y, mut da, mut db] = [r.like(&dy), r.like(&a), r.like(&b)];
            $(let mut $scratch = vec![f32::NAN; op::$module::scratch(r.exec, &$a, &$b)];)?
            op::$module::forward(r.exec, y.view_mut(), a.view(), b.view() $(, &mut $scratch)?)?;
            let (a, b) = (a.view(), b.view());
            op::$module::backward(r.exec, da.view_mut(), db.view_mut(), dy.view(), a, b $(, &mut $scratch)?)?;
            r.keep_all(&[y, da, db]);
            Ok(())
        })
    };
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        product!(mm, "odd", [37, 53], [53, 29] => [37, 29], scratch),
        product!(mm, "deep", [35, 1_031], [1_031, 67] => [35, 67], scratch),
        product!(bmm, "", [5, 13, 17], [5, 17, 19] => [5, 13, 19], scratch),
        product!(matmul, "broadcast", [4, 1, 9, 11], [3, 11, 5] => [4, 3, 9, 5], scratch),
        product!(mv, "", [37, 1_031], [1_031] => [37], scratch),
        product!(dot, "", [70_001], [70_001] => [0; 0]),
        product!(outer, "", [37], [53] => [37, 53]),
        Case::by_rows("mm/rows", 37, |r| {
            let (a, b) = (r.rows(&[37, 53], X), r.input(&[53, 29], X));
            let mut y = r.output(&[a.shape[0], 29]);
            let mut scratch = vec![f32::NAN; op::mm::scratch(r.exec, &a.shape, &b.shape)];
            op::mm::forward(r.exec, y.view_mut(), a.view(), b.view(), &mut scratch)?;
            r.keep(&y);
            Ok(())
        }),
        Case::new("addmm/", |r| {
            let (input, a, b, dy) =
                (r.input(&[29], X), r.input(&[37, 53], X), r.input(&[53, 29], X), r.input(&[37, 29], X));
            let [mut y, mut dinput, mut da, mut db] = [&dy, &input, &a, &b].map(|tensor| r.like(tensor));
            let factors = addmm::Factors { beta: 0.75, alpha: -1.5 };
            let mut scratch = vec![f32::NAN; addmm::scratch(r.exec, &a.shape, &b.shape)];
            let (a, b) = (a.view(), b.view());
            addmm::forward(r.exec, y.view_mut(), input.view(), a, b, factors, &mut scratch)?;
            let grads = addmm::Grads { dinput: dinput.view_mut(), da: da.view_mut(), db: db.view_mut() };
            addmm::backward(r.exec, grads, dy.view(), a, b, factors, &mut scratch)?;
            r.keep_all(&[y, dinput, da, db]);
            Ok(())
        }),
    ];
    for (name, sizes) in [("small", [5, 3, 2]), ("notebook", [32, 30, 200]), ("deep", [67, 1_031, 131])] {
        cases.push(Case::new(&format!("gemm/{name}"), move |r| gemm_both_ways(r, sizes)));
    }
    cases.push(Case::new("linear/view", linear_view));
    let gelu = |form| Activation::Gelu { form };
    for (name, activation) in [
        ("identity", Activation::Identity),
        ("tanh", Activation::Tanh),
        ("sigmoid", Activation::Sigmoid),
        ("relu", Activation::Relu),
        ("leaky_relu", Activation::LeakyRelu { slope: 0.1 }),
        ("elu", Activation::Elu { alpha: 1.25 }),
        ("gelu_erf", gelu(gelu::Form::Erf)),
        ("gelu_tanh", gelu(gelu::Form::Tanh)),
        ("silu", Activation::Silu),
        ("softplus", Activation::Softplus { beta: 1.5, threshold: 20.0 }),
        ("hardtanh", Activation::Hardtanh { low: -0.5, high: 0.75 }),
    ] {
        cases.push(Case::by_rows(&format!("linear/rows {name}"), 33, move |r| linear_rows(r, activation)));
        cases.push(Case::new(&format!("linear/params {name}"), move |r| linear_params(r, activation)));
        cases.push(Case::by_rows(&format!("activation/{name}"), 33, move |r| activation_rows(r, activation)));
    }
    cases
}

/// Replacing and adding, over operands as they are and transposed.
fn gemm_both_ways(r: &mut Run<'_>, [m, k, n]: [usize; 3]) -> Result<()> {
    let (a, at, b, bt) = (r.input(&[m, k], X), r.input(&[k, m], X), r.input(&[k, n], X), r.input(&[n, k], X));
    let (mut c, mut sum) = (r.output(&[m, n]), r.input(&[m, n], X));
    let mut scratch = vec![f32::NAN; gemm::scratch_len(r.exec, m, k, n)];
    gemm::gemm(r.exec, c.mat_mut(), Accum::Replace, a.mat(), b.mat(), &mut scratch)?;
    gemm::gemm(r.exec, sum.mat_mut(), Accum::Add, at.mat().t(), bt.mat().t(), &mut scratch)?;
    r.keep(&c);
    r.keep(&sum);
    Ok(())
}

fn linear_view(r: &mut Run<'_>) -> Result<()> {
    let (x, weight, bias) = (r.input(&[5, 7, 53], X), r.input(&[29, 53], X), r.input(&[29], X));
    let dy = r.input(&[5, 7, 29], X);
    let [mut y, mut dx, mut dweight, mut dbias] = [&dy, &x, &weight, &bias].map(|tensor| r.like(tensor));
    let mut scratch = vec![f32::NAN; linear::view::scratch(r.exec, &x.shape, &weight.shape)];
    linear::view::forward(r.exec, y.view_mut(), x.view(), weight.view(), Some(bias.view()), &mut scratch)?;
    linear::view::backward_input(r.exec, dx.view_mut(), dy.view(), weight.view(), &mut scratch)?;
    let grads = linear::view::Grads { dweight: dweight.view_mut(), dbias: Some(dbias.view_mut()) };
    linear::view::backward_params(r.exec, grads, Accum::Replace, dy.view(), x.view(), &mut scratch)?;
    r.keep_all(&[y, dx, dweight, dbias]);
    Ok(())
}

const BATCH: usize = 33;
const INPUTS: usize = 61;
const OUTPUTS: usize = 45;

/// What each row has by itself: the outputs and the gradient of the inputs.
fn linear_rows(r: &mut Run<'_>, activation: Activation) -> Result<()> {
    let (x, w, b) = (r.mat_rows(BATCH, INPUTS, X), r.mat(INPUTS, OUTPUTS, X), r.mat(1, OUTPUTS, X));
    let (dy, saved) = (r.mat_rows(BATCH, OUTPUTS, X), r.mat_rows(BATCH, INPUTS, [0.0, 1.0]));
    let rows = x.shape[0];
    let (mut y, mut z, mut dx) = (r.mat_output(rows, OUTPUTS), r.mat_output(rows, OUTPUTS), r.mat_output(rows, INPUTS));
    let len = |inputs, outputs| linear::scratch_len(r.exec, rows, inputs, outputs);
    let mut scratch = vec![f32::NAN; len(INPUTS, OUTPUTS).max(len(OUTPUTS, INPUTS))];
    let (w, b) = (w.mat(), Some(b.mat()));
    linear::forward(r.exec, y.mat_mut(), x.mat(), w, b, activation, &mut scratch)?;
    r.keep(&y);
    linear::forward_saving(r.exec, y.mat_mut(), z.mat_mut(), x.mat(), w, b, activation, &mut scratch)?;
    linear::backward_input(r.exec, dx.mat_mut(), dy.mat(), w, activation, saved.mat(), &mut scratch)?;
    r.keep_all(&[y, z, dx]);
    Ok(())
}

/// What the rows have together, on the way of a step: the gradients of the parameters and the parameters after it.
fn linear_params(r: &mut Run<'_>, activation: Activation) -> Result<()> {
    let (x, mut dy) = (r.mat(BATCH, INPUTS, X), r.mat(BATCH, OUTPUTS, X));
    let saved = r.mat(BATCH, OUTPUTS, [0.0, 1.0]);
    activation::backward_in_place(r.exec, dy.mat_mut(), saved.mat(), activation)?;
    let (mut dw, mut db) = (r.mat_output(INPUTS, OUTPUTS), r.mat_output(1, OUTPUTS));
    let (mut w, mut b) = (r.mat(INPUTS, OUTPUTS, X), r.mat(1, OUTPUTS, X));
    let mut scratch = vec![f32::NAN; linear::scratch_len(r.exec, BATCH, INPUTS, OUTPUTS)];
    let grads = linear::Grads { dw: dw.mat_mut(), db: Some(db.mat_mut()) };
    linear::backward_params(r.exec, grads, Accum::Replace, dy.mat(), x.mat(), &mut scratch)?;
    linear::backward_sgd(r.exec, w.mat_mut(), Some(b.mat_mut()), 0.1, dy.mat(), x.mat(), &mut scratch)?;
    r.keep_all(&[dw, db, w, b]);
    Ok(())
}

fn activation_rows(r: &mut Run<'_>, activation: Activation) -> Result<()> {
    let (x, dy) = (r.rows(&[BATCH, OUTPUTS], [-6.0, 6.0]), r.rows(&[BATCH, OUTPUTS], X));
    let (mut y, mut dx) = (r.like(&x), r.like(&x));
    activation::forward(r.exec, y.mat_mut(), x.mat(), activation)?;
    let saved = if activation.saves() == activation::Saves::Output { &y } else { &x };
    activation::backward(r.exec, dx.mat_mut(), dy.mat(), saved.mat(), activation)?;
    r.keep(&y);
    r.keep(&dx);
    activation::in_place(r.exec, y.mat_mut(), activation);
    r.keep(&y);
    Ok(())
}
