//! The linear layer, forward and backward, and plain gradient descent, against f64 loops by definition.

mod common;

use common::activations;
use common::block::{Block, Layout};
use common::compare::{ROUNDING, assert_close, assert_same_bits, gamma};
use common::random::Random;
use common::tiers::{is_fused, on_every_tier};
use common::{pools, serial, until_two_workers};
use handgrad_kernels::gemm::{Accum, scratch_len};
use handgrad_kernels::op::activation::Activation;
use handgrad_kernels::op::linear::{self, Grads};
use handgrad_kernels::optim::sgd;
use handgrad_kernels::{ErrorKind, Exec, Isa};

/// `batch`, `inputs`, `outputs`.
type Dims = [usize; 3];

const BATCHES: [usize; 7] = [1, 2, 3, 31, 32, 33, 300];

fn all_dims() -> Vec<Dims> {
    let mut dims = Vec::new();
    for batch in BATCHES {
        for inputs in (1..=40).chain([200]) {
            dims.push([batch, inputs, inputs * 7 % 41]);
        }
        dims.extend([
            [batch, 30, 200],
            [batch, 200, 27],
            [batch, 1, 1],
            [batch, 1, 40],
            [batch, 40, 1],
            [batch, 65, 1],
        ]);
    }
    dims.extend([[300, 410, 50], [0, 3, 4], [4, 3, 0], [4, 0, 3], [2, 1030, 3]]);
    dims
}

/// One layer with everything that goes in: `x` is what `activation` made of `z`.
struct Layer {
    dims: Dims,
    activation: Activation,
    z: Vec<f32>,
    x: Vec<f32>,
    w: Vec<f32>,
    b: Option<Vec<f32>>,
    dy: Vec<f32>,
    old_dw: Vec<f32>,
    old_db: Vec<f32>,
}

const LR: f32 = 0.137;

impl Layer {
    fn draw(dims: Dims, activation: Activation, random: &mut Random) -> Self {
        let [batch, inputs, outputs] = dims;
        let mut draw = |len: usize| -> Vec<f32> { (0..len).map(|_| random.unit() * 2.0).collect() };
        let z = draw(batch * inputs);
        let x = z.iter().map(|&z| activations::forward(activation, z.into()) as f32).collect();
        let (w, b, dy) = (draw(inputs * outputs), draw(outputs), draw(batch * outputs));
        let (old_dw, old_db) = (draw(inputs * outputs), draw(outputs));
        let b = (random.below(4) > 0).then_some(b);
        Self { dims, activation, z, x, w, b, dy, old_dw, old_db }
    }

    fn x(&self, i: usize, p: usize) -> f64 {
        self.x[i * self.dims[1] + p].into()
    }
    fn w(&self, p: usize, j: usize) -> f64 {
        self.w[p * self.dims[2] + j].into()
    }
    fn dy(&self, i: usize, j: usize) -> f64 {
        self.dy[i * self.dims[2] + j].into()
    }

    /// Every index of a matrix in logical order.
    fn places(rows: usize, cols: usize) -> impl Iterator<Item = (usize, usize)> {
        (0..rows).flat_map(move |i| (0..cols).map(move |j| (i, j)))
    }
}

/// Everything a layer computes.
struct Results {
    y: Vec<f32>,
    dx: Vec<f32>,
    /// `dw` and `db` replaced, and added to what stood there.
    params: [[Vec<f32>; 2]; 2],
    /// `w` and `b` after a step by way of the gradients, and without writing them down.
    steps: [[Vec<f32>; 2]; 2],
}

