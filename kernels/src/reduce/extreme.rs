//! The greatest and the least: as values, and with the place where they stand.

use super::{AxisSet, Numbers, Parts, SumOf, Term, fold};
use crate::elementwise;
use crate::error::{Dims, MAX_RANK};
use crate::exec::Exec;
use crate::lanes::{Fold, Map};
use crate::simd::{Scalar, Simd};
use crate::view::{View, ViewMut};

/// Nanoseconds of one core an element, for the split over threads.
const NS: f64 = 0.1;

/// Which end of the order is wanted. NaN is beyond both ends.
pub(crate) trait End: Copy + Send + Sync {
    /// What every number is at least as far towards the end as.
    const START: f32;
    /// The one nearer to the end; NaN where either is.
    fn nearer<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::F32;
    /// Whether `a` is nearer to the end than `b`; not where either is NaN.
    fn is_nearer<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::Mask;
    /// The lane nearest to the end, of lanes that are not NaN.
    fn nearest_lane<S: Simd>(self, s: S, a: S::F32) -> f32;
}

/// The maximum.
#[derive(Clone, Copy)]
pub(crate) struct Greatest;

impl End for Greatest {
    const START: f32 = f32::NEG_INFINITY;
    #[inline(always)]
    fn nearer<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::F32 {
        s.maximum(a, b)
    }
    #[inline(always)]
    fn is_nearer<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::Mask {
        s.lt(b, a)
    }
    #[inline(always)]
    fn nearest_lane<S: Simd>(self, s: S, a: S::F32) -> f32 {
        s.fold_max(a)
    }
}

/// The minimum.
#[derive(Clone, Copy)]
pub(crate) struct Least;

impl End for Least {
    const START: f32 = f32::INFINITY;
    #[inline(always)]
    fn nearer<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::F32 {
        s.minimum(a, b)
    }
    #[inline(always)]
    fn is_nearer<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::Mask {
        s.lt(a, b)
    }
    #[inline(always)]
    fn nearest_lane<S: Simd>(self, s: S, a: S::F32) -> f32 {
        -s.fold_max(s.neg(a))
    }
}

/// The value at one end; NaN where there is one.
#[derive(Clone, Copy)]
pub(crate) struct Extreme<E>(pub(crate) E);

impl<E: End> Fold<1, 1> for Extreme<E> {
    const START: [f32; 1] = [E::START];
    #[inline(always)]
    fn step<S: Simd>(self, s: S, [acc]: [S::F32; 1], [x]: [S::F32; 1]) -> [S::F32; 1] {
        [self.0.nearer(s, acc, x)]
    }
    #[inline(always)]
    fn merge<S: Simd>(self, s: S, [a]: [S::F32; 1], [b]: [S::F32; 1]) -> [S::F32; 1] {
        [self.0.nearer(s, a, b)]
    }
    #[inline(always)]
    fn fold<S: Simd>(self, s: S, [acc]: [S::F32; 1]) -> [f32; 1] {
        [if s.any(s.is_nan(acc)) { f32::NAN } else { self.0.nearest_lane(s, acc) }]
    }
}

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

/// `dx = dy·[x = y]/#{x = y}` from `inp`, which are `x`, `y` and `dy`, all of one shape.
pub(crate) fn share(exec: &Exec, dx: ViewMut<'_>, inp: &[View<'_>; 3], reduced: AxisSet) {
    Parts { out: [dx], other: (), inp: *inp, reduced }.run(exec, NS, |part| {
        let Parts { out, inp: [x, y, dy], .. } = part;
        let mut count = Numbers::new(x.shape(), reduced, 0.0);
        fold(exec, NS, [count.out()], [x, y], reduced, SumOf(Equal));
        elementwise::map(exec, NS, out, [x, y, dy, count.repeated(x.shape())], Share);
    });
}

/// One for each `x` that equals `y`.
#[derive(Clone, Copy)]
struct Equal;

impl Term<2> for Equal {
    #[inline(always)]
    fn add<S: Simd>(self, s: S, acc: S::F32, [x, y]: [S::F32; 2]) -> S::F32 {
        s.add(acc, s.select(s.eq(x, y), s.splat(1.0), s.zero()))
    }
}

/// `dy·[x = y]/count`.
#[derive(Clone, Copy)]
struct Share;

impl Map<4, 1> for Share {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x, y, dy, count]: [S::F32; 4], _: [S::F32; 1]) -> [S::F32; 1] {
        [s.div(s.select(s.eq(x, y), dy, s.zero()), count)]
    }
}
