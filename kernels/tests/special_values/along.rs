//! Functions along an axis: what one special number among ordinary ones makes of its group, and what it makes alone.
//! The groups beside it keep their bits.

use super::common::serial;
use super::common::tiers::on_every_tier;
use super::{GUARD, INF, Line, MAX, NAN, STEPS, TINY, lengths, ordinary, same_bits};
use handgrad_kernels::op::spec::{ALL, Along, Spec};
use handgrad_kernels::op::{argmax, argmin, max, min};
use handgrad_kernels::view::ViewMut;
use handgrad_kernels::{Exec, Isa};

/// What a result must be.
#[derive(Clone, Copy, Debug)]
enum Want {
    /// This number.
    Is(f32),
    /// What the definition in f64 has: nothing special.
    Plain,
}

use Want::{Is, Plain};

/// What a number makes of a group of two or more.
struct Row {
    x: f32,
    /// The result, or the one at the number and those at the others.
    y: [Want; 2],
    /// The gradient at the number, and those at the others.
    dx: [Want; 2],
}

const fn row(x: f32, y: Want, dx: [Want; 2]) -> Row {
    Row { x, y: [y, y], dx }
}

const fn each(x: f32, y: [Want; 2], dx: [Want; 2]) -> Row {
    Row { x, y, dx }
}

struct Table {
    name: &'static str,
    rows: &'static [Row],
    /// `x -> y, dx`, of a group of one.
    alone: &'static [(f32, f32, f32)],
}

const ALL_NAN: [Want; 2] = [Is(NAN); 2];
const ONES: [Want; 2] = [Is(1.0); 2];
const ITS_OWN: [Want; 2] = [Is(1.0), Is(0.0)];
const OTHERS: [Want; 2] = [Is(0.0), Plain];
const BOTH: [Want; 2] = [Plain; 2];

