//! The command line of sampling (how tokens are chosen, where a completion stops, what it may say) and of
//! scoring.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::choosing::ChoiceArgs;
use crate::args::{HubArgs, ModelArgs, RowsArgs};
use crate::device::BackendName;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  # Three completions of each row, each ending at the first empty line
  rein generate --model DIR --input rows.jsonl --output out.jsonl --samples 3 --stop $'\\n\\n'
  # No e-mail addresses: a completion with one is sampled again, at most 8 times, then refused
  rein generate --model DIR --input rows.jsonl --forbid-regex '\\S+@\\S+' --attempts 8
  # Best-of-n: of 16 completions of each row, the one that a reward model likes best
  rein generate --model DIR --input rows.jsonl --samples 16 --reward-model RM --best 1
  # The best of 16 for one person, as `rein reward adapt` knows them
  rein generate --model DIR --input rows.jsonl --samples 16 --reward-model RM --person ann.json --best 1
  # Rejection sampling: rows to fine-tune on, the best of 8 where it is good enough
  rein generate --model DIR --input rows.jsonl --samples 8 --reward-model RM --best 1 --min-score 0.5 \\
      --demonstrations --output best.jsonl

Each line of the output has `output_ids`, `text` and `finish_reason`: `stop` (it ended by itself),
`length` (it was cut) or `guard` (it broke a rule at each attempt). On a terminal, a single row is
shown as text while it is generated.")]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) rows: RowsArgs,
    /// Completions of each row
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) samples: usize,
    /// Also write how probable each new token was, as `logprobs`
    #[arg(long)]
    pub(crate) logprobs: bool,
    #[command(flatten)]
    pub(crate) choice: ChoiceArgs,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) guards: GuardArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  rein chat --model DIR --system 'You are brief.' --temperature 0.7 --top-p 0.9 --save chat.jsonl

Type `/help` for what can be done besides talking. Where standard input isn't a terminal, each of its
lines is a message: echo 'My phone gets hot.' | rein chat --model DIR")]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// How conversations become text: chatml, llama3, zephyr or a Jinja file; the model's own
    /// template if left out
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) chat_template: Option<String>,
    /// What the model is told before the conversation begins
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Append the conversation to this file (JSON lines with `messages`), up to date after each reply
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Where to compute; the build's first backend if left out
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendName>,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) guards: GuardArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rein score --model RM --input rows.jsonl --output scores.jsonl
  # As one person would, whom `rein reward adapt` has written
  rein score --model RM --person ann.json --input rows.jsonl
  # Rules need no model; docs/rules.md describes them
  rein score --rules rules.toml --input rows.jsonl

A file of rules has tables as `[[rl.rewards]]` of a config:
  [[rewards]]
  kind = \"length\"
  max = 40

With `--rules`, rows of any format have `completion` (or `text`) and perhaps `prompt`, texts or
lists of messages; or `messages`, of which the last one is scored. Rules can read all columns. Each
line of the output then has the `score`, which is the weighted sum, and under `rules` the score and
the reason of each.")]
pub(crate) struct ScoreArgs {
    /// The reward model: a folder (Hugging Face layout), or `owner/name` of the Hugging Face Hub
    #[arg(long, value_name = "MODEL", required_unless_present = "rules")]
    pub(crate) model: Option<PathBuf>,
    /// Run the model with this LoRA adapter (PEFT's layout): a folder, or `owner/name`
    #[arg(long, value_name = "ADAPTER", requires = "model")]
    pub(crate) adapter: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) hub: HubArgs,
    /// Score for one person, whom `rein reward adapt` has written with this model, and also write `std`, how
    /// uncertain a score is by what isn't known of the person
    #[arg(long, value_name = "FILE", requires = "model")]
    pub(crate) person: Option<PathBuf>,
    /// Score by the rules of this file instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "person", "chat_template", "backend"])]
    pub(crate) rules: Option<PathBuf>,
    /// JSON lines with `input_ids`; or with `prompt` and perhaps `completion`, each a text or a list of
    /// messages; or with `messages`
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// How messages become text: chatml, llama3, zephyr or a Jinja file; the model's own template if
    /// left out
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) chat_template: Option<String>,
    /// Where the results go, a line for each row, in their order, an ensemble's with `std` and `bald`; standard output
    /// if left out
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Rows scored side by side
    #[arg(long, value_name = "ROWS", default_value_t = 16)]
    pub(crate) batch_size: usize,
    /// Where to compute; the build's first backend if left out
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendName>,
}

