//! Bad arguments of the element-wise operations and the reductions: each gives an error that names the operation and
//! the argument, with what is wanted and what came, and leaves every bit of the outputs as it was. (That an output
//! cannot overlap itself, and that sizes do not wrap, is seen to where views are made; the tests are there.)

mod common;

use handgrad_kernels::error::Dims;
use handgrad_kernels::op::spec::{ALL, Spec};
use handgrad_kernels::op::{self, Axes, dropout, gelu};
use handgrad_kernels::view::{Mat, MatMut, View, ViewMut};
use handgrad_kernels::{ErrorKind, Exec, Result};

/// What stands in the outputs: NaN, of bits that no operation makes.
const BEFORE: u32 = 0x7fc0_dead;
/// What stands in outputs of indices.
const PLACE: i64 = -77;

static DATA: [f32; 24] = [1.5; 24];
static PLACES: [i64; 24] = [0; 24];
static CONDITIONS: [bool; 24] = [true; 24];

/// An operand of a shape.
fn of(shape: &[usize]) -> View<'static> {
    View::new(&DATA[..shape.iter().product()], shape).unwrap()
}

/// A condition of a shape.
fn conditions(shape: &[usize]) -> View<'static, bool> {
    View::new(&CONDITIONS[..shape.iter().product()], shape).unwrap()
}

/// Places of a shape, all zero.
fn places(shape: &[usize]) -> View<'static, i64> {
    View::new(&PLACES[..shape.iter().product()], shape).unwrap()
}

/// Which call of an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Forward,
    Backward,
}

use Pass::{Backward, Forward};

/// The name that errors have for a call; tests live long enough not to free it.
fn named(op: &str, pass: Pass) -> &'static str {
    format!("{op}::{}", if pass == Forward { "forward" } else { "backward" }).leak()
}

fn shape(op: &'static str, arg: &'static str, want: &[usize], got: &[usize]) -> ErrorKind {
    ErrorKind::Shape { op, arg, want: Dims::new(want), got: Dims::new(got) }
}

fn axis(op: &'static str, axis: isize, rank: usize, reason: &'static str) -> ErrorKind {
    ErrorKind::Axis { op, axis, rank, reason }
}

