//! What all runs of a task begin with, in one folder:
//!
//! ```text
//! model/          the policy after fine-tuning, with its tokenizer
//! prompts.jsonl   problems to train on: `prompt`, `answer`
//! heldout.jsonl   problems to measure with
//! pairs.jsonl     the model's own completions, judged in pairs: `prompt`, `chosen`, `rejected`
//! sft/            how the model was fine-tuned
//! ```

use std::iter::repeat_n;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rein_data::arithmetic::Problem;
use rein_data::checkpoint::write_atomically;
use rein_data::encoding::encode_demonstrations;
use rein_data::example::{Completion, Preference};
use rein_data::jsonl;
use rein_data::run_dir::RunDir;
use rein_data::seed::Seed;
use rein_data::stage::Cadence;
use rein_data::store::TokenStore;
use rein_data::tokenizer::Tokenizer;
use rein_model::backend::{LmAutodiffBackend, LmBackend};
use rein_model::checkpoint::{MODEL, save_with_tokenizer};
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::optim::OptimizerConfig;
use rein_model::sft::{Sft, SftConfig, SftRows};
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, Sampler, Sampling, load_causal_lm, save_causal_lm};
use rein_ppo::rollout::{Prompt, sample};
use serde::Serialize;

use super::progress::drive_quietly;
use super::task::Task;
use crate::speech::note;
use crate::world::Parts;

const PROMPTS: &str = "prompts.jsonl";
const HELDOUT: &str = "heldout.jsonl";
const PAIRS: &str = "pairs.jsonl";
const SFT: &str = "sft";

/// Three special tokens and a token for each byte: characters, of numbers.
const VOCAB_SIZE: usize = 259;
/// Tokens of the longest problem with its answer, and then some.
const MAX_TOKENS: usize = 24;
/// Rows of a batch that no gradient is computed of.
pub(super) const BATCH_ROWS: usize = 256;

/// What all runs of a task begin with.
pub(super) struct Start {
    folder: PathBuf,
    pub(super) tokenizer: Tokenizer,
    pub(super) problems: Parts<Problem>,
    pub(super) pairs: Vec<Preference>,
}

impl Start {
    /// What lies in `folder`.
    pub(super) fn load(folder: &Path) -> Result<Self> {
        let read = |name: &str| jsonl::read(&folder.join(name));
        Ok(Self {
            tokenizer: Tokenizer::load(&folder.join(MODEL))?,
            problems: Parts { train: read(PROMPTS)?, heldout: read(HELDOUT)? },
            pairs: jsonl::read(&folder.join(PAIRS))?,
            folder: folder.to_owned(),
        })
    }

    /// What lies in `folder`; made if it isn't there. The file of pairs comes last.
    pub(super) fn load_or_make<B: LmAutodiffBackend>(
        task: Task,
        folder: &Path,
        device: &B::Device,
    ) -> Result<Self> {
        if !folder.join(PAIRS).exists() {
            make::<B>(task, folder, device).with_context(|| folder.display().to_string())?;
        }
        Self::load(folder)
    }

    /// The fine-tuned model.
    pub(super) fn model<B: LmBackend>(&self, device: &B::Device) -> Result<CausalLm<B>> {
        Ok(load_causal_lm(&self.folder.join(MODEL), device)?)
    }
}

fn make<B: LmAutodiffBackend>(task: Task, folder: &Path, device: &B::Device) -> Result<()> {
    let problems = task.problems();
    let (model, tokenizer) = fine_tuned::<B>(task, &folder.join(SFT), device)?;
    save_with_tokenizer(&folder.join(MODEL), Some(&tokenizer), |it| save_causal_lm(&model, it))?;
    write_rows(&folder.join(PROMPTS), &problems.train)?;
    write_rows(&folder.join(HELDOUT), &problems.heldout)?;
    let pairs = compared(task, &problems, &model, &tokenizer, device)?;
    if pairs.is_empty() {
        bail!("no completion of the fine-tuned model is better than another");
    }
    write_rows(&folder.join(PAIRS), &pairs)
}

