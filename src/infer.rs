//! Inference: the forward pass alone, normalised by running statistics, over any number of samples.

use crate::batch::{Goal, GoalTarget, Inputs, Samples, Targets, mismatch};
use crate::error::{Error, Result};
use crate::model::{CrossEntropy, Input, Loss};
use crate::plan::{Kind, Plan};
use crate::stage::{self, Mode};
use crate::step::{Trainer, embed};
use crate::tensors::{Buffer, lines, product};
use crate::workspace::{Activations, Purpose, rows, rows_mut, scratch_len};
use handgrad_kernels::Exec;
use handgrad_kernels::op::activation::{self, Activation};
use handgrad_kernels::op::{argmax, softmax};
use handgrad_kernels::view::{Mat, MatMut, ViewMut};
use std::ops::Range;

/// Samples that pass through the network at a time: enough to keep the kernels busy, few enough to stay in cache.
const BLOCK: usize = 256;

/// Blocks of an evaluation that need no more memory: those of a quarter of a million samples.
const BLOCKS: usize = 1024;

/// A trained network for inference, with its own copy of the parameters and of the running statistics. Large sets of
/// samples are divided over the threads of the `Exec`, inside of its [`install`](Exec::install); no result depends on how.
#[derive(Debug)]
pub struct Predictor {
    net: Net,
    workers: Vec<Worker>,
    /// Room for what the blocks of an evaluation add up to.
    sums: Vec<BlockSums>,
}

/// What all workers read.
#[derive(Debug)]
struct Net {
    plan: Plan,
    loss: Loss,
    exec: Exec,
    params: Buffer,
    running: Buffer,
}

/// What one thread writes.
#[derive(Debug)]
struct Worker {
    /// What runs the kernels of this worker.
    exec: Exec,
    activations: Activations,
    scratch: Buffer,
    losses: Buffer,
    /// The gradient of the outputs, which the losses give besides.
    d_outputs: Buffer,
    /// How its part of the work ended.
    result: Result<()>,
}

/// How well a network does on a set of samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// The mean loss.
    pub loss: f64,
    /// The share of the samples whose class is the label, or of the outputs that are on the right side of a half; `None`
    /// where the loss has no classes.
    pub accuracy: Option<f64>,
    /// How many samples counted.
    pub samples: usize,
}

impl Predictor {
    /// Copies what the trainer has learned so far.
    ///
    /// # Errors
    /// If there is no room for it.
    pub fn new(trainer: &Trainer) -> Result<Self> {
        let Trainer { plan, loss, exec, params, running, .. } = trainer;
        Self::build(plan.clone(), loss.clone(), exec, params.copy()?, running.copy()?)
    }

    pub(crate) fn build(plan: Plan, loss: Loss, exec: &Exec, params: Buffer, running: Buffer) -> Result<Self> {
        let serial = Exec::in_current_pool(1)?.with_isa(exec.isa());
        let worker = |exec: &Exec| -> Result<Worker> {
            Ok(Worker {
                activations: Activations::new(&plan, BLOCK, Purpose::Inference)?,
                scratch: Buffer::zeros(scratch_len(&plan, exec, BLOCK))?,
                losses: Buffer::zeros(BLOCK)?,
                d_outputs: Buffer::zeros(product(BLOCK, lines(plan.outputs())?)?)?,
                exec: exec.clone(),
                result: Ok(()),
            })
        };
        // With one worker each kernel is split; with more, the samples are.
        let workers = match exec.threads() {
            1 => vec![worker(exec)?],
            threads => (0..threads).map(|_| worker(&serial)).collect::<Result<_>>()?,
        };
        let sums = Vec::with_capacity(BLOCKS);
        Ok(Self { workers, sums, net: Net { plan, loss, exec: exec.clone(), params, running } })
    }

    /// The width of the outputs.
    #[must_use]
    pub fn output_width(&self) -> usize {
        self.net.plan.outputs()
    }

