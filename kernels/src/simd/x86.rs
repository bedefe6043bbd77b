//! AVX2 with FMA (eight lanes) and AVX-512 (sixteen), from `std::arch`.

use super::{Kernel, Simd};
#[allow(clippy::wildcard_imports, reason = "the names are the instruction set's")]
use std::arch::x86_64::*;

/// Calls intrinsics that need the features of the token in scope.
macro_rules! intrinsics {
    ($($body:tt)*) => {
        // SAFETY: `self` is a token, made only in `detect` after the CPU was seen to have every feature of its tier
        // and the operating system to save the registers; the intrinsics take values, not pointers.
        unsafe { $($body)* }
    };
}

/// Methods that are one intrinsic.
macro_rules! one_intrinsic {
    ($vector:ty; $($name:ident($($arg:ident),+) = $intrinsic:path;)*) => {
        $(#[inline(always)]
        fn $name(self, $($arg: $vector),+) -> $vector {
            intrinsics!($intrinsic($($arg),+))
        })*
    };
}

/// The sum or maximum of four lanes, folding halves.
macro_rules! fold4 {
    ($x:expr, $two:ident, $one:ident) => {{
        let x = $x;
        let x = $two(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32($one(x, _mm_shuffle_ps::<1>(x, x)))
    }};
}

/// Four registers of eight lanes folded together: halves, then pairs, then neighbours.
macro_rules! fold4x8 {
    ($x:expr, $op:ident) => {{
        // The second and third change places, for the shuffle within 128 bits puts them so.
        let [a, c, b, d] = $x;
        let ab = $op(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b));
        let cd = $op(_mm256_permute2f128_ps::<0x20>(c, d), _mm256_permute2f128_ps::<0x31>(c, d));
        let pairs = $op(_mm256_shuffle_ps::<0b01_00_01_00>(ab, cd), _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd));
        $op(_mm256_moveldup_ps(pairs), _mm256_movehdup_ps(pairs))
    }};
}

/// Four registers of sixteen lanes folded together: halves, quarters, then within each quarter.
macro_rules! fold4x16 {
    ($x:expr, $op:ident) => {{
        let [a, b, c, d] = $x;
        let ab = $op(_mm512_shuffle_f32x4::<0b01_00_01_00>(a, b), _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b));
        let cd = $op(_mm512_shuffle_f32x4::<0b01_00_01_00>(c, d), _mm512_shuffle_f32x4::<0b11_10_11_10>(c, d));
        let four = $op(_mm512_shuffle_f32x4::<0b10_00_10_00>(ab, cd), _mm512_shuffle_f32x4::<0b11_01_11_01>(ab, cd));
        let two = $op(four, _mm512_permute_ps::<0b01_00_11_10>(four));
        $op(_mm512_moveldup_ps(two), _mm512_movehdup_ps(two))
    }};
}

/// AVX2 with FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }
}

/// The bit that holds the sign.
const SIGN: f32 = -0.0;

/// A window of eight into this, starting at `8 - n`, has its first `n` lanes set.
static HEADS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

