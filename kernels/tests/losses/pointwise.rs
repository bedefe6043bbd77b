//! The losses that compare element with element.

use super::kinds::{KINDS, Kind, Of, Read};
use super::{LAID, Laid, REDUCTIONS, count, draw, numbered, same, slope, source, taken, tolerance, wide};
use crate::common::compare::{assert_close, assert_same_bits};
use crate::common::random::Random;
use crate::common::tensor::{Layout, Tensor};
use crate::common::tiers::{is_fused, on_every_tier};
use crate::common::{pools, serial, until_two_workers};
use handgrad_kernels::Exec;
use handgrad_kernels::op::loss::{self, Reduction};
use handgrad_kernels::op::mse;
use handgrad_kernels::view::{Mat, MatMut, View, ViewMut};

/// One call: shapes and values of `x`, the target, and the weights if there are any.
#[derive(Clone, Debug)]
struct Problem {
    kind: Kind,
    reduction: Reduction,
    shapes: [Vec<usize>; 2],
    values: [Vec<f32>; 2],
    weights: [Option<(Vec<usize>, Vec<f32>)>; 2],
    dloss: Vec<f32>,
    /// The shape of the losses.
    full: Vec<usize>,
}

impl Problem {
    fn new(kind: Kind, reduction: Reduction, shapes: [&[usize]; 2], weights: [Option<&[usize]>; 2]) -> Self {
        let mut random = Random::new(count(shapes[0]) as u64);
        let full = if shapes[0].len() < shapes[1].len() { shapes[1] } else { shapes[0] };
        let full: Vec<usize> = (0..full.len())
            .map(|axis| {
                let size = |shape: &[usize]| (axis + shape.len()).checked_sub(full.len()).map_or(1, |at| shape[at]);
                if size(shapes[0]) == 1 { size(shapes[1]) } else { size(shapes[0]) }
            })
            .collect();
        let values = [
            draw(&mut random, count(shapes[0]), kind.domain()),
            draw(&mut random, count(shapes[1]), kind.target_domain()),
        ];
        let weights =
            weights.map(|shape| shape.map(|shape| (shape.to_vec(), draw(&mut random, count(shape), [0.25, 2.0]))));
        let dlosses = if reduction == Reduction::None { count(&full) } else { 1 };
        let dloss = draw(&mut random, dlosses, [-2.0, 2.0]);
        Self { kind, reduction, shapes: shapes.map(<[usize]>::to_vec), values, weights, dloss, full }
    }

    fn loss_shape(&self) -> &[usize] {
        if self.reduction == Reduction::None { &self.full } else { &[] }
    }

    /// The loss and both gradients.
    fn run(&self, exec: &Exec, laid: Laid) -> Vec<Vec<f32>> {
        let Self { kind, reduction, .. } = *self;
        let tensor = |shape: &[usize], values: &[f32]| Tensor::values(laid.inp, shape, values);
        let [x, t] = [0, 1].map(|i| tensor(&self.shapes[i], &self.values[i]));
        let weights = self.weights.each_ref().map(|w| w.as_ref().map(|(shape, values)| tensor(shape, values)));
        let [w, p] = weights.each_ref().map(|w| w.as_ref().map(Tensor::view));
        let read = Read { x: x.view(), t: t.view(), w, p };
        let mut loss = Tensor::poisoned(laid.out, self.loss_shape());
        kind.forward(exec, loss.view_mut(), read, reduction).unwrap();
        let dloss = tensor(self.loss_shape(), &self.dloss);
        let mut dx = Tensor::poisoned(laid.out, &self.shapes[0]);
        kind.backward(exec, Of::Prediction, dx.view_mut(), dloss.view(), read, reduction).unwrap();
        let mut dt = Tensor::poisoned(laid.out, &self.shapes[1]);
        kind.backward(exec, Of::Target, dt.view_mut(), dloss.view(), read, reduction).unwrap();
        [loss, dx, dt].iter().map(|tensor| taken(tensor, &format!("{kind:?} {laid:?}"))).collect()
    }

