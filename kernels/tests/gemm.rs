//! Matrix products: exact on integers, bit for bit one chain in the order of `k`, and typed errors.

mod common;

use common::block::{Block, Layout};
use common::compare::{assert_close, assert_same_bits, gamma};
use common::random::Random;
use common::tiers::{is_fused, on_every_tier};
use common::{pools, serial, until_two_workers};
use handgrad_kernels::gemm::{Accum, gemm, scratch_len};
use handgrad_kernels::{ErrorKind, Exec, Isa};
use std::fmt::Display;

/// `m`, `k`, `n`: a product of `m x k` by `k x n`.
type Shape = [usize; 3];

/// How the operands of the three forms of backprop lie, `A` and `B`.
const FORMS: [(&str, Layout, Layout); 3] = [
    ("NN", Layout::Dense, Layout::Dense),
    ("NT", Layout::Dense, Layout::Transposed),
    ("TN", Layout::Transposed, Layout::Dense),
];

/// The same with room between rows or columns.
const PADDED_FORMS: [(&str, Layout, Layout); 3] = [
    ("NN padded", Layout::Padded, Layout::UpsideDown),
    ("NT padded", Layout::Padded, Layout::TransposedPadded),
    ("TN padded", Layout::TransposedPadded, Layout::Padded),
];

/// `C = A·B` or `C += A·B` in f64, by matrixmultiply; all row-major.
#[allow(unsafe_code, reason = "the oracle takes pointers")]
fn product(shape: Shape, a: &[f64], b: &[f64], c: Option<&[f64]>) -> Vec<f64> {
    let [m, k, n] = shape;
    assert_eq!((a.len(), b.len()), (m * k, k * n));
    let mut out = c.map_or(vec![0.0; m * n], <[f64]>::to_vec);
    assert_eq!(out.len(), m * n);
    let (a, b, out_ptr) = (a.as_ptr(), b.as_ptr(), out.as_mut_ptr());
    let (k_stride, n_stride) = (k as isize, n as isize);
    let beta = if c.is_some() { 1.0 } else { 0.0 };
    // SAFETY: the lengths were checked, and the strides are those of row-major matrices of these shapes.
    unsafe { matrixmultiply::dgemm(m, k, n, 1.0, a, k_stride, 1, b, n_stride, 1, beta, out_ptr, n_stride, 1) };
    out
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x.into()).collect()
}

/// Runs a product with just as much scratch as is asked for, NaN everywhere.
fn run(exec: &Exec, c: &mut Block, accum: Accum, a: &Block, b: &Block, what: impl Display) {
    let mut scratch = vec![f32::NAN; scratch_len(exec, a.rows, a.cols, b.cols)];
    gemm(exec, c.mat_mut(), accum, a.mat(), b.mat(), &mut scratch).unwrap_or_else(|error| panic!("{what}: {error}"));
    c.assert_guards(what);
}

/// More than 500 shapes: nothing and one in each place, primes, and every tail of a tile.
fn small_shapes() -> Vec<Shape> {
    let few = [0, 1, 2, 3, 5, 8, 13];
    let mut shapes: Vec<Shape> =
        few.iter().flat_map(|&m| few.map(|k| (m, k))).flat_map(|(m, k)| few.map(|n| [m, k, n])).collect();
    shapes.extend((1..=100).map(|n| [7, 5, n]));
    shapes.extend((1..=26).map(|m| [m, 11, 33]));
    shapes.extend((1..=40).map(|k| [9, k, 17]));
    shapes.extend([[31, 37, 41], [43, 29, 19], [23, 47, 53], [59, 61, 67], [71, 3, 73], [1, 101, 103], [97, 101, 1]]);
    shapes.extend([
        [64, 64, 64],
        [65, 64, 49],
        [66, 20, 97],
        [130, 9, 145],
        [32, 30, 200],
        [32, 200, 27],
        [30, 32, 200],
    ]);
    shapes
}

/// Shapes on both sides of every size at which the product is cut or goes another way.
const LARGE_SHAPES: [Shape; 17] = [
    [3, 383, 5],
    [3, 384, 50],
    [5, 385, 49],
    [9, 769, 17],
    [7, 1024, 33],
    [7, 1025, 33],
    [1, 1500, 70],
    [2, 1025, 49],
    [3, 2050, 33],
    [4, 1027, 130],
    [201, 390, 31],
    [401, 21, 49],
    [11, 40, 513],
    [203, 400, 530],
    [513, 17, 3],
    [600, 5, 10],
    [1, 1100, 2],
];

