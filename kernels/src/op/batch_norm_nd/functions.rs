//! The functions of registers that both loops share.

use super::super::norms::{inv_root, xhat};
use crate::lanes::Map;
use crate::simd::Simd;

/// Joins the sums `[s, q]` of a block of `m` elements to those of the elements `before` it; see the [module](super).
#[derive(Clone, Copy)]
pub(super) struct Join {
    pub(super) m: f32,
    pub(super) before: f32,
}

impl Map<2, 2> for Join {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [sum, squares]: [S::F32; 2], [all_sum, all_squares]: [S::F32; 2]) -> [S::F32; 2] {
        let weight = s.splat(self.m * self.before / (self.m + self.before));
        let distance = s.sub(s.div(sum, s.splat(self.m)), s.div(all_sum, s.splat(self.before)));
        let between = s.mul(s.mul(distance, weight), distance);
        [s.add(all_sum, sum), s.add(s.add(all_squares, squares), between)]
    }
}

/// `1/√(squares/divisor + eps)`.
#[derive(Clone, Copy)]
pub(super) struct InvRoot {
    pub(super) divisor: f32,
    pub(super) eps: f32,
}

impl Map<1, 1> for InvRoot {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [squares]: [S::F32; 1], _: [S::F32; 1]) -> [S::F32; 1] {
        [inv_root(s, squares, self.divisor, self.eps)]
    }
}

/// Joins `[mean, squares]` of a batch of `n` elements to running statistics.
#[derive(Clone, Copy)]
pub(super) struct Update {
    pub(super) n: f32,
    pub(super) momentum: f32,
}

impl Map<2, 2> for Update {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [mean, squares]: [S::F32; 2], old: [S::F32; 2]) -> [S::F32; 2] {
        let (new, kept) = (s.splat(self.momentum), s.splat(1.0 - self.momentum));
        let var = s.div(squares, s.splat(self.n - 1.0));
        [s.fma(new, mean, s.mul(kept, old[0])), s.fma(new, var, s.mul(kept, old[1]))]
    }
}

/// `weight·x̂ + bias` of `O` elements of a channel, behind which come `[mean, inv_std, weight, bias]`.
#[derive(Clone, Copy)]
pub(super) struct Affine;

impl<const I: usize, const O: usize> Map<I, O> for Affine {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, inp: [S::F32; I], mut y: [S::F32; O]) -> [S::F32; O] {
        debug_assert_eq!(I, O + 4);
        for (y, &x) in y.iter_mut().zip(&inp[..O]) {
            *y = s.fma(inp[O + 2], xhat(s, x, inp[O], inp[O + 1]), inp[O + 3]);
        }
        y
    }
}

/// `weight·inv_std`.
#[derive(Clone, Copy)]
pub(super) struct Scale;

impl Map<2, 1> for Scale {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [weight, inv_std]: [S::F32; 2], _: [S::F32; 1]) -> [S::F32; 1] {
        [s.mul(weight, inv_std)]
    }
}

/// `[Σ dy/n, Σ dy·x̂/divisor]` where the sums stand.
#[derive(Clone, Copy)]
pub(super) struct MeanPulls {
    pub(super) n: f32,
    pub(super) divisor: f32,
}

impl Map<0, 2> for MeanPulls {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, _: [S::F32; 0], [dy, dy_xhat]: [S::F32; 2]) -> [S::F32; 2] {
        [s.div(dy, s.splat(self.n)), s.div(dy_xhat, s.splat(self.divisor))]
    }
}

/// The gradient of `O` elements of a channel from as many `dy` and `x`, behind which come
/// `[mean, inv_std, scale, mean dy, mean dy·x̂]`.
#[derive(Clone, Copy)]
pub(super) struct InputGrad;

impl<const I: usize, const O: usize> Map<I, O> for InputGrad {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, inp: [S::F32; I], mut dx: [S::F32; O]) -> [S::F32; O] {
        debug_assert_eq!(I, 2 * O + 5);
        let [mean, inv_std, scale, mean_dy, mean_dy_xhat] = std::array::from_fn(|k| inp[2 * O + k]);
        for ((dx, &dy), &x) in dx.iter_mut().zip(&inp[..O]).zip(&inp[O..]) {
            let xhat = xhat(s, x, mean, inv_std);
            *dx = s.mul(scale, s.fnma(xhat, mean_dy_xhat, s.sub(dy, mean_dy)));
        }
        dx
    }
}

/// `Σ dy` and `Σ dy·x̂`, one register at a time.
#[inline(always)]
pub(super) fn pulls<S: Simd>(s: S, [sum, sum_xhat]: [S::F32; 2], dy: S::F32, xhat: S::F32) -> [S::F32; 2] {
    [s.add(sum, dy), s.fma(dy, xhat, sum_xhat)]
}
