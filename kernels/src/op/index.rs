//! Indexing as in `x[0, ::2, ..., picks, mask]`: what makes a view, mixed with integers and masks that pick.
//!
//! [`Index`] items make a view first, as [`View::index`] has it. Then each operand of integers picks along one axis of
//! it, negative ones counting from the end, and each mask over as many axes as it has: it stands for the places where
//! it is true, in row-major order, one integer operand an axis. All these operands are broadcast to one shape, which
//! replaces the axes they picked along: where the first of them was if these axes are next to each other, else at the
//! front.
//!
//! ```text
//!  x of 4x5x6,  rows, cols of 3:   x[rows, cols]      3x6      y[i, k]    = x[rows[i], cols[i], k]
//!                                  x[:, rows]         4x3x6    y[j, i, k] = x[j, rows[i], k]
//!                                  x[rows, :, cols]   3x5      y[i, j]    = x[rows[i], j, cols[i]]
//!  mask of 4x5 with n trues:       x[mask]            nx6      y[i, k]    = x[place of the i-th true, k]
//! ```
//!
//! Single integers make a view, as in PyTorch, be they items or operands of rank 0: NumPy broadcasts them with the
//! other operands, and puts the result of `x[0, :, rows]` elsewhere. A mask of rank 0 is a new axis with an index if it
//! is true, and none if not.
//!
//! The adjoint of picking is adding where it was picked: `dx` is zero, and then each `dy` is added at its place, in
//! row-major order of the operands that pick. An element that is picked twice gets both. Nothing is allocated: integers
//! and masks are walked in place, and how many are true is counted to find the shape of `y`, which [`shape`] tells.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::index::{self, Item};
//! use handgrad_kernels::view::{Index, View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let x = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
//! let x = View::new(&x, &[2, 3])?;
//! // x[:, [-1, 0, -1]]
//! let picks = [-1, 0, -1];
//! let items = [Item::from(Index::All), View::new(&picks, &[3])?.into()];
//! let shape = index::shape(x.shape(), &items)?;
//! let mut y = [f32::NAN; 6];
//! index::forward(&exec, ViewMut::new(&mut y, shape.as_slice())?, x, &items)?;
//! assert_eq!(y, [2.0, 0.0, 2.0, 5.0, 3.0, 5.0]);
//!
//! let (dy, mut dx) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [f32::NAN; 6]);
//! index::backward(&exec, ViewMut::new(&mut dx, &[2, 3])?, View::new(&dy, &[2, 3])?, &items)?;
//! assert_eq!(dx, [2.0, 0.0, 4.0, 5.0, 0.0, 10.0]);
//!
//! // x[x > 2]
//! let mask = [false, false, false, true, true, true];
//! let items = [Item::from(View::new(&mask, &[2, 3])?)];
//! let mut y = [f32::NAN; 3];
//! index::forward(&exec, ViewMut::new(&mut y, &[3])?, x, &items)?;
//! assert_eq!(y, [3.0, 4.0, 5.0]);
//! # Ok(())
//! # }
//! ```

mod reference;

pub use reference::{reference, reference_backward};

use crate::elementwise;
use crate::error::{Dims, ErrorKind, MAX_RANK, Result, expect_shape};
use crate::exec::Exec;
use crate::lanes::{Same, Zero};
use crate::lookup::{self, Signs, expect_places, spread};
use crate::view::{Index, Integers, Mask, Places, View, ViewMut, broadcast_shape};

/// One item of an index.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// What makes a view: an integer, a range, `:`, `None` or `...`.
    Basic(Index),
    /// Integers that pick along one axis; negative ones count from its end.
    Integers(View<'a, i64>),
    /// A mask over as many axes as it has, of their sizes.
    Mask(View<'a, bool>),
}

impl From<Index> for Item<'_> {
    fn from(index: Index) -> Self {
        Item::Basic(index)
    }
}

impl<'a> From<View<'a, i64>> for Item<'a> {
    fn from(integers: View<'a, i64>) -> Self {
        Item::Integers(integers)
    }
}

impl<'a> From<View<'a, bool>> for Item<'a> {
    fn from(mask: View<'a, bool>) -> Self {
        Item::Mask(mask)
    }
}

/// The shape of `x[items]` for an `x` of this shape. The trues of every mask are counted for it.
///
/// # Errors
/// If there are more items than axes, a second ellipsis, or a step of 0; if an item that makes a view is outside its
/// axis; if a mask has another shape than its axes; if what picks does not broadcast to one shape; and if the view or
/// the result has more than 8 axes.
pub fn shape(x: &[usize], items: &[Item<'_>]) -> Result<Dims> {
    Plan::new("index::shape", x, items).map(|plan| plan.shape)
}

/// `y = x[items]`, of the [shape](fn@shape) of that.
///
/// # Errors
/// As [`shape`](fn@shape), if `y` has another, and if an integer is outside its axis.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>, items: &[Item<'_>]) -> Result<()> {
    const OP: &str = "index::forward";
    let (y, x) = (y.into(), x.into());
    let plan = Plan::new(OP, x.shape(), items)?;
    expect_shape(OP, "y", plan.shape.as_slice(), y.shape())?;
    plan.expect_places(OP)?;
    let x = x.index(plan.basic.as_slice())?;
    if plan.picks.as_slice().is_empty() {
        elementwise::map(exec, 0.06, [y], [x], Same);
    } else if !y.is_empty() {
        plan.with_places(|places| lookup::read(exec, y, x, places))?;
    }
    Ok(())
}

