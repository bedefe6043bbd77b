//! How the learning rate moves from one update to the next.
//!
//! A rate is a function of a base rate and of the number `s` of updates done, 0 before the first, and of nothing else:
//! a run that goes on where another has stopped has the same rates. It is worked out in `f64` and rounded once, without
//! a function of a C library, and so is the same on every machine.
//!
//! Rates fall along half a wave of the cosine, from `a` to `b` while `t` goes from 0 to 1:
//!
//! ```text
//! wave(a, b, t) = b + (a - b)·(1 + cos πt)/2
//! ```

use crate::error::Result;
use crate::model::{number, size};
use std::f64::consts::PI;

/// How the learning rate moves with the number `s` of updates done. `lr` in the formulas is the base rate.
///
/// ```
/// use handgrad::Schedule;
/// let schedule = Schedule::Cosine { warmup: 2, total: 6, min_lr: 0.0 };
/// let rates: Vec<f32> = (0..7).map(|s| schedule.lr(1.0, s)).collect();
/// assert_eq!(rates, [0.5, 1.0, 1.0, 0.853_553_4, 0.5, 0.146_446_61, 0.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[non_exhaustive]
pub enum Schedule {
    /// `lr`
    #[default]
    Constant,
    /// `lr·gamma^⌊s/every⌋`, as PyTorch's `StepLR`.
    Step {
        /// Updates with the same rate, at least 1.
        every: u64,
        /// The factor from one such stretch to the next, finite and at least 0.
        gamma: f32,
    },
    /// `lr·(s + 1)/warmup` while `s < warmup`, then `lr`.
    Linear {
        /// Updates until the rate is `lr`; with 0 it is from the start.
        warmup: u64,
    },
    /// `lr·(s + 1)/warmup` while `s < warmup`, then `wave(lr, min_lr, t)` with `t = (s - warmup)/(total - warmup)`, and
    /// from `total` on `min_lr`.
    Cosine {
        /// Updates on the way up; there may be none.
        warmup: u64,
        /// Updates on the way up and down, more than `warmup`.
        total: u64,
        /// The rate at the end, finite and at least 0.
        min_lr: f32,
    },
    /// PyTorch's `OneCycleLR` with its cosine: up from `lr/div_factor` to `lr`, and down to
    /// `lr/(div_factor·final_div_factor)`.
    ///
    /// With `p = pct_start·total - 1` the rate is `wave(lr/div_factor, lr, s/p)` while `s <= p`, then
    /// `wave(lr, lr/(div_factor·final_div_factor), t)` with `t = (s - p)/(total - 1 - p)`. From `total - 1` on, which
    /// is the last update, it is the rate of the end. As in PyTorch the way up is left out if `p` is below 0, and the
    /// way down if `pct_start` is 1.
    OneCycle {
        /// Updates in all, at least 1.
        total: u64,
        /// The share of them on the way up, between 0 and 1.
        pct_start: f32,
        /// `lr` over the rate at the start, finite and above 0.
        div_factor: f32,
        /// The rate at the start over that at the end, finite and above 0.
        final_div_factor: f32,
    },
}

impl Schedule {
    /// [`OneCycle`](Self::OneCycle) with PyTorch's choices: 0.3 of the way up, from a 25th, down to a 10 000th of that.
    #[must_use]
    pub const fn one_cycle(total: u64) -> Self {
        Self::OneCycle { total, pct_start: 0.3, div_factor: 25.0, final_div_factor: 1e4 }
    }