/// Runs every function once, with scratch of just the right size, NaN everywhere. `pick` chooses the layouts.
fn run(exec: &Exec, layer: &Layer, random: &mut Random, dense: bool) -> Results {
    let [batch, inputs, outputs] = layer.dims;
    let mut pick = |layouts: &[Layout]| if dense { Layout::Dense } else { random.pick(layouts) };
    let (any, adjacent) = (&Layout::OUTPUTS[..], &Layout::ADJACENT[..]);
    let scratch = || vec![f32::NAN; linear::scratch_len(exec, batch, inputs, outputs)];
    let bias = layer.b.as_ref().map(|b| Block::from_slice(Layout::Dense, 1, outputs, b));
    let bias = bias.as_ref().map(Block::mat);
    let what = format!("{}, {:?}", exec.isa(), layer.dims);

    let x = Block::from_slice(pick(any), batch, inputs, &layer.x);
    let w = Block::from_slice(pick(any), inputs, outputs, &layer.w);
    let mut y = Block::poisoned(pick(adjacent), batch, outputs);
    linear::forward(exec, y.mat_mut(), x.mat(), w.mat(), bias, layer.activation, &mut scratch()).unwrap();
    y.assert_guards(&what);

    let x = Block::from_slice(pick(adjacent), batch, inputs, &layer.x);
    let dy = Block::from_slice(pick(adjacent), batch, outputs, &layer.dy);
    let mut dx = Block::poisoned(pick(adjacent), batch, inputs);
    let through = layer.activation;
    linear::backward_input(exec, dx.mat_mut(), dy.mat(), w.mat(), through, x.mat(), &mut scratch()).unwrap();
    dx.assert_guards(&what);

    let any_x = if outputs == 1 { adjacent } else { any };
    let x = Block::from_slice(pick(any_x), batch, inputs, &layer.x);
    let params = [Accum::Replace, Accum::Add].map(|accum| {
        let mut block = |rows, old: &[f32]| match accum {
            Accum::Replace => Block::poisoned(pick(adjacent_params(outputs)), rows, outputs),
            Accum::Add => Block::from_slice(pick(adjacent_params(outputs)), rows, outputs, old),
        };
        let (mut dw, mut db) = (block(inputs, &layer.old_dw), block(1, &layer.old_db));
        let grads = Grads { dw: dw.mat_mut(), db: Some(db.mat_mut()) };
        linear::backward_params(exec, grads, accum, dy.mat(), x.mat(), &mut scratch()).unwrap();
        dw.assert_guards(&what);
        db.assert_guards(&what);
        [dw.to_vec(), db.to_vec()]
    });

    let old_b = layer.b.clone().unwrap_or_default();
    let mut by_gradients = [layer.w.clone(), old_b.clone()];
    let [w_new, b_new] = &mut by_gradients;
    sgd::update(exec, w_new, &params[0][0], LR).unwrap();
    sgd::update(exec, b_new, &params[0][1][..old_b.len()], LR).unwrap();
    let mut w = Block::from_slice(pick(adjacent_params(outputs)), inputs, outputs, &layer.w);
    let mut b = Block::from_slice(Layout::Dense, old_b.len().min(1), old_b.len(), &old_b);
    let b_out = layer.b.is_some().then(|| b.mat_mut());
    // A bias of no outputs is still a row.
    let b_out = if outputs == 0 { None } else { b_out };
    linear::backward_sgd(exec, w.mat_mut(), b_out, LR, dy.mat(), x.mat(), &mut scratch()).unwrap();
    w.assert_guards(&what);
    Results { y: y.to_vec(), dx: dx.to_vec(), params, steps: [by_gradients, [w.to_vec(), b.to_vec()]] }
}

/// Layouts for the parameters of a layer; with one output their rows must be adjacent.
fn adjacent_params(outputs: usize) -> &'static [Layout] {
    if outputs == 1 { &[Layout::Dense, Layout::Transposed] } else { &Layout::ADJACENT }
}

/// Roundings that a product of an element meets on its way: a chain of `k`, or 64 running sums and six folds where the
/// result has one column; one more where the product is rounded by itself.
fn roundings(isa: Isa, k: usize, cols: usize) -> usize {
    (if cols > 1 { k } else { k.div_ceil(64) + 6 }) + usize::from(!is_fused(isa))
}

