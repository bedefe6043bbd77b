//! `y = a·b` with broadcasting, element by element (the Hadamard product).
//!
//! `dy/da = b` and `dy/db = a`: each operand's gradient is the other's value. Where an operand was repeated its
//! gradient is summed: `da = Σ dy·b`, `db = Σ dy·a`.

use super::binary::{self, Binary};
use crate::error::Result;
use crate::exec::Exec;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = a·b`; `a` and `b` are broadcast to each other, `y` has the shape that gives.
///
/// # Errors
/// If the shapes do not broadcast, or `y` has another.
pub fn forward<'a>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    a: impl Into<View<'a>>,
    b: impl Into<View<'a>>,
) -> Result<()> {
    binary::forward("mul::forward", exec, y.into(), a.into(), b.into(), Mul)
}

/// `da = Σ dy·b` and `db = Σ dy·a`, each summed to its operand's shape; `dy` has the shape of the output.
///
/// # Errors
/// If the operands do not broadcast to each other, or a gradient has another shape than its value.
pub fn backward<'a>(
    exec: &Exec,
    da: impl Into<ViewMut<'a>>,
    db: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    a: impl Into<View<'a>>,
    b: impl Into<View<'a>>,
) -> Result<()> {
    let grads = [da.into(), db.into()];
    binary::backward("mul::backward", exec, grads, dy.into(), a.into(), b.into(), Mul)
}

/// `a·b` by its definition.
#[must_use]
pub fn reference(a: f64, b: f64) -> f64 {
    a * b
}

/// `dy` times the derivatives, by their definition.
#[must_use]
pub fn reference_backward(dy: f64, a: f64, b: f64) -> [f64; 2] {
    [dy * b, dy * a]
}

/// The function.
#[derive(Clone, Copy)]
pub(crate) struct Mul;

impl Binary for Mul {
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::F32 {
        s.mul(a, b)
    }
    #[inline(always)]
    fn grad_a<S: Simd>(self, s: S, dy: S::F32, _: S::F32, b: S::F32) -> S::F32 {
        s.mul(dy, b)
    }
    #[inline(always)]
    fn grad_b<S: Simd>(self, s: S, dy: S::F32, a: S::F32, _: S::F32) -> S::F32 {
        s.mul(dy, a)
    }
}
