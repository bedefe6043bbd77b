//! One test for each class of bug that libraries of this kind were seen to have, named after it, and tried through safe
//! public functions: what is wrong is an error, and not a bit of an output has changed; what is right has the right
//! numbers, and the same bits however it is asked for. In brackets, one place where the class was met.

#[path = "bug_classes/gradients.rs"]
mod gradients;
#[path = "../kernels/tests/common/mod.rs"]
mod kernels;
#[path = "bug_classes/layouts.rs"]
mod layouts;
#[path = "bug_classes/numbers.rs"]
mod numbers;
#[path = "../kernels/tests/conformance/problem.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod problem;
#[path = "bug_classes/refusals.rs"]
mod refusals;
#[path = "bug_classes/shapes.rs"]
mod shapes;

/// What [`problem`] looks for beside itself.
mod common {
    pub(crate) use crate::kernels::*;
}

/// What an output holds beforehand: NaN, with bits of its own.
const BEFORE: u32 = 0x7fc0_beef;

fn poisoned(len: usize) -> Vec<f32> {
    vec![f32::from_bits(BEFORE); len]
}

/// Fails unless `result` is an error whose text says all this, and not a bit of `outputs`, [`poisoned`] before, changed.
#[track_caller]
fn refused<T, E: std::fmt::Display>(result: Result<T, E>, says: &[&str], outputs: &[&[f32]]) {
    let Err(error) = result else { panic!("it was not refused; wanted {says:?}") };
    let text = error.to_string();
    for part in says {
        assert!(text.contains(part), "`{text}` does not say `{part}`");
    }
    for output in outputs {
        assert!(output.iter().all(|x| x.to_bits() == BEFORE), "`{text}`, and an output was written: {output:?}");
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| if x.is_nan() { f32::NAN } else { *x }.to_bits()).collect()
}

#[test]
fn a_written_output_and_an_accepted_call_are_found() {
    let wrong = |result: Result<(), &str>, says: &[&str], output: &[f32]| {
        let output = output.to_vec();
        let says: Vec<String> = says.iter().map(|&part| part.to_owned()).collect();
        let result = result.map_err(str::to_owned);
        std::panic::catch_unwind(move || {
            refused(result, &says.iter().map(String::as_str).collect::<Vec<_>>(), &[&output]);
        })
        .is_err()
    };
    assert!(!wrong(Err("`b` is bad"), &["`b`"], &poisoned(2)));
    assert!(wrong(Ok(()), &[], &poisoned(2)));
    assert!(wrong(Err("`b` is bad"), &["`c`"], &poisoned(2)));
    assert!(wrong(Err("`b` is bad"), &["`b`"], &[f32::from_bits(BEFORE), f32::NAN]));
}
