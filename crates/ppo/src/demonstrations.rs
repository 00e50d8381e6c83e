//! Demonstrations that a policy imitates while it is optimised, so that it keeps what it knew: PPO-ptx
//! (Ouyang et al., 2022, eq. 2), which adds `γ log π(x)` of pretraining text to the objective.

use burn::prelude::*;
use rein_data::batches::RowOrder;
use rein_data::encoding::TokenRow;
use rein_data::seed::Seed;
use rein_model::CausalLm;
use rein_model::backend::LmAutodiffBackend;
use rein_model::logprobs::learned_stats;
use rein_model::tokens::LearnedTokens;
use serde::{Deserialize, Serialize};

use crate::diagnostics::Diagnostics;
use crate::update::total;

/// How much is imitated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PtxConfig {
    /// `γ`: what the mean loss over demonstrations' tokens weighs beside the policy's loss.
    pub coefficient: f64,
    /// Demonstrations of each update.
    #[serde(default = "PtxConfig::rows")]
    pub rows: usize,
}

impl PtxConfig {
    fn rows() -> usize {
        16
    }

    /// What is wrong with these settings, each with its key below `section`.
    pub fn problems(&self, section: &str) -> Vec<String> {
        let Self { coefficient, rows } = *self;
        let rules = [
            ("coefficient", coefficient >= 0.0 && coefficient.is_finite(), "at least 0"),
            ("rows", rows > 0, "above 0"),
        ];
        let broken = rules.into_iter().filter(|(_, fine, _)| !fine);
        broken.map(|(key, _, rule)| format!("`{section}.{key}` must be {rule}")).collect()
    }
}

/// Demonstrations in the order of updates, which has no state but the seed.
#[derive(Debug)]
pub(crate) struct Demonstrations {
    rows: Vec<TokenRow>,
    order: RowOrder,
    n_rows: usize,
}

impl Demonstrations {
    pub(crate) fn new(rows: Vec<TokenRow>, config: &PtxConfig, seed: Seed) -> Self {
        let order = RowOrder::new(rows.len(), seed);
        Self { rows, order, n_rows: config.rows }
    }

    /// Those of an update, counted from 0 over the whole run.
    pub(crate) fn of_update(&mut self, update: usize) -> Vec<&TokenRow> {
        let chosen = self.order.batch(update, self.n_rows).into_iter();
        chosen.map(|row| &self.rows[row]).collect()
    }
}

/// `−Σ log π` over the learned tokens of some rows, at temperature 1, in nats.
pub(crate) fn imitation_loss<B: LmAutodiffBackend>(
    policy: &CausalLm<B>,
    rows: &[&TokenRow],
    seen: &mut Diagnostics,
    device: &B::Device,
) -> Tensor<B, 1> {
    let learned = LearnedTokens::<B>::new(rows, device);
    let losses = learned_stats(policy, &learned, 1.0).logprobs.neg();
    seen.n_imitated += rows.iter().map(|row| row.n_learned()).sum::<usize>() as f64;
    seen.imitation_loss += total(losses.clone());
    losses.sum()
}
