//! Batch normalisation, forward and backward, against f64 by definition and by central differences.
//!
//! The tolerances follow the errors of the statistics through the formulas: see [`Spread`].

mod common;

use common::activations;
use common::block::{Block, Layout};
use common::compare::{ROUNDING, assert_close, assert_same_bits, gamma};
use common::random::Random;
use common::tiers::{is_fused, on_every_tier};
use common::{pools, serial, until_two_workers};
use handgrad_kernels::gemm::Accum;
use handgrad_kernels::op::activation::{self, Activation};
use handgrad_kernels::op::batch_norm::{self, Config, Grads, Saved, Statistics, Variance};
use handgrad_kernels::{ErrorKind, Exec, Isa};

const VARIANCES: [Variance; 2] = [Variance::Biased, Variance::Unbiased];

/// A batch, in columns of different offsets and widths, and what goes with it.
struct Case {
    batch: usize,
    features: usize,
    config: Config,
    activation: Activation,
    x: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    dy: Vec<f32>,
    old: [Vec<f32>; 2],
}

impl Case {
    fn draw(batch: usize, features: usize, variance: Variance, activation: Activation, random: &mut Random) -> Self {
        let columns: Vec<(f32, f32)> =
            (0..features).map(|_| (random.unit() * 3.0, random.pick(&[1.0, 0.05, 20.0]))).collect();
        let mut draw = |len: usize| -> Vec<f32> { (0..len).map(|_| random.unit()).collect() };
        let x = (0..batch).flat_map(|_| columns.iter()).zip(draw(batch * features));
        let x = x.map(|((offset, width), x)| offset + width * x).collect();
        let (gamma, beta) = (draw(features).iter().map(|x| 1.0 + x / 2.0).collect(), draw(features));
        let (dy, old) = (draw(batch * features), [draw(features), draw(features)]);
        Self { batch, features, config: Config { eps: 1e-5, variance }, activation, x, gamma, beta, dy, old }
    }

    fn column(&self, j: usize) -> Vec<f64> {
        (0..self.batch).map(|i| self.x[i * self.features + j].into()).collect()
    }

    fn dy(&self, j: usize) -> Vec<f64> {
        (0..self.batch).map(|i| self.dy[i * self.features + j].into()).collect()
    }

    /// What the sum of squares is divided by.
    fn divisor(&self) -> f64 {
        self.batch as f64 - if self.config.variance == Variance::Unbiased { 1.0 } else { 0.0 }
    }

    /// `[mean, var, inv_std]` of a column.
    fn statistics(&self, x: &[f64]) -> [f64; 3] {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let var = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / self.divisor();
        [mean, var, 1.0 / (var + f64::from(self.config.eps)).sqrt()]
    }

    /// Roundings on the way into a sum down a column.
    fn roundings(&self) -> usize {
        self.batch.min(256) + self.batch.div_ceil(256)
    }

    fn what(&self, isa: Isa) -> String {
        format!("{isa}, {}x{}, {:?}, {:?}", self.batch, self.features, self.config.variance, self.activation)
    }
}

const SHAPES: [usize; 7] = [1, 2, 3, 31, 32, 33, 300];

fn cases(random: &mut Random) -> Vec<Case> {
    let mut cases = Vec::new();
    for batch in SHAPES {
        for features in (1..=40).chain([65, 200]) {
            let variance = if batch == 1 { Variance::Biased } else { VARIANCES[features % 2] };
            cases.push(Case::draw(batch, features, variance, activations::ALL[features % 3], random));
        }
    }
    cases.push(Case::draw(700, 17, Variance::Unbiased, Activation::Tanh, random));
    cases.push(Case::draw(4, 0, Variance::Biased, Activation::Identity, random));
    cases
}

/// What the kernels computed: `y`, the three statistics, `dx`, and `dgamma` and `dbeta` replaced and added.
struct Results {
    y: Vec<f32>,
    statistics: [Vec<f32>; 3],
    y_with: Vec<f32>,
    dx: Vec<f32>,
    params: [[Vec<f32>; 2]; 2],
}

