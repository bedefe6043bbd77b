//! One stage of a network: its kernel call forward, and its kernel calls backward.

use crate::error::Result;
use crate::model::BatchNorm;
use crate::plan::{Kind, Plan};
use crate::tensors::{Buffer, Slot};
use crate::workspace::{Activations, Gradients, row_statistics, row_statistics_mut, rows, rows_mut};
use crate::workspace::{statistics, statistics_mut};
use handgrad_kernels::Exec;
use handgrad_kernels::gemm::Accum;
use handgrad_kernels::op::activation::{self, Activation};
use handgrad_kernels::op::dropout::{self, Key};
use handgrad_kernels::op::{add, batch_norm, layer_norm, linear, rms_norm};
use handgrad_kernels::optim::sgd;
use handgrad_kernels::view::{Mat, MatMut};
use std::ops::Range;

/// What the forward pass is for.
pub(crate) enum Mode<'a> {
    /// Batches are normalised by their own statistics, which then join the running ones; dropout drops.
    Training { running: &'a mut Buffer, seed: u64, pass: u64 },
    /// Batches are normalised by the running statistics.
    Inference { running: &'a Buffer },
}

/// What becomes of the parameters' gradients.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Destination {
    /// They are written down, or added to what stands there.
    Grads(Accum),
    /// They go straight into the parameters, with this learning rate.
    Params(f32),
}

/// Stage `i`: its value from the value before it.
pub(crate) fn forward(
    plan: &Plan,
    exec: &Exec,
    i: usize,
    batch: usize,
    params: &[f32],
    mode: &mut Mode<'_>,
    activations: &mut Activations,
    scratch: &mut [f32],
) -> Result<()> {
    let stage = &plan.stages[i];
    if !stage.writes() {
        return Ok(());
    }
    let Activations { values, before, statistics } = activations;
    let (made, rest) = values.split_at_mut(stage.y);
    let x = rows(&made[stage.x], batch, stage.inputs)?;
    let y = rows_mut(&mut rest[0], batch, stage.outputs)?;
    // What the activation is given is kept where that has a buffer: in training, if its gradient needs it.
    let keeps = stage.keeps_before() && !before[i].is_empty();
    let mut z = if keeps { Some(rows_mut(&mut before[i], batch, stage.outputs)?) } else { None };
    let activation = stage.activation;
    match stage.kind {
        Kind::Linear { weight, bias, .. } => {
            let (w, b) = (weight.mat(params)?, bias.map(|bias| bias.mat(params)).transpose()?);
            match z {
                Some(z) => linear::forward_saving(exec, y, z, x, w, b, activation, scratch)?,
                None => linear::forward(exec, y, x, w, b, activation, scratch)?,
            }
        }
        Kind::BatchNorm { weight, bias, mean, var, config } => {
            let (gamma, beta) = (weight.mat(params)?, bias.mat(params)?);
            let mut statistics = statistics_mut(&mut statistics[i], stage.outputs);
            let (to, applied) = match &mut z {
                Some(z) => (z.reborrow(), Activation::Identity),
                None => (y, activation),
            };
            match mode {
                Mode::Training { running, .. } => {
                    let kernel = norm_config(config);
                    batch_norm::forward(exec, to, statistics.reborrow(), x, gamma, beta, kernel, applied)?;
                    if config.momentum > 0.0 {
                        let [mean, var] = two_slots(running, mean, var)?;
                        let of_batch = statistics.as_saved();
                        batch_norm::update_running(exec, mean, var, of_batch, batch, kernel, config.momentum)?;
                    }
                }
                Mode::Inference { running } => {
                    let (mean, var) = (mean.mat(running)?, var.mat(running)?);
                    batch_norm::set_statistics(exec, &mut statistics, mean, var, config.eps)?;
                    batch_norm::forward_with(exec, to, statistics.as_saved(), x, gamma, beta, applied)?;
                }
            }
            if let Some(z) = z {
                let y = rows_mut(&mut rest[0], batch, stage.outputs)?;
                activation::forward(exec, y, z.as_mat(), activation)?;
            }
        }
        Kind::LayerNorm { weight, bias, eps } => {
            let [mean, inv_std] = row_statistics_mut(&mut statistics[i], batch);
            let (statistics, config) = (layer_norm::Statistics { mean, inv_std }, layer_norm::Config { eps });
            let param = |slot: Option<Slot>| slot.map(|slot| slot.mat(params)).transpose();
            let params = layer_norm::Params { weight: param(weight)?, bias: param(bias)? };
            match z {
                Some(z) => layer_norm::forward_rows_saving(exec, y, z, statistics, x, params, config, activation)?,
                None => layer_norm::forward_rows(exec, y, statistics, x, params, config, activation)?,
            }
        }
        Kind::RmsNorm { weight, eps } => {
            let [_, inv_rms] = row_statistics_mut(&mut statistics[i], batch);
            let (gamma, config) = (weight.map(|slot| slot.mat(params)).transpose()?, rms_norm::Config { eps });
            match z {
                Some(z) => rms_norm::forward_rows_saving(exec, y, z, inv_rms, x, gamma, config, activation)?,
                None => rms_norm::forward_rows(exec, y, inv_rms, x, gamma, config, activation)?,
            }
        }
        Kind::Dropout { p, number } => match *mode {
            Mode::Training { seed, pass, .. } => {
                dropout::forward(exec, y, x, dropout::Config { p }, Key::new(seed, pass, number))?;
            }
            Mode::Inference { .. } => activation::forward(exec, y, x, Activation::Identity)?,
        },
        Kind::Activation => activation::forward(exec, y, x, activation)?,
        Kind::Join { from, .. } => add::forward(exec, y, x, rows(&made[from], batch, stage.outputs)?, 1.0)?,
        Kind::Fork { .. } => unreachable!("a fork writes nothing"),
    }
    Ok(())
}

