//! Every loss, with all its choices and with weights of the samples: the loss and all gradients against central
//! differences of its definition in f64, through a network.

use super::gradients::Truth;
use super::{DENSE, linear};
use crate::common::reference::Rows;
use crate::common::{serial, tiers};
use handgrad::kernels::op::{binary_cross_entropy_with_logits as bce, huber, smooth_l1};
use handgrad::kernels::view::Mat;
use handgrad::{Activation, BceWithLogits, CrossEntropy, Loss, Mlp, Target, Targets};

const BATCH: usize = super::gradients::BATCH;
const OUTPUTS: usize = 3;

/// The losses; `ignore_index` leaves out what is labelled 1.
fn losses() -> Vec<Loss> {
    let cross = CrossEntropy::default;
    vec![
        Loss::cross_entropy(),
        Loss::CrossEntropy(CrossEntropy { label_smoothing: 0.2, ..cross() }),
        Loss::CrossEntropy(CrossEntropy { class_weights: vec![0.5, 2.0, 1.25], ..cross() }),
        Loss::CrossEntropy(CrossEntropy { ignore_index: Some(1), ..cross() }),
        Loss::CrossEntropy(CrossEntropy {
            label_smoothing: 0.1,
            class_weights: vec![0.5, 2.0, 1.25],
            ignore_index: Some(-7),
        }),
        Loss::Mse,
        Loss::L1,
        Loss::Huber { delta: 0.6 },
        Loss::SmoothL1 { beta: 0.4 },
        Loss::bce_with_logits(),
        Loss::BceWithLogits(BceWithLogits { pos_weight: vec![0.5, 3.0, 1.5] }),
    ]
}

/// The targets of a batch: labels for a cross-entropy if `labels`, else numbers.
#[derive(Clone)]
struct Goal {
    labels: Option<Vec<i64>>,
    values: Vec<f32>,
    weights: Option<Vec<f32>>,
}

impl Goal {
    fn new(loss: &Loss, labels: bool, weighted: bool) -> Self {
        let ignored = if let Loss::CrossEntropy(CrossEntropy { ignore_index: Some(-7), .. }) = loss { -7 } else { 0 };
        let label = |i: usize| if i == 2 { ignored } else { (i * 2 % OUTPUTS) as i64 };
        let is_class = matches!(loss, Loss::CrossEntropy(_));
        let value = |place: usize| {
            let (i, j) = (place / OUTPUTS, place % OUTPUTS);
            let raw = ((i * 5 + j * 3) % 7) as f32 / 7.0;
            // Probabilities sum to one.
            if is_class { [raw, (1.0 - raw) * 0.25, (1.0 - raw) * 0.75][j] } else { raw }
        };
        Self {
            labels: (labels && is_class).then(|| (0..BATCH).map(label).collect()),
            values: (0..BATCH * OUTPUTS).map(value).collect(),
            weights: weighted.then(|| (0..BATCH).map(|i| 0.25 + (i % 3) as f32).collect()),
        }
    }

    fn targets(&self) -> Targets<'_> {
        let targets: Targets<'_> = match &self.labels {
            Some(labels) => labels.into(),
            None => (&self.values).into(),
        };
        self.weights.as_ref().map_or(targets, |weights| targets.weighted(weights))
    }
}

