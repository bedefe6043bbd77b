//! Lookups: an operand that is walked in order, beside another, the table, at places that indices name.
//!
//! A lookup holds the axes of the walked operand: for each its size, the strides of both operands and those of the
//! integers. The table goes along with some of these axes; along the others its place is where integers and masks
//! point. Its facts, which every method keeps:
//!
//! 1. For each index inside the sizes, the first element plus `Σ index·stride` is an element of the walked operand. For
//!    the table one more number is added for each operand of integers, `at·stride` with any `at` below the size of the
//!    axis it points along, and one for each mask, the distance to an index of the axes it lies over; the result is an
//!    element, too.
//! 2. Two indices that differ on an axis where the output has a stride other than zero lead to two of its elements,
//!    whatever is added, and no other lookup or view reaches either. So do two places of the first integers in an
//!    output that is the table.

mod picks;
mod share;

use std::cmp::Reverse;
use std::marker::PhantomData;

use self::picks::{PICKS, Pick, Truths};
use super::nest::{Axis, Walk};
use super::{Mat, MatMut, View, ViewMut};
use crate::error::MAX_RANK;

/// Integers that point along one axis of the table; negative ones count from its end.
#[derive(Clone, Copy)]
pub(crate) struct Integers<'a> {
    /// The axis.
    pub(crate) axis: usize,
    /// One for each element of the walked operand, and of its shape.
    pub(crate) index: View<'a, i64>,
}

/// A mask over axes of the table: index `i` of one axis of the walked operand goes to the `i`-th place that is true, or
/// each index to the only one.
#[derive(Clone, Copy)]
pub(crate) struct Mask<'a> {
    /// The first of the axes.
    pub(crate) axis: usize,
    /// The truths, of the table's shape on these axes.
    pub(crate) truths: View<'a, bool>,
    /// How many are true.
    pub(crate) count: usize,
}

/// Where in the table each element of the walked operand is.
#[derive(Clone, Copy)]
pub(crate) struct Places<'a> {
    /// For each axis of the walked operand the axis of the table that goes along with it, if one does.
    pub(crate) along: [Option<usize>; MAX_RANK],
    /// What points along other axes.
    pub(crate) integers: &'a [Integers<'a>],
    /// What lies over other axes.
    pub(crate) masks: &'a [Mask<'a>],
    /// The axis of the walked operand that counts the truths.
    pub(crate) line: usize,
}

/// What is done with each element, or block of elements, and its place.
pub(crate) trait Visit {
    /// Two blocks of one shape, and what to scale the input with.
    fn block(&mut self, out: MatMut<'_>, inp: Mat<'_>, scale: f32);
    /// Two elements, and what to scale the input with.
    fn element(&mut self, out: &mut f32, inp: f32, scale: f32);
}

/// Which operand is the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Table {
    Out,
    Inp,
}

/// One operand of integers: where it begins, and the range of the table's axis that it may point to.
#[derive(Clone, Copy)]
struct Pointer {
    first: *const i64,
    stride: isize,
    /// The size of the whole axis, from whose end negative integers count.
    whole: usize,
    /// The range; integers outside it are passed over.
    start: usize,
    size: usize,
}

/// Two operands, the axes they share and the indices between them; see the [module](self) for what it guarantees.
pub(crate) struct Lookup<'a> {
    rank: usize,
    /// The first axes are those along which the places differ, in the order of the walked operand's; then those along
    /// which the table goes with it. Strides are those of the output and the input, then those of the integers.
    axes: [Axis<2, MAX_RANK>; MAX_RANK],
    picked: usize,
    out: *mut f32,
    inp: *const f32,
    table: Table,
    pointers: [Option<Pointer>; MAX_RANK],
    masks: &'a [Mask<'a>],
    table_strides: [isize; MAX_RANK],
    buffers: PhantomData<(&'a mut [f32], &'a [f32], &'a [i64])>,
}

// SAFETY: a lookup is its views under one set of axes; both kinds of view may be sent.
unsafe impl Send for Lookup<'_> {}

/// A shape with the strides of an operand.
type Strided<'v> = (&'v [usize], &'v [isize]);

impl<'a> Lookup<'a> {
    /// The output is walked, and the input is the table. Neither may be empty.
    pub(crate) fn reading(mut out: ViewMut<'a>, table: View<'a>, places: &Places<'a>) -> Self {
        let (first, at) = (out.as_mut_ptr(), table.as_ptr());
        Self::new(Table::Inp, first, at, (out.shape(), out.strides()), (table.shape(), table.strides()), places)
    }

