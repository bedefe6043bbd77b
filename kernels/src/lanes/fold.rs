//! The loops of the reductions, over the axes of a nest; `reduce` says which order a reduction has.
//!
//! [`fold_runs`] gives one output at a time, from runs of elements that follow each other logically; [`fold_columns`]
//! gives outputs side by side. Neither knows where elements lie: operands that are not adjacent pass through a small
//! buffer, in the same order.

mod columns;
mod runs;

pub(crate) use columns::fold_columns;
pub(crate) use runs::{RUN, fold_runs};

use super::map::MAX_LANES;
use crate::simd::{Scalar, Simd};

/// A function that takes elements of `I` inputs into `A` running values.
pub(crate) trait Fold<const I: usize, const A: usize>: Copy + Send + Sync {
    /// What the running values start as; merging it into a value changes nothing.
    const START: [f32; A];
    /// Takes in one register of each input.
    fn step<S: Simd>(self, s: S, acc: [S::F32; A], x: [S::F32; I]) -> [S::F32; A];
    /// Joins two running values, the earlier one first.
    fn merge<S: Simd>(self, s: S, a: [S::F32; A], b: [S::F32; A]) -> [S::F32; A];
    /// Joins the lanes of the running values, by halves: lane `i` with lane `i + width/2` until one is left.
    #[inline(always)]
    fn fold<S: Simd>(self, s: S, acc: [S::F32; A]) -> [f32; A] {
        let mut lanes = [[0.0; MAX_LANES]; A];
        for (lanes, acc) in lanes.iter_mut().zip(acc) {
            // SAFETY: the widest register has `MAX_LANES` lanes.
            unsafe { s.store(lanes.as_mut_ptr(), acc) };
        }
        let mut width = S::LANES;
        while width > 1 {
            width /= 2;
            for i in 0..width {
                let (a, b) = (lanes.map(|lanes| lanes[i]), lanes.map(|lanes| lanes[i + width]));
                for (lanes, value) in lanes.iter_mut().zip(self.merge(Scalar, a, b)) {
                    lanes[i] = value;
                }
            }
        }
        lanes.map(|lanes| lanes[0])
    }
    /// The outputs, from the running values at the end.
    #[inline(always)]
    fn finish<S: Simd>(self, _: S, acc: [S::F32; A]) -> [S::F32; A] {
        acc
    }
}

/// The outputs from running values that [`fold_runs`] left, joined from first to last.
#[inline(always)]
pub(crate) fn join<S: Simd, F: Fold<I, A>, const I: usize, const A: usize>(
    s: S,
    parts: [&[f32]; A],
    finish: bool,
    f: F,
) -> [f32; A] {
    let mut total = None;
    for i in 0..parts[0].len() {
        let part = parts.map(|parts| parts[i]);
        total = Some(total.map_or(part, |total| merge_one(s, f, total, part)));
    }
    let total = total.unwrap_or(F::START);
    if finish { f.finish(s, total.map(|value| s.splat(value))).map(|value| first_lane(s, value)) } else { total }
}

/// The first lane.
#[inline(always)]
fn first_lane<S: Simd>(s: S, x: S::F32) -> f32 {
    let mut lane = 0.0;
    // SAFETY: one float may be written.
    unsafe { s.store_head(&raw mut lane, 1, x) };
    lane
}

/// `merge` of values that are not in registers.
#[inline(always)]
fn merge_one<S: Simd, F: Fold<I, A>, const I: usize, const A: usize>(s: S, f: F, a: [f32; A], b: [f32; A]) -> [f32; A] {
    f.merge(s, a.map(|a| s.splat(a)), b.map(|b| s.splat(b))).map(|value| first_lane(s, value))
}
