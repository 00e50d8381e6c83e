//! Shown replies of a policy, token by token: how far it is from the fine-tuned model there, and what the value model
//! expected.

use std::path::Path;

use anyhow::Result;
use rein_data::encoding::TokenRow;
use rein_data::example::Completion;
use rein_data::text_stream::TextStream;
use rein_data::tokenizer::Tokenizer;
use rein_model::backend::{LmAutodiffBackend, LmBackend};
use rein_model::logprobs::{learned_hidden, row_logprobs};
use rein_model::tokens::{LearnedTokens, host};
use rein_model::{CausalLm, load_causal_lm, load_scalar_model};
use rein_ppo::ActorCritic;
use rein_ppo::rollout::row_values;
use rein_ppo::train::{VALUE_HEAD, VALUE_MODEL};
use rein_ppo::trpo::logits::{Logits, divergence};
use serde::{Deserialize, Serialize};

use super::Session;
use super::evaluate::ModelReport;

/// A token of a shown reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ShownToken {
    /// What it adds to the reply: nothing where a character isn't whole yet, and at the end.
    pub(crate) text: String,
    /// `log p − log p_sft` of the token, in nats, at the sampling temperature.
    pub(crate) log_ratio: f32,
    /// `KL(p ‖ p_sft)` over the vocabulary in its place, in nats, at the same temperature.
    pub(crate) kl: f32,
    /// What the value model expected before it, in units of the reward that was optimised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<f32>,
}

impl<B: LmAutodiffBackend> Session<B> {
    /// Tells of each shown token of a policy how far it is from the fine-tuned model. Of other models there is nothing
    /// to tell, nor of replies whose numbers aren't finite.
    pub(super) fn colour(
        &self,
        report: &mut ModelReport,
        model: &CausalLm<B::InnerBackend>,
        completions: &[Completion],
    ) -> Result<()> {
        let (folder, fine_tuned) = (report.folder.clone(), self.sft_folder()?);
        let Some((folder, fine_tuned)) = folder.zip(fine_tuned) else { return Ok(()) };
        if folder == fine_tuned {
            return Ok(());
        }
        let policy = Policy::<B::InnerBackend> {
            actors: actors(model.clone(), &folder, &self.device)?,
            reference: load_causal_lm(&fine_tuned, &self.device)?,
            temperature: self.setup.config.rl.at_the_end().temperature,
        };
        for (shown, completion) in report.samples.iter_mut().zip(completions) {
            let pieces = pieces(&self.setup.tokenizer, &completion.tokens, &completion.text);
            if let Some(pieces) = pieces.filter(|it| !it.is_empty()) {
                shown.tokens = policy.tokens(completion, pieces, &self.device);
            }
        }
        Ok(())
    }
}

/// The policy of a checkpoint with what says values there: a model of its own, a head, or nothing.
fn actors<B: LmBackend>(
    policy: CausalLm<B>,
    folder: &Path,
    device: &B::Device,
) -> Result<ActorCritic<B>> {
    let beside = |name: &str| Some(folder.parent()?.join(name)).filter(|it| it.exists());
    let value = beside(VALUE_MODEL).map(|it| load_scalar_model(&it, device)).transpose()?;
    let policy = match beside(VALUE_HEAD) {
        Some(head) => policy.with_saved_value_head(&head, device)?,
        None => policy,
    };
    Ok(ActorCritic { policy, value })
}

/// A policy beside the model that it is compared with.
struct Policy<B: LmBackend> {
    actors: ActorCritic<B>,
    reference: CausalLm<B>,
    temperature: f32,
}

