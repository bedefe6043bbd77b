//! Errors in units of the last place.

/// How far a result may be from the exact one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// In units of the last place.
    pub(crate) ulp: f64,
    /// Or else as a share of the magnitudes of the formula's terms, where those can cancel.
    pub(crate) of_terms: f64,
}

/// The exponent of a number in f64, held to those of normal f32.
fn exponent(exact: f64) -> u64 {
    ((exact.to_bits() >> 52) & 0x7ff).clamp(1023 - 126, 1023 + 127)
}

/// The error of a finite `got` in units of the last place of a finite `exact`, the last place of a subnormal being that
/// of the smallest normal number. NaN or too large where one of them is not finite.
#[inline]
fn finite_error(got: f32, exact: f64) -> f64 {
    (f64::from(got) - exact).abs() * f64::from_bits((2046 + 23 - exponent(exact)) << 52)
}

/// The error of `got` in units of the last place of `exact`; infinite where NaN, an infinity or the sign of a zero is
/// not what it should be.
pub(crate) fn ulp_error(got: f32, exact: f64) -> f64 {
    if got.is_nan() || exact.is_nan() {
        return if got.is_nan() && exact.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if exact.is_infinite() || exact == 0.0 {
        return if f64::from(got).to_bits() == exact.to_bits() { 0.0 } else { f64::INFINITY };
    }
    // Past the largest float the next one would be 2^128.
    let limit = 2f64.powi(128);
    let error = (f64::from(got).clamp(-limit, limit) - exact.clamp(-limit, limit)).abs();
    error * f64::from_bits((2046 + 23 - exponent(exact)) << 52)
}

/// An error, and where.
#[derive(Clone, Copy, Default)]
pub(crate) struct At {
    pub(crate) error: f64,
    pub(crate) x: f32,
    pub(crate) got: f32,
    pub(crate) exact: f64,
}

impl At {
    fn see(&mut self, other: Self) {
        if other.error > self.error {
            *self = other;
        }
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} at {:e} ({:#010x})", self.error, self.x, self.x.to_bits())
    }
}

/// The largest errors of a function on one tier.
#[derive(Clone, Copy, Default)]
pub(crate) struct Worst {
    /// In units of the last place; where the terms may cancel, only errors within the limit.
    pub(crate) ulp: At,
    /// Of the errors beyond the limit in such units, the largest share of the terms.
    pub(crate) terms: At,
    /// How many errors are beyond the limit in such units.
    pub(crate) beyond: u64,
    /// How many results were measured.
    pub(crate) inputs: u64,
}

impl Worst {
    /// Measures results.
    pub(crate) fn see(&mut self, x: &[f32], got: &[f32], exact: &[f64], limit: Limit, terms: Option<fn(f64) -> f64>) {
        self.inputs += x.len() as u64;
        for ((&x, &got), &exact) in x.iter().zip(got).zip(exact) {
            if finite_error(got, exact) <= self.ulp.error && exact != 0.0 {
                continue;
            }
            let error = ulp_error(got, exact);
            match terms {
                Some(terms) if error > limit.ulp => {
                    let error = (f64::from(got) - exact).abs() / terms(x.into());
                    let error = if error.is_nan() { f64::INFINITY } else { error };
                    self.terms.see(At { error, x, got, exact });
                    self.beyond += 1;
                }
                _ => self.ulp.see(At { error, x, got, exact }),
            }
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.ulp.see(other.ulp);
        self.terms.see(other.terms);
        self.beyond += other.beyond;
        self.inputs += other.inputs;
    }

    /// What is over the limit, if anything is.
    pub(crate) fn over(&self, limit: Limit) -> Result<(), String> {
        let At { got, exact, .. } = self.ulp;
        if self.ulp.error > limit.ulp {
            return Err(format!("{} ULP, over {}: got {got:e}, exactly {exact:e}", self.ulp, limit.ulp));
        }
        let At { got, exact, .. } = self.terms;
        if self.terms.error > limit.of_terms {
            let (error, limit) = (self.terms.error * 2f64.powi(23), limit.of_terms * 2f64.powi(23));
            let x = self.terms.x;
            return Err(format!(
                "{error:.3} x 2^-23 of the terms at {x:e}, over {limit}: got {got:e}, exactly {exact:e}"
            ));
        }
        Ok(())
    }
}

#[test]
fn errors_are_counted_in_units_of_the_last_place() {
    let next = |x: f32, n: i32| f32::from_bits(x.to_bits().wrapping_add_signed(n));
    for (got, exact, want) in [
        (1.0, 1.0, 0.0),
        (next(1.0, 3), 1.0, 3.0),
        (next(1.0, -2), 1.0, 1.0),
        (1.0, 1.0 + 2f64.powi(-24), 0.5),
        (0.0, 2f64.powi(-150), 0.5),
        (f32::from_bits(7), 5.0 * 2f64.powi(-149), 2.0),
        (f32::INFINITY, f64::from(f32::MAX), 1.0),
        (f32::MAX, 1e300, 1.0),
        (f32::INFINITY, 1e300, 0.0),
    ] {
        assert_eq!(ulp_error(got, exact), want, "{got:e} for {exact:e}");
    }
    for (got, exact) in [
        (f32::NAN, 1.0),
        (1.0, f64::NAN),
        (f32::MAX, f64::INFINITY),
        (f32::NEG_INFINITY, f64::INFINITY),
        (-0.0, 0.0),
        (f32::MIN_POSITIVE, 0.0),
    ] {
        assert_eq!(ulp_error(got, exact), f64::INFINITY, "{got} for {exact}");
    }
    assert!(ulp_error(f32::INFINITY, 1.0) > 1e30);
}

#[test]
fn an_error_is_found() {
    let limit = Limit { ulp: 1.0, of_terms: 2f64.powi(-23) };
    let measured = |got: f32, exact: f64, terms: Option<fn(f64) -> f64>| {
        let mut worst = Worst::default();
        worst.see(&[3.0, 4.0, 5.0], &[1.0, got, 1.0], &[1.0, exact, 1.0], limit, terms);
        let mut all = Worst::default();
        all.merge(&worst);
        assert_eq!(all.inputs, 3);
        all.over(limit)
    };
    assert!(measured(1.0 + f32::EPSILON, 1.0, None).is_ok());
    let wrong = measured(1.0 + 2.0 * f32::EPSILON, 1.0, None).unwrap_err();
    assert!(wrong.starts_with("2.000 at 4e0 (0x40800000) ULP, over 1"), "{wrong}");
    for (got, exact) in [(f32::NAN, 1.0), (1.0, f64::NAN), (-0.0, 0.0), (f32::INFINITY, 1.0), (1.0, f64::INFINITY)] {
        assert!(measured(got, exact, None).is_err(), "{got} for {exact}");
        assert!(measured(got, exact, Some(|_| 1.0)).is_err() || got == exact as f32, "{got} for {exact}, of terms");
    }
    // Where terms cancel, the error of a small difference is large in its own units.
    assert!(measured(1e-7, 1.1e-7, Some(|_| 1.0)).is_ok());
    let wrong = measured(1e-7, 1.1e-7, Some(|_| 0.01)).unwrap_err();
    assert!(wrong.contains("of the terms at 4e0, over 1"), "{wrong}");
}
