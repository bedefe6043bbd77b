//! Where the greatest or the least stands: the first of several equals, and the first NaN if there is one.
//!
//! Which element that is does not depend on an order of search. Matrices whose columns are adjacent, and what can be
//! seen as one, are read once from end to end: the value of a row first, then, while the row is in cache, its first
//! place; the columns of a matrix side by side, each with its value and place so far. Anything else is searched part by
//! part through the driver of the reductions.

use super::{AxisSet, End, Numbers, Parts, fold};
use crate::error::{Dims, MAX_RANK};
use crate::exec::Exec;
use crate::lanes::{self, Fold, Map, RowFold};
use crate::par::Divide;
use crate::simd::{Isa, Kernel, Scalar, Simd};
use crate::view::{Mat, MatMut, View, ViewMut};

/// Nanoseconds of one core an element, for the split over threads.
const NS: f64 = 0.06;

/// The value at one end and its place, from values and their places: the first of several, and the first NaN if there
/// is one.
#[derive(Clone, Copy)]
struct Placed<E>(E);

impl<E: End> Fold<2, 2> for Placed<E> {
    /// An element equal to the start does not take its place, and need not: only the first of its kind is looked for.
    const START: [f32; 2] = [E::START, 0.0];
    #[inline(always)]
    fn step<S: Simd>(self, s: S, [best, place]: [S::F32; 2], [x, at]: [S::F32; 2]) -> [S::F32; 2] {
        // A NaN is taken unless one has been; a lane's places come in order, so the first of equals stays.
        let nan = s.is_nan(x);
        let beats = |new: S::F32, old: S::F32| {
            let nearer = s.select(self.0.is_nearer(s, x, best), new, old);
            s.select(nan, s.select(s.is_nan(best), old, new), nearer)
        };
        [beats(x, best), beats(at, place)]
    }
    #[inline(always)]
    fn merge<S: Simd>(self, s: S, [a, i]: [S::F32; 2], [b, j]: [S::F32; 2]) -> [S::F32; 2] {
        let (a_nan, b_nan) = (s.is_nan(a), s.is_nan(b));
        let (nearer, equal, before) = (self.0.is_nearer(s, b, a), s.eq(a, b), s.lt(j, i));
        let pick = |new: S::F32, old: S::F32| {
            // Of equals, and of two that are NaN, the one with the earlier place.
            let earlier = s.select(before, new, old);
            let number = s.select(nearer, new, s.select(equal, earlier, old));
            s.select(b_nan, s.select(a_nan, earlier, new), s.select(a_nan, old, number))
        };
        [pick(b, a), pick(j, i)]
    }
}

/// Places that a table numbers: a part of the reduced axes has at most so many elements.
const PLACES: usize = 4096;

/// `0, 1, 2, …`
static TABLE: [f32; PLACES] = {
    let mut table = [0.0; PLACES];
    let mut i = 0;
    while i < PLACES {
        table[i] = i as f32;
        i += 1;
    }
    table
};

