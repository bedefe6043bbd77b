//! What the element-wise functions of two operands have in common. The operands are broadcast to the shape of the
//! output; each one's gradient is summed back to its own shape as it is computed, without a temporary of the output's
//! size.

use super::broadcast;
use crate::elementwise;
use crate::error::{Result, expect_shape};
use crate::exec::Exec;
use crate::lanes::Map;
use crate::reduce::{self, Term};
use crate::simd::Simd;
use crate::view::{View, ViewMut, broadcast_shape};

/// Nanoseconds of one core an element, for the split over threads.
const NS: f64 = 0.1;

/// A differentiable function of two registers.
pub(crate) trait Binary: Copy + Send + Sync {
    /// `y` from `a` and `b`.
    fn forward<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::F32;
    /// `dy·dy/da`.
    fn grad_a<S: Simd>(self, s: S, dy: S::F32, a: S::F32, b: S::F32) -> S::F32;
    /// `dy·dy/db`.
    fn grad_b<S: Simd>(self, s: S, dy: S::F32, a: S::F32, b: S::F32) -> S::F32;
}

/// `y = f(a, b)` with broadcasting.
///
/// # Errors
/// If `a` and `b` do not broadcast to each other, or `y` has not the shape they give.
pub(crate) fn forward<F: Binary>(
    op: &'static str,
    exec: &Exec,
    y: ViewMut<'_>,
    a: View<'_>,
    b: View<'_>,
    f: F,
) -> Result<()> {
    map(op, exec, NS, y, a, b, Forward(f))
}

/// `y = f(a, b)` with broadcasting, at `nanoseconds` an element.
///
/// # Errors
/// As [`forward`].
pub(crate) fn map(
    op: &'static str,
    exec: &Exec,
    nanoseconds: f64,
    y: ViewMut<'_>,
    a: View<'_>,
    b: View<'_>,
    f: impl Map<2, 1>,
) -> Result<()> {
    let shape = broadcast_shape(op, "b", a.shape(), b.shape())?;
    expect_shape(op, "y", shape.as_slice(), y.shape())?;
    let inp = [elementwise::broadcast(op, "a", a, y.shape())?, elementwise::broadcast(op, "b", b, y.shape())?];
    elementwise::map(exec, nanoseconds, [y], inp, f);
    Ok(())
}

/// `da = Σ dy` and `db = scale·Σ dy`: the gradients of `a + scale·b`.
///
/// # Errors
/// If `da` and `db` do not broadcast to the shape of `dy`.
pub(crate) fn backward_sum(
    op: &'static str,
    exec: &Exec,
    [da, db]: [ViewMut<'_>; 2],
    dy: View<'_>,
    scale: f32,
) -> Result<()> {
    let shape = broadcast_shape(op, "db", da.shape(), db.shape())?;
    expect_shape(op, "dy", shape.as_slice(), dy.shape())?;
    broadcast::sum_scaled([op, "da"], exec, da, dy, 1.0)?;
    broadcast::sum_scaled([op, "db"], exec, db, dy, scale)
}

/// The gradients of both operands: `da` has the shape of `a`, `db` that of `b`, `dy` that of the output.
///
/// # Errors
/// If `a` and `b` do not broadcast to each other, or a gradient has another shape.
pub(crate) fn backward<F: Binary>(
    op: &'static str,
    exec: &Exec,
    [da, db]: [ViewMut<'_>; 2],
    dy: View<'_>,
    a: View<'_>,
    b: View<'_>,
    f: F,
) -> Result<()> {
    let shape = broadcast_shape(op, "b", a.shape(), b.shape())?;
    expect_shape(op, "dy", shape.as_slice(), dy.shape())?;
    expect_shape(op, "da", a.shape(), da.shape())?;
    expect_shape(op, "db", b.shape(), db.shape())?;
    let same = a.shape() == b.shape();
    let inp = [
        dy,
        elementwise::broadcast(op, "a", a, shape.as_slice())?,
        elementwise::broadcast(op, "b", b, shape.as_slice())?,
    ];
    if same {
        elementwise::map(exec, 2.0 * NS, [da, db], inp, Grads(f));
        return Ok(());
    }
    reduce::sum_to(exec, [op, "da"], NS, da, inp, GradA(f))?;
    reduce::sum_to(exec, [op, "db"], NS, db, inp, GradB(f))
}

/// `dy` where `below < above`, nothing where it is greater, half where they are equal, the whole where either is NaN.
#[inline(always)]
pub(crate) fn share<S: Simd>(s: S, dy: S::F32, below: S::F32, above: S::F32) -> S::F32 {
    let half = s.select(s.eq(below, above), s.mul(s.splat(0.5), dy), dy);
    s.select(s.lt(above, below), s.zero(), half)
}

/// `y = f(a, b)`.
#[derive(Clone, Copy)]
struct Forward<F>(F);

impl<F: Binary> Map<2, 1> for Forward<F> {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [a, b]: [S::F32; 2], _: [S::F32; 1]) -> [S::F32; 1] {
        [self.0.forward(s, a, b)]
    }
}

/// Both gradients, where nothing is broadcast.
#[derive(Clone, Copy)]
struct Grads<F>(F);

impl<F: Binary> Map<3, 2> for Grads<F> {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [dy, a, b]: [S::F32; 3], _: [S::F32; 2]) -> [S::F32; 2] {
        [self.0.grad_a(s, dy, a, b), self.0.grad_b(s, dy, a, b)]
    }
}

/// The gradient of the first operand, summed.
#[derive(Clone, Copy)]
struct GradA<F>(F);

impl<F: Binary> Term<3> for GradA<F> {
    #[inline(always)]
    fn add<S: Simd>(self, s: S, acc: S::F32, [dy, a, b]: [S::F32; 3]) -> S::F32 {
        s.add(acc, self.0.grad_a(s, dy, a, b))
    }
}

/// The gradient of the second operand, summed.
#[derive(Clone, Copy)]
struct GradB<F>(F);

impl<F: Binary> Term<3> for GradB<F> {
    #[inline(always)]
    fn add<S: Simd>(self, s: S, acc: S::F32, [dy, a, b]: [S::F32; 3]) -> S::F32 {
        s.add(acc, self.0.grad_b(s, dy, a, b))
    }
}
