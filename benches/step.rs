//! `cargo bench --bench step`: whole steps of the notebook's network by tier, for tracking with criterion.
//!
//! A step is forward, backward and update of a batch of 32; drawing the batch is not part of it. Throughput counts the
//! useful operations of the six products: read `Gelem/s` as GFLOP/s.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use handgrad::{Activation, BatchNorm, Exec, Input, Isa, Linear, Loss, Mlp, Options, Trainer, Variance};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

const BATCH: usize = 32;
const VOCAB: usize = 27;
const CONTEXT: usize = 3;
const EMBEDDING: usize = 10;

fn trainer(hidden: usize, isa: Isa) -> handgrad::Result<Trainer> {
    let mlp = Mlp {
        input: Input::Tokens { vocab: VOCAB, context: CONTEXT, embedding: EMBEDDING },
        layers: vec![
            Linear::new(hidden).into(),
            BatchNorm { variance: Variance::Unbiased, ..BatchNorm::default() }.into(),
            Activation::Tanh.into(),
            Linear::new(VOCAB).into(),
        ],
        loss: Loss::cross_entropy(),
    };
    Trainer::new(&mlp, Options { max_batch: BATCH, ..Options::default() }, &Exec::serial()?.with_isa(isa))
}

fn makemore(criterion: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut tokens = |n: usize| (0..n).map(|_| rng.random_range(0..VOCAB as i64)).collect::<Vec<_>>();
    let (x, y) = (tokens(BATCH * CONTEXT), tokens(BATCH));
    for hidden in [64, 200] {
        let mut group = criterion.benchmark_group(format!("makemore_h{hidden}"));
        let inputs = CONTEXT * EMBEDDING;
        group.throughput(Throughput::Elements((3 * 2 * BATCH * hidden * (inputs + VOCAB)) as u64));
        for isa in Isa::available().filter(|isa| isa.name() != "scalar") {
            let mut fused = trainer(hidden, isa).expect("the model is sound");
            group.bench_function(BenchmarkId::new("step", isa), |bencher| {
                bencher.iter(|| fused.step(&x, &y).expect("the batch fits"));
            });
            let mut open = trainer(hidden, isa).expect("the model is sound");
            group.bench_function(BenchmarkId::new("forward_backward_update", isa), |bencher| {
                bencher.iter(|| {
                    open.forward(&x).expect("the batch fits");
                    let loss = open.backward(&y).expect("the labels fit");
                    open.update().expect("the gradients are there");
                    loss
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, makemore);
criterion_main!(benches);
