//! Functions of two operands and more: `a, b -> y, dy/da, dy/db`.

use super::common::serial;
use super::common::tiers::on_every_tier;
use super::{GUARD, INF, Line, MAX, NAN, STEPS, TINY, assert_others, is_wanted, lengths, ordinary, same_bits};
use handgrad_kernels::op::{self, clamp_tensor};
use handgrad_kernels::view::{View, ViewMut};
use handgrad_kernels::{Exec, Result};
use std::f32::consts::LN_2;

/// `a, b, y, dy/da, dy/db`.
type Row = (f32, f32, f32, f32, f32);

/// What a function makes of special numbers.
struct Table {
    name: &'static str,
    forward: fn(&Exec, ViewMut<'_>, View<'_>, View<'_>) -> Result<()>,
    /// Writes `da` and `db` from `dy`, `a` and `b`.
    backward: fn(&Exec, [ViewMut<'_>; 2], View<'_>, View<'_>, View<'_>) -> Result<()>,
    /// How many places a result may be off where it is ordinary.
    ulp: u32,
    /// Ordinary arguments are between this and 2.
    low: f32,
    rows: &'static [Row],
}

macro_rules! table {
    ($module:ident, $ulp:expr, $low:expr, $rows:expr) => {
        Table {
            name: stringify!($module),
            forward: |e, y, a, b| op::$module::forward(e, y, a, b),
            backward: |e, [da, db], dy, a, b| op::$module::backward(e, da, db, dy, a, b),
            ulp: $ulp,
            low: $low,
            rows: &$rows,
        }
    };
    ($module:ident($alpha:expr), $rows:expr) => {
        Table {
            name: stringify!($module),
            forward: |e, y, a, b| op::$module::forward(e, y, a, b, $alpha),
            backward: |e, [da, db], dy, _, _| op::$module::backward(e, da, db, dy, $alpha),
            ulp: 0,
            low: -3.0,
            rows: &$rows,
        }
    };
}

/// Conditions that are all alike, more than any row needs.
static CONDITIONS: [[bool; 128]; 2] = [[false; 128], [true; 128]];

/// `where_` with one condition everywhere.
macro_rules! choice {
    ($cond:expr, $rows:expr) => {
        Table {
            name: "where_",
            forward: |e, y, a, b| {
                let cond = View::new(&CONDITIONS[$cond][..a.len()], a.shape())?;
                op::where_::forward(e, y, cond, a, b, &mut [NAN; 128])
            },
            backward: |e, [da, db], dy, a, _| {
                let cond = View::new(&CONDITIONS[$cond][..a.len()], a.shape())?;
                op::where_::backward(e, da, db, dy, cond, &mut [NAN; 128])
            },
            ulp: 0,
            low: -3.0,
            rows: &$rows,
        }
    };
}

#[rustfmt::skip]
static TABLES: &[Table] = &[
    table!(add(1.0), [
        (NAN, 1.0, NAN, 1.0, 1.0), (1.0, NAN, NAN, 1.0, 1.0),
        (0.0, 0.0, 0.0, 1.0, 1.0), (0.0, -0.0, 0.0, 1.0, 1.0),
        (-0.0, 0.0, 0.0, 1.0, 1.0), (-0.0, -0.0, -0.0, 1.0, 1.0),
        (INF, INF, INF, 1.0, 1.0), (INF, -INF, NAN, 1.0, 1.0), (-INF, MAX, -INF, 1.0, 1.0),
        (TINY, TINY, f32::from_bits(2), 1.0, 1.0), (TINY, -TINY, 0.0, 1.0, 1.0), (-TINY, 1.0, 1.0, 1.0, 1.0),
        (MAX, MAX, INF, 1.0, 1.0), (MAX, -MAX, 0.0, 1.0, 1.0), (-MAX, -MAX, -INF, 1.0, 1.0),
    ]),
    table!(sub(1.0), [
        (NAN, 1.0, NAN, 1.0, -1.0), (1.0, NAN, NAN, 1.0, -1.0),
        (0.0, 0.0, 0.0, 1.0, -1.0), (0.0, -0.0, 0.0, 1.0, -1.0),
        (-0.0, 0.0, -0.0, 1.0, -1.0), (-0.0, -0.0, 0.0, 1.0, -1.0),
        (INF, INF, NAN, 1.0, -1.0), (INF, -INF, INF, 1.0, -1.0), (-INF, -MAX, -INF, 1.0, -1.0),
        (TINY, TINY, 0.0, 1.0, -1.0), (TINY, -TINY, f32::from_bits(2), 1.0, -1.0), (-TINY, 1.0, -1.0, 1.0, -1.0),
        (MAX, MAX, 0.0, 1.0, -1.0), (MAX, -MAX, INF, 1.0, -1.0), (-MAX, MAX, -INF, 1.0, -1.0),
    ]),
    // The scale is a factor like another: zero times infinity is NaN.
    table!(add(0.0), [
        (1.0, NAN, NAN, 1.0, 0.0), (1.0, INF, NAN, 1.0, 0.0), (-0.0, 0.0, 0.0, 1.0, 0.0), (-0.0, -1.0, -0.0, 1.0, 0.0),
    ]),
    table!(mul, 0, -3.0, [
        (NAN, 0.0, NAN, 0.0, NAN), (2.0, NAN, NAN, NAN, 2.0),
        (0.0, 1.0, 0.0, 1.0, 0.0), (-0.0, 1.0, -0.0, 1.0, -0.0), (0.0, -0.0, -0.0, -0.0, 0.0),
        (-0.0, -0.0, 0.0, -0.0, -0.0), (0.0, -2.0, -0.0, -2.0, 0.0),
        (0.0, INF, NAN, INF, 0.0), (-INF, 0.0, NAN, 0.0, -INF), (INF, -2.0, -INF, -2.0, INF), (INF, INF, INF, INF, INF),
        (TINY, 0.5, 0.0, 0.5, TINY), (TINY, 1.0, TINY, 1.0, TINY), (-TINY, TINY, -0.0, TINY, -TINY),
        (MAX, 2.0, INF, 2.0, MAX), (-MAX, MAX, -INF, MAX, -MAX), (MAX, TINY, 4.768_371_3e-7, TINY, MAX),
    ]),
    table!(div, 0, 0.25, [
        (NAN, 1.0, NAN, 1.0, NAN), (1.0, NAN, NAN, NAN, NAN),
        (1.0, 0.0, INF, INF, -INF), (1.0, -0.0, -INF, -INF, -INF),
        (-1.0, 0.0, -INF, INF, INF), (-1.0, -0.0, INF, -INF, INF),
        (0.0, 0.0, NAN, INF, NAN), (0.0, 2.0, 0.0, 0.5, -0.0), (-0.0, 2.0, -0.0, 0.5, 0.0),
        (INF, INF, NAN, 0.0, NAN), (INF, 2.0, INF, 0.5, -INF), (INF, 0.0, INF, INF, -INF),
        (1.0, INF, 0.0, 0.0, -0.0), (-1.0, INF, -0.0, 0.0, 0.0), (1.0, -INF, -0.0, -0.0, -0.0),
        (TINY, 2.0, 0.0, 0.5, -0.0), (1.0, TINY, INF, INF, -INF), (TINY, TINY, 1.0, INF, -INF),
        (MAX, 0.5, INF, 2.0, -INF), (MAX, MAX, 1.0, 2.938_736e-39, -2.938_736e-39),
        (1.0, -MAX, -2.938_736e-39, -2.938_736e-39, -0.0),
    ]),
    table!(pow, 4, 0.25, [
        (NAN, 0.0, 1.0, 0.0, NAN), (1.0, NAN, 1.0, NAN, 0.0), (NAN, 1.0, NAN, 1.0, NAN), (2.0, NAN, NAN, NAN, NAN),
        (0.0, 0.0, 1.0, 0.0, 0.0), (-0.0, 0.0, 1.0, 0.0, 0.0), (INF, 0.0, 1.0, 0.0, INF), (-2.0, 0.0, 1.0, 0.0, NAN),
        (0.0, 1.0, 0.0, 1.0, 0.0), (-0.0, 1.0, -0.0, 1.0, 0.0), (0.0, 2.0, 0.0, 0.0, 0.0), (-0.0, 3.0, -0.0, 0.0, 0.0),
        (0.0, 0.5, 0.0, INF, 0.0),
        (0.0, -1.0, INF, -INF, -INF), (-0.0, -1.0, -INF, -INF, INF), (-0.0, -2.0, INF, INF, -INF),
        (-1.0, 0.5, NAN, NAN, NAN), (-2.0, 3.0, -8.0, 12.0, NAN), (-TINY, 0.5, NAN, NAN, NAN),
        (INF, 1.0, INF, 1.0, INF), (INF, -1.0, 0.0, -0.0, NAN), (-INF, 3.0, -INF, INF, NAN),
        (2.0, INF, INF, INF, INF), (2.0, -INF, 0.0, NAN, 0.0), (0.5, INF, 0.0, NAN, -0.0), (-1.0, INF, 1.0, INF, NAN),
        (0.0, INF, 0.0, NAN, 0.0), (0.0, -INF, INF, -INF, -INF), (1.0, INF, 1.0, INF, 0.0),
        (MAX, 2.0, INF, INF, INF), (MAX, -2.0, 0.0, -0.0, 0.0),
        (TINY, 2.0, 0.0, f32::from_bits(2), -0.0), (TINY, 0.5, 3.743_392e-23, 1.335_686_9e22, -3.866_135e-21),
        (2.0, TINY, 1.0, 0.0, LN_2),
    ]),
    // Of two zeros the second; a derivative that a NaN leaves undecided goes to both.
    table!(maximum, 0, -3.0, [
        (NAN, 1.0, NAN, 1.0, 1.0), (1.0, NAN, NAN, 1.0, 1.0), (NAN, NAN, NAN, 1.0, 1.0), (INF, NAN, NAN, 1.0, 1.0),
        (0.0, -0.0, -0.0, 0.5, 0.5), (-0.0, 0.0, 0.0, 0.5, 0.5), (-0.0, -0.0, -0.0, 0.5, 0.5),
        (INF, -INF, INF, 1.0, 0.0), (INF, INF, INF, 0.5, 0.5), (-INF, -INF, -INF, 0.5, 0.5), (MAX, INF, INF, 0.0, 1.0),
        (TINY, 0.0, TINY, 1.0, 0.0), (-TINY, 0.0, 0.0, 0.0, 1.0), (-TINY, -0.0, -0.0, 0.0, 1.0),
        (MAX, MAX, MAX, 0.5, 0.5), (-MAX, -INF, -MAX, 1.0, 0.0), (1.5, 1.5, 1.5, 0.5, 0.5),
    ]),
    table!(minimum, 0, -3.0, [
        (NAN, 1.0, NAN, 1.0, 1.0), (1.0, NAN, NAN, 1.0, 1.0), (NAN, NAN, NAN, 1.0, 1.0), (-INF, NAN, NAN, 1.0, 1.0),
        (0.0, -0.0, -0.0, 0.5, 0.5), (-0.0, 0.0, 0.0, 0.5, 0.5), (-0.0, -0.0, -0.0, 0.5, 0.5),
        (INF, -INF, -INF, 0.0, 1.0), (INF, INF, INF, 0.5, 0.5), (-INF, -INF, -INF, 0.5, 0.5), (MAX, INF, MAX, 1.0, 0.0),
        (TINY, 0.0, 0.0, 0.0, 1.0), (-TINY, 0.0, -TINY, 1.0, 0.0), (TINY, -0.0, -0.0, 0.0, 1.0),
        (MAX, MAX, MAX, 0.5, 0.5), (-MAX, -INF, -INF, 0.0, 1.0), (1.5, 1.5, 1.5, 0.5, 0.5),
    ]),
    // What is not chosen has no part, and its derivative is zero.
    choice!(1, [
        (1.0, NAN, 1.0, 1.0, 0.0), (NAN, 1.0, NAN, 1.0, 0.0), (-0.0, 0.0, -0.0, 1.0, 0.0), (0.0, NAN, 0.0, 1.0, 0.0),
        (INF, -INF, INF, 1.0, 0.0), (-INF, INF, -INF, 1.0, 0.0), (TINY, MAX, TINY, 1.0, 0.0),
        (-MAX, TINY, -MAX, 1.0, 0.0),
    ]),
    choice!(0, [
        (1.0, NAN, NAN, 0.0, 1.0), (NAN, 1.0, 1.0, 0.0, 1.0), (0.0, -0.0, -0.0, 0.0, 1.0), (NAN, 0.0, 0.0, 0.0, 1.0),
        (-INF, INF, INF, 0.0, 1.0), (INF, -INF, -INF, 0.0, 1.0), (MAX, TINY, TINY, 0.0, 1.0),
        (TINY, -MAX, -MAX, 0.0, 1.0),
    ]),
];

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|table| table.name)
}

