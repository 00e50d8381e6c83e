//! What a run will do, and whether the machine can hold it.

mod activations;
mod network;
mod readable;
mod rounds;
mod table;

use anyhow::{Result, bail};
use rein_data::seed::Seed;
use rein_model::Precision;
use rein_model::lora::LoraConfig;
use rein_reward::ensemble::members;

use self::activations::Pass;
use self::network::Network;
use self::readable::bytes;
use crate::config::{Config, Stage};
use crate::setup::Setup;
use crate::world::Judgements;

/// Bytes of a 32-bit number.
const FLOAT: u64 = 4;
/// What the program takes without any network: code, tokenizer, rows, buffers.
const PROGRAM: u64 = 64 << 20;

/// What a run will do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// Weights of the language model.
    n_params: usize,
    pub(crate) stages: Vec<StagePlan>,
    /// How many rounds may follow, and what the first of them will do.
    later: (usize, Vec<StagePlan>),
}

/// What one stage will do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StagePlan {
    stage: Stage,
    n_steps: usize,
    networks: Vec<Network>,
    /// Numbers that a micro-batch keeps for its backward pass, in bytes.
    activations: u64,
    /// Whether it computes again what is inside blocks.
    pub(crate) recomputes: bool,
    /// Tokens that networks are trained on, each time one is.
    pub(crate) trained_tokens: f64,
    /// Tokens that networks look at without being trained.
    pub(crate) judged_tokens: f64,
    /// Tokens that are sampled.
    pub(crate) sampled_tokens: f64,
}

impl StagePlan {
    /// Bytes that the stage needs at once: networks are updated one after the other, so that there is
    /// one gradient at a time.
    pub(crate) fn memory(&self) -> u64 {
        let networks = self.networks.iter().map(|it| it.weights() + it.optimizer());
        let gradient = self.networks.iter().map(Network::gradients).max().unwrap_or(0);
        networks.sum::<u64>() + gradient + self.activations + PROGRAM
    }
}

impl Plan {
    /// The plan of `stages`.
    pub(crate) fn new(setup: &Setup, stages: &[Stage]) -> Self {
        let sizes = Sizes::new(setup);
        let later = match &setup.config.rounds {
            Some(rounds) if setup.config.repeats() && stages == setup.config.stages => {
                (rounds.rounds - 1, rounds::second(setup, rounds))
            }
            _ => (0, Vec::new()),
        };
        let stages = stages.iter().map(|stage| sizes.stage(*stage)).collect();
        Self { n_params: setup.model.n_params(), stages, later }
    }

    /// Refuses a run that needs more memory than there is.
    pub(crate) fn check(&self, available: u64) -> Result<()> {
        let Some(largest) = self.stages.iter().max_by_key(|stage| stage.memory()) else {
            return Ok(());
        };
        if largest.memory() > available {
            let name = largest.stage.name();
            let keeps = largest.activations > 0 && !largest.recomputes;
            let or_not = if keeps {
                format!(", or set `{name}.gradient_checkpointing`")
            } else {
                String::new()
            };
            bail!(
                "{name} needs about {}, but only {} of memory are free; lower \
                 `{name}.micro_batch_rows`, the lengths or the model{or_not}",
                bytes(largest.memory()),
                bytes(available)
            );
        }
        Ok(())
    }
}

/// What plans are computed from.
struct Sizes<'a> {
    setup: &'a Setup,
    /// Weights of the language model and of one with a scalar head.
    n_params: [usize; 2],
    /// The longest and the mean prompt.
    prompt: [f64; 2],
}

impl<'a> Sizes<'a> {
    fn new(setup: &'a Setup) -> Self {
        let model = &setup.model;
        let prompts = setup.world.prompts.train.iter().take(1000);
        let lengths: Vec<usize> =
            prompts.filter_map(|it| Some(setup.prompt(it).ok()?.tokens.len())).collect();
        let longest = lengths.iter().max().copied().unwrap_or(0) as f64;
        let mean = lengths.iter().sum::<usize>() as f64 / lengths.len().max(1) as f64;
        let n_scalar = model.n_decoder_params() + model.hidden_size;
        Self { setup, n_params: [model.n_params(), n_scalar], prompt: [longest, mean] }
    }

    /// A network that is trained: whole, or by adapters.
    fn trained(&self, name: &'static str, n_params: usize, lora: Option<&LoraConfig>) -> Network {
        let network = match lora.and_then(|lora| lora.n_params(&self.setup.model).ok()) {
            Some(n_trained) => Network::adapted(name, n_params, n_trained),
            None => Network::trained(name, n_params),
        };
        network.with_moments(self.config().precision.moments)
    }

    fn config(&self) -> &Config {
        &self.setup.config
    }

