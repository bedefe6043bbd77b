//! What the matrix products have in common: their shapes by NumPy's rules, and the order of their sums.
//!
//! The last two axes of an operand are its matrices, `m x k` on the left and `k x n` on the right; the axes before them
//! are the batch, and are broadcast to each other. An operand of one axis is a row on the left and a column on the
//! right. With `p` for the inner index,
//!
//! ```text
//! y[…, i, j]  = Σ_p a[…, i, p]·b[…, p, j]
//! da[…, i, p] = Σ_j dy[…, i, j]·b[…, p, j]      dA = dY·Bᵀ
//! db[…, p, j] = Σ_i a[…, i, p]·dy[…, i, j]      dB = Aᵀ·dY
//! ```
//!
//! An operand that was repeated along batch axes takes part in every product there, so its gradient is the sum of
//! theirs, which is added up in place.
//!
//! # The order of the sums
//!
//! Each element is one chain of fused multiply-adds, in the order of the inner index; where products are added up, the
//! chain goes on from one to the next in row-major order of the batch. What has one column has only the sum itself to
//! spread over the lanes, and goes [along a row](crate#the-order-of-sums) instead: `y` and `db` with `n = 1` (`mv`,
//! `dot`), and `da` with `k = 1`. The weight gradient of `linear` stays a chain, so that a batch of rows taken in parts
//! gives the same bits.

mod batch;

use crate::elementwise;
use crate::error::{Dims, ErrorKind, MAX_RANK, Result, expect_scratch, expect_shape};
use crate::exec::Exec;
use crate::gemm::{self, Accum};
use crate::lanes::{Fold, Map};
use crate::simd::Simd;
use crate::view::{View, ViewMut, broadcast_shape};

use batch::Batch;

/// What the operands of a product and their gradients are called in errors.
#[derive(Clone, Copy)]
pub(super) struct Names {
    pub(super) a: &'static str,
    pub(super) b: &'static str,
    pub(super) da: &'static str,
    pub(super) db: &'static str,
}

/// The usual names.
pub(super) const NAMES: Names = Names { a: "a", b: "b", da: "da", db: "db" };

/// The shapes of a product.
#[derive(Clone, Copy)]
pub(super) struct Product {
    op: &'static str,
    names: Names,
    /// The operands' shapes, as they came.
    a: Dims,
    b: Dims,
    /// What the axes before the last two are broadcast to.
    batch: Dims,
    m: usize,
    k: usize,
    n: usize,
}

impl Product {
    /// The product of operands of the shapes `a` and `b`.
    ///
    /// # Errors
    /// [`ErrorKind::Value`] for a scalar, [`ErrorKind::Shape`] if the inner sizes differ or the batches do not
    /// broadcast.
    pub(super) fn new(op: &'static str, names: Names, a: &[usize], b: &[usize]) -> Result<Self> {
        let scalar = |arg| ErrorKind::Value { op, arg, want: "of rank 1 to 8", got: 0.0 }.into();
        let (a_batch, m, k) = match *a {
            [] => return Err(scalar(names.a)),
            [k] => (&a[..0], 1, k),
            [ref batch @ .., m, k] => (batch, m, k),
        };
        let (b_batch, inner, n) = match *b {
            [] => return Err(scalar(names.b)),
            [inner] => (&b[..0], inner, 1),
            [ref batch @ .., inner, n] => (batch, inner, n),
        };
        let columns = if b.len() == 1 { &b[..0] } else { &b[b.len() - 1..] };
        let wrong = |batch: &[usize]| {
            let want = joined(joined(batch, &[k]).as_slice(), columns);
            ErrorKind::Shape { op, arg: names.b, want, got: b.into() }
        };
        if inner != k {
            return Err(wrong(b_batch).into());
        }
        let batch = broadcast_shape(op, names.b, a_batch, b_batch).map_err(|_| wrong(a_batch))?;
        Ok(Self { op, names, a: a.into(), b: b.into(), batch, m, k, n })
    }

    /// The product of two matrices.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`ErrorKind::Value`] if an operand has not two axes.
    pub(super) fn of_matrices(op: &'static str, a: &[usize], b: &[usize]) -> Result<Self> {
        expect_rank(op, "a", 2, a)?;
        expect_rank(op, "b", 2, b)?;
        Self::new(op, NAMES, a, b)
    }

    /// The shape of the product: the axis that an operand of one axis lacks is lacking here too.
    pub(super) fn out(&self) -> Dims {
        let (m, n) = (&[self.m][self.missing_row()..], &[self.n][self.missing_column()..]);
        joined(joined(self.batch.as_slice(), m).as_slice(), n)
    }

    /// How many rows the product lacks: one, if the left operand is a vector.
    fn missing_row(&self) -> usize {
        usize::from(self.a.as_slice().len() == 1)
    }

