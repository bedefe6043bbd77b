//! The loss of the rows of a matrix: two passes over a row, one for its maximum, one that writes `e^(x - max)` and adds
//! it up; the third, which scales, finds the row in the cache. Short rows stay in registers throughout.

use super::shares::{Even, Linear, Mode, Plain, RowSums, Shares, Weighted, less};
use crate::error::Result;
use crate::exec::{Axis, BlockKernel, Exec};
use crate::lanes::{self, Map, Registers, Short, ShortRows, TOGETHER};
use crate::math;
use crate::op::loss::classes::{Counts, Targets};
use crate::simd::Simd;
use crate::view::{Mat, MatMut, View};
use std::ops::Range;

/// Nanoseconds of one core an element, for the split over threads.
const NS: f64 = 0.3;

/// Rows whose logarithms are taken together.
const ROWS: usize = 32;

/// The label of a row that is ignored.
const IGNORED: usize = usize::MAX;

/// The label of a row that has none.
const NONE: usize = IGNORED - 1;

/// The gradient of the losses.
#[derive(Clone, Copy)]
pub(super) enum Upstream<'a> {
    /// One number for all rows.
    One(f32),
    /// One for each.
    Each(&'a View<'a>),
}

/// What is known of the rows besides their logits.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// A class for each row, unless there are probabilities.
    pub(super) targets: Option<Targets<'a>>,
    pub(super) counts: &'a Counts<'a>,
    /// One weight for each row.
    pub(super) samples: Option<&'a [f32]>,
    pub(super) upstream: Upstream<'a>,
    pub(super) smoothing: f32,
}

impl<'a> Rows<'a> {
    /// The weights of the classes, repeated for each of `batch` rows, if classes share a target by them.
    #[inline]
    pub(super) fn shared_weights(&self, batch: usize, classes: usize) -> Result<Option<Mat<'a>>> {
        let shared = self.targets.is_none() || self.smoothing != 0.0;
        let weight = if shared { self.counts.weight } else { None };
        weight.map(|weight| weight.broadcast_to(&[batch, classes])?.try_into()).transpose()
    }

    /// Writes the losses, a column, and the gradient of the logits. `probabilities` has one for each logit, if there
    /// are no targets, and `weights` the weights of the classes, repeated for each row, if they are to be shared.
    #[inline(always)]
    pub(super) fn run(
        self,
        exec: &Exec,
        losses: Option<MatMut<'_>>,
        dx: Option<MatMut<'_>>,
        x: Mat<'_>,
        probabilities: Option<Mat<'_>>,
        weights: Option<Mat<'_>>,
    ) {
        let shares = Shares::new(self.smoothing, x.cols());
        // Without probabilities a class's share is its weight times the even part.
        let of_weights = Linear(Shares { keep: shares.even, even: 0.0 });
        match (probabilities, weights) {
            (None, _) if self.smoothing == 0.0 => self.run_as(exec, losses, dx, [x], Plain),
            (None, None) => self.run_as(exec, losses, dx, [x], Even(shares.even)),
            (None, Some(w)) => self.run_as(exec, losses, dx, [x, w], of_weights),
            (Some(t), None) => self.run_as(exec, losses, dx, [x, t], Linear(shares)),
            (Some(t), Some(w)) => self.run_as(exec, losses, dx, [x, t, w], Weighted(shares)),
        }
    }

    // Inlined as far as the shell, so that small work is not copied on its way there.
    #[inline(always)]
    fn run_as<M: Mode<I>, const I: usize>(
        self,
        exec: &Exec,
        losses: Option<MatMut<'_>>,
        dx: Option<MatMut<'_>>,
        inp: [Mat<'_>; I],
        mode: M,
    ) {
        let nanoseconds = (inp[0].rows() as f64 * inp[0].cols() as f64 * NS) as usize;
        let block = Block { rows: self, mode };
        match (losses, dx) {
            (Some(losses), Some(dx)) => exec.blocks(nanoseconds, Axis::Rows, 1, [losses, dx], inp, Both(block)),
            (Some(losses), None) => exec.blocks(nanoseconds, Axis::Rows, 1, [losses], inp, Losses(block)),
            (None, Some(dx)) => exec.blocks(nanoseconds, Axis::Rows, 1, [dx], inp, Gradient(block)),
            (None, None) => {}
        }
    }

    /// What row `row` counts for: its label, its weight, and what the label counts for.
    #[inline]
    fn count(&self, row: usize) -> (usize, f32, f32) {
        let sample = self.samples.map_or(1.0, |samples| samples[row]);
        let Some(targets) = self.targets else {
            return (NONE, sample, 0.0);
        };
        match self.counts.of(targets.at(row)) {
            None => (IGNORED, 0.0, 0.0),
            // Then nothing but the label counts, and for one: its weight is common to all.
            Some((label, weight)) if self.smoothing == 0.0 => (label, weight * sample, 1.0),
            Some((label, weight)) => (label, sample, (1.0 - self.smoothing) * weight),
        }
    }

    /// Reads the labels and weights of `n` rows from `start` on. No lanes are at work here.
    fn read(&self, start: usize, n: usize, terms: &mut Terms) {
        if let Some(Targets::Adjacent(targets)) = self.targets
            && let (None, None, Upstream::One(dloss)) = (self.counts.weight, self.samples, self.upstream)
            && self.smoothing == 0.0
        {
            // What is asked for most, without a branch a row.
            let mut ignored = false;
            for (label, &target) in terms.labels.iter_mut().zip(&targets[start..start + n]) {
                let ignore = target == self.counts.ignore_index;
                *label = if ignore { IGNORED } else { target as usize };
                ignored |= ignore;
            }
            if !ignored {
                terms.weights[..n].fill(1.0);
                terms.slopes[..n].fill(dloss);
                (terms.ignored, terms.slope) = (false, Some(dloss));
                return;
            }
        }
        (terms.ignored, terms.slope) = (false, None);
        for i in 0..n {
            let (label, weight, own) = self.count(start + i);
            let dloss = match self.upstream {
                Upstream::One(dloss) => dloss,
                Upstream::Each(dloss) => dloss.get(&[start + i]).unwrap_or(f32::NAN),
            };
            (terms.labels[i], terms.weights[i], terms.own[i]) = (label, weight, own);
            terms.slopes[i] = if label == IGNORED { 0.0 } else { dloss * weight };
            terms.ignored |= label == IGNORED;
        }
    }
}