/// What the backward pass of a stage reads besides the gradient that it is given.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) exec: &'a Exec,
    pub(crate) activations: &'a Activations,
    pub(crate) batch: usize,
    /// Whether the gradient of the first value is wanted.
    pub(crate) input_wanted: bool,
    pub(crate) destination: Destination,
    /// The seed and the number of the pass, as in [`Mode::Training`].
    pub(crate) seed: u64,
    pub(crate) pass: u64,
}

/// Stage `i`: from the gradient of what its activation was given, in `flow[0]`, to the same of the stage before it, and to
/// the gradients of its parameters. It reads its weights before it changes them.
pub(crate) fn backward(
    context: Context<'_>,
    i: usize,
    params: &mut Buffer,
    grads: &mut Buffer,
    gradients: &mut Gradients,
    scratch: &mut [f32],
) -> Result<()> {
    let Context { plan, exec, activations, batch, destination, .. } = context;
    let Gradients { flow, skips, .. } = gradients;
    let stage = &plan.stages[i];
    let x = activations.value(plan, stage.x, batch)?;
    let (through, saved) = activations.through(plan, i, batch)?;
    let wanted = stage.x > 0 || context.input_wanted;
    let [dy, dx] = flow;
    match stage.kind {
        Kind::Linear { weight, bias, .. } => {
            let dy = rows(dy, batch, stage.outputs)?;
            if wanted {
                let dx = rows_mut(dx, batch, stage.inputs)?;
                linear::backward_input(exec, dx, dy, weight.mat(params)?, through, saved, scratch)?;
            }
            linear_params(exec, destination, [params, grads], weight, bias, dy, x, scratch)?;
            flow.swap(0, 1);
            return Ok(());
        }
        Kind::BatchNorm { weight, bias, config, .. } => {
            let (dy, dx) = (rows(dy, batch, stage.outputs)?, rows_mut(dx, batch, stage.inputs)?);
            let kept = statistics(&activations.statistics[i], stage.outputs);
            let [dgamma, dbeta] = two_slots(grads, weight, bias)?;
            let out = batch_norm::Grads { dx, dgamma, dbeta };
            let gamma = weight.mat(params)?;
            batch_norm::backward(exec, out, destination.accum(), dy, x, kept, gamma, norm_config(config), scratch)?;
            descend(exec, destination, params, grads, weight.offset..bias.range().end)?;
            flow.swap(0, 1);
        }
        Kind::LayerNorm { weight, bias, .. } => {
            let (dy, dx) = (rows(dy, batch, stage.outputs)?, rows_mut(dx, batch, stage.inputs)?);
            let [mean, inv_std] = row_statistics(&activations.statistics[i], batch);
            let kept = layer_norm::Saved { mean, inv_std };
            let gamma = weight.map(|slot| slot.mat(params)).transpose()?;
            let [dweight, dbias] = optional_slots(grads, weight, bias)?;
            let out = layer_norm::Grads { dx, dweight, dbias };
            layer_norm::backward_rows(exec, out, destination.accum(), dy, x, kept, gamma, scratch)?;
            for slot in [weight, bias].into_iter().flatten() {
                descend(exec, destination, params, grads, slot.range())?;
            }
            flow.swap(0, 1);
        }
        Kind::RmsNorm { weight, .. } => {
            let (dy, dx) = (rows(dy, batch, stage.outputs)?, rows_mut(dx, batch, stage.inputs)?);
            let [_, inv_rms] = row_statistics(&activations.statistics[i], batch);
            let gamma = weight.map(|slot| slot.mat(params)).transpose()?;
            let dweight = weight.map(|slot| slot.mat_mut(grads)).transpose()?;
            let out = rms_norm::Grads { dx, dweight };
            rms_norm::backward_rows(exec, out, destination.accum(), dy, x, inv_rms, gamma, scratch)?;
            if let Some(slot) = weight {
                descend(exec, destination, params, grads, slot.range())?;
            }
            flow.swap(0, 1);
        }
        Kind::Dropout { p, number } => {
            let (dy, dx) = (rows(dy, batch, stage.outputs)?, rows_mut(dx, batch, stage.inputs)?);
            let key = Key::new(context.seed, context.pass, number);
            dropout::backward(exec, dx, dy, dropout::Config { p }, key)?;
            flow.swap(0, 1);
        }
        Kind::Join { skip, .. } => {
            let (dy, kept) = (rows(dy, batch, stage.outputs)?, rows_mut(&mut skips[skip], batch, stage.outputs)?);
            activation::forward(exec, kept, dy, Activation::Identity)?;
        }
        Kind::Fork { skip } if wanted => {
            let around = rows(&skips[skip], batch, stage.outputs)?;
            let (dy, dx) = (rows(dy, batch, stage.outputs)?, rows_mut(dx, batch, stage.inputs)?);
            add::forward(exec, dx, dy, around, 1.0)?;
            flow.swap(0, 1);
        }
        Kind::Fork { .. } | Kind::Activation => {}
    }
    if wanted {
        let d = rows_mut(&mut flow[0], batch, stage.inputs)?;
        activation::backward_in_place(exec, d, saved, through)?;
    }
    Ok(())
}

