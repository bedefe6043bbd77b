//! Bad arguments: each is refused with its name and numbers, and nothing is written.

use super::common::block::{Block, Layout as Mats};
use super::common::tensor::{Layout, Tensor};
use handgrad_kernels::gemm::Accum;
use handgrad_kernels::op::activation::Activation;
use handgrad_kernels::op::batch_norm_nd::{self, Running, Variance};
use handgrad_kernels::op::layer_norm::{self, Grads, Params, Saved, Statistics};
use handgrad_kernels::op::rms_norm;
use handgrad_kernels::{Exec, Result};

/// Operands by name, with their shapes; the outputs first.
struct Operands {
    names: &'static [&'static str],
    tensors: Vec<Tensor>,
}

impl Operands {
    fn new(names: &'static [&'static str], shapes: &[Vec<usize>]) -> Self {
        let ones = |shape: &Vec<usize>| Tensor::values(Layout::Dense, shape, &vec![1.5; shape.iter().product()]);
        Self { names, tensors: shapes.iter().map(ones).collect() }
    }

    fn view(&self, name: &str) -> handgrad_kernels::view::View<'_> {
        self.tensors[self.names.iter().position(|other| *other == name).unwrap()].view()
    }
}

/// Runs `call` with right shapes, then with each operand's last size and rank wrong, and checks what is said.
fn check(
    op: &str,
    names: &'static [&'static str],
    shapes: &[Vec<usize>],
    outputs: usize,
    call: impl Fn(&mut [Tensor], &Operands) -> Result<()>,
) {
    let run = |shapes: &[Vec<usize>]| {
        let mut out = Operands::new(names, shapes).tensors;
        out.truncate(outputs);
        let before: Vec<Vec<f32>> = out.iter().map(Tensor::to_vec).collect();
        let result = call(&mut out, &Operands::new(names, shapes));
        (result, before == out.iter().map(Tensor::to_vec).collect::<Vec<_>>())
    };
    run(shapes).0.unwrap();
    for (number, name) in names.iter().enumerate() {
        let mut longer = shapes.to_vec();
        *longer[number].last_mut().unwrap() += 1;
        let mut deeper = shapes.to_vec();
        deeper[number].push(2);
        for wrong in [longer, deeper] {
            let (result, untouched) = run(&wrong);
            let error = result.unwrap_err().to_string();
            // A wrong input is reported of what it is compared with.
            let named = error.contains(&format!("`{name}`")) || *name == "x" && error.contains('`');
            assert!(error.starts_with(op) && named, "{name}: {error}");
            assert!(untouched, "{error}, but something was written");
        }
    }
}

fn vectors(shape: &[usize], n: usize) -> Vec<Vec<usize>> {
    vec![shape.to_vec(); n]
}

#[test]
fn bad_shapes_of_layer_norm() {
    let exec = Exec::serial().unwrap();
    let (x, lead, norm) = (vec![vec![2, 3, 4]], vectors(&[2], 2), vectors(&[3, 4], 2));
    let names = &["y", "mean", "inv_std", "x", "weight", "bias"];
    let shapes = [&x[..], &lead, &x, &norm].concat();
    check("layer_norm::forward: ", names, &shapes, 3, |out, inp| {
        let [y, mean, inv_std] = out else { unreachable!() };
        let statistics = Statistics { mean: mean.view_mut(), inv_std: inv_std.view_mut() };
        let params = Params { weight: Some(inp.view("weight")), bias: Some(inp.view("bias")) };
        let config = layer_norm::Config::default();
        layer_norm::forward(&exec, y.view_mut(), statistics, inp.view("x"), &[3, 4], params, config)
    });
    let names = &["dx", "dweight", "dbias", "dy", "x", "mean", "inv_std", "weight"];
    let shapes = [&x[..], &norm, &x, &x, &lead, &norm[..1]].concat();
    for accum in [Accum::Replace, Accum::Add] {
        check("layer_norm::backward: ", names, &shapes, 3, |out, inp| {
            let [dx, dweight, dbias] = out else { unreachable!() };
            let (dweight, dbias) = (Some(dweight.view_mut()), Some(dbias.view_mut()));
            let grads = Grads { dx: dx.view_mut(), dweight, dbias };
            let saved = Saved { mean: inp.view("mean"), inv_std: inp.view("inv_std") };
            let (dy, x, weight) = (inp.view("dy"), inp.view("x"), Some(inp.view("weight")));
            layer_norm::backward(&exec, grads, accum, dy, x, saved, &[3, 4], weight, &mut [0.0; 24])
        });
    }
}

