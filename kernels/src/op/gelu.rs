//! `y = x·Φ(x)`, `Φ` being the normal distribution: a smooth relu that weighs `x` by how likely a normal number is to
//! be below it. Its least value is -0.170 at `x = -0.752`; it approaches `x` above and 0 below.
//!
//! * exact: `Φ(x) = ½·(1 + erf(x/√2))`, and `dy/dx = Φ(x) + x·φ(x)` with `φ(x) = e^(-x²/2)/√(2π)`;
//! * by tanh: `y = ½x·(1 + tanh u)` with `u = √(2/π)·(x + 0.044715·x³)`, and
//!   `dy/dx = ½·(1 + tanh u) + ½x·(1 - tanh² u)·u'` with `u' = √(2/π)·(1 + 3·0.044715·x²)`.
//!
//! Errors are at most 4 ULP or `2^-23` times the terms of the formula. Of `-inf` the result is -0, the limit.
//!
//! Source: Hendrycks and Gimpel 2016.

use super::unary::{self, Unary};
use crate::error::Result;
use crate::exec::Exec;
use crate::math;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// Which function weighs `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Form {
    /// The normal distribution.
    #[default]
    Erf,
    /// An approximation of it by tanh, as in GPT-2.
    Tanh,
}

/// `2·√(2/π)`, and the weight of the cube.
const INNER: [f32; 2] = [1.595_769_2, 0.044_715];

/// `2u = 2·√(2/π)·(x + 0.044715·x³)`: `½·(1 + tanh u)` is the sigmoid of it.
#[inline(always)]
fn argument<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let cube = s.mul(s.mul(x, x), x);
    s.mul(s.splat(INNER[0]), s.fma(s.splat(INNER[1]), cube, x))
}

/// `√(2/π)·(x + 0.044715·x³)` in f64.
fn inner(x: f64) -> f64 {
    (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)
}

/// `Φ(x)`, to about 1e-15: the series of `erf` near zero, the continued fraction of `erfc` beyond.
fn normal(x: f64) -> f64 {
    let z = x.abs() * std::f64::consts::FRAC_1_SQRT_2;
    let half_erfc = if z < 3.0 {
        let (mut term, mut sum, mut n) = (z, z, 0.0);
        while term.abs() > 1e-18 * sum.abs() {
            n += 1.0;
            term *= -z * z / n;
            sum += term / (2.0 * n + 1.0);
        }
        0.5 - sum / std::f64::consts::PI.sqrt()
    } else {
        let fraction = (1..=60).rev().fold(0.0, |fraction, k| 0.5 * f64::from(k) / (z + fraction));
        0.5 * (-z * z).exp() / ((z + fraction) * std::f64::consts::PI.sqrt())
    };
    if x < 0.0 { half_erfc } else { 1.0 - half_erfc }
}

/// `y = x·Φ(x)`, element by element; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>, form: Form) -> Result<()> {
    unary::forward("gelu::forward", exec, y.into(), x.into(), Gelu { form })
}

/// `dx = dy·(Φ(x) + x·φ(x))`, element by element, from the input `x`; shapes are equal.
///
/// # Errors
/// If the shapes differ.
pub fn backward<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    form: Form,
) -> Result<()> {
    unary::backward("gelu::backward", exec, dx.into(), dy.into(), x.into(), Gelu { form })
}

/// `x·Φ(x)` by its definition.
#[must_use]
pub fn reference(x: f64, form: Form) -> f64 {
    match form {
        _ if x == f64::NEG_INFINITY => -0.0,
        Form::Erf => x * normal(x),
        Form::Tanh => 0.5 * x * (1.0 + inner(x).tanh()),
    }
}

/// `dy` times the derivative at `x`, by its definition.
#[must_use]
pub fn reference_backward(dy: f64, x: f64, form: Form) -> f64 {
    match form {
        _ if x.is_infinite() => {
            if x > 0.0 {
                dy
            } else {
                0.0
            }
        }
        Form::Erf => dy * (normal(x) + x * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()),
        Form::Tanh => {
            let slope = (2.0 / std::f64::consts::PI).sqrt() * (1.0 + 3.0 * 0.044_715 * x * x);
            let tanh = inner(x).tanh();
            dy * 0.5 * (1.0 + tanh + x * (1.0 - tanh * tanh) * slope)
        }
    }
}

/// The function; saves its input.
#[derive(Clone, Copy)]
pub(crate) struct Gelu {
    pub(crate) form: Form,
}

impl Unary for Gelu {
    const NS: [f64; 2] = [0.25, 0.35];
    #[inline(always)]
    fn forward<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        let weight = match self.form {
            Form::Erf => math::normal(s, x),
            Form::Tanh => math::sigmoid(s, argument(s, x)),
        };
        // Infinity times zero is avoided: of -inf the result is -0.
        s.mul(s.max(s.splat(f32::MIN), x), weight)
    }
    #[inline(always)]
    fn backward<S: Simd>(self, s: S, dy: S::F32, x: S::F32) -> S::F32 {
        let slope = match self.form {
            Form::Erf => s.add(math::normal(s, x), math::normal_moment(s, x)),
            Form::Tanh => {
                // Beyond 20 the slope is 0 or 1, and infinity times zero is avoided.
                let x = s.min(s.splat(20.0), s.max(s.splat(-20.0), x));
                let (one, square) = (s.splat(1.0), s.mul(x, x));
                // With e = e^-|2u| the sigmoid is 1/(1 + e) or what is missing to it; its slope is e/(1 + e)².
                let e = math::exp(s, s.neg(s.abs(argument(s, x))));
                let above = s.div(one, s.add(one, e));
                let below = s.mul(e, above);
                let inner = s.fma(s.splat(3.0 * INNER[0] * INNER[1]), square, s.splat(INNER[0]));
                s.fma(s.mul(x, inner), s.mul(below, above), s.select(s.lt(x, s.zero()), below, above))
            }
        };
        s.mul(dy, slope)
    }
}
