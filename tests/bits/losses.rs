//! The losses.

use crate::run::{Case, Run};
use handgrad::kernels::Result;
use handgrad::kernels::op::loss::{self, Reduction};
use handgrad::kernels::op::{
    binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy, huber, l1, mse, nll_loss, smooth_l1,
};

const X: [f32; 2] = [-3.0, 3.0];
/// Probabilities.
const P: [f32; 2] = [0.05, 0.95];
const DLOSS: [f32; 2] = [-1.0, 1.0];
const REDUCTIONS: [(&str, Reduction); 3] =
    [("none", Reduction::None), ("sum", Reduction::Sum), ("mean", Reduction::Mean)];
const ROWS: usize = 37;
const COLS: usize = 11;

/// The shape of a loss of rows and columns.
fn of(reduction: Reduction, shape: &[usize]) -> Vec<usize> {
    if reduction == Reduction::None { shape.to_vec() } else { Vec::new() }
}

/// Cases of a loss that compares element with element; `$weight` is what weighs them, `$param` what it takes besides.
macro_rules! pointwise {
    ($module:ident, $range:expr, |$weight:ident| $($param:expr),*) => {{
        let mut cases = Vec::new();
        for (name, reduction) in REDUCTIONS {
            let run = move |r: &mut Run<'_>| -> Result<()> {
                let (x, t) = (r.rows(&[ROWS, COLS], $range), r.rows(&[ROWS, COLS], P));
                let weights = r.input(&[COLS], P);
                let $weight = weights.view();
                let dloss = if reduction == Reduction::None {
                    r.rows(&[ROWS, COLS], DLOSS)
                } else {
                    r.input(&[], DLOSS)
                };
                let (mut loss, mut dx, mut dt) = (r.like(&dloss), r.like(&x), r.like(&t));
                $module::forward(r.exec, loss.view_mut(), x.view(), t.view(), $($param,)* reduction)?;
                let dloss = dloss.view();
                $module::backward(r.exec, dx.view_mut(), dloss, x.view(), t.view(), $($param,)* reduction)?;
                $module::backward_target(r.exec, dt.view_mut(), dloss, x.view(), t.view(), $($param,)* reduction)?;
                r.keep_all(&[loss, dx, dt]);
                Ok(())
            };
            let rows = if reduction == Reduction::None { ROWS } else { 0 };
            cases.push(Case::by_rows(&format!("{}/{name}", stringify!($module)), rows, run));
        }
        cases.push(Case::by_rows(&format!("{}/step", stringify!($module)), ROWS, |r| {
            let (x, t) = (r.mat_rows(ROWS, COLS, $range), r.mat_rows(ROWS, COLS, P));
            let weights = r.input(&[COLS], P);
            let $weight = weights.view();
            let sample_weights = r.rows(&[ROWS], P).view().to_vec();
            let mut dx = r.mat_output(x.shape[0], COLS);
            let mut losses = vec![f32::NAN; x.shape[0]];
            let (dx_mat, sample) = (dx.mat_mut(), Some(&sample_weights[..]));
            $module::forward_backward(r.exec, &mut losses, dx_mat, 0.25, x.mat(), t.mat(), sample $(, $param)*)?;
            r.keep_slice(&losses);
            r.keep(&dx);
            Ok(())
        }));
        cases
    }};
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = pointwise!(mse, X, |weight| Some(weight));
    cases.extend(pointwise!(l1, X, |weight| Some(weight)));
    cases.extend(pointwise!(huber, X, |weight| 0.75, Some(weight)));
    cases.extend(pointwise!(smooth_l1, X, |_weight| 0.75));
    cases.extend(pointwise!(binary_cross_entropy, P, |weight| Some(weight)));
    cases.extend(pointwise!(binary_cross_entropy_with_logits, X, |weight| binary_cross_entropy_with_logits::Config {
        weight: Some(weight),
        pos_weight: Some(weight)
    }));
    for (name, reduction) in REDUCTIONS {
        let rows = if reduction == Reduction::None { ROWS } else { 0 };
        cases.push(Case::by_rows(&format!("nll_loss/{name}"), rows, move |r| nll(r, reduction)));
        cases.push(Case::by_rows(&format!("cross_entropy/{name}"), rows, move |r| classes(r, reduction)));
        cases.push(Case::by_rows(&format!("cross_entropy/probabilities {name}"), rows, move |r| {
            probabilities(r, reduction)
        }));
    }
    cases.push(Case::by_rows("nll_loss/step", ROWS, |r| {
        let (x, t) = (r.mat_rows(ROWS, COLS, X), r.index_rows(&[ROWS], COLS).view().to_vec());
        let weight = r.input(&[COLS], P);
        let config = nll_loss::Config { weight: Some(weight.view()), ignore_index: 3 };
        let (mut dx, mut losses) = (r.mat_output(t.len(), COLS), vec![f32::NAN; t.len()]);
        nll_loss::forward_backward(r.exec, &mut losses, dx.mat_mut(), 0.25, x.mat(), &t, None, config)?;
        r.keep_slice(&losses);
        r.keep(&dx);
        Ok(())
    }));
    cases.push(Case::by_rows("cross_entropy/step", ROWS, |r| {
        let (x, t) = (r.mat_rows(ROWS, COLS, X), r.index_rows(&[ROWS], COLS).view().to_vec());
        let (mut dx, mut losses) = (r.mat_output(t.len(), COLS), vec![f32::NAN; t.len()]);
        let config = cross_entropy::Config::default();
        cross_entropy::forward_backward(r.exec, &mut losses, dx.mat_mut(), 0.25, x.mat(), &t[..], None, config)?;
        r.keep_slice(&losses);
        r.keep(&dx);
        Ok(())
    }));
    cases.push(Case::new("loss/mean", |r| {
        let (losses, weights) = (r.values(1_000, X), r.values(1_000, P));
        let total = loss::weights_total(r.exec, 1_000, Some(&weights));
        r.keep_slice(&[total, loss::mean(r.exec, &losses, total)]);
        Ok(())
    }));
    cases
}

