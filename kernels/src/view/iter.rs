//! Walks over views: element by element in logical order, and piece by piece along an axis.
#![forbid(unsafe_code)]

use super::layout::Layout;
use super::{Element, View, ViewMut};
use crate::error::{ErrorKind, MAX_RANK, Result};

/// The offsets of a layout's elements in logical order: an odometer whose last axis turns fastest.
#[derive(Debug, Clone)]
pub(super) struct Offsets {
    layout: Layout,
    index: [usize; MAX_RANK],
    offset: isize,
    left: usize,
}

impl Offsets {
    pub(super) const fn new(layout: Layout) -> Self {
        Self { layout, index: [0; MAX_RANK], offset: layout.offset, left: layout.len() }
    }
}

impl Iterator for Offsets {
    type Item = isize;

    fn next(&mut self) -> Option<isize> {
        self.left = self.left.checked_sub(1)?;
        let here = self.offset;
        for axis in (0..self.layout.rank).rev() {
            let stride = self.layout.strides[axis];
            if self.index[axis] + 1 < self.layout.shape[axis] {
                self.index[axis] += 1;
                self.offset += stride;
                break;
            }
            self.offset -= self.index[axis] as isize * stride;
            self.index[axis] = 0;
        }
        Some(here)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// The elements of a view in logical order; made by [`View::iter`].
#[derive(Debug, Clone)]
pub struct Iter<'a, T> {
    view: View<'a, T>,
    offsets: Offsets,
}

impl<'a, T: Element> Iter<'a, T> {
    pub(super) fn new(view: View<'a, T>) -> Self {
        Self { view, offsets: Offsets::new(view.layout) }
    }
}

impl<T: Element> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.offsets.next().map(|offset| self.view.load(offset))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.offsets.size_hint()
    }
}

impl<T: Element> ExactSizeIterator for Iter<'_, T> {}

impl<'a, T: Element> IntoIterator for View<'a, T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<'a, T: Element> IntoIterator for &View<'a, T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// The sizes of the pieces a view is cut into.
#[derive(Debug, Clone)]
enum Sizes<'s> {
    /// As listed.
    Listed(std::slice::Iter<'s, usize>),
    /// `pieces` of `size`, the last one shorter if the axis does not divide.
    Even { size: usize, pieces: usize },
}

/// Disjoint pieces of a [`View`] or [`ViewMut`] along one axis, in order; made by `split`, `split_every` and `chunk`.
#[derive(Debug)]
pub struct Pieces<'s, V> {
    rest: Option<V>,
    axis: usize,
    sizes: Sizes<'s>,
}

impl<'s, V> Pieces<'s, V> {
    pub(super) fn listed(view: V, layout: &Layout, axis: isize, sizes: &'s [usize]) -> Result<Self> {
        const OP: &str = "split";
        let axis = layout.axis(OP, axis)?;
        let total = sizes.iter().fold(0usize, |sum, &size| sum.saturating_add(size));
        if total != layout.shape[axis] {
            return Err(ErrorKind::Length { op: OP, arg: "sizes", want: layout.shape[axis], got: total }.into());
        }
        Ok(Self { rest: Some(view), axis, sizes: Sizes::Listed(sizes.iter()) })
    }

    pub(super) fn every(view: V, layout: &Layout, axis: isize, size: usize) -> Result<Self> {
        const OP: &str = "split_every";
        let axis = layout.axis(OP, axis)?;
        if size == 0 {
            return Err(ErrorKind::Value { op: OP, arg: "size", want: "at least 1", got: 0.0 }.into());
        }
        // An empty axis is one empty piece, as in PyTorch.
        let pieces = layout.shape[axis].div_ceil(size).max(1);
        Ok(Self { rest: Some(view), axis, sizes: Sizes::Even { size, pieces } })
    }

    pub(super) fn chunks(view: V, layout: &Layout, axis: isize, chunks: usize) -> Result<Self> {
        const OP: &str = "chunk";
        let axis = layout.axis(OP, axis)?;
        if chunks == 0 {
            return Err(ErrorKind::Value { op: OP, arg: "chunks", want: "at least 1", got: 0.0 }.into());
        }
        let size = layout.shape[axis].div_ceil(chunks);
        let pieces = layout.shape[axis].checked_div(size).map_or(chunks, |_| layout.shape[axis].div_ceil(size));
        Ok(Self { rest: Some(view), axis, sizes: Sizes::Even { size, pieces } })
    }

    /// The size of the next piece of an axis of which `left` indices are left.
    fn next_size(&mut self, left: usize) -> Option<usize> {
        match &mut self.sizes {
            Sizes::Listed(sizes) => sizes.next().copied(),
            Sizes::Even { size, pieces } => {
                *pieces = pieces.checked_sub(1)?;
                Some(left.min(*size))
            }
        }
    }

    fn pieces_left(&self) -> (usize, Option<usize>) {
        let left = match &self.sizes {
            Sizes::Listed(sizes) => sizes.len(),
            Sizes::Even { pieces, .. } => *pieces,
        };
        (left, Some(left))
    }
}

macro_rules! pieces {
    ($View:ident) => {
        impl<'a, T: Element> Iterator for Pieces<'_, $View<'a, T>> {
            type Item = $View<'a, T>;

            fn next(&mut self) -> Option<Self::Item> {
                let rest = self.rest.take()?;
                let size = self.next_size(rest.layout.shape[self.axis])?;
                let (piece, rest) = rest.split_at(self.axis as isize, size).ok()?;
                self.rest = Some(rest);
                Some(piece)
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                self.pieces_left()
            }
        }

        impl<T: Element> ExactSizeIterator for Pieces<'_, $View<'_, T>> {}
    };
}

pieces!(View);
pieces!(ViewMut);
