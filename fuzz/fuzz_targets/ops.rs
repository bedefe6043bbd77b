//! Element-wise operations and reductions over any strides; the body is in `cases/ops.rs`.
#![no_main]

#[path = "../cases/input.rs"]
mod input;
#[path = "../cases/ops.rs"]
mod ops;
#[path = "../cases/tensor.rs"]
mod tensor;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ops::check(data));
