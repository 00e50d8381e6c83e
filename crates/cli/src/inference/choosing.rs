//! Which completions of a row are kept: the best by a reward model, and those that can be imitated.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use clap::Args;
use rein_data::jsonl;
use rein_data::tokenizer::Tokenizer;
use rein_model::backend::LmBackend;
use rein_model::guard::rows_fit;
use rein_model::{Finish, read_config};
use rein_reward::LearnedReward;
use rein_reward::best_of::{best_of_kl, best_places};
use serde_json::{Value, json};

use super::{Inputs, ModelFolders, load_tokenizer};
use crate::args::{HubArgs, ModelArgs};

/// Which completions are written, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Choosing")]
pub(crate) struct ChoiceArgs {
    /// Score each completion with this reward model, and write its `score`: a folder, or `owner/name`. It
    /// must read the model's tokens
    #[arg(long, value_name = "MODEL")]
    pub(crate) reward_model: Option<PathBuf>,
    /// Score for one person, whom `rein reward adapt` has written with the same reward model
    #[arg(long, value_name = "FILE", requires = "reward_model")]
    pub(crate) person: Option<PathBuf>,
    /// Of a row's completions, keep the K with the best scores: with `--best 1`, best-of-n
    #[arg(long, value_name = "K", requires = "reward_model")]
    pub(crate) best: Option<usize>,
    /// Leave out completions that score less
    #[arg(long, value_name = "SCORE", requires = "reward_model", allow_negative_numbers = true)]
    pub(crate) min_score: Option<f32>,
    /// Write rows for `rein sft`, with the columns `prompt` and `completion`, of what ended by itself
    #[arg(long)]
    pub(crate) demonstrations: bool,
}

impl ChoiceArgs {
    fn is_idle(&self) -> bool {
        self.reward_model.is_none() && !self.demonstrations
    }
}

/// A completion that may be kept.
pub(super) struct Candidate {
    /// Its number among all completions.
    pub(super) number: usize,
    /// The line that tells of it.
    pub(super) line: Value,
    /// Prompt and completion.
    pub(super) tokens: Vec<u32>,
    pub(super) finish: Finish,
}

/// What is chosen by; found before anything is computed.
pub(super) struct Choice<'a> {
    args: &'a ChoiceArgs,
    n_samples: usize,
    reward: Option<ModelFolders>,
    /// The prompt of each row, and how a reply to it is written.
    prompts: Option<Vec<Prompt>>,
}

/// What stands before a completion in a file of demonstrations.
struct Prompt {
    prompt: Value,
    tools: Option<Value>,
}

impl<'a> Choice<'a> {
    /// Finds the reward model and the prompts, `n_new` tokens beyond which each row may grow.
    pub(super) fn new(
        args: &'a ChoiceArgs,
        inputs: &Inputs,
        n_samples: usize,
        hub: &HubArgs,
    ) -> Result<Self> {
        if let Some(best) = args.best {
            ensure!(
                (1..=n_samples).contains(&best),
                "`--best {best}` of `--samples {n_samples}`: keep at least 1, and no more than there are"
            );
        }
        let reward = args.reward_model.as_deref().map(|it| reward_folders(it, inputs, hub));
        let prompts = args.demonstrations.then(|| prompts(&inputs.path)).transpose()?;
        if args.demonstrations && inputs.tokenizer.is_none() {
            bail!(
                "{}: holds no tokenizer, which `--demonstrations` needs",
                inputs.model.base.display()
            );
        }
        Ok(Self { args, n_samples, reward: reward.transpose()?, prompts })
    }

    /// Refuses a row that grows beyond what the reward model can take.
    pub(super) fn fit(&self, inputs: &Inputs, n_new: usize) -> Result<()> {
        match &self.reward {
            Some(reward) => rows_fit(&read_config(&reward.base)?, &inputs.rows, n_new)
                .map_err(|error| anyhow::anyhow!("the reward model: {error}")),
            None => Ok(()),
        }
    }

    /// Whether every completion is written as it comes.
    pub(super) fn is_idle(&self) -> bool {
        self.args.is_idle()
    }

    /// Loads the reward model.
    pub(super) fn chooser<B: LmBackend>(
        &self,
        batch_rows: usize,
        device: &B::Device,
    ) -> Result<Chooser<'_, B>> {
        let person = self.args.person.as_deref();
        let load = |folders: &ModelFolders| match person {
            Some(person) => Ok(folders.load_personal(person, batch_rows, device)?.into_reward()),
            None => folders.load_reward(batch_rows, device),
        };
        let reward = self.reward.as_ref().map(load).transpose()?;
        Ok(Chooser { choice: self, reward, waiting: Vec::new(), n_seen: 0, n_kept: 0 })
    }
}

/// Chooses among completions as they come.
pub(super) struct Chooser<'a, B: LmBackend> {
    choice: &'a Choice<'a>,
    reward: Option<LearnedReward<B>>,
    /// Completions of a row that isn't complete.
    waiting: Vec<Candidate>,
    n_seen: usize,
    n_kept: usize,
}

