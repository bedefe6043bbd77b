//! Channels of any layout, by the drivers of `reduce` and `elementwise`.

use super::super::norms::{Grads, MeanFrom, NO_BIAS, NO_WEIGHT, first_of, param, xhat};
use super::functions::{Affine, InputGrad, InvRoot, Join, MeanPulls, Scale, Update, pulls};
use super::{BACKWARD_NS, BLOCK, Backward, FORWARD_NS, Forward, Mode, Running, Shape, Source, Statistics, divisor};
use crate::elementwise;
use crate::error::Result;
use crate::exec::Exec;
use crate::gemm::Accum;
use crate::lanes::{Collect, Fold, Same};
use crate::reduce::{self, AxisSet, Numbers, Parts, SumOf, Term};
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// Nanoseconds of one core for an element of one pass.
const PASS_NS: f64 = 0.06;

/// The forward pass; the operands are checked and not empty.
pub(super) fn forward(exec: &Exec, shape: &Shape, call: Forward<ViewMut<'_>, View<'_>>) -> Result<()> {
    let Forward { y, x, params, source, config } = call;
    let weight = params.weight.map(|weight| shape.reduced.inp("weight", weight)).transpose()?;
    let bias = params.bias.map(|bias| shape.reduced.inp("bias", bias)).transpose()?;
    let inp = [x, param(weight, &NO_WEIGHT, x.shape()), param(bias, &NO_BIAS, x.shape())];
    let reduced = shape.reduced.set;
    let out = |arg, vector| shape.reduced.out(arg, vector);
    let root = InvRoot { divisor: divisor(shape.samples * shape.positions, config.variance), eps: config.eps };
    match source {
        Source::Given([mean, var]) => {
            let [x, weight, bias] = inp;
            let inp = [x, weight, bias, shape.reduced.inp("mean", mean)?, shape.reduced.inp("var", var)?];
            forward_given(exec, y, &inp, reduced, config.eps);
        }
        Source::Batch(Statistics { mean, inv_std }, None) => {
            let out = [y, out("mean", mean)?, out("inv_std", inv_std)?];
            forward_batch(exec, out, &inp, reduced, root, 0.0);
        }
        Source::Batch(Statistics { mean, inv_std }, Some(Running { mean: running, var, momentum })) => {
            let statistics = [out("mean", mean)?, out("inv_std", inv_std)?];
            let running = [out("running.mean", running)?, out("running.var", var)?];
            let ([mean, inv_std], [running, var]) = (statistics, running);
            forward_batch(exec, [y, mean, inv_std, running, var], &inp, reduced, root, momentum);
        }
    }
    Ok(())
}

