//! The functions, what they promise, and what they are exactly: in f64, in forms that do not cancel.
//!
//! A derivative is taken in what its kernel receives: the input, or, where that is cheaper, the output. Its exact value
//! is then a function of that output as it was rounded, over the outputs that the function can have.

use crate::ulp::Limit;
use handgrad::Exec;
use handgrad::kernels::Result;
use handgrad::kernels::op::{self, gelu};
use handgrad::kernels::view::{View, ViewMut};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// A function and its derivative.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) forward: Direction,
    pub(crate) backward: Direction,
}

/// One of the two.
#[derive(Clone, Copy)]
pub(crate) struct Direction {
    /// What the kernel receives.
    pub(crate) argument: &'static str,
    /// From where to where results are measured: everything, or the outputs that the function has.
    pub(crate) range: [f32; 2],
    /// Runs the kernel; the gradient from above is one.
    pub(crate) run: fn(&Exec, ViewMut<'_>, View<'_>, ones: View<'_>) -> Result<()>,
    /// The exact results.
    pub(crate) exact: fn(&mut [f64], &[f32]),
    /// The magnitudes of the terms that can cancel, added up.
    pub(crate) terms: Option<fn(f64) -> f64>,
    /// What is promised with a fused multiply-add, and without.
    pub(crate) limits: [Limit; 2],
}

/// `exact`, element by element.
fn each(exact: &mut [f64], x: &[f32], f: impl Fn(f64) -> f64) {
    exact.iter_mut().zip(x).for_each(|(exact, &x)| *exact = f(x.into()));
}

/// So many units in the last place with a fused multiply-add, and without; or else `2^-23` of the terms, and without a
/// fused multiply-add, where each product is rounded too, twice that.
const fn limits([fused, not]: [f64; 2]) -> [Limit; 2] {
    const OF_TERMS: f64 = 1.0 / 8_388_608.0;
    [Limit { ulp: fused, of_terms: OF_TERMS }, Limit { ulp: not, of_terms: 2.0 * OF_TERMS }]
}

const EVERYTHING: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];
/// What every derivative promises.
const DERIVATIVE: [f64; 2] = [4.0, 5.0];

/// Makes a direction from `exact; terms; limits; |exec, out, x, ones| run`.
macro_rules! direction {
    ($argument:literal in $range:expr, $exact:expr, $terms:expr, $limits:expr, $run:expr) => {
        Direction {
            argument: $argument,
            range: $range,
            run: $run,
            exact: |exact, x| each(exact, x, $exact),
            terms: $terms,
            limits: limits($limits),
        }
    };
}

/// Makes a function whose kernels are those of a module, with parameters.
macro_rules! function {
    (
        $name:literal, $module:ident($($param:expr),*);
        $exact:expr, $terms:expr, $limits:expr;
        $argument:literal in $range:expr, $slope:expr, $slope_terms:expr
    ) => {
        Function {
            name: $name,
            forward: direction!("x" in EVERYTHING, $exact, $terms, $limits, |e, y, x, _| {
                op::$module::forward(e, y, x $(, $param)*)
            }),
            backward: direction!($argument in $range, $slope, $slope_terms, DERIVATIVE, |e, dx, saved, dy| {
                op::$module::backward(e, dx, dy, saved $(, $param)*)
            }),
        }
    };
}

/// `1/(1 + e^-x)`
fn sigmoid(x: f64) -> f64 {
    if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) }
}

/// `x·w` where `w` is 0 at minus infinity, whose limit is `-0`.
fn weighted(x: f64, w: f64) -> f64 {
    if x == f64::NEG_INFINITY { -0.0 } else { x * w }
}

/// `1 + x·q`, times `p`, where that is 0 and 1 far from zero.
fn bent(x: f64, p: f64, q: f64) -> f64 {
    if x == f64::INFINITY {
        1.0
    } else if x < -1e4 {
        -0.0
    } else {
        p * (1.0 + x * q)
    }
}

/// The normal distribution and its density.
fn normal(x: f64) -> [f64; 2] {
    [0.5 * libm::erfc(-x * FRAC_1_SQRT_2), 0.5 * FRAC_1_SQRT_2 * FRAC_2_SQRT_PI * (-0.5 * x * x).exp()]
}

/// `√(2/π)`
const ROOT: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;

/// `√(2/π)·(x + 0.044715·x³)` and its derivative.
fn inner(x: f64) -> [f64; 2] {
    [ROOT * x * (1.0 + 0.044_715 * x * x), ROOT * (1.0 + 3.0 * 0.044_715 * x * x)]
}

