//! The lanes of a factor, and how vectors of them change places.

/// Numbers somewhere in a slice: those of a lane begin `lane` apart, a lane's own are `input` apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lanes<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) n_lanes: usize,
    pub(crate) n_inputs: usize,
    pub(crate) lane: usize,
    pub(crate) input: usize,
}

impl Lanes<'_> {
    /// Some inputs of some lanes.
    pub(crate) fn part(
        self,
        (lane, n_lanes): (usize, usize),
        (input, n_inputs): (usize, usize),
    ) -> Self {
        let data = &self.data[lane * self.lane + input * self.input..];
        Self { data, n_lanes, n_inputs, ..self }
    }

    /// A number; 0 where there is none.
    pub(crate) fn at(&self, lane: usize, input: usize) -> f32 {
        let exists = lane < self.n_lanes && input < self.n_inputs;
        if exists { self.data[lane * self.lane + input * self.input] } else { 0.0 }
    }

    /// Whether all numbers lie in the slice.
    pub(crate) fn is_inside(&self) -> bool {
        let last = |count: usize, apart: usize| count.saturating_sub(1) * apart;
        let end = last(self.n_lanes, self.lane) + last(self.n_inputs, self.input);
        self.n_lanes * self.n_inputs == 0 || end < self.data.len()
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512 {
    use std::arch::x86_64::*;

    /// Lanes of a vector.
    pub(crate) const VECTOR: usize = 16;

    /// The lowest lanes of a vector.
    pub(crate) fn lowest(count: usize) -> __mmask16 {
        ((1_u32 << count.min(VECTOR)) - 1) as __mmask16
    }

    /// Rows as columns: pairs of rows, then fours, then quarters of vectors change places.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn turn(rows: [__m512i; VECTOR]) -> [__m512i; VECTOR] {
        let mut twos = rows;
        for i in (0..VECTOR).step_by(2) {
            twos[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
            twos[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
        }
        let mut fours = twos;
        for i in (0..VECTOR).step_by(4) {
            fours[i] = _mm512_unpacklo_epi64(twos[i], twos[i + 2]);
            fours[i + 1] = _mm512_unpackhi_epi64(twos[i], twos[i + 2]);
            fours[i + 2] = _mm512_unpacklo_epi64(twos[i + 1], twos[i + 3]);
            fours[i + 3] = _mm512_unpackhi_epi64(twos[i + 1], twos[i + 3]);
        }
        // `fours[4 i + j]` holds in its quarter `q` column `4 q + j` of rows `4 i ..`.
        let mut columns = fours;
        for j in 0..4 {
            let [a, b, c, d] = [0, 4, 8, 12].map(|i| fours[i + j]);
            let (low, high) =
                (_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0xee>(a, b));
            let (low_too, high_too) =
                (_mm512_shuffle_i32x4::<0x44>(c, d), _mm512_shuffle_i32x4::<0xee>(c, d));
            columns[j] = _mm512_shuffle_i32x4::<0x88>(low, low_too);
            columns[4 + j] = _mm512_shuffle_i32x4::<0xdd>(low, low_too);
            columns[8 + j] = _mm512_shuffle_i32x4::<0x88>(high, high_too);
            columns[12 + j] = _mm512_shuffle_i32x4::<0xdd>(high, high_too);
        }
        columns
    }
}
