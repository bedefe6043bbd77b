//! Every rule with every kind of settings: what runs it, its reference, and the error that its roundings can make.

use super::bound::Bound;
use handgrad_kernels::optim::adam::Decay;
use handgrad_kernels::optim::rmsprop::State;
use handgrad_kernels::optim::{Step, adam, rmsprop, sgd};
use handgrad_kernels::{Exec, Result};

/// A rule. Its arrays are the parameters, then what it remembers.
pub(crate) struct Rule {
    pub(crate) name: String,
    /// The arrays, by name.
    pub(crate) arrays: &'static [&'static str],
    pub(crate) run: Box<Run>,
    /// The new numbers of one element.
    pub(crate) reference: Box<Of<f64>>,
    /// The same, by the kernel's operations.
    pub(crate) bound: Box<Of<Bound>>,
}

/// The new numbers of one element, from the old ones, its gradient and the step.
pub(crate) type Of<T> = dyn Fn(&[f64], f64, Step) -> Vec<T>;

/// A step over whole arrays.
pub(crate) type Run = dyn Fn(&Exec, &mut [Vec<f32>], &[f32], Step) -> Result<()> + Sync;

fn exact(x: f32) -> Bound {
    Bound::exact(x.into())
}

/// `1 - x`, rounded.
fn rest(x: f32) -> Bound {
    Bound::rounded(1.0 - f64::from(x))
}

/// `scale·grad + weight_decay·p`
fn gradient(grad: f64, p: Bound, step: Step, weight_decay: f32) -> Bound {
    exact(step.scale) * Bound::exact(grad) + exact(weight_decay) * p
}

fn average(old: Bound, x: Bound, beta: f32) -> Bound {
    old + rest(beta) * (x - old)
}

fn average_square(old: Bound, x: Bound, beta: f32) -> Bound {
    rest(beta) * x * x + exact(beta) * old
}

pub(crate) fn all() -> Vec<Rule> {
    let mut rules = Vec::new();
    rules.extend([0.0, 0.1].map(decay));
    let config = sgd::Config::default();
    rules.extend(
        [
            sgd::Config { momentum: 0.9, ..config },
            sgd::Config { momentum: 0.9, dampening: 0.4, weight_decay: 0.01, ..config },
            sgd::Config { momentum: 0.9, nesterov: true, ..config },
            sgd::Config { momentum: 0.7, nesterov: true, weight_decay: 1e-4, ..config },
            sgd::Config { dampening: 0.5, weight_decay: 0.3, ..config },
        ]
        .map(momentum),
    );
    let config = adam::Config::default();
    rules.extend(
        [
            config,
            adam::Config { weight_decay: 0.1, ..config },
            adam::Config { weight_decay: 0.01, decay: Decay::Decoupled, ..config },
            adam::Config { betas: [0.0, 0.5], eps: 1e-3, ..config },
            adam::Config { betas: [0.3, 0.0], weight_decay: 0.5, decay: Decay::Decoupled, ..config },
        ]
        .map(adam),
    );
    let config = rmsprop::Config::default();
    for (centered, momentum) in [(false, 0.0), (false, 0.9), (true, 0.0), (true, 0.9)] {
        rules.push(rmsprop(rmsprop::Config { centered, momentum, ..config }));
        rules.push(rmsprop(rmsprop::Config { centered, momentum, alpha: 0.4, eps: 1e-4, weight_decay: 0.1 }));
    }
    rules
}

fn decay(weight_decay: f32) -> Rule {
    let config = sgd::Config { weight_decay, ..sgd::Config::default() };
    Rule {
        name: format!("sgd::decay_update, {weight_decay}"),
        arrays: &["params"],
        run: Box::new(move |exec, arrays, grads, step| {
            let [params] = arrays else { panic!("one array") };
            sgd::decay_update(exec, params, grads, step, weight_decay)
        }),
        reference: Box::new(move |x, grad, step| sgd::reference([x[0], 0.0], grad, step, config)[..1].to_vec()),
        bound: Box::new(move |x, grad, step| {
            let p = Bound::exact(x[0]);
            vec![p - exact(step.lr) * gradient(grad, p, step, weight_decay)]
        }),
    }
}

