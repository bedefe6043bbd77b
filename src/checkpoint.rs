//! Checkpoints: files of the safetensors format with PyTorch's `state_dict` names and shapes.
//!
//! The weights of a network are what `state_dict()` of the equivalent `torch.nn` module holds: `layers.0.weight`
//! (`[outputs, inputs]`), `layers.1.running_mean`, `layers.1.num_batches_tracked` and so on. [`Contents::Everything`] adds
//! what the optimiser remembers, as `optimizer.exp_avg.layers.0.weight`, and in the file's metadata the numbers of updates
//! and of forward passes (from which the schedule and the masks of dropout follow), the seed and the learning rate: a run
//! that goes on from it has the bits of one that was never interrupted. What a program of the user's has to remember goes
//! with it as [`Notes`].
//!
//! A file is written beside its place and then renamed, so that an interrupted save leaves the old one whole; a file that
//! is refused changes nothing.

use crate::error::{Error, Result};
use crate::infer::Predictor;
use crate::model::Mlp;
use crate::plan::Plan;
use crate::step::{Trainer, check_lr};
use crate::tensors::{Buffer, Table};
use handgrad_kernels::Exec;
use handgrad_kernels::view::View;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::path::Path;

/// What a file holds besides tensors, by names of the user's own.
pub type Notes = BTreeMap<String, String>;

/// What of a trainer is written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Parameters and running statistics: what a `state_dict()` has.
    Weights,
    /// These, and all that a run needs to go on.
    Everything,
}

/// What the tensors of the optimiser begin with.
const OPTIMIZER: &str = "optimizer.";

/// What the notes of this crate begin with.
const OWN: &str = "handgrad.";

impl Trainer {
    /// The bytes of a checkpoint.
    ///
    /// # Errors
    /// If there is no room for them.
    pub fn to_safetensors(&self, contents: Contents, notes: &Notes) -> Result<Vec<u8>> {
        let mut file = Writer::default();
        file.weights(&self.plan, &self.params, &self.running, self.passes)?;
        let mut about: HashMap<String, String> = notes.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        if contents == Contents::Everything {
            for (memory, buffer) in self.rule.memory_names().iter().zip(&self.rule.memory) {
                file.table(&self.plan.params, buffer, &format!("{OPTIMIZER}{memory}."))?;
            }
            let Self { updates, passes, seed, lr, .. } = self;
            let numbers = [("updates", updates), ("passes", passes), ("seed", seed)];
            about.extend(numbers.map(|(name, number)| (format!("{OWN}{name}"), number.to_string())));
            about.insert(format!("{OWN}lr"), lr.to_string());
        }
        file.finish(about)
    }

    /// Writes a checkpoint. An interrupted save leaves a file that was there as it was.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>, contents: Contents, notes: &Notes) -> Result<()> {
        replace(path.as_ref(), &self.to_safetensors(contents, notes)?)
    }

    /// Goes on from the bytes of a checkpoint, or takes its weights only, and returns its notes.
    ///
    /// # Errors
    /// Names the tensor or the number that is missing, of another shape or type, or not known; then nothing has changed.
    pub fn restore(&mut self, bytes: &[u8], contents: Contents) -> Result<Notes> {
        let file = Reader::open(bytes, "checkpoint")?;
        let mut run = self.run_state();
        let (mut params, mut running) = (self.params.copy()?, self.running.copy()?);
        file.weights(&self.plan, &mut params, &mut running)?;
        let mut memory = Vec::new();
        if contents == Contents::Everything {
            run = file.run()?;
            for (name, buffer) in self.rule.memory_names().iter().zip(&self.rule.memory) {
                let mut copy = buffer.copy()?;
                file.table(&self.plan.params, &mut copy, &format!("{OPTIMIZER}{name}."))?;
                memory.push(copy);
            }
            file.expect_memory(&self.plan, self.rule.memory_names())?;
        }
        self.params = params;
        self.running = running;
        for (old, new) in self.rule.memory.iter_mut().zip(memory) {
            *old = new;
        }
        (self.updates, self.passes, self.seed, self.lr) = run;
        self.forget();
        Ok(file.notes())
    }

    /// [`restore`](Trainer::restore) from a file.
    ///
    /// # Errors
    /// As there, and if the file cannot be read.
    pub fn load(&mut self, path: impl AsRef<Path>, contents: Contents) -> Result<Notes> {
        let path = path.as_ref();
        self.restore(&read(path)?, contents).map_err(|error| error.in_file(path))
    }

    fn run_state(&self) -> Run {
        (self.updates, self.passes, self.seed, self.lr)
    }
}

