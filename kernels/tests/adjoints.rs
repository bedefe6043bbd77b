//! The adjoint of every view writes, or adds, through the same view: against plain loops over the definition of each.

#![allow(clippy::redundant_closure_for_method_calls, reason = "the methods of two types")]

mod common;

use common::random::Random;
use common::tensor::{Layout, Tensor, indices};
use common::tiers::on_every_tier;
use common::{pools, serial};
use handgrad_kernels::op::{broadcast, cat};
use handgrad_kernels::view::{View, ViewMut};
use handgrad_kernels::{ErrorKind, Exec, Result, index};

/// Takes a view of what is read.
type Read = Box<dyn Fn(View<'_>) -> Result<View<'_>>>;
/// Takes the same view of what is written.
type Write = Box<dyn Fn(ViewMut<'_>) -> Result<ViewMut<'_>>>;

/// Where in `x` an element of the view is.
type Source = Box<dyn Fn(&[usize]) -> Vec<usize>>;

/// One view: of what shape, what it does, and by its definition the shape it makes and where in `x` its elements are.
struct Case {
    name: String,
    x: Vec<usize>,
    read: Read,
    write: Write,
    y: Vec<usize>,
    source: Source,
}

/// `case!(name, shape of x, |view| the view, shape of y, |index into y| index into x)`
macro_rules! case {
    ($name:expr, $x:expr, |$view:ident| $taken:expr, $y:expr, |$at:ident| $source:expr) => {
        Case {
            name: $name.to_string(),
            x: $x,
            read: Box::new(move |$view| $taken),
            write: Box::new(move |$view| $taken),
            y: $y,
            source: Box::new(move |$at| $source),
        }
    };
}

fn size(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// The row-major number of an index.
fn number(shape: &[usize], index: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |number, (&at, &size)| number * size + at)
}

/// The index with a row-major number.
fn unravel(shape: &[usize], mut number: usize) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (at, &size) in index.iter_mut().zip(shape).rev() {
        (*at, number) = (number % size, number / size);
    }
    index
}

fn with(shape: &[usize], axis: usize, size: usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    shape[axis] = size;
    shape
}

fn without(shape: &[usize], axis: usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    shape.remove(axis);
    shape
}

fn inserted(index: &[usize], axis: usize, value: usize) -> Vec<usize> {
    let mut index = index.to_vec();
    index.insert(axis, value);
    index
}

/// A list for the two closures of a case.
fn kept(list: Vec<isize>) -> &'static [isize] {
    list.leak()
}

/// Another name of an axis, from the end or from the start.
fn named(random: &mut Random, axis: usize, rank: usize) -> isize {
    if random.below(2) == 0 { axis as isize } else { axis as isize - rank as isize }
}

/// The views of single axes: ranges, steps and single indices.
fn cuts(random: &mut Random, shape: &[usize]) -> Vec<Case> {
    let (rank, x) = (shape.len(), shape.to_vec());
    let axis = random.below(rank);
    let (name, size) = (named(random, axis, rank), shape[axis]);
    let start = random.below(size + 1);
    let len = random.below(size - start + 1);
    let step = random.pick(&[1, 2, 3, -1, -2, -3]);
    let moved = move |at: &[usize], to: usize| with(at, axis, to);
    let mut cases = vec![
        case!(
            "slice",
            x.clone(),
            |v| v.slice(name, start as isize..(start + len) as isize),
            with(&x, axis, len),
            |at| { moved(at, at[axis] + start) }
        ),
        case!("narrow", x.clone(), |v| v.narrow(name, start, len), with(&x, axis, len), |at| moved(
            at,
            at[axis] + start
        )),
        case!("flip", x.clone(), |v| v.flip(name), x.clone(), |at| moved(at, size - 1 - at[axis])),
        case!("step", x.clone(), |v| v.step(name, step), with(&x, axis, size.div_ceil(step.unsigned_abs())), |at| {
            let far = at[axis] * step.unsigned_abs();
            moved(at, if step < 0 { size - 1 - far } else { far })
        }),
    ];
    if size > 0 {
        let pick = random.below(size);
        let at_name = named(random, pick, size);
        cases.push(case!("select", x.clone(), |v| v.select(name, at_name), without(&x, axis), |at| inserted(
            at, axis, pick
        )));
    }
    cases
}

