//! Losses of a batch and their gradients; the body is in `cases/losses.rs`.
#![no_main]

#[path = "../cases/input.rs"]
mod input;
#[path = "../cases/losses.rs"]
mod losses;
#[path = "../cases/tensor.rs"]
mod tensor;

libfuzzer_sys::fuzz_target!(|data: &[u8]| losses::check(data));
