//! What runs a kernel: a tier and a way to split work. Passed explicitly; there are no globals.

use crate::error::Result;
use crate::par::{Divide, Par};
use crate::simd::{Isa, Kernel, Simd};
use crate::view::{Mat, MatMut};

/// The tier and the threads that kernels run on. Cheap to clone; several trainers can share one.
///
/// ```
/// use handgrad_kernels::Exec;
/// let exec = Exec::serial()?;
/// println!("{} on {} thread", exec.isa(), exec.threads());
/// # Ok::<(), handgrad_kernels::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Exec {
    isa: Isa,
    pub(crate) par: Par,
}

impl Exec {
    /// One thread, the caller's, on the tier of `HANDGRAD_ISA` or else the fastest one.
    ///
    /// # Errors
    /// If `HANDGRAD_ISA` names a tier that this CPU lacks.
    pub fn serial() -> Result<Self> {
        Ok(Self { isa: Isa::from_env()?, par: Par::serial() })
    }

    /// A thread pool of its own with `threads` workers; 0 means one for each CPU. Work is split only inside
    /// [`install`](Exec::install).
    ///
    /// # Errors
    /// As [`serial`](Exec::serial), and if the pool cannot be built.
    pub fn with_threads(threads: usize) -> Result<Self> {
        Ok(Self { isa: Isa::from_env()?, par: Par::own_pool(threads)? })
    }

    /// The rayon pool that the caller is in when a kernel runs, split into at most `threads` pieces; on the caller's
    /// thread if it is in none.
    ///
    /// # Errors
    /// As [`serial`](Exec::serial).
    pub fn in_current_pool(threads: usize) -> Result<Self> {
        Ok(Self { isa: Isa::from_env()?, par: Par::current_pool(threads) })
    }

    /// The same threads on another tier.
    #[must_use]
    pub fn with_isa(mut self, isa: Isa) -> Self {
        self.isa = isa;
        self
    }

    /// Splits work when each piece is worth at least `nanoseconds` of one core; 0 splits whatever can be split, for
    /// tests. The default is [`MIN_PIECE_NS`](crate::MIN_PIECE_NS).
    #[must_use]
    pub fn with_min_piece(mut self, nanoseconds: usize) -> Self {
        self.par = self.par.with_min_piece(nanoseconds);
        self
    }

    /// The tier.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The most threads a kernel is split over.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.par.threads()
    }

    /// How many different workers have run a piece of split work since this `Exec` was made.
    #[must_use]
    pub fn workers_seen(&self) -> usize {
        self.par.workers_seen()
    }

    /// Runs `f` inside the pool, on one of its workers. Entering a pool costs 11 to 21 µs and may allocate, so a
    /// training loop runs whole inside one `install`; kernels called outside run on the caller's thread.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.par.install(f)
    }

    /// Runs `f` on every item with its index. If all of them together are worth `nanoseconds` of one core and more
    /// threads, each thread takes items that follow each other; which ones, their number alone decides.
    ///
    /// ```
    /// use handgrad_kernels::Exec;
    /// let mut squares = [0; 4];
    /// Exec::serial()?.for_each(&mut squares, 4, |i, square| *square = i * i);
    /// assert_eq!(squares, [0, 1, 4, 9]);
    /// # Ok::<(), handgrad_kernels::Error>(())
    /// ```
    pub fn for_each<T: Send>(&self, items: &mut [T], nanoseconds: usize, f: impl Fn(usize, &mut T) + Sync) {
        self.for_each_part(items, &mut [(); 0], 0, nanoseconds, |i, item, _| f(i, item));
    }

    /// [`for_each`](Exec::for_each) with a part of a slice for each item: `each` elements of `all`, in order, as far as
    /// they go.
    pub fn for_each_part<T: Send, U: Send>(
        &self,
        items: &mut [T],
        all: &mut [U],
        each: usize,
        nanoseconds: usize,
        f: impl Fn(usize, &mut T, &mut [U]) + Sync,
    ) {
        let work = Shares { start: 0, items, all, each };
        self.par.run(nanoseconds, 1, work, |Shares { start, items, mut all, each }| {
            for (i, item) in items.iter_mut().enumerate() {
                let (part, rest) = all.split_at_mut(each.min(all.len()));
                f(start + i, item, part);
                all = rest;
            }
        });
    }
}

