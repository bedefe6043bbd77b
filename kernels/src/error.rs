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

/// Checks the number of elements of a slice.
///
/// # Errors
/// [`ErrorKind::Length`] if it is another.
#[inline]
pub(crate) fn expect_len(op: &'static str, arg: &'static str, want: usize, got: usize) -> Result<()> {
    if want == got { Ok(()) } else { Err(ErrorKind::Length { op, arg, want, got }.into()) }
}

/// The place of the first value that is not in `0..bound`.
#[inline]
#[must_use]
pub fn first_outside(values: &[i64], bound: usize) -> Option<usize> {
    first_beyond(values, 0, bound)
}

/// The place of the first value that is not in `least..bound`; `least` is at most 0.
#[inline]
pub(crate) fn first_beyond(values: &[i64], least: i64, bound: usize) -> Option<usize> {
    debug_assert!(least <= 0);
    // A value is outside if the sign of its distance from the least is set or that of the distance from it to the last:
    // whole registers of them are looked at together, without a branch, since hardly ever one is outside. A distance
    // may overflow only where the value is inside or the other sign is set, so that none is missed.
    let last = (bound as i64).wrapping_sub(1);
    let signs = |signs, &value: &i64| signs | value.wrapping_sub(least) | last.wrapping_sub(value);
    if values.iter().fold(0, signs) >= 0 {
        return None;
    }
    values.iter().position(|&value| value < least || (value >= 0 && value as u64 >= bound as u64))
}

/// Checks that an index operand stays within `0..bound`.
///
/// # Errors
/// [`ErrorKind::Index`] for the first value outside.
#[inline]
pub(crate) fn expect_indices(op: &'static str, arg: &'static str, values: &[i64], bound: usize) -> Result<()> {
    match first_outside(values, bound) {
        None => Ok(()),
        Some(position) => Err(ErrorKind::Index { op, arg, position, value: values[position], bound }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_outside_is_found() {
        let bounds = [0, 1, 2, 27, 1 << 40, i64::MAX as usize];
        let near = |value: i64| [value.saturating_sub(1), value, value.saturating_add(1)];
        let least = [0, -1, -27, i64::MIN];
        let values: Vec<i64> = bounds.iter().map(|&bound| bound as i64).chain(least).flat_map(near).collect();
        for (bound, least) in bounds.into_iter().flat_map(|bound| least.map(|least| (bound, least))) {
            let inside = |value: i64| value >= least && value < bound as i64;
            for &value in &values {
                let found = first_beyond(&[value], least, bound);
                assert_eq!(found, (!inside(value)).then_some(0), "{value} of {least}..{bound}");
            }
            let mut many: Vec<i64> = values.iter().copied().filter(|&value| inside(value)).collect();
            assert_eq!(first_beyond(&many, least, bound), None, "{least}..{bound}");
            let place = many.len();
            many.extend(values.iter().filter(|&&value| !inside(value)));
            assert_eq!(first_beyond(&many, least, bound), (place < many.len()).then_some(place), "{least}..{bound}");
        }
        assert_eq!(first_outside(&[0, 3, 2, 4, -1, 4], 4), Some(3));
        assert_eq!(first_outside(&[0, 3, -1], 4), Some(2));
        assert_eq!(first_outside(&[], 0), None);
    }
}
