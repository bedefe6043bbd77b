//! The example `mnist` from outside, on small files written here: what it learns and writes, and what it says of bad
//! files.

mod program;

use flate2::Compression;
use flate2::write::GzEncoder;
use program::{assert_all_refused, assert_picture, assert_refused, assert_report, empty_dir, files, number, run};
use safetensors::SafeTensors;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

fn mnist() -> Command {
    static PROGRAM: LazyLock<PathBuf> =
        LazyLock::new(|| program::example("mnist", &["examples/mnist", "examples/classifier", "examples/shared"]));
    Command::new(&*PROGRAM)
}

/// Rows and columns of the images.
const SIZE: [u32; 2] = [6, 5];

const NAMES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

fn idx(magic: u32, shape: &[u32], elements: &[u8]) -> Vec<u8> {
    let header = [magic].into_iter().chain(shape.iter().copied()).flat_map(u32::to_be_bytes);
    header.chain(elements.iter().copied()).collect()
}

/// Images of the digits, each a pattern of its own under noise, and their labels.
fn images(count: u32, seed: u32) -> [Vec<u8>; 2] {
    let mut state = seed;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let labels: Vec<u8> = (0..count).map(|_| noise() % 10).collect();
    let [rows, columns] = SIZE;
    let pixel = |label: u8, place: u32| u32::from(label + 3) * (place * place + 7) % 11 < 5;
    let ink = |label, place| if pixel(label, place) { 255 - noise() / 2 } else { noise() / 2 };
    let places = labels.iter().flat_map(|&label| (0..rows * columns).map(move |place| (label, place)));
    let mut ink = ink;
    let pixels: Vec<u8> = places.map(|(label, place)| ink(label, place)).collect();
    [idx(0x0803, &[count, rows, columns], &pixels), idx(0x0801, &[count], &labels)]
}

