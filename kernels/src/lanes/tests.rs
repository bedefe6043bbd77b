//! Every loop on every tier, at lengths around each register and block, in every layout, against plain Rust.
//!
//! The functions that the loops are given here round every step by itself, so that their results are the same bits on
//! all tiers, those without fused multiply-add included.

#[allow(dead_code, clippy::duplicate_mod, reason = "shared with the test programs")]
#[path = "../../tests/common/block.rs"]
mod block;
#[allow(dead_code, clippy::duplicate_mod, reason = "shared with the test programs")]
#[path = "../../tests/common/compare.rs"]
mod compare;
#[allow(dead_code, clippy::duplicate_mod, reason = "shared with the test programs")]
#[path = "../../tests/common/random.rs"]
mod random;
#[allow(dead_code, clippy::duplicate_mod, reason = "shared with the test programs")]
#[path = "../../tests/common/tiers.rs"]
mod tiers;

use super::*;
use crate::simd::{Isa, Kernel};
use block::{Block, Layout};
use compare::{assert_close, assert_same_bits, gamma};
use random::Random;
use tiers::on_every_tier;

/// Lengths of rows: all tails of all tiers, and both sides of the lengths at which the loops change.
fn lengths() -> impl Iterator<Item = usize> + Clone {
    (0..=33).chain(63..=65).chain(127..=129).chain(255..=257)
}

fn input_layouts() -> Vec<Layout> {
    [&Layout::OUTPUTS[..], &Layout::REPEATING].concat()
}

/// Mostly ordinary values, and now and then one that is not.
fn any_value(random: &mut Random) -> f32 {
    let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-42, -f32::MAX];
    if random.below(16) == 0 { random.pick(&special) } else { random.uneven() }
}

struct RunMap<'a, F, const I: usize, const O: usize>([MatMut<'a>; O], [Mat<'a>; I], F);

impl<F: Map<I, O>, const I: usize, const O: usize> Kernel for RunMap<'_, F, I, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        map(s, self.0, self.1, self.2);
    }
}

/// `(x·y + old, old - x)`.
#[derive(Clone, Copy)]
struct Mix;

impl Map<2, 2> for Mix {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x, y]: [S::F32; 2], [a, b]: [S::F32; 2]) -> [S::F32; 2] {
        [s.add(s.mul(x, y), a), s.sub(b, x)]
    }
}

/// Everything that a tier does to registers lane by lane, mixed together.
#[derive(Clone, Copy)]
struct Chain;

impl Map<2, 1> for Chain {
    const LONG: bool = true;
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x, y]: [S::F32; 2], [old]: [S::F32; 1]) -> [S::F32; 1] {
        let sum = s.add(s.mul(x, y), s.sub(old, s.div(x, s.splat(3.0))));
        let (mantissa, exponent) = s.frexp(s.abs(sum));
        let root = s.sqrt(s.max(s.min(mantissa, s.abs(y)), s.zero()));
        let whole = s.round(s.min(s.splat(100.0), s.max(s.splat(-100.0), sum)));
        let scaled = s.copysign(s.scale2(s.splat(1.25), whole), x);
        let fused = s.fma(s.fnma(root, s.splat(0.5), s.splat(2.0)), s.splat(4.0), s.neg(exponent));
        let less = s.select(s.lt(x, y), scaled, fused);
        let equal = s.select(s.not(s.eq(x, old)), less, s.maximum(x, y));
        let result = s.select(s.is_nan(equal), s.splat(7.0), s.minimum(equal, s.splat(1e30)));
        let [bent] = if s.any(s.lt(s.splat(2.0), x)) { s.lanewise(x, |x| [x.clamp(-9.0, 9.0)]) } else { [x] };
        let bits = s.xor_u32(s.rotate_u32::<7>(s.splat_u32(0x9e37_79b9)), s.add_u32(s.splat_u32(5), s.splat_u32(6)));
        [s.add(s.add(result, s.select(s.lt(s.splat(2.0), x), bent, s.zero())), s.top24_u32(bits))]
    }
}

