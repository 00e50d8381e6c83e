//! Flex runs the functions of [`cpu`](crate::cpu) on the storage of its tensors.

mod numbers;

use burn::tensor::DType;
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn_flex::Flex;

use crate::cpu::matmul::{Target, View, product_in};
use crate::cpu::norm::Affine;
use crate::cpu::pieces::unwritten;
use crate::cpu::rotary::Angles;
use crate::cpu::vocabulary::{Head, N_STATS, OfHead};
use crate::cpu::{activation, attention, norm, optimizer, pieces, rotary, vocabulary};
use crate::kernels::{AttentionSeen, Kernels, StatsSeen, Wanted};
use crate::settings::{AdamW, Gelu, HeadLayout, Heads, Precision};
use numbers::{Numbers, like, matrix, owned, vector, whole_numbers, width};

type F = FloatTensor<Flex>;

impl Kernels for Flex {
    const ON_HOST: bool = true;
    const HAS_BF16: bool = true;

    fn add_rows(table: F, ids: IntTensor<Self>, rows: F) -> F {
        let (mut table, width) = (owned(table), width(&rows));
        let numbers: &mut [f32] = table.storage_mut();
        for (id, row) in whole_numbers(&ids).into_iter().zip(Numbers::of(&rows).chunks(width)) {
            let sums = &mut numbers[id * width..][..width];
            sums.iter_mut().zip(row).for_each(|(sum, it)| *sum += it);
        }
        table
    }

    fn norm(input: F, weight: F, bias: Option<F>, eps: f32) -> F {
        let (x, weight, bias) = (Numbers::of(&input), Numbers::of(&weight), Numbers::any(&bias));
        let affine = Affine { weight: &weight, bias: bias.as_deref(), eps };
        like(&input, norm::forward(&x, affine))
    }

    fn norm_backward(input: F, weight: F, with_bias: bool, eps: f32, grad: F) -> (F, F, Option<F>) {
        let (x, weight, grad) = (Numbers::of(&input), Numbers::of(&weight), Numbers::of(&grad));
        // Only its presence counts.
        let bias = with_bias.then_some(&*weight);
        let affine = Affine { weight: &weight, bias, eps };
        let (of_input, of_weight, of_bias) = norm::backward(&x, affine, &grad);
        (like(&input, of_input), vector(of_weight), of_bias.map(vector))
    }

    fn rotate(heads: F, [cos, sin]: [F; 2], head_dim: usize, back: bool) -> F {
        let n_pairs = width(&cos);
        let (cos, sin) = (Numbers::of(&cos), Numbers::of(&sin));
        let angles = Angles { cos: &cos, sin: &sin, n_pairs, back };
        let rotated = rotary::rotate(&Numbers::of(&heads), width(&heads), head_dim, angles);
        like(&heads, rotated)
    }

    fn swiglu(gate: F, up: F) -> F {
        like(&gate, activation::swiglu(&Numbers::of(&gate), &Numbers::of(&up)))
    }

    fn swiglu_backward(gate: F, up: F, grad: F) -> (F, F) {
        let (g, u, grad) = (Numbers::of(&gate), Numbers::of(&up), Numbers::of(&grad));
        let (of_gate, of_up) = activation::swiglu_backward(&g, &u, &grad);
        (like(&gate, of_gate), like(&up, of_up))
    }

    fn gelu_unit(input: F, kind: Gelu) -> F {
        like(&input, activation::gelu(&Numbers::of(&input), kind))
    }

    fn gelu_unit_backward(input: F, kind: Gelu, grad: F) -> F {
        let of_input = activation::gelu_backward(&Numbers::of(&input), kind, &Numbers::of(&grad));
        like(&input, of_input)
    }

    fn project(input: F, weight: F, bias: Option<F>, precision: Precision) -> F {
        let (x, w) = (Numbers::of(&input), Numbers::of(&weight));
        let (n_in, n_out) = (width(&input), width(&weight));
        let n_rows = x.len() / n_in;
        let mut output = unwritten(n_rows * n_out);
        let (x, w) = (View::whole(&x, [n_rows, n_in]), View::whole(&w, [n_in, n_out]));
        match Numbers::any(&bias) {
            Some(bias) => {
                pieces::for_rows(&mut output, n_out, |_, rows| {
                    rows.chunks_exact_mut(n_out).for_each(|row| row.copy_from_slice(&bias));
                });
                product_in(precision, x, w, 1.0, Target::add(&mut output, n_out));
            }
            None => product_in(precision, x, w, 1.0, Target::write(&mut output, n_out)),
        }
        matrix(output, [n_rows, n_out])
    }

    fn project_backward_input(weight: F, grad: F, precision: Precision) -> F {
        let (w, g) = (Numbers::of(&weight), Numbers::of(&grad));
        let n_out = width(&weight);
        let (n_in, n_rows) = (w.len() / n_out, g.len() / n_out);
        let mut output = unwritten(n_rows * n_in);
        let (w, g) = (View::whole(&w, [n_in, n_out]), View::whole(&g, [n_rows, n_out]));
        product_in(precision, g, w.transposed(), 1.0, Target::write(&mut output, n_in));
        matrix(output, [n_rows, n_in])
    }