fn dloss(r: &mut Run<'_>, reduction: Reduction) -> crate::tensor::Tensor {
    let shape = of(reduction, &[ROWS]);
    if reduction == Reduction::None { r.rows(&shape, DLOSS) } else { r.input(&shape, DLOSS) }
}

fn nll(r: &mut Run<'_>, reduction: Reduction) -> Result<()> {
    let (x, t, weight) = (r.rows(&[ROWS, COLS], X), r.index_rows(&[ROWS], COLS), r.input(&[COLS], P));
    let dloss = dloss(r, reduction);
    let (mut loss, mut dx) = (r.like(&dloss), r.like(&x));
    let config = nll_loss::Config { weight: Some(weight.view()), ignore_index: 3 };
    let mut scratch = vec![f32::NAN; nll_loss::scratch(&x.shape, reduction)];
    nll_loss::forward(r.exec, loss.view_mut(), x.view(), t.view(), config, reduction, &mut scratch)?;
    nll_loss::backward(r.exec, dx.view_mut(), dloss.view(), t.view(), config, reduction)?;
    r.keep(&loss);
    r.keep(&dx);
    Ok(())
}

fn classes(r: &mut Run<'_>, reduction: Reduction) -> Result<()> {
    let (x, t, weight) = (r.rows(&[ROWS, COLS], X), r.index_rows(&[ROWS], COLS), r.input(&[COLS], P));
    let dloss = dloss(r, reduction);
    let (mut loss, mut dx) = (r.like(&dloss), r.like(&x));
    let config = cross_entropy::Config { weight: Some(weight.view()), ignore_index: 3, label_smoothing: 0.1 };
    let mut scratch = vec![f32::NAN; cross_entropy::scratch(&x.shape, reduction)];
    cross_entropy::forward(r.exec, loss.view_mut(), x.view(), t.view(), config, reduction, &mut scratch)?;
    cross_entropy::backward(r.exec, dx.view_mut(), dloss.view(), x.view(), t.view(), config, reduction)?;
    r.keep(&loss);
    r.keep(&dx);
    Ok(())
}

fn probabilities(r: &mut Run<'_>, reduction: Reduction) -> Result<()> {
    let (x, t) = (r.rows(&[ROWS, COLS], X), r.rows(&[ROWS, COLS], P));
    let dloss = dloss(r, reduction);
    let (mut loss, mut dx, mut dt) = (r.like(&dloss), r.like(&x), r.like(&t));
    let config = cross_entropy::Config::default();
    let mut scratch = vec![f32::NAN; cross_entropy::scratch(&x.shape, reduction)];
    cross_entropy::forward(r.exec, loss.view_mut(), x.view(), t.view(), config, reduction, &mut scratch)?;
    cross_entropy::backward(r.exec, dx.view_mut(), dloss.view(), x.view(), t.view(), config, reduction)?;
    cross_entropy::backward_target(r.exec, dt.view_mut(), dloss.view(), x.view(), config, reduction)?;
    r.keep_all(&[loss, dx, dt]);
    Ok(())
}
