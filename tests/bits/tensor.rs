//! Tensors whose elements lie in their buffers in several ways.

use handgrad::kernels::view::{Element, Mat, MatMut, View, ViewMut};

/// How the elements lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One behind the other.
    Dense,
    /// Rows of the last axis from the last to the first, with three elements between them.
    Apart,
    /// The axes stored in reverse order, every second element, the last axis backwards. Of matrices that must have
    /// adjacent columns, as [`Apart`](Layout::Apart).
    Turned,
}

impl Layout {
    pub(crate) const ALL: [Layout; 3] = [Layout::Dense, Layout::Apart, Layout::Turned];

    /// One whose columns are adjacent.
    pub(crate) fn adjacent(self) -> Self {
        if self == Layout::Turned { Layout::Apart } else { self }
    }

    fn strides(self, shape: &[usize]) -> Vec<isize> {
        let mut strides = vec![0; shape.len()];
        let mut next = if self == Layout::Turned { 2 } else { 1 };
        let mut place = |axis: usize| {
            strides[axis] = next;
            next *= shape[axis].max(1) as isize;
            if self == Layout::Apart && axis + 1 == shape.len() {
                next += 3;
            }
        };
        match self {
            Layout::Turned => (0..shape.len()).for_each(&mut place),
            Layout::Dense | Layout::Apart => (0..shape.len()).rev().for_each(&mut place),
        }
        let backwards = match self {
            Layout::Dense => None,
            Layout::Apart => shape.len().checked_sub(2),
            Layout::Turned => shape.len().checked_sub(1),
        };
        if let Some(axis) = backwards {
            strides[axis] = -strides[axis];
        }
        strides
    }
}

/// A tensor with its buffer.
pub(crate) struct Tensor<T = f32> {
    pub(crate) shape: Vec<usize>,
    strides: Vec<isize>,
    offset: usize,
    data: Vec<T>,
}

impl<T: Element> Tensor<T> {
    /// The elements in logical order, and what stands between them.
    pub(crate) fn new(layout: Layout, shape: &[usize], elements: &[T], between: T) -> Self {
        let strides = layout.strides(shape);
        let ends = || shape.iter().zip(&strides).map(|(&n, &stride)| n.saturating_sub(1) as isize * stride);
        let (low, high): (isize, isize) = (ends().map(|end| end.min(0)).sum(), ends().map(|end| end.max(0)).sum());
        let data = vec![between; (high - low) as usize + 1];
        let mut tensor = Self { shape: shape.to_vec(), strides, offset: -low as usize, data };
        let dense = View::new(elements, shape).expect("one element for each place");
        tensor.view_mut().copy_from(dense).expect("the same shape");
        tensor
    }

    pub(crate) fn view(&self) -> View<'_, T> {
        View::with_strides(&self.data, &self.shape, &self.strides, self.offset).expect("the buffer was made for it")
    }

    pub(crate) fn view_mut(&mut self) -> ViewMut<'_, T> {
        ViewMut::with_strides(&mut self.data, &self.shape, &self.strides, self.offset).expect("its strides nest")
    }
}

impl Tensor {
    pub(crate) fn mat(&self) -> Mat<'_> {
        self.view().try_into().expect("it has two axes")
    }

    pub(crate) fn mat_mut(&mut self) -> MatMut<'_> {
        self.view_mut().try_into().expect("it has two axes")
    }
}

#[test]
fn layouts_differ_and_hold_the_same() {
    let elements: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let strides = Layout::ALL.map(|layout| {
        let tensor = Tensor::new(layout, &[2, 3, 4], &elements, f32::NAN);
        assert_eq!(tensor.view().to_vec(), elements, "{layout:?}");
        tensor.strides
    });
    assert_eq!(strides, [[12, 4, 1], [21, -7, 1], [2, 4, -12]].map(Vec::from));
    assert_eq!(Tensor::new(Layout::Turned, &[], &[1.0_f32], f32::NAN).view().to_vec(), [1.0]);
}
