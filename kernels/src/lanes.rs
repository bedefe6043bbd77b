//! The only loops over lanes, and the only tails.
//!
//! An operation gives a function of registers ([`Map`], [`RowFold`], [`ColFold`]); the loops here walk it over 2-d
//! blocks. A tail runs the same vector code on a partly filled register, so an element's value does not depend on
//! where in a row it stands.
//!
//! The order of every sum is written down here and nowhere else:
//!
//! * **along a row**: [`VIRTUAL_LANES`] running sums; element `i` joins sum `i mod 64`; at the end the sums are folded
//!   by halves, `i` with `i + 32`, then `i + 16`, … until one is left;
//! * **down a column**: blocks of [`BLOCK_ROWS`] rows, each summed from its first row to its last, and the blocks'
//!   sums added from first to last.

#![allow(unsafe_code)] // Fence 3: pointers into blocks whose bounds `Mat` and `MatMut` have established.

mod fold;
mod map;
mod placed;
mod rows;
mod short;

pub(crate) use fold::{Fold, RUN, fold_columns, fold_runs, join};
pub(crate) use map::map;
pub(crate) use placed::{Placed, map_placed};
pub(crate) use rows::{RowWriter, Writes, first_in_row, fold_one_row, fold_one_row_ahead, map_row};
pub(crate) use short::{Registers, Short, ShortRows, TOGETHER, map_short_rows};

use crate::gemm::Accum;
use crate::simd::{Kernel, Simd};
use crate::view::{Mat, MatMut};
use map::MAX_LANES;
use std::mem::MaybeUninit;

/// Running sums along a row: four registers of the widest tier, enough to hide the latency of an addition.
pub(crate) const VIRTUAL_LANES: usize = 64;

/// Rows in one block of a sum down a column.
pub(crate) const BLOCK_ROWS: usize = 256;

/// A function of registers: `O` outputs from `I` inputs, element by element.
pub(crate) trait Map<const I: usize, const O: usize>: Copy + Send + Sync {
    /// Whether the function is a long chain, which pays to be run for several registers side by side.
    const LONG: bool = false;
    /// `old` is what stands in the outputs; functions that overwrite ignore it.
    fn eval<S: Simd>(self, s: S, x: [S::F32; I], old: [S::F32; O]) -> [S::F32; O];
}

/// A function of registers with `P` parameters a column, which stay in registers down the rows.
pub(crate) trait ColMap<const I: usize, const P: usize, const O: usize>: Copy + Send + Sync {
    /// The outputs for one register of each input.
    fn eval<S: Simd>(self, s: S, x: [S::F32; I], p: [S::F32; P]) -> [S::F32; O];
}

/// A function of registers that runs along a row, keeping `A` running values and writing `O` outputs.
pub(crate) trait RowFold<const I: usize, const A: usize, const O: usize>: Copy + Send + Sync {
    /// What the running values start as; merging it into a value changes nothing.
    const START: f32;
    /// Takes in one register of each input.
    fn step<S: Simd>(self, s: S, acc: [S::F32; A], x: [S::F32; I]) -> ([S::F32; A], [S::F32; O]);
    /// Joins two running values.
    fn merge<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::F32;
    /// Joins the lanes of one running value, by halves.
    fn fold<S: Simd>(self, s: S, a: S::F32) -> f32;
}

/// A sum down the columns: `A` running sums from `I` inputs and `P` parameters that are the same for every row.
pub(crate) trait ColFold<const I: usize, const P: usize, const A: usize>: Copy + Send + Sync {
    /// Takes in one register of each input.
    fn step<S: Simd>(self, s: S, acc: [S::F32; A], x: [S::F32; I], p: [S::F32; P]) -> [S::F32; A];
}

/// `x`.
#[derive(Clone, Copy)]
pub(crate) struct Same;

impl<const N: usize> Map<N, N> for Same {
    #[inline(always)]
    fn eval<S: Simd>(self, _: S, x: [S::F32; N], _: [S::F32; N]) -> [S::F32; N] {
        x
    }
}

