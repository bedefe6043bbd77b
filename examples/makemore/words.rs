//! A text taken for words, and the alphabet they are written in.

use std::collections::BTreeSet;

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
    pub(crate) fn tokens(&self, word: &str) -> impl Iterator<Item = i64> {
        let token = |c| self.0.binary_search(&c).expect("the vocabulary was made from these words") as i64 + 1;
        word.chars().map(token).chain(std::iter::once(0))
    }
}

/// The words of a text, in its order and with its repetitions.
pub(crate) struct Words<'a> {
    pub(crate) words: Vec<&'a str>,
    pub(crate) vocabulary: Vocabulary,
}

impl<'a> Words<'a> {
    /// Takes one word a line, without the white space around it; empty lines say nothing.
    pub(crate) fn parse(text: &'a str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let words: Vec<_> = text.lines().map(str::trim).filter(|word| !word.is_empty()).collect();
        if words.is_empty() {
            return Err("there are no words in it".to_owned());
        }
        let chars: BTreeSet<char> = words.iter().flat_map(|word| word.chars()).collect();
        let [val, test] = cuts(words.len());
        if val == 0 || val == test {
            return Err(format!("{} words are too few to split 80/10/10", words.len()));
        }
        Ok(Self { words, vocabulary: Vocabulary(chars.into_iter().collect()) })
    }

    /// Samples in all words together.
    pub(crate) fn samples(&self) -> usize {
        self.words.iter().map(|word| word.chars().count() + 1).sum()
    }
}

/// Where the validation and the test words begin.
pub(crate) fn cuts(words: usize) -> [usize; 2] {
    [0.8, 0.9].map(|share| (words as f64 * share) as usize)
}
