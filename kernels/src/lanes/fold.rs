//! The loops of the reductions, over the axes of a nest; `reduce` says which order a reduction has.
//!
//! [`fold_runs`] gives one output at a time, from runs of elements that follow each other logically; [`fold_columns`]
//! gives outputs side by side. Neither knows where elements lie: operands that are not adjacent pass through a small
//! buffer, in the same order.

use std::mem::MaybeUninit;

use super::map::{CopyBlock, MAX_LANES, Source};
use super::{BLOCK_ROWS, VIRTUAL_LANES, gather};
use crate::simd::{Scalar, Simd};
use crate::view::{Axis, Mat, MatMut, Nest, Walk};

/// Elements of a run that are folded by themselves before their results are joined.
pub(crate) const RUN: usize = 65_536;

/// Elements of a run that are gathered at a time.
const STAGE: usize = 1024;

/// Columns that are folded side by side: their running values stay in the innermost cache.
const STRIP: usize = 1024;

/// Columns side by side where they pass through a buffer.
const STAGED_STRIP: usize = 64;

/// Rows for which a running value is loaded and stored once.
const GROUP: usize = 16;

/// A function that takes elements of `I` inputs into `A` running values.
pub(crate) trait Fold<const I: usize, const A: usize>: Copy + Send + Sync {
    /// What the running values start as; merging it into a value changes nothing.
    const START: [f32; A];
    /// Takes in one register of each input.
    fn step<S: Simd>(self, s: S, acc: [S::F32; A], x: [S::F32; I]) -> [S::F32; A];
    /// Joins two running values, the earlier one first.
    fn merge<S: Simd>(self, s: S, a: [S::F32; A], b: [S::F32; A]) -> [S::F32; A];
    /// Joins the lanes of the running values, by halves: lane `i` with lane `i + width/2` until one is left.
    #[inline(always)]
    fn fold<S: Simd>(self, s: S, acc: [S::F32; A]) -> [f32; A] {
        let mut lanes = [[0.0; MAX_LANES]; A];
        for (lanes, acc) in lanes.iter_mut().zip(acc) {
            // SAFETY: the widest register has `MAX_LANES` lanes.
            unsafe { s.store(lanes.as_mut_ptr(), acc) };
        }
        let mut width = S::LANES;
        while width > 1 {
            width /= 2;
            for i in 0..width {
                let (a, b) = (lanes.map(|lanes| lanes[i]), lanes.map(|lanes| lanes[i + width]));
                for (lanes, value) in lanes.iter_mut().zip(self.merge(Scalar, a, b)) {
                    lanes[i] = value;
                }
            }
        }
        lanes.map(|lanes| lanes[0])
    }
    /// The outputs, from the running values at the end.
    #[inline(always)]
    fn finish<S: Simd>(self, _: S, acc: [S::F32; A]) -> [S::F32; A] {
        acc
    }
}

/// One output for each index of the first `kept` axes; the next `outer` axes say which runs it is made of, and the
/// rest are the axes of a run. No axis may be empty, and there must be a run. Without `finish` the outputs are the
/// running values as they are, to be given to [`join`].
#[inline(always)]
pub(crate) fn fold_runs<S: Simd, F: Fold<I, A>, const I: usize, const A: usize>(
    s: S,
    nest: &Nest<'_, A, I>,
    kept: usize,
    outer: usize,
    finish: bool,
    f: F,
) {
    let (kept, rest) = nest.axes().split_at(kept);
    let (outer, run) = rest.split_at(outer);
    let mut place = Walk::new(kept);
    loop {
        let x = std::array::from_fn(|k| nest.inp()[k].wrapping_offset(place.inp[k]));
        // The branch folds: one instance a tier.
        // SAFETY: fact 1 of the nest: `x` and any index of the other axes lead to elements.
        let total = unsafe {
            match S::LANES {
                16 => fold_output::<S, F, I, A, 4>(s, x, outer, run, f),
                8 => fold_output::<S, F, I, A, 8>(s, x, outer, run, f),
                _ => fold_output::<S, F, I, A, VIRTUAL_LANES>(s, x, outer, run, f),
            }
        };
        let total = total.map(|value| s.splat(value));
        let total = if finish { f.finish(s, total) } else { total };
        for (k, total) in total.into_iter().enumerate() {
            // SAFETY: facts 1 and 2 of the nest: this is an element of the output, and no one else's.
            unsafe { s.store_head(nest.out()[k].wrapping_offset(place.out[k]), 1, total) };
        }
        if !place.advance() {
            return;
        }
    }
}

