//! The configuration of a golden network, as JSON has it, turned into ours.

use handgrad::kernels::op::gelu::Form;
use handgrad::{
    Activation, Adam, BatchNorm, Decay, Group, Input, Layer, LayerNorm, Linear, Optimizer, RmsNorm, RmsProp,
};
use handgrad::{BceWithLogits, CrossEntropy, Loss, Mlp, Options, Schedule, Sgd};
use serde_json::{Map, Value};

/// What is not known here, in words.
pub(crate) type Unsupported = String;

/// A network and how it is trained.
pub(crate) struct Config {
    pub(crate) mlp: Mlp,
    pub(crate) options: Options,
    pub(crate) steps: usize,
    pub(crate) batch: usize,
}

/// An object whose fields are taken one by one, so that what nobody has asked for is found.
struct Fields {
    place: String,
    fields: Map<String, Value>,
}

impl Fields {
    fn new(place: &str, value: Value) -> Result<Self, Unsupported> {
        match value {
            Value::Object(fields) => Ok(Self { place: place.to_owned(), fields }),
            other => Err(format!("{place}: {other} is no object")),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    fn need(&mut self, name: &str) -> Result<Value, Unsupported> {
        self.take(name).ok_or_else(|| format!("{}: no `{name}`", self.place))
    }

    fn text(&mut self, name: &str) -> Result<String, Unsupported> {
        let value = self.need(name)?;
        value.as_str().map(str::to_owned).ok_or_else(|| format!("{}: `{name}` is {value}", self.place))
    }

    fn count(&mut self, name: &str) -> Result<usize, Unsupported> {
        let value = self.need(name)?;
        value.as_u64().map(|n| n as usize).ok_or_else(|| format!("{}: `{name}` is {value}", self.place))
    }

    fn number(&mut self, name: &str, default: f32) -> Result<f32, Unsupported> {
        let Some(value) = self.take(name) else { return Ok(default) };
        value.as_f64().map(|x| x as f32).ok_or_else(|| format!("{}: `{name}` is {value}", self.place))
    }

    fn numbers(&mut self, name: &str) -> Result<Vec<f32>, Unsupported> {
        let Some(value) = self.take(name) else { return Ok(Vec::new()) };
        let numbers = value.as_array().and_then(|list| list.iter().map(|x| Some(x.as_f64()? as f32)).collect());
        numbers.ok_or_else(|| format!("{}: `{name}` is {value}", self.place))
    }

    fn flag(&mut self, name: &str, default: bool) -> Result<bool, Unsupported> {
        let Some(value) = self.take(name) else { return Ok(default) };
        value.as_bool().ok_or_else(|| format!("{}: `{name}` is {value}", self.place))
    }

    /// Refuses what is left.
    fn end<T>(self, result: T) -> Result<T, Unsupported> {
        match self.fields.iter().find(|(_, value)| !value.is_null()) {
            Some((name, value)) => Err(format!("{}: `{name}` = {value} is not known", self.place)),
            None => Ok(result),
        }
    }
}

impl Config {
    pub(crate) fn parse(json: Value) -> Result<Self, Unsupported> {
        let mut fields = Fields::new("network", json)?;
        let (steps, batch) = (fields.count("steps")?, fields.count("batch")?);
        let input = input(fields.need("input")?)?;
        let layers = layers(fields.need("layers")?)?;
        let mlp = Mlp { input, layers, loss: loss(fields.need("loss")?)? };
        let (optimizer, lr, groups) = optimizer(fields.need("optimizer")?)?;
        let schedule = fields.take("schedule").map_or(Ok(Schedule::Constant), schedule)?;
        let clip = fields.number("clip_grad_norm", 0.0)?;
        let clip_grad_norm = (clip > 0.0).then_some(clip);
        let options =
            Options { max_batch: batch, lr, optimizer, schedule, clip_grad_norm, groups, ..Options::default() };
        for name in ["id", "seed", "note"] {
            fields.take(name);
        }
        fields.end(Self { mlp, options, steps, batch })
    }
}

fn input(value: Value) -> Result<Input, Unsupported> {
    let mut fields = Fields::new("input", value)?;
    let input = match fields.text("kind")?.as_str() {
        "dense" => Input::Dense { features: fields.count("features")? },
        "tokens" => Input::Tokens {
            vocab: fields.count("vocab")?,
            context: fields.count("context")?,
            embedding: fields.count("dim")?,
        },
        kind => return Err(format!("input of {kind}")),
    };
    fields.end(input)
}

fn layers(value: Value) -> Result<Vec<Layer>, Unsupported> {
    match value {
        Value::Array(list) => list.into_iter().map(layer).collect(),
        other => Err(format!("layers: {other} is no list")),
    }
}

fn layer(value: Value) -> Result<Layer, Unsupported> {
    let mut fields = Fields::new("layer", value)?;
    let kind = fields.text("kind")?;
    let layer = match kind.as_str() {
        "linear" => {
            let linear = Linear::new(fields.count("out")?);
            Layer::Linear(if fields.flag("bias", true)? { linear } else { linear.without_bias() })
        }
        "batch_norm" => {
            let default = BatchNorm::default();
            let (eps, momentum) = (fields.number("eps", default.eps)?, fields.number("momentum", default.momentum)?);
            Layer::BatchNorm(BatchNorm { eps, momentum, ..default })
        }
        "layer_norm" => {
            let weight = fields.flag("elementwise_affine", true)?;
            let bias = fields.flag("bias", true)? && weight;
            Layer::LayerNorm(LayerNorm { eps: fields.number("eps", LayerNorm::default().eps)?, weight, bias })
        }
        "rms_norm" => {
            let weight = fields.flag("elementwise_affine", true)?;
            Layer::RmsNorm(RmsNorm { eps: fields.number("eps", RmsNorm::default().eps)?, weight })
        }
        "dropout" => Layer::Dropout { p: fields.number("p", 0.5)? },
        "residual" => Layer::Residual(layers(fields.need("layers")?)?),
        "identity" => Activation::Identity.into(),
        "tanh" => Activation::Tanh.into(),
        "sigmoid" => Activation::Sigmoid.into(),
        "relu" => Activation::Relu.into(),
        "leaky_relu" => Activation::LeakyRelu { slope: fields.number("negative_slope", 0.01)? }.into(),
        "elu" => Activation::Elu { alpha: fields.number("alpha", 1.0)? }.into(),
        "silu" => Activation::Silu.into(),
        "gelu" => {
            let form = fields.take("approximate").map_or("none".to_owned(), |form| form.as_str().unwrap_or("?").into());
            match form.as_str() {
                "none" => Activation::Gelu { form: Form::Erf }.into(),
                "tanh" => Activation::Gelu { form: Form::Tanh }.into(),
                other => return Err(format!("gelu by {other}")),
            }
        }
        "softplus" => {
            let (beta, threshold) = (fields.number("beta", 1.0)?, fields.number("threshold", 20.0)?);
            Activation::Softplus { beta, threshold }.into()
        }
        "hardtanh" => {
            let (low, high) = (fields.number("min_val", -1.0)?, fields.number("max_val", 1.0)?);
            Activation::Hardtanh { low, high }.into()
        }
        _ => return Err(format!("layer {kind}")),
    };
    fields.end(layer)
}

fn loss(value: Value) -> Result<Loss, Unsupported> {
    let mut fields = Fields::new("loss", value)?;
    let loss = match fields.text("kind")?.as_str() {
        "cross_entropy" => {
            let class_weights = match fields.numbers("weight")? {
                weights if weights.is_empty() => fields.numbers("class_weights")?,
                weights => weights,
            };
            let label_smoothing = fields.number("label_smoothing", 0.0)?;
            // PyTorch leaves out -100 unless told otherwise.
            let ignore_index = fields.take("ignore_index").map_or(Some(-100), |index| index.as_i64());
            Loss::CrossEntropy(CrossEntropy { label_smoothing, class_weights, ignore_index })
        }
        "mse" => Loss::Mse,
        "l1" => Loss::L1,
        "huber" => Loss::Huber { delta: fields.number("delta", 1.0)? },
        "smooth_l1" => Loss::SmoothL1 { beta: fields.number("beta", 1.0)? },
        "bce_with_logits" => Loss::BceWithLogits(BceWithLogits { pos_weight: fields.numbers("pos_weight")? }),
        kind => return Err(format!("loss {kind}")),
    };
    fields.end(loss)
}

/// The rule, the learning rate and the groups.
fn optimizer(value: Value) -> Result<(Optimizer, f32, Vec<Group>), Unsupported> {
    let mut fields = Fields::new("optimizer", value)?;
    let kind = fields.text("kind")?;
    let optimizer = match kind.as_str() {
        "sgd" => Optimizer::Sgd(Sgd {
            momentum: fields.number("momentum", 0.0)?,
            dampening: fields.number("dampening", 0.0)?,
            nesterov: fields.flag("nesterov", false)?,
            weight_decay: fields.number("weight_decay", 0.0)?,
        }),
        "adam" | "adamw" => {
            let betas = match fields.numbers("betas")?.as_slice() {
                [] => Adam::default().betas,
                &[first, second] => [first, second],
                other => return Err(format!("betas {other:?}")),
            };
            let (decay, default) = if kind == "adam" { (Decay::Coupled, 0.0) } else { (Decay::Decoupled, 0.01) };
            let (eps, weight_decay) = (fields.number("eps", 1e-8)?, fields.number("weight_decay", default)?);
            Optimizer::Adam(Adam { betas, eps, weight_decay, decay })
        }
        "rmsprop" => Optimizer::RmsProp(RmsProp {
            alpha: fields.number("alpha", 0.99)?,
            eps: fields.number("eps", 1e-8)?,
            weight_decay: fields.number("weight_decay", 0.0)?,
            momentum: fields.number("momentum", 0.0)?,
            centered: fields.flag("centered", false)?,
        }),
        _ => return Err(format!("optimizer {kind}")),
    };
    let groups = if fields.flag("no_decay", false)? { vec![Group::no_decay()] } else { Vec::new() };
    let lr = fields.number("lr", 0.001)?;
    fields.end((optimizer, lr, groups))
}

fn schedule(value: Value) -> Result<Schedule, Unsupported> {
    let mut fields = Fields::new("schedule", value)?;
    let schedule = match fields.text("kind")?.as_str() {
        "constant" => Schedule::Constant,
        "step" => {
            let every = if fields.fields.contains_key("every") { "every" } else { "step_size" };
            Schedule::Step { every: fields.count(every)? as u64, gamma: fields.number("gamma", 0.1)? }
        }
        "linear" | "warmup" => Schedule::Linear { warmup: fields.count("warmup")? as u64 },
        "cosine" => Schedule::Cosine {
            warmup: fields.count("warmup")? as u64,
            total: fields.count("total")? as u64,
            min_lr: fields.number("min_lr", 0.0)?,
        },
        "one_cycle" => Schedule::OneCycle {
            total: fields.count("total")? as u64,
            pct_start: fields.number("pct_start", 0.3)?,
            div_factor: fields.number("div_factor", 25.0)?,
            final_div_factor: fields.number("final_div_factor", 1e4)?,
        },
        kind => return Err(format!("schedule {kind}")),
    };
    fields.end(schedule)
}