/// Forward, and with its statistics [`batch_norm::forward_with`] and backward.
fn run(exec: &Exec, case: &Case, random: &mut Random, dense: bool) -> Results {
    let (batch, features) = (case.batch, case.features);
    let mut pick = || if dense { Layout::Dense } else { random.pick(&Layout::ADJACENT) };
    let what = case.what(exec.isa());
    let x = Block::from_slice(pick(), batch, features, &case.x);
    let dy = Block::from_slice(pick(), batch, features, &case.dy);
    let [scale, shift] = [&case.gamma, &case.beta].map(|row| Block::from_slice(Layout::Dense, 1, features, row));
    let mut y = Block::poisoned(pick(), batch, features);
    let mut statistics = [(); 3].map(|()| Block::poisoned(Layout::Dense, 1, features));
    let [mean, var, inv_std] = statistics.each_mut().map(Block::mat_mut);
    let out = Statistics { mean, var, inv_std };
    let (gamma, beta) = (scale.mat(), shift.mat());
    batch_norm::forward(exec, y.mat_mut(), out, x.mat(), gamma, beta, case.config, case.activation).unwrap();
    y.assert_guards(&what);

    let [mean, var, inv_std] = statistics.each_ref().map(Block::mat);
    let saved = Saved { mean, var, inv_std };
    let mut y_with = Block::poisoned(pick(), batch, features);
    batch_norm::forward_with(exec, y_with.mat_mut(), saved, x.mat(), gamma, beta, case.activation).unwrap();
    y_with.assert_guards(&what);

    let mut dx = Block::poisoned(pick(), batch, features);
    let params = [Accum::Replace, Accum::Add].map(|accum| {
        let [mut dgamma, mut dbeta] = case.old.each_ref().map(|old| match accum {
            Accum::Replace => Block::poisoned(Layout::Dense, 1, features),
            Accum::Add => Block::from_slice(Layout::Dense, 1, features, old),
        });
        let grads = Grads { dx: dx.mat_mut(), dgamma: dgamma.mat_mut(), dbeta: dbeta.mat_mut() };
        let mut scratch = vec![f32::NAN; batch_norm::backward_scratch(features)];
        let (dy, x, config) = (dy.mat(), x.mat(), case.config);
        batch_norm::backward(exec, grads, accum, dy, x, saved, gamma, config, &mut scratch).unwrap();
        [dgamma.to_vec(), dbeta.to_vec()]
    });
    dx.assert_guards(&what);
    let statistics = statistics.map(|block| block.to_vec());
    Results { y: y.to_vec(), statistics, y_with: y_with.to_vec(), dx: dx.to_vec(), params }
}

/// The errors that the statistics of a column may have, and those of what is made of them.
struct Spread {
    mean: f64,
    var: f64,
    /// Relative.
    inv_std: f64,
}

impl Spread {
    /// By the orders of summation: the mean as the first value and the mean of the distances from it, the variance
    /// about the rounded mean.
    fn of(case: &Case, x: &[f64], [mean, var, _]: [f64; 3]) -> Self {
        let (n, sum) = (x.len() as f64, case.roundings());
        let distances = x.iter().map(|value| (value - x[0]).abs()).sum::<f64>() / n;
        let error = (gamma(sum + 2) * distances + ROUNDING * mean.abs()) * 1.001;
        // About another centre the sum of squares grows by n times the square of the distance.
        let shifted = n * error * error / case.divisor();
        let var_error = gamma(sum + 4) * (var + shifted) + shifted;
        let relative = var_error / (var + f64::from(case.config.eps));
        assert!(relative < 0.5, "the data are too coarse for a bound");
        Self { mean: error, var: var_error, inv_std: relative + 3.0 * ROUNDING }
    }

    /// Of `(x - mean)·inv_std`.
    fn xhat(&self, x: f64, [mean, _, inv_std]: [f64; 3]) -> f64 {
        let distance = (x - mean).abs();
        inv_std * (self.mean + 2.0 * ROUNDING * distance) * 1.5 + inv_std * distance * self.inv_std
    }
}

