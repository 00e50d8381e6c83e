//! The rows of a run, from wherever its config takes them.

use std::path::Path;

use anyhow::{Context, Result, bail};
use rein_data::example::{Body, Content, Demonstration, Example, Labeled, Preference};
use rein_data::helpdesk::Helpdesk;
use rein_data::schema::Examples;
use rein_data::seed::Seed;
use rein_data::sources;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::config::{DataConfig, FilesConfig, Table};
use crate::files::{Files, Glimpse};

/// All that a run learns from and is measured with.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// What the model imitates; of files, some of it.
    pub(crate) demonstrations: Parts<Demonstration>,
    /// The files that hold all of it, where it isn't kept.
    pub(crate) files: Option<Files>,
    /// Where judgements come from.
    pub(crate) judgements: Judgements,
    /// What the policy is asked.
    pub(crate) prompts: Parts<Question>,
}

/// What a model can be asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Question {
    /// As people read it.
    pub(crate) text: String,
    /// The conversation that a chat template renders, if it is one: an example that is a prompt.
    pub(crate) chat: Option<Example>,
}

impl Question {
    pub(crate) fn of_text(text: impl Into<String>) -> Self {
        Self { text: text.into(), chat: None }
    }
}

/// Rows to train on and rows to measure with.
#[derive(Clone, Debug)]
pub(crate) struct Parts<T> {
    pub(crate) train: Vec<T>,
    pub(crate) heldout: Vec<T>,
}

/// Where judgements come from.
#[derive(Clone, Debug)]
pub(crate) enum Judgements {
    /// People of the help-desk world, asked about the model's own replies.
    Simulated,
    /// Pairs that people compared.
    Pairs(Parts<Preference>),
    /// Texts that people labelled.
    Labels(Parts<Labeled>),
    /// Conversations that people compared or labelled.
    Chats(Parts<Example>),
    /// Nowhere.
    None,
}

impl<T> Parts<T> {
    pub(crate) fn map<U>(&self, convert: impl Fn(&T) -> U) -> Parts<U> {
        self.filter_map(|item| Some(convert(item)))
    }

    pub(crate) fn filter_map<U>(&self, convert: impl Fn(&T) -> Option<U>) -> Parts<U> {
        Parts {
            train: self.train.iter().filter_map(&convert).collect(),
            heldout: self.heldout.iter().filter_map(convert).collect(),
        }
    }
}

impl World {
    /// Reads or makes the rows.
    pub(crate) fn load(data: &DataConfig, seed: Seed) -> Result<Self> {
        match data {
            DataConfig::Helpdesk { demonstrations, heldout_demonstrations } => {
                Ok(Self::helpdesk(*demonstrations, *heldout_demonstrations, seed))
            }
            DataConfig::Labels { train, heldout, opening_words } => {
                Self::labels(train, heldout, *opening_words)
            }
            DataConfig::Dialogues { path, heldout_share } => {
                let pairs = sources::read_dialogue_pairs(path)?;
                let pairs = split(path, pairs, *heldout_share, |pair| &pair.prompt)?;
                let chosen = |pair: &Preference| Demonstration {
                    prompt: pair.prompt.clone(),
                    completion: pair.chosen.clone(),
                };
                Ok(Self {
                    demonstrations: pairs.map(chosen),
                    files: None,
                    prompts: pairs.map(|pair| Question::of_text(&pair.prompt)),
                    judgements: Judgements::Pairs(pairs),
                })
            }
            DataConfig::Files(config) => Self::files(config, seed),
        }
    }

    fn files(config: &FilesConfig, seed: Seed) -> Result<Self> {
        let files = Files::new(config.clone(), seed);
        let Glimpse { texts, prompts } = files.glimpse()?;
        let judgements = match &config.preferences {
            Some(path) => judgements(path, config.heldout_share)?,
            None => Judgements::None,
        };
        Ok(Self {
            demonstrations: Parts { train: texts, heldout: Vec::new() },
            files: Some(files),
            judgements,
            prompts,
        })
    }

    fn helpdesk(n_demonstrations: usize, n_heldout: usize, seed: Seed) -> Self {
        let world = Helpdesk::new();
        let demonstrations = |prompts: &[String], name: &str, count| {
            Helpdesk::demonstrations(prompts, seed.child(name), count)
        };
        Self {
            demonstrations: Parts {
                train: demonstrations(&world.train, "demonstrations", n_demonstrations),
                heldout: demonstrations(&world.heldout, "heldout", n_heldout),
            },
            files: None,
            judgements: Judgements::Simulated,
            prompts: Parts { train: world.train, heldout: world.heldout }
                .map(|it| Question::of_text(it.as_str())),
        }
    }