/// The views that put axes in another order.
fn orders(random: &mut Random, shape: &[usize]) -> Vec<Case> {
    let (rank, x) = (shape.len(), shape.to_vec());
    let (a, b) = (random.below(rank), random.below(rank));
    let (name_a, name_b) = (named(random, a, rank), named(random, b, rank));
    let swapped = move |at: &[usize]| {
        let mut at = at.to_vec();
        at.swap(a, b);
        at
    };
    let moved = |shape: &[usize]| inserted(&without(shape, a), b, shape[a]);
    let mut order: Vec<usize> = (0..rank).collect();
    for i in (1..rank).rev() {
        order.swap(i, random.below(i + 1));
    }
    let permuted = order.iter().map(|&axis| shape[axis]).collect();
    let names = kept(order.iter().map(|&axis| named(random, axis, rank)).collect());
    let several = random.below(rank + 1);
    let places: Vec<usize> = {
        let mut places: Vec<usize> = (0..rank).collect();
        places.rotate_left(random.below(rank));
        places.truncate(several);
        places
    };
    let sources: Vec<usize> = order[..several].to_vec();
    // By its definition: the axes named go to their places, the others fill up.
    let mut from = vec![usize::MAX; rank];
    sources.iter().zip(&places).for_each(|(&source, &place)| from[place] = source);
    let mut rest = (0..rank).filter(|axis| !sources.contains(axis));
    from.iter_mut().filter(|from| **from == usize::MAX).for_each(|from| *from = rest.next().unwrap());
    let rearranged = from.iter().map(|&axis| shape[axis]).collect();
    let (source_names, place_names): (Vec<isize>, Vec<isize>) =
        sources.iter().zip(&places).map(|(&s, &p)| (named(random, s, rank), named(random, p, rank))).unzip();
    let (source_names, place_names) = (kept(source_names), kept(place_names));
    let back = |order: Vec<usize>| {
        move |at: &[usize]| {
            let mut source = vec![0; at.len()];
            order.iter().zip(at).for_each(|(&axis, &at)| source[axis] = at);
            source
        }
    };
    let (back_permuted, back_rearranged) = (back(order), back(from));
    let mut cases = vec![
        case!("transpose", x.clone(), |v| v.transpose(name_a, name_b), swapped(&x), |at| swapped(at)),
        case!("movedim", x.clone(), |v| v.movedim(name_a, name_b), moved(&x), |at| inserted(&without(at, b), a, at[b])),
        case!("permute", x.clone(), |v| v.permute(names), permuted, |at| back_permuted(at)),
        case!("movedims", x.clone(), |v| v.movedims(source_names, place_names), rearranged, |at| back_rearranged(at)),
    ];
    if rank <= 2 {
        cases.push(case!("t", x.clone(), |v| v.t(), x.iter().rev().copied().collect(), |at| at
            .iter()
            .rev()
            .copied()
            .collect()));
    }
    cases
}

/// The views that make other axes of the same elements.
fn shapes(random: &mut Random, shape: &[usize]) -> Vec<Case> {
    let (rank, x) = (shape.len(), shape.to_vec());
    let axis = random.below(rank);
    let first = random.below(rank);
    let last = first + random.below(rank - first);
    let flat = [&shape[..first], &[size(&shape[first..=last])], &shape[last + 1..]].concat();
    let (first, last) = (named(random, first, rank), named(random, last, rank));
    let renumbered = |x: &[usize], y: &[usize]| {
        let (x, y) = (x.to_vec(), y.to_vec());
        move |at: &[usize]| unravel(&x, number(&y, at))
    };
    let divisor = *[3, 2, 1].iter().find(|&&divisor| shape[axis].is_multiple_of(divisor)).unwrap();
    let pair = [shape[axis] / divisor, divisor];
    let unflat = [&shape[..axis], &pair[..], &shape[axis + 1..]].concat();
    let free = shape[axis] > 0 && random.below(2) == 0;
    let sizes = kept(if free { vec![-1, divisor as isize] } else { pair.map(|n| n as isize).to_vec() });
    let signed = kept(unflat.iter().map(|&size| size as isize).collect());
    let new = random.below(rank + 1);
    let (name, new_name) = (named(random, axis, rank), named(random, new, rank + 1));
    let (from_flat, from_pair, from_all) = (renumbered(&x, &flat), renumbered(&x, &unflat), renumbered(&x, &unflat));
    let units = inserted(&x, new, 1);
    let (single, single_to) = (units.clone(), new as isize);
    let others: Vec<usize> = (0..rank).filter(|&axis| shape[axis] != 1).collect();
    let squeezed = others.iter().map(|&axis| shape[axis]).collect();
    let (x_rank, flat_len) = (rank, size(shape));
    let from_line = renumbered(&x, &[flat_len]);
    vec![
        case!("flatten", x.clone(), |v| v.flatten(first, last), flat, |at| from_flat(at)),
        case!("unflatten", x.clone(), |v| v.unflatten(name, sizes), unflat.clone(), |at| from_pair(at)),
        case!("reshape", x.clone(), |v| v.reshape(signed), unflat, |at| from_all(at)),
        case!("view(-1)", x.clone(), |v| v.reshape(&[-1]), vec![flat_len], |at| from_line(at)),
        case!("unsqueeze", x.clone(), |v| v.unsqueeze(new_name), units, |at| without(at, new)),
        case!("squeeze", single, |v| v.squeeze(single_to), x.clone(), |at| inserted(at, new, 0)),
        case!("squeeze()", x.clone(), |v| Ok(v.squeeze_all()), squeezed, |at| {
            let mut source = vec![0; x_rank];
            others.iter().zip(at).for_each(|(&axis, &at)| source[axis] = at);
            source
        }),
    ]
}

