//! The main job from outside: what it prints, what it writes, and what it says of bad input.

mod program;

use program::{assert_all_refused, assert_picture, assert_refused, assert_report, empty_dir, files, number, run, text};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

fn makemore() -> Command {
    static PROGRAM: LazyLock<PathBuf> =
        LazyLock::new(|| program::example("makemore", &["examples/makemore", "examples/shared", "data/names.txt"]));
    Command::new(&*PROGRAM)
}

fn losses(json: &Value) -> [f64; 3] {
    ["train_loss", "val_loss", "test_loss"].map(|name| number(json, name))
}

#[test]
fn a_short_run_learns_and_writes_its_files() {
    let dir = empty_dir("makemore-short");
    let (lines, json) = run(makemore().args(["--steps", "2000", "--samples", "7", "--out"]).arg(&dir));
    let (_, untrained) = run(makemore().args(["--steps", "1", "--quiet"]));

    assert_eq!(lines.len(), 7, "a word a line before the JSON");
    assert!(lines.iter().all(|word| word.chars().all(|c| c.is_ascii_lowercase())), "{lines:?}");
    assert_report(
        &json,
        &["train_loss", "val_loss", "test_loss", "steps", "seconds", "train_seconds", "us_per_step", "isa", "threads"],
    );
    for (after, before) in losses(&json).into_iter().zip(losses(&untrained)) {
        assert!(after < 2.5 && after < before, "loss {after} after 2000 steps, {before} after one");
    }
    assert_eq!((number(&json, "steps"), number(&json, "threads")), (2000.0, 1.0));

    assert_eq!(files(&dir), ["loss.svg", "model.safetensors"], "and no temporary file is left");
    assert_picture(&dir.join("loss.svg"), &["log10 loss", "step", "<polyline"]);
    let bytes = fs::read(dir.join("model.safetensors")).unwrap();
    let model = SafeTensors::deserialize(&bytes).unwrap();
    let mut shapes: Vec<_> = model.iter().map(|(name, tensor)| (name, tensor.shape().to_vec())).collect();
    shapes.sort();
    let want = [
        ("embedding.weight", vec![27, 10]),
        ("layers.0.bias", vec![200]),
        ("layers.0.weight", vec![200, 30]),
        ("layers.1.bias", vec![200]),
        ("layers.1.num_batches_tracked", vec![]),
        ("layers.1.running_mean", vec![200]),
        ("layers.1.running_var", vec![200]),
        ("layers.1.weight", vec![200]),
        ("layers.3.bias", vec![27]),
        ("layers.3.weight", vec![27, 200]),
    ];
    assert_eq!(shapes, want);
    let floats = model.iter().filter(|(_, tensor)| tensor.dtype() == Dtype::F32);
    let mut floats = floats.flat_map(|(_, tensor)| tensor.data().as_chunks().0).map(|bytes| f32::from_le_bytes(*bytes));
    assert!(floats.all(f32::is_finite));
    let about = about(&bytes);
    assert_eq!(about["vocabulary"].as_array().unwrap().len(), 27);
    assert_eq!((&about["vocabulary"][0], &about["vocabulary"][26]), (&"".into(), &"z".into()));
    assert_eq!((&about["hidden"], &about["steps"]), (&200.into(), &2000.into()));
}

/// The metadata of a model.
fn about(model: &[u8]) -> Value {
    let (_, metadata) = SafeTensors::read_metadata(model).unwrap();
    serde_json::from_str(&metadata.metadata().as_ref().unwrap()["makemore"]).unwrap()
}

#[test]
fn the_seed_decides_everything_and_the_threads_nothing() {
    let results: Vec<_> = [["0", "1"], ["0", "1"], ["0", "2"], ["1", "1"]]
        .iter()
        .enumerate()
        .map(|(i, [seed, threads])| {
            let dir = empty_dir(&format!("makemore-seed-{i}"));
            let options = ["--steps", "500", "--batch", "256", "--seed", seed, "--threads", threads, "--out"];
            let (words, json) = run(makemore().args(options).arg(&dir));
            assert_eq!(json["threads"].to_string(), *threads);
            (losses(&json).map(f64::to_bits), words, fs::read(dir.join("model.safetensors")).unwrap())
        })
        .collect();
    assert!(results[0] == results[1], "the same seed twice gave different results");
    assert!(results[0] == results[2], "two threads gave another result than one");
    assert!(results[0].0 != results[3].0, "another seed gave the same losses");
}

#[test]
fn without_a_place_to_write_nothing_is_written() {
    let dir = empty_dir("makemore-nowhere");
    let output = makemore().args(["--steps", "100", "--quiet"]).current_dir(&dir).output().unwrap();
    assert!(output.status.success());
    assert_eq!(text(&output.stdout).lines().count(), 1, "quiet prints the JSON alone");
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    assert!(files(&dir).is_empty());
}