impl Destination {
    /// What happens to gradients that stand.
    pub(crate) fn accum(self) -> Accum {
        match self {
            Destination::Grads(accum) => accum,
            Destination::Params(_) => Accum::Replace,
        }
    }
}

/// The gradients of a linear layer's parameters, or the descent along them.
fn linear_params(
    exec: &Exec,
    destination: Destination,
    [params, grads]: [&mut Buffer; 2],
    weight: Slot,
    bias: Option<Slot>,
    dy: Mat<'_>,
    x: Mat<'_>,
    scratch: &mut [f32],
) -> Result<()> {
    if let Destination::Params(lr) = destination
        && dy.rows() > linear::FUSED_BATCH
    {
        let end = bias.map_or(weight.range().end, |bias| bias.range().end);
        let kept = [&mut *params, &mut *grads];
        linear_params(exec, Destination::Grads(Accum::Replace), kept, weight, bias, dy, x, scratch)?;
        return descend(exec, Destination::Params(lr), params, grads, weight.offset..end);
    }
    let buffer = match destination {
        Destination::Grads(_) => grads,
        Destination::Params(_) => params,
    };
    let (w, b) = match bias {
        Some(bias) => {
            let [w, b] = two_slots(buffer, weight, bias)?;
            (w, Some(b))
        }
        None => (weight.mat_mut(buffer)?, None),
    };
    match destination {
        Destination::Grads(accum) => {
            linear::backward_params(exec, linear::Grads { dw: w, db: b }, accum, dy, x, scratch)?;
        }
        Destination::Params(lr) => linear::backward_sgd(exec, w, b, lr, dy, x, scratch)?,
    }
    Ok(())
}

/// Moves the parameters of a range against gradients that were written down, if that is where they are to go.
pub(crate) fn descend(
    exec: &Exec,
    destination: Destination,
    params: &mut [f32],
    grads: &[f32],
    range: Range<usize>,
) -> Result<()> {
    if let Destination::Params(lr) = destination {
        sgd::update(exec, &mut params[range.clone()], &grads[range], lr)?;
    }
    Ok(())
}

/// Two tensors of one buffer, the first before the second.
fn two_slots(buffer: &mut [f32], first: Slot, second: Slot) -> handgrad_kernels::Result<[MatMut<'_>; 2]> {
    let (head, tail) = buffer.split_at_mut(second.offset);
    let second = Slot { offset: 0, ..second };
    Ok([first.mat_mut(head)?, second.mat_mut(tail)?])
}

/// Those of two tensors of one buffer that there are, the first before the second.
fn optional_slots(
    buffer: &mut [f32],
    first: Option<Slot>,
    second: Option<Slot>,
) -> handgrad_kernels::Result<[Option<MatMut<'_>>; 2]> {
    Ok(match (first, second) {
        (Some(first), Some(second)) => two_slots(buffer, first, second)?.map(Some),
        (Some(first), None) => [Some(first.mat_mut(buffer)?), None],
        (None, Some(second)) => [None, Some(second.mat_mut(buffer)?)],
        (None, None) => [None, None],
    })
}

fn norm_config(config: BatchNorm) -> batch_norm::Config {
    batch_norm::Config { eps: config.eps, variance: config.variance }
}
