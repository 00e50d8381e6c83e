//! Commands that run a model on rows of a file: what it writes, and what it thinks of them.
//!
//! Each gives a line of JSON for each row, in the order of the rows, as soon as it is known.

mod generate;
mod judge;

use std::fs::File;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rein_data::inputs::{Ending, read_inputs};
use rein_data::jsonl;
use rein_data::log::{Record, Watcher};
use rein_data::tokenizer::Tokenizer;
use rein_model::require_weights;
use serde_json::Value;

use crate::args::RowsArgs;
use crate::watch::PlainLines;

pub(crate) use generate::Generate;
pub(crate) use judge::{Logprobs, Score};

/// What such a command reads: a model's folder and rows of tokens.
struct Inputs {
    model: PathBuf,
    tokenizer: Option<Tokenizer>,
    rows: Vec<Vec<u32>>,
}

impl Inputs {
    fn read(args: &RowsArgs, ending: Ending) -> Result<Self> {
        let model = args.model.clone();
        require_weights(&model)?;
        if args.batch_size == 0 {
            bail!("`--batch-size` is 0; it must be above 0");
        }
        let has_tokenizer = model.join("tokenizer.json").exists();
        let tokenizer = has_tokenizer.then(|| Tokenizer::load(&model)).transpose()?;
        let rows = read_inputs(&args.input, tokenizer.as_ref(), ending)?;
        Ok(Self { model, tokenizer, rows })
    }

    /// A reason that speaks of a row, with the file it stands in.
    fn blame(&self, args: &RowsArgs) -> String {
        format!("{} for {}", args.input.display(), self.model.display())
    }
}

/// Where the lines go, and how far they got.
struct Output {
    to: Box<dyn Write>,
    path: PathBuf,
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
        let path = path.unwrap_or(Path::new("standard output")).to_owned();
        let mut watcher = PlainLines::default();
        watcher.stage(what, 0, n_rows);
        Ok(Self { to, path, what, n_done: 0, watcher })
    }

    /// Writes the lines of some more rows.
    fn write(&mut self, lines: &[Value]) -> Result<()> {
        let text: String = lines.iter().map(jsonl::line).collect();
        let written = self.to.write_all(text.as_bytes()).and_then(|()| self.to.flush());
        written.with_context(|| self.path.display().to_string())?;
        self.n_done += lines.len();
        let none = rein_data::log::Metrics::default();
        self.watcher.metrics(&Record::new(self.what, self.n_done, &none));
        Ok(())
    }
}
