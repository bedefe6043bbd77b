//! `addmm`, and `linear` with a bias: products with something added.

use crate::common::compare::{ROUNDING, assert_close, assert_same_bits};
use crate::common::random::Random;
use crate::common::tensor::{Layout, Tensor};
use crate::common::tiers::{is_fused, on_every_tier};
use crate::common::{pools, serial};
use crate::problem::{len, product_shape, wide};
use handgrad_kernels::gemm::Accum;
use handgrad_kernels::op::activation::Activation;
use handgrad_kernels::op::addmm::{self, Factors};
use handgrad_kernels::op::linear::{self, view};
use handgrad_kernels::op::{broadcast, matmul, mm};
use handgrad_kernels::view::{Mat, MatMut, View, ViewMut};
use handgrad_kernels::{Exec, Isa};

fn draw(random: &mut Random, layout: Layout, shape: &[usize]) -> Tensor {
    let values: Vec<f32> = (0..len(shape)).map(|_| random.uneven()).collect();
    Tensor::values(layout, shape, &values)
}

/// The operands of `addmm`: the input, both factors, and the gradient of the result.
struct Addmm {
    input: Tensor,
    a: Tensor,
    b: Tensor,
    dy: Tensor,
    factors: Factors,
}

impl Addmm {
    fn draw(random: &mut Random, input: &[usize], [m, k, n]: [usize; 3], factors: [f32; 2], layout: Layout) -> Self {
        let mut tensor = |shape: &[usize]| draw(random, layout, shape);
        let (input, a, b, dy) = (tensor(input), tensor(&[m, k]), tensor(&[k, n]), tensor(&[m, n]));
        Self { input, a, b, dy, factors: Factors { beta: factors[0], alpha: factors[1] } }
    }

    /// `y`, and the gradients of the input, `a` and `b`.
    fn run(&self, exec: &Exec, out: Layout) -> [Vec<f32>; 4] {
        let Self { input, a, b, dy, factors } = self;
        let mut scratch = vec![f32::NAN; addmm::scratch(exec, &a.shape, &b.shape)];
        let mut all = [dy, input, a, b].map(|tensor| Tensor::poisoned(out, &tensor.shape));
        let [y, dinput, da, db] = &mut all;
        let (a, b) = (a.view(), b.view());
        addmm::forward(exec, y.view_mut(), input.view(), a, b, *factors, &mut scratch).unwrap();
        let grads = addmm::Grads { dinput: dinput.view_mut(), da: da.view_mut(), db: db.view_mut() };
        addmm::backward(exec, grads, dy.view(), a, b, *factors, &mut scratch).unwrap();
        all.map(|tensor| {
            tensor.assert_intact("addmm");
            tensor.to_vec()
        })
    }

    /// The same from its parts: a product, scaled and added up in f32.
    fn parts(&self, exec: &Exec) -> [Vec<f32>; 4] {
        let Self { input, a, b, dy, factors: Factors { beta, alpha } } = self;
        let mut scratch = vec![f32::NAN; mm::scratch(exec, &a.shape, &b.shape)];
        let mut all = [dy, dy, input, a, b].map(|tensor| Tensor::poisoned(Layout::Dense, &tensor.shape));
        let [y, repeated, dinput, da, db] = &mut all;
        mm::forward(exec, y.view_mut(), a.view(), b.view(), &mut scratch).unwrap();
        mm::backward(exec, da.view_mut(), db.view_mut(), dy.view(), a.view(), b.view(), &mut scratch).unwrap();
        broadcast::forward(exec, repeated.view_mut(), input.view()).unwrap();
        broadcast::backward(exec, dinput.view_mut(), dy.view()).unwrap();
        let [y, repeated, dinput, da, db] = all.map(|tensor| tensor.to_vec());
        let combine = |(y, input): (&f32, &f32)| match *beta {
            0.0 => alpha * y,
            beta if is_fused(exec.isa()) => beta.mul_add(*input, alpha * y),
            beta => beta * input + alpha * y,
        };
        let scaled = |factor: f32, values: &[f32]| values.iter().map(|x| factor * x).collect::<Vec<_>>();
        let y = y.iter().zip(&repeated).map(combine).collect();
        [y, scaled(*beta, &dinput), scaled(*alpha, &da), scaled(*alpha, &db)]
    }
}

