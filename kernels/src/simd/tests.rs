//! Every method on every tier against its definition, lane by lane.

#[allow(dead_code, clippy::duplicate_mod, reason = "shared with the test programs")]
#[path = "../../tests/common/random.rs"]
mod random;
#[allow(dead_code, clippy::duplicate_mod, reason = "shared with the test programs")]
#[path = "../../tests/common/tiers.rs"]
mod tiers;

use super::scalar::Scalar;
use super::*;
use crate::error::Error;
use random::Random;
use std::process::Command;
use std::ptr::NonNull;

/// Values at which something may go wrong: both signs of each, and NaN.
fn special() -> Vec<f32> {
    let tiny = f32::from_bits(1);
    let magnitudes = [
        0.0,
        tiny,
        3.0 * tiny,
        f32::MIN_POSITIVE - tiny,
        f32::MIN_POSITIVE,
        1e-30,
        f32::EPSILON,
        0.499_999_97,
        0.5,
        0.500_000_06,
        0.75,
        1.0 - f32::EPSILON / 2.0,
        1.0,
        1.0 + f32::EPSILON,
        1.5,
        2.5,
        3.7,
        4_194_303.5,
        8_388_607.5,
        16_777_217.0,
        1e30,
        f32::MAX,
        f32::INFINITY,
    ];
    magnitudes.into_iter().flat_map(|x| [x, -x]).chain([f32::NAN, -f32::NAN]).collect()
}

/// [`special`] and random bits.
fn values(count: usize) -> Vec<f32> {
    let mut random = Random::new(1);
    special().into_iter().chain((0..count).map(|_| f32::from_bits(random.bits() as u32))).collect()
}

fn is_same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// A register of `x`, which has as many elements as it has lanes.
fn vector<S: Simd>(s: S, x: &[f32]) -> S::F32 {
    assert_eq!(x.len(), S::LANES);
    // SAFETY: `x` has `LANES` elements.
    unsafe { s.load(x.as_ptr()) }
}

fn lanes<S: Simd>(s: S, x: S::F32) -> Vec<f32> {
    let mut lanes = vec![f32::NAN; S::LANES];
    // SAFETY: `lanes` has `LANES` elements.
    unsafe { s.store(lanes.as_mut_ptr(), x) };
    lanes
}

fn truths<S: Simd>(s: S, m: S::Mask) -> Vec<bool> {
    lanes(s, s.select(m, s.splat(1.0), s.zero())).into_iter().map(|x| x == 1.0).collect()
}

/// The first lane, with its arguments, in which `f` is not `want`, each tuple of `args` having stood in each lane.
fn first_wrong<S: Simd, const N: usize>(
    s: S,
    args: &[[f32; N]],
    f: impl Fn([S::F32; N]) -> S::F32,
    want: impl Fn([f32; N]) -> f32,
) -> Option<String> {
    let want: Vec<f32> = args.iter().map(|&x| want(x)).collect();
    let at = |start: usize, lane: usize| (start + lane) % args.len();
    for start in 0..args.len() {
        let mut x = [s.zero(); N];
        for (k, x) in x.iter_mut().enumerate() {
            let column: Vec<f32> = (0..S::LANES).map(|lane| args[at(start, lane)][k]).collect();
            *x = vector(s, &column);
        }
        for (lane, got) in lanes(s, f(x)).into_iter().enumerate() {
            let (x, want) = (args[at(start, lane)], want[at(start, lane)]);
            if !is_same(got, want) {
                return Some(format!("lane {lane} of {}: got {got:e}, want {want:e} from {x:?}", S::LANES));
            }
        }
    }
    None
}

#[track_caller]
fn check<S: Simd, const N: usize>(
    s: S,
    name: &str,
    args: &[[f32; N]],
    f: impl Fn([S::F32; N]) -> S::F32,
    want: impl Fn([f32; N]) -> f32,
) {
    if let Some(wrong) = first_wrong(s, args, f, want) {
        panic!("{name}: {wrong}");
    }
}

fn singles(values: &[f32]) -> Vec<[f32; 1]> {
    values.iter().map(|&x| [x]).collect()
}

fn pairs(values: &[f32]) -> Vec<[f32; 2]> {
    values.iter().flat_map(|&a| values.iter().map(move |&b| [a, b])).collect()
}

