//! Matrix products against plain loops; the body is in `cases/gemm.rs`.
#![no_main]

#[path = "../cases/gemm.rs"]
mod gemm;
#[path = "../cases/input.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| gemm::check(data));
