//! Whether rewards that are read off behaviour are the experts', in the help-desk world, whose reward is known.
//!
//! Everything is done by ordinary runs, whose folders stay:
//!
//! ```text
//! base/        a model of everybody's replies
//! expert/      the same after experts' replies; a reward model of demonstrations against the base's samples, and
//!              weights of features (`feature_reward.json`)
//! model/, log_ratio/, features/
//!              PPO on each of these rewards, from the expert's model on
//! ```
//!
//! A line for each reward says how alike to the truth it is on replies of the base to prompts that nothing trained
//! on, and what the policy is worth before and after PPO.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rein_data::checkpoint::write_atomically;
use rein_data::example::Completion;
use rein_data::log::RunLog;
use rein_data::run_dir::RunDir;
use rein_data::seed::Seed;
use rein_data::stage::Interrupt;
use rein_model::backend::LmAutodiffBackend;
use rein_model::checkpoint::MODEL;
use rein_model::{Sampler, load_causal_lm};
use rein_ppo::rollout::{Prompt, sample};
use rein_reward::inverse::similarity::{epic_distance, within_prompts};
use rein_reward::inverse::{FeatureReward, LogRatio, LogRatioConfig};
use rein_reward::{Gold, LearnedReward, Reward};
use serde::Serialize;

use super::args::InverseArgs;
use crate::args::HubArgs;
use crate::config::{self, Config, Stage};
use crate::device::Work;
use crate::pipeline::{Ended, Evaluation, Session};
use crate::setup::Setup;
use crate::speech::print;
use crate::watch::watcher;

/// Replies to each held-out prompt that rewards are compared on.
const N_REPLIES: usize = 16;
/// How alike to the truth a reward shall be.
const PEARSON: f64 = 0.85;

/// Looks for the experts' reward and says whether it was found.
#[derive(Debug)]
pub(super) struct Inverse<'a> {
    pub(super) args: &'a InverseArgs,
}

/// What came of a reward.
#[derive(Debug, Serialize)]
struct Told {
    reward: &'static str,
    /// Pearson's correlation with gold, within prompts.
    pearson: f64,
    epic_distance: f64,
    /// How often two replies to one prompt are in gold's order.
    pair_accuracy: f64,
    gold_of_base: f64,
    /// Of the model that imitates experts.
    gold_before: f64,
    /// After PPO on this reward.
    gold_after: f64,
}

impl Work for Inverse<'_> {
    type Output = bool;

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<bool> {
        let runs = Runs { args: self.args, device: &device };
        let shown = format!("data.demonstrations={}", self.args.demonstrations);
        let begins = ["stages=[\"sft\"]".to_owned(), shown.clone()];
        let base = runs.model_of::<B>("base", Stage::Sft, &begins)?;
        let imitates = [
            "stages=[\"sft\", \"reward\"]".to_owned(),
            shown,
            format!("data.expert_temperature={:?}", self.args.temperature),
            pretrained(&base),
            // The base knows the language; what is new are manners.
            "sft.optimizer.learning_rate=3e-3".into(),
            "reward.demonstrations={ count = 16384, samples = 1, max_ent = {} }".into(),
        ];
        let expert = runs.model_of::<B>("expert", Stage::Sft, &imitates)?;
        let learned = runs.model_of::<B>("expert", Stage::Reward, &imitates)?;
        let features = self.args.out.join("expert/feature_reward.json");
        let rewards: [(&str, Box<dyn Reward>, String); 3] = [
            (
                "model",
                Box::new(LearnedReward::<B::InnerBackend>::load(&learned, 64, &device)?),
                format!("reward_model={}", quoted(&learned)),
            ),
            (
                "log_ratio",
                Box::new(self.log_ratio::<B>([&expert, &base], &device)?),
                format!(
                    "rl.rewards=[{{ kind = \"log_ratio\", clip = {:?}, policy = {}, base = {} }}]",
                    self.args.clip,
                    quoted(&expert),
                    quoted(&base)
                ),
            ),
            (
                "features",
                Box::new(FeatureReward::load(&features)?),
                format!("rl.rewards=[{{ kind = \"features\", path = {} }}]", quoted(&features)),
            ),
        ];
        let replies = runs.replies::<B>(&base)?;
        let mut all_found = true;
        for (name, reward, asks) in rewards {
            let optimises = ["stages=[\"rl\", \"evaluate\"]".into(), pretrained(&expert), asks];
            runs.finish::<B>(name, &[Stage::Rl, Stage::Evaluate], &optimises)?;
            let told = tell(name, &*reward, &replies, &self.args.out.join(name))?;
            all_found &= told.pearson >= PEARSON && told.gold_after > told.gold_before;
            print(&format!("{}\n", serde_json::to_string(&told).expect("numbers are plain JSON")));
        }
        Ok(all_found)
    }
}

impl Inverse<'_> {
    fn log_ratio<B: LmAutodiffBackend>(
        &self,
        folders: [&Path; 2],
        device: &B::Device,
    ) -> Result<LogRatio<B::InnerBackend>> {
        let config = LogRatioConfig { clip: Some(self.args.clip), ..LogRatioConfig::default() };
        Ok(LogRatio::load(folders, config, 64, device)?)
    }
}

