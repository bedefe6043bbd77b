//! Samples as rows of adjacent channels, taken one by one or in pairs: operands are read in the order in which they lie
//! in memory, while sums and parameters, one number a channel, stay in cache.

use super::super::norms::{MeanFrom, NO_BIAS, NO_WEIGHT, row_of, rows, xhat};
use super::functions::{Affine, InputGrad, InvRoot, Join, MeanPulls, Scale, Update, pulls};
use super::{BACKWARD_NS, BLOCK, Backward, FORWARD_NS, Forward, Mode, Running, Source, Statistics, divisor};
use crate::exec::Exec;
use crate::gemm::Accum;
use crate::lanes::{self, BLOCK_ROWS, Collect, Map, RowWriter, Same, Writes};
use crate::op::norms::Grads;
use crate::par::Divide;
use crate::simd::{Kernel, Simd};
use crate::view::{Mat, MatMut};

/// Channels that are taken through all passes together: one number for each is 4 KiB.
const STRIP: usize = 1024;

/// Rows shorter than this are taken in pairs, so that what is kept for a column is loaded half as often. Longer rows go
/// one by one: few streams are read faster than many (measured from 1024 columns on).
const PAIRED: usize = 512;

/// Operands that are cut along their columns, all of which have as many: matrices, and rows that may be missing.
struct Columns<'a, const I: usize> {
    out: MatMut<'a>,
    inp: [Mat<'a>; I],
    to: [Option<MatMut<'a>>; 4],
    from: [Option<Mat<'a>>; 4],
}

impl<'a, const I: usize> Divide for Columns<'a, I> {
    fn len(&self) -> usize {
        self.out.cols()
    }

    fn divide(self, at: usize, _: usize, _: usize) -> (Self, Self) {
        let Self { out, inp, to, from } = self;
        let (left, right) = out.cut_col(at);
        let (mut to_left, mut to_right) = ([const { None }; 4], [const { None }; 4]);
        for ((to, left), right) in to.into_iter().zip(&mut to_left).zip(&mut to_right) {
            (*left, *right) = to.map(|to| to.cut_col(at)).unzip();
        }
        let before = |mat: Mat<'a>| mat.cols_in(0..at);
        let after = |mat: Mat<'a>| mat.cols_in(at..mat.cols());
        (
            Self { out: left, inp: inp.map(before), to: to_left, from: from.map(|from| from.map(before)) },
            Self { out: right, inp: inp.map(after), to: to_right, from: from.map(|from| from.map(after)) },
        )
    }
}

impl<const I: usize> Columns<'_, I> {
    /// Strips of at most [`STRIP`] columns.
    #[inline(always)]
    fn strip(&mut self, first: usize) -> Columns<'_, I> {
        let range = first..self.out.cols().min(first + STRIP);
        Columns {
            out: self.out.reborrow().cols_in(range.clone()),
            inp: self.inp.map(|mat| mat.cols_in(range.clone())),
            to: self.to.each_mut().map(|to| to.as_mut().map(|to| to.reborrow().cols_in(range.clone()))),
            from: self.from.map(|from| from.map(|from| from.cols_in(range.clone()))),
        }
    }
}

/// One number for each column of a strip, in whole cache lines.
#[repr(align(64))]
struct Numbers([f32; STRIP]);

impl Numbers {
    #[inline(always)]
    fn new() -> Self {
        Self([0.0; STRIP])
    }

    #[inline(always)]
    fn row(&self, cols: usize) -> Mat<'_> {
        Mat::from_row(&self.0[..cols])
    }

    #[inline(always)]
    fn row_mut(&mut self, cols: usize) -> MatMut<'_> {
        MatMut::from_row(&mut self.0[..cols])
    }
}

/// How many of some rows are taken in pairs.
fn paired(rows: usize, cols: usize) -> usize {
    if cols < PAIRED { rows / 2 * 2 } else { 0 }
}

/// `R` rows from row `i` on, to be written.
#[inline(always)]
fn rows_mut<'a, const R: usize>(mat: &'a mut MatMut<'_>, i: usize) -> [MatMut<'a>; R] {
    let mut rest = Some(mat.reborrow().rows_in(i..i + R));
    std::array::from_fn(|_| {
        let (row, below) = rest.take().expect("it is put back").cut_row(1);
        rest = Some(below);
        row
    })
}