    /// The outputs of any number of samples, row by row into `outputs` (`samples x outputs`).
    ///
    /// # Errors
    /// If the samples do not fit the model, or `outputs` has another length.
    pub fn predict<'a>(&mut self, x: impl Into<Inputs<'a>>, outputs: &mut [f32]) -> Result<()> {
        let width = self.output_width();
        self.write(x.into(), outputs, width, "length of `outputs`", |exec, out, logits| {
            Ok(activation::forward(exec, MatMut::new(out, logits.rows(), width)?, logits, Activation::Identity)?)
        })
    }

    /// The probability of each class, `samples x outputs`: the softmax of the outputs, or with a binary cross-entropy the
    /// sigmoid of each.
    ///
    /// # Errors
    /// As [`predict`](Predictor::predict), and if the loss is none of these.
    pub fn probabilities<'a>(&mut self, x: impl Into<Inputs<'a>>, probabilities: &mut [f32]) -> Result<()> {
        let width = self.output_width();
        let binary = match self.net.loss {
            Loss::CrossEntropy(_) => false,
            Loss::BceWithLogits(_) => true,
            _ => return Err(no_classes("probabilities")),
        };
        self.write(x.into(), probabilities, width, "length of `probabilities`", |exec, out, logits| {
            let y = MatMut::new(out, logits.rows(), width)?;
            if binary {
                activation::forward(exec, y, logits, Activation::Sigmoid)?;
            } else {
                softmax::forward(exec, y, logits, 1)?;
            }
            Ok(())
        })
    }

    /// The class of each sample: the first of its greatest outputs, or of one that is not a number.
    ///
    /// # Errors
    /// As [`predict`](Predictor::predict).
    pub fn classes<'a>(&mut self, x: impl Into<Inputs<'a>>, classes: &mut [i64]) -> Result<()> {
        self.write(x.into(), classes, 1, "length of `classes`", greatest)
    }

    /// The mean loss over any number of samples.
    ///
    /// # Errors
    /// If samples or targets do not fit the model.
    pub fn loss<'a>(&mut self, x: impl Into<Inputs<'a>>, y: impl Into<Targets<'a>>) -> Result<f64> {
        Ok(self.evaluate(x, y)?.loss)
    }

    /// The mean loss over any number of samples, and how many of them are classed right.
    ///
    /// # Errors
    /// If samples or targets do not fit the model.
    pub fn evaluate<'a>(&mut self, x: impl Into<Inputs<'a>>, y: impl Into<Targets<'a>>) -> Result<Evaluation> {
        let (x, samples) = x.into().check(self.net.plan.input, usize::MAX)?;
        let goal = y.into().check(&self.net.loss, samples, self.net.plan.outputs())?;
        // The sums of each block, which are added from first to last, whichever thread wrote them.
        self.sums.clear();
        self.sums.resize(samples.div_ceil(BLOCK), BlockSums::default());
        let Self { net, workers, sums } = self;
        for_blocks(net, workers, samples, sums, 1, |worker, range, sums| {
            worker.forward(net, x, range.clone(), net.plan.stages.len())?;
            sums[0] = worker.score(net, goal.part(range)?)?;
            Ok(())
        })?;
        let mut all = BlockSums::default();
        for sums in sums {
            all.losses += sums.losses;
            all.weights += sums.weights;
            all.right += sums.right;
            all.judged += sums.judged;
        }
        let has_classes = matches!(net.loss, Loss::CrossEntropy(_) | Loss::BceWithLogits(_));
        Ok(Evaluation {
            loss: all.losses / all.weights,
            accuracy: has_classes.then(|| all.right as f64 / all.judged as f64),
            samples,
        })
    }

    /// Writes `each` numbers a sample from the outputs of blocks of samples.
    fn write<T: Copy + Send>(
        &mut self,
        x: Inputs<'_>,
        out: &mut [T],
        each: usize,
        what: &'static str,
        f: impl Fn(&Exec, &mut [T], Mat<'_>) -> Result<()> + Sync,
    ) -> Result<()> {
        let (x, samples) = x.check(self.net.plan.input, usize::MAX)?;
        if samples.checked_mul(each) != Some(out.len()) {
            return Err(mismatch(what, samples.saturating_mul(each), out.len()));
        }
        let Self { net, workers, .. } = self;
        for_blocks(net, workers, samples, out, each * BLOCK, |worker, range, out| {
            let batch = range.len();
            worker.forward(net, x, range, net.plan.stages.len())?;
            f(&worker.exec, out, worker.outputs(net, batch)?)
        })
    }
}

