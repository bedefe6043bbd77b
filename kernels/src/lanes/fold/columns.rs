//! Outputs side by side, a column of elements each.

use std::mem::MaybeUninit;

use super::super::BLOCK_ROWS;
use super::super::map::{CopyBlock, MAX_LANES};
use super::Fold;
use crate::simd::Simd;
use crate::view::{Axis, Mat, MatMut, Nest, Walk};

/// Columns that are folded side by side: their running values stay in the innermost cache.
const STRIP: usize = 1024;

/// Columns side by side where they pass through a buffer.
const STAGED_STRIP: usize = 64;

/// Rows for which a running value is loaded and stored once.
const GROUP: usize = 16;

/// Outputs side by side: the axis before `kept` has the columns, the axes before it are walked, and those from `kept`
/// on are the rows. No axis may be empty, and `kept` must be at least one.
#[inline(always)]
pub(crate) fn fold_columns<S: Simd, F: Fold<I, A>, const I: usize, const A: usize>(
    s: S,
    nest: &Nest<'_, A, I>,
    kept: usize,
    f: F,
) {
    let (kept, rows) = nest.axes().split_at(kept);
    let (columns, kept) = kept.split_last().expect("there is an axis of columns");
    let in_place = columns.inp.iter().all(|&stride| stride == 0 || stride == 1);
    let strip = if in_place { STRIP } else { STAGED_STRIP };
    let mut place = Walk::new(kept);
    loop {
        for j in (0..columns.size).step_by(strip) {
            let at = |offset: isize, stride: isize| offset + j as isize * stride;
            let strip = Strip {
                x: std::array::from_fn(|k| nest.inp()[k].wrapping_offset(at(place.inp[k], columns.inp[k]))),
                y: std::array::from_fn(|k| nest.out()[k].wrapping_offset(at(place.out[k], columns.out[k]))),
                columns: Axis { size: strip.min(columns.size - j), ..*columns },
                in_place,
            };
            // SAFETY: facts 1 and 2 of the nest: these are elements of its operands.
            unsafe { strip.fold(s, rows, f) };
        }
        if !place.advance() {
            return;
        }
    }
}

/// Columns of [`fold_columns`] that are folded side by side.
#[derive(Clone, Copy)]
struct Strip<const I: usize, const A: usize> {
    x: [*const f32; I],
    y: [*mut f32; A],
    columns: Axis<A, I>,
    /// Whether the inputs are read where they are.
    in_place: bool,
}

/// Running values of one strip.
type Values<const A: usize> = [MaybeUninit<[f32; STRIP]>; A];

/// What stands in running values before a group of rows joins them.
#[derive(Clone, Copy, PartialEq)]
enum Old {
    Nothing,
    Values,
}

impl<const I: usize, const A: usize> Strip<I, A> {
    /// Folds the rows in blocks of [`BLOCK_ROWS`] and writes the outputs.
    ///
    /// # Safety
    /// `x`, and any index of the columns and of `rows`, lead to readable elements; `y` and any index of the columns to
    /// writable ones.
    #[inline(always)]
    unsafe fn fold<S: Simd, F: Fold<I, A>>(self, s: S, rows: &[Axis<A, I>], f: F) {
        let (inner, outer) = rows.split_last().map_or((Axis::UNIT, rows), |(inner, outer)| (*inner, outer));
        let mut place = Walk::new(outer);
        let (mut block, mut total) = ([MaybeUninit::uninit(); A], [MaybeUninit::uninit(); A]);
        let mut stage = [MaybeUninit::<[f32; GROUP * STAGED_STRIP]>::uninit(); I];
        let (mut blocks, mut in_block) = (0, 0);
        loop {
            let mut row = 0;
            while row < inner.size {
                let height = GROUP.min(inner.size - row).min(BLOCK_ROWS - in_block);
                let mut group = self;
                for k in 0..I {
                    group.x[k] = self.x[k].wrapping_offset(place.inp[k] + row as isize * inner.inp[k]);
                }
                let old = if in_block == 0 { Old::Nothing } else { Old::Values };
                // The first block is the total so far.
                let values = if blocks == 0 { &mut total } else { &mut block };
                // SAFETY: rows `row..row + height` of the inner axis exist.
                unsafe { group.take(s, height, inner.inp, old, values, &mut stage, f) };
                in_block += height;
                row += height;
                if in_block == BLOCK_ROWS {
                    if blocks > 0 {
                        // SAFETY: both hold a value for each column.
                        unsafe { self.join(s, &mut total, &block, f) };
                    }
                    (blocks, in_block) = (blocks + 1, 0);
                }
            }
            if !place.advance() {
                break;
            }
        }
        // SAFETY: both hold a value for each column, if there was a row in the block.
        unsafe {
            if in_block > 0 && blocks > 0 {
                self.join(s, &mut total, &block, f);
            }
            self.finish(s, &total, f);
        }
    }