/// Writes to `places` where, counted in row-major order over the reduced axes, the value at the end stands, and to
/// `values` that value, if there is such an output. Outputs have size one on the reduced axes; nothing may be empty
/// there.
pub(crate) fn place<E: End, const O: usize>(
    exec: &Exec,
    values: [ViewMut<'_>; O],
    places: ViewMut<'_, i64>,
    x: View<'_>,
    reduced: AxisSet,
    end: E,
) {
    if x.is_empty() {
        return;
    }
    if let Some((x, along)) = matrix(x, reduced)
        && places.as_view().reshape(&[-1]).is_ok()
        && values.iter().all(|values| values.as_view().reshape(&[-1]).is_ok())
    {
        let values = values.map(|values| values.reshape(&[-1]).expect("as was tried"));
        let lines = Lines { values, places: places.reshape(&[-1]).expect("as was tried"), x, along };
        let nanoseconds = (x.rows() as f64 * x.cols() as f64 * NS) as usize;
        let grain = if along == Along::Rows { 1 } else { 16 };
        return exec.par.run(nanoseconds, grain, lines, |lines| lines.search(exec.isa(), end));
    }
    Parts { out: values, other: places, inp: [x], reduced }.run(exec, NS, |part| {
        let Parts { out, other: mut places, inp: [x], .. } = part;
        let mut best = Numbers::new(x.shape(), reduced, E::START);
        let mut first = Numbers::new(x.shape(), reduced, -1_i64);
        search(exec, x, 0, reduced, &mut best, &mut first, end);
        places.copy_from(first.out().as_view()).expect("one place for each output");
        for mut values in out {
            values.copy_from(best.out().as_view()).expect("one value for each output");
        }
    });
}

/// What an output is made of.
#[derive(Clone, Copy, PartialEq)]
enum Along {
    Rows,
    Columns,
}

/// The lines of a matrix, each of which has an output.
struct Lines<'a, const O: usize> {
    values: [ViewMut<'a>; O],
    places: ViewMut<'a, i64>,
    x: Mat<'a>,
    along: Along,
}

/// Outputs whose results are kept before they are written.
const OUTPUTS: usize = 1024;

/// Places along a column are counted in floats.
const MOST_ROWS: usize = 1 << 24;

impl<const O: usize> Lines<'_, O> {
    /// Finds the places of all lines.
    fn search<E: End>(self, isa: Isa, end: E) {
        let (mut best, mut first) = ([0.0; OUTPUTS], [0.0; OUTPUTS]);
        let mut rest = self;
        while rest.len() > 0 {
            let at = OUTPUTS.min(rest.len());
            let (Self { values, mut places, x, along }, after) = rest.divide(at, 1, 1);
            let (best, first) = (&mut best[..at], &mut first[..at]);
            let found = Found { best: &mut *best, first: &mut *first, x, end };
            match along {
                Along::Rows => isa.run(InRows(found)),
                Along::Columns => isa.run(InColumns(found)),
            }
            let mut next = first.iter();
            places.fill_with(|| next.next().map_or(0, |&first| first as i64));
            for mut values in values {
                let best = View::new(best, &[at]).expect("one value for each output");
                values.copy_from(best).expect("one value for each output");
            }
            rest = after;
        }
    }
}

impl<const O: usize> Divide for Lines<'_, O> {
    fn len(&self) -> usize {
        match self.along {
            Along::Rows => self.x.rows(),
            Along::Columns => self.x.cols(),
        }
    }

    fn divide(self, at: usize, _: usize, _: usize) -> (Self, Self) {
        let Self { values, places, x, along } = self;
        let (before, after) = match along {
            Along::Rows => (x.rows_in(0..at), x.rows_in(at..x.rows())),
            Along::Columns => (x.cols_in(0..at), x.cols_in(at..x.cols())),
        };
        let mut halves = values.map(|values| {
            let (before, after) = values.split_at(0, at).expect("an output for each line");
            (Some(before), Some(after))
        });
        let half = |values: &mut Option<_>| values.take().expect("taken once");
        let first = std::array::from_fn(|i| half(&mut halves[i].0));
        let second = std::array::from_fn(|i| half(&mut halves[i].1));
        let places = places.split_at(0, at).expect("an output for each line");
        (
            Self { values: first, places: places.0, x: before, along },
            Self { values: second, places: places.1, x: after, along },
        )
    }
}

/// `x` as a matrix with adjacent columns, of which the rows or the columns are reduced.
fn matrix(x: View<'_>, reduced: AxisSet) -> Option<(Mat<'_>, Along)> {
    let longer = || (0..x.rank()).filter(|&axis| x.shape()[axis] != 1);
    let sorted = |first: bool| longer().is_sorted_by_key(|axis| reduced.contains(axis) == first);
    let of = |is_reduced: bool| -> isize {
        longer().filter(|&axis| reduced.contains(axis) == is_reduced).map(|axis| x.shape()[axis] as isize).product()
    };
    let (shape, along) = if sorted(true) {
        ([of(false), of(true)], Along::Rows)
    } else if sorted(false) {
        ([of(true), of(false)], Along::Columns)
    } else {
        return None;
    };
    let mat = Mat::try_from(x.reshape(&shape).ok()?).ok()?;
    let counted = mat.rows().max(if along == Along::Rows { mat.cols() } else { 0 }) <= MOST_ROWS;
    (mat.is_adjacent() && counted).then_some((mat, along))
}

/// Where the results of lines go.
struct Found<'a, E> {
    best: &'a mut [f32],
    first: &'a mut [f32],
    x: Mat<'a>,
    end: E,
}

struct InRows<'a, E>(Found<'a, E>);