/// The results against f64 loops.
fn check(isa: Isa, layer: &Layer, got: &Results) {
    let [batch, inputs, outputs] = layer.dims;
    let what = |name: &str| format!("{name} on {isa}, {:?}, {:?}", layer.dims, layer.activation);

    let forward = |(i, j)| {
        let products = || (0..inputs).map(|p| layer.x(i, p) * layer.w(p, j));
        let bias = layer.b.as_ref().map_or(0.0, |b| f64::from(b[j]));
        let y = activations::forward(layer.activation, products().sum::<f64>() + bias);
        let size = products().map(f64::abs).sum::<f64>() + bias.abs();
        let error = gamma(roundings(isa, inputs, outputs) + 1) * size;
        (y, activations::forward_error(isa, layer.activation, y, error))
    };
    let (want, tolerance): (Vec<_>, Vec<_>) = Layer::places(batch, outputs).map(forward).unzip();
    assert_close(what("y"), outputs, &got.y, want, tolerance);

    let input = |(i, p)| {
        let products = || (0..outputs).map(|j| layer.dy(i, j) * layer.w(p, j));
        let (sum, size) = (products().sum::<f64>(), products().map(f64::abs).sum::<f64>());
        let slope = activations::slope(layer.activation, layer.z[i * inputs + p].into());
        let slope_error = activations::slope_error(isa, layer.activation, layer.x(i, p));
        let slope = if layer.activation == Activation::Identity { 1.0 } else { slope };
        let error = gamma(roundings(isa, outputs, inputs) + 1) * size;
        (sum * slope, error * (slope.abs() + slope_error) + size * slope_error)
    };
    let (want, tolerance): (Vec<_>, Vec<_>) = Layer::places(batch, inputs).map(input).unzip();
    assert_close(what("dx"), inputs, &got.dx, want, tolerance);

    for (k, [dw, db]) in got.params.iter().enumerate() {
        let old = |old: &[f32], place: usize| if k == 1 { f64::from(old[place]) } else { 0.0 };
        let weight = |(p, j)| {
            let products = || (0..batch).map(|i| layer.x(i, p) * layer.dy(i, j));
            let old = old(&layer.old_dw, p * outputs + j);
            let size = products().map(f64::abs).sum::<f64>() + old.abs();
            // A layer of one input and one output is a dot product.
            let roundings = roundings(isa, batch, inputs.max(outputs)) + k;
            (products().sum::<f64>() + old, gamma(roundings) * size)
        };
        let (want, tolerance): (Vec<_>, Vec<_>) = Layer::places(inputs, outputs).map(weight).unzip();
        assert_close(what("dw"), outputs, dw, want, tolerance);

        let bias = |j| {
            let column = || (0..batch).map(|i| layer.dy(i, j));
            let old = old(&layer.old_db, j);
            let size = column().map(f64::abs).sum::<f64>() + old.abs();
            (column().sum::<f64>() + old, gamma(batch.min(256) + batch.div_ceil(256) + k) * size)
        };
        let (want, tolerance): (Vec<_>, Vec<_>) = (0..outputs).map(bias).unzip();
        assert_close(what("db"), outputs, db, want, tolerance);
    }

    // The step from the gradients that came out: one rounding, or two.
    for (k, old) in [Some(&layer.w), layer.b.as_ref()].into_iter().enumerate() {
        let Some(old) = old else { continue };
        let terms = || old.iter().zip(&got.params[0][k]).map(|(&w, &dw)| (f64::from(w), f64::from(LR) * f64::from(dw)));
        let want = terms().map(|(w, change)| w - change);
        let unfused = f64::from(u8::from(!is_fused(isa)));
        let tolerance = terms().map(|(w, change)| ROUNDING * ((w - change).abs() + 2.0 * unfused * change.abs()));
        assert_close(what("a step"), outputs, &got.steps[0][k], want, tolerance);
        assert_same_bits(what("a step without gradients"), outputs, &got.steps[1][k], &got.steps[0][k]);
    }
}

