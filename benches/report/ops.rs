//! Operations over views, in the second-level cache and out of all of them, on one thread and two.

use crate::Report;
use crate::cases::numbers;
use crate::stream::Mix;
use handgrad::kernels::gemm::Accum;
use handgrad::kernels::op::layer_norm::{Grads, Params, Saved, Statistics};
use handgrad::kernels::op::{self, Axes, batch_norm, batch_norm_nd, cross_entropy, gelu, layer_norm};
use handgrad::kernels::view::{Mat, MatMut, View, ViewMut};
use handgrad::{Exec, Result, Variance};

const COPY: Mix = Mix { reads: 1, writes: 1 };
const READ: Mix = Mix { reads: 1, writes: 0 };
const TWO_IN: Mix = Mix { reads: 2, writes: 1 };

/// All cases.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    let serial = Exec::serial()?;
    elementwise(report, &serial, [32, 1024], "32k")?;
    let two = Exec::with_threads(2)?;
    for exec in [&serial, &two] {
        exec.install(|| -> Result<()> {
            elementwise(report, exec, [16_384, 1024], "16m")?;
            reductions(report, exec)?;
            norms(report, exec)?;
            losses(report, exec, 1024, 1000)?;
            losses(report, exec, 4096, 32_000)
        })?;
    }
    Ok(())
}

/// Functions of one element.
fn elementwise(report: &mut Report, exec: &Exec, [rows, cols]: [usize; 2], size: &str) -> Result<()> {
    const NAMES: [&str; 10] =
        ["exp", "tanh", "sigmoid", "gelu_erf_fwd", "gelu_erf_bwd", "relu", "tanh_bwd", "add", "add_row", "mul_col"];
    let name = |function: &str| format!("{function}_{size}_{}t", exec.threads());
    if !NAMES.iter().any(|function| report.wants(&name(function))) {
        return Ok(());
    }
    let len = rows * cols;
    let (a, b) = (numbers(len, 1), numbers(len, 2));
    let mut out = vec![0.0; len];
    let shape = [rows, cols];
    let (x, u) = (View::new(&a, &shape)?, View::new(&b, &shape)?);
    let (row, col) = (View::new(&b[..cols], &[cols])?, View::new(&b[..rows], &[rows, 1])?);
    let mut y = ViewMut::new(&mut out, &shape)?;
    for function in NAMES {
        let mix = if matches!(function, "gelu_erf_bwd" | "tanh_bwd" | "add") { TWO_IN } else { COPY };
        report.stream(&name(function), exec.threads(), len, mix, || {
            let y = y.reborrow();
            match function {
                "exp" => op::exp::forward(exec, y, x),
                "tanh" => op::tanh::forward(exec, y, x),
                "sigmoid" => op::sigmoid::forward(exec, y, x),
                "gelu_erf_fwd" => gelu::forward(exec, y, x, gelu::Form::Erf),
                "gelu_erf_bwd" => gelu::backward(exec, y, u, x, gelu::Form::Erf),
                "relu" => op::relu::forward(exec, y, x),
                "tanh_bwd" => op::tanh::backward(exec, y, u, x),
                "add" => op::add::forward(exec, y, x, u, 1.0),
                "add_row" => op::add::forward(exec, y, x, row, 1.0),
                _ => op::mul::forward(exec, y, x, col),
            }
        })?;
    }
    Ok(())
}

/// One result for each row, or for each column.
fn reductions(report: &mut Report, exec: &Exec) -> Result<()> {
    const SHAPE: [usize; 2] = [4096, 1024];
    let name = |function: &str| format!("{function}_4096x1024_{}t", exec.threads());
    let len = SHAPE[0] * SHAPE[1];
    let a = numbers(len, 1);
    let x = View::new(&a, &SHAPE)?;
    let mut out = vec![0.0; SHAPE[0]];
    let mut places = vec![0; SHAPE[0]];
    for (axis, lines) in [(1, "rows"), (0, "cols")] {
        let n = SHAPE[1 - axis];
        let axis = axis as isize;
        let (mut y, mut i) = (ViewMut::new(&mut out[..n], &[n])?, ViewMut::new(&mut places[..n], &[n])?);
        report.stream(&name(&format!("sum_{lines}")), exec.threads(), len, READ, || {
            op::sum::forward(exec, y.reborrow(), x, Axes::One(axis))
        })?;
        report.stream(&name(&format!("max_{lines}")), exec.threads(), len, READ, || {
            op::max::forward(exec, y.reborrow(), i.reborrow(), x, axis)
        })?;
    }
    let mut out = vec![0.0; len];
    let mut y = ViewMut::new(&mut out, &SHAPE)?;
    report.stream(&name("softmax"), exec.threads(), len, COPY, || op::softmax::forward(exec, y.reborrow(), x, 1))
}

