//! What is compared, and the runs behind it: stages of ordinary runs, each in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rein_data::log::{RunLog, read_metrics};
use rein_data::run_dir::RunDir;
use rein_data::stage::Cadence;
use rein_feedback::simulate::gold_reward;
use rein_feedback::{Split, Store};
use rein_model::backend::LmAutodiffBackend;
use rein_model::checkpoint::MODEL;
use rein_model::schedule::Schedule;
use rein_ppo::config::PpoConfig;
use rein_ppo::kl::KlConfig;
use rein_reward::RewardSource;
use rein_reward::ensemble::{Backbones, EnsembleConfig, Pessimism};

use super::args::OveroptimizeArgs;
use super::curves::Point;
use crate::args::HubArgs;
use crate::bench::learn::Quiet;
use crate::commands::open_run;
use crate::config::{Config, ModelSource, Stage, change, load};
use crate::pipeline::{Ended, PROJECT, Session};
use crate::setup::Setup;
use crate::speech::note;

/// What is made of the heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arm {
    /// Their mean is optimised.
    Mean,
    /// The least of them.
    Minimum,
    /// The mean less so many deviations.
    LowerBound,
}

impl Arm {
    pub(super) const ALL: [Self; 3] = [Self::Mean, Self::Minimum, Self::LowerBound];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Minimum => "minimum",
            Self::LowerBound => "lower-bound",
        }
    }

    fn pessimism(self, deviations: f32) -> Option<Pessimism> {
        match self {
            Self::Mean => None,
            Self::Minimum => Some(Pessimism::Minimum),
            Self::LowerBound => Some(Pessimism::LowerBound { coefficient: deviations }),
        }
    }
}

/// What all arms of a seed begin with.
pub(super) struct World<'a> {
    args: &'a OveroptimizeArgs,
    seed: u64,
    /// The fine-tuned model.
    policy: PathBuf,
    /// The ensemble.
    reward: PathBuf,
    /// The mean truth of the fine-tuned model's replies.
    gold: f64,
}

impl<'a> World<'a> {
    pub(super) fn load_or_make<B: LmAutodiffBackend>(
        args: &'a OveroptimizeArgs,
        seed: u64,
        device: &B::Device,
    ) -> Result<Self> {
        let stages = [Stage::Sft, Stage::Feedback, Stage::Reward];
        let root = args.out.join(format!("seed-{seed}")).join("start");
        let run = drive::<B>(weak(args, seed)?, &root, &stages, device)?;
        let gold = gold_before(&run)?;
        let [policy, reward] = [Stage::Sft, Stage::Reward].map(|stage| result(&run, stage));
        Ok(Self { args, seed, policy: policy?, reward: reward?, gold })
    }

    /// The curve of an arm, from the fine-tuned model on.
    pub(super) fn run<B: LmAutodiffBackend>(
        &self,
        arm: Arm,
        device: &B::Device,
    ) -> Result<Vec<Point>> {
        let config = weak(self.args, self.seed)?;
        let mut rl = config.rl;
        rl.rewards = vec![RewardSource {
            pessimism: arm.pessimism(self.args.deviations),
            ..RewardSource::MODEL
        }];
        let config = Config {
            model: ModelSource::Pretrained { path: self.policy.clone() },
            reward_model: Some(self.reward.clone()),
            rl,
            ..config
        };
        let (seed, name) = (self.seed, arm.name());
        let root = self.args.out.join(format!("seed-{seed}")).join(name);
        let run = drive::<B>(config, &root, &[Stage::Rl], device)?;
        let records = read_metrics(&run.file("metrics.jsonl"))?;
        let found = records.iter().filter_map(|record| {
            Some(Point {
                arm: name,
                seed,
                step: record.step,
                kl: record.get("eval_objective/kl")?.max(0.0),
                proxy: record.get("eval_rewards/learned_mean/mean")?,
                gold: record.get("eval_rewards/gold/mean")?,
                gain: record.get("eval_rewards/gold/mean")? - self.gold,
            })
        });
        // The mean score is 0 there by the model's normalisation.
        let start =
            Point { arm: name, seed, step: 0, kl: 0.0, proxy: 0.0, gold: self.gold, gain: 0.0 };
        let points: Vec<Point> = std::iter::once(start).chain(found).collect();
        let last = points.last().expect("there is the first");
        note(&format!("seed {seed}, {name}: gold {:.2} in the end, KL {:.1}", last.gold, last.kl));
        Ok(points)
    }
}

/// What a nat from the fine-tuned model costs all arms: little, as Coste et al. (2024) add to their ensembles. Without any
/// price, a policy leaves what reward models ever saw so far behind that all arms collapse.
const KL_PRICE: f64 = 0.02;

/// A help desk whose reward model has seen little: few pairs, each judged by one person.
fn weak(args: &OveroptimizeArgs, seed: u64) -> Result<Config> {
    let mut config = load(None, &[])?;
    config.seed = seed;
    (config.feedback.pairs, config.feedback.overlap) = (512, 1);
    config.reward.ensemble =
        Some(EnsembleConfig { backbones: Backbones::Own, ..EnsembleConfig::default() });
    config.reward.checkpoints =
        Cadence { evaluate_every: 0, use_best: false, ..Cadence::default() };
    config.rl = PpoConfig {
        steps: 200,
        kl: KlConfig::Fixed { coefficient: KL_PRICE },
        missing_eos_penalty: 0.0,
        checkpoints: Cadence { save_every: 0, ..config.rl.checkpoints },
        eval_prompts: 115,
        sample_every: 0,
        ..config.rl
    };
    config.rl.optimizer.schedule = Schedule::Constant;
    change(&config, &args.set)
}

/// Runs stages in a folder, unless that was done before.
fn drive<B: LmAutodiffBackend>(
    config: Config,
    root: &Path,
    stages: &[Stage],
    device: &B::Device,
) -> Result<RunDir> {
    let setup = Setup::for_run(config, root, &HubArgs::default())?;
    let run = open_run(root, &setup)?;
    check_settings(&run, &setup)?;
    let log = RunLog::open(&run, Box::new(Quiet))?;
    let mut session = Session::<B>::alone(setup, run, log, device);
    match session.run(stages)? {
        Ended::Finished => Ok(session.run),
        Ended::Interrupted => bail!("{}: nobody can ask this run to stop", root.display()),
    }
}

/// Refuses a folder that holds a run with other settings.
fn check_settings(run: &RunDir, setup: &Setup) -> Result<()> {
    let path = run.file("config.toml");
    let saved = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    if saved != toml::to_string(&setup.config)? {
        let root = run.root().display();
        bail!("{root}: holds a run with other settings; remove it, or name another --out");
    }
    Ok(())
}

fn result(run: &RunDir, stage: Stage) -> Result<PathBuf> {
    let finished = run.finished(stage.name())?.expect("the stage is done");
    Ok(run.checkpoints(stage.name()).path(finished.step).join(MODEL))
}

/// The mean truth of the replies that people compared, on held-out prompts.
fn gold_before(run: &RunDir) -> Result<f64> {
    let tasks = Store::open(&run.file("feedback.sqlite"))?.tasks(PROJECT, Split::Heldout)?;
    let gold = tasks
        .iter()
        .flat_map(|task| task.responses.iter().map(|response| gold_reward(task, response)));
    let gold: Vec<f64> = gold.map(f64::from).collect();
    Ok(gold.iter().sum::<f64>() / gold.len() as f64)
}