/// All triples of special values, and random ones in which the product and the sum are of a size.
fn triples() -> Vec<[f32; 3]> {
    let few: Vec<f32> = special().into_iter().step_by(2).chain([f32::NAN, -1.0, -0.0]).collect();
    let mut random = Random::new(2);
    let random = (0..5_000).map(move |_| [random.uneven(), random.uneven(), random.uneven()]);
    pairs(&few).into_iter().flat_map(|[a, b]| few.iter().map(move |&c| [a, b, c])).chain(random).collect()
}

/// Runs `test` on every tier and says which those were.
fn on_every_tier(name: &str, test: impl Kernel<Output = ()> + Copy) {
    tiers::on_every_tier(name, |isa| isa.run(test));
}

#[derive(Clone, Copy)]
struct OneOperand;

impl Kernel for OneOperand {
    type Output = ();
    fn run<S: Simd>(self, s: S) {
        let all = singles(&values(2_000));
        check(s, "splat", &all, |[a]| a, |[a]| a);
        check(s, "sqrt", &all, |[a]| s.sqrt(a), |[a]| a.sqrt());
        check(s, "abs", &all, |[a]| s.abs(a), |[a]| f32::from_bits(a.to_bits() & 0x7fff_ffff));
        let small: Vec<[f32; 1]> = all.iter().copied().filter(|[a]| a.is_nan() || a.abs() < 4_194_304.0).collect();
        check(s, "round", &small, |[a]| s.round(a), |[a]| a.round_ties_even());
        for x in special() {
            assert!(lanes(s, s.splat(x)).into_iter().all(|lane| is_same(lane, x)), "splat {x}");
        }
        assert!(lanes(s, s.zero()).into_iter().all(|lane| lane.to_bits() == 0), "zero");
    }
}

#[test]
fn functions_of_one_operand() {
    on_every_tier("functions_of_one_operand", OneOperand);
}

#[derive(Clone, Copy)]
struct TwoOperands;

impl Kernel for TwoOperands {
    type Output = ();
    fn run<S: Simd>(self, s: S) {
        let all = pairs(&values(20));
        check(s, "add", &all, |[a, b]| s.add(a, b), |[a, b]| a + b);
        check(s, "sub", &all, |[a, b]| s.sub(a, b), |[a, b]| a - b);
        check(s, "mul", &all, |[a, b]| s.mul(a, b), |[a, b]| a * b);
        check(s, "div", &all, |[a, b]| s.div(a, b), |[a, b]| a / b);
        check(s, "max", &all, |[a, b]| s.max(a, b), |[a, b]| if a > b { a } else { b });
        check(s, "min", &all, |[a, b]| s.min(a, b), |[a, b]| if a < b { a } else { b });
        let maximum = |[a, b]: [f32; 2]| if a.is_nan() || a > b { a } else { b };
        check(s, "maximum", &all, |[a, b]| s.maximum(a, b), maximum);
        check(s, "copysign", &all, |[a, b]| s.copysign(a, b), |[a, b]| a.copysign(b));
    }
}

#[test]
fn functions_of_two_operands() {
    on_every_tier("functions_of_two_operands", TwoOperands);
}

/// The operand that `max` and `min` return on NaN and on zeros is part of their meaning: here are those cases alone,
/// with their results written out.
#[derive(Clone, Copy)]
struct OperandOrder;

impl Kernel for OperandOrder {
    type Output = ();
    fn run<S: Simd>(self, s: S) {
        let nan = f32::NAN;
        for (a, b, want) in [(nan, 1.0, 1.0), (1.0, nan, nan), (0.0, -0.0, -0.0), (-0.0, 0.0, 0.0), (nan, nan, nan)] {
            for (name, got) in [("max", s.max(s.splat(a), s.splat(b))), ("min", s.min(s.splat(a), s.splat(b)))] {
                assert!(lanes(s, got).into_iter().all(|got| is_same(got, want)), "{name}({a}, {b}) must be {want}");
            }
        }
        for (a, b) in [(nan, 1.0), (1.0, nan), (nan, nan), (nan, f32::INFINITY), (f32::INFINITY, nan)] {
            let got = lanes(s, s.maximum(s.splat(a), s.splat(b)));
            assert!(got.into_iter().all(f32::is_nan), "maximum({a}, {b}) must be NaN");
        }
    }
}

