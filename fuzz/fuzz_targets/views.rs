//! Chains of views against a model without strides; the body is in `cases/views.rs`.
#![no_main]

#[path = "../cases/input.rs"]
mod input;
#[path = "../cases/views.rs"]
mod views;

libfuzzer_sys::fuzz_target!(|data: &[u8]| views::check(data));