fn momentum(config: sgd::Config) -> Rule {
    Rule {
        name: format!("sgd::momentum_update, {config:?}"),
        arrays: &["params", "momentum_buffer"],
        run: Box::new(move |exec, arrays, grads, step| {
            let [params, buffer] = arrays else { panic!("two arrays") };
            sgd::momentum_update(exec, params, buffer, grads, step, config)
        }),
        reference: Box::new(move |x, grad, step| sgd::reference([x[0], x[1]], grad, step, config).to_vec()),
        bound: Box::new(move |x, grad, step| {
            let [p, old] = [x[0], x[1]].map(Bound::exact);
            let g = gradient(grad, p, step, config.weight_decay);
            let kept = exact(config.momentum);
            if config.momentum == 0.0 {
                return vec![p - exact(step.lr) * g, old];
            }
            let buffer = if step.number == 1 { g } else { rest(config.dampening) * g + kept * old };
            let direction = if config.nesterov { kept * buffer + g } else { buffer };
            vec![p - exact(step.lr) * direction, buffer]
        }),
    }
}

fn adam(config: adam::Config) -> Rule {
    Rule {
        name: format!("adam::update, {config:?}"),
        arrays: &["params", "exp_avg", "exp_avg_sq"],
        run: Box::new(move |exec, arrays, grads, step| {
            let [params, m, v] = arrays else { panic!("three arrays") };
            adam::update(exec, params, m, v, grads, step, config)
        }),
        reference: Box::new(move |x, grad, step| adam::reference([x[0], x[1], x[2]], grad, step, config).to_vec()),
        bound: Box::new(move |x, grad, step| {
            let [p, m, v] = [x[0], x[1], x[2]].map(Bound::exact);
            let decay = |kind| if config.decay == kind { config.weight_decay } else { 0.0 };
            let g = gradient(grad, p, step, decay(Decay::Coupled));
            let (m, v) = (average(m, g, config.betas[0]), average_square(v, g, config.betas[1]));
            let [first, second] = config.betas.map(|beta| 1.0 - f64::from(beta).powf(step.number as f64));
            let lr = f64::from(step.lr);
            let quotient = m / (v.sqrt() * Bound::rounded(1.0 / second.sqrt()) + exact(config.eps));
            let left = Bound::rounded(1.0 - lr * f64::from(decay(Decay::Decoupled)));
            vec![left * p - Bound::rounded(lr / first) * quotient, m, v]
        }),
    }
}

fn rmsprop(config: rmsprop::Config) -> Rule {
    Rule {
        name: format!("rmsprop::update, {config:?}"),
        arrays: &["params", "square_avg", "grad_avg", "momentum_buffer"],
        run: Box::new(move |exec, arrays, grads, step| {
            let [params, square_avg, grad_avg, buffer] = arrays else { panic!("four arrays") };
            let state = State { square_avg, grad_avg: Some(grad_avg), momentum_buffer: Some(buffer) };
            rmsprop::update(exec, params, state, grads, step, config)
        }),
        reference: Box::new(move |x, grad, step| {
            rmsprop::reference([x[0], x[1], x[2], x[3]], grad, step, config).to_vec()
        }),
        bound: Box::new(move |x, grad, step| {
            let [p, v, mut m, mut b] = [x[0], x[1], x[2], x[3]].map(Bound::exact);
            let g = gradient(grad, p, step, config.weight_decay);
            let v = average_square(v, g, config.alpha);
            let mut variance = v;
            if config.centered {
                m = average(m, g, config.alpha);
                variance = v - m * m;
            }
            let mut way = g / (variance.sqrt() + exact(config.eps));
            if config.momentum != 0.0 {
                b = exact(config.momentum) * b + way;
                way = b;
            }
            vec![p - exact(step.lr) * way, v, m, b]
        }),
    }
}