impl Simd for Avx2 {
    const LANES: usize = 8;
    type F32 = __m256;
    type Mask = __m256;
    type U32 = __m256i;

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        #[inline(never)]
        #[target_feature(enable = "avx2,fma")]
        fn shell<K: Kernel>(token: Avx2, kernel: K) -> K::Output {
            kernel.run(token)
        }
        // SAFETY: the token proves that the CPU has AVX2 and FMA.
        unsafe { shell(self, kernel) }
    }

    one_intrinsic! { __m256;
        add(a, b) = _mm256_add_ps;
        sub(a, b) = _mm256_sub_ps;
        mul(a, b) = _mm256_mul_ps;
        div(a, b) = _mm256_div_ps;
        fma(a, b, c) = _mm256_fmadd_ps;
        fnma(a, b, c) = _mm256_fnmadd_ps;
        max(a, b) = _mm256_max_ps;
        min(a, b) = _mm256_min_ps;
        sqrt(a) = _mm256_sqrt_ps;
        round(a) = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>;
        lt(a, b) = _mm256_cmp_ps::<_CMP_LT_OQ>;
        eq(a, b) = _mm256_cmp_ps::<_CMP_EQ_OQ>;
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        intrinsics!(_mm256_set1_ps(x))
    }
    #[inline(always)]
    fn head(self, n: usize) -> __m256 {
        let window = &HEADS[8 - n.min(8)..][..8];
        // SAFETY: the token proves the features; `window` is eight readable integers.
        unsafe { _mm256_castsi256_ps(_mm256_loadu_si256(window.as_ptr().cast())) }
    }

    #[inline(always)]
    unsafe fn load(self, src: *const f32) -> __m256 {
        // SAFETY: the token proves the features; the caller gives eight readable floats.
        unsafe { _mm256_loadu_ps(src) }
    }
    #[inline(always)]
    unsafe fn store(self, dst: *mut f32, x: __m256) {
        // SAFETY: the token proves the features; the caller gives eight writable floats.
        unsafe { _mm256_storeu_ps(dst, x) }
    }
    #[inline(always)]
    unsafe fn store_past(self, dst: *mut f32, x: __m256) {
        // SAFETY: the token proves the features; the caller gives eight writable floats, aligned.
        unsafe { _mm256_stream_ps(dst, x) }
    }
    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        intrinsics!(_mm_prefetch::<_MM_HINT_T0>(at.cast()));
    }
    #[inline(always)]
    fn fence(self) {
        intrinsics!(_mm_sfence());
    }
    #[inline(always)]
    unsafe fn load_head(self, src: *const f32, n: usize) -> __m256 {
        // SAFETY: the token proves the features; a masked load touches only the lanes of its mask, which the caller
        // gives as readable. Masks are slow here, so a full register does without.
        unsafe {
            if n >= 8 { _mm256_loadu_ps(src) } else { _mm256_maskload_ps(src, _mm256_castps_si256(self.head(n))) }
        }
    }
    #[inline(always)]
    unsafe fn store_head(self, dst: *mut f32, n: usize, x: __m256) {
        // SAFETY: the token proves the features; a masked store touches only the lanes of its mask, which the caller
        // gives as writable. Masks are slow here, so a full register does without.
        unsafe {
            if n >= 8 {
                _mm256_storeu_ps(dst, x);
            } else {
                _mm256_maskstore_ps(dst, _mm256_castps_si256(self.head(n)), x);
            }
        }
    }

    #[inline(always)]
    fn abs(self, a: __m256) -> __m256 {
        intrinsics!(_mm256_andnot_ps(_mm256_set1_ps(SIGN), a))
    }
    #[inline(always)]
    fn copysign(self, a: __m256, b: __m256) -> __m256 {
        intrinsics! {
            let sign = _mm256_set1_ps(SIGN);
            _mm256_or_ps(_mm256_andnot_ps(sign, a), _mm256_and_ps(sign, b))
        }
    }

    #[inline(always)]
    fn scale2(self, a: __m256, n: __m256) -> __m256 {
        intrinsics! {
            // Two factors in the normal range, so that the value is rounded once. A NaN in `n` has no integer: the
            // last step adds it back through `n - n`, which is zero for every other `n`.
            let whole = _mm256_cvtps_epi32(n);
            let half = _mm256_srai_epi32::<1>(whole);
            let bias = _mm256_set1_epi32(127);
            let first = _mm256_slli_epi32::<23>(_mm256_add_epi32(half, bias));
            let second = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias));
            let scaled = _mm256_mul_ps(a, _mm256_castsi256_ps(first));
            let scaled = _mm256_mul_ps(scaled, _mm256_castsi256_ps(second));
            _mm256_blendv_ps(scaled, n, _mm256_cmp_ps::<_CMP_UNORD_Q>(n, n))
        }
    }
    #[inline(always)]
    fn frexp(self, a: __m256) -> (__m256, __m256) {
        intrinsics! {
            let subnormal = _mm256_cmp_ps::<_CMP_LT_OQ>(a, _mm256_set1_ps(f32::MIN_POSITIVE));
            let a = _mm256_blendv_ps(a, _mm256_mul_ps(a, _mm256_set1_ps(8_388_608.0)), subnormal);
            let shift = _mm256_and_ps(subnormal, _mm256_set1_ps(-23.0));
            let bits = _mm256_castps_si256(a);
            let exponent = _mm256_srai_epi32::<23>(_mm256_sub_epi32(bits, _mm256_set1_epi32(0x3f40_0000)));
            let mantissa = _mm256_sub_epi32(bits, _mm256_slli_epi32::<23>(exponent));
            (_mm256_castsi256_ps(mantissa), _mm256_add_ps(_mm256_cvtepi32_ps(exponent), shift))
        }
    }

    #[inline(always)]
    fn select(self, m: __m256, t: __m256, f: __m256) -> __m256 {
        intrinsics!(_mm256_blendv_ps(f, t, m))
    }
    #[inline(always)]
    fn not(self, m: __m256) -> __m256 {
        intrinsics!(_mm256_xor_ps(m, _mm256_castsi256_ps(_mm256_set1_epi32(-1))))
    }
    #[inline(always)]
    fn any(self, m: __m256) -> bool {
        intrinsics!(_mm256_movemask_ps(m)) != 0
    }

    #[inline(always)]
    fn splat_u32(self, x: u32) -> __m256i {
        intrinsics!(_mm256_set1_epi32(x as i32))
    }
    #[inline(always)]
    fn count_u32(self) -> __m256i {
        intrinsics!(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
    }
    #[inline(always)]
    fn add_u32(self, a: __m256i, b: __m256i) -> __m256i {
        intrinsics!(_mm256_add_epi32(a, b))
    }
    #[inline(always)]
    fn xor_u32(self, a: __m256i, b: __m256i) -> __m256i {
        intrinsics!(_mm256_xor_si256(a, b))
    }
    #[inline(always)]
    fn rotate_u32<const N: i32>(self, a: __m256i) -> __m256i {
        intrinsics! {
            // Counts in registers: 32 - N is no constant that an immediate may be.
            let up = _mm256_sll_epi32(a, _mm_cvtsi32_si128(N));
            _mm256_or_si256(up, _mm256_srl_epi32(a, _mm_cvtsi32_si128(32 - N)))
        }
    }
    #[inline(always)]
    fn top24_u32(self, a: __m256i) -> __m256 {
        intrinsics!(_mm256_cvtepi32_ps(_mm256_srli_epi32::<8>(a)))
    }

    #[inline(always)]
    fn zip(self, a: __m256, b: __m256) -> (__m256, __m256) {
        intrinsics! {
            let low = _mm256_unpacklo_ps(a, b);
            let high = _mm256_unpackhi_ps(a, b);
            (_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high))
        }
    }
    /// Pairs, then fours within each 128 bits, then the halves: 24 shuffles, half of what interleaving takes.
    #[inline(always)]
    fn transpose<const L: usize>(self, square: [__m256; L]) -> [__m256; L] {
        debug_assert_eq!(L, 8);
        let (mut a, mut b) = (square, square);
        for i in 0..L / 2 {
            a[2 * i] = intrinsics!(_mm256_unpacklo_ps(square[2 * i], square[2 * i + 1]));
            a[2 * i + 1] = intrinsics!(_mm256_unpackhi_ps(square[2 * i], square[2 * i + 1]));
        }
        for i in 0..L / 4 {
            let [p, q, r, t] = [a[4 * i], a[4 * i + 1], a[4 * i + 2], a[4 * i + 3]];
            b[4 * i] = intrinsics!(_mm256_shuffle_ps::<0b01_00_01_00>(p, r));
            b[4 * i + 1] = intrinsics!(_mm256_shuffle_ps::<0b11_10_11_10>(p, r));
            b[4 * i + 2] = intrinsics!(_mm256_shuffle_ps::<0b01_00_01_00>(q, t));
            b[4 * i + 3] = intrinsics!(_mm256_shuffle_ps::<0b11_10_11_10>(q, t));
        }
        for i in 0..L / 2 {
            a[i] = intrinsics!(_mm256_permute2f128_ps::<0x20>(b[i], b[i + L / 2]));
            a[i + L / 2] = intrinsics!(_mm256_permute2f128_ps::<0x31>(b[i], b[i + L / 2]));
        }
        a
    }
    #[inline(always)]
    fn fold_add(self, a: __m256) -> f32 {
        intrinsics! {
            let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            fold4!(four, _mm_add_ps, _mm_add_ss)
        }
    }
    #[inline(always)]
    fn first(self, a: __m256) -> f32 {
        intrinsics!(_mm256_cvtss_f32(a))
    }
    #[inline(always)]
    fn fold_add4(self, x: [__m256; 4]) -> __m256 {
        intrinsics!(fold4x8!(x, _mm256_add_ps))
    }
    #[inline(always)]
    fn fold_max4(self, x: [__m256; 4]) -> __m256 {
        intrinsics!(fold4x8!(x, _mm256_max_ps))
    }
    #[inline(always)]
    fn fold_max(self, a: __m256) -> f32 {
        intrinsics! {
            let four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            fold4!(four, _mm_max_ps, _mm_max_ss)
        }
    }
}

