//! The innermost loops: one tile of `C` in registers.
//!
//! A tile holds `MR` rows of `NV` registers. For each `p` in `0..k` it loads one row of `B` and multiplies it by one
//! broadcast element of `A` for each of its rows:
//!
//! ```text
//! C[i, j] = fma(A[i, p], B[p, j], C[i, j])      p = 0, 1, …, k - 1
//! ```
//!
//! so every element of `C` is one chain of fused multiply-adds in the order of `p`, whatever the tile's size. `A` may
//! have any strides, since it is read element by element; the columns of `B` and `C` must be adjacent.

#![allow(unsafe_code)] // Fence 4: pointers into matrices whose bounds `Mat` and `MatMut` have established.

use super::{Accum, Epilogue};
use crate::lanes;
use crate::simd::{Kernel, Simd};
use crate::view::{Mat, MatMut};

/// The most rows a tile has.
const MAX_ROWS: usize = 8;

/// What one column of tiles works on: `C (+)= A · B` for at most `NV` registers of columns.
#[derive(Clone, Copy)]
struct Panel<'a> {
    k: usize,
    a: *const f32,
    a_row: isize,
    a_col: isize,
    b: *const f32,
    b_row: isize,
    c: *mut f32,
    c_row: isize,
    /// Columns in the last register.
    tail: usize,
    accum: Accum,
    epilogue: Epilogue<'a>,
    /// Where the panel lies in the matrix that the epilogue's operands belong to.
    origin: (usize, usize),
}

/// `C = epilogue(chain over A · B)` for operands of matching shapes, `B` and `C` with adjacent columns.
pub(super) struct Tiles<'a> {
    pub(super) c: MatMut<'a>,
    pub(super) accum: Accum,
    pub(super) a: Mat<'a>,
    pub(super) b: Mat<'a>,
    pub(super) epilogue: Epilogue<'a>,
    /// Where `c` lies in the matrix that the epilogue's operands belong to.
    pub(super) origin: (usize, usize),
}

impl Kernel for Tiles<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Tiles { mut c, accum, a, b, epilogue, origin } = self;
        let (m, k, n) = (a.rows(), a.cols(), b.cols());
        debug_assert_eq!((c.rows(), c.cols(), b.rows()), (m, n, k));
        debug_assert!(b.is_adjacent() && c.is_adjacent());
        for (first, width) in even_pieces(n.div_ceil(S::LANES), max_vectors::<S>()) {
            let j = first * S::LANES;
            let tail = (n - j - (width - 1) * S::LANES).min(S::LANES);
            let panel = Panel {
                k,
                a: a.as_ptr(),
                a_row: a.row_stride(),
                a_col: a.col_stride(),
                b: b.as_ptr().wrapping_add(j),
                b_row: b.row_stride(),
                c: c.as_mut_ptr().wrapping_add(j),
                c_row: c.row_stride(),
                tail,
                accum,
                epilogue,
                origin: (origin.0, origin.1 + j),
            };
            // SAFETY: the panel covers columns `j .. j + (width - 1) * LANES + tail <= n` of `B` and `C` and all rows.
            unsafe {
                match (width, tail == S::LANES) {
                    (1, true) => rows::<S, 1, false>(s, m, panel),
                    (1, false) => rows::<S, 1, true>(s, m, panel),
                    (2, true) => rows::<S, 2, false>(s, m, panel),
                    (2, false) => rows::<S, 2, true>(s, m, panel),
                    (_, true) if S::LANES == 16 => rows::<S, 3, false>(s, m, panel),
                    (_, false) if S::LANES == 16 => rows::<S, 3, true>(s, m, panel),
                    _ => unreachable!("a panel is at most `max_vectors` wide"),
                }
            }
        }
    }
}

/// Registers across a tile. AVX-512 has 32 registers: 8 x 3 sums, three of `B`, one of `A`. The others have 16:
/// 6 x 2 sums and the same (4 x 3 spills with them).
#[inline(always)]
fn max_vectors<S: Simd>() -> usize {
    if S::LANES == 16 { 3 } else { 2 }
}

/// Rows of a tile.
#[inline(always)]
fn max_rows<S: Simd>() -> usize {
    if S::LANES == 16 { MAX_ROWS } else { 6 }
}

