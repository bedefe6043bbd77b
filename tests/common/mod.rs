//! What the test programs share.
#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod compare;
pub(crate) mod golden;
pub(crate) mod reference;
pub(crate) mod tiers;
pub(crate) mod zoo;

use handgrad::kernels::view::View;
use handgrad::{
    Activation, BatchNorm, Exec, Input, Inputs, Isa, Linear, Loss, Mlp, Result, Targets, Trainer, Variance,
};

/// One thread on a tier.
pub(crate) fn serial(isa: Isa) -> Exec {
    Exec::serial().unwrap().with_isa(isa)
}

/// The network of the notebook.
pub(crate) fn makemore(vocab: usize, context: usize, embedding: usize, hidden: usize) -> Mlp {
    Mlp {
        input: Input::Tokens { vocab, context, embedding },
        layers: vec![
            Linear::new(hidden).into(),
            BatchNorm { variance: Variance::Unbiased, ..BatchNorm::default() }.into(),
            Activation::Tanh.into(),
            Linear::new(vocab).into(),
        ],
        loss: Loss::cross_entropy(),
    }
}

/// The two ways to do one step, which must give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `step()`
    Step,
    /// `forward()`, `backward()`, `update()`
    Passes,
}

impl Way {
    pub(crate) const ALL: [Way; 2] = [Way::Step, Way::Passes];

    /// One step on a batch; the loss.
    pub(crate) fn run<'a>(
        self,
        trainer: &mut Trainer,
        x: impl Into<Inputs<'a>>,
        y: impl Into<Targets<'a>>,
    ) -> Result<f32> {
        match self {
            Way::Step => trainer.step(x, y),
            Way::Passes => {
                trainer.forward(x)?;
                let loss = trainer.backward(y)?;
                trainer.update()?;
                Ok(loss)
            }
        }
    }
}

/// All parameters and running statistics of a trainer, as bits.
pub(crate) fn state(trainer: &Trainer) -> Vec<u32> {
    let running = trainer.running_names().flat_map(|name| trainer.running(name).unwrap().to_vec());
    bits(trainer.params().iter().copied().chain(running))
}

/// The elements of a view in f64, in logical order.
pub(crate) fn widened(view: View<'_>) -> Vec<f64> {
    view.iter().map(f64::from).collect()
}

/// The bits of each number, all NaN being one.
pub(crate) fn bits(values: impl IntoIterator<Item = f32>) -> Vec<u32> {
    values.into_iter().map(|x| if x.is_nan() { f32::NAN } else { x }.to_bits()).collect()
}
