//! The driver of the reductions, and the order in which they add.
//!
//! A reduction takes inputs of one shape and joins all elements that differ only on the *reduced* axes; the other axes
//! are *kept*. The order is a function of the sizes of the reduced axes and of where the kept axes stand among them,
//! and of nothing else: not of strides, threads, the tier, or the sizes of kept axes, so that an output is the same
//! alone or among others.
//!
//! Reduced axes of size one are ignored. Then, if the last axis is
//!
//! * **reduced**, the *run* is that axis with the reduced axes directly before it, taken as one in row-major order. A
//!   run is cut into pieces of 65 536 elements (the last may be shorter). In each piece element `i` joins running value
//!   `i mod 64`, and the 64 running values are joined by halves, `i` with `i + 32`, then `i + 16`, … until one is left;
//!   the results of the pieces are joined from first to last. Where other axes are reduced too, there are as many runs
//!   as they have indices, in row-major order: these are joined from first to last in blocks of 256 (the last may be
//!   shorter), and the blocks' results from first to last;
//! * **kept**, the indices of all reduced axes, in row-major order, are taken in blocks of 256 (the last may be
//!   shorter). Each block starts at the function's neutral value and takes one element after the other; the blocks'
//!   results are joined from first to last.

mod axes;
mod extreme;
mod parts;
mod place;
mod terms;

use std::cmp::Reverse;

pub use axes::Axes;
pub(crate) use axes::{Reduced, axis_index};
pub(crate) use extreme::{End, Extreme, Greatest, Least, share};
pub(crate) use parts::{Numbers, Other, Parts};
pub(crate) use place::place;
pub(crate) use terms::{Product, SumOf, Term, Value, sum_to};

use crate::error::{Dims, MAX_RANK};
use crate::exec::Exec;
use crate::lanes::{self, Fold, RUN};
use crate::simd::{Kernel, Simd};
use crate::view::{Axis, Cut, Nest, View, ViewMut};

/// A set of axes, for up to eight of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AxisSet(u8);

impl AxisSet {
    pub(crate) fn contains(self, axis: usize) -> bool {
        (self.0 >> axis) & 1 == 1
    }

    pub(crate) fn insert(&mut self, axis: usize) {
        debug_assert!(axis < MAX_RANK);
        self.0 |= 1 << axis;
    }
}

