//! Losses of a batch and their gradients, with hostile logits, labels and weights, against plain loops.
//!
//! The input's bytes choose the loss, a batch and its strides, values, weights of the samples and of the classes, and what is
//! wrong with the call, if anything. Every tier of the CPU runs it, on one thread and split over two. What is checked:
//!
//! - a label outside of the classes is found, wherever it is, and so is a length that does not fit; losses and gradients
//!   are then as they were, bit for bit;
//! - tiers with fused multiply-add give the same bits, and the same as for rows without gaps;
//! - ordinary values have losses and gradients near those in `f64`, by the definition;
//! - whatever the outputs held beforehand does not show, and nothing between their elements is touched.

use super::input::{Bytes, EDGES, Stream, same, serial, split};
use super::tensor::Tensor;
use handgrad_kernels::op::{binary_cross_entropy_with_logits as bce, cross_entropy, huber, l1, mse, smooth_l1};
use handgrad_kernels::view::{Mat, MatMut, View};
use handgrad_kernels::{Exec, Isa, Result};

/// Runs the case that the bytes describe, and panics if anything is wrong with the result.
pub(crate) fn check(data: &[u8]) {
    let case = Case::read(&mut Bytes(data));
    let mut fused: Option<[Vec<f32>; 2]> = None;
    let dense = Case { x: case.x.dense(), dx: case.dx.dense(), target: case.target.dense(), ..case.clone() };
    for isa in Isa::available() {
        for (case, exec) in [(&case, serial()), (&case, split()), (&dense, split())] {
            let exec = exec.clone().with_isa(isa);
            let Some(results) = exec.install(|| case.run(&exec)) else { continue };
            if case.ordinary {
                case.compare(&results, if isa.is_fused() { 64.0 } else { 4096.0 });
            }
            if isa.is_fused() {
                let first = fused.get_or_insert_with(|| results.clone());
                let equal = first.iter().zip(&results).all(|(x, y)| same(x, y));
                assert!(equal, "{isa} on {} threads gives other bits, {case:?}", exec.threads());
            }
        }
    }
}

/// A loss with its choices.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Loss {
    Labels { smoothing: f32, ignored: i64 },
    Probabilities { smoothing: f32 },
    Mse,
    L1,
    Huber { delta: f32 },
    SmoothL1 { beta: f32 },
    Logits,
}

/// What is wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Nothing,
    /// There is a loss more than rows.
    Losses,
    /// There is a weight more than rows.
    Samples,
    /// The gradient has a column more.
    Gradient,
}

const SIZES: [usize; 16] = [3, 1, 2, 4, 5, 7, 8, 9, 15, 16, 17, 27, 33, 64, 65, 130];

/// A call.
#[derive(Clone, Debug)]
struct Case {
    loss: Loss,
    fault: Fault,
    ordinary: bool,
    dloss: f32,
    x: Tensor,
    dx: Tensor,
    target: Tensor,
    labels: Vec<i64>,
    classes: Option<Vec<f32>>,
    samples: Option<Vec<f32>>,
}

