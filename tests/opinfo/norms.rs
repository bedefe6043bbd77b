//! The norms.

use crate::case::{Call, Case, Ran, made};
use crate::rows::Row;
use handgrad::kernels::gemm::Accum;
use handgrad::kernels::op::layer_norm::{Grads, Params, Saved, Statistics};
use handgrad::kernels::op::{batch_norm_nd, layer_norm, rms_norm};
use handgrad::kernels::view::{View, ViewMut};

pub(crate) const ROWS: &[(&str, Row)] =
    &[("nn.functional.batch_norm", batch), ("nn.functional.layer_norm", layer), ("nn.functional.rms_norm", rms)];

/// A tensor that may be missing.
fn optional<'a>(case: &'a Case, place: usize, name: &str) -> Option<View<'a>> {
    case.tensor(place, name).map(|(_, tensor)| tensor.view())
}

/// The gradients of the input, the weight and the bias, where PyTorch has them.
fn grads(ran: &mut Ran, case: &Case, dx: &[f32], params: [(usize, &str, &[f32]); 2]) {
    for (place, name, grad) in [(0, "input", dx)].into_iter().chain(params) {
        if let Some((number, _)) = case.tensor(place, name) {
            ran.grad(number, grad);
        }
    }
}

/// The normalised shape of a case, and the shape of the axes before it.
fn split(case: &Case) -> (Vec<usize>, Vec<usize>) {
    let sizes = case.integers(1, "normalized_shape").expect("the shape is an argument");
    let normalized: Vec<usize> = sizes.into_iter().map(|size| size as usize).collect();
    let (_, x) = case.tensor(0, "input").expect("the input is a tensor");
    (normalized.clone(), x.shape[..x.shape.len() - normalized.len()].to_vec())
}

fn layer(call: &Call<'_>) -> Ran {
    let (case, exec) = (call.case, call.exec);
    let (_, x) = case.tensor(0, "input").expect("the input is a tensor");
    let (normalized, outer) = split(case);
    let params = Params { weight: optional(case, 2, "weight"), bias: optional(case, 3, "bias") };
    let config = layer_norm::Config { eps: case.number(4, "eps", 1e-5) as f32 };
    let rows = outer.iter().product();
    let (mut mean, mut inv_std) = (vec![f32::NAN; rows], vec![f32::NAN; rows]);
    let mut ran = Ran::default();
    ran.output(&made(&x.shape, |y| {
        let (mean, inv_std) = (ViewMut::new(&mut mean, &outer)?, ViewMut::new(&mut inv_std, &outer)?);
        layer_norm::forward(exec, y, Statistics { mean, inv_std }, x.view(), &normalized, params, config)
    }));
    if let Some(dy) = case.cotangent(0) {
        let len = normalized.iter().product();
        let (mut dweight, mut dbias) = (vec![f32::NAN; len], vec![f32::NAN; len]);
        let mut scratch = vec![f32::NAN; layer_norm::backward_scratch(&x.shape, &normalized)];
        let dx = made(&x.shape, |dx| {
            let saved = Saved { mean: View::new(&mean, &outer)?, inv_std: View::new(&inv_std, &outer)? };
            let dweight = Some(ViewMut::new(&mut dweight, &normalized)?);
            let grads = Grads { dx, dweight, dbias: Some(ViewMut::new(&mut dbias, &normalized)?) };
            let accum = Accum::Replace;
            layer_norm::backward(exec, grads, accum, dy, x.view(), saved, &normalized, params.weight, &mut scratch)
        });
        grads(&mut ran, case, &dx, [(2, "weight", &dweight), (3, "bias", &dbias)]);
    }
    ran
}

