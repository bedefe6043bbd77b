//! Embedding over views: `y[…] = weight[indices[…]]`, as `torch.nn.functional.embedding` has it: `indices` of any
//! shape, `weight` of `vocab x dim`, and `y` of the shape of `indices` with `dim` behind it.
//!
//! ```text
//! dweight[v] = Σ dy[…] over all places where indices[…] = v
//! ```
//!
//! The terms are added one after the other in row-major order of the indices, to what stands in `dweight` with
//! [`Accum::Add`], to zero otherwise. Two settings of PyTorch's change that sum:
//!
//! * `padding_idx`: the row of that index gets no gradient. The forward pass reads it as any other.
//! * `scale_grad_by_freq`: every term of a row is multiplied by `1/n`, `n` being how often its index occurs.
//!
//! `max_norm` is not a part of this: in PyTorch it scales rows of the weight in place before they are read, which is a
//! change of a parameter. `sparse` says how PyTorch stores the gradient, and changes no value.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::gemm::Accum;
//! use handgrad_kernels::op::embedding::view as embedding;
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let (weight, indices) = ([0.0, 0.5, 1.0, 1.5, 2.0, 2.5], [2, 0, 2]);
//! let (weight, indices) = (View::new(&weight, &[3, 2])?, View::new(&indices, &[3])?);
//! let mut y = [f32::NAN; 6];
//! embedding::forward(&exec, ViewMut::new(&mut y, &[3, 2])?, weight, indices)?;
//! assert_eq!(y, [2.0, 2.5, 0.0, 0.5, 2.0, 2.5]);
//!
//! let (dy, mut dweight) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [f32::NAN; 6]);
//! let config = embedding::Config { padding: Some(0), ..Default::default() };
//! let (dy, out) = (View::new(&dy, &[3, 2])?, ViewMut::new(&mut dweight, &[3, 2])?);
//! embedding::backward(&exec, out, Accum::Replace, dy, indices, config, &mut [])?;
//! assert_eq!(dweight, [0.0, 0.0, 0.0, 0.0, 6.0, 8.0]);
//! # Ok(())
//! # }
//! ```

use crate::elementwise;
use crate::error::{Dims, ErrorKind, MAX_RANK, Result, expect_scratch, expect_shape};
use crate::exec::Exec;
use crate::gemm::Accum;
use crate::lanes::Zero;
use crate::lookup::{self, Signs, expect_places, spread};
use crate::view::{Integers, Places, View, ViewMut};

/// What the terms of a row's gradient are multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Scaling {
    /// One.
    #[default]
    None,
    /// `1/n`, with `n` occurrences of the row's index.
    Frequency,
}

/// How gradients are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Config {
    /// The row that gets no gradient; negative ones count from the end.
    pub padding: Option<isize>,
    /// What terms are multiplied by.
    pub scaling: Scaling,
}

/// Floats of scratch that [`backward`] needs for a weight of `vocab` rows.
#[must_use]
pub fn scratch(vocab: usize, config: Config) -> usize {
    if config.scaling == Scaling::Frequency { vocab } else { 0 }
}

/// `y[…] = weight[indices[…]]`: `weight` is `vocab x dim`, `y` has the shape of `indices` and `dim` behind it.
///
/// # Errors
/// If the shapes do not match or an index is not in `0..vocab`.
pub fn forward<'a>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    weight: impl Into<View<'a>>,
    indices: impl Into<View<'a, i64>>,
) -> Result<()> {
    const OP: &str = "embedding::view::forward";
    let (y, weight, indices) = (y.into(), weight.into(), indices.into());
    let shape = check(OP, ("weight", weight.shape()), ("y", y.shape()), indices)?;
    if y.is_empty() {
        return Ok(());
    }
    let index = spread(indices, 1, shape.as_slice())?;
    lookup::read(exec, y, weight, &places(&[Integers { axis: 0, index }]));
    Ok(())
}

