//! Every operation of the table of operations.

use crate::run::{Case, Run};
use handgrad::kernels::Result;
use handgrad::kernels::op::spec::{ALL, Along, Binary, Spec, Unary};

/// Rows and what is in each.
const SHAPE: [usize; 3] = [37, 5, 11];
/// Where gradients from above lie.
const DY: [f32; 2] = [-1.0, 1.0];

pub(crate) fn cases() -> Vec<Case> {
    ALL.iter()
        .flat_map(|spec| match *spec {
            Spec::Unary(op) => unary(op),
            Spec::Binary(op) => binary(op),
            Spec::Along(op) => along(op),
        })
        .collect()
}

fn unary(op: Unary) -> Vec<Case> {
    let case = move |r: &mut Run<'_>, any: bool| -> Result<()> {
        let x = if any { r.any_rows(&SHAPE) } else { r.rows(&SHAPE, op.domain) };
        let dy = r.rows(&SHAPE, DY);
        let (mut y, mut dx) = (r.like(&x), r.like(&x));
        (op.forward)(r.exec, y.view_mut(), x.view())?;
        (op.backward)(r.exec, dx.view_mut(), dy.view(), x.view(), y.view())?;
        r.keep(&y);
        r.keep(&dx);
        Ok(())
    };
    vec![
        Case::by_rows(&format!("{}/batch", op.name), SHAPE[0], move |r| case(r, false)),
        Case::by_rows(&format!("{}/any floats", op.name), SHAPE[0], move |r| case(r, true)),
    ]
}

fn binary(op: Binary) -> Vec<Case> {
    let rows = move |r: &mut Run<'_>| {
        let (a, b, dy) = (r.rows(&SHAPE, op.domain), r.rows(&SHAPE, op.domain), r.rows(&SHAPE, DY));
        let [mut y, mut da, mut db] = [r.like(&a), r.like(&a), r.like(&a)];
        (op.forward)(r.exec, y.view_mut(), a.view(), b.view())?;
        (op.backward)(r.exec, [da.view_mut(), db.view_mut()], dy.view(), a.view(), b.view())?;
        r.keep_all(&[y, da, db]);
        Ok(())
    };
    let broadcast = move |r: &mut Run<'_>| {
        let (a, b) = (r.input(&[300, 1, 7], op.domain), r.input(&[5, 7], op.domain));
        let dy = r.input(&[300, 5, 7], DY);
        let [mut y, mut da, mut db] = [r.like(&dy), r.like(&a), r.like(&b)];
        (op.forward)(r.exec, y.view_mut(), a.view(), b.view())?;
        (op.backward)(r.exec, [da.view_mut(), db.view_mut()], dy.view(), a.view(), b.view())?;
        r.keep_all(&[y, da, db]);
        Ok(())
    };
    vec![
        Case::by_rows(&format!("{}/batch", op.name), SHAPE[0], rows),
        Case::new(&format!("{}/broadcast", op.name), broadcast),
    ]
}

fn along(op: Along) -> Vec<Case> {
    let case = move |r: &mut Run<'_>, shape: &[usize], axes: &[isize], rows: bool| -> Result<()> {
        let mut reduced = if rows { [&[1], &shape[1..]].concat() } else { shape.to_vec() };
        let x = if rows { r.rows(shape, [-3.0, 3.0]) } else { r.input(shape, [-3.0, 3.0]) };
        reduced[0] = x.shape[0];
        if op.reduces {
            // From the last, so that the places of the others stay.
            for &axis in axes.iter().rev() {
                reduced.remove(axis as usize);
            }
        }
        let mut dy_shape = reduced.clone();
        if rows {
            dy_shape[0] = shape[0];
        }
        let dy = if rows { r.rows(&dy_shape, DY) } else { r.input(&dy_shape, DY) };
        let (mut y, mut dx) = (r.output(&reduced), r.like(&x));
        (op.forward)(r.exec, y.view_mut(), x.view(), axes)?;
        (op.backward)(r.exec, dx.view_mut(), dy.view(), x.view(), y.view(), axes)?;
        r.keep(&y);
        r.keep(&dx);
        Ok(())
    };
    let name = |what: &str| format!("{}/{what}", op.name);
    let mut cases = vec![
        Case::by_rows(&name("batch"), 37, move |r| case(r, &[37, 129], &[1], true)),
        // Longer than a piece of a row, and than a block of rows.
        Case::by_rows(&name("long rows"), 2, move |r| case(r, &[2, 70_001], &[1], true)),
        Case::new(&name("columns"), move |r| case(r, &[600, 3, 7], &[0], false)),
        Case::new(&name("middle"), move |r| case(r, &[5, 41, 7], &[1], false)),
    ];
    if op.reduces {
        cases.push(Case::new(&name("everything"), move |r| case(r, &[19, 23, 7], &[0, 1, 2], false)));
        cases.push(Case::new(&name("outer and inner"), move |r| case(r, &[300, 5, 7], &[0, 2], false)));
    }
    cases
}
