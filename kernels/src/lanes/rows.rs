//! Single rows of adjacent elements: the loops with nothing else in them, for operations that walk the rows themselves.

use super::{Map, RowFold, VIRTUAL_LANES};
use crate::simd::Simd;
use crate::view::{Mat, MatMut};

/// `out = f(inp, out)` element by element. Every operand is one row of adjacent elements, all of one length.
#[inline(always)]
pub(crate) fn map_row<S: Simd, F: Map<I, O>, const I: usize, const O: usize>(
    s: S,
    mut out: [MatMut<'_>; O],
    inp: [Mat<'_>; I],
    f: F,
) {
    let n = out[0].cols();
    debug_assert!(out.iter().all(|y| y.rows() == 1 && y.cols() == n && y.is_adjacent()));
    debug_assert!(inp.iter().all(|x| x.rows() == 1 && x.cols() == n && x.is_adjacent()));
    let mut y = [std::ptr::null_mut(); O];
    for (y, mat) in y.iter_mut().zip(&mut out) {
        *y = mat.as_mut_ptr();
    }
    let x = inp.map(|mat| mat.as_ptr());
    let mut i = 0;
    // SAFETY: every row has `n` adjacent elements; a whole register lies before `n`, and the rest is what is left.
    unsafe {
        while i + S::LANES <= n {
            let (mut a, mut b) = ([s.zero(); I], [s.zero(); O]);
            for (a, x) in a.iter_mut().zip(x) {
                *a = s.load(x.add(i));
            }
            for (b, y) in b.iter_mut().zip(y) {
                *b = s.load(y.add(i));
            }
            for (c, y) in f.eval(s, a, b).into_iter().zip(y) {
                s.store(y.add(i), c);
            }
            i += S::LANES;
        }
        if i < n {
            let rest = n - i;
            let (mut a, mut b) = ([s.zero(); I], [s.zero(); O]);
            for (a, x) in a.iter_mut().zip(x) {
                *a = s.load_head(x.add(i), rest);
            }
            for (b, y) in b.iter_mut().zip(y) {
                *b = s.load_head(y.add(i), rest);
            }
            for (c, y) in f.eval(s, a, b).into_iter().zip(y) {
                s.store_head(y.add(i), rest, c);
            }
        }
    }
}

/// Folds rows along their columns in the order of [`fold_row`](super::fold_row). Every operand is one row of adjacent
/// elements, all of one length.
#[inline(always)]
pub(crate) fn fold_one_row<S: Simd, F: RowFold<I, A, 0>, const I: usize, const A: usize>(
    s: S,
    inp: [Mat<'_>; I],
    f: F,
) -> [f32; A] {
    let n = inp[0].cols();
    debug_assert!(inp.iter().all(|x| x.rows() == 1 && x.cols() == n && x.is_adjacent()));
    let x = inp.map(|mat| mat.as_ptr());
    // The branch folds: one instance a tier.
    // SAFETY: every row has `n` adjacent elements.
    unsafe {
        match S::LANES {
            16 => fold_registers::<S, F, I, A, 4>(s, n, x, f),
            8 => fold_registers::<S, F, I, A, 8>(s, n, x, f),
            _ => fold_registers::<S, F, I, A, VIRTUAL_LANES>(s, n, x, f),
        }
    }
}

/// [`fold_one_row`] with `K` registers for the virtual lanes.
///
/// # Safety
/// Every pointer is readable for `n` floats.
#[inline(always)]
unsafe fn fold_registers<S: Simd, F: RowFold<I, A, 0>, const I: usize, const A: usize, const K: usize>(
    s: S,
    n: usize,
    x: [*const f32; I],
    f: F,
) -> [f32; A] {
    debug_assert_eq!(K * S::LANES, VIRTUAL_LANES);
    let mut acc = [[s.splat(F::START); A]; K];
    let mut i = 0;
    // SAFETY: a whole round, or a register's head, lies before `n`.
    unsafe {
        while i + VIRTUAL_LANES <= n {
            for (k, acc) in acc.iter_mut().enumerate() {
                let mut a = [s.zero(); I];
                for (a, x) in a.iter_mut().zip(x) {
                    *a = s.load(x.add(i + k * S::LANES));
                }
                *acc = f.step(s, *acc, a).0;
            }
            i += VIRTUAL_LANES;
        }
        for acc in &mut acc {
            if i >= n {
                break;
            }
            let mut a = [s.zero(); I];
            for (a, x) in a.iter_mut().zip(x) {
                *a = s.load_head(x.add(i), n - i);
            }
            let next = f.step(s, *acc, a).0;
            let filled = s.head(n - i);
            for (acc, next) in acc.iter_mut().zip(next) {
                *acc = s.select(filled, next, *acc);
            }
            i += S::LANES;
        }
    }
    let mut width = K;
    while width > 1 {
        width /= 2;
        for k in 0..width {
            let upper = acc[k + width];
            for (lower, upper) in acc[k].iter_mut().zip(upper) {
                *lower = f.merge(s, *lower, upper);
            }
        }
    }
    let mut total = [0.0; A];
    for (total, acc) in total.iter_mut().zip(acc[0]) {
        *total = f.fold(s, acc);
    }
    total
}