    /// The output is the table, and the input is walked. Neither may be empty.
    pub(crate) fn writing(mut table: ViewMut<'a>, inp: View<'a>, places: &Places<'a>) -> Self {
        let (first, at) = (table.as_mut_ptr(), inp.as_ptr());
        Self::new(Table::Out, first, at, (inp.shape(), inp.strides()), (table.shape(), table.strides()), places)
    }

    fn new(
        table: Table,
        out: *mut f32,
        inp: *const f32,
        walked: Strided<'_>,
        (sizes, strides): Strided<'_>,
        places: &Places<'a>,
    ) -> Self {
        check(walked.0, sizes, places);
        let mut table_strides = [0; MAX_RANK];
        table_strides[..strides.len()].copy_from_slice(strides);
        let mut pointers = [None; MAX_RANK];
        for (pointer, &Integers { axis, index }) in pointers.iter_mut().zip(places.integers) {
            let (whole, stride) = (sizes[axis], strides[axis]);
            *pointer = Some(Pointer { first: index.as_ptr(), stride, whole, start: 0, size: whole });
        }
        let mut lookup = Self {
            rank: 0,
            axes: [Axis::UNIT; MAX_RANK],
            picked: 0,
            out,
            inp,
            table,
            pointers,
            masks: places.masks,
            table_strides,
            buffers: PhantomData,
        };
        lookup.take_axes(walked, places);
        for mask in places.masks.iter().filter(|mask| mask.count == 1) {
            let mut only = [0];
            Truths::new(mask, &table_strides).take(&mut only);
            match table {
                Table::Out => lookup.out = lookup.out.wrapping_offset(only[0]),
                Table::Inp => lookup.inp = lookup.inp.wrapping_offset(only[0]),
            }
        }
        lookup
    }

    /// The axes longer than one, sorted and merged.
    fn take_axes(&mut self, (shape, strides): Strided<'_>, places: &Places<'_>) {
        let counts = places.masks.iter().any(|mask| mask.count > 1);
        let row = |axis: usize| {
            let along = places.along[axis].map_or(0, |axis| self.table_strides[axis]);
            let mut index = [0; MAX_RANK];
            for (stride, integers) in index.iter_mut().zip(places.integers) {
                *stride = integers.index.strides()[axis];
            }
            let out = if self.table == Table::Out { [along, strides[axis]] } else { [strides[axis], along] };
            Axis { size: shape[axis], out, inp: index }
        };
        let is_picked = |axis: usize| {
            let still = row(axis).inp.iter().all(|&stride| stride == 0);
            places.along[axis].is_none() || !still || (counts && axis == places.line)
        };
        let (mut axes, mut rank, mut picked) = ([Axis::UNIT; MAX_RANK], 0, 0);
        for wanted in [true, false] {
            for axis in (0..shape.len()).filter(|&axis| shape[axis] != 1 && is_picked(axis) == wanted) {
                axes[rank] = row(axis);
                rank += 1;
            }
            picked = if wanted { rank } else { picked };
        }
        (self.axes, self.rank, self.picked) = (axes, rank, picked);
        // The truths are counted anew on each line.
        let line = usize::from(counts);
        self.picked = self.merge(0, self.picked - line) + line;
        for axis in self.picked..self.rank {
            if self.axes[axis].out[0] < 0 {
                self.flip(axis);
            }
        }
        self.axes[self.picked..self.rank].sort_unstable_by_key(|axis| Reverse(axis.out[0]));
        self.merge(self.picked, self.rank);
    }

    /// Walks an axis that no integers depend on from its other end.
    fn flip(&mut self, axis: usize) {
        let Axis { size, out, .. } = &mut self.axes[axis];
        let far = *size as isize - 1;
        self.out = self.out.wrapping_offset(far.wrapping_mul(out[0]));
        self.inp = self.inp.wrapping_offset(far.wrapping_mul(out[1]));
        *out = out.map(isize::wrapping_neg);
    }

