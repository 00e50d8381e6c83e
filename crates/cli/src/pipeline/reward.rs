use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use rein_data::batches::RowOrder;
use rein_data::example::{Example, Preference};
use rein_data::seed::Seed;
use rein_data::stage::{Outcome, drive};
use rein_feedback::{Split, majority, preferences};
use rein_model::backend::LmAutodiffBackend;
use rein_model::checkpoint::MODEL;
use rein_model::{ScalarModel, load_causal_lm, load_scalar_model};
use rein_reward::LearnedReward;
use rein_reward::encoding::{
    Encoded, Judgements as Rows, encode_examples, encode_labels, encode_preferences,
};
use rein_reward::report::report;
use rein_reward::train::RewardTraining;

use super::Session;
use super::feedback::PROJECT;
use super::search::Found;
use crate::config::{Answers, Stage};
use crate::reward::lines;
use crate::world::{Judgements, Parts};

impl<B: LmAutodiffBackend> Session<B> {
    /// Fits a reward model, which begins as the fine-tuned model, to what people judged, or
    /// to demonstrations against own samples; in rounds, if a policy is to look for what fools it.
    pub(super) fn reward(&mut self) -> Result<Outcome> {
        let Some(judgements) = self.judgements()? else { return Ok(Outcome::Interrupted) };
        let [train, heldout] = judgements;
        let lengths = heldout.judgements.grouped(&heldout.lengths);
        let mut judgements = [self.first(train.judgements), heldout.judgements];
        let Some(reference) = self.reference()? else { return Ok(Outcome::Interrupted) };
        if self.setup.config.reward.personal.is_some_and(|it| it.joint)
            && !self.heard_one_alone()?
        {
            let outcome = self.train_jointly(self.new_reward_model()?, reference.clone())?;
            return self.conclude_reward(outcome, (&judgements[1], &lengths), &reference);
        }
        let search = self.setup.config.reward.search;
        for round in 0..search.map_or(0, |it| it.rounds) {
            let name = format!("reward-{}", round + 1);
            let fitted = self.fit_reward(&name, judgements.clone(), reference.clone())?;
            let Outcome::Finished(checkpoint) = fitted else { return Ok(Outcome::Interrupted) };
            let config = search.expect("there are rounds");
            let Found::Pairs(found) = self.search(config, round, &checkpoint.join(MODEL))? else {
                return Ok(Outcome::Interrupted);
            };
            match &mut judgements[0] {
                Rows::Pairs(pairs) => pairs.extend(found),
                _ => bail!("`reward.search` makes pairs, but these data are other judgements"),
            }
        }
        let heldout = judgements[1].clone();
        let outcome = self.fit_reward(Stage::Reward.name(), judgements, reference.clone())?;
        self.conclude_reward(outcome, (&heldout, &lengths), &reference)
    }

    /// The fine-tuned model with a new score head, or what the round before left.
    fn new_reward_model(&self) -> Result<ScalarModel<B>> {
        if let Some(folder) = self.continued_reward() {
            return Ok(load_scalar_model(folder, &self.device)?);
        }
        let base = load_causal_lm::<B>(&self.sft_model()?, &self.device)?;
        let seed = self.seed(Stage::Reward).child("head");
        Ok(ScalarModel::from_causal_lm(base, seed, &self.device)?)
    }

    /// What is said and learned once the model is trained.
    fn conclude_reward(
        &mut self,
        outcome: Outcome,
        (heldout, lengths): (&Rows, &[Vec<usize>]),
        reference: &[Vec<u32>],
    ) -> Result<Outcome> {
        if let Outcome::Finished(_) = outcome {
            if !heldout.is_empty() {
                self.tell_report(heldout, lengths)?;
            }
            self.learn_people(reference)?;
        }
        Ok(outcome)
    }

    /// Fits the reward model; of an ensemble with a backbone for each head, the further models first.
    fn fit_reward(
        &mut self,
        name: &str,
        judgements: [Rows; 2],
        reference: Vec<Vec<u32>>,
    ) -> Result<Outcome> {
        let n_models = self.setup.config.reward.ensemble.map_or(1, |it| it.models());
        let mut members = Vec::new();
        for number in 2..=n_models {
            let name = format!("{name}-member-{number}");
            let seed = self.seed(Stage::Reward).child("member").index(number as u64);
            let (judgements, reference) = (judgements.clone(), reference.clone());
            match self.fit_one(&name, seed, judgements, reference, Vec::new())? {
                Outcome::Finished(checkpoint) => members.push(checkpoint.join(MODEL)),
                Outcome::Interrupted => return Ok(Outcome::Interrupted),
            }
        }
        self.fit_one(name, self.seed(Stage::Reward), judgements, reference, members)
    }

    fn fit_one(
        &mut self,
        name: &str,
        seed: Seed,
        judgements: [Rows; 2],
        reference: Vec<Vec<u32>>,
        members: Vec<PathBuf>,
    ) -> Result<Outcome> {
        let mut config = self.setup.config.reward.clone();
        if let Some(demonstrations) = &config.demonstrations {
            config.loss.label_smoothing = demonstrations.label_smoothing;
        }
        let cadence = config.checkpoints.clone();
        let mut stage = RewardTraining::<B>::new(
            config,
            self.new_reward_model()?,
            Some(self.setup.tokenizer.clone()),
            judgements,
            seed,
            &self.device,
        )?
        .with_reference(reference)
        .with_members(members)
        .with_workers(&self.workers);
        let n_steps = stage.n_steps();
        Ok(drive(&mut self.context(), name, &mut stage, n_steps, &cadence)?)
    }

