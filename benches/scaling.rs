//! `cargo bench --bench scaling`: how a step's cost grows with batch, width, depth and threads.
//!
//! Networks of `depth` square layers of `width`, with relu and the mean of squares, are trained on a grid of sizes, on one
//! thread and on two, and a model is fitted to the times of one thread:
//!
//! ```text
//! T = layers·call + flops/rate + elements·pass
//! ```
//!
//! `call` is what a layer costs whatever its size, `rate` what products reach, and `pass` what an element of an activation
//! costs outside of them. The model is then taken to more cores on paper: every piece of work is cut into
//! `min(cores, work/4 µs)` pieces, a join costs 0.6 µs a level of the tree, and what is read and written cannot be faster
//! than memory. `-- --test` measures the smallest sizes once; `-- DIR` writes the plots to a folder.

use handgrad::kernels::MIN_PIECE_NS;
use handgrad::{Activation, Exec, Input, Layer, Linear, Loss, Mlp, Options, Result, Trainer};
use plotters::prelude::*;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

const BATCHES: [usize; 4] = [32, 128, 512, 2048];
const WIDTHS: [usize; 4] = [64, 128, 256, 512];
const DEPTHS: [usize; 2] = [2, 4];

/// Nanoseconds of a join whose other half another worker takes.
const JOIN_NS: f64 = 600.0;

/// Bytes a nanosecond that all cores of a server together read and write: eight channels of DDR5.
const MEMORY: f64 = 250.0;

/// Bytes a nanosecond of one core.
const MEMORY_OF_ONE: f64 = 38.0;

/// A network and its batch.
#[derive(Clone, Copy)]
struct Size {
    batch: usize,
    width: usize,
    depth: usize,
}

impl Size {
    /// Useful operations of a step: the gradient of the input is not computed.
    fn flops(self) -> f64 {
        (2 * self.batch * self.width * self.width * (3 * self.depth - 1)) as f64
    }

    /// Elements of the activations.
    fn elements(self) -> f64 {
        (self.batch * self.width * self.depth) as f64
    }

    fn features(self) -> [f64; 3] {
        [self.depth as f64, self.flops(), self.elements()]
    }

    /// Bytes that a step must move where nothing stays in a cache: activations written, and read twice, and their
    /// gradients likewise; weights read three times and written once.
    fn bytes(self) -> f64 {
        4.0 * (6.0 * self.elements() + 4.0 * (self.width * self.width * self.depth) as f64)
    }

    /// Nanoseconds of a step: the least of some samples.
    fn measure(self, exec: &Exec, samples: usize) -> Result<f64> {
        let Self { batch, width, depth } = self;
        let layers = (0..depth).flat_map(|_| [Layer::from(Linear::new(width)), Activation::Relu.into()]).collect();
        let mlp = Mlp { input: Input::Dense { features: width }, layers, loss: Loss::Mse };
        let mut trainer = Trainer::new(&mlp, Options { max_batch: batch, lr: 1e-3, ..Options::default() }, exec)?;
        let numbers: Vec<f32> = (0..batch * width).map(|i| ((i * 7919 % 1000) as f32 - 500.0) / 500.0).collect();
        exec.install(|| {
            trainer.step(&numbers, &numbers)?;
            let start = Instant::now();
            trainer.step(&numbers, &numbers)?;
            let calls = (2e6 / start.elapsed().as_nanos().max(1) as f64).clamp(1.0, 1000.0) as u32;
            let mut best = f64::INFINITY;
            for _ in 0..samples {
                let start = Instant::now();
                for _ in 0..calls {
                    trainer.step(&numbers, &numbers)?;
                }
                best = best.min(start.elapsed().as_nanos() as f64 / f64::from(calls));
            }
            Ok(best)
        })
    }
}

/// The fitted numbers, in nanoseconds: of a layer, of an operation, of an element.
#[derive(Clone, Copy)]
struct Model([f64; 3]);

