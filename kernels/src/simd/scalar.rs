//! One lane of plain Rust: the meaning of every method, and the tier the others are compared with.

use super::{Kernel, Simd};

/// The scalar tier; every CPU has it.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

impl Scalar {
    #[expect(clippy::unnecessary_wraps, reason = "the table of tiers asks the same of each")]
    pub(super) fn detect() -> Option<Self> {
        Some(Self)
    }
}

/// `2^n` for `n` in the normal range of exponents.
fn exp2i(n: i32) -> f32 {
    f32::from_bits(((n + 127) << 23) as u32)
}

impl Simd for Scalar {
    const LANES: usize = 1;
    type F32 = f32;
    type Mask = bool;
    type U32 = u32;

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        #[inline(never)]
        fn shell<K: Kernel>(token: Scalar, kernel: K) -> K::Output {
            kernel.run(token)
        }
        shell(self, kernel)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn head(self, n: usize) -> bool {
        n > 0
    }

    #[inline(always)]
    unsafe fn load(self, src: *const f32) -> f32 {
        // SAFETY: the caller gives one readable float.
        unsafe { src.read() }
    }
    #[inline(always)]
    unsafe fn store(self, dst: *mut f32, x: f32) {
        // SAFETY: the caller gives one writable float.
        unsafe { dst.write(x) }
    }
    #[inline(always)]
    unsafe fn load_head(self, src: *const f32, n: usize) -> f32 {
        // SAFETY: read only if the caller gives a readable float.
        if n == 0 { 0.0 } else { unsafe { src.read() } }
    }
    #[inline(always)]
    unsafe fn store_head(self, dst: *mut f32, n: usize, x: f32) {
        if n > 0 {
            // SAFETY: the caller gives one writable float.
            unsafe { dst.write(x) }
        }
    }

    #[inline(always)]
    fn add(self, a: f32, b: f32) -> f32 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f32, b: f32) -> f32 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f32, b: f32) -> f32 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f32, b: f32) -> f32 {
        a / b
    }
    #[inline(always)]
    fn fma(self, a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
    #[inline(always)]
    fn fnma(self, a: f32, b: f32, c: f32) -> f32 {
        (-a).mul_add(b, c)
    }
    #[inline(always)]
    fn max(self, a: f32, b: f32) -> f32 {
        if a > b { a } else { b }
    }
    #[inline(always)]
    fn min(self, a: f32, b: f32) -> f32 {
        if a < b { a } else { b }
    }
    #[inline(always)]
    fn sqrt(self, a: f32) -> f32 {
        a.sqrt()
    }
    #[inline(always)]
    fn round(self, a: f32) -> f32 {
        a.round_ties_even()
    }
    #[inline(always)]
    fn abs(self, a: f32) -> f32 {
        a.abs()
    }
    #[inline(always)]
    fn copysign(self, a: f32, b: f32) -> f32 {
        a.copysign(b)
    }

    #[inline(always)]
    fn scale2(self, a: f32, n: f32) -> f32 {
        if n.is_nan() {
            return n;
        }
        // Two factors in the normal range: the first product is exact, so the value is rounded once.
        let n = n as i32;
        let half = n >> 1;
        a * exp2i(half) * exp2i(n - half)
    }
    #[inline(always)]
    fn frexp(self, a: f32) -> (f32, f32) {
        let subnormal = a < f32::MIN_POSITIVE;
        let (a, shift) = if subnormal { (a * 8_388_608.0, -23.0) } else { (a, 0.0) };
        let bits = a.to_bits() as i32;
        let exponent = bits.wrapping_sub(0x3f40_0000) >> 23;
        (f32::from_bits(bits.wrapping_sub(exponent << 23) as u32), exponent as f32 + shift)
    }

    #[inline(always)]
    fn lt(self, a: f32, b: f32) -> bool {
        a < b
    }
    #[inline(always)]
    fn eq(self, a: f32, b: f32) -> bool {
        a == b
    }
    #[inline(always)]
    fn select(self, m: bool, t: f32, f: f32) -> f32 {
        if m { t } else { f }
    }
    #[inline(always)]
    fn not(self, m: bool) -> bool {
        !m
    }
    #[inline(always)]
    fn any(self, m: bool) -> bool {
        m
    }

    #[inline(always)]
    fn splat_u32(self, x: u32) -> u32 {
        x
    }
    #[inline(always)]
    fn count_u32(self) -> u32 {
        0
    }
    #[inline(always)]
    fn add_u32(self, a: u32, b: u32) -> u32 {
        a.wrapping_add(b)
    }
    #[inline(always)]
    fn xor_u32(self, a: u32, b: u32) -> u32 {
        a ^ b
    }
    #[inline(always)]
    fn rotate_u32<const N: i32>(self, a: u32) -> u32 {
        a.rotate_left(N as u32)
    }
    #[inline(always)]
    fn top24_u32(self, a: u32) -> f32 {
        (a >> 8) as f32
    }

    #[inline(always)]
    fn zip(self, a: f32, b: f32) -> (f32, f32) {
        (a, b)
    }
    #[inline(always)]
    fn fold_add(self, a: f32) -> f32 {
        a
    }
    #[inline(always)]
    fn fold_max(self, a: f32) -> f32 {
        a
    }
}
