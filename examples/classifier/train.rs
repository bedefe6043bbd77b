//! The network and its training loop.

use super::images::{Batch, Images};
use super::{CLASSES, Data, Score, Settings, evaluate};
use crate::shared::{self, Result};
use handgrad::{Activation, Exec, Input, Layer, Linear, Loss, Mlp, Options, Predictor, Schedule, Trainer};
use indicatif::ProgressBar;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use std::io::Write as _;
use std::time::Instant;

/// Points of the training curve in an epoch, at most.
const POINTS: usize = 20;

/// Linear layers with relu between them, from pixels to classes.
pub(super) fn build(settings: &Settings, images: &Images, exec: &Exec) -> Result<Trainer> {
    let hidden = settings.hidden.iter();
    let mut layers: Vec<Layer> =
        hidden.flat_map(|&width| [Linear::new(width).into(), Activation::Relu.into()]).collect();
    layers.push(Linear::new(CLASSES).into());
    let mlp = Mlp { input: Input::Dense { features: images.size() }, layers, loss: Loss::cross_entropy() };
    let Settings { epochs, batch, lr, seed, .. } = *settings;
    let total = epochs.saturating_mul(settings.steps(images.len())) as u64;
    // The optimiser is plain gradient descent, whose update is fused into the backward pass.
    let options = Options { max_batch: batch, lr, seed, schedule: Schedule::one_cycle(total), ..Options::default() };
    Ok(Trainer::new(&mlp, options, exec)?)
}

/// What is left of a run besides the parameters.
pub(super) struct Run {
    /// Epochs done, and the mean loss of the minibatches since the point before.
    pub(super) training: Vec<(f64, f64)>,
    /// How the network did on the held-out images after each epoch.
    pub(super) held_out: Vec<Score>,
    /// After the last one.
    pub(super) last: Score,
    pub(super) steps: usize,
    /// The time of the training, without that of judging.
    pub(super) seconds: f64,
}

/// Trains on every image once an epoch, in another order each time. To be called inside [`Exec::install`].
pub(super) fn train(trainer: &mut Trainer, data: &Data, settings: &Settings) -> Result<Run> {
    let Settings { epochs, batch, lr, seed, quiet, .. } = *settings;
    let exec = trainer.exec().clone();
    let images = &data.train;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(1); // the parameters are drawn from stream 0
    let mut order: Vec<usize> = (0..images.len()).collect();
    let mut minibatch = Batch::new(&exec, data.scale, images.size());
    let mut block = Batch::new(&exec, data.scale, images.size());
    let in_epoch = settings.steps(images.len());
    let window = in_epoch.div_ceil(POINTS);
    let bar = if quiet { ProgressBar::hidden() } else { shared::progress_bar(epochs.saturating_mul(in_epoch)) };
    let (mut training, mut held_out, mut steps, mut seconds) = (Vec::new(), Vec::new(), 0, 0.0);

    for epoch in 1..=epochs {
        let start = Instant::now();
        order.shuffle(&mut rng);
        let mut done = 0;
        for part in order.chunks(window.saturating_mul(batch)) {
            let (mut sum, mut last) = (0.0, 0.0);
            for places in part.chunks(batch) {
                let (x, y) = minibatch.take(images, places);
                last = trainer.step(x, y)?;
                sum += f64::from(last) * places.len() as f64;
                steps += 1;
            }
            let mean = sum / part.len() as f64;
            if !mean.is_finite() {
                bar.abandon();
                return Err(format!("the loss became {last} before step {steps}; try a smaller --lr than {lr}").into());
            }
            done += part.len();
            training.push(((epoch - 1) as f64 + done as f64 / images.len() as f64, mean));
            bar.set_message(format!("{mean:.4}"));
            bar.set_position(steps as u64);
        }
        seconds += start.elapsed().as_secs_f64();

        let score = evaluate(&mut Predictor::new(trainer)?, &data.held_out, &mut block)?;
        held_out.push(score);
        if !quiet {
            let (part, Score { loss, accuracy }) = (data.part, score);
            let line = format!("epoch {epoch}: {part} loss {loss:.4}, {part} accuracy {:.2} %", accuracy * 100.0);
            bar.suspend(|| writeln!(std::io::stdout(), "{line}"))?;
        }
    }
    bar.finish();
    let last = *held_out.last().ok_or("there is no epoch")?;
    Ok(Run { training, held_out, last, steps, seconds })
}