/// The outputs from running values that [`fold_runs`] left, joined from first to last.
#[inline(always)]
pub(crate) fn join<S: Simd, F: Fold<I, A>, const I: usize, const A: usize>(
    s: S,
    parts: [&[f32]; A],
    finish: bool,
    f: F,
) -> [f32; A] {
    let mut total = None;
    for i in 0..parts[0].len() {
        let part = parts.map(|parts| parts[i]);
        total = Some(total.map_or(part, |total| merge_one(s, f, total, part)));
    }
    let total = total.unwrap_or(F::START);
    if finish { f.finish(s, total.map(|value| s.splat(value))).map(|value| first_lane(s, value)) } else { total }
}

/// The first lane.
#[inline(always)]
fn first_lane<S: Simd>(s: S, x: S::F32) -> f32 {
    let mut lane = 0.0;
    // SAFETY: one float may be written.
    unsafe { s.store_head(&raw mut lane, 1, x) };
    lane
}

/// `merge` of values that are not in registers.
#[inline(always)]
fn merge_one<S: Simd, F: Fold<I, A>, const I: usize, const A: usize>(s: S, f: F, a: [f32; A], b: [f32; A]) -> [f32; A] {
    f.merge(s, a.map(|a| s.splat(a)), b.map(|b| s.splat(b))).map(|value| first_lane(s, value))
}

/// The running values of one output: runs in blocks of [`BLOCK_ROWS`].
///
/// # Safety
/// `x` and any index of `outer` and `run` lead to readable elements.
#[inline(always)]
unsafe fn fold_output<S: Simd, F: Fold<I, A>, const I: usize, const A: usize, const K: usize>(
    s: S,
    x: [*const f32; I],
    outer: &[Axis<A, I>],
    run: &[Axis<A, I>],
    f: F,
) -> [f32; A] {
    let mut place = Walk::new(outer);
    let mut total = None;
    loop {
        let mut block = None;
        let mut more = true;
        for _ in 0..BLOCK_ROWS {
            let x = std::array::from_fn(|k| x[k].wrapping_offset(place.inp[k]));
            // SAFETY: as the caller says.
            let value = unsafe { fold_run::<S, F, I, A, K>(s, x, run, f) };
            block = Some(block.map_or(value, |block| merge_one(s, f, block, value)));
            more = place.advance();
            if !more {
                break;
            }
        }
        let block = block.unwrap_or(F::START);
        let sum = total.map_or(block, |total| merge_one(s, f, total, block));
        if !more {
            return sum;
        }
        total = Some(sum);
    }
}

/// The running values of one run: pieces of [`RUN`], each with [`VIRTUAL_LANES`] running values of its own.
///
/// # Safety
/// `x` and any index of `run` lead to readable elements.
#[inline(always)]
unsafe fn fold_run<S: Simd, F: Fold<I, A>, const I: usize, const A: usize, const K: usize>(
    s: S,
    x: [*const f32; I],
    run: &[Axis<A, I>],
    f: F,
) -> [f32; A] {
    const { assert!(K <= VIRTUAL_LANES) };
    debug_assert_eq!(K * S::LANES, VIRTUAL_LANES);
    let len = run.iter().map(|axis| axis.size).product::<usize>();
    let one = run.len() == 1 && run[0].inp.iter().all(|&stride| stride == 0 || stride == 1);
    let mut reader = Reader::new(x, run);
    let mut stage = [MaybeUninit::<[f32; STAGE]>::uninit(); I];
    let mut spread = [[0.0; MAX_LANES]; I];
    let mut total = None;
    let mut start = 0;
    while start < len {
        let end = len.min(start + RUN);
        let mut acc = [F::START.map(|start| s.splat(start)); K];
        // SAFETY: the run has `len` elements, and the buffer holds `STAGE`.
        unsafe {
            if one {
                let mut sources = [Source::NONE; I];
                for (k, source) in sources.iter_mut().enumerate() {
                    let stride = run[0].inp[k];
                    let first = x[k].wrapping_offset(start as isize * stride);
                    *source = Source::new(s, first, stride, &mut spread[k]);
                }
                feed(s, &mut acc, sources, end - start, f);
            } else {
                let mut at = start;
                while at < end {
                    let n = STAGE.min(end - at);
                    let buffers = stage.each_mut().map(|stage| stage.as_mut_ptr().cast::<f32>());
                    reader.read(buffers, n);
                    feed(s, &mut acc, buffers.map(|buffer| Source::adjacent(buffer.cast_const())), n, f);
                    at += n;
                }
            }
        }
        let value = collapse(s, acc, f);
        total = Some(total.map_or(value, |total| merge_one(s, f, total, value)));
        start = end;
    }
    total.unwrap_or(F::START)
}