    /// Takes `height` rows, `stride` apart, into `values`.
    ///
    /// # Safety
    /// The rows exist; `values` is initialised unless `old` says otherwise.
    #[inline(always)]
    unsafe fn take<S: Simd, F: Fold<I, A>>(
        self,
        s: S,
        height: usize,
        stride: [isize; I],
        old: Old,
        values: &mut Values<A>,
        stage: &mut [MaybeUninit<[f32; GROUP * STAGED_STRIP]>; I],
        f: F,
    ) {
        let width = self.columns.size;
        let (mut from, mut row, mut col) = (self.x, stride, self.columns.inp);
        if !self.in_place {
            for k in 0..I {
                let buffer = stage[k].as_mut_ptr().cast::<f32>();
                let shape = [height, width];
                // SAFETY: the rows exist, and a strip that is not in place is no wider than the buffer's rows.
                unsafe {
                    let dst = MatMut::from_parts(buffer, shape, [width as isize, 1]);
                    s.vectorize(CopyBlock { dst, src: Mat::from_parts(from[k], shape, [row[k], col[k]]) });
                }
                (from[k], row[k], col[k]) = (buffer.cast_const(), width as isize, 1);
            }
        }
        let values: [*mut f32; A] = values.each_mut().map(|values| values.as_mut_ptr().cast());
        for j in (0..width).step_by(S::LANES) {
            let n = S::LANES.min(width - j);
            let mut acc = F::START.map(|start| s.splat(start));
            if old == Old::Values {
                for (acc, values) in acc.iter_mut().zip(values) {
                    // SAFETY: the values are as wide as a strip.
                    *acc = unsafe { s.load_head(values.add(j), n) };
                }
            }
            for r in 0..height {
                let mut a = [s.zero(); I];
                for (k, a) in a.iter_mut().enumerate() {
                    let at = from[k].wrapping_offset(r as isize * row[k] + j as isize * col[k]);
                    // SAFETY: row `r` has columns `j..j + n`, or one element that stands for all.
                    *a = unsafe {
                        match (col[k], n == S::LANES) {
                            (0, _) => s.splat(at.read()),
                            (_, true) => s.load(at),
                            (_, false) => s.load_head(at, n),
                        }
                    };
                }
                acc = f.step(s, acc, a);
            }
            for (acc, values) in acc.into_iter().zip(values) {
                // SAFETY: the values are as wide as a strip.
                unsafe { s.store_head(values.add(j), n, acc) };
            }
        }
    }

    /// Joins a block's values to the total.
    ///
    /// # Safety
    /// Both hold a value for each column.
    #[inline(always)]
    unsafe fn join<S: Simd, F: Fold<I, A>>(self, s: S, total: &mut Values<A>, block: &Values<A>, f: F) {
        for j in (0..self.columns.size).step_by(S::LANES) {
            let n = self.columns.size - j;
            let (mut a, mut b) = ([s.zero(); A], [s.zero(); A]);
            // SAFETY: as the caller says.
            unsafe {
                for ((a, b), (total, block)) in a.iter_mut().zip(&mut b).zip(total.iter().zip(block)) {
                    *a = s.load_head(total.as_ptr().cast::<f32>().add(j), n);
                    *b = s.load_head(block.as_ptr().cast::<f32>().add(j), n);
                }
                for (sum, total) in f.merge(s, a, b).into_iter().zip(total.iter_mut()) {
                    s.store_head(total.as_mut_ptr().cast::<f32>().add(j), n, sum);
                }
            }
        }
    }

    /// Writes the outputs.
    ///
    /// # Safety
    /// `total` holds a value for each column, and `y` and any index of the columns lead to writable elements.
    #[inline(always)]
    unsafe fn finish<S: Simd, F: Fold<I, A>>(self, s: S, total: &Values<A>, f: F) {
        for j in (0..self.columns.size).step_by(S::LANES) {
            let n = S::LANES.min(self.columns.size - j);
            let mut acc = [s.zero(); A];
            for (acc, total) in acc.iter_mut().zip(total) {
                // SAFETY: as the caller says.
                *acc = unsafe { s.load_head(total.as_ptr().cast::<f32>().add(j), n) };
            }
            for (k, value) in f.finish(s, acc).into_iter().enumerate() {
                let stride = self.columns.out[k];
                let to = self.y[k].wrapping_offset(j as isize * stride);
                // SAFETY: as the caller says.
                unsafe {
                    if stride == 1 || n == 1 {
                        s.store_head(to, n, value);
                        continue;
                    }
                    let mut lanes = [0.0; MAX_LANES];
                    s.store(lanes.as_mut_ptr(), value);
                    for (i, &lane) in lanes[..n].iter().enumerate() {
                        to.offset(i as isize * stride).write(lane);
                    }
                }
            }
        }
    }
}
