//! What is measured.

use crate::Report;
use crate::stream::Mix;
use handgrad::kernels::gemm::{self, Accum, gemm};
use handgrad::kernels::op;
use handgrad::kernels::optim::{Step, adam};
use handgrad::kernels::view::{Mat, MatMut};
use handgrad::{Activation, BatchNorm, Exec, Input, Isa, Linear, Loss, Mlp, Options, Result, Trainer, Variance};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// The products whose shapes large layers have.
const LARGE: [[usize; 3]; 3] = [[128, 784, 512], [1024, 512, 512], [4096, 1024, 1024]];

/// All cases.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    let serial = Exec::serial()?;
    makemore(report, &serial, 64)?;
    makemore(report, &serial, 200)?;
    for (form, m, k, n) in [
        (Form::Nn, 32, 30, 200),
        (Form::Nn, 32, 200, 27),
        (Form::Tn, 30, 32, 200),
        (Form::Tn, 200, 32, 27),
        (Form::Nt, 32, 27, 200),
        (Form::Nt, 32, 200, 30),
    ] {
        product(report, &serial, form, [m, k, n], "")?;
    }
    let two = Exec::with_threads(2)?;
    for exec in [&serial, &two] {
        exec.install(|| -> Result<()> {
            for shape in LARGE {
                for form in [Form::Nn, Form::Nt, Form::Tn] {
                    product(report, exec, form, shape, "")?;
                }
            }
            vectors(report, exec)
        })?;
    }
    functions(report, &serial, "")?;
    if let Ok(avx2) = Isa::from_name("avx2") {
        let exec = serial.with_isa(avx2);
        for shape in LARGE {
            for form in [Form::Nn, Form::Nt, Form::Tn] {
                product(report, &exec, form, shape, "_avx2")?;
            }
        }
        functions(report, &exec, "_avx2")?;
    }
    optimiser(report)
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
fn product(report: &mut Report, exec: &Exec, form: Form, [m, k, n]: [usize; 3], tier: &str) -> Result<()> {
    let form_name = match form {
        Form::Nn => "nn",
        Form::Nt => "nt",
        Form::Tn => "tn",
    };
    let name = format!("gemm_{form_name}_{m}x{k}x{n}{tier}_{}t", exec.threads());
    if !report.wants(&name) {
        return Ok(());
    }
    let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
    let mut c = vec![0.0; m * n];
    let mut scratch = vec![0.0; gemm::scratch_len(exec, m, k, n)];
    let (a, b) = match form {
        Form::Nn => (Mat::new(&a, m, k)?, Mat::new(&b, k, n)?),
        Form::Nt => (Mat::new(&a, m, k)?, Mat::new(&b, n, k)?.t()),
        Form::Tn => (Mat::new(&a, k, m)?.t(), Mat::new(&b, k, n)?),
    };
    let mut fault = None;
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

/// A matrix times a vector, from either side: bound by reading the matrix.
fn vectors(report: &mut Report, exec: &Exec) -> Result<()> {
    const SIZES: [[usize; 2]; 2] = [[512, 512], [4096, 4096]];
    const READ: Mix = Mix { reads: 1, writes: 0 };
    for [rows, cols] in SIZES {
        let (a, x) = (numbers(rows * cols, 1), numbers(rows.max(cols), 2));
        let mut y = vec![0.0; rows.max(cols)];
        let a = Mat::new(&a, rows, cols)?;
        let mut scratch = vec![0.0; gemm::scratch_len(exec, rows, cols, 1).max(gemm::scratch_len(exec, 1, rows, cols))];
        let name = |form: &str| format!("gemv_{form}_{rows}x{cols}_{}t", exec.threads());
        let column = Mat::new(&x[..cols], cols, 1)?;
        report.stream(&name("n"), exec.threads(), rows * cols, READ, || {
            gemm(exec, MatMut::new(&mut y[..rows], rows, 1)?, Accum::Replace, a, column, &mut scratch)
        })?;
        let row = Mat::new(&x[..rows], 1, rows)?;
        report.stream(&name("t"), exec.threads(), rows * cols, READ, || {
            gemm(exec, MatMut::new(&mut y[..cols], 1, cols)?, Accum::Replace, row, a, &mut scratch)
        })?;
    }
    Ok(())
}

/// `AdamW` over ten million parameters: four arrays are read and three written.
fn optimiser(report: &mut Report) -> Result<()> {
    const LEN: usize = 10_000_000;
    const MIX: Mix = Mix { reads: 4, writes: 3 };
    for threads in [1, 2] {
        let name = format!("adamw_10m_{threads}t");
        if !report.wants(&name) {
            continue;
        }
        let exec = Exec::with_threads(threads)?;
        let [mut params, grads] = [1, 2].map(|seed| numbers(LEN, seed));
        let (mut mean, mut square) = (vec![0.0; LEN], vec![0.0; LEN]);
        let config = adam::Config { weight_decay: 0.01, decay: adam::Decay::Decoupled, ..adam::Config::default() };
        let mut number = 0;
        exec.install(|| {
            report.stream(&name, threads, LEN, MIX, || {
                number += 1;
                let step = Step { lr: 1e-3, scale: 1.0, number };
                adam::update(&exec, &mut params, &mut mean, &mut square, &grads, step, config)
            })
        })?;
    }
    Ok(())
}

/// Functions of one register over data in the first-level cache.
fn functions(report: &mut Report, exec: &Exec, tier: &str) -> Result<()> {
    // Two arrays of 16 KiB.
    const LEN: usize = 4096;
    const NAMES: [&str; 8] = ["exp", "log", "tanh", "sigmoid", "sin", "cos", "gelu_erf", "pow"];
    let x: Vec<f32> = numbers(LEN, 3).iter().map(|x| 8.0 * x).collect();
    let positive: Vec<f32> = x.iter().map(|x| x.abs() + 0.01).collect();
    let mut y = vec![0.0; LEN];
    let mut fault = None;
    for function in NAMES {
        let (x, positive) = (Mat::from_row(&x), Mat::from_row(&positive));
        report.elements(&format!("{function}_l1{tier}_1t"), LEN, || {
            let y = MatMut::from_row(&mut y);
            let done = match function {
                "exp" => op::exp::forward(exec, y, x),
                "log" => op::log::forward(exec, y, positive),
                "tanh" => op::tanh::forward(exec, y, x),
                "sigmoid" => op::sigmoid::forward(exec, y, x),
                "sin" => op::sin::forward(exec, y, x),
                "cos" => op::cos::forward(exec, y, x),
                "gelu_erf" => op::gelu::forward(exec, y, x, op::gelu::Form::Erf),
                _ => op::pow::forward(exec, y, positive, x),
            };
            fault = fault.take().or(done.err());
        });
    }
    fault.map_or(Ok(()), |fault| Err(fault.into()))
}
