//! The driver of the element-wise operations: any function of registers over views of any layout.
//!
//! All operands have one shape; broadcasting has given the inputs strides of zero. The driver turns the layout into
//! 2-d blocks for the loop in `lanes`: axes of size one go, axes that run backwards in the output are turned round,
//! the output's smallest stride comes innermost, and neighbours that are one axis for every operand are merged. A
//! contiguous operation of any rank is then one row.

use crate::error::{Dims, Result, expect_shape};
use crate::exec::Exec;
use crate::lanes::{self, Map};
use crate::simd::{Kernel, Simd};
use crate::view::{Cut, Nest, View, ViewMut};

/// `out = f(inp, out)` over views of one shape, which the caller has checked. `nanoseconds` is what an element costs
/// one core, for the split over threads.
pub(crate) fn map<F: Map<I, O>, const I: usize, const O: usize>(
    exec: &Exec,
    nanoseconds: f64,
    out: [ViewMut<'_>; O],
    inp: [View<'_>; I],
    f: F,
) {
    let shape = Dims::new(out[0].shape());
    let len = out[0].len();
    if len == 0 {
        return;
    }
    let mut nest = Nest::new(shape.as_slice(), out, inp);
    arrange(&mut nest);
    let rank = nest.axes().len();
    // The longest axis is cut; whole registers stay together where it is the innermost.
    let axis = (0..rank).max_by_key(|&axis| nest.axes()[axis].size).unwrap_or(0);
    let grain = if axis + 1 == rank { 64 } else { 1 };
    if rank == 0 {
        nest.add_unit();
    }
    let work = Cut { nest, axis };
    exec.par.run((len as f64 * nanoseconds) as usize, grain, work, |work| {
        exec.isa().run(Blocks { nest: work.nest, f });
    });
}

/// Brings the axes into the order in which the loop runs best.
fn arrange<const O: usize, const I: usize>(nest: &mut Nest<'_, O, I>) {
    nest.drop_units(|_| true);
    for axis in 0..nest.axes().len() {
        if nest.axes()[axis].out[0] < 0 {
            nest.flip(axis);
        }
    }
    nest.sort(|axis| std::cmp::Reverse(axis.out[0]));
    let rank = nest.merge(0, nest.axes().len());
    // An input that is adjacent along another axis is transposed in tiles, if that axis is next to the innermost.
    if let [others @ .., inner] = nest.axes()
        && let Some(input) = inner.inp.iter().position(|&stride| stride != 0 && stride != 1)
        && let Some(axis) = others.iter().position(|axis| axis.inp[input] == 1)
    {
        nest.move_axis(axis, rank - 2);
    }
}

/// The loop over the blocks of a nest, on one tier.
struct Blocks<'a, F, const O: usize, const I: usize> {
    nest: Nest<'a, O, I>,
    f: F,
}

impl<F: Map<I, O>, const O: usize, const I: usize> Kernel for Blocks<'_, F, O, I> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let mut blocks = self.nest.blocks();
        while let Some((out, inp)) = blocks.next_block() {
            lanes::map(s, out, inp, self.f);
        }
    }
}

/// `view` repeated to the shape of an output.
///
/// # Errors
/// [`ErrorKind::Shape`](crate::ErrorKind::Shape) if broadcasting does not give that shape.
pub(crate) fn broadcast<'a>(op: &'static str, arg: &'static str, view: View<'a>, shape: &[usize]) -> Result<View<'a>> {
    // The shape wanted is named by the operand's argument, not by `broadcast_to`.
    view.broadcast_to(shape).or_else(|_| expect_shape(op, arg, shape, view.shape()).map(|()| view))
}
