//! A linear layer over views: `y = x·weightᵀ + bias` with `x` of `*, inputs`, `weight` of `outputs x inputs`, as
//! `torch.nn.functional.linear` has it, and `y` of `*, outputs`; `*` is any number of axes. A weight of one axis,
//! `inputs`, makes one output without an axis of its own, with a scalar for a bias. (The [layer](super) of a training
//! step has its weights the other way about, `inputs x outputs`.)
//!
//! ```text
//! y[…, j]       = Σ_p x[…, p]·weight[j, p] + bias[j]
//! dx[…, p]      = Σ_j dy[…, j]·weight[j, p]
//! dweight[j, p] = Σ dy[…, j]·x[…, p]          over all of `*`
//! dbias[j]      = Σ dy[…, j]                  over all of `*`
//! ```
//!
//! The products have the order of [`matmul`](crate::op::matmul), the bias is added after the sum, and its gradient is
//! summed down the columns. `dweight` is one chain through `*` in row-major order, which with [`Accum::Add`] starts at
//! what stands there; of a weight that is a single element it is a sum along a row.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::linear::view as linear;
//! use handgrad_kernels::view::{View, ViewMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let x = View::new(&[1.0, 2.0, 3.0, 4.0], &[2, 1, 2])?;
//! let weight = View::new(&[1.0, 0.0, 0.0, 1.0, 1.0, 1.0], &[3, 2])?;
//! let bias = View::new(&[0.0, 0.0, 0.5], &[3])?;
//! let mut scratch = vec![0.0; linear::scratch(&exec, x.shape(), weight.shape())];
//! let mut y = [f32::NAN; 6];
//! linear::forward(&exec, ViewMut::new(&mut y, &[2, 1, 3])?, x, weight, Some(bias), &mut scratch)?;
//! assert_eq!(y, [1.0, 2.0, 3.5, 3.0, 4.0, 7.5]);
//! # Ok(())
//! # }
//! ```

use crate::elementwise;
use crate::error::{Dims, ErrorKind, Result, expect_shape};
use crate::exec::Exec;
use crate::gemm::{self, Accum, Epilogue};
use crate::lanes::Collect;
use crate::op::product::{Names, Product};
use crate::reduce::{self, Value};
use crate::view::{Mat, MatMut, View, ViewMut};

/// The gradients of the parameters.
pub struct Grads<'a> {
    /// Of the weight, in its shape.
    pub dweight: ViewMut<'a>,
    /// Of the bias, in its shape, if there is one.
    pub dbias: Option<ViewMut<'a>>,
}

/// Floats of scratch that every function of this module may need on `exec` for operands of these shapes; 0 if they do
/// not match.
#[must_use]
pub fn scratch(exec: &Exec, x_shape: &[usize], weight_shape: &[usize]) -> usize {
    let layer = product("linear::view::scratch", ("x", x_shape), ("weight", weight_shape));
    layer.map_or(0, |layer| layer.scratch(exec).max(weight_shape[0]))
}

/// `y = x·weightᵀ + bias`; the [top of the module](self) has the shapes. `scratch` holds [`scratch`](fn@scratch)
/// floats.
///
/// # Errors
/// If `x` is a scalar, if `weight` has not one axis or two, if shapes do not match, or if `scratch` is too short.
pub fn forward<'a>(
    exec: &Exec,
    y: impl Into<ViewMut<'a>>,
    x: impl Into<View<'a>>,
    weight: impl Into<View<'a>>,
    bias: Option<View<'a>>,
    scratch: &mut [f32],
) -> Result<()> {
    const OP: &str = "linear::view::forward";
    let (mut y, x, weight) = (y.into(), x.into(), weight.into());
    let layer = product(OP, ("x", x.shape()), ("weight", weight.shape()))?;
    layer.check(exec, ("y", y.shape()), [None, None], scratch)?;
    let Some(bias) = bias else {
        return layer.forward(exec, y, x, weight.t()?, scratch);
    };
    expect_shape(OP, "bias", outputs(weight.shape()), bias.shape())?;
    if weight.rank() == 2 && weight.shape()[0] > 1 && rows_are_even(x) && rows_are_even(y.as_view()) {
        let (last, bias) = (y.rank() - 1, Mat::try_from(bias.unsqueeze(0)?)?);
        if y.strides()[last] == 1 && bias.is_adjacent() {
            // One product, which adds the bias while its results are in registers.
            let (x, y) = match last {
                0 => (x.unsqueeze(0)?, y.unsqueeze(0)?),
                1 => (x, y),
                _ => (x.flatten(0, last as isize - 1)?, y.flatten(0, last as isize - 1)?),
            };
            let (y, x, w) = (MatMut::try_from(y)?, Mat::try_from(x)?, Mat::try_from(weight)?.t());
            gemm::product(exec, y, Accum::Replace, x, w, Epilogue::Bias(bias, f32::NEG_INFINITY), None, scratch);
            return Ok(());
        }
    }
    layer.forward(exec, y.reborrow(), x, weight.t()?, scratch)?;
    let bias = bias.broadcast_to(y.shape())?;
    elementwise::map(exec, 0.06, [y], [bias], Collect(Accum::Add));
    Ok(())
}

/// `dx = dy·weight`; `dy` has the shape of the output, `dx` that of `x`. `scratch` holds [`scratch`](fn@scratch)
/// floats.
///
/// # Errors
/// As [`forward`].
pub fn backward_input<'a>(
    exec: &Exec,
    dx: impl Into<ViewMut<'a>>,
    dy: impl Into<View<'a>>,
    weight: impl Into<View<'a>>,
    scratch: &mut [f32],
) -> Result<()> {
    let (dx, weight) = (dx.into(), weight.into());
    let layer = product("linear::view::backward_input", ("dx", dx.shape()), ("weight", weight.shape()))?;
    layer.backward_left(exec, dx, dy.into(), weight.t()?, scratch)
}

