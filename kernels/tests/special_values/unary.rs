//! Functions of one operand: `x -> y, dy/dx`.

use super::common::serial;
use super::common::tiers::on_every_tier;
use super::{GUARD, INF, Line, MAX, NAN, STEPS, TINY, assert_others, is_wanted, lengths, ordinary, same_bits};
use handgrad_kernels::op::gelu::Form;
use handgrad_kernels::op::{self, dropout};
use handgrad_kernels::view::{View, ViewMut};
use handgrad_kernels::{Exec, Result};
use std::f32::consts::LN_2;

/// What a function makes of special numbers.
struct Table {
    name: &'static str,
    forward: fn(&Exec, ViewMut<'_>, View<'_>) -> Result<()>,
    /// Writes `dx` from `dy`, `x` and `y`.
    backward: fn(&Exec, ViewMut<'_>, View<'_>, View<'_>, View<'_>) -> Result<()>,
    /// How many places `y` and `dy/dx` may be off where they are ordinary.
    ulp: [u32; 2],
    /// Ordinary arguments are between this and 2.
    low: f32,
    rows: &'static [(f32, f32, f32)],
}

/// Makes the table of `module(parameters)`; what its backward pass takes is `x`, `y` or none.
macro_rules! table {
    ($module:ident($($param:expr),*), $saved:ident, $ulp:expr, $low:expr, $rows:expr) => {
        Table {
            name: stringify!($module),
            forward: |e, y, x| op::$module::forward(e, y, x $(, $param)*),
            backward: table!(@backward $module($($param),*), $saved),
            ulp: $ulp,
            low: $low,
            rows: &$rows,
        }
    };
    (@backward $module:ident($($param:expr),*), x) => {
        |e, dx, dy, x, _| op::$module::backward(e, dx, dy, x $(, $param)*)
    };
    (@backward $module:ident(), y) => { |e, dx, dy, _, y| op::$module::backward(e, dx, dy, y) };
    (@backward $module:ident(), none) => { |e, dx, dy, _, _| op::$module::backward(e, dx, dy) };
}

/// Dropout of one row, with everything kept or everything dropped.
macro_rules! dropout {
    ($p:expr, $rows:expr) => {
        Table {
            name: "dropout",
            forward: |e, y, x| {
                let (y, x) = (y.unsqueeze(0)?.try_into()?, x.unsqueeze(0)?.try_into()?);
                dropout::forward(e, y, x, dropout::Config { p: $p }, dropout::Key::new(1, 2, 3))
            },
            backward: |e, dx, dy, _, _| {
                let (dx, dy) = (dx.unsqueeze(0)?.try_into()?, dy.unsqueeze(0)?.try_into()?);
                dropout::backward(e, dx, dy, dropout::Config { p: $p }, dropout::Key::new(1, 2, 3))
            },
            ulp: [0, 0],
            low: -3.0,
            rows: &$rows,
        }
    };
}

/// The numbers next to the kinks of `clamp` and `hardtanh`.
const OVER_HIGH: f32 = 0.75_f32.next_up();
const UNDER_HIGH: f32 = 0.75_f32.next_down();
const OVER_LOW: f32 = (-0.5_f32).next_up();
const UNDER_LOW: f32 = (-0.5_f32).next_down();

