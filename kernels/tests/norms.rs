//! Layer norm, RMS norm and batch norm over views: against their definition in f64, which is checked against central
//! differences; the same bits for every layout, tier and number of threads, and for a row alone.

mod common;
#[path = "norms/errors.rs"]
mod errors;
#[path = "norms/problem.rs"]
mod problem;
#[path = "norms/rows.rs"]
mod rows;

use common::compare::assert_same_bits;
use common::random::Random;
use common::tensor::{Layout, indices};
use common::tiers::{is_fused, on_every_tier};
use common::{pools, serial, until_two_workers};
use handgrad_kernels::op::batch_norm_nd::{self, Variance};
use handgrad_kernels::op::{layer_norm, rms_norm};
use handgrad_kernels::{Exec, Isa};
use problem::{Named, Norm, Problem, assert_same};

const WITH: [[bool; 2]; 4] = [[true, true], [true, false], [false, true], [false, false]];
const BATCHES: [Norm; 3] = [Norm::Batch(Variance::Biased), Norm::Batch(Variance::Unbiased), Norm::Given];

/// Every norm that a shape can have.
fn norms(shape: &[usize]) -> Vec<Norm> {
    let mut norms: Vec<Norm> = (1..=shape.len()).flat_map(|axes| [Norm::Layer(axes), Norm::Rms(axes)]).collect();
    let one_each = shape.len() > 1 && shape[0] * shape[2..].iter().product::<usize>() == 1;
    norms.extend(BATCHES.into_iter().filter(|&norm| shape.len() > 1 && (norm == Norm::Given || !one_each)));
    norms
}

/// Every length up to two registers and one, more samples and longer rows than a block, and further axes.
fn shapes() -> Vec<Vec<usize>> {
    let mut shapes: Vec<Vec<usize>> = (1..=33).flat_map(|n| [vec![n], vec![3, n]]).collect();
    shapes.extend([
        vec![1, 1],
        vec![2, 1],
        vec![40, 1],
        vec![37, 19],
        vec![130, 70],
        vec![300, 5],
        vec![65, 1030],
        vec![2, 3, 5],
        vec![4, 1, 17],
        vec![70, 3, 2],
        vec![3, 4, 70],
        vec![3, 70, 1],
        vec![2, 3, 2, 5],
        vec![2, 1, 3, 1, 2, 1, 2, 3],
        vec![1, 3, 4],
        vec![0, 3],
        vec![0, 3, 2],
        vec![3, 0],
        vec![3, 2, 0],
    ]);
    shapes
}

/// Every problem of some shapes.
fn problems(shapes: &[Vec<usize>], random: &mut Random) -> Vec<Problem> {
    let mut problems = Vec::new();
    for shape in shapes {
        for norm in norms(shape) {
            let with = WITH[problems.len() % 4];
            problems.push(Problem::draw(norm, shape, with, random));
        }
    }
    problems
}

#[test]
fn norms_agree_with_their_definition() {
    let problems = problems(&shapes(), &mut Random::new(1));
    let scalar = serial(Isa::from_name("scalar").unwrap());
    let scalar: Vec<_> = problems.iter().map(|p| p.run(&scalar, Layout::Dense, Layout::Dense)).collect();
    on_every_tier(&format!("norms, {} problems", problems.len()), |isa| {
        for (problem, scalar) in problems.iter().zip(&scalar) {
            let got = problem.run(&serial(isa), Layout::Dense, Layout::Dense);
            // The statistics of nothing are tested below.
            if !problem.x.is_empty() {
                problem.check(isa, &got);
            }
            if is_fused(isa) {
                assert_same(format_args!("{isa}: {}", problem.what()), &got, scalar);
            }
        }
    });
}

