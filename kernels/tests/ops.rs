//! What the conformance tests do not ask: the powers' special values and accuracy, what bad arguments give, and
//! picking.

mod common;

use common::random::Random;
use common::serial;
use common::tensor::{Layout, Tensor};
use common::tiers::{is_fused, on_every_tier};
use handgrad_kernels::op::{add, amax, gather, max, mul, pow, softmax, sum};
use handgrad_kernels::view::{View, ViewMut};
use handgrad_kernels::{ErrorKind, Exec, Isa};

fn power(exec: &Exec, a: &[f32], b: &[f32]) -> Vec<f32> {
    let mut y = vec![f32::NAN; a.len()];
    let shape = [a.len()];
    let (a, b) = (View::new(a, &shape).unwrap(), View::new(b, &shape).unwrap());
    pow::forward(exec, ViewMut::new(&mut y, &shape).unwrap(), a, b).unwrap();
    y
}

#[test]
fn powers_have_the_special_values_of_c() {
    let special = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.0,
        -0.0,
        1e-45,
        -1e-45,
        f32::MIN_POSITIVE,
        f32::MAX,
        f32::MIN,
        1.0,
        -1.0,
        0.5,
        -0.5,
        2.0,
        -2.0,
        3.0,
        -3.0,
        2.5,
        -2.5,
        16_777_215.0,
        -16_777_215.0,
        16_777_216.0,
        8_388_607.5,
    ];
    on_every_tier("powers", |isa| {
        let pairs = special.iter().flat_map(|&a| special.iter().map(move |&b| (a, b)));
        let (a, b): (Vec<f32>, Vec<f32>) = pairs.unzip();
        for (i, got) in power(&serial(isa), &a, &b).into_iter().enumerate() {
            let want = f64::from(a[i]).powf(b[i].into()) as f32;
            // A NaN that is not asked for a power, as C has it.
            let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
            let near = (got - want).abs() <= 4.0 * f32::EPSILON * want.abs();
            let rough = !is_fused(isa) && want.is_finite() && want != 0.0;
            assert!(same || near || rough, "{isa}: {:e}^{:e} is {got:e}, wanted {want:e}", a[i], b[i]);
        }
    });
}

#[test]
fn powers_are_within_their_bound() {
    let mut random = Random::new(1);
    let n = 2_000_000;
    let mut base = |_| f32::from_bits((random.bits() >> 33) as u32 % 0x7f80_0000);
    let a: Vec<f32> = (0..n).map(&mut base).collect();
    let mut random = Random::new(2);
    // Exponents that leave most results finite.
    let exponent = |a: f32, unit: f32| 88.0 * unit / f64::from(a).ln().abs().max(1e-3) as f32;
    let b: Vec<f32> = a.iter().map(|&a| exponent(a, random.unit())).collect();
    let mut worst = (0.0, 0.0, 0.0, 0.0);
    let isa = Isa::available().filter(|&isa| is_fused(isa)).last().expect("a fused tier");
    for ((&a, &b), got) in a.iter().zip(&b).zip(power(&serial(isa), &a, &b)) {
        let want = f64::from(a).powf(b.into());
        if want.abs() < f64::from(f32::MIN_POSITIVE) || want.abs() > f64::from(f32::MAX) {
            continue;
        }
        let place = 2f64.powi(((want.to_bits() >> 52) as i32 & 0x7ff) - 1023 - 23);
        let error = (f64::from(got) - want).abs() / place;
        if error > worst.0 {
            worst = (error, a, b, got);
        }
    }
    println!("pow on {isa}: at most {:.3} ULP, {:e}^{:e} = {:e}", worst.0, worst.1, worst.2, worst.3);
    assert!(worst.0 <= 2.0);
}

#[test]
fn bad_arguments_are_refused_before_anything_is_written() {
    let exec = Exec::serial().unwrap();
    let data = [1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0];
    let x = View::new(&data, &[2, 3]).unwrap();
    let mut y = Tensor::values(Layout::Dense, &[3, 2], &[7.0; 6]);
    let text = |result: handgrad_kernels::Result<()>| result.unwrap_err().to_string();
    assert_eq!(text(add::forward(&exec, y.view_mut(), x, x, 1.0)), "add::forward: `y` must be 2x3, got 3x2");
    let tall = View::new(&data, &[3, 2]).unwrap();
    assert_eq!(text(mul::forward(&exec, y.view_mut(), x, tall)), "mul::forward: `b` must be 2x3, got 3x2");
    assert_eq!(text(softmax::forward(&exec, y.view_mut(), x, 1)), "softmax::forward: `y` must be 2x3, got 3x2");
    assert_eq!(
        text(softmax::forward(&exec, y.view_mut(), tall, 2)),
        "softmax::forward: axis 2 is not valid for rank 2 (out of range)"
    );
    assert_eq!(
        text(sum::forward(&exec, y.view_mut(), x, &[0, -2])),
        "sum::forward: axis -2 is not valid for rank 2 (named twice)"
    );
    assert_eq!(text(amax::forward(&exec, y.view_mut(), x, 0)), "amax::forward: `y` must be 3, got 3x2");
    let index = [0_i64, 2, 1, 0, 0, 0];
    let index = View::new(&index, &[3, 2]).unwrap();
    let result = gather::forward(&exec, y.view_mut(), tall, index, 1);
    assert!(matches!(result.unwrap_err().kind(), ErrorKind::Index { position: 1, value: 2, bound: 2, .. }));
    let mut places = [-1_i64; 2];
    let places = ViewMut::new(&mut places, &[2]).unwrap();
    assert_eq!(text(max::forward(&exec, y.view_mut(), places, x, 1)), "max::forward: `values` must be 2, got 3x2");
    assert_eq!(y.to_vec(), [7.0; 6]);
}

#[test]
fn picking_and_putting_back_are_adjoint() {
    let exec = Exec::serial().unwrap();
    let x: Vec<f32> = (0..12).map(|i| i as f32).collect();
    let x = Tensor::values(Layout::Transposed, &[3, 4], &x);
    let index = Tensor::new(Layout::Reversed, &[2, 4], &[0, 2, 1, 0, 0, 2, 2, 1], -1_i64);
    let mut y = Tensor::poisoned(Layout::Padded, &[2, 4]);
    gather::forward(&exec, y.view_mut(), x.view(), index.view(), 0).unwrap();
    assert_eq!(y.to_vec(), [0.0, 9.0, 6.0, 3.0, 0.0, 9.0, 10.0, 7.0]);
    let dy: Vec<f32> = (1..=8).map(|i| i as f32).collect();
    let dy = Tensor::values(Layout::Stepped, &[2, 4], &dy);
    let mut dx = Tensor::poisoned(Layout::Swapped, &[3, 4]);
    gather::backward(&exec, dx.view_mut(), dy.view(), index.view(), 0).unwrap();
    assert_eq!(dx.to_vec(), [6.0, 0.0, 0.0, 4.0, 0.0, 0.0, 3.0, 8.0, 0.0, 8.0, 7.0, 0.0]);
    dx.assert_intact("dx");
}
