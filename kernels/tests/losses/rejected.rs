//! Bad arguments: an error that names them, and nothing written.

use super::kinds::{KINDS, Kind, Of, Read};
use crate::common::tensor::{Layout, Tensor};
use handgrad_kernels::op::cross_entropy::{self, Config, RowTarget};
use handgrad_kernels::op::loss::Reduction;
use handgrad_kernels::op::{huber, nll_loss, smooth_l1};
use handgrad_kernels::view::{Mat, MatMut, View};
use handgrad_kernels::{ErrorKind, Exec, Result};

fn text(result: Result<()>) -> String {
    result.expect_err("a bad argument").to_string()
}

fn output(shape: &[usize]) -> Tensor {
    Tensor::values(Layout::Dense, shape, &vec![7.0; shape.iter().product()])
}

#[test]
fn shapes_of_losses_of_elements() {
    let exec = Exec::serial().unwrap();
    let data = [0.5; 12];
    let of = |shape: &[usize]| View::new(&data[..shape.iter().product()], shape).unwrap();
    let read = |x, t, w| Read { x, t, w, p: None };
    for kind in KINDS {
        let mut y = output(&[2, 3]);
        let good = read(of(&[2, 3]), of(&[2, 3]), None);
        let bad_target = read(of(&[2, 3]), of(&[3, 2]), None);
        let (none, mean) = (Reduction::None, Reduction::Mean);
        let name = text(kind.forward(&exec, y.view_mut(), bad_target, none));
        assert!(name.contains("::forward: `target` must be 2x3, got 3x2"), "{name}");
        let name = text(kind.forward(&exec, y.view_mut(), good, mean));
        assert!(name.contains("::forward: `loss` must be scalar, got 2x3"), "{name}");
        for (of_what, arg) in [(Of::Prediction, "dx"), (Of::Target, "dtarget")] {
            let mut wrong = output(&[3, 2]);
            let name = text(kind.backward(&exec, of_what, wrong.view_mut(), of(&[2, 3]), good, none));
            assert!(name.contains(&format!("`{arg}` must be 2x3, got 3x2")), "{name}");
            let name = text(kind.backward(&exec, of_what, y.view_mut(), of(&[2]), good, none));
            assert!(name.contains("`dloss` must be 2x3, got 2"), "{name}");
            let name = text(kind.backward(&exec, of_what, y.view_mut(), of(&[2, 3]), good, mean));
            assert!(name.contains("`dloss` must be scalar, got 2x3"), "{name}");
        }
        let (mut losses, mut dx) = ([7.0; 2], [7.0; 6]);
        let inp = [Mat::new(&data[..6], 2, 3).unwrap(); 2];
        let mut fused = |losses: &mut [f32], rows, inp, samples| {
            let dx = MatMut::new(&mut dx, rows, 6 / rows).unwrap();
            text(kind.fused(&exec, (losses, dx), 1.0, inp, [None; 2], samples))
        };
        let name = fused(&mut losses[..1], 2, inp, None);
        assert!(name.contains("::forward_backward: `losses` must have 2 elements, got 1"), "{name}");
        let name = fused(&mut losses, 2, inp, Some(&[1.0; 3]));
        assert!(name.contains("`sample_weights` must have 2 elements, got 3"), "{name}");
        let name = fused(&mut losses, 3, inp, None);
        assert!(name.contains("`dx` must be 2x3, got 3x2"), "{name}");
        let name = fused(&mut losses, 2, [inp[0], Mat::new(&data[..3], 1, 3).unwrap()], None);
        assert!(name.contains("`target` must be 2x3, got 1x3"), "{name}");
        assert_eq!(dx, [7.0; 6]);
        let one = read(of(&[2, 3]), of(&[3]), None);
        if !matches!(kind, Kind::SmoothL1(_)) {
            let weighted = read(of(&[2, 3]), of(&[2, 3]), Some(of(&[2])));
            let name = text(kind.forward(&exec, y.view_mut(), weighted, none));
            assert!(name.contains("`weight` must be 2x3, got 2"), "{name}");
        }
        if matches!(kind, Kind::Bce | Kind::Logits) {
            let name = text(kind.forward(&exec, y.view_mut(), one, none));
            assert!(name.contains("`target` must be 2x3, got 3"), "{name}");
        }
        assert_eq!((y.to_vec(), losses), (vec![7.0; 6], [7.0; 2]));
    }
    let mut y = output(&[2, 3]);
    for delta in [0.0, -1.0, f32::NAN] {
        let name = text(huber::forward(&exec, y.view_mut(), of(&[2, 3]), of(&[3]), delta, None, Reduction::None));
        assert!(name.starts_with("huber::forward: `delta` must be positive, got "), "{name}");
    }
    for beta in [-0.5, f32::NAN] {
        let name = text(smooth_l1::forward(&exec, y.view_mut(), of(&[2, 3]), of(&[3]), beta, Reduction::None));
        assert!(name.starts_with("smooth_l1::forward: `beta` must be 0 or more, got "), "{name}");
    }
    assert_eq!(y.to_vec(), [7.0; 6]);
}