/// Basic indexing, by hand.
fn basics() -> Vec<Case> {
    let x = vec![3, 4, 5];
    vec![
        case!("[1, ::-2, None, 1:4]", x.clone(), |v| v.index(&index![1, ::-2, None, 1:4]), vec![2, 1, 3], |at| {
            vec![1, 3 - 2 * at[0], at[2] + 1]
        }),
        case!("[..., -1]", x.clone(), |v| v.index(&index![..., -1]), vec![3, 4], |at| vec![at[0], at[1], 4]),
        case!("[None, 2:, ..., ::2]", x.clone(), |v| v.index(&index![None, 2:, ..., ::2]), vec![1, 1, 4, 3], |at| {
            vec![at[1] + 2, at[2], 2 * at[3]]
        }),
        case!("[0, 0, 0]", x.clone(), |v| v.index(&index![0, 0, 0]), vec![], |_at| vec![0; 3]),
        case!("[5:, :, 0]", x.clone(), |v| v.index(&index![5:, :, 0]), vec![0, 4], |at| vec![at[0], at[1], 0]),
        case!("[]", x.clone(), |v| v.index(&index![]), x, |at| at.to_vec()),
    ]
}

/// Runs a case with operands of one layout and the gradient in another; `false` if the layout would need a copy.
fn run(exec: &Exec, case: &Case, inp: Layout, out: Layout, random: &mut Random) -> bool {
    let Case { name, x: shape, y: result, source, .. } = case;
    let what = format!("{name} of {shape:?} {inp:?}, gradient {out:?}");
    let draw = |random: &mut Random, len: usize| (0..len).map(|_| random.uneven()).collect::<Vec<_>>();
    let x = Tensor::values(inp, shape, &draw(random, size(shape)));
    let dy = Tensor::values(inp, result, &draw(random, size(result)));
    let mut dx = Tensor::values(out, shape, &vec![0.0; size(shape)]);
    let (taken, through) = ((case.read)(x.view()), (case.write)(dx.view_mut()));
    let (Ok(y), Ok(through)) = (&taken, through) else {
        let copied = |error: &handgrad_kernels::Error| matches!(error.kind(), ErrorKind::Reach { .. });
        let error = taken.as_ref().err().cloned().or_else(|| (case.write)(dx.view_mut()).err()).unwrap();
        assert!(copied(&error), "{what}: {error}");
        return false;
    };
    assert_eq!((y.shape(), through.shape()), (&result[..], &result[..]), "{what}");
    broadcast::forward(exec, through, dy.view()).unwrap();

    let (x_seen, y_seen, dy_seen, dx_seen) = (x.to_vec(), y.to_vec(), dy.to_vec(), dx.to_vec());
    let mut want = vec![0.0_f64; x_seen.len()];
    for (i, at) in indices(result).enumerate() {
        let place = number(shape, &source(&at));
        assert_eq!(y_seen[i].to_bits(), x_seen[place].to_bits(), "{what} at {at:?}");
        want[place] += f64::from(dy_seen[i]);
    }
    assert_eq!(dx_seen.iter().map(|&dx| f64::from(dx)).collect::<Vec<_>>(), want, "{what}");
    assert_adjoint(&what, &y_seen, &dy_seen, &x_seen, &dx_seen);
    dx.assert_intact(&what);

    // Copying without an `Exec` does the same.
    let mut copied = Tensor::values(out, shape, &vec![0.0; size(shape)]);
    (case.write)(copied.view_mut()).unwrap().copy_from(dy.view()).unwrap();
    assert_eq!(copied.to_vec(), dx_seen, "{what}");
    true
}

