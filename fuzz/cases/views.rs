//! A chain of views, each made from the one before, against a model that knows no strides.
//!
//! The input's bytes choose a buffer, a shape, strides and an offset, then one transformation after the other with its
//! arguments. The model keeps a shape and, for each transformation, which index of the source an index of the result is;
//! only at the start of the chain does an index become a place in the buffer. What is checked after every transformation:
//!
//! - a view is made exactly if the documentation says so: axes and indices in range, the number of elements one that a
//!   buffer could have, and for `reshape` and `flatten` that one stride an axis can say it;
//! - its shape, its strides, its elements in logical order, one by one, and as a slice if they are contiguous;
//! - the same chain on a writable view is refused where that on a readable one is, reaches each element by one index, and
//!   writes these elements and nothing else; an error of a write leaves the buffer as it was, bit for bit.

use super::input::Bytes;
use handgrad_kernels::Result;
use handgrad_kernels::view::{Index, View, ViewMut, broadcast_shape};
use std::collections::HashSet;
use std::ops::Bound;

/// A transformation of a readable or a writable view.
macro_rules! apply {
    (@both $view:expr, $op:expr, $($pattern:pat => $result:expr),*) => {
        match $op {
            Op::Slice(axis, range) => $view.slice(*axis, *range),
            Op::Narrow(axis, start, len) => $view.narrow(*axis, *start, *len),
            Op::Every(axis, step) => $view.step(*axis, *step),
            Op::Flip(axis) => $view.flip(*axis),
            Op::Select(axis, index) => $view.select(*axis, *index),
            Op::Index(items) => $view.index(items),
            Op::Transpose(a, b) => $view.transpose(*a, *b),
            Op::T => $view.t(),
            Op::Permute(axes) => $view.permute(axes),
            Op::Movedim(from, to) => $view.movedim(*from, *to),
            Op::Movedims(from, to) => $view.movedims(from, to),
            Op::Reshape(shape) => $view.reshape(shape),
            Op::Flatten(start, end) => $view.flatten(*start, *end),
            Op::Unflatten(axis, shape) => $view.unflatten(*axis, shape),
            Op::Squeeze(axis) => $view.squeeze(*axis),
            Op::SqueezeAll => Ok($view.squeeze_all()),
            Op::Unsqueeze(axis) => $view.unsqueeze(*axis),
            Op::SplitAt(axis, index, which) => {
                $view.split_at(*axis, *index).map(|(head, tail)| if *which == 0 { head } else { tail })
            }
            Op::Split(axis, sizes, which) => piece($view.split(*axis, sizes), *which, sizes.len()),
            op @ Op::SplitEvery(axis, size, which) => {
                let count = op.pieces($view.shape());
                piece($view.split_every(*axis, *size), *which, count)
            }
            op @ Op::Chunk(axis, chunks, which) => {
                let count = op.pieces($view.shape());
                piece($view.chunk(*axis, *chunks), *which, count)
            }
            $($pattern => $result),*
        }
    };
    ($view:expr, $op:expr) => {
        apply!(@both $view, $op,
            Op::BroadcastTo(shape) => $view.broadcast_to(shape),
            Op::Expand(shape) => $view.expand(shape)
        )
    };
}

/// Runs the chain that the bytes describe, and panics if a view is not what the model says.
pub(crate) fn check(data: &[u8]) {
    let mut bytes = Bytes(data);
    let base = Base::read(&mut bytes);
    let buffer: Vec<f32> = (0..base.len).map(|place| place as f32).collect();
    let made = View::with_strides(&buffer, &base.shape, &base.strides, base.offset);
    assert_eq!(made.is_ok(), base.fits(), "a view of {base:?} is {made:?}");
    base.check_new(&buffer);
    let Ok(mut view) = made else {
        let refused = ViewMut::with_strides(&mut buffer.clone(), &base.shape, &base.strides, base.offset).is_err();
        assert!(refused, "what cannot be read could be written, {base:?}");
        return;
    };
    let mut model = Model::new(&base);
    model.compare(view, &buffer);
    let mut done = Vec::new();
    for _ in 0..MOST_STEPS {
        if bytes.is_empty() {
            break;
        }
        let op = Op::read(&mut bytes, &model.shape);
        let (outcome, made) = (model.after(&op), apply!(view, &op));
        match (outcome, made) {
            (Outcome::Made(next) | Outcome::Either(next), Ok(made)) => {
                next.compare(made, &buffer);
                (model, view) = (next, made);
                done.push((op, Step::Made));
            }
            (Outcome::Refused | Outcome::Either(_), Err(_)) => done.push((op, Step::Refused)),
            (Outcome::Made(_), Err(error)) => panic!("{op:?} of {:?} should be had: {error}", model.shape),
            (Outcome::Refused, Ok(made)) => panic!("{op:?} of {:?} should be refused, is {made:?}", model.shape),
        }
        common_shape(&mut bytes, &model.shape);
    }
    write(&base, &done);
}

/// Transformations in a chain.
const MOST_STEPS: usize = 12;
/// More elements than this are not all looked at.
const MOST_ELEMENTS: u128 = 2048;
/// The most floats that a buffer can have.
const LIMIT: u128 = isize::MAX as u128 / 4;
/// What stands in a buffer that is written to.
const GUARD: u32 = 0x7fc0_dead;
/// Sizes at the edges: none, one, primes, powers of two and their neighbours, products that overflow.
const SIZES: [usize; 24] = [
    2,
    1,
    0,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    11,
    13,
    16,
    17,
    31,
    64,
    97,
    1 << 31,
    1 << 32,
    (1 << 61) - 1,
    1 << 61,
    isize::MAX as usize,
    1 << 63,
    usize::MAX,
];