    fn stage(&self, stage: Stage) -> StagePlan {
        match stage {
            Stage::Sft => self.sft(),
            Stage::Feedback => self.feedback(),
            Stage::Reward => self.reward(),
            Stage::Dpo => self.dpo(),
            Stage::Rl => self.rl(),
            Stage::Evaluate => self.evaluate(),
        }
    }

    fn sft(&self) -> StagePlan {
        let config = &self.config().sft;
        // How many there are and how long they are doesn't depend on the seed.
        let sequences = config.sequences(self.setup.rows.train.clone(), Seed::new(0));
        let lengths = (0..sequences.len()).map(|sequence| sequences.n_tokens(sequence));
        let pass = Pass {
            n_rows: config.micro_batch_rows,
            n_time: lengths.clone().max().unwrap_or(0),
            has_logits: true,
            recomputes: config.gradient_checkpointing,
        };
        StagePlan {
            stage: Stage::Sft,
            n_steps: config.n_steps(sequences.len()),
            networks: vec![self.trained("model", self.n_params[0], config.lora.as_ref())],
            activations: pass.kept(&self.setup.model),
            recomputes: pass.recomputes,
            trained_tokens: lengths.sum::<usize>() as f64 * config.epochs,
            judged_tokens: 0.0,
            sampled_tokens: 0.0,
        }
    }

    /// Completions are as long as the demonstrations', or as their limit.
    fn completion(&self) -> f64 {
        let rows = &self.setup.rows.train;
        let some = 0..rows.len().min(1000);
        let learned: Vec<usize> = some.map(|row| rows.n_learned(row)).collect();
        let mean = learned.iter().sum::<usize>() as f64 / learned.len().max(1) as f64;
        mean.min(self.config().rl.max_new_tokens as f64)
    }

    fn feedback(&self) -> StagePlan {
        let config = &self.config().feedback;
        let n_steps = |pairs: usize| pairs.div_ceil(config.batch_pairs);
        let pairs = config.pairs + config.heldout_pairs;
        StagePlan {
            stage: Stage::Feedback,
            n_steps: n_steps(config.pairs) + n_steps(config.heldout_pairs),
            networks: vec![Network::frozen("model", self.n_params[0])],
            activations: 0,
            recomputes: false,
            trained_tokens: 0.0,
            judged_tokens: 0.0,
            sampled_tokens: 2.0 * pairs as f64 * (self.prompt[1] + self.completion()),
        }
    }

    fn reward(&self) -> StagePlan {
        let config = &self.config().reward;
        let (n_judgements, rows_each) = match &self.setup.world.judgements {
            Judgements::Simulated => (self.config().feedback.pairs, 2.0),
            Judgements::Pairs(pairs) => (pairs.train.len(), 2.0),
            Judgements::Labels(labels) => (labels.train.len(), 1.0),
            Judgements::Examples(all) => {
                let n_rows: usize = all.train.iter().map(|it| it.body.judged().len()).sum();
                (all.train.len(), n_rows as f64 / all.train.len().max(1) as f64)
            }
            Judgements::None => (0, 0.0),
        };
        let n_judgements = n_judgements.min(config.max_judgements.unwrap_or(n_judgements));
        let n_sampled = match self.setup.world.judgements {
            Judgements::Simulated => 0,
            _ => config.reference_completions,
        };
        let limit = config.max_tokens as f64;
        let longest = (self.prompt[0] + self.longest_completion()).min(limit) as usize;
        let mean = (self.prompt[1] + self.completion()).min(limit);
        let n_visits = config.epochs * self.n_reward_models() as f64;
        let n_rows = n_judgements as f64 * rows_each * n_visits;
        let pass = Pass {
            n_rows: (config.micro_batch_rows as f64 * rows_each) as usize,
            n_time: longest,
            has_logits: false,
            recomputes: config.gradient_checkpointing,
        };
        StagePlan {
            stage: Stage::Reward,
            n_steps: config.n_steps(n_judgements) * self.n_reward_models(),
            networks: vec![self.trained("reward model", self.n_params[1], config.lora.as_ref())],
            activations: pass.kept(&self.setup.model),
            recomputes: pass.recomputes,
            trained_tokens: n_rows * mean,
            judged_tokens: 0.0,
            sampled_tokens: n_sampled as f64 * (self.prompt[1] + self.completion()),
        }
    }

    /// An ensemble's with a backbone for each are trained one after the other.
    fn n_reward_models(&self) -> usize {
        self.config().reward.ensemble.map_or(1, |it| it.models())
    }

    /// How many reward models are asked: those of the folder that the config names, or those that the run trains.
    fn n_asked(&self) -> usize {
        let folder = self.setup.folders.reward_model.as_ref();
        folder.map_or_else(|| self.n_reward_models(), |it| 1 + members(it).len())
    }

