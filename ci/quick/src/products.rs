//! Matrix products in the three forms of backprop, with every tail of a tile.

use crate::First;
use crate::common::block::{Block, Layout};
use crate::common::compare::{assert_close, assert_same_bits, gamma};
use crate::common::random::Random;
use crate::common::serial;
use crate::common::tiers::{is_fused, on_every_tier};
use handgrad_kernels::gemm::{Accum, gemm, scratch_len};
use handgrad_kernels::{Exec, Isa};

const FORMS: [[Layout; 2]; 3] =
    [[Layout::Dense, Layout::Dense], [Layout::Dense, Layout::Transposed], [Layout::Transposed, Layout::Dense]];

/// `m`, `k`, `n`: every width up to two registers and one, every height of a tile, and every length of a short sum.
fn shapes() -> Vec<[usize; 3]> {
    let mut shapes: Vec<_> = (0..=33).flat_map(|n| [0, 1, 2, 5, 7, 8, 17].map(|m| [m, 3, n])).collect();
    shapes.extend((0..=33).flat_map(|m| [1, 2, 17].map(|n| [m, 4, n])));
    shapes.extend((0..=33).flat_map(|k| [[1, k, 1], [2, k, 17], [9, k, 33], [33, k, 1], [1, k, 33]]));
    shapes
}

struct Product {
    shape: [usize; 3],
    form: [Layout; 2],
    accum: Accum,
    values: [Vec<f32>; 3],
}

impl Product {
    fn new(shape: [usize; 3], form: [Layout; 2], accum: Accum, random: &mut Random) -> Self {
        let [m, k, n] = shape;
        let values = [m * k, k * n, m * n].map(|len| (0..len).map(|_| random.uneven()).collect());
        Self { shape, form, accum, values }
    }

    fn what(&self, isa: Isa) -> String {
        format!("{isa}: {:?} {:?} {:?}", self.shape, self.form, self.accum)
    }

    fn run(&self, exec: &Exec) -> Vec<f32> {
        let ([m, k, n], [a, b, old]) = (self.shape, &self.values);
        let a = Block::from_slice(self.form[0], m, k, a);
        let b = Block::from_slice(self.form[1], k, n, b);
        let mut c = match self.accum {
            Accum::Replace => Block::poisoned(Layout::Dense, m, n),
            Accum::Add => Block::from_slice(Layout::Dense, m, n, old),
        };
        let mut scratch = vec![f32::NAN; scratch_len(exec, m, k, n)];
        gemm(exec, c.mat_mut(), self.accum, a.mat(), b.mat(), &mut scratch).unwrap();
        c.to_vec()
    }

    /// The product in f64, and the sums of the magnitudes of its terms.
    fn reference(&self) -> [Vec<f64>; 2] {
        let ([m, k, n], [a, b, old]) = (self.shape, &self.values);
        let start = |at: usize| if self.accum == Accum::Add { f64::from(old[at]) } else { 0.0 };
        let element = |at: usize| {
            let (i, j) = (at / n, at % n);
            let terms = (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(b[p * n + j]));
            (start(at) + terms.clone().sum::<f64>(), start(at).abs() + terms.map(f64::abs).sum::<f64>())
        };
        let (values, sizes) = (0..m * n).map(element).unzip();
        [values, sizes]
    }

    fn check(&self, isa: Isa, got: &[f32]) {
        let [want, sizes] = self.reference();
        // One rounding a term, and one more where the product is rounded by itself.
        let bound = gamma(2 * self.shape[1] + 2);
        assert_close(self.what(isa), self.shape[2].max(1), got, want, sizes.iter().map(|size| bound * size + 1e-42));
    }
}

#[test]
fn products_in_three_forms() {
    let mut random = Random::new(1);
    let mut problems = Vec::new();
    for shape in shapes() {
        for form in FORMS {
            let accum = if problems.len() % 2 == 0 { Accum::Replace } else { Accum::Add };
            problems.push(Product::new(shape, form, accum, &mut random));
        }
    }
    let mut first = First::of(problems.len());
    on_every_tier(&format!("quick: {} products", problems.len()), |isa| {
        let exec = serial(isa);
        for (number, problem) in problems.iter().enumerate() {
            let got = problem.run(&exec);
            problem.check(isa, &got);
            if is_fused(isa) {
                assert_same_bits(problem.what(isa), 1, &got, first.or(number, || got.clone()));
            }
        }
    });
}

#[test]
#[cfg_attr(panic = "abort", ignore = "a panic ends the process")]
fn a_wrong_product_is_found() {
    let problem = Product::new([3, 5, 4], FORMS[1], Accum::Add, &mut Random::new(2));
    let mut got = problem.run(&serial(Isa::best()));
    problem.check(Isa::best(), &got);
    got[7] += 1e-4 * (1.0 + got[7].abs());
    assert!(std::panic::catch_unwind(|| problem.check(Isa::best(), &got)).is_err());
}
