//! The written order of the reductions: sums equal a plain loop that adds in that order, bit for bit, whatever the
//! layout, the tier and the number of threads.

mod common;

use common::compare::assert_same_bits;
use common::random::Random;
use common::tensor::{Layout, Tensor, indices};
use common::tiers::{is_fused, on_every_tier};
use common::{pools, serial};
use handgrad_kernels::Exec;
use handgrad_kernels::op::{Axes, amax, argmax, argmin, broadcast, max, mean, min, sum};

/// Values joined from first to last, in blocks of `block`.
fn in_blocks(values: &[f32], block: usize) -> f32 {
    let sums = values.chunks(block).map(|block| block.iter().fold(-0.0, |sum: f32, value| sum + value));
    sums.reduce(|total, sum| total + sum).unwrap_or(0.0)
}

/// A run, by 64 running values.
fn run(values: &[f32]) -> f32 {
    let pieces = values.chunks(65_536).map(|piece| {
        let mut lanes = [-0.0_f32; 64];
        for (i, value) in piece.iter().enumerate() {
            lanes[i % 64] += value;
        }
        let mut width = 64;
        while width > 1 {
            width /= 2;
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
        }
        lanes[0]
    });
    pieces.reduce(|total, sum| total + sum).unwrap()
}

/// The sum over `axes` by the text of `reduce`.
fn sum_in_order(shape: &[usize], axes: &[usize], values: &[f32]) -> Vec<f32> {
    let reduced = |axis: &usize| axes.contains(axis);
    let kept: Vec<usize> = (0..shape.len()).filter(|axis| !reduced(axis)).collect();
    let sizes: Vec<usize> = kept.iter().map(|&axis| shape[axis]).collect();
    // The axes of a run: reduced ones at the end, up to the first kept one.
    let run_len: usize = (0..shape.len()).rev().take_while(reduced).map(|axis| shape[axis]).product();
    let is_run =
        (0..shape.len()).rev().find(|axis| !(reduced(axis) && shape[*axis] == 1)).is_some_and(|axis| reduced(&axis));
    let mut groups = vec![Vec::new(); sizes.iter().product()];
    for (index, &value) in indices(shape).zip(values) {
        let number = kept.iter().fold(0, |number, &axis| number * shape[axis] + index[axis]);
        groups[number].push(value);
    }
    let one = |mine: &Vec<f32>| {
        if mine.is_empty() {
            return 0.0;
        }
        if is_run {
            let runs: Vec<f32> = mine.chunks(run_len).map(run).collect();
            return in_blocks(&runs, 256);
        }
        in_blocks(mine, 256)
    };
    groups.iter().map(one).collect()
}

fn kept_shape(shape: &[usize], axes: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| if axes.contains(&axis) { 1 } else { shape[axis] }).collect()
}

fn subsets(rank: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..1_usize << rank).map(move |bits| (0..rank).filter(|axis| bits >> axis & 1 == 1).collect())
}

const SHAPES: [&[usize]; 16] = [
    &[],
    &[1],
    &[7],
    &[130],
    &[33, 70],
    &[70, 33],
    &[600, 3],
    &[3, 600],
    &[1, 40],
    &[40, 1],
    &[5, 1, 9],
    &[2, 3, 4, 5],
    &[300, 2, 3],
    &[0, 4],
    &[17, 65, 4],
    &[3, 1100],
];

#[test]
fn sums_add_in_the_written_order() {
    on_every_tier("sums", |isa| {
        let exec = serial(isa);
        for shape in SHAPES {
            let mut random = Random::new(7);
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.uneven()).collect();
            for axes in subsets(shape.len()) {
                let signed: Vec<isize> = axes.iter().map(|&axis| axis as isize).collect();
                let kept = kept_shape(shape, &axes);
                for layout in Layout::ALL {
                    let x = Tensor::values(layout, shape, &values);
                    let want = sum_in_order(shape, &axes, &x.to_vec());
                    for out in Layout::OUTPUTS {
                        let mut y = Tensor::poisoned(out, &kept);
                        sum::forward(&exec, y.view_mut(), x.view(), &signed[..]).unwrap();
                        let what = format!("{isa}: sum of {shape:?} {layout:?} over {axes:?} into {out:?}");
                        assert_same_bits(&what, 1, &y.to_vec(), &want);
                        y.assert_intact(&what);
                    }
                }
            }
        }
    });
}

