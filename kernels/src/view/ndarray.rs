//! Views from those of the `ndarray` crate and back: the same elements under the same shape and strides, not copied.
//!
//! What both crates hold true of a view is nearly the same: every index leads to an element that is borrowed, and to
//! one of its own if it may be written. `ndarray` knows no limit of axes, and lets a view repeat its elements until
//! their number is `isize::MAX`, where a [`View`] ends at `isize::MAX` bytes; strides that nest are asked of what is
//! written.

use ::ndarray::{ArrayView, ArrayView2, ArrayViewD, ArrayViewMut, ArrayViewMut2, ArrayViewMutD, Axis};
use ::ndarray::{Dimension, Ix2, IxDyn, ShapeBuilder, StrideShape};
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::layout::{Layout, check_len, check_rank, limit};
use super::{Element, Mat, MatMut, View, ViewMut};
use crate::error::{Error, MAX_RANK, Result};

/// The layout that begins at the first element of an array.
fn layout<T>(op: &'static str, shape: &[usize], strides: &[isize]) -> Result<Layout> {
    check_rank(op, shape.len())?;
    // An array does not say how long its buffer is; an error is told how many elements it has without repeating any.
    let once = shape.iter().zip(strides).filter(|&(_, &stride)| stride != 0).map(|(&size, _)| size);
    check_len(op, shape, once.fold(1, usize::saturating_mul), limit::<T>())?;
    let mut layout = Layout::row_major(shape);
    layout.strides[..strides.len()].copy_from_slice(strides);
    Ok(layout)
}

/// Fails with [`ErrorKind::Value`](crate::ErrorKind::Value) above 8 axes, and with
/// [`ErrorKind::Reach`](crate::ErrorKind::Reach) for repeated elements that are more than a buffer could have.
///
/// ```
/// use handgrad_kernels::view::{View, ViewMut};
/// use ndarray::{ArrayViewD, array};
///
/// # fn main() -> handgrad_kernels::Result<()> {
/// let mut array = array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]];
/// let view = View::try_from(array.t())?;
/// assert_eq!(view.to_vec(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
/// assert_eq!(ArrayViewD::from(view), array.t().into_dyn());
///
/// ViewMut::try_from(array.row_mut(1))?.fill(0.5);
/// assert_eq!(array, array![[1.0, 2.0, 3.0], [0.5, 0.5, 0.5]]);
/// # Ok(())
/// # }
/// ```
impl<'a, T: Element, D: Dimension> TryFrom<ArrayView<'a, T, D>> for View<'a, T> {
    type Error = Error;

    fn try_from(array: ArrayView<'a, T, D>) -> Result<Self> {
        let layout = layout::<T>("View::try_from", array.shape(), array.strides())?;
        // SAFETY: the address of an array is not null. Its indices lead to elements that are borrowed for `'a`, so with
        // the address for a base the layout keeps to them; fact 1 of layouts has just been checked.
        let base = unsafe { NonNull::new_unchecked(array.as_ptr().cast_mut()) };
        Ok(Self { base, layout, buffer: PhantomData })
    }
}

/// Fails as that of a [`View`], and with [`ErrorKind::Overlap`](crate::ErrorKind::Overlap) unless the strides nest (see
/// the [module](super)).
impl<'a, T: Element, D: Dimension> TryFrom<ArrayViewMut<'a, T, D>> for ViewMut<'a, T> {
    type Error = Error;

    fn try_from(mut array: ArrayViewMut<'a, T, D>) -> Result<Self> {
        const OP: &str = "ViewMut::try_from";
        let layout = layout::<T>(OP, array.shape(), array.strides())?.without_overlap(OP)?;
        // SAFETY: as for a `View`; the elements are borrowed mutably, and the array, which was the only access to them,
        // is consumed.
        let base = unsafe { NonNull::new_unchecked(array.as_mut_ptr()) };
        Ok(Self { base, layout, buffer: PhantomData })
    }
}

