//! The files that the examples read; the body is in `cases/files.rs`.
#![no_main]

#[path = "../cases/files.rs"]
mod files;

libfuzzer_sys::fuzz_target!(|data: &[u8]| files::check(data));
