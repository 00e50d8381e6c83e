//! The judgements of a file, as the model that is asked about them reads them.

use std::path::Path;

use anyhow::{Result, bail};
use rein_data::encoder::Encoder;
use rein_data::example::Example;
use rein_data::schema::{Examples, Schema};
use rein_data::screening::{Findings, Screening};
use rein_data::tokenizer::Tokenizer;
use rein_model::read_config;
use serde_json::Value;

use crate::chat_template::chat_template;
use crate::inference::ModelFolders;

/// The judgements of a file, but for those of nothing.
pub(super) struct Judged {
    pub(super) examples: Vec<Example>,
    pub(super) findings: Findings,
}

impl Judged {
    pub(super) fn read(path: &Path, schema: Option<Schema>) -> Result<Self> {
        let mut screening = Screening::default();
        let mut examples = Vec::new();
        let mut rows = Examples::open(path, schema)?;
        for row in rows.by_ref() {
            let row = row?;
            if !row.example.body.is_judgement() {
                let reason = "holds no judgement; a reward model is measured with preferences, labels, rankings or scores";
                return Err(row.refuse(reason).into());
            }
            if screening.look(&row.example).is_none() {
                examples.push(row.example);
            }
        }
        let mut findings = screening.findings().clone();
        findings.n_judgements += rows.n_skipped();
        findings.n_identical += rows.n_skipped();
        if examples.is_empty() {
            let notes = findings.notes().join("; ");
            bail!("{}: no judgement is left to measure with: {notes}", path.display());
        }
        Ok(Self { examples, findings })
    }

    /// The category of each judgement; empty where the file names none.
    pub(super) fn categories(&self) -> Vec<String> {
        const COLUMNS: [&str; 2] = ["subset", "category"];
        let of = |example: &Example| {
            let text = COLUMNS.iter().find_map(|it| example.extra.get(*it).and_then(Value::as_str));
            text.unwrap_or("(none)").to_owned()
        };
        let has_one = |it: &Example| COLUMNS.iter().any(|name| it.extra.contains_key(*name));
        if self.examples.iter().any(has_one) {
            self.examples.iter().map(of).collect()
        } else {
            Vec::new()
        }
    }
}

/// What turns examples into tokens of this model, and how many it has positions for.
pub(super) fn encoder(folders: &ModelFolders, template: Option<&str>) -> Result<(Encoder, usize)> {
    let tokenizer = Tokenizer::load(folders.texts())?;
    let template = chat_template(&tokenizer, template)?;
    let room = read_config(&folders.base)?.max_positions;
    Ok((Encoder::new(tokenizer, template, None), room))
}