impl Model {
    /// Least squares of the relative errors; a layer costs nothing by itself where the best fit would have it give time back.
    fn fit(measured: &[(Size, f64)]) -> Self {
        let model = Self::solve(measured, 1.0);
        if model.0[0] < 0.0 { Self::solve(measured, 0.0) } else { model }
    }

    /// [`fit`](Self::fit) with the first feature taken times `call`.
    fn solve(measured: &[(Size, f64)], call: f64) -> Self {
        let (mut a, mut b) = ([[0.0; 3]; 3], [0.0; 3]);
        for (size, time) in measured {
            let mut row = size.features().map(|feature| feature / time);
            row[0] *= call;
            for i in 0..3 {
                b[i] += row[i];
                for j in 0..3 {
                    a[i][j] += row[i] * row[j];
                }
            }
        }
        if call == 0.0 {
            a[0][0] = 1.0;
        }
        // Elimination; the features are far from dependent.
        for i in 0..3 {
            for k in i + 1..3 {
                let factor = a[k][i] / a[i][i];
                let pivot = a[i];
                a[k].iter_mut().zip(pivot).for_each(|(a, pivot)| *a -= factor * pivot);
                b[k] -= factor * b[i];
            }
        }
        let mut x = [0.0; 3];
        for i in (0..3).rev() {
            let known: f64 = (i + 1..3).map(|j| a[i][j] * x[j]).sum();
            x[i] = (b[i] - known) / a[i][i];
        }
        Self(x)
    }

    /// Nanoseconds of a step on some cores: the products of each layer are three pieces of work, its other passes two.
    fn on(self, size: Size, cores: usize) -> f64 {
        let [call, flop, pass] = self.0;
        let layer = Size { depth: 1, ..size };
        let works = [(3.0, flop * size.flops() / size.depth as f64 / 3.0), (2.0, pass * layer.elements() / 2.0)];
        let divided = works.map(|(count, work)| {
            let pieces = (cores as f64).min(work / MIN_PIECE_NS as f64).floor().max(1.0);
            count * (work / pieces + JOIN_NS * pieces.log2().ceil())
        });
        let compute = size.depth as f64 * (call + divided.iter().sum::<f64>());
        let memory = size.bytes() / MEMORY.min(MEMORY_OF_ONE * cores as f64);
        // What fits the caches of the cores does not wait for memory: a MiB each.
        let streams = size.bytes() / 3.0 > cores as f64 * 1_048_576.0;
        if streams { compute.max(memory) } else { compute }
    }
}

fn run(quick: bool, directory: Option<&Path>) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let (one, two) = (Exec::serial()?, Exec::with_threads(2)?);
    let samples = if quick { 1 } else { 60 };
    let limit = if quick { 1 } else { usize::MAX };
    let mut measured = [Vec::new(), Vec::new()];
    println!(
        "| batch | width | layers | 1 thread, µs | GFLOP/s | 2 threads, µs | times faster |\n|---|---|---|---|---|---|---|"
    );
    for depth in DEPTHS.into_iter().take(limit) {
        for width in WIDTHS.into_iter().take(limit) {
            for batch in BATCHES.into_iter().take(limit) {
                let size = Size { batch, width, depth };
                let times = [size.measure(&one, samples)?, size.measure(&two, samples)?];
                println!(
                    "| {batch} | {width} | {depth} | {:.1} | {:.0} | {:.1} | {:.2} |",
                    times[0] / 1e3,
                    size.flops() / times[0],
                    times[1] / 1e3,
                    times[0] / times[1]
                );
                measured.iter_mut().zip(times).for_each(|(measured, time)| measured.push((size, time)));
            }
        }
    }
    if quick {
        return Ok(());
    }
    let model = Model::fit(&measured[0]);
    let error = |measured: &[(Size, f64)], cores| {
        let mut errors: Vec<f64> =
            measured.iter().map(|&(size, time)| (model.on(size, cores) / time - 1.0).abs()).collect();
        errors.sort_by(f64::total_cmp);
        (100.0 * errors[errors.len() / 2], 100.0 * errors[errors.len() - 1])
    };
    let [call, flop, pass] = model.0;
    println!("\ncall {call:.0} ns a layer, rate {:.1} GFLOP/s, pass {pass:.3} ns an element", 1.0 / flop);
    for (measured, cores) in measured.iter().zip([1, 2]) {
        let (median, most) = error(measured, cores);
        println!("model against {cores} measured: median error {median:.1} %, largest {most:.1} %");
    }
    println!(
        "\n| batch | width | layers | 2 | 4 | 8 | 16 | 32 | 64 cores: times faster than one |\n|---|---|---|---|---|---|---|---|---|"
    );
    let shown = [(32, 128, 4), (128, 512, 4), (1024, 512, 4), (4096, 1024, 4), (16_384, 1024, 4)];
    let sizes = shown.map(|(batch, width, depth)| Size { batch, width, depth });
    for size in sizes {
        print!("| {} | {} | {} ", size.batch, size.width, size.depth);
        for cores in [2, 4, 8, 16, 32, 64] {
            print!("| {:.1} ", model.on(size, 1) / model.on(size, cores));
        }
        println!("|");
    }
    if let Some(directory) = directory {
        std::fs::create_dir_all(directory)?;
        plot_grid(&directory.join("grid.svg"), &measured, model)?;
        plot_cores(&directory.join("cores.svg"), &sizes, model)?;
    }
    Ok(())
}