/// References and tolerances, to be filled in any order.
struct Bounds {
    want: Vec<f64>,
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

    fn check(self, what: &str, name: &str, cols: usize, got: &[f32]) {
        assert_close(format_args!("{name} on {what}"), cols, got, self.want, self.error);
    }
}

/// The forward pass by definition, end to end; then each step by itself, from the statistics that came out.
fn check_forward(isa: Isa, case: &Case, got: &Results) {
    let (what, features, eps) = (case.what(isa), case.features, f64::from(case.config.eps));
    let [mut y, mut y_step] = [(); 2].map(|()| Bounds::new(case.batch * features));
    let mut statistics = [(); 3].map(|()| Bounds::new(features));
    let [mut var_step, mut inv_step] = [(); 2].map(|()| Bounds::new(features));
    for j in 0..features {
        let x = case.column(j);
        let exact = case.statistics(&x);
        let spread = Spread::of(case, &x, exact);
        let errors = [spread.mean, spread.var, spread.inv_std * exact[2]];
        for (k, statistic) in statistics.iter_mut().enumerate() {
            statistic.set(j, (exact[k], errors[k]));
        }
        let came = got.statistics.each_ref().map(|row| f64::from(row[j]));
        let about = x.iter().map(|x| (x - came[0]).powi(2)).sum::<f64>() / case.divisor();
        var_step.set(j, (about, gamma(case.roundings() + 4) * about));
        let root = 1.0 / (came[1] + eps).sqrt();
        inv_step.set(j, (root, 2.5 * ROUNDING * root));

        let (scale, shift) = (f64::from(case.gamma[j]), f64::from(case.beta[j]));
        let forward = |x: f64, [mean, _, inv_std]: [f64; 3], xhat_error: f64| {
            let scaled = scale * (x - mean) * inv_std;
            let value = activations::forward(case.activation, scaled + shift);
            // One rounding of the product (none if fused) and one of the sum.
            let error = scale.abs() * xhat_error + 2.0 * ROUNDING * (scaled.abs() + shift.abs());
            (value, activations::forward_error(isa, case.activation, value, error))
        };
        for (i, &x) in x.iter().enumerate() {
            y.set(i * features + j, forward(x, exact, spread.xhat(x, exact)));
            let xhat_error = 2.0 * ROUNDING * (x - came[0]).abs() * came[2];
            y_step.set(i * features + j, forward(x, came, xhat_error));
        }
    }
    for (statistic, (name, got)) in statistics.into_iter().zip(["mean", "var", "inv_std"].iter().zip(&got.statistics)) {
        statistic.check(&what, name, features, got);
    }
    var_step.check(&what, "var about the mean found", features, &got.statistics[1]);
    inv_step.check(&what, "inv_std of the variance found", features, &got.statistics[2]);
    y.check(&what, "y", features, &got.y);
    y_step.check(&what, "y from the statistics found", features, &got.y);
    assert_same_bits(format_args!("forward_with, {what}"), features, &got.y_with, &got.y);
}

