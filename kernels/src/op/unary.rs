//! What the element-wise functions of one operand have in common: a function, its gradient, and which of its values
//! the gradient is written in.

use crate::elementwise;
use crate::error::{Result, expect_shape};
use crate::exec::Exec;
use crate::lanes::Map;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// A differentiable function of one register.
pub(crate) trait Unary: Copy + Send + Sync {
    /// Nanoseconds of one core an element, forward and backward, for the split over threads.
    const NS: [f64; 2] = [0.1, 0.06];
    /// `y` from `x`.
    fn forward<S: Simd>(self, s: S, x: S::F32) -> S::F32;
    /// `dx` from `dy` and the saved value: the output if the function can be undone from it, else the input.
    fn backward<S: Simd>(self, s: S, dy: S::F32, saved: S::F32) -> S::F32;
}

/// `y = f(x)` over views of equal shapes.
///
/// # Errors
/// If the shapes differ.
pub(crate) fn forward<F: Unary>(op: &'static str, exec: &Exec, y: ViewMut<'_>, x: View<'_>, f: F) -> Result<()> {
    expect_shape(op, "y", x.shape(), y.shape())?;
    elementwise::map(exec, F::NS[0], [y], [x], Forward(f));
    Ok(())
}

/// `dx = dy·f'` over views of equal shapes, from the saved value.
///
/// # Errors
/// If the shapes differ.
pub(crate) fn backward<F: Unary>(
    op: &'static str,
    exec: &Exec,
    dx: ViewMut<'_>,
    dy: View<'_>,
    saved: View<'_>,
    f: F,
) -> Result<()> {
    expect_shape(op, "dy", saved.shape(), dy.shape())?;
    expect_shape(op, "dx", saved.shape(), dx.shape())?;
    elementwise::map(exec, F::NS[1], [dx], [dy, saved], Backward(f));
    Ok(())
}

/// Functions slower than this, in nanoseconds an element, are long chains.
const LONG_NS: f64 = 0.11;

/// `y = f(x)`, element by element.
#[derive(Clone, Copy)]
pub(crate) struct Forward<F>(pub(crate) F);

impl<F: Unary> Map<1, 1> for Forward<F> {
    const LONG: bool = F::NS[0] > LONG_NS;
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x]: [S::F32; 1], _: [S::F32; 1]) -> [S::F32; 1] {
        [self.0.forward(s, x)]
    }
}

/// `dx = dy·f'`, element by element from `dy` and the saved value.
#[derive(Clone, Copy)]
pub(crate) struct Backward<F>(pub(crate) F);

impl<F: Unary> Map<2, 1> for Backward<F> {
    const LONG: bool = F::NS[1] > LONG_NS;
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [dy, saved]: [S::F32; 2], _: [S::F32; 1]) -> [S::F32; 1] {
        [self.0.backward(s, dy, saved)]
    }
}

/// `y = f(y)`, element by element in place.
#[derive(Clone, Copy)]
pub(crate) struct InPlace<F>(pub(crate) F);

impl<F: Unary> Map<0, 1> for InPlace<F> {
    const LONG: bool = F::NS[0] > LONG_NS;
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, _: [S::F32; 0], [x]: [S::F32; 1]) -> [S::F32; 1] {
        [self.0.forward(s, x)]
    }
}

/// `d = d·f'`, element by element in place, from the saved value.
#[derive(Clone, Copy)]
pub(crate) struct BackwardInPlace<F>(pub(crate) F);

impl<F: Unary> Map<1, 1> for BackwardInPlace<F> {
    const LONG: bool = F::NS[1] > LONG_NS;
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [saved]: [S::F32; 1], [d]: [S::F32; 1]) -> [S::F32; 1] {
        [self.0.backward(s, d, saved)]
    }
}
