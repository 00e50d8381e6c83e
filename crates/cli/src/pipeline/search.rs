//! Rounds in which a policy looks for what fools the reward model, and the reward model learns better.

use std::path::Path;

use anyhow::{Result, anyhow};
use rein_data::example::Completion;
use rein_data::stage::{Cadence, Outcome, drive};
use rein_model::backend::LmAutodiffBackend;
use rein_model::{CausalLm, Sampler, Sampling, ScalarModel, load_causal_lm};
use rein_ppo::ActorCritic;
use rein_ppo::config::PpoConfig;
use rein_ppo::rollout::{Prompt, sample_until};
use rein_ppo::train::{Ppo, Prompts};
use rein_reward::adversarial::search::SearchConfig;
use rein_reward::encoding::Pair;
use rein_reward::ensemble::Spread;
use rein_reward::{LearnedReward, Mixture};

use super::Session;
use crate::config::Stage;

/// What a round of search came to.
pub(super) enum Found {
    /// Pairs of what fools the reward model and what the fine-tuned model says.
    Pairs(Vec<Pair>),
    /// Somebody asked to stop.
    Interrupted,
}

impl<B: LmAutodiffBackend> Session<B> {
    /// Completions that fool the reward model in `folder`, each rejected against the fine-tuned model's own.
    pub(super) fn search(
        &mut self,
        config: SearchConfig,
        round: usize,
        folder: &Path,
    ) -> Result<Found> {
        let Some(policy) = self.searching_policy(config, round, folder)? else {
            return Ok(Found::Interrupted);
        };
        let fine_tuned: CausalLm<B::InnerBackend> =
            load_causal_lm(&self.sft_model()?, &self.device)?;
        let asked = self.searched_prompts(config, round)?;
        let found = self.complete_with(&policy, &asked, round)?;
        let ordinary = self.complete_with(&fine_tuned, &asked, round)?;
        let reward = self.ensemble(folder)?;
        let spreads = |completions: &[Completion]| -> Result<Vec<Spread>> {
            let heads = reward.head_scores(&reward.rows(completions));
            let heads = heads.ok_or_else(|| anyhow!("{}: no ensemble", folder.display()))?;
            Ok(heads.iter().map(|heads| Spread::of(heads)).collect())
        };
        let suspicious = config.suspicious(&spreads(&found)?, &spreads(&ordinary)?);
        let max_tokens = self.setup.config.reward.max_tokens;
        let row = |completion: &Completion| {
            let mut row = reward.rows(std::slice::from_ref(completion)).remove(0);
            row.drain(..row.len().saturating_sub(max_tokens));
            row
        };
        let pairs = suspicious.into_iter().map(|place| [&ordinary[place], &found[place]]);
        let pairs = pairs.filter(|[chosen, rejected]| chosen.tokens != rejected.tokens);
        let pair = |[chosen, rejected]: [&Completion; 2]| Pair {
            chosen: row(chosen),
            rejected: row(rejected),
            ..Pair::default()
        };
        let pairs: Vec<Pair> = pairs.map(pair).collect();
        self.log.note(format!(
            "reward: round {}: of {} completions, {} score above {} and divide the heads; they are rejected \
             from now on",
            round + 1,
            found.len(),
            pairs.len(),
            config.min_score
        ));
        Ok(Found::Pairs(pairs))
    }

    fn ensemble(&self, folder: &Path) -> Result<LearnedReward<B::InnerBackend>> {
        let rows = self.setup.config.rl.micro_batch_rows;
        let reward = LearnedReward::load(folder, rows, &self.device)?;
        Ok(reward.behind_replies(self.setup.behind_replies()))
    }

    /// A policy that has learned what scores high and divides the heads; `None` if somebody asked to stop.
    fn searching_policy(
        &mut self,
        config: SearchConfig,
        round: usize,
        folder: &Path,
    ) -> Result<Option<CausalLm<B::InnerBackend>>> {
        let mut parts = self.ensemble(folder)?.into_parts(None, 1.0)?;
        parts.last_mut().expect("the deviation is the last").weight = config.disagreement;
        let cadence = Cadence { evaluate_every: 0, save_every: 0, ..Cadence::default() };
        let rl = PpoConfig {
            steps: config.steps,
            checkpoints: Cadence { use_best: false, ..cadence.clone() },
            ..self.setup.config.rl.clone()
        };
        let seed = self.seed(Stage::Reward).child("search").index(round as u64);
        let base =
            || -> Result<CausalLm<B>> { Ok(load_causal_lm(&self.sft_model()?, &self.device)?) };
        let value = match rl.has_value_model() {
            true => {
                let value =
                    ScalarModel::from_causal_lm(base()?, seed.child("value"), &self.device)?;
                Some(value.expecting_nothing(&self.device))
            }
            false => None,
        };
        let actors = ActorCritic { policy: base()?, value };
        let questions = &self.setup.world.prompts.train;
        let train = questions.iter().map(|it| self.setup.prompt(it)).collect::<Result<_>>()?;
        let mut stage = Ppo::<B>::new(
            rl,
            actors,
            Box::new(Mixture::new(parts)?),
            self.setup.tokenizer.clone(),
            Prompts { train, heldout: Vec::new() },
            seed,
            &self.device,
        )?
        .ending_at(self.setup.ends())
        .with_workers(&self.workers);
        let name = format!("search-{}", round + 1);
        let outcome = drive(&mut self.context(), &name, &mut stage, config.steps, &cadence)?;
        let Outcome::Finished(checkpoint) = outcome else { return Ok(None) };
        Ok(Some(load_causal_lm(&checkpoint.join(rein_model::checkpoint::MODEL), &self.device)?))
    }

    /// Prompts to train on, other ones in each round while there are any.
    fn searched_prompts(&self, config: SearchConfig, round: usize) -> Result<Vec<Prompt>> {
        let questions = &self.setup.world.prompts.train;
        let asked = questions.iter().cycle().skip(round * config.prompts % questions.len().max(1));
        let asked = asked.take(config.prompts.min(questions.len()));
        asked.map(|it| self.setup.prompt(it)).collect()
    }

    /// A completion of each prompt. Each worker completes its share.
    fn complete_with(
        &self,
        model: &CausalLm<B::InnerBackend>,
        asked: &[Prompt],
        round: usize,
    ) -> Result<Vec<Completion>> {
        let (setup, rl) = (&self.setup, &self.setup.config.rl);
        let ends = setup.ends();
        let sampling = Sampling {
            ends: ends.tokens.clone(),
            ..rl.sampling(rl.at(0).temperature, setup.tokenizer.special().eos)
        };
        let mine = self.workers.share(asked).into_iter().cloned().collect();
        let seed = self.seed(Stage::Reward).child("searched").index(round as u64);
        let seeds = self.workers.row_seeds(seed);
        let sampler = Sampler::new(model, &sampling, &self.device)?;
        let sampled = sample_until(&sampler, mine, &setup.tokenizer, &ends.texts, seeds)?;
        let completions = sampled.into_iter().map(|it| it.completion).collect();
        Ok(self.workers.merge(completions)?)
    }
}
