use burn::prelude::*;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, FloatDType};

use super::{primitive, tensor};
use crate::cpu::bf16::random::Noise;
use crate::settings::AdamW;

/// [`Kernels::adamw`](crate::Kernels::adamw)
pub fn adamw<B: Backend>(
    weights: FloatTensor<B>,
    grad: FloatTensor<B>,
    moments: [FloatTensor<B>; 2],
    step: &AdamW,
) -> (FloatTensor<B>, [FloatTensor<B>; 2]) {
    let AdamW { keep, rate, beta1, beta2, root_correction, epsilon, grad_scale, seed } = *step;
    let [first, second] = moments.map(tensor::<B, 1>);
    let is_bf16 = first.dtype() == DType::BF16;
    let [first, second] =
        [first, second].map(|it| if is_bf16 { it.cast(FloatDType::F32) } else { it });
    let grad = tensor::<B, 1>(grad) * grad_scale;
    let second = second * beta2 + grad.clone().square() * (1.0 - beta2);
    let first = first * beta1 + grad * (1.0 - beta1);
    let denominator = second.clone().sqrt() / root_correction + epsilon;
    let weights = tensor::<B, 1>(weights) * keep - first.clone() / denominator * rate;
    let moments = [first, second];
    let moments = if is_bf16 { rounded_at_random(moments, seed) } else { moments };
    (primitive(weights), moments.map(primitive))
}

/// Both moments in bf16. Draws are made on the host, so that all backends round alike.
fn rounded_at_random<B: Backend>(
    [first, second]: [Tensor<B, 1>; 2],
    seed: u64,
) -> [Tensor<B, 1>; 2] {
    [(0, first), (1, second)].map(|(which, moment)| {
        let [count] = moment.dims();
        let draws = Noise::draws(seed, count).map(|draws| draws[which] as f32 / 65536.0);
        let draws = TensorData::new(draws.collect::<Vec<f32>>(), [count]);
        let draws = Tensor::from_data(draws, &moment.device());
        round_at_random(moment, draws).cast(FloatDType::BF16)
    })
}

/// Numbers that bf16 has: the mantissa of 24 bits is cut to 8, one of which is added if the rest and the
/// draw make a whole.
fn round_at_random<B: Backend>(x: Tensor<B, 1>, draws: Tensor<B, 1>) -> Tensor<B, 1> {
    let (mantissa, power) = mantissa_and_power(x.clone().abs());
    let scaled = mantissa * 128.0;
    let whole = scaled.clone().floor();
    let carry = (scaled - whole.clone() + draws).greater_equal_elem(1.0).float();
    let size = (whole + carry) / 128.0 * power;
    let rounded = size.clone().mask_where(x.clone().lower_elem(0.0), -size);
    // Infinity has no mantissa.
    rounded.mask_where(x.clone().is_inf(), x)
}

/// `x = mantissa · power`, where the power is one of 2 and the mantissa lies within 1..2, or below 1 if `x`
/// is subnormal. Every step is exact.
fn mantissa_and_power<B: Backend>(x: Tensor<B, 1>) -> (Tensor<B, 1>, Tensor<B, 1>) {
    let (mut mantissa, mut power) = (x.clone(), x.ones_like());
    let mut scale = |is_off: Tensor<B, 1, Bool>, mantissa: &mut Tensor<B, 1>, by: i32| {
        let factor = |exponent: i32| x.ones_like().mask_fill(is_off.clone(), 2f32.powi(exponent));
        *mantissa = mantissa.clone() * factor(-by);
        power = power.clone() * factor(by);
    };
    for by in [64, 32, 16, 8, 4, 2, 1] {
        scale(mantissa.clone().greater_equal_elem(2f32.powi(by)), &mut mantissa, by);
    }
    // The smallest normal number is 2⁻¹²⁶.
    for by in [63, 32, 16, 8, 4, 2, 1] {
        scale(mantissa.clone().lower_elem(2f32.powi(1 - by)), &mut mantissa, -by);
    }
    (mantissa, power)
}

/// [`Kernels::sum_of_squares`](crate::Kernels::sum_of_squares)
pub fn sum_of_squares<B: Backend>(values: FloatTensor<B>) -> FloatTensor<B> {
    primitive(tensor::<B, 1>(values).square().sum())
}
