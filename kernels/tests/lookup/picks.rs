//! Slices and elements that integers pick, and slices that are joined.

use crate::common::compare::assert_same_bits;
use crate::common::random::Random;
use crate::common::serial;
use crate::common::tensor::{Tensor, indices};
use crate::common::tiers::on_every_tier;
use crate::{absolute, assert_picks, assert_sums, integers, layouts, number, size, values, wide};
use handgrad_kernels::gemm::Accum;
use handgrad_kernels::op::embedding::view::{self as embedding, Config, Scaling};
use handgrad_kernels::op::{cat, gather, index_select, one_hot, stack};
use handgrad_kernels::view::{View, ViewMut};

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
