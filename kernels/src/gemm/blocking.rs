//! Which way a product goes, and how it is cut.

/// Rows of `B` packed at a time: the packed block and the rows of `A` that meet it stay in the second-level cache.
pub(super) const KC: usize = 384;

/// Columns of `B` packed at a time; `KC x NC` floats are 768 KiB.
pub(super) const NC: usize = 512;

/// Columns of a packed panel, the width of the widest tile of the widest tier.
pub(super) const PANEL: usize = 48;

/// Rows of `A` packed at a time where `A` is transposed.
/// Not a multiple of 16, so that the rows of a packed block do not meet in a few sets of the first-level cache.
pub(super) const MC: usize = 200;

/// Rows of `C` after which what remains to be done to them is done, while they are in cache.
pub(super) const FINISH_ROWS: usize = 64;

/// Above this many multiply-adds `B` is packed even if its columns are adjacent (measured: unpacked products hold
/// 0.95 of the peak up to 1024 x 512 x 512 and fall to 0.6 at 4096 x 1024 x 1024).
const DIRECT_WORK: usize = 1 << 29;

/// The longest chain that runs unpacked.
const DIRECT_K: usize = 1024;

/// Whether a product whose `B` has adjacent columns reads it where it is.
pub(super) fn is_direct(m: usize, k: usize, n: usize) -> bool {
    k <= DIRECT_K && m.saturating_mul(k).saturating_mul(n) <= DIRECT_WORK
}

/// Whether all of `B` is one block.
pub(super) fn fits_block(k: usize, n: usize) -> bool {
    k <= KC && n <= NC
}

/// Nanoseconds of one core for a product, from 200 GFLOP/s.
pub(super) fn nanoseconds(m: usize, k: usize, n: usize) -> usize {
    m.saturating_mul(k).saturating_mul(n) / 100
}
