//! A case: a kernel, its inputs made from integers, and the hash of what it writes.

use crate::tensor::{Layout, Tensor};
use handgrad::Exec;
use handgrad::kernels::Result;
use handgrad::kernels::view::Element;

/// What runs a case.
pub(crate) type Kernel = Box<dyn Fn(&mut Run<'_>) -> Result<()> + Send + Sync>;

/// A kernel on inputs of its own.
pub(crate) struct Case {
    pub(crate) name: String,
    /// How many rows do not depend on each other; 0 if they do.
    pub(crate) rows: usize,
    /// Whether its operands can lie in several ways.
    pub(crate) has_layouts: bool,
    pub(crate) run: Kernel,
}

/// A name as it stands in the file: without blanks, and without a slash that nothing follows.
pub(crate) fn written_name(name: &str) -> String {
    name.trim_end_matches('/').replace(' ', "_")
}

impl Case {
    /// A case whose rows depend on each other.
    pub(crate) fn new(name: &str, run: impl Fn(&mut Run<'_>) -> Result<()> + Send + Sync + 'static) -> Self {
        Self { name: written_name(name), rows: 0, has_layouts: true, run: Box::new(run) }
    }

    /// A case of so many rows, each of which has the same result alone.
    pub(crate) fn by_rows(
        name: &str,
        rows: usize,
        run: impl Fn(&mut Run<'_>) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { rows, ..Self::new(name, run) }
    }

    fn begin<'a>(&self, exec: &'a Exec, layout: Layout) -> Run<'a> {
        Run { exec, layout, seed: fnv(self.name.bytes()), inputs: 0, row: None, outputs: 0, written: Vec::new() }
    }

    fn step(&self, run: &mut Run<'_>) {
        (run.inputs, run.outputs) = (0, 0);
        (self.run)(run).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        assert!(run.outputs > 0, "{} writes nothing", self.name);
    }

    pub(crate) fn hash(&self, exec: &Exec, layout: Layout) -> u64 {
        let mut run = self.begin(exec, layout);
        self.step(&mut run);
        run.hash()
    }

    /// The hash of the same results, each row having been computed by itself.
    pub(crate) fn hash_by_rows(&self, exec: &Exec, layout: Layout) -> u64 {
        let mut run = self.begin(exec, layout);
        for row in 0..self.rows {
            run.row = Some(row);
            self.step(&mut run);
        }
        run.hash()
    }
}

/// A case while it runs.
pub(crate) struct Run<'a> {
    pub(crate) exec: &'a Exec,
    pub(crate) layout: Layout,
    seed: u64,
    inputs: u64,
    /// The row that runs alone.
    row: Option<usize>,
    outputs: usize,
    /// The bits of each output.
    written: Vec<Vec<u64>>,
}

