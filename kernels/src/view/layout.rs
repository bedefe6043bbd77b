//! The arithmetic of strided layouts: what [`View`](super::View) and [`ViewMut`](super::ViewMut) have in common.
//!
//! A layout is an offset into a buffer, a shape and strides, all counted in elements. It holds these facts, which the
//! functions here establish and every transformation keeps:
//!
//! 1. The product of the sizes that are not zero is at most the limit given (a buffer of `isize::MAX` bytes). So is
//!    each size, which is why a size plus one cannot overflow.
//! 2. If no size is zero, `offset + Σ index·stride` lies inside the buffer for every index. Every partial sum then lies
//!    between the least and the greatest of these, so that no order of summing can overflow.
//! 3. If a size is zero, no element exists and `offset` is at most the buffer's length.
//!
//! The stride of an axis with at most one index is never multiplied by anything but zero, so it may hold any value:
//! arithmetic on strides wraps, and is exact wherever the result means something.
#![forbid(unsafe_code)]

use std::ops::{Bound, RangeBounds};

use crate::error::{Error, ErrorKind, MAX_RANK, Result};

/// An offset, a shape and strides in elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) offset: isize,
    pub(super) rank: usize,
    pub(super) shape: [usize; MAX_RANK],
    pub(super) strides: [isize; MAX_RANK],
}

/// The most elements of type `T` that one allocation can hold.
pub(super) const fn limit<T>() -> usize {
    isize::MAX as usize / size_of::<T>()
}

/// The number of elements of `shape`; `None` if the product of its non-zero sizes is above `limit`.
///
/// Zeros are left out of that check and not just multiplied in: they must not hide that the other sizes overflow, since
/// a part of the shape may be used alone later.
pub(super) const fn checked_len(shape: &[usize], limit: usize) -> Option<usize> {
    let (mut product, mut empty, mut axis) = (1usize, false, 0);
    while axis < shape.len() {
        if shape[axis] == 0 {
            empty = true;
        } else {
            product = match product.checked_mul(shape[axis]) {
                Some(product) if product <= limit => product,
                _ => return None,
            };
        }
        axis += 1;
    }
    Some(if empty { 0 } else { product })
}

/// What keeps a layout out of a buffer of `len` elements, or `None` if it fits. The shape has passed [`checked_len`].
pub(super) const fn reach_fault(shape: &[usize], strides: &[isize], offset: usize, len: usize) -> Option<&'static str> {
    let (mut least, mut greatest, mut empty, mut axis) = (0isize, 0isize, false, 0);
    let mut overflow = false;
    while axis < shape.len() {
        if shape[axis] == 0 {
            empty = true;
        } else {
            // The sum of the negative terms and the sum of the positive ones are the two ends of the reach.
            let end = if strides[axis] < 0 { &mut least } else { &mut greatest };
            let (far, wrapped) = (shape[axis] as isize - 1).overflowing_mul(strides[axis]);
            let (sum, carried) = end.overflowing_add(far);
            overflow |= wrapped | carried;
            *end = sum;
        }
        axis += 1;
    }
    if empty {
        return if offset > len { Some("it starts past the end") } else { None };
    }
    if overflow {
        return Some("the reach of its strides overflows");
    }
    if offset >= len {
        return Some("it starts past the end");
    }
    if least.unsigned_abs() > offset {
        return Some("it reaches before the start");
    }
    if greatest.unsigned_abs() >= len - offset {
        return Some("it reaches past the end");
    }
    None
}

/// Whether the strides, sorted by size, nest: each is larger than the whole reach of the smaller ones, so that no two
/// indices meet. Axes with at most one index do not count. The layout has passed [`reach_fault`].
pub(super) const fn nests(shape: &[usize], strides: &[isize]) -> bool {
    let mut axis = 0;
    while axis < shape.len() {
        if shape[axis] == 0 {
            return true;
        }
        axis += 1;
    }
    axis = 0;
    while axis < shape.len() {
        let stride = strides[axis].unsigned_abs();
        let (mut reach, mut other) = (0, 0);
        while other < shape.len() {
            // An equal stride counts as a smaller one and fails the test below, as a stride of zero does by itself.
            if other != axis && strides[other].unsigned_abs() <= stride {
                reach += (shape[other] - 1) * strides[other].unsigned_abs();
            }
            other += 1;
        }
        if shape[axis] > 1 && stride <= reach {
            return false;
        }
        axis += 1;
    }
    true
}

