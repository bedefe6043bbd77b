//! Tensors of any rank in buffers of their own, laid out in every way a view allows, with guards between the elements.

use handgrad_kernels::view::{Element, View, ViewMut};

/// How the elements of a tensor lie in their buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Row-major, nothing between or behind.
    Dense,
    /// Rows of the last axis with three elements between them.
    Padded,
    /// The axes stored in reverse order.
    Transposed,
    /// The last two axes stored in reverse order.
    Swapped,
    /// Every axis backwards.
    Reversed,
    /// Every second element.
    Stepped,
    /// The first index of the first axis everywhere (inputs only).
    RepeatedFirst,
    /// The first index of the last axis everywhere (inputs only).
    RepeatedLast,
}

impl Layout {
    /// Those fit for outputs.
    pub(crate) const OUTPUTS: [Layout; 6] =
        [Layout::Dense, Layout::Padded, Layout::Transposed, Layout::Swapped, Layout::Reversed, Layout::Stepped];
    /// All of them.
    pub(crate) const ALL: [Layout; 8] = [
        Layout::Dense,
        Layout::Padded,
        Layout::Transposed,
        Layout::Swapped,
        Layout::Reversed,
        Layout::Stepped,
        Layout::RepeatedFirst,
        Layout::RepeatedLast,
    ];

    fn strides(self, shape: &[usize]) -> Vec<isize> {
        let mut strides = vec![0; shape.len()];
        let mut order: Vec<usize> = (0..shape.len()).collect();
        match self {
            Layout::Transposed => order.reverse(),
            Layout::Swapped if shape.len() > 1 => order.swap(shape.len() - 2, shape.len() - 1),
            _ => {}
        }
        let mut next = if self == Layout::Stepped { 2 } else { 1 };
        for (place, &axis) in order.iter().rev().enumerate() {
            strides[axis] = if self == Layout::Reversed { -next } else { next };
            next *= shape[axis].max(1) as isize;
            if place == 0 && self == Layout::Padded {
                next += 3;
            }
        }
        match self {
            Layout::RepeatedFirst if !shape.is_empty() => strides[0] = 0,
            Layout::RepeatedLast if !shape.is_empty() => strides[shape.len() - 1] = 0,
            _ => {}
        }
        strides
    }
}

/// A tensor with its buffer.
#[derive(Clone, Debug)]
pub(crate) struct Tensor<T = f32> {
    pub(crate) shape: Vec<usize>,
    strides: Vec<isize>,
    offset: usize,
    data: Vec<T>,
    guard: T,
}

/// Every index of a shape, in row-major order.
pub(crate) fn indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + use<> {
    let shape = shape.to_vec();
    (0..shape.iter().product()).map(move |mut number: usize| {
        let mut index = vec![0; shape.len()];
        for (place, &size) in index.iter_mut().zip(&shape).rev() {
            *place = number % size;
            number /= size;
        }
        index
    })
}

impl<T: Element> Tensor<T> {
    /// The elements of a row-major slice; a layout that repeats elements keeps the first of each.
    pub(crate) fn new(layout: Layout, shape: &[usize], values: &[T], guard: T) -> Self {
        assert_eq!(values.len(), shape.iter().product::<usize>());
        let strides = layout.strides(shape);
        let reach = |sign: isize| -> isize {
            let far = shape.iter().zip(&strides).map(|(&size, &stride)| (size as isize - 1) * stride);
            far.filter(|far| far * sign > 0).sum()
        };
        let (below, above) = if values.is_empty() { (0, -1) } else { (reach(-1), reach(1)) };
        let len = (above - below + 1) as usize;
        let mut tensor =
            Self { shape: shape.to_vec(), strides, offset: -below as usize, data: vec![guard; len], guard };
        let places: Vec<_> = indices(shape).map(|index| tensor.place(&index)).collect();
        for (&place, &value) in places.iter().zip(values).rev() {
            tensor.data[place] = value;
        }
        tensor
    }

    fn place(&self, index: &[usize]) -> usize {
        let offset: isize = index.iter().zip(&self.strides).map(|(&index, &stride)| index as isize * stride).sum();
        (self.offset as isize + offset) as usize
    }

    pub(crate) fn view(&self) -> View<'_, T> {
        View::with_strides(&self.data, &self.shape, &self.strides, self.offset).unwrap()
    }

    pub(crate) fn view_mut(&mut self) -> ViewMut<'_, T> {
        ViewMut::with_strides(&mut self.data, &self.shape, &self.strides, self.offset).unwrap()
    }

    /// The elements in logical order.
    pub(crate) fn to_vec(&self) -> Vec<T> {
        indices(&self.shape).map(|index| self.data[self.place(&index)]).collect()
    }

    /// Fails if anything but an element has been written; `same` compares.
    pub(crate) fn assert_guards(&self, what: impl std::fmt::Display, same: impl Fn(T, T) -> bool) {
        let mut element = vec![false; self.data.len()];
        for index in indices(&self.shape) {
            element[self.place(&index)] = true;
        }
        for (place, (&value, element)) in self.data.iter().zip(element).enumerate() {
            assert!(element || same(value, self.guard), "{what}: place {place} was overwritten with {value:?}");
        }
    }
}

/// What stands in every place that is no element.
const GUARD: u32 = 0x7fc0_dead;

impl Tensor {
    /// Values with guards that are NaN, so that reading one shows.
    pub(crate) fn values(layout: Layout, shape: &[usize], values: &[f32]) -> Self {
        Self::new(layout, shape, values, f32::from_bits(GUARD))
    }

    /// An output, NaN everywhere.
    pub(crate) fn poisoned(layout: Layout, shape: &[usize]) -> Self {
        Self::values(layout, shape, &vec![f32::NAN; shape.iter().product()])
    }

    /// Fails if anything but an element has been written.
    pub(crate) fn assert_intact(&self, what: impl std::fmt::Display) {
        self.assert_guards(what, |a, b| a.to_bits() == b.to_bits());
    }
}