/// More than 2^29 multiply-adds.
const HUGE_SHAPE: Shape = [701, 900, 870];

struct Integers {
    shape: Shape,
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
    replaced: Vec<f64>,
    added: Vec<f64>,
}

impl Integers {
    fn draw(shape: Shape, random: &mut Random) -> Self {
        let [m, k, n] = shape;
        let [a, b, c] = [m * k, k * n, m * n].map(|len| (0..len).map(|_| random.integer()).collect::<Vec<_>>());
        let (wide_a, wide_b) = (wide(&a), wide(&b));
        let replaced = product(shape, &wide_a, &wide_b, None);
        let added = product(shape, &wide_a, &wide_b, Some(&wide(&c)));
        Self { shape, a, b, c, replaced, added }
    }

    /// One product, at tolerance 0: integers this small are exact in f32, whatever the order.
    fn check(&self, exec: &Exec, form: (&str, Layout, Layout), to: Layout, accum: Accum) {
        let [m, k, n] = self.shape;
        let (a, b) = (Block::from_slice(form.1, m, k, &self.a), Block::from_slice(form.2, k, n, &self.b));
        let (mut c, want) = match accum {
            Accum::Replace => (Block::poisoned(to, m, n), &self.replaced),
            Accum::Add => (Block::from_slice(to, m, n, &self.c), &self.added),
        };
        let (isa, threads, name) = (exec.isa(), exec.threads(), form.0);
        let what = format!("{isa}, {threads} threads, {m}x{k}x{n} {name}, C {to:?}, {accum:?}");
        run(exec, &mut c, accum, &a, &b, &what);
        assert_close(&what, n, &c.to_vec(), want.iter().copied(), std::iter::repeat(0.0));
    }
}

#[test]
fn products_of_integers_are_exact() {
    let shapes = small_shapes();
    assert!(shapes.len() >= 500);
    let mut random = Random::new(1);
    let cases: Vec<Integers> = shapes.iter().map(|&shape| Integers::draw(shape, &mut random)).collect();
    on_every_tier(&format!("products of integers, {} shapes", cases.len()), |isa| {
        let exec = serial(isa);
        for case in &cases {
            for accum in [Accum::Replace, Accum::Add] {
                for (form, padded) in FORMS.into_iter().zip(PADDED_FORMS) {
                    case.check(&exec, form, Layout::Dense, accum);
                    case.check(&exec, padded, random.pick(&Layout::OUTPUTS), accum);
                }
                for to in [Layout::Transposed, Layout::TransposedPadded, Layout::Spread, Layout::Mirrored] {
                    case.check(&exec, random.pick(&FORMS), to, accum);
                }
            }
        }
    });
}

#[test]
fn products_past_every_block_size_are_exact() {
    let mut random = Random::new(2);
    let cases: Vec<Integers> = LARGE_SHAPES.iter().map(|&shape| Integers::draw(shape, &mut random)).collect();
    on_every_tier(&format!("products past every block size, {} shapes", cases.len()), |isa| {
        let exec = serial(isa);
        for case in &cases {
            for (i, form) in FORMS.into_iter().chain(PADDED_FORMS).enumerate() {
                for (j, to) in Layout::OUTPUTS.into_iter().enumerate() {
                    // The slow tier sees each layout in one form of the larger products.
                    let work = case.shape.iter().product::<usize>();
                    if isa.lanes() > 1 || work < 1_000_000 || i == j % FORMS.len() {
                        case.check(&exec, form, to, if (i + j) % 2 == 0 { Accum::Replace } else { Accum::Add });
                    }
                }
            }
        }
    });
}

#[test]
fn a_product_too_large_to_read_in_place_is_exact() {
    let case = Integers::draw(HUGE_SHAPE, &mut Random::new(3));
    on_every_tier("a product of more than 2^29 multiply-adds", |isa| {
        let exec = serial(isa);
        case.check(&exec, FORMS[0], Layout::Padded, Accum::Add);
        if isa.lanes() > 1 {
            case.check(&exec, FORMS[1], Layout::Dense, Accum::Replace);
            case.check(&exec, FORMS[2], Layout::Transposed, Accum::Replace);
        }
    });
}