/// The error for a position outside `0..bound`.
#[cold]
pub(super) fn outside(op: &'static str, arg: &'static str, value: impl TryInto<i64>, bound: usize) -> Error {
    ErrorKind::Index { op, arg, position: 0, value: value.try_into().unwrap_or(i64::MAX), bound }.into()
}

/// Checks that `start..end` is an ordered range inside `0..size`, the size of an axis.
#[inline]
pub(super) fn check_range(op: &'static str, start: usize, end: usize, size: usize) -> Result<()> {
    if end > size {
        return Err(outside(op, "end", end, size + 1));
    }
    if start > end {
        return Err(outside(op, "start", start, end + 1));
    }
    Ok(())
}

/// Checks that a view can have this many axes.
pub(super) fn check_rank(op: &'static str, rank: usize) -> Result<()> {
    if rank <= MAX_RANK {
        return Ok(());
    }
    Err(ErrorKind::Value { op, arg: "rank", want: "at most 8", got: rank as f64 }.into())
}

/// Checks the number of elements of a shape (fact 1) and returns it.
pub(super) fn check_len(op: &'static str, shape: &[usize], len: usize, limit: usize) -> Result<usize> {
    checked_len(shape, limit).ok_or_else(|| {
        ErrorKind::Reach { op, shape: shape.into(), len, reason: "its number of elements overflows" }.into()
    })
}

/// The position that `index` names, negative ones counted from the end of `size`; `None` outside `-size..size`.
pub(super) const fn wrap(index: isize, size: usize) -> Option<usize> {
    if index < 0 {
        return size.checked_sub(index.unsigned_abs());
    }
    if (index as usize) < size { Some(index as usize) } else { None }
}

impl Layout {
    /// Row-major strides from the start of a buffer. The shape has passed [`check_rank`] and [`checked_len`].
    pub(super) const fn row_major(shape: &[usize]) -> Self {
        let mut layout = Self { offset: 0, rank: shape.len(), shape: [0; MAX_RANK], strides: [0; MAX_RANK] };
        let (mut axis, mut stride) = (shape.len(), 1isize);
        while axis > 0 {
            axis -= 1;
            layout.shape[axis] = shape[axis];
            layout.strides[axis] = stride;
            // An empty axis counts as one, so this stays below the limit.
            if shape[axis] > 1 {
                stride *= shape[axis] as isize;
            }
        }
        layout
    }

    /// A row-major layout that covers a buffer of `len` elements.
    pub(super) fn contiguous(op: &'static str, shape: &[usize], len: usize, limit: usize) -> Result<Self> {
        check_rank(op, shape.len())?;
        let want = check_len(op, shape, len, limit)?;
        if want != len {
            return Err(ErrorKind::Length { op, arg: "data", want, got: len }.into());
        }
        Ok(Self::row_major(shape))
    }

    /// Any layout inside a buffer of `len` elements.
    pub(super) fn strided(
        op: &'static str,
        shape: &[usize],
        strides: &[isize],
        offset: usize,
        len: usize,
        limit: usize,
    ) -> Result<Self> {
        check_rank(op, shape.len())?;
        if strides.len() != shape.len() {
            return Err(ErrorKind::Length { op, arg: "strides", want: shape.len(), got: strides.len() }.into());
        }
        check_len(op, shape, len, limit)?;
        if let Some(reason) = reach_fault(shape, strides, offset, len) {
            return Err(ErrorKind::Reach { op, shape: shape.into(), len, reason }.into());
        }
        let mut layout = Self { offset: offset as isize, ..Self::row_major(shape) };
        layout.strides[..strides.len()].copy_from_slice(strides);
        Ok(layout)
    }

    /// Refuses a layout whose strides do not nest.
    pub(super) fn without_overlap(self, op: &'static str) -> Result<Self> {
        if nests(self.shape(), self.strides()) {
            return Ok(self);
        }
        Err(ErrorKind::Overlap { op, shape: self.shape().into() }.into())
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.shape[..self.rank]
    }

