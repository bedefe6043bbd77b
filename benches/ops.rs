//! `cargo bench --bench ops`: each operation by size and tier, for tracking with criterion.
//!
//! Throughput counts useful operations for products (2·m·k·n: read `Gelem/s` as GFLOP/s) and elements for the rest. Only
//! the tiers that are there for speed are timed: `scalar` is the meaning of the others.

use criterion::{Bencher, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use handgrad::kernels::gemm::{Accum, gemm};
use handgrad::kernels::op::activation::{self, Activation};
use handgrad::kernels::op::batch_norm::{self, Config, Statistics, Variance};
use handgrad::kernels::op::{cross_entropy, linear};
use handgrad::kernels::optim::sgd;
use handgrad::kernels::view::{Mat, MatMut};
use handgrad::{Exec, Isa};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// A matrix with rows on multiples of 16 floats, as in a training step.
struct Block {
    data: Vec<f32>,
    rows: usize,
    cols: usize,
}

impl Block {
    /// Numbers from -1 to 1.
    fn random(rows: usize, cols: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let data = (0..rows * cols.next_multiple_of(16)).map(|_| 2.0 * rng.random::<f32>() - 1.0).collect();
        Self { data, rows, cols }
    }

    fn zeros(rows: usize, cols: usize) -> Self {
        Self { data: vec![0.0; rows * cols.next_multiple_of(16)], rows, cols }
    }

    fn mat(&self) -> Mat<'_> {
        let stride = self.cols.next_multiple_of(16);
        Mat::with_row_stride(&self.data, self.rows, self.cols, stride).expect("rows are this far apart")
    }

    fn mat_mut(&mut self) -> MatMut<'_> {
        let stride = self.cols.next_multiple_of(16);
        MatMut::with_row_stride(&mut self.data, self.rows, self.cols, stride).expect("rows are this far apart")
    }
}

fn scratch(exec: &Exec, batch: usize, inputs: usize, outputs: usize) -> Vec<f32> {
    vec![0.0; linear::scratch_len(exec, batch, inputs, outputs)]
}

/// One case on every tier that is there for speed.
fn each_tier(
    criterion: &mut Criterion,
    name: &str,
    size: &str,
    work: usize,
    mut run: impl FnMut(&Exec, &mut Bencher<'_>),
) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(work as u64));
    for isa in Isa::available().filter(|isa| isa.name() != "scalar") {
        let exec = Exec::serial().expect("HANDGRAD_ISA names a tier of this CPU").with_isa(isa);
        group.bench_function(BenchmarkId::new(size, isa), |bencher| run(&exec, bencher));
    }
    group.finish();
}

/// The products of a makemore step, and two that no longer fit a first-level cache.
fn products(criterion: &mut Criterion) {
    for (form, m, k, n) in [
        ("nn", 32, 30, 200),
        ("nn", 32, 200, 27),
        ("tn", 30, 32, 200),
        ("tn", 200, 32, 27),
        ("nt", 32, 27, 200),
        ("nt", 32, 200, 30),
        ("nn", 128, 784, 512),
        ("nn", 1024, 512, 512),
    ] {
        let a = if form == "tn" { Block::random(k, m, 1) } else { Block::random(m, k, 1) };
        let b = if form == "nt" { Block::random(n, k, 2) } else { Block::random(k, n, 2) };
        let mut c = Block::zeros(m, n);
        let a = if form == "tn" { a.mat().t() } else { a.mat() };
        let b = if form == "nt" { b.mat().t() } else { b.mat() };
        each_tier(criterion, &format!("gemm_{form}"), &format!("{m}x{k}x{n}"), 2 * m * k * n, |exec, bencher| {
            let mut scratch = scratch(exec, m, k, n);
            bencher.iter(|| gemm(exec, c.mat_mut(), Accum::Replace, a, b, &mut scratch).expect("shapes match"));
        });
    }
}

/// A linear layer with its epilogues: bias and tanh forward, through tanh backward, descent in the weight gradient.
fn linear_layer(criterion: &mut Criterion) {
    for (batch, inputs, outputs) in [(32, 30, 200), (32, 200, 27), (128, 784, 512)] {
        let size = format!("{batch}x{inputs}x{outputs}");
        let work = 2 * batch * inputs * outputs;
        let (x, dy) = (Block::random(batch, inputs, 1), Block::random(batch, outputs, 2));
        let (mut w, mut b) = (Block::random(inputs, outputs, 3), Block::random(1, outputs, 4));
        let (mut y, mut dx) = (Block::zeros(batch, outputs), Block::zeros(batch, inputs));
        each_tier(criterion, "linear_forward_tanh", &size, work, |exec, bencher| {
            let mut scratch = scratch(exec, batch, inputs, outputs);
            bencher.iter(|| {
                let (w, b) = (w.mat(), Some(b.mat()));
                linear::forward(exec, y.mat_mut(), x.mat(), w, b, Activation::Tanh, &mut scratch)
                    .expect("shapes match");
            });
        });
        each_tier(criterion, "linear_backward_input_tanh", &size, work, |exec, bencher| {
            let mut scratch = scratch(exec, batch, inputs, outputs);
            bencher.iter(|| {
                let (dx, w) = (dx.mat_mut(), w.mat());
                linear::backward_input(exec, dx, dy.mat(), w, Activation::Tanh, x.mat(), &mut scratch)
                    .expect("shapes match");
            });
        });
        each_tier(criterion, "linear_backward_sgd", &size, work, |exec, bencher| {
            let mut scratch = scratch(exec, batch, inputs, outputs);
            bencher.iter(|| {
                let (w, b) = (w.mat_mut(), Some(b.mat_mut()));
                linear::backward_sgd(exec, w, b, 1e-9, dy.mat(), x.mat(), &mut scratch).expect("shapes match");
            });
        });
    }
}