/// Where a chain begins.
#[derive(Debug)]
struct Base {
    len: usize,
    shape: Vec<usize>,
    strides: Vec<isize>,
    offset: usize,
}

impl Base {
    fn read(bytes: &mut Bytes<'_>) -> Self {
        let kind = bytes.next();
        let rank = bytes.below(if kind >= 240 { 10 } else { 6 });
        let shape: Vec<usize> = (0..rank)
            .map(|_| {
                let byte = usize::from(bytes.next());
                SIZES[if byte < 224 { byte % 8 } else { byte % SIZES.len() }]
            })
            .collect();
        let mut stride = 1isize;
        let mut strides: Vec<isize> = shape
            .iter()
            .rev()
            .map(|&size| {
                let here = match (kind % 8, if kind % 8 < 4 { 0 } else { bytes.next() }) {
                    (4, byte) if byte.is_multiple_of(2) => stride.wrapping_neg(),
                    (5, byte) => stride.wrapping_add(isize::from(byte % 4)),
                    (6, byte) if byte.is_multiple_of(3) => 0,
                    (7, byte) if byte >= 250 => [isize::MIN, isize::MAX, 1 << 62][usize::from(byte) % 3],
                    (7, byte) => isize::from(byte as i8),
                    _ => stride,
                };
                stride = here.wrapping_abs().max(1).wrapping_mul(size.max(1) as isize);
                here
            })
            .collect();
        strides.reverse();
        if kind % 8 == 3 {
            // Columns first.
            strides.sort_unstable();
        }
        let wrong = bytes.seldom(16);
        if wrong {
            strides.push(1);
        }
        let reach = |sign: i128| -> i128 {
            let ends = shape.iter().zip(&strides).map(|(&n, &s)| (n as i128 - 1).max(0) * i128::from(s as i64));
            ends.map(|end| (end * sign).clamp(0, 1 << 64)).sum()
        };
        let (low, high) = (reach(-1).min(4096), reach(1).min(4096));
        let (before, behind) = (bytes.next(), bytes.next());
        let offset = low + i128::from(before % 4) - i128::from(before >= 224);
        let len = offset + high + 1 + i128::from(behind % 4) - i128::from(behind >= 224);
        let empty = shape.contains(&0) && before % 2 == 1;
        let len = if empty { 0 } else { len.max(0) as usize };
        let offset = if empty { usize::from(before > 200) } else { offset.max(0) as usize };
        Self { len, shape, strides, offset }
    }

    /// Whether each element it reaches lies in the buffer.
    fn fits(&self) -> bool {
        let Self { len, shape, strides, offset } = self;
        if shape.len() > 8 || strides.len() != shape.len() || !countable(shape) {
            return false;
        }
        if shape.contains(&0) {
            return offset <= len;
        }
        let ends = || shape.iter().zip(strides).map(|(&n, &s)| (n as i128 - 1) * s as i128);
        let (low, high): (i128, i128) = (ends().map(|end| end.min(0)).sum(), ends().map(|end| end.max(0)).sum());
        *offset as i128 + low >= 0 && *offset as i128 + high < *len as i128
    }

    /// Whether a writable view of it is allowed: strides, sorted by size, each larger than the reach of those before.
    fn nests(&self) -> bool {
        let mut axes: Vec<_> = self.shape.iter().zip(&self.strides).filter(|(n, _)| **n > 1).collect();
        axes.sort_unstable_by_key(|(_, stride)| stride.unsigned_abs());
        let mut reach = 0u128;
        let nested = axes.iter().all(|&(&n, stride)| {
            let (before, stride) = (reach, stride.unsigned_abs() as u128);
            reach += (n as u128 - 1) * stride;
            stride > before
        });
        nested || self.shape.contains(&0)
    }

    /// A view of a whole buffer, which must have as many elements as the shape.
    fn check_new(&self, buffer: &[f32]) {
        let made = View::new(buffer, &self.shape);
        let whole = self.shape.len() <= 8 && countable(&self.shape) && len(&self.shape) == buffer.len() as u128;
        assert_eq!(made.is_ok(), whole, "all {} floats as {:?}", buffer.len(), self.shape);
        assert!(made.is_err() || made.is_ok_and(|view| view.as_slice() == Some(buffer)));
    }
}

/// Whether a buffer could have the elements of each part of a shape.
fn countable(shape: &[usize]) -> bool {
    let product = shape.iter().filter(|&&n| n > 0).try_fold(1u128, |all, &n| all.checked_mul(n as u128));
    product.is_some_and(|product| product <= LIMIT)
}

/// The number of elements of a countable shape.
fn len(shape: &[usize]) -> u128 {
    if shape.contains(&0) { 0 } else { shape.iter().map(|&n| n as u128).product() }
}

