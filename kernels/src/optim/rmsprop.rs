//! `RMSprop`: gradients over the root of their mean square, element by element.
//!
//! With `g = scale·grad + weight_decay·p`:
//!
//! ```text
//! v = alpha·v + (1 - alpha)·g²          the average square
//! m = m + (1 - alpha)·(g - m)           the average gradient, if centered
//! d = √v + eps                          or, if centered, √(v - m²) + eps
//! p -= lr·g/d                           or, with momentum,
//! b = momentum·b + g/d  and  p -= lr·b
//! ```
//!
//! `v - m²` is a variance and is never below zero; where rounding has made it so it is zero.
//!
//! Source: Hinton's lecture 6e of 2012, Graves 2013 for the centered form; `torch.optim.RMSprop`.

use super::{Average, Gradient, Step, expect_setting, pass};
use crate::error::{Result, expect_len};
use crate::exec::Exec;
use crate::lanes::Map;
use crate::simd::Simd;

/// Settings; those of PyTorch by default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// How much is kept of the averages, in `0..=1`.
    pub alpha: f32,
    /// Added to the root; above 0, or parameters without a gradient become NaN.
    pub eps: f32,
    /// How much of each parameter is added to its gradient, at least 0.
    pub weight_decay: f32,
    /// How much of the buffer is kept, at least 0. With 0 there is no buffer.
    pub momentum: f32,
    /// Whether the mean square is that of the distances from the mean gradient.
    pub centered: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { alpha: 0.99, eps: 1e-8, weight_decay: 0.0, momentum: 0.0, centered: false }
    }
}

/// What is remembered from step to step; all of it begins as zeros. What the settings do not ask for is left alone.
#[derive(Debug)]
pub struct State<'a> {
    /// The average square of the gradient.
    pub square_avg: &'a mut [f32],
    /// The average gradient, which the centered form needs.
    pub grad_avg: Option<&'a mut [f32]>,
    /// The buffer, which momentum needs.
    pub momentum_buffer: Option<&'a mut [f32]>,
}

/// One step.
///
/// # Errors
/// If lengths differ (that of what is needed and missing is 0), or a setting is not allowed.
pub fn update(
    exec: &Exec,
    params: &mut [f32],
    state: State<'_>,
    grads: &[f32],
    step: Step,
    config: Config,
) -> Result<()> {
    const OP: &str = "rmsprop::update";
    let Config { alpha, eps, weight_decay, momentum, centered } = config;
    let State { square_avg: v, grad_avg, momentum_buffer } = state;
    let m = if centered { grad_avg.unwrap_or_default() } else { &mut [] };
    let b = if momentum == 0.0 { &mut [] } else { momentum_buffer.unwrap_or_default() };
    let len = params.len();
    expect_len(OP, "square_avg", len, v.len())?;
    if centered {
        expect_len(OP, "grad_avg", len, m.len())?;
    }
    if momentum != 0.0 {
        expect_len(OP, "momentum_buffer", len, b.len())?;
    }
    expect_len(OP, "grads", len, grads.len())?;
    expect_setting(OP, "alpha", 0.0..=1.0, "in 0..=1", alpha)?;
    expect_setting(OP, "eps", 0.0.., "at least 0", eps)?;
    expect_setting(OP, "weight_decay", 0.0.., "at least 0", weight_decay)?;
    expect_setting(OP, "momentum", 0.0.., "at least 0", momentum)?;
    let gradient = Gradient { scale: step.scale, weight_decay };
    let rule = Rule { gradient, average: Average::new(alpha), eps, lr: step.lr, momentum };
    match (centered, momentum == 0.0) {
        (false, true) => pass(exec, 0.12, [params, v], grads, Plain(rule)),
        (false, false) => pass(exec, 0.15, [params, v, b], grads, Buffered(rule)),
        (true, true) => pass(exec, 0.15, [params, v, m], grads, Centered(rule)),
        (true, false) => pass(exec, 0.2, [params, v, m, b], grads, CenteredBuffered(rule)),
    }
    Ok(())
}