/// The backward pass against central differences of the definition of `Σ dy·y`, and the parameters' gradients against
/// their sums.
fn check_backward(isa: Isa, case: &Case, got: &Results) {
    let (what, features) = (case.what(isa), case.features);
    let mut dx = Bounds::new(case.batch * features);
    let mut params = [[(); 2]; 2].map(|pair| pair.map(|()| Bounds::new(features)));
    let sum = case.roundings();
    for j in 0..features {
        let (x, dy) = (case.column(j), case.dy(j));
        let (n, exact) = (case.batch as f64, case.statistics(&x));
        let [mean, var, inv_std] = exact;
        let spread = Spread::of(case, &x, exact);
        let (scale, shift) = (f64::from(case.gamma[j]), f64::from(case.beta[j]));

        let xhat: Vec<f64> = x.iter().map(|x| (x - mean) * inv_std).collect();
        let xhat_error: Vec<f64> = x.iter().map(|&x| spread.xhat(x, exact)).collect();
        let sum_dy: f64 = dy.iter().sum();
        let size_dy: f64 = dy.iter().map(|dy| dy.abs()).sum();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let size = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a * b).abs()).sum::<f64>();
        let dot_error = gamma(sum + 2) * size(&dy, &xhat) + size(&dy, &xhat_error) * 1.001;
        for (k, [dgamma, dbeta]) in params.iter_mut().enumerate() {
            // What is added to is rounded once more.
            let old = case.old.each_ref().map(|old| if k == 1 { f64::from(old[j]) } else { 0.0 });
            let (want, error) = (dot(&dy, &xhat) + old[0], dot_error + gamma(k) * (size(&dy, &xhat) + old[0].abs()));
            dgamma.set(j, (want, error));
            dbeta.set(j, (sum_dy + old[1], gamma(sum + k) * (size_dy + old[1].abs())));
        }

        let loss = |x: &[f64]| {
            let [mean, _, inv_std] = case.statistics(x);
            x.iter().zip(&dy).map(|(x, dy)| dy * (scale * (x - mean) * inv_std + shift)).sum::<f64>()
        };
        let h = 1e-4 * (var + f64::from(case.config.eps)).sqrt();
        let outer = scale.abs() * inv_std;
        let (mean_dy, mean_dot) = (sum_dy / n, dot(&dy, &xhat) / case.divisor());
        let mean_dy_error = gamma(sum + 1) * size_dy / n;
        let mean_dot_error = (dot_error + ROUNDING * dot(&dy, &xhat).abs()) / case.divisor();
        for i in 0..case.batch {
            let mut moved = x.clone();
            moved[i] = x[i] + h;
            let up = loss(&moved);
            moved[i] = x[i] - h;
            let want = (up - loss(&moved)) / (2.0 * h);
            let product = (xhat[i] * mean_dot).abs();
            let inner = mean_dy_error
                + xhat[i].abs() * mean_dot_error
                + xhat_error[i] * mean_dot.abs()
                + 3.0 * ROUNDING * (dy[i].abs() + mean_dy.abs() + product);
            let size = dy[i].abs() + mean_dy.abs() + product;
            // The gain times 1/std has an error of its own; the differences are good to 1e-7 of all that they move.
            let differences = 1e-7 * (size_dy + dy[i].abs()) * (1.0 + xhat[i].abs());
            let error = outer * (inner * 1.5 + (spread.inv_std + 2.0 * ROUNDING) * size + differences);
            dx.set(i * features + j, (want, error));
        }
    }
    dx.check(&what, "dx", features, &got.dx);
    for (k, [dgamma, dbeta]) in params.into_iter().enumerate() {
        dgamma.check(&what, ["dgamma", "dgamma added"][k], features, &got.params[k][0]);
        dbeta.check(&what, ["dbeta", "dbeta added"][k], features, &got.params[k][1]);
    }
}

impl Results {
    fn assert_same_bits(&self, what: &str, features: usize, other: &Results) {
        let all = |r: &Results| {
            let mut all = vec![r.y.clone(), r.y_with.clone(), r.dx.clone()];
            all.extend(r.statistics.iter().chain(r.params.iter().flatten()).cloned());
            all
        };
        let names = ["y", "y_with", "dx", "mean", "var", "inv_std", "dgamma", "dbeta", "dgamma added", "dbeta added"];
        for (name, (a, b)) in names.into_iter().zip(all(self).iter().zip(&all(other))) {
            assert_same_bits(format_args!("{name}, {what}"), features, a, b);
        }
    }
}

