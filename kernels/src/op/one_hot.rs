//! One-hot rows: `y[…, c] = [index[…] = c]`, a one where the index says and zeros elsewhere, `classes` numbers for each
//! index.
//!
//! The number of classes is the size of the last axis of `y`; [`classes`] is the least that holds every index, which is
//! what PyTorch takes for `num_classes = -1`. An index has no derivative, so there is no backward pass.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::one_hot;
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let index = [2, 0];
//! let index = View::new(&index, &[2])?;
//! assert_eq!(one_hot::classes(index)?, 3);
//! let mut y = [f32::NAN; 6];
//! one_hot::forward(&Exec::serial()?, ViewMut::new(&mut y, &[2, 3])?, index)?;
//! assert_eq!(y, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
//! # Ok(())
//! # }
//! ```

use crate::error::{ErrorKind, MAX_RANK, Result, expect_shape};
use crate::exec::Exec;
use crate::lookup::{Signs, expect_places};
use crate::op::gather;
use crate::view::{View, ViewMut};

/// The least number of classes for these indices: one more than the greatest; 0 if there are none.
///
/// # Errors
/// If an index is negative.
pub fn classes<'a>(index: impl Into<View<'a, i64>>) -> Result<usize> {
    let index = index.into();
    expect_places("one_hot::classes", "index", index, i64::MAX as usize, Signs::Positive)?;
    Ok(index.iter().max().map_or(0, |greatest| greatest as usize + 1))
}

/// `y[…, c] = [index[…] = c]`; `y` has the shape of `index` and an axis for the classes behind it.
///
/// # Errors
/// If the shapes do not match or an index is not one of the classes.
pub fn forward<'a>(exec: &Exec, y: impl Into<ViewMut<'a>>, index: impl Into<View<'a, i64>>) -> Result<()> {
    const OP: &str = "one_hot::forward";
    let (y, index) = (y.into(), index.into());
    let rank = index.rank();
    if rank == MAX_RANK {
        return Err(ErrorKind::Value { op: OP, arg: "index", want: "of rank 7 at most", got: rank as f64 }.into());
    }
    let mut shape = [1; MAX_RANK];
    shape[..rank].copy_from_slice(index.shape());
    shape[rank] = y.shape().last().copied().unwrap_or(1);
    expect_shape(OP, "y", &shape[..=rank], y.shape())?;
    shape[rank] = 1;
    let ones = View::scalar(&1.0).broadcast_to(&shape[..=rank])?;
    gather::scatter([OP, "index"], exec, y, ones, index.unsqueeze(-1)?, -1)
}

/// The rows of these indices one after the other, by their definition.
#[must_use]
pub fn reference(index: &[i64], classes: usize) -> Vec<f64> {
    index.iter().flat_map(|&at| (0..classes as i64).map(move |class| f64::from(u8::from(class == at)))).collect()
}
