//! Calls of the losses of classes, and what they must give.

use super::{LAID, Laid, REDUCTIONS, count, draw, numbered, same, taken, tolerance};
use crate::common::compare::assert_close;
use crate::common::random::Random;
use crate::common::tensor::Tensor;
use crate::common::tiers::is_fused;
use handgrad_kernels::Exec;
use handgrad_kernels::op::cross_entropy::{self, Config, Target};
use handgrad_kernels::op::loss::Reduction;
use handgrad_kernels::op::nll_loss;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    Nll,
    Classes,
    Probabilities,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) form: Form,
    pub(super) weighted: bool,
    pub(super) smoothing: f32,
    pub(super) ignore: i64,
    pub(super) reduction: Reduction,
}

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) options: Options,
    pub(super) shape: Vec<usize>,
    pub(super) x: Vec<f32>,
    pub(super) weight: Vec<f32>,
    pub(super) target: Vec<i64>,
    pub(super) probabilities: Vec<f32>,
    pub(super) dloss: Vec<f32>,
}

pub(super) fn class_axis(shape: &[usize]) -> usize {
    usize::from(shape.len() > 1)
}

pub(super) fn without_classes(shape: &[usize]) -> Vec<usize> {
    let mut rest = shape.to_vec();
    rest.remove(class_axis(shape));
    rest
}

impl Problem {
    pub(super) fn new(options: Options, shape: &[usize]) -> Self {
        let mut random = Random::new(count(shape) as u64 + 1);
        let (classes, losses) = (shape[class_axis(shape)], count(&without_classes(shape)));
        let target = (0..losses).map(|_| match random.below(7) {
            0 => options.ignore,
            _ => random.below(classes) as i64,
        });
        let target = target.collect();
        Self {
            options,
            shape: shape.to_vec(),
            x: draw(&mut random, count(shape), [-4.0, 4.0]),
            weight: draw(&mut random, classes, [0.25, 2.0]),
            target,
            probabilities: draw(&mut random, count(shape), [0.0, 0.5]),
            dloss: draw(&mut random, if options.reduction == Reduction::None { losses } else { 1 }, [-2.0, 2.0]),
        }
    }

    pub(super) fn losses(&self) -> Vec<usize> {
        without_classes(&self.shape)
    }

    fn loss_shape(&self) -> Vec<usize> {
        if self.options.reduction == Reduction::None { self.losses() } else { Vec::new() }
    }

    /// The loss, the gradient of `x` and, of probabilities, that of the target.
    pub(super) fn run(&self, exec: &Exec, laid: Laid) -> Vec<Vec<f32>> {
        let Options { form, weighted, smoothing, ignore, reduction } = self.options;
        let x = Tensor::values(laid.inp, &self.shape, &self.x);
        let target = Tensor::new(laid.inp, &self.losses(), &self.target, i64::MIN);
        let probabilities = Tensor::values(laid.inp, &self.shape, &self.probabilities);
        let weight = Tensor::values(laid.inp, &self.weight_shape(), &self.weight);
        let weight = weighted.then(|| weight.view());
        let dloss = Tensor::values(laid.inp, &self.loss_shape(), &self.dloss);
        let mut loss = Tensor::poisoned(laid.out, &self.loss_shape());
        let mut dx = Tensor::poisoned(laid.out, &self.shape);
        let mut dt = Tensor::poisoned(laid.out, &self.shape);
        let mut scratch = vec![f32::NAN; cross_entropy::scratch(&self.shape, reduction)];
        let (y, d) = (loss.view_mut(), dx.view_mut());
        if form == Form::Nll {
            let config = nll_loss::Config { weight, ignore_index: ignore };
            nll_loss::forward(exec, y, x.view(), target.view(), config, reduction, &mut scratch).unwrap();
            nll_loss::backward(exec, d, dloss.view(), target.view(), config, reduction).unwrap();
        } else {
            let config = Config { weight, ignore_index: ignore, label_smoothing: smoothing };
            let target: Target<'_> =
                if form == Form::Classes { target.view().into() } else { probabilities.view().into() };
            cross_entropy::forward(exec, y, x.view(), target, config, reduction, &mut scratch).unwrap();
            cross_entropy::backward(exec, d, dloss.view(), x.view(), target, config, reduction).unwrap();
            let (dt, dloss) = (dt.view_mut(), dloss.view());
            cross_entropy::backward_target(exec, dt, dloss, x.view(), config, reduction).unwrap();
        }
        let results = if form == Form::Probabilities { vec![loss, dx, dt] } else { vec![loss, dx] };
        results.iter().map(|tensor| taken(tensor, &format!("{:?} {laid:?}", self.options))).collect()
    }

    fn weight_shape(&self) -> [usize; 1] {
        [self.weight.len()]
    }

