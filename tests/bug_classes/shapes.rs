//! Shapes and strides that no buffer has.

use crate::kernels::serial;
use crate::{poisoned, refused};
use handgrad::kernels::Isa;
use handgrad::kernels::gemm::{Accum, gemm, scratch_len};
use handgrad::kernels::op::spec::{ALL, Spec};
use handgrad::kernels::op::{argmax, cross_entropy, max};
use handgrad::kernels::view::{Mat, MatMut, View, ViewMut};
use handgrad::{Exec, Input, Linear, Loss, Mlp, Options, Trainer};

/// Sizes whose products wrap, those of them that a `usize` holds.
fn sizes() -> Vec<usize> {
    let all = [0, 1, 2, 1 << 31, 1 << 32, 1 << 63, u64::MAX];
    let mut sizes: Vec<usize> = all.iter().filter_map(|&size| usize::try_from(size).ok()).collect();
    sizes.push(usize::MAX);
    sizes
}

/// [candle#3816, tract#2795]
#[test]
fn a_shape_whose_product_wraps() {
    let sizes = sizes();
    let triples =
        || sizes.iter().flat_map(|&a| sizes.iter().flat_map(move |&b| [[a, b, 1], [a, b, 2], [b, 0, a], [a, b, a]]));
    for shape in triples() {
        for len in [0, 1, 2, 4] {
            let data = vec![1.0_f32; len];
            let mut out = poisoned(len);
            let size = |kept: fn(&&usize) -> bool| {
                shape.iter().filter(kept).try_fold(1_u128, |product, &size| product.checked_mul(size as u128))
            };
            // A zero does not hide that the other sizes are too large.
            let fits = size(|&&size| size != 0).is_some_and(|product| product <= isize::MAX as u128 / 4);
            let whole = size(|_| true) == Some(len as u128) && fits;
            assert_eq!(View::new(&data, &shape).is_ok(), whole, "{shape:?} of {len}");
            assert_eq!(ViewMut::new(&mut out, &shape).is_ok(), whole, "{shape:?} of {len}");
            if shape[2] == 1 {
                assert_eq!(Mat::new(&data, shape[0], shape[1]).is_ok(), whole, "{shape:?} of {len}");
                assert_eq!(MatMut::new(&mut out, shape[0], shape[1]).is_ok(), whole, "{shape:?} of {len}");
            }
        }
    }
    // A network whose parameters or activations wrap asks for no memory.
    for &size in sizes.iter().filter(|&&size| size as u128 >= 1 << 40) {
        for (features, outputs, max_batch) in [(size, 3, 1), (3, size, 1), (3, 3, size), (size, size, size)] {
            let mlp = Mlp {
                input: Input::Dense { features },
                layers: vec![Linear::new(outputs).into()],
                loss: Loss::cross_entropy(),
            };
            let options = Options { max_batch, ..Options::default() };
            refused(Trainer::new(&mlp, options, &Exec::serial().unwrap()), &["more memory than there is"], &[]);
        }
    }
}

/// [rten#1373]
#[test]
fn a_stride_whose_reach_overflows() {
    let strides = [0, 1, 3, isize::MAX / 2, isize::MAX, isize::MIN / 2, isize::MIN + 1, isize::MIN, -1, -3];
    let data = [1.0_f32; 8];
    for rows in 1..4_usize {
        for (&row, &col) in strides.iter().flat_map(|row| strides.iter().map(move |col| (row, col))) {
            for offset in [0, 3, 7, 8, usize::MAX] {
                let shape = [rows, 2];
                let ends = [(rows as i128 - 1) * row as i128, col as i128];
                let least: i128 = offset as i128 + ends.iter().filter(|end| **end < 0).sum::<i128>();
                let greatest: i128 = offset as i128 + ends.iter().filter(|end| **end > 0).sum::<i128>();
                let fits = least >= 0 && greatest < 8;
                let view = View::with_strides(&data, &shape, &[row, col], offset);
                assert_eq!(view.is_ok(), fits, "{shape:?} by {row}, {col} from {offset}");
                if let Ok(view) = view {
                    assert_eq!(view.to_vec(), vec![1.0; rows * 2]);
                }
                assert_eq!(Mat::with_strides(&data, rows, 2, row, col, offset).is_ok(), fits);
            }
        }
    }
}

