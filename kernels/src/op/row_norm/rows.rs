//! Rows of adjacent elements, each normalised while it is in cache.

use super::super::activation::Activation;
use super::super::norms::{MeanFrom, NO_WEIGHT, Params, inv_root, row_of, xhat};
use super::{BACKWARD_NS, Backward, FORWARD_NS, Forward, views};
use super::{distance, input_grad, mean_pulls, param_grads, pulls, square};
use crate::exec::Exec;
use crate::gemm::Accum;
use crate::lanes::{self, BLOCK_ROWS, Collect, Map, RUN, RowFold, RowWriter, Writes};
use crate::par::Divide;
use crate::simd::{Kernel, Scalar, Simd};
use crate::view::{Mat, MatMut};

/// The most rows that go through each pass together, so that one row's sum is folded while the next is read.
const TOGETHER: usize = 16;

/// The most elements of an operand in rows that go together. Long rows go one by one: a few streams are read faster
/// than many (measured: rows of 1024 lose a tenth in pairs, rows of 512 win a quarter).
const ELEMENTS: usize = 1024;

type Forwards<'a> = Forward<MatMut<'a>, Mat<'a>>;
type Backwards<'a> = Backward<MatMut<'a>, Mat<'a>>;

/// Rows of the output that go through the activation together, in floats: while they are in the first-level cache.
const FINISHED: usize = 4096;

/// `call.y = weight·x̂ + bias` row by row, and the statistics. Then `also = activation(y)`, or in place without `also`.
pub(super) fn forward(exec: &Exec, call: Forwards<'_>, also: Option<MatMut<'_>>, activation: Activation) {
    let isa = exec.isa();
    let nanoseconds = nanoseconds(call.x, FORWARD_NS);
    let rows = (FINISHED / call.x.cols().max(1)).max(TOGETHER);
    let writes = Writes::of(call.x.rows().saturating_mul(call.x.cols()));
    exec.par.run(nanoseconds, 1, Activated { call, also }, |mut work| {
        if activation == Activation::Identity && work.also.is_none() {
            return isa.run(Normalise { call: work.call, writes });
        }
        while work.len() > 0 {
            let at = rows.min(work.len());
            let (Activated { call: Forward { mut y, mean, inv_std, x, params, eps }, also }, rest) =
                work.divide(at, 1, 1);
            let call = Forward { y: y.reborrow(), mean, inv_std, x, params, eps };
            isa.run(Normalise { call, writes: Writes::Cached });
            match also {
                Some(also) => activation.block(isa, also, y.as_mat()),
                None => activation.in_place(isa, y),
            }
            work = rest;
        }
    });
}

/// Writes the gradient of the input, and the sums of the parameters' gradients to the start of `sums`.
pub(super) fn backward(exec: &Exec, call: Backwards<'_>, sums: Option<&mut [f32]>) {
    let nanoseconds = nanoseconds(call.x, BACKWARD_NS);
    let writes = Writes::of(call.x.rows().saturating_mul(call.x.cols()));
    let run = |grain: usize, piece: Piece<'_>| {
        exec.par.run(nanoseconds, grain, piece, |piece| exec.isa().run(Gradient { piece, writes }));
    };
    let (blocks, cols) = (call.x.rows().div_ceil(BLOCK_ROWS), call.x.cols());
    match sums {
        // Whole blocks of rows, each with sums of its own.
        Some(sums) if blocks >= exec.par.pieces(nanoseconds) => {
            run(BLOCK_ROWS, Piece { call, sums: Some(MatMut::from_prefix(sums, blocks, 2 * cols)) });
            exec.isa().run(Join { sums: MatMut::from_prefix(sums, blocks, 2 * cols) });
        }
        // Too few blocks for the threads: rows by themselves, then columns.
        Some(sums) => {
            let Backward { dy, x, mean, inv_std, .. } = call;
            run(1, Piece { call, sums: None });
            views::column_sums(exec, dy, x, mean, inv_std, sums);
        }
        None => run(1, Piece { call, sums: None }),
    }
}

/// Nanoseconds of one core for work on all of `x`.
fn nanoseconds(x: Mat<'_>, each: f64) -> usize {
    (x.rows() as f64 * x.cols() as f64 * each) as usize
}

/// Rows to be normalised, and where they go through an activation.
struct Activated<'a> {
    call: Forwards<'a>,
    also: Option<MatMut<'a>>,
}

