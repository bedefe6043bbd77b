//! Matrix products `C (+)= A · B` in every form that backprop needs: a transposed operand is a view.
//!
//! | form | where | call |
//! |---|---|---|
//! | `X·W` (NN) | forward of a linear layer | `gemm(exec, y, Replace, x, w, scratch)` |
//! | `dY·Wᵀ` (NT) | its input gradient | `gemm(exec, dx, Replace, dy, w.t(), scratch)` |
//! | `Xᵀ·dY` (TN) | its weight gradient | `gemm(exec, dw, Add, x.t(), dy, scratch)` |
//!
//! Every element of `C` is one chain of fused multiply-adds in the order of `k`, started at zero or, with
//! [`Accum::Add`], at what stands in `C`. So neither the tier, nor the number of threads, nor the strides, nor the cut
//! of `k` into blocks changes a bit. The exception is `n = 1`, a matrix times a vector, which has nothing to spread
//! over the lanes but the sum itself: there each element is a sum along a row in [that order](crate#the-order-of-sums).
//!
//! Small products read their operands where they are. Large ones, and those whose `B` does not have adjacent columns,
//! copy `B` in panels into `scratch` first.

pub(crate) mod blocking;
mod micro;
#[cfg(test)]
mod tests;

use crate::error::{Result, expect_scratch, expect_shape};
use crate::exec::Exec;
use crate::lanes;
use crate::math;
use crate::par::Divide;
use crate::simd::{Kernel, Simd};
use crate::view::{Mat, MatMut};
use blocking::{KC, MC, NC, PANEL};

/// What happens to the old contents of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Accum {
    /// Overwritten, whatever they were, NaN included.
    #[default]
    Replace,
    /// Where the sum starts.
    Add,
}

/// What is done to an element of `C` in registers once its chain is complete.
#[derive(Clone, Copy)]
pub(crate) enum Epilogue<'a> {
    /// The chain is the result.
    Store,
    /// `max(floor, chain + bias[j])`; the bias is `1 x n` with adjacent columns, the floor 0 for a relu and `-inf`,
    /// which changes nothing, for no activation.
    Bias(Mat<'a>, f32),
    /// `chain·f'(saved[i, j])`: a gradient taken through an activation whose output was `saved`, which has the shape of
    /// `C` and adjacent columns.
    Through(Slope, Mat<'a>),
    /// `C - lr·chain`: gradient descent without writing the gradient down. The chain starts at zero.
    Sgd {
        /// The learning rate.
        lr: f32,
    },
}

/// The activations whose gradient is cheap enough for the registers of a tile.
#[derive(Clone, Copy)]
pub(crate) enum Slope {
    /// `dy·(1 - y²)`
    Tanh,
    /// `dy·y·(1 - y)`
    Sigmoid,
    /// `dy·[y > 0]`
    Relu,
}

impl Slope {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, dy: S::F32, y: S::F32) -> S::F32 {
        match self {
            Slope::Tanh => math::tanh_grad(s, dy, y),
            Slope::Sigmoid => math::sigmoid_grad(s, dy, y),
            Slope::Relu => math::relu_grad(s, dy, y),
        }
    }
}

/// What is done to finished blocks of `C` while they are in cache: a call of its own, which enters its tier by itself, so
/// that the product is compiled once for all of them.
pub(crate) struct Finish<'a> {
    /// A matrix of the shape of `C` that is written too.
    pub(crate) also: Option<MatMut<'a>>,
    /// Does it to a block of `C` and that of `also`, which lie at a place in the whole.
    pub(crate) run: FinishBlock<'a>,
}

pub(crate) type FinishBlock<'a> = &'a (dyn Fn(MatMut<'_>, Option<MatMut<'_>>, (usize, usize)) + Sync);

