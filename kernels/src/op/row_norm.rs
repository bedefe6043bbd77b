//! What layer norm and RMS norm have in common: rows, each of which is brought to a size by itself.
//!
//! A row is what lies on the last axes of the input. Where rows are adjacent in memory they are normalised one by one
//! while they are in cache (`rows`); any other layout goes through the drivers of `reduce` and `elementwise` (`views`),
//! in the same order of sums and with the same functions of registers. RMS norm is layer norm with a mean of zero and
//! no gradient through it.

mod rows;
mod views;

use super::activation::Activation;
use super::norms::{Params, as_mat, as_mat_mut, expect_param, has_rows, product};
use crate::elementwise;
use crate::error::{ErrorKind, MAX_RANK, Result, expect_scratch, expect_shape};
use crate::exec::{Axis, BlockKernel, Exec};
use crate::gemm::Accum;
use crate::lanes::{self, BLOCK_ROWS, Collect};
use crate::reduce::{Axes, Reduced};
use crate::simd::Simd;
use crate::view::{Mat, MatMut, View, ViewMut};

/// Nanoseconds of one core an element, for the split over threads.
const FORWARD_NS: f64 = 0.15;
const BACKWARD_NS: f64 = 0.25;

/// The operands of a forward pass: views of one shape, or matrices of rows. The statistics have one element a row.
pub(super) struct Forward<W, R> {
    pub(super) y: W,
    /// None if rows are not centred.
    pub(super) mean: Option<W>,
    pub(super) inv_std: W,
    pub(super) x: R,
    pub(super) params: Params<R>,
    pub(super) eps: f32,
}

/// The operands of a backward pass that the input's gradient is made of, as in [`Forward`].
pub(super) struct Backward<W, R> {
    pub(super) dx: W,
    pub(super) dy: R,
    pub(super) x: R,
    /// None if rows are not centred.
    pub(super) mean: Option<R>,
    pub(super) inv_std: R,
    pub(super) weight: Option<R>,
}

/// How a shape falls into rows.
struct Shape {
    reduced: Reduced,
    /// How many axes number the rows.
    outer: usize,
    rows: usize,
    cols: usize,
}

impl Shape {
    /// # Errors
    /// If `shape` does not end in `normalized`, or that has no axis.
    fn new(op: &'static str, shape: &[usize], normalized: &[usize]) -> Result<Self> {
        const ARG: &str = "normalized_shape";
        if normalized.is_empty() {
            return Err(ErrorKind::Value { op, arg: ARG, want: "of at least one axis", got: 0.0 }.into());
        }
        let outer = shape.len().saturating_sub(normalized.len());
        expect_shape(op, ARG, &shape[outer..], normalized)?;
        let mut axes = [0; MAX_RANK];
        for (place, axis) in axes.iter_mut().zip(outer..shape.len()) {
            *place = axis as isize;
        }
        let reduced = Reduced::new(op, shape, Axes::List(&axes[..normalized.len()]))?;
        Ok(Self { reduced, outer, rows: product(&shape[..outer]), cols: product(normalized) })
    }

    /// Whether an operand of the whole shape has adjacent rows.
    fn has_rows(&self, x: View<'_>) -> bool {
        has_rows(x, self.outer)
    }
}

/// Whether statistics are evenly spaced.
fn is_column(statistic: View<'_>) -> bool {
    has_rows(statistic, statistic.rank())
}

/// The name of the statistic that both norms have.
fn inv_name(centred: bool) -> &'static str {
    if centred { "inv_std" } else { "inv_rms" }
}

/// The forward pass over views.
///
/// # Errors
/// If shapes do not match.
pub(super) fn forward(
    op: &'static str,
    exec: &Exec,
    call: Forward<ViewMut<'_>, View<'_>>,
    normalized: &[usize],
) -> Result<()> {
    let shape = Shape::new(op, call.x.shape(), normalized)?;
    let Forward { y, mean, inv_std, x, params, eps } = call;
    let Params { weight, bias } = params;
    expect_shape(op, "y", x.shape(), y.shape())?;
    let mut mean = mean.map(|mean| shape.reduced.out("mean", mean)).transpose()?;
    let mut inv_std = shape.reduced.out(inv_name(mean.is_some()), inv_std)?;
    expect_param(op, "weight", normalized, weight.as_ref().map(View::shape))?;
    expect_param(op, "bias", normalized, bias.as_ref().map(View::shape))?;
    if x.is_empty() {
        // The statistics of nothing are not numbers.
        mean.iter_mut().chain([&mut inv_std]).for_each(|statistic| statistic.fill(f32::NAN));
        return Ok(());
    }
    let regular = shape.has_rows(x)
        && shape.has_rows(y.as_view())
        && mean.as_ref().is_none_or(|mean| is_column(mean.as_view()))
        && is_column(inv_std.as_view())
        && weight.is_none_or(|weight| has_rows(weight, 0))
        && bias.is_none_or(|bias| has_rows(bias, 0));
    if !regular {
        views::forward(exec, Forward { y, mean, inv_std, x, params, eps }, shape.reduced.set);
        return Ok(());
    }
    let Shape { rows, cols, .. } = shape;
    let row = |param: Option<_>| param.map(|param| as_mat(param, [1, cols])).transpose();
    let mats = Forward {
        y: as_mat_mut(y, [rows, cols])?,
        mean: mean.map(|mean| as_mat_mut(mean, [rows, 1])).transpose()?,
        inv_std: as_mat_mut(inv_std, [rows, 1])?,
        x: as_mat(x, [rows, cols])?,
        params: Params { weight: row(weight)?, bias: row(bias)? },
        eps,
    };
    rows::forward(exec, mats, None, Activation::Identity);
    Ok(())
}

