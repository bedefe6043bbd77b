//! Matrices of `f32`: the two-axis views that matrix products and the training step take.
//!
//! Five words instead of a [`View`]'s nineteen, built without a loop: a training step makes dozens of them.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;

use super::layout::{Layout, check_len, check_range, limit, nests, outside, reach_fault};
use super::{View, ViewMut};
use crate::error::{Error, ErrorKind, Result, expect_shape};

/// A read-only matrix: element `(i, j)` lies `i·row_stride + j·col_stride` elements after the first.
///
/// Made like a [`View`] and with the same guarantee; strides may be negative, zero or overlap.
#[derive(Clone, Copy)]
pub struct Mat<'a> {
    raw: Raw,
    buffer: PhantomData<&'a [f32]>,
}

/// A writable matrix, each element reached by one index only.
///
/// Made like a [`ViewMut`] and with the same guarantee. Taking a part consumes it; [`reborrow`](Self::reborrow) first
/// to keep it.
pub struct MatMut<'a> {
    raw: Raw,
    buffer: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `Mat` only reads the `f32` it borrows, as a `&[f32]` does.
unsafe impl Send for Mat<'_> {}
// SAFETY: as above; a shared `Mat` does nothing that a copy of it does not.
unsafe impl Sync for Mat<'_> {}
// SAFETY: a `MatMut` is the only access to its elements, as a `&mut [f32]` is: only the splits make two of one, and one
// index belongs to one part.
unsafe impl Send for MatMut<'_> {}
// SAFETY: a shared `MatMut` can only be read.
unsafe impl Sync for MatMut<'_> {}

/// What the two share. The facts of a [`Layout`] hold with `first` for the buffer's start plus the offset.
#[derive(Clone, Copy)]
struct Raw {
    first: NonNull<f32>,
    rows: usize,
    cols: usize,
    row_stride: isize,
    col_stride: isize,
}

impl Raw {
    #[inline]
    fn dense(op: &'static str, data: NonNull<[f32]>, rows: usize, cols: usize) -> Result<Self> {
        let raw = Self { first: data.cast(), rows, cols, row_stride: cols as isize, col_stride: 1 };
        // A product that is the length of a slice and not zero is below the limit; the rest is rare.
        match rows.checked_mul(cols) {
            Some(len) if len == data.len() && len != 0 => Ok(raw),
            _ => Self::empty_or_wrong(op, data.len(), rows, cols).map(|()| raw),
        }
    }

    #[cold]
    fn empty_or_wrong(op: &'static str, got: usize, rows: usize, cols: usize) -> Result<()> {
        let want = check_len(op, &[rows, cols], got, limit::<f32>())?;
        if want == got { Ok(()) } else { Err(ErrorKind::Length { op, arg: "data", want, got }.into()) }
    }

    #[inline]
    fn spaced(op: &'static str, data: NonNull<[f32]>, rows: usize, cols: usize, row_stride: usize) -> Result<Self> {
        // A stride above `isize::MAX` passes only where it means nothing.
        let raw = Self { first: data.cast(), rows, cols, row_stride: row_stride as isize, col_stride: 1 };
        let end = rows.checked_sub(1).and_then(|last| last.checked_mul(row_stride)?.checked_add(cols));
        // No more elements than the slice has, so below the limit; the rest is rare.
        match (rows.checked_mul(cols), end) {
            (Some(len), Some(end)) if len != 0 && len <= data.len() && end <= data.len() => Ok(raw),
            _ => Self::empty_or_outside(op, data.len(), [rows, cols], end).map(|()| raw),
        }
    }

    #[cold]
    fn empty_or_outside(op: &'static str, len: usize, shape: [usize; 2], end: Option<usize>) -> Result<()> {
        let reason = match (check_len(op, &shape, len, limit::<f32>())?, end) {
            (0, _) => return Ok(()),
            (_, Some(end)) if end <= len => return Ok(()),
            (_, Some(_)) => "it reaches past the end",
            (_, None) => "the reach of its strides overflows",
        };
        Err(ErrorKind::Reach { op, shape: shape.into(), len, reason }.into())
    }