const FACTORS: [[f32; 2]; 6] = [[1.0, 1.0], [0.2, 0.6], [0.0, 1.0], [0.0, -2.5], [1.0, 0.0], [-0.7, 1.0]];

#[test]
fn addmm_is_its_parts() {
    let sizes = [[0, 3, 4], [2, 0, 3], [1, 1, 1], [3, 5, 1], [1, 7, 9], [7, 3, 19], [6, 70, 33], [300, 2, 2]];
    let pools = pools();
    on_every_tier("addmm", |isa| {
        let mut random = Random::new(11);
        for [m, k, n] in sizes {
            for input in [&[][..], &[1], &[n], &[1, n], &[m, 1], &[1, 1], &[m, n]] {
                let factors = random.pick(&FACTORS);
                let layout = random.pick(&Layout::ALL);
                let problem = Addmm::draw(&mut random, input, [m, k, n], factors, layout);
                let want = problem.parts(&serial(isa));
                let check = |exec: &Exec, out: Layout| {
                    let what = format!("{exec:?}: addmm of {m}x{k}x{n}, {input:?}, {factors:?}, {layout:?} to {out:?}");
                    for (got, want) in problem.run(exec, out).iter().zip(&want) {
                        assert_same_bits(&what, 1, got, want);
                    }
                };
                for out in Layout::OUTPUTS {
                    check(&serial(isa), out);
                }
                for pool in &pools {
                    let exec = pool.clone().with_isa(isa);
                    exec.install(|| check(&exec, Layout::Dense));
                }
            }
        }
    });
}

#[test]
fn addmm_agrees_with_its_reference() {
    let mut random = Random::new(12);
    let exec = serial(Isa::best());
    for (i, factors) in FACTORS.into_iter().enumerate() {
        let [m, k, n] = [3, 4 + i, 5];
        let problem = Addmm::draw(&mut random, &[m, n], [m, k, n], factors, Layout::Dense);
        let Addmm { input, a, b, dy, .. } = &problem;
        let [input, a, b, dy] = [input, a, b, dy].map(|tensor| wide(&tensor.to_vec()));
        let factors = factors.map(f64::from);
        let y = |input: &[f64], a: &[f64], b: &[f64]| addmm::reference(input, a, b, [m, k, n], factors);
        let loss =
            |input: &[f64], a: &[f64], b: &[f64]| -> f64 { y(input, a, b).iter().zip(&dy).map(|(y, dy)| y * dy).sum() };
        let grads = addmm::reference_backward(&dy, &a, &b, [m, k, n], factors);
        // The operation is linear in each operand.
        for (number, grad) in grads.iter().enumerate() {
            for (i, got) in grad.iter().enumerate() {
                let moved = |h: f64| {
                    let mut all = [input.clone(), a.clone(), b.clone()];
                    all[number][i] += h;
                    loss(&all[0], &all[1], &all[2])
                };
                let want = (moved(1.0) - moved(-1.0)) / 2.0;
                assert!((got - want).abs() <= 1e-6 * (1.0 + want.abs()), "gradient {number} of addmm");
            }
        }
        let [want_input, want_a, want_b] = grads;
        let want = [y(&input, &a, &b), want_input, want_a, want_b];
        for (got, want) in problem.run(&exec, Layout::Dense).into_iter().zip(want) {
            // Every sum here has less than 16 terms of at most 2^16.
            assert_close("addmm", 1, &got, want, std::iter::repeat(16.0 * 65_536.0 * 32.0 * ROUNDING));
        }
    }
}

#[test]
fn addmm_ignores_an_input_that_counts_for_nothing() {
    on_every_tier("addmm without its input", |isa| {
        for (beta, want) in [(0.0, 11.0), (-0.0, 11.0), (1.0, f32::NAN)] {
            for bad in [f32::NAN, f32::INFINITY] {
                let (mut y, exec) = ([f32::NAN; 21], serial(isa));
                let (a, b) = ([1.0, 2.0], [vec![3.0; 21], vec![4.0; 21]].concat());
                let mut scratch = vec![0.0; addmm::scratch(&exec, &[1, 2], &[2, 21])];
                let factors = Factors { beta, ..Factors::default() };
                let (a, b) = (View::new(&a, &[1, 2]).unwrap(), View::new(&b, &[2, 21]).unwrap());
                let out = ViewMut::new(&mut y, &[1, 21]).unwrap();
                addmm::forward(&exec, out, View::scalar(&bad), a, b, factors, &mut scratch).unwrap();
                let want = if want.is_nan() { bad } else { want };
                assert_same_bits(format!("{isa}: beta {beta}"), 21, &y, &[want; 21]);
            }
        }
    });
}

