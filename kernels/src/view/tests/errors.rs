//! Bad arguments of every kind: a typed error each, never a panic or a wrapped number.

use std::ops::Bound;

use super::*;

/// 2^32 on a 64-bit machine: the square of it wraps.
const ROOT: usize = 1 << (usize::BITS / 2);
const EDGES: [usize; 8] = [0, 1, 2, 3, ROOT / 2, ROOT, 1 << (usize::BITS - 1), usize::MAX];
const STEPS: [isize; 9] =
    [isize::MIN, isize::MIN + 1, -(ROOT as isize), -1, 0, 1, ROOT as isize, isize::MAX - 1, isize::MAX];

fn text<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => "no error".into(),
        Err(error) => error.to_string(),
    }
}

/// All triples of a list.
fn triples<T: Copy>(values: &[T]) -> impl Iterator<Item = [T; 3]> + '_ {
    values.iter().flat_map(move |&a| values.iter().flat_map(move |&b| values.iter().map(move |&c| [a, b, c])))
}

/// The number of elements by 128-bit arithmetic, and whether a buffer could hold the non-zero sizes.
fn exact_len(shape: &[usize]) -> (u128, bool) {
    // Three sizes below 2^64 may pass 2^128, which is then no smaller a fault.
    let filled = shape.iter().fold(1u128, |product, &size| product.saturating_mul(size.max(1) as u128));
    let len = if shape.contains(&0) { 0 } else { filled };
    (len, filled <= isize::MAX as u128 / 4)
}

#[test]
fn huge_sizes_never_wrap() {
    let mut data = [0.0_f32; 6];
    for shape in triples(&EDGES) {
        let (len, possible) = exact_len(&shape);
        for size in [0, 1, 6] {
            let fits = possible && len == size as u128;
            assert_eq!(View::new(&data[..size], &shape).is_ok(), fits, "{shape:?}");
            assert_eq!(ViewMut::new(&mut data[..size], &shape).is_ok(), fits, "{shape:?}");
            let (rows, cols) = (shape[0], shape[1]);
            let (len, possible) = exact_len(&shape[..2]);
            assert_eq!(Mat::new(&data[..size], rows, cols).is_ok(), possible && len == size as u128);
            let one = Mat::with_row_stride(&data[..size], rows, cols, shape[2]).is_ok();
            let two = View::with_strides(&data[..size], &[rows, cols], &[shape[2] as isize, 1], 0).is_ok();
            // Above `isize::MAX` the two mean different strides; there only an axis of one row can pass.
            assert!(one == two || shape[2] > isize::MAX as usize && (rows < 2 || !one), "{shape:?} of {size}");
        }
        let all_zero = View::with_strides(&data, &shape, &[0; 3], 5);
        assert_eq!(all_zero.is_ok(), possible, "{shape:?}");
        assert_eq!(View::scalar(&data[0]).broadcast_to(&shape).is_ok(), possible, "{shape:?}");
    }
}

#[test]
fn huge_strides_never_wrap() {
    let mut data = [0.0_f32; 6];
    let exact = |shape: &[usize; 3], strides: &[isize; 3], offset: usize| {
        let end = |sign: i128| -> i128 {
            shape.iter().zip(strides).map(|(&n, &s)| (n as i128 - 1) * (s as i128 * sign).max(0) * sign).sum()
        };
        if shape.contains(&0) { offset <= 6 } else { offset as i128 + end(-1) >= 0 && offset as i128 + end(1) < 6 }
    };
    for strides in triples(&STEPS) {
        for shape in [[1, 1, 1], [2, 1, 1], [2, 2, 2], [3, 0, 2], [1, 3, 1], [ROOT / 2, 2, 1], [2, ROOT, 1 << 10]] {
            for offset in [0, 3, 5, 6, 7, usize::MAX] {
                let fits = exact(&shape, &strides, offset);
                let view = View::with_strides(&data, &shape, &strides, offset);
                assert_eq!(view.is_ok(), fits, "{shape:?} {strides:?} {offset}");
                if let Ok(view) = view {
                    abuse(view);
                }
                let apart = ViewMut::with_strides(&mut data, &shape, &strides, offset);
                assert!(fits || apart.is_err());
                let (rows, cols) = (shape[0], shape[1]);
                let mat = Mat::with_strides(&data, rows, cols, strides[0], strides[1], offset);
                let view = View::with_strides(&data, &shape[..2], &strides[..2], offset);
                assert_eq!(mat.is_ok(), view.is_ok());
            }
        }
    }
}