    /// The results in f64, and the magnitudes of their terms.
    fn reference(&self) -> [(Vec<f64>, Vec<f64>); 3] {
        let [x, t] = self.values.each_ref().map(|values| wide(values));
        let weight = |which: usize, index: &[usize]| {
            self.weights[which].as_ref().map_or(1.0, |(shape, values)| f64::from(values[source(index, shape)]))
        };
        let by_weights = matches!(self.kind, Kind::Mse | Kind::L1) && self.weights[0].is_some();
        let divisor: f64 = match self.reduction {
            Reduction::Mean if by_weights => numbered(&self.full).map(|(_, index)| weight(0, &index)).sum(),
            Reduction::Mean => count(&self.full) as f64,
            _ => 1.0,
        };
        let zeros = |n: usize| (vec![0.0; n], vec![0.0; n]);
        let mut results = [zeros(count(self.loss_shape())), zeros(x.len()), zeros(t.len())];
        for (number, index) in numbered(&self.full) {
            let places =
                [source(&index, self.loss_shape()), source(&index, &self.shapes[0]), source(&index, &self.shapes[1])];
            let (x, t, w, p) = (x[places[1]], t[places[2]], weight(0, &index) / divisor, weight(1, &index));
            let dloss = w * f64::from(self.dloss[if self.reduction == Reduction::None { number } else { 0 }]);
            let [dx, dt] = self.kind.reference_backward(dloss, x, t, p);
            let terms = self.kind.terms(x, t, p);
            let values = [(w * self.kind.reference(x, t, p), w), (dx, dloss), (dt, dloss)];
            for (((sums, sizes), (value, scale)), (place, terms)) in
                results.iter_mut().zip(values).zip(places.into_iter().zip(terms))
            {
                sums[place] += value;
                sizes[place] += (scale * terms).abs();
            }
        }
        results
    }

    /// Compares what every layout gives on a tier with the reference and with the bits of other tiers.
    fn check(&self, exec: &Exec, first: &mut Option<Vec<Vec<f32>>>) {
        let what = format!("{}: {:?} {:?} {:?}", exec.isa(), self.kind, self.reduction, self.shapes);
        let plain = self.run(exec, LAID[0]);
        let n = count(&self.full);
        for (number, (got, (want, terms))) in plain.iter().zip(self.reference()).enumerate() {
            let allowed = terms.into_iter().map(|terms| tolerance(n, terms));
            assert_close(format!("{what}, result {number}"), 1, got, want, allowed);
        }
        for laid in &LAID[1..] {
            same(&format!("{what}: {laid:?}"), &self.run(exec, *laid), &plain);
        }
        if is_fused(exec.isa()) {
            same(&what, &plain, first.get_or_insert_with(|| plain.clone()));
        }
    }
}

fn problems() -> Vec<Problem> {
    let shapes: [&[usize]; 9] = [&[], &[1], &[7], &[33], &[130], &[3, 17], &[17, 3], &[2, 3, 5], &[2, 1, 3, 2]];
    let mut all = Vec::new();
    for kind in KINDS {
        for reduction in REDUCTIONS {
            for shape in shapes {
                all.push(Problem::new(kind, reduction, [shape, shape], [None, None]));
                let last = &shape[shape.len().saturating_sub(1)..];
                let pos = (kind == Kind::Logits).then_some(last);
                if kind.has_weight() {
                    all.push(Problem::new(kind, reduction, [shape, shape], [Some(shape), pos]));
                    all.push(Problem::new(kind, reduction, [shape, shape], [Some(&[1]), pos]));
                }
            }
            for pair in [[&[4, 5][..], &[5][..]], [&[3, 1], &[3, 4]], [&[1], &[2, 3]], [&[2, 1, 3], &[4, 1]]] {
                if kind.is_broadcast() {
                    all.push(Problem::new(kind, reduction, pair, [None, None]));
                }
            }
        }
    }
    // A weight of one element cannot be given to a scalar.
    all.retain(|problem| problem.weights.iter().flatten().all(|(shape, _)| shape.len() <= problem.full.len()));
    all
}

#[test]
fn every_layout_on_every_tier_is_near_the_reference() {
    let problems = problems();
    let mut first = vec![None; problems.len()];
    on_every_tier("losses", |isa| {
        for (problem, first) in problems.iter().zip(&mut first) {
            problem.check(&serial(isa), first);
        }
    });
}

#[test]
fn references_have_the_slopes_of_central_differences() {
    let mut random = Random::new(3);
    for kind in KINDS {
        for _ in 0..200 {
            let [x, t, p] = [kind.domain(), kind.target_domain(), [0.5, 2.0]]
                .map(|domain| f64::from(draw(&mut random, 1, domain)[0]));
            let kinks = match kind {
                Kind::L1 => vec![0.0],
                Kind::SmoothL1(beta) => vec![0.0, f64::from(beta)],
                Kind::Huber(delta) => vec![f64::from(delta)],
                _ => vec![],
            };
            if kinks.iter().any(|kink| ((x - t).abs() - kink).abs() < 1e-3) {
                continue;
            }
            let [dx, dt] = kind.reference_backward(1.5, x, t, p);
            let want = [slope(x, |x| 1.5 * kind.reference(x, t, p)), slope(t, |t| 1.5 * kind.reference(x, t, p))];
            for (got, want) in [dx, dt].into_iter().zip(want) {
                assert!((got - want).abs() <= 1e-4 * (1.0 + want.abs()), "{kind:?} at {x}, {t}: {got}, {want}");
            }
        }
    }
}

