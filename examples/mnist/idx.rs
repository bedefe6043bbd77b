//! The images and labels of a directory, from files of the IDX format.

use crate::classifier::{CLASSES, Images};
use crate::format::{self, Error};
use crate::shared::Result;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The training images and the test images of a directory, with the names of MNIST.
pub(crate) fn read(dir: &Path) -> Result<[Images; 2]> {
    if !dir.is_dir() {
        return Err(format!("{} is not a directory", dir.display()).into());
    }
    let train = read_part(dir, "train")?;
    let test = read_part(dir, "t10k")?;
    if train.size != test.size {
        let (file, [train, test]) = (test.file.display(), [train.size, test.size].map(|[h, w]| format!("{h}x{w}")));
        return Err(format!("{file}: the images are {test}, those to learn from {train}").into());
    }
    Ok([train, test].map(|part| part.images))
}

struct Part {
    /// The file of the images.
    file: PathBuf,
    /// Rows and columns of an image.
    size: [usize; 2],
    images: Images,
}

fn read_part(dir: &Path, part: &str) -> Result<Part> {
    let images = Idx::<3>::read(dir, &format!("{part}-images-idx3-ubyte"))?;
    let labels = Idx::<1>::read(dir, &format!("{part}-labels-idx1-ubyte"))?;
    let ([count, rows, columns], [labelled]) = (images.shape, labels.shape);
    let file = labels.file.display();
    if labelled != count {
        return Err(format!("{file}: {labelled} labels for the {count} images of {}", images.file.display()).into());
    }
    if let Some(at) = labels.elements.iter().position(|&label| usize::from(label) >= CLASSES) {
        let label = labels.elements[at];
        return Err(format!("{file}: the label {label} of image {at} is not in 0..{CLASSES}").into());
    }
    Ok(Part { file: images.file, size: [rows, columns], images: Images::new(images.elements, labels.elements) })
}

/// An array of bytes.
struct Idx<const AXES: usize> {
    file: PathBuf,
    shape: [usize; AXES],
    elements: Vec<u8>,
}

impl<const AXES: usize> Idx<AXES> {
    /// Reads the file of this name or, if there is none, of this name and `.gz`.
    fn read(dir: &Path, name: &str) -> Result<Self> {
        let (file, mut reader) = open(dir, name)?;
        let place = file.display();
        let (shape, elements) = format::parse(&mut reader).map_err(|error| match error {
            Error::Format(what) => format!("{place}: {what}"),
            Error::Read(error) => format!("cannot read {place}: {error}"),
        })?;
        Ok(Self { file, shape, elements })
    }
}

/// Opens a file, decompressing it if it is compressed.
fn open(dir: &Path, name: &str) -> Result<(PathBuf, Box<dyn Read>)> {
    let plain = dir.join(name);
    let (path, file) = match File::open(&plain) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let path = dir.join(format!("{name}.gz"));
            let file = File::open(&path);
            (path, file)
        }
        file => (plain.clone(), file),
    };
    let cannot_read = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => format!("there is no {} or {name}.gz", plain.display()),
        _ => format!("cannot read {}: {error}", path.display()),
    };
    let reader = BufReader::with_capacity(1 << 16, file.map_err(cannot_read)?);
    let reader = format::unfolded(reader).map_err(cannot_read)?;
    Ok((path, reader))
}
