//! The length of a gradient, and the factor that shortens it.

use crate::exec::Exec;
use crate::reduce::{self, Term};
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// `√Σ g²` over all elements. The squares are summed as every row is, in an order that the number of elements alone
/// determines: see [the order of sums](crate#the-order-of-sums). It is infinite if the sum of squares is.
///
/// Source: `torch.nn.utils.get_total_norm`.
#[must_use]
pub fn global_norm(exec: &Exec, grads: &[f32]) -> f32 {
    squares(exec, grads).sqrt()
}

/// `Σ g²`.
fn squares(exec: &Exec, grads: &[f32]) -> f32 {
    let mut total = 0.0;
    let view = View::new(grads, &[grads.len()]).expect("as many as there are");
    let names = ["global_norm", "norm"];
    reduce::sum_to(exec, names, 0.02, ViewMut::scalar(&mut total), [view], Square).expect("a scalar is a sum of any");
    total
}

/// `min(1, max_norm/(norm + 1e-6))`: what gradients of this norm are taken times to have at most the norm `max_norm`.
/// NaN in either stays NaN.
///
/// Source: `torch.nn.utils.clip_grad_norm_`.
///
/// ```
/// use handgrad_kernels::optim::clip_scale;
/// assert_eq!((clip_scale(0.5, 1.0), clip_scale(f32::INFINITY, 1.0)), (1.0, 0.0));
/// assert!((clip_scale(4.0, 1.0) - 0.25).abs() < 1e-6);
/// ```
#[must_use]
pub fn clip_scale(norm: f32, max_norm: f32) -> f32 {
    let scale = max_norm / (norm + 1e-6);
    if scale > 1.0 { 1.0 } else { scale }
}

/// `x²`.
#[derive(Clone, Copy)]
struct Square;

impl Term<1> for Square {
    #[inline(always)]
    fn add<S: Simd>(self, s: S, acc: S::F32, [x]: [S::F32; 1]) -> S::F32 {
        s.fma(x, x, acc)
    }
}
