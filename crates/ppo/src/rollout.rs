//! Completions of the policy and what everyone says about them.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use burn::prelude::*;
use rein_data::chat::{Closing, closing};
use rein_data::encoding::TokenRow;
use rein_data::example::{Columns, Completion};
use rein_data::seed::RowSeeds;
use rein_data::template::ChatTemplate;
use rein_data::text_stream::StoppingText;
use rein_data::tokenizer::Tokenizer;
use rein_model::backend::LmBackend;
use rein_model::guard::rows_fit;
use rein_model::logprobs::{hidden_at, hidden_cells, row_logprobs, split};
use rein_model::tokens::{LearnedTokens, TokenBatch, host, indices};
use rein_model::{CausalLm, Frozen, Generated, Monitor, Sampler, ScalarModel};
use rein_reward::{Failure, Reward, Scores, scores};
use serde::{Deserialize, Serialize};

use crate::PpoError;
use crate::actor_critic::ActorCritic;
use crate::episode::Episode;

/// One completion and what is known about it before the update. Numbers stand one to a token of the
/// completion, so there is no padding. Of a conversation with several [turns](crate::episode), the
/// completion is all that the policy said, turn after turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Prompt and completion; the completion's tokens are the learned ones.
    pub tokens: TokenRow,
    /// Whether the completion, or its last turn, ended by itself.
    pub finished: bool,
    /// What the policy gave to each token, in nats, at the sampling temperature.
    pub logprobs: Vec<f32>,
    /// What sampling gave to each token, where another policy did it than the one that learns: of another
    /// precision, or of a step before.
    #[serde(default)]
    pub sampled_logprobs: Option<Vec<f32>>,
    /// What the frozen reference gave to it.
    pub reference_logprobs: Vec<f32>,
    /// What the value model expected before each token, and after the last one; nothing without one.
    pub values: Vec<f32>,
    /// The reward of the completion.
    pub score: f32,
    /// What each turn earned of it, where turns are scored one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turn_scores: Vec<f32>,
    /// What each part of a mixed reward gave, before weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub part_scores: Vec<f32>,
    /// The parts of the reward that couldn't judge, and why; 0 where nothing is mixed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_parts: Vec<(usize, String)>,
}

/// The frozen parts of a step.
#[derive(Debug)]
pub struct Judges<'a, B: Backend> {
    /// Where the policy started.
    pub reference: &'a Frozen<CausalLm<B>>,
    /// Rows of a forward pass.
    pub micro_batch_rows: usize,
    /// Where to compute.
    pub device: &'a B::Device,
}

/// A prompt to complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// As people read it.
    pub text: String,
    /// As the policy reads it.
    pub tokens: Vec<u32>,
    /// What else its row says, for rewards.
    pub columns: Columns,
}

impl Prompt {
    /// A text that is a prompt.
    pub fn encode(text: &str, tokenizer: &Tokenizer) -> Self {
        let (text, tokens) = (text.to_owned(), tokenizer.encode_prompt(text));
        Self { text, tokens, columns: Columns::default() }
    }
}

/// What ends a completion before its length limit does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Any of these tokens.
    pub tokens: Vec<u32>,
    /// Any of these texts, which don't belong to the completion's text.
    pub texts: Vec<String>,
}

impl Ends {
    /// The end of sequence.
    pub fn of_texts(tokenizer: &Tokenizer) -> Self {
        Self { tokens: vec![tokenizer.special().eos], texts: Vec::new() }
    }

    /// The end of sequence, and what a chat template writes behind a reply.
    pub fn of_turns(tokenizer: &Tokenizer, template: &ChatTemplate) -> Self {
        let mut ends = Self::of_texts(tokenizer);
        match closing(template, tokenizer) {
            Some(Closing::Token(token)) if !ends.tokens.contains(&token) => ends.tokens.push(token),
            Some(Closing::Text(text)) => ends.texts.push(text),
            Some(Closing::Token(_)) | None => {}
        }
        ends
    }
}

