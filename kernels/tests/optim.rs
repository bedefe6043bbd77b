//! The update rules against their references, on every tier, for every length, on one thread and on several.

#[path = "optim/bound.rs"]
mod bound;
mod common;
#[path = "optim/rules.rs"]
mod rules;

use common::compare::{assert_close, assert_same_bits, gamma};
use common::random::Random;
use common::tiers::{is_fused, on_every_tier};
use common::{pools, serial, until_two_workers};
use handgrad_kernels::optim::adam::Decay;
use handgrad_kernels::optim::{Step, adam, clip_scale, global_norm, rmsprop, sgd};
use handgrad_kernels::{Error, ErrorKind, Exec, Isa};
use rules::Rule;

const LR: f32 = 0.05;
const STEPS: u64 = 5;

/// A step as training makes it: the rate falls, and some gradients are clipped.
fn step(number: u64) -> Step {
    let scale = if number.is_multiple_of(2) { 0.37 } else { 1.0 };
    Step { lr: LR / number as f32, scale, number }
}

/// The arrays of a rule before its first step: parameters, and zeros.
fn start(rule: &Rule, len: usize, random: &mut Random) -> Vec<Vec<f32>> {
    let mut arrays = vec![vec![0.0; len]; rule.arrays.len()];
    arrays[0].fill_with(|| random.uneven());
    arrays
}

fn draw(len: usize, random: &mut Random) -> Vec<f32> {
    (0..len).map(|_| random.uneven()).collect()
}

/// The new arrays against the reference, from the old ones as they are; returns the largest share of a tolerance used.
fn check(what: &str, rule: &Rule, old: &[Vec<f32>], new: &[Vec<f32>], grads: &[f32], step: Step) -> f64 {
    let element = |i: usize| old.iter().map(|array| f64::from(array[i])).collect::<Vec<_>>();
    let mut share = 0.0_f64;
    for (k, new) in new.iter().enumerate() {
        let want = (0..grads.len()).map(|i| (rule.reference)(&element(i), grads[i].into(), step)[k]);
        let error = (0..grads.len()).map(|i| (rule.bound)(&element(i), grads[i].into(), step)[k].error);
        let name = rule.arrays[k];
        let what = format!("{}, {what}: `{name}` after step {}", rule.name, step.number);
        share = share.max(assert_close(what, 1, new, want, error));
    }
    share
}

#[test]
fn every_rule_keeps_its_bound_on_every_tier_for_every_length() {
    on_every_tier("every_rule_keeps_its_bound_on_every_tier_for_every_length", |isa| {
        let exec = serial(isa);
        for rule in rules::all() {
            let mut random = Random::new(1);
            for len in (0..=2 * isa.lanes() + 1).chain([300]) {
                let mut arrays = start(&rule, len, &mut random);
                for step in (1..=STEPS).map(step) {
                    let (old, grads) = (arrays.clone(), draw(len, &mut random));
                    (rule.run)(&exec, &mut arrays, &grads, step).unwrap();
                    check(&format!("{isa}, {len} elements"), &rule, &old, &arrays, &grads, step);
                }
            }
        }
    });
}

#[test]
fn every_rule_has_the_same_bits_on_every_fused_tier_and_thread() {
    let pools = pools();
    for rule in rules::all() {
        for len in (0..=33).chain([63, 64, 65, 127, 129, 300, 1000]) {
            let run = |exec: &Exec| {
                let mut random = Random::new(2);
                let mut arrays = start(&rule, len, &mut random);
                for step in (1..=STEPS).map(step) {
                    let grads = draw(len, &mut random);
                    exec.install(|| (rule.run)(exec, &mut arrays, &grads, step)).unwrap();
                }
                arrays
            };
            let isas: Vec<Isa> = Isa::available().collect();
            let fused = run(&serial(isas[0]));
            for &isa in &isas {
                // A tier that rounds twice agrees with itself.
                let want = if is_fused(isa) { fused.clone() } else { run(&serial(isa)) };
                let execs = pools.iter().cloned().chain([serial(Isa::best())]);
                for exec in execs.map(|exec| exec.with_isa(isa)) {
                    for (k, got) in run(&exec).iter().enumerate() {
                        let what = format!("{}, {isa}, {len}: `{}`", rule.name, rule.arrays[k]);
                        assert_same_bits(format_args!("{what}, {} threads", exec.threads()), 1, got, &want[k]);
                    }
                }
            }
        }
    }
}

