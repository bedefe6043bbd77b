//! Cross-entropy of logits against class labels, with its softmax: `loss = -ln softmax(logits)[label]`, row by row.
//!
//! With the row maximum `m` taken off, nothing overflows and the loss is `ln Σ e^(l - m) - (l[label] - m)`. The maximum
//! itself has no gradient: it cancels. Of the rest,
//!
//! ```text
//! dloss/dl[j] = e^(l[j] - m)/Σ e^(l - m) - [j = label] = softmax(l)[j] - [j = label]
//! ```
//!
//! so each row of the gradient sums to zero: it pulls the label's logit up by what it pushes the others down. The
//! notebook takes ten small steps for this, and one line in exercise 2. A row of `-inf` gives NaN, as in PyTorch.

use crate::error::{ErrorKind, Result, expect_indices, expect_shape};
use crate::exec::{Axis, BlockKernel, Exec};
use crate::lanes::{self, Map, Registers, RowFold, Short, ShortRows, TOGETHER};
use crate::math;
use crate::simd::Simd;
use crate::view::{Mat, MatMut};
use std::ops::Range;

/// Nanoseconds of one core an element, for the split over threads.
const NS: f64 = 0.3;

/// Rows whose logarithms are taken together.
const ROWS: usize = 64;

/// The loss of each row: `losses` has one element for each row of `logits` (`batch x classes`), `labels` likewise.
///
/// # Errors
/// If shapes do not match, or a label is not in `0..classes`; then nothing is written.
pub fn forward(exec: &Exec, losses: &mut [f32], logits: Mat<'_>, labels: &[i64]) -> Result<()> {
    check("cross_entropy::forward", losses.len(), logits, labels)?;
    let losses = MatMut::from_row(losses).t();
    exec.blocks(nanoseconds(logits), Axis::Rows, 1, [losses], [logits], Forward { labels });
    Ok(())
}

/// The gradient of the logits, `dlogits[i] = dlosses[i]·(softmax(logits[i]) - onehot(labels[i]))`; overwritten.
///
/// # Errors
/// As [`forward`].
pub fn backward(exec: &Exec, dlogits: MatMut<'_>, dlosses: &[f32], logits: Mat<'_>, labels: &[i64]) -> Result<()> {
    const OP: &str = "cross_entropy::backward";
    check(OP, dlosses.len(), logits, labels)?;
    expect_shape(OP, "dlogits", &[logits.rows(), logits.cols()], &[dlogits.rows(), dlogits.cols()])?;
    let kernel = Backward { labels, dloss: |i| dlosses[i] };
    exec.blocks(nanoseconds(logits), Axis::Rows, 1, [dlogits], [logits], kernel);
    Ok(())
}

/// [`forward`], and [`backward`] with every `dlosses[i] = dloss`, in one pass over the logits and with the same bits.
///
/// # Errors
/// As [`forward`].
pub fn forward_backward(
    exec: &Exec,
    losses: &mut [f32],
    dlogits: MatMut<'_>,
    dloss: f32,
    logits: Mat<'_>,
    labels: &[i64],
) -> Result<()> {
    const OP: &str = "cross_entropy::forward_backward";
    check(OP, losses.len(), logits, labels)?;
    expect_shape(OP, "dlogits", &[logits.rows(), logits.cols()], &[dlogits.rows(), dlogits.cols()])?;
    let out = [MatMut::from_row(losses).t(), dlogits];
    exec.blocks(nanoseconds(logits), Axis::Rows, 1, out, [logits], Both { labels, dloss });
    Ok(())
}

/// The mean of the losses, summed along a row in the written order. Of none it is NaN.
#[must_use]
pub fn mean(exec: &Exec, losses: &[f32]) -> f32 {
    let mut mean = [0.0];
    exec.blocks(losses.len() / 16, Axis::Cols, 1, [MatMut::from_row(&mut mean)], [], Mean { losses });
    mean[0]
}

fn nanoseconds(logits: Mat<'_>) -> usize {
    (logits.rows() as f64 * logits.cols() as f64 * NS) as usize
}

fn check(op: &'static str, losses: usize, logits: Mat<'_>, labels: &[i64]) -> Result<()> {
    let batch = logits.rows();
    for (arg, got) in [("losses", losses), ("labels", labels.len())] {
        if got != batch {
            return Err(ErrorKind::Length { op, arg, want: batch, got }.into());
        }
    }
    expect_indices(op, "labels", labels, logits.cols())
}

