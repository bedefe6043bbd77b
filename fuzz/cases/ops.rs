//! Element-wise functions, with broadcasting, and functions along axes, of operands with any strides.
//!
//! The input's bytes choose the operation among all of [`ALL`], a shape, for each operand an order of its axes, gaps,
//! directions and repetitions, the values, and what is wrong with the call, if anything. Every tier of the CPU runs it
//! forward and backward, on one thread and split over two. What is checked:
//!
//! - tiers with fused multiply-add give the same bits, and the same as on operands without gaps;
//! - ordinary values have results and gradients near those in `f64`, by the definition; what is not a number in an operand
//!   is not one in the results that depend on it;
//! - whatever an output held beforehand does not show, and nothing between its elements is touched;
//! - on an error the outputs are as they were, bit for bit.

use super::input::{Bytes, EDGES, Stream, same, serial, split};
use super::tensor::{Tensor, indices};
use handgrad_kernels::op::spec::{ALL, Along, Spec};
use handgrad_kernels::{Exec, Isa};

/// Runs the case that the bytes describe, and panics if anything is wrong with the result.
pub(crate) fn check(data: &[u8]) {
    let case = Case::read(&mut Bytes(data));
    let expected = case.expected();
    let mut fused: Option<Vec<Vec<f32>>> = None;
    let dense = case.clone().dense();
    for isa in Isa::available() {
        for (case, exec) in [(&case, serial()), (&case, split()), (&dense, split())] {
            let exec = exec.clone().with_isa(isa);
            let Some(results) = exec.install(|| case.run(&exec)) else { continue };
            for (number, (got, want)) in results.iter().zip(&expected).enumerate() {
                case.compare(number, got, want, if isa.is_fused() { FACTOR } else { 64.0 * FACTOR });
            }
            if isa.is_fused() {
                let first = fused.get_or_insert_with(|| results.clone());
                let equal = first.iter().zip(&results).all(|(x, y)| same(x, y));
                assert!(equal, "{isa} on {} threads gives other bits, {case:?}", exec.threads());
            }
        }
    }
}

/// How many roundings' worth of its terms a result may be off.
const FACTOR: f64 = 64.0;
/// Sizes below, at and above a register and what one thread takes, and primes.
const SIZES: [usize; 16] = [3, 1, 2, 0, 4, 5, 7, 8, 13, 15, 16, 17, 31, 33, 67, 129];
/// The most elements of an operand.
const MOST: usize = 4000;

/// What is wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Nothing,
    /// The output has an axis more.
    Output,
    /// An axis is out of range, or named twice.
    Axis,
    /// The upstream gradient has an axis more.
    Gradient,
}

/// Which values there are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Ordinary,
    /// Whole numbers, with ties.
    Whole,
    /// Zeros, infinities, NaN, and the numbers next to them.
    Edges,
    /// Anything.
    Bits,
}

/// An operation forward and backward.
#[derive(Clone)]
struct Case {
    spec: &'static Spec,
    fault: Fault,
    kind: Kind,
    axes: Vec<isize>,
    inputs: Vec<Tensor>,
    dy: Tensor,
    y: Tensor,
    grads: Vec<Tensor>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { fault, kind, axes, inputs, dy, y, grads, .. } = self;
        write!(f, "{} along {axes:?} of {inputs:?}, dy {dy:?}, into {y:?} and {grads:?}, ", self.name())?;
        write!(f, "{kind:?}, wrong: {fault:?}")
    }
}

