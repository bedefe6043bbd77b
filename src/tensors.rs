//! The one table of tensors: names, shapes and places in flat buffers. Sizes, offsets and views all come from it.

use crate::error::{Error, Result};
use handgrad_kernels::view::{Mat, MatMut, View, ViewMut};

/// Rows of internal buffers begin at multiples of this many floats: one register of the widest tier, one cache line.
pub(crate) const LINE: usize = 16;

/// Weights of fewer outputs than this, and than inputs, lie turned: whole registers of the rows instead of partly
/// filled ones of the columns. For the notebook's 200 x 27 that is 15 % of its weight gradient.
const NARROW: usize = 48;

/// A length rounded up to whole lines.
pub(crate) fn lines(len: usize) -> Result<usize> {
    len.checked_next_multiple_of(LINE).ok_or(Error::TooLarge)
}

/// [`lines`] of a length whose buffer exists, so that it cannot overflow.
#[inline]
pub(crate) const fn padded(len: usize) -> usize {
    len.next_multiple_of(LINE)
}

/// `a·b`, if it can be addressed.
pub(crate) fn product(a: usize, b: usize) -> Result<usize> {
    match a.checked_mul(b) {
        Some(product) if product <= isize::MAX as usize / size_of::<f32>() / 4 => Ok(product),
        _ => Err(Error::TooLarge),
    }
}

/// As many zeros, if there is room for them.
pub(crate) fn zeros<T: Copy + Default>(len: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| Error::TooLarge)?;
    values.resize(len, T::default());
    Ok(values)
}

/// A buffer of zeros whose first element is aligned to a cache line.
#[derive(Debug)]
pub(crate) struct Buffer {
    floats: Vec<f32>,
    start: usize,
    len: usize,
}

impl Buffer {
    pub(crate) fn zeros(len: usize) -> Result<Self> {
        let floats = zeros::<f32>(len.checked_add(LINE).ok_or(Error::TooLarge)?)?;
        // Only speed depends on the alignment, so an allocation that cannot be aligned is used as it is.
        let start = floats.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        Ok(Self { floats, start, len })
    }
}

impl Buffer {
    /// A buffer with the same contents.
    pub(crate) fn copy(&self) -> Result<Self> {
        let mut copy = Self::zeros(self.len)?;
        copy.copy_from_slice(self);
        Ok(copy)
    }
}

impl std::ops::Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.floats[self.start..self.start + self.len]
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.floats[self.start..self.start + self.len]
    }
}

/// Where a tensor lies in a flat buffer: `rows x cols`, rows `stride` apart (columns, if `turned`), starting on a cache
/// line. What lies between them is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) offset: usize,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) stride: usize,
    /// Whether each column lies adjacent instead of each row.
    pub(crate) turned: bool,
}

impl Slot {
    /// Floats from the first element to the end of the last row, padding included.
    pub(crate) fn span(self) -> usize {
        self.stride * if self.turned { self.cols } else { self.rows }
    }

    /// Its part of the buffer.
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.span()
    }

    #[inline]
    pub(crate) fn mat(self, buffer: &[f32]) -> handgrad_kernels::Result<Mat<'_>> {
        let part = &buffer[self.range()];
        if self.turned {
            return Ok(Mat::with_row_stride(part, self.cols, self.rows, self.stride)?.t());
        }
        Mat::with_row_stride(part, self.rows, self.cols, self.stride)
    }

    #[inline]
    pub(crate) fn mat_mut(self, buffer: &mut [f32]) -> handgrad_kernels::Result<MatMut<'_>> {
        let part = &mut buffer[self.range()];
        if self.turned {
            return Ok(MatMut::with_row_stride(part, self.cols, self.rows, self.stride)?.t());
        }
        MatMut::with_row_stride(part, self.rows, self.cols, self.stride)
    }
}

/// How a tensor is shown under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// As a vector: it has one row.
    Vector,
    /// As it is.
    Matrix,
    /// Transposed: a linear layer's weights are `inputs x outputs` and are shown as PyTorch's `[out, in]`.
    Transposed,
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) slot: Slot,
    pub(crate) shown: Shown,
}

/// Tensors that share one flat buffer, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    tensors: Vec<Tensor>,
    len: usize,
}

impl Table {
    /// Appends a tensor of `rows x cols`.
    pub(crate) fn push(&mut self, name: String, rows: usize, cols: usize, shown: Shown) -> Result<Slot> {
        let turned = shown == Shown::Transposed && cols < rows && cols < NARROW;
        let (count, length) = if turned { (cols, rows) } else { (rows, cols) };
        let stride = lines(length)?;
        let slot = Slot { offset: self.len, rows, cols, stride, turned };
        let end = self.len.checked_add(product(count, stride)?).ok_or(Error::TooLarge)?;
        self.len = product(end, 1)?;
        self.tensors.push(Tensor { name, slot, shown });
        Ok(slot)
    }

    /// Floats in the buffer.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Tensor> {
        self.tensors.iter()
    }

    fn find(&self, name: &str) -> Result<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.name == name).ok_or_else(|| {
            let known = self.tensors.iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>().join(", ");
            Error::UnknownTensor { name: name.to_owned(), known }
        })
    }

    /// The tensor of a name, as it is shown.
    pub(crate) fn view<'a>(&self, name: &str, buffer: &'a [f32]) -> Result<View<'a>> {
        let tensor = self.find(name)?;
        tensor.view(buffer)
    }

    /// The tensor of a name, to be written.
    pub(crate) fn view_mut<'a>(&self, name: &str, buffer: &'a mut [f32]) -> Result<ViewMut<'a>> {
        let Tensor { slot, shown, .. } = *self.find(name)?;
        let mat = slot.mat_mut(buffer)?;
        Ok(match shown {
            Shown::Vector => ViewMut::from(mat).squeeze(0)?,
            Shown::Matrix => mat.into(),
            Shown::Transposed => mat.t().into(),
        })
    }
}

impl Tensor {
    pub(crate) fn view<'a>(&self, buffer: &'a [f32]) -> Result<View<'a>> {
        let mat = self.slot.mat(buffer)?;
        Ok(match self.shown {
            Shown::Vector => View::from(mat).squeeze(0)?,
            Shown::Matrix => mat.into(),
            Shown::Transposed => mat.t().into(),
        })
    }
}
