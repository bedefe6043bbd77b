//! Views to and from those of the `ndarray` crate: the same elements, at the same addresses, both ways.

use handgrad_kernels::view::{Mat, MatMut, View, ViewMut};
use handgrad_kernels::{ErrorKind, Exec, op};
use ndarray::{Array, Array2, Array3, ArrayView, ArrayView2, ArrayViewD, ArrayViewMut2, ArrayViewMutD};
use ndarray::{Dimension, Ix1, Ix2, IxDyn, ShapeBuilder, arr0, s};

/// `0..` in row-major order.
fn counted<D: Dimension>(shape: impl ShapeBuilder<Dim = D>) -> Array<f32, D> {
    let mut next = -1.0;
    Array::from_shape_simple_fn(shape, || {
        next += 1.0;
        next
    })
}

/// Takes an array to a view and back, and compares shapes, elements, addresses and the strides that mean something.
fn assert_both_ways<D: Dimension>(array: &ArrayView<'_, f32, D>) {
    let view = View::try_from(array.clone()).unwrap();
    assert_eq!(view.shape(), array.shape());
    assert_eq!(view.strides(), array.strides());
    assert_eq!(view.to_vec(), array.iter().copied().collect::<Vec<_>>());
    assert_eq!(view.as_ptr(), array.as_ptr());
    let back = ArrayViewD::from(view);
    assert_eq!((back.shape(), back.as_ptr()), (array.shape(), array.as_ptr()));
    assert_eq!(back, array.clone().into_dyn());
    if !array.is_empty() {
        for axis in (0..array.ndim()).filter(|&axis| array.shape()[axis] > 1) {
            assert_eq!(back.strides()[axis], array.strides()[axis], "axis {axis} of {:?}", array.shape());
        }
    }
    assert_eq!(View::try_from(back).unwrap().to_vec(), view.to_vec());
}

#[test]
fn arrays_of_every_layout_go_both_ways() {
    let a = counted((2, 3, 4));
    assert_both_ways(&a.view());
    assert_both_ways(&a.view().reversed_axes());
    assert_both_ways(&a.view().permuted_axes([1, 0, 2]));
    assert_both_ways(&a.slice(s![.., 1.., ..;2]));
    assert_both_ways(&a.slice(s![..;-1, .., ..]));
    assert_both_ways(&a.slice(s![..;-1, ..;-2, 1..;-1]));
    assert_both_ways(&a.slice(s![1, .., ..;-3]));
    assert_both_ways(&a.slice(s![..1, 2, ..;-1]));
    assert_both_ways(&a.slice(s![1..2;-1, 2..3, ..]));
    assert_both_ways(&a.broadcast((5, 2, 3, 4)).unwrap());
    assert_both_ways(&a.slice(s![.., ..1, ..]).broadcast((2, 6, 4)).unwrap());
    assert_both_ways(&a.slice(s![.., .., ..;-1]).broadcast((2, 2, 3, 4)).unwrap());
    assert_both_ways(&counted((3, 4).f()).view());
    assert_both_ways(&counted(7).view());
    assert_both_ways(&arr0(2.5).view());
    assert_both_ways(&arr0(2.5).broadcast((2, 3)).unwrap());
    assert_both_ways(&counted(IxDyn(&[2, 1, 2, 1, 2, 1, 2, 1])).view().reversed_axes());
}

#[test]
fn arrays_without_elements_go_both_ways() {
    let a = counted((2, 3, 4));
    for shape in [[0, 3, 4], [2, 0, 4], [2, 3, 0], [0, 0, 0]] {
        assert_both_ways(&counted(shape).view());
        assert_both_ways(&counted(shape).view().reversed_axes());
    }
    assert_both_ways(&a.slice(s![.., 3.., ..]));
    assert_both_ways(&a.slice(s![2..;-1, .., ..]));
    assert_both_ways(&a.slice(s![.., 1..1, ..;-2]));
    assert_both_ways(&counted((0, 1)).broadcast((2, 0, 3)).unwrap());
    assert_both_ways(&ArrayView::<f32, _>::from_shape(0, &[]).unwrap());
}

