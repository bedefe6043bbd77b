//! The losses of classes: `nll_loss`, and `cross_entropy` with classes and with probabilities.

use super::problem::{Form, Options, Problem, options, without_classes};
use super::{LAID, count, draw, same, slope, taken, tolerance, wide};
use crate::common::compare::assert_close;
use crate::common::random::Random;
use crate::common::tensor::{Layout, Tensor};
use crate::common::tiers::on_every_tier;
use crate::common::{pools, serial, until_two_workers};
use handgrad_kernels::Exec;
use handgrad_kernels::op::cross_entropy::{self, Config, RowTarget, Target};
use handgrad_kernels::op::loss::{self, Reduction};
use handgrad_kernels::op::nll_loss;
use handgrad_kernels::view::{Mat, MatMut, View, ViewMut};

#[test]
fn every_layout_on_every_tier_is_near_the_reference() {
    let shapes: [&[usize]; 14] = [
        &[1],
        &[5],
        &[70],
        &[1, 1],
        &[4, 3],
        &[3, 17],
        &[2, 64],
        &[3, 65],
        &[66, 2],
        &[2, 130],
        &[2, 3, 5],
        &[2, 5, 1],
        &[3, 2, 2, 3],
        &[1, 4, 33],
    ];
    let problems: Vec<Problem> =
        options().into_iter().flat_map(|options| shapes.map(|shape| Problem::new(options, shape))).collect();
    let mut first = vec![None; problems.len()];
    on_every_tier("losses of classes", |isa| {
        for (problem, first) in problems.iter().zip(&mut first) {
            problem.check(&serial(isa), first);
        }
    });
}

#[test]
fn references_have_the_slopes_of_central_differences() {
    let mut random = Random::new(4);
    let (x, q) = (wide(&draw(&mut random, 9, [-3.0, 3.0])), wide(&draw(&mut random, 9, [0.0, 1.0])));
    let changed = |values: &[f64], at: usize, value: f64| {
        let mut values = values.to_vec();
        values[at] = value;
        values
    };
    let dx = cross_entropy::reference_backward(1.5, &x, &q);
    let dt = cross_entropy::reference_backward_target(1.5, &x, &[0.75; 9]);
    for at in 0..9 {
        let want = slope(x[at], |value| 1.5 * cross_entropy::reference(&changed(&x, at, value), &q));
        assert!((dx[at] - want).abs() < 1e-6, "{} is not {want}", dx[at]);
        let want = slope(q[at], |value| 1.5 * cross_entropy::reference(&x, &changed(&q, at, value)));
        assert!((dt[at] - 0.75 * want).abs() < 1e-6, "{} is not {want}", dt[at]);
    }
    let nll = nll_loss::reference_backward(1.5, 9, 4, 0.5);
    let want = slope(x[4], |value| 1.5 * nll_loss::reference(&changed(&x, 4, value), 4, 0.5));
    assert!((nll[4] - want).abs() < 1e-6 && nll.iter().filter(|&&d| d != 0.0).count() == 1);
}

/// A batch as a training step has it.
struct Batch {
    problem: Problem,
    samples: Option<Vec<f32>>,
}

impl Batch {
    fn new(options: Options, [batch, classes]: [usize; 2], sampled: bool) -> Self {
        let problem = Problem::new(options, &[batch, classes]);
        let samples = sampled.then(|| draw(&mut Random::new(9), batch, [0.0, 2.0]));
        Self { problem, samples }
    }

    /// The total of the weights, the losses, and the gradient of `0.625` times their sum.
    fn run(&self, exec: &Exec, layout: Layout) -> Vec<Vec<f32>> {
        let Options { form, weighted, smoothing, ignore, .. } = self.problem.options;
        let Problem { shape, x, weight, target, probabilities, .. } = &self.problem;
        let (x, probabilities) = (Tensor::values(layout, shape, x), Tensor::values(layout, shape, probabilities));
        let mat: Mat<'_> = x.view().try_into().unwrap();
        let weight = View::new(weight, &[weight.len()]).unwrap();
        let (weight, samples) = (weighted.then_some(weight), self.samples.as_deref());
        let (mut losses, mut dx) = (vec![f32::NAN; shape[0]], Tensor::poisoned(layout, shape));
        let out = dx.view_mut().try_into().unwrap();
        let total = if form == Form::Nll {
            let config = nll_loss::Config { weight, ignore_index: ignore };
            nll_loss::forward_backward(exec, &mut losses, out, 0.625, mat, target, samples, config).unwrap();
            nll_loss::weights_total(exec, target, samples, config)
        } else {
            let config = Config { weight, ignore_index: ignore, label_smoothing: smoothing };
            let probabilities = probabilities.view().try_into().unwrap();
            let target = if form == Form::Classes {
                RowTarget::Classes(target)
            } else {
                RowTarget::Probabilities(probabilities)
            };
            cross_entropy::forward_backward(exec, &mut losses, out, 0.625, mat, target, samples, config).unwrap();
            cross_entropy::weights_total(exec, target, samples, config)
        };
        vec![vec![total.unwrap()], losses, taken(&dx, "dx")]
    }

