//! One row an operation: how its case is given to the kernels.

use crate::case::{Arg, Call, Case, Ran, made};
use handgrad::kernels::Exec;
use handgrad::kernels::Result;
use handgrad::kernels::op::{self, Axes, gelu};
use handgrad::kernels::view::{Index, View, ViewMut};

#[path = "lookup.rs"]
mod lookup;
#[path = "losses.rs"]
mod losses;
#[path = "norms.rs"]
mod norms;
#[path = "products.rs"]
mod products;

/// Runs one case.
pub(crate) type Row = fn(&Call<'_>) -> Ran;

/// What runs a case, if anything does.
pub(crate) fn find(case: &Case) -> Option<Row> {
    let binary = case.tensor(1, "other").is_some();
    let mut rows = ROWS.iter().chain(losses::ROWS).chain(lookup::ROWS).chain(norms::ROWS).chain(products::ROWS);
    rows.find(|(name, ..)| *name == case.op).map(|&(_, row)| match (case.op.as_str(), binary) {
        ("max", true) => maximum as Row,
        ("min", true) => minimum as Row,
        _ => row,
    })
}

/// A row of an element-wise function of one operand, whose gradient needs its output (`y`) or input (`x`).
macro_rules! unary {
    ($module:ident, y) => {
        |call| unary(call, |e, y, x| op::$module::forward(e, y, x), |e, dx, dy, _, y| op::$module::backward(e, dx, dy, y))
    };
    ($module:ident, x $(, $param:expr)*) => {
        |call| unary(
            call,
            |e, y, x| op::$module::forward(e, y, x $(, $param(call.case))*),
            |e, dx, dy, x, _| op::$module::backward(e, dx, dy, x $(, $param(call.case))*),
        )
    };
}

/// A row of a function of two operands, whose gradient needs both.
macro_rules! binary {
    ($module:ident) => {
        |call| {
            binary(
                call,
                |e, y, a, b| op::$module::forward(e, y, a, b),
                |e, da, db, dy, a, b| op::$module::backward(e, da, db, dy, a, b),
            )
        }
    };
}

/// A row of a view: the same transformation shows the elements, and where their gradient goes.
macro_rules! view {
    ($case:ident, $view:ident => $expression:expr) => {
        |call| {
            let $case = call.case;
            let (number, x) = $case.tensor(0, "input").expect("the input is a tensor");
            let mut ran = Ran::default();
            let $view = x.view();
            ran.output(&$expression.unwrap().to_vec());
            if let Some(dy) = $case.cotangent(0) {
                let mut dx = vec![0.0; x.shape.iter().product()];
                let $view = ViewMut::new(&mut dx, &x.shape).unwrap();
                $expression.unwrap().copy_from(dy).unwrap();
                ran.grad(number, &dx);
            }
            ran
        }
    };
}

#[allow(clippy::redundant_closure_for_method_calls, reason = "the methods of two types")]
const ROWS: &[(&str, Row)] = &[
    ("abs", unary!(abs, x)),
    ("cos", unary!(cos, x)),
    ("exp", unary!(exp, y)),
    ("log", unary!(log, x)),
    ("neg", |call| unary(call, |e, y, x| op::neg::forward(e, y, x), |e, dx, dy, _, _| op::neg::backward(e, dx, dy))),
    ("reciprocal", unary!(reciprocal, y)),
    ("rsqrt", unary!(rsqrt, y)),
    ("sigmoid", unary!(sigmoid, y)),
    ("sin", unary!(sin, x)),
    ("sqrt", unary!(sqrt, y)),
    ("square", unary!(square, x)),
    ("tanh", unary!(tanh, y)),
    ("nn.functional.elu", unary!(elu, x, |case: &Case| case.number(1, "alpha", 1.0) as f32)),
    ("nn.functional.gelu", unary!(gelu, x, gelu_form)),
    (
        "nn.functional.hardtanh",
        unary!(hardtanh, x, |case: &Case| case.number(1, "min_val", -1.0) as f32, |case: &Case| case
            .number(2, "max_val", 1.0)
            as f32),
    ),
    ("nn.functional.leaky_relu", unary!(leaky_relu, x, |case: &Case| case.number(1, "negative_slope", 0.01) as f32)),
    ("nn.functional.relu", unary!(relu, y)),
    ("nn.functional.silu", unary!(silu, x)),
    (
        "nn.functional.softplus",
        unary!(softplus, x, |case: &Case| case.number(1, "beta", 1.0) as f32, |case: &Case| case.number(
            2,
            "threshold",
            20.0
        ) as f32),
    ),
    ("add", |call| {
        let alpha = call.case.number(2, "alpha", 1.0) as f32;
        binary(
            call,
            |e, y, a, b| op::add::forward(e, y, a, b, alpha),
            |e, da, db, dy, _, _| op::add::backward(e, da, db, dy, alpha),
        )
    }),
    ("sub", |call| {
        let alpha = call.case.number(2, "alpha", 1.0) as f32;
        binary(
            call,
            |e, y, a, b| op::sub::forward(e, y, a, b, alpha),
            |e, da, db, dy, _, _| op::sub::backward(e, da, db, dy, alpha),
        )
    }),
    ("mul", binary!(mul)),
    ("div", binary!(div)),
    ("maximum", maximum),
    ("minimum", minimum),
    ("pow", pow),
    ("clamp", clamp),
    ("where", where_),
    ("sum", |call| {
        reduction(
            call,
            |e, y, x, axes| op::sum::forward(e, y, x, axes),
            |e, [dx], [dy, _, _], axes| op::sum::backward(e, dx, dy, axes),
        )
    }),
    ("mean", |call| {
        reduction(
            call,
            |e, y, x, axes| op::mean::forward(e, y, x, axes),
            |e, [dx], [dy, _, _], axes| op::mean::backward(e, dx, dy, axes),
        )
    }),
    ("amax", amax),
    ("amin", amin),
    ("logsumexp", |call| {
        reduction(
            call,
            |e, y, x, axes| op::logsumexp::forward(e, y, x, axes),
            |e, [dx], [dy, x, y], axes| op::logsumexp::backward(e, dx, dy, x, y, axes),
        )
    }),
    ("var", |call| {
        let c = correction(call.case);
        reduction(
            call,
            |e, y, x, axes| op::var::forward(e, y, x, axes, c),
            |e, [dx], [dy, x, _], axes| op::var::backward(e, dx, dy, x, axes, c),
        )
    }),
    ("std", |call| {
        let c = correction(call.case);
        reduction(
            call,
            |e, y, x, axes| op::std::forward(e, y, x, axes, c),
            |e, [dx], [dy, x, y], axes| op::std::backward(e, dx, dy, x, y, axes, c),
        )
    }),
    ("max", |call| {
        if call.case.arg(1, "dim").is_none() {
            return amax(call);
        }
        extreme(
            call,
            |e, y, i, x, axis| op::max::forward(e, y, i, x, axis),
            |e, dx, dy, i, axis| op::max::backward(e, dx, dy, i, axis),
        )
    }),
    ("min", |call| {
        if call.case.arg(1, "dim").is_none() {
            return amin(call);
        }
        extreme(
            call,
            |e, y, i, x, axis| op::min::forward(e, y, i, x, axis),
            |e, dx, dy, i, axis| op::min::backward(e, dx, dy, i, axis),
        )
    }),
    ("argmax", |call| place(call, |e, y, x, axes| op::argmax::forward(e, y, x, axes))),
    ("argmin", |call| place(call, |e, y, x, axes| op::argmin::forward(e, y, x, axes))),
    ("softmax", |call| {
        along(
            call,
            |e, y, x, axis| op::softmax::forward(e, y, x, axis),
            |e, dx, dy, y, axis| op::softmax::backward(e, dx, dy, y, axis),
        )
    }),
    ("log_softmax", |call| {
        along(
            call,
            |e, y, x, axis| op::log_softmax::forward(e, y, x, axis),
            |e, dx, dy, y, axis| op::log_softmax::backward(e, dx, dy, y, axis),
        )
    }),
    ("broadcast_to", broadcast),
    ("expand", broadcast),
    (
        "flatten",
        view!(case, x => x.flatten(case.number(1, "start_dim", 0.0) as isize, case.number(2, "end_dim", -1.0) as isize)),
    ),
    ("flip", view!(case, x => case.integers(1, "dims").unwrap().into_iter().try_fold(x, |x, axis| x.flip(axis)))),
    (
        "movedim",
        view!(case, x => {
            x.movedims(&case.integers(1, "source").unwrap(), &case.integers(2, "destination").unwrap())
        }),
    ),
    (
        "narrow",
        view!(case, x => {
            let axis = case.number(1, "dim", 0.0) as isize;
            let size = x.shape()[axis.rem_euclid(x.rank() as isize) as usize] as isize;
            let start = match case.tensor(2, "start") {
                Some((_, start)) => start.indices().get(&[]).unwrap() as isize,
                None => case.number(2, "start", 0.0) as isize,
            };
            x.narrow(axis, if start < 0 { start + size } else { start } as usize, case.number(3, "length", 0.0) as usize)
        }),
    ),
    ("permute", view!(case, x => x.permute(&shape_of(case)))),
    ("reshape", view!(case, x => x.reshape(&shape_of(case)))),
    ("view", view!(case, x => x.reshape(&shape_of(case)))),
    ("select", view!(case, x => x.select(case.number(1, "dim", 0.0) as isize, case.number(2, "index", 0.0) as isize))),
    (
        "squeeze",
        view!(case, x => squeeze_axes(case, x.shape()).into_iter().rev().try_fold(x, |x, axis| x.squeeze(axis))),
    ),
    ("slice", view!(case, x => x.index(&slice_items(case)))),
    ("t", view!(case, x => x.t())),
    (
        "transpose",
        view!(case, x => {
            let (a, b) = (case.number(1, "dim0", 0.0) as isize, case.number(2, "dim1", 0.0) as isize);
            if x.rank() == 0 { x.squeeze_all().reshape(&[]) } else { x.transpose(a, b) }
        }),
    ),
    (
        "unflatten",
        view!(case, x => {
            x.unflatten(case.number(1, "dim", 0.0) as isize, &case.integers(2, "sizes").unwrap())
        }),
    ),
    ("unsqueeze", view!(case, x => x.unsqueeze(case.number(1, "dim", 0.0) as isize))),
];

fn gelu_form(case: &Case) -> gelu::Form {
    match case.arg(1, "approximate") {
        Some(Arg::Text(name)) if name == "tanh" => gelu::Form::Tanh,
        _ => gelu::Form::Erf,
    }
}

fn shape_of(case: &Case) -> Vec<isize> {
    match case.rest() {
        [Arg::List(_) | Arg::Tuple(_)] | [] => case.integers(1, "shape").or_else(|| case.integers(1, "dims")).unwrap(),
        sizes => sizes.iter().map(Arg::integer).collect(),
    }
}

/// `slice(dim, start, end, step)` as an index.
fn slice_items(case: &Case) -> Vec<Index> {
    let bound = |place, name| case.arg(place, name).map(Arg::integer);
    let axis = bound(1, "dim").unwrap_or(0).rem_euclid(case.tensors[0].shape.len() as isize);
    let range = Index::Range { start: bound(2, "start"), stop: bound(3, "end"), step: bound(4, "step").unwrap_or(1) };
    let mut items = vec![Index::All; axis as usize];
    items.push(range);
    items
}

/// The axes that `squeeze` drops, in order.
fn squeeze_axes(case: &Case, shape: &[usize]) -> Vec<isize> {
    let rank = shape.len() as isize;
    let all = || (0..rank).collect();
    let named = case.integers(1, "dim").map(|axes| axes.into_iter().map(|axis| axis.rem_euclid(rank.max(1))).collect());
    let mut axes: Vec<isize> = named.unwrap_or_else(all);
    axes.retain(|&axis| axis < rank && shape[axis as usize] == 1);
    axes.sort_unstable();
    axes
}

/// PyTorch's `correction`, which older forms of the call give as `unbiased`.
fn correction(case: &Case) -> f32 {
    match (case.arg(3, "unbiased"), case.arg(1, "dim"), case.arg(9, "correction")) {
        (Some(Arg::Bool(unbiased)), ..) | (_, Some(Arg::Bool(unbiased)), _) => f32::from(u8::from(*unbiased)),
        (.., Some(Arg::Number(x))) => *x as f32,
        _ => 1.0,
    }
}

/// The axes of a reduction; none given, or an empty list, means all.
fn axes(case: &Case) -> Option<Vec<isize>> {
    if let Some(Arg::Bool(_)) = case.arg(1, "dim") {
        return None;
    }
    case.integers(1, "dim").filter(|axes| !axes.is_empty())
}

fn unary(
    call: &Call<'_>,
    forward: impl Fn(&Exec, ViewMut<'_>, View<'_>) -> Result<()>,
    backward: impl Fn(&Exec, ViewMut<'_>, View<'_>, View<'_>, View<'_>) -> Result<()>,
) -> Ran {
    let (number, x) = call.case.tensor(0, "input").expect("the input is a tensor");
    let y = made(&x.shape, |y| forward(call.exec, y, x.view()));
    let mut ran = Ran::default();
    ran.output(&y);
    if let Some(dy) = call.case.cotangent(0) {
        let y = View::new(&y, &x.shape).unwrap();
        ran.grad(number, &made(&x.shape, |dx| backward(call.exec, dx, dy, x.view(), y)));
    }
    ran
}

fn binary(
    call: &Call<'_>,
    forward: impl Fn(&Exec, ViewMut<'_>, View<'_>, View<'_>) -> Result<()>,
    backward: impl Fn(&Exec, ViewMut<'_>, ViewMut<'_>, View<'_>, View<'_>, View<'_>) -> Result<()>,
) -> Ran {
    let case = call.case;
    let (a, b) = (case.operand(0, "input"), case.operand(1, "other"));
    let mut ran = Ran::default();
    ran.output(&made(&case.outputs[0].shape, |y| forward(call.exec, y, a.view(), b.view())));
    if let Some(dy) = case.cotangent(0) {
        let mut da = Vec::new();
        let db = made(&b.shape, |db| {
            let mut result = Ok(());
            da = made(&a.shape, |da| {
                result = backward(call.exec, da, db, dy, a.view(), b.view());
                Ok(())
            });
            result
        });
        for (place, name, grad) in [(0, "input", da), (1, "other", db)] {
            if let Some((number, _)) = case.tensor(place, name) {
                ran.grad(number, &grad);
            }
        }
    }
    ran
}

fn maximum(call: &Call<'_>) -> Ran {
    binary(
        call,
        |e, y, a, b| op::maximum::forward(e, y, a, b),
        |e, da, db, dy, a, b| op::maximum::backward(e, da, db, dy, a, b),
    )
}

fn minimum(call: &Call<'_>) -> Ran {
    binary(
        call,
        |e, y, a, b| op::minimum::forward(e, y, a, b),
        |e, da, db, dy, a, b| op::minimum::backward(e, da, db, dy, a, b),
    )
}

fn pow(call: &Call<'_>) -> Ran {
    match call.case.arg(1, "exponent") {
        Some(&Arg::Number(exponent)) => unary(
            call,
            |e, y, x| op::pow_scalar::forward(e, y, x, exponent as f32),
            |e, dx, dy, x, _| op::pow_scalar::backward(e, dx, dy, x, exponent as f32),
        ),
        _ => binary(
            call,
            |e, y, a, b| op::pow::forward(e, y, a, b),
            |e, da, db, dy, a, b| op::pow::backward(e, da, db, dy, a, b),
        ),
    }
}

fn clamp(call: &Call<'_>) -> Ran {
    let case = call.case;
    let (number, x) = case.tensor(0, "input").expect("the input is a tensor");
    let bounds = [case.tensor(1, "min"), case.tensor(2, "max")];
    let [low, high] = [case.number(1, "min", f64::NEG_INFINITY) as f32, case.number(2, "max", f64::INFINITY) as f32];
    if bounds.iter().all(Option::is_none) {
        return unary(
            call,
            |e, y, x| op::clamp::forward(e, y, x, low, high),
            |e, dx, dy, x, _| op::clamp::backward(e, dx, dy, x, low, high),
        );
    }
    let low_view = bounds[0].map_or_else(|| View::scalar(&low), |(_, tensor)| tensor.view());
    let high_view = bounds[1].map_or_else(|| View::scalar(&high), |(_, tensor)| tensor.view());
    let mut ran = Ran::default();
    let forward = |y: ViewMut<'_>| op::clamp_tensor::forward(call.exec, y, x.view(), low_view, high_view);
    ran.output(&made(&case.outputs[0].shape, forward));
    if let Some(dy) = case.cotangent(0) {
        let mut grads = [x.view(), low_view, high_view].map(|value| vec![f32::NAN; value.len()]);
        let [dx, dlow, dhigh] = &mut grads;
        let grads_mut = op::clamp_tensor::Grads {
            dx: ViewMut::new(dx, &x.shape).unwrap(),
            dlow: ViewMut::new(dlow, low_view.shape()).unwrap(),
            dhigh: ViewMut::new(dhigh, high_view.shape()).unwrap(),
        };
        op::clamp_tensor::backward(call.exec, grads_mut, dy, x.view(), low_view, high_view).unwrap();
        let numbers = [Some(number), bounds[0].map(|b| b.0), bounds[1].map(|b| b.0)];
        for (number, grad) in numbers.into_iter().zip(&grads) {
            if let Some(number) = number {
                ran.grad(number, grad);
            }
        }
    }
    ran
}

fn where_(call: &Call<'_>) -> Ran {
    let case = call.case;
    let (a, b) = (case.operand(0, "input"), case.operand(2, "other"));
    let (_, cond) = case.tensor(1, "condition").expect("the condition is a tensor");
    let mut scratch = vec![f32::NAN; op::where_::scratch(cond.mask().len())];
    let mut ran = Ran::default();
    let shape = &case.outputs[0].shape;
    ran.output(&made(shape, |y| op::where_::forward(call.exec, y, cond.mask(), a.view(), b.view(), &mut scratch)));
    if let Some(dy) = case.cotangent(0) {
        let (mut da, mut db) = (vec![f32::NAN; a.view().len()], vec![f32::NAN; b.view().len()]);
        let grads = (ViewMut::new(&mut da, &a.shape).unwrap(), ViewMut::new(&mut db, &b.shape).unwrap());
        op::where_::backward(call.exec, grads.0, grads.1, dy, cond.mask(), &mut scratch).unwrap();
        for (place, name, grad) in [(0, "input", da), (2, "other", db)] {
            if let Some((number, _)) = case.tensor(place, name) {
                ran.grad(number, &grad);
            }
        }
    }
    ran
}

fn reduction(
    call: &Call<'_>,
    forward: impl Fn(&Exec, ViewMut<'_>, View<'_>, Axes<'_>) -> Result<()>,
    backward: impl Fn(&Exec, [ViewMut<'_>; 1], [View<'_>; 3], Axes<'_>) -> Result<()>,
) -> Ran {
    let case = call.case;
    let (number, x) = case.tensor(0, "input").expect("the input is a tensor");
    let list = axes(case);
    let axes = list.as_deref().map_or(Axes::All, Axes::List);
    let shape = &case.outputs[0].shape;
    let y = made(shape, |y| forward(call.exec, y, x.view(), axes));
    let mut ran = Ran::default();
    ran.output(&y);
    if let Some(dy) = case.cotangent(0) {
        let y = View::new(&y, shape).unwrap();
        ran.grad(number, &made(&x.shape, |dx| backward(call.exec, [dx], [dy, x.view(), y], axes)));
    }
    ran
}

fn amax(call: &Call<'_>) -> Ran {
    reduction(
        call,
        |e, y, x, axes| op::amax::forward(e, y, x, axes),
        |e, [dx], [dy, x, y], axes| op::amax::backward(e, dx, dy, x, y, axes),
    )
}

fn amin(call: &Call<'_>) -> Ran {
    reduction(
        call,
        |e, y, x, axes| op::amin::forward(e, y, x, axes),
        |e, [dx], [dy, x, y], axes| op::amin::backward(e, dx, dy, x, y, axes),
    )
}

fn extreme(
    call: &Call<'_>,
    forward: impl Fn(&Exec, ViewMut<'_>, ViewMut<'_, i64>, View<'_>, isize) -> Result<()>,
    backward: impl Fn(&Exec, ViewMut<'_>, View<'_>, View<'_, i64>, isize) -> Result<()>,
) -> Ran {
    let case = call.case;
    let (number, x) = case.tensor(0, "input").expect("the input is a tensor");
    let (axis, shape) = (case.number(1, "dim", 0.0) as isize, &case.outputs[0].shape);
    let mut indices = vec![-1; shape.iter().product()];
    let values = made(shape, |y| forward(call.exec, y, ViewMut::new(&mut indices, shape).unwrap(), x.view(), axis));
    let mut ran = Ran::default();
    ran.output(&values);
    ran.indices(&indices);
    if let Some(dy) = case.cotangent(0) {
        let indices = View::new(&indices, shape).unwrap();
        ran.grad(number, &made(&x.shape, |dx| backward(call.exec, dx, dy, indices, axis)));
    }
    ran
}

fn place(call: &Call<'_>, forward: impl Fn(&Exec, ViewMut<'_, i64>, View<'_>, Axes<'_>) -> Result<()>) -> Ran {
    let case = call.case;
    let (_, x) = case.tensor(0, "input").expect("the input is a tensor");
    let shape = &case.outputs[0].shape;
    let mut indices = vec![-1; shape.iter().product()];
    let axes = case.integers(1, "dim").map_or(Axes::All, |list| Axes::One(list[0]));
    forward(call.exec, ViewMut::new(&mut indices, shape).unwrap(), x.view(), axes).unwrap();
    let mut ran = Ran::default();
    ran.indices(&indices);
    ran
}

fn along(
    call: &Call<'_>,
    forward: impl Fn(&Exec, ViewMut<'_>, View<'_>, isize) -> Result<()>,
    backward: impl Fn(&Exec, ViewMut<'_>, View<'_>, View<'_>, isize) -> Result<()>,
) -> Ran {
    let axis = call.case.number(1, "dim", 0.0) as isize;
    unary(call, |e, y, x| forward(e, y, x, axis), |e, dx, dy, _, y| backward(e, dx, dy, y, axis))
}

fn broadcast(call: &Call<'_>) -> Ran {
    let case = call.case;
    let (number, x) = case.tensor(0, "input").expect("the input is a tensor");
    let mut ran = Ran::default();
    ran.output(&made(&case.outputs[0].shape, |y| {
        op::broadcast::forward(call.exec, y, x.view().expand(&shape_of(case))?)
    }));
    if let Some(dy) = case.cotangent(0) {
        ran.grad(number, &made(&x.shape, |dx| op::broadcast::backward(call.exec, dx, dy)));
    }
    ran
}
