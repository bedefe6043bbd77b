//! Instructions of kernels and of whole steps, for `ci/counts.sh`: unlike times, their number is the same in every run of
//! the same program.
//!
//! `counts --list` prints the names of the cases; `counts NAME` warms one up and runs it once more inside [`counted`],
//! which is what callgrind is told to count. Under valgrind there is no AVX-512, so that the AVX2 tier is counted.

use handgrad::kernels::gemm::{self, Accum, gemm};
use handgrad::kernels::op::{self, Axes};
use handgrad::kernels::optim::{Step, adam};
use handgrad::kernels::view::{Mat, MatMut, View, ViewMut};
use handgrad::{Activation, BatchNorm, Exec, Input, Layer, LayerNorm, Linear, Loss, Mlp, Optimizer, Options, Result};
use handgrad::{Targets, Trainer, Variance};
use std::process::ExitCode;

const NAMES: [&str; 22] = [
    "step_makemore_h64",
    "step_makemore_h200",
    "step_mnist_b32",
    "step_tabular_b64",
    "step_tiny_b256",
    "gemm_nn_32x30x200",
    "gemm_nt_32x27x200",
    "gemm_tn_30x32x200",
    "gemm_nn_128x256x128",
    "exp_32x128",
    "tanh_32x128",
    "sigmoid_32x128",
    "gelu_32x128",
    "gelu_backward_32x128",
    "add_row_32x128",
    "sum_rows_64x256",
    "sum_cols_64x256",
    "max_rows_64x256",
    "max_cols_64x256",
    "softmax_64x256",
    "cross_entropy_64x256",
    "adamw_16k",
];

/// What is counted.
#[inline(never)]
fn counted(run: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    run()
}

/// Numbers between -1 and 1 without a pattern.
fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 7919 % 2003) as f32 / 1001.0 - 1.0).collect()
}

fn twice(mut run: impl FnMut() -> Result<()>) -> Result<()> {
    run()?;
    counted(&mut run)
}

fn case(name: &str) -> Result<()> {
    let exec = Exec::serial()?;
    if let Some(step) = name.strip_prefix("step_") {
        return whole_step(step, &exec);
    }
    let (kernel, shape) = name.rsplit_once('_').unwrap_or((name, "16k"));
    let sizes: Vec<usize> = shape.split('x').filter_map(|size| size.parse().ok()).collect();
    if let (Some(form), &[m, k, n]) = (kernel.strip_prefix("gemm_"), &sizes[..]) {
        return product(form, [m, k, n], &exec);
    }
    let &[rows, cols] = &sizes[..] else { return optimiser(&exec) };
    let (a, b) = (numbers(rows * cols), numbers(rows.max(cols)));
    let (mut out, mut line, mut places) = (vec![0.0; rows * cols], vec![0.0; rows.max(cols)], vec![0; rows.max(cols)]);
    let shape = [rows, cols];
    let (x, row) = (View::new(&a, &shape)?, View::new(&b[..cols], &[cols])?);
    let labels: Vec<i64> = (0..rows).map(|i| (i * 7 % cols) as i64).collect();
    let lines = if kernel.ends_with("cols") { cols } else { rows };
    let axis = isize::from(!kernel.ends_with("cols"));
    twice(|| {
        let y = ViewMut::new(&mut out, &shape)?;
        match kernel {
            "exp" => op::exp::forward(&exec, y, x)?,
            "tanh" => op::tanh::forward(&exec, y, x)?,
            "sigmoid" => op::sigmoid::forward(&exec, y, x)?,
            "gelu" => op::gelu::forward(&exec, y, x, op::gelu::Form::Erf)?,
            "gelu_backward" => op::gelu::backward(&exec, y, x, x, op::gelu::Form::Erf)?,
            "add_row" => op::add::forward(&exec, y, x, row, 1.0)?,
            "softmax" => op::softmax::forward(&exec, y, x, 1)?,
            "sum_rows" | "sum_cols" => {
                op::sum::forward(&exec, ViewMut::new(&mut line[..lines], &[lines])?, x, Axes::One(axis))?;
            }
            "max_rows" | "max_cols" => {
                let values = ViewMut::new(&mut line[..lines], &[lines])?;
                op::max::forward(&exec, values, ViewMut::new(&mut places[..lines], &[lines])?, x, axis)?;
            }
            _ => {
                let config = op::cross_entropy::Config::default();
                let (dx, x) = (MatMut::new(&mut out, rows, cols)?, Mat::new(&a, rows, cols)?);
                let each = 1.0 / rows as f32;
                let losses = &mut line[..rows];
                op::cross_entropy::forward_backward(&exec, losses, dx, each, x, &labels[..], None, config)?;
            }
        }
        Ok(())
    })
}