/// Every transformation with every extreme argument, looking only for panics and for elements that cannot be read.
fn abuse(view: View<'_>) {
    let read = |view: Result<View<'_>>| view.map_or(0.0, |view| view.iter().take(64).sum::<f32>());
    let mut sum = 0.0;
    for axis in [isize::MIN, -9, -3, -1, 0, 2, 3, isize::MAX] {
        sum += read(view.flip(axis)) + read(view.squeeze(axis)) + read(view.unsqueeze(axis));
        for number in STEPS.into_iter().chain([-3, -2, 2, 3]) {
            let size = number as usize;
            sum += read(view.step(axis, number)) + read(view.select(axis, number));
            sum += read(view.slice(axis, number..)) + read(view.slice(axis, ..=number));
            sum += read(view.narrow(axis, size, 1)) + read(view.narrow(axis, 1, size));
            sum += read(view.transpose(axis, number)) + read(view.movedim(axis, number));
            sum += read(view.flatten(axis, number)) + read(view.unflatten(axis, &[number, -1]));
            sum += read(view.split_at(axis, size).map(|halves| halves.1));
            sum += read(view.reshape(&[axis, number])) + read(view.expand(&[number, axis, -1, -1]));
            sum += read(view.permute(&[axis, number, 0])) + read(view.index(&index![axis, number:axis:number]));
            sum += read(view.index(&index![:, axis:number, ..., number:]));
            sum += read(view.split_every(axis, size).map(|mut pieces| pieces.next().unwrap_or(view)));
            sum += read(view.chunk(axis, size).map(|mut pieces| pieces.next().unwrap_or(view)));
        }
    }
    assert_eq!(sum, 0.0);
}

#[test]
fn outputs_that_may_overlap_are_refused() {
    let mut data = [0.0_f32; 64];
    let mut nests = |shape: &[usize], strides: &[isize]| {
        let view = ViewMut::with_strides(&mut data, shape, strides, 20);
        if let Err(error) = &view {
            assert!(matches!(error.kind(), ErrorKind::Overlap { .. }), "{error}");
        }
        view.is_ok()
    };
    for (shape, strides) in [
        (&[2, 3][..], &[3, 1][..]),
        (&[3, 2], &[1, 3]),
        (&[3, 2], &[-1, 5]),
        (&[2, 2, 2], &[-4, 2, 1]),
        (&[2, 1, 3], &[3, 0, 1]),
        (&[2, 0], &[0, 0]),
        (&[2, 3], &[5, 2]),
    ] {
        assert!(nests(shape, strides), "{shape:?} {strides:?}");
    }
    for (shape, strides) in [
        (&[2][..], &[0][..]),
        (&[2, 2], &[1, 1]),
        (&[2, 2], &[1, -1]),
        (&[2, 3], &[2, 1]),
        (&[3, 2, 2], &[2, 3, 1]),
        // Shape 2x3 with strides 3 and 2 reaches six different elements, but the rule does not see it.
        (&[2, 3], &[3, 2]),
    ] {
        assert!(!nests(shape, strides), "{shape:?} {strides:?}");
    }
    let error = ViewMut::with_strides(&mut data, &[4, 4], &[0, 1], 0).unwrap_err();
    let want = "ViewMut::with_strides: the strides of an output of 4x4 do not nest, so elements could overlap";
    assert_eq!(error.to_string(), want);
}

#[test]
fn constructor_errors_carry_numbers() {
    let data = [0.0_f32; 6];
    assert_eq!(text(View::new(&data, &[2, 4])), "View::new: `data` must have 8 elements, got 6");
    assert_eq!(text(View::new(&data, &[1; 9])), "View::new: `rank` must be at most 8, got 9");
    let overflow = format!(
        "View::new: a view of 0x{ROOT}x{ROOT} does not fit a buffer of 6 elements (its number of elements overflows)"
    );
    assert_eq!(text(View::new(&data, &[0, ROOT, ROOT])), overflow);
    let strided = |shape: &[usize], strides: &[isize], offset| text(View::with_strides(&data, shape, strides, offset));
    assert_eq!(strided(&[2], &[1, 1], 0), "View::with_strides: `strides` must have 1 elements, got 2");
    assert!(
        strided(&[2, 3], &[3, 1], 1).ends_with("2x3 does not fit a buffer of 6 elements (it reaches past the end)")
    );
    assert!(strided(&[2], &[-1], 0).ends_with("(it reaches before the start)"));
    assert!(strided(&[], &[], 6).ends_with("scalar does not fit a buffer of 6 elements (it starts past the end)"));
    assert!(strided(&[0], &[1], 7).ends_with("(it starts past the end)"));
    assert!(strided(&[3], &[isize::MAX], 0).ends_with("(the reach of its strides overflows)"));
}

