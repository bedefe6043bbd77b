//! Kernels.
mod elementwise;
pub mod error;
mod exec;
pub mod gemm;
mod lanes;
mod math;
pub mod op;
pub mod optim;
mod par;
mod reduce;
pub mod scalar;
mod simd;
pub mod view;

pub use error::{Error, ErrorKind, Result};
pub use exec::Exec;
pub use par::MIN_PIECE_NS;
pub use simd::Isa;
