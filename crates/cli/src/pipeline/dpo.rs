use anyhow::{Context, Result, bail};
use rein_data::stage::{Outcome, drive};
use rein_feedback::Split;
use rein_model::backend::LmAutodiffBackend;
use rein_model::load_causal_lm;
use rein_ppo::preference::Dpo;
use rein_ppo::preference::pairs::{EncodedPairs, Pair, encode_examples, encode_preferences};

use super::Session;
use crate::config::Stage;
use crate::world::{Judgements, Parts};

impl<B: LmAutodiffBackend> Session<B> {
    /// Optimises the fine-tuned model on what people preferred.
    pub(super) fn dpo(&mut self) -> Result<Outcome> {
        let config = self.setup.config.dpo.clone();
        let cadence = config.checkpoints.clone();
        let policy = load_causal_lm::<B>(&self.sft_model()?, &self.device)?;
        let pairs = self.preference_pairs()?;
        let mut stage = Dpo::<B>::new(
            config,
            policy,
            Some(self.setup.tokenizer.clone()),
            pairs,
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
            Judgements::Chats(Parts { train, heldout }) => {
                let encode = |rows| encode_examples(rows, &self.setup.encoder, max_tokens);
                [encode(train).context("`data.preferences`")?, encode(heldout)?]
            }
            Judgements::Labels(_) => {
                bail!("dpo learns from pairs of completions; these data label single ones")
            }
            Judgements::None => bail!("`data.preferences` names nothing to learn from"),
        };
        self.tell_lengths(&encoded);
        Ok(encoded.map(|it| it.pairs))
    }

    fn tell_lengths(&mut self, encoded: &[EncodedPairs]) {
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
            self.log.note(format!(
                "dpo: {n_dropped} pairs have a completion without tokens and are left out"
            ));
        }
    }
}