/// A transformation with its arguments.
#[derive(Clone, Debug)]
enum Op {
    Slice(isize, (Bound<isize>, Bound<isize>)),
    Narrow(isize, usize, usize),
    Every(isize, isize),
    Flip(isize),
    Select(isize, isize),
    Index(Vec<Index>),
    Transpose(isize, isize),
    T,
    Permute(Vec<isize>),
    Movedim(isize, isize),
    Movedims(Vec<isize>, Vec<isize>),
    Reshape(Vec<isize>),
    Flatten(isize, isize),
    Unflatten(isize, Vec<isize>),
    Squeeze(isize),
    SqueezeAll,
    Unsqueeze(isize),
    BroadcastTo(Vec<usize>),
    Expand(Vec<isize>),
    /// One side of it.
    SplitAt(isize, usize, usize),
    /// One of the pieces, as in the next two.
    Split(isize, Vec<usize>, usize),
    SplitEvery(isize, usize, usize),
    Chunk(isize, usize, usize),
}

/// One of several pieces, of which there must be `count`.
fn piece<V, P: ExactSizeIterator<Item = V>>(pieces: Result<P>, which: usize, count: usize) -> Result<V> {
    pieces.map(|mut pieces| {
        assert_eq!(pieces.len(), count, "the number of pieces");
        pieces.nth(which).expect("there are so many pieces")
    })
}

impl Op {
    fn read(bytes: &mut Bytes<'_>, shape: &[usize]) -> Self {
        let rank = shape.len();
        let kind = bytes.next();
        let axis = |bytes: &mut Bytes<'_>| bytes.below(2 * rank + 2) as isize - rank as isize - 1;
        let at = axis(bytes);
        // Of the axis chosen, if there is one.
        let size = wrap(at, rank).map_or(1, |axis| shape[axis]);
        let axes = |bytes: &mut Bytes<'_>, most: usize| (0..bytes.below(most)).map(|_| axis(bytes)).collect();
        match kind % 23 {
            0 => {
                let bound = |bytes: &mut Bytes<'_>| match bytes.next() % 4 {
                    0 => Bound::Unbounded,
                    1 => Bound::Excluded(position(bytes, size)),
                    _ => Bound::Included(position(bytes, size)),
                };
                Op::Slice(at, (bound(bytes), bound(bytes)))
            }
            1 => Op::Narrow(at, amount(bytes, size), amount(bytes, size)),
            2 => Op::Every(at, position(bytes, 3)),
            3 => Op::Flip(at),
            4 => Op::Select(at, position(bytes, size)),
            5 => Op::Index(items(bytes, size)),
            6 => Op::Transpose(at, axis(bytes)),
            7 => Op::T,
            8 => {
                // A permutation, unless a byte says otherwise.
                let mut axes: Vec<isize> = (0..rank as isize).collect();
                (1..rank).for_each(|i| axes.swap(i, bytes.below(i + 1)));
                if bytes.seldom(32) {
                    axes.push(axis(bytes));
                    axes.swap_remove(0);
                }
                Op::Permute(axes)
            }
            9 => Op::Movedim(at, axis(bytes)),
            10 => {
                let from: Vec<isize> = axes(bytes, 4);
                let to = if bytes.seldom(16) { Vec::new() } else { from.iter().map(|_| axis(bytes)).collect() };
                Op::Movedims(from, to)
            }
            11 | 12 => Op::Reshape(factors(bytes, len(shape))),
            13 => Op::Flatten(at, axis(bytes)),
            14 => Op::Unflatten(at, factors(bytes, size as u128)),
            15 => Op::Squeeze(at),
            16 => Op::SqueezeAll,
            17 => Op::Unsqueeze(at - isize::from(bytes.seldom(64))),
            18 => Op::BroadcastTo(broader(bytes, shape)),
            19 => {
                let keep = |(n, byte): (usize, u8)| if byte < 128 { n as isize } else { -isize::from(byte % 4 + 1) };
                Op::Expand(broader(bytes, shape).into_iter().map(|n| keep((n, bytes.next()))).collect())
            }
            20 => Op::SplitAt(at, amount(bytes, size), bytes.below(2)),
            21 => {
                let first = amount(bytes, size);
                let second = amount(bytes, size.saturating_sub(first));
                let rest = size.saturating_sub(first).saturating_sub(second).saturating_add(bytes.seldom(16).into());
                Op::Split(at, vec![first, second, rest], bytes.below(3))
            }
            _ => {
                let by = amount(bytes, size);
                let every = bytes.next().is_multiple_of(2);
                let count = if every { Op::SplitEvery(at, by, 0) } else { Op::Chunk(at, by, 0) }.pieces(shape);
                let which = bytes.below(count.min(256));
                if every { Op::SplitEvery(at, by, which) } else { Op::Chunk(at, by, which) }
            }
        }
    }

    /// Of how many pieces one is taken.
    fn pieces(&self, shape: &[usize]) -> usize {
        let (Op::SplitEvery(axis, by, _) | Op::Chunk(axis, by, _)) = self else { return 0 };
        let size = wrap(*axis, shape.len()).map_or(0, |axis| shape[axis]);
        match self {
            _ if *by == 0 => 0,
            Op::Chunk(..) if size == 0 => *by,
            // As many of the greatest size that is needed as there are.
            Op::Chunk(..) => size.div_ceil(size.div_ceil(*by)),
            _ => size.div_ceil(*by).max(1),
        }
    }
}

/// The place that an index names, negative ones counted from the end.
fn wrap(index: isize, size: usize) -> Option<usize> {
    let at = if index < 0 { index as i128 + size as i128 } else { index as i128 };
    (0..size as i128).contains(&at).then_some(at as usize)
}

