//! Sums of softmax weights, from which tokens are drawn.

use multiversion::multiversion;

use super::math::{exp, max};

/// Numbers whose weights are summed together.
pub const DRAW_BLOCK: usize = 64;

/// The largest of some numbers; `-inf` for none.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
pub fn largest(values: &[f32]) -> f32 {
    max(values)
}

/// `exp((logit − largest) / temperature)`: a probability but for a factor, without overflow.
#[inline(always)]
pub fn weight(logit: f32, largest: f32, temperature: f32) -> f32 {
    exp((logit - largest) / temperature)
}

/// The sum of the [`weight`]s of each [`DRAW_BLOCK`] logits.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
pub fn block_weights(logits: &[f32], largest: f32, temperature: f32) -> Vec<f64> {
    let mut sums = Vec::with_capacity(logits.len().div_ceil(DRAW_BLOCK));
    let (blocks, rest) = logits.as_chunks::<DRAW_BLOCK>();
    for block in blocks {
        let mut lanes = [0.0_f32; 16];
        for numbers in block.as_chunks::<16>().0 {
            for (lane, logit) in lanes.iter_mut().zip(numbers) {
                *lane += weight(*logit, largest, temperature);
            }
        }
        sums.push(lanes.iter().map(|lane| f64::from(*lane)).sum());
    }
    if !rest.is_empty() {
        sums.push(rest.iter().map(|it| f64::from(weight(*it, largest, temperature))).sum());
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_the_weights_of_the_softmax() {
        let logits: Vec<f32> = (0..150).map(|i| ((i * 31) % 47) as f32 * 0.2 - 3.0).collect();
        let largest = largest(&logits);
        let sums = block_weights(&logits, largest, 0.7);
        assert_eq!(sums.len(), 3);
        for (sum, block) in sums.iter().zip(logits.chunks(DRAW_BLOCK)) {
            let weights = block.iter().map(|it| f64::from((it - largest) / 0.7).exp());
            assert!((sum / weights.sum::<f64>() - 1.0).abs() < 1e-6);
        }
        assert_eq!(block_weights(&[f32::NEG_INFINITY, 0.0], 0.0, 1.0), [1.0]);
    }
}