impl Case {
    fn read(bytes: &mut Bytes<'_>) -> Self {
        let kind = bytes.next();
        let smoothing = bytes.pick(&[0.0, 0.1, 1.0]);
        let loss = match kind % 7 {
            0 => Loss::Labels { smoothing, ignored: bytes.pick(&[-100, 0, i64::MAX]) },
            1 => Loss::Probabilities { smoothing },
            2 => Loss::Mse,
            3 => Loss::L1,
            4 => Loss::Huber { delta: bytes.pick(&[1.0, 0.25]) },
            5 => Loss::SmoothL1 { beta: bytes.pick(&[1.0, 0.0, 0.25]) },
            _ => Loss::Logits,
        };
        let fault = match bytes.next() {
            250.. => Fault::Losses,
            244..250 => Fault::Samples,
            238..244 => Fault::Gradient,
            _ => Fault::Nothing,
        };
        let ordinary = bytes.next() % 4 < 2;
        let scale = bytes.pick(&[3.0, 30.0, 1e-3, 300.0]);
        let size = |bytes: &mut Bytes<'_>| if bytes.seldom(4) { 0 } else { bytes.pick(&SIZES) };
        let (rows, cols) = (size(bytes), size(bytes));
        let mut stream = Stream(u64::from(bytes.wide()));
        let edges =
            |x: f32, bits: u32| if ordinary || !bits.is_multiple_of(4) { x } else { EDGES[bits as usize / 4 % 16] };
        let shape = [rows, cols];
        let x = Tensor::read(bytes, &shape, true, || edges(scale * stream.unit(), stream.bits()));
        let wider = [rows, cols + usize::from(fault == Fault::Gradient)];
        let dx = Tensor::read(bytes, &wider, false, || f32::NAN);
        let probable = !matches!(loss, Loss::Mse | Loss::L1 | Loss::Huber { .. } | Loss::SmoothL1 { .. });
        let value = |unit: f32| if probable { unit.abs() } else { scale * unit };
        let target = Tensor::read(bytes, &shape, true, || edges(value(stream.unit()), stream.bits()));
        let mut labels: Vec<i64> = (0..rows).map(|_| i64::from(stream.bits()) % cols.max(1) as i64).collect();
        if bytes.seldom(96) && rows > 0 {
            let place = bytes.below(rows);
            labels[place] = bytes.pick(&[-1, cols as i64, i64::MIN, i64::MAX, -100, 0]);
        }
        let mut weights = |bytes: &mut Bytes<'_>, count: usize| {
            let some = bytes.seldom(96);
            some.then(|| (0..count).map(|_| edges((stream.bits() % 5) as f32 / 2.0, stream.bits())).collect())
        };
        let classes = weights(bytes, cols);
        let samples = weights(bytes, rows);
        let samples = if fault == Fault::Samples { Some(vec![1.0; rows + 1]) } else { samples };
        let dloss = edges(bytes.pick(&[1.0, 0.125, 0.0]), bytes.next().into());
        Self { loss, fault, ordinary, dloss, x, dx, target, labels, classes, samples }
    }

    /// Whether it should be refused.
    fn wrong(&self) -> bool {
        let classes = self.x.shape[1] as i64;
        let outside = match self.loss {
            Loss::Labels { ignored, .. } => self.labels.iter().any(|&t| t != ignored && !(0..classes).contains(&t)),
            _ => false,
        };
        outside || self.fault != Fault::Nothing
    }

    /// Losses and gradient; none if the call was refused, as it should be.
    fn run(&self, exec: &Exec) -> Option<[Vec<f32>; 2]> {
        let mut losses = vec![f32::NAN; self.x.shape[0] + usize::from(self.fault == Fault::Losses)];
        let before = losses.clone();
        let mut dx = self.dx.clone();
        let outcome = self.call(exec, &mut losses, &mut dx);
        if self.wrong() {
            outcome.expect_err("the call is wrong");
            let bits = |losses: &[f32]| -> Vec<u32> { losses.iter().map(|x| x.to_bits()).collect() };
            let unchanged = dx.bits() == self.dx.bits() && bits(&losses) == bits(&before);
            assert!(unchanged, "an error wrote something, {self:?}");
            return None;
        }
        outcome.expect("nothing is wrong with this call");
        dx.expect_only_elements_changed(&self.dx);
        Some([losses, dx.elements()])
    }

    fn call(&self, exec: &Exec, losses: &mut [f32], dx: &mut Tensor) -> Result<()> {
        let (x, target) = (Mat::try_from(self.x.view())?, Mat::try_from(self.target.view())?);
        let (dx, dloss, samples) = (MatMut::try_from(dx.view_mut())?, self.dloss, self.samples.as_deref());
        let weight = match &self.classes {
            Some(classes) => Some(View::new(classes, &[classes.len()])?),
            None => None,
        };
        let entropy = |label_smoothing, ignore_index| cross_entropy::Config { weight, ignore_index, label_smoothing };
        match self.loss {
            Loss::Labels { smoothing, ignored } => {
                let config = entropy(smoothing, ignored);
                cross_entropy::forward_backward(exec, losses, dx, dloss, x, &self.labels[..], samples, config)
            }
            Loss::Probabilities { smoothing } => {
                let config = entropy(smoothing, -100);
                cross_entropy::forward_backward(exec, losses, dx, dloss, x, target, samples, config)
            }
            Loss::Mse => mse::forward_backward(exec, losses, dx, dloss, x, target, samples, weight),
            Loss::L1 => l1::forward_backward(exec, losses, dx, dloss, x, target, samples, weight),
            Loss::Huber { delta } => {
                huber::forward_backward(exec, losses, dx, dloss, x, target, samples, delta, weight)
            }
            Loss::SmoothL1 { beta } => smooth_l1::forward_backward(exec, losses, dx, dloss, x, target, samples, beta),
            Loss::Logits => {
                let config = bce::Config { pos_weight: weight, ..bce::Config::default() };
                bce::forward_backward(exec, losses, dx, dloss, x, target, samples, config)
            }
        }
    }

    /// Panics unless losses and gradients are near their definition.
    fn compare(&self, [losses, dx]: &[Vec<f32>; 2], factor: f64) {
        let [rows, cols] = [self.x.shape[0], self.x.shape[1]];
        if cols == 0 {
            // The losses of nothing are 0 or NaN.
            return;
        }
        let wide = |tensor: &Tensor| -> Vec<f64> { tensor.elements().into_iter().map(f64::from).collect() };
        let (x, target) = (wide(&self.x), wide(&self.target));
        let near = |what: &str, got: f32, (want, terms): (f64, f64)| {
            let bound = factor * f64::from(f32::EPSILON) * terms + 1e-36;
            let off = (f64::from(got) - want).abs();
            assert!(off <= bound, "{what} is {got:e}, off {want:e} by {off:e}, more than {bound:e}, {self:?}");
        };
        for row in 0..rows {
            let part = row * cols..(row + 1) * cols;
            let sample = self.samples.as_ref().map_or(1.0, |samples| f64::from(samples[row]));
            let (loss, gradient) = self.row(row, &x[part.clone()], &target[part.clone()]);
            near("the loss of a row", losses[row], (loss.0 * sample, loss.1 * sample));
            let each = sample * f64::from(self.dloss);
            for (&got, (want, terms)) in dx[part].iter().zip(gradient) {
                near("a gradient", got, (want * each, terms * each));
            }
        }
    }

    /// The loss of one row and its gradient, each with the magnitude of what it is made of.
    fn row(&self, row: usize, x: &[f64], target: &[f64]) -> ((f64, f64), Vec<(f64, f64)>) {
        let count = x.len() as f64;
        let weight = |j: usize| self.classes.as_ref().map_or(1.0, |classes| f64::from(classes[j]));
        let (smoothing, label) = match self.loss {
            Loss::Labels { ignored, .. } if self.labels[row] == ignored => {
                return ((0.0, 0.0), vec![(0.0, 0.0); x.len()]);
            }
            Loss::Labels { smoothing, .. } => (smoothing, Some(self.labels[row] as usize)),
            Loss::Probabilities { smoothing } => (smoothing, None),
            _ => return self.pointwise(x, target),
        };
        let smoothing = f64::from(smoothing);
        let share = |(j, &t): (usize, &f64)| {
            let t = label.map_or(t, |label| f64::from(u8::from(label == j)));
            weight(j) * ((1.0 - smoothing) * t + smoothing / count)
        };
        let q: Vec<f64> = target.iter().enumerate().map(share).collect();
        let all: f64 = q.iter().sum();
        let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = x.iter().map(|x| (x - max).exp()).sum();
        let reach = x.iter().map(|x| x.abs()).fold(1.0, f64::max);
        let loss: f64 = x.iter().zip(&q).map(|(x, q)| -q * (x - max - sum.ln())).sum();
        let gradient = |(x, q): (&f64, &f64)| {
            let softmax = (x - max).exp() / sum;
            (softmax * all - q, (softmax * all + q) * (1.0 + reach))
        };
        ((loss, all * (2.0 * reach + count.ln() + 1.0)), x.iter().zip(&q).map(gradient).collect())
    }

    /// [`row`](Self::row) of a loss that is a mean over the elements.
    fn pointwise(&self, x: &[f64], target: &[f64]) -> ((f64, f64), Vec<(f64, f64)>) {
        let mut loss = (0.0, 0.0);
        let mut gradient = Vec::new();
        for (j, (&x, &t)) in x.iter().zip(target).enumerate() {
            let weight = self.classes.as_ref().map_or(1.0, |classes| f64::from(classes[j]));
            let (d, size) = (x - t, x.abs() + t.abs());
            let sign = if d == 0.0 { 0.0 } else { d.signum() };
            let ([value, terms], [slope, slope_terms]) = match self.loss {
                Loss::Mse => ([d * d, size * size], [2.0 * d, 2.0 * size]),
                Loss::Huber { delta } => {
                    let delta = f64::from(delta);
                    let value = if d.abs() <= delta { d * d / 2.0 } else { delta * (d.abs() - delta / 2.0) };
                    ([value, (size + delta) * delta], [d.clamp(-delta, delta), size + delta])
                }
                Loss::L1 | Loss::SmoothL1 { beta: 0.0 } => ([d.abs(), size], [sign, 1.0]),
                Loss::SmoothL1 { beta } => {
                    let beta = f64::from(beta);
                    let value = if d.abs() < beta { d * d / (2.0 * beta) } else { d.abs() - beta / 2.0 };
                    ([value, size + beta], [(d / beta).clamp(-1.0, 1.0), 1.0 + size / beta])
                }
                _ => {
                    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
                    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
                    let value = (1.0 - t) * softplus(x) + weight * t * softplus(-x);
                    let slope = (1.0 - t) * sigmoid(x) - weight * t * sigmoid(-x);
                    let counts = 1.0 + t + weight * t;
                    ([value, counts * (1.0 + x.abs())], [slope, counts * (1.0 + x.abs())])
                }
            };
            // The losses with logits and `SmoothL1` take no weight of this kind.
            let plain = matches!(self.loss, Loss::Logits | Loss::SmoothL1 { .. });
            let share = if plain { 1.0 } else { weight } / target.len() as f64;
            loss = (loss.0 + share * value, loss.1 + share * terms);
            gradient.push((share * slope, share * slope_terms));
        }
        (loss, gradient)
    }
}