#[test]
fn targets_that_are_no_classes_are_found_before_anything_is_written() {
    let exec = Exec::serial().unwrap();
    let data = [0.5; 6];
    let x = View::new(&data, &[2, 3]).unwrap();
    let (none, dloss) = (Reduction::None, View::scalar(&1.0));
    for (bad, value) in [([1, 3], 3), ([0, -1], -1), ([2, i64::MIN], i64::MIN), ([2, 1 << 40], 1 << 40)] {
        let (mut y, mut dx, mut losses) = (output(&[2]), output(&[2, 3]), [7.0; 2]);
        let spread = [bad[0], 9, bad[1]];
        let contiguous = View::new(&bad, &[2]).unwrap();
        let stepped = View::with_strides(&spread, &[2], &[2], 0).unwrap();
        for target in [contiguous, stepped] {
            for smoothing in [0.0, 0.5] {
                let config = Config { label_smoothing: smoothing, ..Config::default() };
                let (out, loss) = (dx.view_mut(), y.view_mut());
                let mut results = vec![cross_entropy::forward(&exec, loss, x, target, config, none, &mut [])];
                results.push(cross_entropy::backward(&exec, out, dloss, x, target, config, Reduction::Sum));
                let (mat, out) = (x.try_into().unwrap(), dx.view_mut().try_into().unwrap());
                results.push(cross_entropy::forward_backward(
                    &exec,
                    &mut losses,
                    out,
                    1.0,
                    mat,
                    &bad[..],
                    None,
                    config,
                ));
                let config = nll_loss::Config::default();
                results.push(nll_loss::forward(&exec, y.view_mut(), x, target, config, none, &mut []));
                results.push(nll_loss::backward(&exec, dx.view_mut(), dloss, target, config, Reduction::Sum));
                let out = dx.view_mut().try_into().unwrap();
                results.push(nll_loss::forward_backward(&exec, &mut losses, out, 1.0, mat, &bad, None, config));
                for result in results {
                    let error = result.unwrap_err();
                    let found = matches!(*error.kind(), ErrorKind::Index { position: 1, value: v, bound: 3, arg: "target", .. } if v == value);
                    assert!(found, "{error}");
                }
            }
        }
        assert_eq!((y.to_vec(), dx.to_vec(), losses), (vec![7.0; 2], vec![7.0; 6], [7.0; 2]));
    }
}