    fn labels(train: &Table, heldout: &Table, opening_words: usize) -> Result<Self> {
        let read = |table: &Table| {
            let is_csv = table.path.to_string_lossy().trim_end_matches(".gz").ends_with(".csv");
            let delimiter = if is_csv { b',' } else { b'\t' };
            sources::read_labeled_table(&table.path, delimiter, &table.text, &table.label)
        };
        let rows = Parts { train: read(train)?, heldout: read(heldout)? };
        let openings = |rows: &[Labeled]| {
            rows.iter()
                .filter_map(|row| opening(&row.completion, opening_words))
                .map(Question::of_text)
                .collect::<Vec<_>>()
        };
        let prompts = Parts { train: openings(&rows.train), heldout: openings(&rows.heldout) };
        if prompts.train.is_empty() || prompts.heldout.is_empty() {
            bail!("no text has more than {opening_words} words; lower `data.opening_words`");
        }
        let text = |row: &Labeled| Demonstration {
            prompt: row.prompt.clone(),
            completion: row.completion.clone(),
        };
        Ok(Self {
            demonstrations: rows.map(text),
            files: None,
            prompts,
            judgements: Judgements::Labels(rows),
        })
    }

    /// Whether what the policy is asked are conversations.
    pub(crate) fn has_chats(&self) -> bool {
        let Parts { train, heldout } = &self.prompts;
        train.iter().chain(heldout).any(|it| it.chat.is_some())
    }

    /// Whether the truth is known, so that gold rewards can be measured.
    pub(crate) fn has_gold(&self) -> bool {
        matches!(self.judgements, Judgements::Simulated)
    }
}

/// Pairs or labelled completions, as texts or as conversations.
fn judgements(path: &Path, heldout_share: f64) -> Result<Judgements> {
    let (mut pairs, mut labels, mut chats) = (Vec::new(), Vec::new(), Vec::new());
    for row in Examples::open(path, None)? {
        let row = row?;
        match (&row.example.body, judgement(&row.example)) {
            (_, Some(Ok(pair))) if chats.is_empty() => pairs.push(pair),
            (_, Some(Err(label))) if chats.is_empty() => labels.push(label),
            (Body::Preference { prompt, .. } | Body::UnpairedPreference { prompt, .. }, None)
                if pairs.is_empty() && labels.is_empty() =>
            {
                chats.push((prompt.to_text(), row.example));
            }
            (Body::Preference { .. } | Body::UnpairedPreference { .. }, _) => {
                return Err(row.refuse("texts and conversations don't mix").into());
            }
            _ => {
                let reason =
                    "a reward model learns from preferences or labels; this row holds neither";
                return Err(row.refuse(reason).into());
            }
        }
    }
    if !chats.is_empty() {
        let chats = split(path, chats, heldout_share, |(prompt, _)| prompt)?;
        return Ok(Judgements::Chats(chats.map(|(_, example)| example.clone())));
    }
    Ok(if pairs.is_empty() {
        Judgements::Labels(split(path, labels, heldout_share, |row| &row.prompt)?)
    } else {
        Judgements::Pairs(split(path, pairs, heldout_share, |pair| &pair.prompt)?)
    })
}

fn judgement(example: &Example) -> Option<Result<Preference, Labeled>> {
    // Completions that a model sampled say whether they were cut.
    let finished =
        |column: &str| example.extra.get(column).and_then(Value::as_bool).unwrap_or(true);
    match example.body.clone() {
        Body::Preference {
            prompt: Content::Text(prompt),
            chosen: Content::Text(chosen),
            rejected: Content::Text(rejected),
            margin,
        } => Some(Ok(Preference {
            prompt,
            chosen,
            rejected,
            margin,
            chosen_finished: finished("chosen_finished"),
            rejected_finished: finished("rejected_finished"),
        })),
        Body::UnpairedPreference {
            prompt: Content::Text(prompt),
            completion: Content::Text(completion),
            label,
        } => Some(Err(Labeled { prompt, completion, label })),
        _ => None,
    }
}

/// The first words of a text that has more of them.
pub(crate) fn opening(text: &str, n_words: usize) -> Option<String> {
    let words: Vec<&str> = text.split(' ').collect();
    (words.len() > n_words).then(|| words[..n_words].join(" "))
}

/// Where a prompt stands between 0 and 1, as its hash has it.
pub(crate) fn place(prompt: &str) -> f64 {
    let hash = Sha256::digest(prompt);
    let place = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
    f64::from(place) / f64::from(u32::MAX)
}

/// Splits rows by a hash of their prompt, so that all rows of a prompt fall on one side, and on the
/// same one in every run.
fn split<T>(
    path: &Path,
    rows: Vec<T>,
    heldout_share: f64,
    prompt: impl Fn(&T) -> &String,
) -> Result<Parts<T>> {
    let (heldout, train): (Vec<T>, Vec<T>) =
        rows.into_iter().partition(|row| place(prompt(row)) < heldout_share);
    if train.is_empty() || heldout.is_empty() && heldout_share > 0.0 {
        let counts = format!("{} rows to train on and {} held out", train.len(), heldout.len());
        return Err(anyhow::anyhow!(counts))
            .with_context(|| format!("{}: too few prompts to split", path.display()));
    }
    Ok(Parts { train, heldout })
}
