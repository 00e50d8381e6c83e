//! One attacker: it imitates users, learns what a target falls for, and is measured with fresh prompts.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use rein_data::seed::Seed;
use rein_data::stage::Cadence;
use rein_data::store::TokenStore;
use rein_data::tokenizer::Tokenizer;
use rein_model::backend::LmAutodiffBackend;
use rein_model::sft::{Sft, SftConfig, SftRows};
use rein_model::{Sampler, Sampling, load_causal_lm, read_config};
use rein_ppo::ActorCritic;
use rein_ppo::algorithm::Algorithm;
use rein_ppo::config::PpoConfig;
use rein_ppo::kl::KlConfig;
use rein_ppo::red_team::{Attack, Elicited, ElicitedConfig, demonstrations, opening};
use rein_ppo::rollout::sample;
use rein_ppo::train::{Ppo, Prompts};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::judge::Judge;
use super::place::Place;
use super::report::{Measured, found};
use crate::config::{Config, RedTeamConfig};
use crate::inference::tokenizer_of;

/// Rows that are sampled side by side.
const BATCH_ROWS: usize = 64;
/// Steps between two checkpoints.
const SAVE_EVERY: usize = 10;

/// How hard an attacker tries.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Effort {
    pub(crate) imitate_epochs: f64,
    pub(crate) steps: usize,
    pub(crate) samples: usize,
    pub(crate) kl: f64,
    pub(crate) similarity: f32,
    /// A half more than users' longest prompt has, if left out.
    pub(crate) max_prompt_tokens: Option<usize>,
    /// Fresh prompts to measure with.
    pub(crate) count: usize,
}

/// All that an attack follows from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Campaign {
    target: PathBuf,
    attacker: PathBuf,
    judge: Judge,
    effort: Effort,
    max_prompt_tokens: usize,
    max_new_tokens: usize,
    sft: SftConfig,
    rl: PpoConfig,
    seed: u64,
    /// Of users' prompts.
    prompts_sha256: String,
    #[serde(skip)]
    prompts: Vec<String>,
}

/// What an attack came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Found {
    /// Prompts of the attacker before reinforcement learning, which are such as users write.
    pub(crate) users: Measured,
    /// Prompts of the attacker.
    pub(crate) attacker: Measured,
    /// Those that succeeded, each once.
    #[serde(skip)]
    pub(crate) attacks: Vec<Attack>,
}

impl Effort {
    /// As a config has it.
    pub(crate) fn of(config: &RedTeamConfig) -> Self {
        Self {
            imitate_epochs: config.imitate_epochs,
            steps: config.steps,
            samples: config.samples,
            kl: config.kl,
            similarity: config.similarity,
            max_prompt_tokens: config.max_prompt_tokens,
            count: config.count,
        }
    }
}

impl Campaign {
    /// An attack on `target` by what begins as `attacker`, trained as `config` trains models.
    pub(crate) fn new(
        [target, attacker]: [PathBuf; 2],
        judge: Judge,
        effort: Effort,
        config: &Config,
        prompts: Vec<String>,
        seed: u64,
    ) -> Result<Self> {
        let max_new_tokens = config.rl.max_new_tokens;
        let room = read_config(&target)?.max_positions.saturating_sub(max_new_tokens);
        let room = room.min(read_config(&attacker)?.max_positions.saturating_sub(1));
        let longest =
            longest(&prompts, &tokenizer_of(&attacker)?).context("there are no prompts")?;
        let max_prompt_tokens = effort.max_prompt_tokens.unwrap_or((3 * longest / 2).min(room));
        let hash =
            prompts.iter().fold(Sha256::new(), |it, text| it.chain_update(text).chain_update([0]));
        let prompts_sha256 = format!("{:x}", hash.finalize());
        let sft = SftConfig {
            epochs: effort.imitate_epochs,
            max_tokens: max_prompt_tokens + 1,
            checkpoints: cadence(),
            ..config.sft.clone()
        };
        let rl = attacker_config(&effort, max_prompt_tokens, &config.rl);
        Ok(Self {
            target,
            attacker,
            judge,
            effort,
            max_prompt_tokens,
            max_new_tokens,
            sft,
            rl,
            seed,
            prompts_sha256,
            prompts,
        })
    }

    /// Trains the attacker and measures it; none if somebody asked to stop.
    pub(crate) fn run<B: LmAutodiffBackend>(
        &self,
        place: &mut Place,
        device: &B::Device,
    ) -> Result<Option<Found>> {
        let Some(imitator) = self.imitate::<B>(place, device)? else { return Ok(None) };
        let Some(attacker) = self.attack::<B>(&imitator, place, device)? else { return Ok(None) };
        let (users, _) = self.measure::<B>(&imitator, device)?;
        let (measured, attacks) = self.measure::<B>(&attacker, device)?;
        Ok(Some(Found { users, attacker: measured, attacks: found(&attacks) }))
    }

    fn seed(&self) -> Seed {
        Seed::new(self.seed).child("red team")
    }

