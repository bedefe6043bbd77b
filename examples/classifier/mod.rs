//! What `digits` and `mnist` share: options, images, training, the report.

mod images;
mod output;
mod train;

pub(crate) use images::Images;

use crate::shared::{self, Result, files};
use clap::Parser;
use handgrad::Predictor;
use images::{Batch, Scale};
use serde_json::json;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

/// The digits.
pub(crate) const CLASSES: usize = 10;

/// The options of a classifier. Those without a default here have one in each program.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Settings {
    /// Times that every training image is seen
    #[arg(long)]
    epochs: usize,
    /// Widths of the hidden layers
    #[arg(long, value_delimiter = ',', value_name = "WIDTH,…")]
    hidden: Vec<usize>,
    /// Images in a minibatch
    #[arg(long)]
    batch: usize,
    /// The greatest learning rate: it rises to this and falls to almost nothing
    #[arg(long, allow_negative_numbers = true)]
    lr: f32,
    /// Where the random numbers come from: initial parameters, minibatches
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads at most; 0 for one per CPU. The results do not depend on it
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Judge by the last N training images, which are then not learnt from, instead of the test images
    #[arg(long, value_name = "N")]
    validate: Option<usize>,
    /// Directory for the model and the pictures of losses and mistakes
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// No progress bar and no lines on the way: only the line of JSON
    #[arg(long)]
    quiet: bool,
}

/// Reads the command line, with defaults for the options that have none of their own.
pub(crate) fn parse<A: Parser>(defaults: &[(&str, &'static str)]) -> A {
    let with_default = |command: clap::Command, &(option, value): &(&str, &'static str)| {
        command.mut_arg(option, |option| option.required(false).default_value(value))
    };
    let command = defaults.iter().fold(A::command(), with_default);
    A::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

impl Settings {
    /// Refuses sizes that no data could make sense of.
    pub(crate) fn check(&self) -> Result<()> {
        let Settings { epochs, batch, lr, threads, validate, .. } = *self;
        shared::check_positive([("epochs", epochs), ("batch", batch), ("validate", validate.unwrap_or(1))])?;
        for &width in &self.hidden {
            shared::check_positive([("hidden", width)])?;
        }
        shared::check_lr(lr)?;
        shared::check_threads(threads)
    }

    /// Refuses sizes that would not fit these data, or any memory.
    fn check_against(&self, train: &Images) -> Result<()> {
        shared::check_batch(self.batch, train.len(), "images")?;
        let widths = || [train.size()].into_iter().chain(self.hidden.iter().copied()).chain([CLASSES]);
        let weights = widths().zip(widths().skip(1)).map(|(inputs, outputs)| inputs.saturating_mul(outputs));
        let each = widths().fold(0, usize::saturating_add);
        let parts = [weights.fold(0, usize::saturating_add), each.saturating_mul(self.batch)];
        shared::check_memory("--hidden and --batch", parts)
    }

    /// Updates in an epoch of so many images.
    fn steps(&self, images: usize) -> usize {
        images.div_ceil(self.batch)
    }
}

/// What is learnt from, and what is judged by.
struct Data {
    train: Images,
    held_out: Images,
    scale: Scale,
    /// What the held-out images are called: `test` or `val`.
    part: &'static str,
}

/// Trains a network, judges it, and writes what there is to be written.
pub(crate) fn run(program: &str, settings: &Settings, train: Images, test: Images, start: Instant) -> Result<()> {
    let (train, held_out, part) = match settings.validate {
        None => (train, test, "test"),
        Some(held) if held >= train.len() => {
            return Err(format!("--validate {held} leaves none of the {} training images", train.len()).into());
        }
        Some(held) => {
            let at = train.len() - held;
            let [train, val] = train.split(at);
            (train, val, "val")
        }
    };
    settings.check_against(&train)?;
    let data = Data { scale: Scale::of(&train), train, held_out, part };
    let exec = shared::exec(settings.threads)?;
    let mut trainer = train::build(settings, &data.train, &exec)?;
    if let Some(dir) = &settings.out {
        files::prepare(dir)?;
    }

    let run = exec.install(|| train::train(&mut trainer, &data, settings))?;
    let mut predictor = Predictor::new(&trainer)?;
    let mut batch = Batch::new(&exec, data.scale, data.train.size());
    let learnt = exec.install(|| evaluate(&mut predictor, &data.train, &mut batch))?;
    if let Some(dir) = &settings.out {
        let mistakes = exec.install(|| confusion(&mut predictor, &data.held_out, &mut batch))?;
        files::write(
            dir,
            &[
                ("model.safetensors", output::model(&trainer, program, settings, data.scale)?),
                ("loss.svg", output::curves(&run, data.part)?.into_bytes()),
                ("confusion.svg", output::confusion(&mistakes, data.part)?.into_bytes()),
            ],
        )?;
    }

    let line = json!({
        "train_loss": learnt.loss,
        format!("{part}_loss"): run.last.loss,
        format!("{part}_accuracy"): run.last.accuracy,
        "epochs": settings.epochs,
        "steps": run.steps,
        "seconds": start.elapsed().as_secs_f64(),
        "train_seconds": run.seconds,
        "us_per_step": run.seconds / run.steps as f64 * 1e6,
        "isa": exec.isa().name(),
        "threads": exec.threads(),
    });
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

/// How well a network does on a set of images.
#[derive(Clone, Copy)]
struct Score {
    /// The mean.
    loss: f64,
    /// The share of the images that are read right.
    accuracy: f64,
}

fn evaluate(predictor: &mut Predictor, images: &Images, batch: &mut Batch<'_>) -> handgrad::Result<Score> {
    let (mut losses, mut right) = (0.0, 0.0);
    for rows in images.blocks() {
        let (x, y) = batch.take(images, &rows);
        let block = predictor.evaluate(x, y)?;
        losses += block.loss * rows.len() as f64;
        right += (block.accuracy.unwrap_or(f64::NAN) * rows.len() as f64).round();
    }
    Ok(Score { loss: losses / images.len() as f64, accuracy: right / images.len() as f64 })
}

/// How many images of each class are taken for each.
type Confusion = [[usize; CLASSES]; CLASSES];

fn confusion(predictor: &mut Predictor, images: &Images, batch: &mut Batch<'_>) -> handgrad::Result<Confusion> {
    let mut counts = [[0; CLASSES]; CLASSES];
    for rows in images.blocks() {
        let mut classes = vec![0; rows.len()];
        let (x, y) = batch.take(images, &rows);
        predictor.classes(x, &mut classes)?;
        for (&label, class) in y.iter().zip(classes) {
            counts[label as usize][class as usize] += 1;
        }
    }
    Ok(counts)
}