#[test]
fn max_and_min_return_the_second_operand_on_nan_and_zeros() {
    on_every_tier("max_and_min_return_the_second_operand_on_nan_and_zeros", OperandOrder);
}

#[derive(Clone, Copy)]
struct MultiplyAdd {
    is_fused: bool,
}

impl Kernel for MultiplyAdd {
    type Output = ();
    fn run<S: Simd>(self, s: S) {
        let all = triples();
        let fma = |[a, b, c]: [f32; 3]| if self.is_fused { a.mul_add(b, c) } else { a * b + c };
        let fnma = |[a, b, c]: [f32; 3]| if self.is_fused { (-a).mul_add(b, c) } else { c - a * b };
        check(s, "fma", &all, |[a, b, c]| s.fma(a, b, c), fma);
        check(s, "fnma", &all, |[a, b, c]| s.fnma(a, b, c), fnma);
        let other = |[a, b, c]: [f32; 3]| if self.is_fused { a * b + c } else { a.mul_add(b, c) };
        let wrong = first_wrong(s, &all, |[a, b, c]| s.fma(a, b, c), other);
        assert!(wrong.is_some(), "one rounding and two cannot be told apart");
    }
}

#[test]
fn multiply_add_rounds_as_often_as_its_tier_says() {
    tiers::on_every_tier("multiply_add_rounds_as_often_as_its_tier_says", |isa| {
        let is_fused = tiers::is_fused(isa);
        assert_eq!(isa.is_fused(), is_fused, "{isa}");
        isa.run(MultiplyAdd { is_fused });
    });
}

#[derive(Clone, Copy)]
struct Exponents;

impl Kernel for Exponents {
    type Output = ();
    fn run<S: Simd>(self, s: S) {
        let mut random = Random::new(3);
        let ends = [2f32.powi(-25), 2f32.powi(25), 0.75, 1.0, 1.0 + f32::EPSILON, 1.5 - f32::EPSILON, 1.999_999_9];
        let mut args = Vec::new();
        for n in -252..=252 {
            let drawn = (0..8).map(|_| (1.0 + random.unit().abs()) * (random.below(49) as f32 - 24.0).exp2());
            for a in ends.into_iter().chain(drawn.collect::<Vec<_>>()) {
                args.extend([[a, n as f32], [-a, n as f32]]);
            }
        }
        args.extend([[f32::NAN, 3.0], [1.0, f32::NAN], [f32::NAN, f32::NAN]]);
        // The power of two is exact in f64, so the conversion rounds once.
        let scale2 = |[a, n]: [f32; 2]| if n.is_nan() { n } else { (f64::from(a) * f64::from(n).exp2()) as f32 };
        check(s, "scale2", &args, |[a, n]| s.scale2(a, n), scale2);

        let subnormals = (0..23).flat_map(|bit| [1 << bit, (1 << bit) + 1, (2 << bit) - 1]).map(f32::from_bits);
        let drawn = (0..5_000).map(|_| f32::from_bits(random.below(0x7f80_0000) as u32));
        let positive: Vec<[f32; 1]> = special()
            .into_iter()
            .chain(subnormals)
            .chain(drawn)
            .filter(|a| a.is_finite() && *a > 0.0)
            .map(|a| [a])
            .collect();
        check(s, "frexp, mantissa", &positive, |[a]| s.frexp(a).0, |[a]| frexp(a).0);
        check(s, "frexp, exponent", &positive, |[a]| s.frexp(a).1, |[a]| frexp(a).1);
    }
}

/// `a = mantissa * 2^exponent` with the mantissa in `[0.75, 1.5)`, by search.
fn frexp(a: f32) -> (f32, f32) {
    let (mut mantissa, mut exponent) = (f64::from(a), 0.0);
    while mantissa < 0.75 {
        mantissa *= 2.0;
        exponent -= 1.0;
    }
    while mantissa >= 1.5 {
        mantissa /= 2.0;
        exponent += 1.0;
    }
    (mantissa as f32, exponent)
}

#[test]
fn exponents_are_scaled_and_split_with_one_rounding() {
    on_every_tier("exponents_are_scaled_and_split_with_one_rounding", Exponents);
}

#[derive(Clone, Copy)]
struct Masks;