/// The four files.
fn dataset() -> [Vec<u8>; 4] {
    let ([a, b], [c, d]) = (images(300, 1), images(100, 2));
    [a, b, c, d]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn write(dir: &Path, names: [&str; 4], contents: [Vec<u8>; 4]) {
    fs::create_dir_all(dir).unwrap();
    for (name, bytes) in names.into_iter().zip(contents) {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

const OPTIONS: [&str; 6] = ["--epochs", "4", "--hidden", "64,48", "--batch", "32"];

#[test]
fn it_learns_from_plain_and_from_compressed_files() {
    let dir = empty_dir("mnist-learns");
    write(&dir.join("plain"), NAMES, dataset());
    write(
        &dir.join("gz"),
        NAMES.map(|name| format!("{name}.gz")).each_ref().map(String::as_str),
        dataset().map(|f| gzip(&f)),
    );
    // What is compressed is known by its bytes, too.
    write(&dir.join("mixed"), NAMES, dataset().map(|file| gzip(&file)));
    let reports = ["plain", "gz", "mixed"].map(|data| {
        let out = dir.join(format!("out-{data}"));
        let (lines, json) = run(mnist().args(OPTIONS).arg("--data").arg(dir.join(data)).arg("--out").arg(&out));
        let names = ["train_loss", "test_loss", "test_accuracy", "epochs", "steps", "seconds"];
        assert_report(&json, &[&names[..], &["train_seconds", "us_per_step", "isa", "threads"]].concat());
        assert_eq!((number(&json, "epochs"), number(&json, "steps")), (4.0, 40.0), "the last minibatch is smaller");
        assert!(number(&json, "test_accuracy") > 0.9 && number(&json, "test_loss") < 0.5, "{json}");
        assert_eq!(lines.len(), 4, "a line an epoch");
        assert_eq!(files(&out), ["confusion.svg", "loss.svg", "model.safetensors"]);
        assert_picture(&out.join("loss.svg"), &["log10 loss", "accuracy, %", "<polyline"]);
        let model = fs::read(out.join("model.safetensors")).unwrap();
        ["train_loss", "test_loss", "test_accuracy"]
            .map(|name| number(&json, name).to_bits())
            .map(|n| (n, model.clone()))
    });
    assert!(reports[0] == reports[1] && reports[0] == reports[2], "the same data gave different results");

    let model = &reports[0][0].1;
    let (_, metadata) = SafeTensors::read_metadata(model).unwrap();
    let about: Value = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["mnist"]).unwrap();
    assert_eq!((&about["hidden"], &about["epochs"]), (&vec![64, 48].into(), &4.into()));
    let tensors = SafeTensors::deserialize(model).unwrap();
    assert_eq!(tensors.tensor("layers.0.weight").unwrap().shape(), [64, 30]);
    assert_eq!(tensors.tensor("layers.4.weight").unwrap().shape(), [10, 48]);
}

#[test]
fn the_seed_decides_everything_and_the_threads_nothing() {
    let dir = empty_dir("mnist-seed");
    write(&dir, NAMES, dataset());
    let before = files(&dir);
    let results = [["0", "1"], ["0", "1"], ["0", "2"], ["1", "1"]].map(|[seed, threads]| {
        // Wide enough for its products to be split.
        let options = ["--epochs", "2", "--hidden", "256,256", "--batch", "100", "--seed", seed, "--threads", threads];
        let (_, mut json) = run(mnist().args(options).args(["--data", "."]).current_dir(&dir));
        assert_eq!(json["threads"].to_string(), threads);
        for changing in ["seconds", "train_seconds", "us_per_step", "threads"] {
            json.as_object_mut().unwrap().remove(changing);
        }
        json
    });
    assert_eq!(results[0], results[1], "the same seed twice gave different results");
    assert_eq!(results[0], results[2], "two threads gave another result than one");
    assert_ne!(results[0], results[3], "another seed gave the same results");
    assert_eq!(files(&dir), before, "without a place to write nothing is written");
}

#[test]
fn settings_are_chosen_without_the_test_images() {
    let dir = empty_dir("mnist-validate");
    write(&dir, NAMES, dataset());
    let (_, first) = run(mnist().args(OPTIONS).args(["--validate", "100", "--data", "."]).current_dir(&dir));
    assert_eq!(number(&first, "steps"), 28.0, "of 200 images");
    // Other test images change nothing.
    let [images, labels] = images(50, 3);
    fs::write(dir.join(NAMES[2]), images).unwrap();
    fs::write(dir.join(NAMES[3]), labels).unwrap();
    let (_, second) = run(mnist().args(OPTIONS).args(["--validate", "100", "--data", "."]).current_dir(&dir));
    for name in ["train_loss", "val_loss", "val_accuracy"] {
        assert_eq!(number(&first, name).to_bits(), number(&second, name).to_bits(), "{name}");
    }
}

/// A change of the four files, and what is then said.
type Damage = (&'static str, fn(&mut [Vec<u8>; 4]), &'static str);

#[test]
fn bad_files_are_one_sentence_and_nothing_written() {
    fn set_length(file: &mut [u8], axis: usize, length: u32) {
        file[4 + 4 * axis..][..4].copy_from_slice(&length.to_be_bytes());
    }
    let damages: &[Damage] = &[
        ("magic", |files| files[0][3] = 1, "train-images-idx3-ubyte: begins with 0x00000801, not with 0x00000803"),
        ("swapped", |files| files.swap(2, 3), "t10k-images-idx3-ubyte: begins with 0x00000801, not with 0x00000803"),
        (
            "labels-magic",
            |files| files[1][2] = 9,
            "train-labels-idx1-ubyte: begins with 0x00000901, not with 0x00000801",
        ),
        ("empty", |files| files[0].clear(), "train-images-idx3-ubyte: ends within its header"),
        ("header", |files| files[0].truncate(9), "train-images-idx3-ubyte: ends within its header"),
        (
            "truncated",
            |files| files[0].truncate(1016),
            "train-images-idx3-ubyte: ends after 1000 of the 9000 bytes of 300x6x5",
        ),
        ("no-labels", |files| files[3].truncate(8), "t10k-labels-idx1-ubyte: ends after 0 of the 100 bytes of 100"),
        ("longer", |files| files[2].push(0), "t10k-images-idx3-ubyte: goes on after the 3000 bytes of 100x6x5"),
        (
            "lying",
            |files| (0..3).for_each(|axis| set_length(&mut files[0], axis, u32::MAX)),
            "1073741824 bytes are the most",
        ),
        ("large", |files| set_length(&mut files[0], 0, 30_000_000), "ends after 9000 of the 900000000 bytes"),
        ("none", |files| set_length(&mut files[0], 0, 0), "there is nothing in it, its size is 0x6x5"),
        ("no-rows", |files| set_length(&mut files[2], 1, 0), "there is nothing in it, its size is 100x0x5"),
        (
            "counts",
            |files| files[1] = idx(0x0801, &[299], &[1; 299]),
            "train-labels-idx1-ubyte: 299 labels for the 300 images of",
        ),
        ("label", |files| files[3][8 + 7] = 10, "t10k-labels-idx1-ubyte: the label 10 of image 7 is not in 0..10"),
        (
            "sizes",
            |files| files[2] = idx(0x0803, &[100, 3, 10], &[1; 3000]),
            "t10k-images-idx3-ubyte: the images are 3x10, those to learn from 6x5",
        ),
        ("gz-cut", |files| files[0] = gzip(&files[0])[..2000].to_vec(), "train-images-idx3-ubyte: ends after"),
        ("gz-broken", |files| files[1] = [&gzip(&files[1])[..10], &[0xff; 50]].concat(), "cannot read"),
        ("gz-header", |files| files[1] = vec![0x1f, 0x8b], "train-labels-idx1-ubyte: ends within its header"),
    ];
    let dir = empty_dir("mnist-bad");
    let mut undamaged = dataset();
    for (name, damage, _) in damages {
        let mut files = dataset();
        damage(&mut files);
        write(&dir.join(name), NAMES, files);
    }
    write(&dir.join("good"), NAMES, dataset());
    write(&dir.join("missing"), NAMES, dataset());
    fs::remove_file(dir.join("missing/t10k-labels-idx1-ubyte")).unwrap();
    fs::create_dir_all(dir.join("directory/train-images-idx3-ubyte")).unwrap();
    fs::create_dir_all(dir.join("nothing")).unwrap();
    fs::write(dir.join("file"), undamaged[0].split_off(0)).unwrap();

    let damaged: Vec<_> = damages.iter().map(|(name, _, says)| (["--data", name], *says)).collect();
    let mut cases: Vec<(&[&str], &str)> = damaged.iter().map(|(options, says)| (&options[..], *says)).collect();
    cases.extend_from_slice(&[
        (&["--data", "elsewhere"], "elsewhere is not a directory"),
        (&["--data", "file"], "file is not a directory"),
        (&["--data", "nothing"], "there is no nothing/train-images-idx3-ubyte or train-images-idx3-ubyte.gz"),
        (&["--data", "missing"], "there is no missing/t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz"),
        (&["--data", "directory"], "cannot read directory/train-images-idx3-ubyte"),
        (&["--data", "good", "--batch", "301"], "--batch 301 is larger than the training data, which has 300 images"),
        (&["--data", "good", "--batch", "0"], "--batch must be at least 1"),
        (&["--data", "good", "--validate", "300"], "--validate 300 leaves none of the 300 training images"),
        (&["--data", "good", "--hidden", "99999999999"], "numbers in memory"),
        (&[], "required arguments"),
    ]);
    assert_all_refused(mnist, &dir, &cases);
}

#[test]
fn a_run_that_diverges_says_so() {
    let dir = empty_dir("mnist-diverges");
    write(&dir.join("data"), NAMES, dataset());
    let options = ["--data", "data", "--batch", "32", "--lr", "1e30", "--out", "out"];
    let output = mnist().args(options).current_dir(&dir).output().unwrap();
    fs::remove_dir(dir.join("out")).expect("there is nothing in it");
    assert_refused("--lr 1e30", &output, "the loss became", &dir, &["data".to_owned()]);
}
