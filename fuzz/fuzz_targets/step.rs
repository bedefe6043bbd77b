//! Whole training steps of random networks; the body is in `cases/step.rs`.
#![no_main]

#[path = "../cases/input.rs"]
mod input;
#[path = "../cases/state.rs"]
mod state;
#[path = "../cases/step.rs"]
mod step;

libfuzzer_sys::fuzz_target!(|data: &[u8]| step::check(data));
