//! The quick set: what sanitizers, emulators and other machines run, in minutes from nothing. Every dimension goes up
//! to two registers and one, every operand has a buffer that is not an element too long, and outputs begin as NaN.
//! Results are compared with plain loops and with f64, and on tiers that have a fused multiply-add with each other, bit
//! for bit.
//!
//! It is a package of its own so that little has to be compiled: the kernels, the training step, and a generator of
//! random numbers. The problems and their references are those of the long tests.
#![cfg(test)]

#[path = "../../../kernels/tests/common/mod.rs"]
mod common;
#[path = "../../../tests/common/compare.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod compare;
#[path = "../../../kernels/tests/losses/kinds.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod kinds;
mod losses;
#[path = "../../../kernels/tests/norms/problem.rs"]
mod norm;
mod norms;
#[path = "../../../kernels/tests/conformance/problem.rs"]
mod op;
mod ops;
mod products;
#[path = "../../../tests/common/reference.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod reference;
mod steps;
#[path = "../../../tests/common/zoo.rs"]
mod zoo;

use handgrad_kernels::view::View;

/// The elements of a view in f64, in logical order.
fn widened(view: View<'_>) -> Vec<f64> {
    view.iter().map(f64::from).collect()
}

/// What the first fused tier gave, to compare the others with.
struct First<T>(Vec<Option<T>>);

impl<T> First<T> {
    fn of(problems: usize) -> Self {
        Self((0..problems).map(|_| None).collect())
    }

    /// The first result of a problem.
    fn or(&mut self, problem: usize, result: impl FnOnce() -> T) -> &T {
        self.0[problem].get_or_insert_with(result)
    }
}
