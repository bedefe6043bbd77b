//! Checkpoint files of any bytes; the body is in `cases/checkpoint.rs`.
#![no_main]

#[path = "../cases/checkpoint.rs"]
mod checkpoint;
#[path = "../cases/input.rs"]
mod input;
#[path = "../cases/state.rs"]
mod state;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checkpoint::check(data));