#[test]
fn the_norm_is_its_definition_on_every_tier_and_in_every_layout() {
    let mut random = Random::new(1);
    let cases = cases(&mut random);
    let scalar = serial(Isa::from_name("scalar").unwrap());
    let scalar: Vec<Results> = cases.iter().map(|case| run(&scalar, case, &mut random, true)).collect();
    on_every_tier(&format!("batch norm, {} batches", cases.len()), |isa| {
        for (case, scalar) in cases.iter().zip(&scalar) {
            let dense = run(&serial(isa), case, &mut random, true);
            check_forward(isa, case, &dense);
            // Central differences cost the square of the batch.
            if case.batch < 300 || case.features % 8 == 1 {
                check_backward(isa, case, &dense);
            }
            if is_fused(isa) {
                dense.assert_same_bits(&case.what(isa), case.features, scalar);
            }
            let strided = run(&serial(isa), case, &mut random, false);
            strided.assert_same_bits(&format!("strided, {}", case.what(isa)), case.features, &dense);
        }
    });
}

#[test]
fn threads_change_no_bit() {
    let mut random = Random::new(2);
    let cases: Vec<Case> = cases(&mut random).into_iter().step_by(3).collect();
    let pools = pools();
    on_every_tier(&format!("batch norm on threads, {} batches", cases.len()), |isa| {
        for case in &cases {
            let want = run(&serial(isa), case, &mut random, true);
            for pool in &pools {
                let exec = pool.clone().with_isa(isa);
                let got = exec.install(|| run(&exec, case, &mut random, false));
                let what = format!("{} threads, {}", exec.threads(), case.what(isa));
                got.assert_same_bits(&what, case.features, &want);
            }
        }
    });
    for pool in &pools {
        until_two_workers(pool, || drop(run(pool, &cases[cases.len() - 1], &mut random, false)));
    }
}

/// A batch of one column all of whose values are `value`.
fn constant(batch: usize, value: f32, variance: Variance) -> Case {
    let mut case = Case::draw(batch, 3, variance, Activation::Identity, &mut Random::new(3));
    case.x.fill(value);
    case
}

#[test]
fn a_constant_column_has_no_variance_at_all() {
    on_every_tier("constant columns", |isa| {
        for value in [0.1, -7.3, 1e-20, 1_234_567.9, 3e37, 0.0] {
            for batch in SHAPES {
                for variance in VARIANCES.into_iter().take(if batch == 1 { 1 } else { 2 }) {
                    let case = constant(batch, value, variance);
                    let got = run(&serial(isa), &case, &mut Random::new(4), true);
                    let what = format!("{value}, {}", case.what(isa));
                    assert_same_bits(format_args!("mean of {what}"), 3, &got.statistics[0], &[value; 3]);
                    assert_same_bits(format_args!("var of {what}"), 3, &got.statistics[1], &[0.0; 3]);
                    let y: Vec<f32> = (0..batch).flat_map(|_| case.beta.iter().copied()).collect();
                    assert_same_bits(format_args!("y of {what}"), 3, &got.y, &y);
                    assert!(got.dx.iter().all(|dx| dx.is_finite()), "dx of {what}");
                }
            }
        }
    });
}

#[test]
fn a_large_mean_costs_no_more_than_its_own_rounding() {
    on_every_tier("a large mean", |isa| {
        for (batch, mean) in [32, 33, 300, 1000].into_iter().flat_map(|batch| [(batch, 1e6), (batch, -876_543.2)]) {
            for variance in VARIANCES {
                let mut random = Random::new(5);
                let mut case = Case::draw(batch, 20, variance, Activation::Identity, &mut random);
                // A standard deviation of 0.1; neighbouring floats are 0.0625 apart here.
                case.x.fill_with(|| mean + random.unit() * 0.1 * 3f32.sqrt());
                let got = run(&serial(isa), &case, &mut random, true);
                check_forward(isa, &case, &got);
            }
        }
    });
}