#[test]
fn layouts_give_the_same_bits() {
    let shapes = [vec![70, 3], vec![19, 70], vec![2, 3, 5], vec![3, 4, 70], vec![66, 2, 1], vec![2, 3, 2, 3]];
    on_every_tier("layouts of norms", |isa| {
        let exec = serial(isa);
        for problem in problems(&shapes, &mut Random::new(2)) {
            for inp in Layout::ALL {
                // A layout that repeats elements has other values: those, without repetition, are the measure.
                let mut same = problem.clone();
                let seen = |shape: &[usize], v: &[f32]| common::tensor::Tensor::values(inp, shape, v).to_vec();
                (same.x, same.dy) = (seen(&problem.shape, &problem.x), seen(&problem.shape, &problem.dy));
                same.weight = problem.weight.as_ref().map(|v| seen(problem.param_shape(), v));
                same.bias = problem.bias.as_ref().map(|v| seen(problem.param_shape(), v));
                let want = same.run(&exec, Layout::Dense, Layout::Dense);
                for out in Layout::OUTPUTS {
                    let what = format!("{isa}: {}, {inp:?} to {out:?}", problem.what());
                    assert_same(what, &problem.run(&exec, inp, out), &want);
                }
            }
        }
    });
}

#[test]
fn threads_change_no_bit() {
    let shapes = [vec![300, 37], vec![600, 5], vec![5, 300], vec![70, 33, 3], vec![3, 2, 700], vec![1030, 2]];
    let problems = problems(&shapes, &mut Random::new(3));
    let pools = pools();
    for problem in &problems {
        let want = problem.run(&serial(Isa::best()), Layout::Dense, Layout::Dense);
        for pool in &pools {
            for layout in [Layout::Dense, Layout::Transposed] {
                let got = pool.install(|| problem.run(pool, layout, layout));
                assert_same(format_args!("{} threads, {}", pool.threads(), problem.what()), &got, &want);
            }
        }
    }
    for pool in &pools {
        until_two_workers(pool, || drop(problems[0].run(pool, Layout::Dense, Layout::Dense)));
    }
}

#[test]
fn rows_longer_than_a_piece_of_a_run() {
    for norm in [Norm::Layer(1), Norm::Rms(1)] {
        let problem = Problem::draw(norm, &[2, 140_001], [true, true], &mut Random::new(4));
        let exec = serial(Isa::best());
        let want = problem.run(&exec, Layout::Dense, Layout::Dense);
        problem.check(Isa::best(), &want);
        assert_same(problem.what(), &problem.run(&exec, Layout::Stepped, Layout::Stepped), &want);
    }
}

/// The results of the groups `keep` alone.
fn part(problem: &Problem, keep: impl Fn(&[usize]) -> bool, shape: &[usize], of_batch: usize) -> Problem {
    let kept = |values: &[f32]| {
        let places = indices(&problem.shape).zip(values);
        places.filter(|(index, _)| keep(index)).map(|(_, &value)| value).collect()
    };
    let (x, dy) = (kept(&problem.x), kept(&problem.dy));
    let mut part = Problem { shape: shape.to_vec(), x, dy, ..problem.clone() };
    if matches!(problem.norm, Norm::Batch(_) | Norm::Given) {
        let one = |values: &[f32]| vec![values[of_batch]];
        part.weight = problem.weight.as_deref().map(one);
        part.bias = problem.bias.as_deref().map(one);
        part.running = problem.running.each_ref().map(|v| one(v));
        part.old = problem.old.each_ref().map(|v| one(v));
    }
    part
}

#[test]
fn a_row_or_a_channel_alone_is_the_same_as_among_others() {
    let exec = serial(Isa::best());
    let find = |results: &[Named], name: &str| results.iter().find(|(other, _)| *other == name).unwrap().1.clone();
    for problem in problems(&[vec![70, 40], vec![5, 3, 70]], &mut Random::new(5)) {
        let batch = matches!(problem.norm, Norm::Batch(_) | Norm::Given);
        if !batch && problem.outer() == 0 {
            continue;
        }
        let axis = usize::from(batch);
        let all = problem.run(&exec, Layout::Dense, Layout::Dense);
        for at in 0..problem.shape[axis] {
            let mut shape = problem.shape.clone();
            shape[axis] = 1;
            let alone = part(&problem, |index| index[axis] == at, &shape, at).run(&exec, Layout::Dense, Layout::Dense);
            for name in ["y", "dx"] {
                let whole = find(&all, name);
                let mine = indices(&problem.shape).zip(whole).filter(|(index, _)| index[axis] == at);
                let mine: Vec<f32> = mine.map(|(_, value)| value).collect();
                assert_same_bits(format_args!("{name} {at}, {}", problem.what()), 1, &find(&alone, name), &mine);
            }
        }
    }
}

