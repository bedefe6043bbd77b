//! The files of a run: the model and the picture of its loss.

use crate::Args;
use crate::shared::Result;
use crate::shared::chart::{self, Line, Panel};
use crate::train::Run;
use crate::words::Vocabulary;
use handgrad::{Contents, Notes, Trainer};
use plotters::style::BLUE;
use serde_json::json;

/// The parameters and running statistics as safetensors, with `PyTorch`'s names and shapes. The metadata has one entry,
/// `makemore`: JSON with the settings and the text of each token. (The format keeps entries in no order, so with one
/// entry the same run writes the same bytes.)
pub(crate) fn model(trainer: &Trainer, vocabulary: &Vocabulary, args: &Args) -> handgrad::Result<Vec<u8>> {
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
    let notes = Notes::from([("makemore".to_owned(), about.to_string())]);
    trainer.to_safetensors(Contents::Weights, &notes)
}

/// The loss curve.
pub(crate) fn picture(run: &Run) -> Result<String> {
    let Run { curve, .. } = run;
    let [window, steps] = [curve.first(), curve.last()].map(|point| point.map_or(0.0, |&(step, _)| step));
    chart::picture(&[Panel {
        caption: format!("Training loss, mean of each {window} steps"),
        axes: ["step", "log10 loss"],
        end: steps,
        lines: vec![Line { name: "training", points: curve, colour: BLUE }],
    }])
}
