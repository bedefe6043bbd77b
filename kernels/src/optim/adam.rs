//! Adam and `AdamW`: steps of the length of the learning rate, element by element, shorter where gradients disagree.
//!
//! With `g = scale·grad`, the number `t` of the step and `β₁`, `β₂` the betas:
//!
//! ```text
//! g += weight_decay·p                   Adam,  coupled: decay is a part of the gradient
//! p *= 1 - lr·weight_decay              AdamW, decoupled: decay is a step of its own
//! m  = m + (1 - β₁)·(g - m)             the average gradient
//! v  = β₂·v + (1 - β₂)·g²               the average square
//! p -= lr/(1 - β₁^t)·m / (√v/√(1 - β₂^t) + eps)
//! ```
//!
//! Both averages begin at zero, and after `t` steps the weights of what they have seen add up to `1 - β^t`: dividing by
//! that makes averages of them. Their quotient has no unit, so that the length of a gradient does not matter, only what
//! share of it is the same from step to step.
//!
//! The betas are `f32`: of `β₂ = 0.999` the rest `1 - β₂` is that of the nearest `f32`, 1.3e-5 of itself away from
//! 0.001, in the average as in the correction. The powers are found in f64 by squaring, so that they are the same on
//! every machine.
//!
//! Source: Kingma and Ba 2015, Loshchilov and Hutter 2019; `torch.optim.Adam` and `torch.optim.AdamW`.

use super::{Average, Gradient, Step, expect_number, expect_setting, pass};
use crate::error::{Result, expect_len};
use crate::exec::Exec;
use crate::lanes::Map;
use crate::simd::Simd;

/// Where weight decay comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Decay {
    /// It is added to the gradient: Adam with an L2 penalty.
    #[default]
    Coupled,
    /// It shrinks the parameters by themselves: `AdamW`.
    Decoupled,
}

/// Settings; those of PyTorch's Adam by default. `AdamW` has a weight decay of 0.01, [`Decay::Decoupled`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// How much is kept of the average gradient and of the average square, each in `0..1`.
    pub betas: [f32; 2],
    /// Added to the root of the average square; above 0, or parameters without a gradient become NaN.
    pub eps: f32,
    /// How much of each parameter decays, at least 0.
    pub weight_decay: f32,
    /// Where weight decay comes in.
    pub decay: Decay,
}

impl Default for Config {
    fn default() -> Self {
        Self { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0, decay: Decay::Coupled }
    }
}

/// One step. The averages begin as zeros.
///
/// # Errors
/// If lengths differ, the step has the number 0, or a setting is not allowed.
pub fn update(
    exec: &Exec,
    params: &mut [f32],
    exp_avg: &mut [f32],
    exp_avg_sq: &mut [f32],
    grads: &[f32],
    step: Step,
    config: Config,
) -> Result<()> {
    const OP: &str = "adam::update";
    expect_len(OP, "exp_avg", params.len(), exp_avg.len())?;
    expect_len(OP, "exp_avg_sq", params.len(), exp_avg_sq.len())?;
    expect_len(OP, "grads", params.len(), grads.len())?;
    expect_number(OP, step)?;
    for beta in config.betas {
        expect_setting(OP, "betas", 0.0..1.0, "in 0..1", beta)?;
    }
    expect_setting(OP, "eps", 0.0.., "at least 0", config.eps)?;
    expect_setting(OP, "weight_decay", 0.0.., "at least 0", config.weight_decay)?;
    pass(exec, 0.15, [params, exp_avg, exp_avg_sq], grads, Adam::new(step, config));
    Ok(())
}

/// The new `[param, exp_avg, exp_avg_sq]` by their definition.
#[must_use]
pub fn reference([mut p, m, v]: [f64; 3], grad: f64, step: Step, config: Config) -> [f64; 3] {
    let [lr, scale, eps, weight_decay] = [step.lr, step.scale, config.eps, config.weight_decay].map(f64::from);
    let betas = config.betas.map(f64::from);
    let mut g = scale * grad;
    match config.decay {
        Decay::Coupled => g += weight_decay * p,
        Decay::Decoupled => p *= 1.0 - lr * weight_decay,
    }
    let m = betas[0] * m + (1.0 - betas[0]) * g;
    let v = betas[1] * v + (1.0 - betas[1]) * g * g;
    let [m_hat, v_hat] = [(m, betas[0]), (v, betas[1])].map(|(x, beta)| x / (1.0 - beta.powf(step.number as f64)));
    [p - lr * m_hat / (v_hat.sqrt() + eps), m, v]
}

/// `base^exponent` by repeated squaring.
fn power(mut base: f64, mut exponent: u64) -> f64 {
    let mut power = 1.0;
    while exponent > 0 {
        if exponent % 2 == 1 {
            power *= base;
        }
        base *= base;
        exponent /= 2;
    }
    power
}

/// The rule of one step.
#[derive(Clone, Copy)]
struct Adam {
    gradient: Gradient,
    /// What is left of a parameter.
    left: f32,
    averages: [Average; 2],
    /// `lr/(1 - β₁^t)`
    length: f32,
    /// `1/√(1 - β₂^t)`
    root: f32,
    eps: f32,
}

impl Adam {
    fn new(step: Step, config: Config) -> Self {
        let Config { betas, eps, weight_decay, decay } = config;
        let (coupled, decoupled) = match decay {
            Decay::Coupled => (weight_decay, 0.0),
            Decay::Decoupled => (0.0, weight_decay),
        };
        let corrections = betas.map(|beta| 1.0 - power(beta.into(), step.number));
        let lr = f64::from(step.lr);
        Self {
            gradient: Gradient { scale: step.scale, weight_decay: coupled },
            left: (1.0 - lr * f64::from(decoupled)) as f32,
            averages: betas.map(Average::new),
            length: (lr / corrections[0]) as f32,
            root: (1.0 / corrections[1].sqrt()) as f32,
            eps,
        }
    }
}

impl Map<1, 3> for Adam {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [g]: [S::F32; 1], [p, m, v]: [S::F32; 3]) -> [S::F32; 3] {
        let g = self.gradient.at(s, g, p);
        let m = self.averages[0].of(s, m, g);
        let v = self.averages[1].of_square(s, v, g);
        let quotient = s.div(m, s.fma(s.sqrt(v), s.splat(self.root), s.splat(self.eps)));
        let p = s.mul(s.splat(self.left), p);
        [s.fnma(s.splat(self.length), quotient, p), m, v]
    }
}

#[cfg(test)]
mod tests {
    use super::power;

    #[test]
    fn powers_are_those_of_the_definition() {
        let product = |base: f64, n: u64| (0..n).fold(1.0, |product, _| product * base);
        for base in [0.0, 0.5, 0.9, f64::from(0.999_f32)] {
            for n in (0..70).chain([1000, 4095]) {
                let (got, want) = (power(base, n), product(base, n));
                assert!((got - want).abs() <= 2.0 * n as f64 * f64::EPSILON * want, "{base}^{n}: {got:e}, {want:e}");
            }
        }
        assert_eq!((power(2.0, 62), power(0.999, u64::MAX), power(1.0, u64::MAX)), ((1u64 << 62) as f64, 0.0, 1.0));
    }
}
