//! Repeating and its adjoint, the sum: `y[…, j, …] = x[…, 0, …]` along the axes where `x` is missing or has size one.
//!
//! Each element of `x` has a part in every element of `y` that repeats it, so `dx = Σ dy` over those axes. And the
//! other way about: the backward pass of a sum repeats. One pair of kernels serves both.
//!
//! ```text
//!  (3,1) + (1,4):   a0 a0 a0 a0   b0 b1 b2 b3        da[i] = Σ_j dy[i,j]
//!                   a1 a1 a1 a1 + b0 b1 b2 b3        db[j] = Σ_i dy[i,j]
//!                   a2 a2 a2 a2   b0 b1 b2 b3
//! ```

use crate::elementwise;
use crate::error::Result;
use crate::exec::Exec;
use crate::lanes::{Map, Same};
use crate::reduce::{self, Term};
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `y` is `x` repeated to the shape of `y`, by NumPy's rule.
///
/// # Errors
/// If broadcasting does not bring `x` to that shape.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, x: impl Into<View<'a>>) -> Result<()> {
    let y = y.into();
    let x = elementwise::broadcast("broadcast::forward", "x", x.into(), y.shape())?;
    elementwise::map(exec, 0.06, [y], [x], Same);
    Ok(())
}

/// `dx` is `dy` summed over the axes along which broadcasting repeats `dx` to the shape of `dy`.
///
/// # Errors
/// If broadcasting does not bring `dx` to that shape.
pub fn backward<'a>(exec: &Exec, dx: impl Into<ViewMut<'a>>, dy: impl Into<View<'a>>) -> Result<()> {
    sum_scaled(["broadcast::backward", "dx"], exec, dx.into(), dy.into(), 1.0)
}

/// `dx = alpha·Σ dy`, summed to the shape of `dx`.
///
/// # Errors
/// As [`backward`].
pub(super) fn sum_scaled(
    names: [&'static str; 2],
    exec: &Exec,
    dx: ViewMut<'_>,
    dy: View<'_>,
    alpha: f32,
) -> Result<()> {
    if dx.shape() == dy.shape() {
        elementwise::map(exec, 0.06, [dx], [dy], Scaled(alpha));
        return Ok(());
    }
    reduce::sum_to(exec, names, 0.06, dx, [dy], Scaled(alpha))
}

/// `alpha·x`, and the sum of that.
#[derive(Clone, Copy)]
struct Scaled(f32);

impl Map<1, 1> for Scaled {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x]: [S::F32; 1], _: [S::F32; 1]) -> [S::F32; 1] {
        [s.mul(s.splat(self.0), x)]
    }
}

impl Term<1> for Scaled {
    #[inline(always)]
    fn add<S: Simd>(self, s: S, acc: S::F32, [x]: [S::F32; 1]) -> S::F32 {
        s.add(acc, x)
    }
    #[inline(always)]
    fn finish<S: Simd>(self, s: S, sum: S::F32) -> S::F32 {
        s.mul(s.splat(self.0), sum)
    }
}