impl Divide for Activated<'_> {
    fn len(&self) -> usize {
        self.call.x.rows()
    }

    fn divide(self, at: usize, _: usize, _: usize) -> (Self, Self) {
        let Self { call: Forward { y, mean, inv_std, x, params, eps }, also } = self;
        let (y, inv_std, mean) = (y.cut_row(at), inv_std.cut_row(at), mean.map(|mean| mean.cut_row(at)).unzip());
        let (above, below) = (x.rows_in(0..at), x.rows_in(at..x.rows()));
        let also = also.map(|also| also.cut_row(at)).unzip();
        let above = Forward { y: y.0, mean: mean.0, inv_std: inv_std.0, x: above, params, eps };
        let below = Forward { y: y.1, mean: mean.1, inv_std: inv_std.1, x: below, params, eps };
        (Self { call: above, also: also.0 }, Self { call: below, also: also.1 })
    }
}

/// Rows whose gradient is to be written, with a row of sums for each block of them.
struct Piece<'a> {
    call: Backwards<'a>,
    sums: Option<MatMut<'a>>,
}

impl<'a> Divide for Piece<'a> {
    fn len(&self) -> usize {
        self.call.x.rows()
    }

    fn divide(self, at: usize, _: usize, _: usize) -> (Self, Self) {
        let Self { call: Backward { dx, dy, x, mean, inv_std, weight }, sums } = self;
        let (dx, sums) = (dx.cut_row(at), sums.map(|sums| sums.cut_row(at / BLOCK_ROWS)).unzip());
        let cut = |mat: Mat<'a>| (mat.rows_in(0..at), mat.rows_in(at..mat.rows()));
        let (dy, x, inv_std, mean) = (cut(dy), cut(x), cut(inv_std), mean.map(cut).unzip());
        let above = Backward { dx: dx.0, dy: dy.0, x: x.0, mean: mean.0, inv_std: inv_std.0, weight };
        let below = Backward { dx: dx.1, dy: dy.1, x: x.1, mean: mean.1, inv_std: inv_std.1, weight };
        (Self { call: above, sums: sums.0 }, Self { call: below, sums: sums.1 })
    }
}

/// Row `i`.
#[inline(always)]
fn row(mat: Mat<'_>, i: usize) -> Mat<'_> {
    mat.rows_in(i..i + 1)
}

/// Row `i`, to be written.
#[inline(always)]
fn row_mut<'a>(mat: &'a mut MatMut<'_>, i: usize) -> MatMut<'a> {
    mat.reborrow().rows_in(i..i + 1)
}

/// One element of a column.
#[inline(always)]
fn element(column: Mat<'_>, i: usize) -> f32 {
    column.get(i, 0).unwrap_or(f32::NAN)
}

/// Rows of `cols` elements that go together: a power of two, so that groups make up blocks.
fn together(cols: usize) -> usize {
    1 << (ELEMENTS / cols.max(1)).clamp(1, TOGETHER).ilog2()
}

/// Sums along a row, in the written order of a run: those of its pieces, from first to last.
#[inline(always)]
fn fold<S: Simd, F: RowFold<I, A, 0>, const I: usize, const A: usize>(s: S, inp: [Mat<'_>; I], f: F) -> [f32; A] {
    let cols = inp[0].cols();
    if cols <= RUN { lanes::fold_one_row(s, inp, f) } else { fold_pieces(s, inp, f) }
}

/// [`fold`] of a row longer than a piece.
#[inline(always)]
fn fold_pieces<S: Simd, F: RowFold<I, A, 0>, const I: usize, const A: usize>(
    s: S,
    inp: [Mat<'_>; I],
    f: F,
) -> [f32; A] {
    let cols = inp[0].cols();
    let mut total = [f32::NAN; A];
    for start in (0..cols).step_by(RUN) {
        let piece = inp.map(|inp| inp.cols_in(start..cols.min(start + RUN)));
        let part = lanes::fold_one_row(s, piece, f);
        for (total, part) in total.iter_mut().zip(part) {
            *total = if start == 0 { part } else { *total + part };
        }
    }
    total
}

/// [`fold`] of the first pass over a row, which asks for the row after the next.
#[inline(always)]
fn fold_first<S: Simd, F: RowFold<1, 1, 0>>(s: S, row: Mat<'_>, stride: isize, f: F) -> f32 {
    let [sum] =
        if row.cols() <= RUN { lanes::fold_one_row_ahead(s, [row], 2 * stride, f) } else { fold_pieces(s, [row], f) };
    sum
}

struct Normalise<'a> {
    call: Forwards<'a>,
    writes: Writes,
}

impl Kernel for Normalise<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Forward { mut y, mut mean, mut inv_std, x, params, eps } = self.call;
        let (rows, n) = (x.rows(), x.cols() as f32);
        let size = together(x.cols());
        let writer = RowWriter::new(s, self.writes);
        let (mut means, mut roots) = ([0.0; TOGETHER], [0.0; TOGETHER]);
        for start in (0..rows).step_by(size) {
            let group = start..rows.min(start + size);
            if let Some(mean) = &mut mean {
                for (i, to) in group.clone().zip(&mut means) {
                    let first = element(x, i);
                    let sum = fold_first(s, row(x, i), x.row_stride(), Distance { first });
                    [*to] = MeanFrom { n }.eval(Scalar, [first, sum], [sum]);
                    *mean.at(i, 0) = *to;
                }
            }
            for ((i, &mean), to) in group.clone().zip(&means).zip(&mut roots) {
                [*to] = fold(s, [row(x, i)], Squares { mean });
            }
            for (i, root) in group.clone().zip(&mut roots) {
                *root = inv_root(Scalar, *root, n, eps);
                *inv_std.at(i, 0) = *root;
            }
            for ((i, &mean), &inv_std) in group.zip(&means).zip(&roots) {
                affine(&writer, row_mut(&mut y, i), row(x, i), params, Affine { row: Centre { mean, inv_std } });
            }
        }
    }
}