#[test]
fn long_functions_give_each_element_the_bits_it_has_alone() {
    on_every_tier("long functions, chains side by side", |isa| {
        let mut random = Random::new(31);
        for n in (0..200).chain([255, 256, 257, 600]) {
            let mut values = || (0..n).map(|_| any_value(&mut random)).collect::<Vec<f32>>();
            let (x, y, old) = (values(), values(), values());
            let mut row = old.clone();
            isa.run(RunMap([MatMut::from_row(&mut row)], [Mat::from_row(&x), Mat::from_row(&y)], Chain));
            let mut alone = old;
            for (i, alone) in alone.iter_mut().enumerate() {
                let (x, y) = (Mat::from_row(&x[i..=i]), Mat::from_row(&y[i..=i]));
                isa.run(RunMap([MatMut::from_row(std::slice::from_mut(alone))], [x, y], Chain));
            }
            assert_same_bits(format_args!("{isa}, {n} elements"), n.max(1), &row, &alone);
        }
    });
}

/// `x/y`, whatever stood there.
#[derive(Clone, Copy)]
struct Quotient;

impl Map<2, 1> for Quotient {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x, y]: [S::F32; 2], _: [S::F32; 1]) -> [S::F32; 1] {
        [s.div(x, y)]
    }
}

#[test]
fn map_is_the_function_of_each_element_in_every_layout() {
    on_every_tier("map", |isa| {
        let mut random = Random::new(1);
        let shapes = lengths().flat_map(|n| [(1, n), (3, n), (n, 1), (n.min(70), 5)]);
        for (rows, cols) in shapes.chain([(17, 65), (33, 130)]) {
            for layout in Layout::OUTPUTS {
                let [other, first, second] =
                    [&Layout::OUTPUTS[..], &input_layouts(), &input_layouts()].map(|set| random.pick(set));
                let mut block = |layout| Block::filled(layout, rows, cols, |_, _| any_value(&mut random));
                let [x, y] = [block(first), block(second)];
                let [mut a, mut b] = [block(layout), block(other)];
                let what = format!("{isa}, {rows}x{cols}, out {layout:?} and {other:?}, in {first:?} and {second:?}");

                let zip3 = |f: fn(f32, f32, f32) -> f32, old: &Block| -> Vec<f32> {
                    let (x, y) = (x.to_vec(), y.to_vec());
                    x.into_iter().zip(y).zip(old.to_vec()).map(|((x, y), old)| f(x, y, old)).collect()
                };
                let (want_a, want_b) = (zip3(|x, y, old| x * y + old, &a), zip3(|x, _, old| old - x, &b));
                isa.run(RunMap([a.mat_mut(), b.mat_mut()], [x.mat(), y.mat()], Mix));
                assert_same_bits(&what, cols, &a.to_vec(), &want_a);
                assert_same_bits(&what, cols, &b.to_vec(), &want_b);
                a.assert_guards(&what);
                b.assert_guards(&what);

                let mut q = Block::poisoned(layout, rows, cols);
                isa.run(RunMap([q.mat_mut()], [x.mat(), y.mat()], Quotient));
                assert_same_bits(&what, cols, &q.to_vec(), &zip3(|x, y, _| x / y, &a));
                q.assert_guards(&what);
            }
        }
    });
}

struct RunMapCols<'a>([MatMut<'a>; 2], [Mat<'a>; 2], [Mat<'a>; 1]);

/// `(x·p, y - p)`.
#[derive(Clone, Copy)]
struct ByColumn;

impl ColMap<2, 1, 2> for ByColumn {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x, y]: [S::F32; 2], [p]: [S::F32; 1]) -> [S::F32; 2] {
        [s.mul(x, p), s.sub(y, p)]
    }
}

impl Kernel for RunMapCols<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        map_cols(s, self.0, self.1, self.2, ByColumn);
    }
}

/// Layouts with adjacent columns, the repeated row included.
const ADJACENT_INPUTS: [Layout; 4] = [Layout::Dense, Layout::Padded, Layout::UpsideDown, Layout::OneRow];

#[test]
fn map_cols_is_the_function_of_each_element_and_its_columns_parameter() {
    on_every_tier("map_cols", |isa| {
        let mut random = Random::new(2);
        for (rows, cols) in lengths().flat_map(|n| [(0, n), (1, n), (4, n)]) {
            for layout in Layout::ADJACENT {
                let other = random.pick(&Layout::ADJACENT);
                let [first, second] = [random.pick(&ADJACENT_INPUTS), random.pick(&ADJACENT_INPUTS)];
                let mut block = |layout, rows| Block::filled(layout, rows, cols, |_, _| any_value(&mut random));
                let [x, y, p] = [block(first, rows), block(second, rows), block(Layout::Dense, 1)];
                let mut out = [Block::poisoned(layout, rows, cols), Block::poisoned(other, rows, cols)];
                let what = format!("{isa}, {rows}x{cols}, out {layout:?} and {other:?}, in {first:?} and {second:?}");
                let [a, b] = &mut out;
                isa.run(RunMapCols([a.mat_mut(), b.mat_mut()], [x.mat(), y.mat()], [p.mat()]));
                let by_column = |x: &Block, f: fn(f32, f32) -> f32| -> Vec<f32> {
                    x.to_vec().into_iter().enumerate().map(|(i, x)| f(x, p.get(0, i % cols))).collect()
                };
                assert_same_bits(&what, cols, &out[0].to_vec(), &by_column(&x, |x, p| x * p));
                assert_same_bits(&what, cols, &out[1].to_vec(), &by_column(&y, |y, p| y - p));
                for y in &out {
                    y.assert_guards(&what);
                }
            }
        }
    });
}

