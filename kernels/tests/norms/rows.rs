//! The norms of matrices with an activation, and values that are not ordinary.

use super::common::block::{Block, Layout as Mats};
use super::common::compare::assert_same_bits;
use super::common::random::Random;
use super::common::tensor::Layout;
use super::common::tiers::on_every_tier;
use super::common::{activations, pools, serial};
use super::problem::{Named, Norm, Problem, assert_same};
use super::{BATCHES, norms};
use handgrad_kernels::gemm::Accum;
use handgrad_kernels::op::activation::{self, Activation};
use handgrad_kernels::op::layer_norm::{self, Grads, Params, Saved, Statistics};
use handgrad_kernels::op::rms_norm;
use handgrad_kernels::{Exec, Isa};

fn find<'a>(results: &'a [Named], name: &str) -> &'a [f32] {
    &results.iter().find(|(other, _)| *other == name).unwrap_or_else(|| panic!("no {name}")).1
}

/// A problem by the forms for matrices, the output through an activation, `dx` through the one that made `x`.
fn run_rows(exec: &Exec, problem: &Problem, layout: Mats, activation: Activation) -> Vec<Named> {
    let (rows, cols) = (problem.shape[0], problem.shape[1]);
    let block = |values: &[f32]| Block::from_slice(layout, rows, cols, values);
    let row = |values: &Vec<f32>| Block::from_slice(Mats::Dense, 1, cols, values);
    let (x, dy) = (block(&problem.x), block(&problem.dy));
    let (weight, bias) = (problem.weight.as_ref().map(row), problem.bias.as_ref().map(row));
    let (weight, bias) = (weight.as_ref().map(Block::mat), bias.as_ref().map(Block::mat));
    let [mut y, mut dx] = [(); 2].map(|()| Block::poisoned(layout, rows, cols));
    let column = if layout == Mats::Dense { Mats::Dense } else { Mats::UpsideDown };
    let [mut mean, mut inv_std] = [(); 2].map(|()| Block::poisoned(column, rows, 1));
    let mut results = Vec::new();
    let rms = problem.norm.is_rms();
    if rms {
        let config = rms_norm::Config { eps: problem.eps };
        rms_norm::forward_rows(exec, y.mat_mut(), inv_std.mat_mut(), x.mat(), weight, config, activation).unwrap();
    } else {
        let (statistics, config) =
            (Statistics { mean: mean.mat_mut(), inv_std: inv_std.mat_mut() }, layer_norm::Config { eps: problem.eps });
        let params = Params { weight, bias };
        layer_norm::forward_rows(exec, y.mat_mut(), statistics, x.mat(), params, config, activation).unwrap();
    }
    for accum in [Accum::Replace, Accum::Add] {
        let [mut dweight, mut dbias] = problem.old.each_ref().map(|old| match accum {
            Accum::Replace => Block::poisoned(Mats::Dense, 1, cols),
            Accum::Add => row(old),
        });
        let mut scratch = vec![f32::NAN; layer_norm::backward_rows_scratch(rows, cols)];
        let (dy, x) = (dy.mat(), x.mat());
        let (to, weights) = (dx.mat_mut(), Some(dweight.mat_mut()));
        if rms {
            let grads = rms_norm::Grads { dx: to, dweight: weights };
            let inv_rms = inv_std.mat();
            rms_norm::backward_rows(exec, grads, accum, dy, x, inv_rms, weight, &mut scratch).unwrap();
        } else {
            let grads = Grads { dx: to, dweight: weights, dbias: Some(dbias.mat_mut()) };
            let saved = Saved { mean: mean.mat(), inv_std: inv_std.mat() };
            layer_norm::backward_rows(exec, grads, accum, dy, x, saved, weight, &mut scratch).unwrap();
        }
        activation::backward_in_place(exec, dx.mat_mut(), x, activation).unwrap();
        let added = accum == Accum::Add;
        results.push((if added { "dweight added" } else { "dweight" }, dweight.to_vec()));
        if !rms {
            results.push((if added { "dbias added" } else { "dbias" }, dbias.to_vec()));
        }
    }
    for (name, block) in [("y", &y), ("dx", &dx), ("mean", &mean), ("inv_std", &inv_std)] {
        block.assert_guards(format_args!("{name}, {}", problem.what()));
        if !(rms && name == "mean") {
            results.push((name, block.to_vec()));
        }
    }
    results
}

