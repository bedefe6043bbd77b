//! The files of a run: the model, and pictures of its losses and of its mistakes.

use super::images::Scale;
use super::train::Run;
use super::{CLASSES, Confusion, Settings};
use crate::shared::Result;
use crate::shared::chart::{self, Line, Panel};
use handgrad::{Contents, Notes, Trainer};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde_json::json;

/// The parameters as safetensors, with `PyTorch`'s names and shapes. The metadata has one entry, with the program's
/// name: JSON with the settings, and what a pixel is to be diminished and then divided by.
pub(super) fn model(trainer: &Trainer, program: &str, settings: &Settings, scale: Scale) -> handgrad::Result<Vec<u8>> {
    let Settings { epochs, batch, lr, seed, .. } = *settings;
    let about = json!({
        "mean": scale.mean,
        "deviation": scale.deviation,
        "hidden": settings.hidden,
        "batch": batch,
        "lr": lr,
        "epochs": epochs,
        "seed": seed,
    });
    trainer.to_safetensors(Contents::Weights, &Notes::from([(program.to_owned(), about.to_string())]))
}

/// The losses and the accuracy by epochs.
pub(super) fn curves(run: &Run, part: &str) -> Result<String> {
    // A loss can be nothing at all; its logarithm is to be shown all the same.
    let log = |loss: f64| loss.max(1e-8).log10();
    let held_out = || (1..).map(f64::from).zip(&run.held_out);
    let training: Vec<_> = run.training.iter().map(|&(epoch, loss)| (epoch, log(loss))).collect();
    let losses: Vec<_> = held_out().map(|(epoch, score)| (epoch, log(score.loss))).collect();
    let accuracy: Vec<_> = held_out().map(|(epoch, score)| (epoch, score.accuracy * 100.0)).collect();
    let end = run.held_out.len() as f64;
    let line = |points| Line { name: part, points, colour: RED };
    chart::picture(&[
        Panel {
            caption: format!("Training loss on the way, and loss on the {part} images"),
            axes: ["epoch", "log10 loss"],
            end,
            lines: vec![Line { name: "training", points: &training, colour: BLUE }, line(&losses)],
        },
        Panel {
            caption: format!("Accuracy on the {part} images"),
            axes: ["epoch", "accuracy, %"],
            end,
            lines: vec![line(&accuracy)],
        },
    ])
}

/// How often each class is taken for each, the darker the greater its share of the row.
pub(super) fn confusion(counts: &Confusion, part: &str) -> Result<String> {
    const CELL: i32 = 56;
    const LEFT: i32 = 72;
    const TOP: i32 = 96;
    const SIDE: i32 = CELL * CLASSES as i32;
    let text =
        |size: i32| ("sans-serif", size).into_font().into_text_style(&(0, 0)).pos(Pos::new(HPos::Center, VPos::Center));
    let along = |class: usize| CELL * class as i32 + CELL / 2;

    let mut svg = String::new();
    let size = ((LEFT + SIDE + 24) as u32, (TOP + SIDE + 24) as u32);
    let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    area.fill(&WHITE)?;
    let title = format!("What {part} images of a digit (rows) are taken for (columns)");
    area.draw(&Text::new(title, (LEFT + SIDE / 2, 28), text(20)))?;
    for (label, row) in counts.iter().enumerate() {
        let all = row.iter().sum::<usize>().max(1) as f64;
        area.draw(&Text::new(label.to_string(), (LEFT - 24, TOP + along(label)), text(16)))?;
        area.draw(&Text::new(label.to_string(), (LEFT + along(label), TOP - 24), text(16)))?;
        for (class, &count) in row.iter().enumerate() {
            let (x, y) = (LEFT + along(class), TOP + along(label));
            let corners = [(x - CELL / 2, y - CELL / 2), (x + CELL / 2, y + CELL / 2)];
            let share = count as f64 / all;
            // The root lets the rare mistakes be seen.
            let fill = if class == label { BLUE.mix(share * 0.6) } else { RED.mix(share.sqrt()) };
            area.draw(&Rectangle::new(corners, fill.filled()))?;
            area.draw(&Rectangle::new(corners, BLACK.mix(0.2)))?;
            if count > 0 {
                area.draw(&Text::new(count.to_string(), (x, y), text(14)))?;
            }
        }
    }
    area.present()?;
    drop(area);
    Ok(svg)
}
