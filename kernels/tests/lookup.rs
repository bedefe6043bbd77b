//! Picking and joining: bit for bit what plain loops give that add in the written order, whatever the layout, the tier
//! and the number of threads; and against the f64 references.

mod common;

use common::compare::{assert_close, assert_same_bits, gamma};
use common::random::Random;
use common::tensor::{Layout, Tensor, indices};
use common::tiers::on_every_tier;
use common::{pools, serial, until_two_workers};
use handgrad_kernels::gemm::Accum;
use handgrad_kernels::op::embedding::view::{self as embedding, Config, Scaling};
use handgrad_kernels::op::index::{self, Item};
use handgrad_kernels::op::{cat, gather, index_select, one_hot, stack};
use handgrad_kernels::view::{Index, View, ViewMut};
use handgrad_kernels::{ErrorKind, Exec, Result};

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

/// Compares a forward and a backward pass with the places that plain loops pick: `places[i]` is where element `i` of `y`
/// comes from.
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

/// Shapes of `x` and of the index, and the axis.
const GATHERS: [(&[usize], &[usize], isize); 14] = [
    (&[5], &[0], 0),
    (&[5], &[9], -1),
    (&[], &[3], 0),
    (&[], &[], -1),
    (&[7], &[], 0),
    (&[4, 6], &[3, 6], 0),
    (&[4, 6], &[9, 5], 0),
    (&[4, 6], &[4, 2], 1),
    (&[40, 6], &[39, 1], 1),
    (&[3, 70], &[5, 67], 0),
    (&[2, 3, 17], &[2, 8, 17], 1),
    (&[3, 2, 5], &[2, 2, 9], -1),
    (&[2, 1, 3, 2, 2], &[2, 1, 2, 2, 5], 4),
    (&[3, 0], &[2, 0], 0),
];

#[test]
fn gather_is_a_plain_loop() {
    on_every_tier("gather", |isa| {
        let exec = serial(isa);
        let mut random = Random::new(1);
        for (shape, picks, axis) in GATHERS {
            let along = axis.rem_euclid(shape.len().max(1) as isize) as usize;
            let bound = shape.get(along).copied().unwrap_or(1);
            let chosen: Vec<i64> = (0..size(picks)).map(|_| random.below(bound.max(1)) as i64).collect();
            let (x_values, dy_values) = (values(&mut random, size(shape)), values(&mut random, size(picks)));
            for (inp, out) in layouts() {
                let index = integers(inp, picks, &chosen);
                let (x, dy) = (Tensor::values(inp, shape, &x_values), Tensor::values(inp, picks, &dy_values));
                let (mut y, mut dx) = (Tensor::poisoned(out, picks), Tensor::poisoned(out, shape));
                gather::forward(&exec, y.view_mut(), x.view(), index.view(), axis).unwrap();
                gather::backward(&exec, dx.view_mut(), dy.view(), index.view(), axis).unwrap();
                let places: Vec<usize> = indices(picks)
                    .zip(index.to_vec())
                    .map(|(mut at, pick)| {
                        at.resize(shape.len(), 0);
                        at.get_mut(along).into_iter().for_each(|at| *at = pick as usize);
                        number(shape, &at)
                    })
                    .collect();
                let what = format!("{isa}: gather {picks:?} of {shape:?} {inp:?} into {out:?}");
                assert_picks(&what, &places, &x.to_vec(), &y, &dx, &dy.to_vec());
                if shape.len() == picks.len() {
                    let picked = gather::reference(&wide(&x.to_vec()), shape, &index.to_vec(), picks, along);
                    assert_eq!(picked, wide(&y.to_vec()), "{what}");
                    let sums = |dy: &[f64]| gather::reference_backward(dy, shape, &index.to_vec(), picks, along);
                    let terms = sums(&absolute(&dy.to_vec()));
                    assert_sums(&what, &dx.to_vec(), &sums(&wide(&dy.to_vec())), &terms, size(picks));
                }
            }
        }
    });
}

/// Shapes of `x`, number of picks and axis.
const SELECTS: [(&[usize], usize, isize); 11] = [
    (&[], 1, 0),
    (&[5], 8, 0),
    (&[5], 0, 0),
    (&[6, 33], 9, 0),
    (&[33, 6], 200, 1),
    (&[4, 5, 20], 7, -2),
    (&[4, 5, 3], 2, 1),
    (&[2, 3, 1, 9], 5, 3),
    (&[9, 2, 2, 2], 3, 0),
    (&[3, 0], 2, 0),
    (&[300, 2], 300, 0),
];

