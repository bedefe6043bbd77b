//! The kernels' functions of one number, with the same bits as every fused tier: for samplers, schedules and
//! initialisers, whose results should not depend on a C library either.

use crate::math;
use crate::simd::Scalar;

/// `e^x`, within 1 ULP.
#[must_use]
pub fn exp(x: f32) -> f32 {
    math::exp(Scalar, x)
}

/// The natural logarithm, within 1 ULP.
#[must_use]
pub fn ln(x: f32) -> f32 {
    math::ln(Scalar, x)
}
