//! The activations in f64, with what their kernels promise.

use super::compare::ROUNDING;
use super::tiers::is_fused;
use handgrad_kernels::Isa;
use handgrad_kernels::op::activation::Activation;

pub(crate) const ALL: [Activation; 3] = [Activation::Identity, Activation::Tanh, Activation::Sigmoid];

pub(crate) fn forward(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid if x < 0.0 => x.exp() / (1.0 + x.exp()),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        _ => unreachable!("an activation without a reference"),
    }
}

/// The derivative by central differences, within 1e-8.
pub(crate) fn slope(activation: Activation, x: f64) -> f64 {
    let h = 1e-4;
    (forward(activation, x + h) - forward(activation, x - h)) / (2.0 * h)
}

/// The error of the kernel's output `y` for an argument with the error `error`.
pub(crate) fn forward_error(isa: Isa, activation: Activation, y: f64, error: f64) -> f64 {
    // The steepest slope, and the stated bound in ULP, each at most `EPSILON * |y|`.
    let (slope, ulp) = match (activation, is_fused(isa)) {
        (Activation::Tanh, true) => (1.0, 1.1),
        (Activation::Tanh, false) => (1.0, 2.0),
        (Activation::Sigmoid, true) => (0.25, 2.5),
        (Activation::Sigmoid, false) => (0.25, 3.5),
        _ => (1.0, 0.0),
    };
    slope * error + ulp * f64::from(f32::EPSILON) * y.abs() + f64::from(f32::from_bits(1))
}

/// The error of the kernel's slope, which it takes from an output `y` that has been rounded once, and of the slope by
/// central differences.
pub(crate) fn slope_error(isa: Isa, activation: Activation, y: f64) -> f64 {
    let unfused = f64::from(u8::from(!is_fused(isa)));
    let error = match activation {
        // 1 - y²: the rounding of y counts twice, that of y² once if it is rounded by itself.
        Activation::Tanh => (2.0 + unfused) * y * y + (1.0 - y * y),
        // y·(1 - y)
        Activation::Sigmoid => (1.0 - 2.0 * y).abs() * y + 2.0 * y * (1.0 - y),
        _ => return 0.0,
    };
    error * ROUNDING * 1.001 + 1e-8
}