/// [`forward`] part by part: the outputs are `y`, the mean, the inverse root, and perhaps the running statistics.
fn forward_batch<const O: usize>(
    exec: &Exec,
    out: [ViewMut<'_>; O],
    inp: &[View<'_>; 3],
    reduced: AxisSet,
    root: InvRoot,
    momentum: f32,
) {
    Parts { out, other: (), inp: *inp, reduced }.run(exec, FORWARD_NS, |part| {
        let Parts { mut out, inp: [x, weight, bias], .. } = part;
        let [y, mean, inv_std, running @ ..] = &mut out[..] else { unreachable!("three outputs or five") };
        let n = (x.len() / mean.len()) as f32;
        let first = first_of(x, reduced);
        let sums = batch_sums(exec, x, first, reduced);
        let [sum, squares] = sums.each_ref().map(|sum| sum.repeated(first.shape()));
        elementwise::map(exec, PASS_NS, [mean.reborrow()], [first, sum], MeanFrom { n });
        elementwise::map(exec, PASS_NS, [inv_std.reborrow()], [squares], root);
        if let [running, var] = running {
            let inp = [mean.as_view(), squares];
            elementwise::map(exec, PASS_NS, [running.reborrow(), var.reborrow()], inp, Update { n, momentum });
        }
        let [mean, inv_std] = [mean, inv_std].map(|statistic| repeated(statistic.as_view(), x));
        elementwise::map(exec, PASS_NS, [y.reborrow()], [x, mean, inv_std, weight, bias], Affine);
    });
}

/// One number a channel, repeated to the shape of `x`.
fn repeated<'a>(numbers: View<'a>, x: View<'_>) -> View<'a> {
    numbers.broadcast_to(x.shape()).expect("size one but for the channels")
}

/// The sums of distances from `first` and of squares about the mean, of the channels of a part.
fn batch_sums(exec: &Exec, x: View<'_>, first: View<'_>, reduced: AxisSet) -> [Numbers; 2] {
    let [mut all_sum, mut all_squares, mut sum, mut squares, mut centre] =
        [(); 5].map(|()| Numbers::new(x.shape(), reduced, 0.0));
    let samples = x.shape()[0];
    let each = x.len() / samples / first.len();
    for start in (0..samples).step_by(BLOCK) {
        let size = BLOCK.min(samples - start);
        let block = x.narrow(0, start, size).expect("samples that are there");
        let m = (size * each) as f32;
        reduce::fold(exec, PASS_NS, [sum.out()], [block, repeated(first, block)], reduced, SumOf(Distance));
        let inp = [first, sum.repeated(first.shape())];
        elementwise::map(exec, PASS_NS, [centre.out()], inp, MeanFrom { n: m });
        let inp = [block, centre.repeated(block.shape())];
        reduce::fold(exec, PASS_NS, [squares.out()], inp, reduced, SumOf(Square));
        let inp = [&sum, &squares].map(|sum| sum.repeated(first.shape()));
        let all = [all_sum.out(), all_squares.out()];
        if start == 0 {
            elementwise::map(exec, PASS_NS, all, inp, Same);
        } else {
            elementwise::map(exec, PASS_NS, all, inp, Join { m, before: (start * each) as f32 });
        }
    }
    [all_sum, all_squares]
}

/// [`forward`] with a given mean and variance, the last two of `inp`.
fn forward_given(exec: &Exec, y: ViewMut<'_>, inp: &[View<'_>; 5], reduced: AxisSet, eps: f32) {
    Parts { out: [y], other: (), inp: *inp, reduced }.run(exec, FORWARD_NS, |part| {
        let Parts { out, inp: [x, weight, bias, mean, var], .. } = part;
        let mut inv_std = Numbers::new(x.shape(), reduced, 0.0);
        elementwise::map(exec, PASS_NS, [inv_std.out()], [var], InvRoot { divisor: 1.0, eps });
        let inp = [x, repeated(mean, x), inv_std.repeated(x.shape()), weight, bias];
        elementwise::map(exec, PASS_NS, out, inp, Affine);
    });
}

/// The backward pass; the operands are checked and not empty.
pub(super) fn backward(exec: &Exec, shape: &Shape, call: Backward<ViewMut<'_>, View<'_>>) -> Result<()> {
    let Backward { grads: Grads { dx, dweight, dbias }, accum, dy, x, mean, spread, weight, mode } = call;
    let inp = |arg, vector| shape.reduced.inp(arg, vector);
    let weight = weight.map(|weight| inp("weight", weight)).transpose()?;
    let one_each = inp("mean", mean)?;
    let weight = param(weight, &NO_WEIGHT, one_each.shape());
    let inp = [x, dy, one_each, inp("spread", spread)?, weight];
    let reduced = shape.reduced.set;
    let out = |arg, vector: Option<_>| vector.map(|vector| shape.reduced.out(arg, vector)).transpose();
    let run = Run { exec, reduced, accum, mode };
    match (out("dbias", dbias)?, out("dweight", dweight)?) {
        (None, None) => run.parts([dx], &inp, [false, false]),
        (Some(dbias), None) => run.parts([dx, dbias], &inp, [true, false]),
        (None, Some(dweight)) => run.parts([dx, dweight], &inp, [false, true]),
        (Some(dbias), Some(dweight)) => run.parts([dx, dbias, dweight], &inp, [true, true]),
    }
    Ok(())
}

/// What all parts of a backward pass have in common.
#[derive(Clone, Copy)]
struct Run<'a> {
    exec: &'a Exec,
    reduced: AxisSet,
    accum: Accum,
    mode: Mode,
}