impl Kernel for Masks {
    type Output = ();
    fn run<S: Simd>(self, s: S) {
        let all = pairs(&values(20));
        let number = |truth: bool| if truth { 2.0 } else { 3.0 };
        let select = |m| s.select(m, s.splat(2.0), s.splat(3.0));
        check(s, "lt", &all, |[a, b]| select(s.lt(a, b)), |[a, b]| number(a < b));
        check(s, "eq", &all, |[a, b]| select(s.eq(a, b)), |[a, b]| number(a == b));
        let not_less = |[a, b]: [f32; 2]| number(a >= b || a.is_nan() || b.is_nan());
        check(s, "not lt", &all, |[a, b]| select(s.not(s.lt(a, b))), not_less);
        check(s, "not not eq", &all, |[a, b]| select(s.not(s.not(s.eq(a, b)))), |[a, b]| number(a == b));
        check(s, "is_nan", &all, |[a, _]| select(s.is_nan(a)), |[a, _]| number(a.is_nan()));
        check(s, "select", &all, |[a, b]| s.select(s.lt(a, b), a, b), |[a, b]| if a < b { a } else { b });

        let mut args = vec![0.0; S::LANES];
        assert!(!s.any(s.lt(vector(s, &args), s.zero())), "any of no lane");
        for lane in 0..S::LANES {
            args[lane] = -1.0;
            assert!(s.any(s.lt(vector(s, &args), s.zero())), "any of lane {lane}");
            assert_eq!(s.any(s.not(s.lt(vector(s, &args), s.zero()))), S::LANES > 1, "any but lane {lane}");
            args[lane] = 0.0;
        }

        let huge = [usize::MAX, i32::MAX as usize, i32::MAX as usize + 2, u32::MAX as usize];
        for n in (0..=2 * S::LANES + 1).chain(huge) {
            let want: Vec<bool> = (0..S::LANES).map(|lane| lane < n).collect();
            assert_eq!(truths(s, s.head(n)), want, "head({n})");
            let want: Vec<bool> = want.into_iter().map(|truth| !truth).collect();
            assert_eq!(truths(s, s.not(s.head(n))), want, "not head({n})");
        }
    }
}

/// Four registers at a time give the bits that each gives alone.
#[derive(Clone, Copy)]
struct Quarters;

impl Kernel for Quarters {
    type Output = ();
    fn run<S: Simd>(self, s: S) {
        if S::LANES < 4 {
            return;
        }
        let mut random = Random::new(5);
        for _ in 0..200 {
            let numbers: Vec<f32> = (0..4 * S::LANES).map(|_| random.unit() * 1e3).collect();
            let rows: [S::F32; 4] = std::array::from_fn(|r| vector(s, &numbers[r * S::LANES..][..S::LANES]));
            let all = |x: f32| vec![x.to_bits(); S::LANES];
            let sums = s.quarters(s.fold_add4(rows)).map(|x| bits(s, x));
            assert_eq!(sums, rows.map(|row| all(s.fold_add(row))), "fold_add4");
            let greatest = s.quarters(s.fold_max4(rows)).map(|x| bits(s, x));
            assert_eq!(greatest, rows.map(|row| all(s.fold_max(row))), "fold_max4");
            let four = [numbers[0], numbers[1], numbers[2], numbers[3]];
            assert_eq!(s.quarters(s.in_quarters(four)).map(|x| bits(s, x)), four.map(all), "in_quarters");
            assert_eq!(rows.map(|row| s.first(row)), std::array::from_fn(|r| numbers[r * S::LANES]), "first");
        }
    }
}

fn bits<S: Simd>(s: S, x: S::F32) -> Vec<u32> {
    let mut lanes = vec![0.0; S::LANES];
    // SAFETY: there is room for a register.
    unsafe { s.store(lanes.as_mut_ptr(), x) };
    lanes.into_iter().map(f32::to_bits).collect()
}

#[test]
fn four_registers_fold_as_one_does() {
    on_every_tier("four_registers_fold_as_one_does", Quarters);
}

#[test]
fn masks_select_lane_by_lane() {
    on_every_tier("masks_select_lane_by_lane", Masks);
}