/// A new model that imitates the task's demonstrations.
fn fine_tuned<B: LmAutodiffBackend>(
    task: Task,
    folder: &Path,
    device: &B::Device,
) -> Result<(CausalLm<B::InnerBackend>, Tokenizer)> {
    let demonstrations = task.demonstrations();
    let texts = demonstrations.iter().flat_map(|it| [it.prompt.as_str(), &it.completion]);
    let tokenizer = Tokenizer::train_bpe(texts, VOCAB_SIZE)?;
    let seed = Seed::new(0).child(task.name());
    let config = shape(&tokenizer)?;
    let mut weights = RandomWeights::new(&config, seed.child("model"));
    let model = CausalLm::<B>::new(&config, &mut weights, device)?;
    let rows = encode_demonstrations(&demonstrations, &tokenizer, MAX_TOKENS)?.rows;
    let [train, heldout] = [rows, Vec::new()].map(TokenStore::in_memory);
    let data = SftRows { train, heldout };
    let mut stage = Sft::<B>::new(sft_config(), model, None, data, seed.child(SFT), device)?;
    let n_steps = stage.n_steps();
    note(&format!("{}: fine-tuning, {n_steps} steps", task.name()));
    let run = RunDir::create(folder)?;
    let checkpoint = drive_quietly(&run, SFT, &mut stage, n_steps, &sft_config().checkpoints)?;
    Ok((load_causal_lm(&checkpoint.join(MODEL), device)?, tokenizer))
}

fn shape(tokenizer: &Tokenizer) -> Result<ModelConfig> {
    let special = tokenizer.special();
    let config = ModelConfig::llama(LlamaShape {
        vocab_size: VOCAB_SIZE,
        hidden_size: 64,
        mlp_size: 172,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 4,
        max_positions: MAX_TOKENS,
        tied_head: true,
    })?;
    Ok(config.with_special_ids(special.pad, special.bos, special.eos))
}

fn sft_config() -> SftConfig {
    SftConfig {
        batch_rows: 64,
        micro_batch_rows: 64,
        max_tokens: MAX_TOKENS,
        optimizer: OptimizerConfig { learning_rate: 2e-3, ..OptimizerConfig::default() },
        checkpoints: at_the_end(),
        ..SftConfig::default()
    }
}

/// One checkpoint, when all is done.
pub(in crate::bench) fn at_the_end() -> Cadence {
    Cadence { evaluate_every: 0, save_every: 0, use_best: false, ..Cadence::default() }
}

/// Completions of the model in pairs of which one is better. Both ended by themselves, or neither did.
fn compared<B: LmBackend>(
    task: Task,
    problems: &Parts<Problem>,
    model: &CausalLm<B>,
    tokenizer: &Tokenizer,
    device: &B::Device,
) -> Result<Vec<Preference>> {
    let asked = problems.train.iter().flat_map(|it| repeat_n(it, task.n_compared()));
    let prompts = asked.map(|it| Prompt::encode(&it.prompt, tokenizer)).collect();
    let sampler = Sampler::new(model, &sampling(task, tokenizer), device)?;
    let sampled = sample(&sampler, prompts, tokenizer, Seed::new(0).child("pairs"))?;
    let completions: Vec<Completion> = sampled.into_iter().map(|it| it.completion).collect();
    let worth = task.truth(problems).score(&completions)?;
    let judged: Vec<(Completion, f32)> = completions.into_iter().zip(worth).collect();
    let mut pairs = Vec::new();
    for [one, other] in judged.as_chunks::<2>().0 {
        let (better, worse) = if one.1 > other.1 { (one, other) } else { (other, one) };
        if better.1 > worse.1 && better.0.finished == worse.0.finished {
            pairs.push(preference(&better.0, &worse.0));
        }
    }
    Ok(pairs)
}

/// How the tasks' completions are sampled wherever nothing is optimised.
pub(super) fn sampling(task: Task, tokenizer: &Tokenizer) -> Sampling {
    Sampling {
        max_new_tokens: task.max_new_tokens(),
        ends: vec![tokenizer.special().eos],
        batch_rows: BATCH_ROWS,
        ..Sampling::at_temperature(1.0)
    }
}

fn preference(chosen: &Completion, rejected: &Completion) -> Preference {
    Preference {
        prompt: chosen.prompt.clone(),
        chosen: chosen.text.clone(),
        rejected: rejected.text.clone(),
        margin: None,
        chosen_finished: chosen.finished,
        rejected_finished: rejected.finished,
    }
}

fn write_rows<T: Serialize>(path: &Path, rows: &[T]) -> Result<()> {
    let lines: String = rows.iter().map(jsonl::line).collect();
    Ok(write_atomically(path, lines.as_bytes())?)
}