fn tell(
    name: &'static str,
    reward: &dyn Reward,
    replies: &[Completion],
    run: &Path,
) -> Result<Told> {
    let scores = |reward: &dyn Reward| -> Result<Vec<f64>> {
        Ok(reward.score(replies)?.into_iter().map(f64::from).collect())
    };
    let (got, gold) = (scores(reward)?, scores(&Gold)?);
    let prompts: Vec<&String> = replies.iter().map(|it| &it.prompt).collect();
    let evaluation = Evaluation::load(&RunDir::join(run))?;
    let worth = |place: usize| evaluation.models.get(place).and_then(|it| it.gold);
    let last = evaluation.models.len().saturating_sub(1);
    Ok(Told {
        reward: name,
        pearson: within_prompts(&got, &gold, &prompts),
        epic_distance: epic_distance(&got, &gold, &prompts),
        pair_accuracy: pair_accuracy(&got, &gold, &prompts),
        gold_of_base: gold.iter().sum::<f64>() / gold.len() as f64,
        gold_before: worth(0).context("the model before was measured")?,
        gold_after: worth(last).context("the policy was measured")?,
    })
}

/// Of all pairs of replies to one prompt that gold tells apart.
fn pair_accuracy(got: &[f64], gold: &[f64], prompts: &[&String]) -> f64 {
    let (mut right, mut all) = (0.0, 0.0);
    for one in 0..gold.len() {
        for other in 0..one {
            if prompts[one] == prompts[other] && gold[one] != gold[other] {
                let agrees = (got[one] > got[other]) == (gold[one] > gold[other]);
                right += f64::from(u8::from(agrees));
                all += 1.0;
            }
        }
    }
    right / all
}

/// The runs of the experiment.
struct Runs<'a, D> {
    args: &'a InverseArgs,
    device: &'a D,
}

impl<D: Clone> Runs<'_, D> {
    /// The model that a stage of a run left, which is finished first.
    fn model_of<B: LmAutodiffBackend<Device = D>>(
        &self,
        name: &str,
        stage: Stage,
        sets: &[String],
    ) -> Result<PathBuf> {
        let stages = if stage == Stage::Reward { vec![Stage::Reward] } else { vec![Stage::Sft] };
        let run = self.finish::<B>(name, &stages, sets)?;
        let finished = run.finished(stage.name())?.context("the stage was finished")?;
        Ok(run.checkpoints(stage.name()).path(finished.step).join(MODEL))
    }

    /// Runs these stages, as far as they aren't done.
    fn finish<B: LmAutodiffBackend<Device = D>>(
        &self,
        name: &str,
        stages: &[Stage],
        sets: &[String],
    ) -> Result<RunDir> {
        let root = self.args.out.join(name);
        let config = self.config(sets).with_context(|| name.to_owned())?;
        let setup = Setup::for_run(config, &root, &HubArgs::default())?;
        let run = match root.join("config.toml").exists() {
            true => RunDir::open(&root)?,
            false => RunDir::create(&root)?,
        };
        let saved = toml::to_string(&setup.config).context("the resolved config")?;
        write_atomically(&run.file("config.toml"), saved.as_bytes())?;
        let log = RunLog::open(&run, watcher(true, &Interrupt::default()))?;
        let mut session = Session::<B>::alone(setup, run, log, self.device);
        match session.run(stages)? {
            Ended::Finished => Ok(session.run),
            Ended::Interrupted => bail!("{name}: was interrupted"),
        }
    }

    fn config(&self, sets: &[String]) -> Result<Config> {
        config::load(None, &[sets, &self.args.set].concat())
    }

    /// Replies of the base to prompts that nothing trained on.
    fn replies<B: LmAutodiffBackend<Device = D>>(&self, base: &Path) -> Result<Vec<Completion>> {
        let setup = Setup::new(self.config(&[pretrained(base)])?, &HubArgs::default())?;
        let (ppo, tokenizer) = (&setup.config.rl, &setup.tokenizer);
        let questions = &setup.world.prompts.heldout;
        let asked = questions.iter().flat_map(|it| std::iter::repeat_n(it, N_REPLIES));
        let prompts = asked.map(|it| Prompt::encode(&it.text, tokenizer)).collect();
        let model = load_causal_lm::<B::InnerBackend>(base, self.device)?;
        let sampling = ppo.sampling(1.0, tokenizer.special().eos);
        let sampler = Sampler::new(&model, &sampling, self.device)?;
        let seed = Seed::new(setup.config.seed).child("replies");
        let sampled = sample(&sampler, prompts, tokenizer, seed)?;
        Ok(sampled.into_iter().map(|it| it.completion).collect())
    }
}

fn pretrained(folder: &Path) -> String {
    format!("model={{ kind = \"pretrained\", path = {} }}", quoted(folder))
}

fn quoted(path: &Path) -> String {
    toml::Value::from(path.display().to_string()).to_string()
}
