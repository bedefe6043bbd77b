//! Norms and dropout.

use crate::run::{Case, Run};
use handgrad::kernels::Result;
use handgrad::kernels::gemm::Accum;
use handgrad::kernels::op::{batch_norm, batch_norm_nd, dropout, gelu, layer_norm, rms_norm};
use handgrad::{Activation, Variance};

const X: [f32; 2] = [-3.0, 3.0];
/// Gains and variances.
const GAIN: [f32; 2] = [0.5, 2.0];
const ROWS: usize = 33;
const COLS: usize = 129;
const GELU: Activation = Activation::Gelu { form: gelu::Form::Erf };

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::by_rows("layer_norm/rows", ROWS, layer_rows),
        Case::new("layer_norm/params", layer_params),
        Case::new("layer_norm/view", layer_view),
        Case::by_rows("rms_norm/rows", ROWS, rms_rows),
        Case::new("rms_norm/params", rms_params),
        Case::new("rms_norm/view", rms_view),
        Case::new("batch_norm_nd/", batch_view),
        Case::new("dropout/", |r| {
            let (x, dy) = (r.mat(ROWS, COLS, X), r.mat(ROWS, COLS, X));
            let (mut y, mut dx) = (r.mat_output(ROWS, COLS), r.mat_output(ROWS, COLS));
            let (config, key) = (dropout::Config { p: 0.3 }, dropout::Key::new(7, 11, 2));
            dropout::forward(r.exec, y.mat_mut(), x.mat(), config, key)?;
            dropout::backward(r.exec, dx.mat_mut(), dy.mat(), config, key)?;
            r.keep(&y);
            r.keep(&dx);
            Ok(())
        }),
    ];
    // More rows than a block of a column's sum.
    for (rows, cols) in [(32, 200), (300, 37)] {
        for (name, activation) in [("identity", Activation::Identity), ("tanh", Activation::Tanh), ("gelu", GELU)] {
            let name = format!("batch_norm/{rows}x{cols} {name}");
            cases.push(Case::new(&name, move |r| batch(r, [rows, cols], activation)));
        }
    }
    cases
}

fn layer_rows(r: &mut Run<'_>) -> Result<()> {
    let (x, dy) = (r.mat_rows(ROWS, COLS, X), r.mat_rows(ROWS, COLS, X));
    let (gain, bias) = (r.mat(1, COLS, GAIN), r.mat(1, COLS, X));
    let rows = x.shape[0];
    let [mut y, mut z, mut dx] = [0; 3].map(|_| r.mat_output(rows, COLS));
    let [mut mean, mut inv_std] = [0; 2].map(|_| r.mat_output(rows, 1));
    let params = layer_norm::Params { weight: Some(gain.mat()), bias: Some(bias.mat()) };
    let config = layer_norm::Config::default();
    let statistics = layer_norm::Statistics { mean: mean.mat_mut(), inv_std: inv_std.mat_mut() };
    layer_norm::forward_rows(r.exec, y.mat_mut(), statistics, x.mat(), params, config, Activation::Tanh)?;
    r.keep_all([&y, &mean, &inv_std]);
    let statistics = layer_norm::Statistics { mean: mean.mat_mut(), inv_std: inv_std.mat_mut() };
    layer_norm::forward_rows_saving(r.exec, y.mat_mut(), z.mat_mut(), statistics, x.mat(), params, config, GELU)?;
    let saved = layer_norm::Saved { mean: mean.mat(), inv_std: inv_std.mat() };
    let grads = layer_norm::Grads { dx: dx.mat_mut(), dweight: None, dbias: None };
    let mut scratch = vec![f32::NAN; layer_norm::backward_rows_scratch(rows, COLS)];
    let replace = Accum::Replace;
    layer_norm::backward_rows(r.exec, grads, replace, dy.mat(), x.mat(), saved, params.weight, &mut scratch)?;
    r.keep_all([&y, &z, &dx]);
    Ok(())
}

fn layer_params(r: &mut Run<'_>) -> Result<()> {
    let (x, dy, gain) = (r.mat(300, COLS, X), r.mat(300, COLS, X), r.mat(1, COLS, GAIN));
    let (mean, inv_std) = (r.mat(300, 1, X), r.mat(300, 1, GAIN));
    let (mut dx, mut dgain, mut dbias) = (r.mat_output(300, COLS), r.mat_output(1, COLS), r.mat(1, COLS, X));
    let saved = layer_norm::Saved { mean: mean.mat(), inv_std: inv_std.mat() };
    let mut scratch = vec![f32::NAN; layer_norm::backward_rows_scratch(300, COLS)];
    dgain.mat_mut().fill(0.25);
    let grads = layer_norm::Grads { dx: dx.mat_mut(), dweight: Some(dgain.mat_mut()), dbias: Some(dbias.mat_mut()) };
    layer_norm::backward_rows(r.exec, grads, Accum::Add, dy.mat(), x.mat(), saved, Some(gain.mat()), &mut scratch)?;
    r.keep_all([&dx, &dgain, &dbias]);
    Ok(())
}