impl Results {
    fn assert_same_bits(&self, what: &str, other: &Results) {
        let all = |results: &Results| {
            let Results { y, dx, params, steps } = results;
            let mut all = vec![y.clone(), dx.clone()];
            all.extend(params.iter().chain(steps).flatten().cloned());
            all
        };
        for (name, (a, b)) in ["y", "dx", "dw", "db", "dw added", "db added", "w", "b", "w at once", "b at once"]
            .into_iter()
            .zip(all(self).iter().zip(&all(other)))
        {
            assert_same_bits(format_args!("{name}, {what}"), a.len().max(1), a, b);
        }
    }
}

#[test]
fn the_layer_is_its_definition_on_every_tier_and_in_every_layout() {
    let mut random = Random::new(1);
    let cases: Vec<Layer> = all_dims()
        .into_iter()
        .enumerate()
        .map(|(i, dims)| Layer::draw(dims, activations::ALL[i % 3], &mut random))
        .collect();
    let scalar: Vec<Results> =
        cases.iter().map(|layer| run(&serial(Isa::from_name("scalar").unwrap()), layer, &mut random, true)).collect();
    on_every_tier(&format!("linear, {} layers", cases.len()), |isa| {
        for (layer, scalar) in cases.iter().zip(&scalar) {
            let dense = run(&serial(isa), layer, &mut random, true);
            check(isa, layer, &dense);
            let what = format!("{isa}, {:?}, {:?}", layer.dims, layer.activation);
            if is_fused(isa) {
                dense.assert_same_bits(&what, scalar);
            }
            for _ in 0..2 {
                run(&serial(isa), layer, &mut random, false).assert_same_bits(&format!("strided, {what}"), &dense);
            }
        }
    });
}

#[test]
fn threads_change_no_bit() {
    let mut random = Random::new(2);
    let dims = all_dims().into_iter().step_by(5).chain([[33, 30, 200], [33, 200, 1], [300, 200, 27]]);
    let cases: Vec<Layer> =
        dims.enumerate().map(|(i, dims)| Layer::draw(dims, activations::ALL[i % 3], &mut random)).collect();
    let pools = pools();
    on_every_tier(&format!("linear on threads, {} layers", cases.len()), |isa| {
        for layer in &cases {
            let want = run(&serial(isa), layer, &mut random, true);
            for pool in &pools {
                let exec = pool.clone().with_isa(isa);
                let got = exec.install(|| run(&exec, layer, &mut random, false));
                let what = format!("{isa}, {} threads, {:?}, {:?}", exec.threads(), layer.dims, layer.activation);
                got.assert_same_bits(&what, &want);
            }
        }
    });
    for pool in &pools {
        until_two_workers(pool, || drop(run(pool, &cases[cases.len() - 1], &mut random, false)));
    }
}

#[test]
fn a_batch_in_parts_adds_up_to_the_same_bits() {
    let mut random = Random::new(3);
    on_every_tier("a batch in parts", |isa| {
        let exec = serial(isa);
        for [batch, inputs, outputs] in [[33, 17, 20], [300, 5, 49], [32, 30, 1]] {
            let layer = Layer::draw([batch, inputs, outputs], Activation::Identity, &mut random);
            let whole = run(&exec, &layer, &mut random, true);
            let x = Block::from_slice(Layout::Dense, batch, inputs, &layer.x);
            let dy = Block::from_slice(Layout::Dense, batch, outputs, &layer.dy);
            let mut dw = Block::poisoned(Layout::Dense, inputs, outputs);
            let mut scratch = vec![f32::NAN; linear::scratch_len(&exec, batch, inputs, outputs)];
            for (part, accum) in [(0..7, Accum::Replace), (7..20, Accum::Add), (20..batch, Accum::Add)] {
                let (x, dy) = (x.mat().rows_at(part.clone()).unwrap(), dy.mat().rows_at(part).unwrap());
                let grads = Grads { dw: dw.mat_mut(), db: None };
                linear::backward_params(&exec, grads, accum, dy, x, &mut scratch).unwrap();
            }
            assert_same_bits(format_args!("{isa}, {:?}", layer.dims), outputs, &dw.to_vec(), &whole.params[0][0]);
        }
    });
}

