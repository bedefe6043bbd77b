//! `cargo bench --bench report`: one line a case, with its share of a ceiling measured in the same process.
//!
//! `NAME key=value …`, where `NAME` ends in the number of threads. `us` is the best of many samples, `gflops` counts
//! useful operations only (2·m·k·n of the unpadded sizes), and `peak` is their share of the best window of a loop of
//! fused multiply-adds, measured between the cases. A share above 1.02 means that the ceiling is wrong: the program
//! then fails. `ns` is the time of an element. `gbs` counts inputs read once and outputs written once, and `share` is the
//! time that a plain loop takes to read and write as many arrays of the same size, over that of the case.
//! `model_steps_per_second` is for networks side by side. Arguments: a part of a case's name to run only those, and
//! `--test` for one short pass.

mod cases;
mod ceiling;
mod ops;
mod stream;
mod training;

use ceiling::FmaPeak;
use handgrad::{Exec, kernels};
use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use stream::{Mix, Stream};

/// How long is measured.
#[derive(Clone, Copy)]
struct Effort {
    /// Least length of one sample.
    sample: Duration,
    /// Samples of a case.
    samples: usize,
}

/// One line of the report.
struct Line {
    name: String,
    /// Best time of one call.
    nanoseconds: f64,
    /// Which ceiling, and useful operations of a call.
    flops: Option<(usize, f64)>,
    /// Elements of a call, for functions.
    elements: Option<f64>,
    /// Steps of networks in a call.
    steps: Option<f64>,
    /// Bytes of a call, and the best time of a plain loop over as many.
    stream: Option<(f64, f64)>,
}

/// Collects lines, and measures the ceilings between them.
pub(crate) struct Report {
    effort: Effort,
    only: Option<String>,
    /// By tier and threads.
    peaks: Vec<((&'static str, usize), FmaPeak)>,
    lines: Vec<Line>,
}

impl Report {
    /// Whether a case is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|part| name.contains(part.as_str()))
    }

    /// Times `call`, which does `flops` useful operations on the tier and the threads of `exec`.
    pub(crate) fn flops(&mut self, name: &str, exec: &Exec, flops: f64, call: impl FnMut()) {
        if !self.wants(name) {
            return;
        }
        let key = (exec.isa().name(), exec.threads());
        let peak = self.peaks.iter().position(|(other, _)| *other == key).unwrap_or(self.peaks.len());
        if peak == self.peaks.len() {
            self.peaks.push((key, FmaPeak::new(key.0, key.1)));
        }
        let nanoseconds = self.time(call, Some(peak));
        self.lines.push(Line {
            name: name.to_owned(),
            nanoseconds,
            flops: Some((peak, flops)),
            elements: None,
            steps: None,
            stream: None,
        });
    }

    /// Times `call`, which does `steps` steps of networks.
    pub(crate) fn steps(&mut self, name: &str, steps: f64, call: impl FnMut()) {
        if !self.wants(name) {
            return;
        }
        let nanoseconds = self.time(call, None);
        let (flops, elements, stream) = (None, None, None);
        self.lines.push(Line { name: name.to_owned(), nanoseconds, flops, elements, steps: Some(steps), stream });
    }

    /// Times `call`, which computes `elements` values.
    fn elements(&mut self, name: &str, elements: usize, call: impl FnMut()) {
        if !self.wants(name) {
            return;
        }
        let nanoseconds = self.time(call, None);
        let elements = Some(elements as f64);
        self.lines.push(Line { name: name.to_owned(), nanoseconds, flops: None, elements, steps: None, stream: None });
    }

    /// Times `call`, which reads and writes `elements` values as often as `mix` says, and beside it a plain loop that
    /// does the same.
    fn stream(
        &mut self,
        name: &str,
        threads: usize,
        elements: usize,
        mix: Mix,
        mut call: impl FnMut() -> kernels::Result<()>,
    ) -> handgrad::Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let mut stream = Stream::new(mix, elements, threads);
        call()?;
        let start = Instant::now();
        call()?;
        let once = start.elapsed().max(Duration::from_nanos(20)).as_secs_f64();
        let calls = ((self.effort.sample.as_secs_f64() / once) as usize).clamp(1, 100_000);
        // Large cases take long: a second and a half for each is enough.
        let samples = ((1.5 / (once * calls as f64)) as usize).clamp(5, self.effort.samples.max(5));
        let samples = if self.effort.samples == 1 { 1 } else { samples };
        let (mut best, mut ceiling) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..samples {
            ceiling = ceiling.min(stream.measure(calls));
            let start = Instant::now();
            for _ in 0..calls {
                call()?;
            }
            best = best.min(start.elapsed().as_nanos() as f64 / calls as f64);
        }
        self.lines.push(Line {
            name: name.to_owned(),
            nanoseconds: best,
            flops: None,
            elements: Some(elements as f64),
            steps: None,
            stream: Some((stream.bytes(), ceiling)),
        });
        Ok(())
    }