#[test]
fn every_rule_is_split_over_threads() {
    for rule in rules::all() {
        let exec = Exec::with_threads(2).unwrap().with_min_piece(0);
        let mut arrays = start(&rule, 1000, &mut Random::new(3));
        let grads = draw(1000, &mut Random::new(4));
        until_two_workers(&exec, || (rule.run)(&exec, &mut arrays, &grads, step(2)).unwrap());
    }
}

#[test]
fn zeros_stay_zeros() {
    on_every_tier("zeros_stay_zeros", |isa| {
        for rule in rules::all() {
            let mut random = Random::new(5);
            let mut arrays = start(&rule, 40, &mut random);
            arrays[0][23..].fill(0.0);
            for step in (1..=STEPS).map(step) {
                let mut grads = draw(40, &mut random);
                grads[23..].fill(0.0);
                (rule.run)(&serial(isa), &mut arrays, &grads, step).unwrap();
                for array in &arrays {
                    assert!(array[23..].iter().all(|x| x.to_bits() == 0), "{}, {isa}: {array:?}", rule.name);
                }
            }
        }
    });
}

#[test]
fn a_gradient_that_is_not_a_number_spoils_its_own_parameter_only() {
    on_every_tier("a_gradient_that_is_not_a_number_spoils_its_own_parameter_only", |isa| {
        for rule in rules::all() {
            let mut random = Random::new(6);
            let (mut want, mut grads) = (start(&rule, 37, &mut random), draw(37, &mut random));
            let mut got = want.clone();
            (rule.run)(&serial(isa), &mut want, &grads, step(1)).unwrap();
            for place in [0, 7, 20, 36] {
                grads[place] = f32::NAN;
                want[0][place] = f32::NAN;
            }
            (rule.run)(&serial(isa), &mut got, &grads, step(1)).unwrap();
            assert_same_bits(format_args!("{}, {isa}", rule.name), 1, &got[0], &want[0]);
            // A scale that is none spoils all.
            let scale = clip_scale(global_norm(&serial(isa), &grads), 1.0);
            (rule.run)(&serial(isa), &mut got, &[1.0; 37], Step { scale, ..step(2) }).unwrap();
            assert!(got[0].iter().all(|p| p.is_nan()), "{}, {isa}", rule.name);
        }
    });
}

#[test]
fn the_first_step_overwrites_the_buffer_of_momentum() {
    let config = sgd::Config { momentum: 0.9, dampening: 0.5, ..sgd::Config::default() };
    let (mut params, mut buffer) = ([1.0, 2.0], [f32::NAN; 2]);
    let first = Step { lr: 0.5, scale: 1.0, number: 1 };
    sgd::momentum_update(&Exec::serial().unwrap(), &mut params, &mut buffer, &[4.0, -2.0], first, config).unwrap();
    assert_eq!((params, buffer), ([-1.0, 3.0], [4.0, -2.0]));
}

#[test]
fn a_step_without_scale_and_decay_is_the_plain_one() {
    let special = [0.0, -0.0, 1e-45, -1e30, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1.5];
    let (params, grads): (Vec<f32>, Vec<f32>) =
        special.iter().flat_map(|&p| special.iter().map(move |&g| (p, g))).unzip();
    on_every_tier("a_step_without_scale_and_decay_is_the_plain_one", |isa| {
        let (mut got, mut want) = (params.clone(), params.clone());
        sgd::update(&serial(isa), &mut want, &grads, LR).unwrap();
        let step = Step { lr: LR, scale: 1.0, number: 3 };
        sgd::decay_update(&serial(isa), &mut got, &grads, step, 0.0).unwrap();
        assert_same_bits(isa, 1, &got, &want);
    });
}