/// Cuts `0..total` into as few pieces as `most` allows, as even as can be: `(start, length)`, the longer ones first.
/// Even pieces keep every tile wide enough to hide the latency of its chains.
#[inline(always)]
fn even_pieces(total: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let pieces = total.div_ceil(most).max(1);
    let (length, longer) = (total / pieces, total % pieces);
    let mut start = 0;
    (0..pieces).filter_map(move |i| {
        let piece = (start, length + usize::from(i < longer));
        start += piece.1;
        (piece.1 > 0).then_some(piece)
    })
}

/// One column of tiles.
///
/// # Safety
/// The panel's pointers are valid for `m` rows of `A` and `C`, `k` columns of `A` and rows of `B`, and
/// `(NV - 1) * LANES + tail` columns of `B` and `C`; `MASKED` unless `tail == LANES`.
#[inline(always)]
unsafe fn rows<S: Simd, const NV: usize, const MASKED: bool>(s: S, m: usize, panel: Panel<'_>) {
    for (i, height) in even_pieces(m, max_rows::<S>()) {
        let part = Panel {
            a: panel.a.wrapping_offset(i as isize * panel.a_row),
            c: panel.c.wrapping_offset(i as isize * panel.c_row),
            origin: (panel.origin.0 + i, panel.origin.1),
            ..panel
        };
        // SAFETY: the part covers rows `i..i + height` of the panel.
        unsafe {
            match height {
                1 => tile::<S, 1, NV, MASKED>(s, part),
                2 => tile::<S, 2, NV, MASKED>(s, part),
                3 => tile::<S, 3, NV, MASKED>(s, part),
                4 => tile::<S, 4, NV, MASKED>(s, part),
                5 => tile::<S, 5, NV, MASKED>(s, part),
                6 => tile::<S, 6, NV, MASKED>(s, part),
                7 if S::LANES == 16 => tile::<S, 7, NV, MASKED>(s, part),
                8 if S::LANES == 16 => tile::<S, 8, NV, MASKED>(s, part),
                _ => unreachable!("a tile is at most `max_rows` high"),
            }
        }
    }
}

impl Panel<'_> {
    /// Where register `v` of row `i` of `C` lies.
    #[inline(always)]
    fn c<S: Simd>(&self, i: usize, v: usize) -> *mut f32 {
        self.c.wrapping_offset(i as isize * self.c_row).wrapping_add(v * S::LANES)
    }

    /// Where register `v` of row `i` lies in an operand of the epilogue.
    #[inline(always)]
    fn operand<S: Simd>(&self, operand: Mat<'_>, i: usize, v: usize) -> *const f32 {
        let row = operand.as_ptr().wrapping_offset((self.origin.0 + i) as isize * operand.row_stride());
        row.wrapping_add(self.origin.1 + v * S::LANES)
    }

    /// Reads a register of a row; the `last` one of a masked panel only as far as it goes.
    ///
    /// # Safety
    /// `at` lies in a row that has this register's columns.
    #[inline(always)]
    unsafe fn load<S: Simd, const MASKED: bool>(&self, s: S, at: *const f32, last: bool) -> S::F32 {
        // SAFETY: as the caller says.
        unsafe { if MASKED && last { s.load_head(at, self.tail) } else { s.load(at) } }
    }

    /// Writes a register of a row; the `last` one of a masked panel only as far as it goes.
    ///
    /// # Safety
    /// `at` lies in a row of `C` that has this register's columns.
    #[inline(always)]
    unsafe fn store<S: Simd, const MASKED: bool>(&self, s: S, at: *mut f32, x: S::F32, last: bool) {
        // SAFETY: as the caller says.
        unsafe { if MASKED && last { s.store_head(at, self.tail, x) } else { s.store(at, x) } }
    }
}

/// One tile.
///
/// # Safety
/// As [`rows`], with `MR` rows.
#[inline(always)]
unsafe fn tile<S: Simd, const MR: usize, const NV: usize, const MASKED: bool>(s: S, panel: Panel<'_>) {
    let mut sums = [[s.zero(); NV]; MR];
    if panel.accum == Accum::Add {
        for (i, sums) in sums.iter_mut().enumerate() {
            for (v, sum) in sums.iter_mut().enumerate() {
                // SAFETY: row `i` of `C` has this register's columns.
                *sum = unsafe { panel.load::<S, MASKED>(s, panel.c::<S>(i, v), v == NV - 1) };
            }
        }
    }
    let mut a = panel.a;
    let mut b = panel.b;
    for _ in 0..panel.k {
        let mut row = [s.zero(); NV];
        for (v, row) in row.iter_mut().enumerate() {
            // SAFETY: this row of `B` has this register's columns.
            *row = unsafe { panel.load::<S, MASKED>(s, b.wrapping_add(v * S::LANES), v == NV - 1) };
        }
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: row `i` and this column of `A` exist.
            let x = s.splat(unsafe { a.wrapping_offset(i as isize * panel.a_row).read() });
            for (sum, &row) in sums.iter_mut().zip(&row) {
                *sum = s.fma(x, row, *sum);
            }
        }
        a = a.wrapping_offset(panel.a_col);
        b = b.wrapping_offset(panel.b_row);
    }
    // SAFETY: the tile's rows of `C` and of the epilogue's operands have the registers' columns.
    unsafe { finish::<S, MR, NV, MASKED>(s, panel, sums) };
}

