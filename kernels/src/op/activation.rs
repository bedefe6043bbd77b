//! The activations that a linear layer or a norm can be fused with, as a choice made at run time.

use super::sigmoid::Sigmoid;
use super::tanh::Tanh;
use super::unary::Unary;
use crate::simd::Simd;

/// An activation function. All of these have a gradient that their output determines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Activation {
    /// `y = x`
    #[default]
    Identity,
    /// `y = tanh x`
    Tanh,
    /// `y = 1/(1 + e^-x)`
    Sigmoid,
}

/// `y = x`.
#[derive(Clone, Copy)]
pub(crate) struct Identity;

impl Unary for Identity {
    #[inline(always)]
    fn forward<S: Simd>(self, _: S, x: S::F32) -> S::F32 {
        x
    }
    #[inline(always)]
    fn backward<S: Simd>(self, _: S, dy: S::F32, _: S::F32) -> S::F32 {
        dy
    }
}

/// Work that is compiled once for each activation.
pub(crate) trait WithActivation {
    /// Does it with the function `f`.
    fn call<F: Unary>(self, f: F);
}

impl Activation {
    /// Runs `work` with the chosen function.
    #[inline]
    pub(crate) fn with(self, work: impl WithActivation) {
        match self {
            Activation::Identity => work.call(Identity),
            Activation::Tanh => work.call(Tanh),
            Activation::Sigmoid => work.call(Sigmoid),
        }
    }
}