#[test]
fn products_of_integers_are_exact_on_every_number_of_threads() {
    let mut random = Random::new(4);
    let small = small_shapes().into_iter().step_by(7);
    let cases: Vec<_> = small.chain(LARGE_SHAPES).map(|shape| Integers::draw(shape, &mut random)).collect();
    for pool in pools() {
        on_every_tier(&format!("products of integers on {} threads", pool.threads()), |isa| {
            let exec = pool.clone().with_isa(isa);
            exec.install(|| {
                for case in &cases {
                    let form = random.pick(&FORMS);
                    case.check(&exec, form, Layout::Dense, Accum::Replace);
                    case.check(&exec, form, random.pick(&Layout::OUTPUTS), Accum::Add);
                }
            });
            let case = &cases[cases.len() - 1];
            until_two_workers(&exec, || case.check(&exec, FORMS[0], Layout::Dense, Accum::Replace));
        });
    }
}

/// Untidy operands and the results by definition.
struct Untidy {
    shape: Shape,
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
}

impl Untidy {
    fn draw(shape: Shape, random: &mut Random) -> Self {
        let [m, k, n] = shape;
        let [a, b, c] = [m * k, k * n, m * n].map(|len| (0..len).map(|_| random.uneven()).collect::<Vec<_>>());
        Self { shape, a, b, c }
    }

    fn start(&self, to: Layout, accum: Accum) -> Block {
        let [m, _, n] = self.shape;
        match accum {
            Accum::Replace => Block::poisoned(to, m, n),
            Accum::Add => Block::from_slice(to, m, n, &self.c),
        }
    }

    /// One product of operands laid out in any way.
    fn run(&self, exec: &Exec, a: Layout, b: Layout, to: Layout, accum: Accum) -> Vec<f32> {
        let [m, k, n] = self.shape;
        let (a, b) = (Block::from_slice(a, m, k, &self.a), Block::from_slice(b, k, n, &self.b));
        let mut c = self.start(to, accum);
        run(exec, &mut c, accum, &a, &b, format_args!("{m}x{k}x{n}"));
        c.to_vec()
    }

    /// The written order in plain Rust. With more than one column: one chain in the order of `k`. With one: 64 running
    /// sums along the row, folded by halves.
    fn by_definition(&self, accum: Accum) -> Vec<f32> {
        let [m, k, n] = self.shape;
        let mut out = Vec::new();
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let fma = |p: usize, sum: f32| self.a[i * k + p].mul_add(self.b[p * n + j], sum);
            let start = if accum == Accum::Add { self.c[i * n + j] } else { 0.0 };
            out.push(if n > 1 {
                (0..k).fold(start, |sum, p| fma(p, sum))
            } else {
                let mut sums = [0.0; 64];
                (0..k).for_each(|p| sums[p % 64] = fma(p, sums[p % 64]));
                for width in [32, 16, 8, 4, 2, 1] {
                    (0..width).for_each(|p| sums[p] += sums[p + width]);
                }
                if accum == Accum::Add { start + sums[0] } else { sums[0] }
            });
        }
        out
    }

    /// Within the error bound of a chain of `k` steps; a step is one rounding or two.
    fn assert_near(&self, isa: Isa, got: &[f32], accum: Accum) -> f64 {
        let [m, k, n] = self.shape;
        let start = wide(&self.c);
        let start = (accum == Accum::Add).then_some(&start[..]);
        let exact = product(self.shape, &wide(&self.a), &wide(&self.b), start);
        let size = |x: &[f32]| x.iter().map(|x| f64::from(x.abs())).collect::<Vec<_>>();
        let start = size(&self.c);
        let start = (accum == Accum::Add).then_some(&start[..]);
        let sizes = product(self.shape, &size(&self.a), &size(&self.b), start);
        // With one column an element passes 64 running sums, six folds and the addition of what stood there instead.
        let chain = if n > 1 { k } else { k.div_ceil(64) + 7 };
        let roundings = chain + usize::from(!is_fused(isa));
        let tolerance = sizes.iter().map(|size| gamma(roundings) * size);
        assert_close(format_args!("{isa}, {m}x{k}x{n}, {accum:?}"), n, got, exact, tolerance)
    }
}