/// Views of this crate with strides that no array has of itself.
#[test]
fn views_of_every_layout_go_both_ways() {
    let data: Vec<f32> = (0..40_u8).map(f32::from).collect();
    let layouts: [(&[usize], &[isize], usize); 13] = [
        (&[], &[], 39),
        (&[40], &[-1], 39),
        (&[2, 3, 4], &[-12, 4, -1], 15),
        (&[3, 4], &[0, 2], 5),
        (&[3, 4], &[1, 1], 0),
        (&[3, 4], &[2, -1], 10),
        (&[1, 4], &[isize::MIN, -3], 20),
        (&[1, 1], &[isize::MAX, isize::MIN], 20),
        (&[0, 5], &[isize::MIN, isize::MAX], 40),
        (&[5, 0], &[-7, 1], 0),
        (&[2, 2, 2, 2, 2], &[16, -8, 4, -2, 1], 10),
        (&[1, 2, 1, 2, 1, 2, 1, 2], &[9, -8, -9, 4, 0, -2, 100, 1], 20),
        (&[2, 0, 2], &[isize::MAX, isize::MIN, isize::MIN], 17),
    ];
    for (shape, strides, offset) in layouts {
        let view = View::with_strides(&data, shape, strides, offset).unwrap();
        let array = ArrayViewD::from(view);
        assert_eq!((array.shape(), array.as_ptr()), (shape, view.as_ptr()), "{view:?}");
        assert_eq!(array.iter().copied().collect::<Vec<_>>(), view.to_vec(), "{view:?}");
        for axis in (0..shape.len()).filter(|&axis| shape[axis] > 1 && !view.is_empty()) {
            assert_eq!(array.strides()[axis], strides[axis], "{view:?}");
        }
        let again = View::try_from(array).unwrap();
        assert_eq!((again.shape(), again.as_ptr(), again.to_vec()), (shape, view.as_ptr(), view.to_vec()));
    }
}

#[test]
fn the_other_elements_go_both_ways_too() {
    let tokens = Array2::from_shape_fn((3, 2), |(i, j)| (10 * i + j) as i64);
    let view = View::try_from(tokens.t()).unwrap();
    assert_eq!(view.to_vec(), [0, 10, 20, 1, 11, 21]);
    assert_eq!(ArrayViewD::from(view), tokens.t().into_dyn());
    let mask = Array2::from_elem((2, 2), true);
    assert_eq!(View::try_from(mask.view()).unwrap().to_vec(), [true; 4]);
}

#[test]
fn what_is_written_to_a_view_stands_in_the_array() {
    let mut a = Array3::<f32>::zeros((2, 3, 4));
    let first = a.as_ptr();
    let mut view = ViewMut::try_from(a.view_mut()).unwrap();
    assert_eq!((view.as_ptr(), view.shape()), (first, &[2, 3, 4][..]));
    view.set(&[1, 2, 3], 5.0).unwrap();
    assert_eq!(a[[1, 2, 3]], 5.0);

    let mut part = a.slice_mut(s![.., ..;-2, 1..]);
    let first = part.as_mut_ptr().cast_const();
    let mut view = ViewMut::try_from(part.reversed_axes()).unwrap();
    assert_eq!((view.as_ptr(), view.shape(), view.strides()), (first, &[3, 2, 2][..], &[1, -8, 12][..]));
    let mut next = 0.0;
    view.fill_with(|| {
        next += 1.0;
        next
    });
    let want = [[[0., 3., 7., 11.], [0.; 4], [0., 1., 5., 9.]], [[0., 4., 8., 12.], [0.; 4], [0., 2., 6., 10.]]];
    assert_eq!(a, ndarray::arr3(&want));
    ViewMut::try_from(a.view_mut()).unwrap().fill(1.0);
    assert!(a.iter().all(|&x| x == 1.0));
}

#[test]
fn what_is_written_to_an_array_stands_in_the_view() {
    let mut data = [0.0; 24];
    let first = data.as_ptr();
    let view = ViewMut::with_strides(&mut data, &[2, 1, 3], &[-12, isize::MIN, 4], 12).unwrap();
    let mut array = ArrayViewMutD::from(view);
    assert_eq!((array.shape(), array.as_ptr()), (&[2, 1, 3][..], first.wrapping_add(12)));
    assert_eq!(array.strides(), [-12, 0, 4]);
    for (number, x) in array.iter_mut().enumerate() {
        *x = number as f32 + 1.0;
    }
    array[[0, 0, 2]] = -3.0;
    // The way back gives the same view again.
    let mut view = ViewMut::try_from(array).unwrap();
    assert_eq!(view.as_view().to_vec(), [1.0, 2.0, -3.0, 4.0, 5.0, 6.0]);
    view.set(&[1, 0, 1], 50.0).unwrap();
    let mut want = [0.0; 24];
    for (place, value) in [(12, 1.0), (16, 2.0), (20, -3.0), (0, 4.0), (4, 50.0), (8, 6.0)] {
        want[place] = value;
    }
    assert_eq!(data, want);

    let mut nothing: [f32; 0] = [];
    let empty = ViewMut::with_strides(&mut nothing, &[3, 0], &[isize::MIN, isize::MAX], 0).unwrap();
    assert_eq!(ArrayViewMutD::from(empty).shape(), [3, 0]);
    let mut one = 1.0;
    ArrayViewMutD::from(ViewMut::scalar(&mut one)).fill(2.0);
    assert_eq!(one, 2.0);
}

