//! Words, the alphabet they are written in, and the samples they are cut into.

use crate::Result;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use std::borrow::Cow;
use std::collections::BTreeSet;
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

/// The characters of the words. Token 0 stands for both ends of a word and is no character; the others are the
/// characters in order, so that a full stop in a word is one like any other.
pub(crate) struct Vocabulary(Vec<char>);

impl Vocabulary {
    /// Tokens, the end included.
    pub(crate) fn len(&self) -> usize {
        self.0.len() + 1
    }

    /// The text of each token; that of the end is empty.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> {
        std::iter::once(String::new()).chain(self.0.iter().map(char::to_string))
    }

    /// The character of a token; the end has none.
    pub(crate) fn char(&self, token: usize) -> Option<char> {
        self.0.get(token.checked_sub(1)?).copied()
    }

    /// The tokens of a word and the end behind it.
    fn tokens(&self, word: &str) -> impl Iterator<Item = i64> {
        let token = |c| self.0.binary_search(&c).expect("the vocabulary was made from these words") as i64 + 1;
        word.chars().map(token).chain(std::iter::once(0))
    }
}

/// The words of a text, in its order and with its repetitions.
pub(crate) struct Words<'a> {
    words: Vec<&'a str>,
    vocabulary: Vocabulary,
}

impl<'a> Words<'a> {
    /// Takes one word a line, without the white space around it; empty lines say nothing.
    pub(crate) fn parse(text: &'a str) -> Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let words: Vec<_> = text.lines().map(str::trim).filter(|word| !word.is_empty()).collect();
        if words.is_empty() {
            return Err("there are no words in it".into());
        }
        let chars: BTreeSet<char> = words.iter().flat_map(|word| word.chars()).collect();
        let [val, test] = cuts(words.len());
        if val == 0 || val == test {
            return Err(format!("{} words are too few to split 80/10/10", words.len()).into());
        }
        Ok(Self { words, vocabulary: Vocabulary(chars.into_iter().collect()) })
    }

    pub(crate) fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Samples in all words together.
    pub(crate) fn samples(&self) -> usize {
        self.words.iter().map(|word| word.chars().count() + 1).sum()
    }
}

/// Where the validation and the test words begin.
fn cuts(words: usize) -> [usize; 2] {
    [0.8, 0.9].map(|share| (words as f64 * share) as usize)
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
