//! PyTorch's own sample inputs for every operation: forward and every gradient, contiguous and strided, on each tier.

#[path = "opinfo/case.rs"]
mod case;
mod common;
#[path = "opinfo/rows.rs"]
mod rows;

use case::{Call, Case, Storages, Want};
use handgrad::{Exec, Isa};

/// PyTorch's tolerance for float32; where its own float32 misses that, twice its error.
fn close(got: f64, want: f64, f32_error: f64) -> bool {
    let allowed = 1e-5 + 1.3e-6 * want.abs();
    let allowed = if f32_error > allowed { 2.0 * f32_error } else { allowed };
    got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() <= allowed
}

fn compare(what: &str, got: &[f64], want: &Want) -> Result<(), String> {
    if got.len() != want.values.len() {
        return Err(format!("{what}: {} elements, wanted {}", got.len(), want.values.len()));
    }
    let error = |place: usize| (got[place] - want.values[place]).abs();
    let wrong = (0..got.len()).filter(|&place| !close(got[place], want.values[place], want.f32_error));
    match wrong.max_by(|&a, &b| error(a).total_cmp(&error(b))) {
        None => Ok(()),
        Some(place) => Err(format!(
            "{what}: element {place} of {:?} is {:e}, wanted {:e}",
            want.shape, got[place], want.values[place]
        )),
    }
}

/// Runs a case on every tier; `None` if no row runs its operation.
fn run(case: &Case) -> Option<Result<(), String>> {
    let row = rows::find(case)?;
    Some(Isa::available().try_for_each(|isa| {
        let exec = Exec::serial().unwrap().with_isa(isa);
        let ran = row(&Call { exec: &exec, case });
        if ran.outputs.len() != case.outputs.len() {
            return Err(format!("{isa}: {} outputs, wanted {}", ran.outputs.len(), case.outputs.len()));
        }
        for (number, (got, want)) in ran.outputs.iter().zip(&case.outputs).enumerate() {
            compare(&format!("{isa}: output {number}"), got, want)?;
        }
        for (number, want) in &case.grads {
            let Some((_, got)) = ran.grads.iter().find(|(other, _)| other == number) else {
                return Err(format!("{isa}: no gradient of tensor {number}"));
            };
            compare(&format!("{isa}: gradient of tensor {number}"), got, want)?;
        }
        Ok(())
    }))
}

#[test]
fn opinfo() {
    let cases = case::all(&Storages::open());
    assert!(!cases.is_empty());
    let (mut passed, mut failed, mut unsupported) = (0, 0, std::collections::BTreeMap::<&str, usize>::new());
    for case in &cases {
        match run(case) {
            None => *unsupported.entry(&case.op).or_default() += 1,
            Some(Ok(())) => passed += 1,
            Some(Err(wrong)) => {
                println!("{}: {wrong}", case.id);
                failed += 1;
            }
        }
    }
    for (op, cases) in &unsupported {
        println!("{op}: {cases} cases, no kernel");
    }
    let unsupported: usize = unsupported.values().sum();
    println!("opinfo: {} cases, {passed} passed, {failed} failed, {unsupported} unsupported", cases.len());
    assert_eq!((failed, unsupported), (0, 0));
}

#[test]
fn a_wrong_value_is_found() {
    let want = Want { values: vec![1.0, f64::NAN], shape: vec![2], f32_error: 0.0 };
    assert!(compare("right", &[1.000_01, f64::NAN], &want).is_ok());
    assert!(compare("off", &[1.000_02, f64::NAN], &want).is_err());
    assert!(compare("a number for NaN", &[1.0, 0.0], &want).is_err());
    assert!(compare("too few", &[1.0], &want).is_err());
}
