//! Several registers that are one: each operation is done to all of them before the next, so that the chains of a long
//! function run side by side. A loop over one register at a time leaves that to the CPU, whose schedulers do not hold as
//! many instructions as the chain of an exponential is long (measured: see `lanes::map`).

use super::{Kernel, Simd};

/// `N` registers of the tier `S`.
#[derive(Clone, Copy)]
pub(crate) struct Several<S, const N: usize>(pub(crate) S);

/// An array made by a loop: `of!(self, Kind, i => expression)`. Closures, those that `array::from_fn` and `map` take among
/// them, are compiled without the tier's features where they are not inlined, and then cost fifty times as much.
macro_rules! of {
    ($s:ident, F32, $i:ident => $value:expr) => {
        of!($s.0.zero(), $i => $value)
    };
    ($s:ident, Mask, $i:ident => $value:expr) => {
        of!($s.0.head(0), $i => $value)
    };
    ($s:ident, U32, $i:ident => $value:expr) => {
        of!($s.0.splat_u32(0), $i => $value)
    };
    ($start:expr, $i:ident => $value:expr) => {{
        let mut all = [$start; N];
        let mut $i = 0;
        while $i < N {
            all[$i] = $value;
            $i += 1;
        }
        all
    }};
}

/// Methods that do the tier's own to each register: `name(operand kinds) -> result kind`.
macro_rules! each {
    ($($name:ident($($arg:ident: $kind:ident),*) -> $result:ident;)*) => {
        $(#[inline(always)]
        fn $name(self, $($arg: Self::$kind),*) -> Self::$result {
            of!(self, $result, i => self.0.$name($($arg[i]),*))
        })*
    };
}

/// The registers folded by halves until one is left.
macro_rules! halved {
    ($s:ident, $a:ident, $join:ident) => {{
        const { assert!(N.is_power_of_two()) };
        let (mut a, mut width) = ($a, N);
        while width > 1 {
            width /= 2;
            let mut i = 0;
            while i < width {
                a[i] = $s.0.$join(a[i], a[i + width]);
                i += 1;
            }
        }
        a[0]
    }};
}

impl<S: Simd, const N: usize> Simd for Several<S, N> {
    const LANES: usize = N * S::LANES;
    const FUSED: bool = S::FUSED;
    type F32 = [S::F32; N];
    type Mask = [S::Mask; N];
    type U32 = [S::U32; N];

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        self.0.vectorize(kernel)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F32 {
        [self.0.splat(x); N]
    }
    #[inline(always)]
    fn head(self, n: usize) -> Self::Mask {
        of!(self, Mask, i => self.0.head(n.saturating_sub(i * S::LANES)))
    }

    #[inline(always)]
    unsafe fn load(self, src: *const f32) -> Self::F32 {
        // SAFETY: the caller's memory holds `N` registers.
        of!(self, F32, i => unsafe { self.0.load(src.add(i * S::LANES)) })
    }
    #[inline(always)]
    unsafe fn store(self, dst: *mut f32, x: Self::F32) {
        let mut i = 0;
        while i < N {
            // SAFETY: as above.
            unsafe { self.0.store(dst.add(i * S::LANES), x[i]) };
            i += 1;
        }
    }
    #[inline(always)]
    unsafe fn load_head(self, src: *const f32, n: usize) -> Self::F32 {
        of!(self, F32, i => {
            let left = n.saturating_sub(i * S::LANES);
            // SAFETY: the first `n` floats are there; where none is left, none is touched.
            unsafe { self.0.load_head(src.wrapping_add(i * S::LANES), left) }
        })
    }
    #[inline(always)]
    unsafe fn store_head(self, dst: *mut f32, n: usize, x: Self::F32) {
        let mut i = 0;
        while i < N {
            let left = n.saturating_sub(i * S::LANES);
            // SAFETY: as above.
            unsafe { self.0.store_head(dst.wrapping_add(i * S::LANES), left, x[i]) };
            i += 1;
        }
    }

    each! {
        add(a: F32, b: F32) -> F32;
        sub(a: F32, b: F32) -> F32;
        mul(a: F32, b: F32) -> F32;
        div(a: F32, b: F32) -> F32;
        fma(a: F32, b: F32, c: F32) -> F32;
        fnma(a: F32, b: F32, c: F32) -> F32;
        max(a: F32, b: F32) -> F32;
        min(a: F32, b: F32) -> F32;
        sqrt(a: F32) -> F32;
        round(a: F32) -> F32;
        abs(a: F32) -> F32;
        copysign(a: F32, b: F32) -> F32;
        scale2(a: F32, n: F32) -> F32;
        lt(a: F32, b: F32) -> Mask;
        eq(a: F32, b: F32) -> Mask;
        select(m: Mask, t: F32, f: F32) -> F32;
        is_nan(a: F32) -> Mask;
        not(m: Mask) -> Mask;
        add_u32(a: U32, b: U32) -> U32;
        xor_u32(a: U32, b: U32) -> U32;
        top24_u32(a: U32) -> F32;
    }

    #[inline(always)]
    fn frexp(self, a: Self::F32) -> (Self::F32, Self::F32) {
        let (mut mantissa, mut exponent) = ([self.0.zero(); N], [self.0.zero(); N]);
        let mut i = 0;
        while i < N {
            (mantissa[i], exponent[i]) = self.0.frexp(a[i]);
            i += 1;
        }
        (mantissa, exponent)
    }
    #[inline(always)]
    fn splat_u32(self, x: u32) -> Self::U32 {
        [self.0.splat_u32(x); N]
    }
    #[inline(always)]
    fn count_u32(self) -> Self::U32 {
        of!(self, U32, i => self.0.add_u32(self.0.count_u32(), self.0.splat_u32((i * S::LANES) as u32)))
    }
    #[inline(always)]
    fn rotate_u32<const R: i32>(self, a: Self::U32) -> Self::U32 {
        of!(self, U32, i => self.0.rotate_u32::<R>(a[i]))
    }
    #[inline(always)]
    fn any(self, m: Self::Mask) -> bool {
        let (mut any, mut i) = (false, 0);
        while i < N {
            any |= self.0.any(m[i]);
            i += 1;
        }
        any
    }
    #[inline(always)]
    fn lanewise<const R: usize>(self, x: Self::F32, f: impl Fn(f32) -> [f32; R]) -> [Self::F32; R] {
        let mut all = [[self.0.zero(); N]; R];
        let mut i = 0;
        while i < N {
            let part = self.0.lanewise(x[i], &f);
            let mut r = 0;
            while r < R {
                all[r][i] = part[r];
                r += 1;
            }
            i += 1;
        }
        all
    }

    #[inline(always)]
    fn zip(self, a: Self::F32, b: Self::F32) -> (Self::F32, Self::F32) {
        // Register `i` of the pair holds the lanes of half a register of each operand.
        let (mut lower, mut upper) = ([self.0.zero(); N], [self.0.zero(); N]);
        let mut i = 0;
        while i < N {
            let (first, second) = self.0.zip(a[i], b[i]);
            let pair = if 2 * i < N { &mut lower } else { &mut upper };
            (pair[2 * i % N], pair[(2 * i + 1) % N]) = (first, second);
            i += 1;
        }
        (lower, upper)
    }
    #[inline(always)]
    fn fold_add(self, a: Self::F32) -> f32 {
        self.0.fold_add(halved!(self, a, add))
    }
    #[inline(always)]
    fn fold_max(self, a: Self::F32) -> f32 {
        self.0.fold_max(halved!(self, a, max))
    }
}