    fn strided(
        op: &'static str,
        data: NonNull<[f32]>,
        shape: [usize; 2],
        strides: [isize; 2],
        offset: usize,
    ) -> Result<Self> {
        check_len(op, &shape, data.len(), limit::<f32>())?;
        if let Some(reason) = reach_fault(&shape, &strides, offset, data.len()) {
            return Err(ErrorKind::Reach { op, shape: shape.into(), len: data.len(), reason }.into());
        }
        // SAFETY: `offset` is at most the length of `data`, or the reach would have had a fault.
        let first = unsafe { data.cast().add(offset) };
        Ok(Self { first, rows: shape[0], cols: shape[1], row_stride: strides[0], col_stride: strides[1] })
    }

    fn from_layout(op: &'static str, first: NonNull<f32>, layout: &Layout) -> Result<Self> {
        let (&[rows, cols], &[row_stride, col_stride]) = (layout.shape(), layout.strides()) else {
            return Err(ErrorKind::Value { op, arg: "rank", want: "2", got: layout.rank as f64 }.into());
        };
        Ok(Self { first, rows, cols, row_stride, col_stride })
    }

    fn layout(&self) -> Layout {
        let mut layout = Layout::row_major(&[self.rows, self.cols]);
        layout.strides[..2].copy_from_slice(&[self.row_stride, self.col_stride]);
        layout
    }

    #[inline]
    const fn is_empty(&self) -> bool {
        self.rows == 0 || self.cols == 0
    }

    #[inline]
    const fn t(self) -> Self {
        let Self { first, rows, cols, row_stride, col_stride } = self;
        Self { first, rows: cols, cols: rows, row_stride: col_stride, col_stride: row_stride }
    }

    #[inline]
    fn rows_at(self, op: &'static str, range: &Range<usize>) -> Result<Self> {
        check_range(op, range.start, range.end, self.rows)?;
        Ok(self.cut(range.start, range.end - range.start))
    }

    /// Keeps `rows` rows from `start` on, which must be there.
    #[inline]
    const fn cut(mut self, start: usize, rows: usize) -> Self {
        self.rows = rows;
        // With no element left there is nothing to point at, and `start` may be one past the end.
        if !self.is_empty() {
            // SAFETY: row `start` exists and has a first element, which the constructor found inside the buffer.
            self.first = unsafe { self.first.offset(start as isize * self.row_stride) };
        }
        self
    }

    #[inline]
    fn split_at_row(self, op: &'static str, arg: &'static str, row: usize) -> Result<(Self, Self)> {
        let rest = self.rows.checked_sub(row).ok_or_else(|| outside(op, arg, row, self.rows + 1))?;
        Ok((self.cut(0, row), self.cut(row, rest)))
    }
}