/// `dweight (+)= dyᵀ·x` and `dbias (+)= Σ dy`; `accum` says what happens to their old contents. `scratch` holds
/// [`scratch`](fn@scratch) floats.
///
/// # Errors
/// As [`forward`].
pub fn backward_params<'a>(
    exec: &Exec,
    grads: Grads<'_>,
    accum: Accum,
    dy: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    scratch: &mut [f32],
) -> Result<()> {
    const OP: &str = "linear::view::backward_params";
    let Grads { dweight, dbias } = grads;
    let (dy, x) = (dy.into(), x.into());
    let layer = product(OP, ("x", x.shape()), ("dweight", dweight.shape()))?;
    layer.check(exec, ("dy", dy.shape()), [None, None], scratch)?;
    if let Some(dbias) = &dbias {
        expect_shape(OP, "dbias", outputs(dweight.shape()), dbias.shape())?;
    }
    if let Some(dbias) = dbias {
        let sum = |dbias: ViewMut<'_>| reduce::sum_to(exec, [OP, "dbias"], 0.06, dbias, [dy], Value);
        collect(exec, dbias, accum, scratch, sum)?;
    }
    let dweight = dweight.t()?;
    if dweight.len() == 1 {
        // A sum along a row does not start at what stands there.
        let product = |dweight: ViewMut<'_>| layer.backward_weight(exec, dweight, Accum::Replace, dy, x, scratch);
        return collect(exec, dweight, accum, &mut [0.0], product);
    }
    layer.backward_weight(exec, dweight, accum, dy, x, scratch)
}

/// The product of a layer, checked; `x` and `weight` may be their gradients.
fn product(
    op: &'static str,
    (x, x_shape): (&'static str, &[usize]),
    (weight, weight_shape): (&'static str, &[usize]),
) -> Result<Product> {
    let names = Names { a: x, b: weight, da: "dx", db: "dweight" };
    let inner = x_shape.last().copied().unwrap_or_default();
    match *weight_shape {
        [_] => Product::new(op, names, x_shape, weight_shape),
        [outputs, inputs] => {
            if !x_shape.is_empty() {
                expect_shape(op, weight, &[outputs, inner], weight_shape)?;
            }
            Product::new(op, names, x_shape, &[inputs, outputs])
        }
        _ => {
            let got = weight_shape.len() as f64;
            Err(ErrorKind::Value { op, arg: weight, want: "of rank 1 or 2", got }.into())
        }
    }
}

/// The axis of outputs, if the weight has one.
fn outputs(weight_shape: &[usize]) -> &[usize] {
    &weight_shape[..weight_shape.len() - 1]
}

/// Whether the axes before the last are one axis, evenly spaced.
fn rows_are_even(view: View<'_>) -> bool {
    let axes = view.shape().iter().zip(view.strides()).rev().skip(1).filter(|&(&size, _)| size != 1);
    let (mut size, mut stride) = (1, None);
    for (&more, &outer) in axes {
        let inner = *stride.get_or_insert(outer);
        if more == 0 || outer != inner.wrapping_mul(size as isize) {
            return false;
        }
        size *= more;
    }
    true
}

/// Has `f` write to `y`, or to `space` and adds that to what stands in `y`.
fn collect(
    exec: &Exec,
    y: ViewMut<'_>,
    accum: Accum,
    space: &mut [f32],
    f: impl FnOnce(ViewMut<'_>) -> Result<()>,
) -> Result<()> {
    if accum == Accum::Replace {
        return f(y);
    }
    let (shape, space) = (Dims::new(y.shape()), &mut space[..y.len()]);
    f(ViewMut::new(space, shape.as_slice())?)?;
    elementwise::map(exec, 0.06, [y], [View::new(space, shape.as_slice())?], Collect(accum));
    Ok(())
}

/// `y` from row-major operands: `x` has rows of `inputs`, `weight` as many for each output, by the definition.
#[must_use]
pub fn reference(x: &[f64], weight: &[f64], bias: Option<&[f64]>, inputs: usize, outputs: usize) -> Vec<f64> {
    let rows = x.len().checked_div(inputs).unwrap_or(0);
    let sum = |i: usize, j: usize| (0..inputs).map(|p| x[i * inputs + p] * weight[j * inputs + p]).sum::<f64>();
    let element = |i: usize, j: usize| sum(i, j) + bias.map_or(0.0, |bias| bias[j]);
    (0..rows).flat_map(|i| (0..outputs).map(move |j| element(i, j))).collect()
}

/// `dx`, `dweight` and `dbias` from row-major operands, by the definition.
#[must_use]
pub fn reference_backward(dy: &[f64], x: &[f64], weight: &[f64], inputs: usize, outputs: usize) -> [Vec<f64>; 3] {
    let rows = dy.len().checked_div(outputs).unwrap_or(0);
    let (mut dx, mut dweight, mut dbias) = (vec![0.0; x.len()], vec![0.0; weight.len()], vec![0.0; outputs]);
    for i in 0..rows {
        for j in 0..outputs {
            let dy = dy[i * outputs + j];
            dbias[j] += dy;
            for p in 0..inputs {
                dx[i * inputs + p] += dy * weight[j * inputs + p];
                dweight[j * inputs + p] += dy * x[i * inputs + p];
            }
        }
    }
    [dx, dweight, dbias]
}
