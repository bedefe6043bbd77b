//! Where elements lie, and what was there before.

use crate::kernels::block::{Block, Layout as Lay};
use crate::kernels::compare::assert_same_bits;
use crate::kernels::random::Random;
use crate::kernels::tensor::{Layout, Tensor};
use crate::kernels::{pools, serial};
use crate::problem::{Problem, evaluate, name, problems};
use crate::{BEFORE, bits, poisoned, refused};
use handgrad::kernels::gemm::{Accum, gemm, scratch_len};
use handgrad::kernels::op::cross_entropy::{self, Config};
use handgrad::kernels::op::spec::{ALL, Spec};
use handgrad::kernels::view::{MatMut, ViewMut};
use handgrad::kernels::{Exec, Isa};

/// An operand that repeats elements has other values: a problem with those, without repetition.
fn as_laid(problem: &Problem, layout: Layout) -> Problem {
    let seen = |shape: &[usize], values: &[f32]| Tensor::values(layout, shape, values).to_vec();
    let inputs = problem.shapes.iter().zip(&problem.inputs).map(|(shape, values)| seen(shape, values)).collect();
    Problem { inputs, dy: seen(&problem.out, &problem.dy), ..problem.clone() }
}

fn product(exec: &Exec, [a, b]: [&Block; 2], accum: Accum, mut c: Block) -> Vec<f32> {
    let mut scratch = vec![f32::NAN; scratch_len(exec, a.rows, a.cols, b.cols)];
    gemm(exec, c.mat_mut(), accum, a.mat(), b.mat(), &mut scratch).unwrap();
    c.assert_guards("a product");
    c.to_vec()
}

/// [pytorch#43723, unsloth#10675]
#[test]
fn a_strided_input_taken_as_contiguous() {
    for isa in Isa::available() {
        let exec = serial(isa);
        for spec in ALL {
            for problem in problems(spec, &mut Random::new(7), &[6, 19]) {
                for layout in Layout::ALL {
                    let want = evaluate(spec, &exec, &as_laid(&problem, layout), Layout::Dense, Layout::Dense);
                    for (got, want) in evaluate(spec, &exec, &problem, layout, Layout::Dense).iter().zip(&want) {
                        assert_same_bits(format!("{isa}: {} of {layout:?}", name(spec)), 19, got, want);
                    }
                }
            }
        }
        let mut random = Random::new(8);
        let [a, b] = [7 * 19, 19 * 21].map(|len| (0..len).map(|_| random.uneven()).collect::<Vec<_>>());
        let layouts = Lay::OUTPUTS.into_iter().chain(Lay::REPEATING);
        for (x, y) in layouts.clone().flat_map(|x| layouts.clone().map(move |y| (x, y))) {
            let (a, b) = (Block::from_slice(x, 7, 19, &a), Block::from_slice(y, 19, 21, &b));
            let got = product(&exec, [&a, &b], Accum::Replace, Block::poisoned(Lay::Dense, 7, 21));
            let plain =
                [Block::from_slice(Lay::Dense, 7, 19, &a.to_vec()), Block::from_slice(Lay::Dense, 19, 21, &b.to_vec())];
            let want = product(&exec, [&plain[0], &plain[1]], Accum::Replace, Block::poisoned(Lay::Dense, 7, 21));
            assert_same_bits(format!("{isa}: {x:?} by {y:?}"), 21, &got, &want);
        }
    }
}

