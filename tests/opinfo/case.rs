//! The cases: what PyTorch was called with, and what it gave.

use crate::common::golden;
use handgrad::Exec;
use handgrad::kernels::view::{Element, View, ViewMut};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::Value;
use std::collections::HashMap;

/// The storages of all cases, as numbers of the types that views have.
pub(crate) struct Storages(HashMap<String, Storage>);

#[derive(Clone, Debug)]
pub(crate) enum Storage {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    Bool(Vec<bool>),
}

fn elements<const N: usize, T>(data: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, rest) = data.as_chunks::<N>();
    assert!(rest.is_empty());
    chunks.iter().map(|&bytes| read(bytes)).collect()
}

impl Storages {
    pub(crate) fn open() -> Self {
        let path = golden::directory().join("opinfo/tensors.safetensors");
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let tensors = SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let read = |(name, tensor): (String, safetensors::tensor::TensorView<'_>)| {
            let data = tensor.data();
            let storage = match tensor.dtype() {
                Dtype::F32 => Storage::F32(elements(data, f32::from_le_bytes)),
                Dtype::F64 => Storage::F64(elements(data, f64::from_le_bytes)),
                Dtype::I64 => Storage::I64(elements(data, i64::from_le_bytes)),
                Dtype::I32 => Storage::I64(elements(data, |bytes| i32::from_le_bytes(bytes).into())),
                Dtype::BOOL | Dtype::U8 => Storage::Bool(data.iter().map(|&byte| byte != 0).collect()),
                other => panic!("{name}: a storage of {other:?}"),
            };
            (name, storage)
        };
        Self(tensors.tensors().into_iter().map(read).collect())
    }

    fn get(&self, key: &str) -> &Storage {
        self.0.get(key).unwrap_or_else(|| panic!("there is no storage {key}"))
    }

    /// A storage of any type as f64.
    pub(crate) fn numbers(&self, key: &str) -> Vec<f64> {
        match self.get(key) {
            Storage::F32(values) => values.iter().map(|&x| x.into()).collect(),
            Storage::F64(values) => values.clone(),
            Storage::I64(values) => values.iter().map(|&x| x as f64).collect(),
            Storage::Bool(values) => values.iter().map(|&x| f64::from(u8::from(x))).collect(),
        }
    }
}

/// A tensor that is an argument.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    storage: Storage,
    pub(crate) shape: Vec<usize>,
    strides: Vec<isize>,
    offset: usize,
}

impl Tensor {
    fn of_number(x: f64) -> Self {
        Self { storage: Storage::F32(vec![x as f32]), shape: Vec::new(), strides: Vec::new(), offset: 0 }
    }

    fn strided<'a, T: Element>(&self, data: &'a [T]) -> View<'a, T> {
        // Nothing has no place, wherever PyTorch says that it begins.
        let offset = if self.shape.contains(&0) { 0 } else { self.offset };
        View::with_strides(data, &self.shape, &self.strides, offset).unwrap()
    }

    pub(crate) fn view(&self) -> View<'_> {
        let Storage::F32(data) = &self.storage else { panic!("not a tensor of f32") };
        self.strided(data)
    }

    pub(crate) fn indices(&self) -> View<'_, i64> {
        let Storage::I64(data) = &self.storage else { panic!("not a tensor of i64") };
        self.strided(data)
    }

    pub(crate) fn is_mask(&self) -> bool {
        matches!(self.storage, Storage::Bool(_))
    }

    pub(crate) fn mask(&self) -> View<'_, bool> {
        let Storage::Bool(data) = &self.storage else { panic!("not a tensor of bool") };
        self.strided(data)
    }
}

/// An argument. Tensors are numbered in order of appearance.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    None,
    Tensor(usize),
    Number(f64),
    Bool(bool),
    Text(String),
    List(Vec<Arg>),
    Tuple(Vec<Arg>),
    Slice([Option<isize>; 3]),
    Ellipsis,
}

