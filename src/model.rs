//! What a network is, as plain data, and every check of its sizes.

use crate::error::{Error, Result};
use crate::init::Init;
pub use handgrad_kernels::op::activation::Activation;
pub use handgrad_kernels::op::batch_norm::Variance;

/// A network: an input, layers in order, a loss.
///
/// ```
/// use handgrad::{Activation, BatchNorm, Input, Linear, Loss, Mlp};
/// let mlp = Mlp {
///     input: Input::Tokens { vocab: 27, context: 3, embedding: 10 },
///     layers: vec![
///         Linear::new(200).into(),
///         BatchNorm::default().into(),
///         Activation::Tanh.into(),
///         Linear::new(27).into(),
///     ],
///     loss: Loss::cross_entropy(),
/// };
/// assert_eq!(mlp.outputs()?, 27);
/// # Ok::<(), handgrad::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Mlp {
    /// What a sample is.
    pub input: Input,
    /// The layers, first to last. Parameters are named after their place here: `layers.0.weight`, and inside a
    /// [`Layer::Residual`] `layers.2.block.0.weight`.
    pub layers: Vec<Layer>,
    /// What is minimised.
    pub loss: Loss,
}

/// What a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// `context` tokens of a vocabulary, each looked up in a table `embedding.weight` of `vocab x embedding` and laid
    /// side by side.
    Tokens {
        /// Tokens are `0..vocab`.
        vocab: usize,
        /// Tokens in a sample.
        context: usize,
        /// Numbers for a token.
        embedding: usize,
    },
    /// A row of numbers.
    Dense {
        /// How many.
        features: usize,
    },
}

impl Input {
    /// The width of what the first layer is given.
    ///
    /// # Errors
    /// If a size is zero or the width overflows.
    pub fn width(self) -> Result<usize> {
        let positive = |field, got| {
            if got > 0 { Ok(got) } else { Err(size("input", field, "at least 1", got)) }
        };
        match self {
            Input::Dense { features } => positive("features", features),
            Input::Tokens { vocab, context, embedding } => {
                positive("vocab", vocab)?;
                positive("context", context)?.checked_mul(positive("embedding", embedding)?).ok_or(Error::TooLarge)
            }
        }
    }
}

/// One step from a sample to its outputs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Layer {
    /// `x·W + b`
    Linear(Linear),
    /// Normalisation over the batch.
    BatchNorm(BatchNorm),
    /// Normalisation of each sample by itself, to mean 0 and variance 1.
    LayerNorm(LayerNorm),
    /// Normalisation of each sample by itself, to a mean square of 1.
    RmsNorm(RmsNorm),
    /// A function of each number.
    Activation(Activation),
    /// In training, each number is zero with probability `p`, else divided by `1 - p`; in inference nothing happens. The
    /// zeros are the same for any number of threads: they follow from the seed, the number of forward passes so far, the
    /// place of the layer, and the row and the column.
    Dropout {
        /// From 0 to 1.
        p: f32,
    },
    /// `x + block(x)`; the block's outputs are as wide as its inputs.
    Residual(Vec<Layer>),
}

impl From<Activation> for Layer {
    fn from(activation: Activation) -> Self {
        Layer::Activation(activation)
    }
}

/// A linear layer. Its parameters are `weight` and, with a bias, `bias`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    /// The width of its output.
    pub outputs: usize,
    /// Whether a learned bias is added.
    pub bias: bool,
    /// What the parameters are to begin with.
    pub init: Init,
}

impl Linear {
    /// A layer with a bias and PyTorch's initial parameters.
    #[must_use]
    pub fn new(outputs: usize) -> Self {
        Self { outputs, bias: true, init: Init::default() }
    }

    /// The same without a bias.
    #[must_use]
    pub fn without_bias(self) -> Self {
        Self { bias: false, ..self }
    }

    /// The same with other initial parameters.
    #[must_use]
    pub fn with_init(self, init: Init) -> Self {
        Self { init, ..self }
    }
}

impl From<Linear> for Layer {
    fn from(layer: Linear) -> Self {
        Layer::Linear(layer)
    }
}

