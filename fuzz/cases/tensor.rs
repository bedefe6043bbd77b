//! Tensors of any rank whose axes lie in any order, backwards, with gaps, or repeated.

use super::input::Bytes;
use handgrad_kernels::view::{View, ViewMut};

/// What stands between the elements of a tensor.
const GUARD: u32 = 0x7fc0_dead;

/// All indices of a shape, in logical order.
pub(crate) fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![Vec::new()], |before, &n| {
        let longer = |index: Vec<usize>| (0..n).map(move |i| [&index[..], &[i]].concat());
        before.into_iter().flat_map(longer).collect()
    })
}

/// A tensor in a buffer that ends where it does.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    strides: Vec<isize>,
    offset: usize,
    data: Vec<f32>,
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} with strides {:?}", self.shape, self.strides)
    }
}

impl Tensor {
    /// Axes in any order, each perhaps backwards, with gaps, or, if it `repeats`, at stride 0.
    pub(crate) fn read(bytes: &mut Bytes<'_>, shape: &[usize], repeats: bool, draw: impl FnMut() -> f32) -> Self {
        let rank = shape.len();
        let mut order: Vec<usize> = (0..rank).rev().collect();
        let kind = bytes.next();
        if kind % 4 == 1 {
            (1..rank).for_each(|i| order.swap(i, bytes.below(i + 1)));
        }
        let (mut strides, mut next) = (vec![0; rank], 1 + isize::from(kind % 4 == 2));
        for axis in order {
            let how = if kind.is_multiple_of(4) { 0 } else { bytes.next() };
            strides[axis] = match how % 8 {
                1 | 2 => -next,
                3 if repeats => 0,
                _ => next,
            };
            next = next * shape[axis].max(1) as isize + isize::from(how >> 6);
        }
        Self::new(shape, strides, draw)
    }

    fn new(shape: &[usize], strides: Vec<isize>, mut draw: impl FnMut() -> f32) -> Self {
        let ends = || shape.iter().zip(&strides).map(|(&n, &stride)| n.saturating_sub(1) as isize * stride);
        let (low, high): (isize, isize) = (ends().map(|end| end.min(0)).sum(), ends().map(|end| end.max(0)).sum());
        let len = if shape.contains(&0) { 0 } else { (high - low) as usize + 1 };
        let offset = if len == 0 { 0 } else { -low as usize };
        let mut tensor = Self { shape: shape.to_vec(), strides, offset, data: vec![f32::from_bits(GUARD); len] };
        for place in tensor.places() {
            tensor.data[place] = draw();
        }
        tensor
    }

    /// The same elements one behind the other.
    pub(crate) fn dense(&self) -> Self {
        let (mut strides, mut next) = (vec![0; self.shape.len()], 1);
        for (stride, &n) in strides.iter_mut().zip(&self.shape).rev() {
            *stride = next;
            next *= n.max(1) as isize;
        }
        let mut elements = self.elements().into_iter();
        Self::new(&self.shape, strides, || elements.next().expect("there are as many elements"))
    }

    /// The place of each element, in logical order.
    fn places(&self) -> Vec<usize> {
        let place = |index: Vec<usize>| {
            let moved: isize = index.iter().zip(&self.strides).map(|(&i, &stride)| i as isize * stride).sum();
            (self.offset as isize + moved) as usize
        };
        indices(&self.shape).into_iter().map(place).collect()
    }

    pub(crate) fn elements(&self) -> Vec<f32> {
        self.places().into_iter().map(|place| self.data[place]).collect()
    }

    pub(crate) fn bits(&self) -> Vec<u32> {
        self.data.iter().map(|x| x.to_bits()).collect()
    }

    pub(crate) fn view(&self) -> View<'_> {
        View::with_strides(&self.data, &self.shape, &self.strides, self.offset).expect("the buffer was made for it")
    }

    pub(crate) fn view_mut(&mut self) -> ViewMut<'_> {
        ViewMut::with_strides(&mut self.data, &self.shape, &self.strides, self.offset).expect("its strides nest")
    }

    pub(crate) fn expect_only_elements_changed(&self, before: &Self) {
        let mut element = vec![false; self.data.len()];
        self.places().into_iter().for_each(|place| element[place] = true);
        let touched = |&place: &usize| !element[place] && self.data[place].to_bits() != before.data[place].to_bits();
        let touched = (0..self.data.len()).find(touched);
        assert!(touched.is_none(), "place {touched:?} around {self:?} was written");
    }
}
