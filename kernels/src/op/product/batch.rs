//! Products of matrices that lie along batch axes: as few and as large ones as the strides allow, split over threads.

use std::cmp::Reverse;

use super::{Dot, clear, joined};
use crate::elementwise;
use crate::error::MAX_RANK;
use crate::exec::Exec;
use crate::gemm::{self, Accum};
use crate::lanes::{RUN, Same};
use crate::par::Divide;
use crate::reduce::{self, AxisSet};
use crate::view::{Mat, MatMut, Nest, View, ViewMut};

/// Nanoseconds of one core for an element of a sum along a row.
const DOT_NS: f64 = 0.06;

/// Nanoseconds of one core that go into one product beside its arithmetic.
const CALL_NS: usize = 60;

/// Rows that are copied at a time where they are adjacent and their elements are not: a cache line of each.
const STAGED_ROWS: usize = 16;

/// The longest chain that is computed from `B` where it lies; for a longer one `B` is copied.
const LONG: usize = 1024;

/// Rows of `C` for which that copy does not pay (measured: with 64 columns and a chain of 4096, one row takes 9 µs in
/// parts and 30 µs with a copy, 32 rows 72 and 109; with 1024 columns, 0.7 and 1.0 ms, 2.1 and 2.2 ms).
const FEW_ROWS: usize = 32;

/// Why a change of views that were checked at the door cannot fail.
const CHECKED: &str = "axes that the operands have";

/// `C (+)= A·B` for each index of the batch.
///
/// All three have the same axes: those of the batch, then two of matrices, `m x n`, `m x k` and `k x n`. `a` and `b`
/// have the same batch; `c` has size one where products are added up.
pub(super) struct Batch<'a> {
    c: ViewMut<'a>,
    a: View<'a>,
    b: View<'a>,
    /// The batch axes along which products are added up; once the axes are arranged, these are the last ones.
    added: usize,
}

/// The same change of all three operands.
macro_rules! on_all {
    ($batch:expr, |$view:ident| $change:expr) => {{
        let Batch { c, a, b, added } = $batch;
        let c = {
            let $view = c;
            $change.expect(CHECKED)
        };
        let [a, b] = [a, b].map(|$view| $change.expect(CHECKED));
        Batch { c, a, b, added }
    }};
}

impl<'a> Batch<'a> {
    pub(super) fn new(c: ViewMut<'a>, a: View<'a>, b: View<'a>) -> Self {
        debug_assert!(c.rank() == a.rank() && a.rank() == b.rank() && a.rank() >= 2);
        Self { c, a, b, added: 0 }
    }

    /// The transposed product, `Cᵀ = Bᵀ·Aᵀ`.
    pub(super) fn t(self) -> Self {
        let Self { c, a, b, added } = on_all!(self, |view| view.transpose(-2, -1));
        Self { c, a: b, b: a, added }
    }

    /// Computes it. Only chains can be added to what stands in `c`.
    pub(super) fn run(self, exec: &Exec, accum: Accum, scratch: &mut [f32]) {
        if self.c.is_empty() {
            return;
        }
        if self.a.is_empty() || self.b.is_empty() {
            if accum == Accum::Replace {
                clear(exec, self.c);
            }
            return;
        }
        if self.c.shape()[self.rows() + 1] == 1 {
            debug_assert!(accum == Accum::Replace);
            self.dots(exec, scratch);
        } else {
            self.chains(exec, accum, scratch);
        }
    }

    /// One chain for each element.
    fn chains(self, exec: &Exec, accum: Accum, scratch: &mut [f32]) {
        let joined = |batch: Self| batch.arranged().inner_joined().rows_joined().cols_joined().kept_joined();
        let batch = if self.rows() == 0 { self } else { joined(self) };
        let rows = batch.rows();
        let count: usize = batch.a.shape()[..rows].iter().product();
        let work = batch.a.len().saturating_mul(batch.b.shape()[rows + 1]) / 100;
        let nanoseconds = work.saturating_add(count.saturating_mul(CALL_NS));
        let by_rows = batch.added > 0;
        batch.spread(exec, nanoseconds, by_rows, accum, scratch, chain);
    }

