//! The rows of a run, from wherever its config takes them.

mod stored;

use std::path::Path;

use anyhow::{Context, Result, bail};
use rein_data::example::{Body, Columns, Content, Demonstration, Example, Labeled, Preference};
use rein_data::helpdesk::{Expert, Helpdesk};
use rein_data::schema::Examples;
use rein_data::screening::Screening;
use rein_data::seed::Seed;
use rein_data::sources;
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
    /// What is worth a word about all that.
    pub(crate) notes: Vec<String>,
    /// Whether the truth is known, so that gold rewards can be measured.
    has_gold: bool,
}

/// What a model can be asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Question {
    /// As people read it.
    pub(crate) text: String,
    /// The conversation that a chat template renders, if it is one: an example that is a prompt.
    pub(crate) chat: Option<Example>,
    /// What rewards are told beside.
    pub(crate) columns: Columns,
}

impl Question {
    pub(crate) fn of_text(text: impl Into<String>) -> Self {
        Self { text: text.into(), chat: None, columns: Columns::default() }
    }

    /// As people are asked about it: a text, or a conversation.
    pub(crate) fn content(&self) -> Content {
        let chat = self.chat.as_ref().and_then(|it| it.body.prompt());
        chat.cloned().unwrap_or_else(|| self.text.as_str().into())
    }

    /// Whether more belongs to it than the page shows: tools, or what else a template is told.
    pub(crate) fn is_more_than_said(&self) -> bool {
        let more = |it: &Example| it.tools.is_some() || !it.template_arguments.is_empty();
        self.chat.as_ref().is_some_and(more)
    }
}

/// Rows to train on and rows to measure with.
#[derive(Clone, Debug, Default)]
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
    /// Conversations that people compared or labelled, and whatever says more of texts than which of two is better or
    /// whether one is good.
    Examples(Parts<Example>),
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
    /// Reads or makes the rows; `columns` of prompts come along for rewards and judges.
    pub(crate) fn load(data: &DataConfig, columns: Parts<String>, seed: Seed) -> Result<Self> {
        match data {
            DataConfig::Helpdesk {
                demonstrations,
                heldout_demonstrations,
                expert_temperature,
                ..
            } => {
                let expert = expert_temperature.map(Expert::new);
                let has_gold = data.knows_truth();
                let world = Self::helpdesk(*demonstrations, *heldout_demonstrations, expert, seed);
                Ok(Self { has_gold, ..world })
            }
            DataConfig::Labels { train, heldout, opening_words } => {
                Self::labels(train, heldout, *opening_words)
            }
            DataConfig::Dialogues { path, heldout_share } => {
                let mut screening = Screening::default();
                let mut pairs = sources::read_dialogue_pairs(path)?;
                pairs.retain(|pair| screening.look_at_pair(pair).is_none());
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
                    notes: notes(path, &screening),
                    has_gold: false,
                })
            }
            DataConfig::Files(config) => Self::files(config, columns, seed),
        }
    }

    fn files(config: &FilesConfig, columns: Parts<String>, seed: Seed) -> Result<Self> {
        let files = Files::new(config.clone(), seed).with_columns(columns);
        let Glimpse { texts, prompts } = files.glimpse()?;
        let (judgements, notes) = match &config.preferences {
            Some(path) => judgements(path, config.heldout_share)?,
            None => (Judgements::None, Vec::new()),
        };
        Ok(Self {
            demonstrations: Parts { train: texts, heldout: Vec::new() },
            files: Some(files),
            judgements,
            prompts,
            notes,
            has_gold: false,
        })
    }

    fn helpdesk(
        n_demonstrations: usize,
        n_heldout: usize,
        expert: Option<Expert>,
        seed: Seed,
    ) -> Self {
        let world = Helpdesk::new();
        let demonstrations = |prompts: &[String], name: &str, count| match expert {
            Some(expert) => expert.demonstrations(prompts, seed.child(name), count),
            None => Helpdesk::demonstrations(prompts, seed.child(name), count),
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
            notes: Vec::new(),
            has_gold: true,
        }
    }

    fn labels(train: &Table, heldout: &Table, opening_words: usize) -> Result<Self> {
        let mut told = Vec::new();
        let mut read = |table: &Table| -> Result<Vec<Labeled>> {
            let is_csv = table.path.to_string_lossy().trim_end_matches(".gz").ends_with(".csv");
            let delimiter = if is_csv { b',' } else { b'\t' };
            let rows =
                sources::read_labeled_table(&table.path, delimiter, &table.text, &table.label)?;
            let mut screening = Screening::default();
            let kept = rows.into_iter().filter(|row| screening.look_at_label(row).is_none());
            let kept = kept.collect();
            told.extend(notes(&table.path, &screening));
            Ok(kept)
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
            notes: told,
            has_gold: false,
        })
    }

    /// Whether what the policy is asked are conversations.
    pub(crate) fn has_chats(&self) -> bool {
        let Parts { train, heldout } = &self.prompts;
        train.iter().chain(heldout).any(|it| it.chat.is_some())
    }

    /// A prompt with who says what in it, if it is a conversation. Whatever that holds besides is left out: nobody learns from
    /// what is only measured.
    pub(crate) fn transcript(&self, text: &str) -> String {
        let Parts { train, heldout } = &self.prompts;
        let question = heldout.iter().chain(train).find(|it| it.text == text);
        question.map_or_else(|| text.to_owned(), |it| it.content().transcript())
    }

    /// Whether the truth is known, so that gold rewards can be measured.
    pub(crate) fn has_gold(&self) -> bool {
        self.has_gold
    }
}

