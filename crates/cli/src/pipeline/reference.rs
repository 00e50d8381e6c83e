use anyhow::Result;
use burn::module::AutodiffModule;
use rein_data::batches::RowOrder;
use rein_model::backend::LmAutodiffBackend;
use rein_model::{Sampler, Sampling, load_causal_lm};
use rein_ppo::rollout::{Prompt, sample_until};

use super::Session;
use crate::config::Stage;
use crate::world::Judgements;

impl<B: LmAutodiffBackend> Session<B> {
    /// Completions of the fine-tuned model, with their prompts, by which the reward model's scores are normalised. None
    /// where the judged completions do: those that simulated people judged are the model's own.
    pub(super) fn reference(&mut self) -> Result<Vec<Vec<u32>>> {
        let count = self.setup.config.reward.reference_completions;
        let judged = |reason: &str| {
            format!("reward: scores of judged completions have mean 0 and deviation 1; {reason}")
        };
        if matches!(self.setup.world.judgements, Judgements::Simulated) {
            self.log.note(judged("they are the fine-tuned model's own"));
            return Ok(Vec::new());
        }
        if count == 0 {
            self.log.note(judged("`reward.reference_completions` is 0"));
            return Ok(Vec::new());
        }
        let prompts = self.reference_prompts(count)?;
        if prompts.is_empty() {
            self.log.note(judged("no prompt leaves the model room to answer"));
            return Ok(Vec::new());
        }
        let rows = self.sample_reference(prompts)?;
        self.log.note(format!(
            "reward: scores of {} completions that the fine-tuned model gave to training prompts have mean 0 and \
             deviation 1",
            rows.len()
        ));
        Ok(rows)
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
    fn sample_reference(&self, prompts: Vec<Prompt>) -> Result<Vec<Vec<u32>>> {
        let model = load_causal_lm::<B>(&self.sft_model()?, &self.device)?.valid();
        let rl = &self.setup.config.rl;
        let tokenizer = &self.setup.tokenizer;
        let ends = self.setup.ends();
        let eos = tokenizer.special().eos;
        let sampling = Sampling { ends: ends.tokens, ..rl.sampling(rl.at(0).temperature, eos) };
        let sampler = Sampler::new(&model, &sampling, &self.device)?;
        let mine = self.workers.share(&prompts).into_iter().cloned().collect();
        let seeds = self.workers.row_seeds(self.seed(Stage::Reward).child("reference"));
        let sampled = sample_until(&sampler, mine, tokenizer, &ends.texts, seeds)?;
        let behind = self.setup.behind_replies();
        let row = |it: rein_ppo::rollout::Sampled| {
            let mut row = it.completion.sequence();
            if it.completion.finished {
                row.extend(&behind);
            }
            let n_over = row.len().saturating_sub(self.setup.config.reward.max_tokens);
            row.split_off(n_over)
        };
        Ok(self.workers.merge(sampled.into_iter().map(row).collect())?)
    }
}