/// A completion, and what sampling gave to each of its tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    /// What came.
    pub completion: Completion,
    /// In nats, at the sampling temperature, one to a token.
    pub logprobs: Vec<f32>,
}

/// Samples a completion of each prompt. Row `i` draws from `seeds.of(i)`.
pub fn sample<B: LmBackend>(
    sampler: &Sampler<B>,
    prompts: Vec<Prompt>,
    tokenizer: &Tokenizer,
    seeds: impl Into<RowSeeds>,
) -> Result<Vec<Sampled>, PpoError> {
    sample_until(sampler, prompts, tokenizer, &[], seeds)
}

/// [`sample`], but that these texts end a completion, too.
pub fn sample_until<B: LmBackend>(
    sampler: &Sampler<B>,
    prompts: Vec<Prompt>,
    tokenizer: &Tokenizer,
    texts: &[String],
    seeds: impl Into<RowSeeds>,
) -> Result<Vec<Sampled>, PpoError> {
    let (asked, tokens): (Vec<(String, Columns)>, Vec<Vec<u32>>) =
        prompts.into_iter().map(|it| ((it.text, it.columns), it.tokens)).unzip();
    let mut reader = Reader { tokenizer, stops: texts.into(), rows: HashMap::new() };
    let mut batches = sampler.batches(&tokens, seeds)?;
    let mut generated = Vec::with_capacity(asked.len());
    while let Some(batch) = batches.next(&mut reader) {
        generated.extend(batch);
    }
    let rows = asked.into_iter().zip(tokens).zip(generated).enumerate();
    Ok(rows
        .map(|(row, (((prompt, columns), prompt_tokens), generated))| {
            let finished = generated.finished();
            let text = reader.text(row, &generated);
            let Generated { tokens, logprobs, .. } = generated;
            let completion = Completion { prompt, prompt_tokens, finished, text, tokens, columns };
            Sampled { completion, logprobs }
        })
        .collect())
}

/// Reads along where texts end completions.
struct Reader<'a> {
    tokenizer: &'a Tokenizer,
    stops: Arc<[String]>,
    rows: HashMap<usize, StoppingText>,
}

impl Reader<'_> {
    /// A completion's text, without the one that ended it.
    fn text(&mut self, row: usize, generated: &Generated) -> String {
        match self.rows.remove(&row) {
            Some(text) => text.text().to_owned(),
            None => self.tokenizer.decode(&generated.tokens),
        }
    }
}

impl Monitor for Reader<'_> {
    fn begin(&mut self, row: usize) {
        if !self.stops.is_empty() {
            self.rows.insert(row, StoppingText::new(self.tokenizer, self.stops.clone(), 0));
        }
    }

    fn token(&mut self, row: usize, token: u32) -> ControlFlow<()> {
        let Some(text) = self.rows.get_mut(&row) else { return ControlFlow::Continue(()) };
        text.push(token);
        if text.is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn accept(&mut self, row: usize, _: &Generated) -> bool {
        if let Some(text) = self.rows.get_mut(&row) {
            text.finish();
        }
        true
    }
}

/// Lets policy, reference, value model and reward look at completions.
///
/// # Errors
/// Those of the reward, and completions that the policy has no positions for.
pub fn collect<B: LmBackend>(
    actors: &ActorCritic<B>,
    judges: &Judges<'_, B>,
    reward: &dyn Reward,
    completions: &[Completion],
    temperature: f32,
) -> Result<Vec<Row>, PpoError> {
    let Scores { total, parts, failures } = scores(reward, completions)?;
    let episodes = completions.iter().zip(total).enumerate();
    let episodes = episodes.map(|(place, (completion, score))| Episode {
        tokens: TokenRow::completion(completion.prompt_tokens.clone(), &completion.tokens),
        finished: completion.finished,
        score,
        turn_scores: Vec::new(),
        part_scores: parts.iter().map(|part| part[place]).collect(),
    });
    let mut rows = appraise(actors, judges, episodes.collect(), temperature)?;
    for Failure { row, part, reason } in failures {
        rows[row].failed_parts.push((part, reason));
    }
    Ok(rows)
}