#[test]
fn bad_shapes_of_rms_norm() {
    let exec = Exec::serial().unwrap();
    let (x, lead, norm) = (vec![vec![2, 3, 4]], vectors(&[2, 3], 1), vectors(&[4], 1));
    let shapes = [&x[..], &lead, &x, &norm].concat();
    check("rms_norm::forward: ", &["y", "inv_rms", "x", "weight"], &shapes, 2, |out, inp| {
        let [y, inv_rms] = out else { unreachable!() };
        let (weight, config) = (Some(inp.view("weight")), rms_norm::Config::default());
        rms_norm::forward(&exec, y.view_mut(), inv_rms.view_mut(), inp.view("x"), &[4], weight, config)
    });
    let names = &["dx", "dweight", "dy", "x", "inv_rms", "weight"];
    let shapes = [&x[..], &norm, &x, &x, &lead, &norm].concat();
    check("rms_norm::backward: ", names, &shapes, 2, |out, inp| {
        let [dx, dweight] = out else { unreachable!() };
        let grads = rms_norm::Grads { dx: dx.view_mut(), dweight: Some(dweight.view_mut()) };
        let (dy, x, inv_rms, weight) = (inp.view("dy"), inp.view("x"), inp.view("inv_rms"), inp.view("weight"));
        rms_norm::backward(&exec, grads, Accum::Replace, dy, x, inv_rms, &[4], Some(weight), &mut [0.0; 8])
    });
}

#[test]
fn bad_shapes_of_batch_norm() {
    let exec = Exec::serial().unwrap();
    for x in [vec![3, 4], vec![3, 4, 2]] {
        let x = vec![x];
        let vector = vectors(&[4], 6);
        let names = &["y", "mean", "inv_std", "running.mean", "running.var", "x", "weight", "bias"];
        let shapes = [&x[..], &vector[..4], &x, &vector[..2]].concat();
        check("batch_norm_nd::forward: ", names, &shapes, 5, |out, inp| {
            let [y, mean, inv_std, running, var] = out else { unreachable!() };
            let statistics = Statistics { mean: mean.view_mut(), inv_std: inv_std.view_mut() };
            let running = Some(Running { mean: running.view_mut(), var: var.view_mut(), momentum: 0.1 });
            let params = Params { weight: Some(inp.view("weight")), bias: Some(inp.view("bias")) };
            let config = batch_norm_nd::Config::default();
            batch_norm_nd::forward(&exec, y.view_mut(), statistics, running, inp.view("x"), params, config)
        });
        let names = &["y", "x", "mean", "var", "weight", "bias"];
        check("batch_norm_nd::forward_with: ", names, &[&x[..], &x, &vector[..4]].concat(), 1, |out, inp| {
            let params = Params { weight: Some(inp.view("weight")), bias: Some(inp.view("bias")) };
            let (x, mean, var) = (inp.view("x"), inp.view("mean"), inp.view("var"));
            batch_norm_nd::forward_with(&exec, out[0].view_mut(), x, mean, var, params, 1e-5)
        });
        let names = &["dx", "dweight", "dbias", "dy", "x", "mean", "inv_std", "weight"];
        let shapes = [&x[..], &vector[..2], &x, &x, &vector[..3]].concat();
        check("batch_norm_nd::backward: ", names, &shapes, 3, |out, inp| {
            let [dx, dweight, dbias] = out else { unreachable!() };
            let (dweight, dbias) = (Some(dweight.view_mut()), Some(dbias.view_mut()));
            let grads = Grads { dx: dx.view_mut(), dweight, dbias };
            let saved = Saved { mean: inp.view("mean"), inv_std: inp.view("inv_std") };
            let (dy, x, weight) = (inp.view("dy"), inp.view("x"), Some(inp.view("weight")));
            let config = batch_norm_nd::Config::default();
            batch_norm_nd::backward(&exec, grads, Accum::Add, dy, x, saved, weight, config)
        });
        let names = &["dx", "dweight", "dbias", "dy", "x", "mean", "var", "weight"];
        check("batch_norm_nd::backward_with: ", names, &shapes, 3, |out, inp| {
            let [dx, dweight, dbias] = out else { unreachable!() };
            let (dweight, dbias) = (Some(dweight.view_mut()), Some(dbias.view_mut()));
            let grads = Grads { dx: dx.view_mut(), dweight, dbias };
            let (dy, x, mean, var) = (inp.view("dy"), inp.view("x"), inp.view("mean"), inp.view("var"));
            let weight = Some(inp.view("weight"));
            batch_norm_nd::backward_with(&exec, grads, Accum::Replace, dy, x, mean, var, weight, 1e-5)
        });
    }
}

