//! The activations that a linear layer or a norm can be fused with, as a choice made at run time.
//!
//! Backward needs one value that the forward pass saved: the output, where that tells the gradient ([`Saves::Output`]),
//! else what the activation was given ([`Saves::Input`]). The functions themselves are documented in their own modules.

use super::elu::Elu;
use super::gelu::{self, Gelu};
use super::hardtanh::Hardtanh;
use super::leaky_relu::LeakyRelu;
use super::relu::Relu;
use super::sigmoid::Sigmoid;
use super::silu::Silu;
use super::softplus::Softplus;
use super::tanh::Tanh;
use super::unary::{self, Unary};
use crate::error::Result;
use crate::exec::{Axis, BlockKernel, Exec};
use crate::gemm::Slope;
use crate::lanes::{self, Map};
use crate::simd::{Isa, Kernel, Simd};
use crate::view::{Mat, MatMut};

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[non_exhaustive]
pub enum Activation {
    /// `y = x`
    #[default]
    Identity,
    /// [`tanh`](super::tanh): `y = tanh x`
    Tanh,
    /// [`sigmoid`](super::sigmoid): `y = 1/(1 + e^-x)`
    Sigmoid,
    /// [`relu`](super::relu): `y = max(x, 0)`
    Relu,
    /// [`leaky_relu`](super::leaky_relu): `x` or `slope·x`
    LeakyRelu {
        /// The slope for negative `x`.
        slope: f32,
    },
    /// [`elu`](super::elu): `x` or `alpha·(e^x - 1)`
    Elu {
        /// What it saturates at, negated.
        alpha: f32,
    },
    /// [`gelu`]: `x·Φ(x)`
    Gelu {
        /// Exact, or by tanh.
        form: gelu::Form,
    },
    /// [`silu`](super::silu): `x·sigmoid(x)`
    Silu,
    /// [`softplus`](super::softplus): `ln(1 + e^(beta·x))/beta`
    Softplus {
        /// How sharp the bend is.
        beta: f32,
        /// Where `beta·x` is above it, the result is `x`.
        threshold: f32,
    },
    /// [`hardtanh`](super::hardtanh): `min(max(x, low), high)`
    Hardtanh {
        /// The least output.
        low: f32,
        /// The greatest output.
        high: f32,
    },
}

/// What the gradient of an activation is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saves {
    /// Its output.
    Output,
    /// What it was given.
    Input,
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
trait WithActivation {
    /// Does it with the function `f`.
    fn call<F: Unary>(self, f: F);
}

impl Activation {
    /// What [`backward`] wants to be given.
    #[must_use]
    pub fn saves(self) -> Saves {
        match self {
            Activation::Identity | Activation::Tanh | Activation::Sigmoid | Activation::Relu => Saves::Output,
            Activation::LeakyRelu { .. }
            | Activation::Elu { .. }
            | Activation::Gelu { .. }
            | Activation::Silu
            | Activation::Softplus { .. }
            | Activation::Hardtanh { .. } => Saves::Input,
        }
    }

    /// Runs `work` with the chosen function.
    fn with(self, work: impl WithActivation) {
        match self {
            Activation::Identity => work.call(Identity),
            Activation::Tanh => work.call(Tanh),
            Activation::Sigmoid => work.call(Sigmoid),
            Activation::Relu => work.call(Relu),
            Activation::LeakyRelu { slope } => work.call(LeakyRelu { slope }),
            Activation::Elu { alpha } => work.call(Elu { alpha }),
            Activation::Gelu { form } => work.call(Gelu { form }),
            Activation::Silu => work.call(Silu),
            Activation::Softplus { beta, threshold } => work.call(Softplus { beta, threshold }),
            Activation::Hardtanh { low, high } => work.call(Hardtanh { low, high }),
        }
    }

    /// How a product takes a gradient through the function in its registers, if that is cheap.
    pub(crate) fn slope(self) -> Option<Slope> {
        match self {
            Activation::Tanh => Some(Slope::Tanh),
            Activation::Sigmoid => Some(Slope::Sigmoid),
            Activation::Relu => Some(Slope::Relu),
            _ => None,
        }
    }

