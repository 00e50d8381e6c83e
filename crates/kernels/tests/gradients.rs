//! Each operation and its gradients, on Flex's kernels and composed, equal those of the plain formula
//! under the tape's own rules.

use std::sync::Arc;

use burn::backend::Autodiff;
use burn::prelude::*;
use burn::tensor::activation::{log_softmax, sigmoid, softmax};
use burn::tensor::backend::AutodiffBackend;
use burn_flex::Flex;
use burn_ndarray::NdArray;
use rein_kernels::{
    Gathers, Gelu, GradientSum, HeadLayout, Heads, Kernels, Precision, gathered, ops,
};

type Fused = Autodiff<Flex>;
type Composed = Autodiff<NdArray>;
/// What is right: the plain formula, in double precision.
type Plain = Autodiff<NdArray<f64>>;

/// Numbers that look random, within ±1.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// The output of `f` at inputs of these shapes, and the gradients of a weighted sum of it.
fn run<B: AutodiffBackend>(
    shapes: &[[usize; 2]],
    f: impl Fn(&[Tensor<B, 2>]) -> Tensor<B, 2>,
) -> Vec<Vec<f32>> {
    let device = B::Device::default();
    let tensor = |(number, shape): (usize, &[usize; 2])| {
        let values = numbers(shape[0] * shape[1], number as u32 + 1);
        Tensor::<B, 2>::from_data(TensorData::new(values, *shape), &device).require_grad()
    };
    let inputs: Vec<Tensor<B, 2>> = shapes.iter().enumerate().map(tensor).collect();
    let output = f(&inputs);
    let [rows, columns] = output.dims();
    let weights = TensorData::new(numbers(rows * columns, 99), [rows, columns]);
    let weighted = output.clone() * Tensor::from_data(weights, &device);
    let mut grads = weighted.sum().backward();
    let of_inputs = inputs.iter().map(|it| {
        let grad = it.grad_remove(&mut grads);
        grad.map_or(Vec::new(), |grad| grad.into_data().convert::<f32>().to_vec().expect("f32"))
    });
    let output = output.into_data().convert::<f32>().to_vec().expect("f32");
    std::iter::once(output).chain(of_inputs).collect()
}

fn close(what: &str, ours: &[Vec<f32>], wanted: &[Vec<f32>]) {
    for (part, (ours, wanted)) in ours.iter().zip(wanted).enumerate() {
        assert_eq!(ours.len(), wanted.len(), "{what}, part {part}");
        let largest = wanted.iter().fold(1.0_f32, |largest, it| largest.max(it.abs()));
        for (place, (ours, wanted)) in ours.iter().zip(wanted).enumerate() {
            let off = (ours - wanted).abs() / largest;
            assert!(off < 1e-5, "{what}, part {part}, number {place}: {ours} and not {wanted}");
        }
    }
}

/// Compares `$ours` on both backends with `$plain`.
macro_rules! equal {
    ($what:expr, $shapes:expr, $ours:expr, $plain:expr) => {
        let plain = run::<Plain>($shapes, $plain);
        close(&format!("{} on Flex", $what), &run::<Fused>($shapes, $ours), &plain);
        close(&format!("{} composed", $what), &run::<Composed>($shapes, $ours), &plain);
    };
}

fn vector<B: Backend>(row: &Tensor<B, 2>) -> Tensor<B, 1> {
    let width = row.dims()[1];
    row.clone().reshape([width])
}

#[test]
fn norms() {
    for width in [7, 64] {
        let shapes = [[600, width], [1, width], [1, width]];
        equal!(
            "RMS norm",
            &shapes[..2],
            |it| ops::norm(it[0].clone(), vector(&it[1]), None, 1e-5),
            |it| {
                let scale = (it[0].clone().square().mean_dim(1) + 1e-5).sqrt();
                it[0].clone() / scale * it[1].clone()
            }
        );
        equal!(
            "layer norm",
            &shapes,
            |it| ops::norm(it[0].clone(), vector(&it[1]), Some(vector(&it[2])), 1e-5),
            |it| {
                let centered = it[0].clone() - it[0].clone().mean_dim(1);
                let scale = (centered.clone().square().mean_dim(1) + 1e-5).sqrt();
                centered / scale * it[1].clone() + it[2].clone()
            }
        );
    }
}

