//! Update rules over flat buffers of parameters and their gradients, each one pass.

pub mod sgd;
