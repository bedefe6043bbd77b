//! Picking and joining: bit for bit what plain loops give that add in the written order, whatever the layout, the tier
//! and the number of threads; and against the f64 references.

mod common;
#[path = "lookup/indexing.rs"]
mod indexing;
#[path = "lookup/picks.rs"]
mod picks;
#[path = "lookup/refused.rs"]
mod refused;

use common::compare::{assert_close, assert_same_bits, gamma};
use common::random::Random;
use common::tensor::{Layout, Tensor};
use common::tiers::on_every_tier;
use common::{pools, serial, until_two_workers};
use handgrad_kernels::gemm::Accum;
use handgrad_kernels::op::embedding::view::{self as embedding, Config, Scaling};
use handgrad_kernels::op::index::{self, Item};
use handgrad_kernels::op::{gather, index_select};
use handgrad_kernels::view::{Index, View, ViewMut};
use handgrad_kernels::{Exec, Isa};

fn values(random: &mut Random, len: usize) -> Vec<f32> {
    (0..len).map(|_| random.uneven()).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| x.into()).collect()
}

fn size(shape: &[usize]) -> usize {
    shape.iter().product()
}

fn integers(layout: Layout, shape: &[usize], values: &[i64]) -> Tensor<i64> {
    Tensor::new(layout, shape, values, -99)
}

/// The row-major number of an index.
fn number(shape: &[usize], index: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |number, (&at, &size)| number * size + at)
}

/// Compares a forward and a backward pass with the places that plain loops pick: `places[i]` is where element `i` of
/// `y` comes from.
fn assert_picks(what: &str, places: &[usize], x: &[f32], y: &Tensor, dx: &Tensor, dy: &[f32]) {
    let want: Vec<f32> = places.iter().map(|&place| x[place]).collect();
    assert_same_bits(format!("{what}: y"), 1, &y.to_vec(), &want);
    let mut sums = vec![0.0_f32; x.len()];
    places.iter().zip(dy).for_each(|(&place, dy)| sums[place] += dy);
    assert_same_bits(format!("{what}: dx"), 1, &dx.to_vec(), &sums);
    y.assert_intact(what);
    dx.assert_intact(what);
}

/// Compares sums with their f64 reference: as many roundings as terms, at most.
fn assert_sums(what: &str, got: &[f32], want: &[f64], terms: &[f64], count: usize) {
    assert_close(what, 1, got, want.iter().copied(), terms.iter().map(|terms| gamma(count + 2) * terms));
}

fn absolute(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| x.abs().into()).collect()
}

/// Layouts of operands and results, each with each other in turn.
fn layouts() -> impl Iterator<Item = (Layout, Layout)> {
    Layout::ALL.into_iter().flat_map(|inp| Layout::OUTPUTS.into_iter().map(move |out| (inp, out)))
}