/// Makes outputs of the shapes, calls, and checks the error and the outputs.
fn refused<const N: usize>(want: &ErrorKind, shapes: [&[usize]; N], call: impl FnOnce([ViewMut<'_>; N]) -> Result<()>) {
    let mut buffers = shapes.map(|shape| vec![f32::from_bits(BEFORE); shape.iter().product()]);
    let mut pairs = buffers.iter_mut().zip(shapes);
    let out = std::array::from_fn(|_| {
        let (buffer, shape) = pairs.next().unwrap();
        ViewMut::new(buffer, shape).unwrap()
    });
    let error = call(out).expect_err(&format!("a bad argument: {want}"));
    assert_eq!(error.kind(), want);
    assert!(buffers.iter().flatten().all(|x| x.to_bits() == BEFORE), "{want}, but something was written");
}

/// As [`refused`], with an output of places as well.
fn refused_places<const N: usize>(
    want: &ErrorKind,
    shapes: [&[usize]; N],
    places: &[usize],
    call: impl FnOnce([ViewMut<'_>; N], ViewMut<'_, i64>) -> Result<()>,
) {
    let mut buffer = vec![PLACE; places.iter().product()];
    refused(want, shapes, |out| call(out, ViewMut::new(&mut buffer, places)?));
    assert!(buffer.iter().all(|&place| place == PLACE), "{want}, but a place was written");
}

/// Shapes that are not 2x3: of as many elements, of fewer axes, of more, empty, and one that would broadcast.
const WRONG: [&[usize]; 6] = [&[3, 2], &[6], &[1, 2, 3], &[2, 0], &[2, 1], &[]];

type Forwards = fn(&Exec, ViewMut<'_>, View<'_>) -> Result<()>;
type Backwards = fn(&Exec, ViewMut<'_>, View<'_>, View<'_>) -> Result<()>;

/// The functions of one operand: `dx` is written from `dy` and the value saved.
macro_rules! unary {
    ($($module:ident($($param:expr),*)),* $(,)?) => {
        [$((
            stringify!($module),
            (|e, y, x| op::$module::forward(e, y, x $(, $param)*)) as Forwards,
            (|e, dx, dy, saved| op::$module::backward(e, dx, dy, saved $(, $param)*)) as Backwards,
        )),*]
    };
}

#[test]
fn functions_of_one_operand() {
    let e = &Exec::serial().unwrap();
    let all = unary![
        abs(),
        clamp(-0.5, 0.75),
        cos(),
        elu(1.25),
        exp(),
        gelu(gelu::Form::Erf),
        hardtanh(-0.5, 0.75),
        leaky_relu(0.25),
        log(),
        pow_scalar(2.5),
        reciprocal(),
        relu(),
        rsqrt(),
        sigmoid(),
        silu(),
        sin(),
        softplus(1.0, 20.0),
        sqrt(),
        square(),
        tanh(),
    ];
    let names: Vec<&str> = all.iter().map(|row| row.0).chain(["neg", "gelu by tanh"]).collect();
    for spec in ALL {
        if let Spec::Unary(unary) = spec {
            assert!(names.contains(&unary.name), "{} is not tried", unary.name);
        }
    }
    let good: &[usize] = &[2, 3];
    for wrong in WRONG {
        for (name, forward, backward) in all {
            let (f, b) = (named(name, Forward), named(name, Backward));
            refused(&shape(f, "y", good, wrong), [wrong], |[y]| forward(e, y, of(good)));
            refused(&shape(f, "y", wrong, good), [good], |[y]| forward(e, y, of(wrong)));
            refused(&shape(b, "dy", good, wrong), [good], |[dx]| backward(e, dx, of(wrong), of(good)));
            refused(&shape(b, "dx", good, wrong), [wrong], |[dx]| backward(e, dx, of(good), of(good)));
            // The others are measured by what is saved.
            refused(&shape(b, "dy", wrong, good), [good], |[dx]| backward(e, dx, of(good), of(wrong)));
        }
        let (f, b) = (named("neg", Forward), named("neg", Backward));
        refused(&shape(f, "y", good, wrong), [wrong], |[y]| op::neg::forward(e, y, of(good)));
        refused(&shape(b, "dx", good, wrong), [wrong], |[dx]| op::neg::backward(e, dx, of(good)));
    }
}

#[test]
fn settings() {
    let e = &Exec::serial().unwrap();
    let good: &[usize] = &[2, 3];
    let value = |op, arg, want, got: f32| ErrorKind::Value { op, arg, want, got: got.into() };
    for (low, high) in [(0.5, 0.25), (0.0, -f32::INFINITY), (f32::INFINITY, 0.0)] {
        let wrong = |pass| value(named("hardtanh", pass), "high", "at least `low`", high);
        refused(&wrong(Forward), [good], |[y]| op::hardtanh::forward(e, y, of(good), low, high));
        refused(&wrong(Backward), [good], |[dx]| op::hardtanh::backward(e, dx, of(good), of(good), low, high));
    }
    // A NaN, which equals nothing, not itself.
    for (low, high) in [(f32::NAN, 1.0), (-1.0, f32::NAN)] {
        let mut y = [f32::from_bits(BEFORE); 6];
        let error = op::hardtanh::forward(e, ViewMut::new(&mut y, good).unwrap(), of(good), low, high).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Value { op: "hardtanh::forward", arg: "high", .. }), "{error}");
        assert!(y.iter().all(|y| y.to_bits() == BEFORE));
    }
    let key = dropout::Key::new(1, 2, 3);
    let mat = || Mat::new(&DATA[..6], 2, 3).unwrap();
    for p in [-0.1, -f32::from_bits(1), 1.0_f32.next_up(), f32::INFINITY, -f32::INFINITY] {
        let (config, wrong) = (dropout::Config { p }, |pass| value(named("dropout", pass), "p", "in 0..=1", p));
        refused(&wrong(Forward), [good], |[y]| dropout::forward(e, y.try_into()?, mat(), config, key));
        refused(&wrong(Backward), [good], |[dx]| dropout::backward(e, dx.try_into()?, mat(), config, key));
    }
    let mut y = [f32::from_bits(BEFORE); 6];
    let config = dropout::Config { p: f32::NAN };
    let error = dropout::forward(e, MatMut::new(&mut y, 2, 3).unwrap(), mat(), config, key).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Value { op: "dropout::forward", arg: "p", .. }), "{error}");
    assert!(y.iter().all(|y| y.to_bits() == BEFORE));
    for wrong in [&[3_usize, 2][..], &[2, 0], &[1, 6]] {
        let config = dropout::Config::default();
        let (f, b) = (named("dropout", Forward), named("dropout", Backward));
        refused(&shape(f, "y", good, wrong), [wrong], |[y]| dropout::forward(e, y.try_into()?, mat(), config, key));
        refused(&shape(b, "dx", good, wrong), [wrong], |[dx]| dropout::backward(e, dx.try_into()?, mat(), config, key));
    }
}

