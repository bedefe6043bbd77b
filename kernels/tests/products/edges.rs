//! The edges of the products: kinship of the operations, special values, sums of nothing, bad arguments, allocations.

use crate::common::compare::assert_same_bits;
use crate::common::random::Random;
use crate::common::serial;
use crate::common::tensor::{Layout, Tensor};
use crate::common::tiers::on_every_tier;
use crate::problem::{OPS, Op, Problem};
use crate::{MATMUL, assert_same, counting};
use handgrad_kernels::gemm::{Accum, gemm, scratch_len};
use handgrad_kernels::op::linear::view as linear;
use handgrad_kernels::op::{addmm, bmm, dot, matmul, mm, mv, outer};
use handgrad_kernels::view::{Mat, MatMut, View, ViewMut};
use handgrad_kernels::{Exec, Isa, Result};

fn op(name: &str) -> &'static Op {
    OPS.iter().find(|op| op.name == name).unwrap()
}

#[test]
fn kin_have_the_same_bits() {
    let kin: [(&str, [usize; 2], [usize; 2]); 4] =
        [("mm", [9, 70], [70, 19]), ("mm", [9, 70], [70, 1]), ("mv", [9, 70], [70, 1]), ("dot", [1, 70], [70, 1])];
    on_every_tier("kin", |isa| {
        let (exec, mut random) = (serial(isa), Random::new(21));
        for (name, a_shape, b_shape) in kin {
            let problem = Problem::draw(MATMUL, &mut random, &a_shape, &b_shape, [Layout::Dense; 3]);
            let want = problem.run(&exec, Layout::Dense);
            // The same operands without the axes of size one that the operation does not have.
            let [m, _] = a_shape;
            let axes = |shape: &[usize; 2], size: usize| -> Vec<usize> {
                let vector = name == "dot" || (name == "mv" && shape == &b_shape);
                if vector { vec![size] } else { shape.to_vec() }
            };
            let y_shape = match name {
                "mm" => vec![m, b_shape[1]],
                "mv" => vec![m],
                _ => vec![],
            };
            let again = |tensor: &Tensor, shape: &[usize]| Tensor::values(Layout::Dense, shape, &tensor.to_vec());
            let a = again(&problem.a, &axes(&a_shape, 70));
            let b = again(&problem.b, &axes(&b_shape, 70));
            let dy = again(&problem.dy, &y_shape);
            for op in [op(name), MATMUL] {
                let same = Problem { op, a: a.clone(), b: b.clone(), dy: dy.clone() };
                assert_same(&format!("{isa}: {same} as {problem}"), &same.run(&exec, Layout::Dense), &want);
            }
            // And as products of matrices.
            if b_shape[1] > 1 || m > 1 {
                let (a, b) = (problem.a.to_vec(), problem.b.to_vec());
                let (a, b) = (Mat::new(&a, m, 70).unwrap(), Mat::new(&b, 70, b_shape[1]).unwrap());
                let mut y = vec![f32::NAN; want.y.len()];
                let mut scratch = vec![f32::NAN; scratch_len(&exec, m, 70, b_shape[1])];
                gemm(&exec, MatMut::new(&mut y, m, b_shape[1]).unwrap(), Accum::Replace, a, b, &mut scratch).unwrap();
                assert_same_bits(format!("{isa}: gemm as {problem}"), 1, &y, &want.y);
            }
        }
        let batch = Problem::draw(op("bmm"), &mut random, &[3, 5, 9], &[3, 9, 7], [Layout::Padded; 3]);
        let same = Problem { op: MATMUL, ..batch.clone() };
        assert_same("bmm", &batch.run(&exec, Layout::Dense), &same.run(&exec, Layout::Dense));
        halves(&exec, &batch);
        halves(&exec, &Problem::draw(MATMUL, &mut random, &[2, 1, 5, 9], &[3, 9, 1], [Layout::Padded; 3]));
        halves(&exec, &Problem::draw(MATMUL, &mut random, &[9], &[3, 9, 4], [Layout::Padded; 3]));
    });
}

