//! Rounding to bfloat16 at random, up or down.
//!
//! What is added to a number again and again in small parts can't be rounded to the nearest: a part
//! below half a unit, 2⁻⁹ of the number, would be lost each time. Rounded up with the probability that
//! the distance to the number below has, the mean is exact (Gupta et al., 2015).
//!
//! The bits that decide are a function of a seed and of the number's place, so that neither threads nor
//! vectors nor an interruption change them.

/// Places that share a key.
pub const PIECE: usize = 1 << 15;

/// Random bits for the numbers of a piece.
#[derive(Clone, Copy, Debug)]
pub struct Noise([u32; 2]);

impl Noise {
    /// The bits of the numbers from `piece` · [`PIECE`] on.
    pub fn new(seed: u64, piece: usize) -> Self {
        let key = mixed(mixed(seed).wrapping_add(piece as u64));
        Self([key as u32, (key >> 32) as u32])
    }

    /// Two draws of 16 bits each for a number of the piece. The steps are those of Wellons' hash
    /// `lowbias32`, with a key at the beginning and one in the middle.
    #[inline(always)]
    pub fn at(self, place: u32) -> [u32; 2] {
        let Self([first, second]) = self;
        let mut x = place ^ first;
        x = (x ^ x >> 16).wrapping_mul(0x7feb_352d);
        x = (x ^ x >> 15 ^ second).wrapping_mul(0x846c_a68b);
        x ^= x >> 16;
        [x & 0xffff, x >> 16]
    }

    /// The draws of the first `count` places of all pieces, in order.
    pub fn draws(seed: u64, count: usize) -> impl Iterator<Item = [u32; 2]> {
        let of_piece = move |piece| {
            let noise = Self::new(seed, piece);
            (0..PIECE as u32).map(move |place| noise.at(place))
        };
        (0..count.div_ceil(PIECE)).flat_map(of_piece).take(count)
    }
}

/// The last steps of SplitMix64 (Steele et al., 2014).
fn mixed(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// One of the two bf16 numbers around `x`: the one further from 0 if `draw`, of 16 bits, and the part of
/// `x` beyond the nearer one make a whole unit. Numbers that bf16 has stay as they are, subnormal ones and
/// those that aren't finite, too.
#[inline(always)]
pub fn round_at_random(x: f32, draw: u32) -> u16 {
    let bits = x.to_bits();
    let quiet = (bits >> 16) as u16 | 0x40;
    // Infinity has no lower half that a draw could carry over.
    let rounded = (bits.wrapping_add(draw) >> 16) as u16;
    if x.is_nan() { quiet } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::super::widen;
    use super::*;

    /// Numbers of all sizes, none of which bf16 has.
    const NUMBERS: [f32; 8] = [1.003, -1.003, 0.1, 3.3e-9, -7.7e12, 1.9e-38, 3e-39, 2.49e-5];

    #[test]
    fn the_mean_of_all_draws_is_the_number() {
        for x in NUMBERS {
            let sum: f64 =
                (0..1 << 16).map(|draw| f64::from(widen(round_at_random(x, draw)))).sum();
            assert_eq!(sum / 65536.0, f64::from(x), "{x:e}");
        }
    }

    #[test]
    fn the_mean_of_some_draws_is_near_the_number() {
        const COUNT: usize = 100_000;
        for (seed, x) in NUMBERS.into_iter().enumerate() {
            let below = f64::from(widen(round_at_random(x, 0)));
            let unit = f64::from(widen(round_at_random(x, 0xffff))) - below;
            for of in [0, 1] {
                let draws = Noise::draws(seed as u64, COUNT).map(|draws| draws[of]);
                let sum: f64 = draws.map(|draw| f64::from(widen(round_at_random(x, draw)))).sum();
                let off = (sum / COUNT as f64 - f64::from(x)) / unit;
                // The mean of as many has a deviation of at most 0.5 / √100,000 = 0.0016 units.
                assert!(off.abs() < 0.008, "{x:e}: off by {off} units");
            }
        }
    }

    #[test]
    fn a_number_moves_by_less_than_a_unit() {
        for x in NUMBERS {
            let (below, above) = (round_at_random(x, 0), round_at_random(x, 0xffff));
            assert_eq!(above, below + 1, "{x:e}");
            assert!(widen(below).abs() < x.abs() && x.abs() < widen(above).abs(), "{x:e}");
            let some = Noise::draws(3, 1000).map(|[draw, _]| round_at_random(x, draw));
            assert!(some.into_iter().all(|it| it == below || it == above));
        }
    }

    #[test]
    fn numbers_that_bf16_has_stay() {
        for bits in 0..=u16::MAX {
            let x = widen(bits);
            for draw in [0, 1, 0x8000, 0xffff] {
                let rounded = widen(round_at_random(x, draw));
                assert!(rounded.to_bits() == x.to_bits() || x.is_nan() && rounded.is_nan());
            }
        }
        let hidden = f32::from_bits(0xff80_0001);
        assert!(hidden.is_nan() && widen(round_at_random(hidden, 0)).is_nan());
        let largest = f32::from_bits(0x7fff_ffff);
        assert!(largest.is_nan() && widen(round_at_random(largest, 0xffff)).is_nan());
    }

    /// Every bit is set half of the time, and equals each other bit, the same bit of the next place and
    /// the same bit of the next seed half of the time.
    #[test]
    fn draws_know_nothing_of_each_other() {
        const COUNT: usize = 1 << 17;
        let words = |seed| Noise::draws(seed, COUNT + 1).map(|[low, high]| low | high << 16);
        let (here, other): (Vec<u32>, Vec<u32>) = (words(7).collect(), words(8).collect());
        // Five deviations of the share among as many draws, with some to spare for the many shares.
        let check = |what: &str, bits: &mut dyn Iterator<Item = u32>| {
            let share = bits.sum::<u32>() as f64 / COUNT as f64;
            assert!((share - 0.5).abs() < 0.0075, "{what}: {share}");
        };
        for bit in 0..32 {
            let of = |word: u32| word >> bit & 1;
            check("set", &mut here[..COUNT].iter().map(|it| of(*it)));
            check("next place", &mut here.windows(2).map(|it| of(it[0] ^ it[1])));
            check("next seed", &mut here[..COUNT].iter().zip(&other).map(|(a, b)| of(a ^ b)));
            for beside in 0..bit {
                check("beside", &mut here[..COUNT].iter().map(|it| of(*it) ^ (it >> beside & 1)));
            }
        }
    }
}
