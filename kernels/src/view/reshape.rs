//! The transformations that look at several axes at once: reshape, broadcast, and axes moved together.
#![forbid(unsafe_code)]

use super::layout::{Layout, check_len, check_rank};
use crate::error::{Dims, ErrorKind, MAX_RANK, Result};

/// Turns sizes with at most one `-1` into a shape of `total` elements.
fn resolve(op: &'static str, sizes: &[isize], total: usize, limit: usize) -> Result<[usize; MAX_RANK]> {
    check_rank(op, sizes.len())?;
    let (mut shape, mut free) = ([1; MAX_RANK], None);
    for (axis, &size) in sizes.iter().enumerate() {
        match size {
            -1 if free.is_none() => free = Some(axis),
            0.. => shape[axis] = size as usize,
            _ => {
                let want = "at least 0, or -1 for one axis";
                return Err(ErrorKind::Value { op, arg: "shape", want, got: size as f64 }.into());
            }
        }
    }
    let shape_len = check_len(op, &shape[..sizes.len()], total, limit)?;
    match free {
        Some(_) if shape_len == 0 => {
            let want = "without -1 beside a size of 0, which leaves it undetermined";
            Err(ErrorKind::Value { op, arg: "shape", want, got: -1.0 }.into())
        }
        Some(axis) if total.is_multiple_of(shape_len) => {
            shape[axis] = total / shape_len;
            Ok(shape)
        }
        None if shape_len == total => Ok(shape),
        _ => Err(ErrorKind::Length { op, arg: "shape", want: total, got: shape_len }.into()),
    }
}

impl Layout {
    pub(super) fn reshape(self, sizes: &[isize], limit: usize) -> Result<Self> {
        let shape = resolve("reshape", sizes, self.len(), limit)?;
        self.with_shape("reshape", &shape[..sizes.len()])
    }

    /// The same elements in the same logical order under a shape of as many elements.
    ///
    /// Walks both shapes from the last axis. Neighbouring old axes that are evenly spaced form one chunk; each chunk
    /// must be used up by whole new axes, or a new axis would need two strides.
    fn with_shape(self, op: &'static str, shape: &[usize]) -> Result<Self> {
        let mut new = Self { offset: self.offset, ..Self::row_major(shape) };
        if self.len() <= 1 {
            return Ok(new);
        }
        let old = self.squeeze_all();
        let mut unset = shape.len();
        let (mut chunk, mut stride) = (1, old.strides[old.rank - 1]);
        for axis in (0..old.rank).rev() {
            chunk *= old.shape[axis];
            if axis > 0 && (chunk as isize).checked_mul(stride) == Some(old.strides[axis - 1]) {
                continue;
            }
            let mut used = 1;
            while unset > 0 && used < chunk {
                unset -= 1;
                new.strides[unset] = stride.wrapping_mul(used as isize);
                used *= shape[unset];
            }
            if used != chunk {
                let reason = "the strides allow it only by a copy";
                return Err(ErrorKind::Reach { op, shape: shape.into(), len: self.len(), reason }.into());
            }
            if axis > 0 {
                (chunk, stride) = (1, old.strides[axis - 1]);
            }
        }
        Ok(new)
    }

    pub(super) fn flatten(self, start: isize, end: isize) -> Result<Self> {
        const OP: &str = "flatten";
        if self.rank == 0 {
            // The axes of a scalar are those of the vector it becomes, as in PyTorch.
            let vector = self.insert(0, 1, 1);
            vector.axis(OP, start)?;
            return vector.axis(OP, end).map(|_| vector);
        }
        let (first, last) = (self.axis(OP, start)?, self.axis(OP, end)?);
        if first > last {
            let reason = "it comes before the first axis to flatten";
            return Err(ErrorKind::Axis { op: OP, axis: end, rank: self.rank, reason }.into());
        }
        let mut shape = self.shape;
        shape[first] = self.shape[first..=last].iter().product();
        shape.copy_within(last + 1.., first + 1);
        self.with_shape(OP, &shape[..self.rank - (last - first)])
    }

    pub(super) fn unflatten(self, axis: isize, sizes: &[isize], limit: usize) -> Result<Self> {
        const OP: &str = "unflatten";
        let axis = self.axis(OP, axis)?;
        let shape = resolve(OP, sizes, self.shape[axis], limit)?;
        check_rank(OP, self.rank - 1 + sizes.len())?;
        let mut new = self.remove(axis);
        let mut stride = self.strides[axis];
        for &size in shape[..sizes.len()].iter().rev() {
            new = new.insert(axis, size, stride);
            stride = stride.wrapping_mul(size as isize);
        }
        // Only an empty view can have grown: 0 elements are 0 times anything.
        check_len(OP, new.shape(), self.len(), limit)?;
        Ok(new)
    }