/// Each gradient alone is as it is with the other.
fn halves(exec: &Exec, problem: &Problem) {
    let want = Problem { op: MATMUL, ..problem.clone() }.run(exec, Layout::Dense);
    let Problem { a, b, dy, .. } = problem;
    let mut scratch = vec![f32::NAN; matmul::scratch(exec, &a.shape, &b.shape)];
    let mut grads = [a, b].map(|tensor| Tensor::poisoned(Layout::Stepped, &tensor.shape));
    let [da, db] = &mut grads;
    matmul::backward_a(exec, da.view_mut(), dy.view(), b.view(), &mut scratch).unwrap();
    matmul::backward_b(exec, db.view_mut(), dy.view(), a.view(), &mut scratch).unwrap();
    assert_same_bits(format!("da of {problem}"), 1, &da.to_vec(), &want.da);
    assert_same_bits(format!("db of {problem}"), 1, &db.to_vec(), &want.db);
}

/// `x·1 + Σ 0·2` with `x` in one place of the sum, for a matrix of one column and of more.
#[test]
fn special_values_are_the_same_in_every_place() {
    let table = [
        (f32::NAN, f32::NAN),
        (f32::INFINITY, f32::INFINITY),
        (f32::NEG_INFINITY, f32::NEG_INFINITY),
        (0.0, 0.0),
        (-0.0, 0.0),
        (1e-45, 1e-45),
        (-1e-45, -1e-45),
        (f32::MIN_POSITIVE, f32::MIN_POSITIVE),
        (f32::MAX, f32::MAX),
        (f32::MIN, f32::MIN),
    ];
    on_every_tier("special values of products", |isa| {
        let exec = serial(isa);
        for k in [1, 2, 16, 33, 67] {
            for place in 0..k {
                for (x, want) in table {
                    for n in [1, 2, 17] {
                        let (mut a, mut b) = (vec![0.0; 3 * k], vec![2.0; k * n]);
                        a[k + place] = x;
                        b[place * n..][..n].fill(1.0);
                        let mut y = vec![f32::NAN; 3 * n];
                        let mut scratch = vec![f32::NAN; mm::scratch(&exec, &[3, k], &[k, n])];
                        let out = ViewMut::new(&mut y, &[3, n]).unwrap();
                        let (a, b) = (View::new(&a, &[3, k]).unwrap(), View::new(&b, &[k, n]).unwrap());
                        mm::forward(&exec, out, a, b, &mut scratch).unwrap();
                        let row = |x: f32| vec![x; n];
                        let want = [row(0.0), row(want), row(0.0)].concat();
                        assert_same_bits(format!("{isa}: {x:e} at {place} of {k}"), n, &y, &want);
                    }
                }
            }
        }
    });
}

#[test]
fn infinities_and_zeros_make_nan() {
    let exec = serial(Isa::best());
    let inf = f32::INFINITY;
    let run = |name: &str, a: &[f32], b: &[f32]| {
        let [a, b] = [a, b].map(|values| Tensor::values(Layout::Dense, &[values.len()], values));
        let dy = Tensor::values(Layout::Dense, &(op(name).out)(&a.shape, &b.shape), &[1.0]);
        Problem { op: op(name), a, b, dy }.run(&exec, Layout::Dense).y[0]
    };
    assert!(run("dot", &[inf, 1.0], &[0.0, 1.0]).is_nan());
    assert!(run("dot", &[inf, 1.0], &[1.0, -inf]).is_nan());
    assert_eq!(run("dot", &[inf, 1.0], &[1.0, 1.0]), inf);
    assert!(run("outer", &[inf], &[0.0]).is_nan());
    assert_eq!(run("outer", &[-0.0], &[1.0]).to_bits(), (-0.0_f32).to_bits());
    assert_eq!(run("dot", &[-0.0, -0.0], &[1.0, 1.0]).to_bits(), 0);
}

#[test]
fn sums_of_nothing_are_zero() {
    let exec = serial(Isa::best());
    let mut random = Random::new(22);
    let pairs: [(&[usize], &[usize]); 6] = [
        (&[0], &[0]),
        (&[3, 0], &[0]),
        (&[2, 3, 0], &[0, 4]),
        (&[0], &[2, 0, 4]),
        (&[1, 2, 3], &[0, 3, 4]),
        (&[0, 2, 3], &[3, 4]),
    ];
    for (a, b) in pairs {
        let results = Problem::draw(MATMUL, &mut random, a, b, [Layout::Dense; 3]).run(&exec, Layout::Stepped);
        for (name, values) in results.each() {
            assert!(values.iter().all(|value| value.to_bits() == 0), "{name} of {a:?} by {b:?}: {values:?}");
        }
    }
}

