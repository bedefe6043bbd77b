//! The examples from outside: how they are built and run, and what all of them keep to.
#![allow(dead_code, reason = "each test program uses a part")]

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

/// The executable of an example, which `cargo test` builds next to the tests; a selection such as
/// `cargo test --test makemore` leaves it out, and then it is built here. `sources` are its own, below the root.
pub(crate) fn example(name: &str, sources: &[&str]) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let program = profile.join("examples").join(name).with_extension(std::env::consts::EXE_EXTENSION);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let parts = sources.iter().chain(&["src", "kernels/src", "Cargo.toml"]);
    if parts.filter_map(|part| changed(&root.join(part))).max() > changed(&program) {
        let name_of_profile = if profile.ends_with("release") { "release" } else { "test" };
        let build = ["build", "--example", name, "--profile", name_of_profile, "--target-dir"];
        let mut cargo = Command::new(env!("CARGO"));
        let status = cargo.args(build).arg(profile.parent().unwrap()).current_dir(root).status().unwrap();
        assert!(status.success() && program.exists(), "{} cannot be built", program.display());
    }
    program
}

/// When a file, or anything in a directory, was last changed; never, if it is not there.
fn changed(path: &Path) -> Option<SystemTime> {
    let inside = fs::read_dir(path).into_iter().flatten().filter_map(|entry| changed(&entry.unwrap().path()));
    inside.chain(path.metadata().ok()?.modified().ok()).max()
}

/// A directory of a test's own, empty.
pub(crate) fn empty_dir(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// The names in a directory, in order.
pub(crate) fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The lines on stdout of a run that succeeds, the last one parsed.
pub(crate) fn run(command: &mut Command) -> (Vec<String>, Value) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    let mut lines: Vec<_> = text(&output.stdout).lines().map(str::to_owned).collect();
    let last = lines.pop().unwrap();
    (lines, serde_json::from_str(&last).unwrap())
}

/// A number of the last line.
pub(crate) fn number(json: &Value, name: &str) -> f64 {
    json[name].as_f64().unwrap_or_else(|| panic!("{name} is no number in {json}"))
}

/// Fails unless the last line has these names in this order, and its times fit each other.
pub(crate) fn assert_report(json: &Value, names: &[&str]) {
    let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, names);
    let [seconds, train_seconds, us_per_step, steps] =
        ["seconds", "train_seconds", "us_per_step", "steps"].map(|name| number(json, name));
    assert!(train_seconds > 0.0 && seconds >= train_seconds, "{json}");
    assert!((us_per_step * steps / 1e6 / train_seconds - 1.0).abs() < 1e-9, "{json}");
    assert!(handgrad::Isa::from_name(json["isa"].as_str().unwrap()).is_ok());
}

/// Fails unless a file is there and has these parts.
pub(crate) fn assert_picture(file: &Path, parts: &[&str]) {
    let picture = fs::read_to_string(file).unwrap();
    for part in ["<svg", "</svg>"].iter().chain(parts) {
        assert!(picture.contains(part), "{} has no `{part}`", file.display());
    }
}

/// Fails unless a run was refused as all bad input is: with a sentence that has `says` in it, and with nothing printed
/// or written. `before` is what was in the directory.
pub(crate) fn assert_refused(case: &str, output: &Output, says: &str, dir: &Path, before: &[String]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{case}: {stderr}");
    assert!(output.stdout.is_empty(), "{case} printed {}", text(&output.stdout));
    assert!(stderr.contains(says), "{case} says {stderr:?}, which does not mention {says:?}");
    assert!(!stderr.contains("panicked"), "{case}: {stderr}");
    // What the command line itself cannot be parsed as comes with a hint.
    if !["invalid value", "unexpected argument", "required arguments"].iter().any(|usage| stderr.contains(usage)) {
        assert_eq!(stderr.lines().count(), 1, "{case}: {stderr}");
    }
    assert_eq!(files(dir), before, "{case} wrote something");
}

/// Runs a program with options that it must refuse, each with what the sentence must have in it, with a directory to
/// work in, and a place to write where the options name none: it must not be made either.
pub(crate) fn assert_all_refused(command: impl Fn() -> Command, dir: &Path, cases: &[(&[&str], &str)]) {
    let before = files(dir);
    for (options, says) in cases {
        let mut command = command();
        command.current_dir(dir).args(*options);
        if !options.contains(&"--out") {
            command.args(["--out", "out"]);
        }
        assert_refused(&options.join(" "), &command.output().unwrap(), says, dir, &before);
    }
}