/// The shapes of `x` and of the weight, and whether there is a bias.
fn layers() -> Vec<(Vec<usize>, Vec<usize>, bool)> {
    let leading: [&[usize]; 8] = [&[], &[1], &[0], &[9], &[3, 7], &[2, 1, 3], &[2, 1, 2, 1, 2, 1, 3], &[300]];
    let mut all = Vec::new();
    for lead in leading {
        for inputs in [0, 1, 3, 70] {
            let x = [lead, &[inputs]].concat();
            for outputs in [0, 1, 2, 19, 33] {
                all.push((x.clone(), vec![outputs, inputs], true));
                all.push((x.clone(), vec![outputs, inputs], false));
            }
            all.push((x.clone(), vec![inputs], true));
            all.push((x, vec![inputs], false));
        }
    }
    all
}

/// `y`, `dx`, `dweight` and `dbias`, the last two added to what `old` says.
fn run_layer(exec: &Exec, tensors: &[Tensor; 4], has_bias: bool, out: Layout, old: Option<f32>) -> [Vec<f32>; 4] {
    let [x, weight, bias, dy] = tensors;
    let mut all = [dy, x, weight, bias].map(|tensor| Tensor::poisoned(out, &tensor.shape));
    let [y, dx, dweight, dbias] = &mut all;
    let mut accum = Accum::Replace;
    if let Some(old) = old {
        dweight.view_mut().fill(old);
        dbias.view_mut().fill(old);
        accum = Accum::Add;
    }
    let mut scratch = vec![f32::NAN; view::scratch(exec, &x.shape, &weight.shape)];
    let bias = has_bias.then(|| bias.view());
    view::forward(exec, y.view_mut(), x.view(), weight.view(), bias, &mut scratch).unwrap();
    view::backward_input(exec, dx.view_mut(), dy.view(), weight.view(), &mut scratch).unwrap();
    let grads = view::Grads { dweight: dweight.view_mut(), dbias: has_bias.then(|| dbias.view_mut()) };
    view::backward_params(exec, grads, accum, dy.view(), x.view(), &mut scratch).unwrap();
    all.map(|tensor| {
        tensor.assert_intact("linear");
        tensor.to_vec()
    })
}

/// The gradient of a weight of one output, which is a chain all the same: as one row.
fn chains(exec: &Exec, x: &Tensor, dy: &Tensor, inputs: usize) -> Vec<f32> {
    let rows = len(&dy.shape);
    let x = Tensor::values(Layout::Dense, &[rows, inputs], &x.to_vec());
    let dy = Tensor::values(Layout::Dense, &[1, rows], &dy.to_vec());
    let mut dweight = Tensor::poisoned(Layout::Dense, &[1, inputs]);
    let mut scratch = vec![f32::NAN; mm::scratch(exec, &dy.shape, &x.shape)];
    mm::forward(exec, dweight.view_mut(), dy.view(), x.view(), &mut scratch).unwrap();
    dweight.to_vec()
}

