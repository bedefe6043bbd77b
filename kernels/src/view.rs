//! Views: typed windows on borrowed buffers, with a shape of up to eight axes and signed strides.
//!
//! A [`View`] reads, a [`ViewMut`] writes; both are a pointer, a shape and strides, and neither allocates. Scalars,
//! vectors, matrices and tensors are one type: a scalar is a view of rank 0, with one element. [`Mat`] and [`MatMut`]
//! are the compact case of two axes of `f32` that matrix products take.
//!
//! ```
//! use handgrad_kernels::index;
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> Result<(), handgrad_kernels::error::Error> {
//! let data = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
//! let a = View::new(&data, &[2, 3])?;
//! assert_eq!(a.t()?.to_vec(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
//! assert_eq!(a.index(&index![1, ::-1])?.to_vec(), [5.0, 4.0, 3.0]);
//! assert_eq!(a.select(0, -1)?.broadcast_to(&[2, 3])?.to_vec(), [3.0, 4.0, 5.0, 3.0, 4.0, 5.0]);
//!
//! let mut sums = [f32::NAN; 4];
//! let (mut left, right) = ViewMut::new(&mut sums, &[2, 2])?.split_at(1, 1)?;
//! left.fill(1.0);
//! right.t()?.copy_from(a.narrow(1, 0, 2)?.narrow(0, 1, 1)?)?;
//! assert_eq!(sums, [1.0, 3.0, 1.0, 4.0]);
//! # Ok(())
//! # }
//! ```
//!
//! # What a view guarantees
//!
//! Every constructor proves, with checked arithmetic, that each element the shape and strides can reach lies inside the
//! buffer given, and that the number of elements is one a buffer could have. No method gives a view more than it had,
//! so a kernel that stays within the shape stays within the buffer. An axis of size zero makes a view that reaches
//! nothing, with any strides. The stride of an axis of size zero or one means nothing and may be anything.
//!
//! A [`ViewMut`] reaches each of its elements by one index only. The constructor makes sure of it by a sufficient rule:
//! sorted by size, the strides of the axes longer than one must nest, each being larger than the whole reach of the
//! smaller ones, `Σ (size - 1)·|stride|`. Contiguous, padded, transposed, reversed and sliced layouts nest. Some
//! layouts that happen not to overlap do not, such as shape 2x3 with strides 3 and 2, and are refused all the same.
//!
//! # Names
//!
//! Axes and indices of type `isize` count from the end if negative. Nothing here copies: what NumPy or PyTorch would
//! answer with a copy is an error.
//!
//! | PyTorch, NumPy | here |
//! |---|---|
//! | `x[0, :, ::2, None, ...]` | [`x.index(&index![0, :, ::2, None, ...])`](View::index) |
//! | `x[2:5]`, `x[::n]`, `x[i]` | [`slice`](View::slice), [`step`](View::step), [`select`](View::select) |
//! | `x.narrow`, `x.select`, `x.flip` | [`narrow`](View::narrow), [`select`](View::select), [`flip`](View::flip) |
//! | `x.T`, `x.t()`, `swapaxes`, `transpose(a, b)` | [`t`](View::t), [`transpose`](View::transpose) |
//! | `x.permute`, `np.transpose(x, axes)` | [`permute`](View::permute) |
//! | `movedim`, `moveaxis` | [`movedim`](View::movedim), of several axes [`movedims`](View::movedims) |
//! | `x.view`, `x.reshape`, `x.ravel()` | [`reshape`](View::reshape), `reshape(&[-1])` |
//! | `x.flatten`, `x.unflatten` | [`flatten`](View::flatten), [`unflatten`](View::unflatten) |
//! | `x.squeeze(axis)`, `x.squeeze()` | [`squeeze`](View::squeeze), [`squeeze_all`](View::squeeze_all) |
//! | `x.unsqueeze`, `expand_dims` | [`unsqueeze`](View::unsqueeze) |
//! | `np.broadcast_to`, `x.expand` | [`broadcast_to`](View::broadcast_to), [`expand`](View::expand) |
//! | `torch.split(x, sizes)`, `torch.split(x, size)` | [`split`](View::split), [`split_every`](View::split_every) |
//! | `x.chunk(n)` | [`chunk`](View::chunk) |
//! | `torch.as_strided` | [`with_strides`](View::with_strides) |
//! | `np.broadcast_shapes` | [`broadcast_shape`] |
//!
//! With the feature `ndarray` views and matrices are made from those of that crate and made into them, without a copy.
//! Its `ArrayView` and `ArrayViewMut` become ours by `try_from`, which fails above 8 axes, and ours theirs by `into`.
//!
//! # Gradients
//!
//! **The adjoint of a view writes through the same view.** Every transformation of a [`View`] but the two that repeat
//! elements is one of a [`ViewMut`] as well. So the gradient of what was viewed is made thus: `dx` is zero, the same
//! view is taken of it, and `dy` is copied in. (The zeros are not needed where the view has every element, as after
//! `permute` or `reshape`.) The pieces of a `split`, `split_every` or `chunk` have no element in common: each takes its
//! own gradient, or [`op::cat`](crate::op::cat) joins them.
//!
//! Where elements repeat, the adjoint adds: [`op::broadcast::backward`](crate::op::broadcast::backward) after `expand`
//! and `broadcast_to`, [`op::index::backward`](crate::op::index::backward) where integers or masks pick.
//!
//! ```
//! use handgrad_kernels::view::{View, ViewMut};
//! use handgrad_kernels::{Exec, index, op};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let x = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
//! let y = View::new(&x, &[2, 3])?.t()?.index(&index![::-2])?;
//! assert_eq!(y.to_vec(), [2.0, 5.0, 0.0, 3.0]);
//!
//! let dy = View::new(&[1.0, 2.0, 3.0, 4.0], &[2, 2])?;
//! let mut dx = [0.0; 6];
//! let through = ViewMut::new(&mut dx, &[2, 3])?.t()?.index(&index![::-2])?;
//! op::broadcast::forward(&exec, through, dy)?;
//! assert_eq!(dx, [3.0, 0.0, 1.0, 4.0, 0.0, 2.0]);
//! # Ok(())
//! # }
//! ```
#![allow(unsafe_code, reason = "one of the four fences: here the reach of a pointer is proved")]

mod index;
mod iter;
mod layout;
mod lookup;
mod mat;
#[cfg(feature = "ndarray")]
mod ndarray;
mod nest;
mod reshape;
mod shared;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

pub use self::index::Index;
pub use self::iter::{Iter, Pieces};
pub(crate) use self::lookup::{Integers, Lookup, Mask, Places, Visit};
pub use self::mat::{Mat, MatMut};
pub(crate) use self::nest::{Axis, Cut, Nest, Walk};
pub use self::reshape::broadcast_shape;

use self::iter::Offsets;
use self::layout::{Layout, limit, outside};
use self::shared::shared;
use crate::error::{ErrorKind, Result, expect_shape};

mod sealed {
    pub trait Sealed {}
}

/// A type that views can hold: `f32` for values, `i64` for indices, `bool` for masks, `f64` for references.
pub trait Element: sealed::Sealed + Copy + PartialEq + fmt::Debug + Send + Sync + 'static {}

macro_rules! elements {
    ($($T:ty),*) => {$(
        impl sealed::Sealed for $T {}
        impl Element for $T {}
    )*};
}

elements!(f32, f64, i64, bool);

/// A read-only view of `T` elements; see the [module](self) for what it guarantees.
///
/// Elements may coincide: strides may be zero or overlap.
#[derive(Clone, Copy)]
pub struct View<'a, T = f32> {
    /// The start of the buffer, not of the view: `layout.offset` leads to the first element. So long as `layout` keeps
    /// to the buffer it was checked against, every offset it yields may be added to `base`.
    base: NonNull<T>,
    layout: Layout,
    buffer: PhantomData<&'a [T]>,
}

