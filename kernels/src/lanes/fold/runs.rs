//! One output at a time, from runs of elements that follow each other logically.

use std::mem::MaybeUninit;

use super::super::map::{MAX_LANES, Source};
use super::super::{BLOCK_ROWS, VIRTUAL_LANES, gather};
use super::{Fold, merge_one};
use crate::simd::Simd;
use crate::view::{Axis, Nest, Walk};

/// Elements of a run that are folded by themselves before their results are joined.
pub(crate) const RUN: usize = 65_536;

/// Elements of a run that are gathered at a time.
const STAGE: usize = 1024;

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