    /// Floats of scratch that sums of `inner` products along rows may need.
    pub(super) fn dots_scratch(exec: &Exec, inner: usize) -> usize {
        exec.threads().saturating_mul(inner).saturating_mul(STAGED_ROWS + 1)
    }

    /// A sum along a row for each element; `c` has one column.
    fn dots(self, exec: &Exec, scratch: &mut [f32]) {
        let batch = self.arranged();
        let k = batch.a.shape()[batch.rows() + 1];
        if batch.added > 0 || k == 1 || k > RUN {
            return fold(exec, batch.c, batch.a, batch.b);
        }
        // Below that a matrix times a vector has the same order, and less to do for each sum.
        let batch = batch.rows_joined().kept_joined();
        let nanoseconds = (batch.a.len() as f64 * DOT_NS) as usize;
        batch.spread(exec, nanoseconds, true, Accum::Replace, scratch, dots);
    }

    /// The axis of the rows; that of the columns is the next and last.
    fn rows(&self) -> usize {
        self.c.rank() - 2
    }

    /// The batch axes along which every index has a product of its own.
    fn kept(&self) -> usize {
        self.rows() - self.added
    }

    /// Batch axes of one index dropped, those along which products are added up last and in their order, the others
    /// by the strides of `c`, the greatest first.
    fn arranged(mut self) -> Self {
        for axis in (0..self.rows()).rev() {
            if self.a.shape()[axis] == 1 {
                self = on_all!(self, |view| view.squeeze(axis as isize));
            }
        }
        let rows = self.rows();
        let is_added = |axis: isize| self.c.shape()[axis as usize] != self.a.shape()[axis as usize];
        let key = |&axis: &isize| {
            let reach = self.c.strides()[axis as usize].unsigned_abs();
            (is_added(axis), Reverse(if is_added(axis) { 0 } else { reach }), axis)
        };
        let mut order: [isize; MAX_RANK] = std::array::from_fn(|axis| axis as isize);
        order[..rows].sort_unstable_by_key(key);
        let added = (0..rows as isize).filter(|&axis| is_added(axis)).count();
        if !order[..rows].is_sorted() {
            let rank = rows + 2;
            self = on_all!(self, |view| view.permute(&order[..rank]));
        }
        Self { added, ..self }
    }

    /// The chain through the batch as one longer chain, as far as the strides allow.
    fn inner_joined(mut self) -> Self {
        while self.added > 0 {
            let (axis, rows, cols) = (self.rows() - 1, self.rows(), self.rows() + 1);
            if !joins(self.a, axis, cols) || !joins(self.b, axis, rows) {
                break;
            }
            let Self { c, a, b, added } = self;
            let [axis, rows, cols] = [axis, rows, cols].map(|axis| axis as isize);
            self = Self {
                c: c.squeeze(axis).expect(CHECKED),
                a: a.movedim(axis, rows).and_then(|a| a.flatten(rows, cols)).expect(CHECKED),
                b: b.flatten(axis, rows).expect(CHECKED),
                added: added - 1,
            };
        }
        self
    }

    /// Matrices that meet the same `B` and whose rows go on evenly from one to the next, as one with more rows.
    fn rows_joined(mut self) -> Self {
        let fits = |batch: &Self, axis: &usize| {
            let rows = batch.rows();
            batch.b.strides()[*axis] == 0 && joins(batch.a, *axis, rows) && joins(batch.c.as_view(), *axis, rows)
        };
        while let Some(axis) = (0..self.kept()).rev().find(|axis| fits(&self, axis)) {
            let (axis, rows) = (axis as isize, self.rows() as isize);
            let Self { c, a, b, added } = self;
            self = Self {
                c: c.movedim(axis, rows - 1).and_then(|c| c.flatten(rows - 1, rows)).expect(CHECKED),
                a: a.movedim(axis, rows - 1).and_then(|a| a.flatten(rows - 1, rows)).expect(CHECKED),
                b: b.select(axis, 0).expect(CHECKED),
                added,
            };
        }
        self
    }