    /// How many columns the product lacks: one, if the right operand is a vector.
    fn missing_column(&self) -> usize {
        usize::from(self.b.as_slice().len() == 1)
    }

    /// Floats of scratch that the product and its gradients may need on `exec`.
    pub(super) fn scratch(&self, exec: &Exec) -> usize {
        let &Self { m, k, n, .. } = self;
        let batch = self.batch.as_slice().iter().fold(1_usize, |all, &size| all.saturating_mul(size));
        // Batch axes may be joined to any axis of the matrices.
        let [all_m, all_k, all_n] = [m, k, n].map(|size| size.saturating_mul(batch));
        let forward = gemm::scratch_len(exec, all_m, k, all_n);
        let grads = gemm::scratch_len(exec, all_m, all_n, all_k).max(gemm::scratch_len(exec, all_k, all_m, all_n));
        let dots = |columns, inner| if columns == 1 { Batch::dots_scratch(exec, inner) } else { 0 };
        forward.max(grads).max(dots(n, k.max(m))).max(dots(k, n))
    }

    /// Checks the scratch, the product or its gradient, and the gradients of the operands.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] or [`ErrorKind::Scratch`] for the first that is wrong.
    pub(super) fn check(
        &self,
        exec: &Exec,
        (y, y_shape): (&'static str, &[usize]),
        [da, db]: [Option<&[usize]>; 2],
        scratch: &[f32],
    ) -> Result<()> {
        expect_shape(self.op, y, self.out().as_slice(), y_shape)?;
        expect_shape(self.op, self.names.da, self.a.as_slice(), da.unwrap_or(self.a.as_slice()))?;
        expect_shape(self.op, self.names.db, self.b.as_slice(), db.unwrap_or(self.b.as_slice()))?;
        expect_scratch(self.op, self.scratch(exec), scratch.len())
    }

    /// `y = a·b`.
    ///
    /// # Errors
    /// If `y` has another shape or `scratch` is too short.
    pub(super) fn forward(
        &self,
        exec: &Exec,
        y: ViewMut<'_>,
        a: View<'_>,
        b: View<'_>,
        scratch: &mut [f32],
    ) -> Result<()> {
        self.check(exec, ("y", y.shape()), [None, None], scratch)?;
        let product = Batch::new(self.result_mut(y)?, self.left(a)?, self.right(b)?);
        product.run(exec, Accum::Replace, scratch);
        Ok(())
    }

    /// `da = dy·bᵀ` and `db = aᵀ·dy`, summed where the operand was repeated.
    ///
    /// # Errors
    /// If a gradient has another shape than its value or `scratch` is too short.
    pub(super) fn backward(
        &self,
        exec: &Exec,
        [da, db]: [ViewMut<'_>; 2],
        dy: View<'_>,
        [a, b]: [View<'_>; 2],
        scratch: &mut [f32],
    ) -> Result<()> {
        self.check(exec, ("dy", dy.shape()), [Some(da.shape()), Some(db.shape())], scratch)?;
        let left = self.left_gradient(da, dy, b)?;
        let right = self.right_gradient(db, dy, a)?;
        left.run(exec, Accum::Replace, scratch);
        right.run(exec, Accum::Replace, scratch);
        Ok(())
    }

    /// `da = dy·bᵀ`, for a product whose left shape is that of `da`.
    ///
    /// # Errors
    /// As [`backward`](Self::backward).
    pub(super) fn backward_left(
        &self,
        exec: &Exec,
        da: ViewMut<'_>,
        dy: View<'_>,
        b: View<'_>,
        scratch: &mut [f32],
    ) -> Result<()> {
        self.check(exec, ("dy", dy.shape()), [None, None], scratch)?;
        self.left_gradient(da, dy, b)?.run(exec, Accum::Replace, scratch);
        Ok(())
    }

    /// `db = aᵀ·dy`, for a product whose right shape is that of `db`.
    ///
    /// # Errors
    /// As [`backward`](Self::backward).
    pub(super) fn backward_right(
        &self,
        exec: &Exec,
        db: ViewMut<'_>,
        dy: View<'_>,
        a: View<'_>,
        scratch: &mut [f32],
    ) -> Result<()> {
        self.check(exec, ("dy", dy.shape()), [None, None], scratch)?;
        self.right_gradient(db, dy, a)?.run(exec, Accum::Replace, scratch);
        Ok(())
    }

    /// `db (+)= aᵀ·dy` where that is the gradient of a layer's weight: a chain, even of one column.
    ///
    /// # Errors
    /// As [`backward`](Self::backward).
    pub(super) fn backward_weight(
        &self,
        exec: &Exec,
        db: ViewMut<'_>,
        accum: Accum,
        dy: View<'_>,
        a: View<'_>,
        scratch: &mut [f32],
    ) -> Result<()> {
        self.check(exec, ("dy", dy.shape()), [None, None], scratch)?;
        let product = self.right_gradient(db, dy, a)?;
        // As one row a column is a chain; see the top of the module.
        let product = if self.n == 1 { product.t() } else { product };
        product.run(exec, accum, scratch);
        Ok(())
    }

    /// `dA = dY·Bᵀ`.
    fn left_gradient<'a>(&self, da: ViewMut<'a>, dy: View<'a>, b: View<'a>) -> Result<Batch<'a>> {
        let mut da = da;
        while da.rank() < self.batch.as_slice().len() + 2 {
            da = da.unsqueeze(0)?;
        }
        Ok(Batch::new(da, self.result(dy)?, self.right(b)?.transpose(-2, -1)?))
    }

    /// `dB = Aᵀ·dY`.
    fn right_gradient<'a>(&self, db: ViewMut<'a>, dy: View<'a>, a: View<'a>) -> Result<Batch<'a>> {
        let mut db = if self.missing_column() == 1 { db.unsqueeze(-1)? } else { db };
        while db.rank() < self.batch.as_slice().len() + 2 {
            db = db.unsqueeze(0)?;
        }
        Ok(Batch::new(db, self.left(a)?.transpose(-2, -1)?, self.result(dy)?))
    }

    /// The left operand, repeated along the batch.
    fn left<'a>(&self, a: View<'a>) -> Result<View<'a>> {
        if self.batch.as_slice().is_empty() && a.rank() == 2 {
            return Ok(a);
        }
        a.broadcast_to(joined(self.batch.as_slice(), &[self.m, self.k]).as_slice())
    }

    /// The right operand, repeated along the batch.
    fn right<'a>(&self, b: View<'a>) -> Result<View<'a>> {
        let b = if self.missing_column() == 1 { b.unsqueeze(-1)? } else { b };
        if self.batch.as_slice().is_empty() {
            return Ok(b);
        }
        b.broadcast_to(joined(self.batch.as_slice(), &[self.k, self.n]).as_slice())
    }

    /// The product's gradient with both axes of its matrices.
    fn result<'a>(&self, dy: View<'a>) -> Result<View<'a>> {
        let dy = if self.missing_column() == 1 { dy.unsqueeze(-1)? } else { dy };
        if self.missing_row() == 1 { dy.unsqueeze(-2) } else { Ok(dy) }
    }

    /// The product with both axes of its matrices.
    fn result_mut<'a>(&self, y: ViewMut<'a>) -> Result<ViewMut<'a>> {
        let y = if self.missing_column() == 1 { y.unsqueeze(-1)? } else { y };
        if self.missing_row() == 1 { y.unsqueeze(-2) } else { Ok(y) }
    }
}

