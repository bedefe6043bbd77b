//! The stated error bounds, measured against f64 over a sample of all floats, and the same bits on every tier with a fused
//! multiply-add. The workspace's `tests/accuracy.rs` walks all of them, through the operations.

#[allow(dead_code, clippy::duplicate_mod, reason = "shared with the test programs")]
#[path = "../../tests/common/tiers.rs"]
mod tiers;

use super::*;
use crate::lanes::{self, Map};
use crate::simd::{Isa, Kernel};
use crate::view::{Mat, MatMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// A function under test, with what it promises.
trait Function: Map<1, 1> + Default {
    const NAME: &'static str;
    /// The largest error in ULP with fused multiply-add, and without.
    const BOUNDS: [f64; 2];
    /// The function in f64, in a form that does not cancel.
    fn exact(x: f64) -> f64;
}

/// Makes `Function`s from rows `Type name(kernel) bounds, exact;`.
macro_rules! functions {
    ($($Type:ident $kernel:path, $bounds:expr, $exact:expr;)*) => {$(
        #[derive(Clone, Copy, Default)]
        struct $Type;

        impl Map<1, 1> for $Type {
            #[inline(always)]
            fn eval<S: Simd>(self, s: S, [x]: [S::F32; 1], _: [S::F32; 1]) -> [S::F32; 1] {
                [$kernel(s, x)]
            }
        }

        impl Function for $Type {
            const NAME: &'static str = stringify!($Type);
            const BOUNDS: [f64; 2] = $bounds;
            fn exact(x: f64) -> f64 {
                let exact: fn(f64) -> f64 = $exact;
                exact(x)
            }
        }
    )*};
}

functions! {
    Exp exp, [1.0, 1.5], f64::exp;
    Ln ln, [1.0, 1.5], f64::ln;
    Tanh tanh, [1.2, 2.0], f64::tanh;
    Sigmoid sigmoid, [2.5, 3.5], |x| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) };
    Sin sin, [1.5, 2.5], f64::sin;
    Cos cos, [1.5, 2.5], f64::cos;
    Expm1 expm1_below, [1.5, 2.5], |x| (-x.abs()).exp_m1();
    Softplus softplus, [2.5, 3.5], |x| x.max(0.0) + (-x.abs()).exp().ln_1p();
    Silu silu, [2.5, 4.0], |x| if x < -745.0 { -0.0 } else { x / (1.0 + (-x).exp()) };
}

/// [`expm1`] where it is meant to be used.
#[inline(always)]
fn expm1_below<S: Simd>(s: S, x: S::F32) -> S::F32 {
    expm1(s, s.neg(s.abs(x)))
}

/// The operation's forward function, which is built on `exp`.
#[inline(always)]
fn silu<S: Simd>(s: S, x: S::F32) -> S::F32 {
    use crate::op::unary::Unary;
    crate::op::silu::Silu.forward(s, x)
}

/// [`exp`] with an error of a few ULP, to be found.
#[derive(Clone, Copy, Default)]
struct WrongExp;

impl Map<1, 1> for WrongExp {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x]: [S::F32; 1], _: [S::F32; 1]) -> [S::F32; 1] {
        let y = exp(s, x);
        // Wrong at one value only.
        [s.select(s.eq(x, s.splat(61.0)), s.mul(y, s.splat(1.0 + 2.0 * f32::EPSILON)), y)]
    }
}

impl Function for WrongExp {
    const NAME: &'static str = "WrongExp";
    const BOUNDS: [f64; 2] = Exp::BOUNDS;
    fn exact(x: f64) -> f64 {
        x.exp()
    }
}

/// `y = f(x)`.
struct Evaluate<'a, F> {
    y: &'a mut [f32],
    x: &'a [f32],
    f: F,
}

impl<F: Map<1, 1>> Kernel for Evaluate<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        lanes::map(s, [MatMut::from_row(self.y)], [Mat::from_row(self.x)], self.f);
    }
}

