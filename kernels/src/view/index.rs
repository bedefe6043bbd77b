//! Basic indexing as in `a[0, :, ::2, None, ...]`: the items, the macro that writes them, and their meaning.
#![forbid(unsafe_code)]

use super::layout::{Layout, check_rank, wrap};
use crate::error::{Error, ErrorKind, MAX_RANK, Result};

/// One item of a NumPy index; [`index!`](crate::index!) writes a list of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index {
    /// `i`: takes one index and drops the axis; negative counts from the end.
    At(isize),
    /// `start:stop:step`, clipped to the axis as in Python; a negative step walks backwards.
    Range {
        /// The first index; the near end if `None`.
        start: Option<isize>,
        /// The index to stop before; past the far end if `None`.
        stop: Option<isize>,
        /// The distance from one index to the next, not zero.
        step: isize,
    },
    /// `:`, the whole axis.
    All,
    /// `None`, a new axis of size one.
    NewAxis,
    /// `...`, as many whole axes as the other items leave over; at most once.
    Ellipsis,
}

/// Writes a list of [`Index`](crate::view::Index) items in Python's syntax: `index![0, :, ::2, 1:-1, None, ...]`.
///
/// Bounds are `isize` expressions; one that contains `::` or a comma outside brackets is put in parentheses.
#[macro_export]
macro_rules! index {
    // One item: `start`, `stop` and `step` are collected up to the next colon.
    (@item :) => { $crate::view::Index::All };
    (@item ...) => { $crate::view::Index::Ellipsis };
    (@item None) => { $crate::view::Index::NewAxis };
    (@item $($tokens:tt)+) => { $crate::index!(@start [] $($tokens)+) };
    (@start [$($start:tt)*] :: $($step:tt)*) => { $crate::index!(@range [$($start)*] [] [$($step)*]) };
    (@start [$($start:tt)*] : $($rest:tt)*) => { $crate::index!(@stop [$($start)*] [] $($rest)*) };
    (@start [$($start:tt)*] $next:tt $($rest:tt)*) => { $crate::index!(@start [$($start)* $next] $($rest)*) };
    (@start [$($at:tt)+]) => { $crate::view::Index::At($($at)+) };
    (@stop [$($start:tt)*] [$($stop:tt)*] : $($step:tt)*) => {
        $crate::index!(@range [$($start)*] [$($stop)*] [$($step)*])
    };
    (@stop [$($start:tt)*] [$($stop:tt)*] $next:tt $($rest:tt)*) => {
        $crate::index!(@stop [$($start)*] [$($stop)* $next] $($rest)*)
    };
    (@stop [$($start:tt)*] [$($stop:tt)*]) => { $crate::index!(@range [$($start)*] [$($stop)*] [1]) };
    (@range [$($start:tt)*] [$($stop:tt)*] []) => { $crate::index!(@range [$($start)*] [$($stop)*] [1]) };
    (@range [$($start:tt)*] [$($stop:tt)*] [$($step:tt)+]) => {
        $crate::view::Index::Range {
            start: $crate::index!(@bound $($start)*),
            stop: $crate::index!(@bound $($stop)*),
            step: $($step)+,
        }
    };
    (@bound) => { ::core::option::Option::None };
    (@bound $($bound:tt)+) => { ::core::option::Option::Some($($bound)+) };
    // The list: tokens are collected up to the next comma.
    (@list [$($done:expr,)*] []) => { [$($done,)*] };
    (@list [$($done:expr,)*] [$($item:tt)+]) => { [$($done,)* $crate::index!(@item $($item)+)] };
    (@list [$($done:expr,)*] [$($item:tt)+] , $($rest:tt)*) => {
        $crate::index!(@list [$($done,)* $crate::index!(@item $($item)+),] [] $($rest)*)
    };
    (@list [$($done:expr,)*] [$($item:tt)*] $next:tt $($rest:tt)*) => {
        $crate::index!(@list [$($done,)*] [$($item)* $next] $($rest)*)
    };
    ($($tokens:tt)*) => { $crate::index!(@list [] [] $($tokens)*) };
}

