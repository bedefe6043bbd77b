//! The network, its training loop, and words made by it.

use crate::data::{Dataset, Samples};
use crate::shared::{self, Result};
use crate::{Args, Purpose};
use handgrad::kernels::scalar;
use handgrad::{Activation, BatchNorm, Exec, Input, Linear, Loss, Mlp, Options, Predictor, Trainer, Variance, init};
use indicatif::ProgressBar;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use std::time::Instant;

/// Steps whose losses make one point of the curve; fewer in runs of less than twenty points.
const WINDOW: usize = 1000;

/// The notebook's network with the notebook's initial parameters.
pub(crate) fn build(args: &Args, vocab: usize, exec: &Exec) -> Result<Trainer> {
    let Args { hidden, embedding, context, batch, lr, .. } = *args;
    let mlp = Mlp {
        input: Input::Tokens { vocab, context, embedding },
        layers: vec![
            Linear::new(hidden).into(),
            // Its statistics are calibrated after the training, so the running ones rest.
            BatchNorm { variance: Variance::Unbiased, momentum: 0.0, ..BatchNorm::default() }.into(),
            Activation::Tanh.into(),
            Linear::new(vocab).into(),
        ],
        loss: Loss::cross_entropy(),
    };
    let mut trainer = Trainer::new(&mlp, Options { max_batch: batch, lr, ..Options::default() }, exec)?;
    let fan_in = (context * embedding) as f32;
    let mut rng = args.rng(Purpose::Parameters);
    // Biases before and after a normalisation begin away from zero so that a wrong gradient of them would show.
    for (name, mean, std) in [
        ("embedding.weight", 0.0, 1.0),
        ("layers.0.weight", 0.0, 5.0 / 3.0 / fan_in.sqrt()),
        ("layers.0.bias", 0.0, 0.1),
        ("layers.1.weight", 1.0, 0.1),
        ("layers.1.bias", 0.0, 0.1),
        ("layers.3.weight", 0.0, 0.1),
        ("layers.3.bias", 0.0, 0.1),
    ] {
        init::normal(trainer.param_mut(name)?, mean, std, &mut rng);
    }
    Ok(trainer)
}

/// What is left of a run besides the parameters.
pub(crate) struct Run {
    /// The step at the end of each window, and the mean of the log10 loss over it.
    pub(crate) curve: Vec<(f64, f64)>,
    /// The time that the loop took.
    pub(crate) seconds: f64,
}

/// Trains on minibatches drawn with replacement. To be called inside [`Exec::install`].
pub(crate) fn train(trainer: &mut Trainer, data: &Samples, args: &Args) -> Result<Run> {
    let Args { steps, batch, context, lr, .. } = *args;
    let mut rng = args.rng(Purpose::Minibatches);
    let (mut x, mut y) = (vec![0; batch * context], vec![0; batch]);
    let window = WINDOW.min(steps.div_ceil(20));
    let mut curve = Vec::new();
    let bar = if args.quiet { ProgressBar::hidden() } else { shared::progress_bar(steps) };

    let start = Instant::now();
    for begin in (0..steps).step_by(window) {
        let end = steps.min(begin + window);
        let (mut sum, mut last) = (0.0, 0.0);
        for step in begin..end {
            if step == steps.div_ceil(2) {
                trainer.set_lr(lr / 10.0)?;
            }
            data.draw(&mut x, &mut y, &mut rng);
            last = trainer.step(&x, &y)?;
            sum += f64::from(last).log10();
        }
        let mean = sum / (end - begin) as f64;
        if !mean.is_finite() {
            bar.abandon();
            return Err(format!("the loss became {last} before step {end}; try a smaller --lr than {lr}").into());
        }
        curve.push((end as f64, mean));
        bar.set_message(format!("{:.4}", 10_f64.powf(mean)));
        bar.set_position(end as u64);
    }
    let seconds = start.elapsed().as_secs_f64();
    bar.finish();
    Ok(Run { curve, seconds })
}

/// Makes a word: from the ends it draws one token after the other, until the end or twice the longest word it learnt
/// from.
pub(crate) fn make_word(
    predictor: &mut Predictor,
    data: &Dataset,
    context: usize,
    rng: &mut ChaCha8Rng,
) -> handgrad::Result<String> {
    let mut window = vec![0; context];
    let mut logits = vec![0.0; data.vocabulary.len()];
    let mut word = String::new();
    for _ in 0..2 * data.longest {
        predictor.predict(&window, &mut logits)?;
        let token = draw(&logits, rng);
        let Some(c) = data.vocabulary.char(token) else { break };
        word.push(c);
        window.rotate_left(1);
        window[context - 1] = token as i64;
    }
    Ok(word)
}

/// Draws an index with the probabilities of a softmax: the greatest logit once each has had Gumbel noise added, which
/// is `-ln(-ln u)` of a uniform `u`.
fn draw(logits: &[f32], rng: &mut ChaCha8Rng) -> usize {
    let noisy = logits.iter().map(|logit| logit - scalar::ln(-scalar::ln(rng.random())));
    noisy.enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(0, |(token, _)| token)
}
