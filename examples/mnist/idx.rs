//! Files of the IDX format, plain or compressed with gzip: two bytes 0, the type of the elements, the number of axes,
//! the length of each axis in four bytes, most significant first, and then the elements, row by row.

use crate::classifier::{CLASSES, Images};
use crate::shared::Result;
use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The type of elements that are bytes.
const BYTES: u32 = 8;

/// Bytes that a file may unfold to, more than ten times those of MNIST.
const MOST_BYTES: usize = 1 << 30;

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
    /// Reads the file of this name or, if there is none, of this name and `.gz`. No more memory is taken than there are
    /// elements, whatever the header says.
    fn read(dir: &Path, name: &str) -> Result<Self> {
        let (file, mut reader) = open(dir, name)?;
        let place = file.display();
        let mut word = || {
            let mut bytes = [0; 4];
            reader.read_exact(&mut bytes).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => format!("{place}: ends within its header"),
                _ => format!("cannot read {place}: {error}"),
            })?;
            Ok::<_, String>(u32::from_be_bytes(bytes))
        };
        let (magic, want) = (word()?, BYTES << 8 | AXES as u32);
        if magic != want {
            return Err(format!("{place}: begins with {magic:#010x}, not with {want:#010x}").into());
        }
        let mut shape = [0; AXES];
        for length in &mut shape {
            *length = usize::try_from(word()?)?;
        }
        let sizes = shape.map(|length| length.to_string()).join("x");
        let len = shape.iter().try_fold(1_usize, |len, &length| len.checked_mul(length));
        let len = match len {
            Some(0) => return Err(format!("{place}: there is nothing in it, its size is {sizes}").into()),
            Some(len @ ..=MOST_BYTES) => len,
            _ => return Err(format!("{place}: its size is {sizes}, {MOST_BYTES} bytes are the most").into()),
        };
        let mut elements = Vec::new();
        match reader.take(len as u64 + 1).read_to_end(&mut elements) {
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
                return Err(format!("cannot read {place}: {error}").into());
            }
            _ if elements.len() < len => {
                let message = format!("{place}: ends after {} of the {len} bytes of {sizes}", elements.len());
                return Err(message.into());
            }
            _ if elements.len() > len => {
                return Err(format!("{place}: goes on after the {len} bytes of {sizes}").into());
            }
            _ => {}
        }
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
    let mut reader = BufReader::with_capacity(1 << 16, file.map_err(cannot_read)?);
    let compressed = reader.fill_buf().map_err(cannot_read)?.starts_with(&[0x1f, 0x8b]);
    let reader: Box<dyn Read> = if compressed { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) };
    Ok((path, reader))
}