/// Takes `n` elements of each source into the virtual lanes. All calls for one piece but the last have whole rounds.
///
/// # Safety
/// Every source has `n` elements.
#[inline(always)]
unsafe fn feed<S: Simd, F: Fold<I, A>, const I: usize, const A: usize, const K: usize>(
    s: S,
    acc: &mut [[S::F32; A]; K],
    x: [Source; I],
    n: usize,
    f: F,
) {
    let mut i = 0;
    while i + VIRTUAL_LANES <= n {
        for (k, acc) in acc.iter_mut().enumerate() {
            let mut a = [s.zero(); I];
            for (a, x) in a.iter_mut().zip(x) {
                // SAFETY: a whole round lies before `n`.
                *a = unsafe { s.load(x.from(i + k * S::LANES)) };
            }
            *acc = f.step(s, *acc, a);
        }
        i += VIRTUAL_LANES;
    }
    for acc in acc.iter_mut() {
        if i >= n {
            return;
        }
        let mut a = [s.zero(); I];
        for (a, x) in a.iter_mut().zip(x) {
            // SAFETY: elements `i..n` are there.
            *a = unsafe { s.load_head(x.from(i), n - i) };
        }
        let next = f.step(s, *acc, a);
        let filled = s.head(n - i);
        for (acc, next) in acc.iter_mut().zip(next) {
            *acc = s.select(filled, next, *acc);
        }
        i += S::LANES;
    }
}

/// Joins the virtual lanes by halves.
#[inline(always)]
fn collapse<S: Simd, F: Fold<I, A>, const I: usize, const A: usize, const K: usize>(
    s: S,
    mut acc: [[S::F32; A]; K],
    f: F,
) -> [f32; A] {
    let mut width = K;
    while width > 1 {
        width /= 2;
        for k in 0..width {
            acc[k] = f.merge(s, acc[k], acc[k + width]);
        }
    }
    f.fold(s, acc[0])
}

/// Reads the elements of a run in logical order, some at a time.
struct Reader<const A: usize, const I: usize> {
    x: [*const f32; I],
    outer: Walk<A, I>,
    inner: Axis<A, I>,
    index: usize,
}

impl<const A: usize, const I: usize> Reader<A, I> {
    #[inline(always)]
    fn new(x: [*const f32; I], run: &[Axis<A, I>]) -> Self {
        let (inner, outer) = run.split_last().expect("a run has an axis");
        Self { x, outer: Walk::new(outer), inner: *inner, index: 0 }
    }

    /// Copies the next `n` elements of each input to its buffer. No lanes are at work here, so one instance serves all
    /// tiers.
    ///
    /// # Safety
    /// The run has `n` elements left, and every buffer room for them.
    #[inline(never)]
    unsafe fn read(&mut self, buffers: [*mut f32; I], n: usize) {
        let mut done = 0;
        while done < n {
            let len = (n - done).min(self.inner.size - self.index);
            for (k, buffer) in buffers.into_iter().enumerate() {
                let stride = self.inner.inp[k];
                let from = self.x[k].wrapping_offset(self.outer.inp[k] + self.index as isize * stride);
                // SAFETY: `len` elements of the inner axis are left, and as much room.
                unsafe {
                    if stride == 1 {
                        std::ptr::copy_nonoverlapping(from, buffer.add(done), len);
                    } else {
                        gather(buffer.add(done), from, stride, len);
                    }
                }
            }
            done += len;
            self.index += len;
            if self.index == self.inner.size {
                self.index = 0;
                self.outer.advance();
            }
        }
    }
}

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
