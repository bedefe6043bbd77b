//! What each class counts for besides the label: `share = w·(t·keep + even)`, `keep` being one less the label smoothing
//! and `even` the smoothing over the number of classes.

use super::rows::{InRegisters, Terms};
use crate::lanes::{self, Fold, Map, RowFold};
use crate::math;
use crate::simd::Simd;
use crate::view::{Mat, MatMut};

/// What makes shares of probabilities and weights. As a fold, `Σ share·(x - max)` and `Σ share`.
#[derive(Clone, Copy)]
pub(super) struct Shares {
    pub(super) keep: f32,
    pub(super) even: f32,
}

impl Shares {
    pub(super) fn new(smoothing: f32, classes: usize) -> Self {
        Self { keep: 1.0 - smoothing, even: smoothing / classes as f32 }
    }

    #[inline(always)]
    fn of<S: Simd>(self, s: S, t: S::F32, w: S::F32) -> S::F32 {
        s.mul(w, s.fma(t, s.splat(self.keep), s.splat(self.even)))
    }
}

impl Fold<4, 2> for Shares {
    const START: [f32; 2] = [-0.0; 2];
    #[inline(always)]
    fn step<S: Simd>(self, s: S, [mixed, mass]: [S::F32; 2], [x, max, t, w]: [S::F32; 4]) -> [S::F32; 2] {
        let share = self.of(s, t, w);
        [s.fma(share, s.sub(x, max), mixed), s.add(mass, share)]
    }
    #[inline(always)]
    fn merge<S: Simd>(self, s: S, a: [S::F32; 2], b: [S::F32; 2]) -> [S::F32; 2] {
        [s.add(a[0], b[0]), s.add(a[1], b[1])]
    }
    #[inline(always)]
    fn fold<S: Simd>(self, s: S, [mixed, mass]: [S::F32; 2]) -> [f32; 2] {
        [s.fold_add(mixed), s.fold_add(mass)]
    }
}

/// What stands there, times `scale`, less `slope·share`.
#[derive(Clone, Copy)]
pub(super) struct ScaleLess(pub(super) Shares);

impl Map<4, 1> for ScaleLess {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [scale, slope, t, w]: [S::F32; 4], [old]: [S::F32; 1]) -> [S::F32; 1] {
        [s.fnma(slope, self.0.of(s, t, w), s.mul(old, scale))]
    }
}

/// The shares in a row, from its logits and what else is read along with them.
pub(super) trait Mode<const I: usize>: Copy + Send + Sync {
    /// Whether any class but the label counts.
    const SPREADS: bool = true;
    /// The shares; the first input has the logits.
    fn share<S: Simd>(self, s: S, x: [S::F32; I]) -> S::F32;
    /// `dx = dx·scale - slope·share`, of one row.
    #[inline(always)]
    fn rescale<S: Simd>(self, s: S, dx: MatMut<'_>, x: [Mat<'_>; I], [scale, slope]: [f32; 2]) {
        lanes::map(s, [dx], x, Rescale { scale, slope, mode: self });
    }
    /// The sums and the gradients of short rows; false, and nothing done, if it has no such way or they are not.
    #[inline(always)]
    fn short_rows<S: Simd>(self, _: S, _: MatMut<'_>, _: [Mat<'_>; I], _: &mut Terms) -> bool {
        false
    }
}

/// A [`Mode`] that reads nothing but logits.
trait Alone: Mode<1> {
    #[inline(always)]
    fn rescale_alone<S: Simd>(self, s: S, dx: MatMut<'_>, [scale, slope]: [f32; 2]) {
        lanes::map(s, [dx], [], RescaleAlone { scale, slope, mode: self });
    }
    #[inline(always)]
    fn short_alone<S: Simd>(self, s: S, dx: MatMut<'_>, x: Mat<'_>, terms: &mut Terms) -> bool {
        lanes::map_short_rows(s, dx, x, &mut InRegisters { terms, mode: self })
    }
}

/// Nothing but the label.
#[derive(Clone, Copy)]
pub(super) struct Plain;

impl Mode<1> for Plain {
    const SPREADS: bool = false;
    #[inline(always)]
    fn share<S: Simd>(self, s: S, _: [S::F32; 1]) -> S::F32 {
        s.zero()
    }
    #[inline(always)]
    fn rescale<S: Simd>(self, s: S, dx: MatMut<'_>, _: [Mat<'_>; 1], scales: [f32; 2]) {
        self.rescale_alone(s, dx, scales);
    }
    #[inline(always)]
    fn short_rows<S: Simd>(self, s: S, dx: MatMut<'_>, [x]: [Mat<'_>; 1], terms: &mut Terms) -> bool {
        self.short_alone(s, dx, x, terms)
    }
}

