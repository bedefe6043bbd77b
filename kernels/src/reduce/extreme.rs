//! The greatest and the least, and their gradient's share; `place` says where they stand.

use super::{AxisSet, Numbers, Parts, SumOf, Term, fold};
use crate::elementwise;
use crate::exec::Exec;
use crate::lanes::{Fold, Map};
use crate::simd::Simd;
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
