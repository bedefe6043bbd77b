//! A norm with its operands, run by the kernels and by definition in f64.
//!
//! Every norm here is one thing: elements fall into groups that are normalised by themselves (rows, or channels), and
//! each element has a parameter (that of its column, or of its channel).
#![allow(clippy::large_types_passed_by_value, reason = "operands of a test are copied freely")]

use super::common::compare::{ROUNDING, assert_close, assert_same_bits, gamma};
use super::common::random::Random;
use super::common::tensor::{Layout, Tensor, indices};
use super::common::tiers::is_fused;
use handgrad_kernels::gemm::Accum;
use handgrad_kernels::op::batch_norm_nd::{self, Running, Variance};
use handgrad_kernels::op::layer_norm::{self, Grads, Params, Saved, Statistics};
use handgrad_kernels::op::rms_norm;
use handgrad_kernels::{Exec, Isa};

/// Which norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Norm {
    /// Over the last axes, so many of them.
    Layer(usize),
    /// Over the last axes, so many of them.
    Rms(usize),
    /// With the statistics of the batch.
    Batch(Variance),
    /// With given statistics.
    Given,
}

/// A norm with its operands, all in logical order.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) norm: Norm,
    pub(crate) shape: Vec<usize>,
    pub(crate) x: Vec<f32>,
    pub(crate) dy: Vec<f32>,
    pub(crate) weight: Option<Vec<f32>>,
    pub(crate) bias: Option<Vec<f32>>,
    pub(crate) eps: f32,
    /// The running mean and variance, or the given ones.
    pub(crate) running: [Vec<f32>; 2],
    pub(crate) momentum: f32,
    /// What the gradients of the parameters are added to.
    pub(crate) old: [Vec<f32>; 2],
}

