//! Views against a naive model, against NumPy's results written by hand, and with every kind of bad argument.

mod chains;
mod errors;
mod mats;

use super::*;
use crate::index;

/// `0..n` as buffer contents, so that an element tells where it lies.
fn counted(n: usize) -> Vec<i64> {
    (0..n as i64).collect()
}

#[test]
fn index_answers_as_numpy_does() {
    let data = counted(24);
    let a = View::new(&data, &[2, 3, 4]).unwrap();
    let check = |items: &[Index], shape: &[usize], want: &[i64]| {
        let got = a.index(items).unwrap_or_else(|error| panic!("{items:?}: {error}"));
        assert_eq!((got.shape(), got.to_vec()), (shape, want.to_vec()), "{items:?}");
    };
    check(&index![], &[2, 3, 4], &data);
    check(&index![...], &[2, 3, 4], &data);
    check(&index![1], &[3, 4], &data[12..]);
    check(&index![-2, 1], &[4], &[4, 5, 6, 7]);
    check(&index![1, 2, 3], &[], &[23]);
    check(&index![0, :, ::2, None, ...], &[3, 2, 1], &[0, 2, 4, 6, 8, 10]);
    check(&index![..., 0], &[2, 3], &[0, 4, 8, 12, 16, 20]);
    check(&index![..., None], &[2, 3, 4, 1], &data);
    check(&index![None, 1, ..., 1, None], &[1, 3, 1], &[13, 17, 21]);
    check(&index![:, 1:, 1:3], &[2, 2, 2], &[5, 6, 9, 10, 17, 18, 21, 22]);
    check(&index![0, ::-1, ::-2], &[3, 2], &[11, 9, 7, 5, 3, 1]);
    check(&index![0, 0, 3:0:-1], &[3], &[3, 2, 1]);
    check(&index![0, 0, -2::-1], &[3], &[2, 1, 0]);
    check(&index![0, 0, :-1], &[3], &[0, 1, 2]);
    check(&index![0, 0, :-1:2], &[2], &[0, 2]);
    check(&index![0, 0, -100:100:3], &[2], &[0, 3]);
    check(&index![0, 0, 100:-100:-3], &[2], &[3, 0]);
    check(&index![0, 0, 2:2], &[0], &[]);
    check(&index![0, 0, 3:1], &[0], &[]);
    check(&index![0, 0, 100:], &[0], &[]);
    let (i, n, min, max) = (1, 4, isize::MIN, isize::MAX);
    check(&index![0, 0, :min:min], &[1], &[3]);
    check(&index![0, 0, min::max], &[1], &[0]);
    check(&index![i - 1, i + 1, i:n - 1], &[2], &[9, 10]);
    let all = [Index::NewAxis; 5];
    assert_eq!(a.index(&all).unwrap().shape(), [1, 1, 1, 1, 1, 2, 3, 4]);
}

#[test]
fn indexing_an_eight_axis_view_may_replace_axes() {
    let data = counted(256);
    let a = View::new(&data, &[2; 8]).unwrap();
    let b = a.index(&index![None, 1, 0, None, ..., 1]).unwrap();
    assert_eq!(b.shape(), [1, 1, 2, 2, 2, 2, 2]);
    assert_eq!(b.iter().next(), Some(129));
    assert_eq!(a.index(&index![..., None, 0]).unwrap().shape(), [2, 2, 2, 2, 2, 2, 2, 1]);
}

#[test]
#[expect(clippy::reversed_empty_ranges, reason = "a negative end counts from the end")]
fn slice_takes_every_form_of_range() {
    let data = counted(5);
    let a = View::new(&data, &[5]).unwrap();
    let same = |got: Result<View<'_, i64>>, want: &[i64]| assert_eq!(got.unwrap().as_slice(), Some(want));
    same(a.slice(0, ..), &data);
    same(a.slice(0, 1..3), &[1, 2]);
    same(a.slice(-1, -2..), &[3, 4]);
    same(a.slice(0, ..-1), &[0, 1, 2, 3]);
    same(a.slice(0, 1..-1), &[1, 2, 3]);
    same(a.slice(0, 1..=-1), &[1, 2, 3, 4]);
    same(a.slice(0, ..=2), &[0, 1, 2]);
    same(a.slice(0, 5..5), &[]);
    same(a.slice(0, (std::ops::Bound::Excluded(2), std::ops::Bound::Unbounded)), &[3, 4]);
}

#[test]
fn reshape_refuses_only_what_needs_a_copy() {
    let data = counted(24);
    let a = View::new(&data, &[2, 3, 4]).unwrap();
    assert_eq!(a.reshape(&[-1]).unwrap().as_slice(), Some(&data[..]));
    assert_eq!(a.reshape(&[4, -1, 1]).unwrap().shape(), [4, 6, 1]);
    assert_eq!(a.t().map(|_| ()).unwrap_err().to_string(), "t: `rank` must be at most 2, got 3");
    let turned = a.transpose(0, 2).unwrap();
    assert!(matches!(turned.reshape(&[24]).unwrap_err().kind(), ErrorKind::Reach { op: "reshape", .. }));
    assert_eq!(turned.reshape(&[2, 2, 3, 1, 2]).unwrap().to_vec(), turned.to_vec());
    let even = a.step(2, 2).unwrap();
    assert_eq!(even.reshape(&[-1]).unwrap().strides(), [2]);
    assert_eq!(even.flatten(0, 1).unwrap().shape(), [6, 2]);
    let back = a.flip(2).unwrap().flip(1).unwrap();
    assert_eq!(back.flatten(1, 2).unwrap().strides(), [12, -1]);
}

