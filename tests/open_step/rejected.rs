//! What cannot be done is refused with a text that names it, and leaves every bit as it was.

use crate::{DENSE, Snapshot, TOKENS, data, linear, mlp, norm};
use handgrad::kernels::view::Mat;
use handgrad::{Activation, Error, Exec, Input, Inputs, Mlp, Options, Predictor, Trainer, Variance};

const MAX_BATCH: usize = 8;

fn tokens() -> Mlp {
    mlp(TOKENS, &[linear(5), norm(Variance::Unbiased), Activation::Tanh.into(), linear(4)])
}

fn dense() -> Mlp {
    mlp(DENSE, &[linear(5), norm(Variance::Biased), Activation::Sigmoid.into(), linear(4)])
}

fn trainer(mlp: &Mlp) -> Trainer {
    Trainer::new(mlp, Options { max_batch: MAX_BATCH, ..Options::default() }, &Exec::serial().unwrap()).unwrap()
}

/// A batch that must be refused, and what the text must say of it.
struct Bad<'a> {
    x: Inputs<'a>,
    y: &'a [i64],
    says: &'a [&'a str],
}

/// How far a trainer is when it gets the bad batch.
#[derive(Clone, Copy, Debug)]
enum State {
    New,
    Stepped,
    Forward,
    Backward,
    Updated,
}

impl State {
    const ALL: [State; 5] = [State::New, State::Stepped, State::Forward, State::Backward, State::Updated];

    fn reach(self, trainer: &mut Trainer, x: Inputs<'_>, y: &[i64]) {
        match self {
            State::New => {}
            State::Stepped => drop(trainer.step(x, y).unwrap()),
            State::Forward => drop(trainer.forward(x).unwrap()),
            State::Backward => {
                trainer.forward(x).unwrap();
                trainer.backward(y).unwrap();
            }
            State::Updated => {
                State::Backward.reach(trainer, x, y);
                trainer.update().unwrap();
            }
        }
    }
}

/// Whether the text of an error names all this, or what it lacks.
fn tells(error: &Error, says: &[&str]) -> Result<(), String> {
    let text = error.to_string();
    match says.iter().find(|part| !text.contains(**part)) {
        None => Ok(()),
        Some(part) => Err(format!("`{text}` does not say `{part}`")),
    }
}

fn expect(what: &str, error: &Error, says: &[&str]) {
    tells(error, says).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
}