#[test]
fn activations() {
    let shapes = [[300, 70], [300, 70]];
    equal!("SwiGLU", &shapes, |it| ops::swiglu(it[0].clone() * 4.0, it[1].clone()), |it| {
        let gate = it[0].clone() * 4.0;
        gate.clone() * sigmoid(gate) * it[1].clone()
    });
    equal!("GELU", &shapes[..1], |it| ops::gelu(it[0].clone() * 4.0, Gelu::Erf), |it| {
        let x = it[0].clone() * 4.0;
        x.clone() * ((x / std::f64::consts::SQRT_2).erf() + 1.0) * 0.5
    });
    equal!("GELU by tanh", &shapes[..1], |it| ops::gelu(it[0].clone() * 4.0, Gelu::Tanh), |it| {
        let x = it[0].clone() * 4.0;
        let inner =
            (x.clone() + x.clone().powi_scalar(3) * 0.044715) * (2.0 / std::f64::consts::PI).sqrt();
        x * 0.5 * (inner.tanh() + 1.0)
    });
}

#[test]
fn rotations() {
    // Two heads of 6 numbers, of which 4 are rotated.
    let angles = numbers(50 * 2, 7);
    fn tables<B: Backend>(angles: &[f32]) -> [Tensor<B, 2>; 2] {
        let angles = TensorData::new(angles.to_vec(), [angles.len() / 2, 2]);
        let angles = Tensor::from_data(angles, &B::Device::default());
        [angles.clone().cos(), angles.sin()]
    }
    fn plain<B: Backend>(heads: &Tensor<B, 2>, [cos, sin]: [Tensor<B, 2>; 2]) -> Tensor<B, 2> {
        let part = |first, count| heads.clone().narrow(1, first, count);
        let turned = [0, 6].map(|head| {
            let (low, high) = (part(head, 2), part(head + 2, 2));
            let first = low.clone() * cos.clone() - high.clone() * sin.clone();
            let second = high * cos.clone() + low * sin.clone();
            Tensor::cat(vec![first, second, part(head + 4, 2)], 1)
        });
        Tensor::cat(turned.to_vec(), 1)
    }
    equal!("rotation", &[[50, 12]], |it| ops::rotate(it[0].clone(), tables(&angles), 6), |it| {
        plain(&it[0], tables(&angles))
    });
}

#[test]
fn linear_layers() {
    let shapes = [[130, 40], [40, 70], [1, 70]];
    equal!(
        "linear layer",
        &shapes,
        |it| ops::linear(it[0].clone(), it[1].clone(), Some(vector(&it[2])), Precision::F32),
        |it| it[0].clone().matmul(it[1].clone()) + it[2].clone()
    );
    equal!(
        "linear layer without bias",
        &shapes[..2],
        |it| ops::linear(it[0].clone(), it[1].clone(), None, Precision::F32),
        |it| it[0].clone().matmul(it[1].clone())
    );
}

fn plain_attention<B: Backend>(it: &[Tensor<B, 2>], heads: &Heads) -> Tensor<B, 2> {
    let Heads { n_batch, n_time, n_heads, head_dim, .. } = *heads;
    let device = it[0].device();
    let rows = (0..n_batch).map(|row| {
        let head = |tensor: &Tensor<B, 2>, head: usize| {
            let of_row = tensor.clone().narrow(0, row * n_time, n_time);
            of_row.narrow(1, head * head_dim, head_dim)
        };
        let begins = &heads.begins[row * n_time..][..n_time];
        let hidden = (0..n_time * n_time).map(|cell| {
            let (query, key) = (cell / n_time, cell % n_time);
            if key > query || key < begins[query] { -1e9_f32 } else { 0.0 }
        });
        let hidden = TensorData::new(hidden.collect::<Vec<_>>(), [n_time, n_time]);
        let mask = Tensor::<B, 2>::from_data(hidden, &device);
        let outputs = (0..n_heads).map(|number| {
            let shared = heads.key_head(number);
            let scores = head(&it[0], number).matmul(head(&it[1], shared).transpose());
            let weights = softmax(scores * heads.scale() + mask.clone(), 1);
            weights.matmul(head(&it[2], shared))
        });
        Tensor::cat(outputs.collect(), 1)
    });
    Tensor::cat(rows.collect(), 0)
}