/// A pass of every operation over operands large enough to be split; returns the results.
fn split(exec: &Exec, layout: Layout) -> Vec<Vec<f32>> {
    let mut random = Random::new(7);
    let mut results = Vec::new();
    let mut keep = |tensor: Tensor| results.push(tensor.to_vec());
    for (shape, picks, axis) in [
        (&[70, 90][..], &[300, 90][..], 0),
        (&[90, 7], &[80, 50], 1),
        (&[50], &[4000], 0),
        (&[3, 5, 70], &[2, 40, 70], 1),
    ] {
        let chosen: Vec<i64> = (0..size(picks)).map(|_| random.below(shape[axis]) as i64).collect();
        let index = integers(layout, picks, &chosen);
        let x = Tensor::values(layout, shape, &values(&mut random, size(shape)));
        let dy = Tensor::values(layout, picks, &values(&mut random, size(picks)));
        let (mut y, mut dx) = (Tensor::poisoned(layout, picks), Tensor::poisoned(layout, shape));
        gather::forward(exec, y.view_mut(), x.view(), index.view(), axis as isize).unwrap();
        gather::backward(exec, dx.view_mut(), dy.view(), index.view(), axis as isize).unwrap();
        keep(y);
        keep(dx);
    }
    for (vocab, dim) in [(40, 300), (700, 10), (2, 3)] {
        let chosen: Vec<i64> = (0..500).map(|_| random.below(vocab) as i64).collect();
        let tokens = integers(layout, &[50, 10], &chosen);
        let weight = Tensor::values(layout, &[vocab, dim], &values(&mut random, vocab * dim));
        let dy = Tensor::values(layout, &[50, 10, dim], &values(&mut random, 500 * dim));
        let mut y = Tensor::poisoned(layout, &[50, 10, dim]);
        embedding::forward(exec, y.view_mut(), weight.view(), tokens.view()).unwrap();
        keep(y);
        for padding in [None, Some(1), Some(-1)] {
            let config = Config { padding, scaling: Scaling::Frequency };
            let mut scratch = vec![f32::NAN; embedding::scratch(vocab, config)];
            let mut dweight = Tensor::poisoned(layout, &[vocab, dim]);
            let (grad, dy) = (dweight.view_mut(), dy.view());
            embedding::backward(exec, grad, Accum::Replace, dy, tokens.view(), config, &mut scratch).unwrap();
            keep(dweight);
        }
    }
    let rows: Vec<i64> = (0..200).map(|_| random.below(60) as i64 - 30).collect();
    let cols: Vec<i64> = (0..200).map(|_| random.below(8) as i64 - 4).collect();
    let truths: Vec<bool> = (0..120).map(|_| random.below(3) > 0).collect();
    let (rows, cols) = (integers(layout, &[200], &rows), integers(layout, &[200], &cols));
    let mask = Tensor::new(layout, &[30, 4], &truths, true);
    let all = Item::from(Index::All);
    let wide: [&[Item<'_>]; 4] = [
        &[rows.view().into(), all, cols.view().into()],
        &[rows.view().into(), cols.view().into()],
        &[mask.view().into()],
        &[rows.view().into()],
    ];
    for items in wide {
        let x = Tensor::values(layout, &[30, 4, 70], &values(&mut random, 30 * 4 * 70));
        let result = index::shape(&x.shape, items).unwrap();
        let dy = Tensor::values(layout, result.as_slice(), &values(&mut random, size(result.as_slice())));
        let (mut y, mut dx) = (Tensor::poisoned(layout, result.as_slice()), Tensor::poisoned(layout, &x.shape));
        index::forward(exec, y.view_mut(), x.view(), items).unwrap();
        index::backward(exec, dx.view_mut(), dy.view(), items).unwrap();
        keep(y);
        keep(dx);
    }
    results
}

#[test]
fn threads_and_tiers_give_the_same_bits() {
    for layout in [Layout::Dense, Layout::Transposed, Layout::Reversed] {
        let want = split(&serial(Isa::from_name("scalar").unwrap()), layout);
        on_every_tier("lookups on threads", |isa| {
            let compare = |exec: &Exec| {
                for (number, (got, want)) in split(exec, layout).iter().zip(&want).enumerate() {
                    assert_same_bits(format!("{isa}: {layout:?} result {number}"), 1, got, want);
                }
            };
            compare(&serial(isa));
            for pool in pools() {
                let pool = pool.with_isa(isa);
                pool.install(|| compare(&pool));
            }
        });
    }
}

#[test]
fn lookups_are_split() {
    let exec = Exec::with_threads(2).unwrap().with_min_piece(0);
    let (x, chosen) = (vec![1.5; 64 * 32], vec![3; 64]);
    let (x, index) = (View::new(&x, &[64, 32]).unwrap(), View::new(&chosen, &[64]).unwrap());
    let mut y = vec![f32::NAN; 64 * 32];
    until_two_workers(&exec, || {
        index_select::forward(&exec, ViewMut::new(&mut y, &[64, 32]).unwrap(), x, index, 0).unwrap();
    });
}

#[test]
fn special_values_are_copied_as_they_are() {
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0, f32::from_bits(1), f32::MAX, -1.5e-40];
    on_every_tier("special values of lookups", |isa| {
        let exec = serial(isa);
        for dim in 1..=34 {
            let x: Vec<f32> = (0..2 * dim).map(|i| special[i % special.len()]).collect();
            let x = Tensor::values(Layout::Dense, &[2, dim], &x);
            let index = integers(Layout::Dense, &[3], &[1, 0, 1]);
            let mut y = Tensor::poisoned(Layout::Dense, &[3, dim]);
            index_select::forward(&exec, y.view_mut(), x.view(), index.view(), 0).unwrap();
            for (i, row) in [1, 0, 1].into_iter().enumerate() {
                for j in 0..dim {
                    let (got, want) = (y.to_vec()[i * dim + j], x.to_vec()[row * dim + j]);
                    assert_eq!(got.to_bits(), want.to_bits(), "{isa}: ({i}, {j}) of {dim}");
                }
            }
            // What comes back is added to zero, one time or twice.
            let mut dx = Tensor::poisoned(Layout::Dense, &[2, dim]);
            index_select::backward(&exec, dx.view_mut(), y.view(), index.view(), 0).unwrap();
            let want: Vec<f32> =
                (0..2 * dim).map(|i| 0.0 + x.to_vec()[i] + if i < dim { 0.0 } else { x.to_vec()[i] }).collect();
            assert_same_bits(format!("{isa}: {dim}"), dim, &dx.to_vec(), &want);
        }
    });
}
