//! An activation that a kernel applies on its way gives the bits of the activation by itself, for every activation, tier
//! and number of threads, on both ways through a product that is small, one that is packed, and a norm.

mod common;

use common::block::{Block, Layout};
use common::compare::assert_same_bits;
use common::random::Random;
use common::tiers::on_every_tier;
use common::{pools, serial};
use handgrad_kernels::Exec;
use handgrad_kernels::op::activation::{self, Activation, Saves};
use handgrad_kernels::op::layer_norm::{self, Params, Statistics};
use handgrad_kernels::op::rms_norm;
use handgrad_kernels::op::{batch_norm, gelu, linear};

const ALL: [Activation; 11] = [
    Activation::Identity,
    Activation::Tanh,
    Activation::Sigmoid,
    Activation::Relu,
    Activation::LeakyRelu { slope: 0.01 },
    Activation::Elu { alpha: 1.5 },
    Activation::Gelu { form: gelu::Form::Erf },
    Activation::Gelu { form: gelu::Form::Tanh },
    Activation::Silu,
    Activation::Softplus { beta: 2.0, threshold: 20.0 },
    Activation::Hardtanh { low: -0.5, high: 0.75 },
];

/// Batch, inputs and outputs: tails, one output, one input, more than one block of rows, a chain too long to be direct.
const SHAPES: [[usize; 3]; 6] = [[5, 7, 9], [3, 4, 1], [1, 1, 17], [130, 3, 70], [70, 20, 1100], [3, 1030, 50]];

struct Operands {
    dims: [usize; 3],
    x: Block,
    w: Block,
    bias: Block,
    dy: Block,
}

impl Operands {
    fn draw(dims: [usize; 3], random: &mut Random) -> Self {
        let [batch, inputs, outputs] = dims;
        let mut block = |rows, cols| Block::filled(Layout::Padded, rows, cols, |_, _| random.uneven());
        Self {
            dims,
            x: block(batch, inputs),
            w: block(inputs, outputs),
            bias: block(1, outputs),
            dy: block(batch, outputs),
        }
    }

    fn scratch(&self, exec: &Exec) -> Vec<f32> {
        let [batch, inputs, outputs] = self.dims;
        vec![f32::NAN; linear::scratch_len(exec, batch, inputs, outputs)]
    }

    /// `y`, `z` and `dx` of a linear layer with the activation behind it, `dx` through the same activation before it, from
    /// `x` as what that saved.
    fn fused(&self, exec: &Exec, activation: Activation, with_bias: bool) -> [Vec<f32>; 4] {
        let [batch, inputs, outputs] = self.dims;
        let [mut in_place, mut y, mut z] = [(); 3].map(|()| Block::poisoned(Layout::Padded, batch, outputs));
        let (x, w, b) = (self.x.mat(), self.w.mat(), with_bias.then(|| self.bias.mat()));
        linear::forward(exec, in_place.mat_mut(), x, w, b, activation, &mut self.scratch(exec)).unwrap();
        let (to, kept) = (y.mat_mut(), z.mat_mut());
        linear::forward_saving(exec, to, kept, x, w, b, activation, &mut self.scratch(exec)).unwrap();
        let mut dx = Block::poisoned(Layout::Padded, batch, inputs);
        let scratch = &mut self.scratch(exec);
        linear::backward_input(exec, dx.mat_mut(), self.dy.mat(), w, activation, x, scratch).unwrap();
        for block in [&in_place, &y, &z, &dx] {
            block.assert_guards(format_args!("{activation:?}, {:?}", self.dims));
        }
        [in_place.to_vec(), y.to_vec(), z.to_vec(), dx.to_vec()]
    }

    /// The same by one kernel after the other.
    fn apart(&self, exec: &Exec, activation: Activation, with_bias: bool) -> [Vec<f32>; 4] {
        let [batch, inputs, outputs] = self.dims;
        let (x, w, b) = (self.x.mat(), self.w.mat(), with_bias.then(|| self.bias.mat()));
        let [mut z, mut y] = [(); 2].map(|()| Block::poisoned(Layout::Dense, batch, outputs));
        let identity = Activation::Identity;
        linear::forward(exec, z.mat_mut(), x, w, b, identity, &mut self.scratch(exec)).unwrap();
        activation::forward(exec, y.mat_mut(), z.mat(), activation).unwrap();
        let [mut plain, mut dx] = [(); 2].map(|()| Block::poisoned(Layout::Dense, batch, inputs));
        let scratch = &mut self.scratch(exec);
        linear::backward_input(exec, plain.mat_mut(), self.dy.mat(), w, identity, x, scratch).unwrap();
        activation::backward(exec, dx.mat_mut(), plain.mat(), x, activation).unwrap();
        [y.to_vec(), y.to_vec(), z.to_vec(), dx.to_vec()]
    }
}

#[test]
fn linear_layers() {
    on_every_tier("activations behind and before linear layers", |isa| {
        let exec = serial(isa);
        let mut random = Random::new(1);
        for dims in SHAPES {
            let operands = Operands::draw(dims, &mut random);
            for activation in ALL {
                for with_bias in [true, false] {
                    let want = operands.apart(&exec, activation, with_bias);
                    let got = operands.fused(&exec, activation, with_bias);
                    for ((name, got), want) in ["in place", "y", "z", "dx"].into_iter().zip(got).zip(want) {
                        assert_same_bits(format_args!("{isa}: {name}, {activation:?}, {dims:?}"), dims[2], &got, &want);
                    }
                }
            }
        }
    });
}

