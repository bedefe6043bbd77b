//! `y = a^b` with broadcasting, within 2 ULP. Special values are those of C and IEEE 754: `a^0` and `1^b` are 1 even if
//! the other is NaN, and a negative base has a power only where `b` is an integer.
//!
//! `dy/da = b·a^(b - 1)`, and 0 where `b` is 0; `dy/db = a^b·ln a`, and 0 where `a` is 0 and `b` is not negative, as in
//! PyTorch. Where an operand was repeated its gradient is summed.

use super::binary::{self, Binary};
use crate::error::Result;
use crate::exec::Exec;
use crate::math;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = a^b`; `a` and `b` are broadcast to each other, `y` has the shape that gives.
///
/// # Errors
/// If the shapes do not broadcast, or `y` has another.
pub fn forward<'a>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    a: impl Into<View<'a>>,
    b: impl Into<View<'a>>,
) -> Result<()> {
    binary::forward("pow::forward", exec, y.into(), a.into(), b.into(), PowOp)
}

/// `da = Σ dy·b·a^(b - 1)` and `db = Σ dy·a^b·ln a`, each summed to its operand's shape; `dy` has the shape of the
/// output.
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
    binary::backward("pow::backward", exec, grads, dy.into(), a.into(), b.into(), PowOp)
}

/// `a^b` by its definition.
#[must_use]
pub fn reference(a: f64, b: f64) -> f64 {
    a.powf(b)
}

/// `dy` times the derivatives, by their definition.
#[must_use]
pub fn reference_backward(dy: f64, a: f64, b: f64) -> [f64; 2] {
    let da = if b == 0.0 { 0.0 } else { dy * b * a.powf(b - 1.0) };
    let db = if a == 0.0 && b >= 0.0 { 0.0 } else { dy * a.powf(b) * a.ln() };
    [da, db]
}

/// The function.
#[derive(Clone, Copy)]
pub(crate) struct PowOp;

impl Binary for PowOp {
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::F32 {
        math::pow(s, a, b)
    }
    #[inline(always)]
    fn grad_a<S: Simd>(self, s: S, dy: S::F32, a: S::F32, b: S::F32) -> S::F32 {
        let power = math::pow(s, a, s.sub(b, s.splat(1.0)));
        s.select(s.eq(b, s.zero()), s.zero(), s.mul(dy, s.mul(b, power)))
    }
    #[inline(always)]
    fn grad_b<S: Simd>(self, s: S, dy: S::F32, a: S::F32, b: S::F32) -> S::F32 {
        let power = s.mul(math::pow(s, a, b), math::ln(s, a));
        let flat = s.select(s.eq(a, s.zero()), s.select(s.lt(b, s.zero()), s.splat(1.0), s.zero()), s.splat(1.0));
        s.select(s.eq(flat, s.zero()), s.zero(), s.mul(dy, power))
    }
}
