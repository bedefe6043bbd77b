//! Labels, tokens and positions that are out of range.

use crate::kernels::serial;
use crate::{bits, poisoned, refused};
use handgrad::kernels::Isa;
use handgrad::kernels::gemm::Accum;
use handgrad::kernels::op::loss::Reduction;
use handgrad::kernels::op::{cross_entropy, embedding, gather, nll_loss, one_hot};
use handgrad::kernels::view::{Mat, MatMut, View, ViewMut};
use handgrad::{BatchNorm, Exec, Input, Linear, Loss, Mlp, Options, Trainer};

const CLASSES: usize = 5;
const BAD: [i64; 6] = [-1, 5, 6, i64::MAX, i64::MIN, 1 << 32];

/// [pytorch#194802]
#[test]
fn a_label_out_of_range_that_is_written_through() {
    let x: Vec<f32> = (0..9 * CLASSES as u16).map(|i| f32::from(i % 7)).collect();
    for isa in Isa::available() {
        let exec = serial(isa);
        for (place, bad) in (0..9).flat_map(|place| BAD.map(|bad| (place, bad))) {
            let mut labels = [0, 1, 2, 3, 4, 0, 1, 2, 3];
            labels[place] = bad;
            let found = format!("holds {bad} at position {place}");
            let says = [&found[..], "must be in 0..5"];
            let logits = Mat::new(&x, 9, CLASSES).unwrap();
            let (mut losses, mut dx, mut scratch) = (poisoned(9), poisoned(x.len()), vec![0.0; 4096]);
            let out = MatMut::new(&mut dx, 9, CLASSES).unwrap();
            let config = cross_entropy::Config::default();
            let done = cross_entropy::forward_backward(&exec, &mut losses, out, 1.0, logits, &labels[..], None, config);
            refused(done, &says, &[&losses, &dx]);
            let (view, target) = (View::new(&x, &[9, CLASSES]).unwrap(), View::new(&labels, &[9]).unwrap());
            let loss = ViewMut::new(&mut losses, &[9]).unwrap();
            let done = cross_entropy::forward(&exec, loss, view, target, config, Reduction::None, &mut scratch);
            refused(done, &says, &[&losses]);
            let (config, loss) = (nll_loss::Config::default(), ViewMut::new(&mut losses, &[9]).unwrap());
            let done = nll_loss::forward(&exec, loss, view, target, config, Reduction::None, &mut scratch);
            refused(done, &says, &[&losses]);
            // The same of tokens, of classes to mark and of places to gather from.
            let (mut y, mut table) = (poisoned(9 * 2), poisoned(CLASSES * 2));
            let weights = Mat::new(&x[..CLASSES * 2], CLASSES, 2).unwrap();
            let done = embedding::forward(&exec, MatMut::new(&mut y, 9, 2).unwrap(), weights, &labels);
            refused(done, &says, &[&y]);
            let (dtable, dy) = (MatMut::new(&mut table, CLASSES, 2).unwrap(), Mat::new(&x[..18], 9, 2).unwrap());
            refused(embedding::backward(&exec, dtable, Accum::Replace, dy, &labels), &says, &[&table]);
            let done = one_hot::forward(&exec, ViewMut::new(&mut dx, &[9, CLASSES]).unwrap(), target);
            refused(done, &says, &[&dx]);
            let (out, from) = (ViewMut::new(&mut losses, &[9]).unwrap(), View::new(&x[..CLASSES], &[CLASSES]).unwrap());
            refused(gather::forward(&exec, out, from, target, 0), &[&found], &[&losses]);
        }
    }
}

/// The same through a training step: the trainer is as it was.
#[test]
fn a_label_or_token_out_of_range_in_a_batch() {
    let mlp = Mlp {
        input: Input::Tokens { vocab: 7, context: 2, embedding: 3 },
        layers: vec![Linear::new(9).into(), BatchNorm::default().into(), Linear::new(CLASSES).into()],
        loss: Loss::cross_entropy(),
    };
    let mut trainer =
        Trainer::new(&mlp, Options { max_batch: 4, ..Options::default() }, &Exec::serial().unwrap()).unwrap();
    let (tokens, labels) = ([0_i64, 1, 2, 3, 4, 5, 6, 0], [0_i64, 1, 2, 3]);
    trainer.step(&tokens[..], &labels[..]).unwrap();
    let state = |trainer: &Trainer| {
        let running = trainer.running_names().flat_map(|name| trainer.running(name).unwrap().to_vec());
        bits(&trainer.params().iter().copied().chain(running).collect::<Vec<_>>())
    };
    let before = state(&trainer);
    for (sample, bad) in (0..4).flat_map(|sample| BAD.map(|bad| (sample, bad))) {
        let mut wrong = labels;
        wrong[sample] = bad;
        refused(
            trainer.step(&tokens[..], &wrong[..]),
            &[&format!("label {bad} of sample {sample} must be in 0..5")],
            &[],
        );
        let (mut wrong, bad) = (tokens, if bad == 5 || bad == 6 { 7 } else { bad });
        wrong[2 * sample + 1] = bad;
        refused(
            trainer.step(&wrong[..], &labels[..]),
            &[&format!("token {bad} of sample {sample} must be in 0..7")],
            &[],
        );
        assert_eq!(state(&trainer), before, "after {bad} in sample {sample}");
    }
    assert_eq!(trainer.updates(), 1);
}
