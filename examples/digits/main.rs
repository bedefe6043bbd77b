//! A network that learns to read digits of 8x8 pixels, which this program carries: the smallest example of a
//! classifier.
//!
//! ```text
//! cargo run --release --example digits
//! cargo run --release --example digits -- --hidden 128,64 --out out
//! ```
//!
//! Of the 1,797 images, described in `data/README.md`, it learns from 1,437 and judges by the other 360. The network,
//! the options, the line of JSON at the end and the files of `--out DIR` are those of the example `mnist`. The default
//! settings were chosen with `--validate 287`, without the images that it is judged by.

#[path = "../classifier/mod.rs"]
mod classifier;
#[path = "../shared/mod.rs"]
mod shared;

use clap::Parser;
use classifier::{CLASSES, Images, Settings};
use flate2::read::GzDecoder;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use shared::Result;
use std::io::Read;
use std::process::ExitCode;
use std::time::Instant;

/// 64 pixels and the digit a line, as described in `data/README.md`.
const DIGITS: &[u8] = include_bytes!("../../data/digits.csv.gz");

/// Images that are learnt from, four in five.
const TRAIN: usize = 1437;

/// The same images are always held out, so that runs with different seeds can be compared.
const SPLIT_SEED: u64 = 42;

/// Trains a network on handwritten digits, with hand-written gradients.
#[derive(Debug, Parser)]
#[command(name = "digits", version)]
struct Args {
    #[command(flatten)]
    settings: Settings,
}

/// The images to learn from and to judge by.
fn images() -> Result<[Images; 2]> {
    let mut text = String::new();
    GzDecoder::new(DIGITS).read_to_string(&mut text)?;
    let mut lines: Vec<_> = text.lines().collect();
    lines.shuffle(&mut ChaCha8Rng::seed_from_u64(SPLIT_SEED));
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for line in lines {
        let mut numbers = line.split(',').map(str::parse).collect::<Result<Vec<u8>, _>>()?;
        let label = numbers.pop().filter(|&label| usize::from(label) < CLASSES);
        labels.push(label.ok_or("a line without a digit")?);
        pixels.append(&mut numbers);
    }
    Ok(Images::new(pixels, labels).split(TRAIN))
}

fn run(args: &Args, start: Instant) -> Result<()> {
    args.settings.check()?;
    let [train, test] = images()?;
    classifier::run("digits", &args.settings, train, test, start)
}

fn main() -> ExitCode {
    let start = Instant::now();
    let args = classifier::parse(&[("epochs", "30"), ("hidden", "1024"), ("batch", "32"), ("lr", "0.7")]);
    shared::exit("digits", run(&args, start))
}