fn untidy_shapes() -> Vec<Shape> {
    let mut shapes = small_shapes();
    let mut some: Vec<Shape> = shapes.drain(..).step_by(11).collect();
    some.extend(LARGE_SHAPES);
    // Widths that leave one column alone at the end of a block, and one column alone.
    some.extend([
        [5, 30, 49],
        [70, 30, 97],
        [1, 30, 49],
        [2, 500, 49],
        [7, 100, 1],
        [200, 65, 1],
        [1, 129, 1],
        [2, 64, 1],
    ]);
    some
}

const ACCUMS: [Accum; 2] = [Accum::Replace, Accum::Add];

#[test]
fn every_element_is_one_chain_on_every_tier() {
    let mut random = Random::new(5);
    let cases: Vec<_> = untidy_shapes().into_iter().map(|shape| Untidy::draw(shape, &mut random)).collect();
    let mut used = 0.0f64;
    on_every_tier(&format!("one chain, {} shapes", cases.len()), |isa| {
        let exec = serial(isa);
        for case in &cases {
            for accum in ACCUMS {
                let got = case.run(&exec, Layout::Dense, Layout::Dense, Layout::Dense, accum);
                if is_fused(isa) {
                    let [m, k, n] = case.shape;
                    let what = format!("{isa}, {m}x{k}x{n}, {accum:?}");
                    assert_same_bits(what, n, &got, &case.by_definition(accum));
                }
                used = used.max(case.assert_near(isa, &got, accum));
            }
        }
    });
    println!("the largest error was {used:.3} of its bound");
}

#[test]
fn strides_change_no_bit() {
    let mut random = Random::new(6);
    let cases: Vec<_> = untidy_shapes().into_iter().map(|shape| Untidy::draw(shape, &mut random)).collect();
    let inputs = Layout::OUTPUTS;
    on_every_tier(&format!("strides, {} shapes", cases.len()), |isa| {
        let exec = serial(isa);
        for case in &cases {
            let work = case.shape.iter().product::<usize>();
            let step = if isa.lanes() == 1 && work > 100_000 { 5 } else { 1 };
            for accum in ACCUMS {
                let want = case.run(&exec, Layout::Dense, Layout::Dense, Layout::Dense, accum);
                let check = |a, b, c| {
                    let got = case.run(&exec, a, b, c, accum);
                    let what = format!("{isa}, {:?}, A {a:?}, B {b:?}, C {c:?}, {accum:?}", case.shape);
                    assert_same_bits(what, case.shape[2], &got, &want);
                };
                for layout in inputs.into_iter().step_by(step) {
                    check(layout, random.pick(&inputs), random.pick(&inputs));
                    check(random.pick(&inputs), layout, random.pick(&inputs));
                    check(random.pick(&inputs), random.pick(&inputs), layout);
                    check(Layout::Dense, Layout::Dense, layout);
                }
            }
        }
    });
}

#[test]
fn repeated_rows_and_columns_are_operands_like_any_other() {
    on_every_tier("repeated operands", |isa| {
        let exec = serial(isa);
        let mut random = Random::new(7);
        for [m, k, n] in [[5, 7, 9], [3, 400, 49], [20, 5, 1], [1, 8, 33]] {
            for a_layout in Layout::REPEATING {
                for b_layout in Layout::REPEATING {
                    let a = Block::filled(a_layout, m, k, |_, _| random.uneven());
                    let b = Block::filled(b_layout, k, n, |_, _| random.uneven());
                    let same = Untidy { shape: [m, k, n], a: a.to_vec(), b: b.to_vec(), c: Vec::new() };
                    let want = same.run(&exec, Layout::Dense, Layout::Dense, Layout::Dense, Accum::Replace);
                    let mut c = Block::poisoned(Layout::Dense, m, n);
                    let what = format!("{isa}, {m}x{k}x{n}, A {a_layout:?}, B {b_layout:?}");
                    run(&exec, &mut c, Accum::Replace, &a, &b, &what);
                    assert_same_bits(&what, n, &c.to_vec(), &want);
                }
            }
        }
    });
}