    /// The rate of the next update when `step` of them are done. (Numbers that a field does not allow give some rate.)
    #[must_use]
    pub fn lr(&self, base: f32, step: u64) -> f32 {
        let lr = f64::from(base);
        let rate = match *self {
            Self::Step { every, gamma } => lr * power(gamma.into(), step.checked_div(every).unwrap_or(0)),
            Self::Linear { warmup } | Self::Cosine { warmup, .. } if step < warmup => {
                lr * (step + 1) as f64 / warmup as f64
            }
            Self::Constant | Self::Linear { .. } => lr,
            Self::Cosine { total, min_lr, .. } if step >= total => min_lr.into(),
            Self::Cosine { warmup, total, min_lr } => {
                wave(lr, min_lr.into(), (step - warmup) as f64 / (total - warmup) as f64)
            }
            Self::OneCycle { total, pct_start, div_factor, final_div_factor } => {
                let start = lr / f64::from(div_factor);
                let (step, last) = (step as f64, total as f64 - 1.0);
                let peak = f64::from(pct_start) * total as f64 - 1.0;
                if step <= peak {
                    wave(start, lr, part(step, peak))
                } else {
                    wave(lr, start / f64::from(final_div_factor), part(step - peak, last - peak))
                }
            }
        };
        rate as f32
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// Names the field at fault.
    pub(crate) fn check(&self) -> Result<()> {
        let count = |field, want, got: u64| size("schedule", field, want, usize::try_from(got).unwrap_or(usize::MAX));
        let wrong = |field, want, got| Err(number("schedule", field, want, got));
        match *self {
            Self::Step { every: 0, .. } => Err(count("every", "at least 1", 0)),
            Self::Step { gamma, .. } if !(gamma >= 0.0 && gamma.is_finite()) => {
                wrong("gamma", "finite and at least 0", gamma)
            }
            Self::Cosine { warmup, total, .. } if total <= warmup => Err(count("total", "more than `warmup`", total)),
            Self::Cosine { min_lr, .. } if !(min_lr >= 0.0 && min_lr.is_finite()) => {
                wrong("min_lr", "finite and at least 0", min_lr)
            }
            Self::OneCycle { total: 0, .. } => Err(count("total", "at least 1", 0)),
            Self::OneCycle { pct_start, div_factor, final_div_factor, .. } => {
                if !(0.0..=1.0).contains(&pct_start) {
                    return wrong("pct_start", "between 0 and 1", pct_start);
                }
                for (field, factor) in [("div_factor", div_factor), ("final_div_factor", final_div_factor)] {
                    if !(factor > 0.0 && factor.is_finite()) {
                        return wrong(field, "finite and above 0", factor);
                    }
                }
                Ok(())
            }
            Self::Constant | Self::Step { .. } | Self::Linear { .. } | Self::Cosine { .. } => Ok(()),
        }
    }
}

/// `b + (a - b)·(1 + cos πt)/2`
fn wave(a: f64, b: f64, t: f64) -> f64 {
    b + (a - b) * (1.0 + cos_pi(t)) / 2.0
}

/// How much of a way of length `whole` is done, at most all; of no way, all.
fn part(done: f64, whole: f64) -> f64 {
    if done < whole { done / whole } else { 1.0 }
}

/// `cos πt` for `t` in 0..=1.
///
/// With `t` taken from the nearer end, `cos πt = -cos π(1 - t)`, and of the upper half of what is left the sine,
/// `cos πt = sin π(½ - t)`: the series then have an argument of at most `π/4`, and both differences are exact.
fn cos_pi(t: f64) -> f64 {
    let (t, sign) = if t > 0.5 { (1.0 - t, -1.0) } else { (t, 1.0) };
    if t > 0.25 {
        let x = PI * (0.5 - t);
        sign * x * series(x * x, 2)
    } else {
        let x = PI * t;
        sign * series(x * x, 1)
    }
}

/// `1 - z/(a·(a+1))·(1 - z/((a+2)·(a+3))·(1 - …))`, which is `cos √z` for `a = 1` and `sin √z / √z` for `a = 2`. What
/// follows the nine terms is below `2^-57` for `√z` up to `π/4`.
fn series(z: f64, a: u32) -> f64 {
    (0..9).rev().fold(1.0, |rest, pair| {
        let n = f64::from(a + 2 * pair);
        1.0 - z / (n * (n + 1.0)) * rest
    })
}

/// `base^exponent` by repeated squaring.
fn power(base: f64, mut exponent: u64) -> f64 {
    let (mut result, mut square) = (1.0, base);
    while exponent > 0 {
        if exponent % 2 == 1 {
            result *= square;
        }
        square *= square;
        exponent /= 2;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rates within one unit in the last place of what is written, which has more digits than a rate.
    fn assert_rates(schedule: Schedule, base: f32, want: &[f64]) {
        schedule.check().unwrap();
        for (step, &want) in want.iter().enumerate() {
            let got = schedule.lr(base, step as u64);
            assert!((f64::from(got) - want).abs() <= 1.2e-7 * want, "{schedule:?} at {step}: got {got}, want {want}");
        }
    }

    #[test]
    fn the_cosine_is_exact_to_the_last_digits() {
        let root = |x: f64| x.sqrt() / 2.0;
        let exact = [
            (0.0, 1.0),
            (1.0 / 6.0, root(3.0)),
            (0.25, root(2.0)),
            (1.0 / 3.0, 0.5),
            (0.5, 0.0),
            (2.0 / 3.0, -0.5),
            (0.75, -root(2.0)),
            (5.0 / 6.0, -root(3.0)),
            (1.0, -1.0),
        ];
        for (t, want) in exact {
            assert!((cos_pi(t) - want).abs() < 5e-16, "cos {t}π: got {:e}, want {want:e}", cos_pi(t));
        }
        assert_eq!([0.0, 0.5, 1.0].map(cos_pi), [1.0, 0.0, -1.0]);
        // The library's cosine is a fair judge, though no rate may rest on it.
        for i in 0..=4096 {
            let t = f64::from(i) / 4096.0;
            assert!((cos_pi(t) - (PI * t).cos()).abs() < 5e-16, "cos {t}π");
        }
    }

    #[test]
    fn powers_are_products() {
        for (base, exponent, want) in [(3.0, 0, 1.0), (3.0, 5, 243.0), (0.0, 0, 1.0), (-2.0, 63, -(2.0_f64).powi(63))] {
            assert_eq!(power(base, exponent), want);
        }
        assert_eq!(power(0.5, u64::MAX), 0.0);
        assert_eq!(power(1.0, u64::MAX), 1.0);
    }

    #[test]
    fn constant_rates_stay() {
        assert_eq!([0, 1, u64::MAX].map(|step| Schedule::default().lr(0.3, step)), [0.3; 3]);
    }

    #[test]
    fn steps_fall_by_a_factor() {
        let schedule = Schedule::Step { every: 3, gamma: 0.5 };
        assert_rates(schedule, 0.8, &[0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2]);
        assert_eq!(schedule.lr(0.8, u64::MAX), 0.0);
        assert_eq!(Schedule::Step { every: 1, gamma: 0.1 }.lr(1.0, 3), 1e-3);
        assert_eq!(Schedule::Step { every: u64::MAX, gamma: 0.0 }.lr(1.0, u64::MAX - 1), 1.0);
    }

    #[test]
    fn a_warm_up_is_a_line() {
        assert_rates(Schedule::Linear { warmup: 4 }, 0.5, &[0.125, 0.25, 0.375, 0.5, 0.5, 0.5]);
        assert_rates(Schedule::Linear { warmup: 0 }, 0.5, &[0.5, 0.5]);
        assert_eq!(Schedule::Linear { warmup: u64::MAX }.lr(0.5, u64::MAX - 1), 0.5);
    }

    #[test]
    fn a_cosine_goes_up_a_line_and_down_a_wave() {
        let down = [
            0.5,
            0.495_292_393_698_791_47,
            0.481_350_485_465_265_27,
            0.458_710_055_014_123_6,
            0.428_241_161_390_704_1,
            0.391_114_707_089_802_56,
            0.348_757_440_929_447,
            0.302_797_128_893_951_44,
            0.255,
            0.207_202_871_106_048_6,
            0.161_242_559_070_553_02,
            0.118_885_292_910_197_52,
            0.081_758_838_609_295_86,
            0.051_289_944_985_876_39,
            0.028_649_514_534_734_75,
            0.014_707_606_301_208_546,
            0.01,
            0.01,
        ];
        let want: Vec<f64> = [0.125, 0.25, 0.375, 0.5].into_iter().chain(down).collect();
        assert_rates(Schedule::Cosine { warmup: 4, total: 20, min_lr: 0.01 }, 0.5, &want);
        assert_rates(Schedule::Cosine { warmup: 0, total: 16, min_lr: 0.01 }, 0.5, &down);
        assert_eq!(Schedule::Cosine { warmup: 4, total: 20, min_lr: 0.01 }.lr(0.5, u64::MAX), 0.01);
    }

    #[test]
    fn one_cycle_is_pytorchs() {
        let want = [
            0.004,
            0.052,
            0.1,
            0.095_048_463_201_347_38,
            0.081_174_565_394_976_3,
            0.061_126_202_193_628_93,
            0.038_874_197_806_371_07,
            0.018_825_834_605_023_7,
            0.004_951_936_798_652_629,
            4e-7,
            4e-7,
        ];
        assert_rates(Schedule::one_cycle(10), 0.1, &want);
        let uneven = [
            0.05,
            0.205_471_176_265_636_82,
            0.457_028_823_734_363_15,
            0.475_266_974_758_629_17,
            0.305_824_603_255_589_5,
            0.094_533_421_985_781_31,
            0.0005,
        ];
        let short = Schedule::OneCycle { total: 7, pct_start: 0.5, div_factor: 10.0, final_div_factor: 100.0 };
        assert_rates(short, 0.5, &uneven);
        let pct = |pct_start, total| Schedule::OneCycle { total, pct_start, div_factor: 25.0, final_div_factor: 1e4 };
        assert_rates(pct(0.0, 3), 0.1, &[0.075_000_1, 0.025_000_3, 4e-7]);
        assert_rates(pct(1.0, 3), 0.1, &[0.004, 0.052, 0.1, 4e-7]);
        // A way of no length is at its end.
        assert_rates(pct(0.5, 2), 0.1, &[0.1, 4e-7]);
        assert_rates(pct(1.0, 1), 0.1, &[0.1, 4e-7]);
        assert_rates(pct(0.3, 1), 0.1, &[4e-7, 4e-7]);
    }

    #[test]
    fn rates_rise_and_then_fall() {
        let cosine = Schedule::Cosine { warmup: 37, total: 1000, min_lr: 1e-4 };
        // The rate is highest at the last update of the way up and at the first of the way down.
        for (schedule, peak) in [(cosine, 36), (Schedule::one_cycle(1000), 299)] {
            let rates: Vec<f32> = (0..1100).map(|step| schedule.lr(0.1, step)).collect();
            assert!(rates[..=peak].is_sorted_by(|a, b| a < b), "{schedule:?}");
            assert!(rates[peak..].is_sorted_by(|a, b| a >= b), "{schedule:?}");
            assert_eq!(rates[peak], 0.1, "{schedule:?}");
        }
    }

    #[test]
    fn bad_numbers_are_refused() {
        let refused = |schedule: Schedule, want: &str| {
            assert_eq!(schedule.check().unwrap_err().to_string(), want);
            // A rate all the same, whatever it is worth.
            for step in [0, 1, 5, u64::MAX] {
                let _ = schedule.lr(0.1, step);
            }
        };
        refused(Schedule::Step { every: 0, gamma: 0.5 }, "schedule: every must be at least 1, got 0");
        for gamma in [-0.5, f32::INFINITY, f32::NAN] {
            let want = format!("schedule: gamma must be finite and at least 0, got {gamma}");
            refused(Schedule::Step { every: 1, gamma }, &want);
        }
        for (warmup, total) in [(0, 0), (5, 5), (5, 4)] {
            let want = format!("schedule: total must be more than `warmup`, got {total}");
            refused(Schedule::Cosine { warmup, total, min_lr: 0.0 }, &want);
        }
        for min_lr in [-0.25, f32::INFINITY, f32::NAN] {
            let want = format!("schedule: min_lr must be finite and at least 0, got {min_lr}");
            refused(Schedule::Cosine { warmup: 0, total: 1, min_lr }, &want);
        }
        let cycle = |total, pct_start, div_factor, final_div_factor| Schedule::OneCycle {
            total,
            pct_start,
            div_factor,
            final_div_factor,
        };
        refused(cycle(0, 0.5, 1.0, 1.0), "schedule: total must be at least 1, got 0");
        for pct in [-0.5, 1.5, f32::NAN] {
            refused(cycle(9, pct, 1.0, 1.0), &format!("schedule: pct_start must be between 0 and 1, got {pct}"));
        }
        for factor in [0.0, -1.0, f32::INFINITY, f32::NAN] {
            let want = |field: &str| format!("schedule: {field} must be finite and above 0, got {factor}");
            refused(cycle(9, 0.5, factor, 1.0), &want("div_factor"));
            refused(cycle(9, 0.5, 1.0, factor), &want("final_div_factor"));
        }
    }
}