/// A batch normalisation. Its parameters are `weight` (the gain) and `bias`, its statistics `running_mean` and
/// `running_var`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance before its root.
    pub eps: f32,
    /// The share of each batch in the running statistics; with 0 they stay what they are.
    pub momentum: f32,
    /// What the sum of squares is divided by when a batch is normalised. The running variance is unbiased either way.
    pub variance: Variance,
}

impl Default for BatchNorm {
    /// PyTorch's choices.
    fn default() -> Self {
        Self { eps: 1e-5, momentum: 0.1, variance: Variance::Biased }
    }
}

impl From<BatchNorm> for Layer {
    fn from(layer: BatchNorm) -> Self {
        Layer::BatchNorm(layer)
    }
}

/// A layer normalisation. Its parameters, if it has them, are `weight` and `bias`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    /// Added to the variance before its root.
    pub eps: f32,
    /// Whether there is a learned weight for each column.
    pub weight: bool,
    /// Whether there is a learned bias for each column.
    pub bias: bool,
}

impl Default for LayerNorm {
    /// PyTorch's choices.
    fn default() -> Self {
        Self { eps: 1e-5, weight: true, bias: true }
    }
}

impl From<LayerNorm> for Layer {
    fn from(layer: LayerNorm) -> Self {
        Layer::LayerNorm(layer)
    }
}

/// An RMS normalisation. Its parameter, if it has one, is `weight`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsNorm {
    /// Added to the mean square before its root.
    pub eps: f32,
    /// Whether there is a learned weight for each column.
    pub weight: bool,
}

impl Default for RmsNorm {
    /// PyTorch's choices.
    fn default() -> Self {
        Self { eps: f32::EPSILON, weight: true }
    }
}

impl From<RmsNorm> for Layer {
    fn from(layer: RmsNorm) -> Self {
        Layer::RmsNorm(layer)
    }
}

/// What is minimised, as a mean over the batch.
///
/// With [weights of the samples](crate::Targets::weighted) it is the weighted mean: the sum of the weighted losses over the
/// sum of the weights.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Loss {
    /// Softmax cross-entropy of the outputs against a label, or probabilities, for each sample.
    CrossEntropy(CrossEntropy),
    /// The mean of the squared differences from the targets.
    Mse,
    /// The mean of the differences from the targets, without their signs.
    L1,
    /// Quadratic up to a difference of `delta`, linear beyond.
    Huber {
        /// Where the one becomes the other; positive.
        delta: f32,
    },
    /// As [`Huber`](Loss::Huber), divided by `beta`.
    SmoothL1 {
        /// Where the one becomes the other; at least 0.
        beta: f32,
    },
    /// Binary cross-entropy of the sigmoid of each output against a target from 0 to 1.
    BceWithLogits(BceWithLogits),
}

/// Choices of a cross-entropy; the default has none of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CrossEntropy {
    /// From 0 to 1: the share of each target that is spread evenly over the classes.
    pub label_smoothing: f32,
    /// A weight for each class, or none. The mean divides by the sum of the weights of the labels, as in PyTorch.
    pub class_weights: Vec<f32>,
    /// Samples with this label do not count.
    pub ignore_index: Option<i64>,
}

/// Choices of a binary cross-entropy; the default has none of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BceWithLogits {
    /// What a positive target counts for, one weight for each output, or none.
    pub pos_weight: Vec<f32>,
}

impl Loss {
    /// Plain cross-entropy.
    #[must_use]
    pub fn cross_entropy() -> Self {
        Loss::CrossEntropy(CrossEntropy::default())
    }

    /// Plain binary cross-entropy.
    #[must_use]
    pub fn bce_with_logits() -> Self {
        Loss::BceWithLogits(BceWithLogits::default())
    }