#[test]
fn words_of_any_alphabet() {
    let dir = empty_dir("makemore-alphabet");
    let words = "Zoë\r\n\r\n  Łukasz \r\nJ.R.\r\nЯна\r\nЯна\r\nOʻzbek\r\n小林\r\nmary ann\r\n".repeat(20);
    fs::write(dir.join("words.txt"), format!("\u{feff}{words}")).unwrap();
    let options =
        ["--steps", "50", "--hidden", "8", "--context", "5", "--embedding", "3", "--batch", "16", "--out", "out"];
    let (made, json) = run(makemore().args(options).args(["--data", "words.txt"]).current_dir(&dir));
    assert_eq!(made.len(), 20);
    assert!(losses(&json).iter().all(|loss| loss.is_finite()));
    let model = fs::read(dir.join("out/model.safetensors")).unwrap();
    let vocabulary = about(&model)["vocabulary"].as_array().unwrap().clone();
    assert_eq!(vocabulary[0], "");
    for character in ["", ".", " ", "Z", "ë", "Ł", "Я", "ʻ", "林"] {
        assert_eq!(vocabulary.iter().filter(|text| **text == character).count(), 1, "`{character}` in {vocabulary:?}");
    }
    assert!(!vocabulary.iter().any(|text| ["\r", "\n", "\u{feff}"].iter().any(|odd| text == odd)), "{vocabulary:?}");
    let tensors = SafeTensors::deserialize(&model).unwrap();
    assert_eq!(tensors.tensor("layers.0.weight").unwrap().shape(), [8, 15]);
    assert_eq!(tensors.tensor("embedding.weight").unwrap().shape(), [vocabulary.len(), 3]);
}

#[test]
fn bad_input_is_one_sentence_and_nothing_written() {
    let dir = empty_dir("makemore-bad");
    fs::write(dir.join("empty.txt"), "").unwrap();
    fs::write(dir.join("blank.txt"), "\n \n\t\r\n").unwrap();
    fs::write(dir.join("latin1.txt"), b"zo\xeb\n".repeat(50)).unwrap();
    fs::write(dir.join("few.txt"), "ann\nbob\neve\n").unwrap();
    fs::write(dir.join("small.txt"), "ann\nbob\neve\nmax\nida\nleo\nmia\numa\nivy\nzoe\n").unwrap();
    let before = files(&dir);
    let cases: &[(&[&str], &str)] = &[
        (&["--data", "missing.txt"], "cannot read missing.txt"),
        (&["--data", "."], "cannot read ."),
        (&["--data", "empty.txt"], "empty.txt: there are no words"),
        (&["--data", "blank.txt"], "blank.txt: there are no words"),
        (&["--data", "latin1.txt"], "UTF-8"),
        (&["--data", "few.txt"], "3 words are too few"),
        (
            &["--data", "small.txt", "--batch", "33"],
            "--batch 33 is larger than the training data, which has 32 samples",
        ),
        (&["--context", "0"], "--context must be at least 1"),
        (&["--hidden", "0"], "--hidden must be at least 1"),
        (&["--embedding", "0"], "--embedding must be at least 1"),
        (&["--steps", "0"], "--steps must be at least 1"),
        (&["--batch", "0"], "--batch must be at least 2"),
        (&["--batch", "1"], "--batch must be at least 2"),
        (&["--batch", "1000000"], "--batch 1000000 is larger"),
        (&["--lr", "0"], "--lr must be"),
        (&["--lr", "nan"], "--lr must be"),
        (&["--lr", "-1"], "--lr must be"),
        (&["--threads", "100000"], "--threads must be at most"),
        (&["--hidden", "1000000000000"], "numbers in memory"),
        (&["--context", "18446744073709551615"], "numbers in memory"),
        (&["--out", "empty.txt/below"], "cannot make the directory"),
        (&["--steps", "many"], "invalid value"),
        (&["--stepz", "1"], "unexpected argument"),
    ];
    assert_all_refused(makemore, &dir, cases);
    let output = makemore().args(["--out", "out"]).current_dir(&dir).env("HANDGRAD_ISA", "mmx").output().unwrap();
    assert_refused("HANDGRAD_ISA=mmx", &output, "mmx", &dir, &before);
}

#[test]
fn a_run_that_diverges_says_so() {
    let dir = empty_dir("makemore-diverges");
    let output = makemore().args(["--lr", "1e30", "--steps", "100", "--out"]).arg(&dir).output().unwrap();
    assert_refused("--lr 1e30", &output, "the loss became", &dir, &[]);
}