#[derive(Clone, Copy)]
struct Forward<'a> {
    labels: &'a [i64],
}

impl BlockKernel<1, 1> for Forward<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, start: usize, [mut losses]: [MatMut<'_>; 1], [logits]: [Mat<'_>; 1]) {
        let mut terms = Terms::new();
        for rows in chunks(logits.rows()) {
            let labels = &self.labels[start + rows.start..start + rows.end];
            let logits = logits.rows_in(rows.clone());
            for (i, &label) in labels.iter().enumerate() {
                let max = row_max(s, i, logits);
                [terms.sums[i]] = lanes::fold_row(s, i, [], [logits], SumExp { max });
                terms.shifts[i] = label_logit(logits, i, label) - max;
            }
            terms.losses(s, losses.reborrow().rows_in(rows));
        }
    }
}

#[derive(Clone, Copy)]
struct Mean<'a> {
    losses: &'a [f32],
}

impl BlockKernel<1, 0> for Mean<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, _: usize, [mut mean]: [MatMut<'_>; 1], _: [Mat<'_>; 0]) {
        let [sum] = lanes::fold_row(s, 0, [], [Mat::from_row(self.losses)], lanes::RowSum);
        *mean.at(0, 0) = sum / self.losses.len() as f32;
    }
}

#[derive(Clone, Copy)]
struct Backward<'a, D> {
    labels: &'a [i64],
    dloss: D,
}

impl<D: Fn(usize) -> f32 + Copy + Send + Sync> BlockKernel<1, 1> for Backward<'_, D> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, start: usize, [mut dlogits]: [MatMut<'_>; 1], [logits]: [Mat<'_>; 1]) {
        for i in 0..logits.rows() {
            let (max, dloss) = (row_max(s, i, logits), (self.dloss)(start + i));
            row_exps(s, i, &mut dlogits, logits, max, dloss);
            *dlogits.at(i, self.labels[start + i] as usize) -= dloss;
        }
    }
}

#[derive(Clone, Copy)]
struct Both<'a> {
    labels: &'a [i64],
    dloss: f32,
}

impl BlockKernel<2, 1> for Both<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, start: usize, out: [MatMut<'_>; 2], [logits]: [Mat<'_>; 1]) {
        let [mut losses, mut dlogits] = out;
        let mut terms = Terms::new();
        for rows in chunks(logits.rows()) {
            let labels = &self.labels[start + rows.start..start + rows.end];
            let (logits, mut dlogits) = (logits.rows_in(rows.clone()), dlogits.reborrow().rows_in(rows.clone()));
            let mut short = ShortGradient { dloss: self.dloss, terms: &mut terms };
            if !lanes::map_short_rows(s, dlogits.reborrow(), logits, &mut short) {
                for i in 0..logits.rows() {
                    terms.shifts[i] = row_max(s, i, logits);
                    terms.sums[i] = row_exps(s, i, &mut dlogits, logits, terms.shifts[i], self.dloss);
                }
            }
            for (i, &label) in labels.iter().enumerate() {
                terms.shifts[i] = label_logit(logits, i, label) - terms.shifts[i];
                *dlogits.at(i, label as usize) -= self.dloss;
            }
            terms.losses(s, losses.reborrow().rows_in(rows));
        }
    }
}

/// Ranges of at most [`ROWS`] rows.
fn chunks(batch: usize) -> impl Iterator<Item = Range<usize>> {
    (0..batch).step_by(ROWS).map(move |first| first..batch.min(first + ROWS))
}

/// What the losses of a few rows are made of, kept so that their logarithms are taken a register at a time.
struct Terms {
    /// `Σ e^(l - max)`
    sums: [f32; ROWS],
    /// `l[label] - max`
    shifts: [f32; ROWS],
}

impl Terms {
    fn new() -> Self {
        Self { sums: [0.0; ROWS], shifts: [0.0; ROWS] }
    }

    /// `losses[i] = ln sums[i] - shifts[i]`
    #[inline(always)]
    fn losses<S: Simd>(&self, s: S, losses: MatMut<'_>) {
        let n = losses.rows();
        lanes::map(s, [losses.t()], [Mat::from_row(&self.sums[..n]), Mat::from_row(&self.shifts[..n])], LnMinus);
    }
}