#[rustfmt::skip]
static TABLES: &[Table] = &[
    table!(neg(), none, [0, 0], -3.0, [
        (NAN, NAN, -1.0),
        (0.0, -0.0, -1.0), (-0.0, 0.0, -1.0),
        (INF, -INF, -1.0), (-INF, INF, -1.0),
        (TINY, -TINY, -1.0), (-TINY, TINY, -1.0),
        (MAX, -MAX, -1.0), (-MAX, MAX, -1.0),
    ]),
    // Zero and NaN are their own signs.
    table!(abs(), x, [0, 0], -3.0, [
        (NAN, NAN, NAN),
        (0.0, 0.0, 0.0), (-0.0, 0.0, -0.0),
        (INF, INF, 1.0), (-INF, INF, -1.0),
        (TINY, TINY, 1.0), (-TINY, TINY, -1.0),
        (MAX, MAX, 1.0), (-MAX, MAX, -1.0),
    ]),
    table!(exp(), y, [2, 2], -3.0, [
        (NAN, NAN, NAN),
        (0.0, 1.0, 1.0), (-0.0, 1.0, 1.0),
        (INF, INF, INF), (-INF, 0.0, 0.0),
        (TINY, 1.0, 1.0), (-TINY, 1.0, 1.0),
        (MAX, INF, INF), (-MAX, 0.0, 0.0),
        // The last argument before the result is infinite, and the first after; one that gives the least number.
        (88.722_83, 3.402_798_5e38, 3.402_798_5e38), (88.722_84, INF, INF),
        (-103.0, TINY, TINY), (-104.0, 0.0, 0.0),
    ]),
    table!(log(), x, [2, 0], 0.25, [
        (NAN, NAN, NAN),
        (0.0, -INF, INF), (-0.0, -INF, -INF),
        (INF, INF, 0.0), (-INF, NAN, -0.0),
        (TINY, -103.278_93, INF), (-TINY, NAN, -INF),
        (MAX, 88.722_84, 2.938_736e-39), (-MAX, NAN, -2.938_736e-39),
        (f32::MIN_POSITIVE, -87.336_55, 8.507_059e37),
        (1.0, 0.0, 1.0), (-1.0, NAN, -1.0),
    ]),
    table!(sin(), x, [3, 3], -3.0, [
        (NAN, NAN, NAN),
        (0.0, 0.0, 1.0), (-0.0, -0.0, 1.0),
        (INF, NAN, NAN), (-INF, NAN, NAN),
        (TINY, TINY, 1.0), (-TINY, -TINY, 1.0),
        (MAX, -0.521_876_5, 0.853_021), (-MAX, 0.521_876_5, 0.853_021),
    ]),
    table!(cos(), x, [3, 3], -3.0, [
        (NAN, NAN, NAN),
        (0.0, 1.0, -0.0), (-0.0, 1.0, 0.0),
        (INF, NAN, NAN), (-INF, NAN, NAN),
        (TINY, 1.0, -TINY), (-TINY, 1.0, TINY),
        (MAX, 0.853_021, 0.521_876_5), (-MAX, 0.853_021, -0.521_876_5),
    ]),
    table!(tanh(), y, [0, 0], -3.0, [
        (NAN, NAN, NAN),
        (0.0, 0.0, 1.0), (-0.0, -0.0, 1.0),
        (INF, 1.0, 0.0), (-INF, -1.0, 0.0),
        (TINY, TINY, 1.0), (-TINY, -TINY, 1.0),
        (MAX, 1.0, 0.0), (-MAX, -1.0, 0.0),
        (10.0, 1.0, 0.0), (-10.0, -1.0, 0.0),
    ]),
    table!(sigmoid(), y, [0, 0], -3.0, [
        (NAN, NAN, NAN),
        (0.0, 0.5, 0.25), (-0.0, 0.5, 0.25),
        (INF, 1.0, 0.0), (-INF, 0.0, 0.0),
        (TINY, 0.5, 0.25), (-TINY, 0.5, 0.25),
        (MAX, 1.0, 0.0), (-MAX, 0.0, 0.0),
    ]),
    table!(sqrt(), y, [0, 1], 0.25, [
        (NAN, NAN, NAN),
        (0.0, 0.0, INF), (-0.0, -0.0, -INF),
        (INF, INF, 0.0), (-INF, NAN, NAN),
        (TINY, 3.743_392e-23, 1.335_686_9e22), (-TINY, NAN, NAN),
        (MAX, 1.844_674_3e19, 2.710_505_4e-20), (-MAX, NAN, NAN),
        (1.0, 1.0, 0.5), (-1.0, NAN, NAN),
    ]),
    // The derivative overflows, and vanishes, where it does in exact arithmetic.
    table!(rsqrt(), y, [1, 0], 0.25, [
        (NAN, NAN, NAN),
        (0.0, INF, -INF), (-0.0, -INF, INF),
        (INF, 0.0, -0.0), (-INF, NAN, NAN),
        (TINY, 2.671_373_8e22, -INF), (-TINY, NAN, NAN),
        (MAX, 5.421_011e-20, -0.0), (-MAX, NAN, NAN),
        (1.0, 1.0, -0.5), (-1.0, NAN, NAN),
    ]),
    table!(reciprocal(), y, [0, 0], 0.25, [
        (NAN, NAN, NAN),
        (0.0, INF, -INF), (-0.0, -INF, -INF),
        (INF, 0.0, -0.0), (-INF, -0.0, -0.0),
        (TINY, INF, -INF), (-TINY, -INF, -INF),
        (MAX, 2.938_736e-39, -0.0), (-MAX, -2.938_736e-39, -0.0),
        (1.0, 1.0, -1.0), (-1.0, -1.0, -1.0),
    ]),
    table!(square(), x, [0, 0], -3.0, [
        (NAN, NAN, NAN),
        (0.0, 0.0, 0.0), (-0.0, 0.0, -0.0),
        (INF, INF, INF), (-INF, INF, -INF),
        (TINY, 0.0, f32::from_bits(2)), (-TINY, 0.0, -f32::from_bits(2)),
        (MAX, INF, INF), (-MAX, INF, -INF),
    ]),
    // Powers are those of C; PyTorch takes a square root for the exponent 1/2, which differs at -0 and -inf.
    table!(pow_scalar(0.5), x, [3, 4], 0.25, [
        (NAN, NAN, NAN),
        (0.0, 0.0, INF), (-0.0, 0.0, INF),
        (INF, INF, 0.0), (-INF, INF, 0.0),
        (TINY, 3.743_392e-23, 1.335_686_9e22), (-TINY, NAN, NAN),
        (MAX, 1.844_674_3e19, 2.710_505_4e-20), (-MAX, NAN, NAN),
    ]),
    table!(pow_scalar(2.5), x, [0, 0], 0.25, [
        (NAN, NAN, NAN),
        (0.0, 0.0, 0.0), (-0.0, 0.0, 0.0),
        (INF, INF, INF), (-INF, INF, INF),
        (TINY, 0.0, 0.0), (-TINY, NAN, NAN),
        (MAX, INF, INF), (-MAX, NAN, NAN),
        (1.0, 1.0, 2.5), (-1.0, NAN, NAN),
    ]),
    table!(pow_scalar(2.0), x, [0, 0], -3.0, [
        (NAN, NAN, NAN),
        (0.0, 0.0, 0.0), (-0.0, 0.0, -0.0),
        (INF, INF, INF), (-INF, INF, -INF),
        (TINY, 0.0, f32::from_bits(2)), (-TINY, 0.0, -f32::from_bits(2)),
        (MAX, INF, INF), (-MAX, INF, -INF),
    ]),
    table!(pow_scalar(3.0), x, [0, 0], -3.0, [
        (NAN, NAN, NAN),
        (0.0, 0.0, 0.0), (-0.0, -0.0, 0.0),
        (INF, INF, INF), (-INF, -INF, INF),
        (TINY, 0.0, 0.0), (-TINY, -0.0, 0.0),
        (MAX, INF, INF), (-MAX, -INF, INF),
    ]),
    table!(pow_scalar(1.0), x, [0, 0], -3.0, [
        (NAN, NAN, 1.0),
        (0.0, 0.0, 1.0), (-0.0, -0.0, 1.0),
        (INF, INF, 1.0), (-INF, -INF, 1.0),
        (TINY, TINY, 1.0), (-TINY, -TINY, 1.0),
        (MAX, MAX, 1.0), (-MAX, -MAX, 1.0),
    ]),
    table!(pow_scalar(0.0), x, [0, 0], -3.0, [
        (NAN, 1.0, 0.0),
        (0.0, 1.0, 0.0), (-0.0, 1.0, 0.0),
        (INF, 1.0, 0.0), (-INF, 1.0, 0.0),
        (TINY, 1.0, 0.0), (-TINY, 1.0, 0.0),
        (MAX, 1.0, 0.0), (-MAX, 1.0, 0.0),
    ]),
    table!(pow_scalar(-1.0), x, [0, 0], 0.25, [
        (NAN, NAN, NAN),
        (0.0, INF, -INF), (-0.0, -INF, -INF),
        (INF, 0.0, -0.0), (-INF, -0.0, -0.0),
        (TINY, INF, -INF), (-TINY, -INF, -INF),
        (1.0, 1.0, -1.0), (-1.0, -1.0, -1.0),
    ]),
    table!(clamp(-0.5, 0.75), x, [0, 0], -3.0, [
        // PyTorch's derivative at NaN is 0.
        (NAN, NAN, 1.0),
        (0.0, 0.0, 1.0), (-0.0, -0.0, 1.0),
        (INF, 0.75, 0.0), (-INF, -0.5, 0.0),
        (TINY, TINY, 1.0), (-TINY, -TINY, 1.0),
        (MAX, 0.75, 0.0), (-MAX, -0.5, 0.0),
        (UNDER_HIGH, UNDER_HIGH, 1.0), (0.75, 0.75, 1.0), (OVER_HIGH, 0.75, 0.0),
        (OVER_LOW, OVER_LOW, 1.0), (-0.5, -0.5, 1.0), (UNDER_LOW, -0.5, 0.0),
    ]),
    table!(clamp(-INF, 0.75), x, [0, 0], -3.0, [
        (NAN, NAN, 1.0),
        (-0.0, -0.0, 1.0), (-INF, -INF, 1.0), (-MAX, -MAX, 1.0), (INF, 0.75, 0.0),
    ]),
    // The bound is the greater of the zeros.
    table!(clamp(0.0, INF), x, [0, 0], -3.0, [
        (NAN, NAN, 1.0),
        (0.0, 0.0, 1.0), (-0.0, 0.0, 1.0),
        (INF, INF, 1.0), (-INF, 0.0, 0.0), (-TINY, 0.0, 0.0), (TINY, TINY, 1.0),
    ]),
    table!(clamp(0.75, -0.5), x, [0, 0], -3.0, [
        (NAN, NAN, 1.0),
        (0.0, -0.5, 0.0), (0.75, -0.5, 0.0), (-0.5, -0.5, 0.0), (INF, -0.5, 0.0), (-INF, -0.5, 0.0),
    ]),
    table!(clamp(NAN, 0.75), x, [0, 0], -3.0, [
        (NAN, NAN, 1.0), (0.0, NAN, 1.0), (-INF, NAN, 1.0), (INF, NAN, 0.0),
    ]),
    table!(hardtanh(-0.5, 0.75), x, [0, 0], -3.0, [
        (NAN, NAN, 1.0),
        (0.0, 0.0, 1.0), (-0.0, -0.0, 1.0),
        (INF, 0.75, 0.0), (-INF, -0.5, 0.0),
        (TINY, TINY, 1.0), (-TINY, -TINY, 1.0),
        (MAX, 0.75, 0.0), (-MAX, -0.5, 0.0),
        (UNDER_HIGH, UNDER_HIGH, 1.0), (0.75, 0.75, 0.0), (OVER_HIGH, 0.75, 0.0),
        (OVER_LOW, OVER_LOW, 1.0), (-0.5, -0.5, 0.0), (UNDER_LOW, -0.5, 0.0),
    ]),
    table!(relu(), y, [0, 0], -3.0, [
        (NAN, NAN, 1.0),
        (0.0, 0.0, 0.0), (-0.0, -0.0, 0.0),
        (INF, INF, 1.0), (-INF, 0.0, 0.0),
        (TINY, TINY, 1.0), (-TINY, 0.0, 0.0),
        (MAX, MAX, 1.0), (-MAX, 0.0, 0.0),
    ]),
    table!(leaky_relu(0.25), x, [0, 0], -3.0, [
        (NAN, NAN, 0.25),
        (0.0, 0.0, 0.25), (-0.0, -0.0, 0.25),
        (INF, INF, 1.0), (-INF, -INF, 0.25),
        (TINY, TINY, 1.0), (-TINY, -0.0, 0.25),
        (MAX, MAX, 1.0), (-MAX, -0.25 * MAX, 0.25),
    ]),
    table!(leaky_relu(0.0), x, [0, 0], -3.0, [
        (NAN, NAN, 0.0), (-0.0, -0.0, 0.0), (-1.0, -0.0, 0.0), (-INF, NAN, 0.0), (INF, INF, 1.0),
    ]),
    // PyTorch's derivative at NaN is 1.
    table!(elu(1.25), x, [0, 0], -3.0, [
        (NAN, NAN, NAN),
        (0.0, 0.0, 1.25), (-0.0, -0.0, 1.25),
        (INF, INF, 1.0), (-INF, -1.25, 0.0),
        (TINY, TINY, 1.0), (-TINY, -TINY, 1.25),
        (MAX, MAX, 1.0), (-MAX, -1.25, 0.0),
    ]),
    // At the infinities the limits; PyTorch has NaN for the derivatives there, and for `y` of -inf.
    Table {
        name: "gelu",
        forward: |e, y, x| op::gelu::forward(e, y, x, Form::Erf),
        backward: |e, dx, dy, x, _| op::gelu::backward(e, dx, dy, x, Form::Erf),
        ulp: [0, 0],
        low: -3.0,
        rows: &[
            (NAN, NAN, NAN),
            (0.0, 0.0, 0.5), (-0.0, -0.0, 0.5),
            (INF, INF, 1.0), (-INF, -0.0, 0.0),
            (TINY, 0.0, 0.5), (-TINY, -0.0, 0.5),
            (MAX, MAX, 1.0), (-MAX, -0.0, 0.0),
        ],
    },
    Table {
        name: "gelu by tanh",
        forward: |e, y, x| op::gelu::forward(e, y, x, Form::Tanh),
        backward: |e, dx, dy, x, _| op::gelu::backward(e, dx, dy, x, Form::Tanh),
        ulp: [0, 0],
        low: -3.0,
        rows: &[
            (NAN, NAN, NAN),
            (0.0, 0.0, 0.5), (-0.0, -0.0, 0.5),
            (INF, INF, 1.0), (-INF, -0.0, 0.0),
            (TINY, 0.0, 0.5), (-TINY, -0.0, 0.5),
            (MAX, MAX, 1.0), (-MAX, -0.0, 0.0),
        ],
    },
    // At the infinities the limits; PyTorch has NaN for the derivatives there, and for `y` of -inf.
    table!(silu(), x, [0, 0], -3.0, [
        (NAN, NAN, NAN),
        (0.0, 0.0, 0.5), (-0.0, -0.0, 0.5),
        (INF, INF, 1.0), (-INF, -0.0, -0.0),
        (TINY, 0.0, 0.5), (-TINY, -0.0, 0.5),
        (MAX, MAX, 1.0), (-MAX, -0.0, -0.0),
    ]),
    table!(softplus(1.0, 20.0), x, [3, 0], -3.0, [
        (NAN, NAN, NAN),
        (0.0, LN_2, 0.5), (-0.0, LN_2, 0.5),
        (INF, INF, 1.0), (-INF, 0.0, 0.0),
        (TINY, LN_2, 0.5), (-TINY, LN_2, 0.5),
        (MAX, MAX, 1.0), (-MAX, 0.0, 0.0),
        (20.0, 20.0, 1.0), (20.0_f32.next_up(), 20.0_f32.next_up(), 1.0),
    ]),
    // Above the threshold the result is the argument, however low the threshold is; at it, it is not.
    table!(softplus(2.0, 0.0), x, [3, 0], -3.0, [
        (NAN, NAN, NAN),
        (0.0, 0.5 * LN_2, 0.5), (-0.0, 0.5 * LN_2, 0.5),
        (TINY, TINY, 1.0), (-TINY, 0.5 * LN_2, 0.5),
        (INF, INF, 1.0), (-INF, 0.0, 0.0), (MAX, MAX, 1.0), (-MAX, 0.0, 0.0),
    ]),
    // Nothing changes without dropping; what is dropped is multiplied by zero.
    dropout!(0.0, [
        (NAN, NAN, 1.0), (0.0, 0.0, 1.0), (-0.0, -0.0, 1.0), (INF, INF, 1.0), (-INF, -INF, 1.0),
        (TINY, TINY, 1.0), (-TINY, -TINY, 1.0), (MAX, MAX, 1.0), (-MAX, -MAX, 1.0),
    ]),
    dropout!(1.0, [
        (NAN, NAN, 0.0), (0.0, 0.0, 0.0), (-0.0, -0.0, 0.0), (INF, NAN, 0.0), (-INF, NAN, 0.0),
        (TINY, 0.0, 0.0), (-TINY, -0.0, 0.0), (MAX, 0.0, 0.0), (-MAX, -0.0, 0.0),
    ]),
];

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|table| table.name)
}