/// What a call says that must fail, with outputs of shapes `outs`, which it must leave alone.
fn refused(outs: &[&[usize]], call: impl FnOnce(&Exec, Vec<ViewMut<'_>>, &mut [f32]) -> Result<()>) -> String {
    let exec = serial(Isa::best());
    let mut tensors: Vec<Tensor> =
        outs.iter().map(|shape| Tensor::values(Layout::Dense, shape, &vec![7.0; shape.iter().product()])).collect();
    let mut scratch = vec![0.0; 100_000];
    let error = call(&exec, tensors.iter_mut().map(Tensor::view_mut).collect(), &mut scratch).unwrap_err();
    assert!(tensors.iter().all(|tensor| tensor.to_vec().iter().all(|&x| x == 7.0)), "{error}: something was written");
    error.to_string()
}

/// Zeros of a shape.
fn zeros(shape: &[usize]) -> View<'_> {
    static ZEROS: [f32; 4096] = [0.0; 4096];
    View::new(&ZEROS[..shape.iter().product()], shape).unwrap()
}

/// Checks what a function of one output says of operands that do not fit.
macro_rules! refuses {
    ($($module:ident($y:expr, $($x:expr),*) $text:expr;)*) => {$(
        let got = refused(&[&$y], |exec, mut outs, scratch| {
            $module::forward(exec, outs.remove(0), $(zeros(&$x)),*, scratch)
        });
        assert_eq!(got, concat!(stringify!($module), "::forward: ", $text));
    )*};
}

