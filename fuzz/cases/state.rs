//! All that a trainer holds, to be compared.

use handgrad::{Contents, Notes, Trainer};
use safetensors::SafeTensors;
use std::collections::BTreeMap;

/// What a checkpoint has, and what stands of the last batch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    /// The metadata.
    pub(crate) about: BTreeMap<String, String>,
    /// The tensors, as words of four bytes.
    pub(crate) tensors: BTreeMap<String, (Vec<usize>, Vec<u32>)>,
    outputs: Option<Vec<u32>>,
    grads: Option<Vec<u32>>,
}

impl State {
    pub(crate) fn of(trainer: &Trainer) -> Self {
        let bytes = trainer.to_safetensors(Contents::Everything, &Notes::new()).expect("there is room");
        let bits = |x: &f32| x.to_bits();
        Self {
            outputs: trainer.outputs().ok().map(|y| {
                (0..y.rows())
                    .flat_map(|i| (0..y.cols()).map(move |j| (i, j)))
                    .map(|(i, j)| bits(&y.get(i, j).unwrap()))
                    .collect()
            }),
            grads: trainer.grads().ok().map(|grads| grads.iter().map(bits).collect()),
            ..Self::read(&bytes).expect("what was written can be read")
        }
    }

    /// What a file holds.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (_, metadata) = SafeTensors::read_metadata(bytes).ok()?;
        let file = SafeTensors::deserialize(bytes).ok()?;
        let words = |data: &[u8]| data.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
        let tensors = file.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), words(view.data()))));
        let about = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
        Some(Self { about, tensors: tensors.collect(), outputs: None, grads: None })
    }

    /// What a run goes on from, where one NaN is as good as another.
    pub(crate) fn run(mut self) -> Self {
        let (nan, canonical) = (|word: u32| f32::from_bits(word).is_nan(), f32::NAN.to_bits());
        let words = self.tensors.values_mut().flat_map(|(_, words)| words);
        words.filter(|word| nan(**word)).for_each(|word| *word = canonical);
        (self.outputs, self.grads) = (None, None);
        self
    }
}