    /// The reference is asked before the first update, when its weights are still the policy's own.
    fn dpo(&self) -> StagePlan {
        let config = &self.config().dpo;
        let n_judged = match &self.setup.world.judgements {
            Judgements::Simulated => self.config().feedback.pairs,
            Judgements::Pairs(pairs) => pairs.train.len(),
            Judgements::Examples(all) => all.train.len(),
            Judgements::Labels(labels) => labels.train.len(),
            Judgements::None => 0,
        };
        // KTO makes two judgements of a pair, learns from one row of each, and asks about a second one.
        let of_pairs = config.loss_type.is_of_pairs();
        let are_pairs = !matches!(self.setup.world.judgements, Judgements::Labels(_));
        let n_judgements = if are_pairs && !of_pairs { 2 * n_judged } else { n_judged };
        let rows_each = if of_pairs { 2 } else { 1 };
        let limit = config.max_tokens as f64;
        let mean = (self.prompt[1] + self.completion()).min(limit);
        let pass = Pass {
            n_rows: rows_each * config.micro_batch_rows,
            n_time: (self.prompt[0] + self.longest_completion()).min(limit) as usize,
            has_logits: true,
            recomputes: config.gradient_checkpointing,
        };
        let tokens = |rows_each: usize| (rows_each * n_judgements) as f64 * mean;
        let asked = if config.has_reference() { tokens(2) } else { 0.0 };
        let mismatched = tokens(2 - rows_each) * config.epochs;
        StagePlan {
            stage: Stage::Dpo,
            n_steps: config.n_steps(n_judgements),
            networks: vec![self.trained("policy", self.n_params[0], config.lora.as_ref())],
            activations: pass.kept(&self.setup.model),
            recomputes: pass.recomputes,
            trained_tokens: tokens(rows_each) * config.epochs,
            judged_tokens: asked + mismatched,
            sampled_tokens: 0.0,
        }
    }

    /// All reward models that are asked.
    fn judge(&self) -> Network {
        Network::frozen("reward model", self.n_params[1] * self.n_asked())
    }

    fn longest_completion(&self) -> f64 {
        let rows = &self.setup.rows.train;
        let demonstrated = (0..rows.len()).map(|row| rows.n_learned(row)).max().unwrap_or(0);
        demonstrated.max(self.config().rl.max_new_tokens) as f64
    }

    fn rl(&self) -> StagePlan {
        let config = &self.config().rl;
        let [policy, scalar] = self.n_params;
        let lora = config.lora.as_ref();
        let frozen = config.precision.frozen;
        // Without its adapters, the policy is the reference, unless that is packed.
        let is_shared = lora.is_some() && frozen == Precision::F32;
        let rows = (config.steps * config.rows_per_step()) as f64;
        let tokens = rows * (self.prompt[1] + self.completion());
        // The policy's: the value model has no logits.
        let pass = Pass {
            n_rows: config.micro_batch_rows,
            n_time: self.prompt[0] as usize + config.max_new_tokens,
            has_logits: true,
            recomputes: config.gradient_checkpointing,
        };
        let has_values = config.has_value_model();
        let mut networks = vec![
            self.trained("policy", policy, lora),
            Network::frozen("reference", if is_shared { 0 } else { policy }).kept_in(frozen),
        ];
        if config.asks_model() {
            networks.push(self.judge().kept_in(frozen));
        }
        if has_values {
            networks.insert(1, self.trained("value model", scalar, lora));
        }
        // Beside the policy and its reference: the reward models, and the value model.
        let n_rewards = if config.asks_model() { self.n_asked() } else { 0 };
        let n_judges = (n_rewards + usize::from(has_values)) as f64;
        let n_trained = if has_values { 2.0 } else { 1.0 };
        if config.overlap {
            let rollout = config.precision.rollout;
            networks.push(Network::frozen("sampled policy", policy).kept_in(rollout));
        }
        StagePlan {
            stage: Stage::Rl,
            n_steps: config.steps,
            networks,
            activations: pass.kept(&self.setup.model),
            recomputes: pass.recomputes,
            trained_tokens: n_trained * config.epochs as f64 * tokens,
            judged_tokens: (2.0 + n_judges) * tokens,
            sampled_tokens: tokens,
        }
    }

    fn evaluate(&self) -> StagePlan {
        let config = &self.config().evaluate;
        let n_replies = if config.best_of > 1 { config.best_of } else { 0 };
        let n_models = 3.0 + n_replies as f64;
        let n_prompts = config.prompts.min(self.setup.world.prompts.heldout.len());
        let tokens = n_models * n_prompts as f64 * (self.prompt[1] + self.completion());
        StagePlan {
            stage: Stage::Evaluate,
            n_steps: 1,
            networks: vec![
                Network::frozen("model", self.n_params[0]),
                Network::frozen("reference", self.n_params[0]),
                self.judge(),
            ],
            activations: 0,
            recomputes: false,
            trained_tokens: 0.0,
            judged_tokens: 3.0 * tokens,
            sampled_tokens: tokens,
        }
    }
}

#[cfg(test)]
mod tests;
