//! handgrad
#![forbid(unsafe_code)]