fn normalisation(criterion: &mut Criterion) {
    let config = Config { eps: 1e-5, variance: Variance::Unbiased };
    for (batch, features) in [(32, 64), (32, 200), (1024, 512)] {
        let size = format!("{batch}x{features}");
        let (x, dy) = (Block::random(batch, features, 1), Block::random(batch, features, 2));
        let (gamma, beta) = (Block::random(1, features, 3), Block::random(1, features, 4));
        let (mut y, mut dx) = (Block::zeros(batch, features), Block::zeros(batch, features));
        let [mut mean, mut var, mut inv_std] = [(); 3].map(|()| Block::zeros(1, features));
        let [mut dgamma, mut dbeta] = [(); 2].map(|()| Block::zeros(1, features));
        each_tier(criterion, "batch_norm_forward_tanh", &size, batch * features, |exec, bencher| {
            bencher.iter(|| {
                let statistics = Statistics { mean: mean.mat_mut(), var: var.mat_mut(), inv_std: inv_std.mat_mut() };
                let (gamma, beta) = (gamma.mat(), beta.mat());
                batch_norm::forward(exec, y.mat_mut(), statistics, x.mat(), gamma, beta, config, Activation::Tanh)
                    .expect("shapes match");
            });
        });
        let saved = batch_norm::Saved { mean: mean.mat(), var: var.mat(), inv_std: inv_std.mat() };
        let mut scratch = vec![0.0; batch_norm::backward_scratch(features)];
        each_tier(criterion, "batch_norm_backward", &size, batch * features, |exec, bencher| {
            bencher.iter(|| {
                let (dx, dgamma, dbeta) = (dx.mat_mut(), dgamma.mat_mut(), dbeta.mat_mut());
                let grads = batch_norm::Grads { dx, dgamma, dbeta };
                let replace = Accum::Replace;
                let (dy, x, gamma) = (dy.mat(), x.mat(), gamma.mat());
                batch_norm::backward(exec, grads, replace, dy, x, saved, gamma, config, &mut scratch)
                    .expect("shapes match");
            });
        });
    }
}

fn losses(criterion: &mut Criterion) {
    for (batch, classes) in [(32, 27), (1024, 1000)] {
        let logits = Block::random(batch, classes, 1);
        let labels: Vec<i64> = (0..batch as i64).map(|i| i * 7 % classes as i64).collect();
        let (mut losses, mut dlogits) = (vec![0.0; batch], Block::zeros(batch, classes));
        let size = format!("{batch}x{classes}");
        each_tier(criterion, "cross_entropy_forward_backward", &size, batch * classes, |exec, bencher| {
            bencher.iter(|| {
                let (dlogits, share) = (dlogits.mat_mut(), 1.0 / batch as f32);
                let (logits, config) = (logits.mat(), cross_entropy::Config::default());
                cross_entropy::forward_backward(exec, &mut losses, dlogits, share, logits, &labels[..], None, config)
                    .expect("shapes match");
            });
        });
    }
}

fn elementwise(criterion: &mut Criterion) {
    let x = Block::random(32, 200, 1);
    let mut y = Block::zeros(32, 200);
    for (name, function) in [("tanh", Activation::Tanh), ("sigmoid", Activation::Sigmoid)] {
        each_tier(criterion, name, "32x200", 32 * 200, |exec, bencher| {
            bencher.iter(|| activation::forward(exec, y.mat_mut(), x.mat(), function).expect("shapes match"));
        });
    }
    for len in [12_000, 1_000_000] {
        let (mut params, grads) = (Block::random(1, len, 2), Block::random(1, len, 3));
        each_tier(criterion, "sgd_update", &len.to_string(), len, |exec, bencher| {
            bencher.iter(|| sgd::update(exec, &mut params.data, &grads.data, 1e-9).expect("lengths match"));
        });
    }
}

criterion_group!(benches, products, linear_layer, normalisation, losses, elementwise);
criterion_main!(benches);