    /// The same by the losses and the gradient of each row.
    fn in_two_passes(&self, exec: &Exec) -> [Vec<f32>; 2] {
        let mut problem = self.problem.clone();
        problem.options.reduction = Reduction::None;
        problem.dloss = self.samples.clone().unwrap_or_else(|| vec![1.0; problem.shape[0]]);
        problem.dloss.iter_mut().for_each(|dloss| *dloss *= 0.625);
        let results = problem.run(exec, LAID[0]);
        let samples = self.samples.clone().unwrap_or_else(|| vec![1.0; problem.shape[0]]);
        [results[0].iter().zip(samples).map(|(loss, sample)| loss * sample).collect(), results[1].clone()]
    }
}

#[test]
fn one_pass_equals_two() {
    on_every_tier("one pass", |isa| {
        let exec = serial(isa);
        for options in options().into_iter().filter(|options| options.reduction == Reduction::Mean) {
            for shape in [[1, 1], [5, 3], [32, 27], [70, 10], [3, 64], [9, 100], [130, 65], [2, 9000]] {
                for sampled in [false, true] {
                    let batch = Batch::new(options, shape, sampled);
                    let what = format!("{isa}: {options:?} {shape:?} {sampled}");
                    let got = batch.run(&exec, Layout::Dense);
                    let want = batch.in_two_passes(&exec);
                    // Without sample weights the bits are the same; weights are multiplied in another order.
                    if !sampled {
                        same(&what, &got[1..], &want);
                    }
                    for (got, want) in got[1..].iter().zip(&want) {
                        let allowed = want.iter().map(|want| f64::from(want.abs()) * 4e-6 + 1e-6);
                        assert_close(&what, 1, got, wide(want), allowed);
                    }
                    for layout in [Layout::Transposed, Layout::Reversed, Layout::Padded, Layout::Stepped] {
                        same(&format!("{what} {layout:?}"), &batch.run(&exec, layout), &got);
                    }
                    check_total(&what, &batch, got[0][0]);
                }
            }
        }
    });
}

fn check_total(what: &str, batch: &Batch, total: f32) {
    let Problem { options, weight, target, .. } = &batch.problem;
    let sample = |at: usize| batch.samples.as_ref().map_or(1.0, |samples| f64::from(samples[at]));
    let of = |(at, &target): (usize, &i64)| match options.form {
        Form::Probabilities => sample(at),
        _ if target == options.ignore => 0.0,
        _ => sample(at) * if options.weighted { f64::from(weight[target as usize]) } else { 1.0 },
    };
    let want: f64 = target.iter().enumerate().map(of).sum();
    assert!((f64::from(total) - want).abs() <= tolerance(target.len(), want), "{what}: {total} is not {want}");
}

#[test]
fn threads_and_rows_alone_give_the_same_bits() {
    for options in options().into_iter().filter(|options| options.reduction != Reduction::Sum) {
        let problems = [&[130, 40][..], &[3, 7, 50]].map(|shape| Problem::new(options, shape));
        let batch = Batch::new(options, [150, 70], true);
        let run = |exec: &Exec| {
            let mut all: Vec<Vec<f32>> = problems.iter().flat_map(|problem| problem.run(exec, LAID[0])).collect();
            all.extend(batch.run(exec, Layout::Dense));
            all
        };
        let serial = Exec::serial().unwrap();
        let want = run(&serial);
        for pool in pools() {
            until_two_workers(&pool, || same(&format!("{options:?}"), &run(&pool), &want));
        }
        let all = batch.run(&serial, Layout::Dense);
        for row in [0, 63, 64, 149] {
            let part = |values: &[f32]| values[row * 70..(row + 1) * 70].to_vec();
            let Problem { x, weight, target, probabilities, dloss, .. } = batch.problem.clone();
            let (x, probabilities) = (part(&x), part(&probabilities));
            let problem =
                Problem { options, shape: vec![1, 70], x, weight, target: vec![target[row]], probabilities, dloss };
            let samples = batch.samples.as_ref().map(|samples| vec![samples[row]]);
            let alone = Batch { problem, samples }.run(&serial, Layout::Dense);
            same(&format!("{options:?} row {row}"), &alone[1..], &[vec![all[1][row]], part(&all[2])]);
        }
    }
}

