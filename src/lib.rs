//! Hand-written gradients for the CPU.
//!
//! # One minibatch
//!
//! [`Mlp`] says what a network is; [`Trainer::new`] checks it and allocates everything once. For a batch,
//! [`Trainer::step`] then runs three lists of kernel calls, with the names of the notebook that this crate follows:
//!
//! 1. **forward**: `embcat = C[x]`, `hprebn = embcat·W1 + b1`, `h = tanh(bngain·(hprebn - mean)·inv_std + bnbias)`,
//!    `logits = h·W2 + b2`;
//! 2. **backward**, the same list read upwards: `dlogits` from the softmax and the labels, `dhpreact = dlogits·W2ᵀ·(1 - h²)`,
//!    `dW2 = hᵀ·dlogits`, `dhprebn` through the statistics of the batch, `dembcat = dhprebn·W1ᵀ`, `dW1 = embcatᵀ·dhprebn`,
//!    and `dC`, where each token's row collects what its places in the batch say;
//! 3. **update**: `p -= lr·dp`. A fused step does it where each gradient arises, with the same bits.
//!
//! The kernels are in [`handgrad_kernels`], re-exported as [`kernels`].
//!
//! # Names
//!
//! A gradient is `d` and the name of the value: `dlogits`. A *sample* is one row of a batch; a *label* the index of its
//! class; a *token* an index into a vocabulary. A *stage* is one kernel call of the forward list. A *tier* is a set of
//! instructions that the kernels are compiled for, chosen when the program runs.
#![forbid(unsafe_code)]

mod access;
mod batch;
mod error;
mod infer;
pub mod init;
mod model;
mod plan;
mod step;
mod tensors;
mod workspace;

pub use batch::{Inputs, Targets};
pub use error::{Error, Result};
pub use handgrad_kernels as kernels;
pub use handgrad_kernels::{Exec, Isa};
pub use infer::Predictor;
pub use model::{BatchNorm, Input, Layer, Linear, Loss, Mlp, Variance};
pub use step::{Options, Trainer};

/// The README, whose example is tested with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