impl Predictor {
    /// The network of a description with the weights of a checkpoint.
    ///
    /// # Errors
    /// If the description is not possible; and as [`Trainer::restore`].
    pub fn from_safetensors(mlp: &Mlp, bytes: &[u8], exec: &Exec) -> Result<Self> {
        let plan = Plan::new(mlp)?;
        let (mut params, mut running) = (Buffer::zeros(plan.params.len())?, Buffer::zeros(plan.running.len())?);
        Reader::open(bytes, "checkpoint")?.weights(&plan, &mut params, &mut running)?;
        Self::build(plan, mlp.loss.clone(), exec, params, running)
    }

    /// [`from_safetensors`](Predictor::from_safetensors) of a file.
    ///
    /// # Errors
    /// As there, and if the file cannot be read.
    pub fn load(mlp: &Mlp, path: impl AsRef<Path>, exec: &Exec) -> Result<Self> {
        let path = path.as_ref();
        Self::from_safetensors(mlp, &read(path)?, exec).map_err(|error| error.in_file(path))
    }
}

/// Updates, forward passes, seed and learning rate.
type Run = (u64, u64, u64, f32);

/// A file to be.
#[derive(Default)]
struct Writer {
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
}

impl Writer {
    fn weights(&mut self, plan: &Plan, params: &[f32], running: &[f32], batches: u64) -> Result<()> {
        self.table(&plan.params, params, "")?;
        self.table(&plan.running, running, "")?;
        for name in batch_counters(&plan.running) {
            let count = i64::try_from(batches).unwrap_or(i64::MAX);
            self.tensors.push((name, Dtype::I64, Vec::new(), count.to_le_bytes().to_vec()));
        }
        Ok(())
    }

    fn table(&mut self, table: &Table, buffer: &[f32], prefix: &str) -> Result<()> {
        for tensor in table.iter() {
            let view: View<'_> = tensor.view(buffer)?;
            let bytes = view.iter().flat_map(f32::to_le_bytes).collect();
            self.tensors.push((format!("{prefix}{}", tensor.name), Dtype::F32, view.shape().to_vec(), bytes));
        }
        Ok(())
    }

    fn finish(&self, about: HashMap<String, String>) -> Result<Vec<u8>> {
        let views = self.tensors.iter().map(|(name, dtype, shape, bytes)| {
            let view = TensorView::new(*dtype, shape.clone(), bytes).map_err(|e| wrong("checkpoint", e))?;
            Ok((name.as_str(), view))
        });
        let about = (!about.is_empty()).then_some(about);
        safetensors::serialize(views.collect::<Result<Vec<_>>>()?, about).map_err(|e| wrong("checkpoint", e))
    }
}

/// A file that is read.
struct Reader<'a> {
    place: &'a str,
    tensors: SafeTensors<'a>,
    about: HashMap<String, String>,
}

