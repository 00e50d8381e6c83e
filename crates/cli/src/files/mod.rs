//! People's own demonstrations, read from disk as often as they are needed and never kept whole.

mod sample;
mod store;

use std::path::Path;

use anyhow::{Result, bail};
use rein_data::DataError;
use rein_data::example::{Body, Columns, Content, Demonstration, Example, best_ranked};
use rein_data::mix::Mix;
use rein_data::schema::{Examples, Located, Schema};
use rein_data::seed::Seed;
use serde_json::{Map, Value};

use self::sample::Sample;
use crate::config::{FilesConfig, MixedSet};
use crate::world::{Parts, Question, opening as words, place};

pub(crate) use self::store::{RowsFolder, Stored, encode};

/// Words of a text without a prompt that make one.
const OPENING_WORDS: usize = 4;

/// The demonstrations that a config names.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) config: FilesConfig,
    /// Columns that rewards and judges read: every prompt must have them.
    columns: Parts<String>,
    seed: Seed,
}

type Rows = Box<dyn Iterator<Item = Result<Located, DataError>>>;

/// What a look at all demonstrations gives: some of them, at most.
#[derive(Clone, Debug)]
pub(crate) struct Glimpse {
    /// Texts that a tokenizer can be trained on.
    pub(crate) texts: Vec<Demonstration>,
    /// What a model can be asked.
    pub(crate) prompts: Parts<Question>,
}

impl Files {
    pub(crate) fn new(config: FilesConfig, seed: Seed) -> Self {
        Self { config, columns: Parts::default(), seed }
    }

    /// The demonstrations whose prompts bring these columns along.
    pub(crate) fn with_columns(self, columns: Parts<String>) -> Self {
        Self { columns, ..self }
    }

    /// Demonstrations to train on, mixed if there are several sets.
    pub(crate) fn train(&self) -> Result<Rows, DataError> {
        let share = self.share();
        let sets = self.config.sets().into_iter().map(move |MixedSet { path, weight, schema }| {
            (weight, move || open(&path, schema, move |it| !is_heldout(it, share)))
        });
        let mut sets: Vec<_> = sets.collect();
        if sets.len() == 1 {
            return sets.remove(0).1();
        }
        Ok(Box::new(Mix::new(sets, self.config.mix_until, self.seed.child("mix"))?))
    }

    /// Demonstrations to measure with, set by set.
    pub(crate) fn heldout(&self) -> Result<Rows, DataError> {
        if let Some(path) = &self.config.heldout {
            return open(path, self.config.schema, |_| true);
        }
        let share = self.share();
        if share == 0.0 {
            return Ok(Box::new(std::iter::empty()));
        }
        let sets = self
            .config
            .sets()
            .into_iter()
            .map(move |set| open(&set.path, set.schema, move |it| is_heldout(it, share)));
        let sets: Vec<Rows> = sets.collect::<Result<_, _>>()?;
        Ok(Box::new(sets.into_iter().flatten()))
    }

    fn share(&self) -> f64 {
        if self.config.heldout.is_some() { 0.0 } else { self.config.heldout_share }
    }

    /// Looks at every row once, so that whatever is wrong with one is told before anything begins.
    pub(crate) fn glimpse(&self) -> Result<Glimpse> {
        let mut texts = Sample::new(self.seed.child("texts"));
        let mut train = Sample::new(self.seed.child("prompts"));
        let mut heldout = Sample::new(self.seed.child("heldout prompts"));
        let mut n_rows = [0; 2];
        for located in self.train()? {
            let located = located?;
            if let Body::PromptOnly(_) = located.example.body {
                let reason = "a prompt alone is no demonstration; a completion must follow it";
                return Err(located.refuse(reason).into());
            }
            let columns = self.columns_of(&located, &self.columns.train)?;
            let Located { example, .. } = located;
            n_rows[0] += 1;
            texts.offer(|| demonstration(&example));
            train.offer(|| opening(example, columns));
        }
        for located in self.heldout()? {
            let located = located?;
            let columns = self.columns_of(&located, &self.columns.heldout)?;
            n_rows[1] += 1;
            heldout.offer(|| opening(located.example, columns));
        }
        let must_hold_out = self.config.heldout.is_some() || self.config.heldout_share > 0.0;
        if n_rows[0] == 0 || n_rows[1] == 0 && must_hold_out {
            let [train, _] = self.config.origins();
            let [n_train, n_heldout] = n_rows;
            bail!(
                "{train}: too few prompts to split: {n_train} rows to train on and {n_heldout} held out"
            );
        }
        let prompts = Parts { train: train.items(), heldout: heldout.items() };
        Ok(Glimpse { texts: texts.items(), prompts })
    }

