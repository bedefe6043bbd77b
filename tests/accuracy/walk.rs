//! Walks over floats: the error on one tier, and the same bits on the others.

use crate::functions::{self, Direction, Function};
use crate::tiers;
use crate::ulp::{At, Worst};
use handgrad::kernels::Exec;
use handgrad::kernels::view::{View, ViewMut};
use handgrad::{Isa, kernels};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// An ordinary run takes every so manyth float, unless `HANDGRAD_ACCURACY_STRIDE` says another number.
pub(crate) const STRIDE: u64 = 127;

/// Floats that are evaluated together.
pub(crate) const BLOCK: usize = 8_192;

/// A number from the environment.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(name) else { return default };
    let number = text.parse().ok().filter(|&number| number > 0);
    number.unwrap_or_else(|| panic!("{name} must be a positive number, it is {text}"))
}

/// The scalar tier is slow: it sees one block of so many, unless `HANDGRAD_ACCURACY_SCALAR` says another number.
pub(crate) fn scalar_share(default: u64) -> u64 {
    setting("HANDGRAD_ACCURACY_SCALAR", default)
}

/// An input at which a tier differs from the one that is measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Differs {
    pub(crate) inputs: Vec<f32>,
    pub(crate) got: f32,
    pub(crate) want: f32,
}

/// What was found on a tier.
#[derive(Clone, Default)]
pub(crate) struct Tier {
    pub(crate) worst: Worst,
    pub(crate) differs: Option<Differs>,
    pub(crate) inputs: u64,
}

/// What was found on each tier, in the order of [`Isa::available`].
#[derive(Clone)]
pub(crate) struct Found(pub(crate) Vec<Tier>);

impl Found {
    pub(crate) fn new() -> Self {
        Self(vec![Tier::default(); Isa::available().count()])
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (tier, other) in self.0.iter_mut().zip(&other.0) {
            tier.worst.merge(&other.worst);
            tier.differs = tier.differs.take().or_else(|| other.differs.clone());
            tier.inputs += other.inputs;
        }
    }
}

/// The tier that is measured for all that have a fused multiply-add.
pub(crate) fn measured() -> Isa {
    Isa::available().filter(|isa| isa.is_fused()).last().expect("the scalar tier is fused")
}

/// The first place where two lists have different bits, all NaN being one.
pub(crate) fn difference(got: &[f32], want: &[f32]) -> Option<usize> {
    let differ = |(a, b): (&f32, &f32)| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan());
    // Whole first, which is faster.
    let whole = got.iter().zip(want).fold(0, |bits, (a, b)| bits | (a.to_bits() ^ b.to_bits()));
    if whole == 0 { None } else { got.iter().zip(want).position(differ) }
}

/// Room for a block.
struct Room {
    ones: Vec<f32>,
    want: Vec<f32>,
    got: Vec<f32>,
    exact: Vec<f64>,
    /// Those inside the range, with their results.
    kept: (Vec<f32>, Vec<f32>, Vec<f64>),
}

impl Room {
    fn new() -> Self {
        let floats = || vec![f32::NAN; BLOCK];
        Self {
            ones: vec![1.0; BLOCK],
            want: floats(),
            got: floats(),
            exact: vec![f64::NAN; BLOCK],
            kept: (Vec::new(), Vec::new(), Vec::new()),
        }
    }

    /// Evaluates a direction at `x` on every tier of which `wanted` is true.
    fn see(&mut self, direction: &Direction, x: &[f32], found: &mut Found, wanted: impl Fn(Isa) -> bool) {
        let Self { ones, want, got, exact, kept } = self;
        let len = x.len();
        let (ones, want, got, exact) = (&ones[..len], &mut want[..len], &mut got[..len], &mut exact[..len]);
        let run = |isa: Isa, out: &mut [f32]| -> kernels::Result<()> {
            let exec = Exec::serial()?.with_isa(isa);
            let shape = [len];
            (direction.run)(&exec, ViewMut::new(out, &shape)?, View::new(x, &shape)?, View::new(ones, &shape)?)
        };
        (direction.exact)(exact, x);
        run(measured(), want).unwrap();
        let [low, high] = direction.range;
        let inside = |x: f32| x.is_nan() || (low <= x && x <= high);
        let all = x.iter().all(|&x| inside(x));
        let mut measure = |worst: &mut Worst, got: &[f32], fused: bool| {
            let limit = direction.limits[usize::from(!fused)];
            if all {
                return worst.see(x, got, exact, limit, direction.terms);
            }
            let (xs, gots, exacts) = &mut *kept;
            xs.clear();
            gots.clear();
            exacts.clear();
            for ((&x, &got), &exact) in x.iter().zip(got).zip(&*exact).filter(|((x, _), _)| inside(**x)) {
                xs.push(x);
                gots.push(got);
                exacts.push(exact);
            }
            worst.see(xs, gots, exacts, limit, direction.terms);
        };
        for (tier, isa) in found.0.iter_mut().zip(Isa::available()).filter(|(_, isa)| wanted(*isa)) {
            tier.inputs += len as u64;
            if isa == measured() {
                measure(&mut tier.worst, want, true);
                continue;
            }
            run(isa, got).unwrap();
            if !isa.is_fused() {
                measure(&mut tier.worst, got, false);
            } else if tier.differs.is_none() {
                tier.differs = difference(got, want).map(|place| Differs {
                    inputs: vec![x[place]],
                    got: got[place],
                    want: want[place],
                });
            }
        }
    }
}