/// `dx` is zero but for `dx[items] += dy`; shapes are as in [`forward`].
///
/// # Errors
/// As [`forward`].
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    items: &[Item<'_>],
) -> Result<()> {
    const OP: &str = "index::backward";
    let (mut dx, dy) = (dx.into(), dy.into());
    let plan = Plan::new(OP, dx.shape(), items)?;
    expect_shape(OP, "dy", plan.shape.as_slice(), dy.shape())?;
    plan.expect_places(OP)?;
    elementwise::map(exec, 0.06, [dx.reborrow()], [], Zero);
    let dx = dx.index(plan.basic.as_slice())?;
    if plan.picks.as_slice().is_empty() {
        elementwise::map(exec, 0.06, [dx], [dy], Same);
    } else if !dy.is_empty() {
        plan.with_places(|places| lookup::add(exec, dx, dy, places, &[], None))?;
    }
    Ok(())
}

/// The most items that make views: 8 axes are used up, 8 are new, and one ellipsis.
const BASIC: usize = 2 * MAX_RANK + 1;

/// A few values of one type, without an allocation.
#[derive(Clone, Copy)]
struct Few<T, const N: usize> {
    len: usize,
    values: [T; N],
}

impl<T: Copy, const N: usize> Few<T, N> {
    fn new(any: T) -> Self {
        Self { len: 0, values: [any; N] }
    }

    fn push(&mut self, op: &'static str, value: T) -> Result<()> {
        let Some(place) = self.values.get_mut(self.len) else {
            let want = "no more than what picks from and makes 8 axes";
            return Err(ErrorKind::Value { op, arg: "items", want, got: (self.len + 1) as f64 }.into());
        };
        *place = value;
        self.len += 1;
        Ok(())
    }

    fn as_slice(&self) -> &[T] {
        &self.values[..self.len]
    }
}

/// What picks, and the first axis that it picks along, in the view that the other items make.
#[derive(Clone, Copy)]
struct Pick<'a> {
    axis: usize,
    by: By<'a>,
}

#[derive(Clone, Copy)]
enum By<'a> {
    Integers(View<'a, i64>),
    Mask { truths: View<'a, bool>, count: usize },
}

impl Pick<'_> {
    /// The axes of the view that are picked along.
    fn axes(&self) -> std::ops::Range<usize> {
        let count = match self.by {
            By::Integers(_) => 1,
            By::Mask { truths, .. } => truths.rank().max(1),
        };
        self.axis..self.axis + count
    }
}

/// What an index comes to for one shape.
struct Plan<'a> {
    /// The items that make a view; those that pick are whole axes of it.
    basic: Few<Index, BASIC>,
    /// The shape of the view.
    view: Dims,
    picks: Few<Pick<'a>, MAX_RANK>,
    /// The shape that what picks is broadcast to.
    picked: Dims,
    /// The axis of the result where it stands.
    place: usize,
    /// The shape of the result.
    shape: Dims,
}

static NO_INDEX: i64 = 0;
static NO_TRUTH: bool = false;

