//! What is measured.

use crate::Report;
use handgrad::kernels::gemm::{self, Accum, gemm};
use handgrad::kernels::op::{exp, sigmoid, tanh};
use handgrad::kernels::view::{Mat, MatMut};
use handgrad::{Activation, BatchNorm, Exec, Input, Isa, Linear, Loss, Mlp, Options, Result, Trainer, Variance};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// All cases.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    let exec = Exec::serial()?;
    makemore(report, &exec, 64)?;
    makemore(report, &exec, 200)?;
    for (form, m, k, n) in [
        (Form::Nn, 32, 30, 200),
        (Form::Nn, 32, 200, 27),
        (Form::Tn, 30, 32, 200),
        (Form::Tn, 200, 32, 27),
        (Form::Nt, 32, 27, 200),
        (Form::Nt, 32, 200, 30),
        (Form::Nn, 128, 784, 512),
        (Form::Nn, 1024, 512, 512),
    ] {
        product(report, &exec, form, m, k, n, "")?;
    }
    if let Ok(avx2) = Isa::from_name("avx2") {
        product(report, &exec.clone().with_isa(avx2), Form::Nn, 1024, 512, 512, "_avx2")?;
    }
    functions(report, &exec)
}

/// Which operand is transposed.
#[derive(Clone, Copy)]
enum Form {
    /// `X·W`
    Nn,
    /// `dY·Wᵀ`
    Nt,
    /// `Xᵀ·dY`
    Tn,
}

pub(crate) fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    (0..len).map(|_| rng.random::<f32>() - 0.5).collect()
}

/// A product of `m x k` by `k x n` of contiguous matrices.
fn product(report: &mut Report, exec: &Exec, form: Form, m: usize, k: usize, n: usize, tier: &str) -> Result<()> {
    let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
    let mut c = vec![0.0; m * n];
    let mut scratch = vec![0.0; gemm::scratch_len(exec, m, k, n)];
    let (name, a, b) = match form {
        Form::Nn => ("nn", Mat::new(&a, m, k)?, Mat::new(&b, k, n)?),
        Form::Nt => ("nt", Mat::new(&a, m, k)?, Mat::new(&b, n, k)?.t()),
        Form::Tn => ("tn", Mat::new(&a, k, m)?.t(), Mat::new(&b, k, n)?),
    };
    let mut fault = None;
    let name = format!("gemm_{name}_{m}x{k}x{n}{tier}_1t");
    report.flops(&name, exec, (2 * m * k * n) as f64, || {
        let done = MatMut::new(&mut c, m, n).and_then(|c| gemm(exec, c, Accum::Replace, a, b, &mut scratch));
        fault = fault.take().or(done.err());
    });
    fault.map_or(Ok(()), |fault| Err(fault.into()))
}

/// A whole step of the notebook's network: batch 32, context 3, embedding 10, vocabulary 27, with the minibatch copied
/// together. Useful operations are those of its six products.
fn makemore(report: &mut Report, exec: &Exec, hidden: usize) -> Result<()> {
    const BATCH: usize = 32;
    const SAMPLES: usize = 100_000;
    let mlp = Mlp {
        input: Input::Tokens { vocab: 27, context: 3, embedding: 10 },
        layers: vec![
            Linear::new(hidden).into(),
            BatchNorm { variance: Variance::Unbiased, momentum: 0.0, ..BatchNorm::default() }.into(),
            Activation::Tanh.into(),
            Linear::new(27).into(),
        ],
        loss: Loss::cross_entropy(),
    };
    let mut trainer = Trainer::new(&mlp, Options { max_batch: BATCH, lr: 0.1, ..Options::default() }, exec)?;
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let samples: Vec<[u8; 4]> = (0..SAMPLES).map(|_| std::array::from_fn(|_| rng.random_range(0..27))).collect();
    let (mut x, mut y) = ([0; 3 * BATCH], [0; BATCH]);
    let mut fault = None;
    let flops = (2 * BATCH * 3 * hidden * (30 + 27)) as f64;
    report.flops(&format!("makemore_h{hidden}_1t"), exec, flops, || {
        for (x, y) in x.chunks_exact_mut(3).zip(&mut y) {
            let [a, b, c, label] = samples[rng.random_range(0..SAMPLES as u32) as usize].map(i64::from);
            x.copy_from_slice(&[a, b, c]);
            *y = label;
        }
        fault = fault.take().or(trainer.step(&x[..], &y[..]).err());
    });
    fault.map_or(Ok(()), Err)
}

/// Functions of one register over data in the first-level cache.
fn functions(report: &mut Report, exec: &Exec) -> Result<()> {
    const LEN: usize = 2048;
    let x: Vec<f32> = numbers(LEN, 3).iter().map(|x| 8.0 * x).collect();
    let mut y = vec![0.0; LEN];
    let x = Mat::from_row(&x);
    let mut fault = None;
    report.elements("exp_l1_1t", LEN, || {
        fault = fault.take().or(exp::forward(exec, MatMut::from_row(&mut y), x).err());
    });
    report.elements("tanh_l1_1t", LEN, || {
        fault = fault.take().or(tanh::forward(exec, MatMut::from_row(&mut y), x).err());
    });
    report.elements("sigmoid_l1_1t", LEN, || {
        fault = fault.take().or(sigmoid::forward(exec, MatMut::from_row(&mut y), x).err());
    });
    fault.map_or(Ok(()), |fault| Err(fault.into()))
}
