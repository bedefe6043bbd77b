//! The activations that a linear layer or a norm can be fused with, as a choice made at run time.

use super::sigmoid::Sigmoid;
use super::tanh::Tanh;
use super::unary::{self, Unary};
use crate::error::Result;
use crate::exec::{Axis, BlockKernel, Exec};
use crate::gemm::Slope;
use crate::lanes::{self, Map};
use crate::simd::Simd;
use crate::view::{Mat, MatMut};

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

    /// How a product takes a gradient through the function, if there is anything to do.
    pub(crate) fn slope(self) -> Option<Slope> {
        match self {
            Activation::Identity => None,
            Activation::Tanh => Some(Slope::Tanh),
            Activation::Sigmoid => Some(Slope::Sigmoid),
        }
    }
}

/// `y = activation(x)`, element by element; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn forward(exec: &Exec, y: MatMut<'_>, x: Mat<'_>, activation: Activation) -> Result<()> {
    y.expect_size("activation::forward", "y", x.rows(), x.cols())?;
    struct Call<'a, 'b>(&'b Exec, MatMut<'a>, Mat<'a>);
    impl WithActivation for Call<'_, '_> {
        fn call<F: Unary>(self, f: F) {
            let Call(exec, y, x) = self;
            exec.blocks(nanoseconds(x), Axis::Rows, 1, [y], [x], OnRows(unary::Forward(f)));
        }
    }
    activation.with(Call(exec, y, x));
    Ok(())
}

/// `dx = dy·activation'`, element by element, from the activation's output `y`; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn backward(exec: &Exec, dx: MatMut<'_>, dy: Mat<'_>, y: Mat<'_>, activation: Activation) -> Result<()> {
    const OP: &str = "activation::backward";
    dy.expect_size(OP, "dy", y.rows(), y.cols())?;
    dx.expect_size(OP, "dx", y.rows(), y.cols())?;
    struct Call<'a, 'b>(&'b Exec, MatMut<'a>, [Mat<'a>; 2]);
    impl WithActivation for Call<'_, '_> {
        fn call<F: Unary>(self, f: F) {
            let Call(exec, dx, inp) = self;
            exec.blocks(nanoseconds(inp[0]), Axis::Rows, 1, [dx], inp, OnRows(unary::Backward(f)));
        }
    }
    activation.with(Call(exec, dx, [dy, y]));
    Ok(())
}

/// Nanoseconds of one core, for the split over threads.
fn nanoseconds(x: Mat<'_>) -> usize {
    x.rows().saturating_mul(x.cols()) / 5
}

/// A function of registers over a range of rows.
#[derive(Clone, Copy)]
struct OnRows<F>(F);

impl<F: Map<I, 1>, const I: usize> BlockKernel<1, I> for OnRows<F> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, _: usize, out: [MatMut<'_>; 1], inp: [Mat<'_>; I]) {
        lanes::map(s, out, inp, self.0);
    }
}