/// A writable view of `T` elements, each reached by one index only; see the [module](self) for what it guarantees.
///
/// The transformations consume it; [`reborrow`](Self::reborrow) first to keep it.
pub struct ViewMut<'a, T = f32> {
    /// As in [`View`]. Several views may share a base after a split; their layouts then have no offset in common.
    base: NonNull<T>,
    layout: Layout,
    buffer: PhantomData<&'a mut [T]>,
}

// SAFETY: a `View` is a `&[T]` with a layout of plain numbers: it only reads `T`, and only while the borrow lives.
unsafe impl<T: Sync> Send for View<'_, T> {}
// SAFETY: as above; a shared `View` does nothing that a copy of it does not.
unsafe impl<T: Sync> Sync for View<'_, T> {}
// SAFETY: a `ViewMut` is the only access to its elements, as `&mut [T]` is: layouts that come from one buffer reach
// disjoint elements, because only `split_at` makes two of one, and one index belongs to one half.
unsafe impl<T: Send> Send for ViewMut<'_, T> {}
// SAFETY: a shared `ViewMut` can only be read, as a `&&mut [T]` can.
unsafe impl<T: Sync> Sync for ViewMut<'_, T> {}

impl<'a, T: Element> View<'a, T> {
    /// All of `data` as a row-major view of `shape`.
    ///
    /// # Errors
    /// [`ErrorKind::Length`] unless `data` has as many elements as the shape, [`ErrorKind::Reach`] if that number
    /// overflows, [`ErrorKind::Value`] above 8 axes.
    pub fn new(data: &'a [T], shape: &[usize]) -> Result<Self> {
        let layout = Layout::contiguous("View::new", shape, data.len(), limit::<T>())?;
        Ok(Self { base: NonNull::from(data).cast(), layout, buffer: PhantomData })
    }