/// Runs `f` for blocks of samples, each with its `per_block` elements of `out`, on the workers.
fn for_blocks<T: Send>(
    net: &Net,
    workers: &mut [Worker],
    samples: usize,
    out: &mut [T],
    per_block: usize,
    f: impl Fn(&mut Worker, Range<usize>, &mut [T]) -> Result<()> + Sync,
) -> Result<()> {
    let each = samples.div_ceil(BLOCK).div_ceil(workers.len());
    let run = |first: usize, worker: &mut Worker, out: &mut [T]| -> Result<()> {
        for (i, out) in out.chunks_mut(per_block).enumerate() {
            let start = (first + i) * BLOCK;
            f(worker, start..samples.min(start + BLOCK), out)?;
        }
        Ok(())
    };
    net.exec.for_each_part(workers, out, per_block * each, net.nanoseconds(samples), |i, worker, out| {
        worker.result = run(i * each, worker, out);
    });
    workers.iter_mut().try_for_each(|worker| std::mem::replace(&mut worker.result, Ok(())))
}

impl Net {
    /// Nanoseconds of one core for a forward pass over some samples.
    fn nanoseconds(&self, samples: usize) -> usize {
        let each: usize =
            self.plan.stages.iter().map(|stage| stage.inputs.saturating_mul(stage.outputs) / 100 + 10).sum();
        each.saturating_mul(samples)
    }
}

/// What the samples of a block add up to.
#[derive(Clone, Copy, Debug, Default)]
struct BlockSums {
    losses: f64,
    /// What the losses are divided by.
    weights: f64,
    right: usize,
    /// How many could have been right.
    judged: usize,
}

impl Worker {
    /// Passes a block of samples through the first `stages` stages.
    fn forward(&mut self, net: &Net, x: Samples<'_>, range: Range<usize>, stages: usize) -> Result<()> {
        let Net { plan, params, running, .. } = net;
        let Self { exec, activations, scratch, .. } = self;
        let batch = range.len();
        let x = match (x, plan.input) {
            (Samples::Tokens(tokens), Input::Tokens { context, .. }) => {
                Samples::Tokens(&tokens[range.start * context..range.end * context])
            }
            (Samples::Dense(x), _) => Samples::Dense(x.rows_at(range)?),
            (tokens @ Samples::Tokens(_), Input::Dense { .. }) => tokens,
        };
        embed(plan, exec, params, x, batch, activations)?;
        let mut mode = Mode::Inference { running };
        for i in 0..stages {
            stage::forward(plan, exec, i, batch, params, &mut mode, activations, scratch)?;
        }
        Ok(())
    }

