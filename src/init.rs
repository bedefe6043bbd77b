//! Initial parameters, from one seed, the same on every machine: no function of a C library takes part.

use crate::error::Result;
use crate::plan::Kind;
use crate::step::Trainer;
use handgrad_kernels::scalar;
use handgrad_kernels::view::ViewMut;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};

/// PyTorch's defaults: linear weights and biases uniform in `±1/√inputs`, embeddings normal, norms one and zero.
pub(crate) fn pytorch_defaults(trainer: &mut Trainer, seed: u64) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let Trainer { plan, params, running, .. } = trainer;
    if let Some(table) = plan.embedding {
        normal(table.mat_mut(params)?, 0.0, 1.0, &mut rng);
    }
    for stage in &plan.stages {
        match stage.kind {
            Kind::Linear { weight, bias } => {
                let bound = 1.0 / (stage.inputs as f32).sqrt();
                for slot in std::iter::once(weight).chain(bias) {
                    uniform(slot.mat_mut(params)?, -bound, bound, &mut rng);
                }
            }
            Kind::BatchNorm { weight, var, .. } => {
                weight.mat_mut(params)?.fill(1.0);
                var.mat_mut(running)?.fill(1.0);
            }
            Kind::Activation => {}
        }
    }
    Ok(())
}

/// Fills a tensor, in logical order, with numbers uniform in `low..high`.
pub fn uniform<'a>(tensor: impl Into<ViewMut<'a>>, low: f32, high: f32, rng: &mut impl Rng) {
    fill(tensor.into(), || low + (high - low) * rng.random::<f32>());
}

/// Fills a tensor, in logical order, with normal numbers of a mean and a standard deviation.
///
/// Marsaglia's polar method: of points in the square those inside the unit circle are kept, and with `s` the squared
/// radius each coordinate is stretched by `√(-2·ln s / s)`.
pub fn normal<'a>(tensor: impl Into<ViewMut<'a>>, mean: f32, std: f32, rng: &mut impl Rng) {
    let mut spare = None;
    let mut draw = || {
        if let Some(z) = spare.take() {
            return z;
        }
        loop {
            let (u, v) = (2.0 * rng.random::<f32>() - 1.0, 2.0 * rng.random::<f32>() - 1.0);
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                let stretch = (-2.0 * scalar::ln(s) / s).sqrt();
                spare = Some(v * stretch);
                return u * stretch;
            }
        }
    };
    fill(tensor.into(), || mean + std * draw());
}

fn fill(mut tensor: ViewMut<'_>, mut draw: impl FnMut() -> f32) {
    tensor.fill_with(&mut draw);
}