#[test]
fn attentions() {
    // Whole rows, packed rows, and more queries than a block has; grouped heads and single ones.
    let packed = |n_batch: usize, n_time: usize| {
        (0..n_batch * n_time).map(|cell| cell % n_time / 5 * 5).collect::<Arc<[usize]>>()
    };
    let whole = |n_batch: usize, n_time: usize| vec![0; n_batch * n_time].into();
    let cases = [
        (2, 9, 4, 2, 3, whole(2, 9)),
        (2, 17, 2, 2, 8, packed(2, 17)),
        (1, 300, 2, 1, 4, packed(1, 300)),
        (1, 260, 1, 1, 5, whole(1, 260)),
        (2, 37, 4, 2, 16, whole(2, 37)),
        (1, 130, 2, 1, 32, packed(1, 130)),
    ];
    for (n_batch, n_time, n_heads, n_kv_heads, head_dim, begins) in cases {
        let heads = Heads { n_batch, n_time, n_heads, n_kv_heads, head_dim, begins };
        let n_tokens = n_batch * n_time;
        let key = [n_tokens, heads.key_width()];
        let shapes = [[n_tokens, heads.query_width()], key, key];
        equal!(
            format!("attention of {n_time}"),
            &shapes,
            |it| ops::attention(it[0].clone(), it[1].clone(), it[2].clone(), &heads),
            |it| plain_attention(it, &heads)
        );
    }
}

#[test]
fn a_pad_sees_nothing_and_harms_nobody() {
    let begins: Arc<[usize]> = vec![2, 2, 2, 2].into();
    let heads = Heads { n_batch: 1, n_time: 4, n_heads: 1, n_kv_heads: 1, head_dim: 2, begins };
    let found = run::<Fused>(&[[4, 2]; 3], |it| {
        let output = ops::attention(it[0].clone(), it[1].clone(), it[2].clone(), &heads);
        output.narrow(0, 2, 2)
    });
    assert!(found.iter().flatten().all(|it| it.is_finite()));
    assert_eq!(found[3][..4], [0.0; 4], "no gradient reaches the values of pads");
}

fn columns<B: Kernels>(stats: ops::TokenStats<B>) -> Tensor<B, 2> {
    let ops::TokenStats { logprobs, entropies, mean_logprobs, best } = stats;
    let column = |it: Tensor<B, 1>| it.clone().reshape([it.dims()[0], 1]);
    Tensor::cat([logprobs, entropies, mean_logprobs, best].map(column).to_vec(), 1)
}

fn plain_stats<B: AutodiffBackend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
) -> Tensor<B, 2> {
    let n_tokens = logits.dims()[0];
    let logp = log_softmax(logits.clone(), 1);
    let chosen = logp.clone().gather(1, targets.reshape([n_tokens, 1]));
    let entropy = (logp.clone().exp() * logp.clone()).sum_dim(1).neg();
    let best = Tensor::from_inner(logits.inner().argmax(1).float());
    Tensor::cat(vec![chosen, entropy, logp.mean_dim(1), best], 1)
}

#[test]
fn statistics_of_tokens() {
    // More tokens than a block has, and more entries than a chunk.
    for (n_tokens, width, n_entries) in [(5, 4, 11), (300, 6, 700)] {
        let targets: Vec<i32> = (0..n_tokens as i32).map(|it| it * 7 % n_entries as i32).collect();
        for temperature in [1.0, 0.7] {
            for tied in [true, false] {
                let layout = HeadLayout { tied, temperature, precision: Precision::F32 };
                let head = if tied { [n_entries, width] } else { [width, n_entries] };
                let shapes = [[n_tokens, width], head];
                equal!(
                    format!("statistics of {n_tokens}, {layout:?}"),
                    &shapes,
                    |it| {
                        let targets = Tensor::from_data(&targets[..], &it[0].device());
                        columns(ops::token_stats(
                            it[0].clone() * 3.0,
                            it[1].clone(),
                            targets,
                            layout,
                        ))
                    },
                    |it| {
                        let head = if tied { it[1].clone().transpose() } else { it[1].clone() };
                        let logits = (it[0].clone() * 3.0).matmul(head) / temperature;
                        plain_stats(logits, Tensor::from_data(&targets[..], &it[0].device()))
                    }
                );
            }
        }
    }
}

