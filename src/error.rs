//! What can be wrong with a model, a batch or a question about them.

/// The error of every function of this crate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A kernel refused its operands.
    #[error(transparent)]
    Kernel(#[from] handgrad_kernels::Error),
    /// A size in a model or its options is not possible.
    #[error("{place}: {field} must be {want}, got {got}")]
    Size {
        /// Where in the description, such as `layers[2]`.
        place: String,
        /// The field at fault.
        field: &'static str,
        /// What is allowed, in words.
        want: &'static str,
        /// What came.
        got: usize,
    },
    /// A number in a model or its options is not possible.
    #[error("{place}: {field} must be {want}, got {got}")]
    Number {
        /// Where in the description, such as `layers[2]`.
        place: String,
        /// The field at fault.
        field: &'static str,
        /// What is allowed, in words.
        want: &'static str,
        /// What came.
        got: f64,
    },
    /// The network is too large for this machine to address, or to find room for.
    #[error("the network needs more memory than there is")]
    TooLarge,
    /// A batch does not fit the model.
    #[error("batch: {what} must be {want}, got {got}")]
    Batch {
        /// The part of the batch at fault.
        what: &'static str,
        /// What the model wants.
        want: String,
        /// What came.
        got: String,
    },
    /// A token or a label is out of range.
    #[error("batch: {what} {value} of sample {sample} must be in 0..{bound}")]
    Index {
        /// `token` or `label`.
        what: &'static str,
        /// The sample, counted from 0.
        sample: usize,
        /// The value found there.
        value: i64,
        /// The first value that is too large.
        bound: usize,
    },
    /// There is no tensor of this name.
    #[error("no tensor is called `{name}`; there are: {known}")]
    UnknownTensor {
        /// The name asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// A checkpoint cannot be read or written.
    #[error("{place}: {what}")]
    Checkpoint {
        /// The file, or `checkpoint` for bytes.
        place: String,
        /// What is wrong, with the name of the tensor at fault.
        what: String,
    },
    /// A step was stopped because a number in it is not finite, as the options of the trainer ask for.
    #[error("the step was stopped before the update: {tensor} is not finite")]
    NotFinite {
        /// The first tensor that is not, in the order of the passes: `input`, the output of a layer, the loss, or the
        /// gradient of a parameter.
        tensor: String,
    },
    /// Something was asked for that is not there now.
    #[error("{what} not available: {reason}")]
    NotAvailable {
        /// What was asked for.
        what: &'static str,
        /// Why it is not there, and what to call for it.
        reason: &'static str,
    },
}

impl Error {
    /// The same error of a checkpoint, with the file it is in.
    pub(crate) fn in_file(self, path: &std::path::Path) -> Self {
        match self {
            Error::Checkpoint { what, .. } => Error::Checkpoint { place: path.display().to_string(), what },
            other => other,
        }
    }
}

/// The result of every function of this crate.
pub type Result<T> = std::result::Result<T, Error>;
