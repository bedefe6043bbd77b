//! Layer norm, RMS norm and batch norm, forward and backward, by rows and by channels.

use crate::First;
use crate::common::random::Random;
use crate::common::serial;
use crate::common::tensor::Layout;
use crate::common::tiers::{is_fused, on_every_tier};
use crate::norm::{Named, Norm, Problem, assert_same};
use handgrad_kernels::op::batch_norm_nd::Variance;

const NORMS: [Norm; 5] =
    [Norm::Layer(1), Norm::Rms(1), Norm::Batch(Variance::Biased), Norm::Batch(Variance::Unbiased), Norm::Given];

fn draw() -> Vec<Problem> {
    let mut random = Random::new(5);
    let shapes = (1..=33).flat_map(|n| [[3, n], [n + 1, 2]]).chain([[2, 67], [17, 19]]);
    let mut problems = Vec::new();
    for shape in shapes {
        for norm in NORMS {
            let with = [[true, true], [true, false], [false, true], [false, false]][problems.len() % 4];
            problems.push(Problem::draw(norm, &shape, with, &mut random));
        }
    }
    problems
}

#[test]
fn norms_in_every_tail() {
    let problems = draw();
    let mut first: First<Vec<Named>> = First::of(problems.len());
    on_every_tier(&format!("quick: {} norms", problems.len()), |isa| {
        let exec = serial(isa);
        for (number, problem) in problems.iter().enumerate() {
            let layout = [Layout::Dense, Layout::Transposed][number % 2];
            let got = problem.run(&exec, layout, Layout::Dense);
            problem.check(isa, &got);
            if is_fused(isa) {
                assert_same(format_args!("{isa}: {}", problem.what()), &got, first.or(number, || got.clone()));
            }
        }
    });
}

#[test]
#[cfg_attr(panic = "abort", ignore = "a panic ends the process")]
fn a_wrong_norm_is_found() {
    let problem = &draw()[30];
    let isa = handgrad_kernels::Isa::best();
    let mut got = problem.run(&serial(isa), Layout::Dense, Layout::Dense);
    problem.check(isa, &got);
    got[0].1[0] += 1e-3 * (1.0 + got[0].1[0].abs());
    assert!(std::panic::catch_unwind(|| problem.check(isa, &got)).is_err());
}
