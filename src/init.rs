//! Initial parameters, from one seed, the same on every machine: no function of a C library takes part.
//!
//! A linear layer keeps the spread of what passes through it if its weights have the right one. With `fan` terms in
//! each sum, independent weights of variance `gain²/fan` turn inputs of mean square 1 into sums of mean square `gain²`,
//! and the [gain](Nonlinearity::gain) is what the activation that follows takes away again. A fan is the number of
//! inputs, for the way forward, or of outputs, for the gradients on the way back ([`Init::KaimingNormal`] takes one of
//! them, [`Init::XavierNormal`] their mean). Numbers uniform in `±a` have the variance `a²/3`.

use crate::error::Result;
use crate::model::{number, size};
use crate::plan::{Kind, Plan};
use crate::tensors::Buffer;
use handgrad_kernels::scalar;
use handgrad_kernels::view::ViewMut;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};

/// How the parameters of a linear layer begin; `weight` is `outputs x inputs`, as PyTorch shows it.
///
/// ```
/// use handgrad::init::{Fan, Init, Nonlinearity};
/// use handgrad::kernels::view::ViewMut;
/// use rand::{SeedableRng, rngs::ChaCha8Rng};
///
/// let mut weight = [f32::NAN; 30 * 200];
/// let init = Init::KaimingNormal { mode: Fan::In, gain: Nonlinearity::Tanh.gain() };
/// let mut rng = ChaCha8Rng::seed_from_u64(42);
/// init.fill(ViewMut::new(&mut weight, &[200, 30])?, &mut rng)?;
/// let mean_square = weight.iter().map(|w| w * w).sum::<f32>() / 6000.0;
/// assert!((mean_square.sqrt() * 30.0_f32.sqrt() - 5.0 / 3.0).abs() < 0.1);
/// # Ok::<(), handgrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[non_exhaustive]
pub enum Init {
    /// What PyTorch's `nn.Linear` does: weights and biases uniform in `±1/√inputs`. (Every other way, biases are 0.)
    #[default]
    PyTorch,
    /// Uniform in `±gain·√(3/fan)`: `kaiming_uniform_`.
    KaimingUniform {
        /// Which fan.
        mode: Fan,
        /// The [gain](Nonlinearity::gain) of the activation that follows.
        gain: f32,
    },
    /// Normal with the standard deviation `gain/√fan`: `kaiming_normal_`.
    KaimingNormal {
        /// Which fan.
        mode: Fan,
        /// The [gain](Nonlinearity::gain) of the activation that follows.
        gain: f32,
    },
    /// Uniform in `±gain·√(6/(inputs + outputs))`: `xavier_uniform_`.
    XavierUniform {
        /// The [gain](Nonlinearity::gain) of the activation that follows.
        gain: f32,
    },
    /// Normal with the standard deviation `gain·√(2/(inputs + outputs))`: `xavier_normal_`.
    XavierNormal {
        /// The [gain](Nonlinearity::gain) of the activation that follows.
        gain: f32,
    },
    /// Uniform in `low..high`.
    Uniform {
        /// The least number.
        low: f32,
        /// What all numbers are below; at least `low`.
        high: f32,
    },
    /// Normal.
    Normal {
        /// The mean.
        mean: f32,
        /// The standard deviation, at least 0.
        std: f32,
    },
    /// One number everywhere.
    Constant {
        /// The number.
        value: f32,
    },
    /// 0 everywhere.
    Zeros,
}

/// Which of a layer's sizes its weights are scaled by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Fan {
    /// The number of inputs.
    #[default]
    In,
    /// The number of outputs.
    Out,
}

/// What follows a linear layer, for the choice of its gain.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Nonlinearity {
    /// Nothing.
    Linear,
    /// `1/(1 + e^-x)`
    Sigmoid,
    /// `tanh x`
    Tanh,
    /// `max(x, 0)`
    Relu,
    /// `x`, times `slope` below 0.
    LeakyRelu {
        /// The slope below 0.
        slope: f32,
    },
    /// The scaled exponential linear unit.
    Selu,
}