/// What people said of completions, and what is wrong with it. Judgements of nothing are left out.
fn judgements(path: &Path, heldout_share: f64) -> Result<(Judgements, Vec<String>)> {
    let mut screening = Screening::default();
    let mut kept: Vec<Example> = Vec::new();
    for row in Examples::open(path, None)? {
        let row = row?;
        if !row.example.body.is_judgement() {
            let reason = "a reward model learns from preferences, labels, rankings or scores; this row holds none of them";
            return Err(row.refuse(reason).into());
        }
        let is_chat = row.example.body.is_conversational();
        if kept.first().is_some_and(|it| it.body.is_conversational() != is_chat) {
            return Err(row.refuse("texts and conversations don't mix").into());
        }
        if screening.look(&row.example).is_none() {
            kept.push(row.example);
        }
    }
    let notes = notes(path, &screening);
    if kept.is_empty() {
        bail!("{}: no judgement is left: {}", path.display(), notes.join("; "));
    }
    let plain: Option<Vec<_>> = kept.iter().map(plain).collect();
    let Some(plain) = plain else {
        let keyed = kept.into_iter().map(|it| (origin(&it), it)).collect();
        let parts = split(path, keyed, heldout_share, |(prompt, _)| prompt)?;
        return Ok((Judgements::Examples(parts.map(|(_, example)| example.clone())), notes));
    };
    let (mut pairs, mut labels) = (Vec::new(), Vec::new());
    for judgement in plain {
        match judgement {
            Plain::Pair(pair) => pairs.push(pair),
            Plain::Label(label) => labels.push(label),
        }
    }
    let judgements = if pairs.is_empty() {
        Judgements::Labels(split(path, labels, heldout_share, |row| {
            if row.prompt.is_empty() { &row.completion } else { &row.prompt }
        })?)
    } else {
        Judgements::Pairs(split(path, pairs, heldout_share, |pair| &pair.prompt)?)
    };
    Ok((judgements, notes))
}

/// Judgements of one form.
fn unmixed(Parts { train, heldout }: Parts<Example>) -> Result<Judgements> {
    let form = |row: &Example| (std::mem::discriminant(&row.body), row.body.is_conversational());
    let first = form(&train[0]);
    if train.iter().chain(&heldout).any(|row| form(row) != first) {
        bail!(
            "pairs, labels, rankings and scores don't mix, nor do texts and conversations; choose one of its projects by \
             `feedback.project`"
        );
    }
    let pairs = |rows: &[Example]| -> Option<Vec<Preference>> {
        rows.iter()
            .map(|row| match plain(row)? {
                Plain::Pair(pair) => Some(pair),
                Plain::Label(_) => None,
            })
            .collect()
    };
    Ok(match (pairs(&train), pairs(&heldout)) {
        (Some(train), Some(heldout)) => Judgements::Pairs(Parts { train, heldout }),
        _ => Judgements::Examples(Parts { train, heldout }),
    })
}

fn notes(path: &Path, screening: &Screening) -> Vec<String> {
    let told = screening.findings().notes();
    told.into_iter().map(|note| format!("{}: {note}", path.display())).collect()
}

/// What all judgements of a prompt have in common. What has no prompt is its own.
pub(crate) fn origin(example: &Example) -> String {
    let prompt = example.body.prompt().map(Content::to_text).unwrap_or_default();
    match example.body.judged().first() {
        Some(completion) if prompt.is_empty() => completion.to_text(),
        _ => prompt,
    }
}

/// A judgement of texts that says nothing but which one is better, or whether one is good.
enum Plain {
    Pair(Preference),
    Label(Labeled),
}

fn plain(example: &Example) -> Option<Plain> {
    if example.weight().is_some() {
        return None;
    }
    match example.body.clone() {
        Body::Preference {
            prompt: Content::Text(prompt),
            chosen: Content::Text(chosen),
            rejected: Content::Text(rejected),
            margin,
            chosen_probability: None,
        } => Some(Plain::Pair(Preference {
            prompt,
            chosen,
            rejected,
            margin,
            chosen_finished: example.finished(0),
            rejected_finished: example.finished(1),
        })),
        Body::UnpairedPreference {
            prompt: Content::Text(prompt),
            completion: Content::Text(completion),
            label,
        } if example.finished(0) => Some(Plain::Label(Labeled { prompt, completion, label })),
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