impl Table {
    /// The result and the gradient.
    fn run(&self, exec: &Exec, x: &Line, dy: &Line, [y, dx]: [&mut Line; 2]) {
        y.poison();
        dx.poison();
        (self.forward)(exec, y.view_mut(), x.view()).unwrap();
        (self.backward)(exec, dx.view_mut(), dy.view(), x.view(), y.view()).unwrap();
    }

    /// Each row at each place of `n`, `step` apart.
    fn try_places(&self, exec: &Exec, n: usize, step: isize) {
        let mut x = Line::new(step, &ordinary(1, n, self.low));
        let mut dy = Line::new(step, &ordinary(2, n, -2.0));
        let [mut y0, mut dx0] = [Line::new(step, &vec![GUARD; n]), Line::new(step, &vec![GUARD; n])];
        self.run(exec, &x, &dy, [&mut y0, &mut dx0]);
        let (mut y, mut dx) = (y0.clone(), dx0.clone());
        for i in 0..n {
            let (old_x, old_dy) = (x.get(i), dy.get(i));
            for &(special, want, slope) in self.rows {
                x.set(i, special);
                dy.set(i, 1.0);
                self.run(exec, &x, &dy, [&mut y, &mut dx]);
                let what = || format!("{} of {special:e} on {} at {i} of {n}, step {step}", self.name, exec.isa());
                let (got, got_slope) = (y.get(i), dx.get(i));
                assert!(is_wanted(got, want, self.ulp[0]), "{}: got {got:e}, want {want:e}", what());
                assert!(
                    is_wanted(got_slope, slope, self.ulp[1]),
                    "{}: the derivative is {got_slope:e}, want {slope:e}",
                    what()
                );
                assert_others(&what, &y, &y0, i);
                assert_others(&what, &dx, &dx0, i);
            }
            x.set(i, old_x);
            dy.set(i, old_dy);
        }
    }
}

