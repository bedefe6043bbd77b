//! What a network is, as plain data, and every check of its sizes.

use crate::error::{Error, Result};
pub use handgrad_kernels::op::batch_norm::Variance;

/// A network: an input, layers in order, a loss.
///
/// ```
/// use handgrad::{BatchNorm, Input, Layer, Linear, Loss, Mlp};
/// let mlp = Mlp {
///     input: Input::Tokens { vocab: 27, context: 3, embedding: 10 },
///     layers: vec![
///         Linear::new(200).into(),
///         BatchNorm::default().into(),
///         Layer::Tanh,
///         Linear::new(27).into(),
///     ],
///     loss: Loss::CrossEntropy,
/// };
/// assert_eq!(mlp.outputs()?, 27);
/// # Ok::<(), handgrad::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Mlp {
    /// What a sample is.
    pub input: Input,
    /// The layers, first to last. Parameters are named after their place here: `layers.0.weight`.
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
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Layer {
    /// `x·W + b`
    Linear(Linear),
    /// Normalisation over the batch.
    BatchNorm(BatchNorm),
    /// `tanh x`
    Tanh,
    /// `1/(1 + e^-x)`
    Sigmoid,
}

/// A linear layer. Its parameters are `weight` and, with a bias, `bias`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// The width of its output.
    pub outputs: usize,
    /// Whether a learned bias is added.
    pub bias: bool,
}

impl Linear {
    /// A layer with a bias.
    #[must_use]
    pub fn new(outputs: usize) -> Self {
        Self { outputs, bias: true }
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

/// What is minimised, as a mean over the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// Softmax cross-entropy of the outputs against a label for each sample.
    CrossEntropy,
}

impl Mlp {
    /// Checks every size and number, and returns the width of the outputs.
    ///
    /// # Errors
    /// Names the place and the field at fault.
    pub fn outputs(&self) -> Result<usize> {
        let mut width = self.input.width()?;
        for (i, layer) in self.layers.iter().enumerate() {
            match *layer {
                Layer::Linear(Linear { outputs: 0, .. }) => {
                    return Err(size(&format!("layers[{i}]"), "outputs", "at least 1", 0));
                }
                Layer::Linear(Linear { outputs, .. }) => width = outputs,
                Layer::BatchNorm(BatchNorm { eps, momentum, .. }) => {
                    let place = || format!("layers[{i}]");
                    if !(eps >= 0.0 && eps.is_finite()) {
                        return Err(number(place(), "eps", "finite and at least 0", eps));
                    }
                    if !(0.0..=1.0).contains(&momentum) {
                        return Err(number(place(), "momentum", "between 0 and 1", momentum));
                    }
                }
                Layer::Tanh | Layer::Sigmoid => {}
            }
        }
        Ok(width)
    }
}

pub(crate) fn size(place: &str, field: &'static str, want: &'static str, got: usize) -> Error {
    Error::Size { place: place.to_owned(), field, want, got }
}

pub(crate) fn number(place: String, field: &'static str, want: &'static str, got: f32) -> Error {
    Error::Number { place, field, want, got: got.into() }
}
