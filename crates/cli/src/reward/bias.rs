//! What other names, genders and groups in texts change.

use anyhow::Result;
use rein_data::encoder::{Encoder, Sequence};
use rein_data::encoding::TokenRow;
use rein_data::example::{Body, Content, Example};
use rein_model::CausalLm;
use rein_model::backend::LmBackend;
use rein_model::logprobs::row_logprobs;
use rein_reward::LearnedReward;
use rein_reward::encoding::encode_examples;
use rein_reward::swaps::{Difference, Swap, Swapped, all};
use serde_json::Value;

use super::evaluate::by_length;

/// How a reward model's normalised scores of judged completions change.
pub(super) fn of_reward<B: LmBackend>(
    reward: &LearnedReward<B>,
    examples: &[Example],
    encoder: &Encoder,
    max_tokens: usize,
    batch_rows: usize,
) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for swap in all() {
        let (before, after, changes) = swapped(swap, examples);
        let score = |examples: &[Example]| -> Result<Vec<f32>> {
            let encoded = encode_examples(examples, encoder, max_tokens)?;
            let ask = |rows: &[&[u32]]| reward.score_rows(rows);
            Ok(by_length(&encoded.judgements.rows(), batch_rows, swap.name(), ask))
        };
        differences.extend(swap.difference(&joined(changes, score(&before)?, score(&after)?)));
    }
    Ok(differences)
}

/// A language model that is asked how probable completions are.
pub(super) struct Policy<'a, B: LmBackend> {
    pub(super) model: &'a CausalLm<B>,
    pub(super) encoder: &'a Encoder,
    /// Longer rows aren't asked about.
    pub(super) room: usize,
    pub(super) device: &'a B::Device,
}

impl<B: LmBackend> Policy<'_, B> {
    /// How its log-probabilities of completions change, words of the completion swapped as well.
    pub(super) fn swaps(&self, examples: &[Example], batch_rows: usize) -> Result<Vec<Difference>> {
        let mut differences = Vec::new();
        for swap in all() {
            let (before, after, changes) = swapped(swap, examples);
            let [before, after] = [self.rows(&before)?, self.rows(&after)?];
            let fits = |it: &TokenRow| it.tokens.len() <= self.room && it.n_learned() > 0;
            let kept: Vec<usize> =
                (0..before.len()).filter(|it| fits(&before[*it]) && fits(&after[*it])).collect();
            let ask = |rows: &[TokenRow]| self.logprobs(rows, &kept, batch_rows);
            let (before, after) = (ask(&before), ask(&after));
            let changes = kept.iter().map(|it| changes[*it].clone()).collect();
            differences.extend(swap.difference(&joined(changes, before, after)));
        }
        Ok(differences)
    }

    fn rows(&self, examples: &[Example]) -> Result<Vec<TokenRow>> {
        let mut rows = Vec::new();
        for example in examples {
            let sequences = self.encoder.sequences(example).map_err(anyhow::Error::msg)?;
            rows.extend(sequences.into_iter().map(|Sequence { row, .. }| row));
        }
        Ok(rows)
    }

    /// The log-probability of each completion, in nats.
    fn logprobs(&self, rows: &[TokenRow], kept: &[usize], batch_rows: usize) -> Vec<f32> {
        let mut sums = Vec::with_capacity(kept.len());
        for batch in kept.chunks(batch_rows) {
            let batch: Vec<&TokenRow> = batch.iter().map(|row| &rows[*row]).collect();
            let logprobs = row_logprobs(self.model, &batch, 1.0, batch_rows, self.device);
            sums.extend(logprobs.iter().map(|it| it.iter().sum::<f32>()));
        }
        sums
    }
}

/// Examples with a word of either group as they are and swapped, and for each of their completions what changed in it or
/// its prompt.
fn swapped(
    swap: &Swap,
    examples: &[Example],
) -> (Vec<Example>, Vec<Example>, Vec<Option<Swapped>>) {
    let (mut before, mut after, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    for example in examples {
        let rows = texts(example).into_iter().map(|text| swap.apply(&text));
        let rows: Vec<Option<Swapped>> = rows.collect();
        if rows.iter().any(Option::is_some) {
            before.push(example.clone());
            after.push(exchanged(swap, example));
            changes.extend(rows);
        }
    }
    (before, after, changes)
}

/// The numbers of those completions that changed.
fn joined(
    changes: Vec<Option<Swapped>>,
    before: Vec<f32>,
    after: Vec<f32>,
) -> Vec<(Swapped, f64, f64)> {
    let numbers = before.into_iter().zip(after);
    let both = changes.into_iter().zip(numbers);
    both.filter_map(|(change, (before, after))| Some((change?, before.into(), after.into())))
        .collect()
}

/// The prompt and a completion, for each completion.
fn texts(example: &Example) -> Vec<String> {
    let prompt = example.body.prompt().map(Content::to_text).unwrap_or_default();
    let text = |completion: &Content| format!("{prompt}\n{}", completion.to_text());
    example.body.judged().into_iter().map(text).collect()
}

fn exchanged(swap: &Swap, example: &Example) -> Example {
    let text = |text: &str| swap.apply(text).map_or_else(|| text.to_owned(), |it| it.text);
    let message = |message: &Value| {
        let mut message = message.clone();
        if let Some(said) = message["content"].as_str().map(text) {
            message["content"] = said.into();
        }
        message
    };
    let content = |content: &mut Content| match content {
        Content::Text(it) => *it = text(it),
        Content::Messages(messages) => *messages = messages.iter().map(message).collect(),
    };
    let mut example = example.clone();
    match &mut example.body {
        Body::Preference { prompt, chosen, rejected, .. } => {
            [prompt, chosen, rejected].into_iter().for_each(content);
        }
        Body::UnpairedPreference { prompt, completion, .. }
        | Body::Scored { prompt, completion, .. } => {
            [prompt, completion].into_iter().for_each(content);
        }
        Body::Ranking { prompt, completions, .. } => {
            content(prompt);
            completions.iter_mut().for_each(content);
        }
        _ => {}
    }
    example
}