#[test]
fn lengths_that_differ_are_an_error_and_change_nothing() {
    let exec = Exec::serial().unwrap();
    for rule in rules::all() {
        let op = rule.name.split(',').next().unwrap();
        let whole = start(&rule, 5, &mut Random::new(7));
        let check = |arrays: &mut [Vec<f32>], grads: &[f32], wrong: &str, want: usize, got: usize| {
            let before = arrays.to_vec();
            let error = (rule.run)(&exec, arrays, grads, step(2)).unwrap_err();
            let ErrorKind::Length { op: at, arg, want: asked, got: came } = *error.kind() else { panic!("{error}") };
            assert_eq!((at, arg, asked, came), (op, wrong, want, got), "{}", rule.name);
            assert_eq!(before, arrays, "{}", rule.name);
        };
        check(&mut whole.clone(), &[1.0; 4], "grads", 5, 4);
        check(&mut whole.clone(), &[1.0; 6], "grads", 5, 6);
        for (k, name) in rule.arrays.iter().enumerate().skip(1) {
            let unused = [("grad_avg", "centered: false"), ("momentum_buffer", "momentum: 0.0")];
            if op == "rmsprop::update" && unused.iter().any(|(array, when)| array == name && rule.name.contains(when)) {
                continue;
            }
            let mut arrays = whole.clone();
            arrays[k].pop();
            check(&mut arrays, &[1.0; 5], name, 5, 4);
        }
    }
    let (mut params, mut square_avg) = ([1.0; 3], [0.0; 3]);
    for (centered, arg) in [(true, "grad_avg"), (false, "momentum_buffer")] {
        let state = rmsprop::State { square_avg: &mut square_avg, grad_avg: None, momentum_buffer: None };
        let config = rmsprop::Config { centered, momentum: f32::from(!centered), ..rmsprop::Config::default() };
        let error = rmsprop::update(&exec, &mut params, state, &[1.0; 3], step(1), config).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Length { op: "rmsprop::update", arg, want: 3, got: 0 });
    }
    assert_eq!((params, square_avg), ([1.0; 3], [0.0; 3]));
}

#[test]
fn settings_that_are_not_allowed_are_an_error_and_change_nothing() {
    let exec = Exec::serial().unwrap();
    let (mut p, mut a, mut b) = ([1.0; 3], [0.5; 3], [0.25; 3]);
    let grads = [1.0; 3];
    let is_value = |error: &Error, name| matches!(*error.kind(), ErrorKind::Value { arg, .. } if arg == name);
    let c = sgd::Config { momentum: 0.9, ..sgd::Config::default() };
    for (config, number, arg) in [
        (sgd::Config { momentum: -0.1, ..c }, 1, "momentum"),
        (sgd::Config { momentum: f32::NAN, ..c }, 1, "momentum"),
        (sgd::Config { weight_decay: -0.1, ..c }, 1, "weight_decay"),
        (sgd::Config { momentum: 0.0, nesterov: true, ..c }, 1, "momentum"),
        (sgd::Config { dampening: 0.1, nesterov: true, ..c }, 1, "dampening"),
        (c, 0, "number"),
    ] {
        let step = Step { number, ..step(1) };
        let error = sgd::momentum_update(&exec, &mut p, &mut a, &grads, step, config).unwrap_err();
        assert!(is_value(&error, arg), "{config:?}: {error}");
    }
    assert!(is_value(&sgd::decay_update(&exec, &mut p, &grads, step(1), -1.0).unwrap_err(), "weight_decay"));
    let c = adam::Config::default();
    for (config, number, arg) in [
        (adam::Config { betas: [1.0, 0.9], ..c }, 1, "betas"),
        (adam::Config { betas: [0.9, -0.1], ..c }, 1, "betas"),
        (adam::Config { eps: -1e-8, ..c }, 1, "eps"),
        (adam::Config { weight_decay: f32::NAN, ..c }, 1, "weight_decay"),
        (c, 0, "number"),
    ] {
        let step = Step { number, ..step(1) };
        let error = adam::update(&exec, &mut p, &mut a, &mut b, &grads, step, config).unwrap_err();
        assert!(is_value(&error, arg), "{config:?}: {error}");
    }
    let c = rmsprop::Config::default();
    for (config, arg) in [
        (rmsprop::Config { alpha: 1.1, ..c }, "alpha"),
        (rmsprop::Config { eps: f32::NAN, ..c }, "eps"),
        (rmsprop::Config { weight_decay: -1.0, ..c }, "weight_decay"),
        (rmsprop::Config { momentum: -1.0, ..c }, "momentum"),
    ] {
        let state = rmsprop::State { square_avg: &mut a, grad_avg: None, momentum_buffer: Some(&mut b) };
        let error = rmsprop::update(&exec, &mut p, state, &grads, step(1), config).unwrap_err();
        assert!(is_value(&error, arg), "{config:?}: {error}");
    }
    assert_eq!((p, a, b), ([1.0; 3], [0.5; 3], [0.25; 3]));
}

