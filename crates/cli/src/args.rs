//! The command line.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};
use rein_model::Precision;
use rein_ppo::algorithm::Algorithm;

use crate::bench::{BenchCommand, Shape, SizeArgs};
use crate::config::Stage;
use crate::device::BackendName;
use crate::export::parse_size;
use crate::feedback::FeedbackArgs;
use crate::inference::{ChatArgs, GenerateArgs, ScoreArgs};
use crate::inspect::InspectArgs;
use crate::personal::PersonalArgs;
use crate::red_team::RedTeamArgs;
use crate::reward::{RewardArgs, RewardCommand};

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

const DPO_EXAMPLES: &str = "\
Examples:
  rein sft --config run.toml --run runs/mine && rein dpo --run runs/mine
  rein dpo --config run.toml --model owner/name --set dpo.beta=0.05 --set dpo.optimizer.learning_rate=5e-7
  rein dpo --config run.toml --model DIR --set dpo.loss_type=simpo --set dpo.beta=2.5
  rein dpo --config thumbs.toml --model DIR --set dpo.loss_type=kto --set dpo.undesirable_weight=2";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Do everything, in order, and print what came of it
    Train(TrainArgs),
    /// Fine-tune a model on demonstrations
    Sft(StageArgs),
    /// Ask people: in a browser, live or simulated ones; and look after what they said
    Feedback(FeedbackArgs),
    /// Train a reward model on judgements
    Reward(RewardArgs),
    /// Optimise a model on judgements alone, without a reward model or sampling: DPO and its relatives
    ///
    /// Makes what people preferred more probable, compared with where the model began. It begins with the
    /// run's fine-tuned model (`rein sft`), or with `--model`, and reads pairs of completions: the columns
    /// `prompt`, `chosen` and `rejected` of `data.preferences`, or what `rein feedback` gathered. `kto` also
    /// reads single completions: the columns `prompt`, `completion` and `label` (true or false).
    ///
    /// `dpo.loss_type` chooses the loss: `sigmoid` (DPO), `ipo`, `robust`, `hinge`, `exo_pair`,
    /// `nca_pair`, `sppo_hard`, `apo_zero`, `apo_down`; without a reference `cpo`, `simpo`, `orpo`; `kto`
    /// of labels, to which a pair is one good and one bad completion.
    /// `dpo.beta` says how far the model may leave where it began: the lower, the further. What to look at:
    /// `rewards/margins` shall grow, `rewards/accuracies` pass 0.5, and `logps/chosen` not fall for long.
    #[command(after_help = DPO_EXAMPLES)]
    Dpo(StageArgs),
    /// Optimise a model by reinforcement learning
    Rl(RlArgs),
    /// Measure the models of a run on held-out prompts
    Evaluate(StageArgs),
    /// Give people rewards, and policies, of their own, by what each of them said
    ///
    /// A run whose reward model learned in which ways people differ (`reward.personal`) tells from a few answers what one of
    /// them likes. That picks the best of several replies (`--policy rerank`), or the policy goes on
    /// learning it, in an adapter of the person's own (`--policy lora`). `rein train` does it at the end where the config
    /// has `[personal]`.
    Personal(PersonalArgs),
    /// Let an attacker learn which prompts a model answers badly, and teach the model better
    ///
    /// The attacker is a policy of its own: it first imitates users' prompts, then reinforcement learning rewards it
    /// for prompts whose answers are violations, less what it pays for leaving what users write, and for writing the
    /// same again (Perez et al., 2022). Fresh prompts of it are answered by the model at the end: the attack success
    /// rate is the share that leads to a violation.
    ///
    /// With `--harden`, the model goes on learning, with the prompts that were found among users' own, and violations
    /// cost. A second attacker, which begins anew and learns against the hardened model, then says what is left.
    RedTeam(RedTeamArgs),
    /// Let a model complete the rows of a file
    Generate(GenerateArgs),
    /// Talk with a model
    Chat(ChatArgs),
    /// Say how probable a model holds each token of the rows of a file
    Logprobs(JudgeArgs),
    /// Let a reward model, or rules, score the rows of a file
    Score(ScoreArgs),
    /// Write a model in another type, in smaller files or with an adapter merged into it
    Export(ExportArgs),
    /// Say what a data set holds: its schema, its rows as tokens, what is learned, cut and wrong
    Inspect(InspectArgs),
    /// Print the default config, to start one of your own from
    Config,
    /// Write the first losses of each stage, to compare backends
    #[command(hide = true)]
    Parity(ParityArgs),
    /// Measure time and memory of standard workloads and of operations
    #[command(hide = true, subcommand)]
    Bench(BenchCommand),
}

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Go on with the run in this folder, from its newest checkpoint
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "set", "run", "model", "reward_model", "feedback"])]
    pub(crate) resume: Option<PathBuf>,
    /// Print what would be done, how large and how long, and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct StageArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RlArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// The algorithm, which says what `[rl]` leaves out
    #[arg(long, value_enum)]
    pub(crate) algorithm: Option<Named>,
}