impl<B: LmBackend> Policy<B> {
    /// The tokens of a reply, whose texts these are.
    fn tokens(
        &self,
        completion: &Completion,
        pieces: Vec<String>,
        device: &B::Device,
    ) -> Vec<ShownToken> {
        let row = TokenRow::completion(completion.prompt_tokens.clone(), &completion.tokens);
        let rows = [&row];
        let learned = LearnedTokens::<B>::new(&rows, device);
        let [policy, reference] =
            [&self.actors.policy, &self.reference].map(|model| self.logits(model, &learned));
        let [kl, theirs] = divergence(&policy, &reference, learned.targets.clone()).map(host);
        let own = row_logprobs(&self.actors.policy, &rows, self.temperature, 1, device).concat();
        let values = row_values(&self.actors, &rows, 1, device).concat();
        let tokens = pieces.into_iter().enumerate().map(|(place, text)| ShownToken {
            text,
            log_ratio: own[place] - theirs[place],
            kl: kl[place],
            value: values.get(place).copied(),
        });
        let is_finite = |it: &ShownToken| {
            [it.log_ratio, it.kl, it.value.unwrap_or(0.0)].iter().all(|number| number.is_finite())
        };
        let tokens: Vec<ShownToken> = tokens.collect();
        if tokens.iter().all(is_finite) { tokens } else { Vec::new() }
    }

    fn logits(&self, model: &CausalLm<B>, learned: &LearnedTokens<B>) -> Logits<B> {
        let (head, tied) = model.head_weight();
        let hidden = learned_hidden(model, learned);
        Logits { hidden, head, tied, trains_head: false, temperature: self.temperature }
    }
}

/// What each token adds to the reply, which they make together; none where that can't be told apart: there are
/// tokenizers that spell whole characters anew where a later byte makes no sense.
fn pieces(tokenizer: &Tokenizer, tokens: &[u32], reply: &str) -> Option<Vec<String>> {
    let mut stream = TextStream::new(tokenizer);
    let mut texts: Vec<String> = tokens.iter().map(|token| stream.push(*token)).collect();
    if let Some(last) = texts.last_mut() {
        last.push_str(&stream.finish());
    }
    let mut rest = reply;
    let pieces = texts.into_iter().map(|text| {
        // What ends a reply isn't part of it.
        let piece = if text.starts_with(rest) { rest.to_owned() } else { text };
        rest = rest.strip_prefix(piece.as_str())?;
        Some(piece)
    });
    let pieces: Option<Vec<String>> = pieces.collect();
    pieces.filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use rand::RngExt;
    use rein_data::seed::Seed;

    use super::*;

    fn tokenizer() -> Tokenizer {
        Tokenizer::train_bpe(["the cat sat on the mat", "naïve 猫"], 290).expect("trains")
    }

    #[test]
    fn a_character_stands_at_its_last_byte_and_the_end_is_empty() {
        let tokenizer = Tokenizer::train_bpe(["x"], 259).expect("trains");
        let tokens = tokenizer.encode_completion("a猫");
        let told = pieces(&tokenizer, &tokens, "a猫").expect("can be told apart");
        assert_eq!(told, ["a", "", "", "猫", ""]);
    }

    #[test]
    fn a_text_that_ended_the_reply_is_not_part_of_it() {
        let tokenizer = tokenizer();
        let tokens = tokenizer.encode("the cat\nUser:");
        let told = pieces(&tokenizer, &tokens, "the cat").expect("can be told apart");
        assert_eq!((told.len(), told.concat()), (tokens.len(), "the cat".to_owned()));
        assert_eq!(pieces(&tokenizer, &tokens, "the dog"), None);
    }

    #[test]
    fn pieces_are_the_reply_cut_at_tokens() {
        let tokenizer = tokenizer();
        let mut rng = Seed::new(1).rng();
        for _ in 0..300 {
            let n_tokens = rng.random_range(0..40);
            let tokens: Vec<u32> = (0..n_tokens).map(|_| rng.random_range(0..290)).collect();
            let reply = tokenizer.decode(&tokens);
            let told = pieces(&tokenizer, &tokens, &reply).expect("can be told apart");
            assert_eq!((told.len(), told.concat()), (tokens.len(), reply));
        }
    }
}
