//! How fast memory of a size can be read and written: the ceiling of everything that computes little.

use std::time::Instant;

/// How often an operation reads and writes an element: `reads` arrays in, `writes` arrays out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mix {
    pub(crate) reads: usize,
    pub(crate) writes: usize,
}

/// Arrays that are read and written from end to end, each of so many elements, by one thread or two.
pub(crate) struct Stream {
    mix: Mix,
    threads: usize,
    arrays: Vec<Vec<f32>>,
}

impl Stream {
    pub(crate) fn new(mix: Mix, elements: usize, threads: usize) -> Self {
        // Lengths that differ by a few lines, so that the arrays do not meet in the same sets of the caches.
        let arrays = (0..mix.reads + mix.writes).map(|i| vec![1.0; elements + 80 * i]).collect();
        Self { mix, threads, arrays }
    }

    /// Bytes that one pass reads and writes.
    pub(crate) fn bytes(&self) -> f64 {
        (self.arrays.len() * self.arrays[0].len() * size_of::<f32>()) as f64
    }

    /// Passes over the arrays; returns the nanoseconds of one.
    pub(crate) fn measure(&mut self, passes: usize) -> f64 {
        let elements = self.arrays[0].len();
        let (reads, writes) = self.arrays.split_at_mut(self.mix.reads);
        let start = Instant::now();
        for _ in 0..passes {
            if self.threads == 1 {
                pass(&part(reads, 0..elements), part_mut(writes, 0..elements));
                continue;
            }
            let half = elements / 2;
            let (mut first, mut second) = (Vec::new(), Vec::new());
            for array in writes.iter_mut() {
                let (a, b) = array[..elements].split_at_mut(half);
                first.push(a);
                second.push(b);
            }
            let (x, y) = (part(reads, 0..half), part(reads, half..elements));
            rayon::join(|| pass(&x, first), || pass(&y, second));
        }
        start.elapsed().as_nanos() as f64 / passes as f64
    }
}

fn part(arrays: &[Vec<f32>], range: std::ops::Range<usize>) -> Vec<&[f32]> {
    arrays.iter().map(|array| &array[range.clone()]).collect()
}

fn part_mut(arrays: &mut [Vec<f32>], range: std::ops::Range<usize>) -> Vec<&mut [f32]> {
    arrays.iter_mut().map(|array| &mut array[range.clone()]).collect()
}

/// One pass: what is read is added up, and written or thrown away.
fn pass(reads: &[&[f32]], writes: Vec<&mut [f32]>) {
    let mut writes = writes.into_iter();
    match (reads, writes.next(), writes.next()) {
        ([x], None, None) => {
            std::hint::black_box(best(|| read(x)));
        }
        ([], Some(y), None) => best(|| y.fill(std::hint::black_box(1.0))),
        ([x], Some(y), None) => best(|| y.iter_mut().zip(*x).for_each(|(y, x)| *y = x + 1.0)),
        ([x, u], Some(y), None) => best(|| y.iter_mut().zip(*x).zip(*u).for_each(|((y, x), u)| *y = x + u)),
        ([x0, x1, x2, x3], Some(y0), Some(y1)) => {
            let Some(y2) = writes.next() else { unreachable!("four arrays are read where three are written") };
            let read = x0.iter().zip(*x1).zip(*x2).zip(*x3);
            let written = y0.iter_mut().zip(y1).zip(y2);
            best(|| {
                written.zip(read).for_each(|(((y0, y1), y2), (((x0, x1), x2), x3))| {
                    (*y0, *y1, *y2) = (x0 + x1, x1 + x2, x2 + x3);
                });
            });
        }
        _ => unreachable!("no case has this mix"),
    }
}

/// The sum of 64 running sums.
#[inline(always)]
fn read(x: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 64];
    for chunk in x.chunks_exact(64) {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += x;
        }
    }
    sums.iter().sum()
}

/// Runs a plain loop compiled for the widest registers there are.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(unsafe_code, reason = "a loop compiled for instructions that were asked for")]
fn best<R>(run: impl FnOnce() -> R) -> R {
    #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw")]
    fn wide<R>(run: impl FnOnce() -> R) -> R {
        run()
    }
    #[target_feature(enable = "avx2,fma")]
    fn half<R>(run: impl FnOnce() -> R) -> R {
        run()
    }
    if is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("avx512dq") {
        // SAFETY: the CPU has the features, as was just asked.
        return unsafe { wide(run) };
    }
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: as above.
        return unsafe { half(run) };
    }
    run()
}

#[cfg(not(target_arch = "x86_64"))]
fn best<R>(run: impl FnOnce() -> R) -> R {
    run()
}
