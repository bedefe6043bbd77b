//! Equals, and nothing at all.

use super::along::find;
use super::common::serial;
use super::common::tensor::{Layout, Tensor};
use super::common::tiers::on_every_tier;
use super::{INF, NAN, lengths, same_bits};
use handgrad_kernels::Exec;
use handgrad_kernels::op::spec::{ALL, Spec};
use handgrad_kernels::op::{add, argmax, argmin, mul, sub};

/// A group, what becomes of it, and its gradient for `dy = 1`.
struct Tie {
    name: &'static str,
    x: &'static [f32],
    y: f32,
    dx: &'static [f32],
}

const fn tie<const N: usize>(name: &'static str, x: &'static [f32; N], y: f32, dx: &'static [f32; N]) -> Tie {
    Tie { name, x, y, dx }
}

/// `max` and `min` give all to the first, `amax` and `amin` to each an equal share; zeros of both signs are equals.
#[rustfmt::skip]
const TIES: [Tie; 26] = [
    tie("max", &[1.0, 3.0, 2.0, 3.0], 3.0, &[0.0, 1.0, 0.0, 0.0]),
    tie("max", &[-1.0, 0.0, -0.0], 0.0, &[0.0, 1.0, 0.0]),
    tie("max", &[-1.0, -0.0, 0.0], -0.0, &[0.0, 1.0, 0.0]),
    tie("max", &[1.0, NAN, INF, NAN], NAN, &[0.0, 1.0, 0.0, 0.0]),
    tie("max", &[INF, 1.0, INF], INF, &[1.0, 0.0, 0.0]),
    tie("max", &[-INF, -INF], -INF, &[1.0, 0.0]),
    tie("min", &[3.0, 1.0, 2.0, 1.0], 1.0, &[0.0, 1.0, 0.0, 0.0]),
    tie("min", &[1.0, -0.0, 0.0], -0.0, &[0.0, 1.0, 0.0]),
    tie("min", &[1.0, 0.0, -0.0], 0.0, &[0.0, 1.0, 0.0]),
    tie("min", &[-INF, NAN, NAN], NAN, &[0.0, 1.0, 0.0]),
    tie("min", &[INF, INF], INF, &[1.0, 0.0]),
    tie("min", &[1.0, -INF, -INF], -INF, &[0.0, 1.0, 0.0]),
    tie("amax", &[1.0, 3.0, 2.0, 3.0], 3.0, &[0.0, 0.5, 0.0, 0.5]),
    tie("amax", &[2.0, 2.0, 2.0, 2.0], 2.0, &[0.25; 4]),
    tie("amax", &[INF, 1.0, INF], INF, &[0.5, 0.0, 0.5]),
    tie("amax", &[-INF, -INF], -INF, &[0.5, 0.5]),
    tie("amax", &[1.0, NAN, INF], NAN, &[NAN; 3]),
    tie("amin", &[3.0, 1.0, 2.0, 1.0], 1.0, &[0.0, 0.5, 0.0, 0.5]),
    tie("amin", &[INF, INF], INF, &[0.5, 0.5]),
    tie("amin", &[1.0, -INF, -INF, NAN], NAN, &[NAN; 4]),
    tie("var", &[0.3, 0.3, 0.3], 0.0, &[0.0; 3]),
    tie("var", &[1e30, 1e30], 0.0, &[0.0; 2]),
    tie("std", &[0.3, 0.3, 0.3], 0.0, &[0.0; 3]),
    tie("std", &[-7.5; 5], 0.0, &[0.0; 5]),
    tie("logsumexp", &[-INF, -INF, -INF], -INF, &[NAN; 3]),
    tie("sum", &[INF, -INF, 1.0], NAN, &[1.0; 3]),
];