#[test]
fn index_select_is_a_plain_loop() {
    on_every_tier("index_select", |isa| {
        let exec = serial(isa);
        let mut random = Random::new(2);
        for (shape, count, axis) in SELECTS {
            let along = axis.rem_euclid(shape.len().max(1) as isize) as usize;
            let bound = shape.get(along).copied().unwrap_or(1);
            let mut result = shape.to_vec();
            result.get_mut(along).into_iter().for_each(|size| *size = count);
            let chosen: Vec<i64> = (0..count).map(|_| random.below(bound) as i64).collect();
            let (x_values, dy_values) = (values(&mut random, size(shape)), values(&mut random, size(&result)));
            for (inp, out) in layouts() {
                let index = integers(inp, &[count], &chosen);
                let (x, dy) = (Tensor::values(inp, shape, &x_values), Tensor::values(inp, &result, &dy_values));
                let (mut y, mut dx) = (Tensor::poisoned(out, &result), Tensor::poisoned(out, shape));
                index_select::forward(&exec, y.view_mut(), x.view(), index.view(), axis).unwrap();
                index_select::backward(&exec, dx.view_mut(), dy.view(), index.view(), axis).unwrap();
                let chosen = index.to_vec();
                let place = |mut at: Vec<usize>| {
                    at.get_mut(along).into_iter().for_each(|at| *at = chosen[*at] as usize);
                    number(shape, &at)
                };
                let places: Vec<usize> = indices(&result).map(place).collect();
                let what = format!("{isa}: {count} of {shape:?} {inp:?} into {out:?}");
                assert_picks(&what, &places, &x.to_vec(), &y, &dx, &dy.to_vec());
                let outer: usize = shape[..along].iter().product();
                let sizes = [outer, bound, size(&result).checked_div(outer * count).unwrap_or(1)];
                let picked = index_select::reference(&wide(&x.to_vec()), sizes, &chosen);
                assert_eq!(picked, wide(&y.to_vec()), "{what}");
                let sums = |dy: &[f64]| index_select::reference_backward(dy, sizes, &chosen);
                let terms = sums(&absolute(&dy.to_vec()));
                assert_sums(&what, &dx.to_vec(), &sums(&wide(&dy.to_vec())), &terms, count);
            }
        }
    });
}

#[test]
fn embedding_is_a_plain_loop() {
    let configs = [
        Config::default(),
        Config { padding: Some(2), ..Config::default() },
        Config { padding: Some(-1), scaling: Scaling::Frequency },
        Config { padding: None, scaling: Scaling::Frequency },
    ];
    on_every_tier("embedding", |isa| {
        let exec = serial(isa);
        let mut random = Random::new(3);
        for (shape, vocab, dim) in
            [(&[][..], 4, 5), (&[7], 3, 1), (&[2, 3], 4, 33), (&[0], 3, 2), (&[3, 2, 2], 6, 0), (&[150, 2], 5, 3)]
        {
            let mut result = shape.to_vec();
            result.push(dim);
            let chosen: Vec<i64> = (0..size(shape)).map(|_| random.below(vocab) as i64).collect();
            let (weights, dys) = (values(&mut random, vocab * dim), values(&mut random, size(&result)));
            let before = values(&mut random, vocab * dim);
            for ((inp, out), config) in layouts().flat_map(|pair| configs.map(|config| (pair, config))) {
                let tokens = integers(inp, shape, &chosen);
                let weight = Tensor::values(inp, &[vocab, dim], &weights);
                let dy = Tensor::values(inp, &result, &dys);
                let mut y = Tensor::poisoned(out, &result);
                let mut scratch = vec![f32::NAN; embedding::scratch(vocab, config)];
                embedding::forward(&exec, y.view_mut(), weight.view(), tokens.view()).unwrap();
                let what = format!("{isa}: {vocab}x{dim} at {shape:?} {inp:?} into {out:?}, {config:?}");
                let (tokens_seen, dy_seen) = (tokens.to_vec(), dy.to_vec());
                let picked = embedding::reference(&wide(&weight.to_vec()), &tokens_seen, dim);
                assert_eq!(wide(&y.to_vec()), picked, "{what}");
                for accum in [Accum::Replace, Accum::Add] {
                    let mut dweight = if accum == Accum::Add {
                        Tensor::values(out, &[vocab, dim], &before)
                    } else {
                        Tensor::poisoned(out, &[vocab, dim])
                    };
                    let (grad, dy) = (dweight.view_mut(), dy.view());
                    embedding::backward(&exec, grad, accum, dy, tokens.view(), config, &mut scratch).unwrap();
                    let start = if accum == Accum::Add { before.clone() } else { vec![0.0; vocab * dim] };
                    let want = embedded(&start, &tokens_seen, &dy_seen, vocab, config);
                    assert_same_bits(&what, dim.max(1), &dweight.to_vec(), &want);
                    dweight.assert_intact(&what);
                    if accum == Accum::Replace {
                        let sums = |dy: &[f64]| embedding::reference_backward(dy, &tokens_seen, vocab, dim, config);
                        let terms = sums(&absolute(&dy_seen));
                        assert_sums(&what, &want, &sums(&wide(&dy_seen)), &terms, tokens_seen.len());
                    }
                }
                y.assert_intact(&what);
            }
        }
    });
}