/// Writes a row of the output.
#[inline(always)]
fn affine<S: Simd>(writer: &RowWriter<S>, y: MatMut<'_>, x: Mat<'_>, params: Params<Mat<'_>>, kernel: Affine) {
    match (params.weight, params.bias) {
        (None, None) => writer.map_row([y], [x], kernel),
        (Some(weight), None) => writer.map_row([y], [x, weight], kernel),
        (Some(weight), Some(bias)) => writer.map_row([y], [x, weight, bias], kernel),
        (None, Some(bias)) => lanes::map(writer.token(), [y], [x, row_of(&NO_WEIGHT, x.cols()), bias], kernel),
    }
}

struct Gradient<'a> {
    piece: Piece<'a>,
    writes: Writes,
}

impl Kernel for Gradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Piece { call: Backward { mut dx, dy, x, mean, inv_std, weight }, mut sums } = self.piece;
        let (rows, cols) = (x.rows(), x.cols());
        let size = together(cols);
        let mut of_rows = [RowNumbers::default(); TOGETHER];
        let writer = RowWriter::new(s, self.writes);
        for block in (0..rows).step_by(BLOCK_ROWS) {
            let mut sums = sums.as_mut().map(|sums| <[_; 2]>::from(row_mut(sums, block / BLOCK_ROWS).cut_col(cols)));
            sums.iter_mut().flatten().for_each(|sum| sum.fill(-0.0));
            let end = rows.min(block + BLOCK_ROWS);
            for start in (block..end).step_by(size) {
                let group = start..end.min(start + size);
                for (i, to) in group.clone().zip(&mut of_rows) {
                    let (centred, mean) = (mean.is_some(), mean.map_or(0.0, |mean| element(mean, i)));
                    let centre = Centre { mean, inv_std: element(inv_std, i) };
                    let pulls = match weight {
                        Some(weight) => fold(s, [row(dy, i), row(x, i), weight], centre),
                        None => fold(s, [row(dy, i), row(x, i)], centre),
                    };
                    *to = RowNumbers { centre, pulls: mean_pulls(Scalar, pulls, cols as f32, centred) };
                }
                for (i, &row_numbers) in group.zip(&of_rows) {
                    let kernel = InputGrad { row: row_numbers };
                    let (dx, inp) = (row_mut(&mut dx, i), [row(dy, i), row(x, i)]);
                    input_grad_of(&writer, dx, inp, weight, sums.as_mut(), kernel);
                }
            }
        }
    }
}

/// Writes a row of the input's gradient, and adds to the sums of the parameters' gradients if there are any.
#[inline(always)]
fn input_grad_of<S: Simd>(
    writer: &RowWriter<S>,
    dx: MatMut<'_>,
    [dy, x]: [Mat<'_>; 2],
    weight: Option<Mat<'_>>,
    sums: Option<&mut [MatMut<'_>; 2]>,
    kernel: InputGrad,
) {
    match (weight, sums.map(|[dweight, dbias]| [dweight.reborrow(), dbias.reborrow()])) {
        (None, None) => writer.map_row([dx], [dy, x], kernel),
        (Some(weight), None) => writer.map_row([dx], [dy, x, weight], kernel),
        (None, Some([dweight, dbias])) => writer.map_row([dx, dweight, dbias], [dy, x], kernel),
        (Some(weight), Some([dweight, dbias])) => writer.map_row([dx, dweight, dbias], [dy, x, weight], kernel),
    }
}

/// The sums of all blocks, added from first to last, in the row of the first.
struct Join<'a> {
    sums: MatMut<'a>,
}

impl Kernel for Join<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (mut total, rest) = self.sums.cut_row(1);
        for block in 0..rest.rows() {
            lanes::map_row(s, [total.reborrow()], [row(rest.as_mat(), block)], Collect(Accum::Add));
        }
    }
}