impl Case {
    fn read(bytes: &mut Bytes<'_>) -> Self {
        let spec = &ALL[bytes.below(ALL.len())];
        let fault = match bytes.next() {
            248.. => Fault::Axis,
            240..248 => Fault::Output,
            232..240 => Fault::Gradient,
            _ => Fault::Nothing,
        };
        let kind = bytes.pick(&[Kind::Ordinary, Kind::Whole, Kind::Edges, Kind::Bits]);
        let least = if let Spec::Along(Along { reduces: false, .. }) = spec { 1 } else { 0 };
        let mut left = MOST;
        let shape: Vec<usize> = (0..bytes.below(5).max(least))
            .map(|_| {
                let size = bytes.pick(&SIZES);
                let size = if size > left { 1 } else { size };
                left /= size.max(1);
                size
            })
            .collect();
        let mut axes: Vec<isize> = Vec::new();
        let (mut shapes, mut out) = (vec![shape.clone()], shape.clone());
        match spec {
            Spec::Unary(_) => {}
            Spec::Binary(_) => {
                // One of them repeats along some axes, and may lack the first ones.
                let ones = bytes.next();
                let narrow = shape.iter().enumerate().map(|(axis, &n)| if ones >> axis & 1 == 1 { 1 } else { n });
                shapes.push(narrow.skip(bytes.below(shape.len() + 1)).collect());
                if bytes.next() % 2 == 1 {
                    shapes.reverse();
                }
            }
            Spec::Along(along) => {
                let chosen = bytes.next();
                let mut all = (0..shape.len() as isize).filter(|axis| chosen >> axis & 1 == 1);
                axes = if along.reduces { all.collect() } else { vec![all.next().unwrap_or(shape.len() as isize - 1)] };
                if along.reduces {
                    for &axis in &axes {
                        out[axis as usize] = 1;
                    }
                }
                // A scalar has an axis 0, as in PyTorch.
                if fault == Fault::Axis {
                    axes.insert(
                        0,
                        axes.first().copied().filter(|_| along.reduces).unwrap_or(shape.len().max(1) as isize),
                    );
                }
                // The same axis counted from the end.
                axes.iter_mut().filter(|axis| **axis % 2 == 1).for_each(|axis| {
                    *axis -= if *axis < shape.len() as isize { shape.len() as isize } else { 0 };
                });
            }
        }
        let domain = match spec {
            Spec::Unary(unary) => unary.domain,
            Spec::Binary(binary) => binary.domain,
            Spec::Along(_) => [-3.0, 3.0],
        };
        let mut stream = Stream(u64::from(bytes.wide()));
        let mut draw = |[low, high]: [f32; 2]| match (kind, stream.bits()) {
            (Kind::Bits, bits) => f32::from_bits(bits),
            (Kind::Edges, bits) if bits % 3 > 0 => EDGES[bits as usize / 3 % 16],
            (Kind::Whole, bits) => ((bits % 7) as f32 - 3.0).clamp(low, high),
            (_, bits) => low + (high - low) * (bits as f32 / u32::MAX as f32),
        };
        let inputs = shapes.iter().map(|shape| Tensor::read(bytes, shape, true, || draw(domain))).collect();
        let longer = |wrong| if fault == wrong { [&out[..], &[2]].concat() } else { out.clone() };
        let dy = Tensor::read(bytes, &longer(Fault::Gradient), true, || draw([-2.0, 2.0]));
        let y = Tensor::read(bytes, &longer(Fault::Output), false, || f32::NAN);
        let grads = shapes.iter().map(|shape| Tensor::read(bytes, shape, false, || f32::NAN)).collect();
        Self { spec, fault, kind, axes, inputs, dy, y, grads }
    }