    /// [`rows_joined`](Self::rows_joined) of columns, for matrices that meet the same `A`.
    fn cols_joined(self) -> Self {
        let repeated = (0..self.kept()).any(|axis| self.a.strides()[axis] == 0);
        if repeated { self.t().rows_joined().t() } else { self }
    }

    /// Neighbouring batch axes that are one axis for every operand, joined.
    fn kept_joined(mut self) -> Self {
        for axis in (1..self.kept()).rev() {
            let both = |view: View<'_>| joins(view, axis - 1, axis);
            if both(self.c.as_view()) && both(self.a) && both(self.b) {
                self = on_all!(self, |view| view.flatten(axis as isize - 1, axis as isize));
            }
        }
        self
    }

    /// Calls `f` with each product, on several threads if there is work enough; `by_rows` says whether rows may be cut
    /// for that where there are few products. If nothing is cut, `f` may use the threads itself.
    fn spread(
        self,
        exec: &Exec,
        nanoseconds: usize,
        by_rows: bool,
        accum: Accum,
        scratch: &mut [f32],
        f: impl Fn(&Exec, Matrices<'_>, Accum, &mut [f32]) + Sync,
    ) {
        let pieces = exec.par.pieces(nanoseconds);
        let longest = (0..self.kept()).max_by_key(|&axis| self.a.shape()[axis]);
        let (axis, grain) = match longest {
            _ if pieces == 1 => return self.each(exec, accum, scratch, &f),
            Some(axis) if self.a.shape()[axis] >= pieces => (axis, 1),
            _ if by_rows => (self.rows(), 8),
            _ => return self.each(exec, accum, scratch, &f),
        };
        let alone = exec.clone().with_min_piece(usize::MAX);
        exec.par.run(nanoseconds, grain, Piece { batch: self, axis, scratch }, |piece| {
            piece.batch.each(&alone, accum, piece.scratch, &f);
        });
    }

    /// Calls `f` with each product, in order.
    fn each(self, exec: &Exec, accum: Accum, scratch: &mut [f32], f: &impl Fn(&Exec, Matrices<'_>, Accum, &mut [f32])) {
        let (rows, kept) = (self.rows(), self.kept());
        let Self { c, a, b, .. } = self;
        if rows == 0 {
            let c = MatMut::try_from(c).expect(CHECKED);
            let (a, b) = (Mat::try_from(a).expect(CHECKED), Mat::try_from(b).expect(CHECKED));
            return f(exec, Matrices { c, a, b }, accum, scratch);
        }
        let (batch, together) = (&a.shape()[..rows], a.shape()[kept..rows].iter().product::<usize>());
        let c_shape = joined(batch, &c.shape()[rows..]);
        let mut c: Nest<'_, 1, 0> = Nest::new(c_shape.as_slice(), [c], []);
        let mut a: Nest<'_, 0, 1> = Nest::new(a.shape(), [], [a]);
        let mut b: Nest<'_, 0, 1> = Nest::new(b.shape(), [], [b]);
        let (mut c, mut a, mut b) = (c.blocks(), a.blocks(), b.blocks());
        let mut number = 0;
        while let (Some(([c], [])), Some(([], [a])), Some(([], [b]))) = (c.next_block(), a.next_block(), b.next_block())
        {
            // What is added up goes on from the first product.
            let accum = if number % together == 0 { accum } else { Accum::Add };
            f(exec, Matrices { c, a, b }, accum, scratch);
            number += 1;
        }
    }
}

/// The operands of one product.
struct Matrices<'a> {
    c: MatMut<'a>,
    a: Mat<'a>,
    b: Mat<'a>,
}

/// `C (+)= A·B`, a chain for each element.
fn chain(exec: &Exec, part: Matrices<'_>, accum: Accum, scratch: &mut [f32]) {
    let Matrices { mut c, a, b } = part;
    let k = a.cols();
    if a.rows() > FEW_ROWS || k <= LONG || !b.is_adjacent() || !c.is_adjacent() {
        return gemm::into_any(exec, c, accum, a, b, scratch);
    }
    for p in (0..k).step_by(LONG) {
        let part = p..k.min(p + LONG);
        let accum = if p == 0 { accum } else { Accum::Add };
        gemm::into_any(exec, c.reborrow(), accum, a.cols_in(part.clone()), b.rows_in(part), scratch);
    }
}

/// `C = A·B` for one column, a sum along a row for each element.
fn dots(exec: &Exec, part: Matrices<'_>, accum: Accum, scratch: &mut [f32]) {
    let Matrices { mut c, a, mut b } = part;
    let (m, k) = (a.rows(), a.cols());
    let turned = !a.is_adjacent() && a.row_stride().unsigned_abs() < a.col_stride().unsigned_abs();
    // What is read again and again, or against the grain, is worth a copy.
    if m < 4 || !(turned || b.row_stride() != 1) {
        return gemm::into_any(exec, c, accum, a, b, scratch);
    }
    let (column, block) = scratch.split_at_mut(k);
    let mut copy = MatMut::from_row(column).t();
    elementwise::map(exec, DOT_NS, [copy.reborrow().into()], [b.into()], Same);
    b = copy.as_mat();
    let rows = if turned { STAGED_ROWS } else { m };
    for i in (0..m).step_by(rows) {
        let rows = i..m.min(i + rows);
        let mut part = a.rows_in(rows.clone());
        if turned {
            let mut copy = MatMut::from_prefix(block, rows.len(), k);
            elementwise::map(exec, DOT_NS, [copy.reborrow().into()], [part.into()], Same);
            part = Mat::from_prefix(block, rows.len(), k);
        }
        gemm::into_any(exec, c.reborrow().rows_in(rows), accum, part, b, &mut []);
    }
}

/// Whether the axis `outer`, longer than one, goes on where `inner` ends.
fn joins(view: View<'_>, outer: usize, inner: usize) -> bool {
    let (size, stride) = (view.shape()[inner], view.strides()[inner]);
    size == 1 || view.strides()[outer] == stride.wrapping_mul(size as isize)
}

/// `c[…, i, 0] = Σ a[…, i, p]·b[…, p, 0]`, in the order of the reductions.
fn fold(exec: &Exec, c: ViewMut<'_>, a: View<'_>, b: View<'_>) {
    let mut reduced = AxisSet::default();
    for axis in (0..a.rank()).filter(|&axis| c.shape()[axis] != a.shape()[axis] || axis + 1 == a.rank()) {
        reduced.insert(axis);
    }
    let b = b.transpose(-2, -1).and_then(|b| b.broadcast_to(a.shape())).expect(CHECKED);
    reduce::fold(exec, DOT_NS, [c], [a, b], reduced, Dot);
}

/// Products that one thread does, and its part of the scratch.
struct Piece<'a, 's> {
    batch: Batch<'a>,
    /// The axis that is cut: one of the batch that is not added up, or that of the rows.
    axis: usize,
    scratch: &'s mut [f32],
}

impl Divide for Piece<'_, '_> {
    fn len(&self) -> usize {
        self.batch.a.shape()[self.axis]
    }

    fn divide(self, at: usize, left: usize, pieces: usize) -> (Self, Self) {
        let Piece { batch: Batch { c, a, b, added }, axis, scratch } = self;
        let cut = axis as isize;
        let (c1, c2) = c.split_at(cut, at).expect(CHECKED);
        let (a1, a2) = a.split_at(cut, at).expect(CHECKED);
        // `B` has no rows of `C`.
        let (b1, b2) = if axis + 2 < b.rank() { b.split_at(cut, at).expect(CHECKED) } else { (b, b) };
        let (scratch1, scratch2) = scratch.split_at_mut(scratch.len() / pieces * left);
        (
            Piece { batch: Batch { c: c1, a: a1, b: b1, added }, axis, scratch: scratch1 },
            Piece { batch: Batch { c: c2, a: a2, b: b2, added }, axis, scratch: scratch2 },
        )
    }
}