/// A place of an axis, mostly inside or just outside.
fn position(bytes: &mut Bytes<'_>, size: usize) -> isize {
    let byte = bytes.next();
    if byte >= 248 {
        return [isize::MIN, isize::MIN + 1, isize::MAX, isize::MAX - 1][usize::from(byte) % 4];
    }
    let near = size.min(100) as isize;
    isize::from(byte) % (2 * near + 3) - near - 1
}

/// A number of indices of an axis, mostly at most all of them.
fn amount(bytes: &mut Bytes<'_>, size: usize) -> usize {
    let byte = usize::from(bytes.next());
    if byte >= 248 { SIZES[16 + byte % 8] } else { byte % (size.min(100) + 2) }
}

/// Items of an index.
fn items(bytes: &mut Bytes<'_>, size: usize) -> Vec<Index> {
    let bound = |bytes: &mut Bytes<'_>| (!bytes.next().is_multiple_of(3)).then(|| position(bytes, size));
    let item = |bytes: &mut Bytes<'_>| match bytes.next() % 8 {
        0 | 1 => Index::All,
        2 => Index::NewAxis,
        3 => Index::Ellipsis,
        4 => Index::At(position(bytes, size)),
        _ => Index::Range { start: bound(bytes), stop: bound(bytes), step: position(bytes, 3) },
    };
    (0..bytes.below(6)).map(|_| item(bytes)).collect()
}

/// Sizes whose product is mostly `total`, perhaps one of them as -1.
fn factors(bytes: &mut Bytes<'_>, total: u128) -> Vec<isize> {
    let mut left = total;
    let mut sizes = Vec::new();
    for _ in 0..bytes.below(4) {
        let by = SIZES[bytes.below(14)] as u128;
        let by = if by == 0 || !left.is_multiple_of(by) { 1 } else { by };
        left /= by;
        sizes.push(by as isize);
    }
    sizes.insert(bytes.below(sizes.len() + 1), left as isize);
    match bytes.next() {
        byte if byte >= 192 => {
            let place = usize::from(byte) % sizes.len();
            sizes[place] = -1;
        }
        byte if byte >= 176 => {
            let place = usize::from(byte) % sizes.len();
            sizes[place] = SIZES[bytes.below(SIZES.len())] as isize;
        }
        170..176 => sizes.push(0),
        160..170 => sizes.clear(),
        _ => {}
    }
    sizes
}

/// A shape that this one broadcasts to, mostly.
fn broader(bytes: &mut Bytes<'_>, shape: &[usize]) -> Vec<usize> {
    let mut to: Vec<usize> = (0..bytes.below(4)).map(|_| SIZES[bytes.below(SIZES.len())]).collect();
    to.extend(shape.iter().map(|&n| if n == 1 { SIZES[bytes.below(8)] } else { n }));
    if bytes.seldom(24) && !to.is_empty() {
        let place = bytes.below(to.len());
        to[place] = SIZES[bytes.below(SIZES.len())];
    }
    if bytes.seldom(8) {
        to.pop();
    }
    to
}

/// What should become of a transformation.
enum Outcome {
    Made(Model),
    Refused,
    /// There are too many elements to tell.
    Either(Model),
}

impl From<Option<Model>> for Outcome {
    fn from(model: Option<Model>) -> Self {
        model.map_or(Outcome::Refused, Outcome::Made)
    }
}

/// The index of an axis of the source: `start + step·i`, with `i` the index of an axis of the result if there is one.
#[derive(Clone, Copy, Debug)]
struct Origin {
    axis: Option<usize>,
    start: i128,
    step: i128,
}

/// From an index of the result back to one of the source.
#[derive(Clone, Debug)]
enum Back {
    /// An origin for each axis of the source.
    Axes(Vec<Origin>),
    /// The same elements in the same order: the shapes of the source and of the result.
    Order(Vec<usize>, Vec<usize>),
}

/// A view by its definition.
#[derive(Clone, Debug)]
struct Model {
    strides: Vec<isize>,
    offset: usize,
    steps: Vec<Back>,
    shape: Vec<usize>,
}

impl Model {
    fn new(base: &Base) -> Self {
        let Base { shape, strides, offset, .. } = base;
        Self { strides: strides.clone(), offset: *offset, steps: Vec::new(), shape: shape.clone() }
    }

    /// The place of an element in the buffer.
    fn place(&self, index: &[usize]) -> usize {
        let mut index: Vec<i128> = index.iter().map(|&i| i as i128).collect();
        for back in self.steps.iter().rev() {
            index = match back {
                Back::Axes(origins) => {
                    origins.iter().map(|o| o.start + o.axis.map_or(0, |axis| o.step * index[axis])).collect()
                }
                Back::Order(from, to) => {
                    let number = index.iter().zip(to).fold(0, |number, (i, &n)| number * n as i128 + i);
                    let mut left = number;
                    let mut source: Vec<i128> = from
                        .iter()
                        .rev()
                        .map(|&n| {
                            let i = left % n as i128;
                            left /= n as i128;
                            i
                        })
                        .collect();
                    source.reverse();
                    source
                }
            };
        }
        let moved: i128 = index.iter().zip(&self.strides).map(|(&i, &stride)| i * stride as i128).sum();
        usize::try_from(self.offset as i128 + moved).expect("the place is in the buffer")
    }