/// The loss by its definition.
fn definition(loss: &Loss, goal: &Goal, outputs: &Rows) -> f64 {
    let (mut sum, mut total) = (0.0, 0.0);
    for i in 0..outputs.count() {
        let row = outputs.row(i);
        let target: Vec<f64> = goal.values[i * OUTPUTS..][..OUTPUTS].iter().map(|&t| t.into()).collect();
        let weight = goal.weights.as_ref().map_or(1.0, |weights| weights[i].into());
        let mean = |f: &dyn Fn(usize) -> f64| (0..OUTPUTS).map(f).sum::<f64>() / OUTPUTS as f64;
        let (value, counts) = match loss {
            Loss::CrossEntropy(choices) => cross_entropy(choices, goal.labels.as_ref().map(|l| l[i]), &target, row),
            Loss::Mse => (mean(&|j| (row[j] - target[j]).powi(2)), 1.0),
            Loss::L1 => (mean(&|j| (row[j] - target[j]).abs()), 1.0),
            &Loss::Huber { delta } => (mean(&|j| huber::reference(row[j], target[j], delta.into())), 1.0),
            &Loss::SmoothL1 { beta } => (mean(&|j| smooth_l1::reference(row[j], target[j], beta.into())), 1.0),
            Loss::BceWithLogits(BceWithLogits { pos_weight }) => {
                let positive = |j: usize| pos_weight.get(j).map_or(1.0, |&p| p.into());
                (mean(&|j| bce::reference(row[j], target[j], positive(j))), 1.0)
            }
            _ => panic!("a loss without a definition"),
        };
        sum += weight * value;
        total += weight * counts;
    }
    sum / total
}

/// The loss of a row, and what it counts for in the mean.
fn cross_entropy(choices: &CrossEntropy, label: Option<i64>, target: &[f64], row: &[f64]) -> (f64, f64) {
    let CrossEntropy { label_smoothing, class_weights, ignore_index } = choices;
    let class_weight = |j: usize| class_weights.get(j).map_or(1.0, |&w| f64::from(w));
    if label.is_some() && label == *ignore_index {
        return (0.0, 0.0);
    }
    let smoothing = f64::from(*label_smoothing);
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = row.iter().map(|x| (x - max).exp()).sum::<f64>().ln() + max;
    let terms = row.iter().enumerate().map(|(j, x)| {
        let probability = label.map_or(target[j], |label| f64::from(u8::from(label as usize == j)));
        class_weight(j) * ((1.0 - smoothing) * probability + smoothing / OUTPUTS as f64) * (log_sum - x)
    });
    (terms.sum(), label.map_or(1.0, |label| class_weight(label as usize)))
}

#[test]
fn every_loss_against_its_definition() {
    for loss in losses() {
        for (labels, weighted) in [(true, false), (true, true), (false, false), (false, true)] {
            let goal = Goal::new(&loss, labels, weighted);
            if !labels && !matches!(loss, Loss::CrossEntropy(_)) {
                continue;
            }
            let layers = vec![linear(7), Activation::Silu.into(), linear(OUTPUTS)];
            let mlp = Mlp { input: DENSE, layers, loss: loss.clone() };
            let truth = Truth::new(&mlp, |rows, _| definition(&loss, &goal, rows));
            let what = format!("{loss:?}, weighted: {weighted}, labels: {:?}", goal.labels.is_some());
            tiers::on_every_tier("losses", |isa| {
                let mut trainer = super::gradients::trainer(&mlp, &serial(isa));
                trainer.forward(&truth.x).unwrap();
                let got = f64::from(trainer.backward(goal.targets()).unwrap());
                assert!((got - truth.loss).abs() <= 1e-5 * truth.loss, "{what}: {got}, want {}", truth.loss);
                truth.check(&trainer).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
            });
        }
    }
}