/// The new `[param, square_avg, grad_avg, momentum_buffer]` by their definition.
#[must_use]
pub fn reference([p, mut v, mut m, mut b]: [f64; 4], grad: f64, step: Step, config: Config) -> [f64; 4] {
    let [lr, scale, alpha, eps] = [step.lr, step.scale, config.alpha, config.eps].map(f64::from);
    let [weight_decay, momentum] = [config.weight_decay, config.momentum].map(f64::from);
    let g = scale * grad + weight_decay * p;
    v = alpha * v + (1.0 - alpha) * g * g;
    let mut variance = v;
    if config.centered {
        m = alpha * m + (1.0 - alpha) * g;
        variance = v - m * m;
    }
    // Not `max`, which would lose a NaN.
    let quotient = g / (if variance < 0.0 { 0.0 } else { variance.sqrt() } + eps);
    if momentum == 0.0 {
        return [p - lr * quotient, v, m, b];
    }
    b = momentum * b + quotient;
    [p - lr * b, v, m, b]
}

/// What the four forms have in common.
#[derive(Clone, Copy)]
struct Rule {
    gradient: Gradient,
    average: Average,
    eps: f32,
    lr: f32,
    momentum: f32,
}

impl Rule {
    /// `g/(√v + eps)`
    #[inline(always)]
    fn quotient<S: Simd>(self, s: S, g: S::F32, v: S::F32) -> S::F32 {
        s.div(g, s.add(s.sqrt(v), s.splat(self.eps)))
    }
    /// `g/(√(v - m²) + eps)`
    #[inline(always)]
    fn centered_quotient<S: Simd>(self, s: S, g: S::F32, v: S::F32, m: S::F32) -> S::F32 {
        // In this order NaN is what `max` returns.
        self.quotient(s, g, s.max(s.zero(), s.fnma(m, m, v)))
    }
    /// `momentum·b + x`
    #[inline(always)]
    fn buffer<S: Simd>(self, s: S, b: S::F32, x: S::F32) -> S::F32 {
        s.fma(s.splat(self.momentum), b, x)
    }
    /// `p - lr·x`
    #[inline(always)]
    fn step<S: Simd>(self, s: S, p: S::F32, x: S::F32) -> S::F32 {
        s.fnma(s.splat(self.lr), x, p)
    }
}

/// Neither centered nor with momentum.
#[derive(Clone, Copy)]
struct Plain(Rule);

impl Map<1, 2> for Plain {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [g]: [S::F32; 1], [p, v]: [S::F32; 2]) -> [S::F32; 2] {
        let Self(rule) = self;
        let g = rule.gradient.at(s, g, p);
        let v = rule.average.of_square(s, v, g);
        [rule.step(s, p, rule.quotient(s, g, v)), v]
    }
}

/// With momentum.
#[derive(Clone, Copy)]
struct Buffered(Rule);

impl Map<1, 3> for Buffered {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [g]: [S::F32; 1], [p, v, b]: [S::F32; 3]) -> [S::F32; 3] {
        let Self(rule) = self;
        let g = rule.gradient.at(s, g, p);
        let v = rule.average.of_square(s, v, g);
        let b = rule.buffer(s, b, rule.quotient(s, g, v));
        [rule.step(s, p, b), v, b]
    }
}

/// Centered.
#[derive(Clone, Copy)]
struct Centered(Rule);

impl Map<1, 3> for Centered {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [g]: [S::F32; 1], [p, v, m]: [S::F32; 3]) -> [S::F32; 3] {
        let Self(rule) = self;
        let g = rule.gradient.at(s, g, p);
        let (v, m) = (rule.average.of_square(s, v, g), rule.average.of(s, m, g));
        [rule.step(s, p, rule.centered_quotient(s, g, v, m)), v, m]
    }
}

/// Centered and with momentum.
#[derive(Clone, Copy)]
struct CenteredBuffered(Rule);

impl Map<1, 4> for CenteredBuffered {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [g]: [S::F32; 1], [p, v, m, b]: [S::F32; 4]) -> [S::F32; 4] {
        let Self(rule) = self;
        let g = rule.gradient.at(s, g, p);
        let (v, m) = (rule.average.of_square(s, v, g), rule.average.of(s, m, g));
        let b = rule.buffer(s, b, rule.centered_quotient(s, g, v, m));
        [rule.step(s, p, b), v, m, b]
    }
}
