//! A linear layer: `y = x·w + b` with `x` of `batch x inputs`, `w` of `inputs x outputs` and `b` of `1 x outputs`. Inputs
//! are multiplied from the left, as in the notebook; PyTorch's `Linear.weight` is `w.t()`. For inputs of any rank and
//! weights as PyTorch has them, see [`view`].
//!
//! Each element of `y` is `Σ x[i, p]·w[p, j] + b[j]`, so
//!
//! ```text
//! dx = dy·wᵀ        dx[i, p] = Σ dy[i, j]·w[p, j]
//! dw = xᵀ·dy        dw[p, j] = Σ x[i, p]·dy[i, j]
//! db = Σ dy         over the batch: the bias was broadcast over it
//! ```

pub mod view;

use super::activation::Activation;
use crate::error::{Result, expect_scratch};
use crate::exec::{Axis, BlockKernel, Exec};
use crate::gemm::{self, Accum, Epilogue, Finish};
use crate::lanes::{self, Map};
use crate::optim::sgd;
use crate::simd::Simd;
use crate::view::{Mat, MatMut};

/// The largest batch for which [`backward_sgd`] pays: a larger one is faster by [`backward_params`] and an update, since
/// its operands are copied into blocks first, and only a product of one block can descend in place.
pub const FUSED_BATCH: usize = gemm::blocking::KC;

/// The gradients of the parameters.
pub struct Grads<'a> {
    /// Of the weights, `inputs x outputs`.
    pub dw: MatMut<'a>,
    /// Of the bias, `1 x outputs`, if there is one.
    pub db: Option<MatMut<'a>>,
}

/// Floats of scratch that every function of this module may need for a layer of these sizes on `exec`.
#[must_use]
pub fn scratch_len(exec: &Exec, batch: usize, inputs: usize, outputs: usize) -> usize {
    let forward = gemm::scratch_len(exec, batch, inputs, outputs);
    let input = gemm::scratch_len(exec, batch, outputs, inputs);
    let weight = gemm::scratch_len(exec, inputs, batch, outputs);
    forward.max(input).max(weight).max(outputs)
}

/// `y = activation(x·w + b)`; the columns of `y` and `b` must be adjacent.
///
/// # Errors
/// If the shapes do not match, if columns are not adjacent, or if `scratch` is too short; [`scratch_len`] is enough.
pub fn forward(
    exec: &Exec,
    y: MatMut<'_>,
    x: Mat<'_>,
    w: Mat<'_>,
    b: Option<Mat<'_>>,
    activation: Activation,
    scratch: &mut [f32],
) -> Result<()> {
    let b = check_forward(exec, [(&y, "y")], x, w, b, scratch)?;
    let isa = exec.isa();
    let in_place = |y: MatMut<'_>, _: Option<MatMut<'_>>, _: (usize, usize)| activation.in_place(isa, y);
    let (epilogue, finish) = match (activation, b) {
        (Activation::Identity, None) => (Epilogue::Store, None),
        (Activation::Identity, Some(b)) => (Epilogue::Bias(b, f32::NEG_INFINITY), None),
        (Activation::Relu, Some(b)) => (Epilogue::Bias(b, 0.0), None),
        (_, b) => (bias(b), Some(Finish { also: None, run: &in_place })),
    };
    gemm::product(exec, y, Accum::Replace, x, w, epilogue, finish, scratch);
    Ok(())
}

/// [`forward`] that keeps what the activation is given: `z = x·w + b`, `y = activation(z)`. `z` has the shape of `y`, and
/// its columns must be adjacent.
///
/// # Errors
/// As [`forward`].
pub fn forward_saving(
    exec: &Exec,
    y: MatMut<'_>,
    z: MatMut<'_>,
    x: Mat<'_>,
    w: Mat<'_>,
    b: Option<Mat<'_>>,
    activation: Activation,
    scratch: &mut [f32],
) -> Result<()> {
    let b = check_forward(exec, [(&y, "y"), (&z, "z")], x, w, b, scratch)?;
    let isa = exec.isa();
    let run = |z: MatMut<'_>, y: Option<MatMut<'_>>, _: (usize, usize)| {
        if let Some(y) = y {
            activation.block(isa, y, z.as_mat());
        }
    };
    let finish = Some(Finish { also: Some(y), run: &run });
    gemm::product(exec, z, Accum::Replace, x, w, bias(b), finish, scratch);
    Ok(())
}

