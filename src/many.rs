//! Many networks of one shape, trained side by side: one for each task, seed or series.

use crate::batch::{Inputs, Targets, mismatch};
use crate::error::Result;
use crate::model::{Mlp, size};
use crate::step::{Options, Trainer};
use handgrad_kernels::Exec;

/// Independent networks of one description, each with its own parameters, trained in parallel over the networks. Each has
/// the bits it would have alone.
///
/// ```
/// use handgrad::{Activation, Exec, Input, Linear, Loss, Many, Mlp, Options};
/// let mlp = Mlp {
///     input: Input::Dense { features: 2 },
///     layers: vec![Linear::new(8).into(), Activation::Tanh.into(), Linear::new(1).into()],
///     loss: Loss::Mse,
/// };
/// let exec = Exec::with_threads(2)?;
/// let mut many = Many::new(&mlp, &Options::default(), &[1, 2, 3], &exec)?;
/// let (x, y) = ([0.0, 1.0, 1.0, 0.0], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
/// let mut losses = [0.0; 3];
/// exec.install(|| many.step(|network| (&x[..], &y[network][..]), &mut losses))?;
/// assert!(losses[0] < losses[2]);
/// # Ok::<(), handgrad::Error>(())
/// ```
#[derive(Debug)]
pub struct Many {
    exec: Exec,
    networks: Vec<Network>,
    /// Nanoseconds of one core for a step of one network with one sample.
    nanoseconds: usize,
}

#[derive(Debug)]
struct Network {
    trainer: Trainer,
    result: Result<f32>,
}

impl Many {
    /// A network for each seed; the seed of the options plays no part. Steps are split over the threads of `exec` inside of
    /// its [`install`](Exec::install).
    ///
    /// # Errors
    /// As [`Trainer::new`], and if there is no seed.
    pub fn new(mlp: &Mlp, options: &Options, seeds: &[u64], exec: &Exec) -> Result<Self> {
        if seeds.is_empty() {
            return Err(size("many", "seeds", "at least 1", 0));
        }
        let serial = Exec::in_current_pool(1)?.with_isa(exec.isa());
        let network = |&seed: &u64| {
            let trainer = Trainer::new(mlp, Options { seed, ..options.clone() }, &serial)?;
            Ok(Network { trainer, result: Ok(0.0) })
        };
        let networks = seeds.iter().map(network).collect::<Result<Vec<_>>>()?;
        // Six operations a weight and sample, at the speed of small products.
        let nanoseconds = networks[0].trainer.plan.params.len() / 20 + 100;
        Ok(Self { exec: exec.clone(), networks, nanoseconds })
    }

    /// How many networks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.networks.len()
    }

    /// Never: there is at least one network.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// A network by its number.
    #[must_use]
    pub fn get(&self, network: usize) -> Option<&Trainer> {
        self.networks.get(network).map(|network| &network.trainer)
    }

    /// A network by its number, to be changed or asked in another way.
    pub fn get_mut(&mut self, network: usize) -> Option<&mut Trainer> {
        self.networks.get_mut(network).map(|network| &mut network.trainer)
    }

    /// One step of every network, each on the batch that `batch` has for its number, and their losses.
    ///
    /// # Errors
    /// If there is not one place for each loss, or a batch does not fit; then no network has changed.
    pub fn step<'a, X, Y>(&mut self, batch: impl Fn(usize) -> (X, Y) + Sync, losses: &mut [f32]) -> Result<()>
    where
        X: Into<Inputs<'a>>,
        Y: Into<Targets<'a>>,
    {
        if losses.len() != self.len() {
            return Err(mismatch("number of losses", self.len(), losses.len()));
        }
        let mut samples = 0;
        for (i, network) in self.networks.iter().enumerate() {
            let (x, y) = batch(i);
            samples += network.trainer.check(x.into(), y.into())?;
        }
        self.exec.for_each(&mut self.networks, self.nanoseconds.saturating_mul(samples), |i, network| {
            let (x, y) = batch(i);
            network.result = network.trainer.step(x, y);
        });
        for (loss, network) in losses.iter_mut().zip(&self.networks) {
            *loss = network.result.clone()?;
        }
        Ok(())
    }
}
