//! The rows of a run, from wherever its config takes them.

use std::path::Path;

use anyhow::{Context, Result, bail};
use rein_data::example::{Demonstration, Labeled, Preference};
use rein_data::helpdesk::Helpdesk;
use rein_data::seed::Seed;
use rein_data::{jsonl, sources};
use sha2::{Digest, Sha256};

use crate::config::{DataConfig, Table};

/// All that a run learns from and is measured with.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// What the model imitates.
    pub(crate) demonstrations: Parts<Demonstration>,
    /// Where judgements come from.
    pub(crate) judgements: Judgements,
    /// What the policy completes.
    pub(crate) prompts: Parts<String>,
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
}

impl<T> Parts<T> {
    fn map<U>(&self, convert: impl Fn(&T) -> U) -> Parts<U> {
        Parts {
            train: self.train.iter().map(&convert).collect(),
            heldout: self.heldout.iter().map(convert).collect(),
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
                    prompts: pairs.map(|pair| pair.prompt.clone()),
                    judgements: Judgements::Pairs(pairs),
                })
            }
            DataConfig::Files { demonstrations, preferences, heldout_share } => {
                let rows: Vec<Demonstration> = jsonl::read(demonstrations)?;
                let rows = split(demonstrations, rows, *heldout_share, |row| &row.prompt)?;
                let pairs: Vec<Preference> = jsonl::read(preferences)?;
                let pairs = split(preferences, pairs, *heldout_share, |pair| &pair.prompt)?;
                Ok(Self {
                    prompts: rows.map(|row| row.prompt.clone()),
                    demonstrations: rows,
                    judgements: Judgements::Pairs(pairs),
                })
            }
        }
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
            judgements: Judgements::Simulated,
            prompts: Parts { train: world.train, heldout: world.heldout },
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
        Ok(Self { demonstrations: rows.map(text), prompts, judgements: Judgements::Labels(rows) })
    }

    /// Whether the truth is known, so that gold rewards can be measured.
    pub(crate) fn has_gold(&self) -> bool {
        matches!(self.judgements, Judgements::Simulated)
    }
}

/// The first words of a text that has more of them.
fn opening(text: &str, n_words: usize) -> Option<String> {
    let words: Vec<&str> = text.split(' ').collect();
    (words.len() > n_words).then(|| words[..n_words].join(" "))
}

/// Splits rows by a hash of their prompt, so that all rows of a prompt fall on one side, and on the
/// same one in every run.
fn split<T>(
    path: &Path,
    rows: Vec<T>,
    heldout_share: f64,
    prompt: impl Fn(&T) -> &String,
) -> Result<Parts<T>> {
    let (heldout, train): (Vec<T>, Vec<T>) = rows.into_iter().partition(|row| {
        let hash = Sha256::digest(prompt(row));
        let place = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
        f64::from(place) / f64::from(u32::MAX) < heldout_share
    });
    if train.is_empty() || heldout.is_empty() && heldout_share > 0.0 {
        let counts = format!("{} rows to train on and {} held out", train.len(), heldout.len());
        return Err(anyhow::anyhow!(counts))
            .with_context(|| format!("{}: too few prompts to split", path.display()));
    }
    Ok(Parts { train, heldout })
}
