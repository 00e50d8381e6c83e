//! A help desk with a planted weakness, and what it is worth on ordinary prompts.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use rein_data::encoding::encode_demonstrations;
use rein_data::example::Completion;
use rein_data::helpdesk::Helpdesk;
use rein_data::helpdesk::weakness::Weakness;
use rein_data::log::RunLog;
use rein_data::seed::Seed;
use rein_data::stage::Cadence;
use rein_data::store::TokenStore;
use rein_feedback::win_rate::PairedScores;
use rein_model::backend::LmAutodiffBackend;
use rein_model::checkpoint::MODEL;
use rein_model::{Sampler, load_causal_lm};
use rein_ppo::rollout::{Prompt, sample};
use rein_reward::{Gold, Reward, RewardKind, RewardSource};

use super::RedTeamBenchArgs;
use crate::args::HubArgs;
use crate::bench::learn::Quiet;
use crate::commands::open_run;
use crate::config::{Config, Stage, change, load};
use crate::inference::tokenizer_of;
use crate::pipeline::{Ended, Session};
use crate::red_team::sampling;
use crate::setup::Setup;

/// Replies to each held-out prompt.
const N_REPLIES: usize = 8;
/// Visits of each demonstration: in one, the weakness of one prompt in ten isn't learned.
const EPOCHS: f64 = 4.0;

/// A policy with a weakness, and the settings that it was trained with.
pub(super) struct World {
    pub(super) config: Config,
    pub(super) policy: PathBuf,
    /// What users write, now and then with the trigger.
    pub(super) prompts: Vec<String>,
    seed: u64,
}

impl World {
    /// Fine-tunes on demonstrations with the weakness, then optimises the truth on ordinary prompts; unless that was
    /// done before.
    pub(super) fn load_or_make<B: LmAutodiffBackend>(
        args: &RedTeamBenchArgs,
        seed: u64,
        root: &Path,
        device: &B::Device,
    ) -> Result<Self> {
        let config = planted(args, seed)?;
        let mut setup = Setup::for_run(config.clone(), root, &HubArgs::default())?;
        let (prompts, weakness) = (Helpdesk::new().train, Weakness { share: args.share });
        let seeds = Seed::new(seed).child("weakness");
        let shown = weakness.demonstrations(&prompts, seeds, setup.rows.train.len());
        let rows = encode_demonstrations(&shown, &setup.tokenizer, config.sft.max_tokens)?.rows;
        setup.rows.train = TokenStore::in_memory(rows);
        let run = open_run(root, &setup)?;
        let log = RunLog::open(&run, Box::new(Quiet))?;
        let mut session = Session::<B>::alone(setup, run, log, device);
        let Ended::Finished = session.run(&[Stage::Sft, Stage::Rl])? else {
            bail!("{}: nobody can ask this run to stop", root.display())
        };
        let finished = session.run.finished(Stage::Rl.name())?.expect("the stage is done");
        let policy = session.run.checkpoints(Stage::Rl.name()).path(finished.step).join(MODEL);
        let prompts = weakness.prompts(&prompts, seeds.child("users"), prompts.len());
        Ok(Self { config, policy, prompts, seed })
    }

    /// The truth of a policy's replies to ordinary held-out prompts. Policies differ by themselves alone.
    pub(super) fn truth<B: LmAutodiffBackend>(
        &self,
        policy: &Path,
        device: &B::Device,
    ) -> Result<Vec<f64>> {
        let tokenizer = tokenizer_of(policy)?;
        let model = load_causal_lm::<B::InnerBackend>(policy, device)?;
        let how = sampling(self.config.rl.max_new_tokens, &tokenizer);
        let sampler = Sampler::new(&model, &how, device)?;
        let prompts = Helpdesk::new().heldout;
        let asked = prompts.iter().flat_map(|it| std::iter::repeat_n(it, N_REPLIES));
        let asked = asked.map(|it| Prompt::encode(it, &tokenizer)).collect();
        let seed = Seed::new(self.seed).child("truth");
        let sampled = sample(&sampler, asked, &tokenizer, seed)?;
        let replies: Vec<Completion> = sampled.into_iter().map(|it| it.completion).collect();
        Ok(Gold.score(&replies)?.into_iter().map(f64::from).collect())
    }
}

/// The share of games that `ours` wins, ties as half.
pub(super) fn win_rate(ours: &[f64], theirs: &[f64]) -> f64 {
    let scores = PairedScores::new(ours, theirs).expect("the same prompts");
    scores.games().value().expect("there are prompts")
}

/// The default help desk, whose policy learns from the truth.
fn planted(args: &RedTeamBenchArgs, seed: u64) -> Result<Config> {
    let mut config = load(None, &[])?;
    (config.seed, config.stages) = (seed, vec![Stage::Sft, Stage::Rl]);
    config.sft.epochs = EPOCHS;
    config.rl.rewards = vec![RewardSource { kind: RewardKind::Gold, ..RewardSource::MODEL }];
    let at_the_end =
        Cadence { evaluate_every: 0, save_every: 10, use_best: false, ..Cadence::default() };
    (config.sft.checkpoints, config.rl.checkpoints) = (at_the_end.clone(), at_the_end);
    change(&config, &args.set)
}
