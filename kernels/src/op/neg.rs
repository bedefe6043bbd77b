//! `y = -x`.
//!
//! `dy/dx = -1`: `dx = -dy`, whatever `x` was.

use crate::elementwise;
use crate::error::{Result, expect_shape};
use crate::exec::Exec;
use crate::lanes::Map;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y = -x`, element by element; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>) -> Result<()> {
    let (y, x) = (y.into(), x.into());
    expect_shape("neg::forward", "y", x.shape(), y.shape())?;
    elementwise::map(exec, 0.06, [y], [x], Neg);
    Ok(())
}

/// `dx = -dy`, element by element; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn backward<'a>(exec: &Exec, dx: impl Into<ViewMut<'a>>, dy: impl Into<View<'a>>) -> Result<()> {
    let (dx, dy) = (dx.into(), dy.into());
    expect_shape("neg::backward", "dx", dy.shape(), dx.shape())?;
    elementwise::map(exec, 0.06, [dx], [dy], Neg);
    Ok(())
}

/// `-x` by its definition.
#[must_use]
pub fn reference(x: f64) -> f64 {
    -x
}

/// `dy` times the derivative, by its definition.
#[must_use]
pub fn reference_backward(dy: f64, _x: f64) -> f64 {
    -dy
}

/// The function, and its gradient.
#[derive(Clone, Copy)]
struct Neg;

impl Map<1, 1> for Neg {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x]: [S::F32; 1], _: [S::F32; 1]) -> [S::F32; 1] {
        [s.neg(x)]
    }
}