/// The result of one group and its gradient for `dy = 1`, along either axis of two.
fn run(exec: &Exec, name: &str, x: &[f32], layout: Layout, axis: isize) -> (f32, Vec<f32>) {
    let along = find(name);
    let shape = if axis == 1 { [1, x.len()] } else { [x.len(), 1] };
    let x = Tensor::values(layout, &shape, x);
    let dy = Tensor::values(layout, &[1], &[1.0]);
    let (mut y, mut dx) = (Tensor::poisoned(layout, &[1]), Tensor::poisoned(layout, &shape));
    (along.forward)(exec, y.view_mut(), x.view(), &[axis]).unwrap();
    (along.backward)(exec, dx.view_mut(), dy.view(), x.view(), y.view(), &[axis]).unwrap();
    dx.assert_intact(name);
    (y.to_vec()[0], dx.to_vec())
}

fn all_same(got: &[f32], want: &[f32]) -> bool {
    got.len() == want.len() && got.iter().zip(want).all(|(&a, &b)| same_bits(a, b))
}

#[test]
fn equals_in_small_groups() {
    on_every_tier("equals in small groups", |isa| {
        let exec = serial(isa);
        for Tie { name, x, y, dx } in TIES {
            for layout in [Layout::Dense, Layout::Stepped, Layout::Reversed] {
                for axis in [0, 1] {
                    let (got, grad) = run(&exec, name, x, layout, axis);
                    assert!(same_bits(got, y), "{isa}, {name} of {x:?} {layout:?}: got {got:e}, want {y:e}");
                    assert!(all_same(&grad, dx), "{isa}, {name} of {x:?} {layout:?}: dx is {grad:?}, want {dx:?}");
                }
            }
        }
        // Equal logits have equal probabilities.
        for n in [1, 2, 4, 8, 16, 64] {
            for (name, value) in [("softmax", 1.0 / n as f32), ("log_softmax", -(n as f32).ln())] {
                let along = find(name);
                let x = Tensor::values(Layout::Dense, &[n], &vec![-1e30; n]);
                let mut y = Tensor::poisoned(Layout::Dense, &[n]);
                (along.forward)(&exec, y.view_mut(), x.view(), &[0]).unwrap();
                let near = |&got: &f32| (got - value).abs() <= 2.0 * f32::EPSILON * value.abs();
                assert!(y.to_vec().iter().all(near), "{isa}, {name} of {n} equals: {:?}", y.to_vec());
            }
        }
    });
}

/// Two equals at every two places.
#[test]
fn equals_at_every_two_places() {
    on_every_tier("equals at every two places", |isa| {
        let exec = serial(isa);
        for n in lengths(isa.lanes()).chain([130]) {
            for (i, j) in (0..n).flat_map(|j| (0..j).map(move |i| (i, j))).step_by(if n < 70 { 1 } else { 7 }) {
                for (sign, names) in [(1.0, ["max", "amax"]), (-1.0, ["min", "amin"])] {
                    let mut x: Vec<f32> = (0..n).map(|k| sign * -0.25 * (k % 5) as f32).collect();
                    (x[i], x[j]) = (sign * 2.5, sign * 2.5);
                    for axis in [0, 1] {
                        for (name, share) in names.into_iter().zip([[1.0, 0.0], [0.5, 0.5]]) {
                            let mut want = vec![0.0; n];
                            (want[i], want[j]) = (share[0], share[1]);
                            let (y, dx) = run(&exec, name, &x, Layout::Dense, axis);
                            assert_eq!(y, sign * 2.5, "{isa}, {name} of {n} with equals at {i} and {j}");
                            assert!(all_same(&dx, &want), "{isa}, {name} of {n}, equals at {i} and {j}: dx is {dx:?}");
                        }
                    }
                    let x = Tensor::values(Layout::Dense, &[n], &x);
                    let mut place = Tensor::new(Layout::Dense, &[], &[-1], -9_i64);
                    if sign > 0.0 {
                        argmax::forward(&exec, place.view_mut(), x.view(), 0).unwrap();
                    } else {
                        argmin::forward(&exec, place.view_mut(), x.view(), 0).unwrap();
                    }
                    assert_eq!(place.to_vec(), [i as i64], "{isa}, equals at {i} and {j} of {n}");
                }
            }
        }
    });
}

