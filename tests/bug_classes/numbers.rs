//! Values: what is not a number, what overflows, what cancels, and what depends on its neighbours.

use crate::kernels::compare::assert_same_bits;
use crate::kernels::random::Random;
use crate::kernels::{pools, serial};
use crate::{bits, poisoned, refused};
use handgrad::kernels::gemm::{Accum, gemm, scratch_len};
use handgrad::kernels::op::batch_norm_nd::{self, Params, Statistics};
use handgrad::kernels::op::cross_entropy::{self, Config};
use handgrad::kernels::op::{amax, amin, argmax, clamp, layer_norm, max, maximum, minimum, relu, softmax, var};
use handgrad::kernels::view::{Mat, MatMut, View, ViewMut};
use handgrad::kernels::{Exec, Isa};

fn row(values: &[f32]) -> View<'_> {
    View::new(values, &[values.len()]).unwrap()
}

fn out(values: &mut [f32]) -> ViewMut<'_> {
    let len = values.len();
    ViewMut::new(values, &[len]).unwrap()
}

/// [burn#5658, tvm#19579]
#[test]
fn a_nan_that_relu_max_clamp_or_argmax_drops() {
    for isa in Isa::available() {
        let exec = serial(isa);
        for len in 1..=33 {
            for lane in 0..len {
                let what = format!("{isa}: NaN at {lane} of {len}");
                let mut x: Vec<f32> = (0..len).map(|i| 1.0 + i as f32).collect();
                x[lane] = f32::NAN;
                let ones = vec![1.0; len];
                let elements: [&dyn Fn(ViewMut<'_>); 6] = [
                    &|y| relu::forward(&exec, y, row(&x)).unwrap(),
                    &|y| clamp::forward(&exec, y, row(&x), -1.0, 50.0).unwrap(),
                    &|y| maximum::forward(&exec, y, row(&x), row(&ones)).unwrap(),
                    &|y| maximum::forward(&exec, y, row(&ones), row(&x)).unwrap(),
                    &|y| minimum::forward(&exec, y, row(&x), row(&ones)).unwrap(),
                    &|y| minimum::forward(&exec, y, row(&ones), row(&x)).unwrap(),
                ];
                for (number, forward) in elements.iter().enumerate() {
                    let mut y = vec![0.0; len];
                    forward(out(&mut y));
                    let places: Vec<usize> = (0..len).filter(|&i| y[i].is_nan()).collect();
                    assert_eq!(places, [lane], "{what}, function {number}");
                }
                let (mut y, mut value, mut at) = ([0.0; 2], [0.0], [0_i64; 2]);
                amax::forward(&exec, out(&mut y[..1]), row(&x), &[0][..]).unwrap();
                amin::forward(&exec, out(&mut y[1..]), row(&x), &[0][..]).unwrap();
                argmax::forward(&exec, ViewMut::new(&mut at[..1], &[1]).unwrap(), row(&x), &[0][..]).unwrap();
                max::forward(&exec, out(&mut value), ViewMut::new(&mut at[1..], &[1]).unwrap(), row(&x), 0).unwrap();
                assert!(y.iter().chain(&value).all(|y| y.is_nan()) && at == [lane as i64; 2], "{what}: {y:?}, {at:?}");
                // Backward: a gradient that is not a number stays one wherever the function has a slope.
                let (mut dx, mut dy, positive) = (vec![0.0; len], vec![1.0; len], vec![2.0; len]);
                dy[lane] = f32::NAN;
                relu::backward(&exec, out(&mut dx), row(&dy), row(&positive)).unwrap();
                assert!(dx[lane].is_nan() && dx.iter().filter(|dx| dx.is_nan()).count() == 1, "{what}: relu backward");
                clamp::backward(&exec, out(&mut dx), row(&dy), row(&positive), -1.0, 50.0).unwrap();
                assert!(dx[lane].is_nan() && dx.iter().filter(|dx| dx.is_nan()).count() == 1, "{what}: clamp backward");
            }
        }
    }
}

/// [NNlib#68, crysx-nn#7]
#[test]
fn a_softmax_that_overflows_or_has_one_maximum_for_the_batch() {
    let huge = 3e38_f32;
    for isa in Isa::available() {
        let exec = serial(isa);
        for classes in [2, 3, 17, 33, 70] {
            let mut x = vec![0.0; 5 * classes];
            let ramp: Vec<f32> = (0..classes).map(|j| j as f32 / 7.0).collect();
            for (i, value) in [0.0, huge, -huge, f32::NEG_INFINITY].into_iter().enumerate() {
                x[i * classes..][..classes].fill(value);
            }
            // The first row is ordinary, the second and third are even, the last has both ends.
            x[..classes].copy_from_slice(&ramp);
            x[4 * classes] = huge;
            x[4 * classes + 1] = -huge;
            let labels = [1, 0, 1, 0, 0];
            let (mut y, mut losses, mut dx) = (poisoned(x.len()), poisoned(5), poisoned(x.len()));
            let shape = [5, classes];
            softmax::forward(&exec, ViewMut::new(&mut y, &shape).unwrap(), View::new(&x, &shape).unwrap(), 1).unwrap();
            let (logits, grads) = (Mat::new(&x, 5, classes).unwrap(), MatMut::new(&mut dx, 5, classes).unwrap());
            cross_entropy::forward_backward(
                &exec,
                &mut losses,
                grads,
                1.0,
                logits,
                &labels[..],
                None,
                Config::default(),
            )
            .unwrap();
            let each = 1.0 / classes as f32;
            for i in [1, 2] {
                let near = y[i * classes..][..classes].iter().all(|y| (y - each).abs() <= 4.0 * f32::EPSILON * each);
                let ln = (classes as f32).ln();
                assert!(near && (losses[i] - ln).abs() <= 4.0 * f32::EPSILON * ln, "{isa}, {classes}: even row {i}");
            }
            assert!(y[3 * classes..][..classes].iter().all(|y| y.is_nan()) && losses[3].is_nan(), "a row of -inf");
            assert_eq!((y[4 * classes], y[4 * classes + 1], losses[4]), (1.0, 0.0, 0.0), "{isa}, {classes}");
            // The ordinary row has what it has alone, bit for bit.
            let (mut alone, mut loss, mut d) = (poisoned(classes), poisoned(1), poisoned(classes));
            softmax::forward(&exec, out(&mut alone), row(&ramp), 0).unwrap();
            let (logits, grads) = (Mat::from_row(&ramp), MatMut::from_row(&mut d));
            cross_entropy::forward_backward(
                &exec,
                &mut loss,
                grads,
                1.0,
                logits,
                &labels[..1],
                None,
                Config::default(),
            )
            .unwrap();
            assert_eq!(bits(&alone), bits(&y[..classes]));
            assert_eq!((bits(&loss), bits(&d)), (bits(&losses[..1]), bits(&dx[..classes])));
            assert!(losses[0].is_finite() && losses[0] > 0.0);
        }
    }
}

/// Untidy columns of mean 1e6 and deviation 0.1; the last is constant.
fn far_from_zero(rows: usize, cols: usize) -> Vec<f32> {
    let mut random = Random::new(13);
    (0..rows * cols).map(|at| if at % cols == cols - 1 { 1e6 } else { 1e6 + 0.17 * random.unit() }).collect()
}

/// [tensorflow#118701]
#[test]
fn a_variance_that_is_a_difference_of_squares() {
    let (rows, cols) = (300, 19);
    let x = far_from_zero(rows, cols);
    let column = |j: usize| (0..rows).map(move |i| (i, j));
    let exact: Vec<f64> = (0..cols)
        .map(|j| {
            let values: Vec<f64> = column(j).map(|(i, j)| x[i * cols + j].into()).collect();
            let mean = values.iter().sum::<f64>() / rows as f64;
            values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>()
        })
        .collect();
    // The mean is rounded to a float, whose square distance adds to each term; the sum of n terms is in blocks of 256.
    let near = |got: f64, squares: f64, divisor: f64| {
        let rounded = f64::from(f32::EPSILON) / 2.0 * 1e6 * 1.01;
        let bound = 280.0 * f64::from(f32::EPSILON) * squares + rows as f64 * rounded * rounded;
        (got - squares / divisor).abs() <= bound / divisor
    };
    for isa in Isa::available() {
        let exec = serial(isa);
        let view = View::new(&x, &[rows, cols]).unwrap();
        let mut y = poisoned(cols);
        var::forward(&exec, ViewMut::new(&mut y, &[1, cols]).unwrap(), view, &[0][..], 1.0).unwrap();
        for j in 0..cols {
            assert!(near(y[j].into(), exact[j], rows as f64 - 1.0), "{isa}: var of column {j} is {}", y[j]);
        }
        assert_eq!(y[cols - 1].to_bits(), 0, "{isa}: a constant column");
        let (mut y, mut mean, mut inv_std) = (poisoned(rows * cols), poisoned(cols), poisoned(cols));
        let statistics = Statistics { mean: out(&mut mean), inv_std: out(&mut inv_std) };
        let (config, params) = (batch_norm_nd::Config { eps: 0.0, ..Default::default() }, Params::default());
        let whole = ViewMut::new(&mut y, &[rows, cols]).unwrap();
        batch_norm_nd::forward(&exec, whole, statistics, None, view, params, config).unwrap();
        for j in 0..cols - 1 {
            let got = 1.0 / f64::from(inv_std[j]).powi(2);
            assert!(near(got, exact[j], rows as f64), "{isa}: batch norm has the variance {got} in column {j}");
        }
        assert_eq!((mean[cols - 1], inv_std[cols - 1]), (1e6, f32::INFINITY), "{isa}: a constant column");
        // One sample has no unbiased variance, and a biased one of zero.
        let (one, mut y) = (View::new(&x[..cols], &[1, cols]).unwrap(), poisoned(cols));
        let statistics = Statistics { mean: out(&mut mean), inv_std: out(&mut inv_std) };
        let config = batch_norm_nd::Config { variance: batch_norm_nd::Variance::Unbiased, ..Default::default() };
        let whole = ViewMut::new(&mut y, &[1, cols]).unwrap();
        let done = batch_norm_nd::forward(&exec, whole, statistics, None, one, Params::default(), config);
        refused(done, &["batch_norm"], &[&y]);
        var::forward(&exec, ViewMut::new(&mut y, &[1, cols]).unwrap(), one, &[0][..], 0.0).unwrap();
        assert!(y.iter().all(|var| var.to_bits() == 0), "{isa}: one sample, biased: {y:?}");
    }
}

/// Rows of logits, their losses and gradients, a layer norm of them, and their product with a matrix.
fn of_rows(exec: &Exec, x: &[f32], cols: usize, w: &[f32], labels: &[i64]) -> [Vec<f32>; 4] {
    let (rows, outputs) = (labels.len(), w.len() / cols);
    let logits = Mat::new(x, rows, cols).unwrap();
    let (mut losses, mut dx, mut y, mut c) =
        (poisoned(rows), poisoned(x.len()), poisoned(x.len()), poisoned(rows * outputs));
    let grads = MatMut::new(&mut dx, rows, cols).unwrap();
    cross_entropy::forward_backward(exec, &mut losses, grads, 0.5, logits, labels, None, Config::default()).unwrap();
    let (mut mean, mut inv_std) = (poisoned(rows), poisoned(rows));
    let statistics = Statistics { mean: out(&mut mean), inv_std: out(&mut inv_std) };
    let (whole, shape) = (ViewMut::new(&mut y, &[rows, cols]).unwrap(), View::new(x, &[rows, cols]).unwrap());
    layer_norm::forward(exec, whole, statistics, shape, &[cols], Params::default(), layer_norm::Config::default())
        .unwrap();
    let mut scratch = vec![f32::NAN; scratch_len(exec, rows, cols, outputs)];
    let (c_mat, w) = (MatMut::new(&mut c, rows, outputs).unwrap(), Mat::new(w, cols, outputs).unwrap());
    gemm(exec, c_mat, Accum::Replace, logits, w, &mut scratch).unwrap();
    [losses, dx, y, c]
}

/// [pytorch#88718, pytorch#143295, pytorch#54684]
#[test]
fn a_result_that_depends_on_threads_place_or_cpu() {
    let (rows, cols, outputs) = (45, 27, 37);
    let mut random = Random::new(14);
    let mut draw = |len: usize| (0..len).map(|_| random.uneven()).collect::<Vec<_>>();
    let (x, w) = (draw(rows * cols), draw(cols * outputs));
    let labels: Vec<i64> = (0..rows as i64).map(|i| i * 7 % cols as i64).collect();
    let fused: Vec<Isa> = Isa::available().filter(|isa| isa.is_fused()).collect();
    let best = *fused.last().unwrap();
    let want = of_rows(&serial(best), &x, cols, &w, &labels);
    let same = |what: &str, got: &[Vec<f32>; 4]| {
        for (got, want) in got.iter().zip(&want) {
            assert_same_bits(what, 1, got, want);
        }
    };
    for isa in fused {
        same(isa.name(), &of_rows(&serial(isa), &x, cols, &w, &labels));
    }
    for pool in pools() {
        let pool = pool.with_isa(best);
        same(&format!("{} threads", pool.threads()), &pool.install(|| of_rows(&pool, &x, cols, &w, &labels)));
    }
    // Each row alone, and in another place among others. (Each tier by itself: this holds without a fused multiply-add.)
    for isa in Isa::available() {
        let exec = serial(isa);
        let want = of_rows(&exec, &x, cols, &w, &labels);
        let turned: Vec<f32> = (0..rows).rev().flat_map(|i| x[i * cols..][..cols].to_vec()).collect();
        let back: Vec<i64> = labels.iter().rev().copied().collect();
        let reversed = of_rows(&exec, &turned, cols, &w, &back);
        for i in 0..rows {
            let alone = of_rows(&exec, &x[i * cols..][..cols], cols, &w, &labels[i..=i]);
            for ((want, alone), reversed) in want.iter().zip(&alone).zip(&reversed) {
                let (width, other) = (alone.len(), rows - 1 - i);
                assert_same_bits(format!("{isa}: row {i} alone"), 1, alone, &want[i * width..][..width]);
                let turned = &reversed[other * width..][..width];
                assert_same_bits(format!("{isa}: row {i} as row {other}"), 1, turned, &want[i * width..][..width]);
            }
        }
    }
}
