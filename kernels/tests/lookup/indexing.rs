//! Indexing with integers, masks, ranges and single indices, all at once.

use crate::common::random::Random;
use crate::common::serial;
use crate::common::tensor::{Layout, Tensor};
use crate::common::tiers::on_every_tier;
use crate::{absolute, assert_picks, assert_sums, integers, size, values, wide};
use handgrad_kernels::op::index::{self, Item};
use handgrad_kernels::view::{Index, View, ViewMut};
use handgrad_kernels::{ErrorKind, Exec};

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
