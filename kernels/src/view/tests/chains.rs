//! Random chains of transformations, each step against a model that moves every element by hand.

use super::*;

/// A tensor as a shape and the buffer positions of its elements in logical order.
#[derive(Debug, Clone)]
struct Model {
    shape: Vec<usize>,
    at: Vec<i64>,
}

/// All indices of a shape in logical order.
fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![vec![]], |indices, &size| {
        indices.iter().flat_map(|index| (0..size).map(|i| [&index[..], &[i]].concat())).collect()
    })
}

impl Model {
    /// The tensor of `shape` whose element at an index is this one's at `source(index)`.
    fn gather(&self, shape: Vec<usize>, source: impl Fn(&[usize]) -> Vec<usize>) -> Self {
        let flat = |index: Vec<usize>| index.iter().zip(&self.shape).fold(0, |flat, (i, size)| flat * size + i);
        let at = indices(&shape).iter().map(|index| self.at[flat(source(index))]).collect();
        Self { shape, at }
    }

    /// The tensor with `len` indices of one axis, the `i`-th of them being `source(i)` here.
    fn along(&self, axis: usize, len: usize, source: impl Fn(usize) -> usize) -> Self {
        let mut shape = self.shape.clone();
        shape[axis] = len;
        self.gather(shape, |index| {
            let mut index = index.to_vec();
            index[axis] = source(index[axis]);
            index
        })
    }

    fn reshaped(&self, shape: Vec<usize>) -> Self {
        Self { shape, at: self.at.clone() }
    }

    fn permuted(&self, axes: &[usize]) -> Self {
        self.gather(axes.iter().map(|&axis| self.shape[axis]).collect(), |index| {
            let mut source = vec![0; axes.len()];
            axes.iter().zip(index).for_each(|(&axis, &i)| source[axis] = i);
            source
        })
    }

    /// Whether some strides express this tensor, found by looking at one step along each axis.
    fn has_strides(&self) -> bool {
        let strides: Vec<i64> = (0..self.shape.len())
            .map(|axis| {
                let inner: usize = self.shape[axis + 1..].iter().product();
                if self.shape[axis] > 1 { self.at[inner] - self.at[0] } else { 0 }
            })
            .collect();
        let place = |index: &Vec<usize>| index.iter().zip(&strides).map(|(&i, stride)| i as i64 * stride).sum::<i64>();
        self.at.is_empty()
            || indices(&self.shape).iter().zip(&self.at).all(|(index, &at)| self.at[0] + place(index) == at)
    }
}

/// A plain generator of repeatable numbers (splitmix64).
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    /// The name of an axis, counted from either end.
    fn name(&mut self, axis: usize, rank: usize) -> isize {
        axis as isize - if self.below(2) == 0 { 0 } else { rank as isize }
    }

    fn order(&mut self, rank: usize) -> Vec<usize> {
        let mut axes: Vec<usize> = (0..rank).collect();
        (1..rank).rev().for_each(|last| axes.swap(last, self.below(last + 1)));
        axes
    }
}

fn sizes(shape: &[usize]) -> Vec<isize> {
    shape.iter().map(|&size| size as isize).collect()
}

