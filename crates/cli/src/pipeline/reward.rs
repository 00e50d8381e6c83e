use anyhow::{Context, Result, bail};
use rein_data::example::{Example, Preference};
use rein_data::stage::{Outcome, drive};
use rein_feedback::{Split, majority, preferences};
use rein_model::backend::LmAutodiffBackend;
use rein_model::{ScalarModel, load_causal_lm};
use rein_reward::encoding::{
    Encoded, Judgements as Rows, encode_examples, encode_labels, encode_preferences,
};
use rein_reward::train::{RewardTraining, accuracy};

use super::Session;
use super::feedback::PROJECT;
use crate::config::Stage;
use crate::world::{Judgements, Parts};

impl<B: LmAutodiffBackend> Session<B> {
    /// Fits a reward model, which begins as the fine-tuned model, to what people judged.
    pub(super) fn reward(&mut self) -> Result<Outcome> {
        let seed = self.seed(Stage::Reward);
        let config = self.setup.config.reward.clone();
        let cadence = config.checkpoints.clone();
        let base = load_causal_lm::<B>(&self.sft_model()?, &self.device)?;
        let model = ScalarModel::from_causal_lm(base, seed.child("head"), &self.device)?;
        let judgements = self.judgements()?;
        let heldout = judgements[1].clone();
        let mut stage = RewardTraining::<B>::new(
            config,
            model,
            Some(self.setup.tokenizer.clone()),
            judgements,
            seed,
            &self.device,
        )?
        .with_workers(&self.workers);
        let n_steps = stage.n_steps();
        let outcome =
            drive(&mut self.context(), Stage::Reward.name(), &mut stage, n_steps, &cadence)?;
        if let Outcome::Finished(_) = outcome
            && !heldout.is_empty()
        {
            self.tell_accuracy(&heldout)?;
        }
        Ok(outcome)
    }

    fn tell_accuracy(&mut self, heldout: &Rows) -> Result<()> {
        let folder = self.result(Stage::Reward)?.expect("the stage is done");
        let model = rein_model::load_scalar_model::<B::InnerBackend>(&folder, &self.device)?;
        let rows = self.setup.config.reward.micro_batch_rows;
        let share = accuracy(&model, heldout, rows, &self.workers, &self.device)?;
        let (low, high) = share.interval();
        self.log.note(format!(
            "reward: agrees with {:.1} % of {} held-out judgements (95 % interval {:.1} to {:.1} %)",
            100.0 * share.value(),
            share.n_cases,
            100.0 * low,
            100.0 * high
        ));
        Ok(())
    }

    /// Judgements to train on and to measure with.
    fn judgements(&mut self) -> Result<[Rows; 2]> {
        let max_tokens = self.setup.config.reward.max_tokens;
        let tokenizer = &self.setup.tokenizer;
        let encoded = match &self.setup.world.judgements {
            Judgements::Labels(Parts { train, heldout }) => {
                [train, heldout].map(|rows| encode_labels(rows, tokenizer, max_tokens))
            }
            Judgements::Pairs(Parts { train, heldout }) => {
                [train, heldout].map(|rows| encode_preferences(rows, tokenizer, max_tokens))
            }
            Judgements::Simulated => {
                let train = self.answers(Split::Train)?;
                let heldout = self.answers(Split::Heldout)?;
                [train, heldout].map(|rows| encode_preferences(&rows, tokenizer, max_tokens))
            }
            Judgements::Chats(chats) => self.encode_chats(chats)?,
            Judgements::None => bail!("`data.preferences` names nothing to learn from"),
        };
        let n_truncated: usize = encoded.iter().map(|it| it.n_truncated).sum();
        if n_truncated > 0 {
            self.log.note(format!(
                "reward: {n_truncated} rows are longer than `reward.max_tokens` = {max_tokens} and lose \
                 the beginning of their prompt"
            ));
        }
        Ok(encoded.map(|Encoded { judgements, .. }| judgements))
    }

    /// Conversations as the chat template renders them, to train on and to measure with.
    fn encode_chats(&self, Parts { train, heldout }: &Parts<Example>) -> Result<[Encoded; 2]> {
        let max_tokens = self.setup.config.reward.max_tokens;
        let encode = |rows: &[Example]| encode_examples(rows, &self.setup.encoder, max_tokens);
        Ok([encode(train).context("`data.preferences`")?, encode(heldout)?])
    }

    /// Held-out conversations that people judged.
    pub(super) fn heldout_chats(&self, chats: &Parts<Example>) -> Result<Rows> {
        let [_, heldout] = self.encode_chats(chats)?;
        Ok(heldout.judgements)
    }

    /// What most people said of each pair of this run.
    pub(super) fn answers(&self, split: Split) -> Result<Vec<Preference>> {
        let answers = preferences(&self.store()?, PROJECT, split)?;
        if answers.is_empty() && split == Split::Train {
            return Err(self.missing(Stage::Feedback, "judgements"));
        }
        Ok(majority(&answers))
    }
}