/// What PyTorch gave.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    pub(crate) values: Vec<f64>,
    pub(crate) shape: Vec<usize>,
    /// PyTorch's own error in float32.
    pub(crate) f32_error: f64,
}

pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) op: String,
    pub(crate) tensors: Vec<Tensor>,
    /// The input, then the other arguments.
    args: Vec<Arg>,
    kwargs: Vec<(String, Arg)>,
    pub(crate) outputs: Vec<Want>,
    /// The upstream gradient of each output, where there is one.
    cotangents: Vec<Option<Vec<f32>>>,
    /// The number of a tensor, and its gradient.
    pub(crate) grads: Vec<(usize, Want)>,
}

/// Every case, in the order of the file.
pub(crate) fn all(storages: &Storages) -> Vec<Case> {
    let path = golden::directory().join("opinfo/cases.jsonl");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| Case::read(&serde_json::from_str(line).unwrap(), storages)).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a text"))
}

fn integers(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|x| x.as_i64().unwrap()).collect()
}

fn number(value: &Value) -> f64 {
    match &value["float"] {
        Value::String(name) => match name.as_str() {
            "inf" => f64::INFINITY,
            "-inf" => f64::NEG_INFINITY,
            _ => f64::NAN,
        },
        _ => value.as_f64().unwrap_or_else(|| panic!("{value} is not a number")),
    }
}

impl Case {
    fn read(json: &Value, storages: &Storages) -> Self {
        let mut tensors = Vec::new();
        let mut args = vec![arg(&json["input"], storages, &mut tensors)];
        args.extend(json["args"].as_array().unwrap().iter().map(|value| arg(value, storages, &mut tensors)));
        let named = json["kwargs"].as_object().unwrap().iter();
        let kwargs = named.map(|(name, value)| (name.clone(), arg(value, storages, &mut tensors))).collect();
        let id = text(&json["id"]).to_owned();
        let want = |value: &Value, shape: Vec<usize>| Want {
            values: storages.numbers(text(&value["tensor"])),
            shape,
            f32_error: value.get("f32_error").map_or(0.0, number),
        };
        let listed = |name: &str| json[name].as_array().unwrap();
        let shape = |value: &Value| integers(&value["shape"]).into_iter().map(|size| size as usize).collect();
        let cotangent = |value: &Value| {
            let key = value.get("cotangent").and_then(Value::as_str)?;
            Some(storages.numbers(key).into_iter().map(|x| x as f32).collect())
        };
        let grad = |value: &Value| {
            let name = text(&value["input"]);
            let number: usize = name.rsplit_once(".in").unwrap().1.parse().unwrap();
            let shape = tensors[number].shape.clone();
            (number, want(value, shape))
        };
        Self {
            op: text(&json["op"]).to_owned(),
            outputs: listed("outputs").iter().map(|value| want(value, shape(value))).collect(),
            cotangents: listed("outputs").iter().map(cotangent).collect(),
            grads: listed("grads").iter().map(grad).collect(),
            id,
            args,
            kwargs,
            tensors,
        }
    }

    /// The argument at a place (the input is at 0) or under a name.
    pub(crate) fn arg(&self, place: usize, name: &str) -> Option<&Arg> {
        let named = self.kwargs.iter().find(|(other, _)| other == name).map(|(_, arg)| arg);
        self.args.get(place).or(named).filter(|arg| !matches!(arg, Arg::None))
    }

    /// All arguments behind the input.
    pub(crate) fn rest(&self) -> &[Arg] {
        &self.args[1..]
    }

    /// A tensor argument and its number.
    pub(crate) fn tensor(&self, place: usize, name: &str) -> Option<(usize, &Tensor)> {
        match self.arg(place, name) {
            Some(&Arg::Tensor(number)) => Some((number, &self.tensors[number])),
            _ => None,
        }
    }

    /// The tensor argument at a place, or a number there as a tensor.
    pub(crate) fn operand(&self, place: usize, name: &str) -> Tensor {
        match self.arg(place, name) {
            Some(&Arg::Tensor(number)) => self.tensors[number].clone(),
            Some(&Arg::Number(x)) => Tensor::of_number(x),
            other => panic!("{}: argument {place} is {other:?}", self.id),
        }
    }

