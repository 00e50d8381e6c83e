//! Products with the Fisher matrix.

use burn::tensor::activation::log_softmax;
use rein_model::logprobs::{learned_hidden, learned_logits};
use rein_ppo::trpo::logits::{Logits, divergence};

use super::*;

/// Directions of all kinds: any one, a gradient, whose step must be far shorter, and what is left of its
/// image.
#[test]
fn a_fisher_product_is_that_of_explicit_jacobians() {
    for tied_head in [true, false] {
        let (model, rows) = (model(1, tied_head), token_rows(0));
        let params = FlatParams::of(&model, |_| true);
        let one_logit = |model: &CausalLm<AB>, ()| {
            separate_logits(model, &rows).narrow(0, 0, 1).narrow(1, 3, 1).sum()
        };
        let gradient = params.gradient(&Gradients::of(&model, [()], one_logit));
        let image = explicit_product(&model, &params, &gradient, &rows);
        let along = dot(&image, &gradient) / dot(&gradient, &gradient);
        let rest = image.iter().zip(&gradient).map(|(it, g)| it - along as f32 * g).collect();
        for (what, v) in [("any", direction(params.len())), ("gradient", gradient), ("rest", rest)]
        {
            let want = explicit_product(&model, &params, &v, &rows);
            let error = distance(&product(&model, &params, &v, &rows, 2), &want);
            assert!(error <= 1e-3, "{what}: off by {error}, tied: {tied_head}");
        }
    }
}

#[test]
fn a_fisher_product_is_symmetric_and_not_negative() {
    let (model, rows) = (model(2, true), token_rows(1));
    let params = FlatParams::of(&model, |_| true);
    let v = direction(params.len());
    let w: Vec<f32> = v.iter().rev().map(|it| it * it - 0.4).collect();
    let [fv, fw] = [&v, &w].map(|it| product(&model, &params, it, &rows, 5));
    assert!((dot(&w, &fv) - dot(&v, &fw)).abs() <= 1e-3 * dot(&v, &fv));
    assert!(dot(&v, &fv) >= -1e-6 && dot(&w, &fw) >= -1e-6);
}

#[test]
fn micro_batches_change_no_product() {
    let rows = token_rows(2);
    let whole = model(3, true);
    let params = FlatParams::of(&whole, |_| true);
    let v = direction(params.len());
    let want = product(&whole, &params, &v, &rows, 5);
    for n in [1, 2, 3] {
        let error = distance(&product(&whole, &params, &v, &rows, n), &want);
        assert!(error <= 1e-5, "micro-batches of {n}: off by {error}");
    }
}

/// More entries than are looked at at a time, thrice. Products of steps and directions are rounded in another
/// order here, so the step is a power of two and the direction exact in few bits.
#[test]
fn a_few_entries_at_a_time_are_as_good_as_all() {
    for tied_head in [true, false] {
        let model = wide_model(tied_head);
        let rows = token_rows(0);
        let params = FlatParams::of(&model, |_| true);
        let v: Vec<f32> = (0..params.len()).map(|it| (it * 7 % 33) as f32 / 16.0 - 1.0).collect();
        let by_reference: Vec<&TokenRow> = rows.iter().collect();
        let step = 2.0_f64.powi(-12);
        let taped = |model: &CausalLm<AB>, rows: &&[&TokenRow]| logits(model, rows);
        let valid = |model: &CausalLm<Flex>, rows: &&[&TokenRow]| logits(model, rows);
        let parts = [&by_reference[..]];
        let got = fisher::product(&model, &params, &v, step, &parts, taped, valid);
        let got = params.gradient(&got);
        let error = distance(&got, &whole_product(&model, &params, &v, &rows, step));
        assert!(error <= 1e-6, "off by {error}, tied: {tied_head}");

        // What flows into a frozen head is left out, and nothing else.
        let frozen = |model: &CausalLm<AB>, rows: &&[&TokenRow]| Logits {
            trains_head: false,
            ..logits(model, rows)
        };
        let body = FlatParams::of(&model, |name| name.starts_with("blocks."));
        let product = fisher::product(&model, &params, &v, step, &parts, frozen, valid);
        let whole = fisher::product(&model, &params, &v, step, &parts, taped, valid);
        assert_eq!(bits(&body.gradient(&product)), bits(&body.gradient(&whole)));
    }
}