#[test]
fn a_layer_is_a_product_and_a_bias() {
    on_every_tier("linear over views", |isa| {
        let (exec, mut random) = (serial(isa), Random::new(13));
        for (x_shape, shape, has_bias) in layers() {
            let layout = random.pick(&Layout::ALL);
            let transposed: Vec<usize> = shape.iter().rev().copied().collect();
            let y_shape = product_shape(&x_shape, &transposed);
            let shapes = [&x_shape[..], &shape, &shape[..shape.len() - 1], &y_shape];
            let tensors = shapes.map(|shape| draw(&mut random, layout, shape));
            let [x, weight, bias, dy] = &tensors;
            // From its parts.
            let dense = |tensor: &Tensor| Tensor::poisoned(Layout::Dense, &tensor.shape);
            let (mut y, mut dx, mut dweight, mut dbias) = (dense(dy), dense(x), dense(weight), dense(bias));
            let mut scratch = vec![f32::NAN; matmul::scratch(&exec, &x_shape, &transposed)];
            let w = weight.view().t().unwrap();
            matmul::forward(&exec, y.view_mut(), x.view(), w, &mut scratch).unwrap();
            let dw = dweight.view_mut().t().unwrap();
            matmul::backward(&exec, dx.view_mut(), dw, dy.view(), x.view(), w, &mut scratch).unwrap();
            if has_bias {
                broadcast::backward(&exec, dbias.view_mut(), dy.view()).unwrap();
            }
            let mut repeated = dense(dy);
            broadcast::forward(&exec, repeated.view_mut(), bias.view()).unwrap();
            let plus = |(y, b): (f32, f32)| if has_bias { y + b } else { y };
            let y: Vec<f32> = y.to_vec().into_iter().zip(repeated.to_vec()).map(plus).collect();
            let inputs = shape[shape.len() - 1];
            let one_output = len(&shape) == inputs && inputs > 1;
            let dweight = if one_output { chains(&exec, x, dy, inputs) } else { dweight.to_vec() };
            let want = [y, dx.to_vec(), dweight, dbias.to_vec()];
            for out in [Layout::Dense, random.pick(&Layout::OUTPUTS)] {
                let got = run_layer(&exec, &tensors, has_bias, out, None);
                for (got, want) in got.iter().zip(&want) {
                    let what =
                        format!("{isa}: linear of {x_shape:?} by {shape:?}, bias {has_bias}, {layout:?} to {out:?}");
                    assert_same_bits(what, 1, got, want);
                }
            }
        }
    });
}

#[test]
fn a_layer_has_the_bits_of_the_training_steps() {
    on_every_tier("linear over views against matrices", |isa| {
        let (exec, mut random) = (serial(isa), Random::new(14));
        for [batch, inputs, outputs] in [[32, 30, 200], [9, 70, 27], [5, 3, 1], [300, 9, 2], [7, 1, 5], [600, 64, 1]] {
            let shapes = [&[batch, inputs][..], &[outputs, inputs], &[outputs], &[batch, outputs]];
            let tensors = shapes.map(|shape| draw(&mut random, Layout::Dense, shape));
            let [x, weight, bias, dy] = &tensors;
            let mat = |tensor: &Tensor| tensor.to_vec();
            let (x, w, b, dy) = (mat(x), mat(weight), mat(bias), mat(dy));
            let x = Mat::new(&x, batch, inputs).unwrap();
            let w = Mat::new(&w, outputs, inputs).unwrap().t();
            let (b, dy) = (Mat::from_row(&b), Mat::new(&dy, batch, outputs).unwrap());
            let mut scratch = vec![f32::NAN; linear::scratch_len(&exec, batch, inputs, outputs)];
            let [mut y, mut dx, mut dw, mut db] =
                [batch * outputs, batch * inputs, inputs * outputs, outputs].map(|len| vec![0.5; len]);
            let identity = Activation::Identity;
            let out = MatMut::new(&mut y, batch, outputs).unwrap();
            linear::forward(&exec, out, x, w, Some(b), identity, &mut scratch).unwrap();
            let out = MatMut::new(&mut dx, batch, inputs).unwrap();
            linear::backward_input(&exec, out, dy, w, identity, x, &mut scratch).unwrap();
            let grads = linear::Grads {
                dw: MatMut::new(&mut dw, inputs, outputs).unwrap(),
                db: Some(MatMut::from_row(&mut db)),
            };
            linear::backward_params(&exec, grads, Accum::Add, dy, x, &mut scratch).unwrap();
            let dw: Vec<f32> = (0..outputs * inputs).map(|at| dw[at % inputs * outputs + at / inputs]).collect();
            let got = run_layer(&exec, &tensors, true, Layout::Dense, Some(0.5));
            for (got, want) in got.iter().zip([y, dx, dw, db]) {
                assert_same_bits(format!("{isa}: linear of {batch}x{inputs} by {outputs}"), 1, got, &want);
            }
        }
    });
}