fn layer_view(r: &mut Run<'_>) -> Result<()> {
    let (shape, normal) = ([11, 3, 5, 13], [5, 13]);
    let (x, dy, weight, bias) = (r.input(&shape, X), r.input(&shape, X), r.input(&normal, GAIN), r.input(&normal, X));
    let [mut y, mut dx, mut dweight, mut dbias] = [&x, &x, &weight, &bias].map(|tensor| r.like(tensor));
    let [mut mean, mut inv_std] = [0; 2].map(|_| r.output(&[11, 3]));
    let params = layer_norm::Params { weight: Some(weight.view()), bias: Some(bias.view()) };
    let config = layer_norm::Config::default();
    let statistics = layer_norm::Statistics { mean: mean.view_mut(), inv_std: inv_std.view_mut() };
    layer_norm::forward(r.exec, y.view_mut(), statistics, x.view(), &normal, params, config)?;
    let saved = layer_norm::Saved { mean: mean.view(), inv_std: inv_std.view() };
    let (dw, db) = (Some(dweight.view_mut()), Some(dbias.view_mut()));
    let grads = layer_norm::Grads { dx: dx.view_mut(), dweight: dw, dbias: db };
    let mut scratch = vec![f32::NAN; layer_norm::backward_scratch(&shape, &normal)];
    let (replace, weight) = (Accum::Replace, params.weight);
    layer_norm::backward(r.exec, grads, replace, dy.view(), x.view(), saved, &normal, weight, &mut scratch)?;
    r.keep_all([&y, &mean, &inv_std, &dx, &dweight, &dbias]);
    Ok(())
}

fn rms_rows(r: &mut Run<'_>) -> Result<()> {
    let (x, dy, gain) = (r.mat_rows(ROWS, COLS, X), r.mat_rows(ROWS, COLS, X), r.mat(1, COLS, GAIN));
    let rows = x.shape[0];
    let [mut y, mut z, mut dx] = [0; 3].map(|_| r.mat_output(rows, COLS));
    let mut inv_rms = r.mat_output(rows, 1);
    let (gain, config) = (Some(gain.mat()), rms_norm::Config::default());
    rms_norm::forward_rows(r.exec, y.mat_mut(), inv_rms.mat_mut(), x.mat(), gain, config, Activation::Tanh)?;
    r.keep_all([&y, &inv_rms]);
    rms_norm::forward_rows_saving(r.exec, y.mat_mut(), z.mat_mut(), inv_rms.mat_mut(), x.mat(), gain, config, GELU)?;
    let grads = rms_norm::Grads { dx: dx.mat_mut(), dweight: None };
    let mut scratch = vec![f32::NAN; rms_norm::backward_rows_scratch(rows, COLS)];
    let replace = Accum::Replace;
    rms_norm::backward_rows(r.exec, grads, replace, dy.mat(), x.mat(), inv_rms.mat(), gain, &mut scratch)?;
    r.keep_all([&y, &z, &dx]);
    Ok(())
}

fn rms_params(r: &mut Run<'_>) -> Result<()> {
    let (x, dy, gain, inv_rms) = (r.mat(300, COLS, X), r.mat(300, COLS, X), r.mat(1, COLS, GAIN), r.mat(300, 1, GAIN));
    let (mut dx, mut dgain) = (r.mat_output(300, COLS), r.mat_output(1, COLS));
    let grads = rms_norm::Grads { dx: dx.mat_mut(), dweight: Some(dgain.mat_mut()) };
    let mut scratch = vec![f32::NAN; rms_norm::backward_rows_scratch(300, COLS)];
    let (replace, gain) = (Accum::Replace, Some(gain.mat()));
    rms_norm::backward_rows(r.exec, grads, replace, dy.mat(), x.mat(), inv_rms.mat(), gain, &mut scratch)?;
    r.keep_all([&dx, &dgain]);
    Ok(())
}

fn rms_view(r: &mut Run<'_>) -> Result<()> {
    let (shape, normal) = ([11, 3, 5, 13], [5, 13]);
    let (x, dy, weight) = (r.input(&shape, X), r.input(&shape, X), r.input(&normal, GAIN));
    let [mut y, mut dx, mut dweight] = [&x, &x, &weight].map(|tensor| r.like(tensor));
    let mut inv_rms = r.output(&[11, 3]);
    let (weight, config) = (Some(weight.view()), rms_norm::Config::default());
    rms_norm::forward(r.exec, y.view_mut(), inv_rms.view_mut(), x.view(), &normal, weight, config)?;
    let grads = rms_norm::Grads { dx: dx.view_mut(), dweight: Some(dweight.view_mut()) };
    let mut scratch = vec![f32::NAN; rms_norm::backward_scratch(&shape, &normal)];
    let (replace, inv) = (Accum::Replace, inv_rms.view());
    rms_norm::backward(r.exec, grads, replace, dy.view(), x.view(), inv, &normal, weight, &mut scratch)?;
    r.keep_all([&y, &inv_rms, &dx, &dweight]);
    Ok(())
}

