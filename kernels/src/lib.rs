//! Kernels.
mod elementwise;
pub mod error;
mod exec;
pub mod gemm;
mod lanes;
mod math;
mod par;
pub mod op;
pub mod optim;
mod reduce;
mod simd;
pub mod scalar;
pub mod view;

pub use error::{Error, ErrorKind, Result};
pub use exec::Exec;
pub use par::MIN_PIECE_NS;
pub use simd::Isa;