/// Rows, and how their classes share the target.
#[derive(Clone, Copy)]
struct Block<'a, M> {
    rows: Rows<'a>,
    mode: M,
}

impl<M> Block<'_, M> {
    #[inline(always)]
    fn run<S: Simd, const I: usize>(
        &self,
        s: S,
        start: usize,
        mut losses: Option<MatMut<'_>>,
        mut dx: Option<MatMut<'_>>,
        inp: [Mat<'_>; I],
    ) where
        M: Mode<I>,
    {
        let mut terms = Terms::new();
        for rows in chunks(inp[0].rows()) {
            let mut part = inp;
            for part in &mut part {
                *part = part.rows_in(rows.clone());
            }
            self.rows.read(start + rows.start, rows.len(), &mut terms);
            match &mut dx {
                Some(dx) => terms.gradient(s, dx.reborrow().rows_in(rows.clone()), part, self.mode),
                None => {
                    for i in 0..rows.len() {
                        terms.sum_row(s, i, [], part, self.mode);
                    }
                }
            }
            if let Some(losses) = &mut losses {
                terms.losses(s, losses.reborrow().rows_in(rows), part[0], self.mode);
            }
        }
    }
}

/// Both in one pass.
#[derive(Clone, Copy)]
struct Both<'a, M>(Block<'a, M>);

impl<M: Mode<I>, const I: usize> BlockKernel<2, I> for Both<'_, M> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, start: usize, [losses, dx]: [MatMut<'_>; 2], inp: [Mat<'_>; I]) {
        self.0.run(s, start, Some(losses), Some(dx), inp);
    }
}

/// The losses alone.
#[derive(Clone, Copy)]
struct Losses<'a, M>(Block<'a, M>);

impl<M: Mode<I>, const I: usize> BlockKernel<1, I> for Losses<'_, M> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, start: usize, [losses]: [MatMut<'_>; 1], inp: [Mat<'_>; I]) {
        self.0.run(s, start, Some(losses), None, inp);
    }
}

/// The gradient alone.
#[derive(Clone, Copy)]
struct Gradient<'a, M>(Block<'a, M>);

