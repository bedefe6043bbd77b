//! The losses that compare each element of a prediction with one of a target.
//!
//! They are functions of two numbers, times a weight. Absent weights are a one that is repeated, so that there is one
//! loop for all; what a loss does not read is not loaded.

use super::{ONE, Reduction, Times, expect_samples, number, sum_view};
use crate::elementwise;
use crate::error::{Dims, Result, expect_len, expect_shape};
use crate::exec::{Axis, BlockKernel, Exec};
use crate::lanes::{self, Map, RowFold};
use crate::reduce::{self, AxisSet, Parts, SumOf, Term};
use crate::simd::Simd;
use crate::view::{Mat, MatMut, View, ViewMut, broadcast_shape};

/// What the mean of weighted losses divides by.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Divisor {
    /// The number of elements.
    Elements,
    /// The sum of their weights.
    Weights,
}

/// A loss of a prediction `x` and its target `t`; `p` weighs positive targets, for the loss that has such a weight.
pub(crate) trait Pointwise: Copy + Send + Sync {
    /// Nanoseconds of one core an element, for the split over threads.
    const NS: f64 = 0.1;
    /// What the mean divides by.
    const DIVISOR: Divisor = Divisor::Elements;
    /// The loss.
    fn loss<S: Simd>(self, s: S, x: S::F32, t: S::F32, p: S::F32) -> S::F32;
    /// Its derivative by `x`.
    fn slope<S: Simd>(self, s: S, x: S::F32, t: S::F32, p: S::F32) -> S::F32;
    /// Its derivative by `t`.
    fn target_slope<S: Simd>(self, s: S, x: S::F32, t: S::F32, p: S::F32) -> S::F32;
}

/// A loss of the difference `e = x - t`.
pub(crate) trait Distance: Copy + Send + Sync {
    /// What the mean divides by.
    const DIVISOR: Divisor = Divisor::Weights;
    /// The loss.
    fn loss<S: Simd>(self, s: S, e: S::F32) -> S::F32;
    /// Its derivative.
    fn slope<S: Simd>(self, s: S, e: S::F32) -> S::F32;
}

/// A [`Distance`] as a loss of `x` and `t`.
#[derive(Clone, Copy)]
pub(crate) struct Between<D>(pub(crate) D);

impl<D: Distance> Pointwise for Between<D> {
    const DIVISOR: Divisor = D::DIVISOR;
    #[inline(always)]
    fn loss<S: Simd>(self, s: S, x: S::F32, t: S::F32, _: S::F32) -> S::F32 {
        self.0.loss(s, s.sub(x, t))
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, x: S::F32, t: S::F32, _: S::F32) -> S::F32 {
        self.0.slope(s, s.sub(x, t))
    }
    #[inline(always)]
    fn target_slope<S: Simd>(self, s: S, x: S::F32, t: S::F32, _: S::F32) -> S::F32 {
        s.neg(self.0.slope(s, s.sub(x, t)))
    }
}

/// How the shapes of a prediction and its target go together.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pairing {
    /// They are equal.
    Equal,
    /// They are broadcast to each other.
    Broadcast,
}

/// What a loss reads, all repeated to one shape.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    op: &'static str,
    shape: Dims,
    /// The shapes of the prediction and of the target.
    own: [Dims; 2],
    /// Whether the elements have weights.
    weighted: bool,
    /// The prediction, the target, its weight, and the weight of positive targets.
    inp: [View<'a>; 4],
}

impl<'a> Operands<'a> {
    /// A prediction and its target, without weights.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if their shapes do not go together.
    pub(crate) fn new(op: &'static str, x: View<'a>, target: View<'a>, pairing: Pairing) -> Result<Self> {
        if pairing == Pairing::Equal {
            expect_shape(op, "target", x.shape(), target.shape())?;
        }
        let shape = broadcast_shape(op, "target", x.shape(), target.shape())?;
        let own = [x.shape().into(), target.shape().into()];
        let repeated = |view: View<'a>| view.broadcast_to(shape.as_slice());
        let one = repeated(View::scalar(&ONE))?;
        Ok(Self { op, shape, own, weighted: false, inp: [repeated(x)?, repeated(target)?, one, one] })
    }