/// `dx` through the activation that made `x` is `dx` times its slope.
#[test]
fn the_input_gradient_goes_through_the_activation_that_made_the_input() {
    on_every_tier("through an activation", |isa| {
        let exec = serial(isa);
        let mut random = Random::new(6);
        for activation in activations::ALL {
            for (batch, features) in [(2, 5), (33, 40), (31, 17)] {
                let mut case = Case::draw(batch, features, Variance::Biased, Activation::Identity, &mut random);
                let z: Vec<f32> = (0..batch * features).map(|_| random.unit() * 2.0).collect();
                case.x = z.iter().map(|&z| activations::forward(activation, z.into()) as f32).collect();
                let plain = run(&exec, &case, &mut random, true);
                let [x, dy] = [&case.x, &case.dy].map(|v| Block::from_slice(Layout::Padded, batch, features, v));
                let row = |values: &[f32]| Block::from_slice(Layout::Dense, 1, features, values);
                let [mean, var, inv_std] = plain.statistics.each_ref().map(|values| row(values));
                let saved = Saved { mean: mean.mat(), var: var.mat(), inv_std: inv_std.mat() };
                let mut dx = Block::poisoned(Layout::UpsideDown, batch, features);
                let [mut dgamma, mut dbeta] = [(); 2].map(|()| Block::poisoned(Layout::Dense, 1, features));
                let grads = Grads { dx: dx.mat_mut(), dgamma: dgamma.mat_mut(), dbeta: dbeta.mat_mut() };
                let mut scratch = vec![f32::NAN; batch_norm::backward_scratch(features)];
                let (gamma, accum) = (row(&case.gamma), Accum::Replace);
                let (gamma, config, scratch) = (gamma.mat(), case.config, &mut scratch);
                let (dy, x) = (dy.mat(), x.mat());
                batch_norm::backward(&exec, grads, accum, dy, x, saved, gamma, config, scratch).unwrap();
                activation::backward_in_place(&exec, dx.mat_mut(), x, activation).unwrap();
                let what = format!("{isa}, {batch}x{features}, through {activation:?}");
                dx.assert_guards(&what);
                let identity = activation == Activation::Identity;
                let slope = |z: f32| if identity { 1.0 } else { activations::slope(activation, z.into()) };
                let want = plain.dx.iter().zip(&z).map(|(&dx, &z)| f64::from(dx) * slope(z));
                let tolerance = plain.dx.iter().zip(&z).zip(&case.x).map(|((&dx, &z), &x)| {
                    let slope_error = activations::slope_error(isa, activation, x.into());
                    f64::from(dx.abs()) * (slope_error + 2.0 * ROUNDING * slope(z))
                });
                assert_close(&what, features, &dx.to_vec(), want, tolerance);
                assert_same_bits(&what, features, &dgamma.to_vec(), &plain.params[0][0]);
                assert_same_bits(&what, features, &dbeta.to_vec(), &plain.params[0][1]);
            }
        }
    });
}

#[test]
fn not_a_number_stays_in_its_column() {
    on_every_tier("NaN in a column", |isa| {
        for (place, value) in [(0, f32::NAN), (39, f32::INFINITY), (17 * 40 + 21, f32::NAN)] {
            let mut case = Case::draw(33, 40, Variance::Biased, Activation::Tanh, &mut Random::new(7));
            case.x[place] = value;
            let got = run(&serial(isa), &case, &mut Random::new(8), true);
            for (name, block) in [("y", &got.y), ("dx", &got.dx), ("var", &got.statistics[1])] {
                for (i, value) in block.iter().enumerate() {
                    assert_eq!(value.is_nan(), i % 40 == place % 40, "{isa}, {name} at {i}: {value}");
                }
            }
        }
    });
}

fn shape(op: &'static str, arg: &'static str, want: [usize; 2], got: [usize; 2]) -> ErrorKind {
    ErrorKind::Shape { op, arg, want: want.into(), got: got.into() }
}

/// Blocks of given shapes and layouts, all ones.
fn ones<const N: usize>(operands: [([usize; 2], Layout); N]) -> [Block; N] {
    operands.map(|([rows, cols], layout)| Block::filled(layout, rows, cols, |_, _| 1.0))
}

const ROW: ([usize; 2], Layout) = ([1, 4], Layout::Dense);
const BATCH: ([usize; 2], Layout) = ([3, 4], Layout::Dense);