/// Values, a shape and weights for one pass of a training step.
struct Batch {
    shape: Vec<usize>,
    x: Vec<f32>,
    t: Vec<f32>,
    w: Vec<f32>,
    samples: Vec<f32>,
}

impl Batch {
    fn new(kind: Kind, shape: &[usize]) -> Self {
        let mut random = Random::new(5);
        let outputs = *shape.last().unwrap_or(&1);
        Self {
            shape: shape.to_vec(),
            x: draw(&mut random, count(shape), kind.domain()),
            t: draw(&mut random, count(shape), kind.target_domain()),
            w: draw(&mut random, outputs, [0.5, 2.0]),
            samples: draw(&mut random, shape[0], [0.0, 2.0]),
        }
    }

    /// The losses and the gradient.
    fn run(&self, kind: Kind, exec: &Exec, weighted: bool, layout: Layout) -> Vec<Vec<f32>> {
        let (x, t) = (Tensor::values(layout, &self.shape, &self.x), Tensor::values(layout, &self.shape, &self.t));
        let w = Tensor::values(layout, &[self.w.len()], &self.w);
        let w = weighted.then(|| w.view());
        let samples = weighted.then_some(&self.samples[..]);
        let (mut losses, mut dx) = (vec![f32::NAN; self.shape[0]], Tensor::poisoned(layout, &self.shape));
        let inp = [x.view().try_into().unwrap(), t.view().try_into().unwrap()];
        let out = (&mut losses[..], dx.view_mut().try_into().unwrap());
        kind.fused(exec, out, 0.375, inp, [w, w], samples).unwrap();
        vec![losses, taken(&dx, "dx")]
    }
}

#[test]
fn one_pass_gives_the_losses_of_samples_and_the_gradient_of_their_sum() {
    let mut first = Vec::new();
    on_every_tier("one pass", |isa| {
        let mut number = 0;
        for kind in KINDS {
            for shape in [[1, 1], [5, 1], [7, 33], [40, 70], [300, 65], [2, 9000]] {
                for weighted in [false, true] {
                    let batch = Batch::new(kind, &shape);
                    let got = batch.run(kind, &serial(isa), weighted, Layout::Dense);
                    check_pass(&format!("{isa}: {kind:?} {shape:?}"), kind, &batch, weighted, &got);
                    for layout in [Layout::Transposed, Layout::Reversed, Layout::Padded] {
                        same(&format!("{kind:?} {layout:?}"), &batch.run(kind, &serial(isa), weighted, layout), &got);
                    }
                    if is_fused(isa) {
                        if first.len() == number {
                            first.push(got.clone());
                        }
                        same(&format!("{isa}: {kind:?} {shape:?}"), &got, &first[number]);
                    }
                    number += 1;
                }
            }
        }
    });
}

fn check_pass(what: &str, kind: Kind, batch: &Batch, weighted: bool, got: &[Vec<f32>]) {
    let outputs = batch.shape[1];
    let (mut losses, mut dx) = (vec![0.0; batch.shape[0]], vec![0.0; batch.x.len()]);
    let (mut loss_terms, mut dx_terms) = (losses.clone(), dx.clone());
    for (number, index) in numbered(&batch.shape) {
        let weight = |values: &[f32], at: usize| if weighted { f64::from(values[at]) } else { 1.0 };
        let (sample, p) = (weight(&batch.samples, index[0]), weight(&batch.w, index[1]));
        let w = sample * if kind.has_weight() { p } else { 1.0 } / outputs as f64;
        let (x, t) = (batch.x[number].into(), batch.t[number].into());
        let terms = kind.terms(x, t, p);
        losses[index[0]] += w * kind.reference(x, t, p);
        loss_terms[index[0]] += w * terms[0];
        [dx[number], _] = kind.reference_backward(0.375 * w, x, t, p);
        dx_terms[number] = 0.375 * w * terms[1];
    }
    let allowed = |terms: Vec<f64>| terms.into_iter().map(move |terms| tolerance(outputs, terms));
    assert_close(format!("{what}: losses"), 1, &got[0], losses, allowed(loss_terms));
    assert_close(format!("{what}: gradient"), 1, &got[1], dx, allowed(dx_terms));
}

