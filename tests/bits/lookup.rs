//! Operations that pick, join, compare and repeat.

use crate::run::Case;
use handgrad::kernels::gemm::Accum;
use handgrad::kernels::op::embedding::view::{self as embedding_view, Config, Scaling};
use handgrad::kernels::op::index::Item;
use handgrad::kernels::op::{
    argmax, argmin, broadcast, cat, clamp_tensor, embedding, gather, index, index_select, max, min, one_hot, stack,
    where_,
};
use handgrad::kernels::view::Index;

const X: [f32; 2] = [-3.0, 3.0];

/// Cases of an operation that tells where an extreme element is, and its value.
macro_rules! extreme {
    ($with_value:ident, $index:ident) => {
        [
            Case::by_rows(concat!(stringify!($with_value), "/batch"), 37, |r| {
                let (x, dy) = (r.rows(&[37, 129], X), r.rows(&[37], X));
                let (mut y, mut at, mut dx) = (r.output(&[x.shape[0]]), r.index_output(&[x.shape[0]]), r.like(&x));
                $with_value::forward(r.exec, y.view_mut(), at.view_mut(), x.view(), -1)?;
                $with_value::backward(r.exec, dx.view_mut(), dy.view(), at.view(), -1)?;
                r.keep(&y);
                r.keep_indices(&at);
                r.keep(&dx);
                Ok(())
            }),
            Case::new(concat!(stringify!($index), "/columns"), |r| {
                let x = r.input(&[600, 3, 7], X);
                let mut at = r.index_output(&[3, 7]);
                $index::forward(r.exec, at.view_mut(), x.view(), 0)?;
                r.keep_indices(&at);
                Ok(())
            }),
        ]
    };
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::from(extreme!(max, argmax));
    cases.extend(extreme!(min, argmin));
    cases.extend(picking());
    cases.extend(embeddings());
    cases.extend(joining());
    cases
}

fn picking() -> [Case; 4] {
    [
        Case::new("gather/", |r| {
            let (x, at, dy) = (r.input(&[7, 13, 5], X), r.index(&[7, 40, 5], 13), r.input(&[7, 40, 5], X));
            let (mut y, mut dx) = (r.like(&dy), r.like(&x));
            gather::forward(r.exec, y.view_mut(), x.view(), at.view(), 1)?;
            gather::backward(r.exec, dx.view_mut(), dy.view(), at.view(), 1)?;
            r.keep(&y);
            r.keep(&dx);
            Ok(())
        }),
        Case::new("index_select/", |r| {
            let (x, at, dy) = (r.input(&[7, 13, 5], X), r.index(&[40], 13), r.input(&[7, 40, 5], X));
            let (mut y, mut dx) = (r.like(&dy), r.like(&x));
            index_select::forward(r.exec, y.view_mut(), x.view(), at.view(), 1)?;
            index_select::backward(r.exec, dx.view_mut(), dy.view(), at.view(), 1)?;
            r.keep(&y);
            r.keep(&dx);
            Ok(())
        }),
        Case::new("index/", |r| {
            let (x, at, dy) = (r.input(&[7, 13, 5], X), r.index(&[8, 6], 13), r.input(&[7, 8, 6, 5], X));
            let items = [Item::Basic(Index::All), Item::Integers(at.view())];
            let (mut y, mut dx) = (r.like(&dy), r.like(&x));
            index::forward(r.exec, y.view_mut(), x.view(), &items)?;
            index::backward(r.exec, dx.view_mut(), dy.view(), &items)?;
            r.keep(&y);
            r.keep(&dx);
            Ok(())
        }),
        Case::by_rows("one_hot/", 37, |r| {
            let at = r.index_rows(&[37], 11);
            let mut y = r.output(&[at.shape[0], 11]);
            one_hot::forward(r.exec, y.view_mut(), at.view())?;
            r.keep(&y);
            Ok(())
        }),
    ]
}