    /// Index `i` stands for `data[offset + Σ i·stride]`; strides may be negative or zero.
    ///
    /// # Errors
    /// [`ErrorKind::Reach`] if an index leads outside `data`, [`ErrorKind::Length`] unless there is one stride for each
    /// axis, [`ErrorKind::Value`] above 8 axes.
    pub fn with_strides(data: &'a [T], shape: &[usize], strides: &[isize], offset: usize) -> Result<Self> {
        let layout = Layout::strided("View::with_strides", shape, strides, offset, data.len(), limit::<T>())?;
        Ok(Self { base: NonNull::from(data).cast(), layout, buffer: PhantomData })
    }

    /// One value as a view of rank 0.
    #[must_use]
    pub fn scalar(value: &'a T) -> Self {
        Self { base: NonNull::from(value), layout: Layout::row_major(&[]), buffer: PhantomData }
    }

    shared!();

    /// The element at one index; `None` outside the shape or for an index of another rank.
    #[must_use]
    pub fn get(&self, index: &[usize]) -> Option<T> {
        self.layout.locate(index).map(|offset| self.load(offset))
    }

    /// Reads at an offset that the layout has yielded.
    fn load(&self, offset: isize) -> T {
        // SAFETY: such an offset lies inside the buffer that starts at `base` (layout fact 2), which is borrowed for
        // `'a` and holds initialised values of `T`, a `Copy` type.
        unsafe { self.base.offset(offset).read() }
    }

    /// The elements as a slice, if they are contiguous.
    #[must_use]
    pub fn as_slice(&self) -> Option<&'a [T]> {
        // SAFETY: a contiguous layout reaches exactly the `len` elements from the first on, all in the buffer that is
        // borrowed for `'a`; with `len` 0 the address is aligned and not null.
        self.is_contiguous().then(|| unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len()) })
    }

    /// The elements in logical order. For tests and references: kernels walk the strides themselves.
    #[must_use]
    pub fn iter(&self) -> Iter<'a, T> {
        Iter::new(*self)
    }

    /// A copy of the elements in logical order.
    #[must_use]
    pub fn to_vec(&self) -> Vec<T> {
        self.iter().collect()
    }

    /// The view with missing outer axes added and axes of size 1 repeated, at stride 0, to make `shape`.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if a size is neither 1 nor the one wanted, [`ErrorKind::Reach`] if the number of elements
    /// overflows, [`ErrorKind::Value`] above 8 axes.
    pub fn broadcast_to(self, shape: &[usize]) -> Result<Self> {
        self.layout.broadcast_to("broadcast_to", shape, limit::<T>()).map(|layout| self.with(layout))
    }

    /// As [`broadcast_to`](Self::broadcast_to), with -1 for a size to keep.
    ///
    /// # Errors
    /// As [`broadcast_to`](Self::broadcast_to), and [`ErrorKind::Value`] for other negative sizes or -1 for a new axis.
    pub fn expand(self, shape: &[isize]) -> Result<Self> {
        self.layout.expand(shape, limit::<T>()).map(|layout| self.with(layout))
    }
}

impl<'a, T: Element> ViewMut<'a, T> {
    /// All of `data` as a row-major view of `shape`.
    ///
    /// # Errors
    /// As [`View::new`].
    pub fn new(data: &'a mut [T], shape: &[usize]) -> Result<Self> {
        let layout = Layout::contiguous("ViewMut::new", shape, data.len(), limit::<T>())?;
        Ok(Self { base: NonNull::from(data).cast(), layout, buffer: PhantomData })
    }

    /// Index `i` stands for `data[offset + Σ i·stride]`; strides may be negative.
    ///
    /// # Errors
    /// As [`View::with_strides`], and [`ErrorKind::Overlap`] unless the strides nest (see the [module](self)).
    pub fn with_strides(data: &'a mut [T], shape: &[usize], strides: &[isize], offset: usize) -> Result<Self> {
        const OP: &str = "ViewMut::with_strides";
        let layout = Layout::strided(OP, shape, strides, offset, data.len(), limit::<T>())?.without_overlap(OP)?;
        Ok(Self { base: NonNull::from(data).cast(), layout, buffer: PhantomData })
    }