/// The gradients are those of `Σ dy·y`, found by moving each of `z`, `w` and `b` a little.
#[test]
fn gradients_are_those_of_central_differences() {
    let mut random = Random::new(4);
    on_every_tier("linear, central differences", |isa| {
        for activation in activations::ALL {
            for dims in [[3, 4, 5], [2, 7, 1], [5, 1, 3]] {
                let mut layer = Layer::draw(dims, activation, &mut random);
                layer.b.get_or_insert_with(|| vec![0.5; dims[2]]);
                let got = run(&serial(isa), &layer, &mut random, true);
                let [batch, inputs, outputs] = dims;
                let loss = |z: &[f64], w: &[f64], b: &[f64]| -> f64 {
                    let x = |i, p| activations::forward(activation, z[i * inputs + p]);
                    let y = |i, j| (0..inputs).map(|p| x(i, p) * w[p * outputs + j]).sum::<f64>() + b[j];
                    Layer::places(batch, outputs).map(|(i, j)| layer.dy(i, j) * y(i, j)).sum()
                };
                let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
                let at = [wide(&layer.z), wide(&layer.w), wide(layer.b.as_ref().unwrap())];
                let gradients = [&got.dx, &got.params[0][0], &got.params[0][1]];
                for (k, gradient) in gradients.into_iter().enumerate() {
                    let difference = |place: usize| {
                        let [up, down] = [1e-4, -1e-4].map(|h| {
                            let mut at = at.clone();
                            at[k][place] += h;
                            loss(&at[0], &at[1], &at[2])
                        });
                        (up - down) / 2e-4
                    };
                    // Each term is below 4, so a sum of n terms is off by less than 4·n times a few roundings.
                    let tolerance = 4.0 * (batch.max(outputs) as f64) * (gamma(batch.max(outputs) + 8) + 1e-8);
                    let what = format!("operand {k} on {isa}, {dims:?}, {activation:?}");
                    let want = (0..gradient.len()).map(difference);
                    assert_close(what, gradient.len(), gradient, want, std::iter::repeat(tolerance));
                }
            }
        }
    });
}

#[test]
fn one_output_from_an_input_that_is_not_adjacent_is_right_or_refused() {
    let mut random = Random::new(5);
    on_every_tier("one output, strided input", |isa| {
        let exec = serial(isa);
        let layer = Layer::draw([9, 37, 1], Activation::Identity, &mut random);
        let want = run(&exec, &layer, &mut random, true);
        for layout in Layout::OUTPUTS {
            let x = Block::from_slice(layout, 9, 37, &layer.x);
            let dy = Block::from_slice(Layout::Dense, 9, 1, &layer.dy);
            let mut scratch = vec![f32::NAN; linear::scratch_len(&exec, 9, 37, 1)];
            let mut dw = Block::poisoned(Layout::Dense, 37, 1);
            let grads = Grads { dw: dw.mat_mut(), db: None };
            linear::backward_params(&exec, grads, Accum::Replace, dy.mat(), x.mat(), &mut scratch).unwrap();
            assert_same_bits(format_args!("dw, {isa}, {layout:?}"), 1, &dw.to_vec(), &want.params[0][0]);

            let mut w = Block::from_slice(Layout::Dense, 37, 1, &layer.w);
            match linear::backward_sgd(&exec, w.mat_mut(), None, LR, dy.mat(), x.mat(), &mut scratch) {
                Ok(()) => assert_same_bits(format_args!("w, {isa}, {layout:?}"), 1, &w.to_vec(), &want.steps[0][0]),
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::Adjacent { arg: "x", .. }), "{error}");
                    assert_same_bits(format_args!("w, {isa}, {layout:?}"), 1, &w.to_vec(), &layer.w);
                    assert!(!Layout::ADJACENT.contains(&layout), "{layout:?}: {error}");
                }
            }
        }
    });
}