impl Nonlinearity {
    /// The gain, as PyTorch's `calculate_gain` has it: 1 without an activation and for the sigmoid, 5/3 for `tanh`,
    /// `√2` for relu, `√(2/(1 + slope²))` for leaky relu, 3/4 for selu.
    #[must_use]
    pub fn gain(self) -> f32 {
        match self {
            Self::Linear | Self::Sigmoid => 1.0,
            Self::Tanh => 5.0 / 3.0,
            Self::Relu => std::f32::consts::SQRT_2,
            Self::LeakyRelu { slope } => (2.0 / (1.0 + slope * slope)).sqrt(),
            Self::Selu => 0.75,
        }
    }
}

impl Init {
    /// Draws a weight of `outputs x inputs`, row by row whatever its strides.
    ///
    /// # Errors
    /// If the weight has not two axes, or for a number that is not allowed; then nothing is drawn or written.
    pub fn fill<'a>(self, weight: impl Into<ViewMut<'a>>, rng: &mut impl Rng) -> Result<()> {
        let weight = weight.into();
        let &[outputs, inputs] = weight.shape() else {
            return Err(size("init", "rank of the weight", "2", weight.rank()));
        };
        self.check("init")?;
        // Without inputs or outputs there is no weight to draw.
        let fan = |mode| if mode == Fan::In { inputs } else { outputs } as f32;
        let both = inputs as f32 + outputs as f32;
        match self {
            Self::PyTorch => self.fill_bias(weight, inputs, rng)?,
            Self::KaimingUniform { mode, gain } => {
                let bound = gain * (3.0 / fan(mode)).sqrt();
                uniform(weight, -bound, bound, rng);
            }
            Self::KaimingNormal { mode, gain } => normal(weight, 0.0, gain / fan(mode).sqrt(), rng),
            Self::XavierUniform { gain } => {
                let bound = gain * (6.0 / both).sqrt();
                uniform(weight, -bound, bound, rng);
            }
            Self::XavierNormal { gain } => normal(weight, 0.0, gain * (2.0 / both).sqrt(), rng),
            Self::Uniform { low, high } => uniform(weight, low, high, rng),
            Self::Normal { mean, std } => normal(weight, mean, std, rng),
            Self::Constant { value } => fill(weight, || value),
            Self::Zeros => fill(weight, || 0.0),
        }
        Ok(())
    }

    /// Draws the bias of a layer of so many inputs: as its weights for [`PyTorch`](Self::PyTorch), 0 for every other
    /// way. Without inputs it is 0.
    ///
    /// # Errors
    /// For a number that is not allowed; then nothing is drawn or written.
    pub fn fill_bias<'a>(self, bias: impl Into<ViewMut<'a>>, inputs: usize, rng: &mut impl Rng) -> Result<()> {
        self.check("init")?;
        match self {
            Self::PyTorch if inputs > 0 => {
                let bound = 1.0 / (inputs as f32).sqrt();
                uniform(bias, -bound, bound, rng);
            }
            _ => fill(bias.into(), || 0.0),
        }
        Ok(())
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// Names `place` and the field at fault.
    pub(crate) fn check(self, place: &str) -> Result<()> {
        let finite = |field, got: f32| {
            if got.is_finite() { Ok(()) } else { Err(number(place, field, "finite", got)) }
        };
        let positive = |field, got: f32| {
            let fits = got >= 0.0 && got.is_finite();
            if fits { Ok(()) } else { Err(number(place, field, "finite and at least 0", got)) }
        };
        match self {
            Self::KaimingUniform { gain, .. }
            | Self::KaimingNormal { gain, .. }
            | Self::XavierUniform { gain }
            | Self::XavierNormal { gain } => positive("gain", gain),
            Self::Uniform { low, high } => {
                finite("low", low)?;
                finite("high", high)?;
                finite("high - low", high - low)?;
                if low <= high { Ok(()) } else { Err(number(place, "high", "at least `low`", high)) }
            }
            Self::Normal { mean, std } => finite("mean", mean).and_then(|()| positive("std", std)),
            Self::Constant { value } => finite("value", value),
            Self::PyTorch | Self::Zeros => Ok(()),
        }
    }
}

