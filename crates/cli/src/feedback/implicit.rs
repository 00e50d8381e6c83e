use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use rein_data::checkpoint::write_atomically;
use rein_data::jsonl;
use rein_feedback::Store;
use rein_feedback::implicit::{
    ClickPairs, DEFAULT_CLIP, HarvestConfig, Impression, Propensities, Tally, Texts, acts, harvest,
    read_log,
};

use super::places::store_of;
use crate::speech::{note, print};

/// What people did, as rows.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Each line of the log is a list of responses that somebody saw and what they did: clicks, copies, thumbs, edits,
regenerated answers. Its keys, and what each of them says, stand in the documentation of `rein_feedback::implicit`.
The texts are JSON lines with `prompt_id`, `prompt`, `response_id` and `response`; `finished` is false of a response that was cut.

People click what stands above. Without `--inverse-propensity`, only what was clicked over what stood above it
counts, which can't but oppose the shown order; with it, clicks are weighted by how rarely their place is looked at,
which is measured where the log says that orders were drawn at random (`policy_propensity`).

What people do in live mode (`rein feedback serve --model`) with answers that they weren't asked about is in the store.

Examples:
  rein feedback implicit --log events.jsonl --texts texts.jsonl --inverse-propensity --output pairs.jsonl
  rein feedback implicit --run runs/mine --output pairs.jsonl")]
pub(super) struct ImplicitArgs {
    #[command(flatten)]
    from: From,
    /// The texts of prompts and responses, JSON lines; the store has those of its own
    #[arg(long, value_name = "FILE", required_unless_present_any = ["store", "run"])]
    texts: Option<PathBuf>,
    /// The project of the store
    #[arg(long, value_name = "NAME", default_value = "people", conflicts_with = "log")]
    project: String,
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

/// Where acts are read from.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
struct From {
    /// An event log, JSON lines
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// What a server's pages and other programs reported to this store
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// The same, of a run's store
    #[arg(long, value_name = "RUN")]
    run: Option<PathBuf>,
}

/// Writes weighted pairs, and says who was passed over.
pub(super) fn run(args: &ImplicitArgs) -> Result<()> {
    let (path, log, texts) = args.acts()?;
    let clicks = if args.inverse_propensity {
        let drawn = log.iter().filter(|it| it.policy_propensity.is_some());
        let propensities = Propensities::measured(&Tally::of(drawn)).with_context(|| {
            format!(
                "{}: no list whose order was drawn at random shows how often places are looked at",
                path.display()
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

impl ImplicitArgs {
    /// The lists that were shown, their texts, and the file that has them.
    fn acts(&self) -> Result<(PathBuf, Vec<Impression>, Texts)> {
        let texts = self.texts.as_deref().map(Texts::read).transpose()?.unwrap_or_default();
        if let Some(log) = &self.from.log {
            return Ok((log.clone(), read_log(log)?, texts));
        }
        let path = match (&self.from.store, &self.from.run) {
            (Some(store), _) => store.clone(),
            (None, Some(run)) => store_of(run)?,
            (None, None) => unreachable!("clap wants one of them"),
        };
        let store = Store::read(&path)?;
        if !store.projects()?.iter().any(|it| it.name == self.project) {
            bail!("{}: there is no project `{}`", path.display(), self.project);
        }
        let acts = acts(&store.reported(&self.project)?, texts)?;
        if acts.n_passed_over > 0 {
            note(&format!("{} events say nothing of an answer that was shown", acts.n_passed_over));
        }
        Ok((path, acts.impressions, acts.texts))
    }
}