    fn with(&self, shape: Vec<usize>, back: Back) -> Self {
        let mut steps = self.steps.clone();
        steps.push(back);
        Self { shape, steps, strides: self.strides.clone(), offset: self.offset }
    }

    /// `len` indices of an axis.
    fn cut(&self, axis: usize, start: usize, len: usize, step: isize) -> Self {
        let mut shape = self.shape.clone();
        shape[axis] = len;
        let mut origins = self.origins();
        origins[axis] = Origin { axis: Some(axis), start: start as i128, step: step as i128 };
        self.with(shape, Back::Axes(origins))
    }

    /// Each axis by itself.
    fn origins(&self) -> Vec<Origin> {
        (0..self.shape.len()).map(|axis| Origin { axis: Some(axis), start: 0, step: 1 }).collect()
    }

    /// Axes of the source in a new order, or new ones of size 1 (`None`); the others are of size 1 and dropped.
    fn arranged(&self, axes: &[Option<usize>]) -> Self {
        let shape = axes.iter().map(|axis| axis.map_or(1, |axis| self.shape[axis])).collect();
        let mut origins = vec![Origin { axis: None, start: 0, step: 0 }; self.shape.len()];
        for (to, from) in axes.iter().enumerate() {
            if let Some(from) = from {
                origins[*from] = Origin { axis: Some(to), start: 0, step: 1 };
            }
        }
        self.with(shape, Back::Axes(origins))
    }

    fn without(&self, axis: usize) -> Self {
        self.arranged(&self.axes().filter(|&other| other != Some(axis)).collect::<Vec<_>>())
    }

    fn axes(&self) -> impl Iterator<Item = Option<usize>> {
        (0..self.shape.len()).map(Some)
    }

    /// The same elements in the same order, if strides can say it.
    fn reshaped(&self, to: Vec<usize>) -> Outcome {
        let next = self.with(to.clone(), Back::Order(self.shape.clone(), to));
        if len(&next.shape) <= 1 {
            return Outcome::Made(next);
        }
        if len(&next.shape) > MOST_ELEMENTS {
            return Outcome::Either(next);
        }
        let strides = next.strides();
        let origin = next.place(&vec![0; next.shape.len()]) as i128;
        let mut evenly = indices(&next.shape).into_iter().map(|index| {
            let moved: i128 = index.iter().zip(&strides).map(|(&i, &stride)| i as i128 * stride).sum();
            origin + moved == next.place(&index) as i128
        });
        if evenly.all(|even| even) { Outcome::Made(next) } else { Outcome::Refused }
    }

    /// How far apart the first two elements of each axis are; 0 if there is no second.
    fn strides(&self) -> Vec<i128> {
        let first = vec![0; self.shape.len()];
        let place = |index: &[usize]| self.place(index) as i128;
        let stride = |axis: usize| {
            let mut second = first.clone();
            second[axis] = 1;
            if self.shape[axis] > 1 { place(&second) - place(&first) } else { 0 }
        };
        (0..self.shape.len()).map(stride).collect()
    }

    /// The view after a transformation, as the documentation has it.
    fn after(&self, op: &Op) -> Outcome {
        let rank = self.shape.len();
        let axis = |axis: isize| wrap(axis, rank);
        match op {
            Op::Reshape(sizes) => resolve(sizes, len(&self.shape)).map_or(Outcome::Refused, |to| self.reshaped(to)),
            Op::Flatten(start, end) => match (wrap(*start, rank.max(1)), wrap(*end, rank.max(1))) {
                (Some(_), Some(_)) if rank == 0 => Outcome::Made(self.arranged(&[None])),
                (Some(start), Some(end)) if start <= end => {
                    let mut to = self.shape[..start].to_vec();
                    to.push(len(&self.shape[start..=end]) as usize);
                    to.extend(&self.shape[end + 1..]);
                    self.reshaped(to)
                }
                _ => Outcome::Refused,
            },
            Op::Slice(at, range) => axis(*at).and_then(|at| self.slice(at, *range)).into(),
            Op::Narrow(at, start, len) => axis(*at)
                .filter(|&at| *start as u128 + *len as u128 <= self.shape[at] as u128)
                .map(|at| self.cut(at, *start, *len, 1))
                .into(),
            Op::Every(at, step) => {
                let every = Index::Range { start: None, stop: None, step: *step };
                axis(*at).and_then(|at| self.take(at, every)).into()
            }
            Op::Flip(at) => {
                axis(*at).map(|at| self.cut(at, self.shape[at].saturating_sub(1), self.shape[at], -1)).into()
            }
            Op::Select(at, index) => axis(*at).and_then(|at| self.take(at, Index::At(*index))).into(),
            Op::Index(items) => self.index(items).into(),
            Op::Transpose(a, b) => self.swapped(axis(*a), axis(*b)).into(),
            Op::T if rank > 2 => Outcome::Refused,
            Op::T => Outcome::Made(self.arranged(&(0..rank).rev().map(Some).collect::<Vec<_>>())),
            Op::Permute(axes) => self.permuted(axes).into(),
            Op::Movedim(from, to) => self.moved(&[*from], &[*to]).into(),
            Op::Movedims(from, to) => self.moved(from, to).into(),
            Op::Unflatten(at, sizes) => axis(*at).and_then(|at| self.unflattened(at, sizes)).into(),
            Op::Squeeze(at) => axis(*at).filter(|&at| self.shape[at] == 1).map(|at| self.without(at)).into(),
            Op::SqueezeAll => {
                let kept: Vec<_> = (0..rank).filter(|&axis| self.shape[axis] != 1).map(Some).collect();
                Outcome::Made(self.arranged(&kept))
            }
            Op::Unsqueeze(at) => wrap(*at, rank + 1)
                .filter(|_| rank < 8)
                .map(|at| {
                    let mut axes: Vec<_> = self.axes().collect();
                    axes.insert(at, None);
                    self.arranged(&axes)
                })
                .into(),
            Op::BroadcastTo(shape) => self.broadcast(shape).into(),
            Op::Expand(sizes) => self.expanded(sizes).and_then(|shape| self.broadcast(&shape)).into(),
            Op::SplitAt(at, index, which) => axis(*at)
                .filter(|&at| *index <= self.shape[at])
                .map(|at| {
                    let rest = self.shape[at] - index;
                    if *which == 0 { self.cut(at, 0, *index, 1) } else { self.cut(at, *index, rest, 1) }
                })
                .into(),
            Op::Split(at, sizes, which) => axis(*at)
                .filter(|&at| sizes.iter().map(|&n| n as u128).sum::<u128>() == self.shape[at] as u128)
                .map(|at| self.cut(at, sizes[..*which].iter().sum(), sizes[*which], 1))
                .into(),
            Op::SplitEvery(at, by, which) | Op::Chunk(at, by, which) => axis(*at)
                .filter(|_| *by > 0)
                .map(|at| {
                    let size = self.shape[at];
                    let each = if let Op::Chunk(..) = op { size.div_ceil(*by) } else { *by };
                    let start = each.saturating_mul(*which).min(size);
                    self.cut(at, start, each.min(size - start), 1)
                })
                .into(),
        }
    }

