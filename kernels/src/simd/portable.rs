//! Eight lanes through the `wide` crate, whose width is fixed when it is compiled: NEON on aarch64, SSE2 on x86,
//! simd128 on wasm. Only its lanes and arithmetic are used, none of its transcendental functions.
//!
//! Fused multiply-add exists on NEON; on SSE2 and simd128 it rounds twice.

use super::{Kernel, Simd};
use wide::{f32x8, i32x8, u32x8};

/// The portable tier; every CPU has it.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Portable {
    #[expect(clippy::unnecessary_wraps, reason = "the table of tiers asks the same of each")]
    pub(super) fn detect() -> Option<Self> {
        Some(Self)
    }
}

const LANES: usize = 8;

#[inline(always)]
fn floats(a: i32x8) -> f32x8 {
    f32x8::new(a.to_array().map(|x| f32::from_bits(x as u32)))
}

#[inline(always)]
fn ints(a: f32x8) -> i32x8 {
    i32x8::new(a.to_array().map(|x| x.to_bits() as i32))
}

/// Folds eight lanes by halves with `f(lower, upper)`.
#[inline(always)]
fn fold(a: f32x8, f: impl Fn(f32, f32) -> f32) -> f32 {
    let a = a.to_array();
    let b: [f32; 4] = [f(a[0], a[4]), f(a[1], a[5]), f(a[2], a[6]), f(a[3], a[7])];
    f(f(b[0], b[2]), f(b[1], b[3]))
}