/// `dweight[indices[…]] += dy[…]`; shapes are as in [`forward`]. `accum` says what happens to the old `dweight`, of
/// which with [`Accum::Add`] the row of the padding stays as it is. `scratch` holds [`scratch`](fn@scratch) floats.
///
/// # Errors
/// As [`forward`], if the padding is not one of the rows, and if `scratch` is too short.
pub fn backward<'a>(
    exec: &Exec,
    dweight: impl Into<ViewMut<'a>>,
    accum: Accum,
    dy: impl Into<View<'a>>,
    indices: impl Into<View<'a, i64>>,
    config: Config,
    scratch: &mut [f32],
) -> Result<()> {
    const OP: &str = "embedding::view::backward";
    let (mut dweight, dy, indices) = (dweight.into(), dy.into(), indices.into());
    let shape = check(OP, ("dweight", dweight.shape()), ("dy", dy.shape()), indices)?;
    let vocab = dweight.shape()[0];
    let padding = config.padding.map(|row| padding(OP, row, vocab)).transpose()?;
    let want = self::scratch(vocab, config);
    expect_scratch(OP, want, scratch.len())?;
    let scales = &mut scratch[..want];
    if accum == Accum::Replace {
        elementwise::map(exec, 0.06, [dweight.reborrow()], [], Zero);
    }
    if dy.is_empty() {
        return Ok(());
    }
    if config.scaling == Scaling::Frequency {
        frequencies(scales, indices);
    }
    let index = spread(indices, 1, shape.as_slice())?;
    lookup::add(exec, dweight, dy, &places(&[Integers { axis: 0, index }]), scales, padding);
    Ok(())
}

/// Row `v` of `dweight`, by its definition: `dy` has `dim` numbers for each index.
#[must_use]
pub fn reference_backward(dy: &[f64], indices: &[i64], vocab: usize, dim: usize, config: Config) -> Vec<f64> {
    let padding = config.padding.map(|row| row.rem_euclid(vocab as isize) as i64);
    let mut dweight = vec![0.0; vocab * dim];
    for (i, &index) in indices.iter().enumerate().filter(|&(_, &index)| Some(index) != padding) {
        let count = match config.scaling {
            Scaling::None => 1,
            Scaling::Frequency => indices.iter().filter(|&&other| other == index).count(),
        };
        for j in 0..dim {
            dweight[index as usize * dim + j] += dy[i * dim + j] / count as f64;
        }
    }
    dweight
}

/// `y`, by its definition: `dim` numbers for each index.
#[must_use]
pub fn reference(weight: &[f64], indices: &[i64], dim: usize) -> Vec<f64> {
    indices.iter().flat_map(|&index| &weight[index as usize * dim..][..dim]).copied().collect()
}

/// The last axis goes along with the columns of the weight.
fn places<'a>(integers: &'a [Integers<'a>; 1]) -> Places<'a> {
    let mut along = [None; MAX_RANK];
    along[integers[0].index.rank() - 1] = Some(1);
    Places { along, integers, masks: &[], line: 0 }
}

/// Writes `1/n` for each index that occurs `n` times, and numbers without a meaning for the others.
fn frequencies(scales: &mut [f32], indices: View<'_, i64>) {
    // The counts are integers in the bits of the floats: a count as a float stops at 2²⁴.
    scales.fill(f32::from_bits(0));
    for index in indices {
        let count = &mut scales[index as usize];
        *count = f32::from_bits(count.to_bits() + 1);
    }
    for scale in scales {
        *scale = (1.0 / f64::from(scale.to_bits())) as f32;
    }
}

/// The row that the padding names.
fn padding(op: &'static str, row: isize, vocab: usize) -> Result<usize> {
    let from_start = if row < 0 { row.saturating_add_unsigned(vocab) } else { row };
    if (0..vocab as isize).contains(&from_start) {
        return Ok(from_start as usize);
    }
    Err(ErrorKind::Index { op, arg: "padding", position: 0, value: row as i64, bound: vocab }.into())
}

/// Checks shapes and indices; returns the shape of `y`.
fn check(
    op: &'static str,
    (weight_name, weight): (&'static str, &[usize]),
    (y_name, y): (&'static str, &[usize]),
    indices: View<'_, i64>,
) -> Result<Dims> {
    let &[vocab, dim] = weight else {
        return Err(ErrorKind::Value { op, arg: weight_name, want: "of rank 2", got: weight.len() as f64 }.into());
    };
    let rank = indices.rank();
    if rank == MAX_RANK {
        return Err(ErrorKind::Value { op, arg: "indices", want: "of rank 7 at most", got: rank as f64 }.into());
    }
    let mut shape = [dim; MAX_RANK];
    shape[..rank].copy_from_slice(indices.shape());
    expect_shape(op, y_name, &shape[..=rank], y)?;
    expect_places(op, "indices", indices, vocab, Signs::Positive)?;
    Ok(Dims::new(&shape[..=rank]))
}
