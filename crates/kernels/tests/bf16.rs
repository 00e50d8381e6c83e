//! Operations with products in bf16 stay near those in f32, and so do their gradients.

use burn::backend::Autodiff;
use burn::prelude::*;
use burn_flex::{Flex, FlexDevice};
use rein_kernels::{HeadLayout, Precision, ops};

type B = Autodiff<Flex>;
/// An operation on some tensors, in a precision.
type Operation<'a> = &'a dyn Fn(&[Tensor<B, 2>], Precision) -> Tensor<B, 2>;

/// Numbers that look random, within ±1.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    let mut state = (seed as u32).wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// The output and the gradients of all inputs, in one precision.
fn run(shapes: &[[usize; 2]], precision: Precision, f: Operation<'_>) -> Vec<Vec<f32>> {
    let tensor = |(salt, shape): (usize, &[usize; 2])| {
        let data = TensorData::new(numbers(shape[0] * shape[1], salt), *shape);
        Tensor::<B, 2>::from_data(data, &FlexDevice).require_grad()
    };
    let inputs: Vec<_> = shapes.iter().enumerate().map(tensor).collect();
    let output = f(&inputs, precision);
    let [rows, columns] = output.dims();
    let weights = TensorData::new(numbers(rows * columns, 99), [rows, columns]);
    let mut grads = (output.clone() * Tensor::from_data(weights, &FlexDevice)).sum().backward();
    let grads = inputs.iter().map(|it| it.grad_remove(&mut grads).expect("has one").into_data());
    let all = std::iter::once(output.into_data()).chain(grads);
    all.map(|data| data.to_vec().expect("numbers are f32")).collect()
}

/// Cosine of the two at least 0.9999, and a distance of at most 1 % of their length; and that they
/// aren't the same: something was rounded.
fn near(what: &str, shapes: &[[usize; 2]], f: Operation<'_>) {
    let [full, rounded] = [Precision::F32, Precision::Bf16].map(|it| run(shapes, it, f));
    for (part, (full, rounded)) in full.iter().zip(&rounded).enumerate() {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let lengths = [full, rounded].map(|it| dot(it, it).sqrt());
        let cosine = dot(full, rounded) / (lengths[0] * lengths[1]);
        let difference: Vec<f32> = full.iter().zip(rounded).map(|(a, b)| a - b).collect();
        let distance = dot(&difference, &difference).sqrt() / lengths[0];
        assert!(cosine > 0.9999, "{what}, part {part}: cosine {cosine}");
        assert!(distance < 0.01, "{what}, part {part}: distance {distance}");
        assert!(distance > 1e-6, "{what}, part {part}: nothing was rounded");
    }
}

#[test]
fn linear_layers() {
    near("linear layer", &[[130, 40], [40, 70]], &|it, precision| {
        ops::linear(it[0].clone(), it[1].clone(), None, precision)
    });
    near("linear layer with bias", &[[33, 64], [64, 45], [1, 45]], &|it, precision| {
        let bias = it[2].clone().reshape([45]);
        // The gradient of a bias is a sum, which nothing rounds: of its square's it is.
        ops::linear(it[0].clone(), it[1].clone(), Some(bias), precision).square()
    });
}

#[test]
fn statistics_of_tokens() {
    for (n_tokens, n_entries) in [(7, 50), (300, 2100)] {
        let targets: Vec<i32> = (0..n_tokens as i32).map(|it| it * 7 % n_entries as i32).collect();
        for tied in [true, false] {
            let head = if tied { [n_entries, 16] } else { [16, n_entries] };
            near(
                &format!("{n_tokens}, tied: {tied}"),
                &[[n_tokens, 16], head],
                &|it, precision| {
                    let layout = HeadLayout { tied, temperature: 0.7, precision };
                    let targets = Tensor::from_data(&targets[..], &FlexDevice);
                    let stats = ops::token_stats(it[0].clone(), it[1].clone(), targets, layout);
                    let columns = [stats.logprobs, stats.entropies, stats.mean_logprobs];
                    Tensor::stack(columns.to_vec(), 1)
                },
            );
        }
    }
}