/// What the two kinds of matrix share.
macro_rules! shared {
    () => {
        #[inline]
        const fn wrap(raw: Raw) -> Self {
            Self { raw, buffer: PhantomData }
        }

        /// The number of rows.
        #[inline]
        #[must_use]
        pub const fn rows(&self) -> usize {
            self.raw.rows
        }

        /// The number of columns.
        #[inline]
        #[must_use]
        pub const fn cols(&self) -> usize {
            self.raw.cols
        }

        /// The elements from one row to the next; of fewer than two rows it means nothing.
        #[inline]
        #[must_use]
        pub const fn row_stride(&self) -> isize {
            self.raw.row_stride
        }

        /// The elements from one column to the next; of fewer than two columns it means nothing.
        #[inline]
        #[must_use]
        pub const fn col_stride(&self) -> isize {
            self.raw.col_stride
        }

        /// Whether there is no element.
        #[inline]
        #[must_use]
        pub const fn is_empty(&self) -> bool {
            self.raw.is_empty()
        }

        /// The address of element `(0, 0)`; of an empty matrix, some address inside or at the end of its buffer.
        #[inline]
        #[must_use]
        pub const fn as_ptr(&self) -> *const f32 {
            self.raw.first.as_ptr()
        }

        /// One element; `None` outside.
        #[inline]
        #[must_use]
        pub fn get(&self, row: usize, col: usize) -> Option<f32> {
            if row >= self.raw.rows || col >= self.raw.cols {
                return None;
            }
            let offset = row as isize * self.raw.row_stride + col as isize * self.raw.col_stride;
            // SAFETY: the constructor found every element of the matrix inside its buffer, which is still borrowed.
            Some(unsafe { self.raw.first.offset(offset).read() })
        }

        /// The transposed matrix.
        #[inline]
        #[must_use]
        pub const fn t(self) -> Self {
            Self::wrap(self.raw.t())
        }

        /// The rows of a range.
        ///
        /// # Errors
        /// [`ErrorKind::Index`] if it ends after the last row or before it starts.
        #[inline]
        pub fn rows_at(self, rows: Range<usize>) -> Result<Self> {
            self.raw.rows_at("rows_at", &rows).map(Self::wrap)
        }

        /// The columns of a range.
        ///
        /// # Errors
        /// [`ErrorKind::Index`] if it ends after the last column or before it starts.
        #[inline]
        pub fn cols_at(self, cols: Range<usize>) -> Result<Self> {
            self.raw.t().rows_at("cols_at", &cols).map(|raw| Self::wrap(raw.t()))
        }

        /// The rows before `row`, and the rest. The parts have no element in common.
        ///
        /// # Errors
        /// [`ErrorKind::Index`] if `row` is above the number of rows.
        #[inline]
        pub fn split_at_row(self, row: usize) -> Result<(Self, Self)> {
            let (above, below) = self.raw.split_at_row("split_at_row", "row", row)?;
            Ok((Self::wrap(above), Self::wrap(below)))
        }

        /// The columns before `col`, and the rest. The parts have no element in common.
        ///
        /// # Errors
        /// [`ErrorKind::Index`] if `col` is above the number of columns.
        #[inline]
        pub fn split_at_col(self, col: usize) -> Result<(Self, Self)> {
            let (left, right) = self.raw.t().split_at_row("split_at_col", "col", col)?;
            Ok((Self::wrap(left.t()), Self::wrap(right.t())))
        }

        /// [`rows_at`](Self::rows_at) for kernels, whose ranges are facts.
        #[inline(always)]
        pub(crate) fn rows_in(self, rows: Range<usize>) -> Self {
            assert!(rows.start <= rows.end && rows.end <= self.raw.rows, "a kernel cut rows outside its matrix");
            Self::wrap(self.raw.cut(rows.start, rows.end - rows.start))
        }

        /// [`cols_at`](Self::cols_at) for kernels, whose ranges are facts.
        #[inline(always)]
        pub(crate) fn cols_in(self, cols: Range<usize>) -> Self {
            self.t().rows_in(cols).t()
        }

        /// Whether the elements of each row follow each other, so that a row can be read by registers.
        #[inline]
        pub(crate) const fn is_adjacent(&self) -> bool {
            self.raw.cols <= 1 || self.raw.col_stride == 1
        }

        /// Checks the shape.
        ///
        /// # Errors
        /// [`ErrorKind::Shape`] if it is another.
        #[inline(always)]
        pub(crate) fn expect_size(&self, op: &'static str, arg: &'static str, rows: usize, cols: usize) -> Result<()> {
            // Numbers, not arrays of them: an array that was just stored in halves is slow to read as a whole.
            if self.raw.rows == rows && self.raw.cols == cols {
                return Ok(());
            }
            expect_shape(op, arg, &[rows, cols], &[self.raw.rows, self.raw.cols])
        }

        /// Checks the shape, and that the elements of each row follow each other.
        ///
        /// # Errors
        /// [`ErrorKind::Shape`] or [`ErrorKind::Adjacent`] if it is another.
        #[inline(always)]
        pub(crate) fn expect(&self, op: &'static str, arg: &'static str, rows: usize, cols: usize) -> Result<()> {
            self.expect_size(op, arg, rows, cols)?;
            self.expect_adjacent(op, arg)
        }

        /// Checks that the elements of each row follow each other.
        ///
        /// # Errors
        /// [`ErrorKind::Adjacent`] if they do not.
        #[inline]
        pub(crate) fn expect_adjacent(&self, op: &'static str, arg: &'static str) -> Result<()> {
            if self.is_adjacent() {
                return Ok(());
            }
            Err(ErrorKind::Adjacent { op, arg, got: self.raw.col_stride }.into())
        }
    };
}

impl<'a> Mat<'a> {
    /// All of `data` as a row-major matrix.
    ///
    /// # Errors
    /// [`ErrorKind::Length`] unless `data` has `rows·cols` elements, [`ErrorKind::Reach`] if that overflows.
    #[inline]
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Result<Self> {
        Raw::dense("Mat::new", data.into(), rows, cols).map(Self::wrap)
    }