    pub(super) fn strides(&self) -> &[isize] {
        &self.strides[..self.rank]
    }

    pub(super) const fn len(&self) -> usize {
        let (mut len, mut axis) = (1, 0);
        while axis < self.rank {
            len *= self.shape[axis];
            axis += 1;
        }
        len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether logical order is memory order without gaps.
    pub(super) const fn is_contiguous(&self) -> bool {
        if self.is_empty() {
            return true;
        }
        let (mut axis, mut dense) = (self.rank, 1isize);
        while axis > 0 {
            axis -= 1;
            if self.shape[axis] != 1 {
                if self.strides[axis] != dense {
                    return false;
                }
                dense *= self.shape[axis] as isize;
            }
        }
        true
    }

    /// The offset of one element; `None` if the index has another rank or lies outside the shape.
    pub(super) fn locate(&self, index: &[usize]) -> Option<isize> {
        if index.len() != self.rank {
            return None;
        }
        let mut offset = self.offset;
        for ((&index, &size), &stride) in index.iter().zip(self.shape()).zip(self.strides()) {
            if index >= size || self.is_empty() {
                return None;
            }
            offset += index as isize * stride;
        }
        Some(offset)
    }

    /// The axis that `axis` names, negative ones counted from the end.
    pub(super) fn axis(&self, op: &'static str, axis: isize) -> Result<usize> {
        wrap(axis, self.rank)
            .ok_or_else(|| ErrorKind::Axis { op, axis, rank: self.rank, reason: "out of range" }.into())
    }

    /// Keeps `len` indices of an axis, beginning at `start`, `step` apart: the one place where an offset moves.
    ///
    /// The indices kept must be indices of the axis.
    pub(super) const fn cut(mut self, axis: usize, start: usize, len: usize, step: isize) -> Self {
        self.shape[axis] = len;
        // With no element left there is nothing to point at, and `start` may be one past the end.
        if !self.is_empty() {
            self.offset += start as isize * self.strides[axis];
        }
        self.strides[axis] = self.strides[axis].wrapping_mul(step);
        self
    }

    /// Drops an axis of size one.
    pub(super) const fn remove(mut self, axis: usize) -> Self {
        let mut next = axis + 1;
        while next < self.rank {
            self.shape[next - 1] = self.shape[next];
            self.strides[next - 1] = self.strides[next];
            next += 1;
        }
        self.rank -= 1;
        self
    }

    /// Puts a new axis before `axis`; the rank must be below the maximum.
    pub(super) const fn insert(mut self, axis: usize, size: usize, stride: isize) -> Self {
        let mut next = self.rank;
        while next > axis {
            self.shape[next] = self.shape[next - 1];
            self.strides[next] = self.strides[next - 1];
            next -= 1;
        }
        self.shape[axis] = size;
        self.strides[axis] = stride;
        self.rank += 1;
        self
    }

    pub(super) fn slice(self, axis: isize, range: &impl RangeBounds<isize>) -> Result<Self> {
        const OP: &str = "slice";
        let axis = self.axis(OP, axis)?;
        let size = self.shape[axis];
        // A bound may also be the end itself, which is not the place of any element.
        let bound = |arg, index: isize| {
            wrap(index, size + usize::from(index >= 0)).ok_or_else(|| outside(OP, arg, index as i64, size + 1))
        };
        let element = |arg, index: isize| wrap(index, size).ok_or_else(|| outside(OP, arg, index as i64, size));
        let start = match range.start_bound() {
            Bound::Unbounded => 0,
            Bound::Included(&start) => bound("start", start)?,
            Bound::Excluded(&before) => element("start", before)? + 1,
        };
        let end = match range.end_bound() {
            Bound::Unbounded => size,
            Bound::Excluded(&end) => bound("end", end)?,
            Bound::Included(&last) => element("end", last)? + 1,
        };
        check_range(OP, start, end, size)?;
        Ok(self.cut(axis, start, end - start, 1))
    }

    pub(super) fn narrow(self, axis: isize, start: usize, len: usize) -> Result<Self> {
        const OP: &str = "narrow";
        let axis = self.axis(OP, axis)?;
        let size = self.shape[axis];
        let most = size.checked_sub(start).ok_or_else(|| outside(OP, "start", start, size + 1))?;
        if len > most {
            return Err(outside(OP, "len", len, most + 1));
        }
        Ok(self.cut(axis, start, len, 1))
    }

    pub(super) fn step(self, axis: isize, step: isize) -> Result<Self> {
        const OP: &str = "step";
        let axis = self.axis(OP, axis)?;
        if step == 0 {
            return Err(ErrorKind::Value { op: OP, arg: "step", want: "other than 0", got: 0.0 }.into());
        }
        let size = self.shape[axis];
        let start = if step < 0 { size.saturating_sub(1) } else { 0 };
        Ok(self.cut(axis, start, size.div_ceil(step.unsigned_abs()), step))
    }

    pub(super) fn flip(self, axis: isize) -> Result<Self> {
        let axis = self.axis("flip", axis)?;
        let size = self.shape[axis];
        Ok(self.cut(axis, size.saturating_sub(1), size, -1))
    }

    pub(super) fn select(self, axis: isize, index: isize) -> Result<Self> {
        let axis = self.axis("select", axis)?;
        let size = self.shape[axis];
        let at = wrap(index, size).ok_or_else(|| outside("select", "index", index as i64, size))?;
        Ok(self.cut(axis, at, 1, 1).remove(axis))
    }

    pub(super) fn split_at(self, axis: isize, index: usize) -> Result<(Self, Self)> {
        let axis = self.axis("split_at", axis)?;
        let size = self.shape[axis];
        let rest = size.checked_sub(index).ok_or_else(|| outside("split_at", "index", index, size + 1))?;
        Ok((self.cut(axis, 0, index, 1), self.cut(axis, index, rest, 1)))
    }

    pub(super) fn transpose(mut self, a: isize, b: isize) -> Result<Self> {
        let (a, b) = (self.axis("transpose", a)?, self.axis("transpose", b)?);
        self.shape.swap(a, b);
        self.strides.swap(a, b);
        Ok(self)
    }

    pub(super) fn t(self) -> Result<Self> {
        match self.rank {
            0 | 1 => Ok(self),
            2 => self.transpose(0, 1),
            rank => Err(ErrorKind::Value { op: "t", arg: "rank", want: "at most 2", got: rank as f64 }.into()),
        }
    }

    pub(super) fn permute(self, axes: &[isize]) -> Result<Self> {
        const OP: &str = "permute";
        if axes.len() != self.rank {
            return Err(ErrorKind::Length { op: OP, arg: "axes", want: self.rank, got: axes.len() }.into());
        }
        let (mut permuted, mut seen) = (self, [false; MAX_RANK]);
        for (to, &axis) in axes.iter().enumerate() {
            let from = self.axis(OP, axis)?;
            if std::mem::replace(&mut seen[from], true) {
                return Err(ErrorKind::Axis { op: OP, axis, rank: self.rank, reason: "named twice" }.into());
            }
            permuted.shape[to] = self.shape[from];
            permuted.strides[to] = self.strides[from];
        }
        Ok(permuted)
    }

    pub(super) fn movedim(self, source: isize, destination: isize) -> Result<Self> {
        let (from, to) = (self.axis("movedim", source)?, self.axis("movedim", destination)?);
        Ok(self.remove(from).insert(to, self.shape[from], self.strides[from]))
    }

    pub(super) fn squeeze(self, axis: isize) -> Result<Self> {
        let at = self.axis("squeeze", axis)?;
        if self.shape[at] != 1 {
            return Err(ErrorKind::Axis { op: "squeeze", axis, rank: self.rank, reason: "its size is not 1" }.into());
        }
        Ok(self.remove(at))
    }

    pub(super) fn squeeze_all(mut self) -> Self {
        for axis in (0..self.rank).rev() {
            if self.shape[axis] == 1 {
                self = self.remove(axis);
            }
        }
        self
    }

    pub(super) fn unsqueeze(self, axis: isize) -> Result<Self> {
        const OP: &str = "unsqueeze";
        check_rank(OP, self.rank + 1)?;
        let at = wrap(axis, self.rank + 1).ok_or_else(|| {
            Error::from(ErrorKind::Axis { op: OP, axis, rank: self.rank + 1, reason: "out of range after it" })
        })?;
        Ok(self.insert(at, 1, 1))
    }
}
