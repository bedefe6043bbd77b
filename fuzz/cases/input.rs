//! What the targets' bodies share: reading an input, numbers drawn from a seed, what runs the kernels, equal bits.
#![allow(dead_code, reason = "no target needs all of it")]

use handgrad_kernels::{Exec, Isa};
use std::sync::OnceLock;

/// Bytes of the input, and zeros behind its end.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl Bytes<'_> {
    pub(crate) fn next(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    pub(crate) fn wide(&mut self) -> u16 {
        u16::from_le_bytes([self.next(), self.next()])
    }

    /// A number below `bound`, which is at most 256; 0 if it is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.next()) % bound.clamp(1, 256)
    }

    /// One of a few.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Whether the next byte is one of `share` in 256.
    pub(crate) fn seldom(&mut self, share: u8) -> bool {
        // Zeros stand behind the end of the input, and should be the ordinary case.
        self.next() > u8::MAX - share
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Bits from a seed: `SplitMix64` (Steele, Lea and Flood 2014).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream(pub(crate) u64);

impl Stream {
    pub(crate) fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 32) as u32
    }

    /// A number in -1..1.
    pub(crate) fn unit(&mut self) -> f32 {
        self.bits() as i32 as f32 / 2_f32.powi(31)
    }
}

/// Numbers at the edges of what there is.
pub(crate) const EDGES: [f32; 16] = [
    0.0,
    1.0,
    -1.0,
    0.5,
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    -0.0,
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    1e-40,
    1e30,
    -1e30,
    100.0,
    -100.0,
];

/// One thread.
pub(crate) fn serial() -> &'static Exec {
    static EXEC: OnceLock<Exec> = OnceLock::new();
    EXEC.get_or_init(|| Exec::serial().expect("no tier is asked for that the CPU lacks"))
}

/// Two threads that split whatever can be split.
pub(crate) fn split() -> &'static Exec {
    static EXEC: OnceLock<Exec> = OnceLock::new();
    EXEC.get_or_init(|| Exec::with_threads(2).expect("two threads can be had").with_min_piece(0))
}

/// The tiers with a fused multiply-add, which have the same bits.
pub(crate) fn fused() -> Vec<Isa> {
    Isa::available().filter(|isa| isa.is_fused()).collect()
}

/// Equal bits, where one NaN is as good as another.
pub(crate) fn same(x: &[f32], y: &[f32]) -> bool {
    let equal = |(x, y): (&f32, &f32)| x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan();
    x.len() == y.len() && x.iter().zip(y).all(equal)
}
