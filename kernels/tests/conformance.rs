//! Every operation of `op::spec::ALL`, on every tier: against its f64 reference, whose own gradient is checked against
//! central differences; the same bits for every layout, tier, number of threads and place in a row.

mod common;

use common::compare::{ROUNDING, assert_close, assert_same_bits};
use common::random::Random;
use common::tensor::{Layout, Tensor, indices};
use common::tiers::{is_fused, on_every_tier};
use common::{pools, serial};
use handgrad_kernels::op::spec::{ALL, Along, Binary, Spec, Unary};
use handgrad_kernels::{Exec, Isa};

/// How many roundings' worth of its terms a result may be off.
const FACTOR: f64 = 16.0;

fn name(spec: &Spec) -> &'static str {
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
struct Problem {
    axes: Vec<isize>,
    shapes: Vec<Vec<usize>>,
    inputs: Vec<Vec<f32>>,
    out: Vec<usize>,
    dy: Vec<f32>,
}

/// Every problem of an operation for a shape.
fn problems(spec: &Spec, random: &mut Random, shape: &[usize]) -> Vec<Problem> {
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
fn evaluate(spec: &Spec, exec: &Exec, problem: &Problem, inp: Layout, out: Layout) -> Vec<Vec<f32>> {
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
fn assert_accurate(spec: &Spec, isa: Isa, problem: &Problem, got: &[Vec<f32>]) {
    let factor = if is_fused(isa) { FACTOR } else { 64.0 * FACTOR };
    for (number, (got, (want, terms))) in got.iter().zip(reference(spec, problem)).enumerate() {
        let tolerance = terms.iter().map(|terms| factor * ROUNDING * terms + 1e-37);
        let what = format!("{isa}: {} result {number} of {:?} over {:?}", name(spec), problem.shapes, problem.axes);
        assert_close(what, 1, got, want, tolerance);
    }
}

/// Every length up to two registers and one, and shapes with outer axes.
fn shapes() -> Vec<Vec<usize>> {
    let mut shapes: Vec<Vec<usize>> = (0..=33).map(|n| vec![n]).collect();
    shapes.extend([
        vec![],
        vec![3, 37],
        vec![37, 3],
        vec![1, 5],
        vec![2, 3, 5],
        vec![4, 1, 17],
        vec![70, 70],
        vec![0, 3],
    ]);
    shapes
}

#[test]
fn references_have_the_gradients_they_say() {
    let mut random = Random::new(1);
    let close = |name: &str, got: f64, want: f64| {
        assert!((got - want).abs() <= 1e-6 * (1.0 + want.abs()), "{name}: {got} by its formula, {want} by differences");
    };
    for spec in ALL {
        for problem in problems(spec, &mut random, &[3, 4]) {
            let h = 1e-5;
            let wide = |values: &[f32]| -> Vec<f64> { values.iter().map(|&x| x.into()).collect() };
            match spec {
                Spec::Unary(unary) => {
                    for x in wide(&problem.inputs[0]) {
                        let difference = ((unary.reference)(x + h) - (unary.reference)(x - h)) / (2.0 * h);
                        close(unary.name, (unary.reference_backward)(1.5, x), 1.5 * difference);
                    }
                }
                Spec::Binary(binary) => {
                    for (a, b) in wide(&problem.inputs[0]).into_iter().zip(wide(&problem.inputs[1])) {
                        let f = binary.reference;
                        let [da, db] = (binary.reference_backward)(1.5, a, b);
                        close(binary.name, da, 1.5 * (f(a + h, b) - f(a - h, b)) / (2.0 * h));
                        close(binary.name, db, 1.5 * (f(a, b + h) - f(a, b - h)) / (2.0 * h));
                    }
                }
                Spec::Along(along) => {
                    let x = wide(&problem.inputs[0]);
                    let dy: Vec<f64> = (along.reference)(&x).iter().enumerate().map(|(i, _)| 0.5 + i as f64).collect();
                    let loss = |x: &[f64]| (along.reference)(x).iter().zip(&dy).map(|(y, dy)| y * dy).sum::<f64>();
                    for (i, got) in (along.reference_backward)(&dy, &x).into_iter().enumerate() {
                        let (mut above, mut below) = (x.clone(), x.clone());
                        (above[i], below[i]) = (x[i] + h, x[i] - h);
                        close(along.name, got, (loss(&above) - loss(&below)) / (2.0 * h));
                    }
                }
            }
        }
    }
}

#[test]
fn kernels_agree_with_their_references() {
    on_every_tier("conformance", |isa| {
        let exec = serial(isa);
        for spec in ALL {
            let mut random = Random::new(2);
            for shape in shapes() {
                for problem in problems(spec, &mut random, &shape) {
                    let got = evaluate(spec, &exec, &problem, Layout::Dense, Layout::Dense);
                    assert_accurate(spec, isa, &problem, &got);
                }
            }
        }
    });
}

#[test]
fn a_wrong_result_is_found() {
    let spec = ALL.iter().find(|spec| name(spec) == "tanh").unwrap();
    let problem = problems(spec, &mut Random::new(3), &[5]).remove(0);
    let isa = Isa::best();
    let mut got = evaluate(spec, &serial(isa), &problem, Layout::Dense, Layout::Dense);
    got[0][3] *= 1.0 + 20.0 * f32::EPSILON;
    assert!(std::panic::catch_unwind(|| assert_accurate(spec, isa, &problem, &got)).is_err());
}

#[test]
fn layouts_give_the_same_bits() {
    on_every_tier("layouts", |isa| {
        let exec = serial(isa);
        for spec in ALL {
            let mut random = Random::new(4);
            for shape in [&[2, 3, 5][..], &[19, 70], &[70, 19]] {
                for problem in problems(spec, &mut random, shape) {
                    for inp in Layout::ALL {
                        // A layout that repeats elements has other values: those, without repetition, are the measure.
                        let mut same = problem.clone();
                        let seen = |shape: &Vec<usize>, values: &Vec<f32>| Tensor::values(inp, shape, values).to_vec();
                        same.inputs = problem.shapes.iter().zip(&problem.inputs).map(|(s, v)| seen(s, v)).collect();
                        same.dy = seen(&problem.out, &problem.dy);
                        let want = evaluate(spec, &exec, &same, Layout::Dense, Layout::Dense);
                        for out in Layout::OUTPUTS {
                            let got = evaluate(spec, &exec, &problem, inp, out);
                            for (number, (got, want)) in got.iter().zip(&want).enumerate() {
                                let (shapes, axes) = (&problem.shapes, &problem.axes);
                                let what = format!(
                                    "{isa}: {} result {number} of {shapes:?} over {axes:?}, {inp:?} to {out:?}",
                                    name(spec)
                                );
                                assert_same_bits(what, 1, got, want);
                            }
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn tiers_and_threads_give_the_same_bits() {
    let pools = pools();
    for spec in ALL {
        let mut random = Random::new(5);
        for shape in [&[1000][..], &[37, 53], &[5, 7, 11], &[300, 40]] {
            for problem in problems(spec, &mut random, shape) {
                let want = evaluate(spec, &serial(Isa::best()), &problem, Layout::Dense, Layout::Dense);
                let check = |exec: &Exec| {
                    let got = evaluate(spec, exec, &problem, Layout::Dense, Layout::Dense);
                    for (got, want) in got.iter().zip(&want) {
                        let what =
                            format!("{} of {:?} over {:?} on {exec:?}", name(spec), problem.shapes, problem.axes);
                        assert_same_bits(what, 1, got, want);
                    }
                };
                for isa in Isa::available().filter(|&isa| is_fused(isa) == is_fused(Isa::best())) {
                    check(&serial(isa));
                }
                for pool in &pools {
                    pool.install(|| check(pool));
                }
            }
        }
    }
}

/// Numbers that are not ordinary.
const SPECIAL: [f32; 14] = [
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    0.0,
    -0.0,
    1e-45,
    -1e-45,
    f32::MIN_POSITIVE,
    -f32::MIN_POSITIVE,
    f32::MAX,
    f32::MIN,
    1.0,
    -1.0,
    0.5,
];

/// The kind of a number: a result must be of the reference's kind where that is not finite.
fn kind(x: f64) -> &'static str {
    match x {
        x if x.is_nan() => "NaN",
        f64::INFINITY => "inf",
        f64::NEG_INFINITY => "-inf",
        _ => "finite",
    }
}

#[test]
fn special_values_are_the_same_in_every_lane() {
    on_every_tier("special values", |isa| {
        let exec = serial(isa);
        for spec in ALL {
            let Spec::Unary(unary) = spec else { continue };
            for x in SPECIAL {
                let alone =
                    Problem { axes: vec![], shapes: vec![vec![1]], inputs: vec![vec![x]], out: vec![1], dy: vec![1.0] };
                let want = evaluate(spec, &exec, &alone, Layout::Dense, Layout::Dense);
                let (y, exact) = (f64::from(want[0][0]), (unary.reference)(x.into()));
                // The largest results overflow a float.
                let exact = f64::from(exact as f32);
                assert_eq!(
                    kind(y),
                    kind(exact),
                    "{isa}: {} of {x:e} is {y:e}, {exact:e} by its definition",
                    unary.name
                );
                let (dx, exact) = (f64::from(want[1][0]), (unary.reference_backward)(1.0, x.into()));
                let exact = f64::from(exact as f32);
                assert_eq!(kind(dx), kind(exact), "{isa}: gradient of {} at {x:e}", unary.name);
                for lane in 0..33 {
                    let mut row = alone.clone();
                    (row.shapes, row.out, row.dy) = (vec![vec![33]], vec![33], vec![1.0; 33]);
                    row.inputs = vec![vec![0.75; 33]];
                    row.inputs[0][lane] = x;
                    let got = evaluate(spec, &exec, &row, Layout::Dense, Layout::Dense);
                    for (got, want) in got.iter().zip(&want) {
                        let what = format!("{isa}: {} of {x:e} in lane {lane}", unary.name);
                        assert_same_bits(what, 1, &got[lane..=lane], want);
                    }
                }
            }
        }
    });
}