/// Shapes that do not broadcast to each other.
const APART: [[&[usize]; 2]; 5] =
    [[&[2, 3], &[3, 2]], [&[2, 3], &[2]], [&[4], &[2, 3]], [&[2, 3], &[0, 3]], [&[2, 1, 3], &[2, 2]]];

/// Shapes that do, and the one they give.
const TOGETHER: [[&[usize]; 3]; 6] = [
    [&[2, 3], &[2, 3], &[2, 3]],
    [&[2, 3], &[3], &[2, 3]],
    [&[2, 1], &[1, 3], &[2, 3]],
    [&[], &[2, 3], &[2, 3]],
    [&[1, 2, 3], &[2, 3], &[1, 2, 3]],
    [&[0, 3], &[1, 3], &[0, 3]],
];

/// Shapes to try where one of `TOGETHER` is right.
const OTHERS: [&[usize]; 5] = [&[3, 2], &[5], &[2, 3, 1], &[2, 1, 3], &[4, 1]];

type Backwards2 = fn(&Exec, [ViewMut<'_>; 2], View<'_>, View<'_>, View<'_>) -> Result<()>;

#[test]
fn functions_of_two_operands() {
    let e = &Exec::serial().unwrap();
    for spec in ALL {
        let Spec::Binary(binary) = spec else { continue };
        let (f, b) = (named(binary.name, Forward), named(binary.name, Backward));
        // What passes the gradient through has no operands to measure it by: the gradients' own shapes count.
        let is_sum = matches!(binary.name, "add" | "sub");
        let backward: Backwards2 = binary.backward;
        for [a_shape, b_shape] in APART {
            let apart = |op, arg| shape(op, arg, a_shape, b_shape);
            refused(&apart(f, "b"), [&[2, 3]], |[y]| (binary.forward)(e, y, of(a_shape), of(b_shape)));
            refused(&apart(b, if is_sum { "db" } else { "b" }), [a_shape, b_shape], |grads| {
                backward(e, grads, of(&[2, 3]), of(a_shape), of(b_shape))
            });
        }
        for [a_shape, b_shape, y_shape] in TOGETHER {
            let (a, bb) = (of(a_shape), of(b_shape));
            for wrong in OTHERS {
                refused(&shape(f, "y", y_shape, wrong), [wrong], |[y]| (binary.forward)(e, y, a, bb));
                refused(&shape(b, "dy", y_shape, wrong), [a_shape, b_shape], |grads| {
                    backward(e, grads, of(wrong), a, bb)
                });
                if !is_sum {
                    let dy = of(y_shape);
                    refused(&shape(b, "da", a_shape, wrong), [wrong, b_shape], |grads| backward(e, grads, dy, a, bb));
                    refused(&shape(b, "db", b_shape, wrong), [a_shape, wrong], |grads| backward(e, grads, dy, a, bb));
                }
            }
        }
    }
    // Nine axes.
    let (deep, deeper) = ([1; 8], [1; 9]);
    assert_eq!(
        View::new(&DATA[..1], &deeper).unwrap_err().kind(),
        &ErrorKind::Value { op: "View::new", arg: "rank", want: "at most 8", got: 9.0 }
    );
    refused(&shape("add::forward", "y", &deep, &[]), [&[]], |[y]| op::add::forward(e, y, of(&deep), of(&[1]), 1.0));
}

#[test]
fn choices_bounds_and_repeating() {
    let e = &Exec::serial().unwrap();
    let good: &[usize] = &[2, 3];
    let (f, b) = ("where_::forward", "where_::backward");
    let choose = |y: ViewMut<'_>, cond: &[usize], a: &[usize], b: &[usize], scratch: usize| {
        let mut scratch = vec![f32::NAN; scratch];
        op::where_::forward(e, y, conditions(cond), of(a), of(b), &mut scratch)
    };
    let back = |[da, db]: [ViewMut<'_>; 2], dy: &[usize], cond: &[usize], scratch: usize| {
        op::where_::backward(e, da, db, of(dy), conditions(cond), &mut vec![f32::NAN; scratch])
    };
    for [first, second] in APART {
        refused(&shape(f, "b", first, second), [good], |[y]| choose(y, &[], first, second, 9));
        refused(&shape(f, "cond", first, second), [good], |[y]| choose(y, second, first, first, 24));
        refused(&shape(b, "db", first, second), [first, second], |grads| back(grads, good, &[], 9));
        refused(&shape(b, "cond", first, second), [first, first], |grads| back(grads, first, second, 24));
    }
    for wrong in OTHERS {
        refused(&shape(f, "y", good, wrong), [wrong], |[y]| choose(y, good, &[3], &[2, 1], 6));
        refused(&shape(b, "dy", good, wrong), [&[3], &[2, 1]], |grads| back(grads, wrong, good, 6));
    }
    let short = |op, got| ErrorKind::Scratch { op, want: 6, got };
    for got in [0, 5] {
        refused(&short(f, got), [good], |[y]| choose(y, good, good, good, got));
        refused(&short(b, got), [good, good], |grads| back(grads, good, good, got));
    }

    let (f, b) = ("clamp_tensor::forward", "clamp_tensor::backward");
    let back = |[dx, dlow, dhigh]: [ViewMut<'_>; 3], dy: &[usize], [x, low, high]: [&[usize]; 3]| {
        let grads = op::clamp_tensor::Grads { dx, dlow, dhigh };
        op::clamp_tensor::backward(e, grads, of(dy), of(x), of(low), of(high))
    };
    for [first, second] in APART {
        for (arg, shapes) in [("low", [first, second, &[][..]]), ("high", [first, &[], second])] {
            let [x, low, high] = shapes.map(of);
            let wrong = |op| shape(op, arg, first, second);
            refused(&wrong(f), [good], |[y]| op::clamp_tensor::forward(e, y, x, low, high));
            refused(&wrong(b), shapes, |grads| back(grads, first, shapes));
        }
    }
    let shapes: [&[usize]; 3] = [good, &[3], &[2, 1]];
    for wrong in OTHERS {
        let [x, low, high] = shapes.map(of);
        refused(&shape(f, "y", good, wrong), [wrong], |[y]| op::clamp_tensor::forward(e, y, x, low, high));
        refused(&shape(b, "dy", good, wrong), shapes, |grads| back(grads, wrong, shapes));
        for (number, arg) in ["dx", "dlow", "dhigh"].into_iter().enumerate() {
            let mut out = shapes;
            out[number] = wrong;
            refused(&shape(b, arg, shapes[number], wrong), out, |grads| back(grads, good, shapes));
        }
    }

    for part in [&[3, 2][..], &[2], &[4], &[1, 2, 3], &[2, 0], &[0, 3]] {
        let wrong = |op, arg| shape(op, arg, good, part);
        refused(&wrong("broadcast::forward", "x"), [good], |[y]| op::broadcast::forward(e, y, of(part)));
        refused(&wrong("broadcast::backward", "dx"), [part], |[dx]| op::broadcast::backward(e, dx, of(good)));
    }
}

