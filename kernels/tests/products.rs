//! Matrix products over views: against plain loops in f64, bit for bit in the written order, and the same bits for
//! every layout, tier, number of threads and neighbour.

mod common;
#[path = "products/counting.rs"]
mod counting;
#[path = "products/edges.rs"]
mod edges;
#[path = "products/fused.rs"]
mod fused;
#[path = "products/problem.rs"]
mod problem;

use common::compare::assert_same_bits;
use common::random::Random;
use common::tensor::{Layout, Tensor, indices};
use common::tiers::{is_fused, on_every_tier};
use common::{pools, serial, until_two_workers};
use handgrad_kernels::op::matmul;
use handgrad_kernels::{Exec, Isa};
use problem::{OPS, Op, Pair, Problem, Results, len, shapes_of, takers, wide};

const MATMUL: &Op = &OPS[0];

fn assert_same(what: &str, got: &Results, want: &Results) {
    for ((name, got), (_, want)) in got.each().into_iter().zip(want.each()) {
        assert_same_bits(format!("{what}: {name}"), 1, got, want);
    }
}

#[test]
fn references_have_the_gradients_they_say() {
    let mut random = Random::new(1);
    let small =
        |op: &'static Op| shapes_of(op).into_iter().filter(|(a, b)| len(a) * len(b) < 200).map(move |s| (op, s));
    for (op, (a_shape, b_shape)) in OPS.iter().flat_map(small) {
        let problem = Problem::draw(op, &mut random, &a_shape, &b_shape, [Layout::Dense; 3]);
        let [a, b, dy] = [&problem.a, &problem.b, &problem.dy].map(|tensor| wide(&tensor.to_vec()));
        let shapes = [&a_shape[..], &b_shape[..]];
        let loss = |a: &[f64], b: &[f64]| -> f64 {
            (op.reference)([a, b], shapes).iter().zip(&dy).map(|(y, dy)| y * dy).sum()
        };
        let (da, db) = (op.reference_backward)(&dy, [&a, &b], shapes);
        let moved = |x: &[f64], i: usize, h: f64| {
            let mut x = x.to_vec();
            x[i] += h;
            x
        };
        // The product is linear in each operand, so that a difference of any width is exact but for rounding.
        let h = 1.0;
        let close = |got: f64, want: f64| assert!((got - want).abs() <= 1e-6 * (1.0 + want.abs()), "{problem}");
        for (i, &got) in da.iter().enumerate() {
            close(got, (loss(&moved(&a, i, h), &b) - loss(&moved(&a, i, -h), &b)) / (2.0 * h));
        }
        for (i, &got) in db.iter().enumerate() {
            close(got, (loss(&a, &moved(&b, i, h)) - loss(&a, &moved(&b, i, -h))) / (2.0 * h));
        }
    }
}

#[test]
fn products_agree_with_their_reference() {
    let shapes: Vec<_> = OPS.iter().flat_map(|op| shapes_of(op).into_iter().map(move |shapes| (op, shapes))).collect();
    on_every_tier(&format!("products, {} pairs of shapes", shapes.len()), |isa| {
        let (exec, mut random) = (serial(isa), Random::new(2));
        for (op, (a, b)) in &shapes {
            let layouts = [(); 3].map(|()| random.pick(&Layout::ALL));
            for layouts in [[Layout::Dense; 3], layouts] {
                let problem = Problem::draw(op, &mut random, a, b, layouts);
                let results = problem.run(&exec, random.pick(&Layout::OUTPUTS));
                problem.assert_accurate(format!("{isa}, {layouts:?}"), &results);
            }
        }
    });
}

#[test]
fn a_wrong_product_is_found() {
    let problem = Problem::draw(MATMUL, &mut Random::new(3), &[2, 3, 4], &[4, 5], [Layout::Dense; 3]);
    let results = problem.run(&serial(Isa::best()), Layout::Dense);
    problem.assert_accurate("right", &results);
    for number in 0..3 {
        let mut results = results.clone();
        let Results { y, da, db } = &mut results;
        *[y, da, db][number].last_mut().unwrap() *= 1.0 + 64.0 * f32::EPSILON;
        assert!(std::panic::catch_unwind(|| problem.assert_accurate("wrong", &results)).is_err());
    }
}