/// `<A x, dy> = <x, Aᵀ dy>`, to the rounding of f64.
fn assert_adjoint(what: &str, y: &[f32], dy: &[f32], x: &[f32], dx: &[f32]) {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let terms: f64 = y.iter().zip(dy).map(|(&y, &dy)| (f64::from(y) * f64::from(dy)).abs()).sum();
    let (one, other) = (dot(y, dy), dot(x, dx));
    assert!((one - other).abs() <= 1e-6 * terms, "{what}: <y, dy> = {one}, <x, dx> = {other}");
}

#[test]
fn views_write_through_themselves() {
    let exec = Exec::serial().unwrap();
    let mut random = Random::new(20);
    let mut ran = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..150 {
        let rank = 1 + random.below(4);
        let shape: Vec<usize> = (0..rank).map(|_| random.pick(&[1, 2, 3, 4, 6, 0, 19])).collect();
        if size(&shape) > 2000 {
            continue;
        }
        let mut cases = cuts(&mut random, &shape);
        cases.extend(orders(&mut random, &shape));
        cases.extend(shapes(&mut random, &shape));
        cases.extend(basics());
        for case in &cases {
            let (inp, out) = (random.pick(&Layout::ALL), random.pick(&Layout::OUTPUTS));
            for (inp, out) in [(Layout::Dense, Layout::Dense), (inp, out)] {
                *ran.entry(case.name.clone()).or_default() += usize::from(run(&exec, case, inp, out, &mut random));
            }
        }
    }
    println!("{ran:?}");
    assert_eq!(ran.len(), 5 + 5 + 7 + 6, "a view was never tried");
    assert!(ran.values().all(|&count| count > 20), "{ran:?}");
}

#[test]
fn pieces_take_their_own_gradients() {
    let exec = Exec::serial().unwrap();
    let mut random = Random::new(21);
    for _ in 0..100 {
        let rank = 1 + random.below(3);
        let shape: Vec<usize> = (0..rank).map(|_| random.pick(&[1, 2, 5, 7, 11])).collect();
        let axis = random.below(rank);
        let (name, whole) = (named(&mut random, axis, rank), shape[axis]);
        let (inp, out) = (random.pick(&Layout::ALL), random.pick(&Layout::OUTPUTS));
        let draw = |random: &mut Random, len: usize| (0..len).map(|_| random.uneven()).collect::<Vec<_>>();
        let x = Tensor::values(inp, &shape, &draw(&mut random, size(&shape)));
        let first = random.below(whole + 1);
        let every = 1 + random.below(whole);
        let chunks = 1 + random.below(whole + 2);
        let sizes = [first, 0, whole - first];
        let even = |size: usize| (0..whole).step_by(size).map(|at| size.min(whole - at)).collect::<Vec<_>>();
        for (kind, want) in [sizes.to_vec(), even(every), even(whole.div_ceil(chunks))].into_iter().enumerate() {
            let pieces: Vec<View<'_>> = match kind {
                0 => x.view().split(name, &sizes).unwrap().collect(),
                1 => x.view().split_every(name, every).unwrap().collect(),
                _ => x.view().chunk(name, chunks).unwrap().collect(),
            };
            assert_eq!(pieces.iter().map(|piece| piece.shape()[axis]).collect::<Vec<_>>(), want);
            let dys: Vec<Tensor> = pieces
                .iter()
                .map(|piece| Tensor::values(inp, piece.shape(), &draw(&mut random, piece.len())))
                .collect();
            let mut dx = Tensor::poisoned(out, &shape);
            let through: Vec<ViewMut<'_>> = match kind {
                0 => dx.view_mut().split(name, &sizes).unwrap().collect(),
                1 => dx.view_mut().split_every(name, every).unwrap().collect(),
                _ => dx.view_mut().chunk(name, chunks).unwrap().collect(),
            };
            for (piece, dy) in through.into_iter().zip(&dys) {
                broadcast::forward(&exec, piece, dy.view()).unwrap();
            }
            let mut expected = vec![f32::NAN; size(&shape)];
            let mut start = 0;
            let (mut y, mut dy_all) = (Vec::new(), Vec::new());
            for (piece, dy) in pieces.iter().zip(&dys) {
                for ((at, value), taken) in indices(piece.shape()).zip(dy.to_vec()).zip(piece.to_vec()) {
                    let place = number(&shape, &with(&at, axis, at[axis] + start));
                    assert_eq!(taken.to_bits(), x.to_vec()[place].to_bits());
                    expected[place] = value;
                }
                start += piece.shape()[axis];
                y.extend(piece.to_vec());
                dy_all.extend(dy.to_vec());
            }
            assert_eq!(dx.to_vec(), expected);
            assert_adjoint("pieces", &y, &dy_all, &x.to_vec(), &dx.to_vec());
            dx.assert_intact("pieces");

            // The same by joining the gradients of the pieces.
            let mut joined = Tensor::poisoned(out, &shape);
            let dys: Vec<View<'_>> = dys.iter().map(Tensor::view).collect();
            cat::forward(&exec, joined.view_mut(), &dys, name).unwrap();
            assert_eq!(joined.to_vec(), expected);
        }
    }
}