    /// With the weights of the elements, if there are any.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if they do not broadcast to the shape of the losses.
    pub(crate) fn weight(mut self, weight: Option<View<'a>>) -> Result<Self> {
        if let Some(weight) = weight {
            self.inp[2] = elementwise::broadcast(self.op, "weight", weight, self.shape.as_slice())?;
            self.weighted = true;
        }
        Ok(self)
    }

    /// With the weights of positive targets, if there are any.
    ///
    /// # Errors
    /// As [`weight`](Self::weight).
    pub(crate) fn pos_weight(mut self, weight: Option<View<'a>>) -> Result<Self> {
        if let Some(weight) = weight {
            self.inp[3] = elementwise::broadcast(self.op, "pos_weight", weight, self.shape.as_slice())?;
        }
        Ok(self)
    }

    /// What the sum of all losses is divided by.
    fn divisor<F: Pointwise>(&self, exec: &Exec, reduction: Reduction, _: F) -> f32 {
        match reduction {
            Reduction::Mean if self.weighted && F::DIVISOR == Divisor::Weights => sum_view(exec, self.inp[2]),
            Reduction::Mean => self.inp[0].len() as f32,
            _ => 1.0,
        }
    }

    /// Writes the losses, or what the reduction makes of them.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if `loss` has not the shape of that.
    pub(crate) fn forward<F: Pointwise>(
        self,
        exec: &Exec,
        mut loss: ViewMut<'_>,
        reduction: Reduction,
        f: F,
    ) -> Result<()> {
        expect_shape(self.op, "loss", reduction.shape(self.shape.as_slice()).as_slice(), loss.shape())?;
        let divisor = self.divisor(exec, reduction, f);
        let kernel = Loss { f, divisor };
        match reduction {
            Reduction::None => elementwise::map(exec, F::NS, [loss], self.inp, kernel),
            _ if self.inp[0].is_empty() => loss.fill(0.0 / divisor),
            _ => reduce::sum_to(exec, [self.op, "loss"], F::NS, loss, self.inp, kernel)?,
        }
        Ok(())
    }

    /// Writes the gradient of the prediction, summed to its shape.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if `dx` has another shape than the prediction, or `dloss` than the loss.
    pub(crate) fn backward<F: Pointwise>(
        self,
        exec: &Exec,
        dx: ViewMut<'_>,
        dloss: View<'_>,
        reduction: Reduction,
        f: F,
    ) -> Result<()> {
        self.gradient(exec, ("dx", self.own[0]), dx, dloss, reduction, f)
    }

    /// Writes the gradient of the target, summed to its shape.
    ///
    /// # Errors
    /// As [`backward`](Self::backward).
    pub(crate) fn backward_target<F: Pointwise>(
        self,
        exec: &Exec,
        dtarget: ViewMut<'_>,
        dloss: View<'_>,
        reduction: Reduction,
        f: F,
    ) -> Result<()> {
        self.gradient(exec, ("dtarget", self.own[1]), dtarget, dloss, reduction, ByTarget(f))
    }