/// The divergence and the log-probabilities are those of whole tensors, too.
#[test]
fn divergences_of_a_few_entries_at_a_time_are_those_of_all() {
    let models = [true, false].map(|tied| wide_model(tied).valid());
    let rows = token_rows(0);
    let rows: Vec<&TokenRow> = rows.iter().collect();
    let learned = LearnedTokens::new(&rows, &FlexDevice);
    let [old, new] = models.each_ref().map(|model| logits(model, &rows));
    let got = divergence(&old, &new, learned.targets.clone()).map(host);
    let [old, new] =
        models.each_ref().map(|model| log_softmax(learned_logits(model, &learned, TEMPERATURE), 1));
    let nats = host((old.clone().exp() * (old - new.clone())).sum_dim(1));
    let logprobs = host(new.gather(1, learned.targets.unsqueeze_dim(1)));
    assert!(distance(&got[0], &nats) <= 1e-6 && distance(&got[1], &logprobs) <= 1e-6);
    assert!(nats.iter().all(|it| *it > 0.01), "{nats:?}");
}

fn wide_model(tied_head: bool) -> CausalLm<AB> {
    model_of(6_000, 1, tied_head)
}

fn direction(n_values: usize) -> Vec<f32> {
    (0..n_values).map(|it| (it as f32 * 1.7 + 0.3).sin()).collect()
}

fn logits<B: LmBackend<Device = FlexDevice>>(model: &CausalLm<B>, rows: &[&TokenRow]) -> Logits<B> {
    let hidden = learned_hidden(model, &LearnedTokens::new(rows, &FlexDevice));
    let (head, tied) = model.head_weight();
    Logits { hidden, head, tied, trains_head: true, temperature: TEMPERATURE }
}

fn product(
    model: &CausalLm<AB>,
    params: &FlatParams,
    v: &[f32],
    rows: &[TokenRow],
    n: usize,
) -> Vec<f32> {
    let rows: Vec<&TokenRow> = rows.iter().collect();
    let parts: Vec<&[&TokenRow]> = rows.chunks(n).collect();
    let taped = |model: &CausalLm<AB>, rows: &&[&TokenRow]| logits(model, rows);
    let valid = |model: &CausalLm<Flex>, rows: &&[&TokenRow]| logits(model, rows);
    let step = fisher::difference_step(&model.valid(), params, v, &parts, valid);
    let product = fisher::product(model, params, v, step, &parts, taped, valid);
    params.gradient(&product)
}

/// The same, with the same step, from whole tensors of logits.
fn whole_product(
    model: &CausalLm<AB>,
    params: &FlatParams,
    v: &[f32],
    rows: &[TokenRow],
    step: f64,
) -> Vec<f32> {
    let rows: Vec<&TokenRow> = rows.iter().collect();
    let learned = LearnedTokens::new(&rows, &FlexDevice);
    let inner = model.valid();
    let [ahead, behind] = [step, -step].map(|step| {
        let theta = params.values(&inner).into_iter().zip(v);
        let theta: Vec<f32> = theta.map(|(it, v)| it + step as f32 * v).collect();
        let moved = params.with_values(inner.clone(), &theta);
        learned_logits(&moved, &LearnedTokens::new(&rows, &FlexDevice), TEMPERATURE)
    });
    let tangent = (ahead - behind) / (2.0 * step);
    let probs =
        softmax(learned_logits(&inner, &LearnedTokens::new(&rows, &FlexDevice), TEMPERATURE), 1);
    let mean = (probs.clone() * tangent.clone()).sum_dim(1);
    let pulled = probs * (tangent - mean);
    let product = Gradients::of(model, [()], |model: &CausalLm<AB>, ()| {
        let logits = learned_logits(model, &learned, TEMPERATURE);
        (logits * Tensor::from_inner(pulled.clone())).sum()
    });
    params.gradient(&product)
}

/// `Σ_i J_iᵀ (diag p_i − p_i p_iᵀ) J_i v`, with a backward pass for each row of each Jacobian.
fn explicit_product(
    model: &CausalLm<AB>,
    params: &FlatParams,
    v: &[f32],
    rows: &[TokenRow],
) -> Vec<f32> {
    let probs = host(softmax(separate_logits(&model.valid(), rows), 1));
    let jacobian: Vec<Vec<f32>> = (0..probs.len())
        .map(|cell| {
            let one = |model: &CausalLm<AB>, cell: usize| {
                let logits = separate_logits(model, rows);
                logits.slice([cell / VOCAB..cell / VOCAB + 1, cell % VOCAB..cell % VOCAB + 1]).sum()
            };
            params.gradient(&Gradients::of(model, [cell], one))
        })
        .collect();
    let tangents: Vec<f64> = jacobian.iter().map(|row| dot(row, v)).collect();
    let mut product = vec![0.0_f64; v.len()];
    for (cell, row) in jacobian.iter().enumerate() {
        let token = cell / VOCAB * VOCAB;
        let cells = token..token + VOCAB;
        let mean: f64 = cells.map(|it| f64::from(probs[it]) * tangents[it]).sum();
        let pulled = f64::from(probs[cell]) * (tangents[cell] - mean);
        product.iter_mut().zip(row).for_each(|(it, row)| *it += pulled * f64::from(*row));
    }
    product.into_iter().map(|it| it as f32).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