    /// The outputs of the last block.
    fn outputs(&self, net: &Net, batch: usize) -> Result<Mat<'_>> {
        Ok(self.activations.value(&net.plan, net.plan.widths.len() - 1, batch)?)
    }

    /// Compares the outputs of a block with its targets.
    fn score(&mut self, net: &Net, goal: Goal<'_>) -> Result<BlockSums> {
        let Self { exec, activations, losses, d_outputs, .. } = self;
        let (plan, batch) = (&net.plan, goal.len());
        let width = plan.outputs();
        let outputs = activations.value(plan, plan.widths.len() - 1, batch)?;
        let losses = &mut losses[..batch];
        let d_outputs = rows_mut(d_outputs, batch, width)?;
        net.loss.forward_backward(exec, losses, d_outputs, 1.0, outputs, goal)?;
        let (right, judged) = match (&net.loss, goal.target) {
            (Loss::CrossEntropy(CrossEntropy { ignore_index, .. }), GoalTarget::Labels(labels)) => {
                let mut classes = [0; BLOCK];
                greatest(exec, &mut classes[..batch], outputs)?;
                let counted = || labels.iter().zip(&classes).filter(|(label, _)| Some(**label) != *ignore_index);
                (counted().filter(|(label, class)| label == class).count(), counted().count())
            }
            (Loss::CrossEntropy(_), GoalTarget::Values(target)) => {
                let [mut classes, mut labels] = [[0; BLOCK]; 2];
                greatest(exec, &mut classes[..batch], outputs)?;
                greatest(exec, &mut labels[..batch], target)?;
                (classes[..batch].iter().zip(&labels).filter(|(label, class)| label == class).count(), batch)
            }
            (Loss::BceWithLogits(_), GoalTarget::Values(target)) => {
                let places = || (0..batch).flat_map(|i| (0..width).map(move |j| (i, j)));
                let right =
                    places().filter(|&(i, j)| (outputs.get(i, j) > Some(0.0)) == (target.get(i, j) > Some(0.5)));
                (right.count(), batch * width)
            }
            _ => (0, 0),
        };
        let losses = losses.iter().map(|&loss| f64::from(loss)).sum();
        Ok(BlockSums { losses, weights: net.loss.total(exec, goal, batch)?.into(), right, judged })
    }
}

/// The place of the greatest number of each row.
fn greatest(exec: &Exec, places: &mut [i64], x: Mat<'_>) -> Result<()> {
    let rows = x.rows();
    argmax::forward(exec, ViewMut::new(places, &[rows])?, x, 1)?;
    Ok(())
}

fn no_classes(what: &'static str) -> Error {
    Error::NotAvailable { what, reason: "the loss of the network has no classes" }
}

/// Mean and sum of squared distances of each column, over the samples seen so far.
struct Moments {
    count: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    fn new(width: usize) -> Self {
        Self { count: 0.0, mean: vec![0.0; width], squares: vec![0.0; width] }
    }

    /// Joins a block of samples (Chan, Golub and `LeVeque` 1979).
    fn join(&mut self, x: Mat<'_>) {
        let (seen, new) = (self.count, x.rows() as f64);
        let total = seen + new;
        for (j, (mean, squares)) in self.mean.iter_mut().zip(&mut self.squares).enumerate() {
            let column = || (0..x.rows()).map(|i| x.get(i, j).map_or(f64::NAN, f64::from));
            let here = column().sum::<f64>() / new;
            let spread = column().map(|x| (x - here) * (x - here)).sum::<f64>();
            let distance = here - *mean;
            *mean += distance * new / total;
            *squares += spread + distance * distance * seen * new / total;
        }
        self.count = total;
    }
}

impl Trainer {
    /// Sets the running statistics of every batch normalisation to those of a whole set of samples, as the notebook does
    /// after training. The variance is the unbiased one.
    ///
    /// # Errors
    /// If the samples do not fit the model, or there are fewer than two.
    pub fn calibrate<'a>(&mut self, x: impl Into<Inputs<'a>>) -> Result<()> {
        let (x, samples) = x.into().check(self.plan.input, usize::MAX)?;
        if samples < 2 {
            return Err(mismatch("number of samples", "at least 2", samples));
        }
        // Stage by stage: what a normalisation sees depends on the statistics of those before it.
        let mut predictor = Predictor::new(self)?;
        let Predictor { net, workers, .. } = &mut predictor;
        for (i, stage) in self.plan.stages.iter().enumerate() {
            let Kind::BatchNorm { mean, var, .. } = stage.kind else { continue };
            let mut moments = Moments::new(stage.inputs);
            for start in (0..samples).step_by(BLOCK) {
                let range = start..samples.min(start + BLOCK);
                workers[0].forward(net, x, range.clone(), i)?;
                moments.join(rows(&workers[0].activations.values[stage.x], range.len(), stage.inputs)?);
            }
            for j in 0..stage.inputs {
                net.running[mean.offset + j] = moments.mean[j] as f32;
                net.running[var.offset + j] = (moments.squares[j] / (moments.count - 1.0)) as f32;
            }
        }
        self.running.copy_from_slice(&predictor.net.running);
        Ok(())
    }
}