/// All 32 bits of each lane, from the upper 24 as they are and with the lower 8 on top.
fn words<S: Simd>(s: S, x: S::U32) -> Vec<u32> {
    let upper = lanes(s, s.top24_u32(x));
    let lower = lanes(s, s.top24_u32(s.rotate_u32::<24>(x)));
    upper.into_iter().zip(lower).map(|(upper, lower)| ((upper as u32) << 8) | (lower as u32 >> 16)).collect()
}

#[derive(Clone, Copy)]
struct Integers;

impl Integers {
    /// Rotations by `N` of what makes every lane another number.
    fn rotate<const N: i32, S: Simd>(s: S, random: &mut Random) {
        for _ in 0..200 {
            let (first, other) = (random.bits() as u32, random.bits() as u32);
            let x = s.xor_u32(s.add_u32(s.count_u32(), s.splat_u32(first)), s.splat_u32(other));
            let want = (0..S::LANES as u32).map(|lane| (first.wrapping_add(lane) ^ other).rotate_left(N as u32));
            assert_eq!(words(s, s.rotate_u32::<N>(x)), want.collect::<Vec<_>>(), "rotate_u32 by {N}");
        }
    }
}

impl Kernel for Integers {
    type Output = ();
    fn run<S: Simd>(self, s: S) {
        let count: Vec<u32> = (0..S::LANES as u32).collect();
        assert_eq!(words(s, s.count_u32()), count, "count_u32");
        let each = |f: &dyn Fn(u32) -> u32| count.iter().map(|&lane| f(lane)).collect::<Vec<_>>();
        let mut random = Random::new(6);
        let drawn = (0..200).map(|_| random.bits() as u32).collect::<Vec<_>>();
        let ends = [0, 1, 0xff, 0x100, 0x7fff_ffff, 0x8000_0000, u32::MAX - 3, u32::MAX];
        for x in ends.into_iter().chain(drawn) {
            let all = s.splat_u32(x);
            assert_eq!(words(s, all), each(&|_| x), "splat_u32");
            let top = lanes(s, s.top24_u32(s.add_u32(all, s.count_u32())));
            let want: Vec<f32> = count.iter().map(|&lane| (x.wrapping_add(lane) / 256) as f32).collect();
            assert_eq!(top, want, "top24_u32");
            assert_eq!(words(s, s.add_u32(all, s.count_u32())), each(&|lane| x.wrapping_add(lane)), "add_u32");
            assert_eq!(words(s, s.add_u32(s.count_u32(), all)), each(&|lane| lane.wrapping_add(x)), "add_u32");
            assert_eq!(words(s, s.xor_u32(all, s.count_u32())), each(&|lane| x ^ lane), "xor_u32");
            assert_eq!(words(s, s.xor_u32(all, all)), each(&|_| 0), "xor_u32");
        }
        Self::rotate::<1, S>(s, &mut random);
        Self::rotate::<6, S>(s, &mut random);
        Self::rotate::<13, S>(s, &mut random);
        Self::rotate::<15, S>(s, &mut random);
        Self::rotate::<16, S>(s, &mut random);
        Self::rotate::<17, S>(s, &mut random);
        Self::rotate::<24, S>(s, &mut random);
        Self::rotate::<26, S>(s, &mut random);
        Self::rotate::<29, S>(s, &mut random);
        Self::rotate::<31, S>(s, &mut random);
    }
}

#[test]
fn whole_numbers_wrap_and_rotate_lane_by_lane() {
    on_every_tier("whole_numbers_wrap_and_rotate_lane_by_lane", Integers);
}

#[derive(Clone, Copy)]
struct Memory;