/// An axis along which blocks are cut into pieces for threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Axis {
    /// Pieces are ranges of rows.
    Rows,
    /// Pieces are ranges of columns.
    Cols,
}

/// Work on 2-d blocks that have one axis in common, written for any tier and any range of that axis. `run` must be
/// `#[inline(always)]`.
pub(crate) trait BlockKernel<const O: usize, const I: usize>: Copy + Send + Sync {
    /// Does the piece that begins at `start` of the common axis.
    fn run<S: Simd>(self, s: S, start: usize, out: [MatMut<'_>; O], inp: [Mat<'_>; I]);
}

impl Exec {
    /// Runs `kernel` over blocks that all have the same length along `axis`, in pieces of a multiple of `grain` if the
    /// whole is worth `nanoseconds` of one core and more threads.
    #[inline(always)]
    pub(crate) fn blocks<K: BlockKernel<O, I>, const O: usize, const I: usize>(
        &self,
        nanoseconds: usize,
        axis: Axis,
        grain: usize,
        out: [MatMut<'_>; O],
        inp: [Mat<'_>; I],
        kernel: K,
    ) {
        let work = Blocks { axis, start: 0, out, inp };
        self.par.run(nanoseconds, grain, work, |work| self.isa.run(OnBlocks { work, kernel }));
    }
}

struct Blocks<'a, const O: usize, const I: usize> {
    axis: Axis,
    start: usize,
    out: [MatMut<'a>; O],
    inp: [Mat<'a>; I],
}

impl<'a, const O: usize, const I: usize> Divide for Blocks<'a, O, I> {
    fn len(&self) -> usize {
        match (self.axis, self.out.first()) {
            (Axis::Rows, Some(y)) => y.rows(),
            (Axis::Cols, Some(y)) => y.cols(),
            (_, None) => 0,
        }
    }

    fn divide(self, at: usize, _: usize, _: usize) -> (Self, Self) {
        let Blocks { axis, start, out, inp } = self;
        let split = |y: MatMut<'a>| if axis == Axis::Rows { y.cut_row(at) } else { y.cut_col(at) };
        let mut pairs = out.map(|y| Some(split(y)));
        let (mut first, mut second) = ([const { None }; O], [const { None }; O]);
        for ((pair, first), second) in pairs.iter_mut().zip(&mut first).zip(&mut second) {
            (*first, *second) = pair.take().unzip();
        }
        let all = |half: [Option<MatMut<'a>>; O]| half.map(|y| y.expect("the loop fills every place"));
        let part = |x: Mat<'a>, from: usize, to: usize| match axis {
            Axis::Rows => x.rows_in(from..to),
            Axis::Cols => x.cols_in(from..to),
        };
        let len = |x: Mat<'a>| if axis == Axis::Rows { x.rows() } else { x.cols() };
        (
            Blocks { axis, start, out: all(first), inp: inp.map(|x| part(x, 0, at)) },
            Blocks { axis, start: start + at, out: all(second), inp: inp.map(|x| part(x, at, len(x))) },
        )
    }
}

/// The items from index `start` on, with their parts of a slice.
struct Shares<'a, T, U> {
    start: usize,
    items: &'a mut [T],
    all: &'a mut [U],
    /// Elements of `all` for each item.
    each: usize,
}

impl<T: Send, U: Send> Divide for Shares<'_, T, U> {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn divide(self, at: usize, _: usize, _: usize) -> (Self, Self) {
        let Shares { start, items, all, each } = self;
        let (first, second) = items.split_at_mut(at);
        let (all1, all2) = all.split_at_mut(at.saturating_mul(each).min(all.len()));
        (Shares { start, items: first, all: all1, each }, Shares { start: start + at, items: second, all: all2, each })
    }
}

struct OnBlocks<'a, K, const O: usize, const I: usize> {
    work: Blocks<'a, O, I>,
    kernel: K,
}

impl<K: BlockKernel<O, I>, const O: usize, const I: usize> Kernel for OnBlocks<'_, K, O, I> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.kernel.run(s, self.work.start, self.work.out, self.work.inp);
    }
}
