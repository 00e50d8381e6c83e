//! Rows with exchanged tokens, made while a model is trained: what it learns to hold worse than the rows
//! themselves.
//!
//! A reply some of whose tokens were exchanged for whatever the model likes is hardly ever better than it was. The
//! exchanges are those that [`flips`](super::flips) would begin with: at random places, the token that raises the
//! score most to first order, among a random half of the vocabulary.

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::activation::log_sigmoid;
use rand::RngExt;
use rein_data::seed::{Seed, shuffle};
use rein_model::ScalarModel;
use rein_model::backend::{LmAutodiffBackend, LmBackend};
use rein_model::tokens::{TokenBatch, host, indices};
use serde::{Deserialize, Serialize};

use crate::encoding::Judgements;
use crate::objective::scored_rows;

/// How rows with exchanged tokens are trained on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExchangeConfig {
    /// Tokens that are exchanged in a row, at most.
    pub tokens: usize,
    /// What `−log σ(row − exchanged row)` counts for beside a judgement's loss.
    pub weight: f64,
}

impl Default for ExchangeConfig {
    fn default() -> Self {
        Self { tokens: 4, weight: 0.5 }
    }
}

impl ExchangeConfig {
    /// What is wrong with these settings, each with its key below `section`.
    pub(crate) fn problems(&self, section: &str) -> Vec<String> {
        let rules = [
            (self.tokens > 0, "tokens", "above 0"),
            (self.weight > 0.0 && self.weight.is_finite(), "weight", "above 0"),
        ];
        let broken = rules.into_iter().filter(|(fine, ..)| !fine);
        broken.map(|(_, key, rule)| format!("`{section}.{key}` must be {rule}")).collect()
    }

    /// The rows of these judgements, each with up to so many exchanged tokens. What a row gets follows from the
    /// seed and its tokens alone. Prompts stay as they are where a pair shows where they end, and so does each
    /// row's last token; `kept` tokens are never put in.
    pub(crate) fn rows<B: LmAutodiffBackend>(
        &self,
        model: &ScalarModel<B>,
        judgements: &Judgements,
        kept: &[u32],
        seed: Seed,
        device: &B::Device,
    ) -> Vec<Vec<u32>> {
        let rows = scored_rows(judgements);
        let batch = TokenBatch::<B>::right_padded(&rows, device);
        let [_, n_time] = batch.dims();
        let mut exchanged: Vec<Vec<u32>> = rows.iter().map(|row| row.to_vec()).collect();
        let mut places = Vec::new();
        for (number, (row, begin)) in rows.iter().zip(begins(judgements, rows.len())).enumerate() {
            let mut open: Vec<usize> = (begin..row.len().saturating_sub(1)).collect();
            let mut rng = seed.child(&format!("{row:?}")).rng();
            shuffle(&mut open, &mut rng);
            open.truncate(rng.random_range(1..=self.tokens));
            places.extend(open.into_iter().map(|place| (number, place)));
        }
        if places.is_empty() {
            return exchanged;
        }
        let cells: Vec<usize> = places.iter().map(|(row, place)| row * n_time + place).collect();
        let table = model.decoder.embedding.val().inner();
        let n_tokens = table.dims()[0];
        let gradient = gradient(model, batch).select(0, indices(&cells, device));
        let gains = host(gradient.matmul(table.transpose()));
        for ((row, place), gains) in places.into_iter().zip(gains.chunks(n_tokens)) {
            let mut rng = seed.child(&format!("{:?}", rows[row])).index(place as u64).rng();
            let own = rows[row][place];
            let mut tried = gains.iter().zip(0_u32..).filter(|(_, token)| {
                rng.random_bool(0.5) && *token != own && !kept.contains(token)
            });
            let first = tried.next();
            let best = tried.fold(first, |best, it| match best {
                Some(best) if best.0 >= it.0 => Some(best),
                _ => Some(it),
            });
            exchanged[row][place] = best.map_or(own, |(_, token)| token);
        }
        exchanged
    }
}

/// Where exchanges may begin in each row: behind what both rows of a pair have in common.
fn begins(judgements: &Judgements, n_rows: usize) -> Vec<usize> {
    let Judgements::Pairs(pairs) = judgements else { return vec![0; n_rows] };
    let common = pairs.iter().map(|pair| {
        pair.chosen.iter().zip(&pair.rejected).take_while(|(one, other)| one == other).count()
    });
    let common: Vec<usize> = common.collect();
    common.repeat(2)
}

/// Of the sum of scores with respect to all embeddings, `[rows · time, hidden]`.
fn gradient<B: LmAutodiffBackend>(
    model: &ScalarModel<B>,
    batch: TokenBatch<B>,
) -> Tensor<B::InnerBackend, 2> {
    let [n_rows, n_time] = batch.dims();
    let shape = [n_rows * n_time, model.config().hidden_size];
    let delta = Tensor::<B, 2>::zeros(shape, &batch.ids.device()).require_grad();
    let scores = mean_scores(&model.clone().no_grad(), &batch.perturbed(delta.clone()));
    delta.grad(&scores.sum().backward()).expect("scores depend on the embeddings")
}

/// Scores by the one head, or the mean of several, `[rows]`.
pub(crate) fn mean_scores<B: LmBackend>(
    model: &ScalarModel<B>,
    batch: &TokenBatch<B>,
) -> Tensor<B, 1> {
    if model.heads.is_none() {
        return model.scores(batch);
    }
    let heads = model.head_scores(batch);
    let [n_rows, _] = heads.dims();
    heads.mean_dim(1).reshape([n_rows])
}

/// `−log σ(row − exchanged row)`, `[rows]`.
pub(crate) fn losses<B: LmBackend>(rows: Tensor<B, 1>, exchanged: Tensor<B, 1>) -> Tensor<B, 1> {
    log_sigmoid(rows - exchanged).neg()
}