impl Run<'_> {
    /// The `SplitMix64` generator of the next input.
    fn random(&mut self) -> impl FnMut() -> u64 + use<> {
        self.inputs += 1;
        let mut state = self.seed ^ self.inputs.wrapping_mul(0xd134_2543_de82_ef95);
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let x = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^ (x >> 31)
        }
    }

    /// So many numbers between two, with all their bits in use.
    pub(crate) fn values(&mut self, len: usize, [low, high]: [f32; 2]) -> Vec<f32> {
        let mut random = self.random();
        (0..len).map(|_| (random() >> 40) as f32 / 16_777_216.0 * (high - low) + low).collect()
    }

    /// So many numbers in `0..below`.
    pub(crate) fn indices(&mut self, len: usize, below: usize) -> Vec<i64> {
        let mut random = self.random();
        (0..len).map(|_| (random() % below as u64) as i64).collect()
    }

    /// A tensor; of one with rows only the row that runs alone, if one does.
    fn lay<T: Element>(&self, layout: Layout, shape: &[usize], elements: &[T], between: T, rows: bool) -> Tensor<T> {
        match (self.row, shape) {
            (Some(row), [count, rest @ ..]) if rows => {
                let each = elements.len() / count;
                let shape = [&[1], rest].concat();
                Tensor::new(layout, &shape, &elements[row * each..(row + 1) * each], between)
            }
            _ => Tensor::new(layout, shape, elements, between),
        }
    }

    /// An input whose first axis is that of the rows.
    pub(crate) fn rows(&mut self, shape: &[usize], range: [f32; 2]) -> Tensor {
        let values = self.values(shape.iter().product(), range);
        self.lay(self.layout, shape, &values, f32::NAN, true)
    }

    /// As [`rows`](Run::rows), floats of any bits.
    pub(crate) fn any_rows(&mut self, shape: &[usize]) -> Tensor {
        let mut random = self.random();
        let values: Vec<_> = (0..shape.iter().product()).map(|_| f32::from_bits(random() as u32)).collect();
        self.lay(self.layout, shape, &values, f32::NAN, true)
    }

    /// As [`rows`](Run::rows), integers below a bound.
    pub(crate) fn index_rows(&mut self, shape: &[usize], below: usize) -> Tensor<i64> {
        let values = self.indices(shape.iter().product(), below);
        self.lay(self.layout, shape, &values, i64::MIN, true)
    }

    /// An input that all rows share.
    pub(crate) fn input(&mut self, shape: &[usize], range: [f32; 2]) -> Tensor {
        let values = self.values(shape.iter().product(), range);
        Tensor::new(self.layout, shape, &values, f32::NAN)
    }

    /// An input that all rows share, with integers below a bound.
    pub(crate) fn index(&mut self, shape: &[usize], below: usize) -> Tensor<i64> {
        let values = self.indices(shape.iter().product(), below);
        Tensor::new(self.layout, shape, &values, i64::MIN)
    }

    /// An input of booleans.
    pub(crate) fn mask(&mut self, shape: &[usize]) -> Tensor<bool> {
        let values: Vec<_> = self.indices(shape.iter().product(), 2).into_iter().map(|bit| bit == 1).collect();
        Tensor::new(self.layout, shape, &values, false)
    }

    /// A matrix with adjacent columns whose rows are those of the case.
    pub(crate) fn mat_rows(&mut self, rows: usize, cols: usize, range: [f32; 2]) -> Tensor {
        let values = self.values(rows * cols, range);
        self.lay(self.layout.adjacent(), &[rows, cols], &values, f32::NAN, true)
    }

    /// A matrix with adjacent columns.
    pub(crate) fn mat(&mut self, rows: usize, cols: usize, range: [f32; 2]) -> Tensor {
        let values = self.values(rows * cols, range);
        Tensor::new(self.layout.adjacent(), &[rows, cols], &values, f32::NAN)
    }

    /// An output of the shape of a tensor.
    pub(crate) fn like(&self, tensor: &Tensor) -> Tensor {
        self.output(&tensor.shape)
    }

    /// An output, NaN everywhere.
    pub(crate) fn output(&self, shape: &[usize]) -> Tensor {
        Tensor::new(self.layout, shape, &vec![f32::NAN; shape.iter().product()], f32::NAN)
    }

    /// An output of indices.
    pub(crate) fn index_output(&self, shape: &[usize]) -> Tensor<i64> {
        Tensor::new(self.layout, shape, &vec![i64::MIN; shape.iter().product()], i64::MIN)
    }

    /// A matrix to write, with adjacent columns.
    pub(crate) fn mat_output(&self, rows: usize, cols: usize) -> Tensor {
        Tensor::new(self.layout.adjacent(), &[rows, cols], &vec![f32::NAN; rows * cols], f32::NAN)
    }

    fn write(&mut self, bits: impl Iterator<Item = u64>) {
        if self.outputs == self.written.len() {
            self.written.push(Vec::new());
        }
        self.written[self.outputs].extend(bits);
        self.outputs += 1;
    }

    /// Takes an output into the hash.
    pub(crate) fn keep(&mut self, tensor: &Tensor) {
        self.keep_slice(&tensor.view().to_vec());
    }

    /// Takes outputs into the hash.
    pub(crate) fn keep_all<'t>(&mut self, tensors: impl IntoIterator<Item = &'t Tensor>) {
        for tensor in tensors {
            self.keep(tensor);
        }
    }

    /// Takes numbers into the hash.
    pub(crate) fn keep_slice(&mut self, values: &[f32]) {
        self.write(crate::common::bits(values.iter().copied()).into_iter().map(u64::from));
    }

    /// Takes indices into the hash.
    pub(crate) fn keep_indices(&mut self, tensor: &Tensor<i64>) {
        self.write(tensor.view().to_vec().into_iter().map(|index| index as u64));
    }

    /// Changes one bit of the last number that was written.
    pub(crate) fn flip(&mut self, bit: u32) {
        *self.written.last_mut().and_then(|output| output.last_mut()).expect("something was written") ^= 1 << bit;
    }

    fn hash(&self) -> u64 {
        let bytes = |output: &Vec<u64>| {
            let all: Vec<u8> =
                std::iter::once(output.len() as u64).chain(output.iter().copied()).flat_map(u64::to_le_bytes).collect();
            all
        };
        fnv(self.written.iter().flat_map(bytes))
    }
}

/// FNV-1a of 64 bits.
pub(crate) fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn hashes_are_those_of_the_definition() {
    // From the authors' own table.
    assert_eq!(fnv(b"".iter().copied()), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fnv(b"foobar".iter().copied()), 0x8594_4171_f739_67e8);
}

#[test]
fn signs_of_zero_and_lengths_count_and_those_of_nan_do_not() {
    let exec = Exec::serial().unwrap();
    let hash = |values: &'static [&'static [f32]]| {
        let case = Case::new("some numbers", move |r| {
            for values in values {
                r.keep_slice(values);
            }
            Ok(())
        });
        case.hash(&exec, Layout::Dense)
    };
    assert_ne!(hash(&[&[0.0]]), hash(&[&[-0.0]]));
    assert_ne!(hash(&[&[0.0, 0.0], &[]]), hash(&[&[0.0], &[0.0]]));
    assert_eq!(hash(&[&[f32::NAN]]), hash(&[&[-f32::NAN]]));
}