/// The error of `got` in units of the last place of `exact`, the last place of a subnormal being that of the smallest
/// normal number. Infinite where NaN, an infinity or the sign of a zero is not what it should be.
fn ulp_error(got: f32, exact: f64) -> f64 {
    let got = f64::from(got);
    if got.is_nan() || exact.is_nan() {
        return if got.is_nan() && exact.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if exact.is_infinite() || exact == 0.0 {
        return if got.to_bits() == exact.to_bits() { 0.0 } else { f64::INFINITY };
    }
    // Past the largest float the next one would be 2^128.
    let limit = 2f64.powi(128);
    let (got, exact) = (got.clamp(-limit, limit), exact.clamp(-limit, limit));
    let exponent = ((exact.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    (got - exact).abs() / 2f64.powi(exponent.clamp(-126, 127) - 23)
}

/// The largest error met on a tier, and where.
#[derive(Clone, Copy, Default)]
struct Worst {
    ulp: f64,
    x: f32,
    got: f32,
    exact: f64,
}

impl Worst {
    fn see(&mut self, x: f32, got: f32, exact: f64) {
        let ulp = ulp_error(got, exact);
        if ulp > self.ulp {
            *self = Self { ulp, x, got, exact };
        }
    }
}

/// An input at which two tiers differ.
#[derive(Clone, Copy)]
struct Differs {
    x: f32,
    got: f32,
    want: f32,
}

/// What a sweep over some inputs found, in the order of [`Isa::available`].
#[derive(Default)]
struct Found {
    worst: Vec<Worst>,
    differs: Vec<Option<Differs>>,
    inputs: Vec<u64>,
}

impl Found {
    fn new() -> Self {
        let tiers = Isa::available().count();
        Self { worst: vec![Worst::default(); tiers], differs: vec![None; tiers], inputs: vec![0; tiers] }
    }

    /// Evaluates `f` at `inputs` on every tier of which `wanted` is true.
    fn see<F: Function>(&mut self, inputs: &[f32], exact: &mut Vec<f64>, wanted: impl Fn(Isa) -> bool) {
        exact.clear();
        exact.extend(inputs.iter().map(|&x| F::exact(x.into())));
        let mut best = vec![0.0; inputs.len()];
        let mut got = vec![0.0; inputs.len()];
        Isa::best().run(Evaluate { y: &mut best, x: inputs, f: F::default() });
        for (t, isa) in Isa::available().enumerate().filter(|(_, isa)| wanted(*isa)) {
            isa.run(Evaluate { y: &mut got, x: inputs, f: F::default() });
            for ((&x, &got), &exact) in inputs.iter().zip(&got).zip(exact.iter()) {
                self.worst[t].see(x, got, exact);
            }
            self.inputs[t] += inputs.len() as u64;
            if self.differs[t].is_none() && tiers::is_fused(isa) && tiers::is_fused(Isa::best()) {
                let pairs = inputs.iter().zip(&got).zip(&best);
                let differ = |a: f32, b: f32| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan());
                self.differs[t] =
                    pairs.map(|((&x, &got), &want)| Differs { x, got, want }).find(|pair| differ(pair.got, pair.want));
            }
        }
    }

    fn merge(&mut self, other: &Found) {
        for (t, worst) in other.worst.iter().enumerate() {
            if worst.ulp > self.worst[t].ulp {
                self.worst[t] = *worst;
            }
            self.differs[t] = self.differs[t].or(other.differs[t]);
            self.inputs[t] += other.inputs[t];
        }
    }

    /// The first promise of `F` that was broken; prints what was measured.
    fn broken<F: Function>(&self) -> Option<String> {
        let mut broken = None;
        for (t, isa) in Isa::available().enumerate() {
            let Worst { ulp, x, got, exact } = self.worst[t];
            let bound = F::BOUNDS[usize::from(!tiers::is_fused(isa))];
            let line = format!(
                "{} on {isa}: at most {ulp:.4} ULP (bound {bound}) over {} inputs, at {x:e} ({:#010x}): got {got:e}, exactly \
                 {exact:e}",
                F::NAME,
                self.inputs[t],
                x.to_bits(),
            );
            println!("{line}");
            if ulp > bound {
                broken = broken.or(Some(line));
            }
            if let Some(Differs { x, got, want }) = self.differs[t] {
                let best = Isa::best();
                broken = broken.or(Some(format!("{} at {x:e}: {got:e} on {isa}, {want:e} on {best}", F::NAME)));
            }
        }
        broken
    }
}

/// Every `stride`th of all floats; the scalar tier, which is slow, sees every `scalar`th block of those.
fn sweep<F: Function>(stride: usize, scalar: usize) -> Option<String> {
    const BLOCK: usize = 4096;
    let count = (1usize << 32).div_ceil(stride);
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut found, mut exact) = (Found::new(), Vec::new());
        loop {
            let block = next.fetch_add(1, Ordering::Relaxed);
            let first = block * BLOCK;
            if first >= count {
                return found;
            }
            let inputs: Vec<f32> =
                (first..count.min(first + BLOCK)).map(|i| f32::from_bits((i * stride) as u32)).collect();
            found.see::<F>(&inputs, &mut exact, |isa| isa.lanes() > 1 || block.is_multiple_of(scalar));
        }
    };
    let mut found = Found::new();
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            found.merge(&worker.join().unwrap());
        }
    });
    let ran: Vec<_> = Isa::available().enumerate().filter(|(t, _)| found.inputs[*t] > 0).collect();
    tiers::report(F::NAME, &ran.iter().map(|(_, isa)| isa.name()).collect::<Vec<_>>());
    found.broken::<F>()
}