/// Floats of scratch that a product of `m x k` by `k x n` may need on `exec`, whatever the strides.
#[must_use]
pub fn scratch_len(exec: &Exec, m: usize, k: usize, n: usize) -> usize {
    // Where the rows of `C` are adjacent instead of its columns, the product runs transposed.
    exec.threads() * piece_scratch(m, k, n).max(piece_scratch(n, k, m))
}

/// What one thread's piece of a product needs: a block of `B` in panels, and a block of `A`.
fn piece_scratch(m: usize, k: usize, n: usize) -> usize {
    k.min(KC) * (n.min(NC).next_multiple_of(PANEL) + m.min(MC))
}

/// `C (+)= A · B`: `c` is `m x n`, `a` is `m x k`, `b` is `k x n`, with any strides. An empty sum (`k = 0`) is zero.
///
/// The order of the sums is given at the [top of the module](self). `scratch` holds at least [`scratch_len`] floats
/// and is left with arbitrary contents.
///
/// # Errors
/// If the shapes do not match or `scratch` is too short; then nothing is written.
pub fn gemm(exec: &Exec, c: MatMut<'_>, accum: Accum, a: Mat<'_>, b: Mat<'_>, scratch: &mut [f32]) -> Result<()> {
    check("gemm", exec, c.as_mat(), a, b, scratch)?;
    into_any(exec, c, accum, a, b, scratch);
    Ok(())
}

/// [`gemm`] past the door.
pub(crate) fn into_any(exec: &Exec, c: MatMut<'_>, accum: Accum, a: Mat<'_>, b: Mat<'_>, scratch: &mut [f32]) {
    if c.cols() == 1 || c.col_stride() == 1 {
        product(exec, c, accum, a, b, Epilogue::Store, None, scratch);
    } else if c.row_stride() == 1 && c.rows() > 1 {
        product(exec, c.t(), accum, b.t(), a.t(), Epilogue::Store, None, scratch);
    } else {
        scattered(exec, c, accum, a, b, scratch);
    }
}

/// Checks the shapes and the scratch of a product.
pub(crate) fn check(op: &'static str, exec: &Exec, c: Mat<'_>, a: Mat<'_>, b: Mat<'_>, scratch: &[f32]) -> Result<()> {
    let (m, k, n) = (a.rows(), a.cols(), b.cols());
    expect_shape(op, "b", &[k, n], &[b.rows(), b.cols()])?;
    expect_shape(op, "c", &[m, n], &[c.rows(), c.cols()])?;
    expect_scratch(op, scratch_len(exec, m, k, n), scratch.len())
}

/// A product past the door: shapes match, the columns of `c` are adjacent (or there is one), and `scratch` suffices.
pub(crate) fn product(
    exec: &Exec,
    c: MatMut<'_>,
    accum: Accum,
    a: Mat<'_>,
    b: Mat<'_>,
    epilogue: Epilogue<'_>,
    finish: Option<Finish<'_>>,
    scratch: &mut [f32],
) {
    let vector = c.cols() == 1;
    divided(exec, c, accum, a, b, epilogue, finish, vector, scratch);
}

/// [`product`], or a block of one: `vector` says whether the whole product has one column, and so sums along rows.
fn divided(
    exec: &Exec,
    c: MatMut<'_>,
    accum: Accum,
    a: Mat<'_>,
    b: Mat<'_>,
    epilogue: Epilogue<'_>,
    finish: Option<Finish<'_>>,
    vector: bool,
    scratch: &mut [f32],
) {
    let (m, n) = (c.rows(), c.cols());
    if m == 0 || n == 0 {
        return;
    }
    let by_rows = m >= n;
    let grain = if by_rows { 8 } else { PANEL };
    let (also, finish) = finish.map_or((None, None), |Finish { also, run }| (also, Some(run)));
    let work = Work { c, also, a, b, scratch, origin: (0, 0), by_rows };
    exec.par.run(blocking::nanoseconds(m, a.cols(), n), grain, work, |work| {
        exec.isa().run(Product { work, accum, epilogue, finish, vector });
    });
}

