//! An operation of `op::spec::ALL` with its operands, run by the kernels and by its f64 reference.

use super::common::compare::{ROUNDING, assert_close};
use super::common::random::Random;
use super::common::tensor::{Layout, Tensor, indices};
use super::common::tiers::is_fused;
use handgrad_kernels::op::spec::{Along, Binary, Spec, Unary};
use handgrad_kernels::{Exec, Isa};

/// How many roundings' worth of its terms a result may be off.
const FACTOR: f64 = 16.0;

pub(crate) fn name(spec: &Spec) -> &'static str {
    match spec {
        Spec::Unary(Unary { name, .. }) | Spec::Binary(Binary { name, .. }) | Spec::Along(Along { name, .. }) => name,
    }
}

/// Values of a domain, none within a hundredth of a kink.
fn draw(random: &mut Random, n: usize, [low, high]: [f32; 2], kinks: &[f64]) -> Vec<f32> {
    let mut one = || low + (high - low) * (0.5 * random.unit() + 0.5);
    let mut away = || loop {
        let x = one();
        if kinks.iter().all(|kink| (f64::from(x) - kink).abs() > 0.01) {
            return x;
        }
    };
    (0..n).map(|_| away()).collect()
}

/// The axes that an operation along axes is tried over.
fn axes_of(along: &Along, rank: usize) -> Vec<Vec<isize>> {
    let one = (0..rank as isize).map(|axis| vec![axis]);
    let several = (0..1_usize << rank).map(|bits| (0..rank as isize).filter(|axis| bits >> axis & 1 == 1).collect());
    if along.reduces { several.collect() } else { one.collect() }
}

fn kept_shape(shape: &[usize], axes: &[isize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| if axes.contains(&(axis as isize)) { 1 } else { shape[axis] }).collect()
}

/// What goes into one evaluation: shapes, and the values of the operands and of the upstream gradient.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) axes: Vec<isize>,
    pub(crate) shapes: Vec<Vec<usize>>,
    pub(crate) inputs: Vec<Vec<f32>>,
    pub(crate) out: Vec<usize>,
    pub(crate) dy: Vec<f32>,
}

/// Every problem of an operation for a shape.
pub(crate) fn problems(spec: &Spec, random: &mut Random, shape: &[usize]) -> Vec<Problem> {
    let len = shape.iter().product();
    match spec {
        Spec::Unary(unary) => vec![Problem {
            axes: Vec::new(),
            shapes: vec![shape.to_vec()],
            inputs: vec![draw(random, len, unary.domain, unary.kinks)],
            out: shape.to_vec(),
            dy: draw(random, len, [-2.0, 2.0], &[]),
        }],
        Spec::Binary(binary) => {
            let mut narrow = vec![shape.to_vec(), vec![1; shape.len()]];
            narrow.extend((0..shape.len()).map(|axis| kept_shape(shape, &[axis as isize])));
            narrow.push(shape.iter().skip(1).copied().collect());
            let pairs = narrow.iter().flat_map(|part| [[shape.to_vec(), part.clone()], [part.clone(), shape.to_vec()]]);
            let mut problem = |shapes: [Vec<usize>; 2]| Problem {
                axes: Vec::new(),
                inputs: shapes.iter().map(|shape| draw(random, shape.iter().product(), binary.domain, &[])).collect(),
                shapes: shapes.to_vec(),
                out: shape.to_vec(),
                dy: draw(random, len, [-2.0, 2.0], &[]),
            };
            pairs.map(&mut problem).collect()
        }
        Spec::Along(along) => {
            let count = |axes: &Vec<isize>| axes.iter().map(|&axis| shape[axis as usize]).product::<usize>();
            let tried = axes_of(along, shape.len()).into_iter();
            let mut problem = |axes: Vec<isize>| {
                let out = if along.reduces { kept_shape(shape, &axes) } else { shape.to_vec() };
                Problem {
                    shapes: vec![shape.to_vec()],
                    inputs: vec![draw(random, len, [-3.0, 3.0], &[])],
                    dy: draw(random, out.iter().product(), [-2.0, 2.0], &[]),
                    out,
                    axes,
                }
            };
            tried.filter(|axes| count(axes) >= along.least).map(&mut problem).collect()
        }
    }
}

/// The output and the gradients, in logical order, with operands of one layout and results of another.
pub(crate) fn evaluate(spec: &Spec, exec: &Exec, problem: &Problem, inp: Layout, out: Layout) -> Vec<Vec<f32>> {
    let Problem { axes, shapes, inputs, out: shape, dy } = problem;
    let x: Vec<Tensor> = shapes.iter().zip(inputs).map(|(shape, values)| Tensor::values(inp, shape, values)).collect();
    let dy = Tensor::values(inp, shape, dy);
    let mut y = Tensor::poisoned(out, shape);
    let mut grads: Vec<Tensor> = shapes.iter().map(|shape| Tensor::poisoned(out, shape)).collect();
    match spec {
        Spec::Unary(unary) => {
            (unary.forward)(exec, y.view_mut(), x[0].view()).unwrap();
            (unary.backward)(exec, grads[0].view_mut(), dy.view(), x[0].view(), y.view()).unwrap();
        }
        Spec::Binary(binary) => {
            (binary.forward)(exec, y.view_mut(), x[0].view(), x[1].view()).unwrap();
            let [da, db] = &mut grads[..] else { unreachable!("two operands") };
            (binary.backward)(exec, [da.view_mut(), db.view_mut()], dy.view(), x[0].view(), x[1].view()).unwrap();
        }
        Spec::Along(along) => {
            (along.forward)(exec, y.view_mut(), x[0].view(), axes).unwrap();
            (along.backward)(exec, grads[0].view_mut(), dy.view(), x[0].view(), y.view(), axes).unwrap();
        }
    }
    let results = std::iter::once(y).chain(grads);
    let check = |tensor: Tensor| {
        tensor.assert_intact(name(spec));
        tensor.to_vec()
    };
    results.map(check).collect()
}

