//! `rein inspect`: what a data set holds, before anyone trains on it.

mod lengths;
mod print;
mod progress;
mod show;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use rein_data::encoder::{Encoder, Encoding, Learn, Sequence};
use rein_data::encoding::Tally;
use rein_data::example::Body;
use rein_data::schema::{Examples, Located, Schema};
use rein_data::screening::Screening;
use rein_data::tokenizer::Tokenizer;
use rein_model::read_config;

use crate::args::HubArgs;
use crate::chat_template::chat_template;
use crate::hub;

use self::lengths::Lengths;
use self::progress::Progress;
use self::show::Shown;

pub(crate) use self::print::print;

/// Problems that are told in full; the others are counted.
const N_PROBLEMS: usize = 5;

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The data set: JSON lines, JSON, CSV, TSV or Parquet
    #[arg(value_name = "DATA")]
    pub(crate) data: PathBuf,
    /// The model: a folder, in which a tokenizer is enough, or `owner/name` of the Hugging Face Hub
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) hub: HubArgs,
    /// What the columns mean, where the first row doesn't show it; docs/data.md lists the schemas
    #[arg(long, value_name = "NAME")]
    pub(crate) schema: Option<Schema>,
    /// Which tokens are learned: `all`, `completion` or `assistant`
    #[arg(long, value_name = "WHAT")]
    pub(crate) learn: Option<Learn>,
    /// How messages become text: chatml, llama3, zephyr or a Jinja file; the model's own template if
    /// left out
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) chat_template: Option<String>,
    /// The length at which rows are cut; the model's positions if left out
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<usize>,
    /// Rows to show token by token
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) rows: usize,
    /// One JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// What was found out about a data set.
#[derive(Debug)]
pub(crate) struct Survey {
    path: PathBuf,
    format: &'static str,
    schema: Schema,
    is_conversational: bool,
    columns: Vec<String>,
    max_tokens: Option<usize>,
    n_examples: usize,
    n_skipped: usize,
    prompts: Lengths,
    completions: Lengths,
    rows: Lengths,
    /// Tokens that are learned before any row is cut.
    n_learned: u64,
    /// What the limit does to the rows.
    tally: Tally,
    shown: Vec<Shown>,
    n_problems: usize,
    problems: Vec<String>,
    /// What judgements say, and what is wrong with them.
    screening: Screening,
}

impl Survey {
    /// Reads the whole data set once.
    pub(crate) fn new(args: &InspectArgs) -> Result<Self> {
        let model = hub::resolve(&args.model, &args.hub)?;
        let max_tokens = args.max_tokens.or_else(|| positions(&model));
        if max_tokens.is_some_and(|limit| limit < 2) {
            bail!("`--max-tokens` must be at least 2");
        }
        let tokenizer = Tokenizer::load(&model)?;
        let template = chat_template(&tokenizer, args.chat_template.as_deref())?;
        let encoder = Encoder::new(tokenizer, template, args.learn);
        let mut examples = Examples::open(&args.data, args.schema)?;
        let mut survey = Self::begin(&examples, max_tokens);
        let mut progress = Progress::begin();
        for encoded in Encoding::new(&encoder, examples.by_ref(), Encoder::sequences) {
            survey.n_examples += 1;
            let encoded = encoded.map_err(|error| error.to_string());
            let looked = encoded.and_then(|(located, sequences)| {
                let sequences = sequences.map_err(|reason| located.refuse(reason).to_string())?;
                survey.look(&located, sequences, args.rows, encoder.tokenizer());
                Ok(())
            });
            if let Err(problem) = looked {
                survey.n_problems += 1;
                if survey.problems.len() < N_PROBLEMS {
                    survey.problems.push(problem);
                }
            }
            progress.rows(survey.n_examples);
        }
        survey.n_skipped = examples.n_skipped();
        Ok(survey)
    }

    fn begin(examples: &Examples, max_tokens: Option<usize>) -> Self {
        Self {
            path: examples.path().to_owned(),
            format: examples.format().name(),
            schema: examples.schema(),
            is_conversational: false,
            columns: examples.columns().to_vec(),
            max_tokens,
            n_examples: 0,
            n_skipped: 0,
            prompts: Lengths::default(),
            completions: Lengths::default(),
            rows: Lengths::default(),
            n_learned: 0,
            tally: Tally::default(),
            shown: Vec::new(),
            n_problems: 0,
            problems: Vec::new(),
            screening: Screening::default(),
        }
    }

    /// Whether nothing stands in the way of training.
    pub(crate) fn is_good(&self) -> bool {
        self.n_problems == 0 && self.tally.n_rows > 0
    }

    fn look(
        &mut self,
        located: &Located,
        sequences: Vec<Sequence>,
        n_shown: usize,
        tokenizer: &Tokenizer,
    ) {
        let example = &located.example;
        self.is_conversational |= example.body.is_conversational();
        self.screening.look(example);
        let names: Vec<String> = match &example.body {
            Body::Preference { .. } => vec!["chosen".into(), "rejected".into()],
            Body::Ranking { ranks, .. } => ranks.iter().map(|it| format!("rank {it}")).collect(),
            _ => vec![String::new()],
        };
        for (sequence, name) in sequences.into_iter().zip(&names) {
            let n_tokens = sequence.row.tokens.len();
            let is_pair = !matches!(example.body, Body::LanguageModeling(_));
            if is_pair {
                self.prompts.add(sequence.n_prompt);
                self.completions.add(n_tokens - sequence.n_prompt);
            }
            self.rows.add(n_tokens);
            self.n_learned += sequence.row.n_learned() as u64;
            if self.n_examples <= n_shown {
                let place = located.place.to_string();
                let shown = Shown::new(place, name, &sequence.row, tokenizer, self.max_tokens);
                self.shown.push(shown);
            }
            self.tally.cut(sequence.row, self.max_tokens.unwrap_or(usize::MAX));
        }
    }
}

/// The positions of the model, where the folder holds one.
fn positions(model: &Path) -> Option<usize> {
    read_config(model).ok().map(|config| config.max_positions)
}