/// All parameters of a network: linear layers as their [`Init`] says, embeddings normal, norms one and zero; and the
/// running statistics of a standard normal. Numbers are drawn in the order of the layers.
pub(crate) fn parameters(plan: &Plan, params: &mut Buffer, running: &mut Buffer, seed: u64) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    if let Some(table) = plan.embedding {
        normal(table.mat_mut(params)?, 0.0, 1.0, &mut rng);
    }
    for stage in &plan.stages {
        match stage.kind {
            Kind::Linear { weight, bias, init } => {
                init.fill(weight.mat_mut(params)?.t(), &mut rng)?;
                if let Some(bias) = bias {
                    init.fill_bias(bias.mat_mut(params)?, stage.inputs, &mut rng)?;
                }
            }
            Kind::BatchNorm { weight, var, .. } => {
                weight.mat_mut(params)?.fill(1.0);
                var.mat_mut(running)?.fill(1.0);
            }
            Kind::LayerNorm { weight: Some(weight), .. } | Kind::RmsNorm { weight: Some(weight), .. } => {
                weight.mat_mut(params)?.fill(1.0);
            }
            _ => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUTS: usize = 130;
    const INPUTS: usize = 70;

    fn seeded() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(7)
    }

    /// A weight of `OUTPUTS x INPUTS`.
    fn drawn(init: Init) -> Vec<f32> {
        let mut weight = vec![f32::NAN; OUTPUTS * INPUTS];
        init.fill(ViewMut::new(&mut weight, &[OUTPUTS, INPUTS]).unwrap(), &mut seeded()).unwrap();
        weight
    }

    /// The mean and the mean square of the distance from `mean`.
    fn moments(values: &[f32], mean: f64) -> [f64; 2] {
        let average =
            |f: fn(f64) -> f64| values.iter().map(|&x| f(f64::from(x) - mean)).sum::<f64>() / values.len() as f64;
        [mean + average(|x| x), average(|x| x * x)]
    }

    /// Checks both moments within five standard deviations of what a sample of this length has; `kurtosis` is the
    /// fourth moment over the square of the second.
    fn assert_moments(init: Init, values: &[f32], mean: f64, variance: f64, kurtosis: f64) {
        let [got_mean, got_variance] = moments(values, mean);
        let n = values.len() as f64;
        assert!((got_mean - mean).abs() <= 5.0 * (variance / n).sqrt(), "{init:?}: mean {got_mean}, want {mean}");
        let spread = 5.0 * variance * ((kurtosis - 1.0) / n).sqrt();
        assert!((got_variance - variance).abs() <= spread, "{init:?}: variance {got_variance}, want {variance}");
    }

    /// Uniform numbers keep to their range and come near its ends.
    fn assert_uniform(init: Init, values: &[f32], low: f64, high: f64) {
        assert_moments(init, values, f64::midpoint(low, high), (high - low).powi(2) / 12.0, 1.8);
        let (least, greatest) = values
            .iter()
            .fold((f64::MAX, f64::MIN), |(least, greatest), &x| (least.min(x.into()), greatest.max(x.into())));
        let (near, beyond) = (0.01 * (high - low), 1e-6 * (high - low));
        assert!(least >= low - beyond && least < low + near, "{init:?}: {least} of {low}..{high}");
        assert!(greatest <= high + beyond && greatest > high - near, "{init:?}: {greatest} of {low}..{high}");
    }

    #[test]
    fn numbers_have_the_range_and_the_moments_that_they_should() {
        let (inputs, outputs) = (INPUTS as f64, OUTPUTS as f64);
        let both = |init: Init, bound: f64| assert_uniform(init, &drawn(init), -bound, bound);
        both(Init::PyTorch, 1.0 / inputs.sqrt());
        let gain = Nonlinearity::Relu.gain();
        both(Init::KaimingUniform { mode: Fan::In, gain }, (6.0 / inputs).sqrt());
        both(Init::KaimingUniform { mode: Fan::Out, gain }, (6.0 / outputs).sqrt());
        both(Init::XavierUniform { gain: 1.0 }, (6.0 / (inputs + outputs)).sqrt());
        let init = Init::Uniform { low: -0.25, high: 3.0 };
        assert_uniform(init, &drawn(init), -0.25, 3.0);

        let normal = |init: Init, mean: f64, std: f64| assert_moments(init, &drawn(init), mean, std * std, 3.0);
        normal(Init::KaimingNormal { mode: Fan::In, gain }, 0.0, (2.0 / inputs).sqrt());
        normal(Init::KaimingNormal { mode: Fan::Out, gain }, 0.0, (2.0 / outputs).sqrt());
        normal(Init::XavierNormal { gain: 0.5 }, 0.0, 0.5 * (2.0 / (inputs + outputs)).sqrt());
        normal(Init::Normal { mean: -2.0, std: 0.5 }, -2.0, 0.5);

        assert!(drawn(Init::Constant { value: 0.25 }).iter().all(|&x| x == 0.25));
        assert!(drawn(Init::Zeros).iter().all(|&x| x == 0.0));
    }

    #[test]
    fn the_checks_of_moments_find_a_wrong_one() {
        let init = Init::XavierNormal { gain: 1.0 };
        let values = drawn(init);
        let variance = 2.0 / (INPUTS + OUTPUTS) as f64;
        for (mean, variance, kurtosis) in [(0.01, variance, 3.0), (0.0, 1.2 * variance, 3.0), (0.0, variance, 1.0)] {
            let found = std::panic::catch_unwind(|| assert_moments(init, &values, mean, variance, kurtosis));
            assert!(found.is_err(), "mean {mean}, variance {variance}, kurtosis {kurtosis}");
        }
        let bound = (3.0 * variance).sqrt();
        assert!(std::panic::catch_unwind(|| assert_uniform(init, &values, -bound, bound)).is_err());
    }

    #[test]
    fn biases_are_zero_but_for_pytorchs() {
        let mut bias = vec![f32::NAN; 5000];
        Init::PyTorch.fill_bias(ViewMut::new(&mut bias, &[5000]).unwrap(), 16, &mut seeded()).unwrap();
        assert_uniform(Init::PyTorch, &bias, -0.25, 0.25);
        for (init, inputs) in [(Init::PyTorch, 0), (Init::XavierNormal { gain: 1.0 }, 16), (Init::Zeros, 16)] {
            bias.fill(f32::NAN);
            init.fill_bias(ViewMut::new(&mut bias, &[5000]).unwrap(), inputs, &mut seeded()).unwrap();
            assert!(bias.iter().all(|&x| x == 0.0), "{init:?}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_numbers_in_any_layout() {
        for init in [Init::PyTorch, Init::KaimingNormal { mode: Fan::In, gain: 1.0 }] {
            let want = drawn(init);
            assert_eq!(drawn(init), want);
            let mut turned = vec![f32::NAN; OUTPUTS * INPUTS];
            let weight = ViewMut::new(&mut turned, &[INPUTS, OUTPUTS]).unwrap().t().unwrap();
            init.fill(weight, &mut seeded()).unwrap();
            let turned = handgrad_kernels::view::Mat::new(&turned, INPUTS, OUTPUTS).unwrap();
            assert!((0..want.len()).all(|i| turned.get(i % INPUTS, i / INPUTS) == Some(want[i])), "{init:?}");
        }
    }

    #[test]
    fn the_default_is_the_trainers() {
        let (mut weight, mut bias) = (vec![f32::NAN; OUTPUTS * INPUTS], vec![f32::NAN; OUTPUTS]);
        let mut rng = seeded();
        Init::default().fill(ViewMut::new(&mut weight, &[OUTPUTS, INPUTS]).unwrap(), &mut rng).unwrap();
        Init::default().fill_bias(ViewMut::new(&mut bias, &[OUTPUTS]).unwrap(), INPUTS, &mut rng).unwrap();
        let (mut expected, mut rng) = (vec![f32::NAN; OUTPUTS * INPUTS + OUTPUTS], seeded());
        let bound = 1.0 / (INPUTS as f32).sqrt();
        uniform(ViewMut::new(&mut expected, &[OUTPUTS * INPUTS + OUTPUTS]).unwrap(), -bound, bound, &mut rng);
        assert_eq!([weight, bias].concat(), expected);
    }

    #[test]
    fn gains_are_pytorchs() {
        let squares = [
            (Nonlinearity::Linear, 1.0),
            (Nonlinearity::Sigmoid, 1.0),
            (Nonlinearity::Tanh, 25.0 / 9.0),
            (Nonlinearity::Relu, 2.0),
            (Nonlinearity::LeakyRelu { slope: 0.0 }, 2.0),
            (Nonlinearity::LeakyRelu { slope: 0.01 }, 2.0 / 1.0001),
            (Nonlinearity::LeakyRelu { slope: 1.0 }, 1.0),
            (Nonlinearity::Selu, 0.5625),
        ];
        for (nonlinearity, want) in squares {
            let got = f64::from(nonlinearity.gain()).powi(2);
            assert!(
                (got - want).abs() <= 2.5e-7 * want,
                "{nonlinearity:?}: got the root of {got}, want that of {want}"
            );
        }
    }

    #[test]
    fn empty_weights_are_left_alone() {
        for shape in [[0, 5], [5, 0], [0, 0]] {
            for init in [Init::PyTorch, Init::XavierNormal { gain: 1.0 }, Init::Zeros] {
                init.fill(ViewMut::new(&mut [], &shape).unwrap(), &mut seeded()).unwrap();
            }
        }
    }

    #[test]
    fn bad_numbers_are_refused_before_anything_is_written() {
        let refused = |init: Init, want: &str| {
            let (mut weight, mut rng) = ([7.0; 6], seeded());
            let error = init.fill(ViewMut::new(&mut weight, &[2, 3]).unwrap(), &mut rng).unwrap_err();
            assert_eq!(error.to_string(), want);
            let error = init.fill_bias(ViewMut::new(&mut weight, &[6]).unwrap(), 3, &mut rng).unwrap_err();
            assert_eq!((error.to_string().as_str(), weight), (want, [7.0; 6]));
            assert_eq!(rng.random::<u32>(), seeded().random::<u32>(), "{init:?} drew a number");
        };
        for gain in [-1.0, f32::INFINITY, f32::NAN, Nonlinearity::LeakyRelu { slope: f32::NAN }.gain()] {
            let want = format!("init: gain must be finite and at least 0, got {gain}");
            refused(Init::KaimingUniform { mode: Fan::In, gain }, &want);
            refused(Init::KaimingNormal { mode: Fan::Out, gain }, &want);
            refused(Init::XavierUniform { gain }, &want);
            refused(Init::XavierNormal { gain }, &want);
        }
        refused(Init::Uniform { low: f32::NAN, high: 1.0 }, "init: low must be finite, got NaN");
        refused(Init::Uniform { low: 0.0, high: f32::INFINITY }, "init: high must be finite, got inf");
        refused(Init::Uniform { low: -3e38, high: 3e38 }, "init: high - low must be finite, got inf");
        refused(Init::Uniform { low: 2.0, high: 1.0 }, "init: high must be at least `low`, got 1");
        refused(Init::Normal { mean: f32::NAN, std: 1.0 }, "init: mean must be finite, got NaN");
        refused(Init::Normal { mean: 0.0, std: -0.5 }, "init: std must be finite and at least 0, got -0.5");
        refused(Init::Constant { value: f32::NAN }, "init: value must be finite, got NaN");

        let mut weight = [7.0; 6];
        let error = Init::PyTorch.fill(ViewMut::new(&mut weight, &[6]).unwrap(), &mut seeded()).unwrap_err();
        assert_eq!(error.to_string(), "init: rank of the weight must be 2, got 1");
        assert_eq!(weight, [7.0; 6]);
    }
}