pub(super) fn forward(exec: &Exec, call: Forward<MatMut<'_>, Mat<'_>>) {
    let Forward { y, x, params, source, config } = call;
    let nanoseconds = (x.rows() as f64 * x.cols() as f64 * FORWARD_NS) as usize;
    let divisor = divisor(x.rows(), config.variance);
    let (to, given, momentum) = match source {
        Source::Given([mean, var]) => ([const { None }; 4], [Some(mean), Some(var)], 0.0),
        Source::Batch(Statistics { mean, inv_std }, None) => ([Some(mean), Some(inv_std), None, None], [None; 2], 0.0),
        Source::Batch(Statistics { mean, inv_std }, Some(Running { mean: running, var, momentum })) => {
            ([Some(mean), Some(inv_std), Some(running), Some(var)], [None; 2], momentum)
        }
    };
    let work = Columns { out: y, inp: [x], to, from: [given[0], given[1], params.weight, params.bias] };
    let writes = Writes::of(x.rows().saturating_mul(x.cols()));
    exec.par.run(nanoseconds, 16, work, |work| {
        exec.isa().run(Normalise { work, divisor, eps: config.eps, momentum, writes });
    });
}

pub(super) fn backward(exec: &Exec, call: Backward<MatMut<'_>, Mat<'_>>) {
    let Backward { grads: Grads { dx, dweight, dbias }, accum, dy, x, mean, spread, weight, mode } = call;
    let nanoseconds = (x.rows() as f64 * x.cols() as f64 * BACKWARD_NS) as usize;
    let from = [Some(mean), Some(spread), weight, None];
    let work = Columns { out: dx, inp: [dy, x], to: [dbias, dweight, None, None], from };
    let writes = Writes::of(x.rows().saturating_mul(x.cols()));
    exec.par.run(nanoseconds, 16, work, |work| exec.isa().run(Gradient { work, accum, mode, writes }));
}

struct Normalise<'a> {
    work: Columns<'a, 1>,
    divisor: f32,
    eps: f32,
    momentum: f32,
    writes: Writes,
}

impl Kernel for Normalise<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { mut work, divisor, eps, momentum, writes } = self;
        let writer = RowWriter::new(s, writes);
        let [mut mean, mut inv_std, mut weights, mut biases] = [(); 4].map(|()| Numbers::new());
        for first in (0..work.out.cols()).step_by(STRIP) {
            let Columns { mut out, inp: [x], to, from: [given_mean, given_var, weight, bias] } = work.strip(first);
            let cols = x.cols();
            if let (Some(given_mean), Some(given_var)) = (given_mean, given_var) {
                lanes::map(s, [mean.row_mut(cols)], [given_mean], Same);
                lanes::map(s, [inv_std.row_mut(cols)], [given_var], InvRoot { divisor: 1.0, eps });
            } else {
                statistics(s, [&mut mean, &mut inv_std], to, x, InvRoot { divisor, eps }, momentum);
            }
            lanes::map(s, [weights.row_mut(cols)], [weight.unwrap_or(row_of(&NO_WEIGHT, cols))], Same);
            lanes::map(s, [biases.row_mut(cols)], [bias.unwrap_or(row_of(&NO_BIAS, cols))], Same);
            let p = [mean.row(cols), inv_std.row(cols), weights.row(cols), biases.row(cols)];
            let whole = paired(x.rows(), cols);
            for i in whole..x.rows() {
                let [a] = rows(x, i);
                writer.map_row(rows_mut::<1>(&mut out, i), [a, p[0], p[1], p[2], p[3]], Affine);
            }
            for i in (0..whole).step_by(2) {
                let [a, b] = rows(x, i);
                lanes::map_row(s, rows_mut::<2>(&mut out, i), [a, b, p[0], p[1], p[2], p[3]], Affine);
            }
        }
    }
}

