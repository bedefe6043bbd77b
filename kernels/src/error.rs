//! Errors that carry numbers: which operation, which argument, what was wanted, what came.

use std::fmt;

/// The most dimensions a view can have.
pub const MAX_RANK: usize = 8;

/// A shape in an error message: up to eight sizes, shown as `30x200`; the empty shape is `scalar`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Dims {
    rank: usize,
    sizes: [usize; MAX_RANK],
}

impl Dims {
    /// Copies `sizes`; anything past the eighth is cut off.
    #[must_use]
    pub fn new(sizes: &[usize]) -> Self {
        let rank = sizes.len().min(MAX_RANK);
        let mut copy = [0; MAX_RANK];
        copy[..rank].copy_from_slice(&sizes[..rank]);
        Self { rank, sizes: copy }
    }

    /// The sizes, outermost first.
    #[must_use]
    pub fn as_slice(&self) -> &[usize] {
        &self.sizes[..self.rank]
    }
}

impl From<&[usize]> for Dims {
    fn from(sizes: &[usize]) -> Self {
        Self::new(sizes)
    }
}

impl<const N: usize> From<[usize; N]> for Dims {
    fn from(sizes: [usize; N]) -> Self {
        Self::new(&sizes)
    }
}

impl fmt::Display for Dims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, rest)) = self.as_slice().split_first() else {
            return f.write_str("scalar");
        };
        write!(f, "{first}")?;
        rest.iter().try_for_each(|size| write!(f, "x{size}"))
    }
}

impl fmt::Debug for Dims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What was wrong with a call.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An operand has the wrong shape.
    #[error("{op}: `{arg}` must be {want}, got {got}")]
    Shape {
        /// The operation called.
        op: &'static str,
        /// The argument at fault.
        arg: &'static str,
        /// The shape the other arguments ask for.
        want: Dims,
        /// The shape that came.
        got: Dims,
    },
    /// A number is outside what the argument allows.
    #[error("{op}: `{arg}` must be {want}, got {got}")]
    Value {
        /// The operation called.
        op: &'static str,
        /// The argument at fault.
        arg: &'static str,
        /// What is allowed, in words.
        want: &'static str,
        /// The number that came.
        got: f64,
    },
    /// An index operand (a label, a token) holds a value outside its range.
    #[error("{op}: `{arg}` holds {value} at position {position}, must be in 0..{bound}")]
    Index {
        /// The operation called.
        op: &'static str,
        /// The argument at fault.
        arg: &'static str,
        /// Where in the operand, counted in logical order.
        position: usize,
        /// The value found there.
        value: i64,
        /// The first value that is too large.
        bound: usize,
    },
    /// A length is not the one wanted.
    #[error("{op}: `{arg}` must have {want} elements, got {got}")]
    Length {
        /// The operation called.
        op: &'static str,
        /// The argument at fault.
        arg: &'static str,
        /// Elements wanted.
        want: usize,
        /// Elements given.
        got: usize,
    },
    /// A view would reach outside its buffer, or its size overflows.
    #[error("{op}: a view of {shape} does not fit a buffer of {len} elements ({reason})")]
    Reach {
        /// The constructor called.
        op: &'static str,
        /// The shape asked for.
        shape: Dims,
        /// The buffer's length.
        len: usize,
        /// What goes wrong, in words.
        reason: &'static str,
    },
    /// An output view may overlap itself.
    #[error("{op}: the strides of an output of {shape} do not nest, so elements could overlap")]
    Overlap {
        /// The constructor called.
        op: &'static str,
        /// The shape asked for.
        shape: Dims,
    },
    /// The elements of a row are apart where the kernel wants them next to each other.
    #[error("{op}: the columns of `{arg}` must be adjacent (column stride 1), got column stride {got}")]
    Adjacent {
        /// The operation called.
        op: &'static str,
        /// The argument at fault.
        arg: &'static str,
        /// Its column stride.
        got: isize,
    },
    /// An axis is outside the rank, or named twice.
    #[error("{op}: axis {axis} is not valid for rank {rank} ({reason})")]
    Axis {
        /// The operation called.
        op: &'static str,
        /// The axis given; negative counts from the end.
        axis: isize,
        /// The rank of the operand.
        rank: usize,
        /// What goes wrong, in words.
        reason: &'static str,
    },
    /// The scratch buffer is too short.
    #[error("{op}: `scratch` must have at least {want} elements, got {got}")]
    Scratch {
        /// The operation called.
        op: &'static str,
        /// Elements needed.
        want: usize,
        /// Elements given.
        got: usize,
    },
    /// An instruction-set tier was asked for that does not exist or that the CPU lacks.
    #[error("instruction set `{name}`: {reason} (available: {available})")]
    Isa {
        /// The name given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
        /// The names that would work here.
        available: String,
    },
    /// A thread pool could not be built.
    #[error("thread pool of {threads}: {reason}")]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// What the pool's builder said.
        reason: String,
    },
}

/// The error of every function of this crate: one pointer wide, with the details in [`ErrorKind`].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<ErrorKind>);

impl Error {
    /// The details.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0
    }
}

impl From<ErrorKind> for Error {
    #[cold]
    fn from(kind: ErrorKind) -> Self {
        Self(Box::new(kind))
    }
}

/// The result of every function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Checks that `got` is the shape the other arguments ask for.
///
/// # Errors
/// [`ErrorKind::Shape`] if it is not.
#[inline(always)]
pub(crate) fn expect_shape(op: &'static str, arg: &'static str, want: &[usize], got: &[usize]) -> Result<()> {
    #[cold]
    fn fault(op: &'static str, arg: &'static str, want: &[usize], got: &[usize]) -> Error {
        ErrorKind::Shape { op, arg, want: want.into(), got: got.into() }.into()
    }
    if want == got { Ok(()) } else { Err(fault(op, arg, want, got)) }
}

/// Checks that scratch is long enough.
///
/// # Errors
/// [`ErrorKind::Scratch`] if it is not.
#[inline]
pub(crate) fn expect_scratch(op: &'static str, want: usize, got: usize) -> Result<()> {
    if got >= want { Ok(()) } else { Err(ErrorKind::Scratch { op, want, got }.into()) }
}

/// Checks that an index operand stays within `0..bound`.
///
/// # Errors
/// [`ErrorKind::Index`] for the first value outside.
#[inline]
pub(crate) fn expect_indices(op: &'static str, arg: &'static str, values: &[i64], bound: usize) -> Result<()> {
    // A value is outside if its own sign is set or that of its distance from the last place: whole registers of them
    // are looked at together, without a branch, since hardly ever one is outside.
    let last = (bound as i64).wrapping_sub(1);
    if values.iter().fold(0, |signs, &value| signs | value | last.wrapping_sub(value)) >= 0 {
        return Ok(());
    }
    let outside = |&value: &i64| value as u64 >= bound as u64;
    match values.iter().position(outside) {
        None => Ok(()),
        Some(position) => Err(ErrorKind::Index { op, arg, position, value: values[position], bound }.into()),
    }
}
