//! The fuzz targets' bodies, replayed over the corpora that are kept in `fuzz/corpus/`.

#[path = "../fuzz/cases/checkpoint.rs"]
mod checkpoint;
#[path = "../fuzz/cases/files.rs"]
mod files;
#[path = "../fuzz/cases/gemm.rs"]
mod gemm;
#[path = "../fuzz/cases/input.rs"]
mod input;
#[path = "../fuzz/cases/losses.rs"]
mod losses;
#[path = "../fuzz/cases/ops.rs"]
mod ops;
#[path = "../fuzz/cases/state.rs"]
mod state;
#[path = "../fuzz/cases/step.rs"]
mod step;
#[path = "../fuzz/cases/tensor.rs"]
mod tensor;
#[path = "../fuzz/cases/views.rs"]
mod views;

use std::fs;
use std::path::Path;

/// Runs a target's body over its corpus, and says what was being run if it fails.
fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", corpus.display());
    for file in &files {
        println!("{}", file.display());
        check(&fs::read(file).unwrap());
    }
    println!("{target}: {} inputs", files.len());
}

/// Inputs of random bytes, seeded; the corpus has what they found.
fn random(check: fn(&[u8]), longest: usize) {
    let count: u64 = std::env::var("HANDGRAD_FUZZ_INPUTS").map_or(100, |text| text.parse().expect("it is a number"));
    for seed in 0..count {
        let mut stream = input::Stream(seed << 20);
        let len = stream.bits() as usize % longest;
        let mut bytes: Vec<u8> = (0..len).map(|_| stream.bits() as u8).collect();
        // Most bytes small: few edges at once.
        if seed.is_multiple_of(2) {
            for byte in &mut bytes {
                *byte = (u32::from(*byte) * u32::from(*byte) / 256) as u8;
            }
        }
        if let Err(panic) = std::panic::catch_unwind(|| check(&bytes)) {
            println!("seed {seed}: {bytes:?}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn gemm_corpus() {
    replay("gemm", gemm::check);
}

#[test]
fn views_corpus() {
    replay("views", views::check);
}

#[test]
fn step_corpus() {
    replay("step", step::check);
}

#[test]
fn checkpoint_corpus() {
    replay("checkpoint", checkpoint::check);
}

#[test]
fn files_corpus() {
    replay("files", files::check);
}

#[test]
fn files_of_random_bytes() {
    random(files::check, 80);
}

#[test]
fn products_of_random_bytes() {
    random(gemm::check, 16);
}

#[test]
fn losses_corpus() {
    replay("losses", losses::check);
}

#[test]
fn losses_of_random_bytes() {
    random(losses::check, 40);
}

#[test]
fn ops_corpus() {
    replay("ops", ops::check);
}

#[test]
fn ops_of_random_bytes() {
    random(ops::check, 60);
}

#[test]
fn views_of_random_bytes() {
    random(views::check, 100);
}

#[test]
fn steps_of_random_bytes() {
    random(step::check, 200);
}

#[test]
fn checkpoints_of_random_bytes() {
    random(checkpoint::check, 24);
}

#[test]
#[should_panic(expected = "its chain is")]
fn a_wrong_bit_is_found() {
    let expected = gemm::Expected { chain: 1.0, exact: 1.0, magnitude: 1.0 };
    gemm::compare(&[1.0 + f32::EPSILON], &[expected], 4, true);
}

#[test]
#[should_panic(expected = "more than")]
fn a_wrong_sum_is_found() {
    let expected = gemm::Expected { chain: 1.0, exact: 1.0, magnitude: 1.0 };
    gemm::compare(&[1.0 + 10.0 * f32::EPSILON], &[expected], 4, false);
}

#[test]
#[should_panic(expected = "should be NaN")]
fn a_dropped_nan_is_found() {
    let expected = gemm::Expected { chain: f32::NAN, exact: f64::NAN, magnitude: f64::NAN };
    gemm::compare(&[0.0], &[expected], 4, false);
}