/// The statistics of a strip, also to where they are wanted: the mean and the inverse root, then the running ones.
#[inline(always)]
fn statistics<S: Simd>(
    s: S,
    [mean, inv_std]: [&mut Numbers; 2],
    to: [Option<MatMut<'_>>; 4],
    x: Mat<'_>,
    root: InvRoot,
    momentum: f32,
) {
    let cols = x.cols();
    let [first] = rows(x, 0);
    let [mut all_sum, mut all_squares, mut sum, mut squares] = [(); 4].map(|()| Numbers::new());
    for start in (0..x.rows()).step_by(BLOCK) {
        let block = x.rows_in(start..x.rows().min(start + BLOCK));
        let m = block.rows() as f32;
        fold_rows(s, &mut sum, block, first, Distances);
        lanes::map(s, [mean.row_mut(cols)], [first, sum.row(cols)], MeanFrom { n: m });
        fold_rows(s, &mut squares, block, mean.row(cols), Squares);
        let inp = [sum.row(cols), squares.row(cols)];
        let all = [all_sum.row_mut(cols), all_squares.row_mut(cols)];
        if start == 0 {
            lanes::map(s, all, inp, Same);
        } else {
            lanes::map(s, all, inp, Join { m, before: start as f32 });
        }
    }
    let n = x.rows() as f32;
    lanes::map(s, [mean.row_mut(cols)], [first, all_sum.row(cols)], MeanFrom { n });
    lanes::map(s, [inv_std.row_mut(cols)], [all_squares.row(cols)], root);
    let [to_mean, to_inv_std, running_mean, running_var] = to;
    if let (Some(to_mean), Some(to_inv_std)) = (to_mean, to_inv_std) {
        lanes::map(s, [to_mean, to_inv_std], [mean.row(cols), inv_std.row(cols)], Same);
    }
    if let (Some(running_mean), Some(running_var)) = (running_mean, running_var) {
        let inp = [mean.row(cols), all_squares.row(cols)];
        lanes::map(s, [running_mean, running_var], inp, Update { n, momentum });
    }
}

/// A sum down the rows of `x`, from first to last, with one parameter a column.
#[inline(always)]
fn fold_rows<S: Simd, F: Map<3, 1> + Map<2, 1>>(s: S, sum: &mut Numbers, x: Mat<'_>, param: Mat<'_>, f: F) {
    let cols = x.cols();
    sum.row_mut(cols).fill(-0.0);
    let whole = paired(x.rows(), cols);
    for i in (0..whole).step_by(2) {
        let [a, b] = rows(x, i);
        lanes::map_row(s, [sum.row_mut(cols)], [a, b, param], f);
    }
    for i in whole..x.rows() {
        let [a] = rows(x, i);
        lanes::map_row(s, [sum.row_mut(cols)], [a, param], f);
    }
}

/// `Σ (x - first)`: what stands there, and the distances of rows, behind which comes `first`.
#[derive(Clone, Copy)]
struct Distances;

impl<const I: usize> Map<I, 1> for Distances {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, inp: [S::F32; I], [mut sum]: [S::F32; 1]) -> [S::F32; 1] {
        for &x in &inp[..I - 1] {
            sum = s.add(sum, s.sub(x, inp[I - 1]));
        }
        [sum]
    }
}

/// `Σ (x - mean)²`: what stands there, and the squares of rows, behind which comes `mean`.
#[derive(Clone, Copy)]
struct Squares;

impl<const I: usize> Map<I, 1> for Squares {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, inp: [S::F32; I], [mut sum]: [S::F32; 1]) -> [S::F32; 1] {
        for &x in &inp[..I - 1] {
            let distance = s.sub(x, inp[I - 1]);
            sum = s.fma(distance, distance, sum);
        }
        [sum]
    }
}

struct Gradient<'a> {
    work: Columns<'a, 2>,
    accum: Accum,
    mode: Mode,
    writes: Writes,
}