    fn slice(&self, axis: usize, range: (Bound<isize>, Bound<isize>)) -> Option<Self> {
        let size = self.shape[axis];
        // Between two elements, or at an end; a negative one counts from the end.
        let between = |at: isize| if at == size as isize { Some(size) } else { wrap(at, size) };
        let start = match range.0 {
            Bound::Unbounded => 0,
            Bound::Included(at) => between(at)?,
            Bound::Excluded(at) => wrap(at, size)? + 1,
        };
        let end = match range.1 {
            Bound::Unbounded => size,
            Bound::Included(at) => wrap(at, size)? + 1,
            Bound::Excluded(at) => between(at)?,
        };
        (start <= end).then(|| self.cut(axis, start, end.saturating_sub(start), 1))
    }

    /// One item of an index, as Python has it.
    fn take(&self, axis: usize, item: Index) -> Option<Self> {
        let size = self.shape.get(axis).map_or(0, |&n| n as i128);
        match item {
            Index::At(at) => Some(self.cut(axis, wrap(at, self.shape[axis])?, 1, 1).without(axis)),
            Index::Range { step: 0, .. } => None,
            Index::Range { start, stop, step } => {
                let (least, most) = if step > 0 { (0, size) } else { (-1, size - 1) };
                let clip = |bound: isize| {
                    let at = if bound < 0 { bound as i128 + size } else { bound as i128 };
                    at.clamp(least, most.max(least))
                };
                let start = start.map_or(if step > 0 { least } else { most }, clip);
                let stop = stop.map_or(if step > 0 { most } else { least }, clip);
                let way = if step > 0 { stop - start } else { start - stop };
                let len = if way <= 0 { 0 } else { (way as u128).div_ceil(step.unsigned_abs() as u128) };
                Some(self.cut(axis, start.max(0) as usize, len as usize, step))
            }
            Index::All | Index::NewAxis | Index::Ellipsis => Some(self.clone()),
        }
    }

    fn index(&self, items: &[Index]) -> Option<Self> {
        let rank = self.shape.len();
        let count = |wanted: &[Index]| items.iter().filter(|item| wanted.contains(item)).count();
        let (ellipses, new) = (count(&[Index::Ellipsis]), count(&[Index::NewAxis]));
        let taken = items.len() - ellipses - new;
        let single = items.iter().filter(|item| matches!(item, Index::At(_))).count();
        if ellipses > 1 || taken > rank || rank - single + new > 8 {
            return None;
        }
        let (mut model, mut axis, mut places) = (self.clone(), 0, Vec::new());
        for &item in items {
            model = model.take(axis, item)?;
            match item {
                Index::At(_) => {}
                Index::All | Index::Range { .. } => axis += 1,
                Index::Ellipsis => axis += rank - taken,
                Index::NewAxis => places.push(axis + places.len()),
            }
        }
        let mut axes: Vec<_> = model.axes().collect();
        for place in places {
            axes.insert(place, None);
        }
        Some(model.arranged(&axes))
    }

    fn swapped(&self, a: Option<usize>, b: Option<usize>) -> Option<Self> {
        let mut axes: Vec<_> = self.axes().collect();
        axes.swap(a?, b?);
        Some(self.arranged(&axes))
    }

    fn permuted(&self, axes: &[isize]) -> Option<Self> {
        let axes: Option<Vec<usize>> = axes.iter().map(|&axis| wrap(axis, self.shape.len())).collect();
        let axes = axes?;
        let different: HashSet<_> = axes.iter().collect();
        let all = different.len() == axes.len() && axes.len() == self.shape.len();
        all.then(|| self.arranged(&axes.iter().copied().map(Some).collect::<Vec<_>>()))
    }

