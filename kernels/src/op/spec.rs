//! The operations as tests, benchmarks and fuzz targets see them: [`ALL`] lists each with what runs it and with its f64
//! reference by definition, so that a new operation is one row here and no line there.

use crate::error::Result;
use crate::exec::Exec;
use crate::op;
use crate::view::{View, ViewMut};

/// An element-wise function of one operand.
#[derive(Clone, Copy, Debug)]
pub struct Unary {
    /// Its name.
    pub name: &'static str,
    /// Writes `y` from `x`.
    pub forward: fn(&Exec, ViewMut<'_>, View<'_>) -> Result<()>,
    /// Writes `dx` from `dy`, `x` and `y`.
    pub backward: fn(&Exec, ViewMut<'_>, View<'_>, View<'_>, View<'_>) -> Result<()>,
    /// `y` from `x`.
    pub reference: fn(f64) -> f64,
    /// `dx` from `dy` and `x`.
    pub reference_backward: fn(f64, f64) -> f64,
    /// The magnitude of the terms that cancel in the function's formula, by which its error is measured too.
    pub terms: fn(f64) -> f64,
    /// Where ordinary arguments lie.
    pub domain: [f32; 2],
    /// Where the derivative jumps.
    pub kinks: &'static [f64],
}

/// An element-wise function of two operands, with broadcasting.
#[derive(Clone, Copy, Debug)]
pub struct Binary {
    /// Its name.
    pub name: &'static str,
    /// Writes `y` from `a` and `b`.
    pub forward: fn(&Exec, ViewMut<'_>, View<'_>, View<'_>) -> Result<()>,
    /// Writes `da` and `db` from `dy`, `a` and `b`.
    pub backward: BinaryBackward,
    /// `y` from `a` and `b`.
    pub reference: fn(f64, f64) -> f64,
    /// `da` and `db` from `dy`, `a` and `b`.
    pub reference_backward: fn(f64, f64, f64) -> [f64; 2],
    /// Where ordinary arguments lie.
    pub domain: [f32; 2],
}

/// Writes `da` and `db` from `dy`, `a` and `b`.
pub type BinaryBackward = fn(&Exec, [ViewMut<'_>; 2], View<'_>, View<'_>, View<'_>) -> Result<()>;

/// Writes `dx` from `dy`, `x` and `y`, along axes.
pub type AlongBackward = fn(&Exec, ViewMut<'_>, View<'_>, View<'_>, View<'_>, &[isize]) -> Result<()>;

/// A function of the elements along axes: of each such group one result, or one for each element.
#[derive(Clone, Copy, Debug)]
pub struct Along {
    /// Its name.
    pub name: &'static str,
    /// Writes `y` from `x` along the axes.
    pub forward: fn(&Exec, ViewMut<'_>, View<'_>, &[isize]) -> Result<()>,
    /// Writes `dx` from `dy`, `x` and `y`.
    pub backward: AlongBackward,
    /// The results of one group.
    pub reference: fn(&[f64]) -> Vec<f64>,
    /// `dx` of one group from its `dy` and `x`.
    pub reference_backward: fn(&[f64], &[f64]) -> Vec<f64>,
    /// Whether it takes several axes and leaves one result a group; else it takes one axis and keeps its shape.
    pub reduces: bool,
    /// The fewest elements of a group that have a result.
    pub least: usize,
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub enum Spec {
    /// Of one operand.
    Unary(Unary),
    /// Of two operands.
    Binary(Binary),
    /// Along axes.
    Along(Along),
}

/// Makes rows of element-wise functions of one operand from `module(parameters) saved value, domain, kinks`.
macro_rules! unary {
    ($module:ident($($param:expr),*) $saved:ident $domain:expr, $kinks:expr) => {
        Spec::Unary(Unary {
            name: stringify!($module),
            forward: |e, y, x| op::$module::forward(e, y, x $(, $param as _)*),
            backward: unary!(@backward $module($($param),*) $saved),
            reference: |x| op::$module::reference(x $(, $param as _)*),
            reference_backward: |dy, x| op::$module::reference_backward(dy, x $(, $param as _)*),
            terms: |_| 0.0,
            domain: $domain,
            kinks: &$kinks,
        })
    };
    (@backward $module:ident($($param:expr),*) x) => {
        |e, dx, dy, x, _| op::$module::backward(e, dx, dy, x $(, $param as _)*)
    };
    (@backward $module:ident() y) => { |e, dx, dy, _, y| op::$module::backward(e, dx, dy, y) };
    (@backward $module:ident() none) => { |e, dx, dy, _, _| op::$module::backward(e, dx, dy) };
}

/// Makes rows of element-wise functions of two operands.
macro_rules! binary {
    ($module:ident, $domain:expr) => {
        Spec::Binary(Binary {
            name: stringify!($module),
            forward: |e, y, a, b| op::$module::forward(e, y, a, b),
            backward: |e, [da, db], dy, a, b| op::$module::backward(e, da, db, dy, a, b),
            reference: op::$module::reference,
            reference_backward: op::$module::reference_backward,
            domain: $domain,
        })
    };
    ($module:ident($alpha:expr), $domain:expr) => {
        Spec::Binary(Binary {
            name: stringify!($module),
            forward: |e, y, a, b| op::$module::forward(e, y, a, b, $alpha as f32),
            backward: |e, [da, db], dy, _, _| op::$module::backward(e, da, db, dy, $alpha as f32),
            reference: |a, b| op::$module::reference(a, b, $alpha),
            reference_backward: |dy, a, b| op::$module::reference_backward(dy, a, b, $alpha),
            domain: $domain,
        })
    };
}

fn sum(x: &[f64]) -> f64 {
    x.iter().sum()
}

fn mean(x: &[f64]) -> f64 {
    sum(x) / x.len() as f64
}

fn var(x: &[f64]) -> f64 {
    let mean = mean(x);
    x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (x.len() as f64 - 1.0)
}

fn greatest(x: &[f64]) -> f64 {
    x.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn least(x: &[f64]) -> f64 {
    x.iter().copied().fold(f64::INFINITY, f64::min)
}

fn logsumexp(x: &[f64]) -> f64 {
    let max = greatest(x);
    max + x.iter().map(|x| (x - max).exp()).sum::<f64>().ln()
}

/// `dy` shared among the elements that equal `y`.
fn share(dy: f64, x: &[f64], y: f64) -> Vec<f64> {
    let count = x.iter().filter(|&&x| x == y).count() as f64;
    x.iter().map(|&x| if x == y { dy / count } else { 0.0 }).collect()
}

/// Every operation.
pub static ALL: &[Spec] = &[
    unary!(abs() x [-3.0, 3.0], [0.0]),
    unary!(clamp(-0.5, 0.75) x [-2.0, 2.0], [-0.5, 0.75]),
    unary!(cos() x [-20.0, 20.0], []),
    unary!(elu(1.25) x [-6.0, 3.0], [0.0]),
    unary!(exp() y [-20.0, 20.0], []),
    Spec::Unary(Unary {
        name: "gelu",
        forward: |e, y, x| op::gelu::forward(e, y, x, op::gelu::Form::Erf),
        backward: |e, dx, dy, x, _| op::gelu::backward(e, dx, dy, x, op::gelu::Form::Erf),
        reference: |x| op::gelu::reference(x, op::gelu::Form::Erf),
        reference_backward: |dy, x| op::gelu::reference_backward(dy, x, op::gelu::Form::Erf),
        terms: f64::abs,
        domain: [-6.0, 6.0],
        kinks: &[],
    }),
    Spec::Unary(Unary {
        name: "gelu by tanh",
        forward: |e, y, x| op::gelu::forward(e, y, x, op::gelu::Form::Tanh),
        backward: |e, dx, dy, x, _| op::gelu::backward(e, dx, dy, x, op::gelu::Form::Tanh),
        reference: |x| op::gelu::reference(x, op::gelu::Form::Tanh),
        reference_backward: |dy, x| op::gelu::reference_backward(dy, x, op::gelu::Form::Tanh),
        terms: f64::abs,
        domain: [-6.0, 6.0],
        kinks: &[],
    }),
    unary!(hardtanh(-0.5, 0.75) x [-2.0, 2.0], [-0.5, 0.75]),
    unary!(leaky_relu(0.25) x [-3.0, 3.0], [0.0]),
    unary!(log() x [0.01, 30.0], []),
    unary!(neg() none [-3.0, 3.0], []),
    unary!(pow_scalar(2.5) x [0.05, 5.0], []),
    unary!(reciprocal() y [0.1, 4.0], []),
    unary!(relu() y [-3.0, 3.0], [0.0]),
    unary!(rsqrt() y [0.05, 9.0], []),
    unary!(sigmoid() y [-12.0, 12.0], []),
    unary!(silu() x [-12.0, 12.0], []),
    unary!(sin() x [-20.0, 20.0], []),
    unary!(softplus(1.5, 20.0) x [-9.0, 9.0], []),
    unary!(sqrt() y [0.05, 9.0], []),
    unary!(square() x [-3.0, 3.0], []),
    unary!(tanh() y [-5.0, 5.0], []),
    binary!(add(0.75), [-3.0, 3.0]),
    binary!(div, [0.25, 4.0]),
    binary!(maximum, [-3.0, 3.0]),
    binary!(minimum, [-3.0, 3.0]),
    binary!(mul, [-3.0, 3.0]),
    binary!(pow, [0.25, 3.0]),
    binary!(sub(-1.5), [-3.0, 3.0]),
    Spec::Along(Along {
        name: "amax",
        forward: |e, y, x, axes| op::amax::forward(e, y, x, axes),
        backward: |e, dx, dy, x, y, axes| op::amax::backward(e, dx, dy, x, y, axes),
        reference: |x| vec![greatest(x)],
        reference_backward: |dy, x| share(dy[0], x, greatest(x)),
        reduces: true,
        least: 1,
    }),
    Spec::Along(Along {
        name: "amin",
        forward: |e, y, x, axes| op::amin::forward(e, y, x, axes),
        backward: |e, dx, dy, x, y, axes| op::amin::backward(e, dx, dy, x, y, axes),
        reference: |x| vec![least(x)],
        reference_backward: |dy, x| share(dy[0], x, least(x)),
        reduces: true,
        least: 1,
    }),
    Spec::Along(Along {
        name: "log_softmax",
        forward: |e, y, x, axes| op::log_softmax::forward(e, y, x, axes[0]),
        backward: |e, dx, dy, _, y, axes| op::log_softmax::backward(e, dx, dy, y, axes[0]),
        reference: op::log_softmax::reference,
        reference_backward: op::log_softmax::reference_backward,
        reduces: false,
        least: 1,
    }),
    Spec::Along(Along {
        name: "logsumexp",
        forward: |e, y, x, axes| op::logsumexp::forward(e, y, x, axes),
        backward: |e, dx, dy, x, y, axes| op::logsumexp::backward(e, dx, dy, x, y, axes),
        reference: |x| vec![logsumexp(x)],
        reference_backward: |dy, x| x.iter().map(|v| dy[0] * (v - logsumexp(x)).exp()).collect(),
        reduces: true,
        least: 1,
    }),
    Spec::Along(Along {
        name: "mean",
        forward: |e, y, x, axes| op::mean::forward(e, y, x, axes),
        backward: |e, dx, dy, _, _, axes| op::mean::backward(e, dx, dy, axes),
        reference: |x| vec![mean(x)],
        reference_backward: |dy, x| vec![dy[0] / x.len() as f64; x.len()],
        reduces: true,
        least: 1,
    }),
    Spec::Along(Along {
        name: "softmax",
        forward: |e, y, x, axes| op::softmax::forward(e, y, x, axes[0]),
        backward: |e, dx, dy, _, y, axes| op::softmax::backward(e, dx, dy, y, axes[0]),
        reference: op::softmax::reference,
        reference_backward: op::softmax::reference_backward,
        reduces: false,
        least: 1,
    }),
    Spec::Along(Along {
        name: "std",
        forward: |e, y, x, axes| op::std::forward(e, y, x, axes, 1.0),
        backward: |e, dx, dy, x, y, axes| op::std::backward(e, dx, dy, x, y, axes, 1.0),
        reference: |x| vec![var(x).sqrt()],
        reference_backward: |dy, x| {
            let scale = dy[0] / (var(x).sqrt() * (x.len() as f64 - 1.0));
            x.iter().map(|v| scale * (v - mean(x))).collect()
        },
        reduces: true,
        least: 2,
    }),
    Spec::Along(Along {
        name: "sum",
        forward: |e, y, x, axes| op::sum::forward(e, y, x, axes),
        backward: |e, dx, dy, _, _, axes| op::sum::backward(e, dx, dy, axes),
        reference: |x| vec![sum(x)],
        reference_backward: |dy, x| vec![dy[0]; x.len()],
        reduces: true,
        least: 0,
    }),
    Spec::Along(Along {
        name: "var",
        forward: |e, y, x, axes| op::var::forward(e, y, x, axes, 1.0),
        backward: |e, dx, dy, x, _, axes| op::var::backward(e, dx, dy, x, axes, 1.0),
        reference: |x| vec![var(x)],
        reference_backward: |dy, x| x.iter().map(|v| dy[0] * 2.0 * (v - mean(x)) / (x.len() as f64 - 1.0)).collect(),
        reduces: true,
        least: 2,
    }),
];