#[test]
fn threads_give_the_same_bits() {
    for kind in KINDS {
        let problem = |reduction| Problem::new(kind, reduction, [&[37, 70], &[37, 70]], [None, None]);
        let batch = Batch::new(kind, &[90, 130]);
        let run = |exec: &Exec| {
            let mut all: Vec<Vec<f32>> =
                REDUCTIONS.into_iter().flat_map(|reduction| problem(reduction).run(exec, LAID[0])).collect();
            all.extend(batch.run(kind, exec, true, Layout::Dense));
            all
        };
        let alone = run(&Exec::serial().unwrap());
        for pool in pools() {
            until_two_workers(&pool, || same(&format!("{kind:?}"), &run(&pool), &alone));
        }
    }
}

#[test]
fn long_means_are_the_same_on_threads() {
    let mut random = Random::new(6);
    let (x, t) = (draw(&mut random, 200_000, [-1.0, 1.0]), draw(&mut random, 200_000, [-1.0, 1.0]));
    let mean = |exec: &Exec| {
        let (x, t) = (View::new(&x, &[400, 500]).unwrap(), View::new(&t, &[400, 500]).unwrap());
        let mut loss = f32::NAN;
        mse::forward(exec, ViewMut::scalar(&mut loss), x, t, None, Reduction::Mean).unwrap();
        [loss, loss::mean(exec, x.as_slice().unwrap(), 7.0)]
    };
    let alone = mean(&Exec::serial().unwrap());
    for pool in pools() {
        until_two_workers(&pool, || assert_same_bits("mean", 1, &mean(&pool), &alone));
    }
}

#[test]
fn a_sample_alone_is_the_sample_in_a_batch() {
    for kind in KINDS {
        let batch = Batch::new(kind, &[70, 45]);
        let all = batch.run(kind, &Exec::serial().unwrap(), true, Layout::Dense);
        for row in [0, 31, 69] {
            let part = |values: &[f32]| values[row * 45..(row + 1) * 45].to_vec();
            let one = Batch {
                shape: vec![1, 45],
                x: part(&batch.x),
                t: part(&batch.t),
                w: batch.w.clone(),
                samples: vec![batch.samples[row]],
            };
            let alone = one.run(kind, &Exec::serial().unwrap(), true, Layout::Dense);
            same(&format!("{kind:?} row {row}"), &alone, &[vec![all[0][row]], part(&all[1])]);
        }
    }
}

/// `x`, target, loss, gradient of `x` and of the target.
type Special = (f32, f32, f32, f32, f32);

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

fn specials(kind: Kind) -> Vec<Special> {
    let both = [(NAN, 0.5, NAN, NAN, NAN), (0.5, NAN, NAN, NAN, NAN)];
    let mut rows: Vec<Special> = match kind {
        Kind::Mse => vec![
            (INF, 1.0, INF, INF, -INF),
            (1.0, INF, INF, -INF, INF),
            (INF, INF, NAN, NAN, NAN),
            (2.5, 2.5, 0.0, 0.0, 0.0),
            (3e38, -3e38, INF, INF, -INF),
            (1e-45, 0.0, 0.0, 3e-45, -3e-45),
        ],
        Kind::L1 | Kind::SmoothL1(0.0) => vec![
            (INF, 1.0, INF, 1.0, -1.0),
            (-INF, 1.0, INF, -1.0, 1.0),
            (INF, INF, NAN, NAN, NAN),
            (2.5, 2.5, 0.0, 0.0, 0.0),
            (-0.0, 0.0, 0.0, 0.0, 0.0),
            (1e-45, 0.0, 1e-45, 1.0, -1.0),
        ],
        Kind::SmoothL1(_) => vec![(INF, 1.0, INF, 1.0, -1.0), (0.0, INF, INF, -1.0, 1.0), (2.5, 2.5, 0.0, 0.0, 0.0)],
        Kind::Huber(delta) => {
            vec![(INF, 1.0, INF, delta, -delta), (0.0, INF, INF, -delta, delta), (2.5, 2.5, 0.0, 0.0, 0.0)]
        }
        Kind::Bce => vec![
            (0.0, 0.0, 0.0, 0.0, INF),
            (1.0, 1.0, 0.0, 0.0, -INF),
            (0.0, 1.0, 100.0, -1e12, INF),
            (1.0, 0.0, 100.0, 1e12, -INF),
            (1e-10, 0.0, 1e-10, 1.0, 23.025_85),
            (1.5, 0.0, NAN, 1.5e12, NAN),
            (-0.5, 1.0, NAN, -1.5e12, NAN),
        ],
        Kind::Logits => vec![
            (200.0, 1.0, 0.0, 0.0, -200.0),
            (-200.0, 1.0, 200.0, -1.0, 200.0),
            (200.0, 0.0, 200.0, 1.0, -200.0),
            (-200.0, 0.0, 0.0, 0.0, 200.0),
            (3e38, 0.0, 3e38, 1.0, -3e38),
            (INF, 0.0, INF, 1.0, -INF),
            (-INF, 1.0, INF, -1.0, INF),
        ],
    };
    rows.extend(both);
    // The target's gradient of both binary cross-entropies does not depend on the target.
    if !kind.is_broadcast() {
        let dt = if kind == Kind::Bce { 0.0 } else { -0.5 };
        rows.last_mut().unwrap().4 = dt;
    }
    rows
}

