//! The example `control` from outside: it learns, and the seed decides how.

mod program;

use program::{number, run};
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

fn control() -> Command {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| program::example("control", &["examples/control.rs"]));
    Command::new(&*PROGRAM)
}

#[test]
fn a_pole_stands_longer_after_training() {
    let (lines, json) = run(&mut control());
    let [before, after] = ["steps_before", "steps_after"].map(|name| number(&json, name));
    assert!(before < 50.0 && after > 400.0, "{json}");
    assert!(lines[0].starts_with("before, a pole stands"), "{}", lines[0]);
}

#[test]
fn the_seed_decides_everything() {
    let steps = ["0", "0", "1"].map(|seed| {
        let (lines, json) = run(control().args(["--rounds", "5", "--seed", seed]));
        (lines, number(&json, "steps_before"), number(&json, "steps_after"))
    });
    assert_eq!(steps[0], steps[1]);
    assert_ne!(steps[0], steps[2]);
}
