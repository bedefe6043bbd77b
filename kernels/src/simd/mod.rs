//! Registers: the trait [`Simd`] with one implementation a tier, and the run-time choice between them.
//!
//! A tier is a *token*: a zero-sized value that can only be made where the CPU is known to have the tier's
//! instructions, so that holding one is the proof every intrinsic needs. A kernel is written once, generic over the
//! token, and compiled once per tier behind a `#[target_feature]` shell:
//!
//! ```text
//! Isa::run(kernel) ─► Token::vectorize ─► #[target_feature] shell ─► kernel.run(token)
//! ```
//!
//! Everything between the shell and an intrinsic is `#[inline(always)]`: a function that is not inlined is compiled
//! without the tier's features and passes its vectors through memory. A closure handed to another thread leaves the
//! shell, so threads come first and each block of work enters the shell by itself.
//!
//! A new tier is one file here and one row in the `isas!` table below.

#![allow(unsafe_code)] // Fence 2: intrinsics, justified by the token.

mod portable;
mod scalar;
mod several;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use scalar::Scalar;
pub(crate) use several::Several;

use crate::error::{ErrorKind, Result};

/// The lanes of one register and what can be done with them.
///
/// [`scalar::Scalar`] is the meaning of every method: one lane, plain Rust. The other tiers give the same bits lane
/// by lane, except that [`fma`](Simd::fma) rounds twice where the hardware has no fused multiply-add.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// Lanes of `f32` in a register.
    const LANES: usize;
    /// Whether [`fma`](Simd::fma) rounds once.
    const FUSED: bool = true;
    /// `LANES` floats.
    type F32: Copy;
    /// `LANES` truths.
    type Mask: Copy;
    /// `LANES` whole numbers of 32 bits, without a sign.
    type U32: Copy;

    /// Runs `kernel` inside a shell of the tier, which is a call of its own: a kernel that is large and used in several
    /// places enters a second shell rather than be compiled in each of them.
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::F32;
    /// True in the first `n` lanes; in all of them if `n >= LANES`.
    fn head(self, n: usize) -> Self::Mask;

    /// Reads `LANES` floats.
    ///
    /// # Safety
    /// `src` must be readable for `LANES` floats; no alignment is needed.
    unsafe fn load(self, src: *const f32) -> Self::F32;
    /// Writes `LANES` floats.
    ///
    /// # Safety
    /// `dst` must be writable for `LANES` floats; no alignment is needed.
    unsafe fn store(self, dst: *mut f32, x: Self::F32);
    /// Reads the first `n.min(LANES)` floats and touches no others; the remaining lanes are zero.
    ///
    /// # Safety
    /// `src` must be readable for `n.min(LANES)` floats.
    unsafe fn load_head(self, src: *const f32, n: usize) -> Self::F32;
    /// Writes the first `n.min(LANES)` lanes and touches nothing behind them.
    ///
    /// # Safety
    /// `dst` must be writable for `n.min(LANES)` floats.
    unsafe fn store_head(self, dst: *mut f32, n: usize, x: Self::F32);
    /// Writes `LANES` floats past the caches where the hardware can; ordered before what follows by
    /// [`fence`](Simd::fence) only.
    ///
    /// # Safety
    /// `dst` must be writable for `LANES` floats and aligned to as many.
    #[inline(always)]
    unsafe fn store_past(self, dst: *mut f32, x: Self::F32) {
        // SAFETY: as the caller says.
        unsafe { self.store(dst, x) }
    }
    /// Asks for the line at `at`, which need not be there, without waiting for it.
    #[inline(always)]
    fn prefetch(self, _at: *const f32) {}
    /// Orders what [`store_past`](Simd::store_past) wrote before every later write.
    #[inline(always)]
    fn fence(self) {}

    /// `a + b`
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a - b`
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b`
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a / b`
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b + c`, rounded once where the hardware can.
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// `c - a * b`, rounded once where the hardware can.
    fn fnma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// `if a > b { a } else { b }`: `b` where either is NaN, and where both are zero.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `if a < b { a } else { b }`: `b` where either is NaN, and where both are zero.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The square root, correctly rounded.
    fn sqrt(self, a: Self::F32) -> Self::F32;
    /// The nearest integer, ties to even, for `|a| < 2^22`; NaN stays NaN.
    fn round(self, a: Self::F32) -> Self::F32;
    /// The value without its sign.
    fn abs(self, a: Self::F32) -> Self::F32;
    /// The magnitude of `a` with the sign of `b`.
    fn copysign(self, a: Self::F32, b: Self::F32) -> Self::F32;

    /// `a * 2^n`, rounded once, for integral `n` in `-252..=252` and `|a|` in `[2^-25, 2^25]`; NaN in either is NaN.
    fn scale2(self, a: Self::F32, n: Self::F32) -> Self::F32;
    /// The mantissa in `[0.75, 1.5)` and the exponent of a positive finite `a`, subnormals included:
    /// `a = mantissa * 2^exponent`. For other inputs some pair of numbers.
    fn frexp(self, a: Self::F32) -> (Self::F32, Self::F32);

    /// `a < b`; false where either is NaN.
    fn lt(self, a: Self::F32, b: Self::F32) -> Self::Mask;
    /// `a == b`; false where either is NaN.
    fn eq(self, a: Self::F32, b: Self::F32) -> Self::Mask;
    /// `t` where `m`, else `f`.
    fn select(self, m: Self::Mask, t: Self::F32, f: Self::F32) -> Self::F32;

    /// All lanes `x`.
    fn splat_u32(self, x: u32) -> Self::U32;
    /// `0, 1, 2, …`: the number of each lane.
    fn count_u32(self) -> Self::U32;
    /// `a + b` modulo 2^32.
    fn add_u32(self, a: Self::U32, b: Self::U32) -> Self::U32;
    /// The bits in which `a` and `b` differ.
    fn xor_u32(self, a: Self::U32, b: Self::U32) -> Self::U32;
    /// The bits moved `N` places up, in `1..=31`; those that leave at the top come in at the bottom.
    fn rotate_u32<const N: i32>(self, a: Self::U32) -> Self::U32;
    /// The upper 24 bits as a number in `0..2^24`, exactly.
    fn top24_u32(self, a: Self::U32) -> Self::F32;

    /// The lanes interleaved: `(a0 b0 a1 b1 …, the second half of the same)`.
    fn zip(self, a: Self::F32, b: Self::F32) -> (Self::F32, Self::F32);
    /// A square of `L = LANES` registers, transposed: `log2 L` rounds, each interleaving register `i` with register
    /// `i + L/2`.
    #[inline(always)]
    fn transpose<const L: usize>(self, mut square: [Self::F32; L]) -> [Self::F32; L] {
        debug_assert_eq!(L, Self::LANES);
        let mut round = 1;
        while round < L {
            let mut next = square;
            for i in 0..L / 2 {
                (next[2 * i], next[2 * i + 1]) = self.zip(square[i], square[i + L / 2]);
            }
            square = next;
            round *= 2;
        }
        square
    }
    /// The sum of all lanes, folding halves: lane `i` with lane `i + width/2` until one is left.
    fn fold_add(self, a: Self::F32) -> f32;
    /// The [`max`](Simd::max) of all lanes, folding halves as [`fold_add`](Simd::fold_add) does, the lower half first.
    fn fold_max(self, a: Self::F32) -> f32;

    /// [`fold_add`](Simd::fold_add) of four registers, the result of each throughout its quarter of the lanes; for
    /// tiers of at least four lanes.
    #[inline(always)]
    fn fold_add4(self, x: [Self::F32; 4]) -> Self::F32 {
        self.in_quarters(x.map(|x| self.fold_add(x)))
    }
    /// [`fold_max`](Simd::fold_max) of four registers, as [`fold_add4`](Simd::fold_add4).
    #[inline(always)]
    fn fold_max4(self, x: [Self::F32; 4]) -> Self::F32 {
        self.in_quarters(x.map(|x| self.fold_max(x)))
    }
    /// Four numbers, each throughout its quarter of the lanes.
    #[inline(always)]
    fn in_quarters(self, x: [f32; 4]) -> Self::F32 {
        const { assert!(Self::LANES <= 16) };
        let lanes: [f32; 16] = std::array::from_fn(|i| x[(4 * i / Self::LANES).min(3)]);
        // SAFETY: the array holds the widest register.
        unsafe { self.load(lanes.as_ptr()) }
    }
    /// The first lane of each quarter, in all lanes of a register of its own.
    #[inline(always)]
    fn quarters(self, x: Self::F32) -> [Self::F32; 4] {
        let mut lanes = [0.0; 16];
        const { assert!(Self::LANES <= 16) };
        // SAFETY: the array holds the widest register.
        unsafe { self.store(lanes.as_mut_ptr(), x) };
        std::array::from_fn(|i| self.splat(lanes[i * Self::LANES / 4]))
    }

    /// The first lane.
    #[inline(always)]
    fn first(self, a: Self::F32) -> f32 {
        let mut first = 0.0;
        // SAFETY: one lane is written, to one float.
        unsafe { self.store_head(&raw mut first, 1, a) };
        first
    }

    /// True where NaN.
    #[inline(always)]
    fn is_nan(self, a: Self::F32) -> Self::Mask {
        self.not(self.eq(a, a))
    }
    /// The sign reversed, of NaN and zero too.
    #[inline(always)]
    fn neg(self, a: Self::F32) -> Self::F32 {
        self.sub(self.splat(-0.0), a)
    }
    /// Whether any lane is true.
    fn any(self, m: Self::Mask) -> bool;
    /// The truths reversed.
    fn not(self, m: Self::Mask) -> Self::Mask;
    /// Each lane through a function of numbers: for the few arguments that need another way.
    #[inline(always)]
    fn lanewise<const N: usize>(self, x: Self::F32, f: impl Fn(f32) -> [f32; N]) -> [Self::F32; N] {
        let mut lanes = [0.0; 16];
        let mut results = [[0.0; 16]; N];
        const { assert!(Self::LANES <= 16) };
        // SAFETY: the arrays hold the widest register.
        unsafe { self.store(lanes.as_mut_ptr(), x) };
        for (i, &lane) in lanes[..Self::LANES].iter().enumerate() {
            for (results, result) in results.iter_mut().zip(f(lane)) {
                results[i] = result;
            }
        }
        // SAFETY: as above.
        results.map(|lanes| unsafe { self.load(lanes.as_ptr()) })
    }
    /// All lanes zero.
    #[inline(always)]
    fn zero(self) -> Self::F32 {
        self.splat(0.0)
    }
    /// The smaller; NaN where either is.
    #[inline(always)]
    fn minimum(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        self.select(self.is_nan(a), a, self.min(a, b))
    }
    /// The greater; NaN where either is.
    #[inline(always)]
    fn maximum(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        self.select(self.is_nan(a), a, self.max(a, b))
    }
}