fn embeddings() -> [Case; 2] {
    [
        Case::new("embedding/", |r| {
            let (table, dy, tokens) = (r.mat(27, 10, X), r.mat(32, 30, X), r.indices(96, 27));
            let (mut y, mut dtable) = (r.mat_output(32, 30), r.mat(27, 10, X));
            embedding::forward(r.exec, y.mat_mut(), table.mat(), &tokens)?;
            embedding::backward(r.exec, dtable.mat_mut(), Accum::Add, dy.mat(), &tokens)?;
            r.keep(&y);
            r.keep(&dtable);
            Ok(())
        }),
        Case::new("embedding/view", |r| {
            let (table, at, dy) = (r.input(&[27, 10], X), r.index(&[9, 8], 27), r.input(&[9, 8, 10], X));
            let config = Config { padding: Some(3), scaling: Scaling::Frequency };
            let mut scratch = vec![f32::NAN; embedding_view::scratch(27, config)];
            let (mut y, mut dw) = (r.like(&dy), r.like(&table));
            embedding_view::forward(r.exec, y.view_mut(), table.view(), at.view())?;
            let replace = Accum::Replace;
            embedding_view::backward(r.exec, dw.view_mut(), replace, dy.view(), at.view(), config, &mut scratch)?;
            r.keep(&y);
            r.keep(&dw);
            Ok(())
        }),
    ]
}

fn joining() -> [Case; 5] {
    [
        Case::new("cat/", |r| {
            let xs = [r.input(&[7, 3, 5], X), r.input(&[7, 9, 5], X), r.input(&[7, 1, 5], X)];
            let dy = r.input(&[7, 13, 5], X);
            let mut y = r.like(&dy);
            let mut dxs = xs.each_ref().map(|x| r.like(x));
            cat::forward(r.exec, y.view_mut(), &xs.each_ref().map(|x| x.view()), 1)?;
            cat::backward(r.exec, &mut dxs.each_mut().map(|dx| dx.view_mut()), dy.view(), 1)?;
            r.keep(&y);
            r.keep_all(&dxs);
            Ok(())
        }),
        Case::new("stack/", |r| {
            let xs = [r.input(&[7, 5], X), r.input(&[7, 5], X), r.input(&[7, 5], X)];
            let dy = r.input(&[7, 3, 5], X);
            let mut y = r.like(&dy);
            let mut dxs = xs.each_ref().map(|x| r.like(x));
            stack::forward(r.exec, y.view_mut(), &xs.each_ref().map(|x| x.view()), 1)?;
            stack::backward(r.exec, &mut dxs.each_mut().map(|dx| dx.view_mut()), dy.view(), 1)?;
            r.keep(&y);
            r.keep_all(&dxs);
            Ok(())
        }),
        Case::new("broadcast/", |r| {
            let (x, dy) = (r.input(&[1, 7], X), r.input(&[300, 5, 7], X));
            let (mut y, mut dx) = (r.like(&dy), r.like(&x));
            broadcast::forward(r.exec, y.view_mut(), x.view())?;
            broadcast::backward(r.exec, dx.view_mut(), dy.view())?;
            r.keep(&y);
            r.keep(&dx);
            Ok(())
        }),
        Case::new("where/", |r| {
            let cond = r.mask(&[300, 5, 7]);
            let (a, b, dy) = (r.input(&[5, 7], X), r.input(&[300, 1, 1], X), r.input(&[300, 5, 7], X));
            let mut scratch = vec![f32::NAN; where_::scratch(dy.view().len())];
            let [mut y, mut da, mut db] = [r.like(&dy), r.like(&a), r.like(&b)];
            where_::forward(r.exec, y.view_mut(), cond.view(), a.view(), b.view(), &mut scratch)?;
            where_::backward(r.exec, da.view_mut(), db.view_mut(), dy.view(), cond.view(), &mut scratch)?;
            r.keep_all(&[y, da, db]);
            Ok(())
        }),
        Case::new("clamp_tensor/", |r| {
            let (x, low, high) = (r.input(&[300, 5, 7], X), r.input(&[5, 7], [-2.0, 0.0]), r.input(&[7], [0.0, 2.0]));
            let dy = r.input(&[300, 5, 7], X);
            let [mut y, mut dx, mut dlow, mut dhigh] = [&x, &x, &low, &high].map(|tensor| r.like(tensor));
            clamp_tensor::forward(r.exec, y.view_mut(), x.view(), low.view(), high.view())?;
            let grads = clamp_tensor::Grads { dx: dx.view_mut(), dlow: dlow.view_mut(), dhigh: dhigh.view_mut() };
            clamp_tensor::backward(r.exec, grads, dy.view(), x.view(), low.view(), high.view())?;
            r.keep_all(&[y, dx, dlow, dhigh]);
            Ok(())
        }),
    ]
}