/// The epilogue of a tile. The choice is made once, outside the loops over its registers.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn finish<S: Simd, const MR: usize, const NV: usize, const MASKED: bool>(
    s: S,
    panel: Panel<'_>,
    sums: [[S::F32; NV]; MR],
) {
    /// `C[i, v] = y` for each register.
    macro_rules! each {
        (|$i:ident, $v:ident, $sum:ident, $at:ident| $y:expr) => {
            for $i in 0..MR {
                for $v in 0..NV {
                    let ($sum, $at) = (sums[$i][$v], panel.c::<S>($i, $v));
                    let y = $y;
                    // SAFETY: row `i` of `C` has this register's columns.
                    unsafe { panel.store::<S, MASKED>(s, $at, y, $v == NV - 1) };
                }
            }
        };
    }
    match panel.epilogue {
        Epilogue::Store => each!(|i, v, sum, _at| sum),
        Epilogue::Bias(bias) => {
            let mut row = [s.zero(); NV];
            for (v, row) in row.iter_mut().enumerate() {
                let at = bias.as_ptr().wrapping_add(panel.origin.1 + v * S::LANES);
                // SAFETY: the bias has one row, with these columns.
                *row = unsafe { panel.load::<S, MASKED>(s, at, v == NV - 1) };
            }
            each!(|i, v, sum, _at| s.add(sum, row[v]));
        }
        Epilogue::Through(slope, saved) => each!(|i, v, sum, _at| {
            // SAFETY: `saved` has the shape of `C`.
            let y = unsafe { panel.load::<S, MASKED>(s, panel.operand::<S>(saved, i, v), v == NV - 1) };
            slope.apply(s, sum, y)
        }),
        Epilogue::Sgd { lr } => {
            let lr = s.splat(lr);
            each!(|i, v, sum, at| {
                // SAFETY: row `i` of `C` has this register's columns.
                s.fnma(lr, sum, unsafe { panel.load::<S, MASKED>(s, at, v == NV - 1) })
            });
        }
    }
}

/// A matrix times a vector: each element of `C` is a sum along a row of `A` times the one column of `B`.
#[inline(always)]
pub(super) fn matrix_vector<S: Simd>(s: S, tiles: Tiles<'_>) {
    let Tiles { mut c, accum, a, b, epilogue, origin } = tiles;
    debug_assert_eq!((c.rows(), c.cols(), b.rows(), b.cols()), (a.rows(), 1, a.cols(), 1));
    let vector = b.t().repeat_rows(a.rows());
    for i in 0..a.rows() {
        let [dot] = lanes::fold_row(s, i, [], [a, vector], lanes::Dot);
        let at = c.as_mut_ptr().wrapping_offset(i as isize * c.row_stride());
        // SAFETY: `at` is the one element of row `i` of `C`, and the epilogue's operands belong to the whole product.
        unsafe {
            let old = s.load_head(at, 1);
            let sum = s.splat(dot);
            let y = match (epilogue, accum) {
                (Epilogue::Sgd { lr }, _) => s.fnma(s.splat(lr), sum, old),
                (Epilogue::Through(slope, saved), _) => {
                    let row = saved.as_ptr().wrapping_offset((origin.0 + i) as isize * saved.row_stride());
                    slope.apply(s, sum, s.load_head(row.wrapping_add(origin.1), 1))
                }
                (Epilogue::Bias(bias), _) => s.add(sum, s.load_head(bias.as_ptr().wrapping_add(origin.1), 1)),
                (Epilogue::Store, Accum::Add) => s.add(old, sum),
                (Epilogue::Store, Accum::Replace) => sum,
            };
            s.store_head(at, 1, y);
        }
    }
}
