//! The notebook's `cmp`: each value beside PyTorch's.

use crate::common::compare::{Tolerance, within};
use crate::common::golden::{self, Golden};
use std::fmt::Write as _;

/// The exercises' minibatches, each in float32 and in float64.
pub(crate) fn exercises() -> Vec<(Golden, Golden)> {
    let paths = golden::files("notebook", "exercise_", "_f64.safetensors");
    let pair = |path: &std::path::PathBuf| {
        let single = golden::name(path).replace("_f64.", "_f32.");
        (Golden::open(&path.with_file_name(single)), Golden::open(path))
    };
    paths.iter().map(pair).collect()
}

/// The line that ends a set of cases.
pub(crate) fn summary(set: &str, cases: usize, failures: &[String]) -> String {
    let failed = failures.len();
    format!("{set}: {cases} cases, {} passed, {failed} failed, 0 unsupported", cases.saturating_sub(failed))
}

/// A table of comparisons.
pub(crate) struct Cmp<'a> {
    title: String,
    single: &'a Golden,
    double: &'a Golden,
    table: String,
    names: Vec<String>,
    failures: Vec<String>,
}

impl<'a> Cmp<'a> {
    pub(crate) fn new(title: String, single: &'a Golden, double: &'a Golden) -> Self {
        let table = format!("{:15} | {:5} | {:11} | maxdiff\n", "name", "exact", "approximate");
        Self { title, single, double, table, names: Vec::new(), failures: Vec::new() }
    }

    /// What has been compared so far.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Compares a value of the forward pass; no case of its own.
    pub(crate) fn value(&mut self, name: &str, got: &[f32]) {
        let close = within(&self.double.shape(name), got, &self.double.f64(name), Tolerance::ALLCLOSE);
        self.failures.extend(close.err().map(|wrong| format!("{name}, forward: {wrong}")));
    }

    /// Compares the gradient of a value: exactly with PyTorch's float32, approximately and by the largest difference
    /// with its float64.
    pub(crate) fn gradient(&mut self, name: &str, got: &[f32]) {
        let tensor = &format!("d{name}");
        let want = self.double.f64(tensor);
        let single = self.single.f32(tensor);
        let exact = got.len() == single.len() && got.iter().zip(&single).all(|(a, b)| a.to_bits() == b.to_bits());
        let close = within(&self.double.shape(tensor), got, &want, Tolerance::ALLCLOSE);
        let maxdiff = got.iter().zip(&want).map(|(&a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max);
        writeln!(self.table, "{name:15} | {exact:5} | {:11} | {maxdiff:e}", close.is_ok()).unwrap();
        self.names.push(name.to_owned());
        self.failures.extend(close.err().map(|wrong| format!("{name}: {wrong}")));
    }

    /// Prints the table and its summary.
    ///
    /// # Errors
    /// If any value was not approximately PyTorch's.
    pub(crate) fn finish(self) -> Result<(), String> {
        let Self { title, table, names, failures, .. } = self;
        println!("{title}\n{table}{}\n", summary(&title, names.len(), &failures));
        if failures.is_empty() { Ok(()) } else { Err(format!("{title}\n{}", failures.join("\n"))) }
    }
}
