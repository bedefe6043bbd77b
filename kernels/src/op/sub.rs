//! `y = a - alpha·b` with broadcasting: the notebook's `bndiff`, and `logits` less their row maximum.
//!
//! `dy/da = 1` and `dy/db = -alpha`: the gradient passes through. An operand that was repeated along an axis had a part
//! in every output there, so its gradient is the sum over that axis: `da = Σ dy`, `db = -alpha·Σ dy`, in the operand's
//! shape.

use super::broadcast;
use crate::elementwise;
use crate::error::{Result, expect_shape};
use crate::exec::Exec;
use crate::lanes::Map;
use crate::simd::Simd;
use crate::view::{View, ViewMut, broadcast_shape};

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
    const OP: &str = "sub::forward";
    let (y, a, b) = (y.into(), a.into(), b.into());
    let shape = broadcast_shape(OP, "b", a.shape(), b.shape())?;
    expect_shape(OP, "y", shape.as_slice(), y.shape())?;
    let inp = [elementwise::broadcast(OP, "a", a, y.shape())?, elementwise::broadcast(OP, "b", b, y.shape())?];
    elementwise::map(exec, 0.06, [y], inp, Sub(alpha));
    Ok(())
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
    const OP: &str = "sub::backward";
    let (da, db, dy) = (da.into(), db.into(), dy.into());
    let shape = broadcast_shape(OP, "db", da.shape(), db.shape())?;
    expect_shape(OP, "dy", shape.as_slice(), dy.shape())?;
    broadcast::sum_scaled([OP, "da"], exec, da, dy, 1.0)?;
    broadcast::sum_scaled([OP, "db"], exec, db, dy, -alpha)
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
