//! Manual backprop, heading by heading: what each kind of operation does, what its gradient is and why, and how that is
//! written with the kernels of [`op`].
//!
//! Every section has a text, the formulas and an example that runs as a test. In the examples an output starts as NaN,
//! so that a number which no kernel wrote cannot pass for a result, and gradients that come from above are never all
//! equal, so that one which went to the wrong place is seen.
//!
//! A loss is one number. For a value `y` somewhere on the way to it, `dy` is the gradient of the loss in `y`: how much
//! the loss grows for each unit that an element of `y` grows. An operation `y = f(x)` is handed `dy` from above and
//! owes `dx = dy·∂y/∂x` to what is below. That is the chain rule, and all of backprop: do it for every operation, from
//! the last to the first. Where a value is used twice, its two gradients are added.
//!
//! The examples take their names from the notebook "becoming a backprop ninja" of makemore: `hprebn`, `bnraw`,
//! `logits`, `counts`. `n` is the number of samples in a batch; a sample is a row.
//!
//! 1. [The activation functions](#the-activation-functions)
//! 2. [Why a gradient has its input's shape](#why-a-gradient-has-its-inputs-shape)
//! 3. [Sum and its expanded gradient](#sum-and-its-expanded-gradient)
//! 4. [Max, its one-hot gradient and `logit_maxes`](#max-its-one-hot-gradient-and-logit_maxes)
//! 5. [Broadcasting forward and the sum it needs backward](#broadcasting-forward-and-the-sum-it-needs-backward)
//! 6. [keepdim: why a bias gradient needs none and `bnvar_inv`
//!    does](#keepdim-why-a-bias-gradient-needs-none-and-bnvar_inv-does)
//! 7. [W·x against x·W and the bias gradient of each](#wx-against-xw-and-the-bias-gradient-of-each)
//! 8. [Softmax and cross-entropy together, and why `dim=1`](#softmax-and-cross-entropy-together-and-why-dim1)
//! 9. [Batch norm in eight small steps and in one](#batch-norm-in-eight-small-steps-and-in-one)
//! 10. [The kinds of operations](#the-kinds-of-operations)
//! 11. [`sum(0)` and `sum(1)`](#sum0-and-sum1)
//! 12. [Scalar, vector, matrix, tensor: one type](#scalar-vector-matrix-tensor-one-type)
//! 13. [Takeaways](#takeaways)
//! 14. [PyTorch's names and ours](#pytorchs-names-and-ours)
//!
#![doc = include_str!("ops/activations.md")]
#![doc = include_str!("ops/shapes.md")]
#![doc = include_str!("ops/layers.md")]
#![doc = include_str!("ops/kinds.md")]
#![doc = include_str!("ops/names.md")]

#[cfg(doc)]
use crate::op;
#[cfg(doc)]
use crate::view::View;