/// Every so manyth float of a walk, and the floats around each power of two, subnormal ones too, and around zero,
/// infinity and NaN.
struct Inputs {
    stride: u64,
    /// How many floats lie so far apart.
    strided: u64,
}

/// Floats on each side of a power of two.
const AROUND: u64 = 8;

impl Inputs {
    fn new(stride: u64) -> Self {
        Self { stride, strided: (1u64 << 32).div_ceil(stride) }
    }

    fn len(&self) -> u64 {
        // Each of 2^9 signs and exponents, and as many subnormals.
        self.strided + if self.stride == 1 { 0 } else { (512 + 46) * (2 * AROUND + 1) }
    }

    fn get(&self, i: u64) -> f32 {
        let bits = match i.checked_sub(self.strided) {
            None => i * self.stride,
            Some(i) => {
                let (power, around) = (i / (2 * AROUND + 1), i % (2 * AROUND + 1));
                let power = if power < 512 { power << 23 } else { ((power & 1) << 31) | (1 << ((power - 512) / 2)) };
                (power + around).wrapping_sub(AROUND)
            }
        };
        f32::from_bits(bits as u32)
    }
}

/// Runs `work` on blocks `0..blocks`, on all threads; what each found.
pub(crate) fn on_blocks(blocks: u64, work: impl Fn(&mut dyn Iterator<Item = u64>) -> Found + Sync) -> Found {
    let next = AtomicU64::new(0);
    let mut found = Found::new();
    let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&block| block < blocks);
    let alone = || work(&mut std::iter::from_fn(take));
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(alone)).collect();
        for worker in workers {
            found.merge(&worker.join().unwrap());
        }
    });
    found
}

/// Every `stride`th float; the scalar tier, which is slow, sees every `scalar`th block of those.
fn walk(direction: &Direction, stride: u64, scalar: u64) -> Found {
    let inputs = Inputs::new(stride);
    on_blocks(inputs.len().div_ceil(BLOCK as u64), |blocks| {
        let (mut found, mut room, mut x) = (Found::new(), Room::new(), Vec::with_capacity(BLOCK));
        for block in blocks {
            let first = block * BLOCK as u64;
            x.clear();
            x.extend((first..inputs.len().min(first + BLOCK as u64)).map(|i| inputs.get(i)));
            room.see(direction, &x, &mut found, |isa| isa.name() != "scalar" || block.is_multiple_of(scalar));
        }
        found
    })
}

