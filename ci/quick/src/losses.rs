//! The losses of a batch with their gradients, as a training step calls them.

use crate::First;
use crate::common::compare::{ROUNDING, assert_close, assert_same_bits};
use crate::common::random::Random;
use crate::common::serial;
use crate::common::tiers::{is_fused, on_every_tier};
use crate::kinds::{KINDS, Kind};
use handgrad_kernels::op::cross_entropy::{self, Config};
use handgrad_kernels::view::{Mat, MatMut};
use handgrad_kernels::{Exec, Isa};

/// What the gradients are multiplied by.
const DLOSS: f32 = 0.625;

/// Values with what their errors are measured by.
type Terms = (Vec<f64>, Vec<f64>);

#[derive(Clone, Copy, Debug)]
enum Loss {
    Pointwise(Kind),
    /// Softmax cross-entropy, with so much smoothing of the labels.
    Classes(f32),
}

struct Problem {
    loss: Loss,
    shape: [usize; 2],
    x: Vec<f32>,
    target: Vec<f32>,
    labels: Vec<i64>,
}

impl Problem {
    fn new(loss: Loss, shape: [usize; 2], random: &mut Random) -> Self {
        let [rows, cols] = shape;
        let mut draw = |[low, high]: [f32; 2]| -> Vec<f32> {
            (0..rows * cols).map(|_| low + (high - low) * (0.5 * random.unit() + 0.5)).collect()
        };
        let (x, target) = match loss {
            Loss::Pointwise(kind) => (draw(kind.domain()), draw(kind.target_domain())),
            Loss::Classes(_) => (draw([-9.0, 9.0]), Vec::new()),
        };
        let labels = (0..rows).map(|_| random.below(cols) as i64).collect();
        Self { loss, shape, x, target, labels }
    }

    fn what(&self, isa: Isa) -> String {
        format!("{isa}: {:?} of {:?}", self.loss, self.shape)
    }

    /// The losses and the gradient.
    fn run(&self, exec: &Exec) -> [Vec<f32>; 2] {
        let [rows, cols] = self.shape;
        let (mut losses, mut dx) = (vec![f32::NAN; rows], vec![f32::NAN; rows * cols]);
        let (x, out) = (Mat::new(&self.x, rows, cols).unwrap(), MatMut::new(&mut dx, rows, cols).unwrap());
        match self.loss {
            Loss::Pointwise(kind) => {
                let target = Mat::new(&self.target, rows, cols).unwrap();
                kind.fused(exec, (&mut losses, out), DLOSS, [x, target], [None; 2], None).unwrap();
            }
            Loss::Classes(label_smoothing) => {
                let config = Config { label_smoothing, ..Config::default() };
                let labels = &self.labels[..];
                cross_entropy::forward_backward(exec, &mut losses, out, DLOSS, x, labels, None, config).unwrap();
            }
        }
        [losses, dx]
    }

    fn reference(&self) -> [Terms; 2] {
        let [rows, cols] = self.shape;
        let zeros = |n: usize| (vec![0.0; n], vec![0.0; n]);
        let (mut losses, mut dx) = (zeros(rows), zeros(rows * cols));
        for i in 0..rows {
            let x: Vec<f64> = self.x[i * cols..][..cols].iter().map(|&x| x.into()).collect();
            match self.loss {
                Loss::Pointwise(kind) => {
                    let n = cols as f64;
                    for (j, &x) in x.iter().enumerate() {
                        let (at, target) = (i * cols + j, f64::from(self.target[i * cols + j]));
                        let terms = kind.terms(x, target, 1.0);
                        losses.0[i] += kind.reference(x, target, 1.0) / n;
                        losses.1[i] += terms[0] / n;
                        dx.0[at] = kind.reference_backward(f64::from(DLOSS) / n, x, target, 1.0)[0];
                        dx.1[at] = f64::from(DLOSS) / n * terms[1];
                    }
                }
                Loss::Classes(smoothing) => {
                    let even = f64::from(smoothing) / cols as f64;
                    let label = |j: usize| f64::from(u8::from(j as i64 == self.labels[i]));
                    let q: Vec<f64> = (0..cols).map(|j| (1.0 - f64::from(smoothing)) * label(j) + even).collect();
                    // A logarithm is as wrong as the distances of the logits from the greatest are large.
                    let reach = 18.0 + (cols as f64).ln() + 1.0;
                    (losses.0[i], losses.1[i]) = (cross_entropy::reference(&x, &q), reach);
                    for (j, d) in cross_entropy::reference_backward(DLOSS.into(), &x, &q).into_iter().enumerate() {
                        dx.0[i * cols + j] = d;
                        dx.1[i * cols + j] = f64::from(DLOSS) * (1.0 + q[j]) * reach;
                    }
                }
            }
        }
        [losses, dx]
    }

    fn check(&self, isa: Isa, got: &[Vec<f32>; 2]) {
        let roundings = 24.0 + self.shape[1] as f64;
        for (number, (got, (want, terms))) in got.iter().zip(self.reference()).enumerate() {
            let allowed = terms.iter().map(|terms| roundings * ROUNDING * terms + f64::from(f32::MIN_POSITIVE));
            assert_close(format!("{}, result {number}", self.what(isa)), 1, got, want, allowed);
        }
    }
}

fn problems() -> Vec<Problem> {
    let mut random = Random::new(6);
    let kinds = KINDS.map(Loss::Pointwise).into_iter().chain([Loss::Classes(0.0), Loss::Classes(0.125)]);
    let shapes = || (1..=33).map(|n| [3, n]).chain((1..=33).map(|n| [n, 2])).chain([[2, 67], [17, 27]]);
    kinds
        .flat_map(|loss| shapes().map(move |shape| (loss, shape)))
        .map(|(l, s)| Problem::new(l, s, &mut random))
        .collect()
}

#[test]
fn losses_in_every_tail() {
    let problems = problems();
    let mut first = First::of(problems.len());
    on_every_tier(&format!("quick: {} losses", problems.len()), |isa| {
        let exec = serial(isa);
        for (number, problem) in problems.iter().enumerate() {
            let got = problem.run(&exec);
            problem.check(isa, &got);
            if is_fused(isa) {
                for (got, want) in got.iter().zip(first.or(number, || got.clone())) {
                    assert_same_bits(problem.what(isa), 1, got, want);
                }
            }
        }
    });
}

#[test]
#[cfg_attr(panic = "abort", ignore = "a panic ends the process")]
fn a_wrong_loss_is_found() {
    let problems = problems();
    let problem = problems.last().unwrap();
    let mut got = problem.run(&serial(Isa::best()));
    problem.check(Isa::best(), &got);
    got[1][5] += 1e-3;
    assert!(std::panic::catch_unwind(|| problem.check(Isa::best(), &got)).is_err());
}
