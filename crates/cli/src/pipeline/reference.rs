use anyhow::Result;
use burn::module::AutodiffModule;
use rein_data::batches::RowOrder;
use rein_model::backend::LmAutodiffBackend;
use rein_model::{Sampler, Sampling, load_causal_lm};
use rein_ppo::rollout::{Ends, Prompt, Sampled, sample_until};

use super::Session;
use crate::config::Stage;
use crate::setup::Setup;

impl<B: LmAutodiffBackend> Session<B> {
    /// Completions of the fine-tuned model, with their prompts, by which the reward model's scores are normalised. None
    /// where the judged completions do: those that simulated people judged are the model's own. Nothing at all where
    /// somebody asked to stop.
    pub(super) fn reference(&mut self) -> Result<Option<Vec<Vec<u32>>>> {
        let count = self.setup.config.reward.reference_completions;
        let judged = |reason: &str| {
            format!("reward: rewards are normalised by judged completions; {reason}")
        };
        let is_inverse = self.setup.config.reward.demonstrations.is_some();
        let are_own = self.asks() && !self.past.is_later();
        if are_own && !is_inverse {
            self.log.note(judged("they are the fine-tuned model's own"));
            return Ok(Some(Vec::new()));
        }
        if count == 0 {
            self.log.note(judged("`reward.reference_completions` is 0"));
            return Ok(Some(Vec::new()));
        }
        let prompts = self.reference_prompts(count)?;
        if prompts.is_empty() {
            self.log.note(judged("no prompt leaves the model room to answer"));
            return Ok(Some(Vec::new()));
        }
        self.log.note(format!(
            "reward: the fine-tuned model completes {} training prompts; rewards are normalised by these",
            prompts.len()
        ));
        self.sample_reference(&prompts)
    }

    /// Training prompts in a seeded order, as far as they leave room for a completion.
    fn reference_prompts(&self, count: usize) -> Result<Vec<Prompt>> {
        let all = &self.setup.world.prompts.train;
        let room = self.setup.room().min(self.setup.config.reward.max_tokens);
        let seed = self.seed(Stage::Reward).child("reference prompts");
        let order = RowOrder::new(all.len(), seed).batch(0, all.len());
        let mut prompts = Vec::with_capacity(count);
        for place in order {
            let prompt = self.setup.prompt(&all[place])?;
            if (1..=room).contains(&prompt.tokens.len()) {
                prompts.push(prompt);
            }
            if prompts.len() == count {
                break;
            }
        }
        Ok(prompts)
    }

    /// A completion of each prompt, as reinforcement learning would sample it at its beginning.
    fn sample_reference(&self, prompts: &[Prompt]) -> Result<Option<Vec<Vec<u32>>>> {
        /// Prompts between two looks at whether somebody asked to stop.
        const N_PROMPTS: usize = 64;
        let model = load_causal_lm::<B>(&self.sft_model()?, &self.device)?.valid();
        let Setup { config, tokenizer, .. } = &self.setup;
        let Ends { tokens: ends, texts } = self.setup.ends();
        let rl = &config.rl;
        let sampling = rl.sampling(rl.at(0).temperature, tokenizer.special().eos);
        let sampler = Sampler::new(&model, &Sampling { ends, ..sampling }, &self.device)?;
        let behind = self.setup.behind_replies();
        let row = |Sampled { completion, .. }: Sampled| {
            let mut row = completion.sequence();
            if completion.finished {
                row.extend(&behind);
            }
            let n_over = row.len().saturating_sub(config.reward.max_tokens);
            row.split_off(n_over)
        };
        let seed = self.seed(Stage::Reward).child("reference");
        let mut rows = Vec::with_capacity(prompts.len());
        for (part, prompts) in (0..).zip(prompts.chunks(N_PROMPTS)) {
            if self.workers.any(self.interrupt.is_set()) {
                return Ok(None);
            }
            let mine = self.workers.share(prompts).into_iter().cloned().collect();
            let seeds = self.workers.row_seeds(seed.index(part));
            let sampled = sample_until(&sampler, mine, tokenizer, &texts, seeds)?;
            rows.extend(self.workers.merge(sampled.into_iter().map(row).collect())?);
        }
        Ok(Some(rows))
    }
}