#[test]
fn bad_arguments_of_forward_write_nothing() {
    const OP: &str = "batch_norm::forward";
    let exec = Exec::serial().unwrap();
    // y, x, mean, var, inv_std, gamma, beta
    let good = [BATCH, BATCH, ROW, ROW, ROW, ROW, ROW];
    let names = ["y", "x", "mean", "var", "inv_std", "gamma", "beta"];
    let check = |operands: [([usize; 2], Layout); 7], config: Config, want: ErrorKind| {
        let [mut y, x, mut mean, mut var, mut inv_std, gamma, beta] = ones(operands);
        let bits = |blocks: [&Block; 4]| blocks.map(Block::bits);
        let before = bits([&y, &mean, &var, &inv_std]);
        let out = Statistics { mean: mean.mat_mut(), var: var.mat_mut(), inv_std: inv_std.mat_mut() };
        let (x, gamma, beta) = (x.mat(), gamma.mat(), beta.mat());
        let result = batch_norm::forward(&exec, y.mat_mut(), out, x, gamma, beta, config, Activation::Tanh);
        let error = result.unwrap_err();
        assert_eq!(*error.kind(), want);
        assert_eq!(bits([&y, &mean, &var, &inv_std]), before, "{error}, but something was written");
    };
    let with = |k: usize, rows, cols, layout| {
        let mut operands = good;
        operands[k] = ([rows, cols], layout);
        operands
    };
    let config = Config::default();
    check(with(0, 4, 3, Layout::Dense), config, shape(OP, "y", [3, 4], [4, 3]));
    for (k, arg) in names.into_iter().enumerate().skip(2) {
        check(with(k, 1, 5, Layout::Dense), config, shape(OP, arg, [1, 4], [1, 5]));
        check(with(k, 3, 4, Layout::Dense), config, shape(OP, arg, [1, 4], [3, 4]));
        check(with(k, 1, 4, Layout::Spread), config, ErrorKind::Adjacent { op: OP, arg, got: 3 });
    }
    for (k, arg) in names.into_iter().enumerate().take(2) {
        check(with(k, 3, 4, Layout::Transposed), config, ErrorKind::Adjacent { op: OP, arg, got: 3 });
    }
    let value = |arg, want, got| ErrorKind::Value { op: OP, arg, want, got };
    check(good, Config { eps: -1.0, ..config }, value("eps", "at least 0", -1.0));
    let rows = |rows| [([rows, 4], Layout::Dense), ([rows, 4], Layout::Dense), ROW, ROW, ROW, ROW, ROW];
    check(rows(0), config, value("x", "at least 1 row", 0.0));
    let unbiased = Config { variance: Variance::Unbiased, ..config };
    check(rows(1), unbiased, value("x", "at least 2 rows for an unbiased variance", 1.0));

    let [mut y, x, mut mean, mut var, mut inv_std, gamma, beta] = ones(good);
    let out = Statistics { mean: mean.mat_mut(), var: var.mat_mut(), inv_std: inv_std.mat_mut() };
    let config = Config { eps: f32::NAN, ..config };
    let (gamma, beta, activation) = (gamma.mat(), beta.mat(), Activation::Identity);
    let result = batch_norm::forward(&exec, y.mat_mut(), out, x.mat(), gamma, beta, config, activation);
    let error = result.unwrap_err();
    assert!(matches!(*error.kind(), ErrorKind::Value { arg: "eps", got, .. } if got.is_nan()), "{error}");
}

#[test]
fn bad_arguments_of_forward_with_write_nothing() {
    const OP: &str = "batch_norm::forward_with";
    let exec = Exec::serial().unwrap();
    let names = ["y", "x", "mean", "inv_std", "gamma", "beta"];
    for k in [0, 2, 3, 4, 5] {
        let mut operands = [BATCH, BATCH, ROW, ROW, ROW, ROW];
        operands[k].0[1] = 5;
        let [mut y, x, mean, inv_std, gamma, beta] = ones(operands);
        let before = y.bits();
        let saved = Saved { mean: mean.mat(), var: mean.mat(), inv_std: inv_std.mat() };
        let (x, gamma, beta) = (x.mat(), gamma.mat(), beta.mat());
        let result = batch_norm::forward_with(&exec, y.mat_mut(), saved, x, gamma, beta, Activation::Tanh);
        let rows = operands[k].0[0];
        assert_eq!(*result.unwrap_err().kind(), shape(OP, names[k], [rows, 4], [rows, 5]));
        assert_eq!(y.bits(), before, "y was written");
    }
}