    pub(super) fn movedims(self, source: &[isize], destination: &[isize]) -> Result<Self> {
        const OP: &str = "movedims";
        if source.len() != destination.len() {
            let (want, got) = (source.len(), destination.len());
            return Err(ErrorKind::Length { op: OP, arg: "destination", want, got }.into());
        }
        let twice = |axis| ErrorKind::Axis { op: OP, axis, rank: self.rank, reason: "named twice" };
        let (mut from, mut moved) = ([None; MAX_RANK], [false; MAX_RANK]);
        for (&axis, &place) in source.iter().zip(destination) {
            let at = self.axis(OP, axis)?;
            if std::mem::replace(&mut moved[at], true) {
                return Err(twice(axis).into());
            }
            if from[self.axis(OP, place)?].replace(at).is_some() {
                return Err(twice(place).into());
            }
        }
        let (mut result, mut rest) = (self, (0..self.rank).filter(|&axis| !moved[axis]));
        for (to, from) in from[..self.rank].iter().enumerate() {
            // As many axes are left as places.
            if let Some(axis) = from.or_else(|| rest.next()) {
                result.shape[to] = self.shape[axis];
                result.strides[to] = self.strides[axis];
            }
        }
        Ok(result)
    }

    pub(super) fn broadcast_to(self, op: &'static str, shape: &[usize], limit: usize) -> Result<Self> {
        check_rank(op, shape.len())?;
        check_len(op, shape, self.len(), limit)?;
        let mismatch = || ErrorKind::Shape { op, arg: "self", want: shape.into(), got: self.shape().into() };
        let added = shape.len().checked_sub(self.rank).ok_or_else(mismatch)?;
        let mut new = self;
        for _ in 0..added {
            new = new.insert(0, 1, 0);
        }
        for (axis, &size) in shape.iter().enumerate() {
            if new.shape[axis] == size {
                continue;
            }
            if new.shape[axis] != 1 {
                return Err(mismatch().into());
            }
            new.shape[axis] = size;
            new.strides[axis] = 0;
        }
        Ok(new)
    }

    pub(super) fn expand(self, sizes: &[isize], limit: usize) -> Result<Self> {
        const OP: &str = "expand";
        check_rank(OP, sizes.len())?;
        let mut shape = [0; MAX_RANK];
        for (axis, &size) in sizes.iter().enumerate() {
            // Counted from the end, where the two shapes meet; a new axis has no size to keep.
            let kept = (axis + self.rank).checked_sub(sizes.len()).map(|axis| self.shape[axis]);
            shape[axis] = match (size, kept) {
                (0.., _) => size as usize,
                (-1, Some(kept)) => kept,
                _ => {
                    let want = "at least 0, or -1 to keep the size of an axis there is";
                    return Err(ErrorKind::Value { op: OP, arg: "shape", want, got: size as f64 }.into());
                }
            };
        }
        self.broadcast_to(OP, &shape[..sizes.len()], limit)
    }
}

/// The shape that two operands have in common after broadcasting, by NumPy's rule: shapes are aligned at their last
/// axis, and an axis that is missing or of size one is repeated.
///
/// `arg` names the second operand in the error.
///
/// # Errors
/// [`ErrorKind::Shape`] if two sizes differ and neither is one, [`ErrorKind::Value`] if a rank is above eight.
pub fn broadcast_shape(op: &'static str, arg: &'static str, first: &[usize], second: &[usize]) -> Result<Dims> {
    let rank = first.len().max(second.len());
    check_rank(op, rank)?;
    let mut shape = [1; MAX_RANK];
    let place = |sizes: &[usize], axis: usize| {
        (axis + sizes.len()).checked_sub(rank).and_then(|axis| sizes.get(axis).copied()).unwrap_or(1)
    };
    for (axis, size) in shape[..rank].iter_mut().enumerate() {
        *size = match (place(first, axis), place(second, axis)) {
            (a, b) if a == b => a,
            (1, size) | (size, 1) => size,
            _ => return Err(ErrorKind::Shape { op, arg, want: first.into(), got: second.into() }.into()),
        };
    }
    Ok(Dims::new(&shape[..rank]))
}