#[test]
fn layouts_give_the_same_bits() {
    let pairs: [Pair; 14] = [
        (&[70], &[70]),
        (&[2, 9, 70], &[2, 70, 9]),
        (&[9, 5], &[5, 5]),
        (&[9, 70], &[70]),
        (&[70], &[70, 9]),
        (&[7, 9], &[9, 33]),
        (&[2, 3, 5, 9], &[9, 17]),
        (&[2, 3, 5, 9], &[9, 1]),
        (&[2, 3, 5, 1], &[1, 9]),
        (&[2, 1, 5, 9], &[3, 9, 7]),
        (&[5, 9], &[2, 3, 9, 7]),
        (&[3, 5, 1], &[2, 1, 1, 1]),
        (&[2, 17, 70], &[2, 70, 1]),
        (&[1, 2, 40], &[3, 40, 50]),
    ];
    on_every_tier("layouts of products", |isa| {
        let (exec, mut random) = (serial(isa), Random::new(4));
        for (op, a, b) in takers(&pairs) {
            for first in Layout::ALL {
                for second in [first, random.pick(&Layout::ALL)] {
                    let layouts = [first, second, random.pick(&Layout::ALL)];
                    let problem = Problem::draw(op, &mut random, a, b, layouts);
                    let want = problem.laid(Layout::Dense).run(&exec, Layout::Dense);
                    for out in Layout::OUTPUTS {
                        let what = format!("{isa}: {problem}, {first:?} and {second:?} to {out:?}");
                        assert_same(&what, &problem.run(&exec, out), &want);
                    }
                }
            }
        }
    });
}

#[test]
fn tiers_and_threads_give_the_same_bits() {
    let pairs: [Pair; 14] = [
        (&[900], &[900]),
        (&[70_000], &[70_000]),
        (&[130, 70], &[70]),
        (&[70], &[70, 130]),
        (&[90, 60], &[60, 110]),
        (&[40, 6, 5], &[40, 5, 7]),
        (&[40, 6, 5], &[5, 7]),
        (&[6, 5], &[40, 5, 7]),
        (&[2, 60, 50], &[2, 50, 40]),
        (&[2, 1, 20, 30], &[5, 30, 40]),
        (&[40, 20, 30], &[1, 30, 1]),
        (&[5, 40, 1], &[3, 1, 1, 7]),
        (&[1, 40, 1], &[9, 1, 7]),
        (&[3, 33, 600], &[600, 2]),
    ];
    let pools = pools();
    let mut random = Random::new(5);
    for (op, a, b) in takers(&pairs) {
        for layout in [Layout::Dense, Layout::Padded, Layout::Swapped] {
            let problem = Problem::draw(op, &mut random, a, b, [layout; 3]);
            let want = problem.run(&serial(Isa::best()), Layout::Dense);
            for isa in Isa::available().filter(|&isa| is_fused(isa) == is_fused(Isa::best())) {
                assert_same(&format!("{isa}: {problem}"), &problem.run(&serial(isa), layout), &want);
            }
            for pool in &pools {
                let got = pool.install(|| problem.run(pool, layout));
                assert_same(&format!("{} threads: {problem}, {layout:?}", pool.threads()), &got, &want);
            }
        }
    }
}

#[test]
fn batches_and_rows_are_split_over_threads() {
    // A batch of kept products; one that is added up; rows of a product with a vector.
    let pairs: [Pair; 3] = [(&[400, 5, 6], &[400, 6, 7]), (&[64, 40], &[9, 40, 30]), (&[640, 64], &[64])];
    for (a, b) in pairs {
        let problem = Problem::draw(MATMUL, &mut Random::new(6), a, b, [Layout::Dense; 3]);
        let pool = Exec::with_threads(2).unwrap().with_min_piece(0);
        until_two_workers(&pool, || drop(problem.run(&pool, Layout::Dense)));
    }
}

/// A sum along a row, by 64 running values.
fn along_row(terms: &[(f32, f32)]) -> f32 {
    let pieces = terms.chunks(65_536).map(|piece| {
        let mut lanes = [0.0_f32; 64];
        for (i, &(x, y)) in piece.iter().enumerate() {
            lanes[i % 64] = x.mul_add(y, lanes[i % 64]);
        }
        let mut width = 64;
        while width > 1 {
            width /= 2;
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
        }
        lanes[0]
    });
    pieces.reduce(|total, sum| total + sum).unwrap_or(0.0)
}

/// One chain.
fn chain(terms: &[(f32, f32)]) -> f32 {
    terms.iter().fold(0.0, |sum, &(x, y)| x.mul_add(y, sum))
}

/// The pairs that each element of `to` sums, in row-major order of the product and, within it, of the inner index.
fn terms(
    to: usize,
    sizes: [usize; 5],
    mut f: impl FnMut([usize; 5]) -> (usize, (f32, f32)),
    order: [usize; 5],
) -> Vec<Vec<(f32, f32)>> {
    let mut lists = vec![Vec::new(); to];
    let permuted: Vec<usize> = order.iter().map(|&axis| sizes[axis]).collect();
    for index in indices(&permuted) {
        let mut place = [0; 5];
        for (&axis, &at) in order.iter().zip(&index) {
            place[axis] = at;
        }
        let (number, pair) = f(place);
        lists[number].push(pair);
    }
    lists
}