/// One random transformation that keeps elements apart, of a view of either kind and of the model.
macro_rules! transform {
    ($draw:expr, $view:expr, $model:expr) => {{
        let (draw, view, model) = (&mut *$draw, $view, $model);
        let rank = model.shape.len();
        let axis = draw.below(rank.max(1));
        let size = model.shape.get(axis).copied().unwrap_or(0);
        let name = draw.name(axis, rank);
        let start = draw.below(size + 1);
        let len = draw.below(size - start + 1);
        match draw.below(15) {
            0 if rank > 0 => {
                let end = (start + len) as isize - if start + len < size { size as isize } else { 0 };
                (view.slice(name, start as isize..end).unwrap(), model.along(axis, len, |i| start + i))
            }
            1 if rank > 0 => (view.narrow(name, start, len).unwrap(), model.along(axis, len, |i| start + i)),
            2 if rank > 0 => {
                let step = 1 + draw.below(3);
                (view.step(name, step as isize).unwrap(), model.along(axis, size.div_ceil(step), |i| i * step))
            }
            3 if rank > 0 => {
                let step = 1 + draw.below(3);
                let len = size.div_ceil(step);
                (view.step(name, -(step as isize)).unwrap(), model.along(axis, len, |i| size - 1 - i * step))
            }
            4 if rank > 0 => (view.flip(name).unwrap(), model.along(axis, size, |i| size - 1 - i)),
            5 if size > 0 => {
                let at = draw.below(size);
                let mut shape = model.shape.clone();
                shape.remove(axis);
                let selected = model.along(axis, 1, |_| at).reshaped(shape);
                (view.select(name, draw.name(at, size)).unwrap(), selected)
            }
            6 if rank > 0 => {
                let other = draw.below(rank);
                let mut axes: Vec<usize> = (0..rank).collect();
                axes.swap(axis, other);
                (view.transpose(name, draw.name(other, rank)).unwrap(), model.permuted(&axes))
            }
            7 => {
                let axes = draw.order(rank);
                let names: Vec<isize> = axes.iter().map(|&axis| draw.name(axis, rank)).collect();
                (view.permute(&names).unwrap(), model.permuted(&axes))
            }
            8 if rank > 0 => {
                let to = draw.below(rank);
                let mut axes: Vec<usize> = (0..rank).collect();
                let moved = axes.remove(axis);
                axes.insert(to, moved);
                (view.movedim(name, draw.name(to, rank)).unwrap(), model.permuted(&axes))
            }
            9 if rank < 8 => {
                let at = draw.below(rank + 1);
                let mut shape = model.shape.clone();
                shape.insert(at, 1);
                (view.unsqueeze(draw.name(at, rank + 1)).unwrap(), model.reshaped(shape))
            }
            10 if size == 1 => {
                let mut shape = model.shape.clone();
                shape.remove(axis);
                (view.squeeze(name).unwrap(), model.reshaped(shape))
            }
            11 if size > 0 && rank < 8 => {
                let divisors: Vec<usize> = (1..=size).filter(|inner| size % inner == 0).collect();
                let inner = divisors[draw.below(divisors.len())];
                let mut shape = model.shape.clone();
                shape.splice(axis..=axis, [size / inner, inner]);
                (view.unflatten(name, &[-1, inner as isize]).unwrap(), model.reshaped(shape))
            }
            12 if rank > 0 => {
                let (head, tail) = view.split_at(name, start).unwrap();
                if draw.below(2) == 0 {
                    (head, model.along(axis, start, |i| i))
                } else {
                    (tail, model.along(axis, size - start, |i| start + i))
                }
            }
            13 => {
                let shape = model.shape.iter().copied().filter(|&size| size != 1).collect();
                (view.squeeze_all(), model.reshaped(shape))
            }
            _ => (view, model.clone()),
        }
    }};
}

fn check(view: View<'_, i64>, model: &Model) {
    assert_eq!(view.shape(), model.shape);
    assert_eq!(view.to_vec(), model.at);
    assert_eq!((view.len(), view.is_empty()), (model.at.len(), model.at.is_empty()));
    for (index, &at) in indices(&model.shape).iter().zip(&model.at) {
        assert_eq!(view.get(index), Some(at));
    }
    let dense = model.at.windows(2).all(|pair| pair[1] == pair[0] + 1);
    assert_eq!(view.is_contiguous(), dense, "{view:?}");
    assert_eq!(view.as_slice(), dense.then_some(&model.at[..]));
}

/// Reshapes to a random shape; a refusal must be one that no strides could have avoided.
fn try_reshape<'a>(draw: &mut Draw, view: View<'a, i64>, model: &Model) -> (View<'a, i64>, Model) {
    let mut shape: Vec<usize> = vec![];
    let mut left = model.at.len();
    while left > 1 && shape.len() < 6 {
        let divisors: Vec<usize> = (1..=left).filter(|size| left.is_multiple_of(*size)).collect();
        let size = divisors[draw.below(divisors.len())];
        shape.push(size);
        left /= size;
    }
    shape.push(left);
    let wanted = model.reshaped(shape);
    if let Ok(view) = view.reshape(&sizes(&wanted.shape)) {
        return (view, wanted);
    }
    assert!(!wanted.has_strides(), "{view:?} could have become {:?}", wanted.shape);
    (view, model.clone())
}

fn try_flatten<'a>(draw: &mut Draw, view: View<'a, i64>, model: &Model) -> (View<'a, i64>, Model) {
    let rank = model.shape.len();
    let first = draw.below(rank);
    let last = first + draw.below(rank - first);
    let mut shape = model.shape.clone();
    shape.splice(first..=last, [model.shape[first..=last].iter().product()]);
    let wanted = model.reshaped(shape);
    if let Ok(view) = view.flatten(draw.name(first, rank), draw.name(last, rank)) {
        return (view, wanted);
    }
    assert!(!wanted.has_strides(), "{view:?} could have become {:?}", wanted.shape);
    (view, model.clone())
}

