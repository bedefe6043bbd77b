//! A loss of the user's own: a policy that learns to balance a pole on a cart from nothing but how long it stood.
//!
//! ```text
//! cargo run --release --example control
//! ```
//!
//! The policy pushes the cart to the right with the probability `p = sigmoid(logit)` and to the left otherwise.
//! REINFORCE (Williams 1992) takes the action `a` (1 for right), the return `G` that followed, and a baseline `b`, and
//! lets the loss be `-(G - b)·ln p(a)`, whose gradient in the logit is `(G - b)·(p - a)`: that is what
//! [`Trainer::backward_with`] is given. The baseline is a second network, which learns to foretell the return by an
//! ordinary [`Trainer::step`].
//!
//! The cart is that of Barto, Sutton and Anderson (1983). A return is the discounted number of steps that the pole
//! still stood, `(1 - γ)·Σ γᵗ`, from 0 to 1. The last line on stdout is JSON with the mean number of steps before and
//! after.

use clap::Parser;
use handgrad::kernels::scalar;
use handgrad::kernels::view::{Mat, View};
use handgrad::{Activation, Exec, Input, Linear, Loss, Mlp, Optimizer, Options, Result, Trainer};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

/// Teaches a network to balance a pole, with hand-written gradients.
#[derive(Debug, Parser)]
#[command(name = "control", version)]
struct Args {
    /// Updates of the policy
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    /// Where the random numbers come from
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Carts that are driven at a time.
const CARTS: usize = 32;

/// Steps after which a pole has stood long enough.
const LIMIT: usize = 500;

/// What a step counts for less than the step before.
const DISCOUNT: f32 = 0.99;

/// Place and speed of the cart, angle and angular speed of the pole: m, m/s, rad, rad/s.
type State = [f32; 4];

/// A cart begins near the middle, with its pole almost upright.
fn beginning(rng: &mut ChaCha8Rng) -> State {
    std::array::from_fn(|_| rng.random_range(-0.05..0.05))
}

/// The pole has fallen beyond 12 degrees, or the cart has left its track.
fn has_fallen([place, _, angle, _]: State) -> bool {
    place.abs() > 2.4 || angle.abs() > 12.0_f32.to_radians()
}

/// The state a fiftieth of a second later, when the cart is pushed with 10 N to the right or to the left.
fn pushed([place, speed, angle, spin]: State, right: bool) -> State {
    const GRAVITY: f32 = 9.8;
    const POLE: f32 = 0.1; // kg
    const MASS: f32 = 1.0 + POLE; // of both
    const HALF_LENGTH: f32 = 0.5; // m
    const SECONDS: f32 = 0.02;
    // At these angles the series are exact to a float, and the same on every machine.
    let square = angle * angle;
    let sin = angle * (1.0 - square / 6.0 * (1.0 - square / 20.0));
    let cos = 1.0 - square / 2.0 * (1.0 - square / 12.0 * (1.0 - square / 30.0));
    let force = if right { 10.0 } else { -10.0 };
    let push = (force + POLE * HALF_LENGTH * spin * spin * sin) / MASS;
    let turn = (GRAVITY * sin - cos * push) / (HALF_LENGTH * (4.0 / 3.0 - POLE * cos * cos / MASS));
    let thrust = push - POLE * HALF_LENGTH * turn * cos / MASS;
    [place + SECONDS * speed, speed + SECONDS * thrust, angle + SECONDS * spin, spin + SECONDS * turn]
}

/// What one cart went through.
#[derive(Clone, Default)]
struct Episode {
    states: Vec<State>,
    went_right: Vec<bool>,
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + scalar::exp(-x))
}

/// Drives all carts until their poles have fallen or stood long enough.
fn drive(policy: &mut Trainer, rng: &mut ChaCha8Rng) -> Result<Vec<Episode>> {
    let mut carts: Vec<State> = (0..CARTS).map(|_| beginning(rng)).collect();
    let mut episodes = vec![Episode::default(); CARTS];
    for _ in 0..LIMIT {
        let logits = View::from(policy.forward(carts.as_flattened())?);
        for ((cart, episode), logit) in carts.iter_mut().zip(&mut episodes).zip(logits.iter()) {
            if !has_fallen(*cart) {
                let right = rng.random::<f32>() < sigmoid(logit);
                episode.states.push(*cart);
                episode.went_right.push(right);
                *cart = pushed(*cart, right);
            }
        }
    }
    Ok(episodes)
}