    /// How far the reward model can be trusted, by judgements that it hasn't seen.
    fn tell_report(&mut self, heldout: &Rows, lengths: &[Vec<usize>]) -> Result<()> {
        let folder = self.result(Stage::Reward)?.expect("the stage is done");
        let rows = self.setup.config.reward.micro_batch_rows;
        let reward = LearnedReward::<B::InnerBackend>::load(&folder, rows, &self.device)?;
        let mine = heldout.rows();
        let scores = self.workers.merge(reward.raw_rows(&self.workers.share(&mine)))?;
        let told = report(heldout, &heldout.grouped(&scores), lengths, &[]);
        for line in lines(&told) {
            self.log.note(format!("reward: {line}"));
        }
        Ok(())
    }

    /// The first `reward.max_judgements` of a seeded order, so that fewer are a part of more.
    fn first(&self, train: Rows) -> Rows {
        let told = self.told(train.len());
        if told.len() < train.len() { train.select(told) } else { train }
    }

    /// The places of those among so many judgements that are learned from. The order is the run's: each round knows
    /// what the rounds before knew.
    pub(super) fn told(&self, n_judgements: usize) -> Vec<usize> {
        match self.setup.config.reward.max_judgements {
            Some(most) if most < n_judgements => {
                let seed = Seed::new(self.setup.config.seed).child(Stage::Reward.name());
                RowOrder::new(n_judgements, seed.child("judgements")).batch(0, most)
            }
            _ => (0..n_judgements).collect(),
        }
    }

    /// How many of them the round before knew.
    pub(super) fn n_told_before(&self) -> usize {
        let most = self.setup.config.reward.max_judgements.unwrap_or(usize::MAX);
        let new = self.setup.config.rounds.as_ref().map_or(0, |it| it.pairs);
        if self.past.is_later() { most.saturating_sub(new) } else { 0 }
    }

    /// Judgements to train on and to measure with; none if somebody asked to stop while they were made.
    fn judgements(&mut self) -> Result<Option<[Encoded; 2]>> {
        let max_tokens = self.setup.config.reward.max_tokens;
        let encoded = match self.setup.config.reward.demonstrations.clone() {
            Some(config) => self.pairs_of_demonstrations(&config)?,
            None => {
                let said = self.said_by_people()?;
                let given = said.as_ref().unwrap_or(&self.setup.world.judgements);
                Some(self.encode_judgements(given)?)
            }
        };
        let Some(encoded) = encoded else { return Ok(None) };
        let n_truncated: usize = encoded.iter().map(|it| it.n_truncated).sum();
        if n_truncated > 0 {
            self.log.note(format!(
                "reward: {n_truncated} rows are longer than `reward.max_tokens` = {max_tokens} and lose \
                 the beginning of their prompt"
            ));
        }
        Ok(Some(encoded))
    }

    /// What people said whom this run waited for; none where it didn't.
    fn said_by_people(&mut self) -> Result<Option<Judgements>> {
        if self.answers_by() != Answers::People {
            return Ok(None);
        }
        let config = &self.setup.config.feedback;
        let said = Judgements::said_in(&self.store()?, &[PROJECT.to_owned()], config);
        let (judgements, notes) = said?;
        notes.iter().for_each(|note| self.log.note(format!("reward: {note}")));
        Ok(Some(judgements))
    }

    fn encode_judgements(&self, given: &Judgements) -> Result<[Encoded; 2]> {
        let max_tokens = self.setup.config.reward.max_tokens;
        let tokenizer = &self.setup.tokenizer;
        Ok(match given {
            Judgements::Labels(Parts { train, heldout }) => {
                [train, heldout].map(|rows| encode_labels(rows, tokenizer, max_tokens))
            }
            Judgements::Pairs(Parts { train, heldout }) => {
                [train, heldout].map(|rows| encode_preferences(rows, tokenizer, max_tokens))
            }
            Judgements::Simulated => self.encode_answers()?,
            Judgements::Examples(parts) => self.encode_parts(parts)?,
            Judgements::None => bail!("`data.preferences` names nothing to learn from"),
        })
    }

    /// What simulated people said of the policies' own replies.
    fn encode_answers(&self) -> Result<[Encoded; 2]> {
        let max_tokens = self.setup.config.reward.max_tokens;
        let answers = [Split::Train, Split::Heldout].map(|it| self.answers(it));
        let encode =
            |rows: Vec<Preference>| encode_preferences(&rows, &self.setup.tokenizer, max_tokens);
        let [train, heldout] = answers;
        Ok([encode(train?), encode(heldout?)])
    }

    /// Conversations as the chat template renders them, and other judgements, to train on and to measure with.
    fn encode_parts(&self, Parts { train, heldout }: &Parts<Example>) -> Result<[Encoded; 2]> {
        let max_tokens = self.setup.config.reward.max_tokens;
        let encode = |rows: &[Example]| encode_examples(rows, &self.setup.encoder, max_tokens);
        Ok([encode(train).context("`data.preferences`")?, encode(heldout)?])
    }

    /// Held-out examples that people judged.
    pub(super) fn heldout_examples(&self, parts: &Parts<Example>) -> Result<Rows> {
        let [_, heldout] = self.encode_parts(parts)?;
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