#[test]
fn long_reductions_are_the_same_on_threads() {
    let options =
        Options { form: Form::Classes, weighted: true, smoothing: 0.0, ignore: 0, reduction: Reduction::Mean };
    let problem = Problem::new(options, &[70_000, 3]);
    let want = problem.run(&Exec::serial().unwrap(), LAID[0]);
    for pool in pools() {
        until_two_workers(&pool, || same("mean", &problem.run(&pool, LAID[0]), &want));
    }
    let reference = problem.reference();
    for (got, (want, terms)) in want.iter().zip(reference) {
        assert_close("mean", 1, got, want, terms.into_iter().map(|terms| tolerance(70_000, terms)));
    }
}

/// A row of logits with its special values at the places named, the rest being 0.5.
fn special_row(n: usize, special: &[(usize, f32)]) -> Vec<f32> {
    let mut row = vec![0.5; n];
    for &(at, value) in special {
        row[at] = value;
    }
    row
}

#[test]
fn special_logits_in_every_lane_and_their_neighbours() {
    const INF: f32 = f32::INFINITY;
    on_every_tier("special logits", |isa| {
        let exec = serial(isa);
        for n in [3, 16, 17, 27, 64, 65, 130] {
            for at in [0, n / 2, n - 1] {
                let label = (at + 1) % n;
                let ln = ((n - 1) as f32).ln();
                // The special logit, the loss of another label, and whether the gradient of the row is NaN.
                for (value, loss, nan) in
                    [(-INF, ln, false), (f32::NAN, f32::NAN, true), (INF, f32::NAN, true), (-3e38, ln, false)]
                {
                    let mut x = vec![0.5; n];
                    x.extend(special_row(n, &[(at, value)]));
                    x.extend(vec![-1e-45; n]);
                    let (mut losses, mut dx) = ([f32::NAN; 3], vec![f32::NAN; 3 * n]);
                    let (mat, out) = (Mat::new(&x, 3, n).unwrap(), MatMut::new(&mut dx, 3, n).unwrap());
                    let labels = [label as i64; 3];
                    let config = Config::default();
                    cross_entropy::forward_backward(&exec, &mut losses, out, 1.0, mat, &labels[..], None, config)
                        .unwrap();
                    let near =
                        |got: f32, want: f32| (got - want).abs() <= 2e-6 * want.abs() || got.is_nan() && want.is_nan();
                    let what = format!("{isa}: {value} at {at} of {n}");
                    assert!(near(losses[1], loss), "{what}: {} is not {loss}", losses[1]);
                    assert!(near(losses[0], (n as f32).ln()) && near(losses[2], losses[0]), "{what}: {losses:?}");
                    assert_eq!(dx[n..2 * n].iter().all(|d| d.is_nan()), nan, "{what}: {:?}", &dx[n..2 * n]);
                    assert!(dx[..n].iter().chain(&dx[2 * n..]).all(|d| d.is_finite()), "{what}");
                    if !nan {
                        assert_eq!(dx[n + at], 0.0, "{what}: the gradient where there is no probability");
                        // A label without probability.
                        let labels = [at as i64; 3];
                        let out = MatMut::new(&mut dx, 3, n).unwrap();
                        cross_entropy::forward_backward(&exec, &mut losses, out, 1.0, mat, &labels[..], None, config)
                            .unwrap();
                        assert!(losses[1] > 1e38 && near(dx[n + at], -1.0), "{what}: {}", losses[1]);
                    }
                }
            }
        }
    });
}