#[test]
fn weights_whose_rows_are_apart_have_the_same_gradients() {
    let mut random = Random::new(6);
    on_every_tier("turned weights", |isa| {
        let exec = serial(isa);
        for dims @ [batch, inputs, outputs] in [[9, 37, 5], [33, 200, 27], [2, 3, 2], [1, 17, 16]] {
            let layer = Layer::draw(dims, Activation::Identity, &mut random);
            let x = Block::from_slice(Layout::Dense, batch, inputs, &layer.x);
            let dy = Block::from_slice(Layout::Dense, batch, outputs, &layer.dy);
            let mut scratch = vec![f32::NAN; linear::scratch_len(&exec, batch, inputs, outputs)];
            let [dense, turned] = [Layout::Dense, Layout::Transposed].map(|layout| {
                let mut dw = Block::poisoned(layout, inputs, outputs);
                let grads = Grads { dw: dw.mat_mut(), db: None };
                linear::backward_params(&exec, grads, Accum::Replace, dy.mat(), x.mat(), &mut scratch).unwrap();
                let mut w = Block::from_slice(layout, inputs, outputs, &layer.w);
                linear::backward_sgd(&exec, w.mat_mut(), None, LR, dy.mat(), x.mat(), &mut scratch).unwrap();
                [dw.to_vec(), w.to_vec()]
            });
            assert_same_bits(format_args!("dw, {isa}, {dims:?}"), outputs, &dense[0], &turned[0]);
            assert_same_bits(format_args!("w, {isa}, {dims:?}"), outputs, &dense[1], &turned[1]);
        }
    });
}

/// Blocks of given shapes, all filled with ones.
fn ones<const N: usize>(shapes: [[usize; 2]; N], layouts: [Layout; N]) -> [Block; N] {
    std::array::from_fn(|k| Block::filled(layouts[k], shapes[k][0], shapes[k][1], |_, _| 1.0))
}

const DENSE: Layout = Layout::Dense;

fn shape(op: &'static str, arg: &'static str, want: [usize; 2], got: [usize; 2]) -> ErrorKind {
    ErrorKind::Shape { op, arg, want: want.into(), got: got.into() }
}

#[test]
fn bad_arguments_of_forward_write_nothing() {
    const OP: &str = "linear::forward";
    let exec = Exec::serial().unwrap();
    let full = linear::scratch_len(&exec, 5, 6, 7);
    // Shapes and layouts of y, x, w, b.
    let check = |shapes: [[usize; 2]; 4], layouts: [Layout; 4], scratch: usize, want: ErrorKind| {
        for activation in activations::ALL {
            let [mut y, x, w, b] = ones(shapes, layouts);
            let before = y.bits();
            let mut scratch = vec![0.0; scratch];
            let b = Some(b.mat());
            let error = linear::forward(&exec, y.mat_mut(), x.mat(), w.mat(), b, activation, &mut scratch).unwrap_err();
            assert_eq!(*error.kind(), want);
            assert_eq!(y.bits(), before, "{error}, but y was written");
        }
    };
    let (y, x, w, b) = ([5, 7], [5, 6], [6, 7], [1, 7]);
    check([y, x, [7, 6], b], [DENSE; 4], full, shape(OP, "w", [6, 6], [7, 6]));
    check([[4, 7], x, w, b], [DENSE; 4], full, shape(OP, "y", [5, 7], [4, 7]));
    check([y, x, w, [1, 6]], [DENSE; 4], full, shape(OP, "b", [1, 7], [1, 6]));
    check([y, x, w, [7, 1]], [DENSE; 4], full, shape(OP, "b", [1, 7], [7, 1]));
    let adjacent = |arg, got| ErrorKind::Adjacent { op: OP, arg, got };
    check([y, x, w, b], [Layout::Transposed, DENSE, DENSE, DENSE], full, adjacent("y", 5));
    check([y, x, w, b], [Layout::Mirrored, DENSE, DENSE, DENSE], full, adjacent("y", -1));
    check([y, x, w, b], [DENSE, DENSE, DENSE, Layout::Spread], full, adjacent("b", 3));
    let need = scratch_len(&exec, 5, 6, 7);
    check([y, x, w, b], [DENSE; 4], need - 1, ErrorKind::Scratch { op: OP, want: need, got: need - 1 });
}

