//! What the norms have in common: who is who in a call, and the functions of registers that all of their loops share.

use crate::error::{Dims, MAX_RANK, Result, expect_shape};
use crate::lanes::Map;
use crate::reduce::AxisSet;
use crate::simd::Simd;
use crate::view::{Mat, MatMut, View, ViewMut};

/// What the forward pass writes for the backward pass.
pub struct Statistics<V> {
    /// The mean of each group of elements that is normalised.
    pub mean: V,
    /// `1/√(var + eps)` of each.
    pub inv_std: V,
}

/// What the forward pass has left for the backward pass.
#[derive(Clone, Copy)]
pub struct Saved<V> {
    /// The mean of each group of elements that is normalised.
    pub mean: V,
    /// `1/√(var + eps)` of each.
    pub inv_std: V,
}

/// The parameters; without a weight it is 1, without a bias 0.
#[derive(Clone, Copy)]
pub struct Params<V> {
    /// The gain, `gamma`.
    pub weight: Option<V>,
    /// The offset, `beta`.
    pub bias: Option<V>,
}

impl<V> Default for Params<V> {
    fn default() -> Self {
        Self { weight: None, bias: None }
    }
}

/// The gradients that the backward pass writes.
pub struct Grads<V> {
    /// Of the input; overwritten.
    pub dx: V,
    /// Of the weight, if it is wanted.
    pub dweight: Option<V>,
    /// Of the bias, if it is wanted.
    pub dbias: Option<V>,
}

/// A missing weight: what is multiplied by it stays as it is.
pub(super) static NO_WEIGHT: One = [1.0];

/// A missing bias: what it is added to stays as it is, even a zero with a sign.
pub(super) static NO_BIAS: One = [-0.0];

/// A mean that nothing is taken off for: what it is subtracted from stays as it is, even a zero with a sign.
pub(super) static NO_MEAN: One = [0.0];

/// A number that a view or a row can repeat.
pub(super) type One = [f32; 1];

/// One number, repeated to `shape`.
pub(super) fn repeated<'a>(value: &'a One, shape: &[usize]) -> View<'a> {
    View::scalar(&value[0]).broadcast_to(shape).expect("a scalar may be repeated to the shape of any view")
}

/// A parameter repeated to `shape`, or `missing` if there is none. The caller has checked its shape.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the view is of it")]
pub(super) fn param<'a>(view: Option<View<'a>>, missing: &'static One, shape: &[usize]) -> View<'a> {
    view.map_or(repeated(missing, shape), |view| view.broadcast_to(shape).expect("the shape is checked at the door"))
}

/// One number as a row of `cols`.
pub(super) fn row_of(value: &One, cols: usize) -> Mat<'_> {
    Mat::with_strides(value, 1, cols, 0, 0, 0).expect("one element that stands for all")
}

/// Checks the shape of an operand that may be missing.
///
/// # Errors
/// [`ErrorKind::Shape`](crate::ErrorKind::Shape) if it has another.
pub(super) fn expect_param(op: &'static str, arg: &'static str, want: &[usize], got: Option<&[usize]>) -> Result<()> {
    got.map_or(Ok(()), |got| expect_shape(op, arg, want, got))
}

/// Whether axes follow each other so evenly that they are one.
fn are_one(shape: &[usize], strides: &[isize]) -> bool {
    let mut next = None;
    for (&size, &stride) in shape.iter().zip(strides).rev().filter(|&(&size, _)| size != 1) {
        if next.is_some_and(|next| next != stride) {
            return false;
        }
        next = stride.checked_mul(size as isize);
    }
    true
}

/// Whether a view is a matrix with adjacent columns, its first `outer` axes being the rows.
pub(super) fn has_rows(view: View<'_>, outer: usize) -> bool {
    let (shape, strides) = (view.shape(), view.strides());
    let last = shape.iter().zip(strides).skip(outer).rev().find(|&(&size, _)| size != 1);
    last.is_none_or(|(_, &stride)| stride == 1)
        && are_one(&shape[..outer], &strides[..outer])
        && are_one(&shape[outer..], &strides[outer..])
}

/// A view that [`has_rows`], as a matrix.
///
/// # Errors
/// If it has not.
pub(super) fn as_mat(view: View<'_>, [rows, cols]: [usize; 2]) -> Result<Mat<'_>> {
    view.reshape(&[rows as isize, cols as isize])?.try_into()
}

/// A view that [`has_rows`], as a matrix to be written.
///
/// # Errors
/// If it has not.
pub(super) fn as_mat_mut(view: ViewMut<'_>, [rows, cols]: [usize; 2]) -> Result<MatMut<'_>> {
    view.reshape(&[rows as isize, cols as isize])?.try_into()
}

/// The product of some sizes.
pub(super) fn product(sizes: &[usize]) -> usize {
    sizes.iter().fold(1, |product, &size| product.saturating_mul(size))
}

/// `shape` with size one on the axes where `one` holds.
pub(super) fn with_ones(shape: &[usize], one: impl Fn(usize) -> bool) -> Dims {
    let mut sizes = [1; MAX_RANK];
    for (axis, (kept, &size)) in sizes.iter_mut().zip(shape).enumerate() {
        *kept = if one(axis) { 1 } else { size };
    }
    Dims::new(&sizes[..shape.len()])
}

/// The first element on the axes `reduced`, which get size one. No axis may be empty.
pub(super) fn first_of(x: View<'_>, reduced: AxisSet) -> View<'_> {
    let axes = (0..x.rank()).filter(|&axis| reduced.contains(axis));
    axes.fold(x, |x, axis| x.narrow(axis as isize, 0, 1).expect("an axis that is not empty"))
}

/// `R` rows from row `i` on, one by one.
#[inline(always)]
pub(super) fn rows<const R: usize>(mat: Mat<'_>, i: usize) -> [Mat<'_>; R] {
    std::array::from_fn(|r| mat.rows_in(i + r..i + r + 1))
}

/// `(x - mean)·inv_std`.
#[inline(always)]
pub(super) fn xhat<S: Simd>(s: S, x: S::F32, mean: S::F32, inv_std: S::F32) -> S::F32 {
    s.mul(s.sub(x, mean), inv_std)
}

/// `1/√(squares/n + eps)`.
#[inline(always)]
pub(super) fn inv_root<S: Simd>(s: S, squares: S::F32, n: f32, eps: f32) -> S::F32 {
    let var = s.div(squares, s.splat(n));
    s.div(s.splat(1.0), s.sqrt(s.add(var, s.splat(eps))))
}

/// `first + sum/n`, of `[first, sum]`.
#[derive(Clone, Copy)]
pub(super) struct MeanFrom {
    pub(super) n: f32,
}

impl Map<2, 1> for MeanFrom {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [first, sum]: [S::F32; 2], _: [S::F32; 1]) -> [S::F32; 1] {
        [s.add(first, s.div(sum, s.splat(self.n)))]
    }
}

/// The same, where the sum stands.
impl Map<1, 1> for MeanFrom {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [first]: [S::F32; 1], [sum]: [S::F32; 1]) -> [S::F32; 1] {
        <Self as Map<2, 1>>::eval(self, s, [first, sum], [sum])
    }
}
