//! Checkpoint files of any bytes.
//!
//! The bytes choose one of a few networks and what is done to a good file of it: to its metadata, names, types, shapes and
//! numbers before it is written, and to single bytes afterwards. Or they are the file. What is checked:
//!
//! - a file that nothing was done to is taken; one that has a tensor which the network has not, or lacks one that it has,
//!   is refused;
//! - a file that is refused leaves the trainer as it was, bit for bit, its outputs and gradients included;
//! - one that is taken has given the trainer its numbers; what is then written is the same again when it is read, and the
//!   next step goes through;
//! - inference takes the files whose weights a trainer takes, and no others.

use super::input::{Bytes, EDGES, serial};
use super::state::State;
use handgrad::{
    Activation, BatchNorm, Contents, Input, Layer, LayerNorm, Linear, Loss, Mlp, Notes, Optimizer, Options, Predictor,
    RmsProp, Sgd, Trainer,
};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Reads the file that the bytes describe, and panics if anything is wrong with what becomes of it.
pub(crate) fn check(data: &[u8]) {
    let mut bytes = Bytes(data);
    let kind = bytes.next();
    let network = Network::all().swap_remove(usize::from(kind) % 3);
    let written = if kind & 4 == 0 { Contents::Everything } else { Contents::Weights };
    let (file, sound) = if kind & 8 == 0 { network.file(&mut bytes, written) } else { (bytes.0.to_vec(), false) };
    let weights = network.restore(&file, Contents::Weights, sound);
    network.restore(&file, Contents::Everything, sound && written == Contents::Everything);
    let predictor = Predictor::from_safetensors(&network.mlp, &file, serial());
    assert_eq!(predictor.is_ok(), weights, "{:?}, but a trainer decides otherwise", predictor.err());
}

/// A network that is trained.
struct Network {
    mlp: Mlp,
    options: Options,
}

impl Network {
    fn all() -> Vec<Self> {
        let tokens = Mlp {
            input: Input::Tokens { vocab: 3, context: 2, embedding: 2 },
            layers: vec![Linear::new(3).into(), BatchNorm::default().into(), Activation::Tanh.into()],
            loss: Loss::cross_entropy(),
        };
        let residual = vec![LayerNorm::default().into(), Linear::new(2).without_bias().into()];
        let dense = Mlp {
            input: Input::Dense { features: 2 },
            layers: vec![Layer::Residual(residual), Layer::Dropout { p: 0.5 }, Linear::new(1).into()],
            loss: Loss::Mse,
        };
        let centered = Optimizer::RmsProp(RmsProp { momentum: 0.5, centered: true, ..RmsProp::default() });
        let momentum = Optimizer::Sgd(Sgd { momentum: 0.9, ..Sgd::default() });
        let of = |mlp: &Mlp, optimizer| Self {
            mlp: mlp.clone(),
            options: Options { max_batch: 2, lr: 0.01, optimizer, ..Options::default() },
        };
        vec![of(&tokens, Optimizer::adam()), of(&dense, centered), of(&dense, momentum)]
    }

    /// A trainer after some steps.
    fn trained(&self, seed: u64, steps: usize) -> Trainer {
        let options = Options { seed, ..self.options.clone() };
        let mut trainer = Trainer::new(&self.mlp, options, serial()).expect("the network is possible");
        (0..steps).for_each(|_| self.step(&mut trainer));
        trainer
    }

    fn step(&self, trainer: &mut Trainer) {
        let loss = match self.mlp.input {
            Input::Tokens { .. } => trainer.step(&[0_i64, 2, 1, 1][..], &[2_i64, 0][..]),
            Input::Dense { .. } => trainer.step(&[0.5_f32, -1.0, 2.0, 0.25][..], &[1.0_f32, 0.0][..]),
        };
        loss.expect("the batch fits");
    }

