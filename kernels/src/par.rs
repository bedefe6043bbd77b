//! Threads: the only file that names rayon.
//!
//! A kernel describes its work as something that can be divided; [`Par::run`] divides it into as many pieces as there
//! are threads and joins them. No result depends on where the cuts fall: pieces write disjoint outputs, and an order
//! of summation is fixed by the shape alone. Each piece enters its tier's shell by itself, since a closure handed to
//! another thread leaves the shell it was made in.

use crate::error::{ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The least work worth a thread of its own, in nanoseconds of one core.
///
/// Inside a pool a stolen join costs 0.6 µs when the other worker is awake, and a split in two gains from 3 to 5 µs a
/// half upwards (measured on two cores of a Zen 5 server).
pub const MIN_PIECE_NS: usize = 4_000;

/// How work is split over threads.
#[derive(Clone, Debug)]
pub(crate) struct Par {
    pool: Option<Arc<rayon::ThreadPool>>,
    threads: usize,
    min_piece: usize,
    /// One bit for each worker that has run a piece (workers past the 63rd share the last bit).
    workers: Arc<AtomicU64>,
}

/// Work that can be cut in two along one range.
pub(crate) trait Divide: Sized + Send {
    /// The length of the range.
    fn len(&self) -> usize;
    /// The work before and from `at`, with `at <= len`. The first gets `left` of the `pieces` that this work will be
    /// cut into, and so that share of anything counted by thread.
    fn divide(self, at: usize, left: usize, pieces: usize) -> (Self, Self);
}

impl Par {
    pub(crate) fn serial() -> Self {
        Self::current_pool(1)
    }

    pub(crate) fn current_pool(threads: usize) -> Self {
        Self { pool: None, threads: threads.max(1), min_piece: MIN_PIECE_NS, workers: Arc::default() }
    }

    pub(crate) fn own_pool(threads: usize) -> Result<Self> {
        let built = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = built.map_err(|e| ErrorKind::Threads { threads, reason: e.to_string() })?;
        Ok(Self { pool: Some(Arc::new(pool)), ..Self::current_pool(1) }.with_pool_width())
    }

    fn with_pool_width(mut self) -> Self {
        self.threads = self.pool.as_ref().map_or(1, |pool| pool.current_num_threads());
        self
    }

    pub(crate) fn with_min_piece(mut self, nanoseconds: usize) -> Self {
        self.min_piece = nanoseconds;
        self
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    pub(crate) fn workers_seen(&self) -> usize {
        self.workers.load(Ordering::Relaxed).count_ones() as usize
    }

    pub(crate) fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(f),
            None => f(),
        }
    }

    /// Into how many pieces work of `nanoseconds` is cut here and now: one outside a pool, and never so many that a
    /// piece would be smaller than the threshold.
    #[inline]
    pub(crate) fn pieces(&self, nanoseconds: usize) -> usize {
        if self.threads == 1 || rayon::current_thread_index().is_none() {
            return 1;
        }
        self.threads.min(nanoseconds.checked_div(self.min_piece).unwrap_or(usize::MAX)).max(1)
    }

    /// Runs `f` over `work`, cut into pieces whose lengths are multiples of `grain` (but for the last).
    #[inline(always)]
    pub(crate) fn run<W: Divide>(&self, nanoseconds: usize, grain: usize, work: W, f: impl Fn(W) + Sync) {
        // Inlined as far as here, small work is not copied on its way to the kernel.
        if self.pieces(nanoseconds) == 1 { f(work) } else { self.run_split(nanoseconds, grain, work, &f) }
    }

    #[cold]
    #[inline(never)]
    fn run_split<W: Divide>(&self, nanoseconds: usize, grain: usize, work: W, f: &(impl Fn(W) + Sync)) {
        let pieces = self.pieces(nanoseconds).min(work.len().div_ceil(grain));
        if pieces <= 1 { f(work) } else { self.split(pieces, grain, work, f) }
    }

    fn split<W: Divide>(&self, pieces: usize, grain: usize, work: W, f: &(impl Fn(W) + Sync)) {
        if pieces == 1 {
            let worker = rayon::current_thread_index().unwrap_or(0).min(63);
            self.workers.fetch_or(1 << worker, Ordering::Relaxed);
            return f(work);
        }
        let left = pieces / 2;
        let units = work.len().div_ceil(grain);
        // `units >= pieces`, so each side keeps at least one unit for each of its pieces.
        let at = (units * left / pieces * grain).min(work.len());
        let (first, second) = work.divide(at, left, pieces);
        rayon::join(|| self.split(left, grain, first, f), || self.split(pieces - left, grain, second, f));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Exec;
    use std::time::Instant;

    struct Marks<'a>(&'a mut [u8]);

    impl Divide for Marks<'_> {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn divide(self, at: usize, _: usize, _: usize) -> (Self, Self) {
            let (a, b) = self.0.split_at_mut(at);
            (Marks(a), Marks(b))
        }
    }

    #[test]
    fn every_unit_is_done_once_and_cuts_fall_on_the_grain() {
        for threads in [1, 2, 3, 4, 7] {
            let par = Par::own_pool(threads).unwrap().with_min_piece(0);
            for (len, grain) in [(0, 8), (1, 8), (7, 1), (64, 8), (65, 8), (1000, 7)] {
                let mut marks = vec![0; len];
                let start = marks.as_ptr() as usize;
                par.install(|| {
                    par.run(usize::MAX, grain, Marks(&mut marks), |piece| {
                        assert_eq!((piece.0.as_ptr() as usize - start) % grain, 0);
                        piece.0.iter_mut().for_each(|mark| *mark += 1);
                    });
                });
                assert!(marks.iter().all(|&mark| mark == 1), "threads {threads}, len {len}, grain {grain}");
            }
        }
    }

    #[test]
    fn every_item_is_visited_once_with_its_index_on_two_workers() {
        for threads in [1, 2, 3, 4] {
            let exec = Exec::with_threads(threads).unwrap().with_min_piece(0);
            let mut items = vec![(usize::MAX, 0); 10];
            for len in 0..=items.len() {
                items.fill((usize::MAX, 0));
                let visited = &mut items[..len];
                exec.install(|| exec.for_each(visited, 0, |i, (index, count)| (*index, *count) = (i, *count + 1)));
                let want = |i: usize| if i < len { (i, 1) } else { (usize::MAX, 0) };
                assert!((0..items.len()).all(|i| items[i] == want(i)), "threads {threads}, len {len}: {items:?}");
            }
            // One worker may do all pieces before another wakes.
            let begun = Instant::now();
            while threads > 1 && exec.workers_seen() < 2 {
                assert!(begun.elapsed().as_secs() < 60, "the items were never split");
                exec.install(|| exec.for_each(&mut items, 0, |_, (_, count)| *count += 1));
            }
        }
        // Small work stays in one piece: nobody but the caller sees it.
        let exec = Exec::with_threads(2).unwrap();
        exec.install(|| exec.for_each(&mut [(); 10], 2 * MIN_PIECE_NS - 1, |_, ()| ()));
        assert_eq!(exec.workers_seen(), 0);
    }

    #[test]
    fn small_work_and_work_outside_a_pool_is_not_split() {
        let par = Par::own_pool(4).unwrap();
        assert_eq!(par.pieces(usize::MAX), 1);
        par.install(|| {
            assert_eq!(par.pieces(MIN_PIECE_NS), 1);
            assert_eq!(par.pieces(2 * MIN_PIECE_NS), 2);
            assert_eq!(par.pieces(usize::MAX), 4);
        });
    }
}