impl<'a> Plan<'a> {
    fn new(op: &'static str, x: &[usize], items: &[Item<'a>]) -> Result<Self> {
        let (basic, picks) = sort_items(op, x, items)?;
        // A view of one element, repeated, has the shape that the items are about.
        let like = View::with_strides(&[0.0_f32], x, &[0; MAX_RANK][..x.len()], 0)?;
        let view = Dims::new(like.index(basic.as_slice())?.shape());
        let mut picked = Dims::new(&[]);
        for pick in picks.as_slice() {
            picked = match pick.by {
                By::Integers(index) => broadcast_shape(op, "items", picked.as_slice(), index.shape())?,
                By::Mask { truths, count } => {
                    let axes = &view.as_slice()[pick.axes()];
                    expect_shape(op, "items", &axes[..truths.rank()], truths.shape())?;
                    broadcast_shape(op, "items", picked.as_slice(), &[count])?
                }
            };
        }
        let mut plan = Self { basic, view, picks, picked, place: 0, shape: picked };
        plan.place = plan.place();
        plan.shape = plan.result(op)?;
        Ok(plan)
    }

    /// Whether an axis of the view stays.
    fn stays(&self, axis: usize) -> bool {
        !self.picks.as_slice().iter().any(|pick| pick.axes().contains(&axis))
    }

    /// The axes of the view that stay.
    fn kept(&self) -> impl Iterator<Item = usize> {
        (0..self.view.as_slice().len()).filter(|&axis| self.stays(axis))
    }

    /// Where the axes that are picked along stand if they are next to each other; else the front.
    fn place(&self) -> usize {
        let all = self.picks.as_slice();
        let (Some(first), Some(last)) = (all.first(), all.last()) else { return 0 };
        let together = (first.axis..last.axes().end).all(|axis| !self.stays(axis));
        if together { first.axis } else { 0 }
    }

    fn result(&self, op: &'static str) -> Result<Dims> {
        let (view, picked) = (self.view.as_slice(), self.picked.as_slice());
        let rank = self.kept().count() + picked.len();
        if rank > MAX_RANK {
            return Err(ErrorKind::Value { op, arg: "rank", want: "at most 8", got: rank as f64 }.into());
        }
        let mut sizes = [0; MAX_RANK];
        sizes[self.place..self.place + picked.len()].copy_from_slice(picked);
        for (axis, from) in self.kept_axes() {
            sizes[axis] = view[from];
        }
        Ok(Dims::new(&sizes[..rank]))
    }

    /// The axes of the result that stay from the view, with those.
    fn kept_axes(&self) -> impl Iterator<Item = (usize, usize)> {
        let (place, picked) = (self.place, self.picked.as_slice().len());
        self.kept().enumerate().map(move |(i, axis)| (if i < place { i } else { i + picked }, axis))
    }

    /// Checks that every integer is one of its axis, if what picks is not broadcast to nothing.
    fn expect_places(&self, op: &'static str) -> Result<()> {
        if self.picked.as_slice().contains(&0) {
            return Ok(());
        }
        self.picks.as_slice().iter().try_for_each(|pick| match pick.by {
            By::Integers(index) => expect_places(op, "items", index, self.view.as_slice()[pick.axis], Signs::Both),
            By::Mask { .. } => Ok(()),
        })
    }

    /// Calls `f` with where in the view the elements of the result are, of which there must be some.
    fn with_places(&self, f: impl FnOnce(&Places<'_>)) -> Result<()> {
        const OP: &str = "index";
        let (shape, picked) = (self.shape.as_slice(), self.picked.as_slice().len());
        let mut along = [None; MAX_RANK];
        self.kept_axes().for_each(|(axis, from)| along[axis] = Some(from));
        let line = self.place + picked.saturating_sub(1);
        let mut integers = Few::<_, MAX_RANK>::new(Integers { axis: 0, index: View::scalar(&NO_INDEX) });
        let mut masks = Few::<_, MAX_RANK>::new(Mask { axis: 0, truths: View::scalar(&NO_TRUTH), count: 0 });
        for &Pick { axis, by } in self.picks.as_slice() {
            match by {
                By::Integers(index) => {
                    let index = spread(index, shape.len() - self.place - picked, shape)?;
                    integers.push(OP, Integers { axis, index })?;
                }
                // One of rank 0 lies over no axis of `x`.
                By::Mask { truths, count } if truths.rank() > 0 => masks.push(OP, Mask { axis, truths, count })?,
                By::Mask { .. } => {}
            }
        }
        f(&Places { along, integers: integers.as_slice(), masks: masks.as_slice(), line });
        Ok(())
    }
}

type Sorted<'a> = (Few<Index, BASIC>, Few<Pick<'a>, MAX_RANK>);

/// The items that make a view, and what picks from it.
fn sort_items<'a>(op: &'static str, x: &[usize], items: &[Item<'a>]) -> Result<Sorted<'a>> {
    let used = |item: &Item<'_>| match item {
        Item::Basic(Index::NewAxis | Index::Ellipsis) => 0,
        Item::Basic(_) | Item::Integers(_) => 1,
        Item::Mask(mask) => mask.rank(),
    };
    let total: usize = items.iter().map(used).sum();
    let Some(rest) = x.len().checked_sub(total) else {
        let reason = "more items than axes";
        return Err(ErrorKind::Axis { op, axis: total as isize - 1, rank: x.len(), reason }.into());
    };
    let mut basic = Few::new(Index::All);
    let mut picks = Few::new(Pick { axis: 0, by: By::Integers(View::scalar(&NO_INDEX)) });
    let mut axis = 0;
    for item in items {
        match *item {
            Item::Basic(index) => {
                basic.push(op, index)?;
                axis += match index {
                    Index::At(_) => 0,
                    Index::Ellipsis => rest,
                    _ => 1,
                };
            }
            Item::Integers(index) if index.rank() == 0 => {
                let at = index.iter().next().unwrap_or_default();
                basic.push(op, Index::At(at as isize))?;
            }
            Item::Integers(index) => {
                basic.push(op, Index::All)?;
                picks.push(op, Pick { axis, by: By::Integers(index) })?;
                axis += 1;
            }
            Item::Mask(truths) => {
                let own = if truths.rank() == 0 { Index::NewAxis } else { Index::All };
                (0..truths.rank().max(1)).try_for_each(|_| basic.push(op, own))?;
                picks.push(op, Pick { axis, by: By::Mask { truths, count: count(truths) } })?;
                axis += truths.rank().max(1);
            }
        }
    }
    Ok((basic, picks))
}

/// How many elements are true.
fn count(mask: View<'_, bool>) -> usize {
    match mask.as_slice() {
        Some(truths) => truths.iter().filter(|&&truth| truth).count(),
        None => mask.iter().filter(|&truth| truth).count(),
    }
}
