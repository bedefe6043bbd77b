//! Training steps in Rust, for `benches/peers/run.py`: `handgrad-peers PEER CASE VERSION` prints one line of JSON
//! with the times of a step in microseconds, one for each repeat, and what it computed first.

#[cfg(feature = "burn")]
mod burn_peer;
mod by_hand;
#[cfg(feature = "candle")]
mod candle_peer;
mod data;
mod ours;

use data::Case;
use std::error::Error;
use std::time::Instant;

/// What can go wrong, in words.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A number that the environment must have.
pub(crate) fn setting(name: &str) -> Result<f64> {
    let text = std::env::var(name).map_err(|e| format!("{name}: {e}"))?;
    Ok(text.parse().map_err(|e| format!("{name}: {e}"))?)
}

/// How many threads a peer may use.
pub(crate) fn threads() -> Result<usize> {
    Ok(setting("PEERS_THREADS")? as usize)
}

/// What a peer computed first, and its times.
pub(crate) struct Report {
    values: Vec<f64>,
    us: Vec<f64>,
    about: String,
}

impl Report {
    /// Runs the steps of training whose losses are compared, then measures. `step` is given the number of the step.
    pub(crate) fn of_steps(case: &Case, about: &str, mut step: impl FnMut(usize) -> Result<f32>) -> Result<Self> {
        let values = (0..case.checked()).map(|number| step(number).map(f64::from)).collect::<Result<_>>()?;
        Self::of_call(values, about, |number| step(number).map(drop))
    }

    /// Measures.
    pub(crate) fn of_call(values: Vec<f64>, about: &str, mut call: impl FnMut(usize) -> Result<()>) -> Result<Self> {
        let mut number = 0;
        let mut run = |calls: usize| -> Result<f64> {
            let start = Instant::now();
            for _ in 0..calls {
                call(number)?;
                number += 1;
            }
            Ok(start.elapsed().as_secs_f64())
        };
        run(1)?;
        let mut once = run(2)? / 2.0;
        if once < 1e-3 {
            once = run(200)? / 200.0;
        }
        let calls = (setting("PEERS_SECONDS")? / once).round().max(1.0) as usize;
        let repeats = setting("PEERS_REPEATS")? as usize;
        let us = (0..repeats).map(|_| Ok(run(calls)? / calls as f64 * 1e6)).collect::<Result<_>>()?;
        Ok(Self { values, us, about: about.to_owned() })
    }
}

/// Some elements of an array, and its mean square.
pub(crate) fn digest(array: &[f32]) -> impl Iterator<Item = f64> {
    let square = array.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / array.len() as f64;
    (0..16).map(|i| f64::from(array[i * 7919 % array.len()])).chain([square])
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [peer, name, version] = &arguments[..] else {
        return Err("handgrad-peers PEER CASE VERSION".into());
    };
    let case = Case::open(name)?;
    let report = match peer.as_str() {
        "handgrad" => ours::run(&case)?,
        "matrixmultiply" => by_hand::run(&case, by_hand::Product::MatrixMultiply)?,
        #[cfg(feature = "gemm")]
        "gemm" => by_hand::run(&case, by_hand::Product::Gemm)?,
        #[cfg(feature = "candle")]
        "candle" => candle_peer::run(&case)?,
        #[cfg(feature = "burn")]
        "burn" => burn_peer::run(&case)?,
        other => return Err(format!("no peer {other}").into()),
    };
    let about = format!("{version}{}", report.about);
    println!("{}", serde_json::json!({ "us": report.us, "values": report.values, "about": about }));
    Ok(())
}