impl<E: End> Kernel for InRows<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Found { best, first, x, end } = self.0;
        for (i, (best, first)) in best.iter_mut().zip(first).enumerate() {
            let row = x.rows_in(i..i + 1);
            let [value] = lanes::fold_one_row(s, [row], Farthest(end));
            let at = if value.is_nan() {
                lanes::first_in_row(s, row, |x| s.is_nan(x))
            } else {
                lanes::first_in_row(s, row, |x| s.eq(x, s.splat(value)))
            };
            // Of zeros the one that stands there.
            (*best, *first) = (row.get(0, at).unwrap_or(f32::NAN), at as f32);
        }
    }
}

/// The value at one end of a row; NaN where there is one.
#[derive(Clone, Copy)]
struct Farthest<E>(E);

impl<E: End> RowFold<1, 1, 0> for Farthest<E> {
    const START: f32 = E::START;
    #[inline(always)]
    fn step<S: Simd>(self, s: S, [acc]: [S::F32; 1], [x]: [S::F32; 1]) -> ([S::F32; 1], [S::F32; 0]) {
        ([self.0.nearer(s, x, acc)], [])
    }
    #[inline(always)]
    fn merge<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::F32 {
        self.0.nearer(s, a, b)
    }
    #[inline(always)]
    fn fold<S: Simd>(self, s: S, a: S::F32) -> f32 {
        if s.any(s.is_nan(a)) { f32::NAN } else { self.0.nearest_lane(s, a) }
    }
}

struct InColumns<'a, E>(Found<'a, E>);

impl<E: End> Kernel for InColumns<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Found { best, first, x, end } = self.0;
        best.fill(E::START);
        first.fill(0.0);
        for i in 0..x.rows() {
            let out = [MatMut::from_row(&mut *best), MatMut::from_row(&mut *first)];
            lanes::map_row(s, out, [x.rows_in(i..i + 1)], Better { end, row: i as f32 });
        }
    }
}

/// A row of elements against the best of the rows above and their places.
#[derive(Clone, Copy)]
struct Better<E> {
    end: E,
    row: f32,
}

impl<E: End> Map<1, 2> for Better<E> {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x]: [S::F32; 1], best: [S::F32; 2]) -> [S::F32; 2] {
        Placed(self.end).step(s, best, [x, s.splat(self.row)])
    }
}

/// Looks through `x`, whose first element has the place `start`, and betters `best` and `first`.
fn search<E: End>(
    exec: &Exec,
    x: View<'_>,
    start: usize,
    reduced: AxisSet,
    best: &mut Numbers,
    first: &mut Numbers<i64>,
    end: E,
) {
    let shape = Dims::new(x.shape());
    let sizes = |axis: &usize| shape.as_slice()[*axis];
    let axes = || (0..shape.as_slice().len()).filter(|&axis| reduced.contains(axis));
    let count: usize = axes().map(|axis| sizes(&axis)).product();
    if count > PLACES {
        // The outermost axis is cut, so that the places of a piece follow each other.
        let axis = axes().find(|axis| sizes(axis) > 1).expect("more than one element");
        let inner = count / sizes(&axis);
        let step = (PLACES / inner).max(1);
        for at in (0..sizes(&axis)).step_by(step) {
            let piece = x.narrow(axis as isize, at, step.min(sizes(&axis) - at)).expect("a range of the axis");
            search(exec, piece, start + at * inner, reduced, best, first, end);
        }
        return;
    }
    let mut table_shape = [1; MAX_RANK];
    axes().for_each(|axis| table_shape[axis] = sizes(&axis));
    let table = View::new(&TABLE[..count], &table_shape[..shape.as_slice().len()]).expect("as many as the shape has");
    let table = table.broadcast_to(shape.as_slice()).expect("size one on the kept axes");
    let (mut value, mut place) =
        (Numbers::new(shape.as_slice(), reduced, 0.0), Numbers::new(shape.as_slice(), reduced, 0.0));
    fold(exec, NS, [value.out(), place.out()], [x, table], reduced, Placed(end));
    let found = value.values().iter_mut().zip(place.values());
    for ((best, first), (&mut value, &mut place)) in best.values().iter_mut().zip(first.values()).zip(found) {
        let better = end.is_nearer(Scalar, value, *best) || (value.is_nan() && !best.is_nan());
        if better || *first < 0 {
            (*best, *first) = (value, (start + place as usize) as i64);
        }
    }
}
