//! `docs/safety.md` against the sources: a file with `unsafe` that the document does not list with the right numbers, or
//! that it lists and that has none, fails. So does a lint that is off anywhere else.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// How many blocks, functions (declared or defined) and implementations are unsafe.
type Counts = [usize; 3];

/// Where the lint may be allowed: the fences, and the tests and benchmarks that the document names.
const ALLOWED: [&str; 9] = [
    "benches/report/ceiling.rs",
    "benches/report/stream.rs",
    "kernels/src/gemm/micro.rs",
    "kernels/src/lanes.rs",
    "kernels/src/simd/mod.rs",
    "kernels/src/view.rs",
    "kernels/tests/gemm.rs",
    "kernels/tests/products/counting.rs",
    "tests/allocations.rs",
];

/// A source without its comments and without what stands in its strings.
fn code(source: &str) -> String {
    let (mut code, mut rest) = (String::new(), source.chars().peekable());
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('/', Some('/')) => while rest.next_if(|&c| c != '\n').is_some() {},
            ('\'', Some('"')) => drop(rest.next()),
            ('"', _) => loop {
                match rest.next() {
                    Some('\\') => drop(rest.next()),
                    Some('"') | None => break,
                    Some(_) => {}
                }
            },
            _ => code.push(c),
        }
    }
    code
}

fn count(source: &str) -> Counts {
    let mut counts = [0; 3];
    let code = code(source);
    for (at, word) in code.match_indices("unsafe") {
        let part_of_a_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let (before, after) = (&code[..at], &code[at + word.len()..]);
        if part_of_a_word(before.chars().next_back()) || part_of_a_word(after.chars().next()) {
            continue;
        }
        let next = after.trim_start();
        let kind = [next.starts_with('{'), next.starts_with("fn "), next.starts_with("impl")];
        let kind = kind.iter().position(|&is| is).unwrap_or_else(|| panic!("`unsafe` of what? {next:.60}"));
        counts[kind] += 1;
    }
    counts
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

/// Every Rust source of the repository, by its path from there.
fn sources() -> BTreeMap<String, String> {
    fn walk(folder: &Path, root: &Path, sources: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                walk(&path, root, sources);
            } else if is_rust(&path) {
                let from_root = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                sources.insert(from_root, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let (root, mut sources) = (Path::new(env!("CARGO_MANIFEST_DIR")), BTreeMap::new());
    walk(root, root, &mut sources);
    sources
}

/// The rows of the document: `` | `file` | blocks | functions | implementations | …``.
fn documented(text: &str) -> BTreeMap<String, Counts> {
    let row = |line: &str| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let file = cells.next()?.strip_prefix('`')?.strip_suffix('`').filter(|file| is_rust(Path::new(file)))?;
        let numbers: Vec<usize> = cells.take(3).map(|cell| cell.parse().expect("a number of blocks")).collect();
        Some((file.to_owned(), numbers.try_into().expect("three numbers")))
    };
    text.lines().filter_map(row).collect()
}

/// Where the document and the sources disagree, with the rows as they should be.
fn disagreements(document: &BTreeMap<String, Counts>, sources: &BTreeMap<String, Counts>) -> Vec<String> {
    let files = document.keys().chain(sources.keys()).collect::<std::collections::BTreeSet<_>>();
    let none = [0; 3];
    let of = |counts: &BTreeMap<String, Counts>, file| counts.get(file).copied().unwrap_or(none);
    let wrong = files.into_iter().filter(|&file| of(document, file) != of(sources, file));
    wrong
        .map(|file| format!("{file}: {:?} in the document, {:?} there", of(document, file), of(sources, file)))
        .collect()
}

#[test]
fn every_unsafe_block_is_in_the_document() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/safety.md")).unwrap();
    let mut counts: BTreeMap<_, _> = sources().iter().map(|(file, source)| (file.clone(), count(source))).collect();
    assert!(counts.len() > 200, "{} sources were found", counts.len());
    counts.retain(|_, counts| *counts != [0; 3]);
    let wrong = disagreements(&documented(&text), &counts);
    assert!(wrong.is_empty(), "blocks, functions, implementations:\n{}", wrong.join("\n"));
}

#[test]
fn the_lint_is_off_in_the_fences_only() {
    let off = |source: &String| {
        let code = code(source);
        code.contains("allow(unsafe_code") || code.contains("expect(unsafe_code")
    };
    let files: Vec<String> = sources().into_iter().filter(|(_, source)| off(source)).map(|(file, _)| file).collect();
    assert_eq!(files, ALLOWED);
}

#[test]
fn a_wrong_number_is_found() {
    let source = "unsafe { a }\n// unsafe { b }\nlet c = \"unsafe { d }\\\"\"; unsafe_code(); unsafe fn e() {}\n\
                  unsafe impl F {} let g = '\"'; unsafe\n{ h }";
    assert_eq!(count(source), [2, 1, 1]);
    let rows = "| file | 1 |\n| `a.rs` | 2 | 0 | 1 | text |\n| `b.rs` | 1 | 0 | 0 |\n| `kernels/` | x |";
    let document = documented(rows);
    assert_eq!(document.len(), 2);
    let there = BTreeMap::from([("a.rs".to_owned(), [2, 0, 1]), ("c.rs".to_owned(), [0, 1, 0])]);
    let wrong = disagreements(&document, &there);
    assert_eq!(wrong.len(), 2);
    assert_eq!(wrong[0], "b.rs: [1, 0, 0] in the document, [0, 0, 0] there");
    assert_eq!(wrong[1], "c.rs: [0, 0, 0] in the document, [0, 1, 0] there");
}
