//! Weights as bytes: f32, f16 and bf16.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use safetensors::Dtype;

/// How many values are converted at once: they stay in the processor's cache.
const BLOCK: usize = 4096;

/// The types that weights are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatType {
    /// 32 bits, as Rein computes.
    F32,
    /// 16 bits with 5 of exponent: at most 65504.
    F16,
    /// 16 bits with the exponent of f32.
    Bf16,
}

impl FloatType {
    /// The type of a file's tensor; `None` if it is another one.
    pub(crate) fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// What safetensors files call it.
    pub(super) fn dtype(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
        }
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// What a `config.json` calls it.
    pub(super) fn config_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }

    /// Bytes of a value.
    pub(super) fn size(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }

    /// Appends the values that `bytes` hold to `values`.
    pub(crate) fn decode(self, bytes: &[u8], values: &mut Vec<f32>) {
        let of_two = |pair: &[u8]| u16::from_le_bytes([pair[0], pair[1]]);
        match self {
            Self::F32 => values.extend(
                bytes.chunks_exact(4).map(|it| f32::from_le_bytes([it[0], it[1], it[2], it[3]])),
            ),
            Self::Bf16 => values.extend(
                bytes.chunks_exact(2).map(|pair| f32::from_bits(u32::from(of_two(pair)) << 16)),
            ),
            Self::F16 => {
                let mut halves = [f16::ZERO; BLOCK];
                for block in bytes.chunks(2 * BLOCK) {
                    let halves = &mut halves[..block.len() / 2];
                    for (half, pair) in halves.iter_mut().zip(block.chunks_exact(2)) {
                        *half = f16::from_bits(of_two(pair));
                    }
                    let begin = values.len();
                    values.resize(begin + halves.len(), 0.0);
                    halves.convert_to_f32_slice(&mut values[begin..]);
                }
            }
        }
    }

    /// Appends the bytes of `values` to `bytes`, rounded to the nearest value, ties to even.
    ///
    /// # Errors
    /// The first value that the type can't hold.
    pub(super) fn encode(self, values: &[f32], bytes: &mut Vec<u8>) -> Result<(), f32> {
        match self {
            Self::F32 => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::F16 => {
                let mut halves = [f16::ZERO; BLOCK];
                for block in values.chunks(BLOCK) {
                    let halves = &mut halves[..block.len()];
                    halves.convert_from_f32_slice(block);
                    if let Some(place) = halves.iter().position(|half| !half.is_finite()) {
                        return Err(block[place]);
                    }
                    bytes.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
                }
            }
            Self::Bf16 => {
                for value in values {
                    let half = bf16::from_f32(*value);
                    if !half.is_finite() {
                        return Err(*value);
                    }
                    bytes.extend(half.to_le_bytes());
                }
            }
        }
        Ok(())
    }
}

/// Whether all values are numbers, in a loop without a way out, so that it is computed in parallel.
pub(super) fn all_finite(values: &[f32]) -> bool {
    values.iter().fold(true, |finite, value| finite & value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(float: FloatType, values: &[f32]) -> Result<Vec<u8>, f32> {
        let mut bytes = Vec::new();
        float.encode(values, &mut bytes).map(|()| bytes)
    }

    #[test]
    fn every_half_survives_decoding_and_encoding() {
        for float in [FloatType::F16, FloatType::Bf16] {
            let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
            let mut values = Vec::new();
            float.decode(&bytes, &mut values);
            for (bits, value) in (0..=u16::MAX).zip(values) {
                let expected = match float {
                    FloatType::F16 => f16::from_bits(bits).to_f32(),
                    _ => bf16::from_bits(bits).to_f32(),
                };
                assert!(value.to_bits() == expected.to_bits() || value.is_nan());
                if value.is_finite() {
                    assert_eq!(encoded(float, &[value]), Ok(bits.to_le_bytes().to_vec()));
                }
            }
        }
    }

    #[test]
    fn ties_are_rounded_to_even_and_large_values_are_refused() {
        // 1 + 2^-11 lies between the halves 0x3c00 and 0x3c01; 1 + 2^-8 between 0x3f80 and 0x3f81.
        assert_eq!(encoded(FloatType::F16, &[1.0 + 2f32.powi(-11)]), Ok(vec![0x00, 0x3c]));
        assert_eq!(encoded(FloatType::F16, &[1.0 + 3.0 * 2f32.powi(-11)]), Ok(vec![0x02, 0x3c]));
        assert_eq!(encoded(FloatType::Bf16, &[1.0 + 2f32.powi(-8)]), Ok(vec![0x80, 0x3f]));
        assert_eq!(encoded(FloatType::Bf16, &[1.0 + 3.0 * 2f32.powi(-8)]), Ok(vec![0x82, 0x3f]));
        assert_eq!(encoded(FloatType::F16, &[1.0, 65519.0]), Ok(vec![0, 0x3c, 0xff, 0x7b]));
        assert_eq!(encoded(FloatType::F16, &[1.0, 65520.0]), Err(65520.0));
        assert_eq!(encoded(FloatType::Bf16, &[-f32::MAX]), Err(-f32::MAX));
    }
}
