//! Matrices against views of two axes.

use super::*;

fn same(mat: Mat<'_>, view: View<'_>) {
    assert_eq!(([mat.rows(), mat.cols()].as_slice(), mat.is_empty()), (view.shape(), view.is_empty()));
    // Of empty ones too: neither points past the buffer.
    assert_eq!(mat.as_ptr(), view.as_ptr());
    for row in 0..mat.rows() {
        for col in 0..mat.cols() {
            assert_eq!(mat.get(row, col), view.get(&[row, col]));
        }
    }
    assert_eq!((mat.get(mat.rows(), 0), mat.get(0, mat.cols())), (None, None));
    assert_eq!(View::from(mat).to_vec(), view.to_vec());
    let back = Mat::try_from(View::from(mat)).unwrap();
    assert_eq!(
        (back.as_ptr(), back.row_stride(), back.col_stride()),
        (mat.as_ptr(), mat.row_stride(), mat.col_stride())
    );
}

#[test]
fn mats_equal_views() {
    let data: Vec<f32> = (0..40).map(|value| value as f32).collect();
    let dense = (Mat::new(&data, 5, 8).unwrap(), View::new(&data, &[5, 8]).unwrap());
    let padded =
        (Mat::with_row_stride(&data[..38], 5, 6, 8).unwrap(), View::with_strides(&data, &[5, 6], &[8, 1], 0).unwrap());
    let turned =
        (Mat::with_strides(&data, 4, 5, -2, 8, 7).unwrap(), View::with_strides(&data, &[4, 5], &[-2, 8], 7).unwrap());
    for (mat, view) in [dense, padded, turned] {
        same(mat, view);
        same(mat.t(), view.t().unwrap());
        for start in 0..=mat.rows() {
            for end in start..=mat.rows() {
                same(mat.rows_at(start..end).unwrap(), view.narrow(0, start, end - start).unwrap());
            }
            let ((above, below), (head, tail)) = (mat.split_at_row(start).unwrap(), view.split_at(0, start).unwrap());
            same(above, head);
            same(below, tail);
        }
        for start in 0..=mat.cols() {
            for end in start..=mat.cols() {
                same(mat.cols_at(start..end).unwrap(), view.narrow(1, start, end - start).unwrap());
            }
            let ((left, right), (head, tail)) = (mat.split_at_col(start).unwrap(), view.split_at(1, start).unwrap());
            same(left, head);
            same(right, tail);
        }
    }
}

#[test]
fn parts_of_an_output_are_disjoint() {
    let mut data = [f32::NAN; 20];
    let mut mat = MatMut::with_row_stride(&mut data, 4, 4, 5).unwrap();
    let (mut above, below) = mat.reborrow().split_at_row(1).unwrap();
    let (mut left, mut right) = below.split_at_col(3).unwrap();
    above.fill(1.0);
    left.fill(2.0);
    right.reborrow().t().fill(3.0);
    assert_eq!(mat.as_mat().get(3, 3), Some(3.0));
    let address = mat.as_ptr();
    assert_eq!(mat.as_mut_ptr().cast_const(), address);
    let mut view = ViewMut::from(mat);
    view.set(&[0, 0], 4.0).unwrap();
    assert_eq!(MatMut::try_from(view).unwrap().rows(), 4);
    for (row, values) in data.chunks(5).enumerate() {
        let want = if row == 0 { [4.0, 1.0, 1.0, 1.0] } else { [2.0, 2.0, 2.0, 3.0] };
        assert_eq!(values[..4], want);
        assert!(values[4].is_nan(), "the padding of row {row} was written");
    }
}

#[test]
fn errors_carry_numbers() {
    let mut data = [0.0_f32; 12];
    let text = |result: Result<Mat<'_>>| result.unwrap_err().to_string();
    assert_eq!(text(Mat::new(&data, 3, 5)), "Mat::new: `data` must have 15 elements, got 12");
    let short = "Mat::with_row_stride: a view of 3x4 does not fit a buffer of 12 elements (it reaches past the end)";
    assert_eq!(text(Mat::with_row_stride(&data, 3, 4, 5)), short);
    assert!(text(Mat::with_row_stride(&data, 3, 4, usize::MAX)).ends_with("(the reach of its strides overflows)"));
    assert!(text(Mat::with_strides(&data, 3, 4, -4, 1, 7)).ends_with("(it reaches before the start)"));
    let mat = Mat::new(&data, 3, 4).unwrap();
    assert_eq!(text(mat.rows_at(1..4)), "rows_at: `end` holds 4 at position 0, must be in 0..4");
    #[expect(clippy::reversed_empty_ranges, reason = "the mistake under test")]
    let reversed = mat.cols_at(3..2);
    assert_eq!(text(reversed), "cols_at: `start` holds 3 at position 0, must be in 0..3");
    let past = mat.split_at_col(5).unwrap_err().to_string();
    assert_eq!(past, "split_at_col: `col` holds 5 at position 0, must be in 0..5");
    let cube = View::new(&data, &[3, 2, 2]).unwrap();
    assert_eq!(text(Mat::try_from(cube)), "Mat::try_from: `rank` must be 2, got 3");
    let overlaps = |result: Result<MatMut<'_>>| matches!(result.unwrap_err().kind(), ErrorKind::Overlap { .. });
    assert!(overlaps(MatMut::with_row_stride(&mut data, 3, 4, 3)));
    assert!(overlaps(MatMut::with_row_stride(&mut data, 2, 1, 0)));
    assert!(overlaps(MatMut::with_strides(&mut data, 2, 3, 3, 2, 0)));
    assert!(MatMut::with_row_stride(&mut data, 1, 12, 0).is_ok());
    assert!(Mat::with_row_stride(&data, 5, 12, 0).is_ok());
    assert!(MatMut::new(&mut [], 0, 7).is_ok_and(|mat| mat.is_empty()));
}