/// Axes that two axes do not have.
const OUTSIDE: [isize; 4] = [2, -3, isize::MAX, isize::MIN];

/// Results that are none of a sum of 2x3 over the last axis, which may be of the shape 2 or 2x1.
const NO_SUMS: [&[usize]; 5] = [&[3], &[2, 3], &[1, 2], &[], &[0]];

#[test]
fn functions_along_axes() {
    let e = &Exec::serial().unwrap();
    let (good, sums): (&[usize], &[usize]) = (&[2, 3], &[2]);
    for spec in ALL {
        let Spec::Along(along) = spec else { continue };
        let (f, b) = (named(along.name, Forward), named(along.name, Backward));
        let out = if along.reduces { sums } else { good };
        let forward = |y: ViewMut<'_>, x: &[usize], axes: &[isize]| (along.forward)(e, y, of(x), axes);
        let backward = |dx: ViewMut<'_>, dy: &[usize], x: &[usize], y: &[usize], axes: &[isize]| {
            (along.backward)(e, dx, of(dy), of(x), of(y), axes)
        };
        for outside in OUTSIDE {
            let wrong = |op| axis(op, outside, 2, "out of range");
            refused(&wrong(f), [out], |[y]| forward(y, good, &[outside]));
            refused(&wrong(b), [good], |[dx]| backward(dx, out, good, out, &[outside]));
        }
        // A scalar has an axis 0, and no other.
        refused(&axis(f, 1, 0, "out of range"), [&[]], |[y]| forward(y, &[], &[1]));
        refused(&axis(b, -2, 0, "out of range"), [&[]], |[dx]| backward(dx, &[], &[], &[], &[-2]));
        if along.reduces {
            for (axes, second) in [([0, 0], 0), ([1, -1], -1), ([-2, 0], 0)] {
                let twice = |op| axis(op, second, 2, "named twice");
                refused(&twice(f), [out], |[y]| forward(y, good, &axes));
                refused(&twice(b), [good], |[dx]| backward(dx, out, good, out, &axes));
            }
            refused(&axis(f, 2, 2, "out of range"), [out], |[y]| forward(y, good, &[1, 2]));
        }
        // Of the gradients, some take what they need from `y`, some from `x`, some from the shape of `dx` alone.
        let saved: &[&str] = match along.name {
            "sum" | "mean" => &[],
            "softmax" | "log_softmax" => &["y"],
            "var" => &["x"],
            _ => &["x", "y"],
        };
        let wrongs: &[&[usize]] = if along.reduces { &NO_SUMS } else { &WRONG[..4] };
        for &wrong in wrongs {
            refused(&shape(f, "y", out, wrong), [wrong], |[y]| forward(y, good, &[1]));
            refused(&shape(b, "dy", out, wrong), [good], |[dx]| backward(dx, wrong, good, out, &[1]));
            if along.reduces && saved.contains(&"y") {
                refused(&shape(b, "y", out, wrong), [good], |[dx]| backward(dx, out, good, wrong, &[1]));
            }
        }
        for wrong in [&[2, 4][..], &[2, 1], &[2, 0]] {
            if saved.is_empty() {
                continue;
            }
            refused(&shape(b, "dx", good, wrong), [wrong], |[dx]| backward(dx, out, good, out, &[1]));
            if saved.contains(&"x") {
                refused(&shape(b, "dx", wrong, good), [good], |[dx]| backward(dx, out, wrong, out, &[1]));
            }
            if !along.reduces {
                refused(&shape(b, "dy", wrong, good), [good], |[dx]| backward(dx, good, good, wrong, &[1]));
            }
        }
    }
}