struct RunFoldRow<'a, F, const I: usize, const O: usize>(usize, [MatMut<'a>; O], [Mat<'a>; I], F);

macro_rules! run_fold_row {
    ($($F:ty, $I:literal, $A:literal, $O:literal;)*) => {$(
        impl Kernel for RunFoldRow<'_, $F, $I, $O> {
            type Output = [f32; $A];
            #[inline(always)]
            fn run<S: Simd>(self, s: S) -> [f32; $A] {
                fold_row(s, self.0, self.1, self.2, self.3)
            }
        }
    )*};
}

run_fold_row! {
    Moments, 1, 2, 1;
    Dot, 2, 1, 0;
    Max, 1, 1, 0;
}

/// `Σ x` and `Σ x²`, writing `x + x` on the way.
#[derive(Clone, Copy)]
struct Moments;

impl RowFold<1, 2, 1> for Moments {
    const START: f32 = 0.0;
    #[inline(always)]
    fn step<S: Simd>(self, s: S, acc: [S::F32; 2], [x]: [S::F32; 1]) -> ([S::F32; 2], [S::F32; 1]) {
        ([s.add(acc[0], x), s.add(acc[1], s.mul(x, x))], [s.add(x, x)])
    }
    #[inline(always)]
    fn merge<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::F32 {
        s.add(a, b)
    }
    #[inline(always)]
    fn fold<S: Simd>(self, s: S, a: S::F32) -> f32 {
        s.fold_add(a)
    }
}

/// The written order along a row: 64 running values, then halves. `step` takes element `i` into a running value.
fn in_row_order(n: usize, start: f32, step: impl Fn(f32, usize) -> f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [start; 64];
    for i in 0..n {
        sums[i % 64] = step(sums[i % 64], i);
    }
    for width in [32, 16, 8, 4, 2, 1] {
        for i in 0..width {
            sums[i] = join(sums[i], sums[i + width]);
        }
    }
    sums[0]
}

/// Roundings that an element of a row meets on its way into the sum.
fn row_roundings(n: usize) -> usize {
    n.div_ceil(64) + 6
}

#[test]
fn fold_row_sums_in_the_written_order_in_every_layout() {
    on_every_tier("fold_row", |isa| {
        let mut random = Random::new(3);
        for n in lengths().chain([191, 192, 1000]) {
            for layout in input_layouts() {
                let x = Block::filled(layout, 3, n, |_, _| random.uneven());
                let to = random.pick(&Layout::OUTPUTS);
                let mut y = Block::poisoned(to, 3, n);
                let what = format!("{isa}, {n} elements, in {layout:?}, out {to:?}");
                let got = isa.run(RunFoldRow(1, [y.mat_mut()], [x.mat()], Moments));

                let row: Vec<f32> = (0..n).map(|j| x.get(1, j)).collect();
                let sum = in_row_order(n, 0.0, |sum, i| sum + row[i], |a, b| a + b);
                let squares = in_row_order(n, 0.0, |sum, i| sum + row[i] * row[i], |a, b| a + b);
                assert_same_bits(&what, 2, &got, &[sum, squares]);
                let written: Vec<f32> = (0..n).map(|j| y.get(1, j)).collect();
                let doubled: Vec<f32> = row.iter().map(|x| x + x).collect();
                assert_same_bits(&what, n, &written, &doubled);
                assert!((0..n).all(|j| y.get(0, j).is_nan() && y.get(2, j).is_nan()), "{what}: wrote another row");
                y.assert_guards(&what);

                let wide = || row.iter().map(|&x| f64::from(x));
                let (exact, magnitude) = (wide().sum::<f64>(), wide().map(f64::abs).sum::<f64>());
                assert_close(&what, 1, &got[..1], [exact], [gamma(row_roundings(n)) * magnitude]);
                let exact = wide().map(|x| x * x).sum::<f64>();
                assert_close(&what, 1, &got[1..], [exact], [gamma(row_roundings(n) + 1) * exact]);
            }
        }
    });
}

