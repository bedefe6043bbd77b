//! The losses: from the outputs of a batch and its targets to the loss of each sample and the gradient of the outputs.

use crate::batch::{Goal, GoalTarget};
use crate::error::Result;
use crate::model::{BceWithLogits, CrossEntropy, Loss};
use handgrad_kernels::Exec;
use handgrad_kernels::op::{binary_cross_entropy_with_logits as bce, cross_entropy, huber, l1, loss, mse, smooth_l1};
use handgrad_kernels::view::{Mat, MatMut, View};

impl Loss {
    /// The choices of a cross-entropy, as the kernels take them.
    fn cross_entropy_config(choices: &CrossEntropy) -> Result<cross_entropy::Config<'_>> {
        let CrossEntropy { label_smoothing, class_weights, ignore_index } = choices;
        Ok(cross_entropy::Config {
            weight: weights(class_weights)?,
            // Labels have been checked: without a choice none is left out.
            ignore_index: ignore_index.unwrap_or(i64::MIN),
            label_smoothing: *label_smoothing,
        })
    }

    /// What the sum of the losses of a batch is divided by to be their mean.
    pub(crate) fn total(&self, exec: &Exec, goal: Goal<'_>, batch: usize) -> Result<f32> {
        match (self, goal.target) {
            (Loss::CrossEntropy(choices), GoalTarget::Labels(labels)) if choices != &CrossEntropy::default() => {
                let config = Self::cross_entropy_config(choices)?;
                Ok(cross_entropy::weights_total(exec, labels, goal.weights, config)?)
            }
            _ => Ok(loss::weights_total(exec, batch, goal.weights)),
        }
    }

    /// Writes the weighted loss of each sample, and the gradient of `each` times their sum.
    pub(crate) fn forward_backward(
        &self,
        exec: &Exec,
        losses: &mut [f32],
        d_outputs: MatMut<'_>,
        each: f32,
        outputs: Mat<'_>,
        goal: Goal<'_>,
    ) -> Result<()> {
        let Goal { target, weights: samples } = goal;
        let (x, d) = (outputs, d_outputs);
        match (self, target) {
            (Loss::CrossEntropy(choices), GoalTarget::Labels(labels)) => {
                let config = Self::cross_entropy_config(choices)?;
                cross_entropy::forward_backward(exec, losses, d, each, x, labels, samples, config)?;
            }
            (Loss::CrossEntropy(choices), GoalTarget::Values(probabilities)) => {
                let config = Self::cross_entropy_config(choices)?;
                cross_entropy::forward_backward(exec, losses, d, each, x, probabilities, samples, config)?;
            }
            (Loss::Mse, GoalTarget::Values(t)) => mse::forward_backward(exec, losses, d, each, x, t, samples, None)?,
            (Loss::L1, GoalTarget::Values(t)) => l1::forward_backward(exec, losses, d, each, x, t, samples, None)?,
            (&Loss::Huber { delta }, GoalTarget::Values(t)) => {
                huber::forward_backward(exec, losses, d, each, x, t, samples, delta, None)?;
            }
            (&Loss::SmoothL1 { beta }, GoalTarget::Values(t)) => {
                smooth_l1::forward_backward(exec, losses, d, each, x, t, samples, beta)?;
            }
            (Loss::BceWithLogits(BceWithLogits { pos_weight }), GoalTarget::Values(t)) => {
                let config = bce::Config { pos_weight: weights(pos_weight)?, ..bce::Config::default() };
                bce::forward_backward(exec, losses, d, each, x, t, samples, config)?;
            }
            (_, GoalTarget::Labels(_)) => unreachable!("labels are refused by a loss that has no use for them"),
        }
        Ok(())
    }
}

/// Weights, if there are any.
fn weights(weights: &[f32]) -> Result<Option<View<'_>>> {
    Ok(if weights.is_empty() { None } else { Some(View::new(weights, &[weights.len()])?) })
}
