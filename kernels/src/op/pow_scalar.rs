//! `y = x^exponent` with one exponent for all, within 2 ULP; the exponents 0, 1, 2 and 3 are products. Special values
//! are those of C and IEEE 754: `x^0` is 1, and a negative base has a power only if the exponent is an integer. See
//! [`pow`](super::pow) for one exponent an element.
//!
//! `dy/dx = exponent·x^(exponent - 1)`, and 0 for the exponent 0, as in PyTorch.

use super::unary::{self, Unary};
use crate::error::Result;
use crate::exec::Exec;
use crate::math;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `x^exponent`; the branch is the same for every element.
#[inline(always)]
fn power<S: Simd>(s: S, x: S::F32, exponent: f32) -> S::F32 {
    if exponent == 2.0 {
        return s.mul(x, x);
    }
    if exponent == 1.0 {
        return x;
    }
    if exponent == 3.0 {
        return s.mul(s.mul(x, x), x);
    }
    math::pow(s, x, s.splat(exponent))
}

/// `y = x^exponent`, element by element; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>, exponent: f32) -> Result<()> {
    unary::forward("pow_scalar::forward", exec, y.into(), x.into(), PowScalar { exponent })
}

/// `dx = dy·exponent·x^(exponent - 1)`, element by element, from the input `x`; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    exponent: f32,
) -> Result<()> {
    unary::backward("pow_scalar::backward", exec, dx.into(), dy.into(), x.into(), PowScalar { exponent })
}

/// `x^exponent` by its definition.
#[must_use]
pub fn reference(x: f64, exponent: f64) -> f64 {
    x.powf(exponent)
}

/// `dy` times the derivative at `x`, by its definition.
#[must_use]
pub fn reference_backward(dy: f64, x: f64, exponent: f64) -> f64 {
    if exponent == 0.0 { 0.0 } else { dy * exponent * x.powf(exponent - 1.0) }
}

/// The function; saves its input.
#[derive(Clone, Copy)]
struct PowScalar {
    exponent: f32,
}

impl Unary for PowScalar {
    const NS: [f64; 2] = [0.8, 0.8];
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        power(s, x, self.exponent)
    }
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, dy: S::F32, x: S::F32) -> S::F32 {
        if self.exponent == 0.0 {
            return s.zero();
        }
        s.mul(dy, s.mul(s.splat(self.exponent), power(s, x, self.exponent - 1.0)))
    }
}