/// Checks the rank of an operand.
///
/// # Errors
/// [`ErrorKind::Value`] if it is another.
pub(super) fn expect_rank(op: &'static str, arg: &'static str, rank: usize, got: &[usize]) -> Result<()> {
    let want = match rank {
        1 => "of rank 1",
        2 => "of rank 2",
        _ => "of rank 3",
    };
    if got.len() == rank { Ok(()) } else { Err(ErrorKind::Value { op, arg, want, got: got.len() as f64 }.into()) }
}

/// Two lists of sizes as one.
pub(super) fn joined(first: &[usize], second: &[usize]) -> Dims {
    let mut sizes = [0; MAX_RANK];
    let len = (first.len() + second.len()).min(MAX_RANK);
    for (size, &from) in sizes.iter_mut().zip(first.iter().chain(second)) {
        *size = from;
    }
    Dims::new(&sizes[..len])
}

/// `c = value` everywhere that a sum of nothing leaves.
fn clear(exec: &Exec, c: ViewMut<'_>) {
    elementwise::map(exec, 0.03, [c], [], crate::lanes::Zero);
}

/// `Σ a·b`, started at zero like a chain: a sum of products that are all `-0.0` is `0.0`.
#[derive(Clone, Copy)]
pub(super) struct Dot;

impl Fold<2, 1> for Dot {
    const START: [f32; 1] = [0.0];
    #[inline(always)]
    fn step<S: Simd>(self, s: S, [acc]: [S::F32; 1], [a, b]: [S::F32; 2]) -> [S::F32; 1] {
        [s.fma(a, b, acc)]
    }
    #[inline(always)]
    fn merge<S: Simd>(self, s: S, [a]: [S::F32; 1], [b]: [S::F32; 1]) -> [S::F32; 1] {
        [s.add(a, b)]
    }
    #[inline(always)]
    fn fold<S: Simd>(self, s: S, [acc]: [S::F32; 1]) -> [f32; 1] {
        [s.fold_add(acc)]
    }
}

/// `a·b`.
#[derive(Clone, Copy)]
pub(super) struct Times;

impl Map<2, 1> for Times {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [a, b]: [S::F32; 2], _: [S::F32; 1]) -> [S::F32; 1] {
        [s.mul(a, b)]
    }
}
