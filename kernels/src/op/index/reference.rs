//! Indexing by its definition: for every element of the result, where in `x` it comes from.

use super::Item;
use crate::error::Dims;
use crate::view::Index;

/// What one axis of the view is: some indices of an axis of `x`, or a new axis.
type Taken = (Option<usize>, Vec<usize>);

/// One operand that picks along an axis of the view: its shape and its integers.
type Picked = (usize, Vec<usize>, Vec<i64>);

/// `x[items]` of a row-major `x`, which the items must fit, with its shape.
#[must_use]
pub fn reference(x: &[f64], shape: &[usize], items: &[Item<'_>]) -> (Dims, Vec<f64>) {
    let (result, places) = places(shape, items);
    (result, places.into_iter().map(|place| x[place]).collect())
}

/// `dx`, row-major, from `dy` in row-major order.
#[must_use]
pub fn reference_backward(dy: &[f64], shape: &[usize], items: &[Item<'_>]) -> Vec<f64> {
    let mut dx = vec![0.0; shape.iter().product()];
    for (place, dy) in places(shape, items).1.into_iter().zip(dy) {
        dx[place] += dy;
    }
    dx
}

/// The indices that Python's `range` has for a slice of `size` indices.
fn range(size: usize, start: Option<isize>, stop: Option<isize>, step: isize) -> Vec<usize> {
    let size = size as isize;
    let wrap = |bound: isize| if bound < 0 { bound + size } else { bound };
    let (near, far) = if step < 0 { (size - 1, -1) } else { (0, size) };
    let start = start.map_or(near, |start| wrap(start).clamp(far.min(near), far.max(near)));
    let stop = stop.map_or(far, |stop| wrap(stop).clamp(far.min(near), far.max(near)));
    let between = |at: isize| if step < 0 { at > stop } else { at < stop };
    std::iter::successors(Some(start), |at| Some(at + step))
        .take_while(|&at| between(at))
        .map(|at| at as usize)
        .collect()
}

/// The row-major index with number `number`.
fn unravel(mut number: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (at, &size) in index.iter_mut().zip(shape).rev() {
        (*at, number) = (number % size, number / size);
    }
    index
}

/// The view that the basic items make, what picks from it, and the indices of `x` that single integers fix.
fn sort(shape: &[usize], items: &[Item<'_>]) -> (Vec<Taken>, Vec<Picked>, Vec<usize>) {
    let used = |item: &Item<'_>| match item {
        Item::Basic(Index::NewAxis | Index::Ellipsis) => 0,
        Item::Mask(mask) => mask.rank(),
        _ => 1,
    };
    let rest = shape.len() - items.iter().map(used).sum::<usize>();
    let mut items = items.to_vec();
    if !items.iter().any(|item| matches!(item, Item::Basic(Index::Ellipsis))) {
        items.push(Item::Basic(Index::Ellipsis));
    }
    let (mut view, mut picked, mut fixed, mut axis) = (Vec::new(), Vec::new(), vec![0; shape.len()], 0);
    for item in items {
        match item {
            Item::Basic(Index::Ellipsis) => {
                view.extend((axis..axis + rest).map(|axis| (Some(axis), (0..shape[axis]).collect())));
                axis += rest;
            }
            Item::Basic(Index::NewAxis) => view.push((None, vec![0])),
            Item::Mask(mask) => {
                let own = mask.shape();
                let trues: Vec<_> =
                    (0..mask.len()).map(|n| unravel(n, own)).filter(|at| mask.get(at) == Some(true)).collect();
                for (k, &size) in own.iter().enumerate() {
                    picked.push((view.len(), vec![trues.len()], trues.iter().map(|at| at[k] as i64).collect()));
                    view.push((Some(axis), (0..size).collect()));
                    axis += 1;
                }
                if own.is_empty() {
                    picked.push((view.len(), vec![trues.len()], vec![0; trues.len()]));
                    view.push((None, vec![0]));
                }
            }
            one => {
                let all = || (0..shape[axis]).collect::<Vec<_>>();
                let wrap = |at: i64| if at < 0 { (at + shape[axis] as i64) as usize } else { at as usize };
                match one {
                    Item::Basic(Index::At(at)) => fixed[axis] = wrap(at as i64),
                    Item::Integers(index) if index.rank() == 0 => fixed[axis] = wrap(index.to_vec()[0]),
                    Item::Integers(index) => {
                        picked.push((view.len(), index.shape().to_vec(), index.to_vec()));
                        view.push((Some(axis), all()));
                    }
                    Item::Basic(Index::Range { start, stop, step }) => {
                        view.push((Some(axis), range(shape[axis], start, stop, step)));
                    }
                    _ => view.push((Some(axis), all())),
                }
                axis += 1;
            }
        }
    }
    (view, picked, fixed)
}

/// The shape of the result, and for each of its elements, in row-major order, the place in a row-major `x`.
fn places(shape: &[usize], items: &[Item<'_>]) -> (Dims, Vec<usize>) {
    let (view, picked, fixed) = sort(shape, items);
    let axes: Vec<usize> = picked.iter().map(|pick| pick.0).collect();
    let kept: Vec<usize> = (0..view.len()).filter(|axis| !axes.contains(axis)).collect();
    // The shape that is picked: sizes from the last axis on, ones giving way to others.
    let rank = picked.iter().map(|pick| pick.1.len()).max().unwrap_or(0);
    let mut broadcast = vec![1; rank];
    for (_, own, _) in &picked {
        for (size, &mine) in broadcast[rank - own.len()..].iter_mut().zip(own) {
            *size = if *size == 1 { mine } else { *size };
        }
    }
    let together = axes.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    let before =
        if together { axes.first().map_or(0, |first| kept.iter().filter(|axis| *axis < first).count()) } else { 0 };
    let mut result: Vec<usize> = kept.iter().map(|&axis| view[axis].1.len()).collect();
    result.splice(before..before, broadcast.iter().copied());

    let place = |number: usize| {
        let index = unravel(number, &result);
        let mut at = vec![0; view.len()];
        for (i, &axis) in kept.iter().enumerate() {
            at[axis] = if i < before { index[i] } else { index[i + rank] };
        }
        for (axis, own, integers) in &picked {
            let mine = &index[before + rank - own.len()..before + rank];
            let number = own.iter().zip(mine).fold(0, |number, (&size, &i)| number * size + i.min(size - 1));
            let (value, size) = (integers[number], view[*axis].1.len() as i64);
            at[*axis] = (if value < 0 { value + size } else { value }) as usize;
        }
        let mut source = fixed.clone();
        for (&at, (axis, indices)) in at.iter().zip(&view) {
            if let Some(axis) = axis {
                source[*axis] = indices[at];
            }
        }
        source.iter().zip(shape).fold(0, |place, (&at, &size)| place * size + at)
    };
    (Dims::new(&result), (0..result.iter().product()).map(place).collect())
}
