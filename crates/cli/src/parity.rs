//! Runs the first steps of each stage from one stored starting point, so that backends can be
//! compared: what they compute is the same, but for rounding.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::module::AutodiffModule;
use rein_data::checkpoint::write_atomically;
use rein_data::encoding::TokenRow;
use rein_data::example::{Completion, Preference};
use rein_data::helpdesk::Helpdesk;
use rein_data::log::Metrics;
use rein_data::seed::Seed;
use rein_model::backend::LmAutodiffBackend;
use rein_model::sft::Sft;
use rein_model::weights::RandomWeights;
use rein_model::{
    CausalLm, Frozen, Sampler, ScalarModel, load_causal_lm, load_scalar_model, save_causal_lm,
    save_scalar_model,
};
use rein_ppo::experience::prepare;
use rein_ppo::hyperparameters::Hyperparameters;
use rein_ppo::rollout::{Judges, Row, collect, sample};
use rein_ppo::update::update_minibatch;
use rein_ppo::{ActorCritic, Learners};
use rein_reward::LearnedReward;
use rein_reward::encoding::{Judgements, encode_preferences};
use rein_reward::train::RewardTraining;
use serde::Serialize;
use serde_json::Map;

use crate::args::HubArgs;
use crate::config::{self, Config};
use crate::device::Work;
use crate::setup::Setup;

/// A small version of the default run.
const SMALL: [&str; 11] = [
    "data.demonstrations=256",
    "data.heldout_demonstrations=8",
    "model.n_layers=2",
    "sft.batch_rows=8",
    "sft.micro_batch_rows=4",
    "reward.batch_rows=8",
    "reward.micro_batch_rows=4",
    "rl.prompts_per_step=8",
    "rl.minibatches=1",
    "rl.micro_batch_rows=4",
    "rl.max_new_tokens=24",
];

/// Weights and a rollout that all backends start from.
const INITIAL: &str = "initial";
const POLICY: &str = "policy";
const REWARD: &str = "reward";
const ROLLOUT: &str = "rollout.json";

/// The first losses of each stage.
#[derive(Debug, Default, Serialize)]
struct Losses {
    sft: Vec<f64>,
    reward: Vec<f64>,
    policy: Vec<f64>,
    value: Vec<f64>,
}

/// Runs `steps` steps of each stage on one backend and writes the losses to `out`.
pub(crate) struct Parity {
    folder: PathBuf,
    out: PathBuf,
    steps: usize,
    setup: Setup,
}

impl Parity {
    pub(crate) fn new(folder: &Path, out: &Path, steps: usize) -> Result<Self> {
        let config = config::load(None, &SMALL.map(str::to_owned))?;
        let setup = Setup::new(config, &HubArgs::default())?;
        Ok(Self { folder: folder.to_owned(), out: out.to_owned(), steps, setup })
    }
}

impl Work for Parity {
    type Output = ();

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<()> {
        let run = Comparison::<B> { parity: self, device };
        run.make_initial()?;
        let mut losses = Losses::default();
        let policy = run.sft(&mut losses)?;
        run.make_rollout(&policy)?;
        run.reward(&mut losses)?;
        run.ppo(&mut losses)?;
        let bytes = serde_json::to_vec_pretty(&losses)?;
        Ok(write_atomically(&run.parity.out, &bytes)?)
    }
}

struct Comparison<B: LmAutodiffBackend> {
    parity: Parity,
    device: B::Device,
}

impl<B: LmAutodiffBackend> Comparison<B> {
    fn config(&self) -> &Config {
        &self.parity.setup.config
    }

    fn path(&self, name: &str) -> PathBuf {
        self.parity.folder.join(name)
    }

    /// New weights, unless another backend has made them.
    fn make_initial(&self) -> Result<()> {
        let folder = self.path(INITIAL);
        if folder.exists() {
            return Ok(());
        }
        fs::create_dir_all(&folder)?;
        let shape = &self.parity.setup.model;
        let mut weights = RandomWeights::new(shape, Seed::new(1));
        let model = CausalLm::<B::InnerBackend>::new(shape, &mut weights, &self.device)?;
        Ok(save_causal_lm(&model, &folder)?)
    }

    fn sft(&self, losses: &mut Losses) -> Result<CausalLm<B::InnerBackend>> {
        let model = load_causal_lm::<B>(&self.path(INITIAL), &self.device)?;
        let rows = self.parity.setup.rows.clone();
        let (train, batch_rows) = (rows.train.clone(), self.config().sft.batch_rows);
        let firsts: Vec<usize> = (0..train.len()).step_by(batch_rows).collect();
        let mut stage = Sft::<B>::new(
            self.config().sft.clone(),
            model,
            None,
            rows,
            Seed::new(2),
            &self.device,
        )?;
        for step in 0..self.parity.steps {
            let first = firsts[step % firsts.len()];
            let rows = first..(first + batch_rows).min(train.len());
            let rows: Vec<TokenRow> = rows.map(|row| train.row(row)).collect::<Result<_, _>>()?;
            losses.sft.push(loss(&stage.update(step, &rows.iter().collect::<Vec<_>>())?));
        }
        Ok(stage.model().valid())
    }