    fn moved(&self, from: &[isize], to: &[isize]) -> Option<Self> {
        let rank = self.shape.len();
        let wrapped = |axes: &[isize]| axes.iter().map(|&axis| wrap(axis, rank)).collect::<Option<Vec<usize>>>();
        let (from, to) = (wrapped(from)?, wrapped(to)?);
        let different = |axes: &[usize]| axes.iter().collect::<HashSet<_>>().len() == axes.len();
        if from.len() != to.len() || !different(&from) || !different(&to) {
            return None;
        }
        let mut rest = (0..rank).filter(|axis| !from.contains(axis));
        let source = |place: usize| match to.iter().position(|&to| to == place) {
            Some(pair) => Some(from[pair]),
            None => rest.next(),
        };
        Some(self.arranged(&(0..rank).map(source).collect::<Vec<_>>()))
    }

    fn unflattened(&self, axis: usize, sizes: &[isize]) -> Option<Self> {
        let parts = resolve(sizes, self.shape[axis] as u128)?;
        let mut to = self.shape.clone();
        to.splice(axis..=axis, parts);
        (to.len() <= 8 && countable(&to)).then(|| self.with(to.clone(), Back::Order(self.shape.clone(), to)))
    }

    fn broadcast(&self, shape: &[usize]) -> Option<Self> {
        let added = shape.len().checked_sub(self.shape.len())?;
        let fits = self.shape.iter().zip(&shape[added..]).all(|(&from, &to)| from == to || from == 1);
        if shape.len() > 8 || !countable(shape) || !fits {
            return None;
        }
        let origin = |(axis, &size): (usize, &usize)| {
            if size == 1 {
                Origin { axis: None, start: 0, step: 0 }
            } else {
                Origin { axis: Some(axis + added), start: 0, step: 1 }
            }
        };
        Some(self.with(shape.to_vec(), Back::Axes(self.shape.iter().enumerate().map(origin).collect())))
    }

    fn expanded(&self, sizes: &[isize]) -> Option<Vec<usize>> {
        let added = sizes.len() as isize - self.shape.len() as isize;
        let size = |(axis, &size): (usize, &isize)| match size {
            -1 => usize::try_from(axis as isize - added).ok().map(|axis| self.shape[axis]),
            _ => usize::try_from(size).ok(),
        };
        if sizes.len() > 8 || added < 0 {
            return None;
        }
        sizes.iter().enumerate().map(size).collect()
    }

    /// Panics unless a view has this shape and these elements.
    fn compare(&self, view: View<'_>, buffer: &[f32]) {
        let count = len(&self.shape);
        assert_eq!(view.shape(), self.shape, "the shape of {view:?}");
        assert_eq!((view.rank(), view.len() as u128), (self.shape.len(), count), "of {view:?}");
        assert_eq!(view.is_empty(), count == 0);
        assert!(self.shape.is_empty() || view.get(&self.shape).is_none(), "{:?} is in {view:?}", self.shape);
        assert!(view.get(&vec![0; self.shape.len() + 1]).is_none(), "an index of another rank is in {view:?}");
        if count == 0 {
            assert!(view.is_contiguous() && view.to_vec().is_empty() && view.as_slice() == Some(&[]));
            return;
        }
        for (axis, (&stride, wanted)) in view.strides().iter().zip(self.strides()).enumerate() {
            assert!(self.shape[axis] == 1 || stride as i128 == wanted, "stride {axis} of {view:?} is not {wanted}");
        }
        let indices = if count <= MOST_ELEMENTS { indices(&self.shape) } else { corners(&self.shape) };
        let places: Vec<usize> = indices.iter().map(|index| self.place(index)).collect();
        for (index, &place) in indices.iter().zip(&places) {
            assert_eq!(view.get(index), Some(buffer[place]), "at {index:?} of {view:?}");
        }
        if count > MOST_ELEMENTS {
            assert!(!view.is_contiguous() || count <= buffer.len() as u128, "{view:?} is longer than its buffer");
            return;
        }
        let elements: Vec<f32> = places.iter().map(|&place| buffer[place]).collect();
        assert_eq!(view.iter().len(), elements.len());
        assert_eq!(view.to_vec(), elements, "the elements of {view:?}");
        let contiguous = places.windows(2).all(|pair| pair[1] == pair[0] + 1);
        assert_eq!(view.is_contiguous(), contiguous, "{view:?} at {places:?}");
        assert_eq!(view.as_slice(), contiguous.then_some(&elements[..]), "the slice of {view:?}");
    }
}

/// The shape that sizes with at most one -1 stand for, if it has `total` elements.
fn resolve(sizes: &[isize], total: u128) -> Option<Vec<usize>> {
    let free = sizes.iter().filter(|&&size| size == -1).count();
    if sizes.len() > 8 || free > 1 || sizes.iter().any(|&size| size < -1) {
        return None;
    }
    let known: Vec<usize> = sizes.iter().filter(|&&size| size != -1).map(|&size| size as usize).collect();
    if !countable(&known) {
        return None;
    }
    let product = len(&known);
    if free == 0 {
        return (product == total).then_some(known);
    }
    let rest = (product > 0 && total.is_multiple_of(product)).then(|| (total / product) as usize)?;
    Some(sizes.iter().map(|&size| if size == -1 { rest } else { size as usize }).collect())
}

