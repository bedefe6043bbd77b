//! Targets that are classes: what `nll_loss` and `cross_entropy` have in common.

use super::{Reduction, expect_samples};
use crate::error::{Dims, ErrorKind, MAX_RANK, Result, expect_shape, first_outside};
use crate::exec::Exec;
use crate::view::View;

/// Targets whose weights are added together.
const CHUNK: usize = 1024;

/// What the classes count for.
#[derive(Clone, Copy)]
pub(crate) struct Counts<'a> {
    /// One weight for each class.
    pub(crate) weight: Option<View<'a>>,
    /// Targets with this value have the loss 0 and no gradient.
    pub(crate) ignore_index: i64,
}

/// One class for each loss.
#[derive(Clone, Copy)]
pub(crate) enum Targets<'a> {
    /// Next to each other.
    Adjacent(&'a [i64]),
    /// Anywhere.
    Spread(&'a View<'a, i64>),
}

impl<'a> Targets<'a> {
    /// The targets of a view.
    pub(crate) fn new(view: &'a View<'a, i64>) -> Self {
        view.as_slice().map_or(Targets::Spread(view), Targets::Adjacent)
    }

    fn len(self) -> usize {
        match self {
            Targets::Adjacent(targets) => targets.len(),
            Targets::Spread(targets) => targets.len(),
        }
    }

    /// Target `row` of a vector of them.
    #[inline]
    pub(crate) fn at(self, row: usize) -> i64 {
        match self {
            Targets::Adjacent(targets) => targets[row],
            Targets::Spread(targets) => targets.get(&[row]).expect("a target for each row"),
        }
    }

    /// Calls `f` with the number of each target and the target, in row-major order.
    fn each(self, mut f: impl FnMut(usize, i64)) {
        match self {
            Targets::Adjacent(targets) => targets.iter().enumerate().for_each(|(number, &target)| f(number, target)),
            Targets::Spread(targets) => targets.iter().enumerate().for_each(|(number, target)| f(number, target)),
        }
    }

    /// The first target that `wrong` holds of, and its number.
    fn find(self, wrong: impl Fn(i64) -> bool) -> Option<(usize, i64)> {
        match self {
            Targets::Adjacent(targets) => targets.iter().copied().enumerate().find(|&(_, target)| wrong(target)),
            Targets::Spread(targets) => targets.iter().enumerate().find(|&(_, target)| wrong(target)),
        }
    }
}

/// The axis that has the classes: the second, or the only one.
///
/// # Errors
/// [`ErrorKind::Axis`] if there is none.
pub(crate) fn class_axis(op: &'static str, shape: &[usize]) -> Result<usize> {
    match shape.len() {
        0 => Err(ErrorKind::Axis { op, axis: 0, rank: 0, reason: "there is no axis of classes" }.into()),
        rank => Ok(usize::from(rank > 1)),
    }
}

/// The shape of the losses: `shape` without its axis of classes.
pub(crate) fn losses_shape(shape: &[usize], axis: usize) -> Dims {
    let (mut sizes, rank) = ([1; MAX_RANK], shape.len() - 1);
    sizes[..axis].copy_from_slice(&shape[..axis]);
    sizes[axis..rank].copy_from_slice(&shape[axis + 1..]);
    Dims::new(&sizes[..rank])
}

/// Floats of scratch for a prediction of `shape`: one for each loss, if they are added.
pub(crate) fn scratch(shape: &[usize], reduction: Reduction) -> usize {
    match reduction {
        Reduction::None => 0,
        _ => {
            shape.iter().enumerate().filter(|&(axis, _)| axis != usize::from(shape.len() > 1)).map(|(_, n)| n).product()
        }
    }
}

/// Checks that there is one weight for each class.
///
/// # Errors
/// [`ErrorKind::Shape`] if there are others.
pub(crate) fn expect_weights(op: &'static str, weight: Option<&View<'_>>, classes: usize) -> Result<()> {
    weight.map_or(Ok(()), |weight| expect_shape(op, "weight", &[classes], weight.shape()))
}

