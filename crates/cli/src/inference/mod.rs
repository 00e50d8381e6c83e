//! Commands that run a model: on the rows of a file, or in a conversation.
//!
//! Those for files give a line of JSON for each row, in the order of the rows, as soon as it is known.

mod args;
mod chat;
mod choosing;
mod folders;
mod generate;
mod judge;
mod rules;
mod settings;
mod speaker;
mod terminal;
mod texts;

use std::fs::File;
use std::io::{IsTerminal, Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use rein_data::inputs::{Purpose, Reading, read_inputs};
use rein_data::jsonl;
use rein_data::log::{Record, Watcher};
use rein_data::tokenizer::Tokenizer;
use rein_model::guard::rows_fit;
use rein_model::{ModelError, read_config};
use serde_json::Value;

use crate::args::RowsArgs;
use crate::chat_template::chat_template;
use crate::watch::PlainLines;

pub(crate) use args::{ChatArgs, GenerateArgs, GuardArgs, SamplingArgs, ScoreArgs};
pub(crate) use chat::Chat;
pub(crate) use choosing::reads_alike;
pub(crate) use folders::ModelFolders;
pub(crate) use generate::Generate;
pub(crate) use judge::{Logprobs, Score};
pub(crate) use rules::score_by_rules;
pub(crate) use speaker::{Speaker, Spoken};

/// What such a command reads: a model's folder and rows of tokens.
struct Inputs {
    model: ModelFolders,
    tokenizer: Option<Tokenizer>,
    /// The file of the rows.
    path: PathBuf,
    rows: Vec<Vec<u32>>,
    /// The line of each row.
    lines: Vec<usize>,
}

impl Inputs {
    fn read(args: &RowsArgs, purpose: Purpose) -> Result<Self> {
        let model = ModelFolders::find(&args.model)?;
        if args.batch_size == 0 {
            bail!("`--batch-size` is 0; it must be above 0");
        }
        let tokenizer = load_tokenizer(model.texts())?;
        let template = match &tokenizer {
            Some(tokenizer) => chat_template(tokenizer, args.chat_template.as_deref())?,
            None => None,
        };
        let reading =
            Reading { tokenizer: tokenizer.as_ref(), template: template.as_ref(), purpose };
        let inputs = read_inputs(&args.input, reading)?;
        let (lines, rows) = inputs.into_iter().map(|input| (input.line, input.tokens)).unzip();
        Ok(Self { model, tokenizer, path: args.input.clone(), rows, lines })
    }

    /// Refuses a row that the model can't take, `n_new` tokens more each, by its line.
    fn fit(&self, n_new: usize) -> Result<()> {
        let fits = rows_fit(&read_config(&self.model.base)?, &self.rows, n_new);
        fits.map_err(|error| match error {
            ModelError::Row { row, reason } => {
                anyhow!("{}:{}: the row {reason}", self.path.display(), self.lines[row])
            }
            other => other.into(),
        })
    }
}

/// The tokenizer of a model's folder; there are folders without.
fn load_tokenizer(model: &Path) -> Result<Option<Tokenizer>> {
    let has_tokenizer = model.join("tokenizer.json").exists();
    Ok(has_tokenizer.then(|| Tokenizer::load(model)).transpose()?)
}

/// The tokenizer of a model's folder, for what can't do without.
pub(crate) fn tokenizer_of(model: &Path) -> Result<Tokenizer> {
    load_tokenizer(model)?.with_context(|| format!("{}: holds no tokenizer", model.display()))
}

/// Where the lines go, and how far they got.
struct Output {
    to: Box<dyn Write>,
    path: PathBuf,
    is_terminal: bool,
    what: &'static str,
    n_done: usize,
    watcher: PlainLines,
}

impl Output {
    /// To a file, or to standard output if none is named.
    fn open(path: Option<&Path>, what: &'static str, n_rows: usize) -> Result<Self> {
        let to: Box<dyn Write> = match path {
            Some(path) => Box::new(File::create(path).with_context(|| path.display().to_string())?),
            None => Box::new(stdout()),
        };
        let is_terminal = path.is_none() && stdout().is_terminal();
        let path = path.unwrap_or(Path::new("standard output")).to_owned();
        let mut watcher = PlainLines::default();
        watcher.stage(what, 0, n_rows);
        Ok(Self { to, path, is_terminal, what, n_done: 0, watcher })
    }

    /// Writes the lines that so many more rows gave.
    fn write(&mut self, lines: &[Value], n_rows: usize) -> Result<()> {
        let mut text: String = lines.iter().map(jsonl::line).collect();
        if self.is_terminal {
            text = terminal::harmless_json(&text).into_owned();
        }
        let written = self.to.write_all(text.as_bytes()).and_then(|()| self.to.flush());
        written.with_context(|| self.path.display().to_string())?;
        self.n_done += n_rows;
        let none = rein_data::log::Metrics::default();
        self.watcher.metrics(&Record::new(self.what, self.n_done, &none));
        Ok(())
    }

    /// Says something about the rows, beside them.
    fn note(&mut self, text: &str) {
        self.watcher.note(text);
    }
}