/// The gradient of an embedding, term by term.
fn embedded(start: &[f32], tokens: &[i64], dy: &[f32], vocab: usize, config: Config) -> Vec<f32> {
    let (mut sums, dim) = (start.to_vec(), start.len() / vocab);
    let padding = config.padding.map(|row| row.rem_euclid(vocab as isize) as i64);
    for (i, &token) in tokens.iter().enumerate().filter(|&(_, &token)| Some(token) != padding) {
        let count = tokens.iter().filter(|&&other| other == token).count();
        let scale = if config.scaling == Scaling::Frequency { (1.0 / count as f64) as f32 } else { 1.0 };
        for j in 0..dim {
            sums[token as usize * dim + j] += scale * dy[i * dim + j];
        }
    }
    sums
}

#[test]
fn one_hot_rows_have_a_single_one() {
    on_every_tier("one_hot", |isa| {
        let exec = serial(isa);
        let mut random = Random::new(4);
        for (shape, classes) in [(&[][..], 3), (&[9], 1), (&[4, 3], 40), (&[0], 5), (&[2, 2, 3], 7)] {
            let chosen: Vec<i64> = (0..size(shape)).map(|_| random.below(classes) as i64).collect();
            for (inp, out) in layouts() {
                let index = integers(inp, shape, &chosen);
                let mut result = shape.to_vec();
                result.push(classes);
                let mut y = Tensor::poisoned(out, &result);
                one_hot::forward(&exec, y.view_mut(), index.view()).unwrap();
                assert_eq!(wide(&y.to_vec()), one_hot::reference(&index.to_vec(), classes), "{isa}: {shape:?} {inp:?}");
                y.assert_intact("one_hot");
                let greatest = index.to_vec().into_iter().max().map_or(0, |greatest| greatest as usize + 1);
                assert_eq!(one_hot::classes(index.view()).unwrap(), greatest);
            }
        }
    });
}