#[test]
fn transformation_errors_carry_numbers() {
    let data = [0.0_f32; 6];
    let a = View::new(&data, &[2, 3]).unwrap();
    let eight = View::new(&data[..1], &[1; 8]).unwrap();
    for (got, want) in [
        (text(a.flip(2)), "flip: axis 2 is not valid for rank 2 (out of range)"),
        (text(a.flip(-3)), "flip: axis -3 is not valid for rank 2 (out of range)"),
        (text(a.slice(1, 1..4)), "slice: `end` holds 4 at position 0, must be in 0..4"),
        (
            text(a.slice(1, (Bound::Included(3), Bound::Excluded(1)))),
            "slice: `start` holds 3 at position 0, must be in 0..2",
        ),
        (text(a.slice(1, -4..)), "slice: `start` holds -4 at position 0, must be in 0..4"),
        (text(a.narrow(1, 2, 2)), "narrow: `len` holds 2 at position 0, must be in 0..2"),
        (text(a.narrow(1, 4, 0)), "narrow: `start` holds 4 at position 0, must be in 0..4"),
        (text(a.step(0, 0)), "step: `step` must be other than 0, got 0"),
        (text(a.select(0, 2)), "select: `index` holds 2 at position 0, must be in 0..2"),
        (text(a.split_at(1, 4)), "split_at: `index` holds 4 at position 0, must be in 0..4"),
        (text(a.split(1, &[1, 1])), "split: `sizes` must have 3 elements, got 2"),
        (text(a.split_every(1, 0)), "split_every: `size` must be at least 1, got 0"),
        (text(a.chunk(1, 0)), "chunk: `chunks` must be at least 1, got 0"),
        (text(a.permute(&[0])), "permute: `axes` must have 2 elements, got 1"),
        (text(a.permute(&[0, -2])), "permute: axis -2 is not valid for rank 2 (named twice)"),
        (text(a.reshape(&[4])), "reshape: `shape` must have 6 elements, got 4"),
        (text(a.reshape(&[4, -1])), "reshape: `shape` must have 6 elements, got 4"),
        (text(a.reshape(&[-1, -1])), "reshape: `shape` must be at least 0, or -1 for one axis, got -1"),
        (text(a.reshape(&[-2])), "reshape: `shape` must be at least 0, or -1 for one axis, got -2"),
        (text(a.flatten(1, 0)), "flatten: axis 0 is not valid for rank 2 (it comes before the first axis to flatten)"),
        (text(a.unflatten(1, &[2, 2])), "unflatten: `shape` must have 3 elements, got 4"),
        (text(eight.unflatten(1, &[1, 1])), "unflatten: `rank` must be at most 8, got 9"),
        (text(a.squeeze(1)), "squeeze: axis 1 is not valid for rank 2 (its size is not 1)"),
        (text(a.unsqueeze(3)), "unsqueeze: axis 3 is not valid for rank 3 (out of range after it)"),
        (text(eight.unsqueeze(0)), "unsqueeze: `rank` must be at most 8, got 9"),
        (text(a.broadcast_to(&[3])), "broadcast_to: `self` must be 3, got 2x3"),
        (text(a.broadcast_to(&[2, 6])), "broadcast_to: `self` must be 2x6, got 2x3"),
        (
            text(a.expand(&[-1, 2, 3])),
            "expand: `shape` must be at least 0, or -1 to keep the size of an axis there is, got -1",
        ),
        (text(a.index(&index![0, 3])), "index: `items` holds 3 at position 1, must be in 0..3"),
        (text(a.index(&index![..., ...])), "index: `...` must be given once, got 2"),
        (text(a.index(&index![0, 0, 0])), "index: axis 2 is not valid for rank 2 (more items than axes)"),
        (text(a.index(&index![::0])), "index: `step` must be other than 0, got 0"),
        (text(eight.index(&index![None])), "index: `rank` must be at most 8, got 9"),
        (text(a.index(&[Index::NewAxis; 40])), "index: `rank` must be at most 8, got 42"),
    ] {
        assert_eq!(got, want);
    }
    let empty = a.slice(0, 0..0).unwrap();
    assert!(text(empty.reshape(&[0, -1])).starts_with("reshape: `shape` must be without -1 beside a size of 0"));
    assert_eq!(empty.reshape(&[3, -1, 7]).unwrap().shape(), [3, 0, 7]);
    assert!(text(empty.reshape(&[0, isize::MAX, 2])).ends_with("(its number of elements overflows)"));
    assert!(text(empty.unflatten(0, &[0, isize::MAX])).ends_with("(its number of elements overflows)"));
    // The new axes alone would fit, but not beside the axis of three that is there.
    let most = isize::MAX / 4;
    assert!(text(empty.unflatten(0, &[0, most])).ends_with("(its number of elements overflows)"));
    assert_eq!(empty.unflatten(0, &[0, most / 3]).unwrap().rank(), 3);
    assert_eq!(empty.reshape(&[0, most]).unwrap().len(), 0);
    assert!(empty.reshape(&[0, most + 1]).is_err());
}

#[test]
fn a_refused_write_changes_nothing() {
    let mut data = counted(6);
    let mut a = ViewMut::new(&mut data, &[2, 3]).unwrap();
    assert_eq!(text(a.set(&[0, 3], 9)), "set: `index` holds 3 at position 0, must be in 0..3");
    assert_eq!(text(a.set(&[0], 9)), "set: `index` must have 2 elements, got 1");
    let source = [9; 6];
    let other = View::new(&source, &[3, 2]).unwrap();
    assert_eq!(text(a.copy_from(other)), "copy_from: `source` must be 2x3, got 3x2");
    assert_eq!(data, counted(6));
}