#[rustfmt::skip]
static TABLES: &[Table] = &[
    Table {
        name: "sum",
        rows: &[
            row(NAN, Is(NAN), ONES), row(INF, Is(INF), ONES), row(-INF, Is(-INF), ONES),
            row(0.0, Plain, ONES), row(-0.0, Plain, ONES), row(TINY, Plain, ONES),
            row(MAX, Is(MAX), ONES), row(-MAX, Is(-MAX), ONES),
        ],
        alone: &[
            (NAN, NAN, 1.0), (INF, INF, 1.0), (-INF, -INF, 1.0), (0.0, 0.0, 1.0), (-0.0, -0.0, 1.0), (TINY, TINY, 1.0),
            (MAX, MAX, 1.0), (-MAX, -MAX, 1.0),
        ],
    },
    Table {
        name: "mean",
        rows: &[
            row(NAN, Is(NAN), BOTH), row(INF, Is(INF), BOTH), row(-INF, Is(-INF), BOTH),
            row(0.0, Plain, BOTH), row(-0.0, Plain, BOTH), row(TINY, Plain, BOTH),
            row(MAX, Plain, BOTH), row(-MAX, Plain, BOTH),
        ],
        alone: &[
            (NAN, NAN, 1.0), (INF, INF, 1.0), (-INF, -INF, 1.0), (0.0, 0.0, 1.0), (-0.0, -0.0, 1.0), (TINY, TINY, 1.0),
            (MAX, MAX, 1.0), (-MAX, -MAX, 1.0),
        ],
    },
    // No element equals NaN: the gradient is shared among none.
    Table {
        name: "amax",
        rows: &[
            row(NAN, Is(NAN), ALL_NAN), row(INF, Is(INF), ITS_OWN), row(-INF, Plain, OTHERS),
            row(0.0, Plain, BOTH), row(-0.0, Plain, BOTH), row(TINY, Plain, BOTH),
            row(MAX, Is(MAX), ITS_OWN), row(-MAX, Plain, OTHERS),
        ],
        alone: &[
            (NAN, NAN, NAN), (INF, INF, 1.0), (-INF, -INF, 1.0), (0.0, 0.0, 1.0), (-0.0, -0.0, 1.0), (TINY, TINY, 1.0),
            (MAX, MAX, 1.0), (-MAX, -MAX, 1.0),
        ],
    },
    Table {
        name: "amin",
        rows: &[
            row(NAN, Is(NAN), ALL_NAN), row(-INF, Is(-INF), ITS_OWN), row(INF, Plain, OTHERS),
            row(0.0, Plain, BOTH), row(-0.0, Plain, BOTH), row(TINY, Plain, BOTH),
            row(-MAX, Is(-MAX), ITS_OWN), row(MAX, Plain, OTHERS),
        ],
        alone: &[
            (NAN, NAN, NAN), (INF, INF, 1.0), (-INF, -INF, 1.0), (0.0, 0.0, 1.0), (-0.0, -0.0, 1.0), (TINY, TINY, 1.0),
            (MAX, MAX, 1.0), (-MAX, -MAX, 1.0),
        ],
    },
    // A place has its gradient, NaN or not.
    Table {
        name: "max",
        rows: &[
            row(NAN, Is(NAN), ITS_OWN), row(INF, Is(INF), ITS_OWN), row(-INF, Plain, OTHERS),
            row(0.0, Plain, BOTH), row(-0.0, Plain, BOTH), row(TINY, Plain, BOTH),
            row(MAX, Is(MAX), ITS_OWN), row(-MAX, Plain, OTHERS),
        ],
        alone: &[
            (NAN, NAN, 1.0), (INF, INF, 1.0), (-INF, -INF, 1.0), (0.0, 0.0, 1.0), (-0.0, -0.0, 1.0), (TINY, TINY, 1.0),
            (MAX, MAX, 1.0), (-MAX, -MAX, 1.0),
        ],
    },
    Table {
        name: "min",
        rows: &[
            row(NAN, Is(NAN), ITS_OWN), row(-INF, Is(-INF), ITS_OWN), row(INF, Plain, OTHERS),
            row(0.0, Plain, BOTH), row(-0.0, Plain, BOTH), row(TINY, Plain, BOTH),
            row(-MAX, Is(-MAX), ITS_OWN), row(MAX, Plain, OTHERS),
        ],
        alone: &[
            (NAN, NAN, 1.0), (INF, INF, 1.0), (-INF, -INF, 1.0), (0.0, 0.0, 1.0), (-0.0, -0.0, 1.0), (TINY, TINY, 1.0),
            (MAX, MAX, 1.0), (-MAX, -MAX, 1.0),
        ],
    },
    Table {
        name: "logsumexp",
        rows: &[
            row(NAN, Is(NAN), ALL_NAN), row(INF, Is(INF), [Is(NAN), Is(0.0)]), row(-INF, Plain, OTHERS),
            row(0.0, Plain, BOTH), row(-0.0, Plain, BOTH), row(TINY, Plain, BOTH),
            row(MAX, Is(MAX), ITS_OWN), row(-MAX, Plain, OTHERS),
        ],
        alone: &[
            (NAN, NAN, NAN), (INF, INF, NAN), (-INF, -INF, NAN), (0.0, 0.0, 1.0), (-0.0, 0.0, 1.0), (TINY, TINY, 1.0),
            (MAX, MAX, 1.0), (-MAX, -MAX, 1.0),
        ],
    },
    // The squares of the largest numbers overflow, their distances from the mean do not. Of one element the divisor
    // is zero.
    Table {
        name: "var",
        rows: &[
            row(NAN, Is(NAN), ALL_NAN), row(INF, Is(NAN), [Is(NAN), Is(-INF)]), row(-INF, Is(NAN), [Is(NAN), Is(INF)]),
            row(0.0, Plain, BOTH), row(-0.0, Plain, BOTH), row(TINY, Plain, BOTH),
            row(MAX, Is(INF), BOTH), row(-MAX, Is(INF), BOTH),
        ],
        alone: &[
            (NAN, NAN, NAN), (INF, NAN, NAN), (0.0, NAN, NAN), (-0.0, NAN, NAN), (TINY, NAN, NAN), (MAX, NAN, NAN),
        ],
    },
    Table {
        name: "std",
        rows: &[
            row(NAN, Is(NAN), ALL_NAN), row(INF, Is(NAN), ALL_NAN), row(-INF, Is(NAN), ALL_NAN),
            row(0.0, Plain, BOTH), row(-0.0, Plain, BOTH), row(TINY, Plain, BOTH),
            row(MAX, Is(INF), [Is(0.0), Is(-0.0)]), row(-MAX, Is(INF), [Is(-0.0), Is(0.0)]),
        ],
        alone: &[
            (NAN, NAN, NAN), (INF, NAN, NAN), (0.0, NAN, NAN), (-0.0, NAN, NAN), (TINY, NAN, NAN), (MAX, NAN, NAN),
        ],
    },
    Table {
        name: "softmax",
        rows: &[
            each(NAN, ALL_NAN, ALL_NAN), each(INF, ALL_NAN, ALL_NAN), each(-INF, OTHERS, BOTH),
            each(0.0, BOTH, BOTH), each(-0.0, BOTH, BOTH), each(TINY, BOTH, BOTH),
            each(MAX, ITS_OWN, BOTH), each(-MAX, OTHERS, BOTH),
        ],
        alone: &[
            (NAN, NAN, NAN), (INF, NAN, NAN), (-INF, NAN, NAN), (0.0, 1.0, 0.0), (-0.0, 1.0, 0.0), (TINY, 1.0, 0.0),
            (MAX, 1.0, 0.0), (-MAX, 1.0, 0.0),
        ],
    },
    Table {
        name: "log_softmax",
        rows: &[
            each(NAN, ALL_NAN, ALL_NAN), each(INF, ALL_NAN, ALL_NAN), each(-INF, [Is(-INF), Plain], BOTH),
            each(0.0, BOTH, BOTH), each(-0.0, BOTH, BOTH), each(TINY, BOTH, BOTH),
            each(MAX, [Is(0.0), Is(-MAX)], BOTH), each(-MAX, [Is(-MAX), Plain], BOTH),
        ],
        alone: &[
            (NAN, NAN, NAN), (INF, NAN, NAN), (-INF, NAN, NAN), (0.0, 0.0, 0.0), (-0.0, 0.0, 0.0), (TINY, 0.0, 0.0),
            (MAX, 0.0, 0.0), (-MAX, 0.0, 0.0),
        ],
    },
];

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|table| table.name)
}