/// The mean number of steps that a pole stood.
fn mean_steps(episodes: &[Episode]) -> f64 {
    episodes.iter().map(|episode| episode.states.len()).sum::<usize>() as f64 / episodes.len() as f64
}

/// The return that followed each step of an episode.
fn returns(episode: &Episode) -> Vec<f32> {
    let mut following = 0.0;
    let mut returns = vec![0.0; episode.states.len()];
    for value in returns.iter_mut().rev() {
        following = (1.0 - DISCOUNT) + DISCOUNT * following;
        *value = following;
    }
    returns
}

/// One update of the policy, and one of the baseline, by all that the carts went through.
fn learn(policy: &mut Trainer, baseline: &mut Trainer, episodes: &[Episode]) -> Result<()> {
    let states: Vec<State> = episodes.iter().flat_map(|episode| episode.states.iter().copied()).collect();
    let went_right = episodes.iter().flat_map(|episode| &episode.went_right);
    let returns: Vec<f32> = episodes.iter().flat_map(returns).collect();
    let (states, share) = (states.as_flattened(), 1.0 / returns.len() as f32);

    let foretold = View::from(baseline.forward(states)?);
    let logits = View::from(policy.forward(states)?);
    let d_logits: Vec<f32> = (logits.iter().zip(went_right))
        .zip(returns.iter().zip(foretold.iter()))
        .map(|((logit, &right), (value, foretold))| {
            let action = if right { 1.0 } else { 0.0 };
            (value - foretold) * (sigmoid(logit) - action) * share
        })
        .collect();
    policy.backward_with(Mat::new(&d_logits, returns.len(), 1)?)?;
    policy.update()?;
    baseline.step(states, &returns)?;
    Ok(())
}

/// A network from a state to one number.
fn network(loss: Loss, seed: u64, exec: &Exec) -> Result<Trainer> {
    let mlp = Mlp {
        input: Input::Dense { features: 4 },
        layers: vec![Linear::new(64).into(), Activation::Tanh.into(), Linear::new(1).into()],
        loss,
    };
    let optimizer = Optimizer::adam();
    Trainer::new(&mlp, Options { max_batch: CARTS * LIMIT, lr: 0.01, seed, optimizer, ..Options::default() }, exec)
}

fn run(args: &Args, start: Instant) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let exec = Exec::serial()?;
    let mut rng = ChaCha8Rng::seed_from_u64(args.seed);
    // The loss of the policy stands in `learn`; the one named here is not used.
    let mut policy = network(Loss::bce_with_logits(), args.seed, &exec)?;
    let mut baseline = network(Loss::Mse, args.seed.wrapping_add(1), &exec)?;

    let mut stdout = std::io::stdout().lock();
    let mut episodes = drive(&mut policy, &mut rng)?;
    let before = mean_steps(&episodes);
    writeln!(stdout, "before, a pole stands {before:.1} steps")?;
    for round in 1..=args.rounds {
        learn(&mut policy, &mut baseline, &episodes)?;
        episodes = drive(&mut policy, &mut rng)?;
        if round % 10 == 0 {
            writeln!(stdout, "after {round} updates, {:.1} of {LIMIT}", mean_steps(&episodes))?;
        }
    }
    let line = json!({
        "steps_before": before,
        "steps_after": mean_steps(&episodes),
        "limit": LIMIT,
        "rounds": args.rounds,
        "seconds": start.elapsed().as_secs_f64(),
        "isa": exec.isa().name(),
    });
    writeln!(stdout, "{line}")?;
    Ok(())
}

fn main() -> ExitCode {
    let start = Instant::now();
    match run(&Args::parse(), start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("control: {error}");
            ExitCode::from(2)
        }
    }
}
