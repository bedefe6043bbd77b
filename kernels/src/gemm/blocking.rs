//! Which way a product goes, and how it is cut.

/// Rows of `B` packed at a time, and so the longest chain after which `C` is written: it is read and written seldom, and
/// a panel of `B` (192 KiB) stays in the second-level cache beside a block of `A`.
pub(crate) const KC: usize = 1024;

/// Columns of `B` packed at a time; `KC x NC` floats are 4 MiB, which the third-level cache holds.
pub(super) const NC: usize = 21 * PANEL;

/// Columns of a packed panel, the width of the widest tile of the widest tier.
pub(super) const PANEL: usize = 48;

/// Rows of `A` that meet all panels of `B` before the next; they are copied where `A` is transposed. `MC x KC` floats are
/// 544 KiB of the second-level cache. Not a multiple of 16, so that the rows of a copied block do not meet in a few sets
/// of the first-level cache.
pub(super) const MC: usize = 136;

/// Rows of a `C` of `n` columns after which what remains to be done to them is done: about 256 KiB, so that they are
/// still in the second-level cache and `B` is read few times.
pub(super) fn finish_rows(n: usize) -> usize {
    (65_536 / n).max(64)
}

/// Above this many multiply-adds `B` is packed even if its columns are adjacent (measured: unpacked products hold
/// 0.95 of the peak up to 1024 x 512 x 512 and fall to 0.6 at 4096 x 1024 x 1024).
const DIRECT_WORK: usize = 1 << 29;

/// The longest chain that runs unpacked.
const DIRECT_K: usize = 1024;

/// The longest chain that runs unpacked where the columns of `A` are adjacent instead of its rows: each step of the chain
/// then reads another page of it (measured: 784 x 1024 x 512 takes seven times as long as packed).
const DIRECT_K_OF_COLUMNS: usize = 256;

/// Whether a product whose `B` has adjacent columns reads it where it is. `by_rows` says whether the rows of `A` are
/// adjacent.
pub(super) fn is_direct(m: usize, k: usize, n: usize, by_rows: bool) -> bool {
    let longest = if by_rows { DIRECT_K } else { DIRECT_K_OF_COLUMNS };
    k <= longest && m.saturating_mul(k).saturating_mul(n) <= DIRECT_WORK
}

/// Whether a `B` whose rows are adjacent instead of its columns is turned whole, and then read as if it lay so.
pub(super) fn is_turned(k: usize, n: usize) -> bool {
    k <= 384 && n <= 512
}

/// Nanoseconds of one core for a product, from 200 GFLOP/s.
pub(super) fn nanoseconds(m: usize, k: usize, n: usize) -> usize {
    m.saturating_mul(k).saturating_mul(n) / 100
}
