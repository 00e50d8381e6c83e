use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use rein_data::checkpoint::write_atomically;
use rein_data::log::{Metrics, Record, Watcher};
use rein_data::schema::Schema;
use rein_model::backend::LmAutodiffBackend;
use rein_reward::LearnedReward;
use rein_reward::encoding::{Encoded, encode_examples};
use rein_reward::report::{Report, report};
use rein_reward::swaps::Difference;
use serde::Serialize;

use super::judged::{Judged, encoder};
use super::{bias, print};
use crate::args::{HubArgs, ModelArgs};
use crate::device::{BackendName, Work};
use crate::inference::ModelFolders;
use crate::watch::PlainLines;

#[derive(Clone, Debug, Args)]
pub(crate) struct EvaluateArgs {
    /// The reward model: a folder (Hugging Face layout), or `owner/name` of the Hugging Face Hub
    #[arg(long, value_name = "MODEL", required_unless_present = "model")]
    reward_model: Option<PathBuf>,
    /// A policy, whose log-probabilities are compared under swaps
    #[arg(long, value_name = "MODEL", requires = "swaps")]
    model: Option<PathBuf>,
    /// The judgements: JSON lines, JSON, CSV, TSV or Parquet
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// What the columns mean, where the first row doesn't show it; docs/data.md lists the schemas
    #[arg(long, value_name = "NAME")]
    schema: Option<Schema>,
    /// How messages become text: chatml, llama3, zephyr or a Jinja file; the model's own template if left out
    #[arg(long, value_name = "NAME|FILE")]
    chat_template: Option<String>,
    /// Rows longer than this lose the beginning of their prompt; the model's positions if left out
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// What names, genders and groups in the texts change, too
    #[arg(long)]
    swaps: bool,
    /// Where the report goes as JSON
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Rows computed side by side
    #[arg(long, value_name = "ROWS", default_value_t = 16)]
    batch_size: usize,
    /// Use only models that lie here or in the Hub's cache
    #[arg(long)]
    offline: bool,
    /// Where to compute; the build's first backend if left out
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendName>,
}

/// Measures a reward model, or a policy's bias, with a file of judgements.
pub(crate) struct Evaluate<'a> {
    args: &'a EvaluateArgs,
    judged: Judged,
    reward_model: Option<ModelFolders>,
    policy: Option<ModelFolders>,
}

/// What was found out.
#[derive(Debug, Default, Serialize)]
pub(super) struct Found {
    pub(super) data: PathBuf,
    /// What is worth a word about the data.
    pub(super) notes: Vec<String>,
    pub(super) reward_model: Option<PathBuf>,
    pub(super) report: Option<Report>,
    /// Of the reward model's normalised scores.
    pub(super) reward_swaps: Vec<Difference>,
    pub(super) policy: Option<PathBuf>,
    /// Of the policy's log-probabilities of whole completions, in nats.
    pub(super) policy_swaps: Vec<Difference>,
}

impl<'a> Evaluate<'a> {
    pub(crate) fn new(args: &'a EvaluateArgs) -> Result<Self> {
        if args.batch_size == 0 {
            bail!("`--batch-size` is 0; it must be above 0");
        }
        if args.max_tokens == Some(0) {
            bail!("`--max-tokens` is 0; it must be above 0");
        }
        let find = |model: &PathBuf| {
            let hub = HubArgs { revision: None, offline: args.offline };
            ModelFolders::find(&ModelArgs { model: model.clone(), adapter: None, hub })
        };
        Ok(Self {
            args,
            judged: Judged::read(&args.data, args.schema)?,
            reward_model: args.reward_model.as_ref().map(find).transpose()?,
            policy: args.model.as_ref().map(find).transpose()?,
        })
    }
}

impl Work for Evaluate<'_> {
    type Output = ();

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<()> {
        let Self { args, judged, reward_model, policy } = self;
        let notes = judged.findings.notes();
        let mut found = Found { data: args.data.clone(), notes, ..Found::default() };
        if let Some(folders) = &reward_model {
            let reward = folders.load_reward::<B::InnerBackend>(args.batch_size, &device)?;
            let (encoder, room) = encoder(folders, args.chat_template.as_deref())?;
            let limit = args.max_tokens.map_or(room, |it| it.min(room));
            let encoded = encode_examples(&judged.examples, &encoder, limit)?;
            if encoded.n_truncated > 0 {
                let n_rows = encoded.lengths.len();
                found.notes.push(format!(
                    "{} of {n_rows} rows are longer than {limit} tokens and lose the beginning of their prompt",
                    encoded.n_truncated
                ));
            }
            found.report = Some(measure(&reward, &encoded, &judged, args.batch_size));
            found.reward_model = args.reward_model.clone();
            if args.swaps {
                found.reward_swaps =
                    bias::of_reward(&reward, &judged.examples, &encoder, limit, args.batch_size)?;
            }
        }
        if let Some(folders) = &policy {
            let (encoder, room) = encoder(folders, args.chat_template.as_deref())?;
            let model = folders.load_causal_lm::<B::InnerBackend>(&device)?;
            let asked = bias::Policy { model: &model, encoder: &encoder, room, device: &device };
            found.policy = args.model.clone();
            found.policy_swaps = asked.swaps(&judged.examples, args.batch_size)?;
        }
        tell(&found, args.output.as_deref())
    }
}

fn measure<B: rein_model::backend::LmBackend>(
    reward: &LearnedReward<B>,
    encoded: &Encoded,
    judged: &Judged,
    batch_rows: usize,
) -> Report {
    let judgements = &encoded.judgements;
    let raw = |rows: &[&[u32]]| reward.raw_rows(rows);
    let scores = by_length(&judgements.rows(), batch_rows, "score", raw);
    let lengths = judgements.grouped(&encoded.lengths);
    report(judgements, &judgements.grouped(&scores), &lengths, &judged.categories())
}

/// A number for each row, asked for rows of like length side by side, with a word of how far it is.
pub(super) fn by_length(
    rows: &[&[u32]],
    batch_rows: usize,
    what: &'static str,
    ask: impl Fn(&[&[u32]]) -> Vec<f32>,
) -> Vec<f32> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|row| rows[*row].len());
    let mut watcher = PlainLines::default();
    watcher.stage(what, 0, rows.len());
    let mut numbers = vec![0.0; rows.len()];
    let mut n_done = 0;
    for batch in order.chunks(batch_rows) {
        let these: Vec<&[u32]> = batch.iter().map(|row| rows[*row]).collect();
        batch.iter().zip(ask(&these)).for_each(|(row, number)| numbers[*row] = number);
        n_done += batch.len();
        watcher.metrics(&Record::new(what, n_done, &Metrics::default()));
    }
    numbers
}

fn tell(found: &Found, output: Option<&Path>) -> Result<()> {
    crate::speech::print(&print::table(found));
    if let Some(path) = output {
        let mut text = serde_json::to_string_pretty(found)?;
        text.push('\n');
        write_atomically(path, text.as_bytes())?;
    }
    Ok(())
}
