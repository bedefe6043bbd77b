//! Rows of at most [`VIRTUAL_LANES`](super::VIRTUAL_LANES) elements, four at a time, each held in registers from its
//! first read to its last write.
//!
//! A sum along such a row has one element in each virtual lane, so that folding its registers by halves is the written
//! order of [`fold_row`](super::fold_row) and gives the same bits. Four rows are folded for little more than one.

use super::{VIRTUAL_LANES, row, row_mut};
use crate::simd::Simd;
use crate::view::{Mat, MatMut};

/// Rows that are held together.
pub(crate) const TOGETHER: usize = 4;

/// A function of whole short rows.
pub(crate) trait ShortRows {
    /// The rows of the output from the rows of the input, whose numbers are `i`; a row may be given twice. Lanes past
    /// the end hold anything.
    fn eval<S: Simd, const N: usize>(&mut self, s: S, i: [usize; TOGETHER], rows: Short<S, N>) -> Registers<S, N>;
}

/// Registers of [`TOGETHER`] rows.
pub(crate) type Registers<S, const N: usize> = [[<S as Simd>::F32; N]; TOGETHER];

/// Rows of `len` elements in `N` registers each.
#[derive(Clone, Copy)]
pub(crate) struct Short<S: Simd, const N: usize> {
    s: S,
    len: usize,
    pub(crate) x: Registers<S, N>,
}

impl<S: Simd, const N: usize> Short<S, N> {
    /// The same rows with other values.
    #[inline(always)]
    pub(crate) fn with(self, x: Registers<S, N>) -> Self {
        Self { x, ..self }
    }

    /// The sum of each row, throughout its quarter of a register.
    #[inline(always)]
    pub(crate) fn sums(self) -> S::F32 {
        self.s.fold_add4(self.joined::<false>())
    }

    /// The greatest element of each row, throughout its quarter of a register; anything where there is a NaN.
    #[inline(always)]
    pub(crate) fn maxima(self) -> S::F32 {
        self.s.fold_max4(self.joined::<true>())
    }

    /// Each row in one register, by halves: their maximum if `MAX`, else their sum.
    #[inline(always)]
    fn joined<const MAX: bool>(self) -> [S::F32; TOGETHER] {
        let s = self.s;
        let fill = s.splat(if MAX { f32::NEG_INFINITY } else { 0.0 });
        let mut x = self.x;
        for k in N / 2..N {
            let inside = s.head(self.len.saturating_sub(k * S::LANES));
            for row in &mut x {
                row[k] = s.select(inside, row[k], fill);
            }
        }
        let mut width = N;
        while width > 1 {
            width /= 2;
            for row in &mut x {
                for k in 0..width {
                    row[k] = if MAX { s.max(row[k], row[k + width]) } else { s.add(row[k], row[k + width]) };
                }
            }
        }
        x.map(|row| row[0])
    }
}

/// `out[i] = f(i, inp[i])` for every row, if rows are short and adjacent; false, and nothing done, if they are not.
#[inline(always)]
pub(crate) fn map_short_rows<S: Simd, F: ShortRows>(s: S, mut out: MatMut<'_>, inp: Mat<'_>, f: &mut F) -> bool {
    let short = out.cols() <= VIRTUAL_LANES && out.is_adjacent() && inp.is_adjacent();
    debug_assert_eq!((out.rows(), out.cols()), (inp.rows(), inp.cols()));
    // The branches fold: as many instances a tier as there are powers of two up to its registers.
    match out.cols().div_ceil(S::LANES) {
        _ if !short => return false,
        0 => {}
        1 if S::LANES > 1 => each_four::<S, F, 1>(s, &mut out, inp, f),
        2 if S::LANES > 1 => each_four::<S, F, 2>(s, &mut out, inp, f),
        3 | 4 if S::LANES > 1 => each_four::<S, F, 4>(s, &mut out, inp, f),
        5..=8 if S::LANES == 8 => each_four::<S, F, 8>(s, &mut out, inp, f),
        _ => return false,
    }
    true
}

#[inline(always)]
fn each_four<S: Simd, F: ShortRows, const N: usize>(s: S, out: &mut MatMut<'_>, inp: Mat<'_>, f: &mut F) {
    let (rows, len) = (inp.rows(), inp.cols());
    for first in (0..rows).step_by(TOGETHER) {
        // The last four are filled up with the last row.
        let i: [usize; TOGETHER] = std::array::from_fn(|r| (first + r).min(rows - 1));
        let mut x = [[s.zero(); N]; TOGETHER];
        for (x, &i) in x.iter_mut().zip(&i) {
            let from = row(inp, i).start;
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
        }
        let y = f.eval(s, i, Short { s, len, x });
        for (y, &i) in y.into_iter().zip(&i) {
            let to = row_mut(out, i).start;
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
}
