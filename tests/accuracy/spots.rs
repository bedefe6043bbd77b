//! Whether the exact results are exact: against values that `mpmath` computed with 60 digits, in `mpmath_table.txt`,
//! which `mpmath_table.py` writes.

use crate::functions::{self, Direction};

/// How far an exact result may be off, in units of the last place of f32.
const LIMIT: f64 = 1.0 / 1_024.0;

fn table() -> impl Iterator<Item = (&'static str, &'static Direction, f32, f64)> {
    include_str!("mpmath_table.txt").lines().map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        let [name, direction, bits, value] = fields[..] else { panic!("{line}: four fields") };
        let function = functions::find(name);
        let direction = if direction == "forward" { &function.forward } else { &function.backward };
        (name, direction, f32::from_bits(u32::from_str_radix(bits, 16).unwrap()), value.parse().unwrap())
    })
}

/// The error of an exact result in units of the last place of the f32 nearest to it, or, where terms cancel, of that of
/// the terms.
fn off(direction: &Direction, x: f32, got: f64, value: f64) -> f64 {
    let power = f64::from_bits(value.to_bits() & (0x7ff << 52)).max(f32::MIN_POSITIVE.into());
    let terms = direction.terms.map_or(0.0, |terms| terms(x.into()));
    (got - value).abs() / power.max(terms) * 2f64.powi(23)
}

#[test]
fn exact_results_are_exact() {
    let mut worst = std::collections::BTreeMap::new();
    for (name, direction, x, value) in table() {
        let mut exact = [f64::NAN];
        (direction.exact)(&mut exact, &[x]);
        let off = off(direction, x, exact[0], value);
        assert!(
            off <= LIMIT,
            "{name} of {x:e} ({}): {:e}, wanted {value:e}, off by {off} ULP",
            direction.argument,
            exact[0]
        );
        let (lines, largest) = worst.entry(name).or_insert((0, 0.0_f64));
        *lines += 1;
        *largest = largest.max(off);
    }
    assert_eq!(worst.len(), functions::ALL.len());
    for (name, (lines, largest)) in worst {
        println!("{name}: {lines} spots, off by at most {largest:.1e} ULP");
        assert!(lines >= 40, "{name}: {lines} spots");
    }
}

#[test]
fn an_exact_result_that_is_off_is_found() {
    let function = functions::find("exp");
    assert_eq!(off(&function.forward, 1.0, 1.5, 1.5), 0.0);
    assert!(off(&function.forward, 1.0, 1.5 + 2f64.powi(-32), 1.5) > LIMIT);
    assert!(off(&function.forward, 1.0, f64::NAN, 1.5).is_nan());
    // One minus the square of a number near one: of the terms, not of their difference.
    let function = functions::find("tanh");
    assert!(off(&function.backward, 1.0, 2f64.powi(-40), 2f64.powi(-41)) < LIMIT);
    assert!(off(&function.backward, 1.0, 2f64.powi(-30), 2f64.powi(-41)) > LIMIT);
}
