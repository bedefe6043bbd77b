//! Rows of the operations that pick and join.

use super::Row;
use crate::case::{Arg, Call, Case, Ran, made};
use handgrad::kernels::gemm::Accum;
use handgrad::kernels::op::embedding::view::{self as embedding, Config, Scaling};
use handgrad::kernels::op::index::{self, Item};
use handgrad::kernels::op::{cat, gather, index_select, stack};
use handgrad::kernels::view::{Index, View, ViewMut};
use handgrad::kernels::{Exec, Result};

pub(crate) const ROWS: &[(&str, Row)] = &[
    ("gather", |call| {
        picked(
            call,
            |e, y, x, index, axis| gather::forward(e, y, x, index, axis),
            |e, dx, dy, index, axis| gather::backward(e, dx, dy, index, axis),
        )
    }),
    ("index_select", |call| {
        picked(
            call,
            |e, y, x, index, axis| index_select::forward(e, y, x, index, axis),
            |e, dx, dy, index, axis| index_select::backward(e, dx, dy, index, axis),
        )
    }),
    ("nn.functional.embedding", embed),
    ("__getitem__", getitem),
    ("cat", |call| {
        joined(call, |e, y, xs, axis| cat::forward(e, y, xs, axis), |e, dxs, dy, axis| cat::backward(e, dxs, dy, axis))
    }),
    ("stack", |call| {
        joined(
            call,
            |e, y, xs, axis| stack::forward(e, y, xs, axis),
            |e, dxs, dy, axis| stack::backward(e, dxs, dy, axis),
        )
    }),
];

