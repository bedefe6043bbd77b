//! Plain stochastic gradient descent: `w -= lr·dw`, one rounding.

use crate::error::{ErrorKind, Result};
use crate::exec::{Axis, BlockKernel, Exec};
use crate::lanes::{self, Map};
use crate::simd::Simd;
use crate::view::{Mat, MatMut};

/// `w - lr·dw`.
#[derive(Clone, Copy)]
pub(crate) struct Plain {
    pub(crate) lr: f32,
}

impl Map<1, 1> for Plain {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [dw]: [S::F32; 1], [w]: [S::F32; 1]) -> [S::F32; 1] {
        [s.fnma(s.splat(self.lr), dw, w)]
    }
}

impl BlockKernel<1, 1> for Plain {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, _: usize, w: [MatMut<'_>; 1], dw: [Mat<'_>; 1]) {
        lanes::map(s, w, dw, self);
    }
}

/// `params -= lr·grads`, element by element.
///
/// # Errors
/// If the lengths differ.
pub fn update(exec: &Exec, params: &mut [f32], grads: &[f32], lr: f32) -> Result<()> {
    if params.len() != grads.len() {
        let (want, got) = (params.len(), grads.len());
        return Err(ErrorKind::Length { op: "sgd::update", arg: "grads", want, got }.into());
    }
    let nanoseconds = params.len() / 8;
    exec.blocks(nanoseconds, Axis::Cols, 64, [MatMut::from_row(params)], [Mat::from_row(grads)], Plain { lr });
    Ok(())
}
