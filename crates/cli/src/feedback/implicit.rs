use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use rein_data::checkpoint::write_atomically;
use rein_data::jsonl;
use rein_feedback::implicit::{
    ClickPairs, DEFAULT_CLIP, HarvestConfig, Propensities, Tally, Texts, harvest, read_log,
};

use crate::speech::print;

/// What people did, as rows.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Each line of the log is a list of responses that somebody saw and what they did: clicks, copies, thumbs, edits,
regenerated answers. Its keys, and what each of them says, stand in the documentation of `rein_feedback::implicit`.
The texts are JSON lines with `prompt_id`, `prompt`, `response_id` and `response`.

People click what stands above. Without `--inverse-propensity`, only what was clicked over what stood above it
counts, which can't but oppose the shown order; with it, clicks are weighted by how rarely their place is looked at,
which is measured where the log says that orders were drawn at random (`policy_propensity`).

Example:
  rein feedback implicit --log events.jsonl --texts texts.jsonl --inverse-propensity --output pairs.jsonl")]
pub(super) struct ImplicitArgs {
    /// The event log, JSON lines
    #[arg(long, value_name = "FILE")]
    log: PathBuf,
    /// The texts of prompts and responses, JSON lines
    #[arg(long, value_name = "FILE")]
    texts: PathBuf,
    /// Weight clicks by how rarely their place is looked at
    #[arg(long)]
    inverse_propensity: bool,
    /// Propensities below this count as this much
    #[arg(long, value_name = "P", default_value_t = DEFAULT_CLIP, requires = "inverse_propensity")]
    clip: f64,
    /// What one act counts for beside a judgement that somebody was asked for
    #[arg(long, value_name = "WEIGHT", default_value_t = HarvestConfig::default().weight)]
    weight: f64,
    /// The file of pairs, JSON lines with `prompt`, `chosen`, `rejected`, `weight`, `reason` and `source`
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// Writes weighted pairs, and says who was passed over.
pub(super) fn run(args: &ImplicitArgs) -> Result<()> {
    let (log, texts) = (read_log(&args.log)?, Texts::read(&args.texts)?);
    let clicks = if args.inverse_propensity {
        let drawn = log.iter().filter(|it| it.policy_propensity.is_some());
        let propensities = Propensities::measured(&Tally::of(drawn)).with_context(|| {
            format!(
                "{}: no list whose order was drawn at random shows how often places are looked at",
                args.log.display()
            )
        })?;
        ClickPairs::InversePropensity { propensities, clip: args.clip }
    } else {
        ClickPairs::SkipAbove
    };
    let config = HarvestConfig { weight: args.weight, clicks, ..HarvestConfig::default() };
    let found = harvest(&log, &texts, &config)?;
    let lines: String = found.pairs.iter().map(jsonl::line).collect();
    write_atomically(&args.output, lines.as_bytes())?;
    print(&format!(
        "{}: {} pairs of {} lists; {} users passed over as robots, {} bounded; {} acts on texts that aren't known\n",
        args.output.display(),
        found.pairs.len(),
        log.len(),
        found.suspected.len(),
        found.n_bounded,
        found.n_without_text
    ));
    Ok(())
}