    /// The logits of one loss, what each class counts for, and the derivative of that by a probability; `None` if the
    /// target is ignored.
    fn row(&self, number: usize, places: &[usize]) -> Option<(Vec<f64>, Vec<f64>, Vec<f64>)> {
        let Options { form, weighted, smoothing, ignore, .. } = self.options;
        let x = places.iter().map(|&place| f64::from(self.x[place])).collect();
        let weight = |class: usize| if weighted { f64::from(self.weight[class]) } else { 1.0 };
        let (keep, even) = (1.0 - f64::from(smoothing), f64::from(smoothing) / places.len() as f64);
        if form != Form::Probabilities && self.target[number] == ignore {
            return None;
        }
        let share = |class: usize| match form {
            Form::Probabilities => f64::from(self.probabilities[places[class]]),
            _ => f64::from(u8::from(class as i64 == self.target[number])),
        };
        let q = (0..places.len()).map(|class| weight(class) * (keep * share(class) + even)).collect();
        Some((x, q, (0..places.len()).map(|class| keep * weight(class)).collect()))
    }

    /// The places of the logits of each loss.
    fn rows(&self) -> Vec<Vec<usize>> {
        let mut rows = vec![Vec::new(); count(&self.losses())];
        for (number, index) in numbered(&self.shape) {
            let shape = self.losses();
            let mut rest = index.clone();
            rest.remove(class_axis(&self.shape));
            let loss = rest.iter().zip(&shape).fold(0, |loss, (at, size)| loss * size + at);
            rows[loss].push(number);
        }
        rows
    }

    /// What the mean divides by.
    fn total(&self) -> f64 {
        let Options { form, weighted, ignore, .. } = self.options;
        let kept = self.target.iter().filter(|&&target| target != ignore);
        match form {
            Form::Probabilities => self.target.len() as f64,
            _ if weighted => kept.map(|&target| f64::from(self.weight[target as usize])).sum(),
            _ => kept.count() as f64,
        }
    }

    /// The results in f64, and the magnitudes of their terms.
    pub(super) fn reference(&self) -> Vec<(Vec<f64>, Vec<f64>)> {
        let Options { form, reduction, .. } = self.options;
        let divisor = if reduction == Reduction::Mean { self.total() } else { 1.0 };
        let zeros = |n: usize| (vec![0.0; n], vec![0.0; n]);
        let mut results = vec![zeros(count(&self.loss_shape())), zeros(self.x.len())];
        results.extend((form == Form::Probabilities).then(|| zeros(self.x.len())));
        for (number, places) in self.rows().iter().enumerate() {
            let at = if reduction == Reduction::None { number } else { 0 };
            let Some((x, q, rate)) = self.row(number, places) else { continue };
            let dloss = f64::from(self.dloss[at]) / divisor;
            let (all, size) = (q.iter().sum::<f64>(), x.iter().fold(0.0, |size: f64, x| size.max(x.abs())));
            if form == Form::Nll {
                let class = self.target[number] as usize;
                let loss = nll_loss::reference(&x, class, q[class]);
                results[0].0[at] += loss / divisor;
                results[0].1[at] += loss.abs() / divisor;
                for (place, d) in places.iter().zip(nll_loss::reference_backward(dloss, x.len(), class, q[class])) {
                    (results[1].0[*place], results[1].1[*place]) = (d, d.abs());
                }
                continue;
            }
            // A logarithm is as wrong as the distances of the logits from the greatest are large.
            let reach = 2.0 * size + (x.len() as f64).ln() + 1.0;
            results[0].0[at] += cross_entropy::reference(&x, &q) / divisor;
            results[0].1[at] += all * reach / divisor;
            let dx = cross_entropy::reference_backward(dloss, &x, &q);
            let dt = cross_entropy::reference_backward_target(dloss, &x, &rate);
            for (class, &place) in places.iter().enumerate() {
                (results[1].0[place], results[1].1[place]) = (dx[class], dloss.abs() * (all + q[class]) * reach);
                if let Some((dts, terms)) = results.get_mut(2) {
                    (dts[place], terms[place]) = (dt[class], dloss.abs() * rate[class] * reach);
                }
            }
        }
        if reduction == Reduction::Mean && divisor == 0.0 {
            results[0].0[0] = f64::NAN;
        }
        results
    }

    /// Compares what every layout gives on a tier with the reference and with the bits of other tiers.
    pub(super) fn check(&self, exec: &Exec, first: &mut Option<Vec<Vec<f32>>>) {
        let what = format!("{}: {:?} {:?}", exec.isa(), self.options, self.shape);
        let plain = self.run(exec, LAID[0]);
        for (number, (got, (want, terms))) in plain.iter().zip(self.reference()).enumerate() {
            let allowed = terms.into_iter().map(|terms| tolerance(self.shape.iter().sum(), terms));
            assert_close(format!("{what}, result {number}"), 1, got, want, allowed);
        }
        for laid in &LAID[1..] {
            same(&format!("{what}: {laid:?}"), &self.run(exec, *laid), &plain);
        }
        if is_fused(exec.isa()) {
            same(&what, &plain, first.get_or_insert_with(|| plain.clone()));
        }
    }
}

/// Every form with every option.
pub(super) fn options() -> Vec<Options> {
    let mut all = Vec::new();
    for form in [Form::Nll, Form::Classes, Form::Probabilities] {
        for weighted in [false, true] {
            for reduction in REDUCTIONS {
                for (smoothing, ignore) in [(0.0, -100), (0.0, 0), (0.125, -1), (1.0, 0)] {
                    if form == Form::Nll && smoothing != 0.0 || form == Form::Probabilities && ignore == 0 {
                        continue;
                    }
                    all.push(Options { form, weighted, smoothing, ignore, reduction });
                }
            }
        }
    }
    all
}
