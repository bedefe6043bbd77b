//! Values that are the same in every run and on every machine.

/// The `SplitMix64` generator.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number in `0..n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// One of `values`.
    pub(crate) fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    /// An untidy value in `[-1, 1)`, with all its bits in use.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / 8_388_608.0 - 1.0
    }

    /// A value in `[-1, 1)` times a power of two in `2^-8..=2^8`, so that the order of a sum shows in its bits.
    pub(crate) fn uneven(&mut self) -> f32 {
        let exponent = self.below(17) as i32 - 8;
        self.unit() * (exponent as f32).exp2()
    }

    /// An integer in `-4..=4`.
    pub(crate) fn integer(&mut self) -> f32 {
        self.below(9) as f32 - 4.0
    }
}