/// Time against batch, a line a width: points are measured, lines are the model.
fn plot_grid(
    path: &Path,
    measured: &[Vec<(Size, f64)>; 2],
    model: Model,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(path, (900, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    for ((half, measured), cores) in area.split_evenly((1, 2)).into_iter().zip(measured).zip([1, 2]) {
        let mut chart = ChartBuilder::on(&half)
            .margin(12)
            .caption(format!("4 layers, {cores} thread(s): µs a step"), ("sans-serif", 15))
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d((24.0..3000.0_f64).log_scale(), (3.0..100_000.0_f64).log_scale())?;
        chart.configure_mesh().x_desc("batch").light_line_style(WHITE).draw()?;
        for (i, width) in WIDTHS.into_iter().enumerate() {
            let color = Palette99::pick(i).to_rgba();
            let line = (5..=11).map(|power| Size { batch: 1 << power, width, depth: 4 });
            let line = line.map(|size| (size.batch as f64, model.on(size, cores) / 1e3));
            chart
                .draw_series(LineSeries::new(line, color))?
                .label(format!("width {width}"))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color));
            let points = measured.iter().filter(|(size, _)| size.width == width && size.depth == 4);
            chart.draw_series(
                points.map(|(size, time)| Circle::new((size.batch as f64, time / 1e3), 3, color.filled())),
            )?;
        }
        chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).draw()?;
    }
    area.present()?;
    Ok(())
}

/// How many times faster the model says that more cores are.
fn plot_cores(path: &Path, sizes: &[Size], model: Model) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(path, (640, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .caption("times faster than one core, by the model", ("sans-serif", 15))
        .x_label_area_size(36)
        .y_label_area_size(46)
        .build_cartesian_2d((1.0..64.0_f64).log_scale(), (0.9..64.0_f64).log_scale())?;
    chart.configure_mesh().x_desc("cores").light_line_style(WHITE).draw()?;
    for (i, &size) in sizes.iter().enumerate() {
        let color = Palette99::pick(i).to_rgba();
        let line = (1..=64).map(|cores| (f64::from(cores), model.on(size, 1) / model.on(size, cores as usize)));
        chart
            .draw_series(LineSeries::new(line, color))?
            .label(format!("batch {}, width {}", size.batch, size.width))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).draw()?;
    area.present()?;
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--test");
    let directory = arguments.iter().find(|argument| !argument.starts_with("--")).map(Path::new);
    match run(quick, directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scaling: {error}");
            ExitCode::FAILURE
        }
    }
}