impl Table {
    /// The result and both gradients.
    fn run(&self, exec: &Exec, [a, b, dy]: [&Line; 3], out: &mut [Line; 3]) {
        out.iter_mut().for_each(Line::poison);
        let [y, da, db] = out;
        (self.forward)(exec, y.view_mut(), a.view(), b.view()).unwrap();
        (self.backward)(exec, [da.view_mut(), db.view_mut()], dy.view(), a.view(), b.view()).unwrap();
    }

    /// Each row at each place of `n`, `step` apart.
    fn try_places(&self, exec: &Exec, n: usize, step: isize) {
        let mut inp = [1, 2, 3].map(|seed| Line::new(step, &ordinary(seed, n, self.low)));
        let mut base = [0; 3].map(|_| Line::new(step, &vec![GUARD; n]));
        self.run(exec, inp.each_ref(), &mut base);
        let mut out = base.clone();
        for i in 0..n {
            let old = inp.each_ref().map(|line| line.get(i));
            for &(a, b, y, da, db) in self.rows {
                inp.iter_mut().zip([a, b, 1.0]).for_each(|(line, value)| line.set(i, value));
                self.run(exec, inp.each_ref(), &mut out);
                let what = || format!("{}({a:e}, {b:e}) on {} at {i} of {n}, step {step}", self.name, exec.isa());
                let wanted = [("y", y), ("da", da), ("db", db)];
                for ((name, want), (got, base)) in wanted.into_iter().zip(out.iter().zip(&base)) {
                    let value = got.get(i);
                    assert!(is_wanted(value, want, self.ulp), "{}: {name} is {value:e}, want {want:e}", what());
                    assert_others(&what, got, base, i);
                }
            }
            inp.iter_mut().zip(old).for_each(|(line, value)| line.set(i, value));
        }
    }
}