/// [burn#5308, rten#81]
#[test]
fn old_contents_of_an_output_that_leak_in() {
    let olds = [f32::NAN, f32::INFINITY, -3.5, 0.0];
    let exec = serial(Isa::best());
    for spec in ALL {
        for problem in problems(spec, &mut Random::new(9), &[5, 18]) {
            let run = |old: f32| {
                let len = |shape: &[usize]| shape.iter().product::<usize>();
                let [mut y, mut da, mut db] = [&problem.out, &problem.shapes[0], problem.shapes.last().unwrap()]
                    .map(|shape| vec![old; len(shape)]);
                let x: Vec<_> = problem
                    .shapes
                    .iter()
                    .zip(&problem.inputs)
                    .map(|(s, v)| Tensor::values(Layout::Dense, s, v))
                    .collect();
                let dy = Tensor::values(Layout::Dense, &problem.out, &problem.dy);
                let first = x[0].view();
                let out = ViewMut::new(&mut y, &problem.out).unwrap();
                let dx = ViewMut::new(&mut da, &problem.shapes[0]).unwrap();
                match spec {
                    Spec::Unary(op) => {
                        (op.forward)(&exec, out, first).unwrap();
                        let y = Tensor::values(Layout::Dense, &problem.out, &y);
                        (op.backward)(&exec, dx, dy.view(), first, y.view()).unwrap();
                    }
                    Spec::Binary(op) => {
                        (op.forward)(&exec, out, first, x[1].view()).unwrap();
                        let other = ViewMut::new(&mut db, &problem.shapes[1]).unwrap();
                        (op.backward)(&exec, [dx, other], dy.view(), first, x[1].view()).unwrap();
                    }
                    Spec::Along(op) => {
                        (op.forward)(&exec, out, first, &problem.axes).unwrap();
                        let y = Tensor::values(Layout::Dense, &problem.out, &y);
                        (op.backward)(&exec, dx, dy.view(), first, y.view(), &problem.axes).unwrap();
                    }
                }
                // Of one operand there is one gradient.
                db.truncate(if problem.shapes.len() == 2 { db.len() } else { 0 });
                [bits(&y), bits(&da), bits(&db)]
            };
            let want = run(olds[0]);
            assert!(olds[1..].iter().all(|&old| run(old) == want), "{} of {:?}", name(spec), problem.shapes);
        }
    }
    let mut random = Random::new(10);
    let mut block = |rows, cols| Block::filled(Lay::Dense, rows, cols, |_, _| random.unit());
    let (a, b, x) = (block(9, 20), block(20, 33), block(4, 27));
    let run = |old: f32| {
        let c = product(&exec, [&a, &b], Accum::Replace, Block::filled(Lay::Dense, 9, 33, |_, _| old));
        let (mut losses, mut dx) = (vec![old; 4], vec![old; 4 * 27]);
        let out = MatMut::new(&mut dx, 4, 27).unwrap();
        let labels = &[3, 0, 26, 9][..];
        cross_entropy::forward_backward(&exec, &mut losses, out, 0.25, x.mat(), labels, None, Config::default())
            .unwrap();
        [bits(&c), bits(&losses), bits(&dx)]
    };
    let want = run(olds[0]);
    assert!(olds[1..].iter().all(|&old| run(old) == want));
}

/// [burn#5345]
#[test]
fn an_output_that_several_threads_write_at_one_place() {
    // No output can have an element at two indices, so no two pieces of one can.
    let mut data = poisoned(16);
    for (shape, strides) in [([3, 3], [0, 1]), ([3, 3], [1, 1]), ([3, 3], [2, 1]), ([2, 4], [-2, 1]), ([4, 2], [1, 0])]
    {
        let offset = 8;
        refused(ViewMut::with_strides(&mut data, &shape, &strides, offset), &["do not nest"], &[]);
        refused(
            MatMut::with_strides(&mut data, shape[0], shape[1], strides[0], strides[1], offset),
            &["do not nest"],
            &[],
        );
    }
    assert!(data.iter().all(|x| x.to_bits() == BEFORE), "a refusal wrote something");
    // And however many threads write an output, they write what one does.
    let mut random = Random::new(11);
    let mut block = |layout, rows, cols| Block::filled(layout, rows, cols, |_, _| random.uneven());
    let (a, b) = (block(Lay::Padded, 67, 31), block(Lay::Transposed, 31, 70));
    for to in Lay::OUTPUTS {
        let want = product(&serial(Isa::best()), [&a, &b], Accum::Replace, Block::poisoned(to, 67, 70));
        for pool in pools() {
            let got = pool.install(|| product(&pool, [&a, &b], Accum::Replace, Block::poisoned(to, 67, 70)));
            assert_same_bits(format!("{} threads, {to:?}", pool.threads()), 70, &got, &want);
        }
    }
}

/// [OpenBLAS#5050]
#[test]
fn an_edge_of_a_product_read_or_written_past_its_end() {
    // The buffers are not an element too long, so a sanitizer sees a read past them; guards show a write.
    let mut random = Random::new(12);
    for isa in Isa::available() {
        let exec = serial(isa);
        let lanes = isa.lanes();
        let edges = [1, 2, lanes - 1, lanes, lanes + 1, 2 * lanes + 1, 3 * lanes - 1, 3 * lanes + 1];
        for (m, n) in (1..=9).flat_map(|m| edges.map(|n| (m, n))).filter(|&(_, n)| n > 0) {
            let k = 1 + random.below(7);
            let [a, b] = [m * k, k * n].map(|len| (0..len).map(|_| random.integer()).collect::<Vec<_>>());
            // Integers are exact in any order.
            let want: Vec<f32> =
                (0..m * n).map(|at| (0..k).fold(0.0, |sum, p| sum + a[at / n * k + p] * b[p * n + at % n])).collect();
            for (x, y) in [(Lay::Dense, Lay::Dense), (Lay::Dense, Lay::Transposed), (Lay::Transposed, Lay::Dense)] {
                let (a, b) = (Block::from_slice(x, m, k, &a), Block::from_slice(y, k, n, &b));
                for to in [Lay::Dense, Lay::Padded, Lay::TransposedPadded] {
                    let got = product(&exec, [&a, &b], Accum::Replace, Block::poisoned(to, m, n));
                    assert_same_bits(format!("{isa}: {m}x{k}x{n}, {x:?} by {y:?} to {to:?}"), n, &got, &want);
                }
            }
        }
    }
}
