//! Rows of at most [`VIRTUAL_LANES`](super::VIRTUAL_LANES) elements, each held in registers from its first read to its
//! last write.
//!
//! A sum along such a row has one element in each virtual lane, so that folding its registers by halves is the written
//! order of [`fold_row`](super::fold_row) and gives the same bits.

use super::{VIRTUAL_LANES, row, row_mut};
use crate::simd::Simd;
use crate::view::{Mat, MatMut};

/// A function of a whole short row.
pub(crate) trait ShortRow {
    /// The row of the output from row `i` of the input. Lanes past the end hold anything; `row` says which they are.
    fn eval<S: Simd, const N: usize>(&mut self, s: S, i: usize, row: Short<S, N>) -> [S::F32; N];
}

/// A row of `len` elements in `N` registers.
#[derive(Clone, Copy)]
pub(crate) struct Short<S: Simd, const N: usize> {
    s: S,
    len: usize,
    pub(crate) x: [S::F32; N],
}

impl<S: Simd, const N: usize> Short<S, N> {
    /// The same row with other values.
    #[inline(always)]
    pub(crate) fn with(self, x: [S::F32; N]) -> Self {
        Self { x, ..self }
    }

    /// The sum of the row.
    #[inline(always)]
    pub(crate) fn sum(self) -> f32 {
        let s = self.s;
        let mut x = self.filled(0.0);
        let mut width = N.next_power_of_two();
        while width > 1 {
            width /= 2;
            for k in 0..width.min(N.saturating_sub(width)) {
                x[k] = s.add(x[k], x[k + width]);
            }
        }
        s.fold_add(x[0])
    }

    /// The greatest element; NaN where there is one.
    #[inline(always)]
    pub(crate) fn max(self) -> f32 {
        let s = self.s;
        let mut x = self.filled(f32::NEG_INFINITY);
        let mut width = N.next_power_of_two();
        while width > 1 {
            width /= 2;
            for k in 0..width.min(N.saturating_sub(width)) {
                x[k] = s.maximum(x[k], x[k + width]);
            }
        }
        if s.any(s.is_nan(x[0])) { f32::NAN } else { s.fold_max(x[0]) }
    }

    /// The row with `fill` in the lanes past its end.
    #[inline(always)]
    fn filled(self, fill: f32) -> [S::F32; N] {
        let mut x = self.x;
        for (k, x) in x.iter_mut().enumerate() {
            if k >= N / 2 {
                *x = self.s.select(self.s.head(self.len.saturating_sub(k * S::LANES)), *x, self.s.splat(fill));
            }
        }
        x
    }
}

/// `out[i] = f(i, inp[i])` for every row, if rows are short and adjacent; false, and nothing done, if they are not.
#[inline(always)]
pub(crate) fn map_short_rows<S: Simd, F: ShortRow>(s: S, mut out: MatMut<'_>, inp: Mat<'_>, f: &mut F) -> bool {
    let short = out.cols() <= VIRTUAL_LANES && out.is_adjacent() && inp.is_adjacent();
    debug_assert_eq!((out.rows(), out.cols()), (inp.rows(), inp.cols()));
    // The branches fold: as many instances a tier as there are powers of two up to its registers.
    match out.cols().div_ceil(S::LANES) {
        _ if !short => return false,
        0 => {}
        1 if S::LANES > 1 => each_row::<S, F, 1>(s, &mut out, inp, f),
        2 if S::LANES > 1 => each_row::<S, F, 2>(s, &mut out, inp, f),
        3 | 4 if S::LANES > 1 => each_row::<S, F, 4>(s, &mut out, inp, f),
        5..=8 if S::LANES == 8 => each_row::<S, F, 8>(s, &mut out, inp, f),
        _ => return false,
    }
    true
}

#[inline(always)]
fn each_row<S: Simd, F: ShortRow, const N: usize>(s: S, out: &mut MatMut<'_>, inp: Mat<'_>, f: &mut F) {
    let len = inp.cols();
    for i in 0..inp.rows() {
        let (from, to) = (row(inp, i).start, row_mut(out, i).start);
        let mut x = [s.zero(); N];
        for (k, x) in x.iter_mut().enumerate() {
            let at = k * S::LANES;
            // SAFETY: the row has `len` adjacent elements.
            *x = unsafe {
                // More than half of the registers are needed, or there would be half as many.
                if k < N / 2 {
                    s.load(from.wrapping_add(at))
                } else {
                    s.load_head(from.wrapping_add(at), len.saturating_sub(at))
                }
            };
        }
        let y = f.eval(s, i, Short { s, len, x });
        for (k, y) in y.into_iter().enumerate() {
            let at = k * S::LANES;
            // SAFETY: the row has `len` adjacent elements.
            unsafe {
                if k < N / 2 {
                    s.store(to.wrapping_add(at), y);
                } else {
                    s.store_head(to.wrapping_add(at), len.saturating_sub(at), y);
                }
            }
        }
    }
}
