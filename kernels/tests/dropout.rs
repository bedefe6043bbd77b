//! Dropout: the mask against one made from the definition, on every tier, for every layout, on one thread and on
//! several; and whether the masks are as random as they should be.

mod common;

use common::block::{Block, Layout};
use common::compare::assert_same_bits;
use common::random::Random;
use common::tiers::on_every_tier;
use common::{pools, serial, until_two_workers};
use handgrad_kernels::op::dropout::{self, Config, Key};
use handgrad_kernels::view::{Mat, MatMut};
use handgrad_kernels::{ErrorKind, Exec, Isa};

const NUMBERS: [u64; 3] = [0x0123_4567_89ab_cdef, 1_000_003, 7];
const PROBABILITIES: [f32; 7] = [0.0, 1e-6, 0.1, 0.5, 0.75, 1.0 - f32::EPSILON / 2.0, 1.0];

fn key() -> Key {
    let [seed, step, layer] = NUMBERS;
    Key::new(seed, step, layer)
}

/// Threefry-2x32 with 20 rounds, as its paper has it.
fn threefry(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    let key = [key[0], key[1], 0x1bd1_1bda ^ key[0] ^ key[1]];
    let mut x = [counter[0].wrapping_add(key[0]), counter[1].wrapping_add(key[1])];
    for round in 0..20 {
        x[0] = x[0].wrapping_add(x[1]);
        x[1] = x[1].rotate_left([13, 15, 26, 6, 17, 29, 16, 24][round % 8]) ^ x[0];
        if round % 4 == 3 {
            let i = round / 4 + 1;
            x[0] = x[0].wrapping_add(key[i % 3]);
            x[1] = x[1].wrapping_add(key[(i + 1) % 3]).wrapping_add(i as u32);
        }
    }
    x
}

/// `x·m` by the definition, with the key of [`NUMBERS`].
fn want(x: f32, p: f32, row: usize, col: usize) -> f32 {
    let [seed, step, layer] = NUMBERS.map(|x| [x as u32, (x >> 32) as u32]);
    let key = threefry(threefry(seed, step), layer);
    let [word, _] = threefry(key, [row as u32, col as u32]);
    let is_dropped = f64::from(word >> 8) < (f64::from(p) * 16_777_216.0).round();
    x * if is_dropped { 0.0 } else { (1.0 / (1.0 - f64::from(p))) as f32 }
}

#[test]
fn the_generator_of_this_test_gives_the_published_words() {
    assert_eq!(threefry([0; 2], [0; 2]), [0x6b20_0159, 0x99ba_4efe]);
    assert_eq!(threefry([u32::MAX; 2], [u32::MAX; 2]), [0x1cb9_96fc, 0xbb00_2be7]);
    assert_eq!(threefry([0x1319_8a2e, 0x0370_7344], [0x243f_6a88, 0x85a3_08d3]), [0xc492_3a9c, 0x483d_f7a0]);
}

#[test]
fn the_mask_is_that_of_the_definition_on_every_tier_for_every_layout() {
    let shapes = [(0, 0), (0, 3), (3, 0), (1, 1), (1, 300), (300, 1), (3, 5), (7, 33), (2, 600)];
    on_every_tier("the_mask_is_that_of_the_definition_on_every_tier_for_every_layout", |isa| {
        let (exec, mut random) = (serial(isa), Random::new(1));
        for (rows, cols) in shapes.into_iter().chain((0..=2 * isa.lanes() + 1).map(|cols| (2, cols))) {
            for from in Layout::OUTPUTS.into_iter().chain(Layout::REPEATING) {
                let x = Block::filled(from, rows, cols, |_, _| random.uneven());
                let (to, p) = (random.pick(&Layout::OUTPUTS), random.pick(&PROBABILITIES));
                for to in [Layout::Dense, to] {
                    let mut y = Block::poisoned(to, rows, cols);
                    let what = format!("{isa}, {rows}x{cols}, {from:?} to {to:?}, p = {p}");
                    dropout::forward(&exec, y.mat_mut(), x.mat(), Config { p }, key()).unwrap();
                    let want: Vec<f32> = (0..rows * cols)
                        .map(|i| (i / cols, i % cols))
                        .map(|(row, col)| want(x.get(row, col), p, row, col))
                        .collect();
                    assert_same_bits(&what, cols, &y.to_vec(), &want);
                    y.assert_guards(&what);
                    let mut dx = Block::poisoned(to, rows, cols);
                    dropout::backward(&exec, dx.mat_mut(), x.mat(), Config { p }, key()).unwrap();
                    assert_eq!(dx.bits(), y.bits(), "{what}: backward");
                }
            }
        }
    });
}

#[test]
fn the_mask_is_the_same_on_any_number_of_threads() {
    for (rows, cols) in [(1, 40), (2, 40), (5, 17), (64, 33)] {
        let x: Vec<f32> = (0..rows * cols).map(|i| 1.0 + i as f32).collect();
        let want: Vec<f32> = x.iter().enumerate().map(|(i, &x)| want(x, 0.5, i / cols, i % cols)).collect();
        for exec in pools() {
            for exec in Isa::available().map(|isa| exec.clone().with_isa(isa)) {
                let mut y = vec![f32::NAN; rows * cols];
                let (out, inp) = (MatMut::new(&mut y, rows, cols).unwrap(), Mat::new(&x, rows, cols).unwrap());
                exec.install(|| dropout::forward(&exec, out, inp, Config { p: 0.5 }, key())).unwrap();
                assert_same_bits(format_args!("{}, {} threads", exec.isa(), exec.threads()), cols, &y, &want);
            }
        }
    }
    let exec = Exec::with_threads(2).unwrap().with_min_piece(0);
    let (x, mut y) = ([1.0; 256], [f32::NAN; 256]);
    until_two_workers(&exec, || {
        let (out, inp) = (MatMut::new(&mut y, 16, 16).unwrap(), Mat::new(&x, 16, 16).unwrap());
        dropout::forward(&exec, out, inp, Config::default(), key()).unwrap();
    });
}