#[test]
fn scalars_are_views() {
    let value = 2.5_f32;
    let a = View::scalar(&value);
    assert_eq!((a.rank(), a.len(), a.get(&[]), a.to_vec()), (0, 1, Some(2.5), vec![2.5]));
    assert_eq!(a.flatten(0, -1).unwrap().shape(), [1]);
    assert_eq!(a.reshape(&[1, -1]).unwrap().shape(), [1, 1]);
    assert_eq!(a.broadcast_to(&[2, 2]).unwrap().to_vec(), [2.5; 4]);
    assert_eq!(a.t().unwrap().squeeze_all().rank(), 0);
    let mut value = 0_i64;
    let mut b = ViewMut::scalar(&mut value);
    b.set(&[], 7).unwrap();
    assert_eq!(b.as_mut_slice(), Some(&mut [7][..]));
    assert_eq!(value, 7);
}

#[test]
fn broadcasting_follows_numpy() {
    let data = counted(3);
    let column = View::new(&data, &[3, 1]).unwrap();
    assert_eq!(column.broadcast_to(&[3, 2]).unwrap().to_vec(), [0, 0, 1, 1, 2, 2]);
    assert_eq!(column.broadcast_to(&[2, 3, 1]).unwrap().to_vec(), [0, 1, 2, 0, 1, 2]);
    assert_eq!(column.expand(&[2, -1, 2]).unwrap().shape(), [2, 3, 2]);
    assert_eq!(column.expand(&[-1, 0]).unwrap().shape(), [3, 0]);
    let shape = |a: &[usize], b: &[usize]| broadcast_shape("add", "b", a, b).map(|dims| dims.as_slice().to_vec());
    assert_eq!(shape(&[3, 1], &[1, 4]).unwrap(), [3, 4]);
    assert_eq!(shape(&[], &[]).unwrap(), []);
    assert_eq!(shape(&[2, 3, 4], &[]).unwrap(), [2, 3, 4]);
    assert_eq!(shape(&[1], &[5, 0]).unwrap(), [5, 0]);
    assert_eq!(shape(&[3, 2], &[2, 3]).unwrap_err().to_string(), "add: `b` must be 3x2, got 2x3");
    assert_eq!(shape(&[0], &[2]).unwrap_err().to_string(), "add: `b` must be 0, got 2");
    assert!(matches!(shape(&[1; 9], &[1]).unwrap_err().kind(), ErrorKind::Value { arg: "rank", .. }));
}

#[test]
fn pieces_cover_the_axis_in_order() {
    let data = counted(12);
    let a = View::new(&data, &[2, 6]).unwrap();
    let sizes = |pieces: Pieces<'_, View<'_, i64>>| pieces.map(|piece| piece.shape()[1]).collect::<Vec<_>>();
    assert_eq!(sizes(a.split(1, &[1, 0, 5]).unwrap()), [1, 0, 5]);
    assert_eq!(sizes(a.split_every(-1, 4).unwrap()), [4, 2]);
    assert_eq!(sizes(a.split_every(1, usize::MAX).unwrap()), [6]);
    assert_eq!(sizes(a.chunk(1, 4).unwrap()), [2, 2, 2]);
    assert_eq!(sizes(a.chunk(1, 5).unwrap()), [2, 2, 2]);
    assert_eq!(sizes(a.chunk(1, usize::MAX).unwrap()), [1; 6]);
    let none = a.slice(1, 0..0).unwrap();
    assert_eq!(sizes(none.chunk(1, 3).unwrap()), [0; 3]);
    assert_eq!(sizes(none.split_every(1, 3).unwrap()), [0]);
    assert_eq!(a.chunk(1, 4).unwrap().len(), 3);
    let pieces: Vec<_> = a.split(1, &[2, 4]).unwrap().map(|piece| piece.to_vec()).collect();
    assert_eq!(pieces, [vec![0, 1, 6, 7], vec![2, 3, 4, 5, 8, 9, 10, 11]]);
}

#[test]
fn disjoint_pieces_are_written_from_several_threads() {
    let mut data = [f32::NAN; 60];
    let mut view = ViewMut::new(&mut data, &[3, 4, 5]).unwrap();
    std::thread::scope(|scope| {
        for (number, mut piece) in view.reborrow().flip(2).unwrap().chunk(2, 3).unwrap().enumerate() {
            scope.spawn(move || piece.fill(number as f32));
        }
    });
    for (row, values) in data.chunks(5).enumerate() {
        assert_eq!(values, [2.0, 1.0, 1.0, 0.0, 0.0], "row {row}");
    }
}

#[test]
fn writing_reaches_the_elements_that_reading_does() {
    let mut data = counted(12);
    let mut a = ViewMut::new(&mut data, &[3, 4]).unwrap();
    a.set(&[2, 3], -1).unwrap();
    assert_eq!((a.get(&[2, 3]), a.get(&[3, 0]), a.get(&[0])), (Some(-1), None, None));
    let source = counted(4);
    let row = View::new(&source, &[4]).unwrap().flip(0).unwrap();
    a.reborrow().step(0, -2).unwrap().copy_from(row.broadcast_to(&[2, 4]).unwrap()).unwrap();
    assert_eq!(a.as_view().to_vec(), [3, 2, 1, 0, 4, 5, 6, 7, 3, 2, 1, 0]);
    assert_eq!(a.reborrow().t().unwrap().as_mut_slice(), None);
    a.select(0, 1).unwrap().into_mut_slice().unwrap().fill(9);
    assert_eq!(data[3..9], [0, 9, 9, 9, 9, 3]);
}

#[test]
fn debug_shows_the_layout() {
    let data = [true, false];
    let view = View::new(&data, &[2]).unwrap();
    assert_eq!(format!("{view:?}"), "View { shape: [2], strides: [1], .. }");
}