fn rms(call: &Call<'_>) -> Ran {
    let (case, exec) = (call.case, call.exec);
    let (_, x) = case.tensor(0, "input").expect("the input is a tensor");
    let (normalized, outer) = split(case);
    let weight = optional(case, 2, "weight");
    let config = rms_norm::Config { eps: case.number(3, "eps", f32::EPSILON.into()) as f32 };
    let mut inv_rms = vec![f32::NAN; outer.iter().product()];
    let mut ran = Ran::default();
    ran.output(&made(&x.shape, |y| {
        rms_norm::forward(exec, y, ViewMut::new(&mut inv_rms, &outer)?, x.view(), &normalized, weight, config)
    }));
    if let Some(dy) = case.cotangent(0) {
        let mut dweight = vec![f32::NAN; normalized.iter().product()];
        let mut scratch = vec![f32::NAN; rms_norm::backward_scratch(&x.shape, &normalized)];
        let dx = made(&x.shape, |dx| {
            let grads = rms_norm::Grads { dx, dweight: Some(ViewMut::new(&mut dweight, &normalized)?) };
            let inv_rms = View::new(&inv_rms, &outer)?;
            rms_norm::backward(exec, grads, Accum::Replace, dy, x.view(), inv_rms, &normalized, weight, &mut scratch)
        });
        grads(&mut ran, case, &dx, [(2, "weight", &dweight), (3, "bias", &[])]);
    }
    ran
}

fn batch(call: &Call<'_>) -> Ran {
    let (case, exec) = (call.case, call.exec);
    let (_, x) = case.tensor(0, "input").expect("the input is a tensor");
    let channels = x.shape.get(1).copied().unwrap_or(0);
    let given = [optional(case, 1, "running_mean"), optional(case, 2, "running_var")];
    let params = Params { weight: optional(case, 3, "weight"), bias: optional(case, 4, "bias") };
    let training = case.number(5, "training", 0.0) != 0.0;
    let eps = case.number(7, "eps", 1e-5) as f32;
    let config = batch_norm_nd::Config { eps, ..batch_norm_nd::Config::default() };
    let (mut mean, mut inv_std) = (vec![f32::NAN; channels], vec![f32::NAN; channels]);
    // The kernel joins the batch to copies: PyTorch's are inputs of the case.
    let mut copies = given.map(|given| given.map(|given| given.to_vec()));
    let mut ran = Ran::default();
    ran.output(&made(&x.shape, |y| {
        let [running_mean, running_var] = &mut copies;
        match (training, running_mean, running_var) {
            (false, Some(mean), Some(var)) => {
                let (mean, var) = (View::new(mean, &[channels])?, View::new(var, &[channels])?);
                batch_norm_nd::forward_with(exec, y, x.view(), mean, var, params, eps)
            }
            (_, Some(running_mean), Some(running_var)) => {
                let (to_mean, to_inv_std) =
                    (ViewMut::new(&mut mean, &[channels])?, ViewMut::new(&mut inv_std, &[channels])?);
                let running = batch_norm_nd::Running {
                    mean: ViewMut::new(running_mean, &[channels])?,
                    var: ViewMut::new(running_var, &[channels])?,
                    momentum: case.number(6, "momentum", 0.1) as f32,
                };
                let statistics = Statistics { mean: to_mean, inv_std: to_inv_std };
                batch_norm_nd::forward(exec, y, statistics, Some(running), x.view(), params, config)
            }
            _ => {
                let (mean, inv_std) = (ViewMut::new(&mut mean, &[channels])?, ViewMut::new(&mut inv_std, &[channels])?);
                batch_norm_nd::forward(exec, y, Statistics { mean, inv_std }, None, x.view(), params, config)
            }
        }
    }));
    if let Some(dy) = case.cotangent(0) {
        let (mut dweight, mut dbias) = (vec![f32::NAN; channels], vec![f32::NAN; channels]);
        let dx = made(&x.shape, |dx| {
            let dweight = Some(ViewMut::new(&mut dweight, &[channels])?);
            let grads = Grads { dx, dweight, dbias: Some(ViewMut::new(&mut dbias, &[channels])?) };
            let (accum, weight) = (Accum::Replace, params.weight);
            if let (false, [Some(mean), Some(var)]) = (training, given) {
                return batch_norm_nd::backward_with(exec, grads, accum, dy, x.view(), mean, var, weight, eps);
            }
            let saved = Saved { mean: View::new(&mean, &[channels])?, inv_std: View::new(&inv_std, &[channels])? };
            batch_norm_nd::backward(exec, grads, accum, dy, x.view(), saved, weight, config)
        });
        grads(&mut ran, case, &dx, [(3, "weight", &dweight), (4, "bias", &dbias)]);
    }
    ran
}