fn batch(r: &mut Run<'_>, [rows, cols]: [usize; 2], activation: Activation) -> Result<()> {
    let (x, dy, gamma, beta) = (r.mat(rows, cols, X), r.mat(rows, cols, X), r.mat(1, cols, GAIN), r.mat(1, cols, X));
    let [mut y, mut dx, mut later] = [0; 3].map(|_| r.mat_output(rows, cols));
    let [mut mean, mut var, mut inv_std, mut dgamma, mut dbeta] = [0; 5].map(|_| r.mat_output(1, cols));
    let (mut running_mean, mut running_var) = (r.mat(1, cols, X), r.mat(1, cols, GAIN));
    let config = batch_norm::Config { eps: 1e-5, variance: Variance::Unbiased };
    let mut statistics =
        batch_norm::Statistics { mean: mean.mat_mut(), var: var.mat_mut(), inv_std: inv_std.mat_mut() };
    let (gain, bias) = (gamma.mat(), beta.mat());
    batch_norm::forward(r.exec, y.mat_mut(), statistics.reborrow(), x.mat(), gain, bias, config, activation)?;
    let saved = statistics.as_saved();
    let (to_mean, to_var) = (running_mean.mat_mut(), running_var.mat_mut());
    batch_norm::update_running(r.exec, to_mean, to_var, saved, rows, config, 0.1)?;
    let grads = batch_norm::Grads { dx: dx.mat_mut(), dgamma: dgamma.mat_mut(), dbeta: dbeta.mat_mut() };
    let mut scratch = vec![f32::NAN; batch_norm::backward_scratch(cols)];
    let replace = Accum::Replace;
    batch_norm::backward(r.exec, grads, replace, dy.mat(), x.mat(), saved, gain, config, &mut scratch)?;
    batch_norm::set_statistics(r.exec, &mut statistics, running_mean.mat(), running_var.mat(), config.eps)?;
    batch_norm::forward_with(r.exec, later.mat_mut(), statistics.as_saved(), x.mat(), gain, bias, activation)?;
    r.keep_all([&y, &running_mean, &running_var, &dx, &dgamma, &dbeta, &mean, &var, &inv_std, &later]);
    Ok(())
}

fn batch_view(r: &mut Run<'_>) -> Result<()> {
    let (shape, channels) = ([19, 7, 3, 11], [7]);
    let (x, dy) = (r.input(&shape, X), r.input(&shape, X));
    let (weight, bias) = (r.input(&channels, GAIN), r.input(&channels, X));
    let (mut running_mean, mut running_var) = (r.input(&channels, X), r.input(&channels, GAIN));
    let [mut y, mut dx, mut later, mut dlater] = [0; 4].map(|_| r.output(&shape));
    let [mut mean, mut inv_std, mut dweight, mut dbias] = [0; 4].map(|_| r.output(&channels));
    let params = batch_norm_nd::Params { weight: Some(weight.view()), bias: Some(bias.view()) };
    let config = batch_norm_nd::Config::default();
    let statistics = batch_norm_nd::Statistics { mean: mean.view_mut(), inv_std: inv_std.view_mut() };
    let (to_mean, to_var) = (running_mean.view_mut(), running_var.view_mut());
    let running = batch_norm_nd::Running { mean: to_mean, var: to_var, momentum: 0.1 };
    batch_norm_nd::forward(r.exec, y.view_mut(), statistics, Some(running), x.view(), params, config)?;
    let saved = batch_norm_nd::Saved { mean: mean.view(), inv_std: inv_std.view() };
    let (dw, db) = (Some(dweight.view_mut()), Some(dbias.view_mut()));
    let grads = batch_norm_nd::Grads { dx: dx.view_mut(), dweight: dw, dbias: db };
    batch_norm_nd::backward(r.exec, grads, Accum::Replace, dy.view(), x.view(), saved, params.weight, config)?;
    r.keep_all([&y, &running_mean, &running_var, &dx, &dweight, &dbias]);
    let (mean_view, var_view, eps) = (running_mean.view(), running_var.view(), config.eps);
    batch_norm_nd::forward_with(r.exec, later.view_mut(), x.view(), mean_view, var_view, params, eps)?;
    let grads = batch_norm_nd::Grads { dx: dlater.view_mut(), dweight: None, dbias: None };
    let (replace, weight) = (Accum::Replace, params.weight);
    batch_norm_nd::backward_with(r.exec, grads, replace, dy.view(), x.view(), mean_view, var_view, weight, eps)?;
    r.keep_all([&mean, &inv_std, &later, &dlater]);
    Ok(())
}
