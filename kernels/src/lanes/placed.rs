//! The loop of functions that depend on where an element stands.

use std::mem::MaybeUninit;

use super::map::{MAX_LANES, Source};
use super::{gather, row, row_mut};
use crate::simd::Simd;
use crate::view::{Mat, MatMut};

/// Elements of a row that are gathered at a time.
const STAGE: usize = 256;

/// A function that is told the row and the columns of its elements, modulo 2^32.
pub(crate) trait Placed: Copy + Send + Sync {
    /// `K` registers of the output from as many of the input, all of one row.
    fn eval<S: Simd, const K: usize>(self, s: S, row: u32, cols: [S::U32; K], x: [S::F32; K]) -> [S::F32; K];
}

/// `y = f(x)` element by element; both are rows `first_row..` of a whole. Rows whose elements are not adjacent (or, of
/// `x`, repeated) pass through a small buffer.
#[inline(always)]
pub(crate) fn map_placed<S: Simd, F: Placed>(s: S, first_row: usize, mut y: MatMut<'_>, x: Mat<'_>, f: F) {
    let (rows, cols) = (y.rows(), y.cols());
    debug_assert_eq!((x.rows(), x.cols()), (rows, cols));
    if cols == 0 {
        return;
    }
    let mut spread = [0.0; MAX_LANES];
    let mut stages = [MaybeUninit::<[f32; STAGE]>::uninit(); 2];
    let [from_stage, to_stage] = stages.each_mut().map(|stage| stage.as_mut_ptr().cast::<f32>());
    for i in 0..rows {
        let (mut from, mut to) = (row(x, i), row_mut(&mut y, i));
        if cols == 1 {
            (from.stride, to.stride) = (1, 1);
        }
        let at = first_row.wrapping_add(i) as u32;
        // SAFETY: row `i` of both has `cols` elements, its stride apart; a buffer holds `STAGE`.
        unsafe {
            if to.stride == 1 && (from.stride == 0 || from.stride == 1) {
                let source = Source::new(s, from.start, from.stride, &mut spread);
                map_run(s, [at, 0], cols, to.start, source, f);
                continue;
            }
            for j in (0..cols).step_by(STAGE) {
                let n = STAGE.min(cols - j);
                gather(from_stage, from.start.offset(j as isize * from.stride), from.stride, n);
                map_run(s, [at, j as u32], n, to_stage, Source::adjacent(from_stage), f);
                for k in 0..n {
                    to.start.offset((j + k) as isize * to.stride).write(to_stage.add(k).read());
                }
            }
        }
    }
}

/// [`map_placed`] of `n` elements of a row, from a column on.
///
/// # Safety
/// `x` has `n` elements, and `y` is writable for `n`.
#[inline(always)]
unsafe fn map_run<S: Simd, F: Placed>(s: S, [row, col]: [u32; 2], n: usize, y: *mut f32, x: Source, f: F) {
    let mut i = 0;
    // SAFETY: whole registers lie before `n`, and the rest is what is left.
    unsafe {
        // Four at a time where there are registers for them. The branch folds.
        while i + 4 * S::LANES <= n && S::LANES == 16 {
            map_registers::<S, F, 4>(s, [row, col.wrapping_add(i as u32)], i, y, x, f);
            i += 4 * S::LANES;
        }
        while i + 2 * S::LANES <= n {
            map_registers::<S, F, 2>(s, [row, col.wrapping_add(i as u32)], i, y, x, f);
            i += 2 * S::LANES;
        }
        while i < n {
            let cols = s.add_u32(s.splat_u32(col.wrapping_add(i as u32)), s.count_u32());
            let [result] = f.eval(s, row, [cols], [s.load_head(x.from(i), n - i)]);
            s.store_head(y.add(i), n - i, result);
            i += S::LANES;
        }
    }
}

/// `K` full registers from element `i` on, which is that of the place given.
///
/// # Safety
/// `x` and `y` have them.
#[inline(always)]
unsafe fn map_registers<S: Simd, F: Placed, const K: usize>(
    s: S,
    [row, col]: [u32; 2],
    i: usize,
    y: *mut f32,
    x: Source,
    f: F,
) {
    // Loops, not closures of `array::from_fn`: those may leave the tier's shell.
    let (mut cols, mut a) = ([s.splat_u32(0); K], [s.zero(); K]);
    for (k, cols) in cols.iter_mut().enumerate() {
        *cols = s.add_u32(s.splat_u32(col.wrapping_add((k * S::LANES) as u32)), s.count_u32());
    }
    // SAFETY: as the caller says.
    unsafe {
        for (k, a) in a.iter_mut().enumerate() {
            *a = s.load(x.from(i + k * S::LANES));
        }
        for (k, result) in f.eval(s, row, cols, a).into_iter().enumerate() {
            s.store(y.add(i + k * S::LANES), result);
        }
    }
}