/// The f64 results and, for each, the magnitude of the terms that an error is measured by.
fn reference(spec: &Spec, problem: &Problem) -> Vec<(Vec<f64>, Vec<f64>)> {
    let Problem { axes, shapes, inputs, out, dy } = problem;
    let wide = |values: &[f32]| -> Vec<f64> { values.iter().map(|&x| x.into()).collect() };
    let dy = wide(dy);
    // How much an error of one part in the argument changes the result.
    let slope = |f: &dyn Fn(f64) -> f64, x: f64| {
        let h = 1e-5 * (1.0 + x.abs());
        ((f(x + h) - f(x - h)) / (2.0 * h) * x).abs()
    };
    match spec {
        Spec::Unary(unary) => {
            let x = wide(&inputs[0]);
            let y = x.iter().map(|&x| (unary.reference)(x)).collect();
            let y_terms =
                x.iter().map(|&x| (unary.reference)(x).abs() + (unary.terms)(x) + slope(&unary.reference, x)).collect();
            let derivative = |x: f64| (unary.reference_backward)(1.0, x);
            let pairs = || x.iter().zip(&dy);
            let dx = pairs().map(|(&x, &dy)| (unary.reference_backward)(dy, x)).collect();
            let dx_terms =
                pairs().map(|(&x, &dy)| dy.abs() * (1.0 + derivative(x).abs() + slope(&derivative, x))).collect();
            vec![(y, y_terms), (dx, dx_terms)]
        }
        Spec::Binary(binary) => {
            let at = |shape: &[usize], index: &[usize]| {
                let index = &index[index.len() - shape.len()..];
                index.iter().zip(shape).fold(0, |at, (&i, &size)| at * size + i.min(size - 1))
            };
            let (a, b) = (wide(&inputs[0]), wide(&inputs[1]));
            let mut y = (Vec::new(), Vec::new());
            let mut da = (vec![0.0; a.len()], vec![0.0; a.len()]);
            let mut db = (vec![0.0; b.len()], vec![0.0; b.len()]);
            for (index, &dy) in indices(out).zip(&dy) {
                let (i, j) = (at(&shapes[0], &index), at(&shapes[1], &index));
                let value = (binary.reference)(a[i], b[j]);
                y.0.push(value);
                let terms =
                    slope(&|a| (binary.reference)(a, b[j]), a[i]) + slope(&|b| (binary.reference)(a[i], b), b[j]);
                y.1.push(value.abs() + terms);
                let [ga, gb] = (binary.reference_backward)(dy, a[i], b[j]);
                da.0[i] += ga;
                db.0[j] += gb;
                for (terms, grad) in [(&mut da.1[i], ga), (&mut db.1[j], gb)] {
                    *terms += grad.abs() + dy.abs();
                }
            }
            // Sums of n terms round n times at most, and in blocks far less often.
            vec![y, da, db]
        }
        Spec::Along(along) => {
            let (x, shape) = (wide(&inputs[0]), &shapes[0]);
            let kept = kept_shape(shape, axes);
            let mut groups: Vec<Vec<usize>> = vec![Vec::new(); kept.iter().product()];
            for (place, index) in indices(shape).enumerate() {
                groups[index.iter().zip(&kept).fold(0, |at, (&i, &size)| at * size + i.min(size - 1))].push(place);
            }
            let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
            let (mut y_terms, mut dx_terms) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
            for (number, group) in groups.iter().enumerate() {
                let mine: Vec<f64> = group.iter().map(|&place| x[place]).collect();
                let places = if along.reduces { vec![number] } else { group.clone() };
                let upstream: Vec<f64> = places.iter().map(|&place| dy[place]).collect();
                let terms: f64 = mine.iter().map(|x| x.abs()).sum::<f64>() + 1.0;
                for (&place, value) in places.iter().zip((along.reference)(&mine)) {
                    (y[place], y_terms[place]) = (value, value.abs() + terms);
                }
                let pull: f64 = upstream.iter().map(|dy| dy.abs()).sum();
                for (&place, value) in group.iter().zip((along.reference_backward)(&upstream, &mine)) {
                    (dx[place], dx_terms[place]) = (value, value.abs() + pull * (1.0 + terms / mine.len() as f64));
                }
            }
            vec![(y, y_terms), (dx, dx_terms)]
        }
    }
}

/// Fails unless the results are within [`FACTOR`] roundings of their terms; a fused tier is held to that, others to
/// more.
pub(crate) fn assert_accurate(spec: &Spec, isa: Isa, problem: &Problem, got: &[Vec<f32>]) {
    let factor = if is_fused(isa) { FACTOR } else { 64.0 * FACTOR };
    for (number, (got, (want, terms))) in got.iter().zip(reference(spec, problem)).enumerate() {
        let tolerance = terms.iter().map(|terms| factor * ROUNDING * terms + 1e-37);
        let what = format!("{isa}: {} result {number} of {:?} over {:?}", name(spec), problem.shapes, problem.axes);
        assert_close(what, 1, got, want, tolerance);
    }
}
