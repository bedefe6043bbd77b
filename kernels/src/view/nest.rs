//! Nests: the axes that several operands of one kernel share, to be reordered, merged, cut and walked together.
//!
//! A nest holds, for every axis, its size and each operand's stride, and for every operand its first element. Its
//! facts, which every method keeps:
//!
//! 1. For each index inside the sizes, the first element plus `Σ index·stride` is an element of the operand's view.
//! 2. Two indices that differ on an axis where an output has a stride other than zero lead to two elements of that
//!    output, and no other nest or view reaches either. An output's stride is zero on the axes it is reduced over.

use std::marker::PhantomData;

use super::{Mat, MatMut, View, ViewMut};
use crate::error::MAX_RANK;
use crate::par::Divide;

/// One axis: its size and the stride of each operand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis<const O: usize, const I: usize> {
    /// The number of indices.
    pub(crate) size: usize,
    /// The strides of the outputs; zero where they are reduced over the axis.
    pub(crate) out: [isize; O],
    /// The strides of the inputs.
    pub(crate) inp: [isize; I],
}

impl<const O: usize, const I: usize> Axis<O, I> {
    /// What an axis of one index amounts to.
    pub(crate) const UNIT: Self = Self { size: 1, out: [0; O], inp: [0; I] };

    /// Whether this axis followed by `inner` is one axis for every operand.
    pub(super) fn joins(&self, inner: &Self) -> bool {
        let size = inner.size as isize;
        let even = |outer: &[isize], inner: &[isize]| outer.iter().zip(inner).all(|(&a, &b)| a == b.wrapping_mul(size));
        even(&self.out, &inner.out) && even(&self.inp, &inner.inp)
    }
}

/// The operands of one kernel and the axes they share; see the [module](self) for what it guarantees.
pub(crate) struct Nest<'a, const O: usize, const I: usize> {
    rank: usize,
    axes: [Axis<O, I>; MAX_RANK],
    out: [*mut f32; O],
    inp: [*const f32; I],
    buffers: PhantomData<(&'a mut [f32], &'a [f32])>,
}

// SAFETY: a nest is its views under one set of axes; both kinds of view may be sent.
unsafe impl<const O: usize, const I: usize> Send for Nest<'_, O, I> {}

impl<'a, const O: usize, const I: usize> Nest<'a, O, I> {
    /// Inputs of the shape `shape`, and outputs of the same shape but for the axes they are reduced over, which have
    /// size one there.
    pub(crate) fn new(shape: &[usize], mut out: [ViewMut<'a>; O], inp: [View<'a>; I]) -> Self {
        let mut nest = Self {
            rank: shape.len(),
            axes: [Axis::UNIT; MAX_RANK],
            out: [std::ptr::null_mut(); O],
            inp: inp.map(|x| x.as_ptr()),
            buffers: PhantomData,
        };
        for (axis, (&size, row)) in shape.iter().zip(&mut nest.axes).enumerate() {
            row.size = size;
            for (stride, x) in row.inp.iter_mut().zip(&inp) {
                *stride = x.strides()[axis];
            }
            for (stride, y) in row.out.iter_mut().zip(&out) {
                let same = y.shape()[axis] == size;
                assert!(same || y.shape()[axis] == 1, "an output has neither the size of its axis nor one");
                *stride = if same { y.strides()[axis] } else { 0 };
            }
        }
        assert!(inp.iter().all(|x| x.shape() == shape), "the inputs of a nest differ in shape");
        assert!(out.iter().all(|y| y.rank() == shape.len()), "an output of a nest has another rank");
        for (first, y) in nest.out.iter_mut().zip(&mut out) {
            *first = y.as_mut_ptr();
        }
        nest
    }

    /// The axes, outermost first.
    pub(crate) fn axes(&self) -> &[Axis<O, I>] {
        &self.axes[..self.rank]
    }

    /// The first element of each output.
    pub(crate) fn out(&self) -> [*mut f32; O] {
        self.out
    }

    /// The first element of each input.
    pub(crate) fn inp(&self) -> [*const f32; I] {
        self.inp
    }

