//! How a tile's sums leave their registers.

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector instructions")]
mod avx512 {
    use std::arch::x86_64::*;

    use crate::cpu::strips::Place;

    /// Writes the first rows' sums, or adds them; masks hide the columns that don't exist.
    ///
    /// # Safety
    /// AVX-512; `place` must have `M` rows that are writable and nobody else's.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) unsafe fn write<const M: usize, const VECTORS: usize>(
        sums: [[__m512; VECTORS]; M],
        place: Place,
    ) {
        let scale = _mm512_set1_ps(place.scale);
        let exist = ((1_u64 << place.shape[1]) - 1) as u32;
        for (row, sums) in sums.into_iter().enumerate() {
            for (half, sum) in sums.into_iter().enumerate() {
                let mask = (exist >> (16 * half)) as __mmask16;
                let target = place.target.wrapping_add(row * place.stride + 16 * half);
                // SAFETY: the caller's word, and the mask.
                unsafe {
                    let old = if place.adds {
                        _mm512_maskz_loadu_ps(mask, target)
                    } else {
                        _mm512_setzero_ps()
                    };
                    let new = _mm512_add_ps(_mm512_mul_ps(scale, sum), old);
                    if mask == u16::MAX {
                        _mm512_storeu_ps(target, new);
                    } else {
                        _mm512_mask_storeu_ps(target, mask, new);
                    }
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::write;