#[test]
fn threads_change_no_bit() {
    let mut random = Random::new(8);
    let cases: Vec<_> = untidy_shapes().into_iter().map(|shape| Untidy::draw(shape, &mut random)).collect();
    let pools = pools();
    on_every_tier(&format!("threads, {} shapes", cases.len()), |isa| {
        for case in &cases {
            for accum in ACCUMS {
                let want = case.run(&serial(isa), Layout::Dense, Layout::Dense, Layout::Dense, accum);
                for pool in &pools {
                    let exec = pool.clone().with_isa(isa);
                    let [a, b, c] = [(); 3].map(|()| random.pick(&Layout::OUTPUTS));
                    let got = exec.install(|| case.run(&exec, a, b, c, accum));
                    let what = format!("{isa}, {} threads, {:?}, {a:?} {b:?} {c:?}", exec.threads(), case.shape);
                    assert_same_bits(what, case.shape[2], &got, &want);
                }
            }
        }
    });
    let case = &cases[cases.len() - 1];
    for pool in &pools {
        until_two_workers(pool, || drop(case.run(pool, Layout::Dense, Layout::Dense, Layout::Dense, Accum::Replace)));
    }
}

#[test]
fn a_row_alone_has_the_bits_it_has_among_others() {
    let mut random = Random::new(9);
    on_every_tier("a row alone", |isa| {
        let exec = serial(isa);
        for shape in [[33, 30, 200], [70, 200, 27], [9, 400, 2], [13, 1030, 50]] {
            let [m, k, n] = shape;
            let case = Untidy::draw(shape, &mut random);
            let whole = case.run(&exec, Layout::Dense, Layout::Dense, Layout::Dense, Accum::Replace);
            for i in (0..m).step_by(3) {
                let a = case.a[i * k..][..k].to_vec();
                let row = Untidy { shape: [1, k, n], a, b: case.b.clone(), c: Vec::new() };
                let got = row.run(&exec, Layout::Dense, Layout::Dense, Layout::Dense, Accum::Replace);
                assert_same_bits(format_args!("{isa}, row {i} of {shape:?}"), n, &got, &whole[i * n..][..n]);
            }
        }
    });
}

#[test]
fn a_chain_cut_in_two_goes_on_where_it_stopped() {
    let mut random = Random::new(10);
    on_every_tier("a chain in two parts", |isa| {
        let exec = serial(isa);
        for shape in [[9, 33, 20], [30, 500, 49], [4, 1200, 3]] {
            let [m, k, n] = shape;
            let case = Untidy::draw(shape, &mut random);
            let whole = case.run(&exec, Layout::Dense, Layout::Dense, Layout::Dense, Accum::Replace);
            let a = Block::from_slice(Layout::Dense, m, k, &case.a);
            let b = Block::from_slice(Layout::Dense, k, n, &case.b);
            for cut in [0, 1, k / 3, k - 1, k] {
                let mut c = Block::poisoned(Layout::Dense, m, n);
                let mut scratch = vec![f32::NAN; scratch_len(&exec, m, k, n)];
                for (part, accum) in [(0..cut, Accum::Replace), (cut..k, Accum::Add)] {
                    let (a, b) = (a.mat().cols_at(part.clone()).unwrap(), b.mat().rows_at(part).unwrap());
                    gemm(&exec, c.mat_mut(), accum, a, b, &mut scratch).unwrap();
                }
                assert_same_bits(format_args!("{isa}, {shape:?} cut at {cut}"), n, &c.to_vec(), &whole);
            }
        }
    });
}

#[test]
fn values_that_are_no_numbers_reach_only_their_own_row_or_column() {
    on_every_tier("NaN and infinity", |isa| {
        let exec = serial(isa);
        for [m, k, n] in [[9, 5, 35], [17, 400, 49], [8, 70, 1]] {
            let mut random = Random::new(11);
            let mut case = Untidy::draw([m, k, n], &mut random);
            case.a[(m - 2) * k + k / 2] = f32::NAN;
            case.b[(k / 3) * n + n / 2] = f32::INFINITY;
            for layout in [Layout::Dense, Layout::Transposed] {
                let got = case.run(&exec, layout, layout, Layout::Dense, Accum::Replace);
                for (place, x) in got.iter().enumerate() {
                    let (i, j) = (place / n, place % n);
                    let what = format!("{isa}, {m}x{k}x{n}, {layout:?}, element ({i}, {j}) is {x}");
                    assert_eq!(x.is_nan(), i == m - 2, "{what}");
                    assert_eq!(x.is_infinite(), i != m - 2 && j == n / 2, "{what}");
                }
            }
        }
    });
}

