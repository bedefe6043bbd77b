//! The samples that words are cut into.

use crate::Result;
use crate::words::{Vocabulary, Words, cuts};
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use std::borrow::Cow;
use std::path::Path;

/// Given names of the United States, as described in `data/README.md`.
const NAMES: &str = include_str!("../../data/names.txt");

/// The notebook's `random.seed(42)`.
const SPLIT_SEED: u64 = 42;

/// The text of a file, or of the names that are built in.
pub(crate) fn read(file: Option<&Path>) -> Result<Cow<'static, str>> {
    let Some(file) = file else { return Ok(NAMES.into()) };
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    Ok(text.into())
}

/// What messages call the data.
pub(crate) fn name(file: Option<&Path>) -> String {
    file.map_or_else(|| "the built-in names".to_owned(), |file| file.display().to_string())
}

/// Windows of tokens and the token that follows each.
pub(crate) struct Samples {
    context: usize,
    /// `samples x context`
    pub(crate) tokens: Vec<i64>,
    pub(crate) labels: Vec<i64>,
}

impl Samples {
    /// Slides a window over each word, beginning with nothing but ends.
    fn cut(words: &[&str], vocabulary: &Vocabulary, context: usize) -> Self {
        let samples = words.iter().map(|word| word.chars().count() + 1).sum();
        let (mut tokens, mut labels) = (Vec::with_capacity(samples * context), Vec::with_capacity(samples));
        for word in words {
            let mut window = vec![0; context];
            for label in vocabulary.tokens(word) {
                tokens.extend_from_slice(&window);
                labels.push(label);
                window.rotate_left(1);
                window[context - 1] = label;
            }
        }
        Self { context, tokens, labels }
    }

    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// Fills a minibatch with samples drawn with replacement.
    pub(crate) fn draw(&self, tokens: &mut [i64], labels: &mut [i64], rng: &mut ChaCha8Rng) {
        for (window, label) in tokens.chunks_exact_mut(self.context).zip(labels) {
            let at = rng.random_range(0..self.len());
            window.copy_from_slice(&self.tokens[at * self.context..][..self.context]);
            *label = self.labels[at];
        }
    }
}

/// The samples to learn from, to tune by and to judge by.
pub(crate) struct Dataset {
    pub(crate) vocabulary: Vocabulary,
    pub(crate) train: Samples,
    pub(crate) val: Samples,
    pub(crate) test: Samples,
    /// Characters in the longest word.
    pub(crate) longest: usize,
}

impl Dataset {
    /// Shuffles the words, splits them 80/10/10 and cuts each part into samples. As in the notebook the same words are
    /// always split the same way, so that runs with different seeds can be compared: which words are held out
    /// moves the validation loss more than everything else that is random.
    pub(crate) fn split(words: Words<'_>, context: usize) -> Self {
        let Words { mut words, vocabulary } = words;
        let longest = words.iter().map(|word| word.chars().count()).max().unwrap_or(0);
        words.shuffle(&mut ChaCha8Rng::seed_from_u64(SPLIT_SEED));
        let [val, test] = cuts(words.len());
        let part = |words| Samples::cut(words, &vocabulary, context);
        let (train, val, test) = (part(&words[..val]), part(&words[val..test]), part(&words[test..]));
        Self { vocabulary, train, val, test, longest }
    }
}
