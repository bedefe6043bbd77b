//! The loss of logits with axes behind that of the classes, part by part, each small enough for the innermost cache;
//! and the gradient of probabilities.

use super::Config;
use super::shares::{ScaleLess, Shares};
use crate::elementwise;
use crate::error::Result;
use crate::exec::Exec;
use crate::lanes::Map;
use crate::math;
use crate::op::logsumexp::SumExp;
use crate::op::loss::Times;
use crate::op::loss::classes::{self, Counts};
use crate::op::softmax::ExpLess;
use crate::reduce::{self, AxisSet, Extreme, Greatest, Numbers, Other, Parts, SumOf, Value};
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// Nanoseconds of one core an element, for the split over threads.
const NS: f64 = 0.5;

/// The operands, all repeated to the shape of the logits.
#[derive(Clone, Copy)]
pub(super) struct Parted<'a> {
    /// The logits, the probabilities (zero if there are labels), the weights of the classes, and the gradient of the
    /// losses.
    inp: [View<'a>; 4],
    /// The classes, with size one on the axis of classes.
    labels: Option<View<'a, i64>>,
    axis: usize,
    reduced: AxisSet,
    counts: Counts<'a>,
    smoothing: f32,
    shares: Shares,
}

/// What is cut along with the inputs.
struct Along<'a> {
    losses: Option<ViewMut<'a>>,
    dx: Option<ViewMut<'a>>,
    labels: Option<View<'a, i64>>,
}

impl Other for Along<'_> {
    fn cut(self, axis: usize, at: usize) -> (Self, Self) {
        let (losses, more_losses) = self.losses.map(|losses| losses.cut(axis, at)).unzip();
        let (dx, more_dx) = self.dx.map(|dx| dx.cut(axis, at)).unzip();
        let (labels, more_labels) = self.labels.map(|labels| labels.cut(axis, at)).unzip();
        (Self { losses, dx, labels }, Self { losses: more_losses, dx: more_dx, labels: more_labels })
    }
}

/// Numbers of the outputs of a part, one of each for an output.
struct Outputs {
    max: Numbers,
    /// `S`, and its logarithm.
    sum: Numbers,
    log: Numbers,
    /// `Σ share·(x - max)` and `Σ share`.
    mixed: Numbers,
    mass: Numbers,
    /// The gradient of the loss.
    slope: Numbers,
    /// What the label counts for, and `x[t] - max`.
    own: Numbers,
    shift: Numbers,
}

impl<'a> Parted<'a> {
    pub(super) fn new(inp: &[View<'a>; 4], axis: usize, labels: Option<View<'a, i64>>, config: Config<'a>) -> Self {
        let mut reduced = AxisSet::default();
        reduced.insert(axis);
        let shares = Shares::new(config.label_smoothing, inp[0].shape()[axis]);
        Self { inp: *inp, labels, axis, reduced, counts: config.counts(), smoothing: config.label_smoothing, shares }
    }

    /// Writes the losses, which lack the axis of classes, and the gradient of the logits.
    pub(super) fn run(self, exec: &Exec, losses: Option<ViewMut<'_>>, dx: Option<ViewMut<'_>>) -> Result<()> {
        let losses = losses.map(|losses| losses.unsqueeze(self.axis as isize)).transpose()?;
        let other = Along { losses, dx, labels: self.labels };
        let parts = Parts { out: [], other, inp: self.inp, reduced: self.reduced };
        parts.run(exec, NS, |part| self.part(exec, part.other, &part.inp));
        Ok(())
    }

    fn part(&self, exec: &Exec, along: Along<'_>, inp: &[View<'_>; 4]) {
        let Along { losses, mut dx, labels } = along;
        let (x, reduced) = (inp[0], self.reduced);
        let mut all = self.sums(exec, dx.as_mut(), inp);
        if let Some(labels) = labels {
            self.read_labels(labels, x, &mut all);
        }
        if let Some(mut losses) = losses {
            losses.copy_from(all.losses(x.shape(), reduced).out().as_view()).expect("one number for each loss");
        }
        if let Some(mut dx) = dx {
            self.gradient(exec, dx.reborrow(), inp, &mut all);
            if let Some(labels) = labels {
                self.pull(labels, &mut dx, &mut all);
            }
        }
    }