impl<'a> Reader<'a> {
    fn open(bytes: &'a [u8], place: &'a str) -> Result<Self> {
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| wrong(place, e))?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| wrong(place, e))?;
        Ok(Self { place, tensors, about: metadata.metadata().clone().unwrap_or_default() })
    }

    /// Reads parameters and running statistics, and refuses tensors that belong to neither.
    fn weights(&self, plan: &Plan, params: &mut [f32], running: &mut [f32]) -> Result<()> {
        self.table(&plan.params, params, "")?;
        self.table(&plan.running, running, "")?;
        let counters: Vec<_> = batch_counters(&plan.running).collect();
        let known = |name: &str| {
            let mut tensors = plan.params.iter().chain(plan.running.iter());
            name.starts_with(OPTIMIZER) || counters.iter().any(|c| c == name) || tensors.any(|t| t.name == name)
        };
        self.refuse_unless(known)
    }

    /// Refuses tensors of another optimiser, and of parameters that the network has not.
    fn expect_memory(&self, plan: &Plan, memory: &[&str]) -> Result<()> {
        let of_a_param =
            |rest: &str| rest.strip_prefix('.').is_some_and(|rest| plan.params.iter().any(|t| t.name == rest));
        let known = |name: &str| match name.strip_prefix(OPTIMIZER) {
            Some(rest) => memory.iter().any(|memory| rest.strip_prefix(memory).is_some_and(of_a_param)),
            None => true,
        };
        self.refuse_unless(known)
    }

    fn refuse_unless(&self, known: impl Fn(&str) -> bool) -> Result<()> {
        let mut names = self.tensors.names();
        names.sort_unstable();
        match names.into_iter().find(|name| !known(name)) {
            Some(name) => Err(wrong(self.place, format!("the tensor `{name}` has no place in this network"))),
            None => Ok(()),
        }
    }

    fn table(&self, table: &Table, buffer: &mut [f32], prefix: &str) -> Result<()> {
        for tensor in table.iter() {
            let name = format!("{prefix}{}", tensor.name);
            let missing = |_| wrong(self.place, format!("the tensor `{name}` is missing"));
            let from = self.tensors.tensor(&name).map_err(missing)?;
            let mut to = table.view_mut(&tensor.name, buffer)?;
            if from.shape() != to.shape() {
                let (want, got) = (to.shape(), from.shape());
                return Err(wrong(
                    self.place,
                    format!("the tensor `{name}` must have the shape {want:?}, got {got:?}"),
                ));
            }
            match from.dtype() {
                Dtype::F32 => {
                    let mut numbers = from.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
                    to.fill_with(|| numbers.next().unwrap_or(f32::NAN));
                }
                Dtype::F64 => {
                    let mut numbers = from.data().as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes) as f32);
                    to.fill_with(|| numbers.next().unwrap_or(f32::NAN));
                }
                got => return Err(wrong(self.place, format!("the tensor `{name}` must hold F32 or F64, got {got:?}"))),
            }
        }
        Ok(())
    }

    fn run(&self) -> Result<Run> {
        let lr = self.number("lr")?;
        check_lr(lr)?;
        Ok((self.count("updates")?, self.count("passes")?, self.number("seed")?, lr))
    }

    /// How often something was done, so that it can go on being counted.
    fn count(&self, name: &str) -> Result<u64> {
        let count = self.number(name)?;
        if i64::try_from(count).is_err() {
            let what = format!("`{OWN}{name}` of its metadata must be below 2^63, got {count}");
            return Err(wrong(self.place, what));
        }
        Ok(count)
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T> {
        let name = format!("{OWN}{name}");
        let Some(text) = self.about.get(&name) else {
            let what = format!("its metadata have no `{name}`: it holds weights only, from which a run cannot go on");
            return Err(wrong(self.place, what));
        };
        text.parse().map_err(|_| wrong(self.place, format!("`{name}` of its metadata is no number: {text:?}")))
    }

    fn notes(self) -> Notes {
        self.about.into_iter().filter(|(name, _)| !name.starts_with(OWN)).collect()
    }
}

/// The names of PyTorch's counters of batches, one for each batch normalisation.
fn batch_counters(running: &Table) -> impl Iterator<Item = String> {
    let norms = running.iter().filter_map(|tensor| tensor.name.strip_suffix("running_mean"));
    norms.map(|norm| format!("{norm}num_batches_tracked"))
}

fn wrong(place: &str, what: impl std::fmt::Display) -> Error {
    Error::Checkpoint { place: place.to_owned(), what: what.to_string() }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| wrong(&path.display().to_string(), e))
}

/// Writes a file beside its place and renames it.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let write = || {
        let mut file = fs::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|e| {
        // What is left of it is of no use; that it cannot be removed either is not worth a word.
        let _ = fs::remove_file(&beside);
        wrong(&path.display().to_string(), e)
    })
}
