//! `pow` over random pairs and over every pair of special values.

use crate::ulp::{Limit, Worst, ulp_error};
use crate::walk::{self, BLOCK, Differs, Found};
use handgrad::kernels::view::{View, ViewMut};
use handgrad::kernels::{Exec, op};
use handgrad::{Isa, kernels};

/// With a fused multiply-add, and without.
const LIMITS: [f64; 2] = [2.0, 2.5];
/// Pairs of an ordinary run.
const PAIRS: u64 = 1_000_000;

/// The `SplitMix64` generator, which can begin anywhere.
fn random(i: u64) -> u64 {
    let x = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Pair `i`: any two floats, or a base and an exponent whose power is about as likely to be of any size, or a base and
/// a whole exponent.
fn pair(i: u64) -> [f32; 2] {
    let (bits, more) = (random(2 * i), random(2 * i + 1));
    let [a, b] = [bits as u32, (bits >> 32) as u32].map(f32::from_bits);
    let unit = (more >> 11) as f64 / (1u64 << 53) as f64;
    match more % 8 {
        0 => [a, b],
        1 => [a, ((bits >> 32) % 129) as f32 - 64.0],
        // The logarithm of the power is between those of the smallest and the largest float, and somewhat beyond.
        _ => {
            let base = f64::from(a.abs()).log2();
            let b = (unit * 290.0 - 155.0) / base;
            if b.is_finite() { [a.abs(), b as f32] } else { [a, b as f32] }
        }
    }
}

/// Evaluates pairs on every tier of which `wanted` is true.
fn see([a, b]: [&[f32]; 2], found: &mut Found, wanted: impl Fn(Isa) -> bool) {
    let shape = [a.len()];
    let run = |isa: Isa| -> kernels::Result<Vec<f32>> {
        let mut y = vec![f32::NAN; a.len()];
        let exec = Exec::serial()?.with_isa(isa);
        op::pow::forward(&exec, ViewMut::new(&mut y, &shape)?, View::new(a, &shape)?, View::new(b, &shape)?)?;
        Ok(y)
    };
    let exact: Vec<f64> = a.iter().zip(b).map(|(&a, &b)| f64::from(a).powf(b.into())).collect();
    let want = run(walk::measured()).unwrap();
    for (tier, isa) in found.0.iter_mut().zip(Isa::available()).filter(|(_, isa)| wanted(*isa)) {
        tier.inputs += a.len() as u64;
        let got = if isa == walk::measured() { want.clone() } else { run(isa).unwrap() };
        if isa == walk::measured() || !isa.is_fused() {
            tier.worst.see(a, &got, &exact, limit(isa), None);
        } else if tier.differs.is_none() {
            tier.differs = walk::difference(&got, &want).map(|place| Differs {
                inputs: vec![a[place], b[place]],
                got: got[place],
                want: want[place],
            });
        }
    }
}

fn limit(isa: Isa) -> Limit {
    Limit { ulp: LIMITS[usize::from(!isa.is_fused())], of_terms: 0.0 }
}

fn random_pairs(pairs: u64, scalar: u64) {
    let found = walk::on_blocks(pairs.div_ceil(BLOCK as u64), |blocks| {
        let mut found = Found::new();
        for block in blocks {
            let first = block * BLOCK as u64;
            let (a, b): (Vec<_>, Vec<_>) =
                (first..pairs.min(first + BLOCK as u64)).map(pair).map(|[a, b]| (a, b)).unzip();
            see([&a, &b], &mut found, |isa| isa.name() != "scalar" || block.is_multiple_of(scalar));
        }
        found
    });
    let report = walk::report("pow of x and y", LIMITS, &found, |isa, worst: &Worst| worst.over(limit(isa)).err());
    report.unwrap_or_else(|wrong| panic!("{wrong}"));
}

mod sampled {
    #[test]
    fn pow() {
        super::random_pairs(
            crate::walk::setting("HANDGRAD_ACCURACY_PAIRS", super::PAIRS),
            crate::walk::scalar_share(16),
        );
    }
}

mod all_floats {
    #[test]
    #[ignore = "10^9 pairs: minutes"]
    fn pow() {
        let pairs = crate::walk::setting("HANDGRAD_ACCURACY_PAIRS", 1_000_000_000);
        super::random_pairs(pairs, crate::walk::scalar_share(1));
    }
}

/// What is wrong with a power of special values: C and IEEE 754 say what each must be, and so does `powf` in f64, where
/// none of these overflows that would not in f32, and those that vanish keep their sign.
fn special(a: f32, b: f32, got: f32, limit: f64) -> Result<(), String> {
    let exact = f64::from(a).powf(b.into());
    let sign = got.is_nan() || got.is_sign_negative() == exact.is_sign_negative();
    let error = ulp_error(got, exact);
    if sign && error <= limit {
        return Ok(());
    }
    Err(format!("{a:e}^{b:e} is {got:e}, exactly {exact:e}"))
}

#[test]
fn special_pairs() {
    let numbers = [
        0.0,
        0.25,
        0.5,
        1.0,
        1.5,
        2.0,
        2.5,
        3.0,
        4.0,
        5.0,
        127.0,
        128.0,
        149.0,
        150.0,
        8_388_607.5,
        16_777_215.0,
        16_777_216.0,
        16_777_218.0,
        1e10,
        1e18,
        1e30,
        f32::MAX,
        f32::INFINITY,
        f32::MIN_POSITIVE,
        1e-40,
        f32::EPSILON,
        f32::from_bits(1),
        1.0 + f32::EPSILON,
        1.0 - f32::EPSILON / 2.0,
        0.75,
        1.0 / 3.0,
        1e-3,
    ];
    let values: Vec<f32> = numbers.into_iter().flat_map(|x| [x, -x]).chain([f32::NAN, -f32::NAN]).collect();
    let pairs = || values.iter().flat_map(|&a| values.iter().map(move |&b| (a, b)));
    let (a, b): (Vec<_>, Vec<_>) = pairs().unzip();
    crate::tiers::on_every_tier("pow of special values", |isa| {
        let exec = Exec::serial().unwrap().with_isa(isa);
        let mut y = vec![f32::NAN; a.len()];
        let views = [&a, &b].map(|x| View::new(x, &[a.len()]).unwrap());
        op::pow::forward(&exec, ViewMut::new(&mut y, &[a.len()]).unwrap(), views[0], views[1]).unwrap();
        let wrong = pairs().zip(&y).filter_map(|((a, b), &got)| special(a, b, got, limit(isa).ulp).err());
        let wrong: Vec<_> = wrong.collect();
        assert!(wrong.is_empty(), "{isa}: {} of {}: {}", wrong.len(), y.len(), wrong.join("; "));
    });
}

#[test]
fn a_wrong_special_power_is_found() {
    assert_eq!(special(-0.0, -3.0, f32::NEG_INFINITY, 2.0), Ok(()));
    for (a, b, got) in [
        (-0.0, -3.0, f32::INFINITY),
        (f32::NAN, 0.0, f32::NAN),
        (-8.0, 1.0 / 3.0, -2.0),
        (-1e30, -3.0, 0.0),
        (2.0, 3.0, 8.000_004),
        (-1.0, f32::INFINITY, f32::NAN),
    ] {
        assert!(special(a, b, got, 2.0).is_err(), "{got} for {a}^{b}");
    }
}

#[test]
fn a_wrong_power_is_found() {
    let mut found = Found::new();
    see([&[2.0, 3.0], &[0.5, 2.0]], &mut found, |_| true);
    assert!(found.0.iter().all(|tier| tier.inputs == 2 && tier.differs.is_none()));
    let mut worst = Worst::default();
    worst.see(&[3.0], &[9.000_003], &[9.0], limit(walk::measured()), None);
    assert!(worst.over(limit(walk::measured())).unwrap_err().contains("ULP, over 2"), "{}", worst.ulp);
}

#[test]
fn random_pairs_are_of_every_kind() {
    let powers: Vec<f64> = (0..10_000).map(pair).map(|[a, b]| f64::from(a).powf(b.into())).collect();
    let share = |of: fn(f64) -> bool| powers.iter().filter(|&&y| of(y)).count();
    let [tiny, small, large, negative] = [
        share(|y| y.abs() > 0.0 && y.abs() < f32::MIN_POSITIVE.into()),
        share(|y| (f32::MIN_POSITIVE.into()..1.0).contains(&y)),
        share(|y| (1.0..f32::MAX.into()).contains(&y)),
        share(|y| y < 0.0),
    ];
    assert!(tiny > 500 && small > 2_000 && large > 2_000 && negative > 100, "{tiny} {small} {large} {negative}");
}