#[test]
fn bad_operands_are_refused_before_anything_is_written() {
    refuses! {
        matmul([3], [], [3]) "`a` must be of rank 1 to 8, got 0";
        matmul([3], [3], []) "`b` must be of rank 1 to 8, got 0";
        matmul([2, 4], [2, 3], [2, 4]) "`b` must be 3x4, got 2x4";
        matmul([2], [2, 3], [4]) "`b` must be 3, got 4";
        matmul([], [2], [3]) "`b` must be 2, got 3";
        matmul([5, 2, 4], [5, 2, 3], [4, 3, 4]) "`b` must be 5x3x4, got 4x3x4";
        matmul([5, 2, 4], [6, 5, 2, 3], [7, 5, 4, 4]) "`b` must be 7x5x3x4, got 7x5x4x4";
        matmul([2, 5], [2, 3], [3, 4]) "`y` must be 2x4, got 2x5";
        matmul([2, 1], [2, 3], [3]) "`y` must be 2, got 2x1";
        matmul([1], [3], [3]) "`y` must be scalar, got 1";
        mm([2, 2], [2, 3, 1], [3, 2]) "`a` must be of rank 2, got 3";
        mm([2, 2], [2, 3], [3]) "`b` must be of rank 2, got 1";
        mm([2, 2], [2, 3], [2, 2]) "`b` must be 3x2, got 2x2";
        mm([2, 3], [2, 3], [3, 2]) "`y` must be 2x2, got 2x3";
        bmm([2, 2], [2, 3], [3, 2]) "`a` must be of rank 3, got 2";
        bmm([1, 2, 2], [1, 2, 3], [3, 2]) "`b` must be of rank 3, got 2";
        bmm([2, 2, 2], [2, 2, 3], [1, 3, 2]) "`b` must be 2x3x2, got 1x3x2";
        bmm([2, 2, 2], [2, 2, 3], [2, 4, 2]) "`b` must be 2x3x2, got 2x4x2";
        bmm([2, 2, 1], [2, 2, 3], [2, 3, 2]) "`y` must be 2x2x2, got 2x2x1";
        mv([2], [2], [2]) "`a` must be of rank 2, got 1";
        mv([2], [2, 3], [3, 1]) "`x` must be of rank 1, got 2";
        mv([2], [2, 3], [2]) "`x` must be 3, got 2";
        mv([3], [2, 3], [3]) "`y` must be 2, got 3";
    }
    let text = |y: &[usize], x: &[usize], weight: &[usize], bias: Option<&[usize]>| {
        refused(&[y], |exec, mut outs, scratch| {
            linear::forward(exec, outs.remove(0), zeros(x), zeros(weight), bias.map(zeros), scratch)
        })
    };
    let say = |text: String, want: &str| assert_eq!(text, format!("linear::view::forward: {want}"));
    say(text(&[2], &[], &[2, 3], None), "`x` must be of rank 1 to 8, got 0");
    say(text(&[2], &[3], &[], None), "`weight` must be of rank 1 or 2, got 0");
    say(text(&[2], &[3], &[1, 2, 3], None), "`weight` must be of rank 1 or 2, got 3");
    say(text(&[4, 2], &[4, 3], &[2, 4], None), "`weight` must be 2x3, got 2x4");
    say(text(&[4], &[4, 3], &[4], None), "`weight` must be 3, got 4");
    say(text(&[4, 3], &[4, 3], &[2, 3], None), "`y` must be 4x2, got 4x3");
    say(text(&[4, 2], &[4, 3], &[2, 3], Some(&[3])), "`bias` must be 2, got 3");
    say(text(&[4, 2], &[4, 3], &[2, 3], Some(&[1, 2])), "`bias` must be 2, got 1x2");
    say(text(&[4], &[4, 3], &[3], Some(&[1])), "`bias` must be scalar, got 1");
    let text = refused(&[&[2, 2]], |exec, mut outs, scratch| {
        let factors = addmm::Factors::default();
        addmm::forward(exec, outs.remove(0), zeros(&[3, 2]), zeros(&[2, 3]), zeros(&[3, 2]), factors, scratch)
    });
    assert_eq!(text, "addmm::forward: `input` must be 2x2, got 3x2");
    let text = |y: &[usize], a: &[usize], b: &[usize]| {
        let mut texts = [String::new(), String::new()];
        texts[0] = refused(&[y], |exec, mut outs, _| dot::forward(exec, outs.remove(0), zeros(a), zeros(b)));
        texts[1] = refused(&[y], |exec, mut outs, _| outer::forward(exec, outs.remove(0), zeros(a), zeros(b)));
        texts
    };
    assert_eq!(text(&[1], &[3, 1], &[3])[0], "dot::forward: `a` must be of rank 1, got 2");
    assert_eq!(text(&[1], &[3], &[2])[0], "dot::forward: `b` must be 3, got 2");
    assert_eq!(text(&[1], &[3], &[3])[0], "dot::forward: `y` must be scalar, got 1");
    assert_eq!(text(&[1], &[3], &[])[1], "outer::forward: `b` must be of rank 1, got 0");
    assert_eq!(text(&[3], &[3], &[3])[1], "outer::forward: `y` must be 3x3, got 3");
}