fn product(form: &str, [m, k, n]: [usize; 3], exec: &Exec) -> Result<()> {
    let (a, b, mut c) = (numbers(m * k), numbers(k * n), vec![0.0; m * n]);
    let mut scratch = vec![0.0; gemm::scratch_len(exec, m, k, n)];
    let (a, b) = match form {
        "nn" => (Mat::new(&a, m, k)?, Mat::new(&b, k, n)?),
        "nt" => (Mat::new(&a, m, k)?, Mat::new(&b, n, k)?.t()),
        _ => (Mat::new(&a, k, m)?.t(), Mat::new(&b, k, n)?),
    };
    twice(|| Ok(gemm(exec, MatMut::new(&mut c, m, n)?, Accum::Replace, a, b, &mut scratch)?))
}

fn optimiser(exec: &Exec) -> Result<()> {
    let grads = numbers(16_384);
    let mut state = [numbers(16_384), vec![0.0; 16_384], vec![0.0; 16_384]];
    let config = adam::Config { weight_decay: 0.01, decay: adam::Decay::Decoupled, ..adam::Config::default() };
    let step = Step { lr: 1e-3, scale: 1.0, number: 1 };
    twice(|| {
        let [params, mean, square] = &mut state;
        Ok(adam::update(exec, params, mean, square, &grads, step, config)?)
    })
}

/// The networks of the report, on smaller batches.
fn whole_step(name: &str, exec: &Exec) -> Result<()> {
    let (network, size) = name.rsplit_once('_').unwrap_or((name, "b32"));
    let size: usize = size[1..].parse().unwrap_or(32);
    let stack = |widths: &[usize], between: &[Layer]| -> Vec<Layer> {
        let hidden = widths[..widths.len() - 1].iter();
        let hidden =
            hidden.flat_map(|&width| std::iter::once(Linear::new(width).into()).chain(between.iter().cloned()));
        hidden.chain([Linear::new(widths[widths.len() - 1]).into()]).collect()
    };
    let norm = BatchNorm { variance: Variance::Unbiased, ..BatchNorm::default() };
    let adamw = Optimizer::adamw(0.01);
    let (batch, features, layers, loss, optimizer) = match network {
        "makemore" => (
            32,
            30,
            stack(&[size, 27], &[norm.into(), Activation::Tanh.into()]),
            Loss::cross_entropy(),
            Optimizer::default(),
        ),
        "mnist" => {
            (size, 784, stack(&[128, 10], &[Activation::Relu.into()]), Loss::cross_entropy(), Optimizer::default())
        }
        "tabular" => {
            let between = [LayerNorm::default().into(), Activation::Gelu { form: op::gelu::Form::Erf }.into()];
            (size, 64, stack(&[128, 128, 1], &between), Loss::Mse, adamw)
        }
        _ => (size, 4, stack(&[32, 16, 4], &[Activation::Tanh.into()]), Loss::Mse, adamw),
    };
    let tokens = network == "makemore";
    let input = if tokens { Input::Tokens { vocab: 27, context: 3, embedding: 10 } } else { Input::Dense { features } };
    let mlp = Mlp { input, layers, loss };
    let outputs = mlp.outputs()?;
    let options = Options { max_batch: batch, lr: 1e-3, optimizer, ..Options::default() };
    let mut trainer = Trainer::new(&mlp, options, exec)?;
    let (x, values) = (numbers(batch * features), numbers(batch * outputs));
    let words: Vec<i64> = (0..3 * batch).map(|i| (i * 11 % 27) as i64).collect();
    let labels: Vec<i64> = (0..batch).map(|i| (i * 7 % outputs) as i64).collect();
    let y: Targets<'_> = if let Loss::CrossEntropy(_) = mlp.loss { (&labels).into() } else { (&values).into() };
    twice(|| if tokens { trainer.step(&words, y) } else { trainer.step(&x, y) }.map(drop))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let asked = arguments.first().map(String::as_str);
    let done = match asked {
        Some("--list") => {
            println!("{}", NAMES.join("\n"));
            Ok(())
        }
        Some(name) if NAMES.contains(&name) => case(name),
        // With `--test`, or without a name, every case runs.
        None | Some("--test") => NAMES.iter().try_for_each(|name| case(name)),
        Some(_) => {
            eprintln!("counts: a name from `counts --list` is wanted");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = done {
        eprintln!("counts: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