impl<B: LmBackend> Chooser<'_, B> {
    /// The lines to write, now that these have come.
    pub(super) fn choose(&mut self, candidates: Vec<Candidate>) -> Vec<Value> {
        let Choice { args, n_samples, .. } = *self.choice;
        self.n_seen += candidates.len();
        self.waiting.extend(candidates);
        let of_a_row = if args.best.is_some() { n_samples } else { 1 };
        let n_whole = self.waiting.len() / of_a_row * of_a_row;
        let candidates: Vec<Candidate> = self.waiting.drain(..n_whole).collect();
        let scores = self.scores(&candidates);
        let mut lines = Vec::new();
        let mut rest = candidates.into_iter();
        for scores in scores.chunks(of_a_row) {
            let row: Vec<Candidate> = rest.by_ref().take(of_a_row).collect();
            lines.extend(self.choose_in(row, scores));
        }
        self.n_kept += lines.len();
        lines
    }

    /// What the reward model says; nothing is worse than a completion that broke a rule.
    fn scores(&self, candidates: &[Candidate]) -> Vec<f32> {
        let rows: Vec<&[u32]> = candidates.iter().map(|it| &it.tokens[..]).collect();
        let scores = match &self.reward {
            Some(reward) => reward.score_rows(&rows),
            None => vec![0.0; rows.len()],
        };
        let broke = candidates.iter().map(|it| it.finish == Finish::Guard);
        let each = scores.into_iter().zip(broke);
        each.map(|(score, broke)| if broke { f32::NEG_INFINITY } else { score }).collect()
    }

    /// Of one row's completions, those that are kept, the best first where the best are asked for.
    fn choose_in(&self, row: Vec<Candidate>, scores: &[f32]) -> Vec<Value> {
        let Choice { args, prompts, .. } = self.choice;
        let places = match args.best {
            Some(best) => best_places(scores, best),
            None => (0..row.len()).collect(),
        };
        let is_kept = |place: &usize| {
            args.min_score.is_none_or(|least| scores[*place] >= least)
                && (!args.demonstrations || row[*place].finish == Finish::Stop)
        };
        let tell = |place: usize| {
            let Candidate { number, line, .. } = &row[place];
            let mut line = line.clone();
            if args.reward_model.is_some() {
                line["score"] = json!(Some(scores[place]).filter(|it| it.is_finite()));
            }
            match prompts {
                Some(prompts) => prompts[number / self.choice.n_samples].answered(line),
                None => line,
            }
        };
        places.into_iter().filter(is_kept).map(tell).collect()
    }

    /// What was kept, if that is worth a word.
    pub(super) fn sentence(&self) -> Option<String> {
        let Choice { args, n_samples, .. } = *self.choice;
        let (seen, kept) = (self.n_seen, self.n_kept);
        let count = (kept < seen).then(|| format!("kept {kept} of {seen} completions"))?;
        Some(match args.best {
            Some(1) if args.min_score.is_none() && !args.demonstrations => format!(
                "{count}: the best of {n_samples}, at most {:.2} nats from the model",
                best_of_kl(n_samples)
            ),
            _ => count,
        })
    }
}

impl Prompt {
    /// The line as a demonstration.
    fn answered(&self, mut line: Value) -> Value {
        let text = line["text"].take();
        let completion = match &self.prompt {
            Value::Array(_) => json!([{ "role": "assistant", "content": text }]),
            _ => text,
        };
        let mut row = json!({ "prompt": self.prompt, "completion": completion });
        if let Some(tools) = &self.tools {
            row["tools"] = tools.clone();
        }
        if let Some(score) = line.get("score") {
            row["score"] = score.clone();
        }
        row
    }
}

/// The folder of a reward model that reads the tokens of the model that it judges.
fn reward_folders(model: &Path, inputs: &Inputs, hub: &HubArgs) -> Result<ModelFolders> {
    let hub = HubArgs { revision: None, ..hub.clone() };
    let folders = ModelFolders::find(&ModelArgs { model: model.to_owned(), adapter: None, hub })?;
    let own = load_tokenizer(folders.texts())?;
    if let (Some(own), Some(other)) = (&own, &inputs.tokenizer) {
        ensure!(
            reads_alike(own, other),
            "{}: has another tokenizer than {}, so that it can't read its completions; write them to a \
             file, and score that with `rein score`",
            folders.base.display(),
            inputs.model.base.display()
        );
    }
    Ok(folders)
}

/// Whether two tokenizers have the same tokens, by the same ids.
pub(crate) fn reads_alike(first: &Tokenizer, second: &Tokenizer) -> bool {
    let n_tokens = first.vocab_size();
    n_tokens == second.vocab_size()
        && (0..n_tokens as u32).all(|token| first.token(token) == second.token(token))
}

/// The prompts of a file, as it has them.
fn prompts(path: &Path) -> Result<Vec<Prompt>> {
    Ok(jsonl::read_with(path, |mut row: Value| {
        let tools = row.get_mut("tools").map(Value::take);
        let continued = row.get("completion").is_some();
        let [prompt, messages] = ["prompt", "messages"].map(|it| row.get_mut(it).map(Value::take));
        let prompt = prompt.or(messages).filter(|_| !continued).ok_or(
            "`--demonstrations` needs rows with a `prompt` or `messages`, and without a `completion`",
        )?;
        let last = prompt.as_array().and_then(|messages| messages.last());
        if last.is_some_and(|message| message["role"] == "assistant") {
            return Err(
                "the assistant has begun to answer; `--demonstrations` needs whole answers".into(),
            );
        }
        Ok(Prompt { prompt, tools })
    })?)
}
