//! Embedding: each token's row of a table, `emb = C[x]`, laid side by side for each sample (`embcat`).
//!
//! Picking rows is a product with one-hot rows, so backward is the transposed product: each row of `dy` is added to
//! the row its token picked, and a token that was picked twice gets both.
//!
//! For indices of any shape, and for PyTorch's settings of the gradient, see [`view`].

pub mod view;

use crate::error::{ErrorKind, Result, expect_indices};
use crate::exec::{Axis, BlockKernel, Exec};
use crate::gemm::Accum;
use crate::lanes;
use crate::simd::Simd;
use crate::view::{Mat, MatMut};

/// `y[i] = [table[tokens[i, 0]], table[tokens[i, 1]], …]`: `table` is `vocab x dim`, `tokens` is `batch x context` row
/// by row, `y` is `batch x context·dim`.
///
/// # Errors
/// If shapes do not match, if columns are not adjacent, or a token is not in `0..vocab`; then nothing is written.
pub fn forward(exec: &Exec, y: MatMut<'_>, table: Mat<'_>, tokens: &[i64]) -> Result<()> {
    const OP: &str = "embedding::forward";
    let context = check(OP, ("y", y.as_mat()), ("table", table), tokens)?;
    let nanoseconds = tokens.len().saturating_mul(table.cols()) / 8;
    exec.blocks(nanoseconds, Axis::Rows, 1, [y], [], Forward { table, tokens, context });
    Ok(())
}

/// `dtable[tokens[i, g]] += dy[i, g]`, in the order of the tokens: shapes as in [`forward`]. `accum` says what happens
/// to the old `dtable`.
///
/// # Errors
/// As [`forward`].
pub fn backward(exec: &Exec, dtable: MatMut<'_>, accum: Accum, dy: Mat<'_>, tokens: &[i64]) -> Result<()> {
    const OP: &str = "embedding::backward";
    check(OP, ("dy", dy), ("dtable", dtable.as_mat()), tokens)?;
    let nanoseconds = tokens.len().saturating_mul(dtable.cols()) / 8;
    // Threads take ranges of the table, so that each row is summed by one of them, in order.
    exec.blocks(nanoseconds, Axis::Rows, 1, [dtable], [], Backward { dy, tokens, accum });
    Ok(())
}

/// Checks the operands and returns the tokens in a sample.
fn check(
    op: &'static str,
    (y_name, y): (&'static str, Mat<'_>),
    (table_name, table): (&'static str, Mat<'_>),
    tokens: &[i64],
) -> Result<usize> {
    y.expect_adjacent(op, y_name)?;
    table.expect_adjacent(op, table_name)?;
    let context = tokens.len().checked_div(y.rows()).unwrap_or(0);
    if tokens.len() != context * y.rows() {
        let want = y.rows() * y.cols().checked_div(table.cols()).unwrap_or(0);
        return Err(ErrorKind::Length { op, arg: "tokens", want, got: tokens.len() }.into());
    }
    y.expect_size(op, y_name, y.rows(), context * table.cols())?;
    expect_indices(op, "tokens", tokens, table.rows())?;
    Ok(context)
}

#[derive(Clone, Copy)]
struct Forward<'a> {
    table: Mat<'a>,
    tokens: &'a [i64],
    context: usize,
}

impl BlockKernel<1, 0> for Forward<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, start: usize, [y]: [MatMut<'_>; 1], _: [Mat<'_>; 0]) {
        let tokens = start * self.context..(start + y.rows()) * self.context;
        lanes::gather_rows(s, y, self.table, &self.tokens[tokens]);
    }
}

#[derive(Clone, Copy)]
struct Backward<'a> {
    dy: Mat<'a>,
    tokens: &'a [i64],
    accum: Accum,
}

impl BlockKernel<1, 0> for Backward<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, start: usize, [dtable]: [MatMut<'_>; 1], _: [Mat<'_>; 0]) {
        lanes::scatter_add_rows(s, dtable, self.accum, start, self.dy, self.tokens);
    }
}