impl Run<'_> {
    /// The backward pass part by part. The outputs are `dx` and those of `[dbias, dweight]` that are `wanted`; the
    /// inputs are `[x, dy, mean, spread, weight]`, the last three with one number a channel.
    fn parts<const O: usize>(self, out: [ViewMut<'_>; O], inp: &[View<'_>; 5], wanted: [bool; 2]) {
        let Self { exec, reduced, accum, mode } = self;
        Parts { out, other: (), inp: *inp, reduced }.run(exec, BACKWARD_NS, |part| {
            let Parts { mut out, inp: [x, dy, mean, spread, weight], .. } = part;
            let Some((dx, params)) = out.split_first_mut() else { unreachable!("there is an input's gradient") };
            let [mut inv_std, mut scale, mut sum, mut sum_xhat] =
                [(); 4].map(|()| Numbers::new(x.shape(), reduced, 0.0));
            match mode {
                Mode::Batch { .. } => elementwise::map(exec, PASS_NS, [inv_std.out()], [spread], Same),
                Mode::Given { eps } => {
                    elementwise::map(exec, PASS_NS, [inv_std.out()], [spread], InvRoot { divisor: 1.0, eps });
                }
            }
            elementwise::map(exec, PASS_NS, [scale.out()], [weight, inv_std.repeated(mean.shape())], Scale);
            let (mean, inv_std, scale) = (repeated(mean, x), inv_std.repeated(x.shape()), scale.repeated(x.shape()));
            reduce::fold(exec, PASS_NS, [sum.out(), sum_xhat.out()], [dy, x, mean, inv_std], reduced, Pulls);
            let sums = [&sum, &sum_xhat].into_iter().zip(wanted).filter(|&(_, wanted)| wanted);
            for (param, (sum, _)) in params.iter_mut().zip(sums) {
                let param = param.reborrow();
                let shape = crate::error::Dims::new(param.shape());
                elementwise::map(exec, PASS_NS, [param], [sum.repeated(shape.as_slice())], Collect(accum));
            }
            let dx = dx.reborrow();
            match mode {
                Mode::Given { .. } => elementwise::map(exec, PASS_NS, [dx], [dy, scale], Scale),
                Mode::Batch { n, divisor } => {
                    elementwise::map(exec, PASS_NS, [sum.out(), sum_xhat.out()], [], MeanPulls { n, divisor });
                    let inp = [dy, x, mean, inv_std, scale, sum.repeated(x.shape()), sum_xhat.repeated(x.shape())];
                    elementwise::map(exec, PASS_NS, [dx], inp, InputGrad);
                }
            }
        });
    }
}

/// `Σ (x - first)`.
#[derive(Clone, Copy)]
struct Distance;

impl Term<2> for Distance {
    #[inline(always)]
    fn add<S: Simd>(self, s: S, acc: S::F32, [x, first]: [S::F32; 2]) -> S::F32 {
        s.add(acc, s.sub(x, first))
    }
}

/// `Σ (x - centre)²`.
#[derive(Clone, Copy)]
struct Square;

impl Term<2> for Square {
    #[inline(always)]
    fn add<S: Simd>(self, s: S, acc: S::F32, [x, centre]: [S::F32; 2]) -> S::F32 {
        let distance = s.sub(x, centre);
        s.fma(distance, distance, acc)
    }
}

/// `Σ dy` and `Σ dy·x̂`, of `[dy, x, mean, inv_std]`.
#[derive(Clone, Copy)]
struct Pulls;

impl Fold<4, 2> for Pulls {
    const START: [f32; 2] = [-0.0; 2];
    #[inline(always)]
    fn step<S: Simd>(self, s: S, acc: [S::F32; 2], [dy, x, mean, inv_std]: [S::F32; 4]) -> [S::F32; 2] {
        pulls(s, acc, dy, xhat(s, x, mean, inv_std))
    }
    #[inline(always)]
    fn merge<S: Simd>(self, s: S, a: [S::F32; 2], b: [S::F32; 2]) -> [S::F32; 2] {
        [s.add(a[0], b[0]), s.add(a[1], b[1])]
    }
}