#[test]
fn shapes_of_losses_of_classes() {
    let exec = Exec::serial().unwrap();
    let (data, ids) = ([0.5; 12], [0; 12]);
    let view = |shape: &[usize]| View::new(&data[..shape.iter().product()], shape).unwrap();
    let classes = |shape: &[usize]| View::new(&ids[..shape.iter().product()], shape).unwrap();
    let (none, mean, plain) = (Reduction::None, Reduction::Mean, Config::default());
    let (x, target) = (view(&[2, 3]), classes(&[2]));
    let (mut y, mut dx, mut losses) = (output(&[2]), output(&[2, 3]), [7.0; 2]);
    let mut scratch = [7.0; 2];
    let forward = |y: &mut Tensor, x, target: cross_entropy::Target<'_>, config, reduction, scratch: &mut [f32]| {
        text(cross_entropy::forward(&exec, y.view_mut(), x, target, config, reduction, scratch))
    };
    let scalar = View::scalar(&0.5);
    let found = forward(&mut y, scalar, classes(&[]).into(), plain, none, &mut []);
    assert_eq!(found, "cross_entropy::forward: axis 0 is not valid for rank 0 (there is no axis of classes)");
    let found = forward(&mut y, x, classes(&[3]).into(), plain, none, &mut []);
    assert_eq!(found, "cross_entropy::forward: `target` must be 2, got 3");
    let found = forward(&mut y, x, view(&[3, 2]).into(), plain, none, &mut []);
    assert_eq!(found, "cross_entropy::forward: `target` must be 2x3, got 3x2");
    let found = forward(&mut y, x, target.into(), plain, mean, &mut scratch);
    assert_eq!(found, "cross_entropy::forward: `loss` must be scalar, got 2");
    let found = forward(&mut output(&[]), x, target.into(), plain, mean, &mut scratch[..1]);
    assert_eq!(found, "cross_entropy::forward: `scratch` must have at least 2 elements, got 1");
    for target in [cross_entropy::Target::Classes(target), cross_entropy::Target::Probabilities(x)] {
        let config = Config { weight: Some(view(&[2])), ..plain };
        let found = forward(&mut y, x, target, config, none, &mut []);
        assert_eq!(found, "cross_entropy::forward: `weight` must be 3, got 2");
        for smoothing in [-0.1, 1.5, f32::NAN] {
            let config = Config { label_smoothing: smoothing, ..plain };
            let found = forward(&mut y, x, target, config, none, &mut []);
            assert!(found.starts_with("cross_entropy::forward: `label_smoothing` must be from 0 to 1, got"), "{found}");
        }
    }
    let found = text(cross_entropy::backward(&exec, output(&[3, 2]).view_mut(), view(&[2]), x, target, plain, none));
    assert_eq!(found, "cross_entropy::backward: `dx` must be 2x3, got 3x2");
    let found = text(cross_entropy::backward(&exec, dx.view_mut(), view(&[2]), x, target, plain, mean));
    assert_eq!(found, "cross_entropy::backward: `dloss` must be scalar, got 2");
    let found = text(cross_entropy::backward_target(&exec, y.view_mut(), view(&[2]), x, plain, none));
    assert_eq!(found, "cross_entropy::backward_target: `dtarget` must be 2x3, got 2");
    let mat = Mat::new(&data[..6], 2, 3).unwrap();
    let mut fused = |rows, losses: &mut [f32], target: RowTarget<'_>, samples, config| {
        let dx = MatMut::try_from(dx.view_mut()).unwrap();
        let dx = if rows == 2 { dx } else { dx.t() };
        text(cross_entropy::forward_backward(&exec, losses, dx, 1.0, mat, target, samples, config))
    };
    let labels = RowTarget::Classes(&ids[..2]);
    let found = fused(2, &mut losses[..1], labels, None, plain);
    assert_eq!(found, "cross_entropy::forward_backward: `losses` must have 2 elements, got 1");
    let found = fused(2, &mut losses, labels, Some(&[1.0][..]), plain);
    assert_eq!(found, "cross_entropy::forward_backward: `sample_weights` must have 2 elements, got 1");
    let found = fused(3, &mut losses, labels, None, plain);
    assert_eq!(found, "cross_entropy::forward_backward: `dx` must be 2x3, got 3x2");
    let found = fused(2, &mut losses, RowTarget::Classes(&ids[..3]), None, plain);
    assert_eq!(found, "cross_entropy::forward_backward: `target` must have 2 elements, got 3");
    let found = fused(2, &mut losses, RowTarget::Probabilities(mat.t()), None, plain);
    assert_eq!(found, "cross_entropy::forward_backward: `target` must be 2x3, got 3x2");
    let found = fused(2, &mut losses, labels, None, Config { label_smoothing: 2.0, ..plain });
    assert_eq!(found, "cross_entropy::forward_backward: `label_smoothing` must be from 0 to 1, got 2");
    let found = fused(2, &mut losses, labels, None, Config { weight: Some(view(&[2])), ..plain });
    assert_eq!(found, "cross_entropy::forward_backward: `weight` must be 3, got 2");
    let config = Config { weight: Some(view(&[3])), ..plain };
    let found = cross_entropy::weights_total(&exec, &[0, 4][..], None, config).unwrap_err().to_string();
    assert_eq!(found, "cross_entropy::weights_total: `target` holds 4 at position 1, must be in 0..3");
    let found = cross_entropy::weights_total(&exec, labels, Some(&[1.0; 3]), config).unwrap_err().to_string();
    assert_eq!(found, "cross_entropy::weights_total: `sample_weights` must have 2 elements, got 3");
    assert_eq!((y.to_vec(), dx.to_vec(), losses, scratch), (vec![7.0; 2], vec![7.0; 6], [7.0; 2], [7.0; 2]));
}