    fn project_backward_weight(input: F, grad: F, sum: Option<F>, precision: Precision) -> F {
        let (x, g) = (Numbers::of(&input), Numbers::of(&grad));
        let (n_in, n_out) = (width(&input), width(&grad));
        let n_rows = x.len() / n_in;
        let adds = sum.is_some();
        let mut output = sum.map_or_else(|| matrix(unwritten(n_in * n_out), [n_in, n_out]), owned);
        let target = if adds { Target::add } else { Target::write };
        let (x, g) = (View::whole(&x, [n_rows, n_in]), View::whole(&g, [n_rows, n_out]));
        product_in(precision, x.transposed(), g, 1.0, target(output.storage_mut(), n_out));
        output
    }

    fn sum_of_rows(rows: F) -> F {
        let width = width(&rows);
        vector(pieces::sum_of_rows(&Numbers::of(&rows), width))
    }

    fn causal_attention(inputs: [F; 3], heads: &Heads) -> (F, F) {
        let [query, key, value] = inputs.each_ref().map(Numbers::of);
        let (output, logs) = attention::forward([&query, &key, &value], heads);
        (like(&inputs[0], output), matrix(logs, [heads.begins.len(), heads.n_heads]))
    }

    fn causal_attention_backward(
        inputs: [F; 3],
        seen: AttentionSeen<Self>,
        heads: &Heads,
    ) -> [F; 3] {
        let [query, key, value] = inputs.each_ref().map(Numbers::of);
        let [output, logs, grad] = [&seen.output, &seen.logs, &seen.grad].map(Numbers::of);
        let seen = attention::Seen { output: &output, logs: &logs, grad: &grad };
        let [of_query, of_key, of_value] = attention::backward([&query, &key, &value], seen, heads);
        let [query, key, value] = &inputs;
        [like(query, of_query), like(key, of_key), like(value, of_value)]
    }

    fn token_stats(hidden: F, head: F, targets: IntTensor<Self>, layout: HeadLayout) -> (F, F) {
        let targets = whole_numbers(&targets);
        let (h, weight) = (Numbers::of(&hidden), Numbers::of(&head));
        let (stats, logs) = vocabulary::stats(&h, head_of(&head, &weight, layout), &targets);
        (matrix(stats, [targets.len(), N_STATS]), vector(logs))
    }

    fn token_stats_backward(
        hidden: F,
        head: F,
        targets: IntTensor<Self>,
        layout: HeadLayout,
        seen: StatsSeen<Self>,
        of_head: Wanted<F>,
    ) -> (F, Option<F>) {
        let targets = whole_numbers(&targets);
        let (h, weight) = (Numbers::of(&hidden), Numbers::of(&head));
        let [stats, logs, grad] = [&seen.stats, &seen.logs, &seen.grad].map(Numbers::of);
        let seen = vocabulary::Seen { stats: &stats, logs: &logs, grad: &grad };
        let layout = head_of(&head, &weight, layout);
        let adds = matches!(of_head, Wanted::AddedTo(_));
        let mut of_head = match of_head {
            Wanted::Not => None,
            Wanted::New => Some(like(&head, unwritten(weight.len()))),
            Wanted::AddedTo(sum) => Some(owned(sum)),
        };
        let numbers = of_head.as_mut().map(|it| it.storage_mut());
        let target = numbers.map(|numbers| OfHead { numbers, adds });
        let of_hidden = vocabulary::backward(&h, layout, &targets, seen, target);
        (like(&hidden, of_hidden), of_head)
    }

    fn adamw(weights: F, grad: F, [first, second]: [F; 2], step: &AdamW) -> (F, [F; 2]) {
        let [mut weights, mut first, mut second] = [weights, first, second].map(owned);
        let (numbers, grad) = (weights.storage_mut(), Numbers::of(&grad));
        if first.dtype() == DType::BF16 {
            let moments = [first.storage_mut(), second.storage_mut()];
            optimizer::adamw_bf16(numbers, &grad, moments, step);
        } else {
            let moments = [first.storage_mut(), second.storage_mut()];
            optimizer::adamw(numbers, &grad, moments, step);
        }
        (weights, [first, second])
    }

    fn plus(sum: F, other: F) -> F {
        let mut sum = owned(sum);
        optimizer::plus(sum.storage_mut(), &Numbers::of(&other));
        sum
    }

    fn sum_of_squares(values: F) -> F {
        vector(vec![optimizer::sum_of_squares(&Numbers::of(&values)) as f32])
    }
}

fn head_of<'a>(head: &F, weight: &'a [f32], layout: HeadLayout) -> Head<'a> {
    let HeadLayout { tied, temperature, precision } = layout;
    let n_entries = if tied { weight.len() / width(head) } else { width(head) };
    Head { weight, n_entries, tied, temperature, precision }
}