#[test]
fn long_sums_are_the_same_on_any_number_of_threads() {
    let mut random = Random::new(8);
    // An axis of size one that is kept makes columns of a run, or parts it.
    let units = [vec![70_000, 1], vec![300, 1, 300]];
    let long = [vec![300_001], vec![1, 65_536 * 3], vec![70_000, 2], vec![3, 50, 1000], vec![2, 66_000]];
    for shape in long.into_iter().chain(units) {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.uneven()).collect();
        for axes in subsets(shape.len()) {
            let signed: Vec<isize> = axes.iter().map(|&axis| axis as isize).collect();
            let want = sum_in_order(&shape, &axes, &values);
            let run = |exec: &Exec, layout: Layout| {
                let x = Tensor::values(layout, &shape, &values);
                let mut y = Tensor::poisoned(Layout::Dense, &kept_shape(&shape, &axes));
                sum::forward(exec, y.view_mut(), x.view(), &signed[..]).unwrap();
                assert_same_bits(format!("sum of {shape:?} {layout:?} over {axes:?}"), 1, &y.to_vec(), &want);
            };
            for layout in [Layout::Dense, Layout::Transposed, Layout::Reversed] {
                run(&Exec::serial().unwrap(), layout);
                for pool in pools() {
                    pool.install(|| run(&pool, layout));
                }
            }
        }
    }
}

#[test]
fn places_are_those_of_a_plain_search() {
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1.0, 1.0, -1.0];
    on_every_tier("places", |isa| {
        let exec = serial(isa);
        for shape in [&[1][..], &[9], &[130], &[5000], &[33, 70], &[9000, 3], &[3, 9000], &[2, 3, 4]] {
            for palette in [&special[..], &special[1..], &special[2..3], &special[3..5]] {
                let mut random = Random::new(9);
                let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.pick(palette)).collect();
                let choices = (0..shape.len() as isize).map(Axes::One).chain([Axes::All]);
                for axes in choices {
                    let list: Vec<usize> = match axes {
                        Axes::One(axis) => vec![axis as usize],
                        _ => (0..shape.len()).collect(),
                    };
                    for layout in Layout::ALL {
                        let x = Tensor::values(layout, shape, &values);
                        search(&exec, &x, axes, &list, &format!("{isa}: {shape:?} {layout:?} over {axes:?}"));
                    }
                }
            }
        }
    });
}

/// Compares the place and the value with a plain search for the greatest and the least.
fn search(exec: &Exec, x: &Tensor, axes: Axes<'_>, list: &[usize], what: &str) {
    let kept = kept_shape(&x.shape, list);
    let values = x.to_vec();
    for greatest in [true, false] {
        let beats =
            |new: f32, old: f32| (new.is_nan() && !old.is_nan()) || if greatest { new > old } else { new < old };
        let count = kept.iter().product();
        let (mut places, mut found, mut seen) = (vec![-1_i64; count], vec![f32::NAN; count], vec![0; count]);
        for (index, &value) in indices(&x.shape).zip(&values) {
            let number = index.iter().zip(&kept).fold(0, |number, (&at, &size)| number * size + at.min(size - 1));
            if places[number] < 0 || beats(value, found[number]) {
                (found[number], places[number]) = (value, seen[number]);
            }
            seen[number] += 1;
        }
        let mut index = Tensor::new(Layout::Stepped, &kept, &vec![-1; places.len()], -9_i64);
        let mut value = Tensor::poisoned(Layout::Transposed, &kept);
        if greatest {
            argmax::forward(exec, index.view_mut(), x.view(), axes).unwrap();
        } else {
            argmin::forward(exec, index.view_mut(), x.view(), axes).unwrap();
        }
        assert_eq!(index.to_vec(), places, "{what}");
        if let Axes::One(axis) = axes {
            if greatest {
                max::forward(exec, value.view_mut(), index.view_mut(), x.view(), axis).unwrap();
            } else {
                min::forward(exec, value.view_mut(), index.view_mut(), x.view(), axis).unwrap();
            }
            assert_eq!(index.to_vec(), places, "{what}");
            assert_same_bits(what, 1, &value.to_vec(), &found);
        }
        index.assert_guards(what, |a, b| a == b);
        value.assert_intact(what);
    }
}