    /// Rows of `cols` adjacent elements that begin `row_stride` apart.
    ///
    /// # Errors
    /// [`ErrorKind::Reach`] if `data` has fewer than `(rows - 1)·row_stride + cols` elements.
    #[inline]
    pub fn with_row_stride(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Result<Self> {
        Raw::spaced("Mat::with_row_stride", data.into(), rows, cols, row_stride).map(Self::wrap)
    }

    /// Element `(i, j)` stands for `data[offset + i·row_stride + j·col_stride]`; strides may be negative or zero.
    ///
    /// # Errors
    /// [`ErrorKind::Reach`] if an element lies outside `data`.
    pub fn with_strides(
        data: &'a [f32],
        rows: usize,
        cols: usize,
        row_stride: isize,
        col_stride: isize,
        offset: usize,
    ) -> Result<Self> {
        let (shape, strides) = ([rows, cols], [row_stride, col_stride]);
        Raw::strided("Mat::with_strides", data.into(), shape, strides, offset).map(Self::wrap)
    }

    /// The first `rows·cols` elements of `data`, which a kernel has made long enough.
    #[inline]
    pub(crate) fn from_prefix(data: &'a [f32], rows: usize, cols: usize) -> Self {
        let data = &data[..rows * cols];
        Self::wrap(Raw { first: NonNull::from(data).cast(), rows, cols, row_stride: cols as isize, col_stride: 1 })
    }

    /// The block of a kernel's operand that begins at `first`.
    ///
    /// # Safety
    /// Every index of `shape` leads, by `strides`, to an element that is borrowed for `'a`.
    #[inline]
    pub(crate) unsafe fn from_parts(first: *const f32, shape: [usize; 2], strides: [isize; 2]) -> Self {
        debug_assert!(!first.is_null());
        // SAFETY: an address inside a buffer or at its end is not null.
        let first = unsafe { NonNull::new_unchecked(first.cast_mut()) };
        Self::wrap(Raw { first, rows: shape[0], cols: shape[1], row_stride: strides[0], col_stride: strides[1] })
    }

    /// All of `data` as one row.
    #[inline]
    #[must_use]
    pub fn from_row(data: &'a [f32]) -> Self {
        Self::from_prefix(data, 1, data.len())
    }

    /// `rows` rows, all the first one of this matrix. Without a row to repeat, none.
    #[inline]
    pub(crate) const fn repeat_rows(self, rows: usize) -> Self {
        let rows = if self.raw.rows == 0 { 0 } else { rows };
        Self::wrap(Raw { rows, row_stride: 0, ..self.raw })
    }

    shared!();
}

impl<'a> MatMut<'a> {
    /// All of `data` as a row-major matrix.
    ///
    /// # Errors
    /// As [`Mat::new`].
    #[inline]
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Result<Self> {
        Raw::dense("MatMut::new", data.into(), rows, cols).map(Self::wrap)
    }

    /// Rows of `cols` adjacent elements that begin `row_stride` apart.
    ///
    /// # Errors
    /// As [`Mat::with_row_stride`], and [`ErrorKind::Overlap`] if one row begins before the last one ends.
    #[inline]
    pub fn with_row_stride(data: &'a mut [f32], rows: usize, cols: usize, row_stride: usize) -> Result<Self> {
        const OP: &str = "MatMut::with_row_stride";
        let raw = Raw::spaced(OP, data.into(), rows, cols, row_stride)?;
        // What nesting comes to with a column stride of one.
        if rows > 1 && row_stride < cols {
            return Err(overlap(OP, rows, cols));
        }
        Ok(Self::wrap(raw))
    }

    /// Element `(i, j)` stands for `data[offset + i·row_stride + j·col_stride]`; strides may be negative.
    ///
    /// # Errors
    /// As [`Mat::with_strides`], and [`ErrorKind::Overlap`] unless the strides nest (see the [module](super)).
    pub fn with_strides(
        data: &'a mut [f32],
        rows: usize,
        cols: usize,
        row_stride: isize,
        col_stride: isize,
        offset: usize,
    ) -> Result<Self> {
        const OP: &str = "MatMut::with_strides";
        let (shape, strides) = ([rows, cols], [row_stride, col_stride]);
        let raw = Raw::strided(OP, data.into(), shape, strides, offset)?;
        if !nests(&shape, &strides) {
            return Err(overlap(OP, rows, cols));
        }
        Ok(Self::wrap(raw))
    }

    /// The first `rows·cols` elements of `data`, which a kernel has made long enough.
    #[inline]
    pub(crate) fn from_prefix(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        let data = &mut data[..rows * cols];
        Self::wrap(Raw { first: NonNull::from(data).cast(), rows, cols, row_stride: cols as isize, col_stride: 1 })
    }