#[inline(always)]
fn row_max<S: Simd>(s: S, i: usize, logits: Mat<'_>) -> f32 {
    let [max] = lanes::fold_row(s, i, [], [logits], lanes::Max);
    max
}

/// The label's logit; labels are checked at the door.
#[inline(always)]
fn label_logit(logits: Mat<'_>, i: usize, label: i64) -> f32 {
    logits.get(i, label as usize).unwrap_or(f32::NAN)
}

/// Writes `dloss·softmax` of a row and returns `Σ e^(l - max)`.
#[inline(always)]
fn row_exps<S: Simd>(s: S, i: usize, dlogits: &mut MatMut<'_>, logits: Mat<'_>, max: f32, dloss: f32) -> f32 {
    let [sum] = lanes::fold_row(s, i, [dlogits.reborrow()], [logits], WriteExp { max });
    lanes::map(s, [dlogits.reborrow().rows_in(i..i + 1)], [], Scale(dloss / sum));
    sum
}

/// [`row_max`] and [`row_exps`] of short rows.
struct ShortGradient<'a> {
    dloss: f32,
    /// Its shifts receive the maxima.
    terms: &'a mut Terms,
}

impl ShortRows for ShortGradient<'_> {
    #[inline(always)]
    fn eval<S: Simd, const N: usize>(&mut self, s: S, i: [usize; TOGETHER], rows: Short<S, N>) -> Registers<S, N> {
        // Where there is a NaN the maximum is anything, and the sum is NaN all the same.
        let maxima = s.quarters(rows.maxima());
        let mut e = rows.x;
        for (e, max) in e.iter_mut().zip(maxima) {
            for e in e {
                *e = math::exp(s, s.sub(*e, max));
            }
        }
        let sums = rows.with(e).sums();
        let scales = s.quarters(s.div(s.splat(self.dloss), sums));
        for (e, scale) in e.iter_mut().zip(scales) {
            for e in e {
                *e = s.mul(*e, scale);
            }
        }
        for (i, (sum, max)) in i.into_iter().zip(s.quarters(sums).into_iter().zip(maxima)) {
            (self.terms.sums[i], self.terms.shifts[i]) = (s.first(sum), s.first(max));
        }
        e
    }
}

/// `Σ e^(x - max)`.
#[derive(Clone, Copy)]
struct SumExp {
    max: f32,
}

impl RowFold<1, 1, 0> for SumExp {
    const START: f32 = 0.0;
    #[inline(always)]
    fn step<S: Simd>(self, s: S, [acc]: [S::F32; 1], [x]: [S::F32; 1]) -> ([S::F32; 1], [S::F32; 0]) {
        ([s.add(acc, math::exp(s, s.sub(x, s.splat(self.max))))], [])
    }
    #[inline(always)]
    fn merge<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::F32 {
        s.add(a, b)
    }
    #[inline(always)]
    fn fold<S: Simd>(self, s: S, a: S::F32) -> f32 {
        s.fold_add(a)
    }
}

/// [`SumExp`], writing the terms.
#[derive(Clone, Copy)]
struct WriteExp {
    max: f32,
}

impl RowFold<1, 1, 1> for WriteExp {
    const START: f32 = 0.0;
    #[inline(always)]
    fn step<S: Simd>(self, s: S, [acc]: [S::F32; 1], [x]: [S::F32; 1]) -> ([S::F32; 1], [S::F32; 1]) {
        let e = math::exp(s, s.sub(x, s.splat(self.max)));
        ([s.add(acc, e)], [e])
    }
    #[inline(always)]
    fn merge<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::F32 {
        s.add(a, b)
    }
    #[inline(always)]
    fn fold<S: Simd>(self, s: S, a: S::F32) -> f32 {
        s.fold_add(a)
    }
}

/// What stands there, times a number.
#[derive(Clone, Copy)]
struct Scale(f32);

impl Map<0, 1> for Scale {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, _: [S::F32; 0], [old]: [S::F32; 1]) -> [S::F32; 1] {
        [s.mul(old, s.splat(self.0))]
    }
}

/// `ln sum - shift`.
#[derive(Clone, Copy)]
struct LnMinus;

impl Map<2, 1> for LnMinus {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [sum, shift]: [S::F32; 2], _: [S::F32; 1]) -> [S::F32; 1] {
        [s.sub(math::ln(s, sum), shift)]
    }
}
