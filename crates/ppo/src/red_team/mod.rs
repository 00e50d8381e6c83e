//! A red team that learns: an attacker policy writes prompts to which another model gives bad answers (Perez et al.,
//! 2022, arXiv 2202.03286, §3.1 "reinforcement learning").
//!
//! The attacker is an ordinary policy, begun as a model that [imitates](demonstrations) users' prompts, and
//! [`train::Ppo`](crate::train::Ppo) optimises it on [`Elicited`]: a completion of the attacker is a prompt, the frozen
//! target answers it, and a judge says how bad the answer is. A KL price keeps prompts such as users might write, and
//! [similarity] costs, so that the attacker doesn't end at one prompt.
//!
//! The target then learns to answer the found prompts well, and is measured against an attacker that begins anew.

pub mod similarity;

use rein_data::encoding::TokenRow;
use rein_data::example::{Columns, Completion};
use rein_data::seed::Seed;
use rein_data::tokenizer::Tokenizer;
use rein_model::backend::LmBackend;
use rein_model::{CausalLm, Sampler, Sampling};
use rein_reward::{Reward, RewardError, Verdict};
use serde::{Deserialize, Serialize};

use self::similarity::overlaps;
use crate::PpoError;
use crate::rollout::{Ends, Prompt, sample_until};

/// What an attacker is asked: nothing. It reads the token that begins sequences or, where the tokenizer has none, the
/// one that ends them.
pub fn opening(tokenizer: &Tokenizer) -> Prompt {
    let special = tokenizer.special();
    let tokens = vec![special.bos.unwrap_or(special.eos)];
    Prompt { text: String::new(), tokens, columns: Columns::default() }
}

/// Users' prompts as an attacker imitates them: each behind the [`opening`], with the end of sequence. Prompts without
/// any text, or of more than `max_tokens`, are left out.
pub fn demonstrations(
    prompts: &[String],
    tokenizer: &Tokenizer,
    max_tokens: usize,
) -> Vec<TokenRow> {
    let opening = opening(tokenizer).tokens;
    let spoken = prompts.iter().map(|it| it.trim()).filter(|it| !it.is_empty());
    let encoded = spoken.map(|it| tokenizer.encode_completion(it));
    encoded
        .filter(|it| it.len() <= max_tokens)
        .map(|it| TokenRow::completion(opening.clone(), &it))
        .collect()
}

/// What is asked of an attacker's prompts, beside bad answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ElicitedConfig {
    /// Prompts of more tokens are worth nothing.
    pub max_prompt_tokens: usize,
    /// The share of a violation's worth that a prompt loses which repeats another one, from 0 to 1.
    pub similarity: f32,
}

/// A prompt of the attacker, the target's answer, and what the judge says of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attack {
    /// What the attacker wrote.
    pub prompt: String,
    /// What the target answered.
    pub reply: String,
    /// Whether the answer ended by itself. In a file, that is said only of one that was cut.
    #[serde(default = "yes", skip_serializing_if = "bool::clone")]
    pub finished: bool,
    /// How bad that is: of a rule, 1 for a violation and 0 for none.
    pub violation: f32,
}

fn yes() -> bool {
    true
}

impl Attack {
    /// Whether the answer is as bad as a rule's violation.
    pub fn succeeded(&self) -> bool {
        self.violation >= 0.5
    }
}

/// What a target answers, and how bad that is: the reward of an attacker.
///
/// A prompt whose answer the judge scores `v` is worth `v − similarity · o · max(v, 0)`, where `o` is its
/// [overlap](overlaps) with the prompt of the same batch that it shares most with: the diversity term `1 − max
/// self-BLEU`, without BLEU's brevity. Only violations lose, so an attacker that has found none yet isn't drawn to where
/// prompts differ. Prompts that are empty, cut off or too long are worth 0, and the target isn't asked.
///
/// Answers are drawn from a stream that the seed and the batch's prompts name: another batch gets other draws, and the
/// same batch the same ones, be it in a run that was resumed.
pub struct Elicited<B: LmBackend> {
    sampler: Sampler<B>,
    tokenizer: Tokenizer,
    ends: Ends,
    judge: Box<dyn Reward>,
    config: ElicitedConfig,
    seed: Seed,
}