    fn gradient<F: Pointwise>(
        self,
        exec: &Exec,
        (arg, own): (&'static str, Dims),
        dx: ViewMut<'_>,
        dloss: View<'_>,
        reduction: Reduction,
        f: F,
    ) -> Result<()> {
        let shape = self.shape.as_slice();
        expect_shape(self.op, arg, own.as_slice(), dx.shape())?;
        expect_shape(self.op, "dloss", reduction.shape(shape).as_slice(), dloss.shape())?;
        let each;
        let dloss = if reduction == Reduction::None {
            dloss
        } else {
            each = number(dloss) / self.divisor(exec, reduction, f);
            View::scalar(&each).broadcast_to(shape)?
        };
        let [x, t, w, p] = self.inp;
        let (inp, kernel) = ([dloss, x, t, w, p], Gradient { f, scale: 1.0 });
        if own == self.shape {
            elementwise::map(exec, F::NS, [dx], inp, kernel);
            return Ok(());
        }
        reduce::sum_to(exec, [self.op, arg], F::NS, dx, inp, kernel)
    }

    /// [`forward_backward`], all shapes being right and of rank 2, and nothing empty.
    fn weighted_rows<F: Pointwise>(
        self,
        exec: &Exec,
        losses: MatMut<'_>,
        dx: MatMut<'_>,
        dloss: f32,
        samples: Option<&[f32]>,
        f: F,
    ) -> Result<()> {
        let ([x, t, w, p], count) = (self.inp, dx.cols() as f32);
        let samples = samples.map_or(Ok(View::scalar(&ONE)), |samples| View::new(samples, &[samples.len(), 1]))?;
        let inp = [x, t, w, p, samples.broadcast_to(x.shape())?];
        let mut reduced = AxisSet::default();
        reduced.insert(1);
        Parts { out: [losses.into(), dx.into()], other: (), inp, reduced }.run(exec, 2.0 * F::NS, |part| {
            let Parts { out: [mut losses, dx], inp: [x, t, w, p, samples], .. } = part;
            let each = samples.narrow(1, 0, 1).expect("no axis is empty");
            reduce::fold(exec, F::NS, [losses.reborrow()], [x, t, w, p], reduced, SumOf(Loss { f, divisor: count }));
            elementwise::map(exec, 0.06, [losses], [each], Times);
            elementwise::map(exec, F::NS, [dx], [samples, x, t, w, p], Gradient { f, scale: dloss / count });
        });
        Ok(())
    }
}

/// Writes the mean loss of each row, times the weight of its sample, and the gradient of `dloss` times the sum of
/// those. The weights of the elements, and of positive targets, are often missing; then it is one pass over each row.
///
/// # Errors
/// If shapes do not match.
pub(crate) fn forward_backward<F: Pointwise>(
    op: &'static str,
    exec: &Exec,
    (losses, dx): (&mut [f32], MatMut<'_>),
    dloss: f32,
    [x, t]: [Mat<'_>; 2],
    &[weight, pos_weight]: &[Option<View<'_>>; 2],
    samples: Option<&[f32]>,
    f: F,
) -> Result<()> {
    let (batch, outputs) = (x.rows(), x.cols());
    t.expect_size(op, "target", batch, outputs)?;
    dx.expect_size(op, "dx", batch, outputs)?;
    expect_len(op, "losses", batch, losses.len())?;
    expect_samples(op, samples, batch)?;
    let count = outputs as f32;
    if weight.is_some() || pos_weight.is_some() {
        let operands = Operands::new(op, x.into(), t.into(), Pairing::Equal)?;
        let operands = operands.weight(weight)?.pos_weight(pos_weight)?;
        if outputs > 0 && batch > 0 {
            return operands.weighted_rows(exec, MatMut::from_row(losses).t(), dx, dloss, samples, f);
        }
    }
    if outputs == 0 {
        losses.fill(f32::NAN);
        return Ok(());
    }
    let nanoseconds = (batch as f64 * outputs as f64 * F::NS) as usize;
    let row = Row { f, samples, scale: dloss / count, count };
    exec.blocks(nanoseconds, Axis::Rows, 1, [MatMut::from_row(losses).t(), dx], [x, t], row);
    Ok(())
}

/// A row of a loss without weights but that of the sample.
#[derive(Clone, Copy)]
struct Row<'a, F> {
    f: F,
    samples: Option<&'a [f32]>,
    scale: f32,
    count: f32,
}

impl<F: Pointwise> BlockKernel<2, 2> for Row<'_, F> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, start: usize, [mut losses, mut dx]: [MatMut<'_>; 2], inp: [Mat<'_>; 2]) {
        for i in 0..dx.rows() {
            let weight = self.samples.map_or(1.0, |samples| samples[start + i]);
            let row = RowPass { f: self.f, scale: weight * self.scale };
            let [sum] = lanes::fold_row(s, i, [dx.reborrow()], inp, row);
            *losses.at(i, 0) = sum / self.count * weight;
        }
    }
}

/// The sum of the losses, writing `scale·slope`.
#[derive(Clone, Copy)]
struct RowPass<F> {
    f: F,
    scale: f32,
}

impl<F: Pointwise> RowFold<2, 1, 1> for RowPass<F> {
    const START: f32 = 0.0;
    #[inline(always)]
    fn step<S: Simd>(self, s: S, [acc]: [S::F32; 1], [x, t]: [S::F32; 2]) -> ([S::F32; 1], [S::F32; 1]) {
        let one = s.splat(1.0);
        let dx = s.mul(s.splat(self.scale), self.f.slope(s, x, t, one));
        ([s.add(acc, self.f.loss(s, x, t, one))], [dx])
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

/// The same loss, with the target's derivative for that of the prediction.
#[derive(Clone, Copy)]
struct ByTarget<F>(F);

impl<F: Pointwise> Pointwise for ByTarget<F> {
    const NS: f64 = F::NS;
    const DIVISOR: Divisor = F::DIVISOR;
    #[inline(always)]
    fn loss<S: Simd>(self, s: S, x: S::F32, t: S::F32, p: S::F32) -> S::F32 {
        self.0.loss(s, x, t, p)
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, x: S::F32, t: S::F32, p: S::F32) -> S::F32 {
        self.0.target_slope(s, x, t, p)
    }
    #[inline(always)]
    fn target_slope<S: Simd>(self, s: S, x: S::F32, t: S::F32, p: S::F32) -> S::F32 {
        self.0.slope(s, x, t, p)
    }
}

/// `w·loss(x, t)`, and the sum of that over `divisor`.
#[derive(Clone, Copy)]
struct Loss<F> {
    f: F,
    divisor: f32,
}

impl<F: Pointwise> Map<4, 1> for Loss<F> {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x, t, w, p]: [S::F32; 4], _: [S::F32; 1]) -> [S::F32; 1] {
        [s.mul(w, self.f.loss(s, x, t, p))]
    }
}

impl<F: Pointwise> Term<4> for Loss<F> {
    #[inline(always)]
    fn add<S: Simd>(self, s: S, acc: S::F32, [x, t, w, p]: [S::F32; 4]) -> S::F32 {
        s.add(acc, s.mul(w, self.f.loss(s, x, t, p)))
    }
    #[inline(always)]
    fn finish<S: Simd>(self, s: S, sum: S::F32) -> S::F32 {
        s.div(sum, s.splat(self.divisor))
    }
}

/// `scale·dy·w·slope(x, t)`, and the sum of that.
#[derive(Clone, Copy)]
struct Gradient<F> {
    f: F,
    scale: f32,
}

impl<F: Pointwise> Map<5, 1> for Gradient<F> {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [dy, x, t, w, p]: [S::F32; 5], _: [S::F32; 1]) -> [S::F32; 1] {
        let dy = s.mul(dy, s.splat(self.scale));
        [s.mul(dy, s.mul(w, self.f.slope(s, x, t, p)))]
    }
}

impl<F: Pointwise> Term<5> for Gradient<F> {
    #[inline(always)]
    fn add<S: Simd>(self, s: S, acc: S::F32, x: [S::F32; 5]) -> S::F32 {
        let [dx] = self.eval(s, x, [acc]);
        s.add(acc, dx)
    }
}
