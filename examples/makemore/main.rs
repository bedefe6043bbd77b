//! The main job: the notebook's exercise 4, a network that learns to make more words like those it is shown.
//!
//! ```text
//! cargo run --release --example makemore
//! cargo run --release --example makemore -- --data words.txt --out out
//! ```
//!
//! It reads words, one a line, splits them 80/10/10, trains `embedding, linear, batch norm, tanh, linear` on windows of
//! `--context` characters with plain SGD, sets the normalisation's statistics to those of the training set, and prints
//! words of its own. The last line on stdout is JSON with the losses and the times. With `--out DIR` it writes
//! `model.safetensors` (`PyTorch`'s names and shapes) and `loss.svg`; without it, nothing. Whatever is wrong with the
//! input is said in one sentence on stderr; the exit code is then 2 and nothing is written.

mod data;
mod output;
#[path = "../shared/mod.rs"]
mod shared;
mod train;
mod words;

use clap::Parser;
use data::Dataset;
use handgrad::Predictor;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use serde_json::json;
use shared::{Result, files};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use words::Words;

/// Trains the makemore network on a list of words, with hand-written gradients, and makes more of them.
#[derive(Clone, Debug, Parser)]
#[command(name = "makemore", version)]
struct Args {
    /// Words, one a line, in any alphabet; without it, the names that this program carries
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Minibatches to train on
    #[arg(long, default_value_t = 200_000)]
    steps: usize,
    /// Width of the hidden layer
    #[arg(long, default_value_t = 200)]
    hidden: usize,
    /// Numbers for a character
    #[arg(long, default_value_t = 10)]
    embedding: usize,
    /// Characters that the next one is guessed from
    #[arg(long, default_value_t = 3)]
    context: usize,
    /// Samples in a minibatch
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Learning rate of the first half; a tenth of it in the second
    #[arg(long, default_value_t = 0.1, allow_negative_numbers = true)]
    lr: f32,
    /// Where the random numbers come from: initial parameters, minibatches, words
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads at most; 0 for one per CPU. The results do not depend on it
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Words to make and print
    #[arg(long, default_value_t = 20)]
    samples: usize,
    /// Directory for the model and the picture of the loss
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// No progress bar and no words: only the line of JSON
    #[arg(long)]
    quiet: bool,
}

/// What a generator of random numbers is for; each has a stream of its own, so that none depends on another's length.
#[derive(Clone, Copy)]
enum Purpose {
    Parameters,
    Minibatches,
    Words,
}

impl Args {
    /// Refuses sizes that no data could make sense of.
    fn check(&self) -> Result<()> {
        let Args { steps, hidden, embedding, context, batch, lr, threads, .. } = *self;
        shared::check_positive([("steps", steps), ("hidden", hidden), ("embedding", embedding), ("context", context)])?;
        if batch < 2 {
            return Err("--batch must be at least 2, because one sample has no variance to normalise by".into());
        }
        shared::check_lr(lr)?;
        shared::check_threads(threads)
    }

    /// Refuses sizes that would not fit this data, or any memory.
    fn check_against(&self, words: &Words<'_>) -> Result<()> {
        let Args { hidden, embedding, context, batch, .. } = *self;
        let (vocab, samples) = (words.vocabulary.len(), words.samples());
        let width = context.saturating_mul(embedding);
        let parameters =
            hidden.saturating_mul(width.saturating_add(vocab)).saturating_add(vocab.saturating_mul(embedding));
        let activations = batch.saturating_mul(width.saturating_add(hidden).saturating_add(vocab));
        let parts = [parameters, activations, samples.saturating_mul(context)];
        shared::check_memory("--hidden, --embedding, --context and --batch", parts)
    }

    fn rng(&self, purpose: Purpose) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(purpose as u64);
        rng
    }
}

fn run(args: &Args, start: Instant) -> Result<()> {
    args.check()?;
    let text = data::read(args.data.as_deref())?;
    let words = Words::parse(&text).map_err(|error| format!("{}: {error}", data::name(args.data.as_deref())))?;
    args.check_against(&words)?;
    let data = Dataset::split(words, args.context);
    shared::check_batch(args.batch, data.train.len(), "samples")?;
    let exec = shared::exec(args.threads)?;
    let mut trainer = train::build(args, data.vocabulary.len(), &exec)?;
    if let Some(dir) = &args.out {
        files::prepare(dir)?;
    }

    let run = exec.install(|| train::train(&mut trainer, &data.train, args))?;
    let (mut predictor, losses) = exec.install(|| -> handgrad::Result<_> {
        trainer.calibrate(&data.train.tokens)?;
        let mut predictor = Predictor::new(&trainer)?;
        let mut loss = |part: &data::Samples| predictor.loss(&part.tokens, &part.labels);
        let losses = [loss(&data.train)?, loss(&data.val)?, loss(&data.test)?];
        Ok((predictor, losses))
    })?;
    if let Some(dir) = &args.out {
        files::write(
            dir,
            &[
                ("model.safetensors", output::model(&trainer, &data.vocabulary, args)?),
                ("loss.svg", output::picture(&run)?.into_bytes()),
            ],
        )?;
    }

    let mut stdout = std::io::stdout().lock();
    if !args.quiet {
        let mut rng = args.rng(Purpose::Words);
        for _ in 0..args.samples {
            writeln!(stdout, "{}", train::make_word(&mut predictor, &data, args.context, &mut rng)?)?;
        }
    }
    let [train_loss, val_loss, test_loss] = losses;
    let line = json!({
        "train_loss": train_loss,
        "val_loss": val_loss,
        "test_loss": test_loss,
        "steps": args.steps,
        "seconds": start.elapsed().as_secs_f64(),
        "train_seconds": run.seconds,
        "us_per_step": run.seconds / args.steps as f64 * 1e6,
        "isa": exec.isa().name(),
        "threads": exec.threads(),
    });
    writeln!(stdout, "{line}")?;
    Ok(())
}

fn main() -> ExitCode {
    let start = Instant::now();
    shared::exit("makemore", run(&Args::parse(), start))
}
