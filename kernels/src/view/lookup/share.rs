//! How threads share a lookup.

use std::marker::PhantomData;

use super::super::nest::Axis;
use super::{Lookup, Table};
use crate::par::Divide;

/// What a lookup is cut along.
#[derive(Clone, Copy)]
enum Cut {
    /// An axis of the walked operand.
    Axis(usize),
    /// The places of the first integers, in a table that is written.
    Places,
}

/// A lookup with what threads cut it along.
pub(crate) struct Shared<'a> {
    /// What is cut.
    pub(crate) lookup: Lookup<'a>,
    cut: Option<Cut>,
}

impl Shared<'_> {
    /// What cuts are multiples of.
    pub(crate) fn grain(&self) -> usize {
        if let Some(Cut::Axis(axis)) = self.cut { self.lookup.grain(axis) } else { 1 }
    }
}

impl Divide for Shared<'_> {
    fn len(&self) -> usize {
        match self.cut {
            Some(Cut::Axis(axis)) => self.lookup.axes[axis].size,
            Some(Cut::Places) => self.lookup.pointers[0].map_or(1, |pointer| pointer.size),
            None => 1,
        }
    }

    fn divide(self, at: usize, _: usize, _: usize) -> (Self, Self) {
        let cut = self.cut.expect("work without a cut has the length one");
        let (first, second) = self.lookup.split(cut, at);
        (Self { lookup: first, ..self }, Self { lookup: second, cut: Some(cut) })
    }
}

impl<'a> Lookup<'a> {
    /// The part before `at` of what `cut` names, and the part from there on.
    fn split(self, cut: Cut, at: usize) -> (Self, Self) {
        let buffers = PhantomData;
        let (mut first, mut second) = (Self { buffers, ..self }, Self { buffers, ..self });
        match cut {
            Cut::Axis(axis) => {
                let Axis { size, out, inp } = self.axes[axis];
                assert!(at <= size && self.can_cut(axis), "a kernel cut its lookup where it must not");
                first.axes[axis].size = at;
                second.axes[axis].size = size - at;
                let far = |stride: isize| stride.wrapping_mul(at as isize);
                second.out = self.out.wrapping_offset(far(out[0]));
                second.inp = self.inp.wrapping_offset(far(out[1]));
                for (pointer, stride) in second.pointers.iter_mut().flatten().zip(inp) {
                    pointer.first = pointer.first.wrapping_offset(far(stride));
                }
            }
            Cut::Places => {
                let (Some(before), Some(after)) = (&mut first.pointers[0], &mut second.pointers[0]) else {
                    unreachable!("a lookup without integers has no range of places")
                };
                assert!(at <= before.size, "a kernel cut its lookup outside");
                before.size = at;
                after.start += at;
                after.size -= at;
                let far = after.stride.wrapping_mul(at as isize);
                match self.table {
                    Table::Out => second.out = self.out.wrapping_offset(far),
                    Table::Inp => second.inp = self.inp.wrapping_offset(far),
                }
            }
        }
        (first, second)
    }

    /// Whether the parts of an axis write to different elements, and no mask counts along it.
    fn can_cut(&self, axis: usize) -> bool {
        let counts = axis + 1 == self.picked && self.masks.iter().any(|mask| mask.count > 1);
        self.axes[axis].out[0] != 0 && !counts
    }

    /// How threads share the lookup: by the longest axis that can be cut; if that does not give each of them a part, by
    /// ranges of places.
    pub(crate) fn share(self, threads: usize) -> Shared<'a> {
        let axes = (0..self.rank).filter(|&axis| self.can_cut(axis));
        let axis = axes.max_by_key(|&axis| self.axes[axis].size);
        let places = self.pointers[0].filter(|_| self.table == Table::Out).map_or(1, |pointer| pointer.size);
        let units = |axis: usize| self.axes[axis].size / self.grain(axis);
        let cut = match axis {
            Some(axis) if units(axis) >= threads.min(places) => Some(Cut::Axis(axis)),
            _ if places > 1 => Some(Cut::Places),
            _ => None,
        };
        Shared { lookup: self, cut }
    }

    /// Adjacent elements that stay together.
    fn grain(&self, axis: usize) -> usize {
        if axis + 1 == self.rank && self.axes[axis].out[0] == 1 { 64 } else { 1 }
    }

    /// The lookup without the elements whose first integer is `place`: those below, and those above.
    pub(crate) fn without(self, place: usize) -> (Self, Self) {
        let (below, rest) = self.split(Cut::Places, place);
        (below, rest.split(Cut::Places, 1).1)
    }
}
