//! Operations that need a few numbers for each output on the way, such as the maximum of a softmax: they are done part
//! by part, with those numbers on the stack.
//!
//! A part is a range of every kept axis and the whole of every reduced one, so that its outputs are what they would be
//! in one go, and small enough for the innermost cache, so that several passes over it cost little.

use super::AxisSet;
use crate::error::{Dims, MAX_RANK};
use crate::exec::Exec;
use crate::par::Divide;
use crate::view::{Element, View, ViewMut};

/// The most outputs in a part.
const OUTPUTS: usize = 256;

/// The most elements in a part of several outputs.
const ELEMENTS: usize = 8192;

/// Outputs side by side that are not parted however many elements they have: whole cache lines of columns.
const COLUMNS: usize = 64;

/// Room for one number for each output of a part.
#[derive(Clone, Copy)]
pub(crate) struct Numbers<T = f32> {
    shape: Dims,
    values: [T; OUTPUTS],
}

impl<T: Element> Numbers<T> {
    /// For the outputs of a part whose whole operand has the shape `shape`.
    pub(crate) fn new(shape: &[usize], reduced: AxisSet, start: T) -> Self {
        let mut sizes = [1; MAX_RANK];
        for (axis, (kept, &size)) in sizes.iter_mut().zip(shape).enumerate() {
            *kept = if reduced.contains(axis) { 1 } else { size };
        }
        Self { shape: Dims::new(&sizes[..shape.len()]), values: [start; OUTPUTS] }
    }

    fn len(&self) -> usize {
        self.shape.as_slice().iter().product()
    }

    /// The numbers in logical order.
    pub(crate) fn values(&mut self) -> &mut [T] {
        let len = self.len();
        &mut self.values[..len]
    }

    /// The numbers, to be written; size one on the reduced axes.
    pub(crate) fn out(&mut self) -> ViewMut<'_, T> {
        let len = self.len();
        ViewMut::new(&mut self.values[..len], self.shape.as_slice()).expect("as many as the shape has")
    }

    /// The numbers, repeated to `shape`.
    pub(crate) fn repeated(&self, shape: &[usize]) -> View<'_, T> {
        let view = View::new(&self.values[..self.len()], self.shape.as_slice()).expect("as many as the shape has");
        view.broadcast_to(shape).expect("the shape that the numbers were made for")
    }
}

/// Operands that are cut along kept axes: all have the same rank, and the sizes of `inp[0]` there.
pub(crate) struct Parts<'a, T, const O: usize, const I: usize> {
    /// What is written.
    pub(crate) out: [ViewMut<'a>; O],
    /// An operand of another type, if there is one.
    pub(crate) other: T,
    /// What is read, the whole operand first.
    pub(crate) inp: [View<'a>; I],
    /// The axes that stay whole.
    pub(crate) reduced: AxisSet,
}

/// What can be cut along a kept axis: an operand of another type than `f32`, or none, or all operands.
pub(crate) trait Other: Send + Sized {
    /// The halves before and from index `at` of an axis.
    fn cut(self, axis: usize, at: usize) -> (Self, Self);
}

impl Other for () {
    fn cut(self, _: usize, _: usize) -> (Self, Self) {
        ((), ())
    }
}

impl<T: Element> Other for ViewMut<'_, T> {
    fn cut(self, axis: usize, at: usize) -> (Self, Self) {
        self.split_at(axis as isize, at).expect("a kept axis of every operand")
    }
}

impl<T: Element> Other for View<'_, T> {
    fn cut(self, axis: usize, at: usize) -> (Self, Self) {
        self.split_at(axis as isize, at).expect("a kept axis of every operand")
    }
}

impl<T: Other, const O: usize, const I: usize> Parts<'_, T, O, I> {
    /// Runs `f` on each part. `nanoseconds` is what an element costs one core.
    pub(crate) fn run(self, exec: &Exec, nanoseconds: f64, f: impl Fn(Self) + Sync) {
        if self.inp[0].is_empty() {
            return;
        }
        let nanoseconds = (self.inp[0].len() as f64 * nanoseconds) as usize;
        exec.par.run(nanoseconds, 1, self, |work| work.each(&f));
    }

    fn each(self, f: &impl Fn(Self)) {
        let shape = self.inp[0].shape();
        let kept = || (0..shape.len()).filter(|&axis| !self.reduced.contains(axis));
        let outputs: usize = kept().map(|axis| shape[axis]).product();
        if outputs == 0 {
            return;
        }
        let side_by_side = shape.len().checked_sub(1).is_some_and(|last| !self.reduced.contains(last));
        let few = if side_by_side { COLUMNS } else { 1 };
        if outputs <= few || outputs <= OUTPUTS && self.inp[0].len() <= ELEMENTS {
            return f(self);
        }
        // The outermost axis first, so that columns stay together.
        let axis = kept().find(|&axis| shape[axis] > 1).expect("more than one output");
        let half = shape[axis] / 2;
        let (first, second) = self.cut(axis, half);
        first.each(f);
        second.each(f);
    }

    /// The longest kept axis.
    fn axis(&self) -> Option<usize> {
        let shape = self.inp[0].shape();
        (0..shape.len()).filter(|&axis| !self.reduced.contains(axis)).max_by_key(|&axis| shape[axis])
    }
}

impl<T: Other, const O: usize, const I: usize> Divide for Parts<'_, T, O, I> {
    fn len(&self) -> usize {
        self.axis().map_or(1, |axis| self.inp[0].shape()[axis])
    }

    fn divide(self, at: usize, _: usize, _: usize) -> (Self, Self) {
        let axis = self.axis().expect("work without a kept axis has the length one");
        self.cut(axis, at)
    }
}

impl<'a, T: Other, const O: usize, const I: usize> Other for Parts<'a, T, O, I> {
    fn cut(self, axis: usize, at: usize) -> (Self, Self) {
        let Self { out, other, inp, reduced } = self;
        let mut pairs = out.map(|y| Some(y.cut(axis, at)));
        let (mut first, mut second) = ([const { None }; O], [const { None }; O]);
        for ((pair, first), second) in pairs.iter_mut().zip(&mut first).zip(&mut second) {
            (*first, *second) = pair.take().unzip();
        }
        let all = |half: [Option<ViewMut<'a>>; O]| half.map(|y| y.expect("the loop fills every place"));
        let halves = inp.map(|x| x.split_at(axis as isize, at).expect("a kept axis of every operand"));
        let (other_first, other_second) = other.cut(axis, at);
        (
            Self { out: all(first), other: other_first, inp: halves.map(|half| half.0), reduced },
            Self { out: all(second), other: other_second, inp: halves.map(|half| half.1), reduced },
        )
    }
}
