//! Models and options that are not possible give errors that name the place; none panics, and none asks for memory that
//! no machine has.

use crate::{DENSE, TOKENS, biasless, linear, mlp};
use handgrad::{Activation, Adam, BatchNorm, Error, Exec, Group, Input, Layer, LayerNorm, Members, Mlp, Optimizer};
use handgrad::{Options, RmsProp, Schedule, Sgd, Trainer};

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

#[test]
fn settings_of_optimisers_and_groups() {
    let of = |optimizer| Options { optimizer, ..Options::default() };
    let mlp = mlp(DENSE, &[linear(3)]);
    let sgd = Sgd::default();
    refused(&mlp, of(Optimizer::Sgd(Sgd { nesterov: true, ..sgd })), &["nesterov"]);
    refused(&mlp, of(Optimizer::Sgd(Sgd { momentum: f32::NAN, ..sgd })), &["momentum"]);
    refused(&mlp, of(Optimizer::Sgd(Sgd { weight_decay: -1.0, ..sgd })), &["weight_decay", "-1"]);
    refused(&mlp, of(Optimizer::adamw(f32::NAN)), &["weight_decay"]);
    refused(&mlp, of(Optimizer::Adam(Adam { betas: [0.9, 1.0], ..Adam::default() })), &["betas", "got 1"]);
    refused(&mlp, of(Optimizer::RmsProp(RmsProp { alpha: 1.5, ..RmsProp::default() })), &["alpha", "1.5"]);
    let group = |group| Options { groups: vec![Group::no_decay(), group], ..Options::default() };
    let nobody = Group { members: Members::Embedding, lr: 1.0, weight_decay: None };
    refused(&mlp, group(nobody), &["options.groups[1]: members must be at least one parameter"]);
    let backwards = Group { members: Members::Named("layers".to_owned()), lr: -1.0, weight_decay: None };
    refused(&mlp, group(backwards), &["options.groups[1]: lr must be finite and at least 0, got -1"]);
    refused(&mlp, Options { clip_grad_norm: Some(0.0), ..Options::default() }, &["clip_grad_norm must be positive"]);
    let schedule = Schedule::Step { every: 0, gamma: 0.5 };
    refused(&mlp, Options { schedule, ..Options::default() }, &["every", "got 0"]);
}

#[test]
fn the_plan_says_what_is_fused() {
    let layers = [
        linear(20),
        Activation::Relu.into(),
        linear(20),
        BatchNorm::default().into(),
        Activation::Silu.into(),
        Layer::Residual(vec![LayerNorm::default().into(), Activation::Tanh.into(), biasless(20)]),
        Activation::Sigmoid.into(),
        Layer::Dropout { p: 0.5 },
        linear(3),
    ];
    let trainer = build(&mlp(TOKENS, &layers), Options::default()).unwrap();
    let lines = [
        "input: 3 of 9 tokens, 4 numbers each, side by side",
        "  0: linear 12 -> 20 + bias, then Relu in the same pass",
        "  1: linear 20 -> 20 + bias; backward through the activation of 0 in the same pass",
        "  2: batch norm of 20, then Silu in a pass of its own, keeping what it is given",
        "  3: residual block 0 begins; backward through the activation of 2 in a pass of its own",
        "  4: layer norm of 20, then Tanh in the same pass",
        "  5: linear 20 -> 20; backward through the activation of 4 in the same pass",
        "  6: residual block 0 ends: + what it was given",
        "  7: Sigmoid of 20",
        "  8: dropout of 20 with 0.5; backward through the activation of 7 in a pass of its own",
        "  9: linear 20 -> 3 + bias",
        "outputs: 3",
    ];
    assert_eq!(trainer.plan().to_string().lines().collect::<Vec<_>>(), lines);
}