/// The least that an operation must have, in its own words; of the others nothing is enough.
const NEEDS: [(&str, &str); 5] = [
    ("amax", "at least one element for a maximum"),
    ("amin", "at least one element for a minimum"),
    ("mean", "at least one element for a mean"),
    ("std", "at least one element"),
    ("var", "at least one element"),
];

#[test]
fn reductions_of_nothing() {
    let e = &Exec::serial().unwrap();
    for spec in ALL {
        let Spec::Along(along) = spec else { continue };
        let Some((name, want)) = NEEDS.into_iter().find(|(name, _)| *name == along.name) else { continue };
        let nothing = ErrorKind::Value { op: named(name, Forward), arg: "x", want, got: 0.0 };
        refused(&nothing, [&[2]], |[y]| (along.forward)(e, y, of(&[2, 0]), &[1]));
        refused(&nothing, [&[1, 3]], |[y]| (along.forward)(e, y, of(&[0, 3]), &[0]));
        refused(&nothing, [&[]], |[y]| (along.forward)(e, y, of(&[2, 0]), &[0, 1]));
    }
    let nothing = |op, want| ErrorKind::Value { op, arg: "x", want, got: 0.0 };
    let (most, least) = ("at least one element for a maximum", "at least one element for a minimum");
    let x = || of(&[2, 0]);
    refused_places(&nothing("max::forward", most), [&[2]], &[2], |[y], i| op::max::forward(e, y, i, x(), 1));
    refused_places(&nothing("min::forward", least), [&[2]], &[2], |[y], i| op::min::forward(e, y, i, x(), -1));
    for (axes, out) in [(Axes::One(1), &[2][..]), (Axes::All, &[])] {
        refused_places(&nothing("argmax::forward", most), [], out, |[], i| op::argmax::forward(e, i, x(), axes));
        refused_places(&nothing("argmin::forward", least), [], out, |[], i| op::argmin::forward(e, i, x(), axes));
    }
}

