//! The loop of the element-wise functions, over 2-d blocks of any strides.
//!
//! Operands whose columns are adjacent are read and written in place. One element repeated along a row is spread over
//! a register's worth of memory, whose address then stays where it is. Operands with any other stride pass through a
//! tile of their own, transposed in registers on the way where that helps. The vector code is the same for all, so
//! that an element's value does not depend on the layout.

use std::mem::MaybeUninit;

use super::{Map, copy};
use crate::simd::{Kernel, Several, Simd};
use crate::view::{Mat, MatMut};

/// The lanes of the widest tier.
pub(super) const MAX_LANES: usize = 16;

/// Rows and columns of a tile: 4 KiB, so that those of five operands fit the innermost cache.
const TILE: [usize; 2] = [16, 64];

type Tile = MaybeUninit<[f32; TILE[0] * TILE[1]]>;

/// `out = f(inp, out)` element by element; all blocks have the shape of `out[0]`.
#[inline(always)]
pub(crate) fn map<S: Simd, F: Map<I, O>, const I: usize, const O: usize>(
    s: S,
    mut out: [MatMut<'_>; O],
    inp: [Mat<'_>; I],
    f: F,
) {
    let (mut rows, mut cols) = (out[0].rows(), out[0].cols());
    debug_assert!(inp.iter().all(|x| (x.rows(), x.cols()) == (rows, cols)));
    debug_assert!(out.iter().all(|y| (y.rows(), y.cols()) == (rows, cols)));
    if rows == 0 || cols == 0 {
        return;
    }
    let col_stride = |stride| if cols == 1 { 1 } else { stride };
    let mut x = [Block { first: std::ptr::null(), row: 0, col: 0 }; I];
    let mut y = [Block { first: std::ptr::null_mut(), row: 0, col: 0 }; O];
    let (mut joined, mut in_place) = (true, true);
    for (x, mat) in x.iter_mut().zip(&inp) {
        *x = Block { first: mat.as_ptr(), row: mat.row_stride(), col: col_stride(mat.col_stride()) };
        joined &= x.col == 1 && x.row == cols as isize;
        in_place &= x.col == 0 || x.col == 1;
    }
    for (y, mat) in y.iter_mut().zip(&mut out) {
        *y = Block { first: mat.as_mut_ptr(), row: mat.row_stride(), col: col_stride(mat.col_stride()) };
        joined &= y.col == 1 && y.row == cols as isize;
        in_place &= y.col == 1;
    }
    if joined {
        // Rows that follow each other are one row, with one tail.
        (rows, cols) = (1, rows * cols);
    }
    let tile = if in_place { [rows, cols] } else { TILE };
    let mut tiles = ([Tile::uninit(); I], [Tile::uninit(); O]);
    for i in (0..rows).step_by(tile[0]) {
        for j in (0..cols).step_by(tile[1]) {
            let shape = [tile[0].min(rows - i), tile[1].min(cols - j)];
            // SAFETY: the blocks have `rows` rows and `cols` columns their strides apart, as `Mat` and `MatMut` prove,
            // so rows `i..` and columns `j..` exist as far as `shape` says.
            unsafe { map_tile(s, shape, y.map(|y| y.at(i, j)), x.map(|x| x.at(i, j)), &mut tiles, f) };
        }
    }
}

/// Where a block begins, and how far apart its rows and columns are.
#[derive(Clone, Copy)]
struct Block<P> {
    first: P,
    row: isize,
    col: isize,
}

impl Block<*const f32> {
    #[inline(always)]
    fn at(self, i: usize, j: usize) -> Self {
        Self { first: self.first.wrapping_offset(i as isize * self.row + j as isize * self.col), ..self }
    }
}

impl Block<*mut f32> {
    #[inline(always)]
    fn at(self, i: usize, j: usize) -> Self {
        Self { first: self.first.wrapping_offset(i as isize * self.row + j as isize * self.col), ..self }
    }
}

/// [`map`] of one tile; or of blocks of any size, if every column stride is one (or zero, of an input).
///
/// # Safety
/// Every block has `rows` rows and `cols` columns, to read and, those of `y`, to write.
#[inline(always)]
unsafe fn map_tile<S: Simd, F: Map<I, O>, const I: usize, const O: usize>(
    s: S,
    [rows, cols]: [usize; 2],
    y: [Block<*mut f32>; O],
    x: [Block<*const f32>; I],
    tiles: &mut ([Tile; I], [Tile; O]),
    f: F,
) {
    let (mut from, mut to) = (x, y);
    // SAFETY: blocks whose columns are apart are no larger than a tile.
    unsafe {
        for (from, tile) in from.iter_mut().zip(&mut tiles.0).filter(|(from, _)| from.col != 0 && from.col != 1) {
            let staged = stage(s, *from, [rows, cols], tile);
            *from = Block { first: staged.first.cast_const(), row: staged.row, col: 1 };
        }
        for (to, tile) in to.iter_mut().zip(&mut tiles.1).filter(|(to, _)| to.col != 1) {
            *to = stage(s, Block { first: to.first.cast_const(), row: to.row, col: to.col }, [rows, cols], tile);
        }
    }
    let mut spread = [[0.0; MAX_LANES]; I];
    for i in 0..rows {
        let (mut sources, mut targets) = ([Source::NONE; I], [std::ptr::null_mut(); O]);
        // SAFETY: row `i` exists in every block: `cols` adjacent elements, or one that is repeated.
        unsafe {
            for ((source, from), spread) in sources.iter_mut().zip(from).zip(&mut spread) {
                *source = Source::new(s, from.at(i, 0).first, from.col, spread);
            }
            for (target, to) in targets.iter_mut().zip(to) {
                *target = to.at(i, 0).first;
            }
            map_row(s, cols, targets, sources, f);
        }
    }
    for (y, to) in y.into_iter().zip(to).filter(|(y, _)| y.col != 1) {
        for i in 0..rows {
            for j in 0..cols {
                // SAFETY: both blocks have this element.
                unsafe { y.at(i, j).first.write(to.at(i, j).first.read()) };
            }
        }
    }
}

/// Copies a block into a tile.
///
/// # Safety
/// The block has as many rows and columns as `shape` says, and a tile is as large.
#[inline(always)]
unsafe fn stage<S: Simd>(s: S, from: Block<*const f32>, shape: [usize; 2], tile: &mut Tile) -> Block<*mut f32> {
    let first = tile.as_mut_ptr().cast::<f32>();
    let row = shape[1] as isize;
    // SAFETY: as the caller says; `copy` writes every element and reads none of the tile.
    unsafe {
        let dst = MatMut::from_parts(first, shape, [row, 1]);
        let src = Mat::from_parts(from.first, shape, [from.row, from.col]);
        s.vectorize(CopyBlock { dst, src });
    }
    Block { first, row, col: 1 }
}

/// [`copy`] in a shell of its own: one instance a tier, not one an operation.
pub(super) struct CopyBlock<'a> {
    pub(super) dst: MatMut<'a>,
    pub(super) src: Mat<'a>,
}

impl Kernel for CopyBlock<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        copy(s, self.dst, self.src);
    }
}

