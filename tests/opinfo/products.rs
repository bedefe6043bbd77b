//! The matrix products.

use crate::case::{Call, Case, Ran, Tensor, made};
use crate::rows::Row;
use handgrad::Exec;
use handgrad::kernels::Result;
use handgrad::kernels::gemm::Accum;
use handgrad::kernels::op::{self, addmm, linear};
use handgrad::kernels::view::{View, ViewMut};

/// A row of a product of two operands, the second of which PyTorch names so; with or without scratch.
macro_rules! product {
    ($module:ident, $second:literal) => {
        |call| {
            product(
                call,
                $second,
                |e, a, b| op::$module::scratch(e, a, b),
                |e, y, a, b, scratch| op::$module::forward(e, y, a, b, scratch),
                |e, [da, db], dy, [a, b], scratch| op::$module::backward(e, da, db, dy, a, b, scratch),
            )
        }
    };
    ($module:ident, $second:literal, no scratch) => {
        |call| {
            product(
                call,
                $second,
                |_, _, _| 0,
                |e, y, a, b, _| op::$module::forward(e, y, a, b),
                |e, [da, db], dy, [a, b], _| op::$module::backward(e, da, db, dy, a, b),
            )
        }
    };
}

pub(crate) const ROWS: &[(&str, Row)] = &[
    ("addmm", addmm),
    ("bmm", product!(bmm, "mat2")),
    ("dot", product!(dot, "tensor", no scratch)),
    ("matmul", product!(matmul, "other")),
    ("mm", product!(mm, "mat2")),
    ("mv", product!(mv, "vec")),
    ("nn.functional.linear", linear),
    ("outer", product!(outer, "vec2", no scratch)),
];

/// A tensor that must be there, and its number.
fn tensor<'a>(case: &'a Case, place: usize, name: &str) -> (usize, &'a Tensor) {
    case.tensor(place, name).unwrap_or_else(|| panic!("{}: `{name}` is no tensor", case.id))
}

fn product(
    call: &Call<'_>,
    second: &str,
    scratch: impl Fn(&Exec, &[usize], &[usize]) -> usize,
    forward: impl Fn(&Exec, ViewMut<'_>, View<'_>, View<'_>, &mut [f32]) -> Result<()>,
    backward: impl Fn(&Exec, [ViewMut<'_>; 2], View<'_>, [View<'_>; 2], &mut [f32]) -> Result<()>,
) -> Ran {
    let (exec, case) = (call.exec, call.case);
    let ((a_number, a), (b_number, b)) = (tensor(case, 0, "input"), tensor(case, 1, second));
    let mut scratch = vec![f32::NAN; scratch(exec, &a.shape, &b.shape)];
    let mut ran = Ran::default();
    ran.output(&made(&case.outputs[0].shape, |y| forward(exec, y, a.view(), b.view(), &mut scratch)));
    if let Some(dy) = case.cotangent(0) {
        let mut db = Vec::new();
        let da = made(&a.shape, |da| {
            let mut result = Ok(());
            db = made(&b.shape, |db| {
                result = backward(exec, [da, db], dy, [a.view(), b.view()], &mut scratch);
                Ok(())
            });
            result
        });
        ran.grad(a_number, &da);
        ran.grad(b_number, &db);
    }
    ran
}

fn addmm(call: &Call<'_>) -> Ran {
    let (exec, case) = (call.exec, call.case);
    let tensors = [tensor(case, 0, "input"), tensor(case, 1, "mat1"), tensor(case, 2, "mat2")];
    let [input, a, b] = tensors.map(|(_, tensor)| tensor);
    let factors =
        addmm::Factors { beta: case.number(3, "beta", 1.0) as f32, alpha: case.number(4, "alpha", 1.0) as f32 };
    let mut scratch = vec![f32::NAN; addmm::scratch(exec, &a.shape, &b.shape)];
    let mut ran = Ran::default();
    ran.output(&made(&case.outputs[0].shape, |y| {
        addmm::forward(exec, y, input.view(), a.view(), b.view(), factors, &mut scratch)
    }));
    if let Some(dy) = case.cotangent(0) {
        let mut grads = [input, a, b].map(|tensor| vec![f32::NAN; tensor.view().len()]);
        let [dinput, da, db] = &mut grads;
        let views = addmm::Grads {
            dinput: ViewMut::new(dinput, &input.shape).unwrap(),
            da: ViewMut::new(da, &a.shape).unwrap(),
            db: ViewMut::new(db, &b.shape).unwrap(),
        };
        addmm::backward(exec, views, dy, a.view(), b.view(), factors, &mut scratch).unwrap();
        for ((number, _), grad) in tensors.iter().zip(&grads) {
            ran.grad(*number, grad);
        }
    }
    ran
}

fn linear(call: &Call<'_>) -> Ran {
    let (exec, case) = (call.exec, call.case);
    let ((x_number, x), (weight_number, weight)) = (tensor(case, 0, "input"), tensor(case, 1, "weight"));
    let bias = case.tensor(2, "bias");
    let mut scratch = vec![f32::NAN; linear::view::scratch(exec, &x.shape, &weight.shape)];
    let mut ran = Ran::default();
    ran.output(&made(&case.outputs[0].shape, |y| {
        let bias = bias.map(|(_, bias)| bias.view());
        linear::view::forward(exec, y, x.view(), weight.view(), bias, &mut scratch)
    }));
    if let Some(dy) = case.cotangent(0) {
        ran.grad(
            x_number,
            &made(&x.shape, |dx| linear::view::backward_input(exec, dx, dy, weight.view(), &mut scratch)),
        );
        let mut dweight = vec![f32::NAN; weight.view().len()];
        let mut dbias = bias.map(|(_, bias)| vec![f32::NAN; bias.view().len()]);
        let grads = linear::view::Grads {
            dweight: ViewMut::new(&mut dweight, &weight.shape).unwrap(),
            dbias: dbias.as_mut().zip(bias).map(|(dbias, (_, bias))| ViewMut::new(dbias, &bias.shape).unwrap()),
        };
        linear::view::backward_params(exec, grads, Accum::Replace, dy, x.view(), &mut scratch).unwrap();
        ran.grad(weight_number, &dweight);
        if let Some(((number, _), dbias)) = bias.zip(dbias) {
            ran.grad(number, &dbias);
        }
    }
    ran
}