/// Makes the checks of an operation that gives values and places.
macro_rules! with_places {
    ($name:ident, $module:ident, $arg:ident) => {
        #[test]
        fn $name() {
            let e = &Exec::serial().unwrap();
            let (good, out): (&[usize], &[usize]) = (&[2, 3], &[2]);
            let f = concat!(stringify!($module), "::forward");
            let b = concat!(stringify!($module), "::backward");
            let a = concat!(stringify!($arg), "::forward");
            let forward =
                |[y]: [ViewMut<'_>; 1], i: ViewMut<'_, i64>, along| op::$module::forward(e, y, i, of(&[2, 3]), along);
            let back = |dx: ViewMut<'_>, dy: &[usize], i: &[usize], along| {
                op::$module::backward(e, dx, of(dy), places(i), along)
            };
            for outside in OUTSIDE {
                let wrong = |op| axis(op, outside, 2, "out of range");
                refused_places(&wrong(f), [out], out, |y, i| forward(y, i, outside));
                refused(&wrong(b), [good], |[dx]| back(dx, out, out, outside));
                refused_places(&wrong(a), [], out, |[], i| op::$arg::forward(e, i, of(good), outside));
            }
            for wrong in NO_SUMS {
                refused_places(&shape(f, "values", out, wrong), [wrong], out, |y, i| forward(y, i, 1));
                refused_places(&shape(f, "indices", out, wrong), [out], wrong, |y, i| forward(y, i, 1));
                refused(&shape(b, "dy", out, wrong), [good], |[dx]| back(dx, wrong, out, 1));
                refused(&shape(b, "indices", out, wrong), [good], |[dx]| back(dx, out, wrong, 1));
                refused_places(&shape(a, "indices", out, wrong), [], wrong, |[], i| {
                    op::$arg::forward(e, i, of(good), 1)
                });
            }
            for wrong in [&[2][..], &[3], &[2, 3], &[1]] {
                refused_places(&shape(a, "indices", &[], wrong), [], wrong, |[], i| {
                    op::$arg::forward(e, i, of(good), Axes::All)
                });
            }
            for (axes, got) in [(&[0, 1][..], 2), (&[], 0), (&[1, 1], 2)] {
                let several = ErrorKind::Length { op: a, arg: "axes", want: 1, got };
                refused_places(&several, [], out, |[], i| op::$arg::forward(e, i, of(good), axes));
            }
            for value in [3, -1, i64::MAX, i64::MIN] {
                let index = |arg, position, bound| ErrorKind::Index { op: b, arg, position, value, bound };
                let (wrong, first) = ([2, value], [value, value]);
                let view = |values| View::new(values, &[2]).unwrap();
                refused(&index("indices", 1, 3), [good], |[dx]| op::$module::backward(e, dx, of(out), view(&wrong), 1));
                refused(&index("indices", 0, 3), [good], |[dx]| op::$module::backward(e, dx, of(out), view(&first), 1));
                refused(&index("indices", 0, 1), [&[]], |[dx]| {
                    op::$module::backward(e, dx, of(&[]), View::scalar(&value), 0)
                });
            }
        }
    };
}

with_places!(the_greatest_and_their_places, max, argmax);
with_places!(the_least_and_their_places, min, argmin);

#[test]
fn an_operation_that_writes_or_errs_otherwise_is_found() {
    let want = shape("tanh::forward", "y", &[2], &[3]);
    type Call = fn([ViewMut<'_>; 1]) -> Result<()>;
    let found = |call: Call| std::panic::catch_unwind(|| refused(&want, [&[3]], call)).is_err();
    assert!(!found(|[y]| op::tanh::forward(&Exec::serial()?, y, of(&[2]))));
    assert!(found(|[y]| op::tanh::forward(&Exec::serial()?, y, of(&[3]))), "no error");
    assert!(found(|[y]| op::tanh::forward(&Exec::serial()?, y, of(&[4]))), "another number");
    assert!(found(|[y]| op::sigmoid::forward(&Exec::serial()?, y, of(&[2]))), "another name");
    assert!(
        found(|[mut y]| {
            y.set(&[1], 0.0)?;
            op::tanh::forward(&Exec::serial()?, y, of(&[2]))
        }),
        "something written"
    );
}
