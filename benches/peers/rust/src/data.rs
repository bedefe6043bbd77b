//! The cases and their data, as `python/data.py` writes them.

use crate::Result;
use std::path::PathBuf;

/// Samples of a minibatch of the notebook.
pub(crate) const BATCH: usize = 32;
/// Characters before the one that is guessed.
pub(crate) const CONTEXT: usize = 3;
/// Characters, with the one that ends a name.
pub(crate) const VOCAB: usize = 27;
/// Numbers for a character.
pub(crate) const EMBEDDING: usize = 10;
/// Added to a variance.
pub(crate) const EPS: f32 = 1e-5;
/// Of `AdamW`.
pub(crate) const WEIGHT_DECAY: f32 = 0.01;

/// What is trained, or computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The notebook's network.
    Makemore,
    /// Labels, relu, SGD.
    Relu,
    /// Numbers, layer norm and gelu, `AdamW`.
    Gelu,
    /// Numbers, tanh, Adam.
    Tanh,
    /// An operation by its name.
    CrossEntropy,
    /// An operation by its name.
    LayerNormForward,
    /// An operation by its name.
    LayerNormBackward,
    /// An operation by its name.
    AdamW,
}

/// A case by its name; the sizes are those of `python/common.py`.
pub(crate) struct Case {
    directory: PathBuf,
    pub(crate) kind: Kind,
    /// Widths, from the features to the outputs.
    pub(crate) sizes: Vec<usize>,
    pub(crate) batch: usize,
}

impl Case {
    pub(crate) fn open(name: &str) -> Result<Self> {
        let directory = std::env::var_os("PEERS_DATA").ok_or("PEERS_DATA is not set")?;
        let directory = PathBuf::from(directory).join(name);
        let (kind, sizes, batch): (_, &[usize], _) = match name {
            "makemore_h64" => (Kind::Makemore, &[30, 64, 27], BATCH),
            "makemore_h200" => (Kind::Makemore, &[30, 200, 27], BATCH),
            "mnist_b128" => (Kind::Relu, &[784, 512, 512, 10], 128),
            "mnist_b1024" => (Kind::Relu, &[784, 512, 512, 10], 1024),
            "tabular_b4096" => (Kind::Gelu, &[256, 1024, 1024, 1024, 1], 4096),
            "tiny_b10000" => (Kind::Tanh, &[4, 32, 16, 4], 10_000),
            "cross_entropy_1024x1000" => (Kind::CrossEntropy, &[], 1024),
            "layer_norm_fwd_4096x1024" => (Kind::LayerNormForward, &[], 4096),
            "layer_norm_bwd_4096x1024" => (Kind::LayerNormBackward, &[], 4096),
            "adamw_10m" => (Kind::AdamW, &[], 1),
            _ => return Err(format!("no case {name}").into()),
        };
        Ok(Self { directory, kind, sizes: sizes.to_vec(), batch })
    }

    /// How many losses are compared.
    pub(crate) fn checked(&self) -> usize {
        if self.kind == Kind::Gelu { 3 } else { 10 }
    }

    /// The learning rate.
    pub(crate) fn lr(&self) -> f32 {
        match self.kind {
            Kind::Makemore => 0.1,
            Kind::Relu => 0.01,
            _ => 1e-3,
        }
    }

    fn words(&self, name: &str) -> Result<Vec<[u8; 4]>> {
        let path = self.directory.join(name);
        let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(bytes.as_chunks().0.to_vec())
    }

    /// Numbers.
    pub(crate) fn floats(&self, name: &str) -> Result<Vec<f32>> {
        Ok(self.words(name)?.into_iter().map(f32::from_le_bytes).collect())
    }

    /// Indices.
    pub(crate) fn indices(&self, name: &str) -> Result<Vec<i32>> {
        Ok(self.words(name)?.into_iter().map(i32::from_le_bytes).collect())
    }

    /// All samples of the notebook, and which of them each minibatch has.
    pub(crate) fn names(&self) -> Result<Names> {
        let (contexts, labels) = (self.indices("_contexts")?, self.indices("_labels")?);
        Ok(Names { contexts, labels, minibatches: self.indices("_minibatches")? })
    }

    /// The data of a network of numbers.
    pub(crate) fn table(&self) -> Result<Table> {
        let (x, labels, values) = match self.kind {
            Kind::Relu => (self.floats("_x")?, self.indices("_y")?.into_iter().map(i64::from).collect(), Vec::new()),
            _ => (self.floats("_x")?, Vec::new(), self.floats("_y")?),
        };
        let [features, outputs] = [self.sizes[0], self.sizes[self.sizes.len() - 1]];
        Ok(Table { batches: x.len() / features / self.batch, batch: self.batch, features, outputs, x, labels, values })
    }
}

/// The samples of the notebook.
pub(crate) struct Names {
    contexts: Vec<i32>,
    labels: Vec<i32>,
    minibatches: Vec<i32>,
}

impl Names {
    /// Copies the minibatch of a step.
    pub(crate) fn gather<T: From<i32>>(&self, number: usize, x: &mut [T], y: &mut [T]) {
        let minibatch = number % (self.minibatches.len() / BATCH);
        let rows = &self.minibatches[minibatch * BATCH..][..BATCH];
        for ((x, y), &row) in x.chunks_exact_mut(CONTEXT).zip(y).zip(rows) {
            let row = row as usize;
            for (x, &token) in x.iter_mut().zip(&self.contexts[row * CONTEXT..][..CONTEXT]) {
                *x = token.into();
            }
            *y = self.labels[row].into();
        }
    }
}

/// Samples of numbers, in batches that follow one another.
pub(crate) struct Table {
    pub(crate) batches: usize,
    batch: usize,
    features: usize,
    outputs: usize,
    x: Vec<f32>,
    labels: Vec<i64>,
    values: Vec<f32>,
}

impl Table {
    /// The batch of a step: its rows, and its labels or its values, whichever there are.
    pub(crate) fn batch(&self, number: usize) -> (&[f32], &[i64], &[f32]) {
        let first = number % self.batches * self.batch;
        let labels = self.labels.get(first..first + self.batch).unwrap_or(&[]);
        let values = self.values.get(first * self.outputs..(first + self.batch) * self.outputs).unwrap_or(&[]);
        (&self.x[first * self.features..(first + self.batch) * self.features], labels, values)
    }
}