/// AVX-512: F, BW, DQ and VL, with AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        (Avx2::detect().is_some()
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl"))
        .then_some(Self(()))
    }
}

/// The mask of the first `n` of sixteen lanes.
#[inline(always)]
fn head16(n: usize) -> __mmask16 {
    ((1u32 << n.min(16)) - 1) as u16
}

impl Simd for Avx512 {
    const LANES: usize = 16;
    type F32 = __m512;
    type Mask = __mmask16;
    type U32 = __m512i;

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn shell<K: Kernel>(token: Avx512, kernel: K) -> K::Output {
            kernel.run(token)
        }
        // SAFETY: the token proves that the CPU has the features named.
        unsafe { shell(self, kernel) }
    }

    one_intrinsic! { __m512;
        add(a, b) = _mm512_add_ps;
        sub(a, b) = _mm512_sub_ps;
        mul(a, b) = _mm512_mul_ps;
        div(a, b) = _mm512_div_ps;
        fma(a, b, c) = _mm512_fmadd_ps;
        fnma(a, b, c) = _mm512_fnmadd_ps;
        max(a, b) = _mm512_max_ps;
        min(a, b) = _mm512_min_ps;
        sqrt(a) = _mm512_sqrt_ps;
        round(a) = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>;
        abs(a) = _mm512_abs_ps;
        scale2(a, n) = _mm512_scalef_ps;
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        intrinsics!(_mm512_set1_ps(x))
    }
    #[inline(always)]
    fn head(self, n: usize) -> __mmask16 {
        head16(n)
    }

    #[inline(always)]
    unsafe fn load(self, src: *const f32) -> __m512 {
        // SAFETY: the token proves the features; the caller gives sixteen readable floats.
        unsafe { _mm512_loadu_ps(src) }
    }
    #[inline(always)]
    unsafe fn store(self, dst: *mut f32, x: __m512) {
        // SAFETY: the token proves the features; the caller gives sixteen writable floats.
        unsafe { _mm512_storeu_ps(dst, x) }
    }
    #[inline(always)]
    unsafe fn store_past(self, dst: *mut f32, x: __m512) {
        // SAFETY: the token proves the features; the caller gives sixteen writable floats, aligned.
        unsafe { _mm512_stream_ps(dst, x) }
    }
    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        intrinsics!(_mm_prefetch::<_MM_HINT_T0>(at.cast()));
    }
    #[inline(always)]
    fn fence(self) {
        intrinsics!(_mm_sfence());
    }
    #[inline(always)]
    unsafe fn load_head(self, src: *const f32, n: usize) -> __m512 {
        // SAFETY: the token proves the features; a masked load touches only the lanes of its mask, which the caller
        // gives as readable.
        unsafe { _mm512_maskz_loadu_ps(head16(n), src) }
    }
    #[inline(always)]
    unsafe fn store_head(self, dst: *mut f32, n: usize, x: __m512) {
        // SAFETY: the token proves the features; a masked store touches only the lanes of its mask, which the caller
        // gives as writable.
        unsafe { _mm512_mask_storeu_ps(dst, head16(n), x) }
    }

    #[inline(always)]
    fn copysign(self, a: __m512, b: __m512) -> __m512 {
        intrinsics! {
            let sign = _mm512_set1_epi32(i32::MIN);
            // The truth table of `sign ? b : a`.
            let bits = _mm512_ternarylogic_epi32::<0xD8>(_mm512_castps_si512(a), _mm512_castps_si512(b), sign);
            _mm512_castsi512_ps(bits)
        }
    }

    #[inline(always)]
    fn frexp(self, a: __m512) -> (__m512, __m512) {
        intrinsics! {
            let mantissa = _mm512_getmant_ps::<_MM_MANT_NORM_P75_1P5, _MM_MANT_SIGN_SRC>(a);
            let exponent = _mm512_sub_ps(_mm512_getexp_ps(a), _mm512_getexp_ps(mantissa));
            (mantissa, exponent)
        }
    }

    #[inline(always)]
    fn lt(self, a: __m512, b: __m512) -> __mmask16 {
        intrinsics!(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b))
    }
    #[inline(always)]
    fn eq(self, a: __m512, b: __m512) -> __mmask16 {
        intrinsics!(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b))
    }
    #[inline(always)]
    fn select(self, m: __mmask16, t: __m512, f: __m512) -> __m512 {
        intrinsics!(_mm512_mask_blend_ps(m, f, t))
    }
    #[inline(always)]
    fn not(self, m: __mmask16) -> __mmask16 {
        !m
    }
    #[inline(always)]
    fn any(self, m: __mmask16) -> bool {
        m != 0
    }

    #[inline(always)]
    fn splat_u32(self, x: u32) -> __m512i {
        intrinsics!(_mm512_set1_epi32(x as i32))
    }
    #[inline(always)]
    fn count_u32(self) -> __m512i {
        intrinsics!(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
    }
    #[inline(always)]
    fn add_u32(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsics!(_mm512_add_epi32(a, b))
    }
    #[inline(always)]
    fn xor_u32(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsics!(_mm512_xor_si512(a, b))
    }
    #[inline(always)]
    fn rotate_u32<const N: i32>(self, a: __m512i) -> __m512i {
        intrinsics!(_mm512_rol_epi32::<N>(a))
    }
    #[inline(always)]
    fn top24_u32(self, a: __m512i) -> __m512 {
        intrinsics!(_mm512_cvtepi32_ps(_mm512_srli_epi32::<8>(a)))
    }

    #[inline(always)]
    fn zip(self, a: __m512, b: __m512) -> (__m512, __m512) {
        intrinsics! {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
            (_mm512_permutex2var_ps(a, low, b), _mm512_permutex2var_ps(a, high, b))
        }
    }
    /// Pairs, then fours within each 128 bits, then the 128-bit quarters in two rounds: shuffles within 128 bits are
    /// cheaper than interleaving.
    #[inline(always)]
    fn transpose<const L: usize>(self, square: [__m512; L]) -> [__m512; L] {
        debug_assert_eq!(L, 16);
        let (mut a, mut b) = (square, square);
        for i in 0..L / 2 {
            a[2 * i] = intrinsics!(_mm512_unpacklo_ps(square[2 * i], square[2 * i + 1]));
            a[2 * i + 1] = intrinsics!(_mm512_unpackhi_ps(square[2 * i], square[2 * i + 1]));
        }
        for i in 0..L / 4 {
            let [p, q, r, t] = [a[4 * i], a[4 * i + 1], a[4 * i + 2], a[4 * i + 3]];
            b[4 * i] = intrinsics!(_mm512_shuffle_ps::<0b01_00_01_00>(p, r));
            b[4 * i + 1] = intrinsics!(_mm512_shuffle_ps::<0b11_10_11_10>(p, r));
            b[4 * i + 2] = intrinsics!(_mm512_shuffle_ps::<0b01_00_01_00>(q, t));
            b[4 * i + 3] = intrinsics!(_mm512_shuffle_ps::<0b11_10_11_10>(q, t));
        }
        // `b[4i + j]` holds columns `j`, `4 + j`, `8 + j`, `12 + j` of rows `4i..4i + 4`, one in each quarter.
        for j in 0..L / 4 {
            let [p, q, r, t] = [b[j], b[4 + j], b[8 + j], b[12 + j]];
            let even = intrinsics!(_mm512_shuffle_f32x4::<0b10_00_10_00>(p, q));
            let odd = intrinsics!(_mm512_shuffle_f32x4::<0b11_01_11_01>(p, q));
            let even2 = intrinsics!(_mm512_shuffle_f32x4::<0b10_00_10_00>(r, t));
            let odd2 = intrinsics!(_mm512_shuffle_f32x4::<0b11_01_11_01>(r, t));
            a[j] = intrinsics!(_mm512_shuffle_f32x4::<0b10_00_10_00>(even, even2));
            a[8 + j] = intrinsics!(_mm512_shuffle_f32x4::<0b11_01_11_01>(even, even2));
            a[4 + j] = intrinsics!(_mm512_shuffle_f32x4::<0b10_00_10_00>(odd, odd2));
            a[12 + j] = intrinsics!(_mm512_shuffle_f32x4::<0b11_01_11_01>(odd, odd2));
        }
        a
    }
    #[inline(always)]
    fn fold_add(self, a: __m512) -> f32 {
        intrinsics! {
            let eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            fold4!(four, _mm_add_ps, _mm_add_ss)
        }
    }
    #[inline(always)]
    fn first(self, a: __m512) -> f32 {
        intrinsics!(_mm512_cvtss_f32(a))
    }
    #[inline(always)]
    fn fold_add4(self, x: [__m512; 4]) -> __m512 {
        intrinsics!(fold4x16!(x, _mm512_add_ps))
    }
    #[inline(always)]
    fn fold_max4(self, x: [__m512; 4]) -> __m512 {
        intrinsics!(fold4x16!(x, _mm512_max_ps))
    }
    #[inline(always)]
    fn in_quarters(self, [a, b, c, d]: [f32; 4]) -> __m512 {
        intrinsics! {
            let quarter = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
            _mm512_permutexvar_ps(quarter, _mm512_castps128_ps512(_mm_setr_ps(a, b, c, d)))
        }
    }
    #[inline(always)]
    fn quarters(self, x: __m512) -> [__m512; 4] {
        intrinsics! {
            [
                _mm512_shuffle_f32x4::<0b00_00_00_00>(x, x),
                _mm512_shuffle_f32x4::<0b01_01_01_01>(x, x),
                _mm512_shuffle_f32x4::<0b10_10_10_10>(x, x),
                _mm512_shuffle_f32x4::<0b11_11_11_11>(x, x),
            ]
        }
    }
    #[inline(always)]
    fn fold_max(self, a: __m512) -> f32 {
        intrinsics! {
            let eight = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            fold4!(four, _mm_max_ps, _mm_max_ss)
        }
    }
}
