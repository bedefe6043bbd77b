//! What the test programs share. Unit tests inside the crate include single files of this folder.
#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod activations;
pub(crate) mod block;
pub(crate) mod compare;
pub(crate) mod random;
pub(crate) mod tensor;
pub(crate) mod tiers;

use handgrad_kernels::view::{Mat, MatMut};
use handgrad_kernels::{Exec, Isa};

/// One thread on `isa`.
pub(crate) fn serial(isa: Isa) -> Exec {
    Exec::serial().unwrap().with_isa(isa)
}

/// Pools of two, three and four threads that split whatever can be split.
pub(crate) fn pools() -> Vec<Exec> {
    (2..=4).map(|threads| Exec::with_threads(threads).unwrap().with_min_piece(0)).collect()
}

/// Repeats work on a pool until two of its workers have had a piece of it: on a busy machine one may do all pieces
/// before another wakes. Fails if that does not come about, which is so if the work is never split.
pub(crate) fn until_two_workers(exec: &Exec, mut work: impl FnMut() + Send) {
    let begun = std::time::Instant::now();
    while exec.workers_seen() < 2 {
        assert!(begun.elapsed().as_secs() < 60, "the work was never split");
        exec.install(&mut work);
    }
}