/// The bias, if there is one.
fn bias(b: Option<Mat<'_>>) -> Epilogue<'_> {
    b.map_or(Epilogue::Store, |b| Epilogue::Bias(b, f32::NEG_INFINITY))
}

/// Checks a forward pass, and returns its bias.
fn check_forward<'a, const N: usize>(
    exec: &Exec,
    out: [(&MatMut<'_>, &'static str); N],
    x: Mat<'_>,
    w: Mat<'_>,
    b: Option<Mat<'a>>,
    scratch: &[f32],
) -> Result<Option<Mat<'a>>> {
    const OP: &str = "linear::forward";
    w.expect_size(OP, "w", x.cols(), w.cols())?;
    for (y, arg) in out {
        y.expect_size(OP, arg, x.rows(), w.cols())?;
        y.expect_adjacent(OP, arg)?;
    }
    expect_scratch(OP, gemm::scratch_len(exec, x.rows(), w.rows(), w.cols()), scratch.len())?;
    check_bias(OP, "b", b, w.cols())
}

/// `dx = dy·wᵀ`, then through the activation that made `x`, from what it [saved](Activation::saves) (`x` itself if that is
/// its output): `dx·activation'`, the gradient of what the activation was given. [`Activation::Identity`] leaves the
/// gradient of `x`. `dx` is overwritten; its columns and those of `saved` must be adjacent.
///
/// # Errors
/// As [`forward`].
pub fn backward_input(
    exec: &Exec,
    dx: MatMut<'_>,
    dy: Mat<'_>,
    w: Mat<'_>,
    through: Activation,
    saved: Mat<'_>,
    scratch: &mut [f32],
) -> Result<()> {
    const OP: &str = "linear::backward_input";
    w.expect_size(OP, "w", saved.cols(), w.cols())?;
    dy.expect_size(OP, "dy", saved.rows(), w.cols())?;
    dx.expect_size(OP, "dx", saved.rows(), saved.cols())?;
    expect_scratch(OP, gemm::scratch_len(exec, saved.rows(), w.cols(), w.rows()), scratch.len())?;
    dx.expect_adjacent(OP, "dx")?;
    if through != Activation::Identity {
        saved.expect_adjacent(OP, "saved")?;
    }
    let isa = exec.isa();
    let in_place = |dx: MatMut<'_>, _: Option<MatMut<'_>>, (i, j): (usize, usize)| {
        let saved = saved.rows_in(i..i + dx.rows()).cols_in(j..j + dx.cols());
        through.backward_in_place(isa, dx, saved);
    };
    let (epilogue, finish) = match through.slope() {
        _ if through == Activation::Identity => (Epilogue::Store, None),
        Some(slope) => (Epilogue::Through(slope, saved), None),
        None => (Epilogue::Store, Some(Finish { also: None, run: &in_place })),
    };
    gemm::product(exec, dx, Accum::Replace, dy, w.t(), epilogue, finish, scratch);
    Ok(())
}

/// `dw (+)= xᵀ·dy` and `db (+)= Σ dy`; `accum` says what happens to their old contents. The columns of `db` and `dy`
/// must be adjacent, and the columns or the rows of `dw`.
///
/// # Errors
/// As [`forward`].
pub fn backward_params(
    exec: &Exec,
    grads: Grads<'_>,
    accum: Accum,
    dy: Mat<'_>,
    x: Mat<'_>,
    scratch: &mut [f32],
) -> Result<()> {
    const OP: &str = "linear::backward_params";
    let Grads { dw, db } = grads;
    let turned = check_params(OP, exec, dw.as_mat(), "dw", dy, x, scratch)?;
    let db = check_bias_mut(OP, "db", db, dy.cols())?;
    let (dw, a, b) = if turned { (dw.t(), dy.t(), x) } else { (dw, x.t(), dy) };
    gemm::product(exec, dw, accum, a, b, Epilogue::Store, None, scratch);
    if let Some(db) = db {
        sum_rows(exec, db, dy, lanes::Collect(accum), scratch);
    }
    Ok(())
}