impl Simd for Portable {
    const LANES: usize = LANES;
    const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));
    type F32 = f32x8;
    type Mask = f32x8;
    type U32 = u32x8;

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        #[inline(never)]
        fn shell<K: Kernel>(token: Portable, kernel: K) -> K::Output {
            kernel.run(token)
        }
        shell(self, kernel)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> f32x8 {
        f32x8::splat(x)
    }
    #[inline(always)]
    fn head(self, n: usize) -> f32x8 {
        let index = i32x8::new([0, 1, 2, 3, 4, 5, 6, 7]);
        floats(index.simd_lt(i32x8::splat(n.min(LANES) as i32)))
    }

    #[inline(always)]
    unsafe fn load(self, src: *const f32) -> f32x8 {
        // SAFETY: the caller gives eight readable floats.
        f32x8::new(unsafe { src.cast::<[f32; LANES]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, dst: *mut f32, x: f32x8) {
        // SAFETY: the caller gives eight writable floats.
        unsafe { dst.cast::<[f32; LANES]>().write_unaligned(x.to_array()) }
    }
    #[inline(always)]
    unsafe fn load_head(self, src: *const f32, n: usize) -> f32x8 {
        let mut lanes = [0.0; LANES];
        // SAFETY: the caller gives `n.min(LANES)` readable floats; the array holds `LANES`.
        unsafe { std::ptr::copy_nonoverlapping(src, lanes.as_mut_ptr(), n.min(LANES)) }
        f32x8::new(lanes)
    }
    #[inline(always)]
    unsafe fn store_head(self, dst: *mut f32, n: usize, x: f32x8) {
        let lanes = x.to_array();
        // SAFETY: the caller gives `n.min(LANES)` writable floats; the array holds `LANES`.
        unsafe { std::ptr::copy_nonoverlapping(lanes.as_ptr(), dst, n.min(LANES)) }
    }

    #[inline(always)]
    fn add(self, a: f32x8, b: f32x8) -> f32x8 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f32x8, b: f32x8) -> f32x8 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f32x8, b: f32x8) -> f32x8 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f32x8, b: f32x8) -> f32x8 {
        a / b
    }
    #[inline(always)]
    fn fma(self, a: f32x8, b: f32x8, c: f32x8) -> f32x8 {
        a.mul_add(b, c)
    }
    #[inline(always)]
    fn fnma(self, a: f32x8, b: f32x8, c: f32x8) -> f32x8 {
        a.mul_neg_add(b, c)
    }
    #[inline(always)]
    fn max(self, a: f32x8, b: f32x8) -> f32x8 {
        // Not `fast_max`: on NEON that returns NaN where the definition returns `b`.
        b.simd_lt(a).bitselect(a, b)
    }
    #[inline(always)]
    fn min(self, a: f32x8, b: f32x8) -> f32x8 {
        a.simd_lt(b).bitselect(a, b)
    }
    #[inline(always)]
    fn sqrt(self, a: f32x8) -> f32x8 {
        a.sqrt()
    }
    #[inline(always)]
    fn round(self, a: f32x8) -> f32x8 {
        // Adding 1.5·2^23 leaves no room for a fraction, so the sum is rounded to an integer, ties to even.
        let magic = f32x8::splat(12_582_912.0);
        self.copysign((a + magic) - magic, a)
    }
    #[inline(always)]
    fn abs(self, a: f32x8) -> f32x8 {
        a & floats(i32x8::splat(0x7fff_ffff))
    }
    #[inline(always)]
    fn copysign(self, a: f32x8, b: f32x8) -> f32x8 {
        floats(i32x8::splat(i32::MIN)).bitselect(b, a)
    }

    #[inline(always)]
    fn scale2(self, a: f32x8, n: f32x8) -> f32x8 {
        let exp2i = |n: i32x8| floats((n + i32x8::splat(127)) << 23);
        let whole = n.fast_round_int();
        let half: i32x8 = whole >> 1;
        // A NaN in `n` has no integer: it is added back.
        self.select(self.is_nan(n), n, a * exp2i(half) * exp2i(whole - half))
    }
    #[inline(always)]
    fn frexp(self, a: f32x8) -> (f32x8, f32x8) {
        let subnormal = a.simd_lt(f32x8::splat(f32::MIN_POSITIVE));
        let a = subnormal.bitselect(a * f32x8::splat(8_388_608.0), a);
        let bits = ints(a);
        let exponent: i32x8 = (bits - i32x8::splat(0x3f40_0000)) >> 23;
        let shift = subnormal & f32x8::splat(-23.0);
        (floats(bits - (exponent << 23)), f32x8::from_i32x8(exponent) + shift)
    }

    #[inline(always)]
    fn lt(self, a: f32x8, b: f32x8) -> f32x8 {
        a.simd_lt(b)
    }
    #[inline(always)]
    fn eq(self, a: f32x8, b: f32x8) -> f32x8 {
        a.simd_eq(b)
    }
    #[inline(always)]
    fn select(self, m: f32x8, t: f32x8, f: f32x8) -> f32x8 {
        m.bitselect(t, f)
    }
    #[inline(always)]
    fn not(self, m: f32x8) -> f32x8 {
        !m
    }
    #[inline(always)]
    fn any(self, m: f32x8) -> bool {
        m.any()
    }

    #[inline(always)]
    fn splat_u32(self, x: u32) -> u32x8 {
        u32x8::splat(x)
    }
    #[inline(always)]
    fn count_u32(self) -> u32x8 {
        u32x8::new([0, 1, 2, 3, 4, 5, 6, 7])
    }
    #[inline(always)]
    fn add_u32(self, a: u32x8, b: u32x8) -> u32x8 {
        a + b
    }
    #[inline(always)]
    fn xor_u32(self, a: u32x8, b: u32x8) -> u32x8 {
        a ^ b
    }
    #[inline(always)]
    fn rotate_u32<const N: i32>(self, a: u32x8) -> u32x8 {
        (a << N as u32) | (a >> (32 - N) as u32)
    }
    #[inline(always)]
    fn top24_u32(self, a: u32x8) -> f32x8 {
        let top: u32x8 = a >> 8_u32;
        f32x8::from_i32x8(i32x8::new(top.to_array().map(|x| x as i32)))
    }

    #[inline(always)]
    fn zip(self, a: f32x8, b: f32x8) -> (f32x8, f32x8) {
        let (a, b) = (a.to_array(), b.to_array());
        (
            f32x8::new([a[0], b[0], a[1], b[1], a[2], b[2], a[3], b[3]]),
            f32x8::new([a[4], b[4], a[5], b[5], a[6], b[6], a[7], b[7]]),
        )
    }
    #[inline(always)]
    fn fold_add(self, a: f32x8) -> f32 {
        fold(a, |x, y| x + y)
    }
    #[inline(always)]
    fn fold_max(self, a: f32x8) -> f32 {
        fold(a, |x, y| if x > y { x } else { y })
    }
}