impl<M: Mode<I>, const I: usize> BlockKernel<1, I> for Gradient<'_, M> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, start: usize, [dx]: [MatMut<'_>; 1], inp: [Mat<'_>; I]) {
        self.0.run(s, start, None, Some(dx), inp);
    }
}

/// Ranges of at most [`ROWS`] rows.
fn chunks(batch: usize) -> impl Iterator<Item = Range<usize>> {
    (0..batch).step_by(ROWS).map(move |first| first..batch.min(first + ROWS))
}

/// What the losses and gradients of a few rows are made of, kept so that logarithms are taken a register at a time.
pub(super) struct Terms {
    labels: [usize; ROWS],
    /// What each loss is multiplied by; 0 for a row that is ignored.
    weights: [f32; ROWS],
    /// That times the gradient of the loss.
    slopes: [f32; ROWS],
    /// The slope, if all rows have one.
    slope: Option<f32>,
    /// Whether a row is ignored.
    ignored: bool,
    /// What the label counts for, where other classes count too; otherwise one.
    own: [f32; ROWS],
    maxima: [f32; ROWS],
    /// `Σ e^(x - max)`
    sums: [f32; ROWS],
    /// `Σ share·(x - max)` and `Σ share`
    mixed: [f32; ROWS],
    mass: [f32; ROWS],
}

impl Terms {
    fn new() -> Self {
        let zero = [0.0; ROWS];
        Self {
            labels: [IGNORED; ROWS],
            weights: zero,
            slopes: zero,
            slope: None,
            ignored: false,
            own: zero,
            maxima: zero,
            sums: zero,
            mixed: zero,
            mass: zero,
        }
    }

    /// The sums of row `i`, writing `e^(x - max)` if there is an output.
    #[inline(always)]
    fn sum_row<S: Simd, M: Mode<I>, const I: usize, const O: usize>(
        &mut self,
        s: S,
        i: usize,
        out: [MatMut<'_>; O],
        inp: [Mat<'_>; I],
        mode: M,
    ) {
        let [max] = lanes::fold_row(s, i, [], [inp[0]], lanes::Max);
        self.maxima[i] = max;
        [self.sums[i], self.mixed[i], self.mass[i]] = lanes::fold_row(s, i, out, inp, RowSums { max, mode });
    }

    /// The gradient of the loss of row `i` times what all its classes count for, which goes to the softmax, and times
    /// what the label counts for.
    #[inline(always)]
    fn slopes<M: Mode<I>, const I: usize>(&self, i: usize, _: M) -> [f32; 2] {
        let slope = self.slopes[i];
        if M::SPREADS { [slope * (self.own[i] + self.mass[i]), slope * self.own[i]] } else { [slope; 2] }
    }

    /// `dx = slope·(softmax·(own + Σ share) - share - own·[label])`, with the maxima and the sums.
    #[inline(always)]
    fn gradient<S: Simd, M: Mode<I>, const I: usize>(&mut self, s: S, mut dx: MatMut<'_>, inp: [Mat<'_>; I], mode: M) {
        let n = dx.rows();
        if !mode.short_rows(s, dx.reborrow(), inp, self) {
            for i in 0..n {
                self.sum_row(s, i, [dx.reborrow()], inp, mode);
                let mut row = inp;
                for row in &mut row {
                    *row = row.rows_in(i..i + 1);
                }
                let scale = self.slopes(i, mode)[0] / self.sums[i];
                mode.rescale(s, dx.reborrow().rows_in(i..i + 1), row, [scale, self.slopes[i]]);
            }
        }
        for i in 0..n {
            if self.labels[i] < NONE {
                *dx.at(i, self.labels[i]) -= self.slopes(i, mode)[1];
            }
        }
    }

    /// `weight·(own·(ln sum - (x[label] - max)) + (ln sum·Σ share - Σ share·(x - max)))`, and exactly zero for a row
    /// that is ignored.
    #[inline(always)]
    fn losses<S: Simd, M: Mode<I>, const I: usize>(&mut self, s: S, losses: MatMut<'_>, x: Mat<'_>, _: M) {
        let (n, mut shifts) = (x.rows(), [0.0; ROWS]);
        for (i, shift) in shifts.iter_mut().enumerate().take(n) {
            // Labels are checked at the door; without one there is no shift.
            *shift = x.get(i, self.labels[i]).map_or(0.0, |logit| logit - self.maxima[i]);
        }
        for i in (0..n).filter(|_| self.ignored) {
            if self.labels[i] == IGNORED {
                (self.sums[i], self.mixed[i], self.mass[i]) = (1.0, 0.0, 0.0);
            }
        }
        let plain = [&self.weights, &self.sums, &shifts].map(|numbers| Mat::from_row(&numbers[..n]));
        if !M::SPREADS {
            return lanes::map(s, [losses.t()], plain, PlainLoss);
        }
        let [weights, sums, shifts] = plain;
        let [own, mixed, mass] = [&self.own, &self.mixed, &self.mass].map(|numbers| Mat::from_row(&numbers[..n]));
        lanes::map(s, [losses.t()], [weights, sums, shifts, own, mixed, mass], SpreadLoss);
    }
}

/// Short rows, and how their classes share the target.
pub(super) struct InRegisters<'a, M> {
    pub(super) terms: &'a mut Terms,
    pub(super) mode: M,
}