#[test]
fn bad_arguments_of_backward_input_write_nothing() {
    const OP: &str = "linear::backward_input";
    let exec = Exec::serial().unwrap();
    let full = linear::scratch_len(&exec, 5, 6, 7);
    // Shapes and layouts of dx, dy, w, x.
    let check = |shapes: [[usize; 2]; 4], layouts: [Layout; 4], scratch: usize, through, want: ErrorKind| {
        let [mut dx, dy, w, x] = ones(shapes, layouts);
        let before = dx.bits();
        let mut scratch = vec![0.0; scratch];
        let (dy, w, x) = (dy.mat(), w.mat(), x.mat());
        let error = linear::backward_input(&exec, dx.mat_mut(), dy, w, through, x, &mut scratch).unwrap_err();
        assert_eq!(*error.kind(), want);
        assert_eq!(dx.bits(), before, "{error}, but dx was written");
    };
    let (dx, dy, w, x) = ([5, 6], [5, 7], [6, 7], [5, 6]);
    let adjacent = |arg, got| ErrorKind::Adjacent { op: OP, arg, got };
    for through in activations::ALL {
        check([dx, dy, [7, 6], x], [DENSE; 4], full, through, shape(OP, "w", [6, 6], [7, 6]));
        check([dx, [7, 5], w, x], [DENSE; 4], full, through, shape(OP, "dy", [5, 7], [7, 5]));
        check([[6, 5], dy, w, x], [DENSE; 4], full, through, shape(OP, "dx", [5, 6], [6, 5]));
        check([dx, dy, w, x], [Layout::Spread, DENSE, DENSE, DENSE], full, through, adjacent("dx", 3));
        let need = scratch_len(&exec, 5, 7, 6);
        check([dx, dy, w, x], [DENSE; 4], 0, through, ErrorKind::Scratch { op: OP, want: need, got: 0 });
    }
    let layouts = [DENSE, DENSE, DENSE, Layout::Transposed];
    check([dx, dy, w, x], layouts, full, Activation::Tanh, adjacent("saved", 5));
}

#[test]
fn bad_arguments_of_the_parameters_gradients_write_nothing() {
    let exec = Exec::serial().unwrap();
    let full = linear::scratch_len(&exec, 5, 6, 7);
    // Shapes and layouts of dw, db, dy, x; the functions differ in the names of the first two.
    let check = |shapes: [[usize; 2]; 4], layouts: [Layout; 4], scratch: usize, want: [ErrorKind; 2]| {
        for accum in [Accum::Replace, Accum::Add] {
            for (k, want) in want.iter().enumerate() {
                let [mut dw, mut db, dy, x] = ones(shapes, layouts);
                let before = [dw.bits(), db.bits()];
                let mut scratch = vec![0.0; scratch];
                let (dw_out, db_out, dy, x) = (dw.mat_mut(), Some(db.mat_mut()), dy.mat(), x.mat());
                let result = if k == 0 {
                    linear::backward_params(&exec, Grads { dw: dw_out, db: db_out }, accum, dy, x, &mut scratch)
                } else {
                    linear::backward_sgd(&exec, dw_out, db_out, LR, dy, x, &mut scratch)
                };
                let error = result.unwrap_err();
                assert_eq!(error.kind(), want);
                assert_eq!([dw.bits(), db.bits()], before, "{error}, but something was written");
            }
        }
    };
    let ops = ["linear::backward_params", "linear::backward_sgd"];
    let both = |args: [&'static str; 2], want: [usize; 2], got: [usize; 2]| {
        [shape(ops[0], args[0], want, got), shape(ops[1], args[1], want, got)]
    };
    let (dw, db, dy, x) = ([6, 7], [1, 7], [5, 7], [5, 6]);
    check([[7, 6], db, dy, x], [DENSE; 4], full, both(["dw", "w"], [6, 7], [7, 6]));
    check([dw, [1, 6], dy, x], [DENSE; 4], full, both(["db", "b"], [1, 7], [1, 6]));
    check([dw, [2, 7], dy, x], [DENSE; 4], full, both(["db", "b"], [1, 7], [2, 7]));
    check([dw, db, [4, 7], x], [DENSE; 4], full, both(["dy", "dy"], [5, 7], [4, 7]));
    let need = scratch_len(&exec, 6, 5, 7);
    let scratch = |op| ErrorKind::Scratch { op, want: need, got: need - 1 };
    check([dw, db, dy, x], [DENSE; 4], need - 1, ops.map(scratch));
    let adjacent = |args: [&'static str; 2], got| {
        [ErrorKind::Adjacent { op: ops[0], arg: args[0], got }, ErrorKind::Adjacent { op: ops[1], arg: args[1], got }]
    };
    check([dw, db, dy, x], [Layout::Spread, DENSE, DENSE, DENSE], full, adjacent(["dw", "w"], 3));
    check([dw, db, dy, x], [DENSE, Layout::Spread, DENSE, DENSE], full, adjacent(["db", "b"], 3));
    check([dw, db, dy, x], [DENSE, DENSE, Layout::Mirrored, DENSE], full, adjacent(["dy", "dy"], -1));
    // With one output the rows of `dw` take the place of its columns.
    let one = [[6, 1], [1, 1], [5, 1], x];
    let full = linear::scratch_len(&exec, 5, 6, 1);
    check(one, [Layout::Padded, DENSE, DENSE, DENSE], full, adjacent(["dw", "w"], 4));
}

