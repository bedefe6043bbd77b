//! What special numbers give: a table an operation, written by hand after IEEE 754 and PyTorch, of what NaN, zeros of
//! both signs, infinities, the least subnormal, the largest numbers, and the places where a derivative jumps turn into.
//! Each row stands at every place of rows of every length up to two registers and one, and of a longer one, among
//! ordinary numbers, whose results must have the same bits as without it; on every tier, adjacent and apart.

#[path = "special_values/along.rs"]
mod along;
#[path = "special_values/binary.rs"]
mod binary;
mod common;
#[path = "special_values/ties.rs"]
mod ties;
#[path = "special_values/unary.rs"]
mod unary;

use common::random::Random;
use handgrad_kernels::op::spec::{ALL, Along, Binary, Spec, Unary};
use handgrad_kernels::view::{View, ViewMut};

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;
const MAX: f32 = f32::MAX;
/// The least number above zero.
const TINY: f32 = f32::from_bits(1);

/// What stands between the elements.
const GUARD: f32 = f32::from_bits(0x7fc0_dead);

/// Elements in a row, so far from each other, which may be backwards.
#[derive(Clone, Debug)]
struct Line {
    step: isize,
    len: usize,
    data: Vec<f32>,
}

/// The distances that are tried.
const STEPS: [isize; 3] = [1, 3, -2];

impl Line {
    fn new(step: isize, values: &[f32]) -> Self {
        let reach = values.len().saturating_sub(1) * step.unsigned_abs() + usize::from(!values.is_empty());
        let mut line = Self { step, len: values.len(), data: vec![GUARD; reach] };
        for (place, &value) in values.iter().enumerate() {
            line.set(place, value);
        }
        line
    }

    fn place(&self, i: usize) -> usize {
        let i = if self.step < 0 { self.len - 1 - i } else { i };
        i * self.step.unsigned_abs()
    }

    fn get(&self, i: usize) -> f32 {
        self.data[self.place(i)]
    }

    fn set(&mut self, i: usize, value: f32) {
        let place = self.place(i);
        self.data[place] = value;
    }

    fn view(&self) -> View<'_> {
        let first = if self.len == 0 { 0 } else { self.place(0) };
        View::with_strides(&self.data, &[self.len], &[self.step], first).unwrap()
    }

    fn view_mut(&mut self) -> ViewMut<'_> {
        let first = if self.len == 0 { 0 } else { self.place(0) };
        ViewMut::with_strides(&mut self.data, &[self.len], &[self.step], first).unwrap()
    }

    /// Makes every element NaN.
    fn poison(&mut self) {
        (0..self.len).for_each(|i| self.set(i, NAN));
    }
}

/// Untidy numbers from `low` to 2.
fn ordinary(seed: u64, n: usize, low: f32) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..n).map(|_| low + (2.0 - low) * (0.5 * random.unit() + 0.5)).collect()
}

/// Every length up to two registers and one, and one of several.
fn lengths(lanes: usize) -> impl Iterator<Item = usize> {
    (1..=2 * lanes + 1).chain([100])
}

fn same_bits(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// Whether a result is what the table has: NaN, infinities, zeros, subnormal numbers and ±1 exactly, others to `ulp`
/// places.
fn is_wanted(got: f32, want: f32, ulp: u32) -> bool {
    same_bits(got, want)
        || (want.is_normal() && got.is_normal() && want.abs() != 1.0 && {
            want.is_sign_negative() == got.is_sign_negative() && want.to_bits().abs_diff(got.to_bits()) <= ulp
        })
}

/// Fails unless everything but element `i` has the bits of `base`, guards included.
fn assert_others(what: &dyn Fn() -> String, got: &Line, base: &Line, i: usize) {
    let special = got.place(i);
    for (place, (&got, &base)) in got.data.iter().zip(&base.data).enumerate() {
        assert!(
            place == special || same_bits(got, base),
            "{}: a neighbour, at place {place} of the buffer, was {base:e} and became {got:e}",
            what()
        );
    }
}

#[test]
fn every_operation_has_a_table() {
    for spec in ALL {
        let (name, has) = match spec {
            Spec::Unary(Unary { name, .. }) => (name, unary::names().any(|table| table == *name)),
            Spec::Binary(Binary { name, .. }) => (name, binary::names().any(|table| table == *name)),
            Spec::Along(Along { name, .. }) => (name, along::names().any(|table| table == *name)),
        };
        assert!(has, "{name} has no table of special values");
    }
}

#[test]
fn a_wrong_value_is_found() {
    assert!(is_wanted(0.0, 0.0, 9) && !is_wanted(0.0, -0.0, 9) && !is_wanted(TINY, 0.0, 9) && !is_wanted(0.0, TINY, 9));
    assert!(is_wanted(NAN, -NAN, 0) && !is_wanted(NAN, 1.0, 9) && !is_wanted(0.0, NAN, 9));
    assert!(is_wanted(INF, INF, 0) && !is_wanted(MAX, INF, 9) && !is_wanted(INF, MAX, 9) && !is_wanted(-INF, INF, 9));
    assert!(is_wanted(3.0_f32.next_up(), 3.0, 1) && !is_wanted(3.0_f32.next_up(), 3.0, 0) && !is_wanted(-3.0, 3.0, 9));
    let base = Line::new(3, &[1.0, 2.0, 3.0]);
    for place in [0, 1, 6] {
        let mut got = base.clone();
        got.data[place] = 5.0;
        let found = std::panic::catch_unwind(|| assert_others(&String::new, &got, &base, 1)).is_err();
        assert!(found, "place {place}");
    }
}