impl Kernel for Gradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { mut work, accum, mode, writes } = self;
        let writer = RowWriter::new(s, writes);
        let [mut means, mut inv_std, mut scale, mut sum, mut sum_xhat] = [(); 5].map(|()| Numbers::new());
        for first in (0..work.out.cols()).step_by(STRIP) {
            let Columns { out: mut dx, inp, to, from: [mean, spread, weight, _] } = work.strip(first);
            let (Some(mean), Some(spread)) = (mean, spread) else { unreachable!("there are statistics") };
            let cols = dx.cols();
            lanes::map(s, [means.row_mut(cols)], [mean], Same);
            match mode {
                Mode::Batch { .. } => lanes::map(s, [inv_std.row_mut(cols)], [spread], Same),
                Mode::Given { eps } => {
                    lanes::map(s, [inv_std.row_mut(cols)], [spread], InvRoot { divisor: 1.0, eps });
                }
            }
            let weight = weight.unwrap_or(row_of(&NO_WEIGHT, cols));
            lanes::map(s, [scale.row_mut(cols)], [weight, inv_std.row(cols)], Scale);
            let p = [means.row(cols), inv_std.row(cols), scale.row(cols)];
            let sums = [&mut sum, &mut sum_xhat];
            match mode {
                Mode::Batch { .. } => fold_pulls(s, sums, inp, p),
                Mode::Given { .. } => scale_and_fold(s, &mut dx, sums, inp, p),
            }
            for (to, sum) in to.into_iter().zip([&sum, &sum_xhat]) {
                if let Some(to) = to {
                    lanes::map(s, [to], [sum.row(cols)], Collect(accum));
                }
            }
            if let Mode::Batch { n, divisor } = mode {
                mean_pulls(s, [&mut sum, &mut sum_xhat], cols, MeanPulls { n, divisor });
                input_grad(&writer, &mut dx, inp, [p[0], p[1], p[2], sum.row(cols), sum_xhat.row(cols)]);
            }
        }
    }
}

/// `Σ dy` and `Σ dy·x̂`, by blocks of rows.
#[inline(always)]
fn fold_pulls<S: Simd>(s: S, mut sums: [&mut Numbers; 2], [dy, x]: [Mat<'_>; 2], [mean, inv_std, _]: [Mat<'_>; 3]) {
    let cols = dy.cols();
    let mut block_sums = [Numbers::new(), Numbers::new()];
    for start in (0..dy.rows()).step_by(BLOCK_ROWS) {
        let [mut a, mut b] = next_sums(start, &mut sums, &mut block_sums, cols);
        let end = dy.rows().min(start + BLOCK_ROWS);
        let whole = start + paired(end - start, cols);
        for i in (start..whole).step_by(2) {
            let ([dy0, dy1], [x0, x1]) = (rows(dy, i), rows(x, i));
            lanes::map_row(s, [a.reborrow(), b.reborrow()], [dy0, dy1, x0, x1, mean, inv_std], Pulls);
        }
        for i in whole..end {
            let ([dy], [x]) = (rows(dy, i), rows(x, i));
            lanes::map_row(s, [a.reborrow(), b.reborrow()], [dy, x, mean, inv_std], Pulls);
        }
        add_block(s, start, &mut sums, &block_sums, cols);
    }
}

