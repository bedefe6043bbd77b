//! The IDX format, plain or compressed with gzip: two bytes 0, the type of the elements, the number of axes, the length
//! of each axis in four bytes, most significant first, and then the elements, row by row.

use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufRead, ErrorKind, Read};

/// The type of elements that are bytes.
const BYTES: u32 = 8;

/// Bytes that a file may unfold to, more than ten times those of MNIST.
pub(crate) const MOST_BYTES: usize = 1 << 30;

/// Why there is no array.
#[derive(Debug)]
pub(crate) enum Error {
    /// What is wrong with the bytes.
    Format(String),
    /// They could not be read.
    Read(io::Error),
}

/// What a file holds, decompressed if it is compressed.
pub(crate) fn unfolded<'a>(mut reader: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let compressed = reader.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if compressed { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) })
}

/// The lengths of the axes, and the elements, which are bytes. No more memory is taken than there are elements, whatever
/// the header says.
pub(crate) fn parse<const AXES: usize>(mut reader: impl Read) -> Result<([usize; AXES], Vec<u8>), Error> {
    let mut word = || {
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => Error::Format("ends within its header".to_owned()),
            _ => Error::Read(error),
        })?;
        Ok::<_, Error>(u32::from_be_bytes(bytes))
    };
    let (magic, want) = (word()?, BYTES << 8 | AXES as u32);
    if magic != want {
        return Err(Error::Format(format!("begins with {magic:#010x}, not with {want:#010x}")));
    }
    let mut shape = [0; AXES];
    for length in &mut shape {
        *length = word()? as usize;
    }
    let sizes = shape.map(|length| length.to_string()).join("x");
    let len = shape.iter().try_fold(1_usize, |len, &length| len.checked_mul(length));
    let len = match len {
        Some(0) => return Err(Error::Format(format!("there is nothing in it, its size is {sizes}"))),
        Some(len @ ..=MOST_BYTES) => len,
        _ => return Err(Error::Format(format!("its size is {sizes}, {MOST_BYTES} bytes are the most"))),
    };
    let mut elements = Vec::new();
    match reader.take(len as u64 + 1).read_to_end(&mut elements) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
            return Err(Error::Read(error));
        }
        _ if elements.len() < len => {
            return Err(Error::Format(format!("ends after {} of the {len} bytes of {sizes}", elements.len())));
        }
        _ if elements.len() > len => {
            return Err(Error::Format(format!("goes on after the {len} bytes of {sizes}")));
        }
        _ => {}
    }
    Ok((shape, elements))
}