    /// Checks it for a number of outputs.
    fn check(&self, outputs: usize) -> Result<()> {
        let weights = |field, weights: &[f32]| {
            if !weights.is_empty() && weights.len() != outputs {
                return Err(size("loss", field, "none, or one for each output", weights.len()));
            }
            match weights.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0)) {
                Some(&weight) => Err(number("loss", field, "finite and at least 0", weight)),
                None => Ok(()),
            }
        };
        match self {
            Loss::Mse | Loss::L1 => Ok(()),
            Loss::CrossEntropy(CrossEntropy { label_smoothing, class_weights, .. }) => {
                if !(0.0..=1.0).contains(label_smoothing) {
                    return Err(number("loss", "label_smoothing", "between 0 and 1", *label_smoothing));
                }
                weights("class_weights", class_weights)
            }
            Loss::BceWithLogits(BceWithLogits { pos_weight }) => weights("pos_weight", pos_weight),
            Loss::Huber { delta } if *delta > 0.0 && delta.is_finite() => Ok(()),
            Loss::Huber { delta } => Err(number("loss", "delta", "finite and positive", *delta)),
            Loss::SmoothL1 { beta } if *beta >= 0.0 && beta.is_finite() => Ok(()),
            Loss::SmoothL1 { beta } => Err(number("loss", "beta", "finite and at least 0", *beta)),
        }
    }
}

impl Mlp {
    /// Checks every size and number, and returns the width of the outputs.
    ///
    /// # Errors
    /// Names the place and the field at fault.
    pub fn outputs(&self) -> Result<usize> {
        let outputs = through(&self.layers, "layers", self.input.width()?)?;
        self.loss.check(outputs)?;
        Ok(outputs)
    }
}

/// The width of what comes out of some layers; `place` is where they stand.
fn through(layers: &[Layer], place: &str, mut width: usize) -> Result<usize> {
    for (i, layer) in layers.iter().enumerate() {
        let place = || format!("{place}[{i}]");
        let finite = |field, want, value: f32, least: f32| {
            if value.is_finite() && value >= least { Ok(()) } else { Err(number(&place(), field, want, value)) }
        };
        let eps = |eps| finite("eps", "finite and at least 0", eps, 0.0);
        match *layer {
            Layer::Linear(Linear { outputs: 0, .. }) => return Err(size(&place(), "outputs", "at least 1", 0)),
            Layer::Linear(Linear { outputs, init, .. }) => {
                init.check(&place())?;
                width = outputs;
            }
            Layer::BatchNorm(BatchNorm { eps: value, momentum, .. }) => {
                eps(value)?;
                if !(0.0..=1.0).contains(&momentum) {
                    return Err(number(&place(), "momentum", "between 0 and 1", momentum));
                }
            }
            Layer::LayerNorm(LayerNorm { eps: value, .. }) | Layer::RmsNorm(RmsNorm { eps: value, .. }) => eps(value)?,
            Layer::Dropout { p } if !(0.0..=1.0).contains(&p) => {
                return Err(number(&place(), "p", "between 0 and 1", p));
            }
            Layer::Dropout { .. } => {}
            Layer::Activation(activation) => {
                let any = f32::NEG_INFINITY;
                match activation {
                    Activation::LeakyRelu { slope } => finite("slope", "finite", slope, any)?,
                    Activation::Elu { alpha } => finite("alpha", "finite", alpha, any)?,
                    Activation::Softplus { beta, threshold } => {
                        finite("beta", "finite and positive", beta, f32::MIN_POSITIVE)?;
                        finite("threshold", "finite", threshold, any)?;
                    }
                    Activation::Hardtanh { low, high } if low.is_nan() || high.is_nan() || low > high => {
                        return Err(number(&place(), "low", "at most `high`", low));
                    }
                    _ => {}
                }
            }
            Layer::Residual(ref block) => {
                let outputs = through(block, &format!("{}.block", place()), width)?;
                if outputs != width {
                    let want = "such that the block gives as many numbers as it takes";
                    return Err(size(&place(), "outputs", want, outputs));
                }
            }
        }
    }
    Ok(width)
}

pub(crate) fn size(place: &str, field: &'static str, want: &'static str, got: usize) -> Error {
    Error::Size { place: place.to_owned(), field, want, got }
}

pub(crate) fn number(place: &str, field: &'static str, want: &'static str, got: f32) -> Error {
    Error::Number { place: place.to_owned(), field, want, got: got.into() }
}