#[test]
fn what_is_ignored_has_no_loss_and_no_gradient() {
    on_every_tier("ignored", |isa| {
        let exec = serial(isa);
        for smoothing in [0.0, 0.25] {
            let config = Config { label_smoothing: smoothing, ..Config::default() };
            let x = [1.0, 2.0, 3.0, f32::NAN, 1.0, 1.0, 0.5, 1.5, 2.5];
            let labels = [-100, -100, 2];
            let (mut losses, mut dx) = ([f32::NAN; 3], [7.0; 9]);
            let (mat, out) = (Mat::new(&x, 3, 3).unwrap(), MatMut::new(&mut dx, 3, 3).unwrap());
            cross_entropy::forward_backward(&exec, &mut losses, out, 0.5, mat, &labels[..], None, config).unwrap();
            assert_eq!(losses[..2], [0.0; 2], "{isa}: even of NaN");
            assert_eq!(dx[..3], [0.0; 3], "{isa}");
            assert!(losses[2] > 0.0 && dx[8] < 0.0);
            let total = cross_entropy::weights_total(&exec, &labels[..], None, config).unwrap();
            assert_eq!(total, 1.0);
            // All of it.
            let (x, none) = (View::new(&x[..6], &[2, 3]).unwrap(), View::new(&[-100, -100], &[2]).unwrap());
            for (reduction, want) in [(Reduction::Sum, 0.0), (Reduction::Mean, f32::NAN)] {
                let (mut loss, mut scratch) = (7.0, [7.0; 2]);
                let y = ViewMut::scalar(&mut loss);
                cross_entropy::forward(&exec, y, x, none, config, reduction, &mut scratch).unwrap();
                assert!(loss == want || loss.is_nan() && want.is_nan(), "{isa}: {loss}");
                let config = nll_loss::Config::default();
                nll_loss::forward(&exec, ViewMut::scalar(&mut loss), x, none, config, reduction, &mut scratch).unwrap();
                assert!(loss == want || loss.is_nan() && want.is_nan(), "{isa}: {loss}");
            }
        }
    });
}

#[test]
fn losses_of_nothing() {
    let exec = Exec::serial().unwrap();
    for shape in [&[0, 3][..], &[2, 3, 0], &[0]] {
        let x = View::new(&[], shape).unwrap();
        let rest = without_classes(shape);
        // Without classes a target can only be ignored.
        let ignored = vec![-100; count(&rest)];
        let target = View::new(&ignored, &rest).unwrap();
        for (reduction, want) in [(Reduction::Sum, 0.0), (Reduction::Mean, f32::NAN)] {
            for target in [Target::Classes(target), Target::Probabilities(x)] {
                let (mut loss, mut scratch) = (7.0, [7.0]);
                let y = ViewMut::scalar(&mut loss);
                let config = Config::default();
                cross_entropy::forward(&exec, y, x, target, config, reduction, &mut scratch).unwrap();
                assert!(loss == want || loss.is_nan() && want.is_nan(), "{shape:?}: {loss}");
                let dx = ViewMut::new(&mut [], shape).unwrap();
                cross_entropy::backward(&exec, dx, View::scalar(&1.0), x, target, config, reduction).unwrap();
            }
            let (mut loss, mut scratch) = (7.0, [7.0]);
            let config = nll_loss::Config::default();
            nll_loss::forward(&exec, ViewMut::scalar(&mut loss), x, target, config, reduction, &mut scratch).unwrap();
            assert!(loss == want || loss.is_nan() && want.is_nan(), "{shape:?}: {loss}");
        }
    }
}

#[test]
fn a_label_is_a_probability_of_one() {
    let exec = Exec::serial().unwrap();
    for smoothing in [0.0, 0.1] {
        let options =
            Options { form: Form::Classes, weighted: false, smoothing, ignore: -100, reduction: Reduction::None };
        let mut problem = Problem::new(options, &[6, 20]);
        problem.target.iter_mut().for_each(|target| *target = (*target).max(0));
        let labels = problem.run(&exec, LAID[0]);
        problem.options.form = Form::Probabilities;
        problem.probabilities = vec![0.0; 120];
        problem
            .target
            .iter()
            .enumerate()
            .for_each(|(row, &class)| problem.probabilities[row * 20 + class as usize] = 1.0);
        let onehot = problem.run(&exec, LAID[0]);
        for (a, b) in labels.iter().zip(&onehot) {
            assert_close("one-hot", 20, a, wide(b), b.iter().map(|b| 4e-6 * f64::from(b.abs()) + 1e-6));
        }
    }
    assert_eq!(loss::weights_total(&exec, 2, None), 2.0);
}
