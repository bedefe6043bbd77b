//! Which axes an operation reduces, and the shapes that follow from them.

use super::AxisSet;
use crate::error::{Dims, ErrorKind, MAX_RANK, Result, expect_shape};
use crate::view::{View, ViewMut};

/// The axes that a reduction works over; negative ones count from the end.
///
/// An `isize` and a slice or array of them turn into this. A list of no axes reduces nothing, as in NumPy; PyTorch
/// takes an empty `dim` for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axes<'a> {
    /// Every axis.
    All,
    /// One axis.
    One(isize),
    /// Several axes, each named once.
    List(&'a [isize]),
}

impl From<isize> for Axes<'_> {
    fn from(axis: isize) -> Self {
        Axes::One(axis)
    }
}

impl<'a> From<&'a [isize]> for Axes<'a> {
    fn from(axes: &'a [isize]) -> Self {
        Axes::List(axes)
    }
}

impl<'a, const N: usize> From<&'a [isize; N]> for Axes<'a> {
    fn from(axes: &'a [isize; N]) -> Self {
        Axes::List(axes)
    }
}

/// The axis that `axis` names among `rank`; a scalar has an axis 0, as in PyTorch.
///
/// # Errors
/// [`ErrorKind::Axis`] if there is none.
pub(crate) fn axis_index(op: &'static str, axis: isize, rank: usize) -> Result<usize> {
    let end = rank.max(1) as isize;
    let from_start = if axis < 0 { axis.saturating_add(end) } else { axis };
    if (0..end).contains(&from_start) {
        return Ok(from_start as usize);
    }
    Err(ErrorKind::Axis { op, axis, rank, reason: "out of range" }.into())
}

impl Axes<'_> {
    /// The axes as a set.
    ///
    /// # Errors
    /// [`ErrorKind::Axis`] if one is out of range or named twice.
    pub(crate) fn resolve(self, op: &'static str, rank: usize) -> Result<AxisSet> {
        let mut set = AxisSet::default();
        let list = match self {
            Axes::All => {
                (0..rank).for_each(|axis| set.insert(axis));
                return Ok(set);
            }
            Axes::One(ref axis) => std::slice::from_ref(axis),
            Axes::List(list) => list,
        };
        for &axis in list {
            let index = axis_index(op, axis, rank)?;
            if set.contains(index) {
                return Err(ErrorKind::Axis { op, axis, rank, reason: "named twice" }.into());
            }
            set.insert(index);
        }
        Ok(set)
    }
}

/// A shape and the axes of it that are reduced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reduced {
    op: &'static str,
    shape: Dims,
    /// The reduced axes.
    pub(crate) set: AxisSet,
}

impl Reduced {
    /// The reduction of `shape` over `axes`.
    ///
    /// # Errors
    /// [`ErrorKind::Axis`] if an axis is out of range or named twice.
    pub(crate) fn new<'a>(op: &'static str, shape: &[usize], axes: impl Into<Axes<'a>>) -> Result<Self> {
        Ok(Self { op, shape: shape.into(), set: axes.into().resolve(op, shape.len())? })
    }

    /// The elements that make one output.
    pub(crate) fn count(&self) -> usize {
        let sizes = self.shape.as_slice().iter().enumerate();
        sizes.filter(|&(axis, _)| self.set.contains(axis)).map(|(_, &size)| size).product()
    }

    /// Checks that every output has at least `least` elements to be made of.
    ///
    /// # Errors
    /// [`ErrorKind::Value`] if it has fewer, and there is an output.
    pub(crate) fn expect_count(&self, least: usize, want: &'static str) -> Result<()> {
        let outputs = self.kept().as_slice().iter().product::<usize>();
        if self.count() >= least || outputs == 0 {
            return Ok(());
        }
        Err(ErrorKind::Value { op: self.op, arg: "x", want, got: self.count() as f64 }.into())
    }

    /// The shape with size one on the reduced axes.
    pub(crate) fn kept(&self) -> Dims {
        let mut sizes = [1; MAX_RANK];
        let shape = self.shape.as_slice();
        for (axis, (kept, &size)) in sizes.iter_mut().zip(shape).enumerate() {
            *kept = if self.set.contains(axis) { 1 } else { size };
        }
        Dims::new(&sizes[..shape.len()])
    }

    /// The shape without the reduced axes.
    fn dropped(&self) -> Dims {
        let (mut sizes, mut rank) = ([1; MAX_RANK], 0);
        for (axis, &size) in self.shape.as_slice().iter().enumerate() {
            if !self.set.contains(axis) {
                sizes[rank] = size;
                rank += 1;
            }
        }
        Dims::new(&sizes[..rank])
    }

    /// The reduced axes that a result of shape `got` lacks.
    fn missing(&self, arg: &'static str, got: &[usize]) -> Result<AxisSet> {
        if got == self.kept().as_slice() {
            return Ok(AxisSet::default());
        }
        expect_shape(self.op, arg, self.dropped().as_slice(), got).map(|()| self.set)
    }

    /// A result, with or without its reduced axes, as one that has them with size one.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if it has neither shape.
    pub(crate) fn out<'a, T: crate::view::Element>(
        &self,
        arg: &'static str,
        y: ViewMut<'a, T>,
    ) -> Result<ViewMut<'a, T>> {
        let missing = self.missing(arg, y.shape())?;
        let axes = (0..self.shape.as_slice().len()).filter(|&axis| missing.contains(axis));
        axes.into_iter().try_fold(y, |y, axis| y.unsqueeze(axis as isize))
    }

    /// As [`out`](Self::out), of a result that is read.
    ///
    /// # Errors
    /// As [`out`](Self::out).
    pub(crate) fn inp<'a, T: crate::view::Element>(&self, arg: &'static str, y: View<'a, T>) -> Result<View<'a, T>> {
        let missing = self.missing(arg, y.shape())?;
        let axes = (0..self.shape.as_slice().len()).filter(|&axis| missing.contains(axis));
        axes.into_iter().try_fold(y, |y, axis| y.unsqueeze(axis as isize))
    }

    /// A result that is read, repeated along the reduced axes.
    ///
    /// # Errors
    /// As [`out`](Self::out).
    pub(crate) fn repeated<'a>(&self, arg: &'static str, y: View<'a>) -> Result<View<'a>> {
        self.inp(arg, y)?.broadcast_to(self.shape.as_slice())
    }
}
