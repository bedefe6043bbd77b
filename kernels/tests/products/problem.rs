//! Matrix products to be tried: the operations, shapes, operands, and what the one makes of the other.
#![allow(clippy::type_complexity, reason = "a row of functions, each written out")]

use crate::common::compare::{assert_close, gamma};
use crate::common::random::Random;
use crate::common::tensor::{Layout, Tensor};
use handgrad_kernels::op::{bmm, dot, linear, matmul, mm, mv, outer};
use handgrad_kernels::view::{View, ViewMut};
use handgrad_kernels::{Exec, Result};
use std::fmt::Display;

pub(crate) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x.into()).collect()
}

pub(crate) fn len(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// NumPy's rule for the shape of a product.
pub(crate) fn product_shape(a: &[usize], b: &[usize]) -> Vec<usize> {
    let batch = |shape: &[usize]| shape[..shape.len().saturating_sub(2)].to_vec();
    let (mut first, mut second) = (batch(a), batch(b));
    while first.len() < second.len() {
        first.insert(0, 1);
    }
    while second.len() < first.len() {
        second.insert(0, 1);
    }
    let mut shape: Vec<usize> = first.iter().zip(&second).map(|(&a, &b)| if a == 1 { b } else { a }).collect();
    shape.extend((a.len() > 1).then(|| a[a.len() - 2]));
    shape.extend((b.len() > 1).then(|| b[b.len() - 1]));
    shape
}

/// Pairs of shapes of every kind.
pub(crate) fn shapes() -> Vec<(Vec<usize>, Vec<usize>)> {
    let mut all: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
    // Vectors, of every length up to two registers, and long.
    for k in (0..=33).chain([64, 65, 127, 200, 1030]) {
        all.push((vec![k], vec![k]));
        all.push((vec![3, k], vec![k]));
        all.push((vec![k], vec![k, 2]));
        all.push((vec![2, k], vec![k, 1]));
        all.push((vec![1, k], vec![k, 5]));
    }
    // Matrices: nothing and one in each place, tails of tiles.
    for m in [0, 1, 2, 7] {
        for k in [0, 1, 3, 17] {
            for n in [0, 1, 2, 19, 33] {
                all.push((vec![m, k], vec![k, n]));
                all.push((vec![2, m, k], vec![k, n]));
                all.push((vec![m, k], vec![3, k, n]));
                all.push((vec![3, m, k], vec![3, k, n]));
            }
        }
    }
    let more: [(&[usize], &[usize]); 24] = [
        (&[1], &[4, 1, 3]),
        (&[4, 3, 1], &[1]),
        (&[5], &[2, 3, 5, 4]),
        (&[2, 3, 4, 5], &[5]),
        (&[2, 1, 3, 4], &[5, 4, 2]),
        (&[5, 3, 4], &[2, 1, 4, 2]),
        (&[2, 1, 3, 4], &[1, 3, 4, 1]),
        (&[2, 3, 1, 1], &[1, 3, 1, 1]),
        (&[1, 3, 4], &[5, 4, 2]),
        (&[5, 3, 4], &[1, 4, 1]),
        (&[3, 5, 1], &[1, 1, 6]),
        (&[1, 5, 1], &[7, 1, 6]),
        (&[1, 5, 1], &[7, 1, 1]),
        (&[1, 2, 3], &[0, 3, 4]),
        (&[0, 2, 3], &[1, 3, 4]),
        (&[2, 0, 2, 3], &[3, 1]),
        (&[2, 3], &[2, 0, 3, 2]),
        (&[2, 1, 2, 1, 2, 1, 3, 2], &[2, 1, 3, 1, 2, 2, 3]),
        (&[2, 1, 2, 1, 2, 1, 3, 2], &[2]),
        (&[2], &[2, 1, 2, 1, 2, 1, 2, 3]),
        (&[2, 1, 2, 1, 2, 3, 1, 2], &[1, 2, 1, 2, 1, 3, 2, 1]),
        (&[70, 40], &[40, 50]),
        (&[3, 20, 40], &[40, 30]),
        (&[2, 65, 30], &[2, 30, 49]),
    ];
    all.extend(more.map(|(a, b)| (a.to_vec(), b.to_vec())));
    all
}

/// A product of two operands.
#[derive(Debug)]
pub(crate) struct Op {
    pub(crate) name: &'static str,
    /// Whether operands of these shapes are for it.
    pub(crate) takes: fn(&[usize], &[usize]) -> bool,
    /// The shape of its result.
    pub(crate) out: fn(&[usize], &[usize]) -> Vec<usize>,
    pub(crate) scratch: fn(&Exec, &[usize], &[usize]) -> usize,
    pub(crate) forward: fn(&Exec, ViewMut<'_>, [View<'_>; 2], &mut [f32]) -> Result<()>,
    /// Writes `da` and `db` from `dy` and the operands.
    pub(crate) backward: fn(&Exec, [ViewMut<'_>; 2], View<'_>, [View<'_>; 2], &mut [f32]) -> Result<()>,
    pub(crate) reference: fn([&[f64]; 2], [&[usize]; 2]) -> Vec<f64>,
    pub(crate) reference_backward: fn(&[f64], [&[f64]; 2], [&[usize]; 2]) -> (Vec<f64>, Vec<f64>),
}

/// A row of an operation that takes scratch, for operands of `$a` and `$b` axes.
macro_rules! op {
    ($module:ident, $a:pat, $b:pat, $reference:expr, $backward:expr) => {
        Op {
            name: stringify!($module),
            takes: |a, b| matches!((a.len(), b.len()), ($a, $b)),
            out: product_shape,
            scratch: $module::scratch,
            forward: |e, y, [a, b], scratch| $module::forward(e, y, a, b, scratch),
            backward: |e, [da, db], dy, [a, b], scratch| $module::backward(e, da, db, dy, a, b, scratch),
            reference: $reference,
            reference_backward: $backward,
        }
    };
}

fn transposed(shape: &[usize]) -> Vec<usize> {
    shape.iter().rev().copied().collect()
}

/// Every product of two operands, but for its bias `linear` too.
pub(crate) static OPS: [Op; 7] = [
    op!(
        matmul,
        _,
        _,
        |[a, b], [a_shape, b_shape]| matmul::reference(a, a_shape, b, b_shape),
        |dy, [a, b], [a_shape, b_shape]| matmul::reference_backward(dy, a, a_shape, b, b_shape)
    ),
    op!(mm, 2, 2, |[a, b], [a_shape, b_shape]| mm::reference(a, b, [a_shape[0], a_shape[1], b_shape[1]]), |dy,
                                                                                                           [a, b],
                                                                                                           [
        a_shape,
        b_shape,
    ]| {
        mm::reference_backward(dy, a, b, [a_shape[0], a_shape[1], b_shape[1]])
    }),
    Op {
        takes: |a, b| a.len() == 3 && b.len() == 3 && a[0] == b[0],
        ..op!(
            bmm,
            3,
            3,
            |[a, b], [shape, b_shape]| bmm::reference(a, b, [shape[0], shape[1], shape[2], b_shape[2]]),
            |dy, [a, b], [shape, b_shape]| {
                bmm::reference_backward(dy, a, b, [shape[0], shape[1], shape[2], b_shape[2]])
            }
        )
    },
    op!(mv, 2, 1, |[a, x], [shape, _]| mv::reference(a, x, shape[0]), |dy, [a, x], _| mv::reference_backward(dy, a, x)),
    Op {
        name: "dot",
        takes: |a, b| a.len() == 1 && b.len() == 1,
        out: product_shape,
        scratch: |_, _, _| 0,
        forward: |e, y, [a, b], _| dot::forward(e, y, a, b),
        backward: |e, [da, db], dy, [a, b], _| dot::backward(e, da, db, dy, a, b),
        reference: |[a, b], _| vec![dot::reference(a, b)],
        reference_backward: |dy, [a, b], _| dot::reference_backward(dy[0], a, b),
    },
    Op {
        name: "outer",
        takes: |a, b| a.len() == 1 && b.len() == 1,
        out: |a, b| vec![a[0], b[0]],
        scratch: |_, _, _| 0,
        forward: |e, y, [a, b], _| outer::forward(e, y, a, b),
        backward: |e, [da, db], dy, [a, b], _| outer::backward(e, da, db, dy, a, b),
        reference: |[a, b], _| outer::reference(a, b),
        reference_backward: |dy, [a, b], _| outer::reference_backward(dy, a, b),
    },
    Op {
        name: "linear",
        // The weight is transposed.
        takes: |a, b| b.len() <= 2 && a.last() == b.last(),
        out: |a, b| product_shape(a, &transposed(b)),
        scratch: linear::view::scratch,
        forward: |e, y, [x, weight], scratch| linear::view::forward(e, y, x, weight, None, scratch),
        backward: |e, [dx, dweight], dy, [x, weight], scratch| {
            use handgrad_kernels::gemm::Accum;
            linear::view::backward_input(e, dx, dy, weight, scratch)?;
            let grads = linear::view::Grads { dweight, dbias: None };
            linear::view::backward_params(e, grads, Accum::Replace, dy, x, scratch)
        },
        // By way of the other references: its own has no batches of no inputs.
        reference: |[x, weight], [x_shape, shape]| {
            let weight = swapped(weight, shape);
            matmul::reference(x, x_shape, &weight, &transposed(shape))
        },
        reference_backward: |dy, [x, weight], [x_shape, shape]| {
            let weight = swapped(weight, shape);
            let (dx, dweight) = matmul::reference_backward(dy, x, x_shape, &weight, &transposed(shape));
            (dx, swapped(&dweight, &transposed(shape)))
        },
    },
];

/// The elements of a row-major matrix, column after column; those of a vector as they are.
fn swapped(values: &[f64], shape: &[usize]) -> Vec<f64> {
    match *shape {
        [rows, cols] => (0..cols).flat_map(|j| (0..rows).map(move |i| values[i * cols + j])).collect(),
        _ => values.to_vec(),
    }
}

/// Pairs of shapes for an operation.
pub(crate) fn shapes_of(op: &Op) -> Vec<(Vec<usize>, Vec<usize>)> {
    let of_weight = |(a, b): (Vec<usize>, Vec<usize>)| (a, if op.name == "linear" { transposed(&b) } else { b });
    let mut all: Vec<_> = shapes().into_iter().map(of_weight).collect();
    if op.name == "outer" {
        let pairs = [(0, 3), (3, 0), (1, 1), (7, 33), (33, 7), (300, 5), (5, 300), (64, 65)];
        all = pairs.map(|(m, n)| (vec![m], vec![n])).to_vec();
    }
    all.retain(|(a, b)| (op.takes)(a, b));
    all
}

/// A pair of shapes.
pub(crate) type Pair = (&'static [usize], &'static [usize]);

/// Each pair with each operation that takes it and does not make very much of it.
pub(crate) fn takers(pairs: &[Pair]) -> impl Iterator<Item = (&'static Op, &'static [usize], &'static [usize])> {
    let small = |op: &Op, (a, b): Pair| (op.takes)(a, b) && len(&(op.out)(a, b)) <= 20_000;
    let all = pairs.iter().flat_map(|&pair| OPS.iter().map(move |op| (op, pair)));
    all.filter(move |&(op, pair)| small(op, pair)).map(|(op, (a, b))| (op, a, b))
}

/// The operands of a product, and the gradient of its result.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) op: &'static Op,
    pub(crate) a: Tensor,
    pub(crate) b: Tensor,
    pub(crate) dy: Tensor,
}

/// The result of a product and the gradients of its operands, in logical order.
#[derive(Clone, Debug)]
pub(crate) struct Results {
    pub(crate) y: Vec<f32>,
    pub(crate) da: Vec<f32>,
    pub(crate) db: Vec<f32>,
}

impl Results {
    pub(crate) fn each(&self) -> [(&'static str, &[f32]); 3] {
        [("y", &self.y), ("da", &self.da), ("db", &self.db)]
    }
}

impl Problem {
    pub(crate) fn draw(op: &'static Op, random: &mut Random, a: &[usize], b: &[usize], layouts: [Layout; 3]) -> Self {
        let y = (op.out)(a, b);
        let mut tensor = |shape: &[usize], layout: Layout| {
            let values: Vec<f32> = (0..len(shape)).map(|_| random.uneven()).collect();
            Tensor::values(layout, shape, &values)
        };
        Self { op, a: tensor(a, layouts[0]), b: tensor(b, layouts[1]), dy: tensor(&y, layouts[2]) }
    }

    /// The same values in another layout.
    pub(crate) fn laid(&self, layout: Layout) -> Self {
        let again = |tensor: &Tensor| Tensor::values(layout, &tensor.shape, &tensor.to_vec());
        Self { op: self.op, a: again(&self.a), b: again(&self.b), dy: again(&self.dy) }
    }

    /// Runs the operation both ways, with just as much scratch as is asked for, all NaN.
    pub(crate) fn run(&self, exec: &Exec, out: Layout) -> Results {
        let Self { op, a, b, dy } = self;
        let mut scratch = vec![f32::NAN; (op.scratch)(exec, &a.shape, &b.shape)];
        let [mut y, mut da, mut db] = [dy, a, b].map(|tensor| Tensor::poisoned(out, &tensor.shape));
        let what = || format!("{exec:?}: {self}");
        let inp = [a.view(), b.view()];
        (op.forward)(exec, y.view_mut(), inp, &mut scratch).unwrap_or_else(|error| panic!("{}: {error}", what()));
        (op.backward)(exec, [da.view_mut(), db.view_mut()], dy.view(), inp, &mut scratch)
            .unwrap_or_else(|error| panic!("{}: {error}", what()));
        for tensor in [&y, &da, &db] {
            tensor.assert_intact(what());
        }
        Results { y: y.to_vec(), da: da.to_vec(), db: db.to_vec() }
    }

    /// Fails unless the results are within the roundings of their sums.
    pub(crate) fn assert_accurate(&self, what: impl Display, results: &Results) {
        let [a, b, dy] = [&self.a, &self.b, &self.dy].map(|tensor| wide(&tensor.to_vec()));
        let shapes = [&self.a.shape[..], &self.b.shape[..]];
        let all = |dy: &[f64], a: &[f64], b: &[f64]| {
            let (da, db) = (self.op.reference_backward)(dy, [a, b], shapes);
            [(self.op.reference)([a, b], shapes), da, db]
        };
        let absolute = |x: &[f64]| -> Vec<f64> { x.iter().map(|x| x.abs()).collect() };
        let ones = |x: &[f64]| vec![1.0; x.len()];
        let want = all(&dy, &a, &b);
        let magnitude = all(&absolute(&dy), &absolute(&a), &absolute(&b));
        let terms = all(&ones(&dy), &ones(&a), &ones(&b));
        for (number, (name, got)) in results.each().into_iter().enumerate() {
            // One rounding for each term, and as much again for tiers that round products too.
            let tolerance =
                magnitude[number].iter().zip(&terms[number]).map(|(sum, n)| gamma(2 * *n as usize + 1) * sum);
            assert_close(format!("{what}: {name} of {self}"), 1, got, want[number].iter().copied(), tolerance);
        }
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {:?} by {:?}", self.op.name, self.a.shape, self.b.shape)
    }
}
