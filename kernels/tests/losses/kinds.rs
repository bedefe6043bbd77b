//! The losses that compare element with element, by name.
#![allow(clippy::large_types_passed_by_value, reason = "operands of a test are copied freely")]

use handgrad_kernels::op::binary_cross_entropy_with_logits::{self as logits, Config};
use handgrad_kernels::op::loss::Reduction;
use handgrad_kernels::op::{binary_cross_entropy as bce, huber, l1, mse, smooth_l1};
use handgrad_kernels::view::{Mat, MatMut, View, ViewMut};
use handgrad_kernels::{Exec, Result};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Mse,
    L1,
    SmoothL1(f32),
    Huber(f32),
    Bce,
    Logits,
}

pub(super) const KINDS: [Kind; 8] = [
    Kind::Mse,
    Kind::L1,
    Kind::SmoothL1(0.75),
    Kind::SmoothL1(0.0),
    Kind::Huber(1.25),
    Kind::Huber(0.3),
    Kind::Bce,
    Kind::Logits,
];

/// What a loss reads; the weights may be missing.
#[derive(Clone, Copy)]
pub(super) struct Read<'a> {
    pub(super) x: View<'a>,
    pub(super) t: View<'a>,
    pub(super) w: Option<View<'a>>,
    pub(super) p: Option<View<'a>>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Of {
    Prediction,
    Target,
}

impl Kind {
    pub(super) fn has_weight(self) -> bool {
        !matches!(self, Kind::SmoothL1(_))
    }

    pub(super) fn is_broadcast(self) -> bool {
        !matches!(self, Kind::Bce | Kind::Logits)
    }

    pub(super) fn domain(self) -> [f32; 2] {
        if self == Kind::Bce { [0.001, 0.999] } else { [-3.0, 3.0] }
    }

    pub(super) fn target_domain(self) -> [f32; 2] {
        if self.is_broadcast() { [-3.0, 3.0] } else { [0.0, 1.0] }
    }

    pub(super) fn forward(self, exec: &Exec, y: ViewMut<'_>, read: Read<'_>, r: Reduction) -> Result<()> {
        let Read { x, t, w, p } = read;
        match self {
            Kind::Mse => mse::forward(exec, y, x, t, w, r),
            Kind::L1 => l1::forward(exec, y, x, t, w, r),
            Kind::SmoothL1(beta) => smooth_l1::forward(exec, y, x, t, beta, r),
            Kind::Huber(delta) => huber::forward(exec, y, x, t, delta, w, r),
            Kind::Bce => bce::forward(exec, y, x, t, w, r),
            Kind::Logits => logits::forward(exec, y, x, t, Config { weight: w, pos_weight: p }, r),
        }
    }

    pub(super) fn backward(
        self,
        exec: &Exec,
        of: Of,
        d: ViewMut<'_>,
        dloss: View<'_>,
        read: Read<'_>,
        r: Reduction,
    ) -> Result<()> {
        let Read { x, t, w, p } = read;
        let config = Config { weight: w, pos_weight: p };
        match (self, of) {
            (Kind::Mse, Of::Prediction) => mse::backward(exec, d, dloss, x, t, w, r),
            (Kind::Mse, Of::Target) => mse::backward_target(exec, d, dloss, x, t, w, r),
            (Kind::L1, Of::Prediction) => l1::backward(exec, d, dloss, x, t, w, r),
            (Kind::L1, Of::Target) => l1::backward_target(exec, d, dloss, x, t, w, r),
            (Kind::SmoothL1(beta), Of::Prediction) => smooth_l1::backward(exec, d, dloss, x, t, beta, r),
            (Kind::SmoothL1(beta), Of::Target) => smooth_l1::backward_target(exec, d, dloss, x, t, beta, r),
            (Kind::Huber(delta), Of::Prediction) => huber::backward(exec, d, dloss, x, t, delta, w, r),
            (Kind::Huber(delta), Of::Target) => huber::backward_target(exec, d, dloss, x, t, delta, w, r),
            (Kind::Bce, Of::Prediction) => bce::backward(exec, d, dloss, x, t, w, r),
            (Kind::Bce, Of::Target) => bce::backward_target(exec, d, dloss, x, t, w, r),
            (Kind::Logits, Of::Prediction) => logits::backward(exec, d, dloss, x, t, config, r),
            (Kind::Logits, Of::Target) => logits::backward_target(exec, d, dloss, x, t, config, r),
        }
    }

    pub(super) fn fused(
        self,
        exec: &Exec,
        (losses, dx): (&mut [f32], MatMut<'_>),
        dloss: f32,
        [x, t]: [Mat<'_>; 2],
        [w, p]: [Option<View<'_>>; 2],
        samples: Option<&[f32]>,
    ) -> Result<()> {
        match self {
            Kind::Mse => mse::forward_backward(exec, losses, dx, dloss, x, t, samples, w),
            Kind::L1 => l1::forward_backward(exec, losses, dx, dloss, x, t, samples, w),
            Kind::SmoothL1(beta) => smooth_l1::forward_backward(exec, losses, dx, dloss, x, t, samples, beta),
            Kind::Huber(delta) => huber::forward_backward(exec, losses, dx, dloss, x, t, samples, delta, w),
            Kind::Bce => bce::forward_backward(exec, losses, dx, dloss, x, t, samples, w),
            Kind::Logits => {
                let config = Config { weight: w, pos_weight: p };
                logits::forward_backward(exec, losses, dx, dloss, x, t, samples, config)
            }
        }
    }

    pub(super) fn reference(self, x: f64, t: f64, p: f64) -> f64 {
        match self {
            Kind::Mse => mse::reference(x, t),
            Kind::L1 => l1::reference(x, t),
            Kind::SmoothL1(beta) => smooth_l1::reference(x, t, beta.into()),
            Kind::Huber(delta) => huber::reference(x, t, delta.into()),
            Kind::Bce => bce::reference(x, t),
            Kind::Logits => logits::reference(x, t, p),
        }
    }

    pub(super) fn reference_backward(self, dloss: f64, x: f64, t: f64, p: f64) -> [f64; 2] {
        match self {
            Kind::Mse => mse::reference_backward(dloss, x, t),
            Kind::L1 => l1::reference_backward(dloss, x, t),
            Kind::SmoothL1(beta) => smooth_l1::reference_backward(dloss, x, t, beta.into()),
            Kind::Huber(delta) => huber::reference_backward(dloss, x, t, delta.into()),
            Kind::Bce => bce::reference_backward(dloss, x, t),
            Kind::Logits => logits::reference_backward(dloss, x, t, p),
        }
    }

    /// The magnitudes of what is added up in the loss and in each of its derivatives.
    pub(super) fn terms(self, x: f64, t: f64, p: f64) -> [f64; 3] {
        let [dx, dt] = self.reference_backward(1.0, x, t, p).map(f64::abs);
        match self {
            // The second branch of both takes a half off.
            Kind::SmoothL1(_) => [(x - t).abs(), dx, dt],
            Kind::Huber(delta) => [f64::from(delta) * (x - t).abs() + self.reference(x, t, p), dx, dt],
            Kind::Bce => [self.reference(x, t, p), dx, x.ln().abs() + (-x).ln_1p().abs()],
            Kind::Logits => {
                let sigmoid = 1.0 / (1.0 + (-x).exp());
                let slope = (1.0 - t) * sigmoid + p * t * (1.0 - sigmoid);
                [self.reference(x, t, p), slope, x.abs() + (p + 1.0) * self.reference(x, 1.0, 1.0)]
            }
            _ => [self.reference(x, t, p), dx, dt],
        }
    }
}