#[test]
fn cat_and_stack_are_copies_that_split_again() {
    let shapes: [(&[&[usize]], isize); 9] = [
        (&[&[2, 3], &[2, 5], &[2, 1]], 1),
        (&[&[2, 3], &[4, 3]], -2),
        (&[&[5]], 0),
        (&[&[0], &[0]], 0),
        (&[&[0], &[2, 3], &[0], &[2, 0], &[2, 4]], 1),
        (&[&[0, 5], &[5, 5]], 0),
        (&[&[2, 1, 17], &[2, 3, 17]], 1),
        (&[&[2, 40, 3, 2], &[2, 30, 3, 2]], -3),
        (&[&[3, 0], &[4, 0]], 0),
    ];
    on_every_tier("cat", |isa| {
        let exec = serial(isa);
        let mut random = Random::new(5);
        for (parts, axis) in shapes {
            let all: Vec<Vec<f32>> = parts.iter().map(|shape| values(&mut random, size(shape))).collect();
            for (inp, out) in layouts() {
                let xs: Vec<Tensor> = parts.iter().zip(&all).map(|(s, v)| Tensor::values(inp, s, v)).collect();
                let views: Vec<View<'_>> = xs.iter().map(Tensor::view).collect();
                let result = cat::shape(&views, axis).unwrap();
                let along = axis.rem_euclid(result.as_slice().len() as isize) as usize;
                let outer: usize = result.as_slice()[..along].iter().product();
                let inner: usize = result.as_slice()[along + 1..].iter().product();
                let mut y = Tensor::poisoned(out, result.as_slice());
                cat::forward(&exec, y.view_mut(), &views, axis).unwrap();
                let sizes: Vec<usize> = parts.iter().map(|s| s.get(along).copied().unwrap_or(0)).collect();
                let seen: Vec<Vec<f64>> = xs.iter().map(|x| wide(&x.to_vec())).collect();
                let pairs: Vec<(&[f64], usize)> = seen.iter().map(Vec::as_slice).zip(sizes.iter().copied()).collect();
                let what = format!("{isa}: {parts:?} {inp:?} along {axis} into {out:?}");
                assert_eq!(wide(&y.to_vec()), cat::reference(&pairs, outer, inner), "{what}");
                let mut grads: Vec<Tensor> = parts.iter().map(|shape| Tensor::poisoned(out, shape)).collect();
                let mut muts: Vec<ViewMut<'_>> = grads.iter_mut().map(Tensor::view_mut).collect();
                cat::backward(&exec, &mut muts, y.view(), axis).unwrap();
                let want = cat::reference_backward(&wide(&y.to_vec()), &sizes, outer, inner);
                for (grad, want) in grads.iter().zip(&want) {
                    assert_eq!(&wide(&grad.to_vec()), want, "{what}");
                    grad.assert_intact(&what);
                }
                y.assert_intact(&what);
            }
        }
        for (shape, count) in [(&[][..], 3), (&[4], 1), (&[2, 3], 5), (&[2, 1, 19], 2), (&[0, 2], 2)] {
            let all: Vec<Vec<f32>> = (0..count).map(|_| values(&mut random, size(shape))).collect();
            for (axis, (inp, out)) in (0..=shape.len()).flat_map(|axis| layouts().map(move |pair| (axis, pair))) {
                let xs: Vec<Tensor> = all.iter().map(|values| Tensor::values(inp, shape, values)).collect();
                let views: Vec<View<'_>> = xs.iter().map(Tensor::view).collect();
                let result = stack::shape(&views, axis as isize).unwrap();
                let (outer, inner) = (shape[..axis].iter().product(), shape[axis..].iter().product());
                let mut y = Tensor::poisoned(out, result.as_slice());
                stack::forward(&exec, y.view_mut(), &views, axis as isize - shape.len() as isize - 1).unwrap();
                let seen: Vec<Vec<f64>> = xs.iter().map(|x| wide(&x.to_vec())).collect();
                let slices: Vec<&[f64]> = seen.iter().map(Vec::as_slice).collect();
                assert_eq!(wide(&y.to_vec()), stack::reference(&slices, outer, inner), "{isa}: {count} of {shape:?}");
                let mut grads: Vec<Tensor> = (0..count).map(|_| Tensor::poisoned(out, shape)).collect();
                let mut muts: Vec<ViewMut<'_>> = grads.iter_mut().map(Tensor::view_mut).collect();
                stack::backward(&exec, &mut muts, y.view(), axis as isize).unwrap();
                let want = stack::reference_backward(&wide(&y.to_vec()), count, outer, inner);
                for (grad, want) in grads.iter().zip(&want) {
                    assert_eq!(&wide(&grad.to_vec()), want);
                    grad.assert_intact("stack");
                }
            }
        }
    });
}

/// One item of a random index, with what it holds.
#[derive(Debug)]
enum Drawn {
    Basic(Index),
    Integers(Tensor<i64>),
    Mask(Tensor<bool>),
}

impl Drawn {
    fn item(&self) -> Item<'_> {
        match self {
            Drawn::Basic(index) => (*index).into(),
            Drawn::Integers(integers) => integers.view().into(),
            Drawn::Mask(mask) => mask.view().into(),
        }
    }
}

