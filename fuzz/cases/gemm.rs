//! A matrix product of any shape, with any strides, against plain loops.
//!
//! The input's bytes choose shapes, strides, values and what is wrong with the call, if anything. Every tier of the CPU
//! runs it, on one thread and split over two. What is checked:
//!
//! - views are made exactly if all they reach lies in the buffer, and outputs only if no two elements share a place;
//! - tiers with fused multiply-add give the bits of one `mul_add` chain an element, in the order of `k`; for one column,
//!   whose sums have an order of their own, the bits of each other; and every tier is near the sum in `f64`;
//! - whatever the output held beforehand does not show, and nothing between its elements is touched;
//! - on an error the output is as it was, bit for bit.

use super::input::{Bytes, Stream, same, serial, split};
use handgrad_kernels::gemm::{Accum, gemm, scratch_len};
use handgrad_kernels::view::{Mat, MatMut};
use handgrad_kernels::{Exec, Isa};
use std::collections::HashSet;

/// Runs the case that the bytes describe, and panics if anything is wrong with the result.
pub(crate) fn check(data: &[u8]) {
    let mut bytes = Bytes(data);
    let case = Case::read(&mut bytes);
    let expected = case.expected();
    let mut fused: Option<Vec<f32>> = None;
    for isa in Isa::available() {
        for exec in [serial(), split()] {
            let exec = exec.clone().with_isa(isa);
            let Some(c) = exec.install(|| case.run(&exec)) else { continue };
            compare(&c, &expected, case.k, isa.is_fused() && case.n != 1);
            if isa.is_fused() {
                let first = fused.get_or_insert_with(|| c.clone());
                assert!(same(first, &c), "{isa} on {} threads gives other bits, {case:?}", exec.threads());
            }
        }
    }
}

/// What is wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Nothing,
    /// `b` has a row more than `a` has columns.
    Inner,
    /// `c` has a row more than `a`.
    Outer,
    /// `scratch` is a float short.
    Scratch,
}

/// A call of `gemm`.
#[derive(Debug)]
struct Case {
    fault: Fault,
    accum: Accum,
    m: usize,
    k: usize,
    n: usize,
    a: Block,
    b: Block,
    c: Block,
}

impl Case {
    fn read(bytes: &mut Bytes<'_>) -> Self {
        let flags = bytes.next();
        let fault = match flags >> 4 {
            1 => Fault::Inner,
            2 => Fault::Outer,
            3 => Fault::Scratch,
            _ => Fault::Nothing,
        };
        let accum = if flags & 1 == 0 { Accum::Replace } else { Accum::Add };
        // Beyond every tile, and beyond a block of k.
        let (m, n) = (usize::from(bytes.next()) % 80, usize::from(bytes.next()) % 150);
        let k = usize::from(bytes.wide()) % 600;
        let values = Values::read(bytes);
        let a = Block::read(bytes, m, k, values, 1);
        let b = Block::read(bytes, k + usize::from(fault == Fault::Inner), n, values, 2);
        let c = Block::read(bytes, m + usize::from(fault == Fault::Outer), n, values, 3);
        Self { fault, accum, m, k, n, a, b, c }
    }

    /// The elements of the result; none if the call was refused, as it should be, or if its output could overlap.
    fn run(&self, exec: &Exec) -> Option<Vec<f32>> {
        let mut c = self.c.clone();
        if self.accum == Accum::Replace {
            c.poison();
        }
        let before = c.clone();
        let mut scratch = vec![f32::NAN; scratch_len(exec, self.m, self.k, self.n)];
        if self.fault == Fault::Scratch {
            scratch.pop()?;
        }
        let (a, b) = (self.a.mat().expect("inputs may repeat"), self.b.mat().expect("inputs may repeat"));
        let outcome = gemm(exec, c.mat_mut()?, self.accum, a, b, &mut scratch);
        if self.fault == Fault::Nothing {
            outcome.expect("nothing is wrong with this call");
            c.expect_only_elements_changed(&before);
            return Some(c.elements());
        }
        outcome.expect_err("the call is wrong");
        assert!(c.bits() == before.bits(), "an error wrote something, {self:?}");
        None
    }

    /// Each element in both ways: the chain of `mul_add`, and the sum in `f64` with the sum of its magnitudes.
    fn expected(&self) -> Vec<Expected> {
        if self.fault != Fault::Nothing {
            return Vec::new();
        }
        let places = (0..self.m).flat_map(|i| (0..self.n).map(move |j| (i, j)));
        let element = |(i, j)| {
            let start = if self.accum == Accum::Add { self.c.get(i, j) } else { 0.0 };
            let mut sum = Expected { chain: start, exact: start.into(), magnitude: f64::from(start).abs() };
            for p in 0..self.k {
                let (a, b) = (self.a.get(i, p), self.b.get(p, j));
                sum.chain = a.mul_add(b, sum.chain);
                let product = f64::from(a) * f64::from(b);
                sum.exact += product;
                sum.magnitude += product.abs();
            }
            sum
        };
        places.map(element).collect()
    }
}

/// What an element of the result should be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    /// One `mul_add` chain, in the order of `k`.
    pub(crate) chain: f32,
    /// The sum in `f64`.
    pub(crate) exact: f64,
    /// The sum of the magnitudes of what is summed.
    pub(crate) magnitude: f64,
}