    fn name(&self) -> &'static str {
        match self.spec {
            Spec::Unary(unary) => unary.name,
            Spec::Binary(binary) => binary.name,
            Spec::Along(along) => along.name,
        }
    }

    /// The same without gaps and repetitions.
    fn dense(mut self) -> Self {
        let tensors = self.inputs.iter_mut().chain(&mut self.grads).chain([&mut self.dy, &mut self.y]);
        tensors.for_each(|tensor| *tensor = tensor.dense());
        self
    }

    /// The output and the gradients; none if the call was refused, as it may be.
    fn run(&self, exec: &Exec) -> Option<Vec<Vec<f32>>> {
        let Self { spec, fault, axes, inputs, .. } = self;
        let (mut y, mut grads) = (self.y.clone(), self.grads.clone());
        let forward = match spec {
            Spec::Unary(unary) => (unary.forward)(exec, y.view_mut(), inputs[0].view()),
            Spec::Binary(binary) => (binary.forward)(exec, y.view_mut(), inputs[0].view(), inputs[1].view()),
            Spec::Along(along) => (along.forward)(exec, y.view_mut(), inputs[0].view(), axes),
        };
        let along = matches!(spec, Spec::Along(_));
        let wrong = *fault == Fault::Output || *fault == Fault::Axis && along;
        assert!(!wrong || forward.is_err(), "the call was taken, {self:?}");
        if let Err(error) = forward {
            assert!(y.bits() == self.y.bits(), "{error}, but something was written, {self:?}");
            assert!(wrong || self.too_few(), "{error}, but nothing is wrong with the call, {self:?}");
            return None;
        }
        y.expect_only_elements_changed(&self.y);
        let (dy, x) = (self.dy.view(), inputs[0].view());
        let backward = match (spec, &mut grads[..]) {
            (Spec::Unary(unary), [dx]) => (unary.backward)(exec, dx.view_mut(), dy, x, y.view()),
            (Spec::Binary(binary), [da, db]) => {
                (binary.backward)(exec, [da.view_mut(), db.view_mut()], dy, x, inputs[1].view())
            }
            (Spec::Along(along), [dx]) => (along.backward)(exec, dx.view_mut(), dy, x, y.view(), axes),
            _ => unreachable!("as many gradients as operands"),
        };
        let wrong = *fault == Fault::Gradient;
        assert!(!wrong || backward.is_err(), "the gradient was taken, {self:?}");
        if let Err(error) = backward {
            let unchanged = grads.iter().zip(&self.grads).all(|(now, before)| now.bits() == before.bits());
            assert!(unchanged, "{error}, but something was written, {self:?}");
            assert!(wrong || self.too_few(), "{error}, but nothing is wrong with the gradient, {self:?}");
            return None;
        }
        grads.iter().zip(&self.grads).for_each(|(now, before)| now.expect_only_elements_changed(before));
        Some(std::iter::once(&y).chain(&grads).map(Tensor::elements).collect())
    }

    /// Whether groups have fewer elements than a result needs.
    fn too_few(&self) -> bool {
        matches!(self.spec, Spec::Along(along) if self.groups().iter().any(|group| group.len() < along.least))
    }

    /// The places, in logical order, of the elements that belong to each result along the axes.
    fn groups(&self) -> Vec<Vec<usize>> {
        let shape = &self.inputs[0].shape;
        let rank = shape.len() as isize;
        let among = |axis: usize| self.axes.iter().any(|&a| a.rem_euclid(rank.max(1)) == axis as isize);
        let kept: Vec<usize> = shape.iter().enumerate().map(|(axis, &n)| if among(axis) { 1 } else { n }).collect();
        let mut groups = vec![Vec::new(); kept.iter().product()];
        for (place, index) in indices(shape).into_iter().enumerate() {
            groups[number(&kept, &index)].push(place);
        }
        groups
    }

    /// For the output and each gradient its elements in `f64`, and the magnitudes by which their errors are measured; none
    /// if the call is wrong.
    fn expected(&self) -> Vec<Vec<(f64, f64)>> {
        if self.fault != Fault::Nothing || self.too_few() {
            return Vec::new();
        }
        let wide = |tensor: &Tensor| -> Vec<f64> { tensor.elements().into_iter().map(f64::from).collect() };
        let (x, dy) = (wide(&self.inputs[0]), wide(&self.dy));
        // How much an error of one part in the argument changes the result.
        let slope = |f: &dyn Fn(f64) -> f64, x: f64| {
            let h = 1e-5 * (1.0 + x.abs());
            ((f(x + h) - f(x - h)) / (2.0 * h) * x).abs()
        };
        match self.spec {
            Spec::Unary(unary) => {
                let y = |&x: &f64| {
                    let y = (unary.reference)(x);
                    (y, y.abs() + (unary.terms)(x) + slope(&unary.reference, x))
                };
                let derivative = |x: f64| (unary.reference_backward)(1.0, x);
                let dx = |(&x, &dy): (&f64, &f64)| {
                    let terms = dy.abs() * (1.0 + derivative(x).abs() + slope(&derivative, x));
                    ((unary.reference_backward)(dy, x), terms)
                };
                vec![x.iter().map(y).collect(), x.iter().zip(&dy).map(dx).collect()]
            }
            Spec::Binary(binary) => {
                let (b, shapes) = (wide(&self.inputs[1]), [&self.inputs[0].shape, &self.inputs[1].shape]);
                let (mut y, mut da, mut db) = (Vec::new(), vec![(0.0, 0.0); x.len()], vec![(0.0, 0.0); b.len()]);
                for (index, &dy) in indices(&self.y.shape).iter().zip(&dy) {
                    let [i, j] = shapes.map(|shape| number(shape, &index[index.len() - shape.len()..]));
                    let value = (binary.reference)(x[i], b[j]);
                    let by_a = slope(&|a| (binary.reference)(a, b[j]), x[i]);
                    let by_b = slope(&|b| (binary.reference)(x[i], b), b[j]);
                    y.push((value, value.abs() + by_a + by_b));
                    let gradients = (binary.reference_backward)(dy, x[i], b[j]);
                    for (sum, gradient) in [&mut da[i], &mut db[j]].into_iter().zip(gradients) {
                        *sum = (sum.0 + gradient, sum.1 + gradient.abs() + dy.abs());
                    }
                }
                vec![y, da, db]
            }
            Spec::Along(along) => {
                let (mut y, mut dx) = (vec![(0.0, 0.0); dy.len()], vec![(0.0, 0.0); x.len()]);
                for (result, group) in self.groups().iter().enumerate() {
                    let mine: Vec<f64> = group.iter().map(|&place| x[place]).collect();
                    let places = if along.reduces { &[result][..] } else { group };
                    let upstream: Vec<f64> = places.iter().map(|&place| dy[place]).collect();
                    let terms = mine.iter().map(|x| x.abs()).sum::<f64>() + 1.0;
                    for (&place, value) in places.iter().zip((along.reference)(&mine)) {
                        y[place] = (value, value.abs() + terms);
                    }
                    let pull: f64 = upstream.iter().map(|dy| dy.abs()).sum();
                    for (&place, value) in group.iter().zip((along.reference_backward)(&upstream, &mine)) {
                        dx[place] = (value, value.abs() + pull * (1.0 + terms / mine.len() as f64));
                    }
                }
                vec![y, dx]
            }
        }
    }

    /// Panics unless each element is near what is expected.
    fn compare(&self, result: usize, got: &[f32], expected: &[(f64, f64)], factor: f64) {
        assert_eq!(got.len(), expected.len());
        if let Kind::Ordinary | Kind::Whole = self.kind {
            for (place, (&got, &(want, terms))) in got.iter().zip(expected).enumerate() {
                let bound = factor * f64::from(f32::EPSILON) * terms + 1e-37;
                // Where the definition has no value, or its slope none, there is nothing to be near to.
                let near = !bound.is_finite() || !want.is_finite() || (f64::from(got) - want).abs() <= bound;
                assert!(near, "element {place} of result {result} is {got:e}, should be {want:e}, {self:?}");
            }
            return;
        }
        // The powers 1^NaN and NaN^0 are 1.
        if result == 0 && self.name() != "pow" {
            for (place, not_a_number) in self.depends_on_nan().into_iter().enumerate() {
                assert!(
                    !not_a_number || got[place].is_nan(),
                    "element {place} is {}, and not NaN, {self:?}",
                    got[place]
                );
            }
        }
    }

    /// Which elements of the output are made of something that is not a number.
    fn depends_on_nan(&self) -> Vec<bool> {
        let nan: Vec<Vec<bool>> =
            self.inputs.iter().map(|tensor| tensor.elements().iter().map(|x| x.is_nan()).collect()).collect();
        let index = |index: Vec<usize>| {
            let mut operands = self.inputs.iter().zip(&nan);
            operands.any(|(tensor, nan)| nan[number(&tensor.shape, &index[index.len() - tensor.shape.len()..])])
        };
        match self.spec {
            Spec::Unary(_) => nan[0].clone(),
            Spec::Binary(_) => indices(&self.y.shape).into_iter().map(index).collect(),
            Spec::Along(along) => {
                let mut results = vec![false; self.y.elements().len()];
                for (result, group) in self.groups().iter().enumerate() {
                    let any = group.iter().any(|&place| nan[0][place]);
                    let places = if along.reduces { &[result][..] } else { group };
                    for &place in places {
                        results[place] = any;
                    }
                }
                results
            }
        }
    }
}

/// The number, in logical order, of an element of a shape; an index of a repeated axis counts as 0.
fn number(shape: &[usize], index: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |at, (&i, &n)| at * n + i.min(n - 1))
}
