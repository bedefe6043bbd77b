//! `y = min(max(x, low), high)` with a bound for each element, all three broadcast to each other; see
//! [`clamp`](super::clamp) for the same bounds everywhere. A bound that is missing is an infinity.
//!
//! The output is one of the three, which gets the gradient: `x` where it lies within both bounds (or on one), `low`
//! where `x` is below it, `high` where `x` is above it. If `low` is above `high` the output is `high`, and `low` gets
//! nothing. As in PyTorch, but that `x` gets the gradient where it is NaN. Each gradient is summed to its operand's
//! shape.

use crate::elementwise;
use crate::error::{Dims, Result, expect_shape};
use crate::exec::Exec;
use crate::lanes::Map;
use crate::reduce::{self, Term};
use crate::simd::Simd;
use crate::view::{View, ViewMut, broadcast_shape};

/// Nanoseconds of one core an element, for the split over threads.
const NS: f64 = 0.1;

/// The gradients that the backward pass writes.
pub struct Grads<'a> {
    /// Of `x`, in its shape.
    pub dx: ViewMut<'a>,
    /// Of `low`, in its shape.
    pub dlow: ViewMut<'a>,
    /// Of `high`, in its shape.
    pub dhigh: ViewMut<'a>,
}

/// `y = min(max(x, low), high)`; `y` has the shape that broadcasting the three gives.
///
/// # Errors
/// If the shapes do not broadcast, or `y` has another.
pub fn forward<'a>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    x: impl Into<View<'a>>,
    low: impl Into<View<'a>>,
    high: impl Into<View<'a>>,
) -> Result<()> {
    const OP: &str = "clamp_tensor::forward";
    let (y, inp) = (y.into(), [x.into(), low.into(), high.into()]);
    let shape = shape(OP, inp)?;
    expect_shape(OP, "y", shape.as_slice(), y.shape())?;
    let [x, low, high] = inp;
    let repeat = |x: View<'a>| x.broadcast_to(shape.as_slice());
    elementwise::map(exec, NS, [y], [repeat(x)?, repeat(low)?, repeat(high)?], Clamp);
    Ok(())
}

/// The gradients of all three, from `dy` of the output's shape.
///
/// # Errors
/// If the operands do not broadcast to each other, or a gradient has another shape than its value.
pub fn backward<'a>(
    exec: &Exec,
    grads: Grads<'_>,
    dy: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    low: impl Into<View<'a>>,
    high: impl Into<View<'a>>,
) -> Result<()> {
    const OP: &str = "clamp_tensor::backward";
    let Grads { dx, dlow, dhigh } = grads;
    let (dy, x, low, high) = (dy.into(), x.into(), low.into(), high.into());
    let shape = shape(OP, [x, low, high])?;
    expect_shape(OP, "dy", shape.as_slice(), dy.shape())?;
    for (arg, value, grad) in [("dx", x, &dx), ("dlow", low, &dlow), ("dhigh", high, &dhigh)] {
        expect_shape(OP, arg, value.shape(), grad.shape())?;
    }
    let repeat = |x: View<'a>| x.broadcast_to(shape.as_slice());
    let inp = [dy, repeat(x)?, repeat(low)?, repeat(high)?];
    reduce::sum_to(exec, [OP, "dx"], NS, dx, inp, Of::Value)?;
    reduce::sum_to(exec, [OP, "dlow"], NS, dlow, inp, Of::Low)?;
    reduce::sum_to(exec, [OP, "dhigh"], NS, dhigh, inp, Of::High)
}

fn shape(op: &'static str, [x, low, high]: [View<'_>; 3]) -> Result<Dims> {
    let both = broadcast_shape(op, "low", x.shape(), low.shape())?;
    broadcast_shape(op, "high", both.as_slice(), high.shape())
}

/// The function.
#[derive(Clone, Copy)]
struct Clamp;

impl Map<3, 1> for Clamp {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x, low, high]: [S::F32; 3], _: [S::F32; 1]) -> [S::F32; 1] {
        [s.minimum(s.maximum(x, low), high)]
    }
}

/// Whose gradient.
#[derive(Clone, Copy)]
enum Of {
    Value,
    Low,
    High,
}

impl Term<4> for Of {
    #[inline(always)]
    fn add<S: Simd>(self, s: S, acc: S::F32, [dy, x, low, high]: [S::F32; 4]) -> S::F32 {
        let zero = s.zero();
        let term = match self {
            Of::Value => s.select(s.lt(x, low), zero, s.select(s.lt(high, x), zero, dy)),
            Of::Low => s.select(s.lt(x, low), s.select(s.lt(low, high), dy, zero), zero),
            Of::High => s.select(s.lt(high, x), dy, s.select(s.lt(high, low), dy, zero)),
        };
        s.add(acc, term)
    }
}