    /// A file, and whether it is as it should be.
    fn file(&self, bytes: &mut Bytes<'_>, contents: Contents) -> (Vec<u8>, bool) {
        let trainer = self.trained(1, 2);
        let notes = Notes::from([("note".to_owned(), "of the user's".to_owned())]);
        let good = trainer.to_safetensors(contents, &notes).expect("there is room");
        let mut file = File::read(&good);
        for _ in 0..bytes.below(4) {
            file.change(bytes);
        }
        let sound = file == File::read(&good);
        let mut written = file.write();
        let whole = written.clone();
        for _ in 0..bytes.below(4) {
            let place = usize::from(bytes.wide()) % written.len().max(1);
            match bytes.next() % 4 {
                0 => written.truncate(place),
                1 => written.insert(place, bytes.next()),
                2 if !written.is_empty() => _ = written.remove(place),
                _ if !written.is_empty() => written[place] = bytes.next(),
                _ => {}
            }
        }
        let sound = sound && written == whole;
        (written, sound)
    }

    /// Reads a file into another trainer; whether it was taken.
    fn restore(&self, file: &[u8], contents: Contents, sound: bool) -> bool {
        let mut trainer = self.trained(9, 1);
        let before = State::of(&trainer);
        if let Err(error) = trainer.restore(file, contents) {
            assert!(!sound, "{error}, but nothing is wrong with the file");
            assert!(State::of(&trainer) == before, "{error}, but something has changed");
            return false;
        }
        let after = State::of(&trainer);
        Self::expect_read(file, contents, &before, &after);
        let again = trainer.to_safetensors(Contents::Everything, &Notes::new()).expect("there is room");
        let mut second = self.trained(3, 0);
        second.restore(&again, Contents::Everything).expect("what was written is read");
        assert!(State::of(&second) == after, "what was written is read as something else");
        self.step(&mut trainer);
        self.step(&mut second);
        let (went_on, second) = (State::of(&trainer).run(), State::of(&second).run());
        assert!(went_on == second, "the run goes on otherwise from what it has written");
        true
    }

    /// Panics unless the trainer has what the file says, and the file says what it must and nothing else.
    fn expect_read(file: &[u8], contents: Contents, before: &State, after: &State) {
        let read = SafeTensors::deserialize(file).expect("the file was taken");
        for name in read.names() {
            let ours = after.tensors.contains_key(name);
            let other_part = contents == Contents::Weights && name.starts_with("optimizer.");
            assert!(ours || other_part, "the tensor `{name}` was taken and has no place");
        }
        for (name, (shape, words)) in &after.tensors {
            if contents == Contents::Weights && name.starts_with("optimizer.") {
                assert_eq!(Some(words), before.tensors.get(name).map(|(_, words)| words), "{name} was read");
                continue;
            }
            if name.ends_with("num_batches_tracked") {
                continue;
            }
            let tensor = read.tensor(name).unwrap_or_else(|_| panic!("`{name}` is missing, and the file was taken"));
            assert_eq!(tensor.shape(), shape, "the shape of {name}");
            let data = tensor.data();
            let wanted: Vec<u32> = match tensor.dtype() {
                Dtype::F64 => data.as_chunks().0.iter().map(|&x| (f64::from_le_bytes(x) as f32).to_bits()).collect(),
                _ => data.as_chunks().0.iter().map(|&x| u32::from_le_bytes(x)).collect(),
            };
            assert_eq!(words, &wanted, "the numbers of {name}");
        }
        if contents == Contents::Weights {
            let steps = |state: &State| state.about.get("handgrad.updates").cloned();
            assert_eq!(steps(before), steps(after), "the number of updates was read");
        }
    }
}

/// A tensor of a file: its name, type, shape and numbers.
#[derive(Clone, Debug, PartialEq)]
struct Tensor {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    data: Vec<u8>,
}

/// What a file is made of, in an order that is always the same.
#[derive(Clone, Debug, PartialEq)]
struct File {
    about: BTreeMap<String, String>,
    tensors: Vec<Tensor>,
}