/// Plain gradient descent without writing the gradients down: `w -= lr·xᵀ·dy` and `b -= lr·Σ dy`, the same bits as
/// [`backward_params`] and [`sgd::update`] one after the other. Where the rows of `w` are adjacent instead of its
/// columns, or there is one output, the columns of `x` must be adjacent too.
///
/// # Errors
/// As [`backward_params`].
pub fn backward_sgd(
    exec: &Exec,
    w: MatMut<'_>,
    b: Option<MatMut<'_>>,
    lr: f32,
    dy: Mat<'_>,
    x: Mat<'_>,
    scratch: &mut [f32],
) -> Result<()> {
    const OP: &str = "linear::backward_sgd";
    let turned = check_params(OP, exec, w.as_mat(), "w", dy, x, scratch)?;
    if turned {
        // Here `x` is the operand that is read by registers, and a product in place cannot copy it first.
        x.expect_adjacent(OP, "x")?;
    }
    let bias = check_bias_mut(OP, "b", b, dy.cols())?;
    let (w, a, b) = if turned { (w.t(), dy.t(), x) } else { (w, x.t(), dy) };
    gemm::product(exec, w, Accum::Replace, a, b, Epilogue::Sgd { lr }, None, scratch);
    if let Some(bias) = bias {
        sum_rows(exec, bias, dy, sgd::Plain { lr }, scratch);
    }
    Ok(())
}

/// `y = f(Σ dy, y)` over the rows of `dy`.
fn sum_rows<F: Map<1, 1>>(exec: &Exec, y: MatMut<'_>, dy: Mat<'_>, f: F, scratch: &mut [f32]) {
    let sums = MatMut::from_row(&mut scratch[..dy.cols()]);
    let nanoseconds = dy.rows().saturating_mul(dy.cols()) / 16;
    exec.blocks(nanoseconds, Axis::Cols, 16, [y, sums], [dy], SumRows(f));
}

#[derive(Clone, Copy)]
struct SumRows<F>(F);

impl<F: Map<1, 1>> BlockKernel<2, 1> for SumRows<F> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, _: usize, [y, mut sums]: [MatMut<'_>; 2], [dy]: [Mat<'_>; 1]) {
        lanes::fold_cols(s, [sums.reborrow()], [dy], [], lanes::Sum, lanes::Totals);
        lanes::map(s, [y], [sums.as_mat()], self.0);
    }
}

/// Checks what the passes to the parameters have in common; `w` is the weights or their gradient, named `arg`. Returns
/// whether its columns are to be computed as rows: they are what lies adjacent, or there is only one. Each element is one
/// chain in the order of the batch either way.
fn check_params(
    op: &'static str,
    exec: &Exec,
    w: Mat<'_>,
    arg: &'static str,
    dy: Mat<'_>,
    x: Mat<'_>,
    scratch: &[f32],
) -> Result<bool> {
    w.expect_size(op, arg, x.cols(), dy.cols())?;
    dy.expect_size(op, "dy", x.rows(), dy.cols())?;
    let turned = w.cols() == 1 || (!w.is_adjacent() && w.t().is_adjacent());
    let (m, n) = if turned { (w.cols(), w.rows()) } else { (w.rows(), w.cols()) };
    let want = gemm::scratch_len(exec, m, x.rows(), n).max(w.cols());
    expect_scratch(op, want, scratch.len())?;
    dy.expect_adjacent(op, "dy")?;
    if turned {
        w.t().expect_adjacent(op, arg)?;
    } else {
        w.expect_adjacent(op, arg)?;
    }
    Ok(turned)
}

fn check_bias<'a>(op: &'static str, arg: &'static str, b: Option<Mat<'a>>, outputs: usize) -> Result<Option<Mat<'a>>> {
    if let Some(b) = b {
        b.expect(op, arg, 1, outputs)?;
    }
    Ok(b)
}

fn check_bias_mut<'a>(
    op: &'static str,
    arg: &'static str,
    b: Option<MatMut<'a>>,
    outputs: usize,
) -> Result<Option<MatMut<'a>>> {
    check_bias(op, arg, b.as_ref().map(MatMut::as_mat), outputs)?;
    Ok(b)
}