/// A result and its name.
pub(crate) type Named = (&'static str, Vec<f32>);

impl Problem {
    /// Untidy values, in groups of different offsets and widths.
    pub(crate) fn draw(norm: Norm, shape: &[usize], with: [bool; 2], random: &mut Random) -> Self {
        let mut problem = Self {
            norm,
            shape: shape.to_vec(),
            x: Vec::new(),
            dy: Vec::new(),
            weight: None,
            bias: None,
            eps: random.pick(&[1e-5, 0.5]),
            running: [Vec::new(), Vec::new()],
            momentum: 0.3,
            old: [Vec::new(), Vec::new()],
        };
        let (groups, params, len) = (problem.groups(), problem.params(), shape.iter().product());
        let offsets: Vec<(f32, f32)> =
            (0..groups).map(|_| (random.unit() * 3.0, random.pick(&[1.0, 0.05, 20.0]))).collect();
        let mut draw = |len: usize| -> Vec<f32> { (0..len).map(|_| random.unit()).collect() };
        let place = |index: &[usize]| offsets[problem.group(index)];
        let x = indices(shape).zip(draw(len)).map(|(index, x)| place(&index).0 + place(&index).1 * x).collect();
        let weight = with[0].then(|| draw(params).iter().map(|x| 1.0 + x / 2.0).collect());
        let (bias, dy, old) = (with[1].then(|| draw(params)), draw(len), [draw(params), draw(params)]);
        let running = [draw(groups), draw(groups).iter().map(|x| 1.5 + x).collect()];
        problem = Self { x, dy, weight, bias, running, old, ..problem };
        if norm.is_rms() {
            problem.bias = None;
        }
        problem
    }

    pub(crate) fn outer(&self) -> usize {
        match self.norm {
            Norm::Layer(axes) | Norm::Rms(axes) => self.shape.len() - axes,
            Norm::Batch(_) | Norm::Given => 0,
        }
    }

    fn is_batch(&self) -> bool {
        matches!(self.norm, Norm::Batch(_) | Norm::Given)
    }

    /// The shape of the statistics.
    pub(crate) fn group_shape(&self) -> &[usize] {
        if self.is_batch() { &self.shape[1..2] } else { &self.shape[..self.outer()] }
    }

    /// The shape of the parameters.
    pub(crate) fn param_shape(&self) -> &[usize] {
        if self.is_batch() { &self.shape[1..2] } else { &self.shape[self.outer()..] }
    }

    pub(crate) fn groups(&self) -> usize {
        self.group_shape().iter().product()
    }

    pub(crate) fn params(&self) -> usize {
        self.param_shape().iter().product()
    }

    fn number(shape: &[usize], index: &[usize]) -> usize {
        index.iter().zip(shape).fold(0, |number, (&i, &size)| number * size + i)
    }

    /// The group of an element.
    pub(crate) fn group(&self, index: &[usize]) -> usize {
        if self.is_batch() { index[1] } else { Self::number(self.group_shape(), index) }
    }

    /// The parameter of an element.
    fn param(&self, index: &[usize]) -> usize {
        if self.is_batch() { index[1] } else { Self::number(self.param_shape(), &index[self.outer()..]) }
    }

    pub(crate) fn what(&self) -> String {
        let with = [self.weight.is_some(), self.bias.is_some()];
        format!("{:?} of {:?}, weight and bias {with:?}", self.norm, self.shape)
    }

    /// The kernels' results, with operands of one layout and results of another.
    pub(crate) fn run(&self, exec: &Exec, inp: Layout, out: Layout) -> Vec<Named> {
        let x = Tensor::values(inp, &self.shape, &self.x);
        let dy = Tensor::values(inp, &self.shape, &self.dy);
        let param = |values: &Option<Vec<f32>>| values.as_ref().map(|v| Tensor::values(inp, self.param_shape(), v));
        let (weight, bias) = (param(&self.weight), param(&self.bias));
        let params = Params { weight: weight.as_ref().map(Tensor::view), bias: bias.as_ref().map(Tensor::view) };
        let [mut y, mut dx] = [(); 2].map(|()| Tensor::poisoned(out, &self.shape));
        let [mut mean, mut inv_std] = [(); 2].map(|()| Tensor::poisoned(out, self.group_shape()));
        // A layout that repeats elements is none to write to; running statistics are written.
        let mut running = self.running.each_ref().map(|v| Tensor::values(out, self.group_shape(), &v[..self.groups()]));
        self.forward(exec, [&mut y, &mut mean, &mut inv_std], &mut running, &x, params);
        let mut results = Vec::new();
        for accum in [Accum::Replace, Accum::Add] {
            let mut grads = self.old.each_ref().map(|old| match accum {
                Accum::Replace => Tensor::poisoned(out, self.param_shape()),
                Accum::Add => Tensor::values(out, self.param_shape(), old),
            });
            self.backward(exec, [&dy, &x], &mut dx, &mut grads, [&mean, &inv_std], &running, params.weight, accum);
            let names = [["dweight", "dbias"], ["dweight added", "dbias added"]][usize::from(accum == Accum::Add)];
            let wanted = if self.norm.is_rms() { 1 } else { 2 };
            for (name, grad) in names.into_iter().zip(grads).take(wanted) {
                grad.assert_intact(format_args!("{name}, {}", self.what()));
                results.push((name, grad.to_vec()));
            }
        }
        let written = [("y", y), ("dx", dx), ("mean", mean), ("inv_std", inv_std)];
        let [running_mean, running_var] = running;
        for (name, tensor) in written.into_iter().chain([("running mean", running_mean), ("running var", running_var)])
        {
            tensor.assert_intact(format_args!("{name}, {}", self.what()));
            let wanted = match name {
                "mean" => !self.norm.is_rms() && self.norm != Norm::Given,
                "inv_std" => self.norm != Norm::Given,
                "running mean" | "running var" => matches!(self.norm, Norm::Batch(_)),
                _ => true,
            };
            if wanted {
                results.push((name, tensor.to_vec()));
            }
        }
        results
    }

    fn forward(
        &self,
        exec: &Exec,
        [y, mean, inv_std]: [&mut Tensor; 3],
        running: &mut [Tensor; 2],
        x: &Tensor,
        params: Params<handgrad_kernels::view::View<'_>>,
    ) {
        let eps = self.eps;
        let statistics = Statistics { mean: mean.view_mut(), inv_std: inv_std.view_mut() };
        let [running_mean, running_var] = running;
        match self.norm {
            Norm::Layer(_) => {
                let config = layer_norm::Config { eps };
                let shape = self.param_shape();
                layer_norm::forward(exec, y.view_mut(), statistics, x.view(), shape, params, config)
            }
            Norm::Rms(_) => {
                let (config, shape) = (rms_norm::Config { eps }, self.param_shape());
                rms_norm::forward(exec, y.view_mut(), statistics.inv_std, x.view(), shape, params.weight, config)
            }
            Norm::Batch(variance) => {
                let config = batch_norm_nd::Config { eps, variance };
                let (mean, var, momentum) = (running_mean.view_mut(), running_var.view_mut(), self.momentum);
                let running = Some(Running { mean, var, momentum });
                batch_norm_nd::forward(exec, y.view_mut(), statistics, running, x.view(), params, config)
            }
            Norm::Given => {
                let (mean, var) = (running_mean.view(), running_var.view());
                batch_norm_nd::forward_with(exec, y.view_mut(), x.view(), mean, var, params, eps)
            }
        }
        .unwrap();
    }

    fn backward(
        &self,
        exec: &Exec,
        [dy, x]: [&Tensor; 2],
        dx: &mut Tensor,
        [dweight, dbias]: &mut [Tensor; 2],
        [mean, inv_std]: [&Tensor; 2],
        [running_mean, running_var]: &[Tensor; 2],
        weight: Option<handgrad_kernels::view::View<'_>>,
        accum: Accum,
    ) {
        let (dy, x, shape) = (dy.view(), x.view(), self.param_shape());
        let saved = Saved { mean: mean.view(), inv_std: inv_std.view() };
        let (dx, dweight, dbias) = (dx.view_mut(), Some(dweight.view_mut()), Some(dbias.view_mut()));
        match self.norm {
            Norm::Layer(_) => {
                let mut scratch = vec![f32::NAN; layer_norm::backward_scratch(&self.shape, shape)];
                let grads = Grads { dx, dweight, dbias };
                layer_norm::backward(exec, grads, accum, dy, x, saved, shape, weight, &mut scratch)
            }
            Norm::Rms(_) => {
                let mut scratch = vec![f32::NAN; rms_norm::backward_scratch(&self.shape, shape)];
                let grads = rms_norm::Grads { dx, dweight };
                rms_norm::backward(exec, grads, accum, dy, x, saved.inv_std, shape, weight, &mut scratch)
            }
            Norm::Batch(variance) => {
                let config = batch_norm_nd::Config { eps: self.eps, variance };
                batch_norm_nd::backward(exec, Grads { dx, dweight, dbias }, accum, dy, x, saved, weight, config)
            }
            Norm::Given => {
                let (mean, var, grads) = (running_mean.view(), running_var.view(), Grads { dx, dweight, dbias });
                batch_norm_nd::backward_with(exec, grads, accum, dy, x, mean, var, weight, self.eps)
            }
        }
        .unwrap();
    }

    /// The order of sums in roundings: along a group, and over the elements of a parameter.
    fn roundings(&self) -> [usize; 2] {
        let n = self.x.len() / self.groups().max(1);
        let each = self.x.len() / self.params().max(1);
        let run = |len: usize| len.div_ceil(64) + 6 + len.div_ceil(65_536);
        match self.norm {
            Norm::Layer(_) | Norm::Rms(_) => [run(n), each.min(256) + each.div_ceil(256)],
            Norm::Batch(_) | Norm::Given => {
                let samples = self.shape[0];
                let positions = n / samples.max(1);
                // A block's sums and the joining of blocks, of runs or of single elements.
                [run(positions) + 64 + 4 * samples.div_ceil(64), run(positions) + 256 + samples.div_ceil(256)]
            }
        }
    }

    /// What each result should be, and how far off it may be.
    pub(crate) fn reference(&self) -> Vec<(&'static str, Bounds)> {
        let [along, across] = self.roundings();
        let (len, groups, params) = (self.x.len(), self.groups(), self.params());
        let wide = |values: &[f32]| -> Vec<f64> { values.iter().map(|&x| x.into()).collect() };
        let (x, dy) = (wide(&self.x), wide(&self.dy));
        let of = |values: &Option<Vec<f32>>, i: usize, missing: f64| values.as_ref().map_or(missing, |v| v[i].into());
        let mut members: Vec<Vec<(usize, usize)>> = vec![Vec::new(); groups];
        for (place, index) in indices(&self.shape).enumerate() {
            members[self.group(&index)].push((place, self.param(&index)));
        }
        let mut y = Bounds::new(len);
        let mut dx = Bounds::new(len);
        let [mut mean, mut inv_std, mut running_mean, mut running_var] = [(); 4].map(|()| Bounds::new(groups));
        // The sums of each parameter's gradient: value, size of the terms, error of the terms.
        let mut sums = vec![[[0.0; 3]; 2]; params];
        for (k, group) in members.iter().enumerate() {
            let values: Vec<f64> = group.iter().map(|&(place, _)| x[place]).collect();
            let given = self.running.each_ref().map(|v| f64::from(v[k]));
            let g = Group::of(self, &values, given, along);
            mean.set(k, (g.mean, g.mean_error));
            inv_std.set(k, (g.inv_std, g.inv_std * g.inv_std_error));
            let (n, share) = (values.len() as f64, f64::from(self.momentum));
            let kept = (1.0 - share) * given[0];
            let update = |old: f64, new: f64, error: f64| {
                let size = ((1.0 - share) * old).abs() + (share * new).abs();
                ((1.0 - share) * old + share * new, share * error + 4.0 * ROUNDING * size)
            };
            running_mean.set(k, update(given[0], g.mean, g.mean_error + ROUNDING * kept.abs()));
            let [unbiased, unbiased_error] = [g.squares, g.squares_error].map(|squares| squares / (n - 1.0).max(1.0));
            running_var.set(k, update(given[1], unbiased, unbiased_error));
            let weights: Vec<f64> = group.iter().map(|&(_, param)| of(&self.weight, param, 1.0)).collect();
            let pull: Vec<f64> = group.iter().zip(&weights).map(|(&(place, _), weight)| dy[place] * weight).collect();
            let xhat: Vec<f64> = values.iter().map(|&x| g.xhat(x)).collect();
            let error: Vec<f64> = values.iter().map(|&x| g.xhat_error(x)).collect();
            let size: f64 = pull.iter().map(|g| g.abs()).sum();
            let dot: f64 = pull.iter().zip(&xhat).map(|(g, xhat)| g * xhat).sum();
            let dot_size: f64 = pull.iter().zip(&xhat).map(|(g, xhat)| (g * xhat).abs()).sum();
            let dot_error = gamma(across + along + 4) * dot_size
                + pull.iter().zip(&error).map(|(g, error)| g.abs() * error).sum::<f64>() * 1.001;
            let [mean_g, mean_dot] = match self.norm {
                Norm::Layer(_) => [pull.iter().sum::<f64>() / n, dot / n],
                Norm::Rms(_) => [0.0, dot / n],
                Norm::Batch(_) => [pull.iter().sum::<f64>() / n, dot / g.divisor],
                Norm::Given => [0.0, 0.0],
            };
            let mean_error = gamma(across + along + 3) * size / n;
            for (i, &(place, param)) in group.iter().enumerate() {
                let scaled = weights[i] * xhat[i];
                let bias = of(&self.bias, param, 0.0);
                let y_error = weights[i].abs() * error[i] + 2.0 * ROUNDING * (scaled.abs() + bias.abs());
                y.set(place, (scaled + bias, y_error));
                let terms = pull[i].abs() + mean_g.abs() + (xhat[i] * mean_dot).abs();
                let inner = if self.norm == Norm::Given {
                    4.0 * ROUNDING * terms
                } else {
                    let mean_dot_error = dot_error / g.divisor.min(n) + 2.0 * ROUNDING * mean_dot.abs();
                    mean_error + xhat[i].abs() * mean_dot_error + error[i] * mean_dot.abs() + 5.0 * ROUNDING * terms
                };
                let dx_error = g.inv_std * (inner * 1.5 + (g.inv_std_error + 3.0 * ROUNDING) * terms);
                dx.set(place, (g.inv_std * (pull[i] - mean_g - xhat[i] * mean_dot), dx_error));
                let terms = [(dy[place] * xhat[i], dy[place].abs() * error[i]), (dy[place], 0.0)];
                for (sum, (term, error)) in sums[param].iter_mut().zip(terms) {
                    *sum = [sum[0] + term, sum[1] + term.abs(), sum[2] + error * 1.001];
                }
            }
        }
        let mut results = vec![("y", y), ("dx", dx), ("mean", mean), ("inv_std", inv_std)];
        results.extend([("running mean", running_mean), ("running var", running_var)]);
        for (number, names) in [["dweight", "dweight added"], ["dbias", "dbias added"]].into_iter().enumerate() {
            for (add, name) in names.into_iter().enumerate() {
                let mut bounds = Bounds::new(params);
                for (param, sum) in sums.iter().enumerate() {
                    let [value, size, error] = sum[number];
                    let old = if add == 1 { f64::from(self.old[number][param]) } else { 0.0 };
                    let bound = gamma(along + across + 2 + add) * size + error + ROUNDING * (value + old).abs();
                    bounds.set(param, (value + old, bound));
                }
                results.push((name, bounds));
            }
        }
        results
    }

    /// Fails unless every result is within its bound.
    pub(crate) fn check(&self, isa: Isa, got: &[Named]) {
        let reference = self.reference();
        let scale = if is_fused(isa) { 1.0 } else { 4.0 };
        for (name, got) in got {
            let bounds = &reference.iter().find(|(other, _)| other == name).unwrap().1;
            let what = format!("{isa}: {name}, {}", self.what());
            let tolerance = bounds.error.iter().map(|error| scale * error + 1e-42);
            assert_close(what, 1, got, bounds.want.iter().copied(), tolerance);
        }
    }
}

impl Norm {
    pub(crate) fn is_rms(self) -> bool {
        matches!(self, Norm::Rms(_))
    }
}

/// Fails unless all results are the same bits.
pub(crate) fn assert_same(what: impl std::fmt::Display, got: &[Named], want: &[Named]) {
    assert_eq!(got.len(), want.len());
    for ((name, got), (_, want)) in got.iter().zip(want) {
        assert_same_bits(format_args!("{name}, {what}"), 1, got, want);
    }
}

/// References and tolerances, to be filled in any order.
pub(crate) struct Bounds {
    pub(crate) want: Vec<f64>,
    error: Vec<f64>,
}

impl Bounds {
    fn new(len: usize) -> Self {
        Self { want: vec![f64::NAN; len], error: vec![0.0; len] }
    }

    fn set(&mut self, place: usize, (want, error): (f64, f64)) {
        self.want[place] = want;
        self.error[place] = error;
    }
}

/// The statistics of a group, and the errors that they may have.
struct Group {
    mean: f64,
    mean_error: f64,
    /// `Σ (x - mean)²`
    squares: f64,
    squares_error: f64,
    divisor: f64,
    inv_std: f64,
    /// Relative.
    inv_std_error: f64,
}

impl Group {
    /// By the orders of summation: the mean as the first value and the mean of the distances from it, the variance
    /// about the rounded mean.
    fn of(problem: &Problem, x: &[f64], given: [f64; 2], sum: usize) -> Self {
        let (n, eps) = (x.len() as f64, f64::from(problem.eps));
        let centred = !problem.norm.is_rms();
        let divisor = if problem.norm == Norm::Batch(Variance::Unbiased) { n - 1.0 } else { n };
        if problem.norm == Norm::Given {
            let inv_std = 1.0 / (given[1] + eps).sqrt();
            let (mean, squares) = (given[0], given[1] * n);
            let inv_std_error = 3.0 * ROUNDING;
            return Self { mean, mean_error: 0.0, squares, squares_error: 0.0, divisor, inv_std, inv_std_error };
        }
        let mean = if centred { x.iter().sum::<f64>() / n } else { 0.0 };
        let squares = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
        let distances = x.iter().map(|value| (value - x[0]).abs()).sum::<f64>() / n;
        let mean_error = if centred { (gamma(sum + 2) * distances + ROUNDING * mean.abs()) * 1.001 } else { 0.0 };
        // About another centre the sum of squares grows by n times the square of the distance.
        let shifted = n * mean_error * mean_error;
        let squares_error = gamma(sum + 8) * (squares + shifted) + shifted;
        let var = squares / divisor;
        let relative = (squares_error / divisor + ROUNDING * (var + eps)) / (var + eps);
        assert!(relative < 0.5, "the data are too coarse for a bound");
        let inv_std = 1.0 / (var + eps).sqrt();
        let inv_std_error = relative + 3.0 * ROUNDING;
        Self { mean, mean_error, squares, squares_error, divisor, inv_std, inv_std_error }
    }

    fn xhat(&self, x: f64) -> f64 {
        (x - self.mean) * self.inv_std
    }

    fn xhat_error(&self, x: f64) -> f64 {
        let distance = (x - self.mean).abs();
        self.inv_std * (self.mean_error + 2.0 * ROUNDING * distance) * 1.5
            + self.inv_std * distance * self.inv_std_error
    }
}
