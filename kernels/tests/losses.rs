//! The losses: against their f64 references, whose gradients are checked against central differences; the same bits for
//! every layout, tier and number of threads, and for a sample alone; special values; what bad arguments give.

#[path = "losses/classes.rs"]
mod classes;
mod common;
#[path = "losses/kinds.rs"]
mod kinds;
#[path = "losses/pointwise.rs"]
mod pointwise;
#[path = "losses/problem.rs"]
mod problem;
#[path = "losses/rejected.rs"]
mod rejected;

use common::compare::{ROUNDING, assert_same_bits};
use common::random::Random;
use common::tensor::{Layout, Tensor, indices};
use handgrad_kernels::op::loss::Reduction;

const REDUCTIONS: [Reduction; 3] = [Reduction::None, Reduction::Sum, Reduction::Mean];

/// How many roundings' worth of its terms a result may be off: the roundings of a term, and those of a sum of `n`.
fn tolerance(n: usize, terms: f64) -> f64 {
    (24.0 + n as f64) * ROUNDING * terms + f64::from(f32::MIN_POSITIVE)
}

/// What an operation is given and gives: the layouts of operands and results, and a name for messages.
#[derive(Clone, Copy, Debug)]
struct Laid {
    inp: Layout,
    out: Layout,
}

/// Layouts of operands and results, the plain one first.
const LAID: [Laid; 8] = [
    Laid { inp: Layout::Dense, out: Layout::Dense },
    Laid { inp: Layout::Padded, out: Layout::Transposed },
    Laid { inp: Layout::Transposed, out: Layout::Dense },
    Laid { inp: Layout::Swapped, out: Layout::Swapped },
    Laid { inp: Layout::Reversed, out: Layout::Stepped },
    Laid { inp: Layout::Stepped, out: Layout::Reversed },
    Laid { inp: Layout::Dense, out: Layout::Padded },
    Laid { inp: Layout::Transposed, out: Layout::Transposed },
];

fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

fn draw(random: &mut Random, n: usize, [low, high]: [f32; 2]) -> Vec<f32> {
    (0..n).map(|_| low + (high - low) * (0.5 * random.unit() + 0.5)).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| x.into()).collect()
}

/// The place in a tensor of `part` that broadcasting repeats at an index of a larger shape.
fn source(index: &[usize], part: &[usize]) -> usize {
    let added = index.len() - part.len();
    part.iter().zip(&index[added..]).fold(0, |place, (&size, &at)| place * size + if size == 1 { 0 } else { at })
}

/// A result's elements, once nothing around them has been touched.
fn taken(tensor: &Tensor, what: &str) -> Vec<f32> {
    tensor.assert_intact(what);
    tensor.to_vec()
}

fn same(what: &str, got: &[Vec<f32>], want: &[Vec<f32>]) {
    for (number, (got, want)) in got.iter().zip(want).enumerate() {
        assert_same_bits(format!("{what}, result {number}"), 1, got, want);
    }
}

/// The central difference of `f` at `x`.
fn slope(x: f64, f: impl Fn(f64) -> f64) -> f64 {
    let h = 1e-5;
    (f(x + h) - f(x - h)) / (2.0 * h)
}

/// Every index of a shape with its number in row-major order.
fn numbered(shape: &[usize]) -> impl Iterator<Item = (usize, Vec<usize>)> + use<> {
    indices(shape).enumerate()
}