#[test]
fn special_values_are_what_the_table_says_in_every_lane() {
    on_every_tier("special values", |isa| {
        let exec = serial(isa);
        for kind in KINDS {
            for (x, t, loss, dx, dt) in specials(kind) {
                for (n, place) in [(1, 0), (5, 4), (16, 7), (17, 16), (35, 20), (64, 63), (70, 66)] {
                    let (mut xs, mut ts) = (vec![0.25; n], vec![0.75; n]);
                    (xs[place], ts[place]) = (x, t);
                    let shape = [n];
                    let read = Read {
                        x: View::new(&xs, &shape).unwrap(),
                        t: View::new(&ts, &shape).unwrap(),
                        w: None,
                        p: None,
                    };
                    let mut out = [vec![NAN; n], vec![NAN; n], vec![NAN; n]];
                    let [y, gx, gt] = &mut out;
                    let (none, one) = (Reduction::None, View::scalar(&1.0).broadcast_to(&shape).unwrap());
                    kind.forward(&exec, ViewMut::new(y, &shape).unwrap(), read, none).unwrap();
                    let gx = ViewMut::new(gx, &shape).unwrap();
                    kind.backward(&exec, Of::Prediction, gx, one, read, none).unwrap();
                    let gt = ViewMut::new(gt, &shape).unwrap();
                    kind.backward(&exec, Of::Target, gt, one, read, none).unwrap();
                    for (got, want) in out.iter().zip([loss, dx, dt]) {
                        let got = got[place];
                        let near = (got - want).abs() <= 4.0 * f32::EPSILON * want.abs();
                        let fits = got == want || near || (got.is_nan() && want.is_nan());
                        assert!(fits, "{isa}: {kind:?} of {x}, {t}: {got:e}, wanted {want:e}");
                        assert!(
                            n == 1 || !out[0][(place + 1) % n].is_nan(),
                            "{isa}: {kind:?}: the neighbour of {x}, {t}"
                        );
                    }
                }
            }
        }
    });
}

#[test]
fn losses_of_nothing() {
    let exec = Exec::serial().unwrap();
    for kind in KINDS {
        for (reduction, want) in [(Reduction::Sum, 0.0), (Reduction::Mean, NAN)] {
            let nothing = View::new(&[], &[3, 0]).unwrap();
            let read = Read { x: nothing, t: nothing, w: None, p: None };
            let mut loss = 7.0;
            kind.forward(&exec, ViewMut::scalar(&mut loss), read, reduction).unwrap();
            assert_same_bits(format!("{kind:?}"), 1, &[loss], &[want]);
            let dx = ViewMut::new(&mut [], &[3, 0]).unwrap();
            kind.backward(&exec, Of::Prediction, dx, View::scalar(&1.0), read, reduction).unwrap();
        }
        for weight in [None, Some(View::new(&[1.0], &[1]).unwrap())] {
            for (batch, outputs) in [(3, 0), (0, 3)] {
                let (mut losses, nothing) = (vec![7.0; batch], Mat::new(&[], batch, outputs).unwrap());
                let out = (&mut losses[..], MatMut::new(&mut [], batch, outputs).unwrap());
                kind.fused(&exec, out, 1.0, [nothing; 2], [weight; 2], None).unwrap();
                assert!(losses.iter().all(|loss| loss.is_nan()));
            }
        }
    }
    assert!(loss::mean(&exec, &[], 0.0).is_nan());
}

#[test]
fn totals_of_weights() {
    let exec = Exec::serial().unwrap();
    assert_eq!(loss::weights_total(&exec, 3, None), 3.0);
    assert_eq!(loss::weights_total(&exec, 3, Some(&[0.5, 0.25, 2.0])), 2.75);
}
