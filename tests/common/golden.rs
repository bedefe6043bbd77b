//! The golden files: tensors that PyTorch computed.

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::path::{Path, PathBuf};

/// The directory of golden files: `tests/golden`, or what `HANDGRAD_GOLDEN` names.
pub(crate) fn directory() -> PathBuf {
    std::env::var_os("HANDGRAD_GOLDEN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"), PathBuf::from)
}

/// The files of a set whose names begin and end as given, in order.
///
/// # Panics
/// If there is none.
pub(crate) fn files(set: &str, begin: &str, end: &str) -> Vec<PathBuf> {
    let directory = directory().join(set);
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| name(path).starts_with(begin) && name(path).ends_with(end));
    paths.sort();
    assert!(!paths.is_empty(), "{} holds no {begin}*{end}", directory.display());
    paths
}

/// The last part of a path.
pub(crate) fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("golden files have names in UTF-8")
}

/// The tensors of one file.
pub(crate) struct Golden {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Golden {
    pub(crate) fn open(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { path: path.to_owned(), bytes }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap_or_else(|e| panic!("{}: {e}", self.path.display()))
    }

    fn with<R>(&self, name: &str, f: impl FnOnce(&TensorView<'_>) -> R) -> R {
        let tensors = self.tensors();
        f(&tensors.tensor(name).unwrap_or_else(|e| panic!("{}: `{name}`: {e}", self.path.display())))
    }

    fn wrong_type(&self, name: &str, got: Dtype, want: &str) -> ! {
        panic!("{}: `{name}` holds {got:?}, wanted {want}", self.path.display())
    }

    /// The names of all tensors, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.tensors().names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    }

    pub(crate) fn shape(&self, name: &str) -> Vec<usize> {
        self.with(name, |tensor| tensor.shape().to_vec())
    }

    #[expect(clippy::redundant_closure_for_method_calls, reason = "the method itself is of one lifetime")]
    pub(crate) fn dtype(&self, name: &str) -> Dtype {
        self.with(name, |tensor| tensor.dtype())
    }

    /// The sizes of a tensor of `N` axes.
    pub(crate) fn sizes<const N: usize>(&self, name: &str) -> [usize; N] {
        let shape = self.shape(name);
        shape.as_slice().try_into().unwrap_or_else(|_| panic!("`{name}` has shape {shape:?}, wanted {N} axes"))
    }

    /// A tensor of f32.
    pub(crate) fn f32(&self, name: &str) -> Vec<f32> {
        self.with(name, |tensor| match tensor.dtype() {
            Dtype::F32 => elements(tensor.data(), f32::from_le_bytes),
            got => self.wrong_type(name, got, "f32"),
        })
    }

    /// A tensor of f32 or f64.
    pub(crate) fn f64(&self, name: &str) -> Vec<f64> {
        self.with(name, |tensor| match tensor.dtype() {
            Dtype::F64 => elements(tensor.data(), f64::from_le_bytes),
            Dtype::F32 => elements(tensor.data(), |bytes| f32::from_le_bytes(bytes).into()),
            got => self.wrong_type(name, got, "f32 or f64"),
        })
    }

    /// A tensor of 32 or 64-bit integers.
    pub(crate) fn i64(&self, name: &str) -> Vec<i64> {
        self.with(name, |tensor| match tensor.dtype() {
            Dtype::I64 => elements(tensor.data(), i64::from_le_bytes),
            Dtype::I32 => elements(tensor.data(), |bytes| i32::from_le_bytes(bytes).into()),
            got => self.wrong_type(name, got, "i32 or i64"),
        })
    }
}

fn elements<const N: usize, T>(data: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, rest) = data.as_chunks::<N>();
    assert!(rest.is_empty());
    chunks.iter().map(|&bytes| read(bytes)).collect()
}
