//! The checkers of this folder, each with a wrong answer.

mod common;

use common::block::{Block, Layout};
use common::compare::{assert_close, assert_same_bits, gamma};
use common::random::Random;
use common::tiers;
use std::panic::{UnwindSafe, catch_unwind};

/// The message that `f` fails with.
fn failure(f: impl FnOnce() + UnwindSafe) -> String {
    let payload = catch_unwind(f).expect_err("the checker accepted a wrong answer");
    payload.downcast_ref::<String>().expect("a formatted message").clone()
}

#[test]
fn a_value_outside_its_tolerance_is_found_with_its_place() {
    let want = [1.0, 2.0, 3.0, 4.0];
    let message = failure(move || {
        assert_close("sum", 2, &[1.0, 2.1, 3.5, 4.0], want, [0.2; 4]);
    });
    assert!(message.contains("1 of 4 elements are off; worst at (1, 0): got 3.5e0, want 3e0"), "{message}");
    assert_eq!(assert_close("sum", 2, &[1.0, 2.0, 3.5, 4.0], want, [1.0; 4]), 0.5);
}

#[test]
fn a_tolerance_of_zero_and_not_a_number_are_taken_literally() {
    let nan = f32::NAN;
    for (got, want) in [(1.0 + f32::EPSILON, 1.0), (nan, 1.0), (1.0, f64::NAN), (f32::INFINITY, 1.0)] {
        failure(move || {
            assert_close("exact", 1, &[got], [want], [0.0]);
        });
    }
    for (got, want) in [(nan, 1.0), (1.0, f64::NAN), (f32::INFINITY, f64::NEG_INFINITY), (1.0, f64::INFINITY)] {
        failure(move || {
            assert_close("loose", 1, &[got], [want], [f64::MAX]);
        });
    }
    assert_close("same", 3, &[nan, f32::INFINITY, 0.0], [f64::NAN, f64::INFINITY, -0.0], [0.0; 3]);
}

#[test]
fn references_of_another_length_are_found() {
    failure(|| {
        assert_close("short", 1, &[1.0, 1.0], [1.0], [0.0; 2]);
    });
    failure(|| {
        assert_close("long", 1, &[1.0], [1.0; 2], [0.0; 2]);
    });
    failure(|| assert_same_bits("long", 1, &[1.0], &[1.0, 1.0]));
}

#[test]
fn other_bits_are_found_with_their_place() {
    let message = failure(|| assert_same_bits("bits", 2, &[1.0, 0.0, 1.0, 5.0], &[1.0, -0.0, 1.5, 5.0]));
    assert!(message.contains("2 of 4 elements differ in their bits; worst at (1, 0)"), "{message}");
    failure(|| assert_same_bits("nan", 1, &[f32::NAN], &[1.0]));
    assert_same_bits("nan", 1, &[f32::NAN], &[-f32::NAN]);
}

#[test]
fn a_damaged_guard_is_found() {
    for layout in [Layout::Padded, Layout::UpsideDown, Layout::TransposedPadded, Layout::Spread, Layout::Mirrored] {
        let mut block = Block::poisoned(layout, 3, 4);
        block.assert_guards("fresh");
        block.mat_mut().fill(2.0);
        block.assert_guards("filled");
        assert_eq!(block.to_vec(), [2.0; 12]);
        block.damage_guard();
        failure(move || block.assert_guards("damaged"));
    }
}

#[test]
fn a_layout_holds_what_it_is_filled_with() {
    for layout in Layout::OUTPUTS {
        for (rows, cols) in [(0, 3), (3, 0), (1, 1), (1, 4), (4, 1), (3, 5)] {
            let block = Block::filled(layout, rows, cols, |i, j| (10 * i + j) as f32);
            for i in 0..rows {
                for j in 0..cols {
                    assert_eq!(block.mat().get(i, j), Some((10 * i + j) as f32), "{layout:?}");
                }
            }
        }
    }
    let count = |layout| Block::filled(layout, 2, 3, |i, j| (10 * i + j) as f32).to_vec();
    assert_eq!(count(Layout::OneRow), [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
    assert_eq!(count(Layout::OneCol), [0.0, 0.0, 0.0, 10.0, 10.0, 10.0]);
    assert_eq!(count(Layout::OneValue), [0.0; 6]);
}

#[test]
fn a_tier_that_did_not_run_is_found() {
    let all = tiers::expected();
    tiers::report("all", &all);
    for missing in &all {
        let ran: Vec<_> = all.iter().copied().filter(|name| name != missing).collect();
        let message = failure(move || tiers::report("some", &ran));
        assert!(message.contains(missing), "{message}");
    }
}

#[test]
fn the_random_values_are_the_published_ones() {
    // The first outputs of SplitMix64 from seed 1234567, as in its reference implementation's tests.
    let mut random = Random::new(1_234_567);
    assert_eq!([random.bits(), random.bits()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    let values: Vec<f32> = (0..10_000).map(|_| random.unit()).collect();
    assert!(values.iter().all(|x| (-1.0..1.0).contains(x)));
    assert!(values.iter().sum::<f32>().abs() < 200.0);
    assert!((gamma(1) - 2f64.powi(-24)).abs() < 1e-14);
}
