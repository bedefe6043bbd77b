//! Sums: what they add up, and the sum that is the adjoint of broadcasting.

use super::{AxisSet, fold};
use crate::error::{Dims, ErrorKind, Result};
use crate::exec::Exec;
use crate::lanes::Fold;
use crate::simd::Simd;
use crate::view::{View, ViewMut};

/// What a sum adds up, one register of each input at a time.
pub(crate) trait Term<const I: usize>: Copy + Send + Sync {
    /// `acc` and one more term.
    fn add<S: Simd>(self, s: S, acc: S::F32, x: [S::F32; I]) -> S::F32;
    /// The output, from the sum of all terms.
    #[inline(always)]
    fn finish<S: Simd>(self, _: S, sum: S::F32) -> S::F32 {
        sum
    }
}

/// The sum of a [`Term`].
#[derive(Clone, Copy)]
pub(crate) struct SumOf<T>(pub(crate) T);

impl<T: Term<I>, const I: usize> Fold<I, 1> for SumOf<T> {
    /// Adding this to any number changes nothing, not even the sign of a zero.
    const START: [f32; 1] = [-0.0];
    #[inline(always)]
    fn step<S: Simd>(self, s: S, [acc]: [S::F32; 1], x: [S::F32; I]) -> [S::F32; 1] {
        [self.0.add(s, acc, x)]
    }
    #[inline(always)]
    fn merge<S: Simd>(self, s: S, [a]: [S::F32; 1], [b]: [S::F32; 1]) -> [S::F32; 1] {
        [s.add(a, b)]
    }
    #[inline(always)]
    fn fold<S: Simd>(self, s: S, [acc]: [S::F32; 1]) -> [f32; 1] {
        [s.fold_add(acc)]
    }
    #[inline(always)]
    fn finish<S: Simd>(self, s: S, [acc]: [S::F32; 1]) -> [S::F32; 1] {
        [self.0.finish(s, acc)]
    }
}

/// `x`.
#[derive(Clone, Copy)]
pub(crate) struct Value;

impl Term<1> for Value {
    #[inline(always)]
    fn add<S: Simd>(self, s: S, acc: S::F32, [x]: [S::F32; 1]) -> S::F32 {
        s.add(acc, x)
    }
}

/// `x·y`.
#[derive(Clone, Copy)]
pub(crate) struct Product;

impl Term<2> for Product {
    #[inline(always)]
    fn add<S: Simd>(self, s: S, acc: S::F32, [x, y]: [S::F32; 2]) -> S::F32 {
        s.fma(x, y, acc)
    }
}

/// Sums `inp`, all of one shape, over the axes that broadcasting repeats to bring `dx` to that shape: the adjoint of
/// broadcasting.
///
/// # Errors
/// [`ErrorKind::Shape`](crate::ErrorKind::Shape) if it does not bring `dx` to that shape.
pub(crate) fn sum_to<T: Term<I>, const I: usize>(
    exec: &Exec,
    [op, arg]: [&'static str; 2],
    nanoseconds: f64,
    dx: ViewMut<'_>,
    inp: [View<'_>; I],
    term: T,
) -> Result<()> {
    let shape = Dims::new(inp[0].shape());
    let repeated = repeated_axes(op, arg, dx.shape(), shape.as_slice())?;
    fold(exec, nanoseconds, [with_rank(dx, shape.as_slice().len())], inp, repeated, SumOf(term));
    Ok(())
}

/// The axes of `shape` that are missing in `part` or have size one there alone.
///
/// # Errors
/// [`ErrorKind::Shape`](crate::ErrorKind::Shape) if broadcasting does not bring `part` to `shape`.
pub(crate) fn repeated_axes(op: &'static str, arg: &'static str, part: &[usize], shape: &[usize]) -> Result<AxisSet> {
    let mut repeated = AxisSet::default();
    let wrong = || ErrorKind::Shape { op, arg, want: shape.into(), got: part.into() };
    let added = shape.len().checked_sub(part.len()).ok_or_else(wrong)?;
    for (axis, &size) in shape.iter().enumerate() {
        match axis.checked_sub(added).map(|axis| part[axis]) {
            Some(own) if own == size => {}
            None | Some(1) => repeated.insert(axis),
            Some(_) => return Err(wrong().into()),
        }
    }
    Ok(repeated)
}

/// `view` with axes of size one added in front, up to `rank`.
fn with_rank(mut view: ViewMut<'_>, rank: usize) -> ViewMut<'_> {
    while view.rank() < rank {
        view = view.unsqueeze(0).expect("a rank that another view has");
    }
    view
}