#[test]
fn an_empty_sum_is_zero_or_what_stood_there() {
    on_every_tier("an empty sum", |isa| {
        for (m, n) in [(3, 20), (3, 1), (1, 1)] {
            for to in Layout::OUTPUTS {
                let case = Untidy::draw([m, 0, n], &mut Random::new(12));
                let got = case.run(&serial(isa), Layout::Dense, Layout::Dense, to, Accum::Replace);
                assert_same_bits(format_args!("{isa}, {m}x0x{n}, {to:?}"), n, &got, &vec![0.0; m * n]);
                let got = case.run(&serial(isa), Layout::Dense, Layout::Dense, to, Accum::Add);
                assert_same_bits(format_args!("{isa}, {m}x0x{n}, {to:?}"), n, &got, &case.c);
            }
        }
    });
}

#[test]
fn bad_shapes_and_short_scratch_are_errors_and_write_nothing() {
    let exec = Exec::serial().unwrap();
    let [m, k, n] = [5, 6, 7];
    let check = |c: [usize; 2], a: [usize; 2], b: [usize; 2], short: usize, want: ErrorKind| {
        for to in Layout::OUTPUTS {
            for accum in ACCUMS {
                let mut c = Block::filled(to, c[0], c[1], |i, j| (i * 10 + j) as f32);
                let before = c.bits();
                let [a, b] = [a, b].map(|[rows, cols]| Block::filled(Layout::Dense, rows, cols, |_, _| 1.0));
                let mut scratch = vec![2.0; scratch_len(&exec, a.rows, a.cols, b.cols) - short];
                let error = gemm(&exec, c.mat_mut(), accum, a.mat(), b.mat(), &mut scratch).unwrap_err();
                assert_eq!(*error.kind(), want);
                assert_eq!(c.bits(), before, "{error}, but C was written");
                assert!(scratch.iter().all(|&x| x == 2.0), "{error}, but scratch was written");
            }
        }
    };
    let shape = |arg, want: [usize; 2], got: [usize; 2]| ErrorKind::Shape {
        op: "gemm",
        arg,
        want: want.into(),
        got: got.into(),
    };
    check([m, n], [m, k], [k + 1, n], 0, shape("b", [k, n], [k + 1, n]));
    check([m, n], [m, k], [n, k], 0, shape("b", [k, k], [n, k]));
    check([m + 1, n], [m, k], [k, n], 0, shape("c", [m, n], [m + 1, n]));
    check([m, n - 1], [m, k], [k, n], 0, shape("c", [m, n], [m, n - 1]));
    check([n, m], [m, k], [k, n], 0, shape("c", [m, n], [n, m]));
    check([0, n], [m, k], [k, n], 0, shape("c", [m, n], [0, n]));
    let want = scratch_len(&exec, m, k, n);
    check([m, n], [m, k], [k, n], 1, ErrorKind::Scratch { op: "gemm", want, got: want - 1 });
    check([m, n], [m, k], [k, n], want, ErrorKind::Scratch { op: "gemm", want, got: 0 });

    let a = Block::filled(Layout::Dense, 2, 3, |_, _| 1.0);
    let mut c = Block::poisoned(Layout::Dense, 2, 2);
    let error = gemm(&exec, c.mat_mut(), Accum::Replace, a.mat(), a.mat(), &mut []).unwrap_err();
    assert_eq!(error.to_string(), "gemm: `b` must be 3x3, got 2x3");
}

#[test]
fn a_wrong_product_is_found() {
    let mut random = Random::new(13);
    let case = Untidy::draw([6, 40, 10], &mut random);
    let exec = Exec::serial().unwrap();
    let right = case.run(&exec, Layout::Dense, Layout::Dense, Layout::Dense, Accum::Replace);
    let is_near = |got: &[f32]| std::panic::catch_unwind(|| case.assert_near(Isa::best(), got, Accum::Replace)).is_ok();
    assert!(is_near(&right));
    // One element left out of one sum, and one sum a thousandth too large.
    let mut wrong = right.clone();
    wrong[35] -= case.a[3 * 40 + 39] * case.b[39 * 10 + 5];
    assert!(!is_near(&wrong));
    let mut wrong = right.clone();
    wrong[59] *= 1.001;
    assert!(!is_near(&wrong));
    assert!(!is_near(&vec![0.0; 60]));
}