#[test]
fn functions_of_two_operands() {
    on_every_tier("functions of two operands", |isa| {
        let exec = serial(isa);
        for table in TABLES {
            for n in lengths(isa.lanes()) {
                for step in STEPS {
                    table.try_places(&exec, n, step);
                }
            }
        }
    });
}

/// `x, low, high -> y, dy/dx, dy/dlow, dy/dhigh`.
const CLAMPED: [([f32; 3], [f32; 4]); 16] = [
    ([NAN, -0.5, 0.75], [NAN, 1.0, 0.0, 0.0]),
    ([1.0, NAN, 2.0], [NAN, 1.0, 0.0, 0.0]),
    ([1.0, 0.5, NAN], [NAN, 1.0, 0.0, 0.0]),
    ([0.75, -0.5, 0.75], [0.75, 1.0, 0.0, 0.0]),
    ([-0.5, -0.5, 0.75], [-0.5, 1.0, 0.0, 0.0]),
    ([INF, -0.5, 0.75], [0.75, 0.0, 0.0, 1.0]),
    ([-INF, -0.5, 0.75], [-0.5, 0.0, 1.0, 0.0]),
    ([-INF, -INF, INF], [-INF, 1.0, 0.0, 0.0]),
    ([MAX, -INF, INF], [MAX, 1.0, 0.0, 0.0]),
    ([-0.0, -0.5, 0.75], [-0.0, 1.0, 0.0, 0.0]),
    ([-TINY, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]),
    ([TINY, -1.0, 0.0], [0.0, 0.0, 0.0, 1.0]),
    // Bounds the wrong way round: the higher one's number, and its gradient.
    ([0.0, 1.0, -1.0], [-1.0, 0.0, 0.0, 1.0]),
    ([2.0, 1.0, -1.0], [-1.0, 0.0, 0.0, 1.0]),
    ([-2.0, 1.0, -1.0], [-1.0, 0.0, 0.0, 1.0]),
    ([0.5, 0.5, 0.5], [0.5, 1.0, 0.0, 0.0]),
];

