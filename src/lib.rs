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
//! [`Trainer::plan`] prints the first list for any network: an activation runs on the way out of the product or the norm
//! before it, and its gradient is taken on the way out of the product after it.
//!
//! # What else there is
//!
//! [`Layer`], [`Loss`], [`Optimizer`], [`Schedule`] and [`Init`] are what can be chosen, each with `PyTorch`'s meaning.
//! [`Predictor`] is inference. [`Trainer::save`] and [`Trainer::load`] keep a run. [`Many`] trains networks of one shape
//! side by side. [`Trainer::step_with`] has a hook for the gradients, [`Trainer::accumulate`] adds up those of several
//! batches, and [`Trainer::backward_with`] takes the gradient of a loss of the user's own.
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
mod checkpoint;
mod error;
mod infer;
pub mod init;
mod loss;
mod many;
mod model;
mod optimizer;
mod plan;
mod schedule;
mod stage;
mod step;
mod tensors;
mod workspace;

pub use batch::{Inputs, Target, Targets};
pub use checkpoint::{Contents, Notes};
pub use error::{Error, Result};
pub use handgrad_kernels as kernels;
pub use handgrad_kernels::{Exec, Isa};
pub use infer::{Evaluation, Predictor};
pub use init::Init;
pub use many::Many;
pub use model::{Activation, BatchNorm, Input, Layer, LayerNorm, Linear, Mlp, RmsNorm, Variance};
pub use model::{BceWithLogits, CrossEntropy, Loss};
pub use optimizer::{Adam, Decay, Group, Members, Optimizer, RmsProp, Sgd};
pub use schedule::Schedule;
pub use step::{Options, Trainer};

/// The README, whose example is tested with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
