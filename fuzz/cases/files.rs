//! The files that the examples read, of any bytes: arrays of the IDX format, plain or compressed, and lists of words.
//!
//! The first byte says what the rest is taken for. An array is compared with what its header says, read in another way; of
//! words every one must come back from its tokens.

use std::io::{BufReader, Read};

#[allow(dead_code, reason = "a part of the example")]
#[path = "../../examples/mnist/format.rs"]
mod format;
#[allow(dead_code, reason = "a part of the example")]
#[path = "../../examples/makemore/words.rs"]
mod words;

pub(crate) fn check(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else { return };
    match kind % 5 {
        0 => array::<1>(rest),
        1 => array::<3>(rest),
        // A header of the right kind, so that the lengths are looked at.
        2 => array::<1>(&[&[0, 0, 8, 1], rest].concat()),
        3 => array::<3>(&[&[0, 0, 8, 3, 0, 0, 0, 1], rest].concat()),
        _ => lines(&String::from_utf8_lossy(rest)),
    }
}

/// What an array of so many axes must be: the lengths and the elements.
fn expected<const AXES: usize>(bytes: &[u8]) -> Option<(Vec<u64>, &[u8])> {
    let words: Vec<u64> =
        bytes.chunks_exact(4).map(|b| b.iter().fold(0, |word, &b| word << 8 | u64::from(b))).collect();
    let (&magic, lengths) = words.split_first()?;
    let lengths = lengths.get(..AXES)?;
    let elements = &bytes[4 + 4 * AXES..];
    let count = lengths.iter().fold(1_u128, |count, &length| count.saturating_mul(length.into()));
    let fits = (1..=format::MOST_BYTES as u128).contains(&count) && count == elements.len() as u128;
    (magic == 0x800 + AXES as u64 && fits).then(|| (lengths.to_vec(), elements))
}

fn array<const AXES: usize>(bytes: &[u8]) {
    // A few bytes of gzip unfold to a thousand times as many: enough is enough.
    let most = 1 << 20;
    let mut unfolded = Vec::new();
    let reader = format::unfolded(BufReader::new(bytes)).expect("bytes in memory can be read");
    let whole = reader.take(most).read_to_end(&mut unfolded).is_ok() && unfolded.len() < most as usize;
    let got = format::parse::<AXES>(format::unfolded(BufReader::new(bytes)).expect("as above"));
    if !whole {
        // What breaks off within its elements, or behind them, has no model; it must only not panic.
        return;
    }
    match (got, expected::<AXES>(&unfolded)) {
        (Ok((shape, elements)), Some((lengths, want))) => {
            assert_eq!(shape.map(|length| length as u64).to_vec(), lengths);
            assert_eq!(elements, want);
        }
        (Err(format::Error::Format(what)), None) => assert!(!what.is_empty()),
        (Err(format::Error::Read(error)), None) => assert!(!error.to_string().is_empty()),
        (Ok((shape, elements)), None) => panic!("{shape:?} of {} bytes was taken", elements.len()),
        (Err(error), Some((lengths, _))) => panic!("{lengths:?} was refused: {error:?}"),
    }
}

fn lines(text: &str) {
    let without_mark = text.strip_prefix('\u{feff}').unwrap_or(text);
    let want: Vec<&str> = without_mark.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let parsed = match words::Words::parse(text) {
        Ok(parsed) => parsed,
        Err(what) => {
            assert!(want.len() < 10, "{} words were refused: {what}", want.len());
            return;
        }
    };
    assert_eq!(parsed.words, want);
    let vocabulary = &parsed.vocabulary;
    let mut samples = 0;
    for word in &parsed.words {
        let tokens: Vec<i64> = vocabulary.tokens(word).collect();
        let (&end, tokens) = tokens.split_last().expect("a word has an end");
        assert_eq!(end, 0);
        let back: Option<String> = tokens.iter().map(|&token| vocabulary.char(token as usize)).collect();
        assert_eq!(back.as_deref(), Some(*word));
        samples += tokens.len() + 1;
    }
    assert_eq!(parsed.samples(), samples);
    let [val, test] = words::cuts(want.len());
    assert!(0 < val && val < test && test <= want.len(), "{} words in {val}, {test}", want.len());
    assert_eq!(vocabulary.texts().count(), vocabulary.len());
}