#[test]
fn bad_arguments_of_backward_write_nothing() {
    const OP: &str = "batch_norm::backward";
    let exec = Exec::serial().unwrap();
    // dx, dgamma, dbeta, dy, x, mean, inv_std, gamma
    let good = [BATCH, ROW, ROW, BATCH, BATCH, ROW, ROW, ROW];
    let names = ["dx", "dgamma", "dbeta", "dy", "x", "mean", "inv_std", "gamma"];
    let full = batch_norm::backward_scratch(4);
    let check = |operands: [([usize; 2], Layout); 8], config: Config, scratch: usize, want: ErrorKind| {
        for accum in [Accum::Replace, Accum::Add] {
            let [mut dx, mut dgamma, mut dbeta, dy, x, mean, inv_std, gamma] = ones(operands);
            let before = [&dx, &dgamma, &dbeta].map(Block::bits);
            let grads = Grads { dx: dx.mat_mut(), dgamma: dgamma.mat_mut(), dbeta: dbeta.mat_mut() };
            let saved = Saved { mean: mean.mat(), var: mean.mat(), inv_std: inv_std.mat() };
            let (dy, x, gamma, mut scratch) = (dy.mat(), x.mat(), gamma.mat(), vec![0.0; scratch]);
            let result = batch_norm::backward(&exec, grads, accum, dy, x, saved, gamma, config, &mut scratch);
            let error = result.unwrap_err();
            assert_eq!(*error.kind(), want);
            assert_eq!([&dx, &dgamma, &dbeta].map(Block::bits), before, "{error}, but something was written");
        }
    };
    let config = Config::default();
    for k in 0..8 {
        let rows = good[k].0[0];
        let mut operands = good;
        if k != 4 {
            operands[k].0[1] = 5;
            check(operands, config, full, shape(OP, names[k], [rows, 4], [rows, 5]));
        }
        operands[k] = (good[k].0, Layout::Mirrored);
        check(operands, config, full, ErrorKind::Adjacent { op: OP, arg: names[k], got: -1 });
    }
    check(good, config, full - 1, ErrorKind::Scratch { op: OP, want: full, got: full - 1 });
    let eps = Config { eps: -0.5, ..config };
    check(good, eps, full, ErrorKind::Value { op: OP, arg: "eps", want: "at least 0", got: -0.5 });
}

#[test]
fn a_wrong_result_is_found() {
    let case = Case::draw(9, 5, Variance::Unbiased, Activation::Tanh, &mut Random::new(9));
    let isa = Isa::best();
    let right = || run(&serial(isa), &case, &mut Random::new(10), true);
    let check = |got: &Results| {
        check_forward(isa, &case, got);
        check_backward(isa, &case, got);
    };
    check(&right());
    let spoil: [fn(&mut Results); 8] = [
        |r| r.y[3] += 3e-5,
        |r| r.y_with[3] = f32::from_bits(r.y_with[3].to_bits() + 1),
        |r| r.statistics[0][1] *= 1.0001,
        |r| r.statistics[1][2] *= 8.0 / 9.0,
        |r| r.statistics[2][0] *= 1.0001,
        |r| r.dx[30] += 1e-3 * r.dx[30].abs().max(0.1),
        |r| r.params[0][0][4] += 1e-4,
        |r| r.params[1][1][0] += 1e-4,
    ];
    for (k, spoil) in spoil.into_iter().enumerate() {
        let mut wrong = right();
        spoil(&mut wrong);
        assert!(std::panic::catch_unwind(|| check(&wrong)).is_err(), "wrong answer {k} was accepted");
    }
    // The gradient of a batch norm whose upstream gradient is all ones is zero: these are not.
    assert!(right().dx.iter().any(|dx| dx.abs() > 0.01));
}