/// Offers each bad batch in each state, to `step`, `forward` and a predictor, and sees that nothing has changed.
fn refuse_all(mlp: &Mlp, bad: &[Bad<'_>]) {
    let (x, y) = data(mlp, MAX_BATCH, 1);
    for state in State::ALL {
        let mut trainer = trainer(mlp);
        trainer.step(&x, &y).unwrap();
        state.reach(&mut trainer, (&x).into(), &y);
        let before = Snapshot::of(&trainer);
        for Bad { x, y, says } in bad {
            let what = format!("{state:?}, {says:?}");
            expect(&what, &trainer.step(*x, *y).unwrap_err(), says);
            assert_eq!(Snapshot::of(&trainer), before, "{what}, step");
            // A batch whose labels alone are bad has outputs.
            if !says.contains(&"label") {
                expect(&what, &trainer.forward(*x).unwrap_err(), says);
                assert_eq!(Snapshot::of(&trainer), before, "{what}, forward");
            }
        }
        // And it goes on as if nothing had been.
        let mut other = self::trainer(mlp);
        other.step(&x, &y).unwrap();
        state.reach(&mut other, (&x).into(), &y);
        assert_eq!(trainer.step(&x, &y).unwrap().to_bits(), other.step(&x, &y).unwrap().to_bits());
        assert_eq!(Snapshot::of(&trainer), Snapshot::of(&other));
    }
}

#[test]
fn bad_batches_of_tokens() {
    let good = [1, 2, 3, 4, 5, 6];
    let eight = [0, 8, 0, 8, 0, 8];
    let bad = |x, y, says| Bad { x: Inputs::Tokens(x), y, says };
    refuse_all(
        &tokens(),
        &[
            bad(&[1, 2, 3, 4, 9, 6], &[0, 1], &["token 9", "sample 1", "0..9"]),
            bad(&[1, 2, -1, 4, 5, 6], &[0, 1], &["token -1", "sample 0", "0..9"]),
            bad(&[1, 2, i64::MAX, 4, 5, 6], &[0, 1], &["token 9223372036854775807", "sample 0"]),
            bad(&[i64::MIN, 2, 3, 4, 5, 6], &[0, 1], &["token -9223372036854775808"]),
            bad(&good[..5], &[0, 1], &["multiple of 3 tokens", "got 5"]),
            bad(&[], &[], &["number of samples", "between 1 and 8", "got 0"]),
            bad(&[1; 27], &[0; 9], &["number of samples", "between 1 and 8", "got 9"]),
            bad(&good[..3], &[0], &["at least 2 where a batch is normalised", "got 1"]),
            bad(&eight, &[0, 4], &["label", "label 4", "sample 1", "0..4"]),
            bad(&eight, &[-1, 3], &["label", "label -1", "sample 0", "0..4"]),
            bad(&good, &[0], &["label", "number of labels", "must be 2", "got 1"]),
            bad(&good, &[0, 1, 2], &["label", "number of labels", "must be 2", "got 3"]),
            Bad { x: Inputs::Dense(&[1.0; 6]), y: &[0, 1], says: &["input", "must be tokens", "got numbers"] },
        ],
    );
}

#[test]
fn bad_batches_of_numbers() {
    let seven = [0.5; 7 * 3];
    let narrow = Mat::new(&seven, 3, 7).unwrap();
    let none = Mat::new(&[], 0, 6).unwrap();
    let long = [0.1; 6 * 9];
    refuse_all(
        &dense(),
        &[
            Bad { x: narrow.into(), y: &[0, 1, 2], says: &["width of the input", "must be 6", "got 7"] },
            Bad { x: none.into(), y: &[], says: &["number of samples", "got 0"] },
            Bad { x: Inputs::Dense(&[]), y: &[], says: &["number of samples", "got 0"] },
            Bad { x: Inputs::Dense(&long[..13]), y: &[0, 1], says: &["multiple of 6 numbers", "got 13"] },
            Bad { x: Inputs::Dense(&long), y: &[0; 9], says: &["number of samples", "got 9"] },
            Bad { x: Inputs::Dense(&long[..6]), y: &[0], says: &["at least 2 where a batch is normalised"] },
            Bad { x: Inputs::Dense(&long[..12]), y: &[0, 7], says: &["label", "label 7", "sample 1"] },
            Bad { x: Inputs::Tokens(&[1; 12]), y: &[0, 1], says: &["input", "must be numbers", "got tokens"] },
        ],
    );
}

#[test]
fn a_batch_of_one_is_fine_without_a_norm() {
    let mlp = mlp(TOKENS, &[linear(5), Activation::Tanh.into(), linear(4)]);
    assert!(trainer(&mlp).step(&[1, 2, 3][..], &[2][..]).unwrap() > 0.0);
}

#[test]
fn bad_targets_after_a_forward_pass() {
    let mlp = tokens();
    let (x, y) = data(&mlp, 3, 1);
    let mut trainer = trainer(&mlp);
    for backward_before in [false, true] {
        trainer.forward(&x).unwrap();
        if backward_before {
            trainer.backward(&y).unwrap();
        }
        let before = Snapshot::of(&trainer);
        let zeros = [0.0; 16];
        expect("label", &trainer.backward(&[0, 1, 4][..]).unwrap_err(), &["label 4", "sample 2", "0..4"]);
        expect("count", &trainer.backward(&[0, 1][..]).unwrap_err(), &["number of labels", "must be 3", "got 2"]);
        for (rows, cols) in [(4, 4), (3, 5), (4, 3), (0, 4), (3, 0)] {
            let d_outputs = Mat::new(&zeros[..rows * cols], rows, cols).unwrap();
            let got = format!("got {rows}x{cols}");
            let error = trainer.backward_with(d_outputs).unwrap_err();
            expect("shape", &error, &["gradient of the outputs", "must be 3x4", &got]);
        }
        assert_eq!(Snapshot::of(&trainer), before);
    }
    trainer.backward(&y).unwrap();
    trainer.update().unwrap();
}

#[test]
fn bad_samples_for_a_predictor() {
    let mlp = tokens();
    let mut trainer = trainer(&mlp);
    let before = Snapshot::of(&trainer);
    let mut predictor = Predictor::new(&trainer).unwrap();
    let mut outputs = [7.0; 8];
    let bad: [(&[i64], &[i64], &[&str]); 4] = [
        (&[1, 2, 3, 4, 5, 9], &[0, 1], &["token 9", "sample 1"]),
        (&[1, 2], &[0, 1], &["multiple of 3 tokens", "got 2"]),
        (&[], &[], &["number of samples", "got 0"]),
        (&[1, 2, 3], &[5], &["must be"]),
    ];
    for (x, y, says) in bad {
        expect("predict", &predictor.predict(x, &mut outputs).unwrap_err(), says);
        expect("loss", &predictor.loss(x, y).unwrap_err(), says);
    }
    expect(
        "length",
        &predictor.predict(&[1, 2, 3][..], &mut outputs).unwrap_err(),
        &["`outputs`", "must be 4", "got 8"],
    );
    assert_eq!(outputs, [7.0; 8]);
    for (x, says) in [(&[1, 2, 3][..], "at least 2"), (&[1, 2, 3, 4, 5, -9][..], "token -9"), (&[][..], "got 0")] {
        expect("calibrate", &trainer.calibrate(x).unwrap_err(), &[says]);
        assert_eq!(Snapshot::of(&trainer), before);
    }
}

#[test]
fn what_is_not_there_is_not_given() {
    let mlp = dense();
    let (x, y) = data(&mlp, 3, 1);
    let mut trainer = trainer(&mlp);
    let d_outputs = [0.5; 12];
    let d_outputs = Mat::new(&d_outputs, 3, 4).unwrap();
    let (first, second, fused) = (Some("`forward`"), Some("`backward`"), Some("a whole `step`"));
    let check = |trainer: &mut Trainer, outputs: Option<&str>, grads: Option<&str>| {
        let told = |result: Result<(), Error>, want: Option<&str>| match (result, want) {
            (Ok(()), None) => {}
            (Err(error), Some(want)) => expect("state", &error, &[want, "not available"]),
            (result, want) => panic!("{result:?}, wanted {want:?}"),
        };
        told(trainer.outputs().map(drop), outputs);
        told(trainer.grads().map(drop), grads);
        told(trainer.grads_mut().map(drop), grads);
        told(trainer.grad("layers.0.weight").map(drop), grads);
        assert!(matches!(trainer.d_input(), Err(Error::NotAvailable { .. })), "input_gradient was not asked for");
    };
    check(&mut trainer, first, second);
    expect("backward", &trainer.backward(&y).unwrap_err(), &["`forward`"]);
    expect("backward_with", &trainer.backward_with(d_outputs).unwrap_err(), &["`forward`"]);
    expect("update", &trainer.update().unwrap_err(), &["`backward`"]);

    trainer.forward(&x).unwrap();
    check(&mut trainer, None, second);
    expect("update", &trainer.update().unwrap_err(), &["`backward`"]);

    trainer.backward(&y).unwrap();
    check(&mut trainer, None, None);
    expect("d_input", &trainer.d_input().unwrap_err(), &["gradient of the input", "`input_gradient`"]);

    // A second gradient of the same outputs is allowed, and replaces the first.
    trainer.backward_with(d_outputs).unwrap();
    check(&mut trainer, None, None);

    trainer.update().unwrap();
    check(&mut trainer, first, second);
    expect("update", &trainer.update().unwrap_err(), &["`backward`"]);
    expect("backward", &trainer.backward(&y).unwrap_err(), &["`forward`"]);

    trainer.step(&x, &y).unwrap();
    check(&mut trainer, None, fused);
    expect("update", &trainer.update().unwrap_err(), &["a whole `step`"]);
    expect("backward", &trainer.backward(&y).unwrap_err(), &["`forward`"]);
    expect("backward_with", &trainer.backward_with(d_outputs).unwrap_err(), &["`forward`"]);
}

#[test]
fn names_that_are_unknown() {
    let mut trainer = trainer(&tokens());
    let names: Vec<_> = trainer.names().map(str::to_owned).collect();
    let layers = ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"];
    assert_eq!(names, [&["embedding.weight"], &layers[..], &["layers.3.weight", "layers.3.bias"]].concat());
    let running: Vec<_> = trainer.running_names().collect();
    assert_eq!(running, ["layers.1.running_mean", "layers.1.running_var"]);
    let all = ["`layers.2.weight`", "embedding.weight", "layers.3.bias"];
    expect("param", &trainer.param("layers.2.weight").unwrap_err(), &all);
    expect("param_mut", &trainer.param_mut("layers.2.weight").unwrap_err(), &all);
    expect("running", &trainer.running("layers.1.weight").unwrap_err(), &["`layers.1.weight`", "layers.1.running_var"]);
    let (x, y) = data(&tokens(), 2, 1);
    trainer.forward(&x).unwrap();
    trainer.backward(&y).unwrap();
    expect("grad", &trainer.grad("").unwrap_err(), &["``", "embedding.weight"]);
    for (name, shape) in
        [("embedding.weight", vec![9, 4]), ("layers.0.weight", vec![5, 12]), ("layers.0.bias", vec![5])]
    {
        assert_eq!(trainer.param(name).unwrap().shape(), shape, "{name}");
        assert_eq!(trainer.grad(name).unwrap().shape(), shape, "{name}");
    }
}

#[test]
fn the_gradient_of_tokens_and_of_a_dense_input_asked_for_is_there_after_a_fused_step() {
    for input in [TOKENS, DENSE] {
        let mlp = mlp(input, &[linear(5), Activation::Tanh.into(), linear(4)]);
        let (x, y) = data(&mlp, 3, 1);
        let options =
            Options { max_batch: 3, input_gradient: matches!(input, Input::Dense { .. }), ..Options::default() };
        let new = || Trainer::new(&mlp, options.clone(), &Exec::serial().unwrap()).unwrap();
        let (mut fused, mut passes) = (new(), new());
        assert!(fused.d_input().is_err());
        passes.forward(&x).unwrap();
        assert!(passes.d_input().is_err());
        passes.backward(&y).unwrap();
        fused.step(&x, &y).unwrap();
        let of = |trainer: &Trainer| Snapshot::of(trainer).d_input.unwrap();
        assert_eq!(of(&fused).len(), 3 * input.width().unwrap());
        assert_eq!(of(&fused), of(&passes));
    }
}

#[test]
fn a_changed_trainer_is_found() {
    let mlp = tokens();
    let (x, y) = data(&mlp, 3, 1);
    let mut trainer = trainer(&mlp);
    let before = Snapshot::of(&trainer);
    trainer.forward(&x).unwrap();
    let forward = Snapshot::of(&trainer);
    assert_ne!(forward, before, "a forward pass moves the running statistics");
    assert_ne!(forward.running, before.running);
    trainer.backward(&y).unwrap();
    assert!(Snapshot::of(&trainer).grads.is_some_and(|grads| grads.iter().any(|&d| d != 0)));
    trainer.param_mut("layers.3.bias").unwrap().set(&[1], 3.0).unwrap();
    assert_ne!(Snapshot::of(&trainer).params, before.params);
    assert!(tells(&Error::TooLarge, &["memory", "label 4"]).unwrap_err().ends_with("does not say `label 4`"));
}
