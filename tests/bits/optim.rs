//! Update rules, over three steps each.

use crate::run::{Case, Run};
use handgrad::kernels::Result;
use handgrad::kernels::optim::{self, Step, adam, rmsprop, sgd};

const LEN: usize = 5_003;
const X: [f32; 2] = [-1.0, 1.0];

/// A case of an update rule that keeps `memory` slices beside the parameters.
fn rule(
    name: &str,
    memory: usize,
    update: impl Fn(&Run<'_>, &mut [f32], &mut [Vec<f32>], &[f32], Step) -> Result<()> + Send + Sync + 'static,
) -> Case {
    let run = move |r: &mut Run<'_>| {
        let mut params = r.values(LEN, X);
        let mut kept = vec![vec![0.0; LEN]; memory];
        for number in 1..=3 {
            let grads = r.values(LEN, X);
            update(r, &mut params, &mut kept, &grads, Step { lr: 0.01, scale: 0.75, number })?;
        }
        r.keep_slice(&params);
        for kept in &kept {
            r.keep_slice(kept);
        }
        Ok(())
    };
    Case { has_layouts: false, ..Case::new(name, run) }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        rule("sgd/plain", 0, |r, params, _, grads, step| sgd::update(r.exec, params, grads, step.lr)),
        rule("sgd/decay", 0, |r, params, _, grads, step| sgd::decay_update(r.exec, params, grads, step, 0.01)),
        rule("norm/", 0, |r, params, _, grads, _| {
            let norm = optim::global_norm(r.exec, grads);
            params[..2].copy_from_slice(&[norm, optim::clip_scale(norm, 1.0)]);
            Ok(())
        }),
    ];
    for (name, nesterov, dampening) in [("momentum", false, 0.1), ("nesterov", true, 0.0)] {
        let config = sgd::Config { momentum: 0.9, dampening, nesterov, weight_decay: 0.01 };
        cases.push(rule(&format!("sgd/{name}"), 1, move |r, params, kept, grads, step| {
            sgd::momentum_update(r.exec, params, &mut kept[0], grads, step, config)
        }));
    }
    for (name, decay) in [("coupled", adam::Decay::Coupled), ("decoupled", adam::Decay::Decoupled)] {
        let config = adam::Config { weight_decay: 0.01, decay, ..adam::Config::default() };
        cases.push(rule(&format!("adam/{name}"), 2, move |r, params, kept, grads, step| {
            let [m, v] = kept else { unreachable!("two slices are kept") };
            adam::update(r.exec, params, m, v, grads, step, config)
        }));
    }
    for (name, momentum, centered) in [("plain", 0.0, false), ("momentum", 0.9, false), ("centered", 0.9, true)] {
        let config = rmsprop::Config { momentum, centered, weight_decay: 0.01, ..rmsprop::Config::default() };
        cases.push(rule(&format!("rmsprop/{name}"), 3, move |r, params, kept, grads, step| {
            let [square_avg, grad_avg, buffer] = kept else { unreachable!("three slices are kept") };
            let state = rmsprop::State {
                square_avg,
                grad_avg: centered.then_some(grad_avg),
                momentum_buffer: (momentum > 0.0).then_some(buffer),
            };
            rmsprop::update(r.exec, params, state, grads, step, config)
        }));
    }
    cases
}