impl ScoreArgs {
    /// What is read, and the model that scores it, if one does.
    pub(crate) fn rows(&self) -> Option<RowsArgs> {
        let Self { adapter, hub, input, chat_template, output, .. } = self;
        Some(RowsArgs {
            model: ModelArgs {
                model: self.model.clone()?,
                adapter: adapter.clone(),
                hub: hub.clone(),
            },
            input: input.clone(),
            chat_template: chat_template.clone(),
            output: output.clone(),
            batch_size: self.batch_size,
            backend: self.backend,
        })
    }
}

/// How tokens are chosen and where a completion stops.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
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
    /// Completions are cut at this many tokens; if left out, at 64 (`chat`: 512), or at what the model
    /// has room for
    #[arg(long, value_name = "N")]
    pub(crate) max_new_tokens: Option<usize>,
    /// No completion ends before it has this many tokens
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) min_new_tokens: usize,
    /// End where this text comes; `text` leaves it out, `output_ids` keep its tokens. Can be given many
    /// times
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
    /// End with this token, besides the model's own ends. Can be given many times
    #[arg(long, value_name = "ID")]
    pub(crate) stop_token: Vec<u32>,
    /// All random numbers follow from it
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

/// What a completion may say.
#[derive(Debug, Args)]
#[command(next_help_heading = "Guards")]
pub(crate) struct GuardArgs {
    /// Never say this text: the tokens that would complete it are not chosen, and what still says it
    /// breaks a rule. Can be given many times
    #[arg(long, value_name = "TEXT")]
    pub(crate) ban: Vec<String>,
    /// Never complete this sequence of tokens. Can be given many times
    #[arg(long, value_name = "ID,ID,…")]
    pub(crate) ban_tokens: Vec<Tokens>,
    /// A completion without this sequence of tokens breaks a rule. Can be given many times
    #[arg(long, value_name = "ID,ID,…")]
    pub(crate) require_tokens: Vec<Tokens>,
    /// A completion whose text this expression matches nowhere breaks a rule. Can be given many times
    #[arg(long, value_name = "REGEX")]
    pub(crate) require_regex: Vec<String>,
    /// A completion whose text this expression matches breaks a rule. Can be given many times
    #[arg(long, value_name = "REGEX")]
    pub(crate) forbid_regex: Vec<String>,
    /// Sample a completion that breaks a rule again, up to so many attempts in all; 4 if left out, 1
    /// with `--greedy`
    #[arg(long, value_name = "N")]
    pub(crate) attempts: Option<usize>,
    /// What becomes of a completion that broke a rule at each attempt
    #[arg(long, value_enum, default_value = "refuse")]
    pub(crate) on_violation: OnViolation,
    /// What stands in its place
    #[arg(long, value_name = "TEXT", default_value = "I can't help with that.")]
    pub(crate) refusal: String,
}

/// What becomes of a completion that broke a rule at each attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnViolation {
    /// A refusal takes its place
    Refuse,
    /// The last attempt is kept, marked as `guard`
    Keep,
}

/// Token ids in a row, as `5,17`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tokens(pub(crate) Vec<u32>);

impl std::str::FromStr for Tokens {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ids = text.split(',').map(|id| id.trim().parse());
        let ids: Result<_, _> = ids.collect();
        ids.map(Self).map_err(|_| "token ids are numbers with commas between, as in 5,17".into())
    }
}