/// Panics unless every element is near its sum of `k` products and, if `chains`, is its chain to the bit.
pub(crate) fn compare(c: &[f32], expected: &[Expected], k: usize, chains: bool) {
    assert_eq!(c.len(), expected.len());
    for (place, (&got, want)) in c.iter().zip(expected).enumerate() {
        if chains {
            assert!(same(&[got], &[want.chain]), "element {place} is {got:e}, its chain is {:e}", want.chain);
        }
        if want.magnitude.is_nan() {
            assert!(got.is_nan(), "element {place} is {got:e} and should be NaN");
        } else if want.magnitude < f64::from(f32::MAX) / 2.0 {
            // Each of at most 2k + 1 roundings is off by half an ULP of a partial sum, or by half the least subnormal.
            let roundings = 2.0 * k as f64 + 1.0;
            let bound = roundings * (f64::from(f32::EPSILON) * want.magnitude + f64::from(f32::from_bits(1)));
            let off = (f64::from(got) - want.exact).abs();
            assert!(off <= bound, "element {place} is {got:e}, off {:e} by {off:e}, more than {bound:e}", want.exact);
        }
    }
}

/// How values are drawn.
#[derive(Clone, Copy, Debug)]
struct Values {
    kind: u8,
    seed: u64,
}

impl Values {
    fn read(bytes: &mut Bytes<'_>) -> Self {
        Self { kind: bytes.next(), seed: bytes.wide().into() }
    }

    /// The values of one operand.
    fn draw(self, operand: u64) -> impl FnMut() -> f32 {
        let mut stream = Stream((self.seed << 2 | operand).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        move || {
            let bits = stream.bits();
            match self.kind % 4 {
                0 => bits as i32 as f32 / 2_f32.powi(31),
                1 => (bits % 31) as f32 - 15.0,
                // Products that are subnormal, and sums of them.
                2 => bits as i32 as f32 / 2_f32.powi(31) * 1e-20,
                // Anything, infinities and NaN included.
                _ => f32::from_bits(bits),
            }
        }
    }
}

/// What stands between the elements of a matrix.
const GUARD: u32 = 0x7fc0_dead;

/// A matrix in a buffer that ends where it does.
#[derive(Clone)]
struct Block {
    rows: usize,
    cols: usize,
    strides: [isize; 2],
    offset: usize,
    data: Vec<f32>,
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rows, cols, strides, .. } = self;
        write!(f, "{rows}x{cols} with strides {strides:?}")
    }
}

impl Block {
    fn read(bytes: &mut Bytes<'_>, rows: usize, cols: usize, values: Values, operand: u64) -> Self {
        let kind = bytes.next();
        let gap = isize::from(kind >> 4);
        let (height, width) = (rows as isize, cols as isize);
        let strides = match kind % 8 {
            0 | 1 => [width + gap, 1],
            2 | 3 => [1, height + gap],
            4 => [-width - gap, 1],
            5 => [width + gap, -1],
            6 => [3 * width + gap, 3],
            _ => [bytes.next(), bytes.next()].map(|stride| isize::from(stride as i8)),
        };
        let reaches = [(rows, strides[0]), (cols, strides[1])].map(|(n, stride)| n.saturating_sub(1) as isize * stride);
        let (low, high): (isize, isize) =
            (reaches.iter().map(|r| *r.min(&0)).sum(), reaches.iter().map(|r| *r.max(&0)).sum());
        let (offset, len) = if rows == 0 || cols == 0 { (0, 0) } else { (-low as usize, (high - low) as usize + 1) };
        let mut block = Self { rows, cols, strides, offset, data: vec![f32::from_bits(GUARD); len] };
        block.expect_checked();
        let mut draw = values.draw(operand);
        for place in block.places() {
            block.data[place] = draw();
        }
        block
    }

    /// The place of each element, in logical order.
    fn places(&self) -> Vec<usize> {
        let index = |i, j| self.place(i, j);
        (0..self.rows).flat_map(|i| (0..self.cols).map(move |j| index(i, j))).collect()
    }

    fn place(&self, i: usize, j: usize) -> usize {
        (self.offset as isize + i as isize * self.strides[0] + j as isize * self.strides[1]) as usize
    }

    fn get(&self, i: usize, j: usize) -> f32 {
        self.data[self.place(i, j)]
    }

    fn elements(&self) -> Vec<f32> {
        self.places().into_iter().map(|place| self.data[place]).collect()
    }

    fn bits(&self) -> Vec<u32> {
        self.data.iter().map(|x| x.to_bits()).collect()
    }

    fn poison(&mut self) {
        for place in self.places() {
            self.data[place] = f32::NAN;
        }
    }

    fn view(&self, len: usize) -> Option<Mat<'_>> {
        let [row, col] = self.strides;
        Mat::with_strides(&self.data[..len], self.rows, self.cols, row, col, self.offset).ok()
    }

    fn mat(&self) -> Option<Mat<'_>> {
        self.view(self.data.len())
    }

    /// The matrix as an output, unless its strides are refused because elements could overlap.
    fn mat_mut(&mut self) -> Option<MatMut<'_>> {
        let [row, col] = self.strides;
        let apart = self.places().into_iter().collect::<HashSet<_>>().len() == self.rows * self.cols;
        let view = MatMut::with_strides(&mut self.data, self.rows, self.cols, row, col, self.offset).ok();
        assert!(apart || view.is_none(), "an output of {}x{} may overlap itself", self.rows, self.cols);
        view
    }

    /// The buffer suffices for the view, and one float less does not.
    fn expect_checked(&self) {
        assert!(self.mat().is_some(), "{self:?} does not fit its buffer");
        let short = self.data.len().saturating_sub(1);
        assert!(self.data.is_empty() || self.view(short).is_none(), "{self:?} fits a buffer that is too short");
    }

    fn expect_only_elements_changed(&self, before: &Self) {
        let elements: HashSet<_> = self.places().into_iter().collect();
        let mut between = (0..self.data.len()).filter(|place| !elements.contains(place));
        let touched = between.find(|&place| self.data[place].to_bits() != before.data[place].to_bits());
        assert!(touched.is_none(), "place {touched:?} around {self:?} was written");
    }
}
