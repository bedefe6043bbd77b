//! What the machine can do at most, measured with loops checked by hand.

use std::time::Instant;

/// Floating-point operations of one pass of a loop of fused multiply-adds, and the loop.
type FmaLoop = (f64, fn(u64));

/// The best rate seen of fused multiply-adds on some cores at once, in GFLOP/s.
///
/// Shared machines slow down and speed up, so the loop runs between the cases and the best window counts.
pub(crate) struct FmaPeak {
    fma: FmaLoop,
    threads: usize,
    best: f64,
}

impl FmaPeak {
    /// The ceiling of a tier, by its name, on some threads.
    pub(crate) fn new(isa: &str, threads: usize) -> Self {
        Self { fma: fma_loop(isa), threads, best: 0.0 }
    }

    /// Runs the loop for about `milliseconds`.
    pub(crate) fn measure(&mut self, milliseconds: u64) {
        let (flops, run) = self.fma;
        // About 100 µs at 256 operations a nanosecond; longer on several threads, which take time to start.
        let passes = (20e6 / flops) as u64 * if self.threads > 1 { 50 } else { 1 };
        for _ in 0..milliseconds {
            let start = Instant::now();
            std::thread::scope(|scope| {
                (1..self.threads).for_each(|_| drop(scope.spawn(|| run(passes))));
                run(passes);
            });
            let all = flops * passes as f64 * self.threads as f64;
            self.best = self.best.max(all / start.elapsed().as_nanos() as f64);
        }
    }

    /// GFLOP/s.
    pub(crate) fn gflops(&self) -> f64 {
        self.best
    }
}

#[cfg(target_arch = "x86_64")]
fn fma_loop(isa: &str) -> FmaLoop {
    match isa {
        "avx512" => (16.0 * 16.0 * 2.0, fma_avx512),
        "avx2" => (12.0 * 8.0 * 2.0, fma_avx2),
        _ => (16.0 * 2.0, fma_plain),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn fma_loop(_: &str) -> FmaLoop {
    (16.0 * 2.0, fma_plain)
}

/// Sixteen independent chains of 512-bit fused multiply-adds: more than two pipes of latency four need.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "a loop whose instructions are chosen by hand")]
fn fma_avx512(passes: u64) {
    // SAFETY: the tier was asked for by name, and only a CPU that has it gets a name; the block touches only registers
    // that it declares.
    unsafe {
        std::arch::asm!(
            "2:",
            "vfmadd231ps zmm0, zmm30, zmm31", "vfmadd231ps zmm1, zmm30, zmm31",
            "vfmadd231ps zmm2, zmm30, zmm31", "vfmadd231ps zmm3, zmm30, zmm31",
            "vfmadd231ps zmm4, zmm30, zmm31", "vfmadd231ps zmm5, zmm30, zmm31",
            "vfmadd231ps zmm6, zmm30, zmm31", "vfmadd231ps zmm7, zmm30, zmm31",
            "vfmadd231ps zmm8, zmm30, zmm31", "vfmadd231ps zmm9, zmm30, zmm31",
            "vfmadd231ps zmm10, zmm30, zmm31", "vfmadd231ps zmm11, zmm30, zmm31",
            "vfmadd231ps zmm12, zmm30, zmm31", "vfmadd231ps zmm13, zmm30, zmm31",
            "vfmadd231ps zmm14, zmm30, zmm31", "vfmadd231ps zmm15, zmm30, zmm31",
            "dec {n}",
            "jnz 2b",
            n = inout(reg) passes.max(1) => _,
            out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _,
            out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
            out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm30") _, out("zmm31") _,
            options(nomem, nostack),
        );
    }
}

/// Twelve independent chains of 256-bit fused multiply-adds.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "a loop whose instructions are chosen by hand")]
fn fma_avx2(passes: u64) {
    // SAFETY: as for the wider loop.
    unsafe {
        std::arch::asm!(
            "2:",
            "vfmadd231ps ymm0, ymm14, ymm15", "vfmadd231ps ymm1, ymm14, ymm15",
            "vfmadd231ps ymm2, ymm14, ymm15", "vfmadd231ps ymm3, ymm14, ymm15",
            "vfmadd231ps ymm4, ymm14, ymm15", "vfmadd231ps ymm5, ymm14, ymm15",
            "vfmadd231ps ymm6, ymm14, ymm15", "vfmadd231ps ymm7, ymm14, ymm15",
            "vfmadd231ps ymm8, ymm14, ymm15", "vfmadd231ps ymm9, ymm14, ymm15",
            "vfmadd231ps ymm10, ymm14, ymm15", "vfmadd231ps ymm11, ymm14, ymm15",
            "dec {n}",
            "jnz 2b",
            n = inout(reg) passes.max(1) => _,
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _,
            out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
            out("ymm14") _, out("ymm15") _,
            options(nomem, nostack),
        );
    }
}

/// Sixteen chains of whatever the compiler makes of a multiplication and an addition.
fn fma_plain(passes: u64) {
    let mut sums = [0.0_f32; 16];
    let (a, b) = (std::hint::black_box(0.999_f32), std::hint::black_box(1e-3_f32));
    for _ in 0..passes {
        for sum in &mut sums {
            *sum = *sum * a + b;
        }
    }
    std::hint::black_box(sums);
}
