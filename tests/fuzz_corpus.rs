//! The fuzz targets' bodies, replayed over the corpora that are kept in `fuzz/corpus/`.

#[path = "../fuzz/cases/gemm.rs"]
mod gemm;

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

#[test]
fn gemm_corpus() {
    replay("gemm", gemm::check);
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