impl Kernel for Memory {
    type Output = ();
    fn run<S: Simd>(self, s: S) {
        const GUARD: f32 = -77.0;
        let special = special();
        // Every alignment of a register, and every special value in every lane.
        for start in 0..special.len() + S::LANES {
            let data: Vec<f32> = (0..start + S::LANES).map(|i| special[i % special.len()]).collect();
            let want = &data[start..];
            let got = lanes(s, vector(s, want));
            assert!(got.iter().zip(want).all(|(&a, &b)| is_same(a, b)), "load at {start}: {got:?}, want {want:?}");

            for n in 0..=2 * S::LANES + 1 {
                let held = n.min(S::LANES);
                // NaN lies before the first element and nothing behind the last.
                let mut exact = vec![f32::NAN; start % 17];
                exact.extend(&want[..held]);
                // SAFETY: the buffer holds `n.min(LANES)` floats from there on.
                let got = lanes(s, unsafe { s.load_head(exact.as_ptr().add(start % 17), n) });
                for (lane, &got) in got.iter().enumerate() {
                    let want = if lane < n { want[lane] } else { 0.0 };
                    assert!(is_same(got, want), "load_head of {n} at {start}: lane {lane} is {got}, want {want}");
                }
                let mut out = vec![GUARD; start % 17 + held + 2 * S::LANES];
                // SAFETY: the buffer holds more than `n.min(LANES)` floats from there on.
                unsafe { s.store_head(out.as_mut_ptr().add(start % 17), n, vector(s, want)) };
                for (place, &got) in out.iter().enumerate() {
                    let lane = place.wrapping_sub(start % 17);
                    let want = if lane < held { want[lane] } else { GUARD };
                    assert!(is_same(got, want), "store_head of {n} at {start}: lane {lane} is {got}, want {want}");
                }
            }
        }
        // An address that must not be touched.
        let nowhere = NonNull::<f32>::dangling().as_ptr();
        // SAFETY: no float is read or written.
        let got = unsafe {
            s.store_head(nowhere, 0, s.splat(1.0));
            s.load_head(nowhere, 0)
        };
        assert!(lanes(s, got).into_iter().all(|x| x.to_bits() == 0), "load_head of nothing");
    }
}

#[test]
fn loads_and_stores_touch_what_they_say() {
    on_every_tier("loads_and_stores_touch_what_they_say", Memory);
}

#[derive(Clone, Copy)]
struct Across;

impl Kernel for Across {
    type Output = ();
    fn run<S: Simd>(self, s: S) {
        let a: Vec<f32> = (0..S::LANES).map(|i| i as f32).collect();
        let b: Vec<f32> = (0..S::LANES).map(|i| 100.0 + i as f32).collect();
        let (first, second) = s.zip(vector(s, &a), vector(s, &b));
        let got: Vec<f32> = lanes(s, first).into_iter().chain(lanes(s, second)).collect();
        let want: Vec<f32> = a.iter().zip(&b).flat_map(|(&a, &b)| [a, b]).collect();
        assert_eq!(got, want, "zip");

        let mut random = Random::new(4);
        let special = special();
        for round in 0..4_000 {
            // Mostly random values, with a special one in each lane in turn.
            let mut x: Vec<f32> = (0..S::LANES).map(|_| random.uneven()).collect();
            if round % 2 == 0 {
                x[round / 2 % S::LANES] = special[round / 2 / S::LANES % special.len()];
            } else if round % 3 == 0 {
                x.fill_with(|| random.pick(&special));
            }
            let register = vector(s, &x);
            let (got, want) = (s.fold_add(register), fold(&x, |a, b| a + b));
            assert!(is_same(got, want), "fold_add: got {got:e}, want {want:e} from {x:?}");
            let (got, want) = (s.fold_max(register), fold(&x, |a, b| if a > b { a } else { b }));
            assert!(is_same(got, want), "fold_max: got {got:e}, want {want:e} from {x:?}");
        }
    }
}

/// Lane `i` with lane `i + width/2`, until one is left.
fn fold(x: &[f32], f: impl Fn(f32, f32) -> f32 + Copy) -> f32 {
    if let [one] = x {
        return *one;
    }
    let (low, high) = x.split_at(x.len() / 2);
    fold(&low.iter().zip(high).map(|(&a, &b)| f(a, b)).collect::<Vec<_>>(), f)
}

#[test]
fn lanes_are_interleaved_and_folded_in_the_written_order() {
    on_every_tier("lanes_are_interleaved_and_folded_in_the_written_order", Across);
}

/// Another kernel in a shell of its own.
#[derive(Clone, Copy)]
struct Nested;

impl Kernel for Nested {
    type Output = ();
    fn run<S: Simd>(self, s: S) {
        assert!(s.vectorize(IsFused) == IsFused.run(s));
    }
}

#[test]
fn a_kernel_may_enter_a_second_shell() {
    on_every_tier("a_kernel_may_enter_a_second_shell", Nested);
}

