//! Single rows of adjacent elements: the loops with nothing else in them, for operations that walk the rows themselves.

use super::{Map, RowFold, VIRTUAL_LANES};
use crate::simd::Simd;
use crate::view::{Mat, MatMut};

/// `out = f(inp, out)` element by element. Every operand is one row of adjacent elements, all of one length.
#[inline(always)]
pub(crate) fn map_row<S: Simd, F: Map<I, O>, const I: usize, const O: usize>(
    s: S,
    out: [MatMut<'_>; O],
    inp: [Mat<'_>; I],
    f: F,
) {
    let (n, y, x) = pointers(out, inp);
    // SAFETY: every row has `n` adjacent elements.
    unsafe { map_range::<S, F, I, O, false>(s, 0..n, y, x, f) }
}

/// How rows of a large output are written: with ordinary writes, or past the caches.
///
/// An ordinary write of a line that is in no cache reads it from memory first and pushes out another; a function that
/// reads no more than it writes then waits for memory twice as long as it must. What is written past the caches has to be
/// read from memory by whoever reads it next, so this is for outputs that would not stay in cache anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    Cached,
    Past,
}

impl Writes {
    /// For an output of `len` elements: past the caches from 8 MiB on. (Measured on a Zen 5 server with 1 MiB of second-level
    /// cache a core and 32 MiB shared: layer norm of 16 MiB takes 0.7 of the time forward and 0.75 backward.)
    pub(crate) fn of(len: usize) -> Self {
        if len >= 1 << 21 { Self::Past } else { Self::Cached }
    }
}

/// [`map_row`] with the choice how the first output is written. What is written past the caches is seen by other
/// threads once the value that this was called on is dropped.
pub(crate) struct RowWriter<S: Simd> {
    s: S,
    writes: Writes,
}

impl<S: Simd> RowWriter<S> {
    #[inline(always)]
    pub(crate) fn new(s: S, writes: Writes) -> Self {
        Self { s, writes }
    }

    /// The tier.
    #[inline(always)]
    pub(crate) fn token(&self) -> S {
        self.s
    }

    #[inline(always)]
    pub(crate) fn map_row<F: Map<I, O>, const I: usize, const O: usize>(
        &self,
        out: [MatMut<'_>; O],
        inp: [Mat<'_>; I],
        f: F,
    ) {
        let (n, y, x) = pointers(out, inp);
        let aligned = match self.writes {
            Writes::Cached => n,
            Writes::Past => y[0].align_offset(S::LANES * size_of::<f32>()).min(n),
        };
        // SAFETY: every row has `n` adjacent elements, and that at `aligned` of the first output is aligned to a register.
        unsafe {
            map_range::<S, F, I, O, false>(self.s, 0..aligned, y, x, f);
            map_range::<S, F, I, O, true>(self.s, aligned..n, y, x, f);
        }
    }
}

impl<S: Simd> Drop for RowWriter<S> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.writes == Writes::Past {
            self.s.fence();
        }
    }
}

/// The length of some rows of adjacent elements, and where they begin.
#[inline(always)]
fn pointers<const I: usize, const O: usize>(
    mut out: [MatMut<'_>; O],
    inp: [Mat<'_>; I],
) -> (usize, [*mut f32; O], [*const f32; I]) {
    let n = out[0].cols();
    debug_assert!(out.iter().all(|y| y.rows() == 1 && y.cols() == n && y.is_adjacent()));
    debug_assert!(inp.iter().all(|x| x.rows() == 1 && x.cols() == n && x.is_adjacent()));
    let mut y = [std::ptr::null_mut(); O];
    for (y, mat) in y.iter_mut().zip(&mut out) {
        *y = mat.as_mut_ptr();
    }
    (n, y, inp.map(|mat| mat.as_ptr()))
}

/// The elements `range` of [`map_row`]; whole registers of the first output past the caches if `PAST`.
///
/// # Safety
/// Every pointer is valid for the elements before the end of the range, and, if `PAST`, that of the first output at its
/// start is aligned to a register.
#[inline(always)]
unsafe fn map_range<S: Simd, F: Map<I, O>, const I: usize, const O: usize, const PAST: bool>(
    s: S,
    range: std::ops::Range<usize>,
    y: [*mut f32; O],
    x: [*const f32; I],
    f: F,
) {
    let (mut i, n) = (range.start, range.end);
    // SAFETY: a whole register lies before `n`, and the rest is what is left.
    unsafe {
        while i + S::LANES <= n {
            let (mut a, mut b) = ([s.zero(); I], [s.zero(); O]);
            for (a, x) in a.iter_mut().zip(x) {
                *a = s.load(x.add(i));
            }
            for (b, y) in b.iter_mut().zip(y) {
                *b = s.load(y.add(i));
            }
            for (k, (c, y)) in f.eval(s, a, b).into_iter().zip(y).enumerate() {
                if PAST && k == 0 { s.store_past(y.add(i), c) } else { s.store(y.add(i), c) }
            }
            i += S::LANES;
        }
        if i < n {
            let rest = n - i;
            let (mut a, mut b) = ([s.zero(); I], [s.zero(); O]);
            for (a, x) in a.iter_mut().zip(x) {
                *a = s.load_head(x.add(i), rest);
            }
            for (b, y) in b.iter_mut().zip(y) {
                *b = s.load_head(y.add(i), rest);
            }
            for (c, y) in f.eval(s, a, b).into_iter().zip(y) {
                s.store_head(y.add(i), rest, c);
            }
        }
    }
}

/// The first element of a row for which `is` holds, or the length of the row.
#[inline(always)]
pub(crate) fn first_in_row<S: Simd>(s: S, row: Mat<'_>, is: impl Fn(S::F32) -> S::Mask) -> usize {
    debug_assert!(row.rows() == 1 && row.is_adjacent());
    let (n, x) = (row.cols(), row.as_ptr());
    let mut i = 0;
    // SAFETY: the row has `n` adjacent elements.
    unsafe {
        while i + S::LANES <= n && !s.any(is(s.load(x.add(i)))) {
            i += S::LANES;
        }
        while i < n && !s.any(is(s.splat(x.add(i).read()))) {
            i += 1;
        }
    }
    i
}

/// Folds rows along their columns in the order of [`fold_row`](super::fold_row). Every operand is one row of adjacent
/// elements, all of one length.
#[inline(always)]
pub(crate) fn fold_one_row<S: Simd, F: RowFold<I, A, 0>, const I: usize, const A: usize>(
    s: S,
    inp: [Mat<'_>; I],
    f: F,
) -> [f32; A] {
    fold_and_fetch::<S, F, I, A, false>(s, inp, 0, f)
}

/// [`fold_one_row`] that asks for what lies `ahead` elements further on the way. Several passes over a row wait for each
/// other, and nothing would be read from memory meanwhile. (Measured on a Zen 5 server with rows of 1024 that are in no
/// cache: layer norm takes 0.75 of the time.)
#[inline(always)]
pub(crate) fn fold_one_row_ahead<S: Simd, F: RowFold<I, A, 0>, const I: usize, const A: usize>(
    s: S,
    inp: [Mat<'_>; I],
    ahead: isize,
    f: F,
) -> [f32; A] {
    fold_and_fetch::<S, F, I, A, true>(s, inp, ahead, f)
}

#[inline(always)]
fn fold_and_fetch<S: Simd, F: RowFold<I, A, 0>, const I: usize, const A: usize, const FETCH: bool>(
    s: S,
    inp: [Mat<'_>; I],
    ahead: isize,
    f: F,
) -> [f32; A] {
    let n = inp[0].cols();
    debug_assert!(inp.iter().all(|x| x.rows() == 1 && x.cols() == n && x.is_adjacent()));
    let x = inp.map(|mat| mat.as_ptr());
    // The branch folds: one instance a tier.
    // SAFETY: every row has `n` adjacent elements.
    unsafe {
        match S::LANES {
            16 => fold_registers::<S, F, I, A, 4, FETCH>(s, n, x, ahead, f),
            8 => fold_registers::<S, F, I, A, 8, FETCH>(s, n, x, ahead, f),
            _ => fold_registers::<S, F, I, A, VIRTUAL_LANES, FETCH>(s, n, x, ahead, f),
        }
    }
}

/// [`fold_one_row`] with `K` registers for the virtual lanes.
///
/// # Safety
/// Every pointer is readable for `n` floats.
#[inline(always)]
unsafe fn fold_registers<
    S: Simd,
    F: RowFold<I, A, 0>,
    const I: usize,
    const A: usize,
    const K: usize,
    const FETCH: bool,
>(
    s: S,
    n: usize,
    x: [*const f32; I],
    ahead: isize,
    f: F,
) -> [f32; A] {
    debug_assert_eq!(K * S::LANES, VIRTUAL_LANES);
    let mut acc = [[s.splat(F::START); A]; K];
    let mut i = 0;
    // SAFETY: a whole round, or a register's head, lies before `n`.
    unsafe {
        while i + VIRTUAL_LANES <= n {
            for (k, acc) in acc.iter_mut().enumerate() {
                let mut a = [s.zero(); I];
                for (a, x) in a.iter_mut().zip(x) {
                    let at = x.add(i + k * S::LANES);
                    *a = s.load(at);
                    if FETCH {
                        s.prefetch(at.wrapping_offset(ahead));
                    }
                }
                *acc = f.step(s, *acc, a).0;
            }
            i += VIRTUAL_LANES;
        }
        for acc in &mut acc {
            if i >= n {
                break;
            }
            let mut a = [s.zero(); I];
            for (a, x) in a.iter_mut().zip(x) {
                *a = s.load_head(x.add(i), n - i);
            }
            let next = f.step(s, *acc, a).0;
            let filled = s.head(n - i);
            for (acc, next) in acc.iter_mut().zip(next) {
                *acc = s.select(filled, next, *acc);
            }
            i += S::LANES;
        }
    }
    let mut width = K;
    while width > 1 {
        width /= 2;
        for k in 0..width {
            let upper = acc[k + width];
            for (lower, upper) in acc[k].iter_mut().zip(upper) {
                *lower = f.merge(s, *lower, upper);
            }
        }
    }
    let mut total = [0.0; A];
    for (total, acc) in total.iter_mut().zip(acc[0]) {
        *total = f.fold(s, acc);
    }
    total
}
