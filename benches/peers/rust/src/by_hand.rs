//! Hand-written gradients over arrays of `ndarray`, with the products of `matrixmultiply` or of `gemm`: what there is
//! in Rust without a framework. Everything else is plain loops with the functions of the standard library.

use crate::data::{BATCH, CONTEXT, Case, EMBEDDING, EPS, Kind, VOCAB};
use crate::{Report, Result};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2, Axis, Zip};

/// Whose products.
#[derive(Clone, Copy)]
pub(crate) enum Product {
    /// Those that `ndarray` calls.
    MatrixMultiply,
    /// With AVX-512 where the CPU has it.
    #[cfg(feature = "gemm")]
    Gemm,
}

impl Product {
    /// `c = a·b`
    #[allow(clippy::needless_pass_by_value, reason = "views are references")]
    fn run(self, mut c: ArrayViewMut2<'_, f32>, a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) {
        match self {
            Product::MatrixMultiply => general_mat_mul(1.0, &a, &b, 0.0, &mut c),
            #[cfg(feature = "gemm")]
            Product::Gemm => {
                let ((m, k), n) = (a.dim(), b.ncols());
                assert!(
                    b.nrows() == k && c.dim() == (m, n),
                    "products of {m}x{k} and {:?} into {:?}",
                    b.dim(),
                    c.dim()
                );
                let [cs, ls, rs] = [c.strides(), a.strides(), b.strides()].map(|s| [s[1], s[0]]);
                let threads = match crate::threads() {
                    Ok(threads) if threads > 1 => gemm::Parallelism::Rayon(threads),
                    _ => gemm::Parallelism::None,
                };
                // SAFETY: the pointers and strides are those of views whose sizes fit, and `c` is borrowed alone.
                unsafe {
                    gemm::gemm(
                        m,
                        n,
                        k,
                        c.as_mut_ptr(),
                        cs[0],
                        cs[1],
                        false,
                        a.as_ptr(),
                        ls[0],
                        ls[1],
                        b.as_ptr(),
                        rs[0],
                        rs[1],
                        0.0,
                        1.0,
                        false,
                        false,
                        false,
                        threads,
                    );
                }
            }
        }
    }
}

pub(crate) fn run(case: &Case, product: Product) -> Result<Report> {
    match case.kind {
        Kind::Makemore => makemore(case, product),
        Kind::Relu => network(case, product),
        other => Err(format!("{other:?} is not written by hand").into()),
    }
}

fn matrix(case: &Case, name: &str, rows: usize, cols: usize) -> Result<Array2<f32>> {
    Ok(Array2::from_shape_vec((rows, cols), case.floats(name)?)?)
}

/// Turns logits into the gradient of their mean cross-entropy, which it returns.
fn cross_entropy(logits: &mut Array2<f32>, label: impl Fn(usize) -> usize) -> f32 {
    let rows = logits.nrows() as f32;
    let mut loss = 0.0;
    for (i, mut row) in logits.outer_iter_mut().enumerate() {
        let most = row.fold(f32::NEG_INFINITY, |most, &x| most.max(x));
        let own = row[label(i)] - most;
        row.mapv_inplace(|x| (x - most).exp());
        let sum = row.sum();
        loss += sum.ln() - own;
        row *= 1.0 / (sum * rows);
        row[label(i)] -= 1.0 / rows;
    }
    loss / rows
}

/// The sums of the columns.
fn column_sums(sums: &mut Array1<f32>, d: &Array2<f32>) {
    sums.fill(0.0);
    for row in d.outer_iter() {
        *sums += &row;
    }
}

