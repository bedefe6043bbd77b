//! SIMD kernels, forward and backward, for the operations of an MLP: pure functions over borrowed buffers.
//!
//! No kernel allocates, keeps state, or knows what a network is. Each takes an [`Exec`], which says on which tier of
//! instructions and on how many threads it runs, then its outputs, its inputs, its parameters, and, where it needs room
//! to work, `scratch` whose length is a function of the shapes.
//!
//! ```
//! use handgrad_kernels::Exec;
//! use handgrad_kernels::gemm::{Accum, gemm, scratch_len};
//! use handgrad_kernels::view::{Mat, MatMut};
//!
//! # fn main() -> handgrad_kernels::Result<()> {
//! let exec = Exec::serial()?;
//! let (x, dy) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, -1.0, 0.5, 2.0]);
//! let (x, dy) = (Mat::new(&x, 2, 3)?, Mat::new(&dy, 2, 2)?);
//! // dW = Xᵀ·dY: transposing is a view.
//! let mut dw = [f32::NAN; 6];
//! let mut scratch = vec![0.0; scratch_len(&exec, 3, 2, 2)];
//! gemm(&exec, MatMut::new(&mut dw, 3, 2)?, Accum::Replace, x.t(), dy, &mut scratch)?;
//! assert_eq!(dw, [3.0, 7.0, 4.5, 8.0, 6.0, 9.0]);
//! # Ok(())
//! # }
//! ```
//!
//! The operations are in [`op`]; [`ops`] explains their gradients one kind after the other, with examples, and has
//! PyTorch's names beside ours.
//!
//! # What every kernel keeps
//!
//! * **Errors are values.** Shapes, scratch and indices are checked at the door, before anything is written; see
//!   [`ErrorKind`]. NaN is not an error: it propagates.
//! * **Outputs are overwritten** whatever they held, unless the call says [`Accum::Add`](gemm::Accum::Add), which
//!   continues a sum from what stands there.
//! * **The same bits** on every tier with a fused multiply-add, for any number of threads, for contiguous and strided
//!   operands, for a row alone and among others. (Tiers without one, SSE2 and simd128, keep the error bounds.)
//! * **A stated bound is a tested bound.** No function of a C library takes part in a result.
//!
//! # The order of sums
//!
//! * A **matrix product** is one chain of fused multiply-adds for each element, in the order of `k`; see [`gemm`].
//! * **Along a row** there are 64 running sums; element `i` joins sum `i mod 64`, and at the end they are folded by
//!   halves, `i` with `i + 32`, then `i + 16`, … until one is left. Rows of more than 65 536 elements are cut into
//!   pieces of that many, whose sums are added from first to last.
//! * **Down a column** rows are taken in blocks of 256, each summed from its first to its last, and the blocks' sums
//!   added from first to last.
//!
//! # The map
//!
//! ```text
//! op, optim ─► gemm, reduce, elementwise, lookup, lanes ─► math ─► simd
//!     │
//!     └─► view, par, exec, error                  (leaves)
//! ```
//!
//! `simd` knows no slice longer than a register, `math` no slice, `lanes` no operation; `std::arch` and `wide` are
//! named in `simd` only, rayon in `par` only. `unsafe` lives in `view`, `simd`, `lanes` and `gemm::micro`.

mod elementwise;
pub mod error;
mod exec;
pub mod gemm;
mod lanes;
mod lookup;
mod math;
pub mod op;
pub mod ops;
pub mod optim;
mod par;
mod reduce;
pub mod scalar;
mod simd;
pub mod view;

pub use error::{Error, ErrorKind, Result};
pub use exec::Exec;
pub use par::MIN_PIECE_NS;
pub use simd::Isa;