/// A random index of an operand of this shape.
fn draw(random: &mut Random, shape: &[usize]) -> Vec<Drawn> {
    let mut items = Vec::new();
    // What picks has `count` elements on its last axis, or one.
    let count = 1 + random.below(4);
    let (mut axis, mut ellipsis) = (0, false);
    while axis < shape.len() {
        let (rest, bound) = (shape.len() - axis, shape[axis]);
        let layout = random.pick(&Layout::ALL);
        match random.below(9) {
            0 if bound > 0 => {
                let at = random.below(2 * bound) as isize - bound as isize;
                items.push(Drawn::Basic(Index::At(at)));
                axis += 1;
            }
            1 => {
                let mut limit =
                    || (random.below(3) > 0).then(|| random.below(2 * bound + 4) as isize - bound as isize - 2);
                let (start, stop) = (limit(), limit());
                let step = random.pick(&[1, 2, -1, -2, 1]);
                items.push(Drawn::Basic(Index::Range { start, stop, step }));
                axis += 1;
            }
            2 => {
                items.push(Drawn::Basic(Index::All));
                axis += 1;
            }
            3 => items.push(Drawn::Basic(Index::NewAxis)),
            4 if !ellipsis => {
                items.push(Drawn::Basic(Index::Ellipsis));
                axis += random.below(rest + 1);
                ellipsis = true;
            }
            5 => {
                // As many trues as integers have on their last axis, as far as there is room.
                let rank = random.below(rest.min(2) + 1);
                let own = &shape[axis..axis + rank];
                let mut truths = vec![false; size(own)];
                let trues = if random.below(4) == 0 { 1 } else { count };
                for _ in 0..trues.min(truths.len()) {
                    let free: Vec<usize> = (0..truths.len()).filter(|&i| !truths[i]).collect();
                    truths[random.pick(&free)] = true;
                }
                let layout = random.pick(&Layout::OUTPUTS);
                items.push(Drawn::Mask(Tensor::new(layout, own, &truths, true)));
                axis += rank;
            }
            _ if bound > 0 => {
                let sizes = [&[][..], &[count], &[1], &[2, count], &[2, 1], &[1, count], &[count], &[3, 1, count]];
                let own = random.pick(&sizes);
                let chosen: Vec<i64> = (0..size(own)).map(|_| random.below(2 * bound) as i64 - bound as i64).collect();
                items.push(Drawn::Integers(integers(layout, own, &chosen)));
                axis += 1;
            }
            _ => {}
        }
        if axis < shape.len() && random.below(7) == 0 {
            break;
        }
    }
    items
}

#[test]
fn indexing_is_its_definition() {
    on_every_tier("index", |isa| {
        let exec = serial(isa);
        let mut random = Random::new(6);
        let (mut ran, mut picked) = (0, 0);
        for round in 0..4000 {
            let rank = random.below(5);
            let shape: Vec<usize> = (0..rank).map(|_| random.pick(&[1, 2, 3, 4, 5, 17, 0, 3, 4])).collect();
            if size(&shape) > 3000 {
                continue;
            }
            let drawn = draw(&mut random, &shape);
            let items: Vec<Item<'_>> = drawn.iter().map(Drawn::item).collect();
            let what = format!("{isa}, round {round}: {drawn:?} of {shape:?}");
            // An ellipsis may move items to other axes than they were drawn for; what does not fit is refused.
            let Ok(result) = index::shape(&shape, &items) else { continue };
            let (inp, out) = (random.pick(&Layout::ALL), random.pick(&Layout::OUTPUTS));
            let x = Tensor::values(inp, &shape, &values(&mut random, size(&shape)));
            let mut y = Tensor::poisoned(out, result.as_slice());
            if let Err(error) = index::forward(&exec, y.view_mut(), x.view(), &items) {
                assert!(matches!(error.kind(), ErrorKind::Index { arg: "items", .. }), "{what}: {error}");
                continue;
            }
            let (want, y_want) = index::reference(&wide(&x.to_vec()), &shape, &items);
            assert_eq!(result, want, "{what}");
            assert_eq!(wide(&y.to_vec()), y_want, "{what}");
            let places = index::reference(&(0..size(&shape)).map(|i| i as f64).collect::<Vec<_>>(), &shape, &items).1;
            let places: Vec<usize> = places.into_iter().map(|place| place as usize).collect();
            let dy = Tensor::values(inp, result.as_slice(), &values(&mut random, size(result.as_slice())));
            let mut dx = Tensor::poisoned(out, &shape);
            index::backward(&exec, dx.view_mut(), dy.view(), &items).unwrap();
            assert_picks(&what, &places, &x.to_vec(), &y, &dx, &dy.to_vec());
            let sums = |dy: &[f64]| index::reference_backward(dy, &shape, &items);
            let terms = sums(&absolute(&dy.to_vec()));
            assert_sums(&what, &dx.to_vec(), &sums(&wide(&dy.to_vec())), &terms, places.len());
            ran += 1;
            picked += usize::from(!places.is_empty() && drawn.iter().any(|item| !matches!(item, Drawn::Basic(_))));
        }
        assert!(ran > 2000 && picked > 1000, "only {ran} indices fitted, {picked} of which picked something");
    });
}

