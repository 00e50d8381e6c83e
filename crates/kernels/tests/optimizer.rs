//! The update in one pass equals the composed one.

use burn::prelude::*;
use burn_flex::Flex;
use burn_ndarray::NdArray;
use rein_kernels::{AdamW, Kernels, ops};

const COUNT: usize = 70_000;

fn updated<B: Kernels>() -> Vec<Vec<f32>> {
    let device = B::Device::default();
    let tensor = |scale: f32| {
        let values: Vec<f32> = (0..COUNT).map(|it| (it as f32 * scale).sin()).collect();
        Tensor::<B, 1>::from_data(&values[..], &device)
    };
    let step = AdamW {
        keep: 0.99,
        rate: 0.01,
        beta1: 0.9,
        beta2: 0.999,
        root_correction: 0.3,
        epsilon: 1e-8,
        grad_scale: 0.5,
        seed: 7,
    };
    let moments = [tensor(0.3), tensor(0.7).abs()];
    let kept = tensor(0.1);
    let (weights, [first, second]) = ops::adamw(kept.clone(), tensor(0.2), moments, &step);
    let squares = ops::sum_of_squares(tensor(0.2));
    [weights, first, second, squares, kept].map(|it| it.into_data().to_vec().expect("f32")).to_vec()
}

#[test]
fn one_pass_is_all_passes() {
    let (fused, composed) = (updated::<Flex>(), updated::<NdArray>());
    for (part, (fused, composed)) in fused.iter().zip(&composed).enumerate() {
        for (fused, composed) in fused.iter().zip(composed) {
            let off = (fused - composed).abs() / composed.abs().max(1.0);
            assert!(off < 1e-5, "part {part}: {fused} and not {composed}");
        }
    }
}
