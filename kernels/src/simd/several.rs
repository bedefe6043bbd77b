//! Several registers that are one: each operation is done to all of them before the next, so that the chains of a long
//! function run side by side. A loop over one register at a time leaves that to the CPU, whose schedulers do not hold as
//! many instructions as the chain of an exponential is long (measured: see `lanes::map`).

use super::{Kernel, Simd};

/// `N` registers of the tier `S`.
#[derive(Clone, Copy)]
pub(crate) struct Several<S, const N: usize>(pub(crate) S);

/// Methods that do the tier's own to each register: `name(operand kinds) -> result kind`.
macro_rules! each {
    ($($name:ident($($arg:ident: $kind:ident),*) -> $result:ident;)*) => {
        $(#[inline(always)]
        fn $name(self, $($arg: Self::$kind),*) -> Self::$result {
            std::array::from_fn(|i| self.0.$name($($arg[i]),*))
        })*
    };
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
        std::array::from_fn(|i| self.0.head(n.saturating_sub(i * S::LANES)))
    }

    #[inline(always)]
    unsafe fn load(self, src: *const f32) -> Self::F32 {
        // SAFETY: the caller's memory holds `N` registers.
        std::array::from_fn(|i| unsafe { self.0.load(src.add(i * S::LANES)) })
    }
    #[inline(always)]
    unsafe fn store(self, dst: *mut f32, x: Self::F32) {
        for (i, x) in x.into_iter().enumerate() {
            // SAFETY: as above.
            unsafe { self.0.store(dst.add(i * S::LANES), x) };
        }
    }
    #[inline(always)]
    unsafe fn load_head(self, src: *const f32, n: usize) -> Self::F32 {
        std::array::from_fn(|i| {
            let left = n.saturating_sub(i * S::LANES);
            // SAFETY: the first `n` floats are there; where none is left, none is touched.
            unsafe { self.0.load_head(src.wrapping_add(i * S::LANES), left) }
        })
    }
    #[inline(always)]
    unsafe fn store_head(self, dst: *mut f32, n: usize, x: Self::F32) {
        for (i, x) in x.into_iter().enumerate() {
            let left = n.saturating_sub(i * S::LANES);
            // SAFETY: as above.
            unsafe { self.0.store_head(dst.wrapping_add(i * S::LANES), left, x) };
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
        let pairs = a.map(|a| self.0.frexp(a));
        (pairs.map(|(mantissa, _)| mantissa), pairs.map(|(_, exponent)| exponent))
    }
    #[inline(always)]
    fn splat_u32(self, x: u32) -> Self::U32 {
        [self.0.splat_u32(x); N]
    }
    #[inline(always)]
    fn count_u32(self) -> Self::U32 {
        std::array::from_fn(|i| self.0.add_u32(self.0.count_u32(), self.0.splat_u32((i * S::LANES) as u32)))
    }
    #[inline(always)]
    fn rotate_u32<const R: i32>(self, a: Self::U32) -> Self::U32 {
        a.map(|a| self.0.rotate_u32::<R>(a))
    }
    #[inline(always)]
    fn any(self, m: Self::Mask) -> bool {
        m.into_iter().any(|m| self.0.any(m))
    }
    #[inline(always)]
    fn lanewise<const R: usize>(self, x: Self::F32, f: impl Fn(f32) -> [f32; R]) -> [Self::F32; R] {
        let parts = x.map(|x| self.0.lanewise(x, &f));
        std::array::from_fn(|r| parts.map(|part| part[r]))
    }

    #[inline(always)]
    fn zip(self, a: Self::F32, b: Self::F32) -> (Self::F32, Self::F32) {
        // Register `i` of the pair holds the lanes of half a register of each operand.
        let pairs: [_; N] = std::array::from_fn(|i| self.0.zip(a[i], b[i]));
        let at = |i: usize| if i.is_multiple_of(2) { pairs[i / 2].0 } else { pairs[i / 2].1 };
        (std::array::from_fn(at), std::array::from_fn(|i| at(N + i)))
    }
    #[inline(always)]
    fn fold_add(self, a: Self::F32) -> f32 {
        self.0.fold_add(Self::halved(a, |a, b| self.0.add(a, b)))
    }
    #[inline(always)]
    fn fold_max(self, a: Self::F32) -> f32 {
        self.0.fold_max(Self::halved(a, |a, b| self.0.max(a, b)))
    }
}

impl<S: Simd, const N: usize> Several<S, N> {
    /// The registers folded by halves until one is left.
    #[inline(always)]
    fn halved(mut a: [S::F32; N], f: impl Fn(S::F32, S::F32) -> S::F32) -> S::F32 {
        const { assert!(N.is_power_of_two()) };
        let mut width = N;
        while width > 1 {
            width /= 2;
            for i in 0..width {
                a[i] = f(a[i], a[i + width]);
            }
        }
        a[0]
    }
}