    /// Drops the axes of size one of which `drop` holds.
    pub(crate) fn drop_units(&mut self, drop: impl Fn(&Axis<O, I>) -> bool) {
        let mut rank = 0;
        for axis in 0..self.rank {
            if self.axes[axis].size != 1 || !drop(&self.axes[axis]) {
                self.axes[rank] = self.axes[axis];
                rank += 1;
            }
        }
        self.rank = rank;
    }

    /// Adds an axis of one index, outermost.
    pub(crate) fn add_unit(&mut self) {
        debug_assert!(self.rank < MAX_RANK);
        self.axes.copy_within(..self.rank, 1);
        self.axes[0] = Axis::UNIT;
        self.rank += 1;
    }

    /// Walks an axis from its other end. The nest must not be empty.
    pub(crate) fn flip(&mut self, axis: usize) {
        let Axis { size, out, inp } = &mut self.axes[axis];
        debug_assert!(*size > 0);
        let far = *size as isize - 1;
        for (first, stride) in self.out.iter_mut().zip(out) {
            *first = first.wrapping_offset(far.wrapping_mul(*stride));
            *stride = stride.wrapping_neg();
        }
        for (first, stride) in self.inp.iter_mut().zip(inp) {
            *first = first.wrapping_offset(far.wrapping_mul(*stride));
            *stride = stride.wrapping_neg();
        }
    }

    /// Moves the axis `from` to the place `to`, the others keeping their order.
    pub(crate) fn move_axis(&mut self, from: usize, to: usize) {
        if from < to {
            self.axes[from..=to].rotate_left(1);
        } else {
            self.axes[to..=from].rotate_right(1);
        }
    }

    /// Sorts axes by `key`, the smallest key outermost; equal keys keep their order.
    pub(crate) fn sort<K: Ord>(&mut self, key: impl Fn(&Axis<O, I>) -> K) {
        // An insertion sort: `slice::sort_by_key` may allocate, and there are at most eight axes.
        for end in 1..self.rank {
            let mut at = end;
            while at > 0 && key(&self.axes[at - 1]) > key(&self.axes[at]) {
                self.axes.swap(at - 1, at);
                at -= 1;
            }
        }
    }

    /// Joins the axes of `start..end` that are one axis for every operand; returns how many of them are left.
    pub(crate) fn merge(&mut self, start: usize, end: usize) -> usize {
        let mut last = start;
        for axis in start + 1..end {
            let inner = self.axes[axis];
            if self.axes[last].joins(&inner) {
                self.axes[last] = Axis { size: self.axes[last].size * inner.size, ..inner };
            } else {
                last += 1;
                self.axes[last] = inner;
            }
        }
        let left = if start < end { last + 1 - start } else { 0 };
        self.axes.copy_within(end..self.rank, start + left);
        self.rank -= end - start - left;
        left
    }

    /// The part before `at` of an axis that no output is reduced over, and the part from there on.
    pub(crate) fn split(self, axis: usize, at: usize) -> (Self, Self) {
        let row = self.axes[axis];
        assert!(at <= row.size, "a kernel cut its nest outside");
        assert!(row.size == 1 || row.out.iter().all(|&stride| stride != 0), "a kernel cut a nest where it is reduced");
        let Self { rank, axes, out, inp, buffers } = self;
        let mut halves = [axes, axes];
        halves[0][axis].size = at;
        halves[1][axis].size = row.size - at;
        let (mut next_out, mut next_inp) = (out, inp);
        for (first, stride) in next_out.iter_mut().zip(row.out) {
            *first = first.wrapping_offset((at as isize).wrapping_mul(stride));
        }
        for (first, stride) in next_inp.iter_mut().zip(row.inp) {
            *first = first.wrapping_offset((at as isize).wrapping_mul(stride));
        }
        let second = Self { rank, axes: halves[1], out: next_out, inp: next_inp, buffers };
        (Self { rank, axes: halves[0], out, inp, buffers }, second)
    }

    /// The blocks of the two innermost axes, which must be all that no walk over the others repeats.
    pub(crate) fn blocks(&mut self) -> Blocks<'_, 'a, O, I> {
        let walk = Walk::new(&self.axes[..self.rank.saturating_sub(2)]);
        Blocks { nest: self, walk: Some(walk) }
    }
}