fn makemore(case: &Case, product: Product) -> Result<Report> {
    let hidden = case.sizes[1];
    let n = BATCH as f32;
    let mut c = matrix(case, "c", VOCAB, EMBEDDING)?;
    let mut w1 = matrix(case, "w1", CONTEXT * EMBEDDING, hidden)?;
    let mut w2 = matrix(case, "w2", hidden, VOCAB)?;
    let [mut gain, mut bias, mut b2] =
        [case.floats("bngain")?, case.floats("bnbias")?, case.floats("b2")?].map(Array1::from);
    let zeros = |cols| Array2::<f32>::zeros((BATCH, cols));
    let (mut embcat, mut dembcat) = (zeros(CONTEXT * EMBEDDING), zeros(CONTEXT * EMBEDDING));
    let (mut hprebn, mut bnraw, mut h, mut dh) = (zeros(hidden), zeros(hidden), zeros(hidden), zeros(hidden));
    let mut logits = zeros(VOCAB);
    let (mut dc, mut dw1, mut dw2) =
        (Array2::zeros(c.raw_dim()), Array2::zeros(w1.raw_dim()), Array2::zeros(w2.raw_dim()));
    let [mut mean, mut inv_std, mut dgain, mut dbias] = [(); 4].map(|()| Array1::<f32>::zeros(hidden));
    let mut db2 = Array1::zeros(VOCAB);
    let data = case.names()?;
    let (mut x, mut y) = ([0_i32; CONTEXT * BATCH], [0_i32; BATCH]);
    let lr = case.lr();
    Report::of_steps(case, "", |number| {
        data.gather(number, &mut x, &mut y);
        for (mut row, tokens) in embcat.outer_iter_mut().zip(x.chunks_exact(CONTEXT)) {
            for (mut place, &token) in row.exact_chunks_mut(EMBEDDING).into_iter().zip(tokens) {
                place.assign(&c.row(token as usize));
            }
        }
        product.run(hprebn.view_mut(), embcat.view(), w1.view());
        column_sums(&mut mean, &hprebn);
        mean /= n;
        inv_std.fill(0.0);
        for (row, mut raw) in hprebn.outer_iter().zip(bnraw.outer_iter_mut()) {
            Zip::from(&mut raw).and(&row).and(&mean).and(&mut inv_std).for_each(|raw, &x, &mean, sum| {
                *raw = x - mean;
                *sum += *raw * *raw;
            });
        }
        inv_std.mapv_inplace(|sum| 1.0 / (sum / (n - 1.0) + EPS).sqrt());
        for (mut raw, mut h) in bnraw.outer_iter_mut().zip(h.outer_iter_mut()) {
            raw *= &inv_std;
            Zip::from(&mut h).and(&raw).and(&gain).and(&bias).for_each(|h, &raw, &g, &b| *h = (g * raw + b).tanh());
        }
        product.run(logits.view_mut(), h.view(), w2.view());
        logits += &b2;
        let loss = cross_entropy(&mut logits, |i| y[i] as usize);

        let dlogits = &logits;
        product.run(dh.view_mut(), dlogits.view(), w2.t());
        product.run(dw2.view_mut(), h.t(), dlogits.view());
        column_sums(&mut db2, dlogits);
        dgain.fill(0.0);
        dbias.fill(0.0);
        Zip::from(&mut dh).and(&h).for_each(|d, &h| *d *= 1.0 - h * h);
        for (d, raw) in dh.outer_iter().zip(bnraw.outer_iter()) {
            Zip::from(&mut dgain).and(&d).and(&raw).for_each(|sum, &d, &raw| *sum += d * raw);
            dbias += &d;
        }
        for (mut d, raw) in dh.outer_iter_mut().zip(bnraw.outer_iter()) {
            Zip::from(&mut d).and(&raw).and(&dgain).and(&dbias).for_each(|d, &raw, &dgain, &dbias| {
                *d = n * *d - dbias - n / (n - 1.0) * raw * dgain;
            });
            Zip::from(&mut d).and(&gain).and(&inv_std).for_each(|d, &gain, &inv_std| *d *= gain * inv_std / n);
        }
        product.run(dembcat.view_mut(), dh.view(), w1.t());
        product.run(dw1.view_mut(), embcat.t(), dh.view());
        dc.fill(0.0);
        for (row, tokens) in dembcat.outer_iter().zip(x.chunks_exact(CONTEXT)) {
            for (place, &token) in row.exact_chunks(EMBEDDING).into_iter().zip(tokens) {
                let mut sum = dc.row_mut(token as usize);
                sum += &place;
            }
        }
        c.scaled_add(-lr, &dc);
        w1.scaled_add(-lr, &dw1);
        gain.scaled_add(-lr, &dgain);
        bias.scaled_add(-lr, &dbias);
        w2.scaled_add(-lr, &dw2);
        b2.scaled_add(-lr, &db2);
        Ok(loss)
    })
}

fn network(case: &Case, product: Product) -> Result<Report> {
    let layers = case.sizes.len() - 1;
    let (mut w, mut b) = (Vec::new(), Vec::new());
    for layer in 0..layers {
        w.push(matrix(case, &format!("w{layer}"), case.sizes[layer], case.sizes[layer + 1])?);
        b.push(Array1::from(case.floats(&format!("b{layer}"))?));
    }
    let buffers = || -> Vec<_> { case.sizes[1..].iter().map(|&width| Array2::zeros((case.batch, width))).collect() };
    let (mut z, mut d) = (buffers(), buffers());
    let mut dw: Vec<_> = w.iter().map(|w| Array2::zeros(w.raw_dim())).collect();
    let mut db: Vec<_> = b.iter().map(|b| Array1::zeros(b.raw_dim())).collect();
    let data = case.table()?;
    let lr = case.lr();
    Report::of_steps(case, "", |number| {
        let (x, labels, _) = data.batch(number);
        let x = ArrayView2::from_shape((case.batch, case.sizes[0]), x)?;
        for layer in 0..layers {
            let (before, rest) = z.split_at_mut(layer);
            let input = before.last().map_or(x, |z| z.view());
            product.run(rest[0].view_mut(), input, w[layer].view());
            let last = layer + 1 == layers;
            for mut row in rest[0].axis_iter_mut(Axis(0)) {
                Zip::from(&mut row).and(&b[layer]).for_each(|z, &b| {
                    *z += b;
                    if !last && *z < 0.0 {
                        *z = 0.0;
                    }
                });
            }
        }
        d[layers - 1].assign(&z[layers - 1]);
        let loss = cross_entropy(&mut d[layers - 1], |i| labels[i] as usize);
        for layer in (0..layers).rev() {
            let (below, rest) = d.split_at_mut(layer);
            let dz = &rest[0];
            let input = layer.checked_sub(1).map_or(x, |below| z[below].view());
            product.run(dw[layer].view_mut(), input.t(), dz.view());
            column_sums(&mut db[layer], dz);
            if let Some(below) = below.last_mut() {
                product.run(below.view_mut(), dz.view(), w[layer].t());
                Zip::from(below).and(&z[layer - 1]).for_each(|d, &z| *d = if z > 0.0 { *d } else { 0.0 });
            }
            w[layer].scaled_add(-lr, &dw[layer]);
            b[layer].scaled_add(-lr, &db[layer]);
        }
        Ok(loss)
    })
}