    /// All that does not depend on labels; leaves `e^(x - max)` in `dx`, if there is one.
    fn sums(&self, exec: &Exec, dx: Option<&mut ViewMut<'_>>, &[x, t, w, dloss]: &[View<'_>; 4]) -> Outputs {
        let (shape, reduced) = (x.shape(), self.reduced);
        let zero = Numbers::new(shape, reduced, 0.0);
        let mut all =
            Outputs { max: zero, sum: zero, log: zero, mixed: zero, mass: zero, slope: zero, own: zero, shift: zero };
        reduce::fold(exec, 0.06, [all.max.out()], [x], reduced, Extreme(Greatest));
        let max = all.max.repeated(shape);
        match dx {
            Some(dx) => {
                elementwise::map(exec, 0.15, [dx.reborrow()], [x, max], ExpLess);
                reduce::fold(exec, 0.06, [all.sum.out()], [dx.as_view()], reduced, SumOf(Value));
                elementwise::map(exec, 0.15, [all.log.out()], [all.sum.out().as_view()], Ln);
            }
            None => reduce::fold(exec, 0.15, [all.log.out()], [x, max], reduced, SumOf(SumExp)),
        }
        if self.spreads() {
            let out = [all.mixed.out(), all.mass.out()];
            reduce::fold(exec, 0.1, out, [x, max, t, w], reduced, self.shares);
        }
        let dloss = dloss.narrow(self.axis as isize, 0, 1);
        dloss.and_then(|dloss| all.slope.out().copy_from(dloss)).expect("one number for each output");
        all
    }

    /// Whether any class but a label counts.
    fn spreads(&self) -> bool {
        self.labels.is_none() || self.smoothing != 0.0
    }

    /// What the labels add, and the end of what is ignored: its loss and its gradient are zero.
    fn read_labels(&self, labels: View<'_, i64>, x: View<'_>, all: &mut Outputs) {
        classes::each(labels, |k, place, label| match self.counts.of(label) {
            Some((class, weight)) => {
                place[self.axis] = class;
                all.own.values()[k] = self.shares.keep * weight;
                all.shift.values()[k] = x.get(place).unwrap_or(f32::NAN) - all.max.values()[k];
            }
            None => {
                for numbers in [&mut all.log, &mut all.mixed, &mut all.mass, &mut all.slope] {
                    numbers.values()[k] = 0.0;
                }
            }
        });
    }

    /// `dx = slope·(dx·(own + Σ share)/S - share)`.
    fn gradient(&self, exec: &Exec, dx: ViewMut<'_>, &[x, t, w, _]: &[View<'_>; 4], all: &mut Outputs) {
        let shape = x.shape();
        let slopes = all.slope.values().iter().zip(all.own.values()).zip(all.mass.values());
        for (sum, ((slope, own), mass)) in all.sum.values().iter_mut().zip(slopes) {
            *sum = *slope * (*own + *mass) / *sum;
        }
        let scale = all.sum.repeated(shape);
        if self.spreads() {
            let less = ScaleLess(self.shares);
            elementwise::map(exec, 0.1, [dx], [scale, all.slope.repeated(shape), t, w], less);
        } else {
            elementwise::map(exec, 0.06, [dx], [scale], Times);
        }
    }

    /// `dx[t] -= slope·own`.
    fn pull(&self, labels: View<'_, i64>, dx: &mut ViewMut<'_>, all: &mut Outputs) {
        classes::each(labels, |k, place, label| {
            let Some((class, _)) = self.counts.of(label) else { return };
            place[self.axis] = class;
            let own = all.slope.values()[k] * all.own.values()[k];
            let written = dx.get(place).map(|old| dx.set(place, old - own));
            debug_assert!(written.is_some_and(|written| written.is_ok()), "labels are checked at the door");
        });
    }

    /// `dt = -dloss·(1 - ε)·w·ln softmax(x)`.
    pub(super) fn target_gradient(self, exec: &Exec, dtarget: ViewMut<'_>) {
        let [x, _, w, dloss] = self.inp;
        let (reduced, keep) = (self.reduced, self.shares.keep);
        Parts { out: [dtarget], other: (), inp: [x, w, dloss], reduced }.run(exec, NS, |part| {
            let Parts { out, inp: [x, w, dloss], .. } = part;
            let (mut max, mut log) = (Numbers::new(x.shape(), reduced, 0.0), Numbers::new(x.shape(), reduced, 0.0));
            reduce::fold(exec, 0.06, [max.out()], [x], reduced, Extreme(Greatest));
            let repeated = max.repeated(x.shape());
            reduce::fold(exec, 0.15, [log.out()], [x, repeated], reduced, SumOf(SumExp));
            let inp = [x, repeated, log.repeated(x.shape()), w, dloss];
            elementwise::map(exec, 0.1, out, inp, TargetGradient { keep });
        });
    }
}

impl Outputs {
    /// `own·(ln S - shift) + ln S·Σ share - Σ share·(x - max)`.
    fn losses(&mut self, shape: &[usize], reduced: AxisSet) -> Numbers {
        let mut losses = Numbers::new(shape, reduced, 0.0);
        for (k, loss) in losses.values().iter_mut().enumerate() {
            let (log, mass, mixed) = (self.log.values()[k], self.mass.values()[k], self.mixed.values()[k]);
            let label = self.own.values()[k] * (log - self.shift.values()[k]);
            *loss = label + (mass * log - mixed);
        }
        losses
    }
}

/// `ln x`.
#[derive(Clone, Copy)]
struct Ln;

impl Map<1, 1> for Ln {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x]: [S::F32; 1], _: [S::F32; 1]) -> [S::F32; 1] {
        [math::ln(s, x)]
    }
}

/// `dloss·keep·w·(log - (x - max))`.
#[derive(Clone, Copy)]
struct TargetGradient {
    keep: f32,
}

impl Map<5, 1> for TargetGradient {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x, max, log, w, dloss]: [S::F32; 5], _: [S::F32; 1]) -> [S::F32; 1] {
        let slope = s.mul(dloss, s.mul(s.splat(self.keep), w));
        [s.mul(slope, s.sub(log, s.sub(x, max)))]
    }
}
