//! How the places of a lookup are found: a few of a line at a time.

use std::marker::PhantomData;
use std::ops::Range;

use super::super::nest::{Axis, Walk};
use super::{Lookup, Mask, Table};
use crate::error::MAX_RANK;

/// How many places of a line are found at a time.
pub(super) const PICKS: usize = 64;

/// How far both operands are from the first element of a line, the table at the place that was picked.
#[derive(Clone, Copy)]
pub(super) struct Pick {
    pub(super) far: [isize; 2],
    pub(super) scale: f32,
    /// Whether the place is in the range of the table.
    inside: bool,
}

impl Pick {
    pub(super) const NONE: Self = Self { far: [0; 2], scale: 0.0, inside: false };
}

/// Moves those that are inside to the front, in their order.
fn keep_inside(picks: &mut [Pick]) -> &[Pick] {
    let mut kept = 0;
    for i in 0..picks.len() {
        if picks[i].inside {
            picks.swap(kept, i);
            kept += 1;
        }
    }
    &picks[..kept]
}

/// The places where a mask is true, as distances in the table, in row-major order.
pub(super) struct Truths<'a> {
    first: *const bool,
    /// The axes but for those of a run: the strides of the table, and those of the mask.
    walk: Walk<1, 1>,
    run: Axis<1, 1>,
    /// The element of the run that is next.
    next: usize,
    done: bool,
    mask: PhantomData<&'a [bool]>,
}

impl<'a> Truths<'a> {
    /// Those of a mask that is not empty, over a table with these strides.
    pub(super) fn new(mask: &Mask<'a>, strides: &[isize; MAX_RANK]) -> Self {
        let Mask { axis, truths, .. } = *mask;
        let (mut axes, mut rank) = ([Axis::UNIT; MAX_RANK], 0);
        for (k, (&size, &stride)) in truths.shape().iter().zip(truths.strides()).enumerate().filter(|row| *row.1.0 != 1)
        {
            let row = Axis { size, out: [strides[axis + k]], inp: [stride] };
            match axes[..rank].last_mut() {
                Some(last) if last.joins(&row) => *last = Axis { size: last.size * size, ..row },
                _ => {
                    axes[rank] = row;
                    rank += 1;
                }
            }
        }
        let outer = rank.saturating_sub(1);
        let (first, walk, run) = (truths.as_ptr(), Walk::new(&axes[..outer]), axes[outer]);
        Self { first, walk, run, next: 0, done: false, mask: PhantomData }
    }

    /// Writes the next places to the front of `places`; returns how many there were.
    pub(super) fn take(&mut self, places: &mut [isize]) -> usize {
        let mut found = 0;
        while found < places.len() && !self.done {
            let (mask, far) = (self.first.wrapping_offset(self.walk.inp[0]), self.walk.out[0]);
            while self.next < self.run.size && found < places.len() {
                let i = self.next as isize;
                // SAFETY: the axes are those of the mask, and this is one of its indices.
                let truth = unsafe { *mask.wrapping_offset(i.wrapping_mul(self.run.inp[0])) };
                // Without a branch, which a mask without a pattern would mislead.
                places[found] = far.wrapping_add(i.wrapping_mul(self.run.out[0]));
                found += usize::from(truth);
                self.next += 1;
            }
            if self.next == self.run.size {
                (self.next, self.done) = (0, !self.walk.advance());
            }
        }
        found
    }
}

impl<'a> Lookup<'a> {
    /// The places that the masks have for a line, if there are masks that count.
    pub(super) fn truths(&self) -> Option<[Option<Truths<'a>>; MAX_RANK]> {
        let mut counting = self.masks.iter().filter(|mask| mask.count > 1).peekable();
        counting.peek()?;
        Some(std::array::from_fn(|_| counting.next().map(|mask| Truths::new(mask, &self.table_strides))))
    }

    /// Fills `picks` with where both operands are at a range of a line; returns those that are in the table's range.
    pub(super) fn pick<'p>(
        &self,
        range: Range<usize>,
        line: &Axis<2, MAX_RANK>,
        walk: &Walk<2, MAX_RANK>,
        truths: Option<&mut [Option<Truths<'_>>; MAX_RANK]>,
        scales: &[f32],
        picks: &'p mut [Pick; PICKS],
    ) -> &'p [Pick] {
        let start = range.start as isize;
        let picks = &mut picks[..range.len()];
        for (i, pick) in (start..).zip(&mut *picks) {
            *pick = Pick { far: line.out.map(|stride| stride.wrapping_mul(i)), scale: 1.0, inside: true };
        }
        let moved = usize::from(self.table == Table::Inp);
        let mut all = true;
        for (k, pointer) in self.pointers.iter().map_while(Option::as_ref).enumerate() {
            let stride = line.inp[k];
            let first = pointer.first.wrapping_offset(walk.inp[k].wrapping_add(stride.wrapping_mul(start)));
            for (i, pick) in (0..).zip(&mut *picks) {
                // SAFETY: the integers have the shape of the walked operand, and this is one of its indices.
                let value = unsafe { *first.wrapping_offset(stride.wrapping_mul(i)) };
                let place = if value < 0 { value.wrapping_add(pointer.whole as i64) } else { value } as usize;
                let at = place.wrapping_sub(pointer.start);
                if at < pointer.size {
                    pick.far[moved] = pick.far[moved].wrapping_add(pointer.stride.wrapping_mul(at as isize));
                    if k == 0 && !scales.is_empty() {
                        pick.scale = scales[place];
                    }
                } else {
                    (pick.inside, all) = (false, false);
                }
            }
        }
        for truths in truths.into_iter().flatten().flatten() {
            let mut places = [0; PICKS];
            let found = truths.take(&mut places[..picks.len()]);
            for (pick, place) in picks.iter_mut().zip(places) {
                pick.far[moved] = pick.far[moved].wrapping_add(place);
            }
            // There are as many as were counted, so that this leaves nothing out.
            for pick in &mut picks[found..] {
                (pick.inside, all) = (false, false);
            }
        }
        if all { picks } else { keep_inside(picks) }
    }
}
