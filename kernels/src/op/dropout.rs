//! Dropout: `y = x·m`, where `m` is 0 with probability `p` and `1/(1 - p)` else, so that the mean of `y` is `x`.
//!
//! A training step drops other elements each time, and a layer that cannot rely on any one of its inputs learns to use
//! all of them. When the network is used there is no dropout, and nothing is scaled. `dy/dx = m`, so backward is the
//! same function: `dx = dy·m`, with the mask of the forward pass.
//!
//! The mask is not stored. `m` is a function of the key, the row and the column alone: the counter `(row, column)` goes
//! through Threefry, and of its first word the upper 24 bits, a number in `0..2^24`, are compared with `p·2^24` rounded
//! to an integer: the element is dropped if they are less. So the mask is the same on every tier and any number of
//! threads, for any strides, and again in the backward pass. Rows and columns count modulo 2^32.
//!
//! A dropped element is `x·0`: NaN and infinities become NaN and not 0. `p = 0` changes no bit, `p = 1` drops all.
//!
//! Source: Srivastava et al. 2014; `torch.nn.functional.dropout`, whose masks are others.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::op::dropout::{self, Config, Key};
//! use handgrad_kernels::view::{Mat, MatMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let (config, key) = (Config { p: 0.5 }, Key::new(42, 0, 1));
//! let (x, dy) = ([1.0; 64], [3.0; 64]);
//! let (mut y, mut dx) = ([f32::NAN; 64], [f32::NAN; 64]);
//! dropout::forward(&exec, MatMut::new(&mut y, 4, 16)?, Mat::new(&x, 4, 16)?, config, key)?;
//! dropout::backward(&exec, MatMut::new(&mut dx, 4, 16)?, Mat::new(&dy, 4, 16)?, config, key)?;
//! // What was dropped gets no gradient; what was not is doubled both ways.
//! assert!(y.iter().zip(&dx).all(|pair| pair == (&0.0, &0.0) || pair == (&2.0, &6.0)));
//! # Ok(())
//! # }
//! ```

use crate::error::{ErrorKind, Result};
use crate::exec::{Axis, BlockKernel, Exec};
use crate::lanes::{self, Placed};
use crate::math::{threefry2x32, threefry2x32_one};
use crate::simd::Simd;
use crate::view::{Mat, MatMut};

/// Choices of a dropout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// The probability with which an element is dropped, in `0..=1`.
    pub p: f32,
}

impl Default for Config {
    fn default() -> Self {
        Self { p: 0.5 }
    }
}

/// What chooses the mask of one call; the backward pass takes the key of the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key([u32; 2]);

impl Key {
    /// The key of a layer in a step of a run: `layer` encrypted with the key that `step` encrypted with `seed` is.
    #[must_use]
    pub fn new(seed: u64, step: u64, layer: u64) -> Self {
        let words = |x: u64| [x as u32, (x >> 32) as u32];
        let key = threefry2x32_one(words(seed), words(step));
        Self(threefry2x32_one(key, words(layer)))
    }
}

/// `y = x·m`, element by element; shapes are equal, strides any.
///
/// # Errors
/// If the shapes differ, or `p` is not in `0..=1`.
pub fn forward(exec: &Exec, y: MatMut<'_>, x: Mat<'_>, config: Config, key: Key) -> Result<()> {
    const OP: &str = "dropout::forward";
    y.expect_size(OP, "y", x.rows(), x.cols())?;
    apply(OP, exec, y, x, config, key)
}

/// `dx = dy·m`, element by element, with the mask that [`forward`] has for the same `config` and `key`; shapes are
/// equal, strides any.
///
/// # Errors
/// As [`forward`].
pub fn backward(exec: &Exec, dx: MatMut<'_>, dy: Mat<'_>, config: Config, key: Key) -> Result<()> {
    const OP: &str = "dropout::backward";
    dx.expect_size(OP, "dx", dy.rows(), dy.cols())?;
    apply(OP, exec, dx, dy, config, key)
}

fn apply(op: &'static str, exec: &Exec, y: MatMut<'_>, x: Mat<'_>, config: Config, key: Key) -> Result<()> {
    let Config { p } = config;
    if !(0.0..=1.0).contains(&p) {
        return Err(ErrorKind::Value { op, arg: "p", want: "in 0..=1", got: p.into() }.into());
    }
    let kept = (1.0 / (1.0 - f64::from(p))) as f32;
    let mask = Mask { key, threshold: (p * STEPS).round(), kept };
    let nanoseconds = x.rows().saturating_mul(x.cols()) / 2;
    exec.blocks(nanoseconds, Axis::Rows, 1, [y], [x], mask);
    Ok(())
}

/// The numbers that a probability is compared with.
const STEPS: f32 = 16_777_216.0;

/// `x·m` by its definition, for the element of a row and a column.
#[must_use]
pub fn reference(x: f64, row: usize, col: usize, config: Config, key: Key) -> f64 {
    let [word, _] = threefry2x32_one(key.0, [row as u32, col as u32]);
    let p = f64::from(config.p);
    if f64::from(word >> 8) < (p * f64::from(STEPS)).round() { x * 0.0 } else { x / (1.0 - p) }
}

/// `x·m`.
#[derive(Clone, Copy)]
struct Mask {
    key: Key,
    /// An integer: numbers below it drop their element.
    threshold: f32,
    /// What the others are multiplied by.
    kept: f32,
}

impl Placed for Mask {
    #[inline(always)]
    fn eval<S: Simd, const K: usize>(self, s: S, row: u32, cols: [S::U32; K], x: [S::F32; K]) -> [S::F32; K] {
        let [words, _] = threefry2x32(s, self.key.0, [[s.splat_u32(row); K], cols]);
        let mut y = x;
        for (y, word) in y.iter_mut().zip(words) {
            let is_dropped = s.lt(s.top24_u32(word), s.splat(self.threshold));
            *y = s.mul(*y, s.select(is_dropped, s.zero(), s.splat(self.kept)));
        }
        y
    }
}

impl BlockKernel<1, 1> for Mask {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, start: usize, [y]: [MatMut<'_>; 1], [x]: [Mat<'_>; 1]) {
        lanes::map_placed(s, start, y, x, self);
    }
}