/// The start of a sum along a row, and how its parts are joined.
macro_rules! sum {
    () => {
        /// Adding this to any number changes nothing, not even the sign of a zero.
        const START: f32 = -0.0;
        #[inline(always)]
        fn merge<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::F32 {
            s.add(a, b)
        }
        #[inline(always)]
        fn fold<S: Simd>(self, s: S, a: S::F32) -> f32 {
            s.fold_add(a)
        }
    };
}

/// `Σ (x - first)`.
#[derive(Clone, Copy)]
struct Distance {
    first: f32,
}

impl RowFold<1, 1, 0> for Distance {
    sum!();
    #[inline(always)]
    fn step<S: Simd>(self, s: S, [acc]: [S::F32; 1], [x]: [S::F32; 1]) -> ([S::F32; 1], [S::F32; 0]) {
        ([distance(s, acc, x, s.splat(self.first))], [])
    }
}

/// `Σ (x - mean)²`.
#[derive(Clone, Copy)]
struct Squares {
    mean: f32,
}

impl RowFold<1, 1, 0> for Squares {
    sum!();
    #[inline(always)]
    fn step<S: Simd>(self, s: S, [acc]: [S::F32; 1], [x]: [S::F32; 1]) -> ([S::F32; 1], [S::F32; 0]) {
        ([square(s, acc, x, s.splat(self.mean))], [])
    }
}

/// The statistics of a row; as a sum, `Σ g` and `Σ g·x̂` of `[dy, x]` and perhaps a weight.
#[derive(Clone, Copy, Default)]
struct Centre {
    mean: f32,
    inv_std: f32,
}

impl Centre {
    #[inline(always)]
    fn xhat<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        xhat(s, x, s.splat(self.mean), s.splat(self.inv_std))
    }
}

/// `dy·weight`, of `[dy, x]` and perhaps a weight.
#[inline(always)]
fn pull<S: Simd, const I: usize>(s: S, inp: [S::F32; I]) -> S::F32 {
    if I == 2 { inp[0] } else { s.mul(inp[0], inp[2]) }
}

impl<const I: usize> RowFold<I, 2, 0> for Centre {
    sum!();
    #[inline(always)]
    fn step<S: Simd>(self, s: S, acc: [S::F32; 2], inp: [S::F32; I]) -> ([S::F32; 2], [S::F32; 0]) {
        (pulls(s, acc, pull(s, inp), self.xhat(s, inp[1])), [])
    }
}

/// `weight·x̂ + bias`, of `x` and perhaps a weight and a bias.
#[derive(Clone, Copy)]
struct Affine {
    row: Centre,
}

impl<const I: usize> Map<I, 1> for Affine {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, inp: [S::F32; I], _: [S::F32; 1]) -> [S::F32; 1] {
        let xhat = self.row.xhat(s, inp[0]);
        [match I {
            1 => xhat,
            2 => s.mul(inp[1], xhat),
            _ => s.fma(inp[1], xhat, inp[2]),
        }]
    }
}

/// The numbers of a row that its gradient needs.
#[derive(Clone, Copy, Default)]
struct RowNumbers {
    centre: Centre,
    pulls: [f32; 2],
}

/// The gradient of the input, and, where they stand, the sums of the parameters' gradients with what a row adds to
/// them: of `[dy, x]` and perhaps a weight.
#[derive(Clone, Copy)]
struct InputGrad {
    row: RowNumbers,
}

impl<const I: usize, const O: usize> Map<I, O> for InputGrad {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, inp: [S::F32; I], mut out: [S::F32; O]) -> [S::F32; O] {
        let RowNumbers { centre, pulls } = self.row;
        let (dy, x) = (inp[0], inp[1]);
        let xhat = centre.xhat(s, x);
        let means = [s.splat(pulls[0]), s.splat(pulls[1])];
        out[0] = input_grad(s, pull(s, inp), xhat, s.splat(centre.inv_std), means);
        if O == 3 {
            [out[1], out[2]] = param_grads(s, [out[1], out[2]], dy, xhat);
        }
        out
    }
}