#[test]
fn the_references_are_what_a_hand_computes() {
    let step = |number| Step { lr: 0.125, scale: 2.0, number };
    // g = 2·0.25 + 0.5·1 = 1
    let c = sgd::Config { momentum: 0.5, dampening: 0.25, nesterov: false, weight_decay: 0.5 };
    assert_eq!(sgd::reference([1.0, 2.0], 0.25, step(1), c), [0.875, 1.0]);
    assert_eq!(sgd::reference([1.0, 2.0], 0.25, step(2), c), [0.78125, 1.75]);
    let nesterov = sgd::Config { dampening: 0.0, nesterov: true, ..c };
    assert_eq!(sgd::reference([1.0, 2.0], 0.25, step(2), nesterov), [0.75, 2.0]);
    assert_eq!(sgd::reference([1.0, 2.0], 0.25, step(1), sgd::Config { momentum: 0.0, ..c }), [0.875, 2.0]);

    // m̂ = 2 and v̂ = 4 in both steps, so p moves by 0.5·2/(2 + 2).
    let step = |number| Step { lr: 0.5, scale: 1.0, number };
    let c = adam::Config { betas: [0.5, 0.75], eps: 2.0, weight_decay: 0.0, decay: Decay::Coupled };
    assert_eq!(adam::reference([1.0, 0.0, 0.0], 2.0, step(1), c), [0.75, 1.0, 1.0]);
    assert_eq!(adam::reference([1.0, 1.0, 1.0], 2.0, step(2), c), [0.75, 1.5, 1.75]);
    let coupled = adam::Config { weight_decay: 1.0, ..c };
    assert_eq!(adam::reference([1.0, 0.0, 0.0], 1.0, step(1), coupled), [0.75, 1.0, 1.0]);
    let decoupled = adam::Config { weight_decay: 0.5, decay: Decay::Decoupled, ..c };
    assert_eq!(adam::reference([1.0, 0.0, 0.0], 2.0, step(1), decoupled), [0.5, 1.0, 1.0]);

    // √4 + 2 = 4 in all of them, so g/d = 0.5.
    let c = rmsprop::Config { alpha: 0.5, eps: 2.0, weight_decay: 0.0, momentum: 0.0, centered: false };
    assert_eq!(rmsprop::reference([1.0, 4.0, 7.0, 3.0], 2.0, step(1), c), [0.75, 4.0, 7.0, 3.0]);
    let centered = rmsprop::Config { centered: true, ..c };
    assert_eq!(rmsprop::reference([1.0, 6.0, 0.0, 3.0], 2.0, step(1), centered), [0.75, 5.0, 1.0, 3.0]);
    let both = rmsprop::Config { momentum: 0.5, weight_decay: 1.0, ..centered };
    assert_eq!(rmsprop::reference([1.0, 6.0, 0.0, 3.0], 1.0, step(1), both), [0.0, 5.0, 1.0, 2.0]);
}

#[test]
fn a_variance_that_rounding_brings_below_zero_is_zero() {
    on_every_tier("a_variance_that_rounding_brings_below_zero_is_zero", |isa| {
        let config = rmsprop::Config { centered: true, ..rmsprop::Config::default() };
        let grads = draw(200, &mut Random::new(8));
        let (mut params, mut v, mut m) = (vec![1.0; 200], vec![0.0; 200], vec![0.0; 200]);
        // The same gradient again and again has no variance.
        for number in 1..=4000 {
            let state = rmsprop::State { square_avg: &mut v, grad_avg: Some(&mut m), momentum_buffer: None };
            let step = Step { lr: 1e-6, scale: 1.0, number };
            rmsprop::update(&serial(isa), &mut params, state, &grads, step, config).unwrap();
        }
        assert!(params.iter().all(|p| p.is_finite()), "{isa}: {params:?}");
        let below = v.iter().zip(&m).filter(|(v, m)| f64::from(**v) < f64::from(**m).powi(2));
        assert!(below.count() > 0, "{isa}: no variance has come below zero");
    });
}