impl Alone for Plain {}

/// The same for all classes.
#[derive(Clone, Copy)]
pub(super) struct Even(pub(super) f32);

impl Mode<1> for Even {
    #[inline(always)]
    fn share<S: Simd>(self, s: S, _: [S::F32; 1]) -> S::F32 {
        s.splat(self.0)
    }
    #[inline(always)]
    fn rescale<S: Simd>(self, s: S, dx: MatMut<'_>, _: [Mat<'_>; 1], scales: [f32; 2]) {
        self.rescale_alone(s, dx, scales);
    }
    #[inline(always)]
    fn short_rows<S: Simd>(self, s: S, dx: MatMut<'_>, [x]: [Mat<'_>; 1], terms: &mut Terms) -> bool {
        self.short_alone(s, dx, x, terms)
    }
}

impl Alone for Even {}

/// `a·keep + even`, `a` being probabilities, or weights if there are no probabilities.
#[derive(Clone, Copy)]
pub(super) struct Linear(pub(super) Shares);

impl Mode<2> for Linear {
    #[inline(always)]
    fn share<S: Simd>(self, s: S, [_, a]: [S::F32; 2]) -> S::F32 {
        s.fma(a, s.splat(self.0.keep), s.splat(self.0.even))
    }
}

/// Of probabilities and weights.
#[derive(Clone, Copy)]
pub(super) struct Weighted(pub(super) Shares);

impl Mode<3> for Weighted {
    #[inline(always)]
    fn share<S: Simd>(self, s: S, [_, t, w]: [S::F32; 3]) -> S::F32 {
        self.0.of(s, t, w)
    }
}

/// `Σ e^(x - max)`, `Σ share·(x - max)` and `Σ share` along a row, writing `e^(x - max)` if there is an output.
#[derive(Clone, Copy)]
pub(super) struct RowSums<M> {
    pub(super) max: f32,
    pub(super) mode: M,
}

impl<M: Mode<I>, const I: usize, const O: usize> RowFold<I, 3, O> for RowSums<M> {
    const START: f32 = 0.0;
    #[inline(always)]
    fn step<S: Simd>(self, s: S, [sum, mixed, mass]: [S::F32; 3], x: [S::F32; I]) -> ([S::F32; 3], [S::F32; O]) {
        let less = s.sub(x[0], s.splat(self.max));
        let e = math::exp(s, less);
        let sum = s.add(sum, e);
        if !M::SPREADS {
            return ([sum, mixed, mass], [e; O]);
        }
        let share = self.mode.share(s, x);
        ([sum, s.fma(share, less, mixed), s.add(mass, share)], [e; O])
    }
    #[inline(always)]
    fn merge<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::F32 {
        s.add(a, b)
    }
    #[inline(always)]
    fn fold<S: Simd>(self, s: S, a: S::F32) -> f32 {
        s.fold_add(a)
    }
}

/// What stands there, times `scale`, less `slope·share`.
#[derive(Clone, Copy)]
struct Rescale<M> {
    scale: f32,
    slope: f32,
    mode: M,
}

impl<M: Mode<I>, const I: usize> Map<I, 1> for Rescale<M> {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, x: [S::F32; I], [old]: [S::F32; 1]) -> [S::F32; 1] {
        [less(s, s.mul(old, s.splat(self.scale)), self.slope, self.mode, x)]
    }
}

/// [`Rescale`], where there is nothing to read.
#[derive(Clone, Copy)]
struct RescaleAlone<M> {
    scale: f32,
    slope: f32,
    mode: M,
}

impl<M: Mode<1>> Map<0, 1> for RescaleAlone<M> {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, _: [S::F32; 0], [old]: [S::F32; 1]) -> [S::F32; 1] {
        [less(s, s.mul(old, s.splat(self.scale)), self.slope, self.mode, [s.zero()])]
    }
}

/// `x - slope·share`.
#[inline(always)]
pub(super) fn less<S: Simd, M: Mode<I>, const I: usize>(
    s: S,
    x: S::F32,
    slope: f32,
    mode: M,
    inp: [S::F32; I],
) -> S::F32 {
    if M::SPREADS { s.fnma(s.splat(slope), mode.share(s, inp), x) } else { x }
}
