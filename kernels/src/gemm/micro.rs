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

/// Elements of `B` up to which it stays in the first-level cache beside a strip of `A` and `C`: 32 KiB.
const SMALL_B: usize = 8192;

/// What one tile works on: `C (+)= A · B` for at most `NV` registers of columns.
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
        // While all of `B` stays in the first-level cache, `C` is written row of tiles after row of tiles, which keeps
        // `A` and `C` there too. A larger `B` is read once, panel after panel.
        let by_row = k * n <= SMALL_B;
        let strips = Pieces::new(m, max_rows::<S>());
        let panels = Pieces::new(n.div_ceil(S::LANES), max_vectors::<S>());
        let (outer, inner) = if by_row { (strips, panels) } else { (panels, strips) };
        for o in 0..outer.count {
            for q in 0..inner.count {
                let (strip, panel) = if by_row { (o, q) } else { (q, o) };
                let ((i, height), (first, width)) = (strips.get(strip), panels.get(panel));
                let j = first * S::LANES;
                let tail = (n - j - (width - 1) * S::LANES).min(S::LANES);
                let panel = Panel {
                    k,
                    a: a.as_ptr().wrapping_offset(i as isize * a.row_stride()),
                    a_row: a.row_stride(),
                    a_col: a.col_stride(),
                    b: b.as_ptr().wrapping_add(j),
                    b_row: b.row_stride(),
                    c: c.as_mut_ptr().wrapping_offset(i as isize * c.row_stride()).wrapping_add(j),
                    c_row: c.row_stride(),
                    tail,
                    accum,
                    epilogue,
                    origin: (origin.0 + i, origin.1 + j),
                };
                // SAFETY: the panel covers columns `j .. j + (width - 1) * LANES + tail <= n` of `B` and `C`, and rows
                // `i..i + height <= m`.
                unsafe {
                    match (width, tail == S::LANES) {
                        (1, true) => rows::<S, 1, false>(s, height, panel),
                        (1, false) => rows::<S, 1, true>(s, height, panel),
                        (2, true) => rows::<S, 2, false>(s, height, panel),
                        (2, false) => rows::<S, 2, true>(s, height, panel),
                        (_, true) if S::LANES == 16 => rows::<S, 3, false>(s, height, panel),
                        (_, false) if S::LANES == 16 => rows::<S, 3, true>(s, height, panel),
                        _ => unreachable!("a panel is at most `max_vectors` wide"),
                    }
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

/// `0..total` in as few pieces as `most` allows, as even as can be, the longer ones first. Even pieces keep every tile
/// wide enough to hide the latency of its chains.
#[derive(Clone, Copy)]
struct Pieces {
    count: usize,
    length: usize,
    longer: usize,
}

impl Pieces {
    #[inline(always)]
    fn new(total: usize, most: usize) -> Self {
        let count = total.div_ceil(most);
        // One piece, the common case of a strip, does without the division.
        if count <= 1 {
            return Self { count, length: total, longer: 0 };
        }
        Self { count, length: total / count, longer: total % count }
    }

    /// Where piece `i` starts, and its length.
    #[inline(always)]
    fn get(self, i: usize) -> (usize, usize) {
        (i * self.length + i.min(self.longer), self.length + usize::from(i < self.longer))
    }
}

/// The tile of a height.
///
/// # Safety
/// The panel's pointers are valid for `height` rows of `A` and `C`, `k` columns of `A` and rows of `B`, and
/// `(NV - 1) * LANES + tail` columns of `B` and `C`; `MASKED` unless `tail == LANES`.
#[inline(always)]
unsafe fn rows<S: Simd, const NV: usize, const MASKED: bool>(s: S, height: usize, panel: Panel<'_>) {
    // SAFETY: as the caller says.
    unsafe {
        match height {
            1 => entered::<S, 1, NV, MASKED>(s, panel),
            2 => entered::<S, 2, NV, MASKED>(s, panel),
            3 => entered::<S, 3, NV, MASKED>(s, panel),
            4 => entered::<S, 4, NV, MASKED>(s, panel),
            5 => entered::<S, 5, NV, MASKED>(s, panel),
            6 => entered::<S, 6, NV, MASKED>(s, panel),
            7 if S::LANES == 16 => entered::<S, 7, NV, MASKED>(s, panel),
            8 if S::LANES == 16 => entered::<S, 8, NV, MASKED>(s, panel),
            _ => unreachable!("a tile is at most `max_rows` high"),
        }
    }
}

/// [`tile`], with debug assertions in a shell of its own: without optimisation every intermediate value has a place on the
/// stack, and all tiles in one function would take more of it (2.8 MB) than a thread has.
///
/// # Safety
/// As [`rows`], with `MR` rows.
#[inline(always)]
unsafe fn entered<S: Simd, const MR: usize, const NV: usize, const MASKED: bool>(s: S, panel: Panel<'_>) {
    /// A panel that [`tile`] may be given.
    struct OneTile<'a, const MR: usize, const NV: usize, const MASKED: bool>(Panel<'a>);

    impl<const MR: usize, const NV: usize, const MASKED: bool> Kernel for OneTile<'_, MR, NV, MASKED> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            // SAFETY: whoever made this says so.
            unsafe { tile::<S, MR, NV, MASKED>(s, self.0) }
        }
    }

    if cfg!(debug_assertions) {
        s.vectorize(OneTile::<MR, NV, MASKED>(panel));
    } else {
        // SAFETY: as the caller says.
        unsafe { tile::<S, MR, NV, MASKED>(s, panel) }
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

/// `body` for `I` in `0..n`, with `I` a constant in each copy and `n` at most eight: the sums of a tile are then never an
/// array in memory, whatever the optimiser makes of the loops around them.
macro_rules! unrolled {
    ($i:ident < $n:expr, $body:expr) => {
        unrolled!(@ $i, $n, $body, 0 1 2 3 4 5 6 7)
    };
    (@ $i:ident, $n:expr, $body:expr, $($at:literal)*) => {{
        $(if $at < $n {
            const $i: usize = $at;
            $body;
        })*
    }};
}

/// One tile.
///
/// # Safety
/// As [`rows`], with `MR` rows.
#[inline(always)]
unsafe fn tile<S: Simd, const MR: usize, const NV: usize, const MASKED: bool>(s: S, panel: Panel<'_>) {
    let mut sums = [[s.zero(); NV]; MR];
    if panel.accum == Accum::Add {
        unrolled!(
            I < MR,
            unrolled!(V < NV, {
                // SAFETY: row `I` of `C` has this register's columns.
                sums[I][V] = unsafe { panel.load::<S, MASKED>(s, panel.c::<S>(I, V), V == NV - 1) };
            })
        );
    }
    let mut a = panel.a;
    let mut b = panel.b;
    for _ in 0..panel.k {
        let mut row = [s.zero(); NV];
        // SAFETY: this row of `B` has this register's columns.
        unrolled!(V < NV, row[V] = unsafe { panel.load::<S, MASKED>(s, b.wrapping_add(V * S::LANES), V == NV - 1) });
        unrolled!(I < MR, {
            // SAFETY: row `I` and this column of `A` exist.
            let x = s.splat(unsafe { a.wrapping_offset(I as isize * panel.a_row).read() });
            unrolled!(V < NV, sums[I][V] = s.fma(x, row[V], sums[I][V]));
        });
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
    /// `C[I, V] = y` for each register.
    macro_rules! each {
        ($i:ident, $v:ident, $y:expr) => {
            unrolled!(
                $i < MR,
                unrolled!($v < NV, {
                    let y = $y;
                    // SAFETY: row `I` of `C` has this register's columns.
                    unsafe { panel.store::<S, MASKED>(s, panel.c::<S>($i, $v), y, $v == NV - 1) };
                })
            )
        };
    }
    match panel.epilogue {
        Epilogue::Store => each!(I, V, sums[I][V]),
        Epilogue::Bias(bias, floor) => {
            let floor = s.splat(floor);
            let at = bias.as_ptr().wrapping_add(panel.origin.1);
            let mut row = [s.zero(); NV];
            unrolled!(V < NV, {
                // SAFETY: the bias has one row, with these columns.
                row[V] = unsafe { panel.load::<S, MASKED>(s, at.wrapping_add(V * S::LANES), V == NV - 1) };
            });
            each!(I, V, s.max(floor, s.add(sums[I][V], row[V])));
        }
        Epilogue::Through(slope, saved) => each!(I, V, {
            // SAFETY: `saved` has the shape of `C`.
            let y = unsafe { panel.load::<S, MASKED>(s, panel.operand::<S>(saved, I, V), V == NV - 1) };
            slope.apply(s, sums[I][V], y)
        }),
        Epilogue::Sgd { lr } => {
            let lr = s.splat(lr);
            each!(I, V, {
                // SAFETY: row `I` of `C` has this register's columns.
                let old = unsafe { panel.load::<S, MASKED>(s, panel.c::<S>(I, V), V == NV - 1) };
                s.fnma(lr, sums[I][V], old)
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
                (Epilogue::Bias(bias, floor), _) => {
                    let bias = s.load_head(bias.as_ptr().wrapping_add(origin.1), 1);
                    s.max(s.splat(floor), s.add(sum, bias))
                }
                (Epilogue::Store, Accum::Add) => s.add(old, sum),
                (Epilogue::Store, Accum::Replace) => sum,
            };
            s.store_head(at, 1, y);
        }
    }
}