#[test]
fn shapes_of_the_log_likelihood() {
    let exec = Exec::serial().unwrap();
    let (data, ids) = ([0.5; 12], [0; 12]);
    let view = |shape: &[usize]| View::new(&data[..shape.iter().product()], shape).unwrap();
    let classes = |shape: &[usize]| View::new(&ids[..shape.iter().product()], shape).unwrap();
    let (none, mean, plain) = (Reduction::None, Reduction::Mean, nll_loss::Config::default());
    let (x, target) = (view(&[2, 3, 2]), classes(&[2, 2]));
    let (mut y, mut dx, mut losses) = (output(&[2, 2]), output(&[2, 3, 2]), [7.0; 2]);
    let found = text(nll_loss::forward(&exec, y.view_mut(), x, classes(&[2, 3]), plain, none, &mut []));
    assert_eq!(found, "nll_loss::forward: `target` must be 2x2, got 2x3");
    let found = text(nll_loss::forward(&exec, y.view_mut(), x, target, plain, mean, &mut [0.0; 4]));
    assert_eq!(found, "nll_loss::forward: `loss` must be scalar, got 2x2");
    let found = text(nll_loss::forward(&exec, output(&[]).view_mut(), x, target, plain, mean, &mut [0.0; 3]));
    assert_eq!(found, "nll_loss::forward: `scratch` must have at least 4 elements, got 3");
    let config = nll_loss::Config { weight: Some(view(&[2])), ..plain };
    let found = text(nll_loss::forward(&exec, y.view_mut(), x, target, config, none, &mut []));
    assert_eq!(found, "nll_loss::forward: `weight` must be 3, got 2");
    let found = text(nll_loss::backward(&exec, dx.view_mut(), view(&[4]), target, plain, none));
    assert_eq!(found, "nll_loss::backward: `dloss` must be 2x2, got 4");
    let (mat, mut flat) = (Mat::new(&data[..6], 2, 3).unwrap(), [7.0; 6]);
    let mut fused = |rows, losses: &mut [f32], target: &[i64], samples| {
        let dx = MatMut::new(&mut flat, rows, 6 / rows).unwrap();
        text(nll_loss::forward_backward(&exec, losses, dx, 1.0, mat, target, samples, plain))
    };
    let found = fused(3, &mut losses, &ids[..2], None);
    assert_eq!(found, "nll_loss::forward_backward: `dx` must be 2x3, got 3x2");
    let found = fused(2, &mut losses[..1], &ids[..2], None);
    assert_eq!(found, "nll_loss::forward_backward: `losses` must have 2 elements, got 1");
    let found = fused(2, &mut losses, &ids[..3], None);
    assert_eq!(found, "nll_loss::forward_backward: `target` must have 2 elements, got 3");
    let found = fused(2, &mut losses, &ids[..2], Some(&[1.0][..]));
    assert_eq!(found, "nll_loss::forward_backward: `sample_weights` must have 2 elements, got 1");
    assert_eq!((y.to_vec(), dx.to_vec(), losses, flat), (vec![7.0; 4], vec![7.0; 12], [7.0; 2], [7.0; 6]));
}
