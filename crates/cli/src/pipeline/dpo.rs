use anyhow::{Context, Result, bail};
use rein_data::example::{Body, Example};
use rein_data::stage::{Outcome, drive};
use rein_feedback::Split;
use rein_model::backend::LmAutodiffBackend;
use rein_model::load_causal_lm;
use rein_ppo::preference::labels::{self, Label, encode_labels};
use rein_ppo::preference::pairs::{self, Encoded, Pair, encode_preferences};
use rein_ppo::preference::{Dpo, Judgement};

use super::Session;
use crate::config::Stage;
use crate::world::{Judgements, Parts};

impl<B: LmAutodiffBackend> Session<B> {
    /// Optimises the fine-tuned model on what people said.
    pub(super) fn dpo(&mut self) -> Result<Outcome> {
        if self.setup.config.dpo.loss_type.is_of_pairs() {
            let pairs = self.preference_pairs()?;
            self.learn_from(pairs)
        } else {
            let labels = self.labels()?;
            self.learn_from(labels)
        }
    }

    fn learn_from<J: Judgement>(&mut self, judgements: [Vec<J>; 2]) -> Result<Outcome> {
        let config = self.setup.config.dpo.clone();
        let cadence = config.checkpoints.clone();
        let mut stage = Dpo::<B, J>::new(
            config,
            load_causal_lm::<B>(&self.sft_model()?, &self.device)?,
            Some(self.setup.tokenizer.clone()),
            judgements,
            self.seed(Stage::Dpo),
            &self.device,
        )?
        .with_workers(&self.workers);
        let n_steps = stage.n_steps();
        Ok(drive(&mut self.context(), Stage::Dpo.name(), &mut stage, n_steps, &cadence)?)
    }

    /// Pairs to train on and to measure with.
    fn preference_pairs(&mut self) -> Result<[Vec<Pair>; 2]> {
        let max_tokens = self.setup.config.dpo.max_tokens;
        let tokenizer = &self.setup.tokenizer;
        let encoded = match &self.setup.world.judgements {
            Judgements::Pairs(Parts { train, heldout }) => {
                [train, heldout].map(|rows| encode_preferences(rows, tokenizer, max_tokens))
            }
            Judgements::Simulated => {
                let parts = [self.answers(Split::Train)?, self.answers(Split::Heldout)?];
                parts.map(|rows| encode_preferences(&rows, tokenizer, max_tokens))
            }
            Judgements::Examples(Parts { train, heldout }) => {
                hard(train)?;
                let encode = |rows| pairs::encode_examples(rows, &self.setup.encoder, max_tokens);
                [encode(train).context("`data.preferences`")?, encode(heldout)?]
            }
            Judgements::Labels(_) => {
                bail!(
                    "this loss learns from pairs of completions, but these data label single ones; set \
                     `dpo.loss_type` to \"kto\""
                )
            }
            Judgements::None => bail!("`data.preferences` names nothing to learn from"),
        };
        self.tell_lengths(&encoded, "pairs have a completion");
        Ok(encoded.map(|it| it.judgements))
    }

    /// Labelled completions to train on and to measure with. A pair is two of them.
    fn labels(&mut self) -> Result<[Vec<Label>; 2]> {
        let max_tokens = self.setup.config.dpo.max_tokens;
        let tokenizer = &self.setup.tokenizer;
        let encoded = match &self.setup.world.judgements {
            Judgements::Labels(Parts { train, heldout }) => {
                [train, heldout].map(|rows| encode_labels(rows, tokenizer, max_tokens))
            }
            Judgements::Pairs(Parts { train, heldout }) => [train, heldout]
                .map(|rows| encode_preferences(rows, tokenizer, max_tokens).into_rated()),
            Judgements::Simulated => {
                let parts = [self.answers(Split::Train)?, self.answers(Split::Heldout)?];
                parts.map(|rows| encode_preferences(&rows, tokenizer, max_tokens).into_rated())
            }
            Judgements::Examples(Parts { train, heldout }) => {
                hard(train)?;
                let encode = |rows| labels::encode_examples(rows, &self.setup.encoder, max_tokens);
                [encode(train).context("`data.preferences`")?, encode(heldout)?]
            }
            Judgements::None => bail!("`data.preferences` names nothing to learn from"),
        };
        self.tell_lengths(&encoded, "completions are");
        let seed = self.seed(Stage::Dpo);
        Ok(encoded.map(|it| Label::mismatched(it.judgements, max_tokens, seed)))
    }

    fn tell_lengths<J>(&mut self, encoded: &[Encoded<J>], which: &str) {
        let max_tokens = self.setup.config.dpo.max_tokens;
        let n_truncated: usize = encoded.iter().map(|it| it.n_truncated).sum();
        if n_truncated > 0 {
            self.log.note(format!(
                "dpo: {n_truncated} rows are longer than `dpo.max_tokens` = {max_tokens} and lose the \
                 beginning of their prompt"
            ));
        }
        let n_dropped: usize = encoded.iter().map(|it| it.n_dropped).sum();
        if n_dropped > 0 {
            self.log.note(format!("dpo: {n_dropped} {which} without tokens, and are left out"));
        }
    }
}

/// Refuses judgements that say more than this stage hears.
fn hard(examples: &[Example]) -> Result<()> {
    let is_soft = |it: &&Example| {
        let is_soft_pair = matches!(
            it.body,
            Body::Preference { chosen_probability: Some(probability), .. } if probability < 1.0
        );
        is_soft_pair || it.weight().is_some()
    };
    match examples.iter().filter(is_soft).count() {
        0 => Ok(()),
        n_soft => bail!(
            "{n_soft} judgements have a `chosen_probability` or a `weight`, which `dpo` doesn't know; train a reward \
             model on them, or leave these columns out"
        ),
    }
}