#[test]
fn indexing_answers_as_pytorch_does() {
    let x: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let x = View::new(&x, &[2, 3, 4]).unwrap();
    let exec = Exec::serial().unwrap();
    let check = |items: &[Item<'_>], shape: &[usize], want: &[f32]| {
        let result = index::shape(&[2, 3, 4], items).unwrap();
        assert_eq!(result.as_slice(), shape);
        let mut y = vec![f32::NAN; size(shape)];
        index::forward(&exec, ViewMut::new(&mut y, shape).unwrap(), x, items).unwrap();
        assert_eq!(y, want);
    };
    let (a, b, pair) = ([0_i64, 1], [-1_i64, 0], [1_i64, 0, 1, 1]);
    let (a, b) = (View::new(&a, &[2]).unwrap(), View::new(&b, &[2]).unwrap());
    let pair = View::new(&pair, &[2, 2]).unwrap();
    let one = 1_i64;
    let one = View::scalar(&one);
    let (all, dots, new) = (Item::from(Index::All), Item::from(Index::Ellipsis), Item::from(Index::NewAxis));
    let at = |i| Item::from(Index::At(i));
    // Next to each other: in place. Apart: at the front.
    check(&[all, a.into(), b.into()], &[2, 2], &[3.0, 4.0, 15.0, 16.0]);
    check(&[a.into(), all, b.into()], &[2, 3], &[3.0, 7.0, 11.0, 12.0, 16.0, 20.0]);
    check(&[all, all, b.into()], &[2, 3, 2], &[3.0, 0.0, 7.0, 4.0, 11.0, 8.0, 15.0, 12.0, 19.0, 16.0, 23.0, 20.0]);
    check(&[dots, b.into()], &[2, 3, 2], &[3.0, 0.0, 7.0, 4.0, 11.0, 8.0, 15.0, 12.0, 19.0, 16.0, 23.0, 20.0]);
    // A new axis between them sets them apart; a single integer does not, being gone by then.
    check(&[at(0), a.into(), new, b.into()], &[2, 1], &[3.0, 4.0]);
    check(&[a.into(), at(0), b.into()], &[2], &[3.0, 12.0]);
    check(&[at(0), all, b.into()], &[3, 2], &[3.0, 0.0, 7.0, 4.0, 11.0, 8.0]);
    check(&[one.into(), all, b.into()], &[3, 2], &[15.0, 12.0, 19.0, 16.0, 23.0, 20.0]);
    check(&[at(1), pair.into(), at(2)], &[2, 2], &[18.0, 14.0, 18.0, 18.0]);
    check(&[at(1), pair.into(), a.into()], &[2, 2], &[16.0, 13.0, 16.0, 17.0]);
    // Masks.
    let mask = [false, true, true, false, false, true];
    let mask = View::new(&mask, &[2, 3]).unwrap();
    check(&[mask.into(), at(0)], &[3], &[4.0, 8.0, 20.0]);
    check(&[mask.into()], &[3, 4], &[4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 20.0, 21.0, 22.0, 23.0]);
    let three = [3_i64, 0, 1];
    check(&[mask.into(), View::new(&three, &[3]).unwrap().into()], &[3], &[7.0, 8.0, 21.0]);
    let lone = [false, true, false];
    let lone = View::new(&lone, &[3]).unwrap();
    check(&[a.into(), lone.into()], &[2, 4], &[4.0, 5.0, 6.0, 7.0, 16.0, 17.0, 18.0, 19.0]);
    let (yes, no) = (true, false);
    check(&[at(1), at(0), View::scalar(&yes).into()], &[1, 4], &[12.0, 13.0, 14.0, 15.0]);
    check(&[View::scalar(&no).into()], &[0, 2, 3, 4], &[]);
    check(&[View::new(&[false; 2], &[2]).unwrap().into(), all], &[0, 3, 4], &[]);
    check(&[all, View::<i64>::new(&[], &[0]).unwrap().into()], &[2, 0, 4], &[]);
    check(&[], &[2, 3, 4], &x.to_vec());
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
        let want = split(&serial(handgrad_kernels::Isa::from_name("scalar").unwrap()), layout);
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

/// Runs `f` and expects an error that leaves the output as it was.
fn refused(out: &mut Tensor, text: &str, f: impl FnOnce(ViewMut<'_>) -> Result<()>) {
    let before: Vec<u32> = out.to_vec().iter().map(|x| x.to_bits()).collect();
    let error = f(out.view_mut()).unwrap_err();
    assert_eq!(error.to_string(), text);
    assert_eq!(out.to_vec().iter().map(|x| x.to_bits()).collect::<Vec<_>>(), before, "{text}");
}

/// What the bad calls are made with.
static DATA: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
static GOOD: [i64; 2] = [0, 2];
static WRONG: [i64; 2] = [0, 3];

#[test]
fn bad_picks_are_refused_before_anything_is_written() {
    let e = Exec::serial().unwrap();
    let x = View::new(&DATA, &[2, 3]).unwrap();
    let good = View::new(&GOOD, &[2]).unwrap();
    let square = [0_i64, 1, 1, 0, 2, 1];
    let square = View::new(&square, &[2, 3]).unwrap();
    let out = &mut Tensor::values(Layout::Padded, &[2, 3], &[7.0; 6]);
    let other = &mut Tensor::values(Layout::Padded, &[3, 3], &[7.0; 9]);

    refused(out, "gather::forward: axis 2 is not valid for rank 2 (out of range)", |y| {
        gather::forward(&e, y, x, square, 2)
    });
    refused(out, "gather::forward: `index` must be 2x3, got 2", |y| gather::forward(&e, y, x, good, 0));
    refused(out, "gather::forward: `index` holds 2 at position 4, must be in 0..2", |y| {
        gather::forward(&e, y, x, square, 0)
    });
    refused(other, "gather::forward: `y` must be 2x3, got 3x3", |y| gather::forward(&e, y, x, square, 1));
    refused(out, "gather::backward: `dy` must be 2x3, got 2", |dx| {
        gather::backward(&e, dx, View::new(&DATA[..2], &[2])?, square, 1)
    });

    refused(out, "index_select::forward: `y` must be 2x2, got 2x3", |y| index_select::forward(&e, y, x, good, 1));
    refused(out, "index_select::forward: `index` holds 2 at position 1, must be in 0..2", |y| {
        index_select::forward(&e, y, x, good, 0)
    });
    refused(out, "index_select::forward: `index` must be of rank 1 at most, got 2", |y| {
        index_select::forward(&e, y, x, square, 0)
    });
    refused(out, "index_select::backward: `index` holds -1 at position 0, must be in 0..2", |dx| {
        index_select::backward(&e, dx, x, View::new(&[-1, 0], &[2])?, 0)
    });
    let scalar = &mut Tensor::values(Layout::Dense, &[], &[7.0]);
    refused(scalar, "index_select::forward: `index` must have 1 elements, got 2", |y| {
        index_select::forward(&e, y, View::scalar(&1.0), good, 0)
    });
}

#[test]
fn bad_embeddings_are_refused_before_anything_is_written() {
    let e = Exec::serial().unwrap();
    let weight = View::new(&DATA, &[3, 2]).unwrap();
    let (good, wrong) = (View::new(&GOOD, &[2]).unwrap(), View::new(&WRONG, &[2]).unwrap());
    let out = &mut Tensor::values(Layout::Padded, &[2, 3], &[7.0; 6]);
    let other = &mut Tensor::values(Layout::Padded, &[3, 3], &[7.0; 9]);

    refused(out, "embedding::view::forward: `y` must be 2x2, got 2x3", |y| embedding::forward(&e, y, weight, good));
    let pairs = &mut Tensor::values(Layout::Swapped, &[2, 2], &[7.0; 4]);
    refused(pairs, "embedding::view::forward: `indices` holds 3 at position 1, must be in 0..3", |y| {
        embedding::forward(&e, y, weight, wrong)
    });
    refused(pairs, "embedding::view::forward: `weight` must be of rank 2, got 1", |y| {
        embedding::forward(&e, y, View::new(&DATA, &[6])?, good)
    });
    let tall = &mut Tensor::values(Layout::Transposed, &[3, 2], &[7.0; 6]);
    let dy = View::new(&DATA[..4], &[2, 2]).unwrap();
    let frequency = Config { scaling: Scaling::Frequency, ..Config::default() };
    refused(tall, "embedding::view::backward: `scratch` must have at least 3 elements, got 2", |dw| {
        embedding::backward(&e, dw, Accum::Replace, dy, good, frequency, &mut [0.0; 2])
    });
    for padding in [3, -4] {
        let config = Config { padding: Some(padding), ..Config::default() };
        let text = format!("embedding::view::backward: `padding` holds {padding} at position 0, must be in 0..3");
        refused(tall, &text, |dw| embedding::backward(&e, dw, Accum::Replace, dy, good, config, &mut []));
    }

    refused(out, "one_hot::forward: `index` holds 3 at position 1, must be in 0..3", |y| {
        one_hot::forward(&e, y, wrong)
    });
    refused(other, "one_hot::forward: `y` must be 2x3, got 3x3", |y| one_hot::forward(&e, y, good));
    assert!(one_hot::classes(View::new(&[1, -1], &[2]).unwrap()).is_err());
}

#[test]
fn bad_joins_are_refused_before_anything_is_written() {
    let e = Exec::serial().unwrap();
    let (x, weight) = (View::new(&DATA, &[2, 3]).unwrap(), View::new(&DATA, &[3, 2]).unwrap());
    let out = &mut Tensor::values(Layout::Padded, &[2, 3], &[7.0; 6]);

    refused(out, "cat::forward: `xs` must have 1 elements, got 0", |y| cat::forward(&e, y, &[], 0));
    refused(out, "cat::forward: `xs` must be of rank 1 at least, got 0", |y| {
        cat::forward(&e, y, &[View::scalar(&1.0)], 0)
    });
    refused(out, "cat::forward: axis 2 is not valid for rank 2 (out of range)", |y| cat::forward(&e, y, &[x, x], 2));
    refused(out, "cat::forward: `y` must be 4x3, got 2x3", |y| cat::forward(&e, y, &[x, x], 0));
    refused(out, "cat::forward: `xs` must be 2x2, got 3x2", |y| cat::forward(&e, y, &[x, weight], 1));
    refused(out, "cat::forward: `xs` must be 2x3, got 4", |y| {
        cat::forward(&e, y, &[x, View::new(&DATA[..4], &[4])?], 1)
    });
    refused(out, "stack::forward: `xs` must have 1 elements, got 0", |y| stack::forward(&e, y, &[], 0));
    refused(out, "stack::forward: `xs` must be 2x3, got 3x2", |y| stack::forward(&e, y, &[x, weight], 0));
    refused(out, "stack::forward: axis 3 is not valid for rank 3 (out of range)", |y| {
        stack::forward(&e, y, &[x, x], 3)
    });
    refused(out, "stack::forward: `y` must be 2x2x3, got 2x3", |y| stack::forward(&e, y, &[x, x], 0));
    refused(out, "cat::backward: `dy` must be 4x3, got 2x3", |dx| {
        cat::backward(&e, &mut [dx, ViewMut::new(&mut [0.0; 6], &[2, 3])?], x, 0)
    });
}

#[test]
fn bad_indices_are_refused_before_anything_is_written() {
    let e = Exec::serial().unwrap();
    let x = View::new(&DATA, &[2, 3]).unwrap();
    let (good, wrong) = (View::new(&GOOD, &[2]).unwrap(), View::new(&WRONG, &[2]).unwrap());
    let out = &mut Tensor::values(Layout::Padded, &[2, 3], &[7.0; 6]);
    let all = Item::from(Index::All);
    let mask = [true, false, true];
    let mask = View::new(&mask, &[3]).unwrap();

    refused(out, "index::forward: `y` must be 2x2, got 2x3", |y| index::forward(&e, y, x, &[all, good.into()]));
    refused(out, "index::forward: `items` holds 3 at position 1, must be in 0..3", |y| {
        index::forward(&e, y.narrow(1, 0, 2)?, x, &[all, wrong.into()])
    });
    refused(out, "index::forward: `items` holds -4 at position 0, must be in 0..3", |y| {
        index::forward(&e, y.narrow(1, 0, 1)?, x, &[all, View::new(&[-4], &[1])?.into()])
    });
    refused(out, "index::forward: `items` must be 2, got 3", |y| index::forward(&e, y, x, &[mask.into()]));
    refused(out, "index::forward: `items` must be 2, got 3", |y| {
        index::forward(&e, y, x, &[good.into(), View::new(&[0, 0, 0], &[3])?.into()])
    });
    refused(out, "index::backward: axis 2 is not valid for rank 2 (more items than axes)", |dx| {
        index::backward(&e, dx, x, &[all, all, good.into()])
    });
    let dots = Item::from(Index::Ellipsis);
    refused(out, "index: `...` must be given once, got 2", |y| index::forward(&e, y, x, &[dots, dots]));
    let new = Item::from(Index::NewAxis);
    refused(out, "index: `rank` must be at most 8, got 9", |y| index::forward(&e, y, x, &[new; 7]));
    let deep = View::new(&[0], &[1; 8]).unwrap();
    refused(out, "index::forward: `rank` must be at most 8, got 9", |y| index::forward(&e, y, x, &[deep.into()]));
    assert!(matches!(index::shape(&[2, 3], &[new; 18]).unwrap_err().kind(), ErrorKind::Value { arg: "items", .. }));
}