fn silu_slope(x: f64) -> f64 {
    bent(x, sigmoid(x), sigmoid(-x))
}

fn silu_slope_terms(x: f64) -> f64 {
    sigmoid(x) * (1.0 + x.abs() * sigmoid(-x))
}

fn gelu_erf_slope(x: f64) -> f64 {
    let [below, density] = normal(x);
    if density == 0.0 { below } else { below + x * density }
}

fn gelu_erf_slope_terms(x: f64) -> f64 {
    let [_, density] = normal(x);
    0.5 + 0.5 * libm::erf(x.abs() * FRAC_1_SQRT_2) + if density == 0.0 { 0.0 } else { x.abs() * density }
}

fn gelu_tanh_slope(x: f64) -> f64 {
    // ½·(1 + tanh u) is the sigmoid of 2u.
    let x = x.clamp(-100.0, 100.0);
    let [u, slope] = inner(x);
    let p = sigmoid(2.0 * u);
    p + 2.0 * x * p * sigmoid(-2.0 * u) * slope
}

fn gelu_tanh_slope_terms(x: f64) -> f64 {
    let x = x.clamp(-100.0, 100.0);
    let [u, slope] = inner(x);
    0.5 + 0.5 * u.tanh().abs() + 2.0 * x.abs() * sigmoid(2.0 * u) * sigmoid(-2.0 * u) * slope
}

/// All of them. PyTorch's defaults where there are parameters.
pub(crate) static ALL: &[Function] = &[
    function!("exp", exp(); f64::exp, None, [1.0, 1.5]; "y" in [0.0, f32::INFINITY], |y| y, None),
    function!("log", log(); f64::ln, None, [1.0, 1.5]; "x" in EVERYTHING, f64::recip, None),
    function!("tanh", tanh(); f64::tanh, None, [1.2, 2.0]; "y" in [-1.0, 1.0], |y| 1.0 - y * y, Some(|y| 1.0 + y * y)),
    function!(
        "sigmoid", sigmoid(); sigmoid, None, [2.5, 3.5]; "y" in [0.0, 1.0], |y| y * (1.0 - y), Some(|y| y + y * y)
    ),
    function!("sin", sin(); f64::sin, None, [1.5, 2.5]; "x" in EVERYTHING, f64::cos, None),
    function!("cos", cos(); f64::cos, None, [1.5, 2.5]; "x" in EVERYTHING, |x| -x.sin(), None),
    function!("sqrt", sqrt(); f64::sqrt, None, [0.5, 0.5]; "y" in [-0.0, 1.844_674_3e19], |y| 0.5 / y, None),
    function!(
        "rsqrt", rsqrt(); |x| 1.0 / x.sqrt(), None, [2.5, 2.5];
        "y" in [5.421_011e-20, f32::INFINITY], |y| -0.5 * (y * y * y), None
    ),
    function!("reciprocal", reciprocal(); f64::recip, None, [0.5, 0.5]; "y" in EVERYTHING, |y| -(y * y), None),
    function!(
        "silu", silu(); |x| weighted(x, sigmoid(x)), None, [2.5, 4.5];
        "x" in EVERYTHING, silu_slope, Some(silu_slope_terms)
    ),
    function!(
        "softplus", softplus(1.0, 20.0); |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), None, [2.5, 3.5];
        "x" in EVERYTHING, sigmoid, None
    ),
    function!(
        "elu", elu(1.0); |x| if x > 0.0 { x } else { x.exp_m1() }, None, [2.5, 2.5];
        "x" in EVERYTHING, |x| if x > 0.0 { 1.0 } else { x.exp() }, None
    ),
    function!(
        "gelu_erf", gelu(gelu::Form::Erf);
        |x| weighted(x, normal(x)[0]),
        Some(|x| 0.5 * x.abs() * (1.0 + libm::erf(x.abs() * FRAC_1_SQRT_2))), [4.0, 5.0];
        "x" in EVERYTHING, gelu_erf_slope, Some(gelu_erf_slope_terms)
    ),
    function!(
        "gelu_tanh", gelu(gelu::Form::Tanh);
        |x| weighted(x, sigmoid(2.0 * inner(x)[0])), Some(|x| 0.5 * x.abs() * (1.0 + inner(x)[0].tanh().abs())),
        [4.0, 5.0];
        "x" in EVERYTHING, gelu_tanh_slope, Some(gelu_tanh_slope_terms)
    ),
];

/// The function of a name.
pub(crate) fn find(name: &str) -> &'static Function {
    ALL.iter().find(|function| function.name == name).unwrap_or_else(|| panic!("no function is called {name}"))
}