impl<M: Mode<1>> ShortRows for InRegisters<'_, M> {
    #[inline(always)]
    fn eval<S: Simd, const N: usize>(&mut self, s: S, i: [usize; TOGETHER], rows: Short<S, N>) -> Registers<S, N> {
        let terms = &mut *self.terms;
        // Where there is a NaN the maximum is anything, and the sum is NaN all the same.
        let maxima = s.quarters(rows.maxima());
        let (mut e, mut mixed, mut shares) = (rows.x, rows.x, rows.x);
        for (r, max) in maxima.into_iter().enumerate() {
            for k in 0..N {
                let distance = s.sub(rows.x[r][k], max);
                e[r][k] = math::exp(s, distance);
                if M::SPREADS {
                    shares[r][k] = self.mode.share(s, [rows.x[r][k]]);
                    mixed[r][k] = s.mul(shares[r][k], distance);
                }
            }
        }
        let sums = rows.with(e).sums();
        for (i, (sum, max)) in i.into_iter().zip(s.quarters(sums).into_iter().zip(maxima)) {
            (terms.sums[i], terms.maxima[i]) = (s.first(sum), s.first(max));
        }
        if M::SPREADS {
            let (mixed, mass) = (s.quarters(rows.with(mixed).sums()), s.quarters(rows.with(shares).sums()));
            for (i, (mixed, mass)) in i.into_iter().zip(mixed.into_iter().zip(mass)) {
                (terms.mixed[i], terms.mass[i]) = (s.first(mixed), s.first(mass));
            }
        }
        let slopes = if let (Some(slope), false) = (terms.slope, M::SPREADS) {
            s.splat(slope)
        } else {
            let mut slopes = [0.0; TOGETHER];
            for (slope, &i) in slopes.iter_mut().zip(&i) {
                [*slope, _] = terms.slopes(i, self.mode);
            }
            s.in_quarters(slopes)
        };
        let scales = s.quarters(s.div(slopes, sums));
        for ((e, scale), i) in e.iter_mut().zip(scales).zip(i) {
            for (k, e) in e.iter_mut().enumerate() {
                *e = less(s, s.mul(*e, scale), terms.slopes[i], self.mode, [rows.x[0][k]]);
            }
        }
        e
    }
}

/// `weight·(ln sum - shift)`.
#[derive(Clone, Copy)]
struct PlainLoss;

impl Map<3, 1> for PlainLoss {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [weight, sum, shift]: [S::F32; 3], _: [S::F32; 1]) -> [S::F32; 1] {
        [s.mul(weight, s.sub(math::ln(s, sum), shift))]
    }
}

/// `weight·(own·(ln sum - shift) + (ln sum·mass - mixed))`.
#[derive(Clone, Copy)]
struct SpreadLoss;

impl Map<6, 1> for SpreadLoss {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, x: [S::F32; 6], _: [S::F32; 1]) -> [S::F32; 1] {
        let [weight, sum, shift, own, mixed, mass] = x;
        let log = math::ln(s, sum);
        let label = s.mul(own, s.sub(log, shift));
        [s.mul(weight, s.add(label, s.sub(s.mul(log, mass), mixed)))]
    }
}