#[test]
fn parameter_gradients_go_on_from_what_stands_there() {
    let exec = serial(Isa::best());
    let mut random = Random::new(15);
    for shape in [vec![5, 7], vec![1, 7], vec![5, 1], vec![7], vec![1, 1], vec![1]] {
        let (inputs, outputs) = (shape[shape.len() - 1], &shape[..shape.len() - 1]);
        let shapes = [&[6, inputs][..], &shape, outputs, &[&[6], outputs].concat()];
        let tensors = shapes.map(|shape| draw(&mut random, Layout::Dense, shape));
        let [_, _, dweight, dbias] = run_layer(&exec, &tensors, true, Layout::Swapped, Some(3.0));
        let [x, _, _, dy] = tensors.each_ref().map(|tensor| wide(&tensor.to_vec()));
        let n = len(outputs);
        let weight = vec![0.0; len(&shape)];
        let [_, want, bias] = view::reference_backward(&dy, &x, &weight, inputs, n);
        let tolerance = || std::iter::repeat(8.0 * 65_536.0 * 8.0 * ROUNDING);
        assert_close(format!("dweight of {shape:?}"), 1, &dweight, want.iter().map(|x| x + 3.0), tolerance());
        assert_close(format!("dbias of {shape:?}"), 1, &dbias, bias.iter().map(|x| x + 3.0), tolerance());
        // In two goes the chains are one.
        if len(&shape) > 1 {
            let [x, weight, _, dy] = &tensors;
            let mut parts = Tensor::poisoned(Layout::Dense, &weight.shape);
            let mut scratch = vec![f32::NAN; view::scratch(&exec, &x.shape, &weight.shape)];
            for (accum, start, rows) in [(Accum::Replace, 0, 2), (Accum::Add, 2, 4)] {
                let part = |tensor: &Tensor| -> Vec<f32> { tensor.view().narrow(0, start, rows).unwrap().to_vec() };
                let (x, dy) = (part(x), part(dy));
                let x = View::new(&x, &[rows, inputs]).unwrap();
                let dy_shape = [&[rows], outputs].concat();
                let dy = View::new(&dy, &dy_shape).unwrap();
                let grads = view::Grads { dweight: parts.view_mut(), dbias: None };
                view::backward_params(&exec, grads, accum, dy, x, &mut scratch).unwrap();
            }
            let whole = run_layer(&exec, &tensors, false, Layout::Dense, None);
            assert_same_bits(format!("dweight of {shape:?} in two goes"), 1, &parts.to_vec(), &whole[2]);
        }
    }
}

#[test]
fn references_of_a_layer_agree_with_each_other() {
    let mut random = Random::new(16);
    let (rows, inputs, outputs) = (5, 4, 3);
    let [x, weight, bias, dy] = [rows * inputs, inputs * outputs, outputs, rows * outputs]
        .map(|len| (0..len).map(|_| f64::from(random.unit())).collect::<Vec<_>>());
    let loss = |x: &[f64], weight: &[f64], bias: &[f64]| -> f64 {
        view::reference(x, weight, Some(bias), inputs, outputs).iter().zip(&dy).map(|(y, dy)| y * dy).sum()
    };
    let grads = view::reference_backward(&dy, &x, &weight, inputs, outputs);
    for (number, grad) in grads.iter().enumerate() {
        for (i, got) in grad.iter().enumerate() {
            let moved = |h: f64| {
                let mut all = [x.clone(), weight.clone(), bias.clone()];
                all[number][i] += h;
                loss(&all[0], &all[1], &all[2])
            };
            assert!((got - (moved(1.0) - moved(-1.0)) / 2.0).abs() < 1e-9);
        }
    }
    // And with the kernels, without a bias too.
    let exec = serial(Isa::best());
    let narrow = |values: &[f64]| values.iter().map(|&x| x as f32).collect::<Vec<f32>>();
    let (x32, w32) = (narrow(&x), narrow(&weight));
    let mut y = vec![f32::NAN; rows * outputs];
    let mut scratch = vec![0.0; view::scratch(&exec, &[rows, inputs], &[outputs, inputs])];
    let out = ViewMut::new(&mut y, &[rows, outputs]).unwrap();
    let (x32, w32) = (View::new(&x32, &[rows, inputs]).unwrap(), View::new(&w32, &[outputs, inputs]).unwrap());
    view::forward(&exec, out, x32, w32, None, &mut scratch).unwrap();
    let want = view::reference(&x, &weight, None, inputs, outputs);
    assert_close("linear", outputs, &y, want, std::iter::repeat(16.0 * ROUNDING));
}