/// Which of `rows·1000` elements are dropped.
fn dropped(rows: usize, p: f32, key: Key) -> Vec<bool> {
    let (x, mut y) = (vec![1.0; rows * 1000], vec![f32::NAN; rows * 1000]);
    let (out, inp) = (MatMut::new(&mut y, rows, 1000).unwrap(), Mat::new(&x, rows, 1000).unwrap());
    dropout::forward(&Exec::serial().unwrap(), out, inp, Config { p }, key).unwrap();
    y.into_iter().map(|y| y == 0.0).collect()
}

/// Fails unless of `pairs` about the share `p` is true: five standard deviations.
#[track_caller]
fn assert_share(what: &str, share: f64, truths: impl ExactSizeIterator<Item = bool>) {
    let n = truths.len() as f64;
    let count = truths.filter(|&truth| truth).count() as f64;
    let (off, sigma) = (count - n * share, (n * share * (1.0 - share)).sqrt());
    assert!(off.abs() <= 5.0 * sigma, "{what}: {count} of {n}, {} standard deviations from {share}", off / sigma);
}

#[test]
fn as_many_are_dropped_as_the_probability_says() {
    for p in [0.001, 0.1, 0.5, 0.8] {
        let mask = dropped(1000, p, key());
        assert_share("all", p.into(), mask.iter().copied());
        for part in 0..10 {
            assert_share("rows", p.into(), mask[100_000 * part..100_000 * (part + 1)].iter().copied());
            assert_share("columns", p.into(), mask.iter().copied().skip(part).step_by(10));
        }
    }
}

#[test]
fn masks_of_other_keys_rows_and_columns_are_independent() {
    let [seed, step, layer] = NUMBERS;
    let p = 0.3_f32;
    let same = f64::from(p * p + (1.0 - p) * (1.0 - p));
    let mask = dropped(1000, p, key());
    let others = [
        (seed + 1, step, layer),
        (seed ^ (1 << 63), step, layer),
        (seed, step + 1, layer),
        (seed, step + (1 << 32), layer),
        (seed, step, layer + 1),
        (seed, layer, step),
        (step, seed, layer),
    ];
    for (seed, step, layer) in others {
        let other = dropped(1000, p, Key::new(seed, step, layer));
        assert_share("key", same, mask.iter().zip(&other).map(|(a, b)| a == b));
    }
    for distance in [1, 2, 16, 999, 1000, 1001, 64_000] {
        assert_share("place", same, mask.iter().zip(&mask[distance..]).map(|(a, b)| a == b));
    }
    assert_eq!(mask, dropped(1000, p, key()));
}

#[test]
fn a_probability_of_zero_changes_nothing_and_of_one_multiplies_by_zero() {
    let x = [1.5, -2.0, 0.0, -0.0, f32::MAX, 1e-45, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    on_every_tier("a_probability_of_zero_changes_nothing_and_of_one_multiplies_by_zero", |isa| {
        for (p, want) in [(0.0, x), (1.0, x.map(|x| x * 0.0))] {
            let mut y = [7.0; 9];
            let (out, inp) = (MatMut::from_row(&mut y), Mat::from_row(&x));
            dropout::forward(&serial(isa), out, inp, Config { p }, key()).unwrap();
            assert_same_bits(format_args!("{isa}, p = {p}"), 9, &y, &want);
        }
    });
}

#[test]
fn the_reference_is_the_definition() {
    for p in PROBABILITIES {
        for (row, col) in [(0, 0), (3, 1), (1, 3), (70_000, 12)] {
            let [got, want] = [dropout::reference(3.0, row, col, Config { p }, key()), want(3.0, p, row, col).into()];
            assert!((got - want).abs() <= f64::from(f32::EPSILON) * want, "p = {p}, ({row}, {col}): {got}, {want}");
        }
    }
}

#[test]
fn shapes_and_probabilities_that_are_wrong_are_an_error_and_change_nothing() {
    type Call = fn(&Exec, MatMut<'_>, Mat<'_>, Config, Key) -> handgrad_kernels::Result<()>;
    let calls: [(&str, &str, Call); 2] =
        [("dropout::forward", "y", dropout::forward), ("dropout::backward", "dx", dropout::backward)];
    let exec = Exec::serial().unwrap();
    for (op, arg, call) in calls {
        let (x, mut y) = ([1.0; 6], [7.0; 6]);
        let out = MatMut::new(&mut y, 3, 2).unwrap();
        let error = call(&exec, out, Mat::new(&x, 2, 3).unwrap(), Config::default(), key()).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Shape { op, arg, want: [2, 3].into(), got: [3, 2].into() });
        for p in [-f32::from_bits(1), -0.5, 1.0 + f32::EPSILON, f32::INFINITY, f32::NAN] {
            let (out, inp) = (MatMut::new(&mut y, 2, 3).unwrap(), Mat::new(&x, 2, 3).unwrap());
            let error = call(&exec, out, inp, Config { p }, key()).unwrap_err();
            let ErrorKind::Value { op: at, arg: "p", want: "in 0..=1", got } = *error.kind() else { panic!("{error}") };
            assert!(at == op && (got == f64::from(p) || p.is_nan()), "{error}");
        }
        assert_eq!(y, [7.0; 6]);
    }
}