#[test]
fn threads_change_no_bit() {
    let mut random = Random::new(2);
    let exec = Exec::serial().unwrap();
    for dims in [[67, 20, 33], [9, 1030, 130]] {
        let operands = Operands::draw(dims, &mut random);
        for activation in ALL {
            let want = operands.fused(&exec, activation, true);
            for pool in pools() {
                let got = pool.install(|| operands.fused(&pool, activation, true));
                for (got, want) in got.into_iter().zip(&want) {
                    assert_same_bits(format_args!("{} threads, {activation:?}", pool.threads()), 1, &got, want);
                }
            }
        }
    }
}

#[test]
fn norms_of_rows() {
    on_every_tier("activations behind norms of rows", |isa| {
        let mut random = Random::new(3);
        let execs: Vec<Exec> =
            std::iter::once(serial(isa)).chain(pools().into_iter().map(|e| e.with_isa(isa))).collect();
        for (rows, cols) in [(3, 5), (40, 17), (9, 1500), (700, 6)] {
            let mut block = |rows| Block::filled(Layout::Padded, rows, cols, |_, _| random.uneven());
            let (x, weight, bias) = (block(rows), block(1), block(1));
            let params = || Params { weight: Some(weight.mat()), bias: Some(bias.mat()) };
            let norm = |exec: &Exec, activation, saving: bool, rms: bool| {
                let [mut y, mut z] = [(); 2].map(|()| Block::poisoned(Layout::Padded, rows, cols));
                let [mut mean, mut inv] = [(); 2].map(|()| Block::poisoned(Layout::Dense, rows, 1));
                let (x, to, kept) = (x.mat(), y.mat_mut(), z.mat_mut());
                if rms {
                    let (inv, gamma, config) = (inv.mat_mut(), Some(weight.mat()), rms_norm::Config::default());
                    if saving {
                        rms_norm::forward_rows_saving(exec, to, kept, inv, x, gamma, config, activation).unwrap();
                    } else {
                        rms_norm::forward_rows(exec, to, inv, x, gamma, config, activation).unwrap();
                    }
                } else {
                    let statistics = Statistics { mean: mean.mat_mut(), inv_std: inv.mat_mut() };
                    let config = layer_norm::Config::default();
                    if saving {
                        let out = (to, kept);
                        layer_norm::forward_rows_saving(
                            exec,
                            out.0,
                            out.1,
                            statistics,
                            x,
                            params(),
                            config,
                            activation,
                        )
                        .unwrap();
                    } else {
                        layer_norm::forward_rows(exec, to, statistics, x, params(), config, activation).unwrap();
                    }
                }
                [y.to_vec(), if saving { z.to_vec() } else { Vec::new() }]
            };
            for (activation, rms) in ALL.into_iter().flat_map(|activation| [(activation, true), (activation, false)]) {
                let [z, _] = norm(&execs[0], Activation::Identity, false, rms);
                let mut y = Block::poisoned(Layout::Dense, rows, cols);
                let plain = Block::from_slice(Layout::Dense, rows, cols, &z);
                activation::forward(&execs[0], y.mat_mut(), plain.mat(), activation).unwrap();
                for exec in &execs {
                    let what = format!("{isa}, {} threads, {rows}x{cols}, {activation:?}", exec.threads());
                    let [saved, kept] = exec.install(|| norm(exec, activation, true, rms));
                    let [in_place, _] = exec.install(|| norm(exec, activation, false, rms));
                    assert_same_bits(&what, cols, &saved, &y.to_vec());
                    assert_same_bits(&what, cols, &in_place, &y.to_vec());
                    assert_same_bits(&what, cols, &kept, &z);
                }
            }
        }
    });
}

#[test]
fn batch_norm_and_passes_in_place() {
    on_every_tier("activations behind batch norm, and in place", |isa| {
        let exec = serial(isa);
        let mut random = Random::new(4);
        let (rows, cols) = (19, 37);
        let mut block = |rows| Block::filled(Layout::Padded, rows, cols, |_, _| random.uneven());
        let (x, d, gamma, beta) = (block(rows), block(rows), block(1), block(1));
        let norm = |activation| {
            let mut y = Block::poisoned(Layout::Padded, rows, cols);
            let [mut mean, mut var, mut inv_std] = [(); 3].map(|()| Block::poisoned(Layout::Dense, 1, cols));
            let statistics =
                batch_norm::Statistics { mean: mean.mat_mut(), var: var.mat_mut(), inv_std: inv_std.mat_mut() };
            let config = batch_norm::Config::default();
            let params = (gamma.mat(), beta.mat());
            batch_norm::forward(&exec, y.mat_mut(), statistics, x.mat(), params.0, params.1, config, activation)
                .unwrap();
            y
        };
        let z = norm(Activation::Identity);
        for activation in ALL {
            let mut y = Block::poisoned(Layout::Dense, rows, cols);
            activation::forward(&exec, y.mat_mut(), z.mat(), activation).unwrap();
            let what = format!("{isa}, {activation:?}");
            assert_same_bits(&what, cols, &norm(activation).to_vec(), &y.to_vec());
            let saved = if activation.saves() == Saves::Output { &y } else { &z };
            let mut want = Block::poisoned(Layout::Dense, rows, cols);
            activation::backward(&exec, want.mat_mut(), d.mat(), saved.mat(), activation).unwrap();
            let mut got = Block::from_slice(Layout::Padded, rows, cols, &d.to_vec());
            activation::backward_in_place(&exec, got.mat_mut(), saved.mat(), activation).unwrap();
            assert_same_bits(&what, cols, &got.to_vec(), &want.to_vec());
        }
    });
}
