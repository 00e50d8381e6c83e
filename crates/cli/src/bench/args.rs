//! What `rein bench` can be asked for.

use std::path::PathBuf;

use clap::{Args, Subcommand, value_parser};
use serde::Serialize;

use super::learn::LearnArgs;
use super::meta::MetaArgs;
use super::overoptimize::OveroptimizeArgs;
use super::query::QueryArgs;
use super::red_team::RedTeamBenchArgs;
use super::shape::Shape;
use super::{Axis, Workload};
use crate::args::BenchArgs;
use crate::device::BackendName;

/// Each command prints JSON objects, one a line.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Time a step of fine-tuning: forward, backward, clipping and AdamW on one batch
    Sft(TrainingArgs),
    /// Time a rollout: sampling completions of full length
    Rollout(BenchArgs),
    /// Time an iteration of PPO: sampling, judging and four epochs of updates
    Ppo(PpoBenchArgs),
    /// Time each fused operation beside its composition of ordinary ones
    ///
    /// Sizes are those of a step of fine-tuning; backends in main memory show what decoding is made of,
    /// too. The two ways take turns. A ratio below 1 says that the fused operation is the faster one.
    Ops(BenchArgs),
    /// Say how time and memory grow with batch, length, width and vocabulary
    ///
    /// Each is doubled a few times while the others stay, every point in a process of its own. A line for
    /// each point is followed by the slopes: the exponent with which time and peak memory grow, beside the
    /// one that operations and kept numbers have at the same points.
    Slopes(SlopesArgs),
    /// Say whether memory stays as it is while PPO goes on
    ///
    /// Resident memory is looked at every 10 iterations and compared with that after 50. Ends with exit
    /// code 1 if it strays by more than 2 %.
    Soak(SoakArgs),
    /// Say whether every algorithm learns, on bandits and sums whose best answers are known
    ///
    /// All runs of a task begin with one small fine-tuned model. What samples shall reach 0.95 of a bandit's
    /// optimum and 0.9 of the best algorithm's success on sums; what learns from pairs shall gain more over
    /// the fine-tuned model than chance would (paired bootstrap, p < 0.01). Ends with exit code 1 if one
    /// doesn't. Takes about a quarter of an hour; runs that are done aren't repeated when it is started again.
    Learn(LearnArgs),
    /// Say whether the reward of experts can be read off what they do
    ///
    /// In the help-desk world, whose reward is known, a model learns everybody's replies and then experts'. Three
    /// rewards follow: a reward model of demonstrations against own samples, the log-ratio of both models, and
    /// weights of words. Each is compared with the truth, and PPO optimises it. Ends with exit code 1 if one
    /// correlates less than 0.85 within prompts, or doesn't raise the true reward. Takes some minutes; what is
    /// done isn't repeated when it is started again.
    Inverse(InverseArgs),
    /// Say how soon a person's taste is known, in the help-desk world with people who want opposite things
    ///
    /// Reward models learn from 80 people; 60 new ones give 0 to 32 answers each and are asked about other pairs. Of
    /// people who want opposite things, 8 answers shall tell 0.85 of what they prefer, and 0.15 more than without
    /// other people's help; people who are alike shall lose at most 0.01 by being asked. Ends with exit code 1
    /// otherwise. Takes a few minutes.
    Meta(MetaArgs),
    /// Say whether pessimistic ensembles put over-optimisation off
    ///
    /// PPO on a weak reward model of the help desk, far beyond where the truth turns: on the mean of an ensemble's
    /// models, on the least of them, and on their mean less two deviations, each nat from the fine-tuned model costing
    /// all of them the same little. Draws proxy and truth against √KL and
    /// fits the curve of Gao et al. (2023). Takes about a quarter of an hour; runs that are done aren't repeated
    /// when it is started again.
    Overoptimize(OveroptimizeArgs),
    /// Say whether a red team finds a planted weakness, and whether learning from it mends it
    ///
    /// The help desk is rude to customers who begin with one word, one in ten. An attacker shall find prompts
    /// of which 0.8 get rude replies; the policy learns from these; of a fresh attacker's prompts at most 0.2 shall
    /// succeed then, and ordinary prompts be answered as well as before: 0.48 of games won or more. Ends with exit
    /// code 1 otherwise. What is done isn't repeated when it is started again.
    RedTeam(RedTeamBenchArgs),
    /// Say how many labels a reward model of the help desk needs where those pairs are asked about that tell most
    ///
    /// Compares pairs chosen at random with those of which the reward is least certain (BALD) and those that tell most
    /// of it as a whole (D-optimal), on the pairs of replies that a run sampled.
    Query(QueryArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InverseArgs {
    /// Gold reward that makes a reply e times as probable for an expert as for everybody
    #[arg(long, value_name = "T", default_value_t = 2.0)]
    pub(super) temperature: f64,
    /// Nats within which a token's log-ratio counts
    #[arg(long, value_name = "NATS", default_value_t = 2.0)]
    pub(super) clip: f64,
    /// Demonstrations of everybody, and of experts
    #[arg(long, value_name = "N", default_value_t = 38_400, value_parser = at_least_one)]
    pub(super) demonstrations: usize,
    /// Change a setting of all runs, as in `--set rl.steps=20`; can be given many times
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// Where the runs are written
    #[arg(long, value_name = "DIR", default_value = "runs/inverse")]
    pub(super) out: PathBuf,
    /// Where to compute
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendName>,
}

/// A workload that updates weights.
#[derive(Debug, Args)]
pub(crate) struct TrainingArgs {
    #[command(flatten)]
    pub(crate) bench: BenchArgs,
    /// Compute what is inside blocks again for the backward pass instead of keeping it
    #[arg(long)]
    pub(crate) gradient_checkpointing: bool,
}

/// Sizes other than the shape's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args, Serialize)]
#[command(next_help_heading = "Sizes other than the shape's")]
pub(crate) struct SizeArgs {
    /// Rows of a step, or prompts
    #[arg(long, value_name = "ROWS", value_parser = at_least_one)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) batch: Option<usize>,
    /// Tokens of a row: of a completion and its prompt, in the shape's proportion
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) length: Option<usize>,
    /// Width of the model, with more or fewer heads and a feed-forward layer in proportion
    #[arg(long, value_name = "NUMBERS", value_parser = at_least_one)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) width: Option<usize>,
    /// Entries of the vocabulary
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vocabulary: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct PpoBenchArgs {
    #[command(flatten)]
    pub(crate) training: TrainingArgs,
    /// Sample the next iteration's completions during the updates, as `rl.overlap` does
    #[arg(long)]
    pub(crate) overlap: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SlopesArgs {
    /// What is timed
    #[arg(long, value_enum, default_value = "sft")]
    pub(crate) what: Workload,
    /// What is doubled; all if left out, may be repeated
    #[arg(long = "axis", value_name = "AXIS", value_enum)]
    pub(crate) axes: Vec<Axis>,
    /// Where the doubling begins
    #[arg(long, value_enum, default_value = "S")]
    pub(crate) shape: Shape,
    /// How often each is doubled
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..=8))]
    pub(crate) doublings: u32,
    /// Timed runs of a point
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) iters: usize,
    /// Where to compute
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendName>,
    #[command(flatten)]
    pub(crate) sizes: SizeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SoakArgs {
    /// How large
    #[arg(long, value_enum, default_value = "S")]
    pub(crate) shape: Shape,
    /// Iterations of PPO
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = value_parser!(u32).range(60..))]
    pub(crate) iterations: u32,
    /// Where to compute
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendName>,
    #[command(flatten)]
    pub(crate) sizes: SizeArgs,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a number, 1 or more".into()),
        Ok(number) => Ok(number),
    }
}
