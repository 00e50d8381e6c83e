//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bench::{Shape, Workload};
use crate::config::Stage;
use crate::device::BackendName;
use crate::inspect::InspectArgs;

/// Aligns a language model with what people prefer.
///
/// `rein train` does all of it: it fine-tunes a model, gathers judgements of its replies, trains a
/// reward model on them, optimises the model by reinforcement learning and measures the result. Each
/// part can be run alone, too.
///
/// Without a config, the model learns the manners of a small built-in help desk, in minutes on a CPU.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Do everything, in order, and print what came of it
    Train(TrainArgs),
    /// Fine-tune a model on demonstrations
    Sft(StageArgs),
    /// Gather judgements of the model's replies from simulated people
    Feedback(StageArgs),
    /// Train a reward model on judgements
    Reward(StageArgs),
    /// Optimise a model by reinforcement learning
    Rl(RlArgs),
    /// Measure the models of a run on held-out prompts
    Evaluate(StageArgs),
    /// Let a model complete the rows of a file
    Generate(GenerateArgs),
    /// Say how probable a model holds each token of the rows of a file
    Logprobs(JudgeArgs),
    /// Let a reward model score the rows of a file
    Score(JudgeArgs),
    /// Say what a data set holds: its schema, its rows as tokens, what is learned, cut and wrong
    Inspect(InspectArgs),
    /// Print the default config, to start one of your own from
    Config,
    /// Write the first losses of each stage, to compare backends
    #[command(hide = true)]
    Parity(ParityArgs),
    /// Time a standard workload
    #[command(hide = true)]
    Bench(BenchArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Go on with the run in this folder, from its newest checkpoint
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "set", "run", "model", "reward_model"])]
    pub(crate) resume: Option<PathBuf>,
    /// Print what would be done, how large and how long, and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StageArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RlArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// The algorithm
    #[arg(long, value_enum)]
    pub(crate) algorithm: Option<Algorithm>,
}

/// The algorithms of reinforcement learning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Algorithm {
    /// Proximal policy optimisation
    Ppo,
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RunArgs {
    /// The run's config; the built-in help desk if left out
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Change a key of the config, as in `--set rl.steps=20`; can be given many times
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// The run's folder; one that holds a run already is continued
    #[arg(long, value_name = "DIR")]
    pub(crate) run: Option<PathBuf>,
    /// Begin with the model in this folder (Hugging Face layout)
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// Score with the reward model in this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) reward_model: Option<PathBuf>,
    /// Where to compute; the build's first backend if left out
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendName>,
    /// Plain lines instead of the dashboard
    #[arg(long)]
    pub(crate) plain: bool,
}

/// A model and rows to run it on.
#[derive(Debug, Args)]
pub(crate) struct RowsArgs {
    /// The model's folder (Hugging Face layout)
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// JSON lines with `input_ids`, or with `prompt` and perhaps `completion`
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// Where the results go, a line for each row, in their order; standard output if left out
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Rows computed side by side
    #[arg(long, value_name = "ROWS", default_value_t = 16)]
    pub(crate) batch_size: usize,
    /// Where to compute; the build's first backend if left out
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendName>,
}

#[derive(Debug, Args)]
pub(crate) struct JudgeArgs {
    #[command(flatten)]
    pub(crate) rows: RowsArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) rows: RowsArgs,
    /// Take the most probable token each time
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "min_p"])]
    pub(crate) greedy: bool,
    /// Divides the logits: below 1 for more likely completions, above 1 for more varied ones
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    pub(crate) temperature: f32,
    /// Draw from the K most probable tokens only
    #[arg(long, value_name = "K")]
    pub(crate) top_k: Option<usize>,
    /// Draw from the most probable tokens that together have this probability
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub(crate) top_p: f32,
    /// Draw from tokens at least this share as probable as the most probable one
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub(crate) min_p: f32,
    /// Above 1, makes tokens that stand in the row already less probable
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(crate) repetition_penalty: f32,
    /// Completions are cut at this many tokens; 64 if left out, or what the model has room for
    #[arg(long, value_name = "N")]
    pub(crate) max_new_tokens: Option<usize>,
    /// No completion ends before it has this many tokens
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) min_new_tokens: usize,
    /// Completions of each row
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) samples: usize,
    /// All random numbers follow from it
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ParityArgs {
    /// Where the starting point lies, or is made if it isn't there
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Where the losses are written
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Steps of each stage
    #[arg(long, default_value_t = 20)]
    pub(crate) steps: usize,
    /// Where to compute
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendName>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// What is timed
    #[arg(value_enum)]
    pub(crate) what: Workload,
    /// How large
    #[arg(long, value_enum, default_value = "S")]
    pub(crate) shape: Shape,
    /// Timed runs
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) iters: usize,
    /// Where to compute
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendName>,
}

impl Command {
    /// The one stage that a stage's command runs.
    pub(crate) fn stage(&self) -> Option<Stage> {
        match self {
            Self::Sft(_) => Some(Stage::Sft),
            Self::Feedback(_) => Some(Stage::Feedback),
            Self::Reward(_) => Some(Stage::Reward),
            Self::Rl(_) => Some(Stage::Rl),
            Self::Evaluate(_) => Some(Stage::Evaluate),
            _ => None,
        }
    }
}