#[track_caller]
fn assert_kept(broken: Option<String>) {
    if let Some(broken) = broken {
        panic!("{broken}");
    }
}

/// Values around which a piece begins or ends, and those that are not ordinary numbers.
fn special() -> Vec<f32> {
    let around = |x: f32| (-8..=8).map(move |i: i32| f32::from_bits(x.to_bits().wrapping_add_signed(i)));
    let ends = [
        f32::MIN_POSITIVE,
        f32::EPSILON,
        0.173_286_8, // a quarter of ln 2
        0.346_573_6, // the half of ln 2
        0.6,
        0.7,
        0.75,
        1.0,
        1.5,
        9.01,
        10.0,
        17.0,
        20.0,
        87.336_54, // e to its negative is the smallest normal number
        88.722_84, // e to it is the largest number
        89.5,
        103.972_08, // e to its negative is half the smallest number
        104.5,
        f32::MAX / 2.0,
    ];
    let subnormals = (0..23).flat_map(|bit| [1u32 << bit, (2 << bit) - 1]).map(f32::from_bits);
    let nans = [f32::NAN, f32::from_bits(0x7f80_0001), f32::from_bits(0x7fff_ffff)];
    ends.into_iter()
        .flat_map(around)
        .chain(subnormals)
        .chain(nans)
        .chain([0.0, f32::MAX, f32::INFINITY])
        .flat_map(|x| [x, -x])
        .collect()
}

/// The special values, each in every lane.
fn special_everywhere<F: Function>() -> Option<String> {
    let mut found = Found::new();
    let special = special();
    for start in 0..16 {
        let inputs: Vec<f32> = special[start..].iter().chain(&special[..start]).copied().collect();
        found.see::<F>(&inputs, &mut Vec::new(), |_| true);
    }
    found.broken::<F>()
}

/// Makes the tests of one function.
macro_rules! tests_of {
    ($Type:ident, $sampled:ident, $special:ident) => {
        #[test]
        fn $sampled() {
            assert_kept(sweep::<$Type>(61, 16));
        }

        #[test]
        fn $special() {
            assert_kept(special_everywhere::<$Type>());
        }
    };
}