    /// A fine-tuned policy, a reward model and completions, unless another backend has made them.
    fn make_rollout(&self, policy: &CausalLm<B::InnerBackend>) -> Result<()> {
        if self.path(ROLLOUT).exists() {
            return Ok(());
        }
        let device = &self.device;
        let folders = [POLICY, REWARD].map(|name| self.path(name));
        folders.iter().try_for_each(fs::create_dir_all)?;
        save_causal_lm(policy, &folders[0])?;
        let reward = ScalarModel::from_causal_lm(policy.clone(), Seed::new(3), device)?;
        save_scalar_model(&reward, &Map::new(), &folders[1])?;

        let ppo = &self.config().rl;
        let tokenizer = &self.parity.setup.tokenizer;
        let now = ppo.at(0);
        let sampling = ppo.sampling(now.temperature, tokenizer.special().eos);
        let prompts = &self.parity.setup.world.prompts.train[..ppo.prompts_per_step];
        let prompts = prompts.iter().map(|it| self.parity.setup.prompt(it));
        let prompts = prompts.collect::<Result<Vec<_>>>()?;
        let sampler = Sampler::new(policy, &sampling, device)?;
        let sampled = sample(&sampler, prompts, tokenizer, Seed::new(4))?;
        let completions: Vec<Completion> = sampled.into_iter().map(|it| it.completion).collect();
        let actors = ActorCritic { policy: policy.clone(), value: Some(reward) };
        let reference = load_causal_lm(&self.path(INITIAL), device)?;
        let reference = Frozen::new(reference, ppo.precision.frozen);
        let judges =
            Judges { reference: &reference, micro_batch_rows: ppo.micro_batch_rows, device };
        let scores =
            LearnedReward::<B::InnerBackend>::load(&folders[1], ppo.micro_batch_rows, device)?;
        let rows = collect(&actors, &judges, &scores, &completions, now.temperature)?;
        Ok(write_atomically(&self.path(ROLLOUT), &serde_json::to_vec(&rows)?)?)
    }

    fn reward(&self, losses: &mut Losses) -> Result<()> {
        let model = load_scalar_model::<B>(&self.path(REWARD), &self.device)?;
        let config = self.config().reward.clone();
        let tokenizer = &self.parity.setup.tokenizer;
        let encode = |step: u64| {
            let pairs = some_pairs(step, config.batch_rows);
            encode_preferences(&pairs, tokenizer, config.max_tokens).judgements
        };
        let none = Judgements::Pairs(Vec::new());
        let mut stage = RewardTraining::<B>::new(
            config.clone(),
            model,
            None,
            [encode(0), none],
            Seed::new(6),
            &self.device,
        )?;
        for step in 0..self.parity.steps {
            losses.reward.push(loss(&stage.update(step, &encode(step as u64))?));
        }
        Ok(())
    }

    fn ppo(&self, losses: &mut Losses) -> Result<()> {
        let config = &self.config().rl;
        let rows: Vec<Row> = serde_json::from_slice(&fs::read(self.path(ROLLOUT))?)
            .with_context(|| self.path(ROLLOUT).display().to_string())?;
        let fixed = Hyperparameters { kl_coefficient: 0.05, ..config.at(0) };
        let (_, experience) = prepare(&rows, config, &fixed);
        let minibatch: Vec<_> = experience.iter().collect();
        let actors = ActorCritic {
            policy: load_causal_lm::<B>(&self.path(POLICY), &self.device)?,
            value: Some(load_scalar_model::<B>(&self.path(REWARD), &self.device)?),
        };
        let mut learners = Learners::new(actors, config.optimizer);
        for step in 0..self.parity.steps {
            let learning_rate = config.optimizer.rate(step, self.parity.steps);
            let now = Hyperparameters { step, learning_rate, ..fixed };
            let (_, seen) =
                update_minibatch(&mut learners, &minibatch, config, &now, &self.device)?;
            losses.policy.push(seen.policy_loss / seen.n_tokens);
            losses.value.push(seen.value_loss / seen.n_values);
        }
        Ok(())
    }
}

fn loss(metrics: &Metrics) -> f64 {
    metrics.get("loss").expect("each stage reports its loss")
}

/// Pairs of demonstrations on one prompt.
fn some_pairs(step: u64, count: usize) -> Vec<Preference> {
    let world = Helpdesk::new();
    let pair = |number: u64| {
        let seed = Seed::new(5).index(step).index(number);
        let prompt = &world.train[(step as usize * count + number as usize) % world.train.len()];
        let reply =
            |side| Helpdesk::demonstration(std::slice::from_ref(prompt), seed, side).completion;
        Preference {
            prompt: prompt.clone(),
            chosen: reply(0),
            rejected: reply(1),
            margin: None,
            chosen_finished: true,
            rejected_finished: true,
        }
    };
    (0..count as u64).map(pair).collect()
}
