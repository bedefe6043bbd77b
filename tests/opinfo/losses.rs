//! The losses.

use crate::case::{Arg, Call, Case, Ran, made};
use crate::rows::Row;
use handgrad::kernels::Result;
use handgrad::kernels::op::loss::Reduction;
use handgrad::kernels::op::{
    binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy, huber, l1, mse, nll_loss, smooth_l1,
};
use handgrad::kernels::view::{View, ViewMut};

/// A row of a loss that compares element with element; `$param` is what it takes besides, from a case named `$case`.
macro_rules! pointwise {
    ($module:ident, $reduction:expr, |$case:ident| $($param:expr),+) => {
        |call| {
            let ($case, exec, reduction) = (call.case, call.exec, reduction(call.case, $reduction));
            let (x, t) = ($case.operand(0, "input"), $case.operand(1, "target"));
            pointwise(
                $case,
                |loss| $module::forward(exec, loss, x.view(), t.view(), $($param,)+ reduction),
                |dx, dloss| $module::backward(exec, dx, dloss, x.view(), t.view(), $($param,)+ reduction),
                |dt, dloss| $module::backward_target(exec, dt, dloss, x.view(), t.view(), $($param,)+ reduction),
            )
        }
    };
}

pub(crate) const ROWS: &[(&str, Row)] = &[
    ("nn.functional.mse_loss", pointwise!(mse, 4, |case| weight(case, 5))),
    ("nn.functional.l1_loss", pointwise!(l1, 4, |case| weight(case, 5))),
    ("nn.functional.smooth_l1_loss", pointwise!(smooth_l1, 4, |case| case.number(5, "beta", 1.0) as f32)),
    ("nn.functional.huber_loss", pointwise!(huber, 2, |case| case.number(3, "delta", 1.0) as f32, weight(case, 4))),
    ("nn.functional.binary_cross_entropy", pointwise!(binary_cross_entropy, 5, |case| weight(case, 2))),
    (
        "nn.functional.binary_cross_entropy_with_logits",
        pointwise!(binary_cross_entropy_with_logits, 5, |case| binary_cross_entropy_with_logits::Config {
            weight: weight(case, 2),
            pos_weight: case.tensor(6, "pos_weight").map(|(_, tensor)| tensor.view()),
        }),
    ),
    ("nn.functional.nll_loss", nll),
    ("nn.functional.cross_entropy", cross_entropy),
];

fn reduction(case: &Case, place: usize) -> Reduction {
    match case.arg(place, "reduction") {
        Some(Arg::Text(name)) if name == "none" => Reduction::None,
        Some(Arg::Text(name)) if name == "sum" => Reduction::Sum,
        _ => Reduction::Mean,
    }
}

fn weight(case: &Case, place: usize) -> Option<View<'_>> {
    case.tensor(place, "weight").map(|(_, tensor)| tensor.view())
}

fn pointwise(
    case: &Case,
    forward: impl Fn(ViewMut<'_>) -> Result<()>,
    backward: impl Fn(ViewMut<'_>, View<'_>) -> Result<()>,
    backward_target: impl Fn(ViewMut<'_>, View<'_>) -> Result<()>,
) -> Ran {
    let mut ran = Ran::default();
    ran.output(&made(&case.outputs[0].shape, forward));
    if let Some(dloss) = case.cotangent(0) {
        if let Some((number, x)) = case.tensor(0, "input") {
            ran.grad(number, &made(&x.shape, |dx| backward(dx, dloss)));
        }
        if let Some((number, t)) = case.tensor(1, "target") {
            ran.grad(number, &made(&t.shape, |dt| backward_target(dt, dloss)));
        }
    }
    ran
}

fn nll(call: &Call<'_>) -> Ran {
    let (case, exec, reduction) = (call.case, call.exec, reduction(call.case, 6));
    let ((number, x), (_, target)) = (case.tensor(0, "input").unwrap(), case.tensor(1, "target").unwrap());
    let ignore_index = case.number(4, "ignore_index", -100.0) as i64;
    let config = nll_loss::Config { weight: weight(case, 2), ignore_index };
    let mut scratch = vec![f32::NAN; nll_loss::scratch(&x.shape, reduction)];
    let mut ran = Ran::default();
    ran.output(&made(&case.outputs[0].shape, |loss| {
        nll_loss::forward(exec, loss, x.view(), target.indices(), config, reduction, &mut scratch)
    }));
    if let Some(dloss) = case.cotangent(0) {
        let backward = |dx: ViewMut<'_>| nll_loss::backward(exec, dx, dloss, target.indices(), config, reduction);
        ran.grad(number, &made(&x.shape, backward));
    }
    ran
}

fn cross_entropy(call: &Call<'_>) -> Ran {
    let (case, exec, reduction) = (call.case, call.exec, reduction(call.case, 6));
    let ((number, x), (target_number, t)) = (case.tensor(0, "input").unwrap(), case.tensor(1, "target").unwrap());
    let config = cross_entropy::Config {
        weight: weight(case, 2),
        ignore_index: case.number(4, "ignore_index", -100.0) as i64,
        label_smoothing: case.number(7, "label_smoothing", 0.0) as f32,
    };
    // As PyTorch tells them apart.
    let probable = t.shape == x.shape;
    let target: cross_entropy::Target<'_> = if probable { t.view().into() } else { t.indices().into() };
    let mut scratch = vec![f32::NAN; cross_entropy::scratch(&x.shape, reduction)];
    let mut ran = Ran::default();
    ran.output(&made(&case.outputs[0].shape, |loss| {
        cross_entropy::forward(exec, loss, x.view(), target, config, reduction, &mut scratch)
    }));
    if let Some(dloss) = case.cotangent(0) {
        let backward = |dx: ViewMut<'_>| cross_entropy::backward(exec, dx, dloss, x.view(), target, config, reduction);
        ran.grad(number, &made(&x.shape, backward));
        if probable {
            let backward =
                |dt: ViewMut<'_>| cross_entropy::backward_target(exec, dt, dloss, x.view(), config, reduction);
            ran.grad(target_number, &made(&t.shape, backward));
        }
    }
    ran
}