#[test]
fn a_wrong_result_is_found() {
    for norm in [Norm::Layer(1), Norm::Rms(1), Norm::Batch(Variance::Unbiased), Norm::Given] {
        let problem = Problem::draw(norm, &[9, 5], [true, true], &mut Random::new(6));
        let right = problem.run(&serial(Isa::best()), Layout::Dense, Layout::Dense);
        problem.check(Isa::best(), &right);
        for number in 0..right.len() {
            let mut wrong = right.clone();
            let value = &mut wrong[number].1[3];
            *value += 1e-3 * value.abs().max(0.1);
            let name = wrong[number].0;
            let found = std::panic::catch_unwind(|| problem.check(Isa::best(), &wrong)).is_err();
            assert!(found, "{norm:?}: a wrong {name} was accepted");
        }
        // The gradient of a norm whose upstream gradient is all ones is zero: these are not.
        assert!(right.iter().any(|(name, dx)| *name == "dx" && dx.iter().any(|dx| dx.abs() > 0.01)));
    }
}

/// Central differences of `Σ dy·f(x)`.
fn differences(x: &[f64], dy: &[f64], f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let loss = |x: &[f64]| f(x).iter().zip(dy).map(|(y, dy)| y * dy).sum::<f64>();
    let one = |i: usize| {
        let (mut up, mut down, h) = (x.to_vec(), x.to_vec(), 1e-5);
        (up[i], down[i]) = (x[i] + h, x[i] - h);
        (loss(&up) - loss(&down)) / (2.0 * h)
    };
    (0..x.len()).map(one).collect()
}

fn assert_near(what: &str, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= 1e-7 * (1.0 + want.abs()), "{what}: {got} by its formula, {want} by differences");
    }
}

#[test]
fn references_have_the_gradients_they_say() {
    let mut random = Random::new(7);
    let mut draw = |n: usize| -> Vec<f64> { (0..n).map(|_| random.unit().into()).collect() };
    for n in [2, 3, 7] {
        let (x, dy, weight, bias) = (draw(n), draw(n), draw(n), draw(n));
        for (weight, bias) in [(Some(&weight[..]), Some(&bias[..])), (None, None)] {
            let [dx, dweight, dbias] = layer_norm::reference_backward(&dy, &x, weight, 0.1);
            assert_near("layer", &dx, &differences(&x, &dy, |x| layer_norm::reference(x, weight, bias, 0.1)));
            let [rms_dx, rms_dweight] = rms_norm::reference_backward(&dy, &x, weight, 0.1);
            assert_near("rms", &rms_dx, &differences(&x, &dy, |x| rms_norm::reference(x, weight, 0.1)));
            if let (Some(w), Some(b)) = (weight, bias) {
                let f = |w: &[f64]| layer_norm::reference(&x, Some(w), bias, 0.1);
                assert_near("layer, weight", &dweight, &differences(w, &dy, f));
                let f = |b: &[f64]| layer_norm::reference(&x, weight, Some(b), 0.1);
                assert_near("layer, bias", &dbias, &differences(b, &dy, f));
                let f = |w: &[f64]| rms_norm::reference(&x, Some(w), 0.1);
                assert_near("rms, weight", &rms_dweight, &differences(w, &dy, f));
            }
        }
        for variance in [Variance::Biased, Variance::Unbiased] {
            let config = batch_norm_nd::Config { eps: 0.1, variance };
            let (w, b) = (weight[0], bias[0]);
            let (dx, dw, db) = batch_norm_nd::reference_backward(&dy, &x, w, config);
            assert_near("batch", &dx, &differences(&x, &dy, |x| batch_norm_nd::reference(x, w, b, config)));
            let f = |w: &[f64]| batch_norm_nd::reference(&x, w[0], b, config);
            assert_near("batch, weight", &[dw], &differences(&[w], &dy, f));
            let f = |b: &[f64]| batch_norm_nd::reference(&x, w, b[0], config);
            assert_near("batch, bias", &[db], &differences(&[b], &dy, f));
        }
    }
}

