//! `rein reward attack`: what a reward model is worth against somebody who wants to fool it.

mod cases;
mod report;

use std::path::PathBuf;

use anyhow::{Result, bail};
use burn::module::Module;
use clap::{Args, ValueEnum};
use rein_data::log::{Metrics, Record, Watcher};
use rein_data::seed::Seed;
use rein_data::tokenizer::Tokenizer;
use rein_model::backend::LmAutodiffBackend;
use rein_model::guard::{fits, rows_fit};
use rein_model::tokens::{TokenBatch, host};
use rein_model::{ScalarModel, load_scalar_model, read_config, require_weights};
use rein_reward::adversarial::flips::{FlipBudget, Flipper};

use self::cases::Case;
use self::report::{Attempt, Report};
use crate::args::HubArgs;
use crate::device::{BackendName, Work};
use crate::hub;
use crate::watch::PlainLines;

const EXAMPLES: &str = "\
Examples:
  rein reward attack --reward-model runs/helpdesk/checkpoints/reward/step-001280/model
  rein reward attack --reward-model DIR --data pairs.jsonl --budget 5 --json > attack.json";

/// Rows whose scores are computed side by side.
const BATCH_ROWS: usize = 32;

/// What is attacked, and what the attacker may do.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AttackArgs {
    /// The reward model: a folder (Hugging Face layout), or `owner/name` of the Hugging Face Hub
    #[arg(long, value_name = "MODEL")]
    reward_model: PathBuf,
    /// Pairs to attack: JSON lines with `prompt`, `chosen` and `rejected`, all texts; pairs of replies of the
    /// built-in help desk, on held-out prompts and judged by the truth, if left out
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Tokens that may be exchanged in a reply
    #[arg(long, value_name = "TOKENS", default_value_t = 20, value_parser = at_least_one)]
    budget: usize,
    /// Exchanges that are tried before one is kept
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = at_least_one)]
    candidates: usize,
    /// The truth, which an exchange must not raise: else a better reply would count as a fooled model. The help
    /// desk's for its own pairs, and none for a file's, if left out
    #[arg(long, value_enum)]
    gold: Option<GoldRule>,
    /// Attack so many of the pairs, the first ones
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = at_least_one)]
    pairs: usize,
    /// The attacker's own seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Show so many replies that fooled the model
    #[arg(long, value_name = "N", default_value_t = 3)]
    examples: usize,
    /// Print all of it as JSON
    #[arg(long)]
    json: bool,
    /// Use only models that lie here or in the Hub's cache
    #[arg(long)]
    offline: bool,
    /// Where to compute; the build's first backend if left out
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendName>,
}

/// What knows how good a reply truly is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GoldRule {
    /// The truth of the built-in help desk
    Helpdesk,
    /// Nothing: whatever fools the model counts
    None,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a number, 1 or more".into()),
        Ok(number) => Ok(number),
    }
}

/// An attack that can begin.
pub(crate) struct Attack<'a> {
    args: &'a AttackArgs,
    folder: PathBuf,
    tokenizer: Tokenizer,
    cases: Vec<Case>,
    gold: GoldRule,
}

impl<'a> Attack<'a> {
    pub(crate) fn new(args: &'a AttackArgs) -> Result<Self> {
        let hub = HubArgs { revision: None, offline: args.offline };
        let folder = hub::resolve(&args.reward_model, &hub)?;
        require_weights(&folder)?;
        if !folder.join("tokenizer.json").exists() {
            bail!("{}: holds no tokenizer.json, which texts need", folder.display());
        }
        let tokenizer = Tokenizer::load(&folder)?;
        let config = read_config(&folder)?;
        fits(&config, &tokenizer)?;
        let pairs = match &args.data {
            Some(path) => cases::read(path, args.pairs)?,
            None => cases::helpdesk(args.pairs),
        };
        let cases: Vec<Case> = pairs.into_iter().map(|it| Case::new(it, &tokenizer)).collect();
        let rows: Vec<&[u32]> = cases.iter().flat_map(Case::rows).collect();
        rows_fit(&config, &rows, 0)?;
        let default = if args.data.is_some() { GoldRule::None } else { GoldRule::Helpdesk };
        let gold = args.gold.unwrap_or(default);
        Ok(Self { args, folder, tokenizer, cases, gold })
    }

    /// Attacks the rejected reply of each pair that the model judges as people did.
    fn attempts<B: LmAutodiffBackend>(
        &self,
        model: ScalarModel<B>,
        device: &B::Device,
    ) -> Vec<Attempt> {
        let args = self.args;
        let scores = scores(&model, &self.cases, device);
        let special = self.tokenizer.special();
        let specials = [Some(special.eos), special.bos, Some(special.pad)];
        let vocabulary =
            (0..self.tokenizer.vocab_size() as u32).filter(|it| !specials.contains(&Some(*it)));
        let budget = FlipBudget { flips: args.budget, candidates: args.candidates };
        let seed = Seed::new(args.seed).child("attack");
        let flipper = Flipper::<B>::new(model, vocabulary, budget, seed, device);
        let mut watcher = PlainLines::default();
        watcher.stage("attack", 0, self.cases.len());
        let mut attempts = Vec::new();
        for (number, (case, [chosen, rejected])) in self.cases.iter().zip(scores).enumerate() {
            let attacked = (chosen > rejected).then(|| {
                let allowed = |row: &[u32]| match self.gold {
                    GoldRule::Helpdesk => case.is_no_better(row, &self.tokenizer),
                    GoldRule::None => true,
                };
                flipper.attack(&case.target(chosen), allowed)
            });
            attempts.push(Attempt::new(case, [chosen, rejected], attacked, &self.tokenizer));
            watcher.metrics(&Record::new("attack", number + 1, &Metrics::default()));
        }
        attempts
    }
}

/// Scores of both replies of each pair.
fn scores<B: LmAutodiffBackend>(
    model: &ScalarModel<B>,
    cases: &[Case],
    device: &B::Device,
) -> Vec<[f32; 2]> {
    let rows: Vec<&[u32]> = cases.iter().flat_map(Case::rows).collect();
    let score = |rows: &[&[u32]]| host(model.scores(&TokenBatch::right_padded(rows, device)));
    let scores: Vec<f32> = rows.chunks(BATCH_ROWS).flat_map(score).collect();
    scores.as_chunks::<2>().0.to_vec()
}

impl Work for Attack<'_> {
    type Output = String;

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<String> {
        let model = load_scalar_model::<B>(&self.folder, &device)?.no_grad();
        let report = Report::new(&self.attempts(model, &device), self.args.budget);
        Ok(if self.args.json {
            format!("{}\n", serde_json::to_string_pretty(&report)?)
        } else {
            report.render(self.args.examples)
        })
    }
}