    pub(crate) fn number(&self, place: usize, name: &str, default: f64) -> f64 {
        match self.arg(place, name) {
            Some(&Arg::Number(x)) => x,
            Some(&Arg::Bool(x)) => f64::from(u8::from(x)),
            _ => default,
        }
    }

    /// A list of integers, or one.
    pub(crate) fn integers(&self, place: usize, name: &str) -> Option<Vec<isize>> {
        self.arg(place, name).map(|arg| match arg {
            Arg::List(list) | Arg::Tuple(list) => list.iter().map(Arg::integer).collect(),
            one => vec![one.integer()],
        })
    }

    /// The upstream gradient of an output.
    pub(crate) fn cotangent(&self, output: usize) -> Option<View<'_>> {
        let values = self.cotangents[output].as_ref()?;
        Some(View::new(values, &self.outputs[output].shape).unwrap())
    }
}

impl Arg {
    pub(crate) fn integer(&self) -> isize {
        match self {
            Arg::Number(x) => *x as isize,
            other => panic!("{other:?} is not an integer"),
        }
    }
}

fn arg(value: &Value, storages: &Storages, tensors: &mut Vec<Tensor>) -> Arg {
    let mut list =
        |values: &Value| values.as_array().unwrap().iter().map(|value| arg(value, storages, tensors)).collect();
    match value {
        Value::Null => Arg::None,
        Value::Bool(x) => Arg::Bool(*x),
        Value::String(x) => Arg::Text(x.clone()),
        Value::Array(_) => Arg::List(list(value)),
        Value::Object(object) if object.contains_key("list") => Arg::List(list(&value["list"])),
        Value::Object(object) if object.contains_key("tuple") => Arg::Tuple(list(&value["tuple"])),
        Value::Object(object) if object.contains_key("ellipsis") => Arg::Ellipsis,
        Value::Object(object) if object.contains_key("slice") => {
            let bound = |i: usize| value["slice"][i].as_i64().map(|x| x as isize);
            Arg::Slice([bound(0), bound(1), bound(2)])
        }
        Value::Object(object) if object.contains_key("tensor") => {
            tensors.push(Tensor {
                storage: storages.get(text(&value["tensor"])).clone(),
                shape: integers(&value["shape"]).into_iter().map(|size| size as usize).collect(),
                strides: integers(&value["strides"]).into_iter().map(|stride| stride as isize).collect(),
                offset: value["offset"].as_u64().unwrap() as usize,
            });
            Arg::Tensor(tensors.len() - 1)
        }
        _ => Arg::Number(number(value)),
    }
}

/// A case on its way through the kernels.
pub(crate) struct Call<'a> {
    pub(crate) exec: &'a Exec,
    pub(crate) case: &'a Case,
}

/// What the kernels gave: the outputs, and for each tensor its gradient.
#[derive(Default)]
pub(crate) struct Ran {
    pub(crate) outputs: Vec<Vec<f64>>,
    pub(crate) grads: Vec<(usize, Vec<f64>)>,
}

/// What an operation writes to an output of NaN.
pub(crate) fn made(shape: &[usize], op: impl FnOnce(ViewMut<'_>) -> handgrad::kernels::Result<()>) -> Vec<f32> {
    let mut values = vec![f32::NAN; shape.iter().product()];
    op(ViewMut::new(&mut values, shape).unwrap()).unwrap();
    values
}

impl Ran {
    pub(crate) fn output(&mut self, values: &[f32]) {
        self.outputs.push(values.iter().map(|&x| x.into()).collect());
    }

    pub(crate) fn indices(&mut self, values: &[i64]) {
        self.outputs.push(values.iter().map(|&x| x as f64).collect());
    }

    pub(crate) fn grad(&mut self, number: usize, values: &[f32]) {
        self.grads.push((number, values.iter().map(|&x| x.into()).collect()));
    }
}
