//! Matrices in buffers of their own, laid out in every way a view allows, with guards wherever there is room.

use super::{Mat, MatMut};

/// What stands in every place that is no element: NaN, so that reading it shows, with bits of its own, so that writing
/// it shows.
const GUARD: u32 = 0x7fc0_dead;

/// What an output holds beforehand.
pub(crate) const POISON: f32 = f32::NAN;

/// How the elements of a matrix lie in their buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Row after row, nothing between or behind.
    Dense,
    /// Rows with three elements between them.
    Padded,
    /// Rows in reverse order, with two elements between them.
    UpsideDown,
    /// Column after column, nothing between or behind.
    Transposed,
    /// Columns with five elements between them.
    TransposedPadded,
    /// Neither rows nor columns adjacent.
    Spread,
    /// Each row backwards.
    Mirrored,
    /// The first row everywhere (inputs only).
    OneRow,
    /// The first column everywhere (inputs only).
    OneCol,
    /// The first element everywhere (inputs only).
    OneValue,
}

impl Layout {
    /// Those whose columns are adjacent, fit for outputs.
    pub(crate) const ADJACENT: [Layout; 3] = [Layout::Dense, Layout::Padded, Layout::UpsideDown];
    /// Those fit for outputs.
    pub(crate) const OUTPUTS: [Layout; 7] = [
        Layout::Dense,
        Layout::Padded,
        Layout::UpsideDown,
        Layout::Transposed,
        Layout::TransposedPadded,
        Layout::Spread,
        Layout::Mirrored,
    ];
    /// Those that repeat elements, fit for inputs.
    pub(crate) const REPEATING: [Layout; 3] = [Layout::OneRow, Layout::OneCol, Layout::OneValue];

    fn strides(self, rows: usize, cols: usize) -> [isize; 2] {
        let (rows, cols) = (rows as isize, cols as isize);
        match self {
            Layout::Dense => [cols, 1],
            Layout::Padded => [cols + 3, 1],
            Layout::UpsideDown => [-cols - 2, 1],
            Layout::Transposed => [1, rows],
            Layout::TransposedPadded => [1, rows + 5],
            Layout::Spread => [3 * cols + 1, 3],
            Layout::Mirrored => [cols + 1, -1],
            Layout::OneRow => [0, 1],
            Layout::OneCol => [1, 0],
            Layout::OneValue => [0, 0],
        }
    }
}

/// A matrix with its buffer, which is not an element longer than the layout needs.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    strides: [isize; 2],
    offset: usize,
    data: Vec<f32>,
}

impl Block {
    /// Elements `f(row, col)`; a layout that repeats elements keeps the first of each.
    pub(crate) fn filled(layout: Layout, rows: usize, cols: usize, mut f: impl FnMut(usize, usize) -> f32) -> Self {
        let strides = layout.strides(rows, cols);
        let reach = |n: usize, stride: isize| n.saturating_sub(1) as isize * stride;
        let reaches = [reach(rows, strides[0]), reach(cols, strides[1])];
        let below: isize = reaches.iter().filter(|&&reach| reach < 0).sum();
        let above: isize = reaches.iter().filter(|&&reach| reach > 0).sum();
        let len = if rows * cols == 0 { 0 } else { (above - below) as usize + 1 };
        let offset = if len == 0 { 0 } else { -below as usize };
        let mut block = Self { rows, cols, strides, offset, data: vec![f32::from_bits(GUARD); len] };
        for i in (0..rows).rev() {
            for j in (0..cols).rev() {
                let place = block.place(i, j);
                block.data[place] = f(i, j);
            }
        }
        block
    }

    /// The elements of a row-major slice.
    pub(crate) fn from_slice(layout: Layout, rows: usize, cols: usize, values: &[f32]) -> Self {
        assert_eq!(values.len(), rows * cols);
        Self::filled(layout, rows, cols, |i, j| values[i * cols + j])
    }

    /// An output, NaN everywhere.
    pub(crate) fn poisoned(layout: Layout, rows: usize, cols: usize) -> Self {
        Self::filled(layout, rows, cols, |_, _| POISON)
    }

    fn place(&self, i: usize, j: usize) -> usize {
        (self.offset as isize + i as isize * self.strides[0] + j as isize * self.strides[1]) as usize
    }

    pub(crate) fn get(&self, i: usize, j: usize) -> f32 {
        self.data[self.place(i, j)]
    }

    pub(crate) fn mat(&self) -> Mat<'_> {
        let [row, col] = self.strides;
        Mat::with_strides(&self.data, self.rows, self.cols, row, col, self.offset).unwrap()
    }

    pub(crate) fn mat_mut(&mut self) -> MatMut<'_> {
        let [row, col] = self.strides;
        MatMut::with_strides(&mut self.data, self.rows, self.cols, row, col, self.offset).unwrap()
    }

    /// The elements in logical order.
    pub(crate) fn to_vec(&self) -> Vec<f32> {
        (0..self.rows).flat_map(|i| (0..self.cols).map(move |j| self.get(i, j))).collect()
    }

    /// The whole buffer, guards included, as bits.
    pub(crate) fn bits(&self) -> Vec<u32> {
        self.data.iter().map(|x| x.to_bits()).collect()
    }

    /// Fails if anything but an element has been written.
    pub(crate) fn assert_guards(&self, what: impl std::fmt::Display) {
        let mut element = vec![false; self.data.len()];
        for i in 0..self.rows {
            for j in 0..self.cols {
                element[self.place(i, j)] = true;
            }
        }
        let written = |place: &usize| !element[*place] && self.data[*place].to_bits() != GUARD;
        if let Some(place) = (0..self.data.len()).find(written) {
            let (value, shape) = (self.data[place], (self.rows, self.cols));
            panic!("{what}: place {place} around a {shape:?} matrix {:?} was overwritten with {value}", self.strides);
        }
    }

    /// Overwrites the first guard, to see that [`assert_guards`](Self::assert_guards) finds it.
    pub(crate) fn damage_guard(&mut self) {
        let guard = self.data.iter_mut().find(|x| x.to_bits() == GUARD).expect("the layout has no guards");
        *guard = 1.0;
    }
}
