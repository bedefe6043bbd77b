//! `y = a` where a condition is true, else `b`, with broadcasting of all three. (The name is PyTorch's `where`, which
//! Rust keeps for itself.)
//!
//! Each output is one of the operands, so its gradient goes to that one: `da = Σ dy·[cond]`, `db = Σ dy·[not cond]`,
//! each summed to its operand's shape. A number that is not chosen has no part in the result, even if it is NaN. The
//! condition has no gradient.

use crate::elementwise;
use crate::error::{Dims, ErrorKind, Result, expect_shape};
use crate::exec::Exec;
use crate::lanes::Map;
use crate::reduce::{self, Term};
use crate::simd::Simd;
use crate::view::{View, ViewMut, broadcast_shape};

/// Floats of scratch that both passes need, for a condition of `len` elements: it is read as numbers.
#[must_use]
pub const fn scratch(len: usize) -> usize {
    len
}

/// `y = a` where `cond`, else `b`; all three are broadcast to each other, `y` has the shape that gives. `scratch` holds
/// [`scratch`](fn@scratch) floats.
///
/// # Errors
/// If the shapes do not broadcast, if `y` has another, or if `scratch` is too short.
pub fn forward<'a>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    cond: impl Into<View<'a, bool>>,
    a: impl Into<View<'a>>,
    b: impl Into<View<'a>>,
    scratch: &mut [f32],
) -> Result<()> {
    const OP: &str = "where_::forward";
    let (y, cond, a, b) = (y.into(), cond.into(), a.into(), b.into());
    let shape = shape(OP, cond, a.shape(), ("b", b.shape()))?;
    expect_shape(OP, "y", shape.as_slice(), y.shape())?;
    let inp = [a.broadcast_to(shape.as_slice())?, b.broadcast_to(shape.as_slice())?];
    let cond = as_numbers(OP, cond, scratch)?.broadcast_to(shape.as_slice())?;
    elementwise::map(exec, 0.08, [y], [cond, inp[0], inp[1]], Choose);
    Ok(())
}

/// `da = Σ dy·[cond]` and `db = Σ dy·[not cond]`, each summed to its operand's shape; `dy` has the shape of the output.
/// `scratch` holds [`scratch`](fn@scratch) floats.
///
/// # Errors
/// If the shapes do not broadcast to each other, if `dy` has another, or if `scratch` is too short.
pub fn backward<'a>(
    exec: &Exec,
    da: impl Into<ViewMut<'a>>,
    db: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    cond: impl Into<View<'a, bool>>,
    scratch: &mut [f32],
) -> Result<()> {
    const OP: &str = "where_::backward";
    let (da, db, dy, cond) = (da.into(), db.into(), dy.into(), cond.into());
    let shape = shape(OP, cond, da.shape(), ("db", db.shape()))?;
    expect_shape(OP, "dy", shape.as_slice(), dy.shape())?;
    let cond = as_numbers(OP, cond, scratch)?.broadcast_to(shape.as_slice())?;
    reduce::sum_to(exec, [OP, "da"], 0.08, da, [cond, dy], Chosen(1.0))?;
    reduce::sum_to(exec, [OP, "db"], 0.08, db, [cond, dy], Chosen(0.0))
}

/// The shape that the condition and both operands have in common.
fn shape(op: &'static str, cond: View<'_, bool>, a: &[usize], (arg, b): (&'static str, &[usize])) -> Result<Dims> {
    let both = broadcast_shape(op, arg, a, b)?;
    broadcast_shape(op, "cond", both.as_slice(), cond.shape())
}

/// The condition as zeros and ones.
fn as_numbers<'s>(op: &'static str, cond: View<'_, bool>, scratch: &'s mut [f32]) -> Result<View<'s>> {
    let (want, got) = (cond.len(), scratch.len());
    if got < want {
        return Err(ErrorKind::Scratch { op, want, got }.into());
    }
    let numbers = &mut scratch[..want];
    if let Some(cond) = cond.as_slice() {
        numbers.iter_mut().zip(cond).for_each(|(number, &cond)| *number = f32::from(u8::from(cond)));
    } else {
        numbers.iter_mut().zip(cond.iter()).for_each(|(number, cond)| *number = f32::from(u8::from(cond)));
    }
    View::new(numbers, cond.shape())
}

/// `a` where `cond` is not zero, else `b`.
#[derive(Clone, Copy)]
struct Choose;

impl Map<3, 1> for Choose {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [cond, a, b]: [S::F32; 3], _: [S::F32; 1]) -> [S::F32; 1] {
        [s.select(s.eq(cond, s.zero()), b, a)]
    }
}

/// `dy` where `cond` is this number.
#[derive(Clone, Copy)]
struct Chosen(f32);

impl Term<2> for Chosen {
    #[inline(always)]
    fn add<S: Simd>(self, s: S, acc: S::F32, [cond, dy]: [S::F32; 2]) -> S::F32 {
        s.add(acc, s.select(s.eq(cond, s.splat(self.0)), dy, s.zero()))
    }
}