    /// `y = f(y)` for a block, on this thread.
    pub(crate) fn in_place(self, isa: Isa, y: MatMut<'_>) {
        struct Call<'a>(Isa, MatMut<'a>);
        impl WithActivation for Call<'_> {
            fn call<F: Unary>(self, f: F) {
                self.0.run(OnBlock([self.1], [], unary::InPlace(f)));
            }
        }
        self.with(Call(isa, y));
    }

    /// `y = f(x)` for a block, on this thread.
    pub(crate) fn block(self, isa: Isa, y: MatMut<'_>, x: Mat<'_>) {
        struct Call<'a>(Isa, MatMut<'a>, Mat<'a>);
        impl WithActivation for Call<'_> {
            fn call<F: Unary>(self, f: F) {
                self.0.run(OnBlock([self.1], [self.2], unary::Forward(f)));
            }
        }
        self.with(Call(isa, y, x));
    }

    /// `d = d·f'` for a block, on this thread, from what the function saved.
    pub(crate) fn backward_in_place(self, isa: Isa, d: MatMut<'_>, saved: Mat<'_>) {
        struct Call<'a>(Isa, MatMut<'a>, Mat<'a>);
        impl WithActivation for Call<'_> {
            fn call<F: Unary>(self, f: F) {
                self.0.run(OnBlock([self.1], [self.2], unary::BackwardInPlace(f)));
            }
        }
        self.with(Call(isa, d, saved));
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
            exec.blocks(cost(x, F::NS[0]), Axis::Rows, 1, [y], [x], OnRows(unary::Forward(f)));
        }
    }
    activation.with(Call(exec, y, x));
    Ok(())
}

/// `y = activation(y)`, element by element.
pub fn in_place(exec: &Exec, y: MatMut<'_>, activation: Activation) {
    struct Call<'a, 'b>(&'b Exec, MatMut<'a>);
    impl WithActivation for Call<'_, '_> {
        fn call<F: Unary>(self, f: F) {
            let Call(exec, y) = self;
            let cost = cost(y.as_mat(), F::NS[0]);
            exec.blocks(cost, Axis::Rows, 1, [y], [], OnRows(unary::InPlace(f)));
        }
    }
    if activation != Activation::Identity {
        activation.with(Call(exec, y));
    }
}

/// `dx = dy·activation'`, element by element, from what the activation [saves](Activation::saves); shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn backward(exec: &Exec, dx: MatMut<'_>, dy: Mat<'_>, saved: Mat<'_>, activation: Activation) -> Result<()> {
    const OP: &str = "activation::backward";
    dy.expect_size(OP, "dy", saved.rows(), saved.cols())?;
    dx.expect_size(OP, "dx", saved.rows(), saved.cols())?;
    struct Call<'a, 'b>(&'b Exec, MatMut<'a>, [Mat<'a>; 2]);
    impl WithActivation for Call<'_, '_> {
        fn call<F: Unary>(self, f: F) {
            let Call(exec, dx, inp) = self;
            exec.blocks(cost(inp[0], F::NS[1]), Axis::Rows, 1, [dx], inp, OnRows(unary::Backward(f)));
        }
    }
    activation.with(Call(exec, dx, [dy, saved]));
    Ok(())
}

/// `d = d·activation'`, element by element, from what the activation [saves](Activation::saves); shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn backward_in_place(exec: &Exec, d: MatMut<'_>, saved: Mat<'_>, activation: Activation) -> Result<()> {
    d.expect_size("activation::backward_in_place", "d", saved.rows(), saved.cols())?;
    struct Call<'a, 'b>(&'b Exec, MatMut<'a>, Mat<'a>);
    impl WithActivation for Call<'_, '_> {
        fn call<F: Unary>(self, f: F) {
            let Call(exec, d, saved) = self;
            let cost = cost(saved, F::NS[1]);
            exec.blocks(cost, Axis::Rows, 1, [d], [saved], OnRows(unary::BackwardInPlace(f)));
        }
    }
    if activation != Activation::Identity {
        activation.with(Call(exec, d, saved));
    }
    Ok(())
}

/// Nanoseconds of one core, for the split over threads.
fn cost(x: Mat<'_>, each: f64) -> usize {
    (x.rows() as f64 * x.cols() as f64 * each) as usize
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

/// A function of registers over a block.
struct OnBlock<'a, F, const I: usize>([MatMut<'a>; 1], [Mat<'a>; I], F);

impl<F: Map<I, 1>, const I: usize> Kernel for OnBlock<'_, F, I> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        lanes::map(s, self.0, self.1, self.2);
    }
}