/// A batch norm of `shape` with these choices, and whether it left its outputs alone.
fn batch(shape: &[usize], config: batch_norm_nd::Config) -> (Result<()>, bool) {
    let channels = if shape.len() > 1 { shape[1] } else { 0 };
    let len = shape.iter().product();
    let x = Tensor::values(Layout::Dense, shape, &vec![1.0; len]);
    let mut y = Tensor::values(Layout::Dense, shape, &vec![7.0; len]);
    let [mut mean, mut inv_std] = [(); 2].map(|()| Tensor::values(Layout::Dense, &[channels], &vec![7.0; channels]));
    let statistics = Statistics { mean: mean.view_mut(), inv_std: inv_std.view_mut() };
    let exec = Exec::serial().unwrap();
    let result = batch_norm_nd::forward(&exec, y.view_mut(), statistics, None, x.view(), Params::default(), config);
    let untouched = [y, mean, inv_std].iter().all(|tensor| tensor.to_vec().iter().all(|&value| value == 7.0));
    (result, untouched)
}

#[test]
fn bad_choices() {
    let config = batch_norm_nd::Config::default();
    for (shape, config, want) in [
        (&[1, 3][..], config, "`x` must be more than one element a channel when training, got 1"),
        (&[1, 3, 1], config, "`x` must be more than one element a channel when training, got 1"),
        (&[4], config, "`x` must be of two axes or more, got 1"),
        (&[], config, "`x` must be of two axes or more, got 0"),
        (&[2, 3], batch_norm_nd::Config { eps: -1.0, ..config }, "`eps` must be at least 0, got -1"),
        (&[2, 3], batch_norm_nd::Config { eps: f32::NAN, ..config }, "`eps` must be at least 0, got NaN"),
    ] {
        let (result, untouched) = batch(shape, config);
        assert_eq!(result.unwrap_err().to_string(), format!("batch_norm_nd::forward: {want}"));
        assert!(untouched, "{want}, but something was written");
    }
    // As in PyTorch an empty vector is a batch of nothing.
    batch(&[0], config).0.unwrap();
    batch(&[1, 0], config).0.unwrap();
    batch(&[1, 3, 2], batch_norm_nd::Config { variance: Variance::Unbiased, ..config }).0.unwrap();

    let exec = Exec::serial().unwrap();
    let x = Tensor::values(Layout::Dense, &[2, 3], &[1.0; 6]);
    for (normalized, want) in [
        (&[][..], "`normalized_shape` must be of at least one axis, got 0"),
        (&[2], "`normalized_shape` must be 3, got 2"),
        (&[1, 2, 3], "`normalized_shape` must be 2x3, got 1x2x3"),
    ] {
        let [mut y, mut inv_rms] = [&[2, 3][..], &[2]].map(|shape| Tensor::poisoned(Layout::Dense, shape));
        let config = rms_norm::Config::default();
        let result = rms_norm::forward(&exec, y.view_mut(), inv_rms.view_mut(), x.view(), normalized, None, config);
        assert_eq!(result.unwrap_err().to_string(), format!("rms_norm::forward: {want}"));
    }
    for scratch in [0, 5] {
        let [mut dx, inv_rms] = [&[2, 3][..], &[2]].map(|shape| Tensor::poisoned(Layout::Dense, shape));
        let grads = rms_norm::Grads { dx: dx.view_mut(), dweight: None };
        let (x, inv_rms, scratch) = (x.view(), inv_rms.view(), &mut vec![0.0; scratch][..]);
        let result = rms_norm::backward(&exec, grads, Accum::Replace, x, x, inv_rms, &[3], None, scratch);
        let want = format!("rms_norm::backward: `scratch` must have at least 6 elements, got {}", scratch.len());
        assert_eq!(result.unwrap_err().to_string(), want);
        assert!(dx.to_vec().iter().all(|dx| dx.is_nan()));
    }
}

