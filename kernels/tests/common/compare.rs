//! Comparisons that fail with the worst element and its place.

use std::fmt::Display;

/// Half the distance from 1 to the next float: the relative error of one rounding.
pub(crate) const ROUNDING: f64 = f32::EPSILON as f64 / 2.0;

/// The relative error that `n` roundings one after the other can make.
pub(crate) fn gamma(n: usize) -> f64 {
    let nu = n as f64 * ROUNDING;
    nu / (1.0 - nu)
}

/// Fails unless each element of `got` is within its tolerance of `want`; both in rows of `cols`. NaN is within every
/// tolerance of NaN and of nothing else. Returns the largest share of a tolerance that was used.
pub(crate) fn assert_close(
    what: impl Display,
    cols: usize,
    got: &[f32],
    want: impl IntoIterator<Item = f64>,
    tolerance: impl IntoIterator<Item = f64>,
) -> f64 {
    let (mut want, mut tolerance) = (want.into_iter(), tolerance.into_iter());
    let (mut worst, mut bad) = ((0.0, 0.0, 0, 0.0, 0.0), 0);
    for (place, &got) in got.iter().enumerate() {
        let want = want.next().unwrap_or_else(|| panic!("{what}: no reference for element {place}"));
        let tolerance = tolerance.next().unwrap_or_else(|| panic!("{what}: no tolerance for element {place}"));
        let got = f64::from(got);
        if got == want || (got.is_nan() && want.is_nan()) {
            continue;
        }
        let error = (got - want).abs();
        let share = if tolerance > 0.0 && error.is_finite() { error / tolerance } else { f64::INFINITY };
        bad += usize::from(share > 1.0);
        if (share, error) > (worst.0, worst.1) || error.is_nan() {
            worst = (share, error, place, want, tolerance);
        }
    }
    assert!(want.next().is_none(), "{what}: {} elements came, the reference has more", got.len());
    let (share, error, place, want, tolerance) = worst;
    assert!(
        share <= 1.0,
        "{what}: {bad} of {} elements are off; worst at ({}, {}): got {:e}, want {want:e}, error {error:e} = {share:.3} \
         of the tolerance {tolerance:e}",
        got.len(),
        place / cols,
        place % cols,
        got[place],
    );
    share
}

/// Fails unless `got` and `want` are the same bits, all NaN being one; both in rows of `cols`.
pub(crate) fn assert_same_bits(what: impl Display, cols: usize, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    let distance = |a: f32, b: f32| {
        let ordered =
            |x: f32| if x.is_sign_negative() { -i64::from(x.abs().to_bits()) } else { i64::from(x.to_bits()) };
        if a.is_nan() || b.is_nan() { i64::MAX } else { (ordered(a) - ordered(b)).abs() }
    };
    let pairs = || got.iter().zip(want).enumerate().filter(|(_, (a, b))| !same(**a, **b));
    if let Some((place, (a, b))) = pairs().max_by_key(|(_, (a, b))| distance(**a, **b)) {
        panic!(
            "{what}: {} of {} elements differ in their bits; worst at ({}, {}): got {a:e} ({:#010x}), want {b:e} \
             ({:#010x})",
            pairs().count(),
            got.len(),
            place / cols,
            place % cols,
            a.to_bits(),
            b.to_bits(),
        );
    }
}
