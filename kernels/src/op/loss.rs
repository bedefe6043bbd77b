//! What the losses have in common: how the losses of many elements become one number, and what a training step needs
//! besides.
//!
//! A loss has four functions. `forward` and `backward` are PyTorch's, over views of any rank, with a [`Reduction`];
//! `backward_target` is the gradient of the target, where that is differentiable. `forward_backward` is what a training
//! step calls: of matrices with a row for each sample it writes the loss of each sample, times the sample's weight if
//! there are weights, and the gradient of `dloss·Σ losses`, in one pass. For the mean over a batch `dloss` is one over
//! the total of the weights, and the loss is [`mean`]:
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::{loss, mse};
//! use handgrad_kernels::view::{Mat, MatMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let (x, target) = ([1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 3.0, 3.0]);
//! let (x, target, weights) = (Mat::new(&x, 2, 2)?, Mat::new(&target, 2, 2)?, [3.0, 1.0]);
//! let (mut losses, mut dx) = ([f32::NAN; 2], [f32::NAN; 4]);
//! let total = loss::weights_total(&exec, 2, Some(&weights));
//! let out = MatMut::new(&mut dx, 2, 2)?;
//! mse::forward_backward(&exec, &mut losses, out, 1.0 / total, x, target, Some(&weights), None)?;
//! assert_eq!((losses, loss::mean(&exec, &losses, total)), ([6.0, 0.5], 1.625));
//! assert_eq!(dx, [0.0, 1.5, 0.0, 0.25]);
//! # Ok(())
//! # }
//! ```

pub(crate) mod classes;
pub(crate) mod pointwise;

use crate::error::{Dims, Result, expect_len};
use crate::exec::Exec;
use crate::lanes::{self, Map, RUN, RowSum};
use crate::reduce::{self, Value};
use crate::simd::{Kernel, Simd};
use crate::view::{Mat, View, ViewMut};

/// What becomes of the losses of all elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reduction {
    /// Nothing: each stays by itself.
    None,
    /// Their sum; of none it is 0.
    Sum,
    /// Their sum over their number, or over the total of their weights where a loss says so; of none it is NaN.
    #[default]
    Mean,
}

impl Reduction {
    /// The shape of the result from that of the losses.
    pub(crate) fn shape(self, losses: &[usize]) -> Dims {
        if self == Reduction::None { losses.into() } else { [].into() }
    }
}

/// One, repeated where a weight is not given.
pub(crate) static ONE: f32 = 1.0;

/// Zero, repeated where there is nothing.
pub(crate) static ZERO: f32 = 0.0;

/// `Σ losses / total`: the mean of the losses of a batch, already weighted, `total` being that of the weights.
#[must_use]
pub fn mean(exec: &Exec, losses: &[f32], total: f32) -> f32 {
    sum(exec, losses) / total
}

/// The sum of the weights of a batch, which is its number of samples without weights.
#[must_use]
pub fn weights_total(exec: &Exec, batch: usize, weights: Option<&[f32]>) -> f32 {
    weights.map_or(batch as f32, |weights| sum(exec, weights))
}

/// The sum along a row.
pub(crate) fn sum(exec: &Exec, values: &[f32]) -> f32 {
    if values.len() <= RUN {
        // The same order, without a nest of axes.
        return exec.isa().run(Sum(values));
    }
    sum_view(exec, View::new(values, &[values.len()]).expect("as many as there are"))
}

/// The sum of a short row.
struct Sum<'a>(&'a [f32]);

impl Kernel for Sum<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let [sum] = lanes::fold_row(s, 0, [], [Mat::from_row(self.0)], RowSum);
        sum
    }
}

/// The sum of a view.
pub(crate) fn sum_view(exec: &Exec, values: View<'_>) -> f32 {
    let mut total = 0.0;
    let names = ["loss", "total"];
    reduce::sum_to(exec, names, 0.06, ViewMut::scalar(&mut total), [values], Value).expect("a scalar is a sum of any");
    total
}

/// What stands there, times `x`.
#[derive(Clone, Copy)]
pub(crate) struct Times;

impl Map<1, 1> for Times {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x]: [S::F32; 1], [old]: [S::F32; 1]) -> [S::F32; 1] {
        [s.mul(old, x)]
    }
}

/// Checks that there is one weight for each sample.
///
/// # Errors
/// [`ErrorKind::Length`](crate::ErrorKind::Length) if there is another number.
#[inline]
pub(crate) fn expect_samples(op: &'static str, weights: Option<&[f32]>, batch: usize) -> Result<()> {
    weights.map_or(Ok(()), |weights| expect_len(op, "sample_weights", batch, weights.len()))
}

/// The element of a view of rank 0.
pub(crate) fn number(view: View<'_>) -> f32 {
    view.get(&[]).expect("the shape has been checked")
}