/// Normalisations of rows and of columns.
fn norms(report: &mut Report, exec: &Exec) -> Result<()> {
    const ROWS: usize = 4096;
    const COLS: usize = 1024;
    const SHAPE: [usize; 2] = [ROWS, COLS];
    let name = |function: &str| format!("{function}_4096x1024_{}t", exec.threads());
    let len = ROWS * COLS;
    let (a, b, weight, bias) = (numbers(len, 1), numbers(len, 2), numbers(COLS, 3), numbers(COLS, 4));
    let (x, dy) = (View::new(&a, &SHAPE)?, View::new(&b, &SHAPE)?);
    let (weight, bias) = (View::new(&weight, &[COLS])?, View::new(&bias, &[COLS])?);
    let params = Params { weight: Some(weight), bias: Some(bias) };
    let mut out = vec![0.0; len];
    let mut y = ViewMut::new(&mut out, &SHAPE)?;
    let mut small = [(); 4].map(|()| vec![0.0; ROWS]);
    let [mean, inv_std, dweight, dbias] = &mut small;
    let mut scratch = vec![0.0; layer_norm::backward_scratch(&SHAPE, &[COLS])];

    report.stream(&name("layer_norm_fwd"), exec.threads(), len, COPY, || {
        let statistics = Statistics {
            mean: ViewMut::new(&mut mean[..], &[ROWS, 1])?,
            inv_std: ViewMut::new(&mut inv_std[..], &[ROWS, 1])?,
        };
        layer_norm::forward(exec, y.reborrow(), statistics, x, &[COLS], params, layer_norm::Config::default())
    })?;
    report.stream(&name("layer_norm_bwd"), exec.threads(), len, TWO_IN, || {
        let saved = Saved { mean: View::new(&mean[..], &[ROWS, 1])?, inv_std: View::new(&inv_std[..], &[ROWS, 1])? };
        let grads = Grads {
            dx: y.reborrow(),
            dweight: Some(ViewMut::new(&mut dweight[..COLS], &[COLS])?),
            dbias: Some(ViewMut::new(&mut dbias[..COLS], &[COLS])?),
        };
        layer_norm::backward(exec, grads, Accum::Replace, dy, x, saved, &[COLS], Some(weight), &mut scratch)
    })?;

    let config = batch_norm::Config { variance: Variance::Biased, ..batch_norm::Config::default() };
    report.stream(&name("batch_norm_fwd"), exec.threads(), len, COPY, || {
        let statistics = Statistics {
            mean: ViewMut::new(&mut mean[..COLS], &[COLS])?,
            inv_std: ViewMut::new(&mut inv_std[..COLS], &[COLS])?,
        };
        batch_norm_nd::forward(exec, y.reborrow(), statistics, None, x, params, config)
    })?;
    report.stream(&name("batch_norm_bwd"), exec.threads(), len, TWO_IN, || {
        let saved = Saved { mean: View::new(&mean[..COLS], &[COLS])?, inv_std: View::new(&inv_std[..COLS], &[COLS])? };
        let grads = Grads {
            dx: y.reborrow(),
            dweight: Some(ViewMut::new(&mut dweight[..COLS], &[COLS])?),
            dbias: Some(ViewMut::new(&mut dbias[..COLS], &[COLS])?),
        };
        batch_norm_nd::backward(exec, grads, Accum::Replace, dy, x, saved, Some(weight), config)
    })
}

/// Cross-entropy, forward and backward in one.
fn losses(report: &mut Report, exec: &Exec, batch: usize, classes: usize) -> Result<()> {
    let name = format!("cross_entropy_{batch}x{classes}_{}t", exec.threads());
    if !report.wants(&name) {
        return Ok(());
    }
    let logits = numbers(batch * classes, 1);
    let labels: Vec<i64> = (0..batch).map(|i| (i * 7919 % classes) as i64).collect();
    let (mut losses, mut out) = (vec![0.0; batch], vec![0.0; batch * classes]);
    let x = Mat::new(&logits, batch, classes)?;
    let mut dx = MatMut::new(&mut out, batch, classes)?;
    let each = 1.0 / batch as f32;
    report.stream(&name, exec.threads(), batch * classes, COPY, || {
        let config = cross_entropy::Config::default();
        cross_entropy::forward_backward(exec, &mut losses, dx.reborrow(), each, x, &labels[..], None, config)
    })
}