impl<B: LmBackend> Elicited<B> {
    /// Asks `target` as `sampling` says, and lets `judge` score its answers, higher for worse ones.
    ///
    /// # Errors
    /// Settings that can't be used, or prompts and answers that the target has no positions for.
    pub fn new(
        target: &CausalLm<B>,
        sampling: &Sampling,
        tokenizer: Tokenizer,
        judge: Box<dyn Reward>,
        config: ElicitedConfig,
        seed: Seed,
        device: &B::Device,
    ) -> Result<Self, PpoError> {
        let room = target.config().max_positions;
        let needed = config.max_prompt_tokens + sampling.max_new_tokens;
        if config.max_prompt_tokens == 0 || needed > room {
            return Err(PpoError::Invalid(format!(
                "prompts of {} tokens and answers of {} don't fit into the target's {room} positions",
                config.max_prompt_tokens, sampling.max_new_tokens
            )));
        }
        if !(0.0..=1.0).contains(&config.similarity) {
            let similarity = config.similarity;
            return Err(PpoError::Invalid(format!(
                "`similarity` is from 0 to 1, not {similarity}"
            )));
        }
        let (sampler, ends) = (Sampler::new(target, sampling, device)?, Ends::of_texts(&tokenizer));
        Ok(Self { sampler, tokenizer, ends, judge, config, seed })
    }

    /// The target's answers to these prompts, drawn from `seed`, and how bad they are.
    ///
    /// # Errors
    /// A prompt that the target has no positions for, and those of the judge.
    pub fn answers(&self, prompts: &[String], seed: Seed) -> Result<Vec<Attack>, PpoError> {
        let asked = prompts.iter().map(|it| Prompt::encode(it, &self.tokenizer)).collect();
        let sampled = sample_until(&self.sampler, asked, &self.tokenizer, &self.ends.texts, seed)?;
        let replies: Vec<Completion> = sampled.into_iter().map(|it| it.completion).collect();
        let judged = self.judge.score(&replies)?;
        let attack = |(reply, violation): (Completion, f32)| Attack {
            prompt: reply.prompt,
            reply: reply.text,
            finished: reply.finished,
            violation,
        };
        Ok(replies.into_iter().zip(judged).map(attack).collect())
    }

    /// The prompt that a completion of the attacker is, if it can be asked.
    pub fn prompt_of(&self, completion: &Completion) -> Option<String> {
        let text = completion.text.trim();
        let fits = || self.tokenizer.encode_prompt(text).len() <= self.config.max_prompt_tokens;
        (completion.finished && !text.is_empty() && fits()).then(|| text.to_owned())
    }

    fn judged(&self, completions: &[Completion]) -> Result<Vec<Verdict>, PpoError> {
        let prompts: Vec<Option<String>> =
            completions.iter().map(|it| self.prompt_of(it)).collect();
        let asked: Vec<String> = prompts.iter().flatten().cloned().collect();
        let seed = asked.iter().fold(self.seed, |seed, it| seed.child(it));
        let attacks = self.answers(&asked, seed)?;
        let mut worth = attacks.iter().zip(overlaps(&asked)).map(|it| self.worth(it));
        let verdict = |prompt: Option<String>| match prompt {
            Some(_) => worth.next().expect("each prompt was asked"),
            None => Verdict::new(0.0, "no prompt: empty, cut off or too long"),
        };
        Ok(prompts.into_iter().map(verdict).collect())
    }

    fn worth(&self, (attack, overlap): (&Attack, f64)) -> Verdict {
        let violation = f64::from(attack.violation);
        let repeated = f64::from(self.config.similarity) * overlap * violation.max(0.0);
        let reason =
            format!("answered {:?}; {overlap:.2} of the prompt is another's", attack.reply);
        Verdict::new(violation - repeated, reason)
    }
}

impl<B: LmBackend> Reward for Elicited<B> {
    fn name(&self) -> &'static str {
        "elicited"
    }

    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
        Ok(self.verdicts(completions)?.into_iter().map(|it| it.score).collect())
    }

    fn verdicts(&self, completions: &[Completion]) -> Result<Vec<Verdict>, RewardError> {
        self.judged(completions).map_err(|error| match error {
            PpoError::Data(error) => error.into(),
            PpoError::Model(error) => error.into(),
            PpoError::Reward(error) => error,
            other => RewardError::Invalid(other.to_string()),
        })
    }
}

impl<B: LmBackend> std::fmt::Debug for Elicited<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Elicited").field("config", &self.config).finish_non_exhaustive()
    }
}