#[test]
fn functions_of_one_operand() {
    on_every_tier("functions of one operand", |isa| {
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

/// Where the slope is zero by a choice, not by a product, an upstream gradient that is no number stops.
#[test]
fn gradients_that_are_not_numbers() {
    let stops: &[(&str, f32)] =
        &[("relu", -1.0), ("relu", 0.0), ("clamp", 9.0), ("clamp", -9.0), ("hardtanh", 0.75), ("hardtanh", -9.0)];
    let passes =
        [("relu", 1.0), ("clamp", 0.75), ("hardtanh", 0.5), ("leaky_relu", -1.0), ("tanh", 20.0), ("abs", 0.0)];
    on_every_tier("gradients that are not numbers", |isa| {
        let exec = serial(isa);
        let run = |name: &str, x: f32, dy: f32| {
            let table = TABLES.iter().find(|table| table.name == name).expect("a table of that name");
            let lines = |value| Line::new(1, &[value; 19]);
            let (mut y, mut dx) = (lines(GUARD), lines(GUARD));
            table.run(&exec, &lines(x), &lines(dy), [&mut y, &mut dx]);
            dx.data
        };
        for dy in [NAN, INF, -INF] {
            for &(name, x) in stops {
                let dx = run(name, x, dy);
                assert!(dx.iter().all(|&dx| same_bits(dx, 0.0)), "{name} at {x} of {dy}: {dx:?}");
            }
            for (name, x) in passes {
                // Through a slope that is zero as a number, an infinity becomes NaN.
                let want = if matches!(name, "tanh" | "abs") { NAN } else { dy };
                let dx = run(name, x, dy);
                assert!(dx.iter().all(|&dx| same_bits(dx, want)), "{name} at {x} of {dy}: {dx:?}");
            }
        }
    });
}