impl File {
    fn read(bytes: &[u8]) -> Self {
        let (_, metadata) = SafeTensors::read_metadata(bytes).expect("the file is good");
        let file = SafeTensors::deserialize(bytes).expect("the file is good");
        let tensor = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| Tensor {
            name: name.to_owned(),
            dtype: format!("{:?}", view.dtype()),
            shape: view.shape().to_vec(),
            data: view.data().to_vec(),
        };
        let mut tensors: Vec<Tensor> = file.iter().map(tensor).collect();
        tensors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Self { about: metadata.metadata().clone().unwrap_or_default().into_iter().collect(), tensors }
    }

    /// One change, whose place and kind the bytes choose.
    fn change(&mut self, bytes: &mut Bytes<'_>) {
        const TEXTS: [&str; 16] = [
            "18446744073709551615",
            "18446744073709551614",
            "18446744073709551616",
            "-1",
            "0",
            "1e3",
            "NaN",
            "inf",
            "",
            " 1",
            "+1",
            "9223372036854775808",
            "3.5",
            "1e39",
            "\\u0000",
            "0.1",
        ];
        const NUMBERS: [&str; 5] = ["updates", "passes", "seed", "lr", "other"];
        const NAMES: [&str; 8] = [
            "layers.9.weight",
            "optimizer.exp_avg.layers.9.weight",
            "optimizer.exp_avg.",
            "optimizer.",
            "optimizer.momentum_buffer",
            "layers.1.num_batches_tracked",
            "",
            "optimizer.exp_avg_sq.embedding.weight",
        ];
        const TYPES: [&str; 8] = ["F32", "F64", "I64", "I32", "BF16", "BOOL", "U8", "F8_E4M3"];
        let kind = bytes.next() % 9;
        if kind == 0 {
            self.about.insert(format!("handgrad.{}", bytes.pick(&NUMBERS)), bytes.pick(&TEXTS).to_owned());
            return;
        }
        if kind == 1 {
            self.about.remove(&format!("handgrad.{}", bytes.pick(&NUMBERS)));
            return;
        }
        if self.tensors.is_empty() {
            return;
        }
        let at = bytes.below(self.tensors.len());
        let tensor = &mut self.tensors[at];
        match kind {
            2 => _ = self.tensors.remove(at),
            3 => tensor.name = bytes.pick(&NAMES).into(),
            4 => {
                let again = Tensor { name: bytes.pick(&NAMES).to_owned(), ..tensor.clone() };
                self.tensors.push(again);
            }
            5 => tensor.dtype = bytes.pick(&TYPES).into(),
            6 => {
                let size = bytes.pick(&[0, 1, 2, 3, 1 << 32, 1 << 62, usize::MAX]);
                match tensor.shape.len() {
                    0 => tensor.shape.push(size),
                    rank if bytes.next() % 4 == 3 => _ = tensor.shape.remove(rank - 1),
                    rank => tensor.shape[bytes.below(rank)] = size,
                }
            }
            7 => {
                let number = bytes.pick(&EDGES);
                if let Some(place) = tensor.data.as_chunks_mut().0.first_mut() {
                    *place = number.to_le_bytes();
                }
            }
            _ => {
                // As wide numbers, if they are narrow ones.
                if tensor.dtype == "F32" {
                    let wide = |&x: &[u8; 4]| (f64::from(f32::from_le_bytes(x)) * 1.1).to_le_bytes();
                    tensor.data = tensor.data.as_chunks().0.iter().flat_map(wide).collect();
                    tensor.dtype = "F64".into();
                }
            }
        }
    }

    /// The file, whatever has been done to its parts.
    fn write(&self) -> Vec<u8> {
        let mut header = "{\"__metadata__\":{".to_owned();
        let about: Vec<String> = self.about.iter().map(|(name, text)| format!("\"{name}\":\"{text}\"")).collect();
        header.push_str(&about.join(","));
        header.push('}');
        let mut data: Vec<u8> = Vec::new();
        for Tensor { name, dtype, shape, data: numbers } in &self.tensors {
            let (start, end) = (data.len(), data.len() + numbers.len());
            data.extend(numbers);
            let text = write!(
                header,
                ",\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{start},{end}]}}"
            );
            text.expect("a string takes all that is written");
        }
        header.push('}');
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(data);
        file
    }
}