/// The formulas that the kernels are compared with are those of the operations' references.
#[test]
fn the_tests_reference_is_that_of_the_operations() {
    for norm in [Norm::Layer(1), Norm::Rms(1), BATCHES[0], BATCHES[1]] {
        let problem = Problem::draw(norm, &[1, 6], [true, true], &mut Random::new(8));
        let problem = if norm == Norm::Layer(1) || norm.is_rms() {
            problem
        } else {
            Problem { shape: vec![6, 1], ..Problem::draw(norm, &[6, 1], [true, true], &mut Random::new(8)) }
        };
        let wide = |values: &[f32]| -> Vec<f64> { values.iter().map(|&x| x.into()).collect() };
        let (x, dy, eps) = (wide(&problem.x), wide(&problem.dy), f64::from(problem.eps));
        let (weight, bias) = (problem.weight.as_deref().map(wide), problem.bias.as_deref().map(wide));
        let (weight, bias) = (weight.as_deref(), bias.as_deref());
        let (y, dx) = match norm {
            Norm::Batch(variance) => {
                let config = batch_norm_nd::Config { eps: problem.eps, variance };
                let (weight, bias) = (weight.unwrap()[0], bias.unwrap()[0]);
                let (dx, ..) = batch_norm_nd::reference_backward(&dy, &x, weight, config);
                (batch_norm_nd::reference(&x, weight, bias, config), dx)
            }
            Norm::Layer(_) => {
                let [dx, ..] = layer_norm::reference_backward(&dy, &x, weight, eps);
                (layer_norm::reference(&x, weight, bias, eps), dx)
            }
            _ => {
                let [dx, _] = rms_norm::reference_backward(&dy, &x, weight, eps);
                (rms_norm::reference(&x, weight, eps), dx)
            }
        };
        for (name, bounds) in problem.reference() {
            match name {
                "y" => assert_near("y", &bounds.want, &y),
                "dx" => assert_near("dx", &bounds.want, &dx),
                _ => {}
            }
        }
    }
}

#[test]
fn a_batch_is_the_same_through_a_pool_and_without_running_statistics() {
    let exec = Exec::serial().unwrap();
    let problem = Problem::draw(BATCHES[0], &[70, 3], [true, true], &mut Random::new(9));
    let results = problem.run(&exec, Layout::Dense, Layout::Dense);
    use handgrad_kernels::view::{View, ViewMut};
    let (mut y, mut mean, mut inv_std) = (vec![f32::NAN; 210], vec![f32::NAN; 3], vec![f32::NAN; 3]);
    let statistics = batch_norm_nd::Statistics {
        mean: ViewMut::new(&mut mean, &[3]).unwrap(),
        inv_std: ViewMut::new(&mut inv_std, &[3]).unwrap(),
    };
    let vector = |v: &'static [f32]| View::new(v, &[3]).unwrap();
    let leak = |v: &Option<Vec<f32>>| -> &'static [f32] { Vec::leak(v.clone().unwrap()) };
    let params =
        batch_norm_nd::Params { weight: Some(vector(leak(&problem.weight))), bias: Some(vector(leak(&problem.bias))) };
    let config = batch_norm_nd::Config { eps: problem.eps, ..Default::default() };
    let (y_view, x) = (ViewMut::new(&mut y, &[70, 3]).unwrap(), View::new(&problem.x, &[70, 3]).unwrap());
    batch_norm_nd::forward(&exec, y_view, statistics, None, x, params, config).unwrap();
    for (name, got) in [("y", y), ("mean", mean), ("inv_std", inv_std)] {
        let want = &results.iter().find(|(other, _)| *other == name).unwrap().1;
        assert_same_bits(name, 1, &got, want);
    }
}