/// All indices of a shape, in logical order.
fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![Vec::new()], |before, &n| {
        let longer = |index: Vec<usize>| (0..n).map(move |i| [&index[..], &[i]].concat());
        before.into_iter().flat_map(longer).collect()
    })
}

/// The first and the last index of each axis, with each other.
fn corners(shape: &[usize]) -> Vec<Vec<usize>> {
    let ends: Vec<usize> = shape.iter().map(|&n| n.min(2)).collect();
    let far = |(&end, &n): (&usize, &usize)| if end == 0 { 0 } else { n - 1 };
    indices(&ends).into_iter().map(|index| index.iter().zip(shape).map(far).collect()).collect()
}

/// The shape that two have in common, by the rule: aligned at the end, an axis that is missing or 1 is repeated.
fn common_shape(bytes: &mut Bytes<'_>, shape: &[usize]) {
    if !bytes.seldom(32) {
        return;
    }
    let other = broader(bytes, shape);
    let rank = shape.len().max(other.len());
    let size = |shape: &[usize], place: usize| {
        // Counted from the end.
        shape.len().checked_sub(place + 1).map_or(1, |axis| shape[axis])
    };
    let both = |place: usize| match (size(shape, place), size(&other, place)) {
        (a, b) if a == b || b == 1 => Some(a),
        (1, b) => Some(b),
        _ => None,
    };
    let wanted: Option<Vec<usize>> = (0..rank).rev().map(both).collect();
    let got = broadcast_shape("fuzz", "other", shape, &other).ok();
    assert_eq!(got.map(|dims| dims.as_slice().to_vec()), wanted.filter(|_| rank <= 8), "{shape:?} and {other:?}");
}

/// What became of a transformation of a readable view.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Made,
    Refused,
}

/// The same chain on a writable view, as far as no element is repeated, and writes through it.
fn write(base: &Base, done: &[(Op, Step)]) {
    let untouched: Vec<f32> = vec![f32::from_bits(GUARD); base.len];
    let mut buffer = untouched.clone();
    let made = ViewMut::with_strides(&mut buffer, &base.shape, &base.strides, base.offset);
    assert_eq!(made.is_ok(), base.nests(), "a writable view of {base:?} is {made:?}");
    let Ok(mut view) = made else { return };
    let mut model = Model::new(base);
    for (op, step) in done {
        if let Op::BroadcastTo(_) | Op::Expand(_) = op {
            break;
        }
        if *step == Step::Refused {
            assert!(writable(view.reborrow(), op).is_err(), "{op:?} of {view:?} is refused of a readable view only");
            continue;
        }
        view = writable(view, op).unwrap_or_else(|error| panic!("{op:?} should be had of a writable view: {error}"));
        let (Outcome::Made(next) | Outcome::Either(next)) = model.after(op) else { unreachable!("it was made") };
        model = next;
    }
    assert_eq!(view.shape(), model.shape, "the shape of {view:?}");
    if model.shape.contains(&0) {
        view.fill(1.0);
        assert!(bits(&buffer) == bits(&untouched), "an empty view was written to");
        return;
    }
    let places: Vec<usize> = indices(&model.shape).iter().map(|index| model.place(index)).collect();
    let apart: HashSet<_> = places.iter().collect();
    assert_eq!(apart.len(), places.len(), "{view:?} reaches an element twice");

    let source: Vec<f32> = (0..places.len()).map(|i| -(i as f32) - 1.0).collect();
    let outside = model.shape.clone();
    let wrong = View::new(&source, &[places.len(), 1, 1, 1, 1, 1, 1]).expect("the shape has as many elements");
    let refused = [
        view.set(&outside, 1.0).is_err() || outside.is_empty(),
        view.set(&[0; 9], 1.0).is_err(),
        view.copy_from(wrong).is_err() || wrong.shape() == view.shape(),
    ];
    assert_eq!(refused, [true; 3], "a write to {view:?} was not refused");
    if outside.is_empty() || wrong.shape() == view.shape() {
        view.fill(f32::from_bits(GUARD));
    }
    let mut expected = untouched.clone();
    assert!(bits(&view.as_view().to_vec()).iter().all(|&bits| bits == GUARD), "an error wrote to {view:?}");
    let shaped = View::new(&source, &model.shape).expect("the shape has as many elements");
    view.copy_from(shaped).expect("the shapes are the same");
    assert_eq!(view.as_view().to_vec(), source);
    let mut number = 0.0;
    view.fill_with(|| {
        number += 1.0;
        number
    });
    let last: Vec<usize> = model.shape.iter().map(|&n| n - 1).collect();
    view.set(&last, 0.5).expect("the last element is there");
    for (i, &place) in places.iter().enumerate() {
        expected[place] = if i + 1 == places.len() { 0.5 } else { (i + 1) as f32 };
    }
    assert!(bits(&buffer) == bits(&expected), "writes through {:?} are at other places", model.shape);
}

/// A transformation of a writable view; those that repeat elements it has not.
fn writable<'a>(view: ViewMut<'a>, op: &Op) -> Result<ViewMut<'a>> {
    apply!(@both view, op, Op::BroadcastTo(_) | Op::Expand(_) => unreachable!("the chain ends before"))
}

fn bits(floats: &[f32]) -> Vec<u32> {
    floats.iter().map(|x| x.to_bits()).collect()
}
