//! The methods that [`View`](super::View) and [`ViewMut`](super::ViewMut) share: one text, so that they cannot differ.

/// Accessors, and transformations from `self` to `Self`, which consume a view that is not `Copy`.
macro_rules! shared {
    () => {
        /// The number of axes, 0 to 8.
        #[must_use]
        pub const fn rank(&self) -> usize {
            self.layout.rank
        }

        /// The sizes, outermost axis first.
        #[must_use]
        pub fn shape(&self) -> &[usize] {
            self.layout.shape()
        }

        /// The strides in elements, one for each axis.
        #[must_use]
        pub fn strides(&self) -> &[isize] {
            self.layout.strides()
        }

        /// The number of elements: the product of the sizes, 1 for a scalar.
        #[must_use]
        pub const fn len(&self) -> usize {
            self.layout.len()
        }

        /// Whether there is no element.
        #[must_use]
        pub const fn is_empty(&self) -> bool {
            self.layout.is_empty()
        }

        /// Whether the elements lie in memory in logical order, without gaps.
        #[must_use]
        pub const fn is_contiguous(&self) -> bool {
            self.layout.is_contiguous()
        }

        /// The address of the first element in logical order; of an empty view, some address inside or at the end of
        /// its buffer.
        #[must_use]
        pub const fn as_ptr(&self) -> *const T {
            self.first().as_ptr()
        }

        const fn first(&self) -> NonNull<T> {
            // SAFETY: the layout's offset lies in the buffer that starts at `base`, or at its end if the view is empty
            // (layout facts 2 and 3); a buffer is at most `isize::MAX` bytes.
            unsafe { self.base.offset(self.layout.offset) }
        }

        /// Another layout of the same buffer, made from this view's.
        const fn with(self, layout: Layout) -> Self {
            Self { base: self.base, layout, buffer: PhantomData }
        }

        /// The elements of a range of an axis: `1..3`, `2..`, `..-1`, `-3..=-2`. (Clippy takes a literal `1..-1` for an
        /// empty range; [`index`](Self::index) has `index![1:-1]`.)
        ///
        /// # Errors
        /// [`ErrorKind::Axis`], or [`ErrorKind::Index`] if a bound is outside the axis or the start is after the end;
        /// nothing is clipped.
        pub fn slice(self, axis: isize, range: impl std::ops::RangeBounds<isize>) -> Result<Self> {
            self.layout.slice(axis, &range).map(|layout| self.with(layout))
        }

        /// `len` indices of an axis from `start` on.
        ///
        /// # Errors
        /// [`ErrorKind::Axis`], or [`ErrorKind::Index`] if the axis is shorter.
        pub fn narrow(self, axis: isize, start: usize, len: usize) -> Result<Self> {
            self.layout.narrow(axis, start, len).map(|layout| self.with(layout))
        }

        /// Every `step`-th index of an axis, from the last one backwards if negative: `a[::step]`.
        ///
        /// # Errors
        /// [`ErrorKind::Axis`], or [`ErrorKind::Value`] if the step is 0.
        pub fn step(self, axis: isize, step: isize) -> Result<Self> {
            self.layout.step(axis, step).map(|layout| self.with(layout))
        }

        /// An axis in reverse.
        ///
        /// # Errors
        /// [`ErrorKind::Axis`].
        pub fn flip(self, axis: isize) -> Result<Self> {
            self.layout.flip(axis).map(|layout| self.with(layout))
        }

        /// One index of an axis; the axis is dropped.
        ///
        /// # Errors
        /// [`ErrorKind::Axis`], or [`ErrorKind::Index`] if the index is outside.
        pub fn select(self, axis: isize, index: isize) -> Result<Self> {
            self.layout.select(axis, index).map(|layout| self.with(layout))
        }

        /// NumPy's basic indexing; [`index!`](crate::index!) writes the items.
        ///
        /// # Errors
        /// [`ErrorKind::Axis`] if there are more items than axes, [`ErrorKind::Index`] if a single index is outside,
        /// [`ErrorKind::Value`] for a step of 0, a second ellipsis or a result of more than 8 axes. Ranges are clipped.
        pub fn index(self, items: &[Index]) -> Result<Self> {
            self.layout.index(items).map(|layout| self.with(layout))
        }

        /// Two axes exchanged.
        ///
        /// # Errors
        /// [`ErrorKind::Axis`].
        pub fn transpose(self, a: isize, b: isize) -> Result<Self> {
            self.layout.transpose(a, b).map(|layout| self.with(layout))
        }

        /// A matrix transposed; scalars and vectors are left as they are.
        ///
        /// # Errors
        /// [`ErrorKind::Value`] above rank 2.
        pub fn t(self) -> Result<Self> {
            self.layout.t().map(|layout| self.with(layout))
        }

        /// All axes in a new order: axis `i` of the result is axis `axes[i]`.
        ///
        /// # Errors
        /// [`ErrorKind::Length`] unless there are as many as axes, [`ErrorKind::Axis`] if one is outside or repeated.
        pub fn permute(self, axes: &[isize]) -> Result<Self> {
            self.layout.permute(axes).map(|layout| self.with(layout))
        }

        /// One axis moved to another place, the others in their order.
        ///
        /// # Errors
        /// [`ErrorKind::Axis`].
        pub fn movedim(self, source: isize, destination: isize) -> Result<Self> {
            self.layout.movedim(source, destination).map(|layout| self.with(layout))
        }

        /// Several axes moved, each to the place in the result that stands beside it, the others in their order.
        ///
        /// # Errors
        /// [`ErrorKind::Length`] unless there are as many places as axes, [`ErrorKind::Axis`] if one is outside or
        /// named twice.
        pub fn movedims(self, source: &[isize], destination: &[isize]) -> Result<Self> {
            self.layout.movedims(source, destination).map(|layout| self.with(layout))
        }

        /// The elements in the same logical order under another shape; one size may be -1, to be worked out.
        ///
        /// # Errors
        /// [`ErrorKind::Length`] if the shape has another number of elements, [`ErrorKind::Value`] for other negative
        /// sizes, a second -1 or one that is undetermined, [`ErrorKind::Reach`] if the strides would need a copy.
        pub fn reshape(self, shape: &[isize]) -> Result<Self> {
            self.layout.reshape(shape, limit::<T>()).map(|layout| self.with(layout))
        }

        /// The axes from `start` to `end`, both included, as one; a scalar becomes a vector.
        ///
        /// # Errors
        /// [`ErrorKind::Axis`], or [`ErrorKind::Reach`] if the strides would need a copy.
        pub fn flatten(self, start: isize, end: isize) -> Result<Self> {
            self.layout.flatten(start, end).map(|layout| self.with(layout))
        }

        /// One axis as several; one size may be -1, to be worked out.
        ///
        /// # Errors
        /// [`ErrorKind::Axis`], or as [`reshape`](Self::reshape), though any strides will do.
        pub fn unflatten(self, axis: isize, shape: &[isize]) -> Result<Self> {
            self.layout.unflatten(axis, shape, limit::<T>()).map(|layout| self.with(layout))
        }

        /// Drops an axis of size 1.
        ///
        /// # Errors
        /// [`ErrorKind::Axis`], also if its size is not 1.
        pub fn squeeze(self, axis: isize) -> Result<Self> {
            self.layout.squeeze(axis).map(|layout| self.with(layout))
        }

        /// Drops every axis of size 1.
        #[must_use]
        pub fn squeeze_all(self) -> Self {
            let layout = self.layout.squeeze_all();
            self.with(layout)
        }

        /// A new axis of size 1, which is axis `axis` of the result.
        ///
        /// # Errors
        /// [`ErrorKind::Axis`], or [`ErrorKind::Value`] if there are 8 axes already.
        pub fn unsqueeze(self, axis: isize) -> Result<Self> {
            self.layout.unsqueeze(axis).map(|layout| self.with(layout))
        }

        /// The indices before `index` of an axis, and the rest. The halves have no element in common.
        ///
        /// # Errors
        /// [`ErrorKind::Axis`], or [`ErrorKind::Index`] if `index` is above the size.
        pub fn split_at(self, axis: isize, index: usize) -> Result<(Self, Self)> {
            let (head, tail) = self.layout.split_at(axis, index)?;
            let (base, buffer) = (self.base, PhantomData);
            Ok((Self { base, layout: head, buffer }, Self { base, layout: tail, buffer }))
        }

        /// Disjoint pieces of an axis with the sizes given, which must add up to the axis.
        ///
        /// # Errors
        /// [`ErrorKind::Axis`], or [`ErrorKind::Length`] if they do not.
        pub fn split(self, axis: isize, sizes: &[usize]) -> Result<Pieces<'_, Self>> {
            let layout = self.layout;
            Pieces::listed(self, &layout, axis, sizes)
        }

        /// Disjoint pieces of an axis with `size` indices each, the last one perhaps fewer.
        ///
        /// # Errors
        /// [`ErrorKind::Axis`], or [`ErrorKind::Value`] if the size is 0.
        pub fn split_every(self, axis: isize, size: usize) -> Result<Pieces<'static, Self>> {
            let layout = self.layout;
            Pieces::every(self, &layout, axis, size)
        }

        /// At most `chunks` disjoint pieces of an axis, of equal size but for the last one. As in PyTorch they can be
        /// fewer, 6 indices in 4 chunks being 2 + 2 + 2.
        ///
        /// # Errors
        /// [`ErrorKind::Axis`], or [`ErrorKind::Value`] if `chunks` is 0.
        pub fn chunk(self, axis: isize, chunks: usize) -> Result<Pieces<'static, Self>> {
            let layout = self.layout;
            Pieces::chunks(self, &layout, axis, chunks)
        }
    };
}

pub(super) use shared;
