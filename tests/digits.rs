//! The example `digits` from outside: what it learns, prints and writes, and what it says of bad options.

mod program;

use program::{assert_all_refused, assert_picture, assert_refused, assert_report, empty_dir, files, number, run, text};
use safetensors::SafeTensors;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

fn digits() -> Command {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
        let sources = ["examples/digits", "examples/classifier", "examples/shared", "data/digits.csv.gz"];
        program::example("digits", &sources)
    });
    Command::new(&*PROGRAM)
}

#[test]
fn it_learns_to_read_and_writes_its_files() {
    let dir = empty_dir("digits-default");
    let (lines, json) = run(digits().arg("--out").arg(&dir));
    let names = ["train_loss", "test_loss", "test_accuracy", "epochs", "steps", "seconds"];
    assert_report(&json, &[&names[..], &["train_seconds", "us_per_step", "isa", "threads"]].concat());
    let epochs = number(&json, "epochs") as usize;
    assert_eq!(lines.len(), epochs, "a line an epoch before the JSON");
    assert!(lines[0].starts_with("epoch 1: test loss "), "{}", lines[0]);
    assert!(number(&json, "test_accuracy") >= 0.97, "{json}");
    assert!(number(&json, "train_loss") < number(&json, "test_loss"), "{json}");

    assert_eq!(files(&dir), ["confusion.svg", "loss.svg", "model.safetensors"], "and no temporary file is left");
    assert_picture(&dir.join("loss.svg"), &["log10 loss", "accuracy, %", "epoch", "<polyline"]);
    assert_picture(&dir.join("confusion.svg"), &["test images", "<rect"]);
    let model = fs::read(dir.join("model.safetensors")).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&model).unwrap();
    let about: Value = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["digits"]).unwrap();
    let width = about["hidden"][0].as_u64().unwrap() as usize;
    let model = SafeTensors::deserialize(&model).unwrap();
    let mut shapes: Vec<_> = model.iter().map(|(name, tensor)| (name, tensor.shape().to_vec())).collect();
    shapes.sort();
    let want = [
        ("layers.0.bias", vec![width]),
        ("layers.0.weight", vec![width, 64]),
        ("layers.2.bias", vec![10]),
        ("layers.2.weight", vec![10, width]),
    ];
    assert_eq!(shapes, want);
    // Pixels are 0 to 16; about a third of a picture is ink.
    assert!(
        (4.0..6.0).contains(&number(&about, "mean")) && (5.0..7.0).contains(&number(&about, "deviation")),
        "{about}"
    );
}

#[test]
fn the_seed_decides_everything_and_the_threads_nothing() {
    let results: Vec<_> = [["0", "1"], ["0", "1"], ["0", "2"], ["1", "1"]]
        .iter()
        .enumerate()
        .map(|(i, [seed, threads])| {
            let dir = empty_dir(&format!("digits-seed-{i}"));
            let options = ["--epochs", "2", "--hidden", "256", "--batch", "128", "--seed", seed, "--threads", threads];
            let (lines, json) = run(digits().args(options).arg("--out").arg(&dir));
            assert_eq!(json["threads"].to_string(), *threads);
            let numbers = ["train_loss", "test_loss", "test_accuracy"].map(|name| number(&json, name).to_bits());
            let written: Vec<_> = files(&dir).iter().map(|file| fs::read(dir.join(file)).unwrap()).collect();
            (numbers, lines, written)
        })
        .collect();
    assert!(results[0] == results[1], "the same seed twice gave different results");
    assert!(results[0] == results[2], "two threads gave another result than one");
    assert!(results[0].0 != results[3].0, "another seed gave the same losses");
}

#[test]
fn settings_are_chosen_without_the_test_images() {
    let dir = empty_dir("digits-validate");
    let options = ["--epochs", "1", "--validate", "300", "--batch", "1137", "--quiet"];
    let output = digits().args(options).current_dir(&dir).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 1, "quiet prints the JSON alone");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names = ["train_loss", "val_loss", "val_accuracy", "epochs", "steps", "seconds"];
    assert_report(&json, &[&names[..], &["train_seconds", "us_per_step", "isa", "threads"]].concat());
    assert_eq!(number(&json, "steps"), 1.0, "1137 of the 1437 images are left to learn from");
    assert!(files(&dir).is_empty(), "without a place to write nothing is written");
}

#[test]
fn bad_options_are_one_sentence_and_nothing_written() {
    let dir = empty_dir("digits-bad");
    fs::write(dir.join("file"), "").unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["--epochs", "0"], "--epochs must be at least 1"),
        (&["--batch", "0"], "--batch must be at least 1"),
        (&["--batch", "1438"], "--batch 1438 is larger than the training data, which has 1437 images"),
        (&["--hidden", "0"], "--hidden must be at least 1"),
        (&["--hidden", "8,0"], "--hidden must be at least 1"),
        (&["--hidden", "1000000,1000000"], "numbers in memory"),
        (&["--hidden", "18446744073709551615"], "numbers in memory"),
        (&["--lr", "0"], "--lr must be"),
        (&["--lr", "-1"], "--lr must be"),
        (&["--lr", "nan"], "--lr must be"),
        (&["--validate", "0"], "--validate must be at least 1"),
        (&["--validate", "1437"], "--validate 1437 leaves none of the 1437 training images"),
        (&["--validate", "1427", "--batch", "11"], "--batch 11 is larger than the training data, which has 10 images"),
        (&["--threads", "100000"], "--threads must be at most"),
        (&["--out", "file/below"], "cannot make the directory"),
        (&["--hidden", "wide"], "invalid value"),
        (&["--epoch", "1"], "unexpected argument"),
    ];
    assert_all_refused(digits, &dir, cases);
    let output = digits().env("HANDGRAD_ISA", "mmx").args(["--out", "out"]).current_dir(&dir).output().unwrap();
    assert_refused("HANDGRAD_ISA=mmx", &output, "mmx", &dir, &["file".to_owned()]);
}

#[test]
fn a_run_that_diverges_says_so() {
    let dir = empty_dir("digits-diverges");
    let output = digits().args(["--lr", "1e30", "--quiet", "--out"]).arg(&dir).output().unwrap();
    assert_refused("--lr 1e30", &output, "the loss became", &dir, &[]);
}