/// The first index and the number of indices that `start:stop:step` takes of an axis of `size`, as Python's
/// `slice.indices` has it. The step is not zero.
const fn indices(size: usize, start: Option<isize>, stop: Option<isize>, step: isize) -> (usize, usize) {
    let size = size as isize;
    // Going backwards, every place is one lower: from the last index to the place before the first.
    let shift = if step < 0 { 1 } else { 0 };
    let (least, greatest) = (-shift, size - shift);
    let (near, far) = if step < 0 { (greatest, least) } else { (least, greatest) };
    let start = place(start, near, size, least, greatest);
    let stop = place(stop, far, size, least, greatest);
    let distance = if step < 0 { start - stop } else { stop - start };
    if distance <= 0 {
        return (0, 0);
    }
    (start as usize, (distance as usize).div_ceil(step.unsigned_abs()))
}

/// A bound counted from the front and clipped to `least..=greatest`.
const fn place(bound: Option<isize>, default: isize, size: isize, least: isize, greatest: isize) -> isize {
    let at = match bound {
        None => return default,
        Some(bound) if bound < 0 => bound + size,
        Some(bound) => bound,
    };
    if at < least {
        least
    } else if at > greatest {
        greatest
    } else {
        at
    }
}

impl Layout {
    pub(super) fn index(self, items: &[Index]) -> Result<Self> {
        const OP: &str = "index";
        let count = |wanted: fn(&Index) -> bool| items.iter().filter(|item| wanted(item)).count();
        let added = count(|item| matches!(item, Index::NewAxis));
        let dropped = count(|item| matches!(item, Index::At(_)));
        let ellipses = count(|item| matches!(item, Index::Ellipsis));
        let used = items.len() - added - ellipses;
        if ellipses > 1 {
            return Err(ErrorKind::Value { op: OP, arg: "...", want: "given once", got: ellipses as f64 }.into());
        }
        if used > self.rank {
            let reason = "more items than axes";
            return Err(ErrorKind::Axis { op: OP, axis: used as isize - 1, rank: self.rank, reason }.into());
        }
        check_rank(OP, (self.rank - dropped).saturating_add(added))?;

        // New axes go in last, so that the rank never passes the maximum on the way.
        let (mut layout, mut axis) = (self, 0);
        let mut new_axes = NewAxes { count: 0, places: [0; MAX_RANK] };
        for (position, &item) in items.iter().enumerate() {
            match item {
                Index::All => axis += 1,
                Index::Ellipsis => axis += self.rank - used,
                Index::NewAxis => new_axes.push(axis),
                Index::At(index) => {
                    let bound = layout.shape[axis];
                    let at = wrap(index, bound).ok_or_else(|| {
                        Error::from(ErrorKind::Index { op: OP, arg: "items", position, value: index as i64, bound })
                    })?;
                    layout = layout.cut(axis, at, 1, 1).remove(axis);
                }
                Index::Range { step: 0, .. } => {
                    return Err(ErrorKind::Value { op: OP, arg: "step", want: "other than 0", got: 0.0 }.into());
                }
                Index::Range { start, stop, step } => {
                    let (start, len) = indices(layout.shape[axis], start, stop, step);
                    layout = layout.cut(axis, start, len, step);
                    axis += 1;
                }
            }
        }
        Ok(new_axes.places[..new_axes.count].iter().fold(layout, |layout, &place| layout.insert(place, 1, 1)))
    }
}

/// Where the new axes of an index stand in its result, in rising order.
struct NewAxes {
    count: usize,
    places: [usize; MAX_RANK],
}

impl NewAxes {
    /// Adds one before `axis`, which is counted without the new ones.
    const fn push(&mut self, axis: usize) {
        self.places[self.count] = axis + self.count;
        self.count += 1;
    }
}