#[test]
fn embeddings() {
    // Ids that come twice, and a table that is read as a head, too.
    let ids = [3, 0, 3, 7, 1];
    let read = |ids: &[i32]| ids.to_vec();
    equal!(
        "embedding",
        &[[8, 20]],
        |it| {
            let ids = Tensor::from_data(read(&ids).as_slice(), &it[0].device());
            let rows = ops::embed(it[0].clone(), ids);
            ops::linear(rows, it[0].clone().transpose(), None, Precision::F32)
        },
        |it| {
            let ids = Tensor::from_data(read(&ids).as_slice(), &it[0].device());
            it[0].clone().select(0, ids).matmul(it[0].clone().transpose())
        }
    );
}

#[test]
fn gathered_gradients_are_the_sum_over_tapes() {
    fn check<B: Gathers>(device: &B::Device) {
        let leaf = Tensor::<B, 2>::from_data(TensorData::new(numbers(12, 1), [3, 4]), device);
        let leaf = leaf.require_grad();
        let sum = GradientSum::default();
        for part in 1..=3 {
            let weight = gathered(leaf.clone(), &sum);
            let loss = (weight.clone() * weight).sum() * part;
            let grads = loss.backward();
            assert!(leaf.grad(&grads).is_none(), "the gradient went further");
        }
        let want = numbers(12, 1).into_iter().map(|it| 2.0 * 6.0 * it).collect();
        let got = sum.take().expect("something flowed back").into_data();
        close("sum", &[got.convert::<f32>().to_vec().expect("f32")], &[want]);
        assert!(sum.take().is_none(), "a sum is taken once");
    }
    check::<Fused>(&Default::default());
    check::<Composed>(&Default::default());
}

#[test]
fn steps_add_to_a_sum_what_they_would_give() {
    fn loss<B: Gathers>(tables: [Tensor<B, 2>; 2], ids: &[i32]) -> Tensor<B, 1> {
        let [table, weight] = tables;
        let ids = Tensor::<B, 1, Int>::from_data(ids, &table.device());
        let hidden =
            ops::linear(ops::embed(table.clone(), ids.clone()), weight, None, Precision::F32);
        let layout = HeadLayout { tied: true, temperature: 0.7, precision: Precision::F32 };
        ops::token_stats(hidden, table, ids, layout).logprobs.sum()
    }
    fn check<B: Gathers>() {
        let device = B::Device::default();
        let leaf = |rows: usize, seed| {
            let data = TensorData::new(numbers(rows * 6, seed), [rows, 6]);
            Tensor::<B, 2>::from_data(data, &device).require_grad()
        };
        let leaves = [leaf(9, 1), leaf(6, 2)];
        let parts: [&[i32]; 3] = [&[1, 2, 1], &[8, 0, 3, 3], &[5]];
        let sums = [GradientSum::default(), GradientSum::default()];
        for ids in parts {
            let tables = [0, 1].map(|it| gathered(leaves[it].clone(), &sums[it]));
            loss(tables, ids).backward();
        }
        let whole = parts.map(|ids| loss(leaves.clone(), ids)).into_iter().reduce(|a, b| a + b);
        let grads = whole.expect("there are parts").backward();
        for (leaf, sum) in leaves.iter().zip(&sums) {
            let numbers = |data: TensorData| data.convert::<f32>().to_vec().expect("f32");
            let want = numbers(leaf.grad(&grads).expect("a gradient").into_data());
            let got = numbers(sum.take().expect("a sum").into_data());
            close("sum of parts", &[got], &[want]);
        }
    }
    check::<Fused>();
    check::<Composed>();
}
