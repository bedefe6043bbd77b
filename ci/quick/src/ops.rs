//! Every operation of `op::spec::ALL`: element-wise functions of one and of two operands, and reductions.

use crate::First;
use crate::common::compare::assert_same_bits;
use crate::common::random::Random;
use crate::common::serial;
use crate::common::tensor::Layout;
use crate::common::tiers::{is_fused, on_every_tier};
use crate::op::{Problem, assert_accurate, evaluate, name, problems};
use handgrad_kernels::op::spec::{ALL, Spec};
use handgrad_kernels::{Exec, Isa};

/// Lengths of one row up to two registers and one; further axes; more than the running sums of a row.
fn shapes() -> Vec<Vec<usize>> {
    let mut shapes: Vec<_> = (0..=33).map(|n| vec![n]).collect();
    shapes.extend([vec![], vec![3, 17], vec![17, 3], vec![2, 3, 5], vec![2, 67]]);
    shapes
}

const LAYOUTS: [[Layout; 2]; 3] =
    [[Layout::Dense, Layout::Dense], [Layout::Transposed, Layout::Stepped], [Layout::Reversed, Layout::Padded]];

fn check(
    spec: &Spec,
    exec: &Exec,
    problem: &Problem,
    layouts: [Layout; 2],
    first: &mut First<Vec<Vec<f32>>>,
    at: usize,
) {
    let got = evaluate(spec, exec, problem, layouts[0], layouts[1]);
    assert_accurate(spec, exec.isa(), problem, &got);
    if is_fused(exec.isa()) {
        for (got, want) in got.iter().zip(first.or(at, || got.clone())) {
            let what = format!("{}: {} of {:?}, {layouts:?}", exec.isa(), name(spec), problem.shapes);
            assert_same_bits(what, 1, got, want);
        }
    }
}

#[test]
fn operations_in_every_tail() {
    let mut random = Random::new(3);
    let mut all = Vec::new();
    for spec in ALL {
        for shape in shapes() {
            all.extend(problems(spec, &mut random, &shape).into_iter().map(|problem| (spec, problem)));
        }
    }
    let mut first = First::of(all.len());
    on_every_tier(&format!("quick: {} problems of operations", all.len()), |isa| {
        let exec = serial(isa);
        for (number, (spec, problem)) in all.iter().enumerate() {
            check(spec, &exec, problem, LAYOUTS[number % 3], &mut first, number);
        }
    });
}

#[test]
#[cfg_attr(panic = "abort", ignore = "a panic ends the process")]
fn a_wrong_result_is_found() {
    let spec = ALL.iter().find(|spec| name(spec) == "exp").unwrap();
    let problem = problems(spec, &mut Random::new(4), &[9]).remove(0);
    let (isa, exec) = (Isa::best(), serial(Isa::best()));
    let mut got = evaluate(spec, &exec, &problem, Layout::Dense, Layout::Dense);
    let mut first = First::of(1);
    first.or(0, || got.clone());
    check(spec, &exec, &problem, LAYOUTS[0], &mut first, 0);
    // One bit against another tier, and more than rounding against f64.
    got[0][8] = f32::from_bits(got[0][8].to_bits() ^ 1);
    let wrong = std::panic::AssertUnwindSafe(|| {
        check(spec, &exec, &problem, LAYOUTS[0], &mut First(vec![Some(got.clone())]), 0);
    });
    assert!(!is_fused(isa) || std::panic::catch_unwind(wrong).is_err());
    got[0][8] *= 1.01;
    assert!(std::panic::catch_unwind(|| assert_accurate(spec, isa, &problem, &got)).is_err());
}