#[test]
fn bad_gradients_are_refused_before_anything_is_written() {
    for op in &OPS {
        let (a, b): (&[usize], &[usize]) = match op.name {
            "bmm" => (&[2, 3, 4], &[2, 4, 5]),
            "mv" => (&[3, 4], &[4]),
            "dot" | "outer" => (&[4], &[4]),
            "linear" => (&[3, 4], &[5, 4]),
            _ => (&[3, 4], &[4, 5]),
        };
        let y = (op.out)(a, b);
        let wrong = |shape: &[usize]| [shape, &[1]].concat();
        let run = |da: &[usize], db: &[usize], dy: &[usize], short: usize| {
            refused(&[da, db], |exec, mut outs, scratch| {
                let db = outs.pop().unwrap();
                let da = outs.pop().unwrap();
                let scratch = &mut scratch[..(op.scratch)(exec, a, b) - short];
                (op.backward)(exec, [da, db], zeros(dy), [zeros(a), zeros(b)], scratch)
            })
        };
        if op.name != "linear" {
            let names = if op.name == "mv" { ["da", "dx"] } else { ["da", "db"] };
            for (text, name, shape) in
                [(run(&wrong(a), b, &y, 0), names[0], a), (run(a, &wrong(b), &y, 0), names[1], b)]
            {
                let [want, got] = [shape.to_vec(), wrong(shape)]
                    .map(|shape| shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x"));
                assert_eq!(text, format!("{}::backward: `{name}` must be {want}, got {got}", op.name));
            }
        }
        assert!(run(a, b, &wrong(&y), 0).contains("`dy` must be"), "{}", op.name);
        if !["dot", "outer"].contains(&op.name) {
            assert!(run(a, b, &y, 1).contains("`scratch` must have at least"), "{}", op.name);
        }
    }
    let grads = |outs: Vec<ViewMut<'_>>, call: &dyn Fn(addmm::Grads<'_>) -> Result<()>| {
        let [dinput, da, db] = <[ViewMut<'_>; 3]>::try_from(outs).unwrap();
        call(addmm::Grads { dinput, da, db })
    };
    let text = |dinput: &[usize], da: &[usize], db: &[usize], dy: &[usize]| {
        refused(&[dinput, da, db], |exec, outs, scratch| {
            let scratch = std::cell::RefCell::new(scratch);
            grads(outs, &|grads| {
                let (a, b) = (zeros(&[2, 3]), zeros(&[3, 4]));
                addmm::backward(exec, grads, zeros(dy), a, b, addmm::Factors::default(), &mut scratch.borrow_mut())
            })
        })
    };
    assert_eq!(text(&[3], &[2, 3], &[3, 4], &[2, 4]), "addmm::backward: `dinput` must be 2x4, got 3");
    assert_eq!(text(&[4], &[2, 4], &[3, 4], &[2, 4]), "addmm::backward: `da` must be 2x3, got 2x4");
    assert_eq!(text(&[4], &[2, 3], &[3, 3], &[2, 4]), "addmm::backward: `db` must be 3x4, got 3x3");
    assert_eq!(text(&[4], &[2, 3], &[3, 4], &[2, 3]), "addmm::backward: `dy` must be 2x4, got 2x3");
    let text = |dweight: &[usize], dbias: &[usize]| {
        refused(&[dweight, dbias], |exec, mut outs, scratch| {
            let dbias = outs.pop();
            let grads = linear::Grads { dweight: outs.pop().unwrap(), dbias };
            linear::backward_params(exec, grads, Accum::Replace, zeros(&[2, 4]), zeros(&[2, 3]), scratch)
        })
    };
    assert_eq!(text(&[4, 2], &[4]), "linear::view::backward_params: `dweight` must be 4x3, got 4x2");
    assert_eq!(text(&[5, 3], &[4]), "linear::view::backward_params: `dy` must be 2x5, got 2x4");
    assert_eq!(text(&[4, 3], &[3]), "linear::view::backward_params: `dbias` must be 4, got 3");
}

#[test]
fn products_allocate_nothing() {
    let exec = Exec::serial().unwrap();
    let mut random = Random::new(23);
    let pairs: [(&[usize], &[usize]); 7] = [
        (&[2, 3, 4, 5], &[5, 6]),
        (&[2, 1, 4, 5], &[3, 5, 6]),
        (&[1, 4, 5], &[3, 5, 1]),
        (&[40, 5], &[5]),
        (&[5], &[5]),
        (&[3, 9, 70], &[3, 70, 8]),
        (&[70, 60], &[60, 50]),
    ];
    for (a, b) in pairs {
        for layout in [Layout::Dense, Layout::Swapped, Layout::Stepped] {
            let problem = Problem::draw(MATMUL, &mut random, a, b, [layout; 3]);
            let Problem { op, a, b, dy } = &problem;
            let mut scratch = vec![f32::NAN; (op.scratch)(&exec, &a.shape, &b.shape)];
            let mut out = [dy, a, b].map(|tensor| Tensor::poisoned(layout, &tensor.shape));
            let [y, da, db] = &mut out;
            let (grads, y) = ([da.view_mut(), db.view_mut()], y.view_mut());
            let inp = [a.view(), b.view()];
            let dy = dy.view();
            let count = counting::allocations(|| {
                (op.forward)(&exec, y, inp, &mut scratch).unwrap();
                (op.backward)(&exec, grads, dy, inp, &mut scratch).unwrap();
            });
            assert_eq!(count, 0, "{problem}, {layout:?}");
        }
    }
    assert_eq!(counting::allocations(|| drop(std::hint::black_box(Box::new(1)))), 2);
}
