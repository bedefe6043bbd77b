//! The driver of the lookups: reading a table at places that indices name, and adding to it there.
//!
//! Places are found a few at a time from the indices. Where the axes that no index depends on make rows or blocks, each
//! is copied or added by registers; single elements otherwise.
//!
//! Adding follows the order of the walked operand: an element of the table to which several are added gets them one
//! after the other in row-major order of the indices. Threads take parts of the table, so that each element has one of
//! them.

use crate::error::{ErrorKind, MAX_RANK, Result, first_beyond};
use crate::exec::Exec;
use crate::lanes::{self, Map, Same};
use crate::simd::{Kernel, Simd};
use crate::view::{Integers, Lookup, Mat, MatMut, Places, View, ViewMut, Visit};

/// Nanoseconds of one core an element in blocks, and by itself, for the split over threads.
const NS: [f64; 2] = [0.12, 2.5];

/// `y[…] = table[place of …]`.
pub(crate) fn read<'a>(exec: &Exec, y: ViewMut<'a>, table: View<'a>, places: &Places<'a>) {
    if !y.is_empty() {
        run(exec, Lookup::reading(y, table, places), &[], Copied);
    }
}

/// `table[place of …] += dy[…]`, times a number for each place of the first integers if `scales` is not empty. One such
/// place may be left out.
pub(crate) fn add<'a>(
    exec: &Exec,
    table: ViewMut<'a>,
    dy: View<'a>,
    places: &Places<'a>,
    scales: &[f32],
    without: Option<usize>,
) {
    if dy.is_empty() {
        return;
    }
    let lookup = Lookup::writing(table, dy, places);
    match without {
        None => run(exec, lookup, scales, Added),
        Some(place) => {
            let (below, above) = lookup.without(place);
            run(exec, below, scales, Added);
            run(exec, above, scales, Added);
        }
    }
}

fn run<P: Put>(exec: &Exec, lookup: Lookup<'_>, scales: &[f32], put: P) {
    let nanoseconds = NS[usize::from(!lookup.by_blocks())] * lookup.len() as f64;
    let shared = lookup.share(exec.threads());
    exec.par.run(nanoseconds as usize, shared.grain(), shared, |part| {
        exec.isa().run(Visited { lookup: part.lookup, scales, put });
    });
}

/// Which integers an index operand may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signs {
    /// Those from zero on.
    Positive,
    /// Negative ones too, which count from the end.
    Both,
}

/// Checks that an index operand stays within an axis of size `bound`.
///
/// # Errors
/// [`ErrorKind::Index`] for the first value outside.
pub(crate) fn expect_places(
    op: &'static str,
    arg: &'static str,
    index: View<'_, i64>,
    bound: usize,
    signs: Signs,
) -> Result<()> {
    let least = if signs == Signs::Both { -(bound as i64) } else { 0 };
    let outside = |value: i64| value < least || value >= bound as i64;
    // What is repeated is looked at once.
    let mut once = index;
    for axis in 0..index.rank() {
        if index.strides()[axis] == 0 && index.shape()[axis] > 1 {
            once = once.narrow(axis as isize, 0, 1)?;
        }
    }
    let any = match once.as_slice() {
        Some(values) => first_beyond(values, least, bound).is_some(),
        None => once.iter().any(outside),
    };
    if !any {
        return Ok(());
    }
    match index.iter().enumerate().find(|&(_, value)| outside(value)) {
        None => Ok(()),
        Some((position, value)) => Err(ErrorKind::Index { op, arg, position, value, bound }.into()),
    }
}

/// `index`, repeated to `shape`, of which it has all axes but the last `after` ones, or the last of those.
///
/// # Errors
/// If broadcasting does not give that shape.
pub(crate) fn spread<'a>(mut index: View<'a, i64>, after: usize, shape: &[usize]) -> Result<View<'a, i64>> {
    for _ in 0..after {
        index = index.unsqueeze(-1)?;
    }
    index.broadcast_to(shape)
}

/// Places that integers name on one axis, while the other axes go along with each other.
pub(crate) fn places<'a>(integers: &'a [Integers<'a>; 1]) -> Places<'a> {
    let mut along: [Option<usize>; MAX_RANK] = std::array::from_fn(Some);
    along[integers[0].axis] = None;
    Places { along, integers, masks: &[], line: 0 }
}

/// What happens to an output at a place, by blocks and by elements alike.
trait Put: Copy + Send + Sync {
    fn block<S: Simd>(self, s: S, out: MatMut<'_>, inp: Mat<'_>, scale: f32);
    fn element(self, out: &mut f32, inp: f32, scale: f32);
}

#[derive(Clone, Copy)]
struct Copied;

impl Put for Copied {
    #[inline(always)]
    fn block<S: Simd>(self, s: S, out: MatMut<'_>, inp: Mat<'_>, _: f32) {
        blockwise(s, out, inp, Same);
    }
    #[inline(always)]
    fn element(self, out: &mut f32, inp: f32, _: f32) {
        *out = inp;
    }
}

#[derive(Clone, Copy)]
struct Added;

impl Put for Added {
    #[inline(always)]
    fn block<S: Simd>(self, s: S, out: MatMut<'_>, inp: Mat<'_>, scale: f32) {
        blockwise(s, out, inp, Plus(scale));
    }
    #[inline(always)]
    fn element(self, out: &mut f32, inp: f32, scale: f32) {
        *out += scale * inp;
    }
}

/// `out = f(inp, out)` over a block, which mostly is one row of adjacent elements.
#[inline(always)]
fn blockwise<S: Simd>(s: S, out: MatMut<'_>, inp: Mat<'_>, f: impl Map<1, 1>) {
    if out.rows() == 1 && out.is_adjacent() && inp.is_adjacent() {
        lanes::map_row(s, [out], [inp], f);
    } else {
        lanes::map(s, [out], [inp], f);
    }
}

/// `old + scale·x`, rounded twice, as single elements are.
#[derive(Clone, Copy)]
struct Plus(f32);

impl Map<1, 1> for Plus {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, [x]: [S::F32; 1], [old]: [S::F32; 1]) -> [S::F32; 1] {
        [s.add(old, s.mul(s.splat(self.0), x))]
    }
}

/// The walk over a lookup, on one tier.
struct Visited<'a, 's, P> {
    lookup: Lookup<'a>,
    scales: &'s [f32],
    put: P,
}

impl<P: Put> Kernel for Visited<'_, '_, P> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        self.lookup.visit(self.scales, &mut On { s, put: self.put });
    }
}

/// What happens, on one tier.
struct On<S, P> {
    s: S,
    put: P,
}

impl<S: Simd, P: Put> Visit for On<S, P> {
    #[inline(always)]
    fn block(&mut self, out: MatMut<'_>, inp: Mat<'_>, scale: f32) {
        self.put.block(self.s, out, inp, scale);
    }
    #[inline(always)]
    fn element(&mut self, out: &mut f32, inp: f32, scale: f32) {
        self.put.element(out, inp, scale);
    }
}