#[test]
fn matrices_go_both_ways() {
    let a = counted((3, 4));
    for array in
        [a.view(), a.slice(s![..;-1, ..;2]), a.slice(s![1..1, ..]), a.slice(s![1, ..]).broadcast((2, 4)).unwrap()]
    {
        let mat = Mat::try_from(array).unwrap();
        assert_eq!((mat.rows(), mat.cols(), mat.as_ptr()), (array.nrows(), array.ncols(), array.as_ptr()));
        let back = ArrayView2::from(mat);
        assert_eq!((back, back.as_ptr()), (array, array.as_ptr()));
        let turned = ArrayView2::from(mat.t());
        assert_eq!((turned, turned.as_ptr()), (array.t(), array.as_ptr()));
        assert_eq!(ArrayView2::from(Mat::try_from(array.into_dyn()).unwrap()), array);
    }
    let mut a = counted((3, 4));
    let mut mat = MatMut::try_from(a.slice_mut(s![..;2, ..;-1]).reversed_axes()).unwrap();
    assert_eq!((mat.rows(), mat.cols(), mat.row_stride(), mat.col_stride()), (4, 2, -1, 8));
    let mut array = ArrayViewMut2::from(mat.reborrow());
    assert_eq!(array, ndarray::arr2(&[[3.0, 11.0], [2.0, 10.0], [1.0, 9.0], [0.0, 8.0]]));
    array[[3, 1]] = -8.0;
    mat.split_at_row(3).unwrap().0.fill(0.5);
    assert_eq!(a, ndarray::arr2(&[[0.0, 0.5, 0.5, 0.5], [4.0, 5.0, 6.0, 7.0], [-8.0, 0.5, 0.5, 0.5]]));
}

#[test]
fn kernels_work_on_arrays() {
    let (x, mut y) = (counted((3, 4)), Array2::from_elem((4, 3), f32::NAN));
    let exec = Exec::serial().unwrap();
    let out = ViewMut::try_from(y.view_mut()).unwrap();
    op::square::forward(&exec, out, View::try_from(x.t()).unwrap()).unwrap();
    assert_eq!(y, x.t().mapv(|x| x * x));
}

#[test]
fn what_a_view_cannot_be_is_refused() {
    let deep = Array::<f32, _>::zeros(IxDyn(&[1; 9]));
    let error = View::try_from(deep.view()).unwrap_err();
    assert_eq!(error.to_string(), "View::try_from: `rank` must be at most 8, got 9");
    assert!(matches!(error.kind(), ErrorKind::Value { arg: "rank", .. }));
    let error = ViewMut::try_from(deep.clone().view_mut()).unwrap_err();
    assert_eq!(error.to_string(), "ViewMut::try_from: `rank` must be at most 8, got 9");

    let cube = Array3::<f32>::zeros((2, 2, 2));
    let error = Mat::try_from(cube.view()).unwrap_err();
    assert_eq!(error.to_string(), "Mat::try_from: `rank` must be 2, got 3");
    let error = MatMut::try_from(cube.clone().view_mut()).unwrap_err();
    assert_eq!(error.to_string(), "MatMut::try_from: `rank` must be 2, got 3");

    // As many repeated elements as no buffer has, though an array may.
    let one = arr0(1.0_f32);
    let most = isize::MAX as usize / 4;
    let many = one.broadcast(Ix1(most)).unwrap();
    assert_eq!(View::try_from(many).unwrap().len(), most);
    let more = one.broadcast(Ix2(most + 1, 1)).unwrap();
    let error = View::try_from(more).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Reach { len: 1, .. }), "{error}");
    assert!(matches!(Mat::try_from(more).unwrap_err().kind(), ErrorKind::Reach { .. }));
}