#[test]
fn sums_have_the_written_order() {
    // Batches of `p` and `q`: the left operand is repeated along `q`, the right one along `p`.
    let sizes: [[usize; 5]; 10] = [
        // Longer than what is done in one part.
        [1, 1, 2, 1100, 3],
        [1, 1, 2, 66_000, 1],
        [3, 4, 5, 70, 6],
        [2, 3, 1, 9, 4],
        [2, 3, 70, 9, 1],
        [3, 2, 5, 1, 70],
        [1, 3, 4, 500, 17],
        [3, 1, 300, 4, 5],
        [4, 1, 70, 130, 1],
        [1, 300, 2, 3, 2],
    ];
    on_every_tier("the order of products", |isa| {
        if !is_fused(isa) {
            return;
        }
        let (exec, mut random) = (serial(isa), Random::new(7));
        for [p, q, m, k, n] in sizes {
            let problem = Problem::draw(MATMUL, &mut random, &[p, 1, m, k], &[1, q, k, n], [Layout::Dense; 3]);
            let [a, b, dy] = [&problem.a, &problem.b, &problem.dy].map(Tensor::to_vec);
            let at = |[p, q, i, x, j]: [usize; 5]| (((p * m + i) * k + x), (q * k + x) * n + j, (p, q, i, j));
            let y_at = |(pp, qq, i, j): (usize, usize, usize, usize)| ((pp * q + qq) * m + i) * n + j;
            let of_y = |place| (y_at(at(place).2), (a[at(place).0], b[at(place).1]));
            let of_a = |place| (at(place).0, (dy[y_at(at(place).2)], b[at(place).1]));
            let of_b = |place| (at(place).1, (a[at(place).0], dy[y_at(at(place).2)]));
            let got = problem.run(&exec, Layout::Dense);
            let all = [p, q, m, k, n];
            let y = terms(got.y.len(), all, of_y, [0, 1, 2, 4, 3]);
            let y: Vec<f32> = y.iter().map(|list| if n == 1 { along_row(list) } else { chain(list) }).collect();
            assert_same_bits(format!("{isa}: y of {problem}"), 1, &got.y, &y);
            if k > 1 {
                let da = terms(got.da.len(), all, of_a, [2, 3, 0, 1, 4]);
                let da: Vec<f32> = da.iter().map(|list| chain(list)).collect();
                assert_same_bits(format!("{isa}: da of {problem}"), 1, &got.da, &da);
            } else {
                // Sums along rows, which are added from first to last.
                let da = terms(got.da.len(), all, of_a, [2, 3, 0, 1, 4]);
                let sum = |list: &Vec<_>| list.chunks(n).map(along_row).reduce(|sum, row| sum + row).unwrap();
                let da: Vec<f32> = da.iter().map(sum).collect();
                assert_same_bits(format!("{isa}: da of {problem}"), 1, &got.da, &da);
            }
            let db = terms(got.db.len(), all, of_b, [3, 4, 0, 1, 2]);
            let sum = |list: &Vec<_>| list.chunks(m).map(along_row).reduce(|sum, rows| sum + rows).unwrap();
            let db: Vec<f32> = db.iter().map(|list| if n == 1 { sum(list) } else { chain(list) }).collect();
            assert_same_bits(format!("{isa}: db of {problem}"), 1, &got.db, &db);
        }
    });
}

#[test]
fn a_row_alone_equals_the_row_among_others() {
    let mut random = Random::new(8);
    on_every_tier("rows alone", |isa| {
        let exec = serial(isa);
        for (k, n) in [(9, 20), (70, 1), (1, 5), (300, 40)] {
            let problem = Problem::draw(MATMUL, &mut random, &[3, 11, k], &[k, n], [Layout::Dense; 3]);
            let all = problem.run(&exec, Layout::Dense);
            for row in 0..33 {
                let mut y = vec![f32::NAN; n];
                let (i, j) = ((row / 11) as isize, (row % 11) as isize);
                let a = problem.a.view().select(0, i).unwrap().select(0, j).unwrap();
                let out = handgrad_kernels::view::ViewMut::new(&mut y, &[n]).unwrap();
                let mut scratch = vec![f32::NAN; matmul::scratch(&exec, &[k], &[k, n])];
                matmul::forward(&exec, out, a, problem.b.view(), &mut scratch).unwrap();
                assert_same_bits(format!("{isa}: row {row} of {problem}"), n, &y, &all.y[row * n..][..n]);
            }
        }
    });
}