    /// Joins the axes of `start..end` that are one for every operand; returns how many are left.
    fn merge(&mut self, start: usize, end: usize) -> usize {
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

    /// The number of elements of the walked operand.
    pub(crate) fn len(&self) -> usize {
        self.axes[..self.rank].iter().map(|axis| axis.size).product()
    }

    /// How many of the innermost axes make a block: none if single elements are the faster way, because the elements of
    /// a block would be few or far apart.
    fn block_axes(&self) -> usize {
        let free = &self.axes[self.picked..self.rank];
        let Some(last) = free.last() else { return 0 };
        let inner = free.len().min(2);
        let size: usize = free[free.len() - inner..].iter().map(|axis| axis.size).product();
        let line = self.picked.checked_sub(1).map_or(1, |axis| self.axes[axis].size);
        let adjacent = last.out == [1, 1] && last.size >= 8;
        if adjacent || size >= 8 && size > line { inner } else { 0 }
    }

    /// Whether [`visit`](Self::visit) goes by blocks.
    pub(crate) fn by_blocks(&self) -> bool {
        self.block_axes() > 0
    }

    /// Calls `v` with each element of the walked operand and its place, or with blocks of them. Where places coincide,
    /// they come in the order of the walked operand. `scales` holds a number for each place of the first integers; if
    /// it is empty, the scale is one.
    #[inline(always)]
    pub(crate) fn visit(&mut self, scales: &[f32], v: &mut impl Visit) {
        let inner = self.block_axes();
        let (lines, line) = match self.axes[..self.picked].split_last() {
            Some((line, lines)) => (lines, *line),
            None => (&[][..], Axis::UNIT),
        };
        let mut block = [Axis::UNIT; 2];
        block[2 - inner..].copy_from_slice(&self.axes[self.rank - inner..self.rank]);
        let [rows, cols] = block;
        let mut free = Walk::new(&self.axes[self.picked..self.rank - inner]);
        let mut walk = Walk::new(lines);
        let mut picks = [Pick::NONE; PICKS];
        loop {
            let mut truths = self.truths();
            for start in (0..line.size).step_by(PICKS) {
                let range = start..line.size.min(start + PICKS);
                let picks = self.pick(range, &line, &walk, truths.as_mut(), scales, &mut picks);
                loop {
                    let first = [walk.out[0].wrapping_add(free.out[0]), walk.out[1].wrapping_add(free.out[1])];
                    for pick in picks {
                        let out = self.out.wrapping_offset(first[0].wrapping_add(pick.far[0]));
                        let inp = self.inp.wrapping_offset(first[1].wrapping_add(pick.far[1]));
                        if inner == 0 {
                            // SAFETY: by fact 1 both are elements, and by fact 2 that of `out` is this lookup's alone,
                            // which is borrowed for writing.
                            unsafe { v.element(&mut *out, *inp, pick.scale) };
                            continue;
                        }
                        let shape = [rows.size, cols.size];
                        // SAFETY: by fact 1 every index of the two axes leads to elements, and by fact 2 each to its
                        // own in `out`, where no other block is at hand.
                        let (out, inp) = unsafe {
                            (
                                MatMut::from_parts(out, shape, [rows.out[0], cols.out[0]]),
                                Mat::from_parts(inp, shape, [rows.out[1], cols.out[1]]),
                            )
                        };
                        v.block(out, inp, pick.scale);
                    }
                    if !free.advance() {
                        break;
                    }
                }
            }
            if !walk.advance() {
                break;
            }
        }
    }
}

/// Checks what the facts rest on: every axis of the table is gone along with, pointed along or masked once at most, and
/// is as large as that needs.
fn check(walked: &[usize], table: &[usize], places: &Places<'_>) {
    let mut used = [false; MAX_RANK];
    let mut once = |axis: usize| assert!(!std::mem::replace(&mut used[axis], true), "an axis of a table serves twice");
    for (&size, along) in walked.iter().zip(places.along) {
        if let Some(axis) = along {
            once(axis);
            assert!(size <= table[axis], "a table is shorter than what goes along with it");
        }
    }
    for integers in places.integers {
        once(integers.axis);
        assert!(integers.index.shape() == walked, "integers of another shape");
        assert!(integers.axis < table.len(), "integers for no axis");
    }
    for mask in places.masks {
        let rank = mask.truths.rank();
        (mask.axis..mask.axis + rank).for_each(&mut once);
        assert!(*mask.truths.shape() == table[mask.axis..mask.axis + rank], "a mask of another shape");
    }
    let empty = |shape: &[usize]| shape.contains(&0);
    assert!(!empty(walked) && !empty(table), "a lookup of nothing");
    assert!(places.integers.len() <= MAX_RANK && places.masks.len() <= MAX_RANK, "more indices than axes");
}