/// Lets policy, reference and value model look at conversations that are scored already.
///
/// The policy's log-probabilities are computed here, by the very pass that the update uses, and not
/// taken from sampling: so the first ratio is 1.
///
/// # Errors
/// A conversation that the policy has no positions for, or a token that it doesn't have.
pub fn appraise<B: LmBackend>(
    actors: &ActorCritic<B>,
    judges: &Judges<'_, B>,
    episodes: Vec<Episode>,
    temperature: f32,
) -> Result<Vec<Row>, PpoError> {
    let Judges { reference, micro_batch_rows, device, .. } = *judges;
    let tokens: Vec<&[u32]> = episodes.iter().map(|it| &it.tokens.tokens[..]).collect();
    rows_fit(actors.policy.config(), &tokens, 0)?;
    let rows: Vec<&TokenRow> = episodes.iter().map(|it| &it.tokens).collect();
    let logprobs = row_logprobs(&actors.policy, &rows, temperature, micro_batch_rows, device);
    let references = reference.row_logprobs(&rows, temperature, micro_batch_rows, device);
    let values = row_values(actors, &rows, micro_batch_rows, device);
    let judged = logprobs.into_iter().zip(references).zip(values);
    Ok(episodes
        .into_iter()
        .zip(judged)
        .map(|(episode, ((logprobs, reference_logprobs), values))| Row {
            tokens: episode.tokens,
            finished: episode.finished,
            logprobs,
            sampled_logprobs: None,
            reference_logprobs,
            values,
            score: episode.score,
            turn_scores: episode.turn_scores,
            part_scores: episode.part_scores,
            failed_parts: Vec::new(),
        })
        .collect())
}

/// What is to be expected before each learned token and after the last one, if anybody says so, in units of the
/// reward; nothing for each row if nobody does. Before the first token of a turn others' words since the turn before have
/// been read.
pub fn row_values<B: LmBackend>(
    actors: &ActorCritic<B>,
    rows: &[&TokenRow],
    micro_batch_rows: usize,
    device: &B::Device,
) -> Vec<Vec<f32>> {
    let micro_batches = rows.chunks(micro_batch_rows);
    micro_batches
        .flat_map(|rows| {
            let learned = LearnedTokens::<B>::new(rows, device);
            let slots: Vec<usize> = rows.iter().map(|row| row.n_learned() + 1).collect();
            let cells = value_cells(&learned, rows, &slots);
            let values = match &actors.value {
                Some(model) => values_at(model, &learned.batch, &cells),
                None if actors.policy.value_head.is_some() => {
                    let hidden = hidden_cells(&actors.policy, &learned);
                    actors.policy.values(hidden_at(&hidden, &cells))
                }
                None => return vec![Vec::new(); rows.len()],
            };
            split(&host(values), slots.into_iter())
        })
        .collect()
}

/// The cells whose values a row needs: the one before each learned token, and the last token's
/// where one slot more is asked for.
pub(crate) fn value_cells<B: LmBackend>(
    learned: &LearnedTokens<B>,
    rows: &[&TokenRow],
    slots: &[usize],
) -> Vec<usize> {
    let mut before = learned.before.iter();
    let mut cells = Vec::new();
    for (row, n_slots) in rows.iter().zip(slots) {
        cells.extend(before.by_ref().take(row.n_learned()));
        if *n_slots > row.n_learned() {
            let last = cells.last().expect("a completion has tokens");
            cells.push(last + 1);
        }
    }
    cells
}

/// A value model's numbers at some cells of a batch, `[cells]`.
pub(crate) fn values_at<B: LmBackend>(
    model: &ScalarModel<B>,
    batch: &TokenBatch<B>,
    cells: &[usize],
) -> Tensor<B, 1> {
    let [n_rows, n_time] = batch.dims();
    let values = model.values(batch).reshape([n_rows * n_time]);
    values.select(0, indices(cells, &batch.ids.device()))
}
