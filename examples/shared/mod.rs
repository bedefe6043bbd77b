//! What the examples share: refusing bad settings, threads, the progress bar, files, pictures of curves.

pub(crate) mod chart;
pub(crate) mod files;

use handgrad::Exec;
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;

/// Whatever goes wrong ends as one sentence on stderr.
pub(crate) type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// More threads than any machine has cores take minutes to start.
const MOST_THREADS: usize = 1024;

/// Numbers that a run may hold, 8 GB at most: sizes beyond that are slips of the keyboard.
const MOST_NUMBERS: usize = 1 << 30;

/// The exit code of a program, 2 if it failed, which it then says.
pub(crate) fn exit(program: &str, result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::from(2)
        }
    }
}

/// Refuses the first of some options that is 0.
pub(crate) fn check_positive<const N: usize>(options: [(&str, usize); N]) -> Result<()> {
    match options.into_iter().find(|&(_, value)| value == 0) {
        Some((name, _)) => Err(format!("--{name} must be at least 1").into()),
        None => Ok(()),
    }
}

/// Refuses learning rates that lead nowhere.
pub(crate) fn check_lr(lr: f32) -> Result<()> {
    if lr > 0.0 && lr.is_finite() { Ok(()) } else { Err(format!("--lr must be a number above 0, got {lr}").into()) }
}

/// Refuses more threads than could be meant.
pub(crate) fn check_threads(threads: usize) -> Result<()> {
    if threads > MOST_THREADS {
        return Err(format!("--threads must be at most {MOST_THREADS}, got {threads}").into());
    }
    Ok(())
}

/// Refuses sizes that would not fit any memory. `parts` add up to the numbers that `options` ask for.
pub(crate) fn check_memory<const N: usize>(options: &str, parts: [usize; N]) -> Result<()> {
    let numbers = parts.into_iter().fold(0, usize::saturating_add);
    if numbers > MOST_NUMBERS {
        return Err(format!("{options} ask for {numbers} numbers in memory, {MOST_NUMBERS} is the most").into());
    }
    Ok(())
}

/// Refuses a minibatch of more samples than there are to learn from.
pub(crate) fn check_batch(batch: usize, samples: usize, what: &str) -> Result<()> {
    if batch > samples {
        let message = format!("--batch {batch} is larger than the training data, which has {samples} {what}");
        return Err(message.into());
    }
    Ok(())
}

/// What runs the kernels on so many threads.
pub(crate) fn exec(threads: usize) -> Result<Exec> {
    Ok(if threads == 1 { Exec::serial()? } else { Exec::with_threads(threads)? })
}

/// The bar of a training loop; its message is the loss. Drawn on stderr, if that is a terminal. To be moved once a
/// window of steps, so that it costs the loop nothing.
pub(crate) fn progress_bar(steps: usize) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} steps, loss {msg}, {per_sec}, {eta} left")
            .expect("the template is well formed");
    ProgressBar::new(steps as u64).with_style(style).with_message("?")
}
