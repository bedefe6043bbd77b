//! Every operation of `op::spec::ALL`, on every tier: against its f64 reference, whose own gradient is checked against
//! central differences; the same bits for every layout, tier, number of threads and place in a row.

mod common;
#[path = "conformance/problem.rs"]
mod problem;

use common::compare::assert_same_bits;
use common::random::Random;
use common::tensor::{Layout, Tensor};
use common::tiers::{is_fused, on_every_tier};
use common::{pools, serial};
use handgrad_kernels::op::spec::{ALL, Spec};
use handgrad_kernels::{Exec, Isa};
use problem::{Problem, assert_accurate, evaluate, name, problems};

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