/// `x`, or the sum of `x` and what stands there.
#[derive(Clone, Copy)]
pub(crate) struct Collect(pub(crate) Accum);

impl<const N: usize> Map<N, N> for Collect {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, mut x: [S::F32; N], old: [S::F32; N]) -> [S::F32; N] {
        if self.0 == Accum::Add {
            for (x, old) in x.iter_mut().zip(old) {
                *x = s.add(old, *x);
            }
        }
        x
    }
}

/// `Σ x` down the columns.
#[derive(Clone, Copy)]
pub(crate) struct Sum;

impl ColFold<1, 0, 1> for Sum {
    #[inline(always)]
    fn step<S: Simd>(self, s: S, [acc]: [S::F32; 1], [x]: [S::F32; 1], _: [S::F32; 0]) -> [S::F32; 1] {
        [s.add(acc, x)]
    }
}

/// `Σ x` along a row.
#[derive(Clone, Copy)]
pub(crate) struct RowSum;

impl RowFold<1, 1, 0> for RowSum {
    const START: f32 = 0.0;
    #[inline(always)]
    fn step<S: Simd>(self, s: S, [acc]: [S::F32; 1], [x]: [S::F32; 1]) -> ([S::F32; 1], [S::F32; 0]) {
        ([s.add(acc, x)], [])
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

/// The greatest `x` along a row; NaN where there is one.
#[derive(Clone, Copy)]
pub(crate) struct Max;

impl RowFold<1, 1, 0> for Max {
    const START: f32 = f32::NEG_INFINITY;
    #[inline(always)]
    fn step<S: Simd>(self, s: S, [acc]: [S::F32; 1], [x]: [S::F32; 1]) -> ([S::F32; 1], [S::F32; 0]) {
        ([s.maximum(x, acc)], [])
    }
    #[inline(always)]
    fn merge<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::F32 {
        s.maximum(a, b)
    }
    #[inline(always)]
    fn fold<S: Simd>(self, s: S, a: S::F32) -> f32 {
        if s.any(s.is_nan(a)) { f32::NAN } else { s.fold_max(a) }
    }
}

/// Zero.
#[derive(Clone, Copy)]
pub(crate) struct Zero;

impl Map<0, 1> for Zero {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, _: [S::F32; 0], _: [S::F32; 1]) -> [S::F32; 1] {
        [s.zero()]
    }
}

/// The sums themselves.
#[derive(Clone, Copy)]
pub(crate) struct Totals;

impl<const P: usize, const A: usize> ColMap<A, P, A> for Totals {
    #[inline(always)]
    fn eval<S: Simd>(self, _: S, totals: [S::F32; A], _: [S::F32; P]) -> [S::F32; A] {
        totals
    }
}

/// `Σ x·y`.
#[derive(Clone, Copy)]
pub(crate) struct Dot;

impl RowFold<2, 1, 0> for Dot {
    const START: f32 = 0.0;
    #[inline(always)]
    fn step<S: Simd>(self, s: S, [acc]: [S::F32; 1], [x, y]: [S::F32; 2]) -> ([S::F32; 1], [S::F32; 0]) {
        ([s.fma(x, y, acc)], [])
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

/// One operand of a row: where it starts and how far apart its elements are.
#[derive(Clone, Copy)]
struct Row<P> {
    start: P,
    stride: isize,
}

/// Row `i` of `mat`. Computing the address is safe; reading through it is not.
#[inline(always)]
fn row(mat: Mat<'_>, i: usize) -> Row<*const f32> {
    Row { start: mat.as_ptr().wrapping_offset(i as isize * mat.row_stride()), stride: mat.col_stride() }
}

/// Row `i` of `mat`, to be written.
#[inline(always)]
fn row_mut(mat: &mut MatMut<'_>, i: usize) -> Row<*mut f32> {
    let stride = mat.col_stride();
    Row { start: mat.as_mut_ptr().wrapping_offset(i as isize * mat.row_stride()), stride }
}

/// Copies `n` elements that are `stride` apart to adjacent places.
///
/// # Safety
/// `src` is readable for `n` elements `stride` apart, `dst` writable for `n`.
#[inline(always)]
unsafe fn gather(dst: *mut f32, src: *const f32, stride: isize, n: usize) {
    for i in 0..n {
        // SAFETY: `i < n`.
        unsafe { dst.add(i).write(src.offset(i as isize * stride).read()) };
    }
}

/// Folds row `i` of each input, writing row `i` of each output on the way, in the order given at the top.
#[inline(always)]
pub(crate) fn fold_row<S: Simd, F: RowFold<I, A, O>, const I: usize, const A: usize, const O: usize>(
    s: S,
    i: usize,
    mut out: [MatMut<'_>; O],
    inp: [Mat<'_>; I],
    f: F,
) -> [f32; A] {
    let cols = inp[0].cols();
    let mut y = [Row { start: std::ptr::null_mut(), stride: 0 }; O];
    for (y, mat) in y.iter_mut().zip(&mut out) {
        debug_assert_eq!(mat.cols(), cols);
        *y = row_mut(mat, i);
    }
    let x = inp.map(|mat| row(mat, i));
    debug_assert!(inp.iter().all(|mat| mat.cols() == cols && i < mat.rows()));
    // The branch folds: one instance a tier.
    // SAFETY: each row has `cols` elements, its stride apart, inside its block.
    unsafe {
        match S::LANES {
            16 => fold_virtual::<S, F, I, A, O, 4>(s, cols, y, x, f),
            8 => fold_virtual::<S, F, I, A, O, 8>(s, cols, y, x, f),
            _ => fold_virtual::<S, F, I, A, O, VIRTUAL_LANES>(s, cols, y, x, f),
        }
    }
}

/// [`fold_row`] with `K` registers for the virtual lanes: `K * LANES` is [`VIRTUAL_LANES`].
///
/// # Safety
/// Every row is valid for `n` elements its stride apart, to read (`x`) and to write (`y`).
#[inline(always)]
unsafe fn fold_virtual<S: Simd, F: RowFold<I, A, O>, const I: usize, const A: usize, const O: usize, const K: usize>(
    s: S,
    n: usize,
    y: [Row<*mut f32>; O],
    x: [Row<*const f32>; I],
    f: F,
) -> [f32; A] {
    const { assert!(K <= VIRTUAL_LANES) };
    debug_assert_eq!(K * S::LANES, VIRTUAL_LANES);
    let unit = x.iter().all(|x| x.stride == 1) && y.iter().all(|y| y.stride == 1);
    let mut acc = [[s.splat(F::START); A]; K];
    let mut a = [[0.0; VIRTUAL_LANES]; I];
    let mut b = [[0.0; VIRTUAL_LANES]; O];
    let mut i = 0;
    while i < n {
        let len = VIRTUAL_LANES.min(n - i);
        let mut from = [std::ptr::null(); I];
        let mut to = [std::ptr::null_mut(); O];
        // SAFETY: elements `i..i + len` of each row are valid, each buffer holds `VIRTUAL_LANES >= len`, and the
        // vector steps below touch the first `len` elements behind `from` and `to`.
        unsafe {
            for ((a, x), from) in a.iter_mut().zip(x).zip(&mut from) {
                *from = x.start.offset(i as isize * x.stride);
                if !unit {
                    gather(a.as_mut_ptr(), *from, x.stride, len);
                    *from = a.as_ptr();
                }
            }
            for ((b, y), to) in b.iter_mut().zip(y).zip(&mut to) {
                *to = if unit { y.start.add(i) } else { b.as_mut_ptr() };
            }
            if len == VIRTUAL_LANES {
                for (k, acc) in acc.iter_mut().enumerate() {
                    let mut x = [s.zero(); I];
                    for (x, from) in x.iter_mut().zip(from) {
                        *x = s.load(from.add(k * S::LANES));
                    }
                    let (next, y) = f.step(s, *acc, x);
                    *acc = next;
                    for (y, to) in y.into_iter().zip(to) {
                        s.store(to.add(k * S::LANES), y);
                    }
                }
            } else {
                for (k, acc) in acc.iter_mut().enumerate() {
                    let at = k * S::LANES;
                    if at >= len {
                        break;
                    }
                    let mut x = [s.zero(); I];
                    for (x, from) in x.iter_mut().zip(from) {
                        *x = s.load_head(from.add(at), len - at);
                    }
                    let (next, y) = f.step(s, *acc, x);
                    let filled = s.head(len - at);
                    for (acc, next) in acc.iter_mut().zip(next) {
                        *acc = s.select(filled, next, *acc);
                    }
                    for (y, to) in y.into_iter().zip(to) {
                        s.store_head(to.add(at), len - at, y);
                    }
                }
            }
            if !unit {
                for (b, y) in b.iter().zip(y) {
                    let start = y.start.offset(i as isize * y.stride);
                    for (j, &value) in b[..len].iter().enumerate() {
                        start.offset(j as isize * y.stride).write(value);
                    }
                }
            }
        }
        i += len;
    }
    let mut result = [0.0; A];
    for (j, result) in result.iter_mut().enumerate() {
        let mut width = K;
        while width > 1 {
            width /= 2;
            for k in 0..width {
                acc[k][j] = f.merge(s, acc[k][j], acc[k + width][j]);
            }
        }
        *result = f.fold(s, acc[0][j]);
    }
    result
}

/// Sums the columns of `inp` into the rows `out`, each `1 x cols`, in the order given at the top.
///
/// `params` are `1 x cols`. `finish` makes what is written of each column's sums. Columns must be adjacent.
#[inline(always)]
pub(crate) fn fold_cols<S, F, G, const I: usize, const P: usize, const A: usize, const O: usize>(
    s: S,
    mut out: [MatMut<'_>; O],
    inp: [Mat<'_>; I],
    params: [Mat<'_>; P],
    f: F,
    finish: G,
) where
    S: Simd,
    F: ColFold<I, P, A>,
    G: ColMap<A, P, O>,
{
    let (rows, cols) = (inp[0].rows(), inp[0].cols());
    debug_assert!(inp.iter().all(|x| x.rows() == rows && x.cols() == cols && x.is_adjacent()));
    debug_assert!(params.iter().all(|p| p.cols() == cols && p.is_adjacent()));
    debug_assert!(out.iter().all(|y| y.cols() == cols && y.is_adjacent()));
    let mut y = [std::ptr::null_mut(); O];
    for (y, mat) in y.iter_mut().zip(&mut out) {
        *y = mat.as_mut_ptr();
    }
    let walk = ColWalk { rows, y, x: inp.map(|x| (x.as_ptr(), x.row_stride())), p: params.map(|p| p.as_ptr()) };
    // Many columns at a time hide the latency of their chains; what is left over goes together, the last register
    // partly filled and those behind it empty. The branches fold.
    let many = if S::LANES == 16 && A + P <= 2 { 8 } else { 4 };
    let mut j = 0;
    // SAFETY: the columns exist as far as `width` says, and are adjacent.
    unsafe {
        while j < cols {
            let width = cols - j;
            if width >= many * S::LANES {
                match many {
                    8 => walk.columns::<S, F, G, A, 8, false>(s, j, many * S::LANES, f, finish),
                    _ => walk.columns::<S, F, G, A, 4, false>(s, j, many * S::LANES, f, finish),
                }
                j += many * S::LANES;
                continue;
            }
            match width.div_ceil(S::LANES) {
                1 => walk.columns::<S, F, G, A, 1, true>(s, j, width, f, finish),
                2 => walk.columns::<S, F, G, A, 2, true>(s, j, width, f, finish),
                3 | 4 => walk.columns::<S, F, G, A, 4, true>(s, j, width, f, finish),
                _ => walk.columns::<S, F, G, A, 8, true>(s, j, width, f, finish),
            }
            break;
        }
    }
}

/// The operands of [`fold_cols`].
#[derive(Clone, Copy)]
struct ColWalk<const I: usize, const P: usize, const O: usize> {
    rows: usize,
    y: [*mut f32; O],
    x: [(*const f32, isize); I],
    p: [*const f32; P],
}

impl<const I: usize, const P: usize, const O: usize> ColWalk<I, P, O> {
    /// Sums `width` columns from column `j` on, in `C` registers; all are full unless `MASKED`.
    ///
    /// # Safety
    /// Columns `j..j + width` exist in every operand.
    #[inline(always)]
    unsafe fn columns<S, F, G, const A: usize, const C: usize, const MASKED: bool>(
        self,
        s: S,
        j: usize,
        width: usize,
        f: F,
        finish: G,
    ) where
        S: Simd,
        F: ColFold<I, P, A>,
        G: ColMap<A, P, O>,
    {
        let lanes: [usize; C] = std::array::from_fn(|c| width.saturating_sub(c * S::LANES));
        let mut p = [[s.zero(); P]; C];
        for (c, p) in p.iter_mut().enumerate() {
            for (p, at) in p.iter_mut().zip(self.p) {
                // SAFETY: these columns exist.
                *p = unsafe { s.load_head(at.wrapping_add(j + c * S::LANES), lanes[c]) };
            }
        }
        let mut total = [[s.zero(); A]; C];
        let mut at = self.x.map(|(start, _)| start.wrapping_add(j));
        let mut first = 0;
        while first < self.rows {
            let end = self.rows.min(first + BLOCK_ROWS);
            let mut acc = [[s.zero(); A]; C];
            for _ in first..end {
                for (c, acc) in acc.iter_mut().enumerate() {
                    let mut x = [s.zero(); I];
                    for (x, at) in x.iter_mut().zip(at) {
                        let here = at.wrapping_add(c * S::LANES);
                        // SAFETY: this row and these columns exist.
                        *x = unsafe { if MASKED { s.load_head(here, lanes[c]) } else { s.load(here) } };
                    }
                    *acc = f.step(s, *acc, x, p[c]);
                }
                for (at, (_, stride)) in at.iter_mut().zip(self.x) {
                    *at = at.wrapping_offset(stride);
                }
            }
            for (total, acc) in total.iter_mut().zip(acc) {
                for (total, acc) in total.iter_mut().zip(acc) {
                    *total = if first == 0 { acc } else { s.add(*total, acc) };
                }
            }
            first = end;
        }
        for (c, total) in total.into_iter().enumerate() {
            for (result, y) in finish.eval(s, total, p[c]).into_iter().zip(self.y) {
                // SAFETY: these columns exist.
                unsafe { s.store_head(y.wrapping_add(j + c * S::LANES), lanes[c], result) };
            }
        }
    }
}

/// `out = f(inp)` with parameters that are the same for every row, each `1 x cols`. Columns must be adjacent
/// everywhere.
#[inline(always)]
pub(crate) fn map_cols<S: Simd, F: ColMap<I, P, O>, const I: usize, const P: usize, const O: usize>(
    s: S,
    mut out: [MatMut<'_>; O],
    inp: [Mat<'_>; I],
    params: [Mat<'_>; P],
    f: F,
) {
    let (rows, cols) = (out[0].rows(), out[0].cols());
    debug_assert!(inp.iter().all(|x| x.rows() == rows && x.cols() == cols && x.is_adjacent()));
    debug_assert!(out.iter().all(|y| y.rows() == rows && y.cols() == cols && y.is_adjacent()));
    debug_assert!(params.iter().all(|p| p.cols() == cols && p.is_adjacent()));
    let walk = MapWalk {
        rows,
        y: out.each_mut().map(|y| (y.as_mut_ptr(), y.row_stride())),
        x: inp.map(|x| (x.as_ptr(), x.row_stride())),
        p: params.map(|p| p.as_ptr()),
    };
    let mut j = 0;
    // SAFETY: the columns exist as far as the width says, and are adjacent.
    unsafe {
        while j + 2 * S::LANES <= cols {
            walk.columns::<S, F, 2, false>(s, j, 2 * S::LANES, f);
            j += 2 * S::LANES;
        }
        while j < cols {
            walk.columns::<S, F, 1, true>(s, j, cols - j, f);
            j += S::LANES;
        }
    }
}

/// The operands of [`map_cols`].
#[derive(Clone, Copy)]
struct MapWalk<const I: usize, const P: usize, const O: usize> {
    rows: usize,
    y: [(*mut f32, isize); O],
    x: [(*const f32, isize); I],
    p: [*const f32; P],
}

impl<const I: usize, const P: usize, const O: usize> MapWalk<I, P, O> {
    /// At most `width` columns from column `j` on, in `C` registers; all are full unless `MASKED`.
    ///
    /// # Safety
    /// Columns `j..j + width` exist in every operand.
    #[inline(always)]
    unsafe fn columns<S: Simd, F: ColMap<I, P, O>, const C: usize, const MASKED: bool>(
        self,
        s: S,
        j: usize,
        width: usize,
        f: F,
    ) {
        let lanes: [usize; C] = std::array::from_fn(|c| width.saturating_sub(c * S::LANES));
        let mut p = [[s.zero(); P]; C];
        for (c, p) in p.iter_mut().enumerate() {
            for (p, at) in p.iter_mut().zip(self.p) {
                // SAFETY: these columns exist.
                *p = unsafe { s.load_head(at.wrapping_add(j + c * S::LANES), lanes[c]) };
            }
        }
        let mut from = self.x.map(|(start, _)| start.wrapping_add(j));
        let mut to = self.y.map(|(start, _)| start.wrapping_add(j));
        for _ in 0..self.rows {
            for (c, &p) in p.iter().enumerate() {
                let mut x = [s.zero(); I];
                for (x, at) in x.iter_mut().zip(from) {
                    let here = at.wrapping_add(c * S::LANES);
                    // SAFETY: this row and these columns exist.
                    *x = unsafe { if MASKED { s.load_head(here, lanes[c]) } else { s.load(here) } };
                }
                for (y, at) in f.eval(s, x, p).into_iter().zip(to) {
                    let here = at.wrapping_add(c * S::LANES);
                    // SAFETY: this row and these columns exist.
                    unsafe { if MASKED { s.store_head(here, lanes[c], y) } else { s.store(here, y) } };
                }
            }
            for (at, (_, stride)) in from.iter_mut().zip(self.x) {
                *at = at.wrapping_offset(stride);
            }
            for (at, (_, stride)) in to.iter_mut().zip(self.y) {
                *at = at.wrapping_offset(stride);
            }
        }
    }
}

/// Row `i` of `y` becomes the rows of `table` that its share of `tokens` names, side by side. Columns must be adjacent
/// in both.
#[inline(always)]
pub(crate) fn gather_rows<S: Simd>(s: S, mut y: MatMut<'_>, table: Mat<'_>, tokens: &[i64]) {
    let dim = table.cols();
    if y.is_empty() || dim == 0 {
        return;
    }
    let cols = y.cols();
    let context = cols / dim;
    assert_eq!(tokens.len(), y.rows() * context);
    for (i, tokens) in tokens.chunks_exact(context).enumerate() {
        let start = row_mut(&mut y, i).start;
        for (g, &token) in tokens.iter().enumerate() {
            assert!((token as u64) < table.rows() as u64, "tokens are checked at the door");
            let from = row(table, token as usize).start;
            let to = start.wrapping_add(g * dim);
            let mut j = 0;
            if dim <= S::LANES {
                // SAFETY: as below, in one register; where the row goes on far enough all of it is written, the rest by
                // the groups that follow.
                unsafe {
                    let x = s.load_head(from, dim);
                    if cols - g * dim >= S::LANES { s.store(to, x) } else { s.store_head(to, dim, x) }
                };
                continue;
            }
            while j < dim {
                // SAFETY: `from` and `to` have `dim` columns, in row `token` of the table and group `g` of row `i`.
                unsafe { s.store_head(to.add(j), dim - j, s.load_head(from.add(j), dim - j)) };
                j += S::LANES;
            }
        }
    }
}

/// Adds each group of `table.cols()` columns of `y` to the row of `table` that its token names, in the order of the
/// tokens. `table` is rows `first..` of the whole; tokens outside it are passed over. Columns must be adjacent in both.
/// `accum` says where the sums start.
#[inline(always)]
pub(crate) fn scatter_add_rows<S: Simd>(
    s: S,
    mut table: MatMut<'_>,
    accum: Accum,
    first: usize,
    y: Mat<'_>,
    tokens: &[i64],
) {
    let dim = table.cols();
    if dim == 0 {
        return;
    }
    let context = y.cols() / dim;
    assert_eq!(tokens.len(), y.rows() * context);
    if S::LANES > 1 && dim <= S::LANES && table.rows() <= SMALL_TABLE {
        scatter_add_small(s, table, accum, first, y, tokens);
        return;
    }
    if accum == Accum::Replace {
        map(s, [table.reborrow()], [], Zero);
    }
    if context == 0 {
        return;
    }
    for (i, tokens) in tokens.chunks_exact(context).enumerate() {
        let start = row(y, i).start;
        for (g, &token) in tokens.iter().enumerate() {
            let at = (token as usize).wrapping_sub(first);
            if at >= table.rows() {
                continue;
            }
            let from = start.wrapping_add(g * dim);
            let to = row_mut(&mut table, at).start;
            let mut j = 0;
            while j < dim {
                // SAFETY: `from` and `to` have `dim` columns, in group `g` of row `i` and row `at` of the table.
                unsafe {
                    let sum = s.add(s.load_head(to.add(j), dim - j), s.load_head(from.add(j), dim - j));
                    s.store_head(to.add(j), dim - j, sum);
                }
                j += S::LANES;
            }
        }
    }
}

/// Rows of a table that is summed on the stack.
const SMALL_TABLE: usize = 64;

/// [`scatter_add_rows`] of a small table with at most a register of columns, summed in whole registers on the stack: a
/// load that follows a masked store of the same place waits for it to reach the cache.
#[inline(always)]
fn scatter_add_small<S: Simd>(s: S, mut table: MatMut<'_>, accum: Accum, first: usize, y: Mat<'_>, tokens: &[i64]) {
    let (rows, dim) = (table.rows(), table.cols());
    let Row { start: to, .. } = row_mut(&mut table, 0);
    let mut sums = [const { MaybeUninit::<[f32; MAX_LANES]>::uninit() }; SMALL_TABLE];
    for (r, sum) in sums[..rows].iter_mut().enumerate() {
        let at = to.wrapping_offset(r as isize * table.row_stride());
        // SAFETY: row `r` has `dim` columns, and a sum holds the widest register.
        unsafe {
            let start = if accum == Accum::Add { s.load_head(at, dim) } else { s.zero() };
            s.store(sum.as_mut_ptr().cast(), start);
        }
    }
    for (i, tokens) in tokens.chunks_exact((y.cols() / dim).max(1)).enumerate() {
        let mut from = row(y, i).start;
        for &token in tokens {
            let at = (token as usize).wrapping_sub(first);
            if at < rows {
                let sum = sums[at].as_mut_ptr().cast();
                // SAFETY: this group of row `i` has `dim` columns; the register of this sum was written above.
                unsafe { s.store(sum, s.add(s.load(sum), s.load_head(from, dim))) };
            }
            from = from.wrapping_add(dim);
        }
    }
    for (r, sum) in sums[..rows].iter().enumerate() {
        let at = to.wrapping_offset(r as isize * table.row_stride());
        // SAFETY: as for reading them.
        unsafe { s.store_head(at, dim, s.load(sum.as_ptr().cast())) };
    }
}

/// Copies `src` into the upper left of `dst`, whose columns must be adjacent. `src` may have any strides, and is
/// transposed in registers where its rows are adjacent instead. Of a wider `dst` whole registers are written: what lies
/// to the right of the copy is arbitrary.
#[inline(always)]
pub(crate) fn copy<S: Simd>(s: S, mut dst: MatMut<'_>, src: Mat<'_>) {
    debug_assert!(src.rows() <= dst.rows() && src.cols() <= dst.cols() && dst.is_adjacent());
    let cols = src.cols();
    if src.row_stride() == 1 && !src.is_adjacent() {
        // The branch folds: one instance a tier.
        return match S::LANES {
            16 => copy_transposed::<S, 16>(s, dst, src),
            8 => copy_transposed::<S, 8>(s, dst, src),
            _ => copy_transposed::<S, 1>(s, dst, src),
        };
    }
    for i in 0..src.rows() {
        let (from, to) = (row(src, i), row_mut(&mut dst, i).start);
        // SAFETY: both rows have `cols` columns, and those of `dst` are adjacent.
        unsafe {
            if !src.is_adjacent() {
                gather(to, from.start, from.stride, cols);
                continue;
            }
            let mut j = 0;
            while j + S::LANES <= cols {
                s.store(to.add(j), s.load(from.start.add(j)));
                j += S::LANES;
            }
            if j < cols {
                s.store_head(to.add(j), cols - j, s.load_head(from.start.add(j), cols - j));
            }
        }
    }
}

/// [`copy`] of a `src` whose rows are adjacent, `L` of its columns at a time, `L` being the lanes of a register.
#[inline(always)]
fn copy_transposed<S: Simd, const L: usize>(s: S, mut dst: MatMut<'_>, src: Mat<'_>) {
    debug_assert_eq!(L, S::LANES);
    for j in (0..src.cols()).step_by(L) {
        let strip = Strip::<L> {
            from: src.as_ptr().wrapping_offset(j as isize * src.col_stride()),
            from_stride: src.col_stride(),
            to: row_mut(&mut dst, 0).start.wrapping_add(j),
            to_stride: dst.row_stride(),
            rows: src.rows(),
            width: L.min(src.cols() - j),
            room: L.min(dst.cols() - j),
        };
        s.vectorize(strip);
    }
}

/// A strip of [`copy_transposed`], and only made there.
struct Strip<const L: usize> {
    /// `width` columns, `from_stride` apart, each of `rows` adjacent elements.
    from: *const f32,
    from_stride: isize,
    /// `rows` rows, `to_stride` apart, each with `room` adjacent elements, at least as many as `width`.
    to: *mut f32,
    to_stride: isize,
    rows: usize,
    width: usize,
    room: usize,
}

impl<const L: usize> Kernel for Strip<L> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { from, from_stride, mut to, to_stride, rows, width, room } = self;
        // Columns past the last are the last again.
        let mut columns = [from; L];
        for (c, column) in columns.iter_mut().enumerate() {
            *column = from.wrapping_offset(c.min(width - 1) as isize * from_stride);
        }
        for i in (0..rows).step_by(L) {
            let height = L.min(rows - i);
            let mut block = [s.zero(); L];
            for (lane, column) in block.iter_mut().zip(&columns) {
                // SAFETY: rows `i..i + height` of a column are adjacent.
                *lane = unsafe { s.load_head(column.wrapping_add(i), height) };
            }
            for lane in s.transpose(block).into_iter().take(height) {
                // SAFETY: there are `height` more rows, with room for `room` elements.
                unsafe { s.store_head(to, room, lane) };
                to = to.wrapping_offset(to_stride);
            }
        }
    }
}

#[cfg(test)]
mod tests;