#[test]
fn a_step_over_lengths_that_differ_is_an_error_and_changes_nothing() {
    let exec = Exec::serial().unwrap();
    let mut params = [1.0, 2.0, 3.0];
    let error = sgd::update(&exec, &mut params, &[1.0; 2], 0.5).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Length { op: "sgd::update", arg: "grads", want: 3, got: 2 });
    assert_eq!(params, [1.0, 2.0, 3.0]);
    sgd::update(&exec, &mut params, &[1.0, -2.0, 0.0], 0.5).unwrap();
    assert_eq!(params, [0.5, 3.0, 3.0]);
}

#[test]
fn steps_of_every_length_have_one_rounding_and_the_same_bits_on_every_tier_and_thread() {
    let mut random = Random::new(6);
    let pools = pools();
    for n in (0..=33).chain([63, 64, 65, 127, 129, 1000]) {
        let [params, grads] = [(); 2].map(|()| (0..n).map(|_| random.uneven()).collect::<Vec<f32>>());
        let want: Vec<f32> = params.iter().zip(&grads).map(|(&w, &dw)| (-LR).mul_add(dw, w)).collect();
        for isa in Isa::available().filter(|&isa| is_fused(isa)) {
            for exec in pools.iter().cloned().chain([serial(isa)]) {
                let exec = exec.with_isa(isa);
                let mut got = params.clone();
                exec.install(|| sgd::update(&exec, &mut got, &grads, LR)).unwrap();
                assert_same_bits(format_args!("{isa}, {n} parameters"), 1, &got, &want);
            }
        }
    }
}

#[test]
fn a_wrong_gradient_is_found() {
    let layer = Layer::draw([5, 6, 7], Activation::Tanh, &mut Random::new(7));
    let isa = Isa::best();
    let right = || run(&serial(isa), &layer, &mut Random::new(8), true);
    check(isa, &layer, &right());
    let spoil: [fn(&mut Results); 6] = [
        |r| r.y[3] += 1e-5,
        |r| r.dx[29] *= 1.0001,
        |r| r.params[0][0][41] -= 1e-4,
        |r| r.params[1][1][6] += 1e-4,
        |r| r.steps[0][0][0] *= 1.000_001,
        |r| r.steps[1][0][0] = f32::from_bits(r.steps[1][0][0].to_bits() + 1),
    ];
    for (k, spoil) in spoil.into_iter().enumerate() {
        let mut wrong = right();
        spoil(&mut wrong);
        let is_found = std::panic::catch_unwind(|| check(isa, &layer, &wrong)).is_err();
        assert!(is_found, "wrong answer {k} was accepted");
    }
}