/// Folds `inp`, all of one shape, over the axes `reduced` into `out`, which have size one on those axes and are equal
/// otherwise; the caller has checked both. `nanoseconds` is what an element costs one core, for the split over threads.
pub(crate) fn fold<F: Fold<I, A>, const I: usize, const A: usize>(
    exec: &Exec,
    nanoseconds: f64,
    mut out: [ViewMut<'_>; A],
    inp: [View<'_>; I],
    reduced: AxisSet,
    f: F,
) {
    if out[0].is_empty() {
        return;
    }
    if inp[0].is_empty() {
        // Only sums come here: what has no value over nothing is refused at the door.
        for out in &mut out {
            out.fill(0.0);
        }
        return;
    }
    let nanoseconds = (inp[0].len() as f64 * nanoseconds) as usize;
    let shape = inp[0].shape();
    // One run of everything: a last axis that is kept, though its size be one, or one between, makes another order.
    let one_run = run_axes(shape, reduced) == shape.iter().filter(|&&size| size != 1).count();
    if one_run && inp[0].len() > RUN && exec.par.pieces(nanoseconds) > 1 {
        let rows = inp.map(|x| x.reshape(&[-1]).ok());
        if rows.iter().all(Option::is_some) {
            let total = fold_long(exec, nanoseconds, rows.map(|row| row.expect("all are there")), f);
            for (out, total) in out.iter_mut().zip(total) {
                out.fill(total);
            }
            return;
        }
    }
    let shape = Dims::new(inp[0].shape());
    let run = run_axes(shape.as_slice(), reduced);
    let mut nest = Nest::new(shape.as_slice(), out, inp);
    let order = arrange(&mut nest, run);
    fold_nest(exec, nanoseconds, nest, order, true, f);
}

fn fold_nest<F: Fold<I, A>, const I: usize, const A: usize>(
    exec: &Exec,
    nanoseconds: usize,
    nest: Nest<'_, A, I>,
    order: Order,
    finish: bool,
    f: F,
) {
    let (Order::Runs { kept, .. } | Order::Columns { kept }) = order;
    // Whole registers of columns stay together; runs are cut between any two.
    match (0..kept).max_by_key(|&axis| nest.axes()[axis].size) {
        None => exec.isa().run(Folded { nest, order, finish, f }),
        Some(axis) => {
            let grain = if matches!(order, Order::Columns { .. }) && axis + 1 == kept { 16 } else { 1 };
            exec.par.run(nanoseconds, grain, Cut { nest, axis }, |work| {
                exec.isa().run(Folded { nest: work.nest, order, finish, f });
            });
        }
    }
}

/// Which axes of an arranged nest are which.
#[derive(Clone, Copy)]
enum Order {
    /// `kept` axes, then `outer` reduced ones, then those of a run.
    Runs { kept: usize, outer: usize },
    /// `kept` axes, of which the last has the columns, then the reduced ones.
    Columns { kept: usize },
}

/// How many axes longer than one make a run; none if the last axis is kept.
fn run_axes(shape: &[usize], reduced: AxisSet) -> usize {
    let from_last = (0..shape.len()).rev();
    from_last.take_while(|&axis| reduced.contains(axis)).filter(|&axis| shape[axis] != 1).count()
}

/// Sorts the axes of a nest into kept and reduced ones, the last `run` of which make a run.
fn arrange<const A: usize, const I: usize>(nest: &mut Nest<'_, A, I>, run: usize) -> Order {
    let is_reduced = |axis: &Axis<A, I>| axis.out.iter().all(|&stride| stride == 0);
    nest.drop_units(|_| true);
    let rank = nest.axes().len();
    let kept = rank - nest.axes().iter().filter(|axis| is_reduced(axis)).count();
    // Kept axes may come in any order; the reduced ones, whose key is one, keep theirs.
    let reach = |axis: &Axis<A, I>| axis.inp.iter().map(|stride| stride.unsigned_abs()).max();
    nest.sort(|axis| if is_reduced(axis) { (true, Reverse(None)) } else { (false, Reverse(reach(axis))) });
    nest.merge(rank - run, rank);
    let outer = nest.merge(kept, rank - run);
    for axis in 0..kept {
        if nest.axes()[axis].inp.first().is_some_and(|&stride| stride < 0) {
            nest.flip(axis);
        }
    }
    let mut kept = nest.merge(0, kept);
    if run > 0 {
        return Order::Runs { kept, outer };
    }
    if kept == 0 {
        nest.add_unit();
        kept = 1;
    }
    // The columns are the axis along which most operands are adjacent.
    let adjacent = |axis: &Axis<A, I>| axis.inp.iter().chain(&axis.out).filter(|&&stride| stride == 1).count();
    if let Some(axis) = (0..kept).max_by_key(|&axis| adjacent(&nest.axes()[axis])) {
        nest.move_axis(axis, kept - 1);
    }
    Order::Columns { kept }
}

/// The loops over an arranged nest, on one tier.
struct Folded<'a, F, const I: usize, const A: usize> {
    nest: Nest<'a, A, I>,
    order: Order,
    finish: bool,
    f: F,
}

impl<F: Fold<I, A>, const I: usize, const A: usize> Kernel for Folded<'_, F, I, A> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { nest, order, finish, f } = self;
        match order {
            Order::Runs { kept, outer } => lanes::fold_runs(s, &nest, kept, outer, finish, f),
            Order::Columns { kept } => lanes::fold_columns(s, &nest, kept, f),
        }
    }
}

/// Pieces of a long run whose results are kept until they are joined.
const PIECES: usize = 64;

/// A run along one axis, its pieces on several threads.
fn fold_long<F: Fold<I, A>, const I: usize, const A: usize>(
    exec: &Exec,
    nanoseconds: usize,
    inp: [View<'_>; I],
    f: F,
) -> [f32; A] {
    let len = inp[0].len();
    // The total so far is joined with the pieces that follow it: the order is from first to last.
    let mut parts = [[0.0; 1 + PIECES]; A];
    let (mut done, mut start) = (0, 0);
    while start < len {
        // Pieces of the full length together; what is shorter than a piece by itself.
        let pieces = ((len - start) / RUN).min(PIECES);
        let shape = if pieces == 0 { [1, len - start] } else { [pieces, RUN] };
        let [rows, size] = shape;
        let end = start + rows * size;
        let out = parts
            .each_mut()
            .map(|parts| ViewMut::new(&mut parts[done..done + rows], &[rows, 1]).expect("a part for each piece"));
        let sizes = [rows as isize, size as isize];
        let piece = inp.map(|x| {
            let row = x.narrow(0, start, end - start).and_then(|row| row.unflatten(0, &sizes));
            row.expect("the product of the shape")
        });
        let order = Order::Runs { kept: 1, outer: 0 };
        fold_nest(exec, nanoseconds, Nest::new(&shape, out, piece), order, false, f);
        let joined =
            Joined::<F, A, I> { parts: parts.each_ref().map(|parts| &parts[..done + rows]), finish: end == len, f };
        let total = exec.isa().run(joined);
        for (parts, total) in parts.iter_mut().zip(total) {
            parts[0] = total;
        }
        (done, start) = (1, end);
    }
    parts.map(|parts| parts[0])
}

/// Parts joined from first to last.
struct Joined<'a, F, const A: usize, const I: usize> {
    parts: [&'a [f32]; A],
    finish: bool,
    f: F,
}

impl<F: Fold<I, A>, const I: usize, const A: usize> Kernel for Joined<'_, F, A, I> {
    type Output = [f32; A];
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [f32; A] {
        lanes::join(s, self.parts, self.finish, self.f)
    }
}
