//! `y = a - alpha·b` with broadcasting: the notebook's `bndiff`, and `logits` less their row maximum.
//!
//! `dy/da = 1` and `dy/db = -alpha`: the gradient passes through. An operand that was repeated along an axis had a part
//! in every output there, so its gradient is the sum over that axis: `da = Σ dy`, `db = -alpha·Σ dy`, in the operand's
//! shape.

use super::binary;
use crate::error::Result;
use crate::exec::Exec;
use crate::lanes::Map;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = a - alpha·b`; `a` and `b` are broadcast to each other, `y` has the shape that gives. `alpha` is 1 for a plain
/// difference.
///
/// # Errors
/// If the shapes do not broadcast, or `y` has another.
pub fn forward<'a>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    a: impl Into<View<'a>>,
    b: impl Into<View<'a>>,
    alpha: f32,
) -> Result<()> {
    binary::map("sub::forward", exec, 0.06, y.into(), a.into(), b.into(), Sub(alpha))
}

/// `da = Σ dy` and `db = -alpha·Σ dy`, each summed to its operand's shape, which broadcasting must bring to that of
/// `dy`.
///
/// # Errors
/// If it does not.
pub fn backward<'a>(
    exec: &Exec,
    da: impl Into<ViewMut<'a>>,
    db: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    alpha: f32,
) -> Result<()> {
    binary::backward_sum("sub::backward", exec, [da.into(), db.into()], dy.into(), -alpha)
}

/// `a - alpha·b` by its definition.
#[must_use]
pub fn reference(a: f64, b: f64, alpha: f64) -> f64 {
    a - alpha * b
}

/// `dy` times the derivatives, by their definition.
#[must_use]
pub fn reference_backward(dy: f64, _a: f64, _b: f64, alpha: f64) -> [f64; 2] {
    [dy, -alpha * dy]
}

/// The function.
#[derive(Clone, Copy)]
struct Sub(f32);

impl Map<2, 1> for Sub {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [a, b]: [S::F32; 2], _: [S::F32; 1]) -> [S::F32; 1] {
        [s.fnma(s.splat(self.0), b, a)]
    }
}