fn broadcast<'a>(draw: &mut Draw, view: View<'a, i64>, model: &Model) -> (View<'a, i64>, Model) {
    let added = draw.below(9 - model.shape.len()).min(2);
    let mut shape: Vec<usize> = (0..added).map(|_| draw.below(3)).collect();
    shape.extend(model.shape.iter().map(|&size| if size == 1 { draw.below(4) } else { size }));
    let wanted = model.gather(shape, |index| {
        index[added..].iter().zip(&model.shape).map(|(&i, &size)| if size == 1 { 0 } else { i }).collect()
    });
    (view.broadcast_to(&wanted.shape).unwrap(), wanted)
}

/// Up to four axes, now and then an empty one.
fn draw_shape(draw: &mut Draw) -> Vec<usize> {
    (0..draw.below(5)).map(|_| if draw.below(12) == 0 { 0 } else { 1 + draw.below(6) }).collect()
}

#[test]
fn read_only_chains_equal_the_model() {
    let mut draw = Draw(3);
    for _ in 0..3000 {
        let shape = draw_shape(&mut draw);
        let data = counted(shape.iter().product());
        let mut view = View::new(&data, &shape).unwrap();
        let mut model = Model { at: data.clone(), shape };
        for _ in 0..8 {
            (view, model) = match draw.below(8) {
                0 => try_reshape(&mut draw, view, &model),
                1 if !model.shape.is_empty() => try_flatten(&mut draw, view, &model),
                2 if model.at.len() < 500 => broadcast(&mut draw, view, &model),
                _ => transform!(&mut draw, view, &model),
            };
            check(view, &model);
        }
    }
}

#[test]
fn writable_chains_equal_the_model() {
    let mut draw = Draw(4);
    for _ in 0..3000 {
        let shape = draw_shape(&mut draw);
        let mut data = counted(shape.iter().product());
        let mut want = data.clone();
        let mut view = ViewMut::new(&mut data, &shape).unwrap();
        let mut model = Model { at: want.clone(), shape };
        for _ in 0..6 {
            (view, model) = transform!(&mut draw, view, &model);
            check(view.as_view(), &model);
        }
        let values: Vec<i64> = (0..model.at.len() as i64).map(|value| -1 - value).collect();
        model.at.iter().zip(&values).for_each(|(&at, &value)| want[at as usize] = value);
        view.copy_from(View::new(&values, &model.shape).unwrap()).unwrap();
        assert_eq!(data, want);
    }
}

#[test]
fn strides_are_accepted_exactly_when_they_fit_and_nest() {
    let mut draw = Draw(5);
    let (mut fit, mut apart) = (0, 0);
    for _ in 0..20_000 {
        let rank = draw.below(4);
        let shape: Vec<usize> = (0..rank).map(|_| draw.below(4)).collect();
        let strides: Vec<isize> = (0..rank).map(|_| draw.below(15) as isize - 7).collect();
        let (offset, mut data) = (draw.below(20), counted(draw.below(30)));
        let step =
            |index: &Vec<usize>| index.iter().zip(&strides).map(|(&i, stride)| i as isize * stride).sum::<isize>();
        let at: Vec<isize> = indices(&shape).iter().map(|index| offset as isize + step(index)).collect();
        let inside = at.iter().all(|at| (0..data.len() as isize).contains(at)) && offset <= data.len();
        let view = View::with_strides(&data, &shape, &strides, offset);
        assert_eq!(view.is_ok(), inside, "{shape:?} {strides:?} {offset} of {}", data.len());
        if let Ok(view) = view {
            assert_eq!(view.to_vec(), at.iter().map(|&at| at as i64).collect::<Vec<_>>());
            fit += 1;
        }
        let unique = at.iter().collect::<std::collections::HashSet<_>>().len() == at.len();
        if let Ok(view) = ViewMut::with_strides(&mut data, &shape, &strides, offset) {
            assert!(inside && unique, "{shape:?} {strides:?}");
            assert_eq!(view.len(), at.len());
            apart += 1;
        }
    }
    assert!(fit > 1000 && apart > 500, "{fit} fit, {apart} apart: too few to mean anything");
}