/// A row to read: adjacent elements, or one that stands for all.
#[derive(Clone, Copy)]
pub(super) struct Source {
    first: *const f32,
    /// All ones if the elements are adjacent, zero if the register behind `first` is all there is.
    mask: usize,
}

impl Source {
    /// No row; to be replaced.
    pub(super) const NONE: Self = Self { first: std::ptr::null(), mask: 0 };

    /// Adjacent elements from `first` on.
    #[inline(always)]
    pub(super) fn adjacent(first: *const f32) -> Self {
        Self { first, mask: usize::MAX }
    }

    /// The row that begins at `first`, with a stride of one or zero. `spread` must outlive the source.
    ///
    /// # Safety
    /// `first` is readable.
    #[inline(always)]
    pub(super) unsafe fn new<S: Simd>(s: S, first: *const f32, stride: isize, spread: &mut [f32; MAX_LANES]) -> Self {
        const { assert!(S::LANES <= MAX_LANES) };
        debug_assert!(stride == 0 || stride == 1);
        if stride == 1 {
            return Self::adjacent(first);
        }
        // SAFETY: the caller gives a readable element; `spread` is as long as a register.
        unsafe { s.store(spread.as_mut_ptr(), s.splat(first.read())) };
        Self { first: spread.as_ptr(), mask: 0 }
    }

    /// Element `i` and those behind it.
    #[inline(always)]
    pub(super) fn from(self, i: usize) -> *const f32 {
        self.first.wrapping_add(i & self.mask)
    }
}

/// [`map`] over one row.
///
/// # Safety
/// Every source has `n` elements, and every pointer is valid for `n` floats, to read and write.
#[inline(always)]
unsafe fn map_row<S: Simd, F: Map<I, O>, const I: usize, const O: usize>(
    s: S,
    n: usize,
    y: [*mut f32; O],
    x: [Source; I],
    f: F,
) {
    let mut i = 0;
    if F::LONG && x.iter().all(|x| x.mask != 0) {
        // Chains side by side, as many as there are registers for. The branch folds.
        // SAFETY: as the caller says; a source of adjacent elements has more than one register.
        i = unsafe {
            match S::LANES {
                16 => map_full(Several::<S, 4>(s), i, n, y, x, f),
                8 => map_full(Several::<S, 2>(s), i, n, y, x, f),
                _ => i,
            }
        };
    }
    // SAFETY: as the caller says.
    i = unsafe { map_full(s, i, n, y, x, f) };
    if i < n {
        let rest = n - i;
        let (mut a, mut b) = ([s.zero(); I], [s.zero(); O]);
        // SAFETY: `i + rest = n`, and every row has `n` floats.
        unsafe {
            for (a, x) in a.iter_mut().zip(x) {
                *a = s.load_head(x.from(i), rest);
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

/// [`map_row`] from element `i` on, as far as whole registers go; returns where they end.
///
/// # Safety
/// As [`map_row`].
#[inline(always)]
unsafe fn map_full<S: Simd, F: Map<I, O>, const I: usize, const O: usize>(
    s: S,
    mut i: usize,
    n: usize,
    y: [*mut f32; O],
    x: [Source; I],
    f: F,
) -> usize {
    while i + S::LANES <= n {
        let (mut a, mut b) = ([s.zero(); I], [s.zero(); O]);
        // SAFETY: `i + LANES <= n`, and every row has `n` floats.
        unsafe {
            for (a, x) in a.iter_mut().zip(x) {
                *a = s.load(x.from(i));
            }
            for (b, y) in b.iter_mut().zip(y) {
                *b = s.load(y.add(i));
            }
            for (c, y) in f.eval(s, a, b).into_iter().zip(y) {
                s.store(y.add(i), c);
            }
        }
        i += S::LANES;
    }
    i
}
