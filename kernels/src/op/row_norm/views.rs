//! Rows of any layout, by the drivers of `reduce` and `elementwise`.

use super::super::norms::{
    MeanFrom, NO_BIAS, NO_MEAN, NO_WEIGHT, first_of, inv_root, param, repeated, with_ones, xhat,
};
use super::{BACKWARD_NS, Backward, FORWARD_NS, Forward, Shape};
use super::{distance, input_grad, mean_pulls, param_grads, pulls, square};
use crate::elementwise;
use crate::error::Dims;
use crate::exec::Exec;
use crate::lanes::{Fold, Map};
use crate::reduce::{self, Axes, AxisSet, Numbers, Parts, Reduced, SumOf, Term};
use crate::simd::Simd;
use crate::view::{Mat, View, ViewMut};

/// Nanoseconds of one core for an element of one pass.
const PASS_NS: f64 = 0.06;

/// `y = weight·x̂ + bias` along the axes `reduced`, on which the statistics have size one.
pub(super) fn forward(exec: &Exec, call: Forward<ViewMut<'_>, View<'_>>, reduced: AxisSet) {
    let Forward { y, mean, inv_std, x, params, eps } = call;
    let weight = param(params.weight, &NO_WEIGHT, x.shape());
    let bias = param(params.bias, &NO_BIAS, x.shape());
    let inp = [x, weight, bias];
    match mean {
        Some(mean) => forward_parts(exec, [y, inv_std, mean], &inp, reduced, eps),
        None => forward_parts(exec, [y, inv_std], &inp, reduced, eps),
    }
}

/// [`forward`] part by part; the outputs are `y`, the inverse root, and the mean if rows are centred.
fn forward_parts<const O: usize>(exec: &Exec, out: [ViewMut<'_>; O], inp: &[View<'_>; 3], reduced: AxisSet, eps: f32) {
    Parts { out, other: (), inp: *inp, reduced }.run(exec, FORWARD_NS, |part| {
        let Parts { mut out, inp: [x, weight, bias], .. } = part;
        let [y, inv_std, means @ ..] = &mut out[..] else { unreachable!("two outputs or three") };
        let shape = x.shape();
        let n = (x.len() / inv_std.len()) as f32;
        let mean = match means.first_mut() {
            Some(mean) => {
                let first = first_of(x, reduced);
                let inp = [x, first.broadcast_to(shape).expect("size one on the reduced axes")];
                reduce::fold(exec, PASS_NS, [mean.reborrow()], inp, reduced, SumOf(Distance));
                elementwise::map(exec, PASS_NS, [mean.reborrow()], [first], MeanFrom { n });
                mean.as_view().broadcast_to(shape).expect("size one on the reduced axes")
            }
            None => repeated(&NO_MEAN, shape),
        };
        reduce::fold(exec, PASS_NS, [inv_std.reborrow()], [x, mean], reduced, SumOf(InvStd { n, eps }));
        let inv_std = inv_std.as_view().broadcast_to(shape).expect("size one on the reduced axes");
        elementwise::map(exec, PASS_NS, [y.reborrow()], [x, mean, inv_std, weight, bias], Affine);
    });
}

/// Writes the gradient of the input, and the sums of the parameters' gradients to the start of `sums`. The statistics
/// have size one on the axes of a row.
pub(super) fn backward(exec: &Exec, call: Backward<ViewMut<'_>, View<'_>>, shape: &Shape, sums: Option<&mut [f32]>) {
    let Backward { dx, dy, x, mean, inv_std, weight } = call;
    let reduced = shape.reduced.set;
    let all = x.shape();
    let weight = param(weight, &NO_WEIGHT, all);
    let centred = mean.is_some();
    let mean = param(mean, &NO_MEAN, all);
    let inv_std = inv_std.broadcast_to(all).expect("the shape is checked at the door");
    let inp = [x, dy, mean, inv_std, weight];
    Parts { out: [dx], other: (), inp, reduced }.run(exec, BACKWARD_NS, |part| {
        let Parts { out, inp: [x, dy, mean, inv_std, weight], .. } = part;
        let [mut g, mut g_xhat] = [(); 2].map(|()| Numbers::new(x.shape(), reduced, 0.0));
        let n = (x.len() / g.values().len()) as f32;
        let pulls = MeanPulls { n, centred };
        reduce::fold(exec, PASS_NS, [g.out(), g_xhat.out()], [dy, x, mean, inv_std, weight], reduced, pulls);
        let (g, g_xhat) = (g.repeated(x.shape()), g_xhat.repeated(x.shape()));
        elementwise::map(exec, PASS_NS, out, [dy, x, mean, inv_std, weight, g, g_xhat], InputGrad);
    });
    if let Some(sums) = sums {
        param_sums(exec, &[dy, x, mean, inv_std], shape.outer, sums);
    }
}

