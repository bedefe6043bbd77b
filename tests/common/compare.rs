//! Comparisons that report the worst element and its place. They return what they found, so that a test can feed them
//! wrong answers.

/// How far a number may be from its reference: `atol + rtol·|want|`, as in `torch.allclose`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tolerance {
    pub(crate) rtol: f64,
    pub(crate) atol: f64,
}

impl Tolerance {
    /// The defaults of `torch.allclose`.
    pub(crate) const ALLCLOSE: Self = Self { rtol: 1e-5, atol: 1e-8 };

    pub(crate) const fn absolute(atol: f64) -> Self {
        Self { rtol: 0.0, atol }
    }

    /// A share of the largest number of the reference.
    pub(crate) fn of_largest(share: f64, want: &[f64]) -> Self {
        Self::absolute(share * want.iter().fold(0.0, |max: f64, x| max.max(x.abs())))
    }
}

/// Whether each element of `got` is within its tolerance of `want`: the largest error, or what is wrong. NaN is within
/// every tolerance of NaN and of nothing else.
pub(crate) fn within(shape: &[usize], got: &[f32], want: &[f64], tolerance: Tolerance) -> Result<f64, String> {
    if got.len() != want.len() || shape.iter().product::<usize>() != got.len() {
        return Err(format!("{} elements came, the reference has {}, shape {shape:?}", got.len(), want.len()));
    }
    let (mut largest, mut bad, mut worst) = (0.0, 0, (1.0, 0));
    for (place, (&got, &want)) in got.iter().zip(want).enumerate() {
        let got = f64::from(got);
        if got == want || (got.is_nan() && want.is_nan()) {
            continue;
        }
        let error = (got - want).abs();
        let allowed = tolerance.atol + tolerance.rtol * want.abs();
        let share = if error.is_finite() && allowed > 0.0 { error / allowed } else { f64::INFINITY };
        largest = if error.is_nan() { f64::INFINITY } else { error.max(largest) };
        if share > 1.0 {
            bad += 1;
            worst = if share > worst.0 { (share, place) } else { worst };
        }
    }
    if bad == 0 {
        return Ok(largest);
    }
    let (share, place) = worst;
    Err(format!(
        "{bad} of {} elements are off; worst at {:?}: got {:e}, want {:e}, {share:.3} times the tolerance ({tolerance:?})",
        got.len(),
        index(place, shape),
        got[place],
        want[place],
    ))
}

/// Fails unless [`within`]; the largest error.
#[track_caller]
pub(crate) fn assert_within(
    what: impl std::fmt::Display,
    shape: &[usize],
    got: &[f32],
    want: &[f64],
    tolerance: Tolerance,
) -> f64 {
    within(shape, got, want, tolerance).unwrap_or_else(|wrong| panic!("{what}: {wrong}"))
}

/// Whether two lists have the same bits, or the first place where they differ and how many do.
pub(crate) fn same_bits(got: &[u32], want: &[u32]) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{} numbers came, wanted {}", got.len(), want.len()));
    }
    let Some(place) = got.iter().zip(want).position(|(a, b)| a != b) else { return Ok(()) };
    let differ = got.iter().zip(want).filter(|(a, b)| a != b).count();
    let (a, b) = (f32::from_bits(got[place]), f32::from_bits(want[place]));
    Err(format!("{differ} of {} differ in their bits, first at {place}: got {a:e}, want {b:e}", got.len()))
}

/// The index in each axis of the element at a place in logical order.
fn index(mut place: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<_> = shape
        .iter()
        .rev()
        .map(|&size| {
            let i = place % size;
            place /= size;
            i
        })
        .collect();
    index.reverse();
    index
}