#[test]
fn nothing() {
    on_every_tier("nothing", |isa| {
        let exec = serial(isa);
        let empty = |shape: &[usize]| Tensor::poisoned(Layout::Dense, shape);
        for spec in ALL {
            for shape in [&[0][..], &[3, 0], &[0, 3]] {
                let (x, mut y) = (empty(shape), empty(shape));
                let [mut da, mut db] = [empty(shape), empty(shape)];
                match spec {
                    Spec::Unary(unary) => {
                        (unary.forward)(&exec, y.view_mut(), x.view()).unwrap();
                        (unary.backward)(&exec, da.view_mut(), x.view(), x.view(), y.view()).unwrap();
                    }
                    Spec::Binary(binary) => {
                        (binary.forward)(&exec, y.view_mut(), x.view(), x.view()).unwrap();
                        let grads = [da.view_mut(), db.view_mut()];
                        (binary.backward)(&exec, grads, y.view(), x.view(), x.view()).unwrap();
                    }
                    Spec::Along(along) if along.reduces => {
                        // Groups of which there are none.
                        let axis = (0..shape.len()).find(|&axis| shape[axis] != 0);
                        let Some(axis) = axis else { continue };
                        let axes = [axis as isize];
                        let (mut none, dy) = (empty(&[0]), empty(&[0]));
                        (along.forward)(&exec, none.view_mut(), x.view(), &axes).unwrap();
                        (along.backward)(&exec, da.view_mut(), dy.view(), x.view(), none.view(), &axes).unwrap();
                    }
                    Spec::Along(along) => {
                        for axis in 0..shape.len() as isize {
                            (along.forward)(&exec, y.view_mut(), x.view(), &[axis]).unwrap();
                            (along.backward)(&exec, da.view_mut(), x.view(), x.view(), y.view(), &[axis]).unwrap();
                        }
                    }
                }
            }
        }
        // Groups without elements: what has a neutral element has a result.
        for (name, want) in [("sum", 0.0), ("logsumexp", -INF)] {
            let along = find(name);
            for (shape, axis) in [([3, 0], 1), ([0, 3], 0)] {
                let (x, dy) = (empty(&shape), Tensor::values(Layout::Dense, &[3], &[1.0; 3]));
                let (mut y, mut dx) = (empty(&[3]), empty(&shape));
                (along.forward)(&exec, y.view_mut(), x.view(), &[axis]).unwrap();
                assert!(all_same(&y.to_vec(), &[want; 3]), "{isa}, {name} of nothing: {:?}", y.to_vec());
                (along.backward)(&exec, dx.view_mut(), dy.view(), x.view(), y.view(), &[axis]).unwrap();
            }
        }
        // What is broadcast to nothing has a part in nothing.
        let (one, none) = (Tensor::values(Layout::Dense, &[1], &[1.5]), empty(&[0]));
        let (mut da, mut db) = (empty(&[1]), empty(&[0]));
        mul::backward(&exec, da.view_mut(), db.view_mut(), none.view(), one.view(), none.view()).unwrap();
        assert!(all_same(&da.to_vec(), &[0.0]), "{isa}: {:?}", da.to_vec());
        for subtract in [false, true] {
            let (mut da, mut db) = (empty(&[1]), empty(&[0]));
            let grads = (da.view_mut(), db.view_mut());
            if subtract {
                sub::backward(&exec, grads.0, grads.1, none.view(), 1.0).unwrap();
            } else {
                add::backward(&exec, grads.0, grads.1, none.view(), 1.0).unwrap();
            }
            assert!(all_same(&da.to_vec(), &[0.0]), "{isa}: {:?}", da.to_vec());
        }
    });
}
