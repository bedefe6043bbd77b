use crate::simd::{Scalar, Simd};

/// Makes the third key word from the other two; the number keeps it from zero when they are.
const PARITY: u32 = 0x1bd1_1bda;

/// Threefry-2x32 with 20 rounds: 64 random bits that are a function of a key and a counter, and of nothing else. Each
/// lane of each of `K` registers has a counter of its own, the first words and the second; what comes out lies so too.
/// Integers only, so that every tier gives the same bits.
///
/// A round adds the second word to the first, rotates the second, and takes its difference from the first, bit by bit;
/// after every fourth the key is added. Each waits for the one before: several registers together hide that.
///
/// Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011.
#[inline(always)]
pub(crate) fn threefry2x32<S: Simd, const K: usize>(
    s: S,
    [k0, k1]: [u32; 2],
    counters: [[S::U32; K]; 2],
) -> [[S::U32; K]; 2] {
    let key = [k0, k1, PARITY ^ k0 ^ k1];
    let x = add_key(s, counters, key, 0);
    let x = add_key(s, four_rounds::<S, K, 13, 15, 26, 6>(s, x), key, 1);
    let x = add_key(s, four_rounds::<S, K, 17, 29, 16, 24>(s, x), key, 2);
    let x = add_key(s, four_rounds::<S, K, 13, 15, 26, 6>(s, x), key, 3);
    let x = add_key(s, four_rounds::<S, K, 17, 29, 16, 24>(s, x), key, 4);
    add_key(s, four_rounds::<S, K, 13, 15, 26, 6>(s, x), key, 5)
}

/// The key added for the `i`-th time.
#[inline(always)]
fn add_key<S: Simd, const K: usize>(
    s: S,
    [mut a, mut b]: [[S::U32; K]; 2],
    key: [u32; 3],
    i: usize,
) -> [[S::U32; K]; 2] {
    let (first, second) = (s.splat_u32(key[i % 3]), s.splat_u32(key[(i + 1) % 3].wrapping_add(i as u32)));
    for (a, b) in a.iter_mut().zip(&mut b) {
        *a = s.add_u32(*a, first);
        *b = s.add_u32(*b, second);
    }
    [a, b]
}

/// [`threefry2x32`] of one counter.
pub(crate) fn threefry2x32_one(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    threefry2x32(Scalar, key, counter.map(|word| [word])).map(|[word]| word)
}

/// Four rounds with their rotations.
#[inline(always)]
fn four_rounds<S: Simd, const K: usize, const P: i32, const Q: i32, const R: i32, const T: i32>(
    s: S,
    x: [[S::U32; K]; 2],
) -> [[S::U32; K]; 2] {
    let x = round::<S, K, P>(s, x);
    let x = round::<S, K, Q>(s, x);
    let x = round::<S, K, R>(s, x);
    round::<S, K, T>(s, x)
}

#[inline(always)]
fn round<S: Simd, const K: usize, const N: i32>(s: S, [mut a, mut b]: [[S::U32; K]; 2]) -> [[S::U32; K]; 2] {
    for (a, b) in a.iter_mut().zip(&mut b) {
        *a = s.add_u32(*a, *b);
        *b = s.xor_u32(s.rotate_u32::<N>(*b), *a);
    }
    [a, b]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::{self, Placed};
    use crate::simd::{Isa, Kernel};
    use crate::view::{Mat, MatMut};

    #[test]
    fn the_words_are_the_published_ones() {
        // The known answers of the authors' library, Random123.
        let all = u32::MAX;
        for (key, counter, want) in [
            ([0, 0], [0, 0], [0x6b20_0159, 0x99ba_4efe]),
            ([all, all], [all, all], [0x1cb9_96fc, 0xbb00_2be7]),
            ([0x1319_8a2e, 0x0370_7344], [0x243f_6a88, 0x85a3_08d3], [0xc492_3a9c, 0x483d_f7a0]),
        ] {
            assert_eq!(threefry2x32_one(key, counter), want, "key {key:x?}, counter {counter:x?}");
        }
    }

    /// The upper 24 bits of a word of the result, or its lower 8 bits in front of others.
    #[derive(Clone, Copy)]
    struct Bits {
        key: [u32; 2],
        word: usize,
        lower: bool,
    }

    impl Placed for Bits {
        #[inline(always)]
        fn eval<S: Simd, const K: usize>(self, s: S, row: u32, cols: [S::U32; K], _: [S::F32; K]) -> [S::F32; K] {
            let word = threefry2x32(s, self.key, [[s.splat_u32(row); K], cols])[self.word];
            word.map(|word| s.top24_u32(if self.lower { s.rotate_u32::<24>(word) } else { word }))
        }
    }

    /// [`Bits`] of the counters from `(row, 0)` on.
    struct Row<'a>(Bits, usize, &'a mut [f32]);

    impl Kernel for Row<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let Row(bits, row, out) = self;
            let nothing = vec![0.0; out.len()];
            lanes::map_placed(s, row, MatMut::from_row(out), Mat::from_row(&nothing), bits);
        }
    }

    #[test]
    fn every_lane_of_every_tier_has_the_words_of_its_counter() {
        for isa in Isa::available() {
            for (key, row) in [([0, 0], 0), ([u32::MAX; 2], usize::MAX), ([0x1319_8a2e, 0x0370_7344], 0x243f_6a88)] {
                for (word, lower) in [(0, false), (0, true), (1, false), (1, true)] {
                    let mut got = [f32::NAN; 165];
                    isa.run(Row(Bits { key, word, lower }, row, &mut got));
                    for (col, got) in got.into_iter().enumerate() {
                        let want = threefry2x32_one(key, [row as u32, col as u32])[word];
                        let want = if lower { want.rotate_left(24) } else { want } >> 8;
                        assert_eq!(got, want as f32, "{isa}: word {word} of counter ({row}, {col}), key {key:x?}");
                    }
                }
            }
        }
    }
}