/// [`fold_pulls`], writing `dx = dy·scale` on the way.
#[inline(always)]
fn scale_and_fold<S: Simd>(
    s: S,
    dx: &mut MatMut<'_>,
    mut sums: [&mut Numbers; 2],
    [dy, x]: [Mat<'_>; 2],
    [mean, inv_std, scale]: [Mat<'_>; 3],
) {
    let cols = dy.cols();
    let mut block_sums = [Numbers::new(), Numbers::new()];
    for start in (0..dy.rows()).step_by(BLOCK_ROWS) {
        let [mut a, mut b] = next_sums(start, &mut sums, &mut block_sums, cols);
        let end = dy.rows().min(start + BLOCK_ROWS);
        let whole = start + paired(end - start, cols);
        for i in (start..whole).step_by(2) {
            let ([dy0, dy1], [x0, x1], [dx0, dx1]) = (rows(dy, i), rows(x, i), rows_mut(dx, i));
            let inp = [dy0, dy1, x0, x1, mean, inv_std, scale];
            lanes::map_row(s, [dx0, dx1, a.reborrow(), b.reborrow()], inp, ScaleAndPulls);
        }
        for i in whole..end {
            let ([dy], [x], [dx]) = (rows(dy, i), rows(x, i), rows_mut(dx, i));
            lanes::map_row(s, [dx, a.reborrow(), b.reborrow()], [dy, x, mean, inv_std, scale], ScaleAndPulls);
        }
        add_block(s, start, &mut sums, &block_sums, cols);
    }
}

/// Where the sums of the block of rows from `start` on go, set to begin: the first ones are the total.
#[inline(always)]
fn next_sums<'a>(
    start: usize,
    [sum, sum_xhat]: &'a mut [&mut Numbers; 2],
    [block_sum, block_sum_xhat]: &'a mut [Numbers; 2],
    cols: usize,
) -> [MatMut<'a>; 2] {
    let mut next = if start == 0 {
        [sum.row_mut(cols), sum_xhat.row_mut(cols)]
    } else {
        [block_sum.row_mut(cols), block_sum_xhat.row_mut(cols)]
    };
    for sum in &mut next {
        sum.fill(-0.0);
    }
    next
}

/// Adds the sums of the block of rows from `start` on to the total.
#[inline(always)]
fn add_block<S: Simd>(s: S, start: usize, sums: &mut [&mut Numbers; 2], block_sums: &[Numbers; 2], cols: usize) {
    if start > 0 {
        let [sum, sum_xhat] = sums;
        let inp = block_sums.each_ref().map(|sum| sum.row(cols));
        lanes::map(s, [sum.row_mut(cols), sum_xhat.row_mut(cols)], inp, Collect(Accum::Add));
    }
}

/// Divides the sums.
#[inline(always)]
fn mean_pulls<S: Simd>(s: S, [sum, sum_xhat]: [&mut Numbers; 2], cols: usize, f: MeanPulls) {
    lanes::map(s, [sum.row_mut(cols), sum_xhat.row_mut(cols)], [], f);
}

/// Writes `dx`.
#[inline(always)]
fn input_grad<S: Simd>(writer: &RowWriter<S>, dx: &mut MatMut<'_>, [dy, x]: [Mat<'_>; 2], p: [Mat<'_>; 5]) {
    let whole = paired(dx.rows(), dx.cols());
    for i in whole..dx.rows() {
        let ([dy], [x]) = (rows(dy, i), rows(x, i));
        writer.map_row(rows_mut::<1>(dx, i), [dy, x, p[0], p[1], p[2], p[3], p[4]], InputGrad);
    }
    for i in (0..whole).step_by(2) {
        let ([dy0, dy1], [x0, x1]) = (rows(dy, i), rows(x, i));
        lanes::map_row(
            writer.token(),
            rows_mut::<2>(dx, i),
            [dy0, dy1, x0, x1, p[0], p[1], p[2], p[3], p[4]],
            InputGrad,
        );
    }
}

/// `Σ dy` and `Σ dy·x̂`: what stands there, and rows of `dy` and as many of `x`, behind which come `[mean, inv_std]`.
#[derive(Clone, Copy)]
struct Pulls;

impl<const I: usize> Map<I, 2> for Pulls {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, inp: [S::F32; I], mut sums: [S::F32; 2]) -> [S::F32; 2] {
        let r = (I - 2) / 2;
        for k in 0..r {
            sums = pulls(s, sums, inp[k], xhat(s, inp[r + k], inp[I - 2], inp[I - 1]));
        }
        sums
    }
}

/// Rows of `dy·scale`, and what [`Pulls`] sums: of rows of `dy` and as many of `x`, behind which come
/// `[mean, inv_std, scale]`.
#[derive(Clone, Copy)]
struct ScaleAndPulls;

impl<const I: usize, const O: usize> Map<I, O> for ScaleAndPulls {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, inp: [S::F32; I], mut out: [S::F32; O]) -> [S::F32; O] {
        let r = O - 2;
        debug_assert_eq!(I, 2 * r + 3);
        let mut sums = [out[r], out[r + 1]];
        for k in 0..r {
            sums = pulls(s, sums, inp[k], xhat(s, inp[r + k], inp[I - 3], inp[I - 2]));
            out[k] = s.mul(inp[k], inp[I - 1]);
        }
        [out[r], out[r + 1]] = sums;
        out
    }
}