/// Makes an operation along axes of `max` or `min`, whose places must be those of `argmax` or `argmin`.
macro_rules! placed {
    ($name:literal, $module:ident, $arg:ident, $better:expr) => {
        Along {
            name: $name,
            forward: |e, y, x, axes| {
                let shape = y.shape().to_vec();
                let mut places = vec![-1; y.len()];
                $module::forward(e, y, ViewMut::new(&mut places, &shape)?, x, axes[0])
            },
            backward: |e, dx, dy, x, _, axes| {
                let (mut y, mut places, mut others) = (vec![NAN; dy.len()], vec![-1; dy.len()], vec![-1; dy.len()]);
                let values = ViewMut::new(&mut y, dy.shape())?;
                $module::forward(e, values, ViewMut::new(&mut places, dy.shape())?, x, axes[0])?;
                $arg::forward(e, ViewMut::new(&mut others, dy.shape())?, x, axes)?;
                assert_eq!(places, others, "{}", stringify!($arg));
                $module::backward(e, dx, dy, handgrad_kernels::view::View::new(&places, dy.shape())?, axes[0])
            },
            reference: |x| vec![x[best(x, $better)]],
            reference_backward: |dy, x| {
                let place = best(x, $better);
                (0..x.len()).map(|i| if i == place { dy[0] } else { 0.0 }).collect()
            },
            reduces: true,
            least: 1,
        }
    };
}

/// The first place with which no other compares better.
fn best(x: &[f64], better: fn(f64, f64) -> bool) -> usize {
    (1..x.len()).fold(0, |place, i| if better(x[i], x[place]) { i } else { place })
}

static OWN: [Along; 2] = [placed!("max", max, argmax, |a, b| a > b), placed!("min", min, argmin, |a, b| a < b)];

/// The operation of a name.
pub(crate) fn find(name: &str) -> &'static Along {
    let all = ALL.iter().filter_map(|spec| if let Spec::Along(along) = spec { Some(along) } else { None });
    all.chain(&OWN).find(|along| along.name == name).expect("an operation of that name")
}

/// Groups side by side, of which the second has the special number.
const GROUPS: usize = 3;

/// Where the elements of the groups stand.
#[derive(Clone, Copy, Debug)]
struct Place {
    n: usize,
    step: isize,
    /// The groups lie along this axis of two.
    axis: isize,
}

impl Place {
    fn shape(self) -> [isize; 2] {
        if self.axis == 1 { [GROUPS as isize, self.n as isize] } else { [self.n as isize, GROUPS as isize] }
    }

    /// The place of element `i` of a group, counted in row-major order.
    fn of(self, group: usize, i: usize) -> usize {
        if self.axis == 1 { group * self.n + i } else { i * GROUPS + group }
    }

    fn group(self, line: &Line, group: usize) -> Vec<f32> {
        (0..self.n).map(|i| line.get(self.of(group, i))).collect()
    }
}

/// The operands and results of an operation.
struct Problem {
    along: &'static Along,
    place: Place,
    x: Line,
    dy: Line,
}

impl Problem {
    fn new(along: &'static Along, place: Place) -> Self {
        let len = GROUPS * place.n;
        let mut dy = Line::new(place.step, &ordinary(2, if along.reduces { GROUPS } else { len }, -2.0));
        if along.reduces {
            dy.set(1, 1.0);
        }
        Self { along, place, x: Line::new(place.step, &ordinary(1, len, -2.0)), dy }
    }