tests_of!(Exp, exp_over_every_61st_float, exp_of_special_values);
tests_of!(Ln, ln_over_every_61st_float, ln_of_special_values);
tests_of!(Tanh, tanh_over_every_61st_float, tanh_of_special_values);
tests_of!(Sigmoid, sigmoid_over_every_61st_float, sigmoid_of_special_values);
tests_of!(Sin, sin_over_every_61st_float, sin_of_special_values);
tests_of!(Cos, cos_over_every_61st_float, cos_of_special_values);
tests_of!(Expm1, expm1_over_every_61st_float, expm1_of_special_values);
tests_of!(Softplus, softplus_over_every_61st_float, softplus_of_special_values);
tests_of!(Silu, silu_over_every_61st_float, silu_of_special_values);

#[test]
fn one_wrong_value_is_found() {
    let mut found = Found::new();
    let inputs: Vec<f32> = (0..100).map(|i| i as f32).collect();
    found.see::<WrongExp>(&inputs, &mut Vec::new(), |_| true);
    let broken = found.broken::<WrongExp>().expect("an error of two ULP was accepted");
    assert!(broken.contains("at 6.1e1"), "{broken}");
    let mut right = Found::new();
    right.see::<Exp>(&inputs, &mut Vec::new(), |_| true);
    assert_kept(right.broken::<Exp>());
}

#[test]
fn tiers_that_differ_are_found() {
    /// The identity, but for the three of a wide register.
    #[derive(Clone, Copy, Default)]
    struct TellsItsTier;
    impl Map<1, 1> for TellsItsTier {
        #[inline(always)]
        fn eval<S: Simd>(self, s: S, [x]: [S::F32; 1], _: [S::F32; 1]) -> [S::F32; 1] {
            let three = if S::LANES > 1 { 3.0 + 2.0 * f32::EPSILON } else { 3.0 };
            [s.select(s.eq(x, s.splat(3.0)), s.splat(three), x)]
        }
    }
    impl Function for TellsItsTier {
        const NAME: &'static str = "TellsItsTier";
        const BOUNDS: [f64; 2] = [1.0, 1.0];
        fn exact(x: f64) -> f64 {
            x
        }
    }
    let mut found = Found::new();
    found.see::<TellsItsTier>(&[1.0, 2.0, 3.0, 4.0], &mut Vec::new(), |_| true);
    let broken = found.broken::<TellsItsTier>();
    if tiers::is_fused(Isa::best()) {
        let broken = broken.expect("different bits were accepted");
        assert!(broken.contains("at 3e0") && broken.contains("on scalar"), "{broken}");
    }
}

#[test]
fn errors_are_counted_in_units_of_the_last_place() {
    let next = |x: f32, n: i32| f32::from_bits(x.to_bits().wrapping_add_signed(n));
    assert_eq!(ulp_error(1.0, 1.0), 0.0);
    assert_eq!(ulp_error(next(1.0, 3), 1.0), 3.0);
    assert_eq!(ulp_error(next(1.0, -2), 1.0), 1.0);
    assert_eq!(ulp_error(1.0, 1.0 + 2f64.powi(-24)), 0.5);
    assert_eq!(ulp_error(0.0, 2f64.powi(-150)), 0.5);
    assert_eq!(ulp_error(f32::from_bits(7), 5.0 * 2f64.powi(-149)), 2.0);
    assert_eq!(ulp_error(f32::INFINITY, f64::from(f32::MAX)), 1.0);
    assert_eq!(ulp_error(f32::MAX, 1e300), 1.0);
    assert_eq!(ulp_error(f32::INFINITY, 1e300), 0.0);
    for (got, exact) in [
        (f32::NAN, 1.0),
        (1.0, f64::NAN),
        (f32::MAX, f64::INFINITY),
        (f32::NEG_INFINITY, f64::INFINITY),
        (-0.0, 0.0),
        (f32::MIN_POSITIVE, 0.0),
    ] {
        assert_eq!(ulp_error(got, exact), f64::INFINITY, "{got} for {exact}");
    }
    assert!(ulp_error(f32::INFINITY, 1.0) > 1e30);
}