#[test]
fn repeated_elements_get_the_sum() {
    on_every_tier("expand", |isa| {
        let exec = serial(isa);
        let mut random = Random::new(22);
        for _ in 0..120 {
            let rank = random.below(4);
            let y_shape: Vec<usize> = (0..rank).map(|_| random.pick(&[1, 2, 3, 5, 18, 0])).collect();
            let dropped = random.below(rank + 1);
            let x_shape: Vec<usize> =
                y_shape[dropped..].iter().map(|&size| if random.below(2) == 0 { 1 } else { size }).collect();
            let (inp, out) = (random.pick(&Layout::ALL), random.pick(&Layout::OUTPUTS));
            let mut draw = |len: usize| (0..len).map(|_| random.uneven()).collect::<Vec<_>>();
            let x = Tensor::values(inp, &x_shape, &draw(size(&x_shape)));
            let dy = Tensor::values(inp, &y_shape, &draw(size(&y_shape)));
            let sizes: Vec<isize> = y_shape
                .iter()
                .enumerate()
                .map(
                    |(axis, &size)| if axis >= dropped && x_shape[axis - dropped] == size { -1 } else { size as isize },
                )
                .collect();
            let y = x.view().expand(&sizes).unwrap();
            assert_eq!(y.shape(), y_shape);
            let mut dx = Tensor::poisoned(out, &x_shape);
            broadcast::backward(&exec, dx.view_mut(), dy.view()).unwrap();
            let (mut want, mut terms) = (vec![0.0_f64; size(&x_shape)], vec![0.0_f64; size(&x_shape)]);
            for (at, &dy) in indices(&y_shape).zip(&dy.to_vec()) {
                let source: Vec<usize> =
                    at[dropped..].iter().zip(&x_shape).map(|(&at, &size)| at.min(size - 1)).collect();
                let place = number(&x_shape, &source);
                want[place] += f64::from(dy);
                terms[place] += f64::from(dy.abs());
            }
            for (place, (&got, (want, terms))) in dx.to_vec().iter().zip(want.iter().zip(&terms)).enumerate() {
                let error = (f64::from(got) - want).abs();
                assert!(error <= 1e-6 * terms, "{isa}: {y_shape:?} to {x_shape:?}, {place}: {got}, wanted {want}");
            }
            assert_adjoint("expand", &y.to_vec(), &dy.to_vec(), &x.to_vec(), &dx.to_vec());
            dx.assert_intact("expand");
        }
    });
}

#[test]
fn large_gradients_are_written_by_several_threads() {
    let mut random = Random::new(23);
    let dy: Vec<f32> = (0..300 * 170).map(|_| random.uneven()).collect();
    let write = |exec: &Exec| {
        let mut dx = Tensor::values(Layout::Padded, &[170, 601], &vec![0.0; 170 * 601]);
        let through = dx.view_mut().t().unwrap().index(&index![1::2]).unwrap().flip(1).unwrap();
        broadcast::forward(exec, through, View::new(&dy, &[300, 170]).unwrap()).unwrap();
        dx.to_vec()
    };
    let want = write(&Exec::serial().unwrap());
    for pool in pools() {
        assert!(pool.install(|| write(&pool)) == want);
    }
}
