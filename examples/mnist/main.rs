//! A network that learns to read handwritten digits: MNIST, or any other set of images in its format.
//!
//! ```text
//! cargo run --release --example mnist -- --data DIR
//! cargo run --release --example mnist -- --data DIR --threads 2 --out out
//! ```
//!
//! `DIR` holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
//! `t10k-labels-idx1-ubyte`, plain or with `.gz`. It trains `linear, relu, linear, relu, linear` with plain SGD in one
//! cycle of the learning rate, on all training images, and judges by the test images. The last line on stdout is JSON
//! with losses, accuracy and times. With `--out DIR` it writes `model.safetensors` (`PyTorch`'s names and shapes),
//! `loss.svg` and `confusion.svg`; without it, nothing. Whatever is wrong with the input is said in one sentence on
//! stderr; the exit code is then 2 and nothing is written.
//!
//! The default settings were chosen with `--validate 10000`, which learns from the first 50,000 training images, judges
//! by the others and leaves the test images alone.

#[path = "../classifier/mod.rs"]
mod classifier;
mod format;
mod idx;
#[path = "../shared/mod.rs"]
mod shared;

use clap::Parser;
use classifier::Settings;
use shared::Result;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Trains a network on handwritten digits, with hand-written gradients.
#[derive(Debug, Parser)]
#[command(name = "mnist", version)]
struct Args {
    /// Directory with the four files of MNIST, plain or gzipped
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    settings: Settings,
}

fn run(args: &Args, start: Instant) -> Result<()> {
    args.settings.check()?;
    let [train, test] = idx::read(&args.data)?;
    classifier::run("mnist", &args.settings, train, test, start)
}

fn main() -> ExitCode {
    let start = Instant::now();
    let args = classifier::parse(&[("epochs", "10"), ("hidden", "512,512"), ("batch", "128"), ("lr", "0.5")]);
    shared::exit("mnist", run(&args, start))
}
