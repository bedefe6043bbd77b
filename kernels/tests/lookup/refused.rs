//! What bad arguments give: an error with numbers, and nothing written.

use crate::common::tensor::{Layout, Tensor};
use handgrad_kernels::gemm::Accum;
use handgrad_kernels::op::embedding::view::{self as embedding, Config, Scaling};
use handgrad_kernels::op::index::{self, Item};
use handgrad_kernels::op::{cat, gather, index_select, one_hot, stack};
use handgrad_kernels::view::{Index, View, ViewMut};
use handgrad_kernels::{ErrorKind, Exec, Result};

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
