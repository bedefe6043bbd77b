//! The operations: one file an op, with its mathematics, its forward and its backward pass.

pub mod activation;
pub mod batch_norm;
pub mod cross_entropy;
pub mod embedding;
pub mod linear;
pub(crate) mod sigmoid;
pub(crate) mod tanh;
pub(crate) mod unary;