#[test]
fn rows_through_an_activation_are_the_norm_and_the_activation() {
    on_every_tier("rows through activations", |isa| {
        let exec = serial(isa);
        let mut random = Random::new(11);
        for (rows, cols) in [(1, 1), (3, 17), (33, 70), (300, 40), (2, 2000), (0, 3), (3, 0)] {
            for norm in [Norm::Layer(1), Norm::Rms(1)] {
                for (number, activation) in activations::ALL.into_iter().enumerate() {
                    let with = super::WITH[(rows + number) % 4];
                    let mut problem = Problem::draw(norm, &[rows, cols], with, &mut random);
                    // The backward pass goes through the activation whose output x is.
                    problem.x.iter_mut().for_each(|x| *x = activations::forward(activation, (*x).into()) as f32);
                    let mut want = problem.run(&exec, Layout::Dense, Layout::Dense);
                    let block = |values: &[f32]| Block::from_slice(Mats::Dense, rows, cols, values);
                    for (name, result) in want.iter_mut().filter(|(name, _)| matches!(*name, "y" | "dx")) {
                        let (mut out, inp) = (block(result), block(result));
                        if *name == "y" {
                            activation::forward(&exec, out.mat_mut(), inp.mat(), activation).unwrap();
                        } else {
                            let x = block(&problem.x);
                            activation::backward(&exec, out.mat_mut(), inp.mat(), x.mat(), activation).unwrap();
                        }
                        *result = out.to_vec();
                    }
                    for layout in Mats::ADJACENT {
                        let got = run_rows(&exec, &problem, layout, activation);
                        for (name, got) in &got {
                            let what = format!("{isa}: {name}, {layout:?}, {activation:?}, {}", problem.what());
                            assert_same_bits(what, cols.max(1), got, find(&want, name));
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn threads_change_no_bit_of_rows() {
    for (rows, cols) in [(300, 40), (700, 9), (5, 300)] {
        for norm in [Norm::Layer(1), Norm::Rms(1)] {
            let problem = Problem::draw(norm, &[rows, cols], [true, true], &mut Random::new(12));
            let want = run_rows(&serial(Isa::best()), &problem, Mats::Dense, Activation::Tanh);
            for pool in pools() {
                let got = pool.install(|| run_rows(&pool, &problem, Mats::Padded, Activation::Tanh));
                assert_same(format_args!("{} threads, {}", pool.threads(), problem.what()), &got, &want);
            }
        }
    }
}

/// A problem all of whose elements are `value`.
fn constant(norm: Norm, shape: &[usize], value: f32) -> Problem {
    let mut problem = Problem::draw(norm, shape, [true, true], &mut Random::new(13));
    problem.x.fill(value);
    problem.eps = 1e-5;
    problem
}

#[test]
fn a_constant_group_has_no_variance_at_all() {
    on_every_tier("constant groups", |isa| {
        for value in [0.1, -7.3, 1e-20, 1_234_567.9, 3e37, 0.0] {
            for shape in [&[3, 2][..], &[70, 33], &[300, 3], &[3, 2, 5], &[70, 2, 3]] {
                for norm in [Norm::Layer(1), Norm::Layer(2), BATCHES[0], BATCHES[1]] {
                    let problem = constant(norm, shape, value);
                    for layout in [Layout::Dense, Layout::Transposed] {
                        let got = problem.run(&serial(isa), layout, layout);
                        let what = format!("{isa}: {value}, {}", problem.what());
                        let groups = problem.groups();
                        assert_same_bits(format_args!("mean, {what}"), 1, find(&got, "mean"), &vec![value; groups]);
                        let inv_std = 1.0 / 1e-5_f32.sqrt();
                        assert_same_bits(
                            format_args!("inv_std, {what}"),
                            1,
                            find(&got, "inv_std"),
                            &vec![inv_std; groups],
                        );
                        assert!(find(&got, "dx").iter().all(|dx| dx.is_finite()), "dx, {what}");
                    }
                }
            }
        }
    });
}

#[test]
fn a_large_mean_costs_no_more_than_its_own_rounding() {
    on_every_tier("a large mean", |isa| {
        for mean in [1e5, -87_654.32] {
            for shape in [&[33, 40][..], &[300, 33], &[1000, 35], &[5, 3, 70]] {
                for norm in norms(shape).into_iter().filter(|norm| !norm.is_rms() && *norm != Norm::Given) {
                    let mut random = Random::new(14);
                    let mut problem = Problem::draw(norm, shape, [true, true], &mut random);
                    // A standard deviation of 0.1; neighbouring floats are 0.0078 apart here.
                    problem.x.fill_with(|| mean + random.unit() * 0.1 * 3f32.sqrt());
                    problem.eps = 1e-5;
                    let got = problem.run(&serial(isa), Layout::Dense, Layout::Dense);
                    problem.check(isa, &got);
                }
            }
        }
    });
}

#[test]
fn not_a_number_stays_in_its_group() {
    on_every_tier("NaN in a group", |isa| {
        let exec = serial(isa);
        for norm in [Norm::Layer(1), Norm::Rms(1), BATCHES[0], BATCHES[1]] {
            for shape in [&[19, 37][..], &[70, 3, 5]] {
                let len: usize = shape.iter().product();
                for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    for place in [0, 16, 17, 36, len / 2, len - 1] {
                        let mut problem = Problem::draw(norm, shape, [true, true], &mut Random::new(15));
                        problem.x[place] = value;
                        let got = problem.run(&exec, Layout::Dense, Layout::Dense);
                        let groups: Vec<usize> = super::indices(shape).map(|index| problem.group(&index)).collect();
                        for name in ["y", "dx"] {
                            for (at, result) in find(&got, name).iter().enumerate() {
                                let mine = groups[at] == groups[place];
                                // An infinity takes the other elements of an uncentred row to zero.
                                let nan = mine && (!norm.is_rms() || value.is_nan() || at == place);
                                let known = name == "y" || !norm.is_rms() || !mine || value.is_nan();
                                assert!(
                                    !known || result.is_nan() == nan,
                                    "{isa}: {name} at {at}, {value} at {place}, {norm:?}"
                                );
                            }
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn a_negative_variance_is_not_a_number_and_zeros_keep_their_sign() {
    on_every_tier("eps and signs", |isa| {
        let exec = serial(isa);
        for norm in [Norm::Layer(1), Norm::Rms(1)] {
            let mut problem = Problem::draw(norm, &[2, 5], [false, false], &mut Random::new(16));
            problem.x[..5].fill(-0.0);
            problem.x[5..].copy_from_slice(&[3.0, -2.0, 1.0, 0.0, 7.0]);
            problem.eps = -0.5;
            let got = problem.run(&exec, Layout::Dense, Layout::Dense);
            let y = find(&got, "y");
            assert!(y[..5].iter().all(|y| y.is_nan()) && y[5..].iter().all(|y| !y.is_nan()), "{isa}: {y:?}");
            problem.eps = 0.25;
            let got = problem.run(&exec, Layout::Dense, Layout::Dense);
            if norm.is_rms() {
                assert_same_bits("zeros", 1, &find(&got, "y")[..5], &[-0.0; 5]);
            }
            for layout in [Layout::Transposed, Layout::Stepped] {
                assert_same("zeros", &problem.run(&exec, layout, layout), &got);
            }
        }
    });
}

#[test]
fn norms_of_nothing() {
    on_every_tier("norms of nothing", |isa| {
        let exec = serial(isa);
        for shape in [&[0, 3][..], &[3, 0], &[0, 3, 2], &[2, 3, 0], &[2, 0, 3]] {
            for norm in norms(shape) {
                let problem = Problem::draw(norm, shape, [true, true], &mut Random::new(17));
                for layout in [Layout::Dense, Layout::Stepped] {
                    let got = problem.run(&exec, layout, layout);
                    for (name, got) in &got {
                        let want = match *name {
                            "y" | "dx" => vec![],
                            "mean" | "inv_std" => vec![f32::NAN; problem.groups()],
                            "dweight" | "dbias" => vec![0.0; problem.params()],
                            "dweight added" => problem.old[0].clone(),
                            "dbias added" => problem.old[1].clone(),
                            "running mean" => problem.running[0].clone(),
                            _ => problem.running[1].clone(),
                        };
                        assert_same_bits(format_args!("{isa}: {name}, {}", problem.what()), 1, got, &want);
                    }
                }
            }
        }
    });
}