/// [ndarray#901]
#[test]
fn a_negative_stride_that_reads_before_the_buffer() {
    let data: Vec<f32> = (0..9_u8).map(f32::from).collect();
    for n in 1..7_usize {
        for stride in -9..=9_isize {
            for offset in 0..9_usize {
                let last = offset as isize + (n as isize - 1) * stride;
                let view = View::with_strides(&data, &[n], &[stride], offset);
                assert_eq!(view.is_ok(), (0..9).contains(&last), "{n} by {stride} from {offset}");
                let Ok(view) = view else { continue };
                let want: Vec<f32> = (0..n as isize).map(|i| (offset as isize + i * stride) as f32).collect();
                assert_eq!(view.to_vec(), want);
                // Backwards again, and by a kernel.
                let mut sum = [f32::NAN];
                let back = view.flip(0).unwrap();
                handgrad::kernels::op::sum::forward(
                    &serial(Isa::best()),
                    ViewMut::new(&mut sum, &[1]).unwrap(),
                    back,
                    &[0][..],
                )
                .unwrap();
                assert_eq!(sum[0], want.iter().sum::<f32>());
            }
        }
    }
}

/// [ndarray#1609]
#[test]
fn a_dimension_of_zero() {
    for isa in Isa::available() {
        let exec = serial(isa);
        for spec in ALL {
            for shape in [&[0][..], &[0, 3], &[3, 0], &[2, 0, 3], &[0, 0]] {
                let nothing = || View::new(&[], shape).unwrap();
                match spec {
                    Spec::Unary(op) => {
                        (op.forward)(&exec, ViewMut::new(&mut [], shape).unwrap(), nothing()).unwrap();
                        (op.backward)(&exec, ViewMut::new(&mut [], shape).unwrap(), nothing(), nothing(), nothing())
                            .unwrap();
                    }
                    Spec::Binary(op) => {
                        (op.forward)(&exec, ViewMut::new(&mut [], shape).unwrap(), nothing(), nothing()).unwrap();
                        let grads = [(); 2].map(|()| ViewMut::new(&mut [], shape).unwrap());
                        (op.backward)(&exec, grads, nothing(), nothing(), nothing()).unwrap();
                    }
                    Spec::Along(op) if op.reduces => {
                        // Along the axis of nothing there is a result for a sum only; it is zero.
                        let axis = shape.iter().position(|&size| size == 0).unwrap();
                        let kept: Vec<usize> =
                            shape.iter().enumerate().map(|(i, &n)| if i == axis { 1 } else { n }).collect();
                        let mut out = poisoned(kept.iter().product());
                        let done =
                            (op.forward)(&exec, ViewMut::new(&mut out, &kept).unwrap(), nothing(), &[axis as isize]);
                        if op.name == "sum" {
                            done.unwrap();
                            assert!(out.iter().all(|&sum| sum.to_bits() == 0), "{isa}: sums of nothing, {out:?}");
                        } else if !out.is_empty() {
                            if done.is_ok() {
                                // What has a value of nothing by its definition: NaN, or the logarithm of zero.
                                let want = (op.reference)(&[])[0];
                                assert!(
                                    out.iter().all(|&y| y.is_nan() && want.is_nan() || f64::from(y) == want),
                                    "{}",
                                    op.name
                                );
                            } else {
                                refused(done, &["element"], &[&out]);
                            }
                        }
                    }
                    Spec::Along(op) => {
                        (op.forward)(&exec, ViewMut::new(&mut [], shape).unwrap(), nothing(), &[0]).unwrap();
                    }
                }
            }
        }
        let (x, mut index, mut value) = (View::new(&[], &[2, 0]).unwrap(), [7_i64; 2], poisoned(2));
        let places = ViewMut::new(&mut index, &[2, 1]).unwrap();
        refused(argmax::forward(&exec, places, x, &[1][..]), &["at least one element"], &[]);
        let (values, places) = (ViewMut::new(&mut value, &[2, 1]).unwrap(), ViewMut::new(&mut index, &[2, 1]).unwrap());
        refused(max::forward(&exec, values, places, x, 1), &["at least one element"], &[&value]);
        assert_eq!(index, [7; 2]);
        // A product over nothing is zero, or what was there.
        let mut c = [f32::NAN, 3.0];
        for (accum, want) in [(Accum::Replace, [0.0, 0.0]), (Accum::Add, [0.0, 0.0])] {
            let (a, b) = (Mat::new(&[], 1, 0).unwrap(), Mat::new(&[], 0, 2).unwrap());
            let mut scratch = vec![f32::NAN; scratch_len(&exec, 1, 0, 2)];
            gemm(&exec, MatMut::new(&mut c, 1, 2).unwrap(), accum, a, b, &mut scratch).unwrap();
            assert_eq!(c, want, "{isa}, {accum:?}");
        }
        let (mut losses, config) = (poisoned(0), cross_entropy::Config::default());
        let (x, labels) = (Mat::new(&[], 0, 3).unwrap(), &[][..] as &[i64]);
        let dx = MatMut::new(&mut [], 0, 3).unwrap();
        cross_entropy::forward_backward(&exec, &mut losses, dx, 1.0, x, labels, None, config).unwrap();
    }
}