/// A product whose `C` has adjacent elements neither along rows nor along columns: blocks go through a buffer.
fn scattered(exec: &Exec, c: MatMut<'_>, accum: Accum, a: Mat<'_>, b: Mat<'_>, scratch: &mut [f32]) {
    const ROWS: usize = 64;
    let mut buffer = [0.0; ROWS * PANEL];
    let mut rest = c;
    let (m, n) = (a.rows(), b.cols());
    for i in (0..m).step_by(ROWS) {
        let rows = ROWS.min(m - i);
        let (mut strip, below) = rest.cut_row(rows);
        rest = below;
        for j in (0..n).step_by(PANEL) {
            let cols = PANEL.min(n - j);
            let (mut block, right) = strip.cut_col(cols);
            strip = right;
            let mut copy = MatMut::from_prefix(&mut buffer, rows, cols);
            exec.isa().run(CopyTo { dst: copy.reborrow(), src: block.as_mat() });
            let (a, b) = (a.rows_in(i..i + rows), b.cols_in(j..j + cols));
            // A block may have one column, but the whole has more.
            divided(exec, copy.reborrow(), accum, a, b, Epilogue::Store, None, false, scratch);
            exec.isa().run(CopyTo { dst: block.reborrow(), src: copy.as_mat() });
        }
    }
}

/// `dst = src`.
struct CopyTo<'a> {
    dst: MatMut<'a>,
    src: Mat<'a>,
}

impl Kernel for CopyTo<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        lanes::map(s, [self.dst], [self.src], lanes::Same);
    }
}

/// The operands of a product, to be divided over threads by rows or by columns of `C`.
struct Work<'a> {
    c: MatMut<'a>,
    /// A matrix that goes with `c`.
    also: Option<MatMut<'a>>,
    a: Mat<'a>,
    b: Mat<'a>,
    scratch: &'a mut [f32],
    /// Where `c` lies in the whole.
    origin: (usize, usize),
    by_rows: bool,
}

impl<'a> Divide for Work<'a> {
    fn len(&self) -> usize {
        if self.by_rows { self.c.rows() } else { self.c.cols() }
    }

    fn divide(self, at: usize, left: usize, pieces: usize) -> (Self, Self) {
        let Work { c, also, a, b, scratch, origin, by_rows } = self;
        let (m, n) = (c.rows(), c.cols());
        let (scratch1, scratch2) = scratch.split_at_mut(scratch.len() / pieces * left);
        let cut = |c: MatMut<'a>| if by_rows { c.cut_row(at) } else { c.cut_col(at) };
        let ((c1, c2), (also1, also2)) = (cut(c), also.map(cut).unzip());
        if by_rows {
            let (a1, a2, second) = (a.rows_in(0..at), a.rows_in(at..m), (origin.0 + at, origin.1));
            (
                Work { c: c1, also: also1, a: a1, b, scratch: scratch1, origin, by_rows },
                Work { c: c2, also: also2, a: a2, b, scratch: scratch2, origin: second, by_rows },
            )
        } else {
            let (b1, b2, second) = (b.cols_in(0..at), b.cols_in(at..n), (origin.0, origin.1 + at));
            (
                Work { c: c1, also: also1, a, b: b1, scratch: scratch1, origin, by_rows },
                Work { c: c2, also: also2, a, b: b2, scratch: scratch2, origin: second, by_rows },
            )
        }
    }
}