    /// The block of a kernel's output that begins at `first`.
    ///
    /// # Safety
    /// Every index of `shape` leads, by `strides`, to an element of its own that is borrowed mutably for `'a`.
    #[inline]
    pub(crate) unsafe fn from_parts(first: *mut f32, shape: [usize; 2], strides: [isize; 2]) -> Self {
        debug_assert!(!first.is_null());
        // SAFETY: an address inside a buffer or at its end is not null.
        let first = unsafe { NonNull::new_unchecked(first) };
        Self::wrap(Raw { first, rows: shape[0], cols: shape[1], row_stride: strides[0], col_stride: strides[1] })
    }

    /// All of `data` as one row.
    #[inline]
    #[must_use]
    pub fn from_row(data: &'a mut [f32]) -> Self {
        let cols = data.len();
        Self::from_prefix(data, 1, cols)
    }

    shared!();

    /// The address of element `(0, 0)`, for writing; see [`as_ptr`](Self::as_ptr).
    #[inline]
    #[must_use]
    pub const fn as_mut_ptr(&mut self) -> *mut f32 {
        self.raw.first.as_ptr()
    }

    /// [`split_at_row`](Self::split_at_row) for kernels, whose cuts are facts.
    #[inline(always)]
    pub(crate) fn cut_row(self, row: usize) -> (Self, Self) {
        let Self { raw, .. } = self;
        assert!(row <= raw.rows, "a kernel cut its matrix outside");
        (Self::wrap(raw.cut(0, row)), Self::wrap(raw.cut(row, raw.rows - row)))
    }

    /// [`split_at_col`](Self::split_at_col) for kernels, whose cuts are facts.
    #[inline(always)]
    pub(crate) fn cut_col(self, col: usize) -> (Self, Self) {
        let (left, right) = self.t().cut_row(col);
        (left.t(), right.t())
    }

    /// One element to write, which a kernel knows to be inside.
    #[inline]
    pub(crate) fn at(&mut self, row: usize, col: usize) -> &mut f32 {
        assert!(row < self.raw.rows && col < self.raw.cols, "a kernel wrote outside its matrix");
        let offset = row as isize * self.raw.row_stride + col as isize * self.raw.col_stride;
        // SAFETY: the constructor found every element of the matrix inside its buffer, which is borrowed for writing.
        unsafe { &mut *self.raw.first.as_ptr().offset(offset) }
    }

    /// The same elements, for reading while this matrix is borrowed.
    #[inline]
    #[must_use]
    pub const fn as_mat(&self) -> Mat<'_> {
        Mat::wrap(self.raw)
    }

    /// The same matrix for a shorter time, so that a split does not consume this one.
    #[inline]
    #[must_use]
    pub const fn reborrow(&mut self) -> MatMut<'_> {
        MatMut::wrap(self.raw)
    }

    /// Writes `value` to every element.
    pub fn fill(&mut self, value: f32) {
        ViewMut::from(self.reborrow()).fill(value);
    }
}

#[cold]
fn overlap(op: &'static str, rows: usize, cols: usize) -> Error {
    ErrorKind::Overlap { op, shape: [rows, cols].into() }.into()
}

impl<'a> From<Mat<'a>> for View<'a> {
    fn from(mat: Mat<'a>) -> Self {
        View { base: mat.raw.first, layout: mat.raw.layout(), buffer: PhantomData }
    }
}

impl<'a> From<MatMut<'a>> for ViewMut<'a> {
    fn from(mat: MatMut<'a>) -> Self {
        ViewMut { base: mat.raw.first, layout: mat.raw.layout(), buffer: PhantomData }
    }
}

/// Fails with [`ErrorKind::Value`] unless the rank is 2.
impl<'a> TryFrom<View<'a>> for Mat<'a> {
    type Error = Error;

    fn try_from(view: View<'a>) -> Result<Self> {
        Raw::from_layout("Mat::try_from", view.first(), &view.layout).map(Self::wrap)
    }
}

/// Fails with [`ErrorKind::Value`] unless the rank is 2.
impl<'a> TryFrom<ViewMut<'a>> for MatMut<'a> {
    type Error = Error;

    fn try_from(view: ViewMut<'a>) -> Result<Self> {
        Raw::from_layout("MatMut::try_from", view.first(), &view.layout).map(Self::wrap)
    }
}

impl fmt::Debug for Mat<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::describe(f, "Mat", &self.raw.layout())
    }
}

impl fmt::Debug for MatMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::describe(f, "MatMut", &self.raw.layout())
    }
}
