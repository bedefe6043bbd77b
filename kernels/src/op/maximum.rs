//! `y = max(a, b)` with broadcasting; NaN where either is NaN.
//!
//! The gradient goes to the greater operand. Where both are equal each gets half, as in PyTorch; where either is NaN,
//! both get the whole.

use super::binary::{self, Binary};
use crate::error::Result;
use crate::exec::Exec;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = max(a, b)`; `a` and `b` are broadcast to each other, `y` has the shape that gives.
///
/// # Errors
/// If the shapes do not broadcast, or `y` has another.
pub fn forward<'a>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    a: impl Into<View<'a>>,
    b: impl Into<View<'a>>,
) -> Result<()> {
    binary::forward("maximum::forward", exec, y.into(), a.into(), b.into(), Maximum)
}

/// `da = Σ dy·[a > b]` and `db = Σ dy·[b > a]`, each summed to its operand's shape; `dy` has the shape of the output.
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
    binary::backward("maximum::backward", exec, grads, dy.into(), a.into(), b.into(), Maximum)
}

/// `max(a, b)` by its definition.
#[must_use]
pub fn reference(a: f64, b: f64) -> f64 {
    if a > b || a.is_nan() { a } else { b }
}

/// `dy` times the derivatives, by their definition.
#[must_use]
pub fn reference_backward(dy: f64, a: f64, b: f64) -> [f64; 2] {
    match a.partial_cmp(&b) {
        Some(std::cmp::Ordering::Greater) => [dy, 0.0],
        Some(std::cmp::Ordering::Less) => [0.0, dy],
        Some(std::cmp::Ordering::Equal) => [0.5 * dy, 0.5 * dy],
        None => [dy, dy],
    }
}

/// The function.
#[derive(Clone, Copy)]
pub(crate) struct Maximum;

impl Binary for Maximum {
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::F32 {
        s.maximum(a, b)
    }
    #[inline(always)]
    fn grad_a<S: Simd>(self, s: S, dy: S::F32, a: S::F32, b: S::F32) -> S::F32 {
        binary::share(s, dy, b, a)
    }
    #[inline(always)]
    fn grad_b<S: Simd>(self, s: S, dy: S::F32, a: S::F32, b: S::F32) -> S::F32 {
        binary::share(s, dy, a, b)
    }
}