/// An algorithm of reinforcement learning, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named(pub(crate) Algorithm);

impl ValueEnum for Named {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: [Named; Algorithm::ALL.len()] = {
            let mut all = [Named(Algorithm::Ppo); Algorithm::ALL.len()];
            let mut index = 0;
            while index < all.len() {
                all[index] = Named(Algorithm::ALL[index]);
                index += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()).help(self.0.about()))
    }
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
    /// Begin with this model: a folder (Hugging Face layout), or `owner/name` of the Hugging Face Hub
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<PathBuf>,
    /// Score with this reward model: a folder, or `owner/name`
    #[arg(long, value_name = "MODEL")]
    pub(crate) reward_model: Option<PathBuf>,
    /// Learn from what people said in this store instead of asking simulated people. The store of a run goes on
    /// from that run: with its config and its newest model, unless `--config` or `--model` names others
    #[arg(long, value_name = "STORE")]
    pub(crate) feedback: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) hub: HubArgs,
    /// Where to compute; the build's first backend if left out
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendName>,
    /// Plain lines instead of the dashboard
    #[arg(long)]
    pub(crate) plain: bool,
}

/// Which of the Hub's models, and whether it may be asked.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct HubArgs {
    /// The branch, tag or commit of the Hub's model, as in `owner/name@REV`; `main` if left out
    #[arg(long, value_name = "REV", requires = "model")]
    pub(crate) revision: Option<String>,
    /// Use only models that lie here or in the Hub's cache
    #[arg(long)]
    pub(crate) offline: bool,
}

/// A model, and an adapter to run it with.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// The model: a folder (Hugging Face layout), or `owner/name` of the Hugging Face Hub. An adapter is
    /// run on the base that it names
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Run the model with this LoRA adapter (PEFT's layout): a folder, or `owner/name`
    #[arg(long, value_name = "ADAPTER")]
    pub(crate) adapter: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) hub: HubArgs,
}

/// A model and rows to run it on.
#[derive(Debug, Args)]
pub(crate) struct RowsArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// JSON lines with `input_ids`; or with `prompt` and perhaps `completion`, each a text or a list of
    /// messages; or with `messages`
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// How messages become text: chatml, llama3, zephyr or a Jinja file; the model's own template if
    /// left out
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) chat_template: Option<String>,
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
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Take the adapter off weights that it was merged into, instead of merging it
    #[arg(long, requires = "adapter")]
    pub(crate) unmerge: bool,
    /// The folder to write
    #[arg(long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// The type of the weights; as they are if left out
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<Dtype>,
    /// Larger models are split into files of this size
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = parse_size)]
    pub(crate) max_shard_size: u64,
    /// Write into a folder that isn't empty
    #[arg(long)]
    pub(crate) force: bool,
}

/// The types that weights are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dtype {
    /// 32 bits
    F32,
    /// 16 bits, of values up to 65504
    F16,
    /// 16 bits with the range of f32
    Bf16,
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

/// What numbers are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rounding {
    F32,
    Bf16,
}

impl From<Rounding> for Precision {
    fn from(rounding: Rounding) -> Self {
        match rounding {
            Rounding::F32 => Self::F32,
            Rounding::Bf16 => Self::Bf16,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// How large
    #[arg(long, value_enum, default_value = "S")]
    pub(crate) shape: Shape,
    /// Timed runs
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) iters: usize,
    /// In what matrix products are computed, and frozen models and rollouts kept; bf16 takes a
    /// processor with AVX512-BF16
    #[arg(long, value_enum, value_name = "TYPE", default_value = "f32")]
    pub(crate) dtype: Rounding,
    /// In what the optimiser keeps its moments; to bf16 they are rounded at random, on any processor
    #[arg(long, value_enum, value_name = "TYPE", default_value = "f32")]
    pub(crate) moments: Rounding,
    /// Where to compute
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendName>,
    #[command(flatten)]
    pub(crate) sizes: SizeArgs,
}

impl Command {
    /// The one stage that a stage's command runs.
    pub(crate) fn stage(&self) -> Option<Stage> {
        match self {
            Self::Sft(_) => Some(Stage::Sft),
            Self::Feedback(args) => args.stage().map(|_| Stage::Feedback),
            Self::Reward(args) => match args.command() {
                RewardCommand::Train(_) => Some(Stage::Reward),
                RewardCommand::Evaluate(_) | RewardCommand::Adapt(_) | RewardCommand::Attack(_) => {
                    None
                }
            },
            Self::Dpo(_) => Some(Stage::Dpo),
            Self::Rl(_) => Some(Stage::Rl),
            Self::Evaluate(_) => Some(Stage::Evaluate),
            _ => None,
        }
    }

    /// Whether several processes can do it together.
    pub(crate) fn can_share(&self) -> bool {
        match self {
            Self::Train(args) => !args.dry_run,
            command => command.stage().is_some(),
        }
    }
}