#[test]
fn a_part_alone_equals_the_part_among_others() {
    let mut random = Random::new(10);
    let values: Vec<f32> = (0..700 * 40).map(|_| random.uneven()).collect();
    let x = Tensor::values(Layout::Dense, &[700, 40], &values);
    let exec = Exec::serial().unwrap();
    let mut all = [f32::NAN; 40];
    sum::forward(&exec, handgrad_kernels::view::ViewMut::new(&mut all, &[40]).unwrap(), x.view(), 0).unwrap();
    for (column, all) in all.iter().enumerate() {
        let mut one = [f32::NAN];
        let y = handgrad_kernels::view::ViewMut::new(&mut one, &[1]).unwrap();
        sum::forward(&exec, y, x.view().narrow(1, column, 1).unwrap(), 0).unwrap();
        assert_eq!(one[0].to_bits(), all.to_bits(), "column {column}");
    }
}

#[test]
fn broadcasting_sums_back_in_the_same_order() {
    on_every_tier("broadcast", |isa| {
        let exec = serial(isa);
        let mut random = Random::new(11);
        for (from, to) in
            [(&[1, 4][..], &[3, 4][..]), (&[4], &[3, 4]), (&[3, 1], &[3, 4]), (&[], &[70, 300]), (&[1], &[5, 1])]
        {
            let values: Vec<f32> = (0..to.iter().product()).map(|_| random.uneven()).collect();
            let dy = Tensor::values(Layout::Dense, to, &values);
            let mut dx = Tensor::poisoned(Layout::Dense, from);
            broadcast::backward(&exec, dx.view_mut(), dy.view()).unwrap();
            let added = to.len() - from.len();
            let axes: Vec<usize> =
                (0..to.len()).filter(|&axis| axis < added || from[axis - added] != to[axis]).collect();
            let want = if from == to { values.clone() } else { sum_in_order(to, &axes, &values) };
            assert_same_bits(format!("{isa}: {to:?} to {from:?}"), 1, &dx.to_vec(), &want);
            let mut y = Tensor::poisoned(Layout::Swapped, to);
            broadcast::forward(&exec, y.view_mut(), dx.view()).unwrap();
            assert_same_bits("repeated", 1, &y.to_vec(), &dx.view().broadcast_to(to).unwrap().to_vec());
        }
    });
}

#[test]
fn reductions_of_nothing() {
    let exec = Exec::serial().unwrap();
    let x = Tensor::values(Layout::Dense, &[3, 0], &[]);
    let mut y = Tensor::poisoned(Layout::Dense, &[3]);
    sum::forward(&exec, y.view_mut(), x.view(), 1).unwrap();
    assert_eq!(y.to_vec(), [0.0; 3]);
    let before = y.to_vec();
    let error = mean::forward(&exec, y.view_mut(), x.view(), 1).unwrap_err().to_string();
    assert_eq!(error, "mean::forward: `x` must be at least one element for a mean, got 0");
    assert!(amax::forward(&exec, y.view_mut(), x.view(), 1).is_err());
    assert_eq!(y.to_vec(), before);
    let mut none = Tensor::poisoned(Layout::Dense, &[0]);
    mean::forward(&exec, none.view_mut(), x.view(), 0).unwrap();
    amax::forward(&exec, none.view_mut(), x.view(), 0).unwrap();
    assert!(is_fused(exec.isa()) || exec.isa().name() == "portable");
}