fn picked(
    call: &Call<'_>,
    forward: impl Fn(&Exec, ViewMut<'_>, View<'_>, View<'_, i64>, isize) -> Result<()>,
    backward: impl Fn(&Exec, ViewMut<'_>, View<'_>, View<'_, i64>, isize) -> Result<()>,
) -> Ran {
    let case = call.case;
    let (number, x) = case.tensor(0, "input").expect("the input is a tensor");
    let (_, index) = case.tensor(2, "index").expect("the index is a tensor");
    let axis = case.number(1, "dim", 0.0) as isize;
    let mut ran = Ran::default();
    ran.output(&made(&case.outputs[0].shape, |y| forward(call.exec, y, x.view(), index.indices(), axis)));
    if let Some(dy) = case.cotangent(0) {
        ran.grad(number, &made(&x.shape, |dx| backward(call.exec, dx, dy, index.indices(), axis)));
    }
    ran
}

/// The sample's input is the weight. `max_norm` would change it beforehand, which is not a kernel's to do.
fn embed(call: &Call<'_>) -> Ran {
    let case = call.case;
    let (number, weight) = case.tensor(0, "weight").expect("the weight is a tensor");
    let (_, indices) = case.tensor(1, "input").expect("the indices are a tensor");
    assert!(case.arg(3, "max_norm").is_none(), "{}: max_norm", case.id);
    let frequency = matches!(case.arg(5, "scale_grad_by_freq"), Some(Arg::Bool(true)));
    let config = Config {
        padding: case.arg(2, "padding_idx").map(Arg::integer),
        scaling: if frequency { Scaling::Frequency } else { Scaling::None },
    };
    let mut ran = Ran::default();
    ran.output(&made(&case.outputs[0].shape, |y| embedding::forward(call.exec, y, weight.view(), indices.indices())));
    if let Some(dy) = case.cotangent(0) {
        let mut scratch = vec![f32::NAN; embedding::scratch(weight.shape[0], config)];
        ran.grad(
            number,
            &made(&weight.shape, |dw| {
                embedding::backward(call.exec, dw, Accum::Replace, dy, indices.indices(), config, &mut scratch)
            }),
        );
    }
    ran
}

fn joined(
    call: &Call<'_>,
    forward: impl Fn(&Exec, ViewMut<'_>, &[View<'_>], isize) -> Result<()>,
    backward: impl Fn(&Exec, &mut [ViewMut<'_>], View<'_>, isize) -> Result<()>,
) -> Ran {
    let case = call.case;
    let Some(Arg::List(list) | Arg::Tuple(list)) = case.arg(0, "tensors") else {
        panic!("{}: the input is no list", case.id);
    };
    let numbers: Vec<usize> = list
        .iter()
        .map(|arg| match arg {
            Arg::Tensor(number) => *number,
            other => panic!("{}: {other:?} is no tensor", case.id),
        })
        .collect();
    let xs: Vec<View<'_>> = numbers.iter().map(|&number| case.tensors[number].view()).collect();
    let axis = case.number(1, "dim", 0.0) as isize;
    let mut ran = Ran::default();
    ran.output(&made(&case.outputs[0].shape, |y| forward(call.exec, y, &xs, axis)));
    if let Some(dy) = case.cotangent(0) {
        let mut grads: Vec<Vec<f32>> = xs.iter().map(|x| vec![f32::NAN; x.len()]).collect();
        let mut dxs: Vec<ViewMut<'_>> =
            grads.iter_mut().zip(&xs).map(|(dx, x)| ViewMut::new(dx, x.shape()).unwrap()).collect();
        backward(call.exec, &mut dxs, dy, axis).unwrap();
        for (&number, grad) in numbers.iter().zip(&grads) {
            ran.grad(number, grad);
        }
    }
    ran
}

/// An item of an index, with the numbers of a list.
enum Held {
    Basic(Index),
    Integers(Vec<i64>, Vec<usize>),
    Mask(Vec<bool>, Vec<usize>),
    Tensor(usize),
}

impl Held {
    fn new(case: &Case, arg: &Arg) -> Self {
        match arg {
            Arg::None => Held::Basic(Index::NewAxis),
            Arg::Ellipsis => Held::Basic(Index::Ellipsis),
            Arg::Number(x) => Held::Basic(Index::At(*x as isize)),
            &Arg::Slice([start, stop, step]) => Held::Basic(Index::Range { start, stop, step: step.unwrap_or(1) }),
            &Arg::Bool(truth) => Held::Mask(vec![truth], Vec::new()),
            &Arg::Tensor(number) => Held::Tensor(number),
            Arg::List(_) => {
                let (mut numbers, mut truths, mut shape) = (Vec::new(), Vec::new(), Vec::new());
                flatten(case, arg, 0, &mut numbers, &mut truths, &mut shape);
                if truths.is_empty() { Held::Integers(numbers, shape) } else { Held::Mask(truths, shape) }
            }
            other => panic!("{}: an index of {other:?}", case.id),
        }
    }

    fn item<'a>(&'a self, case: &'a Case) -> Item<'a> {
        match self {
            Held::Basic(index) => (*index).into(),
            Held::Integers(values, shape) => View::new(values, shape).unwrap().into(),
            Held::Mask(values, shape) => View::new(values, shape).unwrap().into(),
            Held::Tensor(number) if case.tensors[*number].is_mask() => case.tensors[*number].mask().into(),
            Held::Tensor(number) => case.tensors[*number].indices().into(),
        }
    }
}

/// The numbers or truths of a list of lists, and its shape.
fn flatten(
    case: &Case,
    arg: &Arg,
    depth: usize,
    numbers: &mut Vec<i64>,
    truths: &mut Vec<bool>,
    shape: &mut Vec<usize>,
) {
    match arg {
        Arg::Number(x) => numbers.push(*x as i64),
        Arg::Bool(truth) => truths.push(*truth),
        Arg::List(list) => {
            if shape.len() == depth {
                shape.push(list.len());
            }
            assert_eq!(shape[depth], list.len(), "{}: a ragged list", case.id);
            for arg in list {
                flatten(case, arg, depth + 1, numbers, truths, shape);
            }
        }
        other => panic!("{}: an index of {other:?}", case.id),
    }
}

fn getitem(call: &Call<'_>) -> Ran {
    let case = call.case;
    let (number, x) = case.tensor(0, "input").expect("the input is a tensor");
    let args: &[Arg] = match case.rest() {
        [Arg::Tuple(items)] => items,
        items => items,
    };
    let held: Vec<Held> = args.iter().map(|arg| Held::new(case, arg)).collect();
    let items: Vec<Item<'_>> = held.iter().map(|held| held.item(case)).collect();
    let shape = &case.outputs[0].shape;
    assert_eq!(index::shape(&x.shape, &items).unwrap().as_slice(), shape, "{}", case.id);
    let mut ran = Ran::default();
    ran.output(&made(shape, |y| index::forward(call.exec, y, x.view(), &items)));
    if let Some(dy) = case.cotangent(0) {
        ran.grad(number, &made(&x.shape, |dx| index::backward(call.exec, dx, dy, &items)));
    }
    ran
}