/// One thread's piece of a product.
struct Product<'a> {
    work: Work<'a>,
    accum: Accum,
    epilogue: Epilogue<'a>,
    finish: Option<FinishBlock<'a>>,
    /// Whether the whole product has one column, and so sums along rows.
    vector: bool,
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Product { work: Work { mut c, mut also, a, b, scratch, origin, .. }, accum, epilogue, finish, vector } =
            self;
        let (m, k, n) = (a.rows(), a.cols(), b.cols());
        // A descent in place is one block of `k`, whose chains are complete when they meet `C`, or goes direct.
        let in_place = matches!(epilogue, Epilogue::Sgd { .. });
        let direct = (in_place && k > KC) || blocking::is_direct(m, k, n, a.is_adjacent());
        let turn = !vector && direct && !b.is_adjacent() && blocking::is_turned(k, n);
        let stride = n.next_multiple_of(S::LANES);
        let (turned, scratch) = scratch.split_at_mut(if turn { k * stride } else { 0 });
        let mut b = b;
        if turn {
            // A small `B` is turned once, whole.
            s.vectorize(Turn { dst: MatMut::from_prefix(turned, k, stride), src: b });
            b = Mat::from_prefix(turned, k, stride).cols_in(0..n);
        }
        if vector || (direct && b.is_adjacent()) {
            let rows = if finish.is_none() { m } else { blocking::finish_rows(n) };
            for i in (0..m).step_by(rows) {
                let rows = i..m.min(i + rows);
                let mut c = c.reborrow().rows_in(rows.clone());
                let at = (origin.0 + i, origin.1);
                let a = a.rows_in(rows.clone());
                let tiles = micro::Tiles { c: c.reborrow(), accum, a, b, epilogue, origin: at };
                if vector {
                    micro::matrix_vector(s, tiles);
                } else {
                    s.vectorize(tiles);
                }
                if let Some(finish) = finish {
                    finish(c, also.as_mut().map(|also| also.reborrow().rows_in(rows)), at);
                }
            }
        } else if m <= FEW_ROWS && b.is_adjacent() && !in_place {
            s.vectorize(FewRows { c, also, accum, a, b, epilogue, finish, origin });
        } else {
            s.vectorize(Packed { c, also, accum, a, b, epilogue, finish, origin, scratch });
        }
    }
}

/// Copies an operand so that its columns are adjacent.
struct Turn<'a> {
    dst: MatMut<'a>,
    src: Mat<'a>,
}

impl Kernel for Turn<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        lanes::copy(s, self.dst, self.src);
    }
}

/// A product of at most so many rows is bound by reading `B`, which is then read once from end to end.
const FEW_ROWS: usize = 4;

/// A product of few rows and a long chain: the rows of `B` one after the other, the chains of `C` in cache.
struct FewRows<'a> {
    c: MatMut<'a>,
    also: Option<MatMut<'a>>,
    accum: Accum,
    a: Mat<'a>,
    b: Mat<'a>,
    epilogue: Epilogue<'a>,
    finish: Option<FinishBlock<'a>>,
    origin: (usize, usize),
}

/// Rows of `B` for which `C` is read and written once.
const ROWS_OF_B: usize = 4;

impl Kernel for FewRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let FewRows { mut c, also, accum, a, b, epilogue, finish, origin } = self;
        let k = a.cols();
        if accum == Accum::Replace {
            c.fill(0.0);
        }
        // The last rows go through the tiles, for the epilogue.
        let whole = k.saturating_sub(1) / ROWS_OF_B * ROWS_OF_B;
        for p in (0..whole).step_by(ROWS_OF_B) {
            let rows = |i: usize| b.rows_in(p + i..p + i + 1);
            for i in 0..a.rows() {
                let x = |q: usize| a.get(i, p + q).unwrap_or(f32::NAN);
                let chain = Chain { x: [x(0), x(1), x(2), x(3)] };
                let c = c.reborrow().rows_in(i..i + 1);
                lanes::map_row(s, [c], [rows(0), rows(1), rows(2), rows(3)], chain);
            }
        }
        let (a, b) = (a.cols_in(whole..k), b.rows_in(whole..k));
        s.vectorize(micro::Tiles { c: c.reborrow(), accum: Accum::Add, a, b, epilogue, origin });
        if let Some(finish) = finish {
            finish(c, also, origin);
        }
    }
}

