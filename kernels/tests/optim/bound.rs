//! How far a kernel's numbers may be from the exact ones: arithmetic on numbers that are known to within an error.

use super::common::compare::ROUNDING;
use std::ops::{Add, Div, Mul, Sub};

/// A number, and the most by which what the kernel has for it may differ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    value: f64,
    pub(crate) error: f64,
}

impl Bound {
    /// A number that is the same for both.
    pub(crate) fn exact(value: f64) -> Self {
        Self { value, error: 0.0 }
    }

    /// A number that the kernel has rounded.
    pub(crate) fn rounded(value: f64) -> Self {
        Self::exact(value).round()
    }

    /// One more rounding; of a subnormal, by half of the least number.
    fn round(self) -> Self {
        let least = f64::from(f32::from_bits(1));
        Self { error: self.error + ROUNDING * (self.value.abs() + self.error) + least / 2.0, ..self }
    }

    /// The root; below zero it is that of zero.
    pub(crate) fn sqrt(self) -> Self {
        let [below, root, above] =
            [self.value - self.error, self.value, self.value + self.error].map(|x| x.max(0.0).sqrt());
        Self { value: root, error: (above - root).max(root - below) }.round()
    }
}

// A fused multiply-add rounds less than a product and a sum do.

impl Add for Bound {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { value: self.value + other.value, error: self.error + other.error }.round()
    }
}

impl Sub for Bound {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { value: self.value - other.value, error: self.error + other.error }.round()
    }
}

impl Mul for Bound {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let error = self.value.abs() * other.error + other.value.abs() * self.error + self.error * other.error;
        Self { value: self.value * other.value, error }.round()
    }
}

impl Div for Bound {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        let least = other.value.abs() - other.error;
        let error = if least > 0.0 { (self.error + value.abs() * other.error) / least } else { f64::INFINITY };
        Self { value, error }.round()
    }
}