/// The sums of the parameters' gradients of matrices, to the start of `sums`.
pub(super) fn column_sums(
    exec: &Exec,
    dy: Mat<'_>,
    x: Mat<'_>,
    mean: Option<Mat<'_>>,
    inv_std: Mat<'_>,
    sums: &mut [f32],
) {
    let shape = [x.rows(), x.cols()];
    let mean = param(mean.map(View::from), &NO_MEAN, &shape);
    let inv_std = param(Some(inv_std.into()), &NO_MEAN, &shape);
    param_sums(exec, &[dy.into(), x.into(), mean, inv_std], 1, sums);
}

/// The sums of the parameters' gradients over the first `outer` axes of `[dy, x, mean, inv_std]`.
fn param_sums(exec: &Exec, inp: &[View<'_>; 4], outer: usize, sums: &mut [f32]) {
    let shape = Dims::new(inp[0].shape());
    let mut axes = [0; crate::error::MAX_RANK];
    (0..outer).for_each(|axis| axes[axis] = axis as isize);
    let reduced = Reduced::new("norm", shape.as_slice(), Axes::List(&axes[..outer])).expect("axes of this shape").set;
    let kept = with_ones(shape.as_slice(), |axis| axis < outer);
    let cols = kept.as_slice().iter().product::<usize>();
    let (dweight, dbias) = sums[..2 * cols].split_at_mut(cols);
    let out = [dweight, dbias].map(|sums| ViewMut::new(sums, kept.as_slice()).expect("as many as the shape has"));
    reduce::fold(exec, 2.0 * PASS_NS, out, *inp, reduced, ParamSums);
}

/// `Σ (x - first)`.
#[derive(Clone, Copy)]
struct Distance;

impl Term<2> for Distance {
    #[inline(always)]
    fn add<S: Simd>(self, s: S, acc: S::F32, [x, first]: [S::F32; 2]) -> S::F32 {
        distance(s, acc, x, first)
    }
}

/// `1/√(Σ (x - mean)²/n + eps)`.
#[derive(Clone, Copy)]
struct InvStd {
    n: f32,
    eps: f32,
}

impl Term<2> for InvStd {
    #[inline(always)]
    fn add<S: Simd>(self, s: S, acc: S::F32, [x, mean]: [S::F32; 2]) -> S::F32 {
        square(s, acc, x, mean)
    }
    #[inline(always)]
    fn finish<S: Simd>(self, s: S, sum: S::F32) -> S::F32 {
        inv_root(s, sum, self.n, self.eps)
    }
}

/// `weight·x̂ + bias`.
#[derive(Clone, Copy)]
struct Affine;

impl Map<5, 1> for Affine {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, x: [S::F32; 5], _: [S::F32; 1]) -> [S::F32; 1] {
        let [x, mean, inv_std, weight, bias] = x;
        [s.fma(weight, xhat(s, x, mean, inv_std), bias)]
    }
}

/// The means of `g = dy·weight` and of `g·x̂`, of `[dy, x, mean, inv_std, weight]`.
#[derive(Clone, Copy)]
struct MeanPulls {
    n: f32,
    centred: bool,
}

impl Fold<5, 2> for MeanPulls {
    const START: [f32; 2] = [-0.0; 2];
    #[inline(always)]
    fn step<S: Simd>(self, s: S, acc: [S::F32; 2], x: [S::F32; 5]) -> [S::F32; 2] {
        let [dy, x, mean, inv_std, weight] = x;
        pulls(s, acc, s.mul(dy, weight), xhat(s, x, mean, inv_std))
    }
    #[inline(always)]
    fn merge<S: Simd>(self, s: S, a: [S::F32; 2], b: [S::F32; 2]) -> [S::F32; 2] {
        [s.add(a[0], b[0]), s.add(a[1], b[1])]
    }
    #[inline(always)]
    fn finish<S: Simd>(self, s: S, acc: [S::F32; 2]) -> [S::F32; 2] {
        mean_pulls(s, acc, self.n, self.centred)
    }
}

/// The gradient of the input, of `[dy, x, mean, inv_std, weight]` and the means of [`MeanPulls`].
#[derive(Clone, Copy)]
struct InputGrad;

impl Map<7, 1> for InputGrad {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, x: [S::F32; 7], _: [S::F32; 1]) -> [S::F32; 1] {
        let [dy, x, mean, inv_std, weight, g, g_xhat] = x;
        [input_grad(s, s.mul(dy, weight), xhat(s, x, mean, inv_std), inv_std, [g, g_xhat])]
    }
}

/// `Σ dy·x̂` and `Σ dy`, of `[dy, x, mean, inv_std]`.
#[derive(Clone, Copy)]
struct ParamSums;

impl Fold<4, 2> for ParamSums {
    const START: [f32; 2] = [-0.0; 2];
    #[inline(always)]
    fn step<S: Simd>(self, s: S, acc: [S::F32; 2], [dy, x, mean, inv_std]: [S::F32; 4]) -> [S::F32; 2] {
        param_grads(s, acc, dy, xhat(s, x, mean, inv_std))
    }
    #[inline(always)]
    fn merge<S: Simd>(self, s: S, a: [S::F32; 2], b: [S::F32; 2]) -> [S::F32; 2] {
        [s.add(a[0], b[0]), s.add(a[1], b[1])]
    }
}