    /// A model that writes prompts such as users do.
    fn imitate<B: LmAutodiffBackend>(
        &self,
        place: &mut Place,
        device: &B::Device,
    ) -> Result<Option<PathBuf>> {
        let tokenizer = tokenizer_of(&self.attacker)?;
        let rows = demonstrations(&self.prompts, &tokenizer, self.max_prompt_tokens);
        let [train, heldout] = [rows, Vec::new()].map(TokenStore::in_memory);
        let model = load_causal_lm::<B>(&self.attacker, device)?;
        let (rows, seed) = (SftRows { train, heldout }, self.seed().child("imitate"));
        let mut stage =
            Sft::<B>::new(self.sft.clone(), model, Some(tokenizer), rows, seed, device)?;
        let n_steps = stage.n_steps();
        place.drive("imitate", &mut stage, n_steps, &self.sft.checkpoints)
    }

    /// The attacker, from the imitator on.
    fn attack<B: LmAutodiffBackend>(
        &self,
        imitator: &std::path::Path,
        place: &mut Place,
        device: &B::Device,
    ) -> Result<Option<PathBuf>> {
        let tokenizer = tokenizer_of(&self.attacker)?;
        let actors = ActorCritic { policy: load_causal_lm::<B>(imitator, device)?, value: None };
        let prompts = Prompts { train: vec![opening(&tokenizer)], heldout: Vec::new() };
        let (reward, seed) = (self.elicited::<B>(device)?, self.seed().child("attack"));
        let mut stage = Ppo::<B>::new(
            self.rl.clone(),
            actors,
            Box::new(reward),
            tokenizer,
            prompts,
            seed,
            device,
        )?;
        place.drive("attack", &mut stage, self.rl.steps, &self.rl.checkpoints)
    }

    fn elicited<B: LmAutodiffBackend>(
        &self,
        device: &B::Device,
    ) -> Result<Elicited<B::InnerBackend>> {
        let tokenizer = tokenizer_of(&self.target)?;
        let target = load_causal_lm(&self.target, device)?;
        let sampling = sampling(self.max_new_tokens, &tokenizer);
        let config = ElicitedConfig {
            max_prompt_tokens: self.max_prompt_tokens,
            similarity: self.effort.similarity,
        };
        let judge = self.judge.build::<B::InnerBackend>(device)?;
        let seed = self.seed().child("target");
        Ok(Elicited::new(&target, &sampling, tokenizer, judge, config, seed, device)?)
    }

    /// What fresh prompts of a model lead to. The same draws for each, so that models differ by themselves alone.
    fn measure<B: LmAutodiffBackend>(
        &self,
        model: &std::path::Path,
        device: &B::Device,
    ) -> Result<(Measured, Vec<Attack>)> {
        let (elicited, seed) = (self.elicited::<B>(device)?, self.seed().child("measure"));
        let tokenizer = tokenizer_of(model)?;
        let model = load_causal_lm::<B::InnerBackend>(model, device)?;
        let sampler = Sampler::new(&model, &sampling(self.max_prompt_tokens, &tokenizer), device)?;
        let asked = vec![opening(&tokenizer); self.effort.count];
        let written = sample(&sampler, asked, &tokenizer, seed.child("prompts"))?;
        let prompts: Vec<String> =
            written.iter().filter_map(|it| elicited.prompt_of(&it.completion)).collect();
        let attacks = elicited.answers(&prompts, seed.child("answers"))?;
        Ok((Measured::of(self.effort.count, &attacks), attacks))
    }
}

/// GRPO on one prompt, which says nothing: its completions are compared with one another.
fn attacker_config(effort: &Effort, max_prompt_tokens: usize, rl: &PpoConfig) -> PpoConfig {
    let side_by_side =
        (1..=rl.micro_batch_rows).rev().find(|it| effort.samples.is_multiple_of(*it));
    PpoConfig {
        steps: effort.steps,
        prompts_per_step: 1,
        samples_per_prompt: effort.samples,
        max_new_tokens: max_prompt_tokens,
        micro_batch_rows: side_by_side.unwrap_or(1),
        kl: KlConfig::Fixed { coefficient: effort.kl },
        missing_eos_penalty: 0.0,
        optimizer: rl.optimizer,
        lora: rl.lora.clone(),
        precision: rl.precision,
        checkpoints: cadence(),
        eval_prompts: 0,
        sample_every: SAVE_EVERY,
        ..Algorithm::Grpo.config()
    }
}

/// Checkpoints to go on from, and no evaluation: there are no held-out prompts to say nothing.
pub(super) fn cadence() -> Cadence {
    Cadence { evaluate_every: 0, save_every: SAVE_EVERY, use_best: false, ..Cadence::default() }
}

pub(crate) fn sampling(max_new_tokens: usize, tokenizer: &Tokenizer) -> Sampling {
    Sampling {
        max_new_tokens,
        ends: vec![tokenizer.special().eos],
        batch_rows: BATCH_ROWS,
        ..Sampling::at_temperature(1.0)
    }
}

/// Tokens of the longest prompt, with the end of sequence.
fn longest(prompts: &[String], tokenizer: &Tokenizer) -> Option<usize> {
    prompts.iter().map(|it| tokenizer.encode_completion(it.trim()).len()).max()
}