#[test]
fn dot_is_one_chain_in_each_running_sum() {
    on_every_tier("dot", |isa| {
        let mut random = Random::new(4);
        for n in lengths() {
            let [first, second] = [random.pick(&input_layouts()), random.pick(&input_layouts())];
            let [x, y] = [first, second].map(|layout| Block::filled(layout, 2, n, |_, _| random.uneven()));
            let what = format!("{isa}, {n} elements, {first:?} and {second:?}");
            let got = isa.run(RunFoldRow(1, [], [x.mat(), y.mat()], Dot));
            let pair = |i: usize| (x.get(1, i), y.get(1, i));
            let want = if tiers::is_fused(isa) {
                in_row_order(n, 0.0, |sum, i| pair(i).0.mul_add(pair(i).1, sum), |a, b| a + b)
            } else {
                in_row_order(n, 0.0, |sum, i| pair(i).0 * pair(i).1 + sum, |a, b| a + b)
            };
            assert_same_bits(&what, 1, &got, &[want]);
            let products = || (0..n).map(|i| f64::from(pair(i).0) * f64::from(pair(i).1));
            let tolerance = gamma(row_roundings(n) + 1) * products().map(f64::abs).sum::<f64>();
            assert_close(&what, 1, &got, [products().sum()], [tolerance]);
        }
    });
}

#[test]
fn the_greatest_of_a_row_is_nan_where_there_is_one() {
    on_every_tier("max", |isa| {
        let mut random = Random::new(5);
        for n in lengths() {
            let values: Vec<f32> = (0..n).map(|_| random.uneven()).collect();
            let greatest = |x: &[f32]| x.iter().copied().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
            let mut check = |values: &[f32], want: f32| {
                let layout = random.pick(&Layout::OUTPUTS);
                let x = Block::from_slice(layout, 1, n, values);
                let got = isa.run(RunFoldRow(0, [], [x.mat()], Max));
                assert_same_bits(format_args!("{isa}, {n} elements, {layout:?}"), 1, &got, &[want]);
            };
            check(&values, greatest(&values));
            // A value of its own kind in each place: the greatest, the least, and none.
            for i in 0..n {
                for (value, is_nan) in [(1e9, false), (f32::NEG_INFINITY, false), (f32::NAN, true), (-f32::NAN, true)] {
                    let mut values = values.clone();
                    values[i] = value;
                    check(&values, if is_nan { f32::NAN } else { greatest(&values) });
                }
            }
        }
    });
}

struct RunFoldCols<'a>([MatMut<'a>; 3], [Mat<'a>; 2], [Mat<'a>; 1]);

/// `Σ x` and `Σ y·p`.
#[derive(Clone, Copy)]
struct Weighted;

impl ColFold<2, 1, 2> for Weighted {
    #[inline(always)]
    fn step<S: Simd>(self, s: S, acc: [S::F32; 2], [x, y]: [S::F32; 2], [p]: [S::F32; 1]) -> [S::F32; 2] {
        [s.add(acc[0], x), s.add(acc[1], s.mul(y, p))]
    }
}

/// Both sums, and the product of the first with `p`.
#[derive(Clone, Copy)]
struct Three;

impl ColMap<2, 1, 3> for Three {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x, y]: [S::F32; 2], [p]: [S::F32; 1]) -> [S::F32; 3] {
        [x, y, s.mul(x, p)]
    }
}

impl Kernel for RunFoldCols<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        fold_cols(s, self.0, self.1, self.2, Weighted, Three);
    }
}

/// The written order down a column: blocks of 256 rows, each from its first to its last.
fn in_column_order(rows: usize, term: impl Fn(usize) -> f32) -> f32 {
    let block = |first: usize| (first..rows.min(first + 256)).fold(0.0, |sum, i| sum + term(i));
    (0..rows).step_by(256).map(block).reduce(|a, b| a + b).unwrap_or(0.0)
}

