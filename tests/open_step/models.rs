//! Models and options that are not possible give errors that name the place; none panics, and none asks for memory that
//! no machine has.

#[cfg(target_pointer_width = "64")]
use crate::biasless;
use crate::{DENSE, TOKENS, linear, mlp};
use handgrad::{Activation, BatchNorm, Error, Exec, Input, Mlp, Options, Trainer};

fn build(mlp: &Mlp, options: Options) -> Result<Trainer, Error> {
    Trainer::new(mlp, options, &Exec::serial().unwrap())
}

fn refused(mlp: &Mlp, options: Options, says: &[&str]) {
    let asked = format!("{mlp:?}, {options:?}");
    let text = build(mlp, options).map(drop).unwrap_err().to_string();
    for part in says {
        assert!(text.contains(part), "`{text}` does not say `{part}`: {asked}");
    }
}

#[test]
fn sizes_of_zero() {
    let default = Options::default();
    let tokens = |vocab, context, embedding| mlp(Input::Tokens { vocab, context, embedding }, &[linear(3)]);
    refused(&tokens(0, 3, 2), default.clone(), &["input: vocab must be at least 1, got 0"]);
    refused(&tokens(9, 0, 2), default.clone(), &["input: context must be at least 1, got 0"]);
    refused(&tokens(9, 3, 0), default.clone(), &["input: embedding must be at least 1, got 0"]);
    refused(&mlp(Input::Dense { features: 0 }, &[]), default.clone(), &["input: features must be at least 1, got 0"]);
    refused(&mlp(DENSE, &[linear(3), linear(0)]), default.clone(), &["layers[1]: outputs must be at least 1, got 0"]);
    let none = Options { max_batch: 0, ..default.clone() };
    refused(&mlp(DENSE, &[linear(3)]), none, &["options: max_batch must be at least 1, got 0"]);
}

#[test]
fn numbers_out_of_range() {
    let good = mlp(DENSE, &[linear(3)]);
    for (lr, got) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let says = ["options: lr must be finite", got];
        refused(&good, Options { lr, ..Options::default() }, &says);
        let mut trainer = build(&good, Options::default()).unwrap();
        let text = trainer.set_lr(lr).unwrap_err().to_string();
        assert!(says.iter().all(|part| text.contains(part)), "{text}");
        assert_eq!(trainer.lr(), 0.1);
    }
    let norm = |eps, momentum| {
        let norm = BatchNorm { eps, momentum, ..BatchNorm::default() };
        mlp(DENSE, &[Activation::Tanh.into(), norm.into(), linear(3)])
    };
    for eps in [-1e-9, f32::NAN, f32::INFINITY] {
        refused(&norm(eps, 0.1), Options::default(), &["layers[1]: eps must be finite and at least 0", "got"]);
    }
    for momentum in [-0.1, 1.1, f32::NAN] {
        refused(&norm(1e-5, momentum), Options::default(), &["layers[1]: momentum must be between 0 and 1", "got"]);
    }
    for (eps, momentum) in [(0.0, 0.0), (1.0, 1.0)] {
        build(&norm(eps, momentum), Options::default()).unwrap();
    }
    // A rate of zero or below it is odd, and allowed: the first to look at gradients only, the second to climb.
    for lr in [0.0, -0.1] {
        build(&good, Options { lr, ..Options::default() }).unwrap();
    }
}

/// Sizes no machine has room for, around the places where products and strides overflow.
#[cfg(target_pointer_width = "64")]
const HUGE: [usize; 10] = [
    1 << 50,
    1 << 56,
    (1 << 57) - 1,
    1 << 57,
    1 << 60,
    (1 << 61) - 16,
    1 << 62,
    isize::MAX as usize,
    usize::MAX - 15,
    usize::MAX,
];

#[test]
#[cfg(target_pointer_width = "64")]
fn sizes_that_no_memory_holds() {
    let default = Options::default();
    let too_large = |mlp: &Mlp, options: Options| {
        let error = build(mlp, options.clone()).map(drop).unwrap_err();
        assert_eq!(error, Error::TooLarge, "{mlp:?}, {options:?}");
        assert!(error.to_string().contains("memory"));
    };
    for n in HUGE {
        for layers in [
            vec![],
            vec![linear(3)],
            vec![Activation::Tanh.into()],
            vec![BatchNorm::default().into()],
            vec![biasless(1)],
        ] {
            too_large(&mlp(Input::Dense { features: n }, &layers), default.clone());
            too_large(&mlp(Input::Tokens { vocab: 3, context: n, embedding: 1 }, &layers), default.clone());
            too_large(&mlp(Input::Tokens { vocab: 3, context: 2, embedding: n }, &layers), default.clone());
            too_large(&mlp(Input::Tokens { vocab: n, context: 2, embedding: 1 }, &layers), default.clone());
            for input in [TOKENS, DENSE] {
                too_large(&mlp(input, &layers), Options { max_batch: n, ..default.clone() });
            }
        }
        too_large(&mlp(DENSE, &[linear(n)]), default.clone());
        too_large(&mlp(DENSE, &[linear(n), Activation::Tanh.into(), linear(2)]), default.clone());
        too_large(&mlp(TOKENS, &[linear(2), biasless(n), BatchNorm::default().into()]), default.clone());
    }
    // Each fits, their products do not.
    let (a, b) = (1 << 31, 1 << 32);
    too_large(&mlp(Input::Dense { features: a }, &[linear(b)]), default.clone());
    too_large(&mlp(Input::Tokens { vocab: 3, context: b, embedding: b }, &[linear(1)]), default.clone());
    too_large(&mlp(Input::Tokens { vocab: b, context: 1, embedding: a }, &[linear(1)]), default.clone());
    too_large(&mlp(Input::Dense { features: b }, &[]), Options { max_batch: a, ..default.clone() });
    too_large(&mlp(DENSE, &[linear(a), Activation::Tanh.into()]), Options { max_batch: b, ..default.clone() });
}

#[test]
fn what_a_model_says_of_itself() {
    assert_eq!(mlp(DENSE, &[]).outputs().unwrap(), 6);
    assert_eq!(mlp(TOKENS, &[Activation::Tanh.into()]).outputs().unwrap(), 12);
    assert_eq!(mlp(TOKENS, &[linear(7), Activation::Sigmoid.into()]).outputs().unwrap(), 7);
    let trainer = build(&mlp(TOKENS, &[linear(7)]), Options { max_batch: 5, lr: 0.25, ..Options::default() }).unwrap();
    assert_eq!((trainer.max_batch(), trainer.output_width(), trainer.lr()), (5, 7, 0.25));
    assert!(build(&mlp(TOKENS, &[linear(0)]), Options::default()).is_err(), "the checker takes an error for one");
}