#[test]
fn bad_matrices() {
    let exec = Exec::serial().unwrap();
    let names = ["y", "mean", "inv_std", "x", "weight", "bias"];
    let right = [[3, 4], [3, 1], [3, 1], [3, 4], [1, 4], [1, 4]];
    let forward = |shapes: [[usize; 2]; 6], layouts: [Mats; 6]| {
        let mut number = 0;
        let [mut y, mut mean, mut inv_std, x, weight, bias] = shapes.map(|[rows, cols]| {
            number += 1;
            Block::filled(layouts[number - 1], rows, cols, |_, _| 1.0)
        });
        let before = [y.bits(), mean.bits(), inv_std.bits()];
        let statistics = Statistics { mean: mean.mat_mut(), inv_std: inv_std.mat_mut() };
        let params = Params { weight: Some(weight.mat()), bias: Some(bias.mat()) };
        let config = layer_norm::Config::default();
        let (y_mat, tanh) = (y.mat_mut(), Activation::Tanh);
        let result = layer_norm::forward_rows(&exec, y_mat, statistics, x.mat(), params, config, tanh);
        assert!(result.is_ok() || [y.bits(), mean.bits(), inv_std.bits()] == before, "something was written");
        result
    };
    forward(right, [Mats::Dense; 6]).unwrap();
    for (number, name) in names.into_iter().enumerate() {
        let mut shapes = right;
        shapes[number][1] += 1;
        let error = forward(shapes, [Mats::Dense; 6]).unwrap_err().to_string();
        let compared = if name == "x" { "y" } else { name };
        assert!(error.starts_with(&format!("layer_norm::forward_rows: `{compared}` must be ")), "{error}");
        if right[number][1] > 1 {
            let mut layouts = [Mats::Dense; 6];
            layouts[number] = Mats::Spread;
            let error = forward(right, layouts).unwrap_err().to_string();
            assert!(error.contains(&format!("the columns of `{name}` must be adjacent")), "{error}");
        }
    }
    let names = ["dx", "dweight", "dbias", "dy", "x", "mean", "inv_std", "weight"];
    let right = [[3, 4], [1, 4], [1, 4], [3, 4], [3, 4], [3, 1], [3, 1], [1, 4]];
    let backward = |shapes: [[usize; 2]; 8], scratch: usize| {
        let [mut dx, mut dweight, mut dbias, dy, x, mean, inv_std, weight] =
            shapes.map(|[rows, cols]| Block::filled(Mats::Dense, rows, cols, |_, _| 1.0));
        let before = [dx.bits(), dweight.bits(), dbias.bits()];
        let (dweight_mat, dbias_mat) = (Some(dweight.mat_mut()), Some(dbias.mat_mut()));
        let grads = Grads { dx: dx.mat_mut(), dweight: dweight_mat, dbias: dbias_mat };
        let saved = Saved { mean: mean.mat(), inv_std: inv_std.mat() };
        let (dy, x, gamma) = (dy.mat(), x.mat(), Some(weight.mat()));
        let mut scratch = vec![0.0; scratch];
        let result = layer_norm::backward_rows(&exec, grads, Accum::Add, dy, x, saved, gamma, &mut scratch);
        assert!(result.is_ok() || [dx.bits(), dweight.bits(), dbias.bits()] == before, "something was written");
        result
    };
    backward(right, 8).unwrap();
    assert!(backward(right, 7).unwrap_err().to_string().contains("`scratch` must have at least 8 elements, got 7"));
    for (number, name) in names.into_iter().enumerate() {
        let mut shapes = right;
        shapes[number][1] += 1;
        let error = backward(shapes, 8).unwrap_err().to_string();
        let compared = if name == "x" { "dx" } else { name };
        assert!(error.starts_with(&format!("layer_norm::backward_rows: `{compared}` must be ")), "{error}");
    }
}