#[test]
fn the_norm_is_summed_in_the_written_order_on_every_tier_and_thread() {
    let pools = pools();
    for len in (0..=130).chain([1000, 65_535, 65_536, 65_537, 200_003]) {
        let grads = draw(len, &mut Random::new(9));
        let exact = grads.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
        let want = written_norm(&grads);
        for isa in Isa::available() {
            for exec in pools.iter().cloned().chain([serial(isa)]).map(|exec| exec.with_isa(isa)) {
                let got = exec.install(|| global_norm(&exec, &grads));
                let what = format!("{isa}, {len} elements, {} threads", exec.threads());
                // Running sums of up to 1024, their fold, the pieces, a rounding of each square, and the root.
                let error = exact * gamma(len.div_ceil(64).min(1024) + 6 + len / 65_536 + 2);
                assert_close(&what, 1, &[got], [exact], [error]);
                if is_fused(isa) {
                    assert_same_bits(&what, 1, &[got], &[want]);
                }
            }
        }
    }
    for bad in [f32::NAN, f32::INFINITY] {
        let norm = global_norm(&Exec::serial().unwrap(), &[1.0, bad, 2.0]);
        assert!(norm.is_nan() == bad.is_nan() && !norm.is_finite());
    }
}

/// The norm by the order of sums as it is written.
fn written_norm(grads: &[f32]) -> f32 {
    let piece = |piece: &[f32]| {
        let mut sums = [-0.0_f32; 64];
        for (i, &g) in piece.iter().enumerate() {
            sums[i % 64] = g.mul_add(g, sums[i % 64]);
        }
        let mut width = 64;
        while width > 1 {
            width /= 2;
            for i in 0..width {
                sums[i] += sums[i + width];
            }
        }
        sums[0]
    };
    grads.chunks(65_536).map(piece).reduce(|total, sum| total + sum).unwrap_or(0.0).sqrt()
}

#[test]
fn gradients_are_scaled_down_to_the_norm_allowed_and_never_up() {
    for (norm, max, want) in
        [(0.0, 1.0, 1.0), (0.5, 1.0, 1.0), (1.0, 1.0, 1.0), (2.0, 1.0, 0.5), (f32::INFINITY, 1.0, 0.0)]
    {
        let got = clip_scale(norm, max);
        assert!(got <= 1.0 && (got - want).abs() < 2e-6, "clip_scale({norm}, {max}) = {got}");
    }
    assert_eq!(clip_scale(4.0, 2.0), 2.0 / (4.0 + 1e-6));
    assert!(clip_scale(f32::NAN, 1.0).is_nan() && clip_scale(1.0, f32::NAN).is_nan());
}

#[test]
fn a_wrong_update_is_found() {
    let isa = Isa::best();
    for rule in rules::all() {
        let mut random = Random::new(10);
        let old: Vec<Vec<f32>> =
            rule.arrays.iter().map(|_| draw(9, &mut random).iter().map(|x| x.abs() + 1.0).collect()).collect();
        let grads = draw(9, &mut random);
        let mut right = old.clone();
        (rule.run)(&serial(isa), &mut right, &grads, step(3)).unwrap();
        check("right", &rule, &old, &right, &grads, step(3));
        for k in 0..rule.arrays.len() {
            let mut wrong = right.clone();
            wrong[k][4] += 1e-4 * (1.0 + right[k][4].abs());
            if right[k] == old[k] {
                continue;
            }
            let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                check("wrong", &rule, &old, &wrong, &grads, step(3))
            }));
            assert!(found.is_err(), "{}: a wrong `{}` was accepted", rule.name, rule.arrays[k]);
        }
    }
}