/// Fails as that of a [`View`], and with [`ErrorKind::Value`](crate::ErrorKind::Value) unless the rank is 2.
impl<'a, D: Dimension> TryFrom<ArrayView<'a, f32, D>> for Mat<'a> {
    type Error = Error;

    fn try_from(array: ArrayView<'a, f32, D>) -> Result<Self> {
        View::try_from(array)?.try_into()
    }
}

/// Fails as that of a [`ViewMut`], and with [`ErrorKind::Value`](crate::ErrorKind::Value) unless the rank is 2.
impl<'a, D: Dimension> TryFrom<ArrayViewMut<'a, f32, D>> for MatMut<'a> {
    type Error = Error;

    fn try_from(array: ArrayViewMut<'a, f32, D>) -> Result<Self> {
        ViewMut::try_from(array)?.try_into()
    }
}

/// A layout as `from_shape_ptr` takes it, with no axis that goes backwards.
struct Forwards {
    shape: StrideShape<IxDyn>,
    /// From the first element to the one at the least address.
    back: isize,
    /// The axes to be turned round afterwards.
    turned: [bool; MAX_RANK],
}

impl Forwards {
    fn new(layout: &Layout) -> Self {
        let (mut back, mut turned, mut strides) = (0, [false; MAX_RANK], [0; MAX_RANK]);
        let shape = IxDyn(layout.shape());
        if layout.is_empty() {
            return Self { shape: shape.into(), back, turned };
        }
        for (axis, (&size, &stride)) in layout.shape().iter().zip(layout.strides()).enumerate() {
            if size > 1 {
                strides[axis] = stride.unsigned_abs();
                turned[axis] = stride < 0;
                back += (size as isize - 1) * stride.min(0);
            }
        }
        Self { shape: shape.strides(IxDyn(&strides[..layout.rank])), back, turned }
    }

    /// The axes of `turned`.
    fn axes(turned: [bool; MAX_RANK]) -> impl Iterator<Item = Axis> {
        (0..MAX_RANK).filter(move |&axis| turned[axis]).map(Axis)
    }
}

/// The strides of an axis with fewer than two indices, and all of an empty view's, are 0.
impl<'a, T: Element> From<View<'a, T>> for ArrayViewD<'a, T> {
    fn from(view: View<'a, T>) -> Self {
        let Forwards { shape, back, turned } = Forwards::new(&view.layout);
        // SAFETY: the element at the least address is one of the view's. From there every index leads, forwards, to an
        // element of the buffer, borrowed for `'a` and at most `isize::MAX` bytes long (layout facts 1 and 2). Without
        // elements all strides are 0, and the address lies in the buffer or at its end (fact 3).
        let mut array = unsafe { ArrayView::from_shape_ptr(shape, view.as_ptr().offset(back)) };
        Forwards::axes(turned).for_each(|axis| array.invert_axis(axis));
        array
    }
}

/// The strides of an axis with fewer than two indices, and all of an empty view's, are 0.
impl<'a, T: Element> From<ViewMut<'a, T>> for ArrayViewMutD<'a, T> {
    fn from(mut view: ViewMut<'a, T>) -> Self {
        let Forwards { shape, back, turned } = Forwards::new(&view.layout);
        // SAFETY: as for a `View`; each index leads to an element of its own, which no other view reaches, and this one
        // is consumed.
        let mut array = unsafe { ArrayViewMut::from_shape_ptr(shape, view.as_mut_ptr().offset(back)) };
        Forwards::axes(turned).for_each(|axis| array.invert_axis(axis));
        array
    }
}

/// Strides become those of a [`View`]'s array.
impl<'a> From<Mat<'a>> for ArrayView2<'a, f32> {
    fn from(mat: Mat<'a>) -> Self {
        ArrayViewD::from(View::from(mat)).into_dimensionality::<Ix2>().expect("a matrix has two axes")
    }
}

/// Strides become those of a [`ViewMut`]'s array.
impl<'a> From<MatMut<'a>> for ArrayViewMut2<'a, f32> {
    fn from(mat: MatMut<'a>) -> Self {
        ArrayViewMutD::from(ViewMut::from(mat)).into_dimensionality::<Ix2>().expect("a matrix has two axes")
    }
}