impl Counts<'_> {
    /// Checks targets and weights against a prediction of `shape` with `axis` for its classes.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`], or [`ErrorKind::Index`] for the first target that is neither a class nor ignored.
    pub(crate) fn check(&self, op: &'static str, target: &View<'_, i64>, shape: &[usize], axis: usize) -> Result<()> {
        expect_shape(op, "target", losses_shape(shape, axis).as_slice(), target.shape())?;
        expect_weights(op, self.weight.as_ref(), shape[axis])?;
        self.expect_within(op, Targets::new(target), shape[axis])
    }

    /// Checks that every target is a class below `bound`, or ignored.
    ///
    /// # Errors
    /// [`ErrorKind::Index`] for the first that is not.
    #[inline]
    pub(crate) fn expect_within(&self, op: &'static str, targets: Targets<'_>, bound: usize) -> Result<()> {
        if let Targets::Adjacent(targets) = targets
            && first_outside(targets, bound).is_none()
        {
            return Ok(());
        }
        match targets.find(|value| value as u64 >= bound as u64 && value != self.ignore_index) {
            None => Ok(()),
            Some((position, value)) => Err(ErrorKind::Index { op, arg: "target", position, value, bound }.into()),
        }
    }

    /// A target's class and its weight; `None` if it is ignored.
    #[inline]
    pub(crate) fn of(&self, target: i64) -> Option<(usize, f32)> {
        if target == self.ignore_index {
            return None;
        }
        let class = target as usize;
        // Targets are checked at the door, and there is a weight for each class.
        Some((class, self.weight.as_ref().map_or(1.0, |weight| weight.get(&[class]).unwrap_or(f32::NAN))))
    }

    /// `Σ weight[target]` over the targets that are not ignored, each times its sample's weight: what a mean divides
    /// by. Weights are added in the written order, in pieces of 1024 targets, and the pieces' sums from first to last.
    pub(crate) fn total(&self, exec: &Exec, targets: Targets<'_>, samples: Option<&[f32]>) -> f32 {
        if self.weight.is_none() && samples.is_none() {
            let mut count = 0_usize;
            targets.each(|_, target| count += usize::from(target != self.ignore_index));
            return count as f32;
        }
        let (mut total, mut chunk, mut len) = (0.0, [0.0; CHUNK], 0);
        targets.each(|number, target| {
            let weight = self.of(target).map_or(0.0, |(_, weight)| weight);
            chunk[len] = samples.map_or(weight, |samples| samples[number] * weight);
            len += 1;
            if len == CHUNK {
                total += super::sum(exec, &chunk);
                len = 0;
            }
        });
        total + super::sum(exec, &chunk[..len])
    }

    /// [`total`](Self::total), of targets that have not been checked.
    ///
    /// # Errors
    /// [`ErrorKind::Length`] unless there is one sample for each target, [`ErrorKind::Index`] for a target that has no
    /// weight.
    pub(crate) fn checked_total(
        &self,
        op: &'static str,
        exec: &Exec,
        targets: Targets<'_>,
        samples: Option<&[f32]>,
    ) -> Result<f32> {
        expect_samples(op, samples, targets.len())?;
        if let Some(weight) = &self.weight {
            expect_shape(op, "weight", &[weight.len()], weight.shape())?;
            self.expect_within(op, targets, weight.len())?;
        }
        Ok(self.total(exec, targets, samples))
    }
}

/// Calls `f` with the number, the place and the class of each target, in row-major order. `f` may change the place.
pub(crate) fn each(target: View<'_, i64>, mut f: impl FnMut(usize, &mut [usize], i64)) {
    let shape = Dims::new(target.shape());
    let shape = shape.as_slice();
    let mut next = [0; MAX_RANK];
    for (number, class) in target.iter().enumerate() {
        let mut place = next;
        f(number, &mut place[..shape.len()], class);
        for (at, &size) in next.iter_mut().zip(shape).rev() {
            *at += 1;
            if *at < size {
                break;
            }
            *at = 0;
        }
    }
}
