//! The files of a run: the model and the picture of its loss.

use crate::data::Vocabulary;
use crate::train::Run;
use crate::{Args, Result};
use handgrad::Trainer;
use handgrad::kernels::view::View;
use plotters::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Makes the directory and sees whether files can be written there, before any time is spent on training.
pub(crate) fn prepare(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|error| format!("cannot make the directory {}: {error}", dir.display()))?;
    write_temporary(dir, &[("probe", Vec::new())])?;
    remove_temporary(dir, "probe");
    Ok(())
}

/// Writes files under temporary names, and renames them once all are complete.
pub(crate) fn write(dir: &Path, files: &[(&str, Vec<u8>)]) -> Result<()> {
    write_temporary(dir, files)?;
    for (name, _) in files {
        fs::rename(temporary(dir, name), dir.join(name)).map_err(|error| cannot_write(dir, name, &error))?;
    }
    Ok(())
}

fn write_temporary(dir: &Path, files: &[(&str, Vec<u8>)]) -> Result<()> {
    for (name, bytes) in files {
        if let Err(error) = fs::write(temporary(dir, name), bytes) {
            for (name, _) in files {
                remove_temporary(dir, name);
            }
            return Err(cannot_write(dir, name, &error).into());
        }
    }
    Ok(())
}

fn temporary(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!(".{name}.{}.part", std::process::id()))
}

/// Of a file that was never begun there is nothing to remove.
fn remove_temporary(dir: &Path, name: &str) {
    let _ = fs::remove_file(temporary(dir, name));
}

fn cannot_write(dir: &Path, name: &str, error: &std::io::Error) -> String {
    format!("cannot write {}: {error}", dir.join(name).display())
}

/// The parameters and running statistics as safetensors, with `PyTorch`'s names and shapes. The metadata has one entry,
/// `makemore`: JSON with the settings and the text of each token. (The format keeps entries in no order, so with one
/// entry the same run writes the same bytes.)
pub(crate) fn model(trainer: &Trainer, vocabulary: &Vocabulary, args: &Args) -> Result<Vec<u8>> {
    let params = trainer.names().map(|name| Ok((name, trainer.param(name)?)));
    let running = trainer.running_names().map(|name| Ok((name, trainer.running(name)?)));
    let tensors = params.chain(running).collect::<handgrad::Result<Vec<(&str, View<'_>)>>>()?;
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, view)| view.iter().flat_map(f32::to_le_bytes).collect()).collect();
    let mut named = Vec::with_capacity(tensors.len());
    for ((name, view), bytes) in tensors.iter().zip(&bytes) {
        named.push((*name, TensorView::new(Dtype::F32, view.shape().to_vec(), bytes)?));
    }
    let Args { steps, hidden, embedding, context, batch, lr, seed, .. } = *args;
    let about = json!({
        "vocabulary": vocabulary.texts().collect::<Vec<_>>(),
        "context": context,
        "embedding": embedding,
        "hidden": hidden,
        "batch": batch,
        "lr": lr,
        "steps": steps,
        "seed": seed,
    });
    let metadata = HashMap::from([("makemore".to_owned(), about.to_string())]);
    Ok(safetensors::serialize(named, Some(metadata))?)
}

/// The loss curve as SVG. Its texts are left to the fonts of whoever looks at it.
pub(crate) fn picture(run: &Run) -> Result<String> {
    const SIZE: (u32, u32) = (900, 500);
    let Run { curve, .. } = run;
    let points = || curve.iter().map(|&(step, loss)| (step as f64, loss));
    let (low, high) = points().fold((f64::MAX, f64::MIN), |(low, high), (_, y)| (low.min(y), high.max(y)));
    let margin = ((high - low) * 0.05).max(1e-3);
    let steps = curve.last().map_or(0, |&(step, _)| step);
    let window = curve.first().map_or(0, |&(step, _)| step);

    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .margin_right(40)
        .caption(format!("Training loss, mean of each {window} steps"), ("sans-serif", 20))
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..steps as f64, low - margin..high + margin)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 14))
        .x_desc("step")
        .x_label_formatter(&|step| format!("{step:.0}"))
        .y_desc("log10 loss")
        .y_label_formatter(&|loss| format!("{loss:.2}"))
        .draw()?;
    chart.draw_series(LineSeries::new(points(), BLUE.stroke_width(2)))?;
    area.present()?;
    drop(chart);
    drop(area);
    Ok(svg)
}