    /// The best time of one call.
    fn time(&mut self, mut call: impl FnMut(), peak: Option<usize>) -> f64 {
        let start = Instant::now();
        call();
        let once = start.elapsed().max(Duration::from_nanos(20));
        let calls = (self.effort.sample.as_nanos() / once.as_nanos()).clamp(1, 100_000) as u32;
        // Large cases take long: three seconds for each are enough.
        let most = (3.0 / (once.as_secs_f64() * f64::from(calls))) as usize;
        let samples = self.effort.samples.min(most.max(8));
        let mut best = f64::INFINITY;
        for i in 0..samples {
            if let (Some(peak), 0) = (peak, i % 16) {
                self.peaks[peak].1.measure(2);
            }
            let start = Instant::now();
            for _ in 0..calls {
                call();
            }
            best = best.min(start.elapsed().as_nanos() as f64 / f64::from(calls));
        }
        best
    }

    /// Prints everything; false if a share is impossible.
    fn print(&self) -> bool {
        let best = handgrad::Isa::best().name();
        for ((isa, threads), peak) in &self.peaks {
            let tier = if *isa == best { String::new() } else { format!("_{isa}") };
            println!("fma_peak{tier}_{threads}t gflops={:.1}", peak.gflops());
        }
        let mut possible = true;
        for line in &self.lines {
            let mut text = line.name.clone();
            if let Some((peak, flops)) = line.flops {
                let gflops = flops / line.nanoseconds;
                let share = gflops / self.peaks[peak].1.gflops();
                possible &= share <= 1.02;
                let _ = write!(text, " us={:.3} gflops={gflops:.1} peak={share:.3}", line.nanoseconds / 1e3);
            }
            if let Some(elements) = line.elements {
                let _ = write!(text, " ns={:.4}", line.nanoseconds / elements);
            }
            if let Some(steps) = line.steps {
                let rate = steps / line.nanoseconds * 1e9;
                let _ = write!(text, " us={:.3} model_steps_per_second={rate:.0}", line.nanoseconds / 1e3);
            }
            if let Some((bytes, ceiling)) = line.stream {
                let _ = write!(text, " gbs={:.1} share={:.3}", bytes / line.nanoseconds, ceiling / line.nanoseconds);
            }
            println!("{text}");
        }
        possible
    }
}

fn run(report: &mut Report) -> handgrad::Result<()> {
    cases::run(report)?;
    training::run(report, &Exec::serial()?)?;
    training::run(report, &Exec::with_threads(2)?)?;
    ops::run(report)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--test");
    let only = arguments.into_iter().find(|argument| !argument.starts_with("--"));
    let effort = if quick {
        Effort { sample: Duration::ZERO, samples: 1 }
    } else {
        Effort { sample: Duration::from_micros(200), samples: 800 }
    };
    let mut report = Report { effort, only, peaks: Vec::new(), lines: Vec::new() };
    if let Err(error) = run(&mut report) {
        eprintln!("report: {error}");
        return ExitCode::FAILURE;
    }
    // A single short pass says nothing about shares.
    if report.print() || quick {
        ExitCode::SUCCESS
    } else {
        eprintln!("report: a share above 1.02 is impossible: the ceiling is wrong");
        ExitCode::FAILURE
    }
}