/// Prints what was found as a line of a table; what is not as promised.
pub(crate) fn report(
    what: &str,
    limits: [f64; 2],
    found: &Found,
    over: impl Fn(Isa, &Worst) -> Option<String>,
) -> Result<(), String> {
    let tiers = || Isa::available().zip(&found.0);
    let millions = |inputs: u64| format!("{:.1}", inputs as f64 / 1e6);
    let error = |worst: &Worst| {
        let At { error, x, .. } = worst.terms;
        let share = error * 2f64.powi(23);
        let beyond =
            format!("; {} are more, {share:.3}·2^-23 of the terms at {x:e} ({:#010x})", worst.beyond, x.to_bits());
        format!("{}{}", worst.ulp, if worst.beyond > 0 { beyond } else { String::new() })
    };
    let (mut wrong, mut same, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    let mut fused = String::new();
    for (isa, tier) in tiers() {
        if let Some(Differs { inputs, got, want }) = &tier.differs {
            wrong.push(format!("{what} at {inputs:?}: {got:e} on {isa}, {want:e} on {}", measured()));
        } else if isa == measured() {
            fused = error(&tier.worst);
            same.push(format!("{isa}, {}", millions(tier.inputs)));
        } else if isa.is_fused() {
            same.push(format!("{isa}, {}", millions(tier.inputs)));
        } else {
            alone.push(format!(
                "{} (limit {}, {} million inputs)",
                error(&tier.worst),
                limits[1],
                millions(tier.inputs)
            ));
        }
        wrong.extend(over(isa, &tier.worst).map(|wrong| format!("{what} on {isa}: {wrong}")));
    }
    let alone = if alone.is_empty() { "every tier is fused".to_owned() } else { alone.join("; ") };
    // libtest leaves the name of the test at the beginning of a line.
    println!("\n| {what} | {} | {fused} | {} | {alone} |", limits[0], same.join("; "));
    let ran: Vec<_> = tiers().filter(|(_, tier)| tier.inputs > 0).map(|(isa, _)| isa.name()).collect();
    if let Err(missing) = tiers::all_ran(&ran) {
        wrong.push(missing);
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn both(function: &Function, stride: u64, scalar: u64) {
    let reports = [(&function.forward, ""), (&function.backward, "'")].map(|(direction, what)| {
        let found = walk(direction, stride, scalar);
        let what = format!("{}{what} of {}", function.name, direction.argument);
        let limits = direction.limits.map(|limit| limit.ulp);
        report(&what, limits, &found, |isa, worst| worst.over(direction.limits[usize::from(!isa.is_fused())]).err())
    });
    let wrong: Vec<_> = reports.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A function and its derivative over a sample of the floats.
pub(crate) fn sampled(name: &str) {
    both(functions::find(name), setting("HANDGRAD_ACCURACY_STRIDE", STRIDE), scalar_share(16));
}

/// A function and its derivative over all floats.
pub(crate) fn exhaustive(name: &str) {
    both(functions::find(name), 1, scalar_share(1));
}

#[test]
fn the_floats_around_powers_are_there() {
    let inputs = Inputs::new(STRIDE);
    let all: std::collections::HashSet<u32> = (inputs.strided..inputs.len()).map(|i| inputs.get(i).to_bits()).collect();
    let next = |x: f32, n: i32| x.to_bits().wrapping_add_signed(n);
    let numbers = [0.0, 1.0, f32::MIN_POSITIVE, 2f32.powi(-149), 2f32.powi(-127), 2f32.powi(127), f32::INFINITY];
    for x in numbers.into_iter().flat_map(|x| [x, -x]) {
        assert!((-8..=8).all(|n| all.contains(&next(x, n))), "{x:e}");
    }
    let every = Inputs::new(1);
    assert_eq!((every.len(), every.get(every.len() - 1).to_bits()), (1 << 32, u32::MAX));
    assert_eq!(inputs.get(inputs.strided - 1).to_bits(), u32::MAX / STRIDE as u32 * STRIDE as u32);
}

/// `e^x`, but for one argument times `off`.
fn wrong_exp(e: &Exec, mut y: ViewMut<'_>, x: View<'_>, off: f32) -> kernels::Result<()> {
    let mut values = vec![f32::NAN; x.len()];
    kernels::op::exp::forward(e, ViewMut::new(&mut values, &[x.len()])?, x)?;
    values[x.iter().position(|x| x == 30.5).expect("it is one of them")] *= off;
    y.copy_from(View::new(&values, &[x.len()])?)
}

/// `e^x` with an error of two units at one place, and on one tier another bit at one place.
#[test]
fn one_wrong_value_is_found() {
    let x: Vec<f32> = (0..100).map(|i| i as f32 / 2.0).collect();
    let seen = |run: fn(&Exec, ViewMut<'_>, View<'_>, View<'_>) -> kernels::Result<()>| {
        let direction = Direction { run, ..functions::find("exp").forward };
        let mut found = Found::new();
        Room::new().see(&direction, &x, &mut found, |_| true);
        report("exp", [1.0, 1.5], &found, |isa, worst| worst.over(direction.limits[usize::from(!isa.is_fused())]).err())
    };
    assert!(seen(functions::find("exp").forward.run).is_ok());
    let caught = seen(|e, y, x, _| wrong_exp(e, y, x, 1.0 + 2.0 * f32::EPSILON)).unwrap_err();
    assert!(caught.contains("at 3.05e1 (0x41f40000) ULP, over 1"), "{caught}");
    let caught =
        seen(|e, y, x, _| wrong_exp(e, y, x, if e.isa().name() == "scalar" { 1.0 + 2.0 * f32::EPSILON } else { 1.0 }));
    if measured().name() != "scalar" {
        let caught = caught.unwrap_err();
        assert!(caught.contains("exp at [30.5]") && caught.contains("on scalar"), "{caught}");
    }
}