/// A piece of work written for any tier. `run` must be `#[inline(always)]`.
pub(crate) trait Kernel {
    /// What it computes.
    type Output;
    /// Does it with the tier of `s`.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// Makes [`Isa`] from rows `Variant "name" => Token, detection;`, slowest tier first.
macro_rules! isas {
    ($($(#[$meta:meta])* $variant:ident $name:literal => $token:path;)*) => {
        /// The tiers, with the proof that the CPU has them.
        #[derive(Clone, Copy)]
        enum Tier { $($(#[$meta])* $variant($token),)* }

        impl Isa {
            /// Every tier of this build, with its token where the CPU has it; slowest first.
            fn rows() -> impl Iterator<Item = (&'static str, Option<Isa>)> {
                [$($(#[$meta])* ($name, <$token>::detect().map(|token| Isa(Tier::$variant(token)))),)*].into_iter()
            }

            /// The tier's name, as `HANDGRAD_ISA` takes it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self.0 { $($(#[$meta])* Tier::$variant(_) => $name,)* }
            }

            /// Lanes of `f32` in one register of the tier.
            #[must_use]
            pub fn lanes(self) -> usize {
                match self.0 { $($(#[$meta])* Tier::$variant(_) => <$token as Simd>::LANES,)* }
            }

            /// Runs `kernel` compiled for this tier.
            #[inline(always)]
            pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
                match self.0 { $($(#[$meta])* Tier::$variant(token) => token.vectorize(kernel),)* }
            }
        }
    };
}

isas! {
    Scalar "scalar" => scalar::Scalar;
    Portable "portable" => portable::Portable;
    #[cfg(target_arch = "x86_64")]
    Avx2 "avx2" => x86::Avx2;
    #[cfg(target_arch = "x86_64")]
    Avx512 "avx512" => x86::Avx512;
}

/// An instruction-set tier that this CPU has.
///
/// ```
/// use handgrad_kernels::Isa;
/// let best = Isa::best();
/// assert!(Isa::available().any(|isa| isa == best));
/// assert!(Isa::from_name("mmx").is_err());
/// ```
#[derive(Clone, Copy)]
pub struct Isa(Tier);

impl Isa {
    /// The tiers this CPU has, slowest first: `scalar` and `portable` always.
    pub fn available() -> impl Iterator<Item = Isa> {
        Self::rows().filter_map(|(_, isa)| isa)
    }

    /// The fastest tier this CPU has.
    #[must_use]
    pub fn best() -> Isa {
        Self::available().last().unwrap_or(Isa(Tier::Scalar(scalar::Scalar)))
    }

    /// The tier called `name`: `scalar`, `portable`, `avx2` or `avx512`.
    ///
    /// # Errors
    /// [`ErrorKind::Isa`] for an unknown name and for a tier the CPU lacks; there is no silent fallback.
    pub fn from_name(name: &str) -> Result<Isa> {
        let reason = match Self::rows().find(|(row, _)| *row == name) {
            Some((_, Some(isa))) => return Ok(isa),
            Some((_, None)) => "this CPU lacks it",
            None => "no such tier in this build",
        };
        let available = Self::available().map(Isa::name).collect::<Vec<_>>().join(", ");
        Err(ErrorKind::Isa { name: name.to_owned(), reason, available }.into())
    }

    /// The tier named by the environment variable `HANDGRAD_ISA`, or the fastest one if it is not set.
    ///
    /// # Errors
    /// As [`from_name`](Isa::from_name).
    pub fn from_env() -> Result<Isa> {
        match std::env::var_os("HANDGRAD_ISA") {
            None => Ok(Self::best()),
            Some(name) => Self::from_name(&name.to_string_lossy()),
        }
    }

    /// Whether the tier has a fused multiply-add, and so gives the bits that all such tiers share.
    #[must_use]
    pub fn is_fused(self) -> bool {
        self.run(IsFused)
    }
}

/// Evaluates `a * b + c` where one rounding and two differ.
struct IsFused;

impl Kernel for IsFused {
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        let a = std::hint::black_box(1.0 + f32::EPSILON);
        // a² = 1 + 2ε + ε²; rounding the product first loses the ε².
        let product = -(1.0 + 2.0 * f32::EPSILON);
        s.fold_max(s.fma(s.splat(a), s.splat(a), s.splat(product))) != 0.0
    }
}

impl PartialEq for Isa {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Isa {}

impl std::fmt::Debug for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests;