    /// One value as a view of rank 0.
    #[must_use]
    pub fn scalar(value: &'a mut T) -> Self {
        Self { base: NonNull::from(value), layout: Layout::row_major(&[]), buffer: PhantomData }
    }

    shared!();

    /// The address of the first element in logical order, for writing; see [`as_ptr`](Self::as_ptr).
    #[must_use]
    pub const fn as_mut_ptr(&mut self) -> *mut T {
        self.first().as_ptr()
    }

    /// The same elements, for reading while this view is borrowed.
    #[must_use]
    pub const fn as_view(&self) -> View<'_, T> {
        View { base: self.base, layout: self.layout, buffer: PhantomData }
    }

    /// The same view for a shorter time, so that a transformation does not consume this one.
    #[must_use]
    pub const fn reborrow(&mut self) -> ViewMut<'_, T> {
        ViewMut { base: self.base, layout: self.layout, buffer: PhantomData }
    }

    /// The element at one index; `None` outside the shape or for an index of another rank.
    #[must_use]
    pub fn get(&self, index: &[usize]) -> Option<T> {
        self.as_view().get(index)
    }

    /// Writes one element.
    ///
    /// # Errors
    /// [`ErrorKind::Length`] for an index of another rank, [`ErrorKind::Index`] outside the shape.
    pub fn set(&mut self, index: &[usize], value: T) -> Result<()> {
        const OP: &str = "set";
        if let Some(offset) = self.layout.locate(index) {
            self.store(offset, value);
            return Ok(());
        }
        match index.iter().zip(self.shape()).find(|(index, size)| index >= size) {
            Some((&place, &size)) if index.len() == self.rank() => Err(outside(OP, "index", place, size)),
            _ => Err(ErrorKind::Length { op: OP, arg: "index", want: self.rank(), got: index.len() }.into()),
        }
    }

    /// Writes at an offset that the layout has yielded.
    fn store(&mut self, offset: isize, value: T) {
        // SAFETY: such an offset lies inside the buffer that starts at `base` (layout fact 2), which is borrowed
        // mutably for `'a`, and this element of it belongs to this view alone.
        unsafe { self.base.offset(offset).write(value) }
    }

    /// Writes `value` to every element.
    pub fn fill(&mut self, value: T) {
        if let Some(slice) = self.as_mut_slice() {
            slice.fill(value);
            return;
        }
        for offset in Offsets::new(self.layout) {
            self.store(offset, value);
        }
    }

    /// Writes what `f` returns to each element, in logical order.
    pub fn fill_with(&mut self, mut f: impl FnMut() -> T) {
        for offset in Offsets::new(self.layout) {
            self.store(offset, f());
        }
    }

    /// Copies every element of `source`, which must have this shape; [`View::broadcast_to`] may give it one.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if it has another.
    pub fn copy_from(&mut self, source: View<'_, T>) -> Result<()> {
        expect_shape("copy_from", "source", self.shape(), source.shape())?;
        if let (Some(to), Some(from)) = (self.as_mut_slice(), source.as_slice()) {
            to.copy_from_slice(from);
            return Ok(());
        }
        for (offset, value) in Offsets::new(self.layout).zip(source.iter()) {
            self.store(offset, value);
        }
        Ok(())
    }

    /// The elements as a slice, if they are contiguous.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> Option<&mut [T]> {
        self.reborrow().into_mut_slice()
    }

    /// The elements as a slice for the whole borrow, if they are contiguous.
    #[must_use]
    pub fn into_mut_slice(mut self) -> Option<&'a mut [T]> {
        // SAFETY: a contiguous layout reaches exactly the `len` elements from the first on, all in the buffer that is
        // borrowed mutably for `'a`, and they belong to this view alone, which is consumed.
        self.is_contiguous().then(|| unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr(), self.len()) })
    }
}

impl<T> fmt::Debug for View<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, "View", &self.layout)
    }
}

impl<T> fmt::Debug for ViewMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, "ViewMut", &self.layout)
    }
}

/// Shape and strides, but no elements: there may be many, and kernels print views in assertions.
fn describe(f: &mut fmt::Formatter<'_>, name: &str, layout: &Layout) -> fmt::Result {
    f.debug_struct(name).field("shape", &layout.shape()).field("strides", &layout.strides()).finish_non_exhaustive()
}