#[test]
fn fold_cols_sums_in_the_written_order_in_every_layout() {
    on_every_tier("fold_cols", |isa| {
        let mut random = Random::new(6);
        let few = (0..=3).chain(31..=33).flat_map(|rows| lengths().map(move |cols| (rows, cols)));
        let many = [255, 256, 257, 511, 512, 513, 1000];
        let many = many.into_iter().flat_map(|rows| [1, 15, 16, 17, 33, 65].map(|cols| (rows, cols)));
        for (rows, cols) in few.chain(many) {
            for layout in ADJACENT_INPUTS {
                let other = random.pick(&ADJACENT_INPUTS);
                let mut block = |layout, rows| Block::filled(layout, rows, cols, |_, _| random.uneven());
                let [x, y, p] = [block(layout, rows), block(other, rows), block(Layout::Dense, 1)];
                let mut out = Layout::ADJACENT.map(|layout| Block::poisoned(layout, 1, cols));
                let what = format!("{isa}, {rows}x{cols}, {layout:?} and {other:?}");
                let to = out.each_mut().map(Block::mat_mut);
                isa.run(RunFoldCols(to, [x.mat(), y.mat()], [p.mat()]));

                let sums: Vec<f32> = (0..cols).map(|j| in_column_order(rows, |i| x.get(i, j))).collect();
                assert_same_bits(&what, cols, &out[0].to_vec(), &sums);
                let weighted = |j| in_column_order(rows, |i| y.get(i, j) * p.get(0, j));
                assert_same_bits(&what, cols, &out[1].to_vec(), &(0..cols).map(weighted).collect::<Vec<_>>());
                let finished: Vec<f32> = sums.iter().enumerate().map(|(j, sum)| sum * p.get(0, j)).collect();
                assert_same_bits(&what, cols, &out[2].to_vec(), &finished);
                for y in &out {
                    y.assert_guards(&what);
                }

                let column = |j: usize| (0..rows).map(move |i| (i, j));
                let wide = |(i, j)| f64::from(x.get(i, j));
                let exact = (0..cols).map(|j| column(j).map(wide).sum());
                let bound = gamma(rows.min(256) + rows.div_ceil(256));
                let tolerance = (0..cols).map(|j| bound * column(j).map(wide).map(f64::abs).sum::<f64>());
                assert_close(&what, cols, &out[0].to_vec(), exact, tolerance);
            }
        }
    });
}

struct RunCopy<'a>(MatMut<'a>, Mat<'a>);

impl Kernel for RunCopy<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        copy(s, self.0, self.1);
    }
}

#[test]
fn copy_copies_every_bit_and_stays_inside() {
    on_every_tier("copy", |isa| {
        let mut random = Random::new(7);
        let ends = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17];
        let small = ends.into_iter().flat_map(|rows| ends.map(|cols| (rows, cols)));
        let large = [(33, 40), (40, 33), (5, 129), (129, 5), (64, 48), (31, 65)];
        for (rows, cols) in small.chain(large) {
            for layout in input_layouts() {
                let (to, more) = (random.pick(&Layout::ADJACENT), [random.below(4), random.pick(&[0, 1, 5, 16, 23])]);
                let src = Block::filled(layout, rows, cols, |_, _| any_value(&mut random));
                let mut dst = Block::poisoned(to, rows + more[0], cols + more[1]);
                isa.run(RunCopy(dst.mat_mut(), src.mat()));
                let copied = Block::filled(Layout::Dense, rows, cols, |i, j| dst.get(i, j)).to_vec();
                let what = format_args!("{isa}, {rows}x{cols} {layout:?} and {more:?} more, to {to:?}");
                assert_same_bits(what, cols, &copied, &src.to_vec());
                dst.assert_guards(what);
            }
        }
    });
}

/// The order is part of the result: the tests above would notice another one.
#[test]
fn another_order_gives_other_bits() {
    let mut random = Random::new(8);
    let mut differ = [0; 3];
    for _ in 0..100 {
        let x: Vec<f32> = (0..600).map(|_| random.uneven()).collect();
        let one_by_one: f32 = x.iter().sum();
        let by_row = in_row_order(x.len(), 0.0, |sum, i| sum + x[i], |a, b| a + b);
        let by_column = in_column_order(x.len(), |i| x[i]);
        for (count, differs) in
            differ.iter_mut().zip([one_by_one != by_row, one_by_one != by_column, by_row != by_column])
        {
            *count += usize::from(differs);
        }
    }
    assert!(differ.iter().all(|&count| count > 50), "{differ:?} of 100");
}

/// The tiers' names are those the report expects, so that one more tier is not passed over.
#[test]
fn all_tiers_are_known_to_the_report() {
    assert!(Isa::available().all(|isa| tiers::expected().contains(&isa.name())));
}