    /// The result and the gradient.
    fn run(&self, exec: &Exec) -> [Line; 2] {
        let Self { along, place, x, dy } = self;
        let shape = place.shape();
        let blank = |line: &Line| {
            let mut out = Line::new(line.step, &vec![GUARD; line.len]);
            out.poison();
            out
        };
        let (mut y, mut dx) = (blank(dy), blank(x));
        let axes = [place.axis];
        let x = x.view().unflatten(0, &shape).unwrap();
        if along.reduces {
            (along.forward)(exec, y.view_mut(), x, &axes).unwrap();
            let dx = dx.view_mut().unflatten(0, &shape).unwrap();
            (along.backward)(exec, dx, dy.view(), x, y.view(), &axes).unwrap();
        } else {
            (along.forward)(exec, y.view_mut().unflatten(0, &shape).unwrap(), x, &axes).unwrap();
            let (dy, y) = (dy.view().unflatten(0, &shape).unwrap(), y.view().unflatten(0, &shape).unwrap());
            (along.backward)(exec, dx.view_mut().unflatten(0, &shape).unwrap(), dy, x, y, &axes).unwrap();
        }
        [y, dx]
    }

    /// The result and the gradient of the second group in f64, by the definition.
    fn reference(&self) -> [Vec<f64>; 2] {
        let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
        let x = wide(self.place.group(&self.x, 1));
        let dy = if self.along.reduces { vec![1.0] } else { wide(self.place.group(&self.dy, 1)) };
        [(self.along.reference)(&x), (self.along.reference_backward)(&dy, &x)]
    }

    /// The result and the gradient of a group.
    fn taken(&self, [y, dx]: &[Line; 2], group: usize) -> [Vec<f32>; 2] {
        let y = if self.along.reduces { vec![y.get(group)] } else { self.place.group(y, group) };
        [y, self.place.group(dx, group)]
    }
}

/// Fails unless the elements are what is wanted, that of the special number first.
fn assert_wanted(what: &dyn Fn() -> String, got: &[f32], want: [Want; 2], plain: &[f64], special: usize) {
    for (i, (&got, &plain)) in got.iter().zip(plain).enumerate() {
        let want = want[usize::from(i != special)];
        let right = match want {
            Is(want) => same_bits(got, want),
            Plain => (f64::from(got) - plain).abs() <= 3e-5 * (1.0 + plain.abs()),
        };
        assert!(right, "{}, element {i}: got {got:e}, want {want:?}, plainly {plain:e}", what());
    }
}

impl Table {
    fn try_places(&self, exec: &Exec, place: Place) {
        let mut problem = Problem::new(find(self.name), place);
        let base = problem.run(exec);
        let n = place.n;
        let alone: Vec<Row> = self.alone.iter().map(|&(x, y, dx)| row(x, Is(y), [Is(dx); 2])).collect();
        let rows = if n == 1 { &alone } else { self.rows };
        for i in 0..n {
            let old = problem.x.get(place.of(1, i));
            for Row { x, y, dx } in rows {
                problem.x.set(place.of(1, i), *x);
                let out = problem.run(exec);
                let what = || format!("{} with {x:e} at {i} on {}, {place:?}", self.name, exec.isa());
                let ([got, grad], [want, want_grad]) = (problem.taken(&out, 1), problem.reference());
                let special = if problem.along.reduces { 0 } else { i };
                assert_wanted(&what, &got, *y, &want, special);
                assert_wanted(&|| format!("{}: dx", what()), &grad, *dx, &want_grad, i);
                for group in [0, 2] {
                    let (got, base) = (problem.taken(&out, group), problem.taken(&base, group));
                    let alike = got.iter().flatten().zip(base.iter().flatten()).all(|(&a, &b)| same_bits(a, b));
                    assert!(alike, "{}: group {group} was {base:?} and became {got:?}", what());
                }
            }
            problem.x.set(place.of(1, i), old);
        }
    }
}

/// The lengths of groups: up to two registers and one, and more than the running sums of a row.
fn group_lengths(isa: Isa) -> impl Iterator<Item = usize> {
    lengths(isa.lanes()).chain([130])
}

#[test]
fn functions_along_an_axis() {
    on_every_tier("functions along an axis", |isa| {
        let exec = serial(isa);
        for table in TABLES {
            for n in group_lengths(isa) {
                // Apart, rows of every short length, and columns of the shortest.
                for step in STEPS {
                    if step == 1 || n <= 2 * isa.lanes() + 1 {
                        table.try_places(&exec, Place { n, step, axis: 1 });
                    }
                    if step == 1 || n <= isa.lanes() + 1 {
                        table.try_places(&exec, Place { n, step, axis: 0 });
                    }
                }
            }
        }
    });
}