/// The next links of the chains of a row: one element of `A` for each row of `B`.
#[derive(Clone, Copy)]
struct Chain {
    x: [f32; ROWS_OF_B],
}

impl lanes::Map<ROWS_OF_B, 1> for Chain {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, rows: [S::F32; ROWS_OF_B], [mut sum]: [S::F32; 1]) -> [S::F32; 1] {
        for (&x, row) in self.x.iter().zip(rows) {
            sum = s.fma(s.splat(x), row, sum);
        }
        [sum]
    }
}

/// A product by way of panels of `B` in `scratch`, `KC` rows at a time, the chains of `C` continuing from block to block.
struct Packed<'a> {
    c: MatMut<'a>,
    also: Option<MatMut<'a>>,
    accum: Accum,
    a: Mat<'a>,
    b: Mat<'a>,
    epilogue: Epilogue<'a>,
    finish: Option<FinishBlock<'a>>,
    origin: (usize, usize),
    scratch: &'a mut [f32],
}

impl Kernel for Packed<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Packed { mut c, mut also, accum, a, b, epilogue, finish, origin, scratch } = self;
        let (m, k, n) = (a.rows(), a.cols(), b.cols());
        let (b_space, a_space) = scratch.split_at_mut(k.min(KC) * n.min(NC).next_multiple_of(PANEL));
        for j in (0..n).step_by(NC) {
            let cols = j..n.min(j + NC);
            // A sum of nothing is one empty block.
            for p in (0..k.max(1)).step_by(KC) {
                let depth = p..k.min(p + KC);
                pack_panels(s, b_space, b.rows_in(depth.clone()).cols_in(cols.clone()));
                let accum = if p == 0 { accum } else { Accum::Add };
                let (epilogue, finish) = if depth.end == k { (epilogue, finish) } else { (Epilogue::Store, None) };
                for i in (0..m).step_by(MC) {
                    let rows = i..m.min(i + MC);
                    let mut a = a.rows_in(rows.clone()).cols_in(depth.clone());
                    if !a.is_adjacent() {
                        let mut copy = MatMut::from_prefix(a_space, depth.len(), rows.len());
                        lanes::copy(s, copy.reborrow(), a.t());
                        a = Mat::from_prefix(a_space, depth.len(), rows.len()).t();
                    }
                    let mut rest = c.reborrow().rows_in(rows.clone()).cols_in(cols.clone());
                    for (q, first) in (0..cols.len()).step_by(PANEL).enumerate() {
                        let width = PANEL.min(cols.len() - first);
                        let (c, right) = rest.cut_col(width);
                        rest = right;
                        let panel = &b_space[q * depth.len() * PANEL..];
                        let b = Mat::from_prefix(panel, depth.len(), PANEL).cols_in(0..width);
                        let origin = (origin.0 + i, origin.1 + j + first);
                        s.vectorize(micro::Tiles { c, accum, a, b, epilogue, origin });
                    }
                    if let Some(finish) = finish {
                        let also =
                            also.as_mut().map(|also| also.reborrow().rows_in(rows.clone()).cols_in(cols.clone()));
                        finish(
                            c.reborrow().rows_in(rows.clone()).cols_in(cols.clone()),
                            also,
                            (origin.0 + i, origin.1 + j),
                        );
                    }
                }
            }
        }
    }
}

/// Copies a block of `B` into panels of `PANEL` columns, row after row.
#[inline(always)]
fn pack_panels<S: Simd>(s: S, space: &mut [f32], block: Mat<'_>) {
    let (depth, cols) = (block.rows(), block.cols());
    for (q, first) in (0..cols).step_by(PANEL).enumerate() {
        let width = PANEL.min(cols - first);
        let panel = MatMut::from_prefix(&mut space[q * depth * PANEL..], depth, PANEL).cols_in(0..width);
        lanes::copy(s, panel, block.cols_in(first..first + width));
    }
}