#[test]
fn bounds_for_each_element() {
    fn run(exec: &Exec, [x, low, high, dy]: [&Line; 4], out: &mut [Line; 4]) {
        out.iter_mut().for_each(Line::poison);
        let [y, dx, dlow, dhigh] = out;
        clamp_tensor::forward(exec, y.view_mut(), x.view(), low.view(), high.view()).unwrap();
        let grads = clamp_tensor::Grads { dx: dx.view_mut(), dlow: dlow.view_mut(), dhigh: dhigh.view_mut() };
        clamp_tensor::backward(exec, grads, dy.view(), x.view(), low.view(), high.view()).unwrap();
    }
    on_every_tier("bounds for each element", |isa| {
        let exec = serial(isa);
        for n in lengths(isa.lanes()) {
            for step in STEPS {
                let mut inp = [1, 2, 3, 4].map(|seed| Line::new(step, &ordinary(seed, n, -2.0)));
                let mut base = [0; 4].map(|_| Line::new(step, &vec![GUARD; n]));
                run(&exec, inp.each_ref(), &mut base);
                let mut out = base.clone();
                for i in 0..n {
                    let old = inp.each_ref().map(|line| line.get(i));
                    for (numbers, want) in CLAMPED {
                        let values = numbers.into_iter().chain([1.0]);
                        inp.iter_mut().zip(values).for_each(|(line, value)| line.set(i, value));
                        run(&exec, inp.each_ref(), &mut out);
                        let what = || format!("clamp {numbers:?} on {isa} at {i} of {n}, step {step}");
                        let got = out.each_ref().map(|line| line.get(i));
                        assert!(
                            got.iter().zip(want).all(|(&got, want)| same_bits(got, want)),
                            "{}: {got:?}, want {want:?}",
                            what()
                        );
                        out.iter().zip(&base).for_each(|(got, base)| assert_others(&what, got, base, i));
                    }
                    inp.iter_mut().zip(old).for_each(|(line, value)| line.set(i, value));
                }
            }
        }
    });
}