/// A batch in two unequal parts, each with its share of the weights, has the gradients of the whole.
#[test]
fn gradients_of_parts_add_up() {
    let exec = serial(handgrad::Isa::best());
    let mlp = Mlp { input: DENSE, layers: vec![linear(7), Activation::Relu.into(), linear(OUTPUTS)], loss: Loss::Mse };
    let goal = Goal::new(&Loss::Mse, false, false);
    let truth = Truth::new(&mlp, |rows, _| definition(&Loss::Mse, &goal, rows));
    let crate::common::reference::Samples::Dense(x) = &truth.x else { unreachable!("the input is dense") };
    let mut trainer = super::gradients::trainer(&mlp, &exec);
    let features = x.len() / BATCH;
    let mut total = 0.0;
    for rows in [0..2, 2..BATCH] {
        let share = rows.len() as f32 / BATCH as f32;
        trainer.forward(&x[rows.start * features..rows.end * features]).unwrap();
        let targets = Target::Values(&goal.values[rows.start * OUTPUTS..rows.end * OUTPUTS]);
        total += f64::from(trainer.accumulate(targets, share).unwrap()) * f64::from(share);
    }
    assert!((total - truth.loss).abs() <= 1e-5 * truth.loss, "{total}, want {}", truth.loss);
    truth.check_params(&trainer).unwrap();
    trainer.update().unwrap();
    // What was added up is used up: the next gradients stand alone.
    let mut fresh = super::gradients::trainer(&mlp, &exec);
    for name in trainer.names().map(str::to_owned).collect::<Vec<_>>() {
        let values = trainer.param(&name).unwrap().to_vec();
        let mut values = values.into_iter();
        fresh.param_mut(&name).unwrap().fill_with(|| values.next().unwrap());
    }
    for trainer in [&mut trainer, &mut fresh] {
        trainer.forward(&truth.x).unwrap();
        trainer.accumulate(goal.targets(), 1.0).unwrap();
    }
    assert_eq!(trainer.grads().unwrap(), fresh.grads().unwrap());
}

#[test]
fn targets_that_do_not_fit_are_refused() {
    let exec = serial(handgrad::Isa::best());
    let of = |loss: Loss| Mlp { input: DENSE, layers: vec![linear(OUTPUTS)], loss };
    let x = vec![0.5; 2 * 6];
    let refused = |loss: Loss, targets: Targets<'_>, says: &str| {
        let mut trainer = super::gradients::trainer(&of(loss), &exec);
        let before = trainer.params().to_vec();
        let text = trainer.step(&x, targets).unwrap_err().to_string();
        assert!(text.contains(says), "{text}, wanted {says}");
        assert_eq!(trainer.params(), before);
    };
    let numbers = [0.5; 6];
    let values = || Targets::from(&numbers[..]);
    refused(Loss::Mse, (&[0, 1][..]).into(), "target must be numbers, got labels");
    refused(Loss::Mse, (&numbers[..5]).into(), "target must be 2x3 numbers, got 5");
    refused(Loss::Mse, Mat::new(&numbers, 3, 2).unwrap().into(), "target must be 2x3, got 3x2");
    refused(Loss::cross_entropy(), (&[0, 3][..]).into(), "label 3 of sample 1 must be in 0..3");
    let ignoring = Loss::CrossEntropy(CrossEntropy { ignore_index: Some(-100), ..CrossEntropy::default() });
    refused(ignoring, (&[-100, -1][..]).into(), "label -1 of sample 1 must be in 0..3");
    refused(Loss::Mse, values().weighted(&[1.0]), "number of weights must be 2, got 1");
    refused(Loss::Mse, values().weighted(&[1.0, -0.5]), "weight of a sample must be finite and at least 0, got -0.5");
    refused(Loss::Mse, values().weighted(&[1.0, f32::NAN]), "weight of a sample must be finite");
    refused(Loss::Mse, values().weighted(&[0.0, 0.0]), "weight of a sample must be positive for at least one");
    let bad = |loss: Loss| of(loss).outputs().unwrap_err().to_string();
    let weights = Loss::CrossEntropy(CrossEntropy { class_weights: vec![1.0; 2], ..CrossEntropy::default() });
    assert!(bad(weights).contains("class_weights must be none, or one for each output, got 2"));
    assert!(bad(Loss::Huber { delta: 0.0 }).contains("delta must be finite and positive, got 0"));
    assert!(bad(Loss::SmoothL1 { beta: f32::NAN }).contains("beta must be finite and at least 0, got NaN"));
    let smooth = Loss::CrossEntropy(CrossEntropy { label_smoothing: 1.5, ..CrossEntropy::default() });
    assert!(bad(smooth).contains("label_smoothing must be between 0 and 1, got 1.5"));
}