/// The forward pass over matrices, into `y` and from there through the activation: into `also`, or else in place.
///
/// # Errors
/// If shapes do not match, or columns are not adjacent.
pub(super) fn forward_rows(
    op: &'static str,
    exec: &Exec,
    call: Forward<MatMut<'_>, Mat<'_>>,
    also: Option<MatMut<'_>>,
    activation: Activation,
) -> Result<()> {
    let Forward { y, mean, inv_std, x, params: Params { weight, bias }, .. } = &call;
    let (rows, cols) = (x.rows(), x.cols());
    x.expect_adjacent(op, "x")?;
    y.expect(op, if also.is_some() { "z" } else { "y" }, rows, cols)?;
    also.as_ref().map_or(Ok(()), |also| also.expect(op, "y", rows, cols))?;
    if let Some(mean) = mean {
        mean.expect(op, "mean", rows, 1)?;
    }
    inv_std.expect(op, inv_name(mean.is_some()), rows, 1)?;
    weight.map_or(Ok(()), |weight| weight.expect(op, "weight", 1, cols))?;
    bias.map_or(Ok(()), |bias| bias.expect(op, "bias", 1, cols))?;
    rows::forward(exec, call, also, activation);
    Ok(())
}

/// The backward pass over views. The gradients of the weight and of the bias come last, if they are wanted.
///
/// # Errors
/// If shapes do not match, or `scratch` is too short.
pub(super) fn backward(
    op: &'static str,
    exec: &Exec,
    call: Backward<ViewMut<'_>, View<'_>>,
    params: [Option<ViewMut<'_>>; 2],
    accum: Accum,
    normalized: &[usize],
    scratch: &mut [f32],
) -> Result<()> {
    let shape = Shape::new(op, call.x.shape(), normalized)?;
    let Backward { dx, dy, x, mean, inv_std, weight } = call;
    expect_shape(op, "dx", x.shape(), dx.shape())?;
    expect_shape(op, "dy", x.shape(), dy.shape())?;
    let mean = mean.map(|mean| shape.reduced.inp("mean", mean)).transpose()?;
    let inv_std = shape.reduced.inp(inv_name(mean.is_some()), inv_std)?;
    expect_param(op, "weight", normalized, weight.as_ref().map(View::shape))?;
    for (arg, param) in ["dweight", "dbias"].into_iter().zip(&params) {
        expect_param(op, arg, normalized, param.as_ref().map(ViewMut::shape))?;
    }
    let want = scratch_len(shape.rows, shape.cols);
    expect_scratch(op, want, scratch.len())?;
    let scratch = &mut scratch[..want];
    let sums = params.iter().any(Option::is_some).then_some(&mut *scratch);
    if x.is_empty() {
        // Sums of nothing.
        scratch.fill(0.0);
    } else {
        any_backward(exec, &shape, Backward { dx, dy, x, mean, inv_std, weight }, sums)?;
    }
    let sums = scratch[..2 * shape.cols].split_at(shape.cols);
    for (grad, sum) in params.into_iter().zip([sums.0, sums.1]) {
        if let Some(grad) = grad {
            elementwise::map(exec, 0.06, [grad], [View::new(sum, normalized)?], Collect(accum));
        }
    }
    Ok(())
}

/// Writes the gradient of the input, and the sums of the parameters' gradients to the start of `sums`.
fn any_backward(
    exec: &Exec,
    shape: &Shape,
    call: Backward<ViewMut<'_>, View<'_>>,
    sums: Option<&mut [f32]>,
) -> Result<()> {
    let Backward { dx, dy, x, mean, inv_std, weight } = call;
    let regular = shape.has_rows(x)
        && shape.has_rows(dy)
        && shape.has_rows(dx.as_view())
        && mean.is_none_or(|mean| is_column(mean))
        && is_column(inv_std)
        && weight.is_none_or(|weight| has_rows(weight, 0));
    if !regular {
        views::backward(exec, Backward { dx, dy, x, mean, inv_std, weight }, shape, sums);
        return Ok(());
    }
    let &Shape { rows, cols, .. } = shape;
    let mats = Backward {
        dx: as_mat_mut(dx, [rows, cols])?,
        dy: as_mat(dy, [rows, cols])?,
        x: as_mat(x, [rows, cols])?,
        mean: mean.map(|mean| as_mat(mean, [rows, 1])).transpose()?,
        inv_std: as_mat(inv_std, [rows, 1])?,
        weight: weight.map(|weight| as_mat(weight, [1, cols])).transpose()?,
    };
    rows::backward(exec, mats, sums);
    Ok(())
}

/// The backward pass over matrices.
///
/// # Errors
/// If shapes do not match, columns are not adjacent, or `scratch` is too short.
pub(super) fn backward_rows(
    op: &'static str,
    exec: &Exec,
    call: Backward<MatMut<'_>, Mat<'_>>,
    params: [Option<MatMut<'_>>; 2],
    accum: Accum,
    scratch: &mut [f32],
) -> Result<()> {
    let Backward { dx, dy, x, mean, inv_std, weight } = &call;
    let (rows, cols) = (x.rows(), x.cols());
    x.expect_adjacent(op, "x")?;
    dx.expect(op, "dx", rows, cols)?;
    dy.expect(op, "dy", rows, cols)?;
    mean.map_or(Ok(()), |mean| mean.expect(op, "mean", rows, 1))?;
    inv_std.expect(op, inv_name(mean.is_some()), rows, 1)?;
    weight.map_or(Ok(()), |weight| weight.expect(op, "weight", 1, cols))?;
    for (arg, param) in ["dweight", "dbias"].into_iter().zip(&params) {
        param.as_ref().map_or(Ok(()), |param| param.expect(op, arg, 1, cols))?;
    }
    let want = scratch_len(rows, cols);
    expect_scratch(op, want, scratch.len())?;
    let scratch = &mut scratch[..want];
    if x.is_empty() {
        scratch.fill(0.0);
    } else {
        rows::backward(exec, call, params.iter().any(Option::is_some).then_some(&mut *scratch));
    }
    let sums = scratch[..2 * cols].split_at(cols);
    for (grad, sum) in params.into_iter().zip([sums.0, sums.1]) {
        if let Some(grad) = grad {
            exec.blocks(cols / 16, Axis::Cols, 16, [grad], [Mat::from_row(sum)], Collected(accum));
        }
    }
    Ok(())
}

/// Floats of scratch that a backward pass needs: for each block of rows, the sums of both parameters' gradients.
pub(super) const fn scratch_len(rows: usize, cols: usize) -> usize {
    let blocks = rows.div_ceil(BLOCK_ROWS);
    cols.saturating_mul(2).saturating_mul(if blocks == 0 { 1 } else { blocks })
}

/// Collects sums in what stands there.
#[derive(Clone, Copy)]
struct Collected(Accum);

impl BlockKernel<1, 1> for Collected {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, _: usize, out: [MatMut<'_>; 1], sums: [Mat<'_>; 1]) {
        lanes::map(s, out, sums, Collect(self.0));
    }
}

/// `Σ (x - first)`, one register at a time.
#[inline(always)]
fn distance<S: Simd>(s: S, acc: S::F32, x: S::F32, first: S::F32) -> S::F32 {
    s.add(acc, s.sub(x, first))
}

/// `Σ (x - mean)²`, one register at a time.
#[inline(always)]
fn square<S: Simd>(s: S, acc: S::F32, x: S::F32, mean: S::F32) -> S::F32 {
    let distance = s.sub(x, mean);
    s.fma(distance, distance, acc)
}

/// `Σ g` and `Σ g·x̂` with `g = dy·weight`, one register at a time.
#[inline(always)]
fn pulls<S: Simd>(s: S, acc: [S::F32; 2], g: S::F32, xhat: S::F32) -> [S::F32; 2] {
    [s.add(acc[0], g), s.fma(g, xhat, acc[1])]
}

/// The means of what [`pulls`] sums; the first one is nothing if rows are not centred.
#[inline(always)]
fn mean_pulls<S: Simd>(s: S, [g, g_xhat]: [S::F32; 2], n: f32, centred: bool) -> [S::F32; 2] {
    let mean_g = if centred { s.div(g, s.splat(n)) } else { s.zero() };
    [mean_g, s.div(g_xhat, s.splat(n))]
}

/// `inv_std·(g - mean g - x̂·mean g·x̂)`.
#[inline(always)]
fn input_grad<S: Simd>(s: S, g: S::F32, xhat: S::F32, inv_std: S::F32, [mean_g, mean_g_xhat]: [S::F32; 2]) -> S::F32 {
    s.mul(inv_std, s.fnma(xhat, mean_g_xhat, s.sub(g, mean_g)))
}

/// `Σ dy·x̂` and `Σ dy`, one register at a time: the gradients of the weight and of the bias.
#[inline(always)]
fn param_grads<S: Simd>(s: S, [dweight, dbias]: [S::F32; 2], dy: S::F32, xhat: S::F32) -> [S::F32; 2] {
    [s.fma(dy, xhat, dweight), s.add(dbias, dy)]
}