    /// What rewards and judges read of a row: other columns, or the completion that is demonstrated.
    fn columns_of(&self, located: &Located, names: &[String]) -> Result<Columns, DataError> {
        let Example { body, extra, .. } = &located.example;
        let value = |name: &String| {
            let value = extra.get(name).cloned().or_else(|| match body {
                Body::PromptCompletion { completion, .. } if name == "completion" => {
                    Some(completion.to_text().into())
                }
                _ => None,
            });
            let value = value.filter(|it| !it.is_null()).ok_or_else(|| {
                let is_rewards = self.columns.train.contains(name);
                let who = if is_rewards { "a rule of `rl.rewards`" } else { "`evaluate`" };
                located.refuse(format!("has no column `{name}`, which {who} reads"))
            });
            Ok((name.clone(), value?))
        };
        Ok(names.iter().map(value).collect::<Result<Map<_, _>, DataError>>()?.into())
    }
}

fn open(
    path: &Path,
    schema: Option<Schema>,
    keep: impl Fn(&Example) -> bool + 'static,
) -> Result<Rows, DataError> {
    let rows = Examples::open(path, schema)?;
    Ok(Box::new(rows.filter(move |row| row.as_ref().map_or(true, |it| keep(&it.example)))))
}

/// Rows are split by a hash of their prompt, so that all rows of a prompt fall on one side, and on the
/// same one in every run. What has no prompt is its own.
fn is_heldout(example: &Example, share: f64) -> bool {
    if share == 0.0 {
        return false;
    }
    let key = |content: &Content| match content {
        Content::Text(text) => text.clone(),
        Content::Messages(messages) => Value::from(messages.clone()).to_string(),
    };
    let key = match &example.body {
        Body::LanguageModeling(whole) | Body::PromptOnly(whole) => key(whole),
        Body::PromptCompletion { prompt, completion: answer }
        | Body::Preference { prompt, chosen: answer, .. }
        | Body::Scored { prompt, completion: answer, .. }
        | Body::UnpairedPreference { prompt, completion: answer, .. } => {
            let prompt = key(prompt);
            if prompt.is_empty() { key(answer) } else { prompt }
        }
        Body::Ranking { prompt, .. } => key(prompt),
    };
    place(&key) < share
}

/// What the model imitates, as texts, and how large they are.
fn demonstration(example: &Example) -> Option<(Demonstration, usize)> {
    let (prompt, completion) = match &example.body {
        Body::LanguageModeling(whole) => (String::new(), whole.to_text()),
        Body::PromptCompletion { prompt, completion: answer }
        | Body::Preference { prompt, chosen: answer, .. }
        | Body::Scored { prompt, completion: answer, .. }
        | Body::UnpairedPreference { prompt, completion: answer, .. } => {
            (prompt.to_text(), answer.to_text())
        }
        Body::Ranking { prompt, completions, ranks } => {
            (prompt.to_text(), completions[best_ranked(ranks)?].to_text())
        }
        Body::PromptOnly(_) => return None,
    };
    let n_bytes = prompt.len() + completion.len();
    Some((Demonstration { prompt, completion }, n_bytes))
}

/// What a model can be asked, and how large that is.
fn opening(example: Example, columns: Columns) -> Option<(Question, usize)> {
    let n_more: usize = columns.iter().map(|(name, it)| name.len() + it.to_string().len()).sum();
    let (question, n_bytes) = question(example)?;
    Some((Question { columns, ..question }, n_bytes + n_more))
}

/// What a model can be asked of an example, and how large that is; nothing of one that is empty.
pub(crate) fn question(example: Example) -> Option<(Question, usize)> {
    let prompt = match example.body {
        Body::LanguageModeling(Content::Text(text)) => {
            let text = words(&text, OPENING_WORDS)?;
            let n_bytes = text.len();
            return Some((Question::of_text(text), n_bytes));
        }
        Body::LanguageModeling(Content::Messages(messages)) => {
            let last = messages.iter().rposition(|it| it["role"] == "assistant");
            Content::Messages(messages[..last.unwrap_or(messages.len())].to_vec())
        }
        Body::PromptOnly(prompt)
        | Body::PromptCompletion { prompt, .. }
        | Body::Preference { prompt, .. }
        | Body::Ranking { prompt, .. }
        | Body::Scored { prompt, .. }
        | Body::UnpairedPreference { prompt, .. } => prompt,
    };
    let text = prompt.to_text();
    let n_bytes = text.len();
    match &prompt {
        Content::Text(_) => Some((Question::of_text(text), n_bytes)),
        Content::Messages(messages) if messages.is_empty() => None,
        Content::Messages(_) => {
            let extra = Map::new();
            let chat = Example { body: Body::PromptOnly(prompt), extra, ..example };
            Some((Question { chat: Some(chat), ..Question::of_text(text) }, 2 * n_bytes))
        }
    }
}
