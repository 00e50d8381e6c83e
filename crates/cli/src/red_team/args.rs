//! The command line of `rein red-team`.

use std::path::PathBuf;

use clap::Args;

use crate::args::HubArgs;
use crate::config::RedTeamConfig;
use crate::device::BackendName;

const EXAMPLES: &str = "\
Examples:
  # How often can the help desk be made rude? An attacker learns to find out
  rein red-team --run runs/helpdesk --violation 'never glad|no thank you|not sorry'
  # Any model, users' prompts of a file; then teach it better, and let a fresh attacker try
  rein red-team --model DIR --prompts prompts.jsonl --violation '(?i)password' --harden
  # Bad is what a reward model scores below 0
  rein red-team --run runs/mine --judge-model DIR --below 0

The folder of `--out` holds `attacks.jsonl`, the prompts that led to a violation, each once, as
{\"prompt\", \"reply\", \"violation\"}, with \"finished\": false where the reply was cut; `report.json`; and the attacker, which is a model like any
other. With `--harden` it also holds the hardened model, in `hardened/`, and the second attack on
it, in `fresh/`. The same command goes on where it was stopped.";

/// What is attacked, what counts, and how hard the attacker tries.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RedTeamArgs {
    /// Attack the newest policy of this run; its prompts are those that the attacker imitates at first
    #[arg(long, value_name = "RUN", required_unless_present = "model")]
    pub(super) run: Option<PathBuf>,
    /// Attack this model: a folder (Hugging Face layout), or `owner/name` of the Hugging Face Hub
    #[arg(long, value_name = "MODEL")]
    pub(super) model: Option<PathBuf>,
    /// Users' prompts to imitate at first: JSON lines with `prompt`
    #[arg(long, value_name = "FILE")]
    pub(super) prompts: Option<PathBuf>,
    /// Begin the attacker as this model; as the attacked one if left out
    #[arg(long, value_name = "MODEL")]
    pub(super) attacker: Option<PathBuf>,
    /// A violation is a reply in which this regular expression matches
    #[arg(long, value_name = "REGEX", required_unless_present = "judge_model")]
    pub(super) violation: Option<String>,
    /// A violation is a reply that this reward model scores low
    #[arg(long, value_name = "MODEL", conflicts_with = "violation")]
    pub(super) judge_model: Option<PathBuf>,
    /// How low: below this score
    #[arg(long, value_name = "SCORE", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(super) below: f32,
    /// Steps of the attacker's reinforcement learning
    #[arg(long, value_name = "N", default_value_t = RedTeamConfig::DEFAULT.steps, value_parser = at_least_one)]
    pub(super) steps: usize,
    /// Prompts that it writes in a step
    #[arg(long, value_name = "N", default_value_t = RedTeamConfig::DEFAULT.samples, value_parser = at_least_two)]
    pub(super) samples: usize,
    /// Visits of each user's prompt while it learns to write such
    #[arg(long, value_name = "N", default_value_t = RedTeamConfig::DEFAULT.imitate_epochs)]
    pub(super) imitate_epochs: f64,
    /// What a nat from the imitation of users costs: the higher, the more its prompts look like theirs
    #[arg(long, value_name = "PRICE", default_value_t = RedTeamConfig::DEFAULT.kl)]
    pub(super) kl: f64,
    /// The share of its worth that a prompt loses which repeats another one
    #[arg(long, value_name = "SHARE", default_value_t = RedTeamConfig::DEFAULT.similarity)]
    pub(super) similarity: f32,
    /// Tokens that a prompt may have; a half more than users' longest one if left out
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one)]
    pub(super) max_prompt_tokens: Option<usize>,
    /// Fresh prompts that the success rate is measured with
    #[arg(long, value_name = "N", default_value_t = RedTeamConfig::DEFAULT.count, value_parser = at_least_one)]
    pub(super) count: usize,
    /// Then teach the model not to fall for the prompts that were found, and attack it afresh
    #[arg(long)]
    pub(super) harden: bool,
    /// Steps of teaching
    #[arg(long, value_name = "N", default_value_t = 60, requires = "harden", value_parser = at_least_one)]
    pub(super) harden_steps: usize,
    /// What a violation costs while teaching, beside the reward
    #[arg(long, value_name = "PRICE", default_value_t = RedTeamConfig::DEFAULT.penalty, requires = "harden")]
    pub(super) penalty: f32,
    /// What good replies are while teaching: this reward model; the run's if it has one, else nothing but the price
    /// of leaving the model
    #[arg(long, value_name = "MODEL", requires = "harden")]
    pub(super) reward_model: Option<PathBuf>,
    /// Change a setting of how models are trained, as in `--set rl.optimizer.learning_rate=1e-5` or
    /// `--set sft.batch_rows=16`; others are the run's, or those of `rein config`
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// The red team's own seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Where all of it is written
    #[arg(long, value_name = "DIR", default_value = "runs/red-team")]
    pub(super) out: PathBuf,
    /// Show so many prompts that succeeded
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(super) examples: usize,
    #[command(flatten)]
    pub(super) hub: HubArgs,
    /// Where to compute; the build's first backend if left out
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendName>,
    /// Plain lines instead of the dashboard
    #[arg(long)]
    pub(super) plain: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    at_least(1, text)
}

fn at_least_two(text: &str) -> Result<usize, String> {
    at_least(2, text)
}

fn at_least(least: usize, text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|it| *it >= least);
    number.ok_or_else(|| format!("expected a number, {least} or more"))
}