#[test]
fn a_wrong_lane_is_found() {
    struct LaneOff(usize);
    impl Kernel for LaneOff {
        type Output = Option<String>;
        fn run<S: Simd>(self, s: S) -> Option<String> {
            let wrong = |[a]: [S::F32; 1]| {
                let mut x = lanes(s, a);
                x[self.0] = f32::from_bits(x[self.0].to_bits() ^ 1);
                vector(s, &x)
            };
            first_wrong(s, &[[1.0], [2.0], [3.0]], wrong, |[a]| a)
        }
    }
    for isa in Isa::available() {
        for lane in 0..isa.lanes() {
            let message = isa.run(LaneOff(lane)).unwrap_or_else(|| panic!("{isa}: lane {lane} may be wrong"));
            assert!(message.starts_with(&format!("lane {lane} of")), "{message}");
        }
        assert!(!is_same(0.0, -0.0) && !is_same(f32::NAN, 0.0) && is_same(f32::NAN, -f32::NAN));
    }
    assert!(first_wrong(Scalar, &[[1.0]], |[a]| a, |[a]| a).is_none());
}

#[test]
fn tiers_have_names_and_lanes_and_are_ordered() {
    let got: Vec<_> = Isa::available().map(|isa| (isa.name(), isa.lanes())).collect();
    let all = [("scalar", 1), ("portable", 8), ("avx2", 8), ("avx512", 16)];
    let want: Vec<_> = all.into_iter().filter(|(name, _)| tiers::expected().contains(name)).collect();
    assert_eq!(got, want);
    assert_eq!(Isa::best().name(), want[want.len() - 1].0);
    for isa in Isa::available() {
        assert_eq!(Isa::from_name(isa.name()), Ok(isa));
        assert_eq!((isa.to_string(), format!("{isa:?}")), (isa.name().to_owned(), isa.name().to_owned()));
        assert_eq!(Isa::available().filter(|&other| other == isa).count(), 1);
    }
}

#[test]
fn a_name_that_is_no_tier_here_is_an_error_with_the_names_that_are() {
    let available = tiers::expected().join(", ");
    for name in ["mmx", "AVX2", "", " avx2", "avx-512"] {
        let error: Error = Isa::from_name(name).unwrap_err();
        let reason = "no such tier in this build";
        let kind = ErrorKind::Isa { name: name.to_owned(), reason, available: available.clone() };
        assert_eq!(*error.kind(), kind);
        let text = format!("instruction set `{name}`: no such tier in this build (available: {available})");
        assert_eq!(error.to_string(), text);
    }
    for (name, _) in Isa::rows().filter(|(_, isa)| isa.is_none()) {
        let text = format!("instruction set `{name}`: this CPU lacks it (available: {available})");
        assert_eq!(Isa::from_name(name).unwrap_err().to_string(), text);
    }
}

/// Prints the tier that the environment asks for.
#[test]
#[ignore = "run by `the_environment_names_the_tier` as a process with an environment of its own"]
fn print_the_tier_of_the_environment() {
    match Isa::from_env() {
        Ok(isa) => println!("tier: {isa}"),
        Err(error) => println!("error: {error}"),
    }
}

#[test]
fn the_environment_names_the_tier() {
    let run = |value: Option<&str>| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "simd::tests::print_the_tier_of_the_environment", "--ignored", "--nocapture"]);
        match value {
            Some(value) => child.env("HANDGRAD_ISA", value),
            None => child.env_remove("HANDGRAD_ISA"),
        };
        match child.output() {
            Ok(output) => Some(String::from_utf8(output.stdout).unwrap()),
            // Under an emulator the program is not one that this system can start.
            Err(error) if error.raw_os_error() == Some(8) => None,
            Err(error) => panic!("{error}"),
        }
    };
    let Some(unset) = run(None) else {
        println!("the_environment_names_the_tier: not run, this system cannot start its own test program");
        return;
    };
    let says = |output: &str, line: &str| assert!(output.contains(line), "want `{line}` in:\n{output}");
    says(&unset, &format!("tier: {}\n", Isa::best()));
    for isa in Isa::available() {
        says(&run(Some(isa.name())).unwrap(), &format!("tier: {isa}\n"));
    }
    let available = tiers::expected().join(", ");
    for name in ["sse9", ""] {
        let reason = "no such tier in this build";
        says(
            &run(Some(name)).unwrap(),
            &format!("error: instruction set `{name}`: {reason} (available: {available})\n"),
        );
    }
}