/// Where a walk stands: how far each operand is from its first element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk<const O: usize, const I: usize> {
    rank: usize,
    axes: [Axis<O, I>; MAX_RANK],
    index: [usize; MAX_RANK],
    /// How far each output has come.
    pub(crate) out: [isize; O],
    /// How far each input has come.
    pub(crate) inp: [isize; I],
}

impl<const O: usize, const I: usize> Walk<O, I> {
    /// At the first index of `axes`, none of which may be empty.
    pub(crate) fn new(axes: &[Axis<O, I>]) -> Self {
        let mut copy = [Axis::UNIT; MAX_RANK];
        copy[..axes.len()].copy_from_slice(axes);
        Self { rank: axes.len(), axes: copy, index: [0; MAX_RANK], out: [0; O], inp: [0; I] }
    }

    /// Goes to the next index in row-major order; after the last it is at the first again, and says `false`.
    #[inline]
    pub(crate) fn advance(&mut self) -> bool {
        for axis in (0..self.rank).rev() {
            let Axis { size, out, inp } = &self.axes[axis];
            let here = self.index[axis];
            let (next, steps) = if here + 1 < *size { (here + 1, 1) } else { (0, -(here as isize)) };
            self.index[axis] = next;
            for (at, stride) in self.out.iter_mut().zip(out) {
                *at = at.wrapping_add(stride.wrapping_mul(steps));
            }
            for (at, stride) in self.inp.iter_mut().zip(inp) {
                *at = at.wrapping_add(stride.wrapping_mul(steps));
            }
            if next != 0 {
                return true;
            }
        }
        false
    }
}

/// The walk over the blocks of a nest; made by [`Nest::blocks`].
pub(crate) struct Blocks<'n, 'a, const O: usize, const I: usize> {
    nest: &'n mut Nest<'a, O, I>,
    walk: Option<Walk<O, I>>,
}

impl<const O: usize, const I: usize> Blocks<'_, '_, O, I> {
    /// The next block of every operand. The nest must not be empty.
    pub(crate) fn next_block(&mut self) -> Option<([MatMut<'_>; O], [Mat<'_>; I])> {
        let walk = self.walk.as_mut()?;
        let (out_at, inp_at) = (walk.out, walk.inp);
        if !walk.advance() {
            self.walk = None;
        }
        let Nest { rank, axes, out, inp, .. } = &*self.nest;
        let mut inner = [Axis::UNIT; 2];
        let kept = (*rank).min(2);
        inner[2 - kept..].copy_from_slice(&axes[rank - kept..*rank]);
        let [rows, cols] = inner;
        let shape = [rows.size, cols.size];
        let out = std::array::from_fn(|k| {
            // SAFETY: by fact 1 every index of the two axes leads to an element, and by fact 2 each to its own, which
            // is this block's alone while it borrows the walk: blocks differ in an index of an outer axis.
            unsafe { MatMut::from_parts(out[k].wrapping_offset(out_at[k]), shape, [rows.out[k], cols.out[k]]) }
        });
        let inp = std::array::from_fn(|k| {
            // SAFETY: by fact 1 every index of the two axes leads to an element.
            unsafe { Mat::from_parts(inp[k].wrapping_offset(inp_at[k]), shape, [rows.inp[k], cols.inp[k]]) }
        });
        Some((out, inp))
    }
}

/// A nest with the axis that threads cut it along.
pub(crate) struct Cut<'a, const O: usize, const I: usize> {
    /// What is cut.
    pub(crate) nest: Nest<'a, O, I>,
    /// Where: an axis that no output is reduced over.
    pub(crate) axis: usize,
}

impl<const O: usize, const I: usize> Divide for Cut<'_, O, I> {
    fn len(&self) -> usize {
        self.nest.axes[self.axis].size
    }

    fn divide(self, at: usize, _: usize, _: usize) -> (Self, Self) {
        let Self { nest, axis } = self;
        let (first, second) = nest.split(axis, at);
        (Self { nest: first, axis }, Self { nest: second, axis })
    }
}
