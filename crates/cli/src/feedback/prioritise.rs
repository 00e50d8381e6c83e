mod following;
mod readable;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use rein_data::encoder::Encoder;
use rein_data::example::Example;
use rein_feedback::{Split, Store, Task};
use rein_model::backend::LmAutodiffBackend;
use rein_model::read_config;
use rein_reward::LearnedReward;
use rein_reward::active::bald;
use rein_reward::encoding::encode_examples;

pub(super) use self::following::follow;
pub(crate) use self::readable::completion;
use super::places::{StoreArgs, newest};
use crate::chat_template::chat_template;
use crate::config::Stage;
use crate::device::{BackendName, Work, run_on};
use crate::inference::tokenizer_of;
use crate::speech::print;

/// Pairs chosen together.
const BATCH: usize = 64;
/// Tasks scored side by side.
const BATCH_ROWS: usize = 32;

/// What is asked first.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Pairs are asked in the order of what an answer would tell of the reward, in nats (BALD): 0 where all is known, however
close the sides are. What programs gave a higher `priority` still comes first, and a tenth of what is asked is chosen
at random all the same.

Without a reward model, what is known is what the answers so far say of words and pairs of words; that takes
seconds, about a minute after thousands of answers, so it can be done again after each few dozen
(`rein feedback serve --prioritise 16` does). Then the first `--batch` pairs are chosen together,
each given that those before it are answered. With one, an ensemble, it is what its models disagree about.

Examples:
  rein feedback prioritise --store judged.sqlite
  rein feedback prioritise --run runs/mine --reward-model runs/mine")]
pub(super) struct PrioritiseArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The project
    #[arg(long, value_name = "NAME", default_value = "people")]
    project: String,
    /// A reward model, an ensemble (`reward.ensemble`): a folder, or a run
    #[arg(long, value_name = "DIR")]
    reward_model: Option<PathBuf>,
    /// How many pairs are chosen together, without a reward model
    #[arg(long, value_name = "N", default_value_t = BATCH, conflicts_with = "reward_model")]
    batch: usize,
    /// Where to compute; the build's first backend if left out
    #[arg(long, value_enum)]
    backend: Option<BackendName>,
}

/// Lets the pairs that tell most be asked first.
pub(super) fn run(args: &PrioritiseArgs) -> Result<()> {
    let told = match &args.reward_model {
        None => readable::information(&args.store.path()?, &args.project, args.batch)?,
        Some(folder) => {
            let backend = args.backend.unwrap_or_else(BackendName::default_of_build);
            run_on(backend, Prioritise { args, folder })?
        }
    };
    let mut store = Store::open(&args.store.path()?)?;
    store.change(|change| change.set_information(&told))?;
    let mut values: Vec<f64> = told.iter().map(|(_, value)| *value).collect();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share) as usize];
    print(&format!(
        "{} tasks of {}: an answer tells {:.4} nats (median), {:.4} at most\n",
        values.len(),
        args.project,
        at(0.5),
        at(1.0)
    ));
    Ok(())
}

struct Prioritise<'a> {
    args: &'a PrioritiseArgs,
    /// The ensemble's.
    folder: &'a Path,
}

impl Work for Prioritise<'_> {
    type Output = Vec<(i64, f64)>;

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<Self::Output> {
        let args = self.args;
        let tasks = pairs(&Store::read(&args.store.path()?)?, &args.project)?;
        let folder = newest(self.folder, &[Stage::Reward])?;
        let n_positions = read_config(&folder)?.max_positions;
        let tokenizer = tokenizer_of(&folder)?;
        let template = chat_template(&tokenizer, None)?;
        let encoder = Encoder::new(tokenizer, template, None);
        let reward = LearnedReward::<B::InnerBackend>::load(&folder, BATCH_ROWS, &device)?;
        let mut told = Vec::with_capacity(tasks.len());
        for batch in tasks.chunks(BATCH_ROWS) {
            let rows =
                rows(batch, &encoder, n_positions).with_context(|| folder.display().to_string())?;
            let heads = reward.head_scores(&rows).with_context(|| {
                format!(
                    "{}: is no ensemble; train one with `reward.ensemble = {{}}`",
                    folder.display()
                )
            })?;
            let values = heads.chunks_exact(2).map(|sides| information(&sides[0], &sides[1]));
            told.extend(batch.iter().map(|task| task.id).zip(values));
        }
        Ok(told)
    }
}

/// The tasks of a project that compares pairs.
fn pairs(store: &Store, project: &str) -> Result<Vec<Task>> {
    let tasks = store.tasks(project, Split::Train)?;
    if tasks.is_empty() {
        bail!("{}: project `{project}` has no tasks", store.path().display());
    }
    if tasks.iter().any(|task| task.responses.len() != 2) {
        bail!("project `{project}` doesn't compare pairs");
    }
    Ok(tasks)
}

/// Both sides of each pair, as a reward model of so many positions reads what it learns from.
fn rows(tasks: &[Task], encoder: &Encoder, n_positions: usize) -> Result<Vec<Vec<u32>>> {
    let pair = |task: &Task| task.preferring(&task.responses[0], &task.responses[1]);
    let pairs: Vec<Example> = tasks.iter().map(pair).collect();
    let encoded = encode_examples(&pairs, encoder, n_positions)?;
    Ok(encoded.judgements.rows().into_iter().map(<[u32]>::to_vec).collect())
}

/// What a comparison would tell of the models whose scores of both sides these are.
fn information(first: &[f32], second: &[f32]) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let gaps = first.iter().zip(second).map(|(a, b)| f64::from(a - b));
    bald(&gaps.map(sigmoid).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_models_agree_on_tells_nothing() {
        assert!(information(&[0.0, 0.0, 0.0], &[0.0, 0.0, 0.0]).abs() < 1e-12, "a coin for all");
        assert!(information(&[3.0, 3.0], &[0.0, 0.0]).abs() < 1e-12);
        let disputed = information(&[3.0, -3.0], &[0.0, 0.0]);
        assert!(disputed > 0.4 && disputed <= std::f64::consts::LN_2, "{disputed}");
    }
}
