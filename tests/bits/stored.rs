//! The file of hashes.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What to do about other bits.
pub(crate) const ADVICE: &str = "If bits were to change, HANDGRAD_BLESS=1 cargo test --release --test bits writes the \
     hashes anew; say so in the changelog";

/// A hash for each name.
#[derive(Debug, PartialEq)]
pub(crate) struct Hashes(BTreeMap<String, u64>);

impl FromIterator<(String, u64)> for Hashes {
    fn from_iter<I: IntoIterator<Item = (String, u64)>>(hashes: I) -> Self {
        let mut all = BTreeMap::new();
        for (name, hash) in hashes {
            assert!(all.insert(name.clone(), hash).is_none(), "two cases are called {name}");
        }
        Self(all)
    }
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bits/hashes.txt")
}

impl Hashes {
    pub(crate) fn read() -> Self {
        let text = std::fs::read_to_string(path()).unwrap_or_else(|e| panic!("{}: {e}", path().display()));
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (name, hash) = line.split_once(' ')?;
            Some((name.to_owned(), u64::from_str_radix(hash, 16).ok()?))
        };
        text.lines().map(|text| line(text).unwrap_or_else(|| panic!("`{text}` is no name and hash"))).collect()
    }

    fn text(&self) -> String {
        let lines: Vec<_> = self.0.iter().map(|(name, hash)| format!("{name} {hash:016x}")).collect();
        lines.join("\n") + "\n"
    }

    pub(crate) fn write(&self) {
        std::fs::write(path(), self.text()).unwrap_or_else(|e| panic!("{}: {e}", path().display()));
        println!("bits: {} hashes written to {}", self.0.len(), path().display());
    }

    pub(crate) fn compare(&self, name: &str, hash: u64) -> Result<(), String> {
        match self.0.get(name) {
            Some(&stored) if stored == hash => Ok(()),
            Some(stored) => Err(format!("{name}: {hash:016x}, stored is {stored:016x}")),
            None => Err(format!("{name}: {hash:016x}, none is stored")),
        }
    }

    /// Whether these names have hashes and no others.
    pub(crate) fn has_exactly<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<(), String> {
        let names: Vec<_> = names.collect();
        let missing: Vec<_> = names.iter().copied().filter(|&name| !self.0.contains_key(name)).collect();
        let left: Vec<_> = self.0.keys().map(String::as_str).filter(|name| !names.contains(name)).collect();
        if missing.is_empty() && left.is_empty() {
            return Ok(());
        }
        Err(format!("without a hash: {missing:?}; without a case: {left:?}. {ADVICE}"))
    }
}

#[test]
fn the_file_keeps_every_hash() {
    let hashes: Hashes = [("b/x".to_owned(), 1), ("a".to_owned(), u64::MAX)].into_iter().collect();
    assert_eq!(hashes.text(), "a ffffffffffffffff\nb/x 0000000000000001\n");
    assert_eq!(Hashes::parse(&hashes.text()), hashes);
    assert_eq!(hashes.has_exactly(["a", "b/x"].into_iter()), Ok(()));
    assert!(hashes.has_exactly(["a"].into_iter()).unwrap_err().contains("without a case: [\"b/x\"]"));
    assert!(hashes.has_exactly(["a", "b/x", "c"].into_iter()).unwrap_err().contains("without a hash: [\"c\"]"));
    assert_eq!(hashes.compare("b/x", 1), Ok(()));
    assert!(hashes.compare("b/x", 2).unwrap_err().contains("b/x"));
    assert!(hashes.compare("c", 2).is_err());
}
