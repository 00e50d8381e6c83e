//! All that can go wrong before anything is written: data, tokenizer, model, lengths.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rein_data::encoding::{Encoded, encode_demonstrations};
use rein_data::seed::Seed;
use rein_data::store::TokenStore;
use rein_data::tokenizer::Tokenizer;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::guard::fits;
use rein_model::sft::{SftConfig, SftRows};
use rein_model::{has_weights, read_config};

use crate::config::{Config, ModelSource, NewModel, Stage};
use crate::world::World;

/// Steps that padding is measured on.
const N_PADDING_STEPS: usize = 64;

/// A run that is ready to begin.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) world: World,
    pub(crate) tokenizer: Tokenizer,
    /// The shape of the model that is trained.
    pub(crate) model: ModelConfig,
    pub(crate) rows: SftRows,
    /// What is worth a word: rows that were cut, for example.
    pub(crate) notes: Vec<String>,
}

impl Setup {
    /// Reads all that the config names and checks that it fits together.
    pub(crate) fn new(config: Config) -> Result<Self> {
        let world = World::load(&config.data, Seed::new(config.seed).child("data"))?;
        let (tokenizer, model) = match &config.model {
            ModelSource::New(shape) => new_model(shape, &world)?,
            ModelSource::Pretrained { path } => pretrained(path)?,
        };
        fits(&model, &tokenizer).context(config.model.to_string())?;
        let mut notes = Vec::new();
        let rows = encode(&config, &world, &tokenizer, &mut notes)?;
        if config.stages.contains(&Stage::Sft) {
            ensure!(!rows.train.is_empty(), "there are no demonstrations to fine-tune on");
            notes.extend(padding(&config.sft, &rows.train));
        }
        let setup = Self { config, world, tokenizer, model, rows, notes };
        setup.check_lengths()?;
        Ok(setup)
    }

    /// Refuses limits that the model has no positions for.
    fn check_lengths(&self) -> Result<()> {
        let room = self.model.max_positions;
        let limits = [
            (Stage::Sft, "sft.max_tokens", self.config.sft.max_tokens),
            (Stage::Reward, "reward.max_tokens", self.config.reward.max_tokens),
        ];
        for (stage, key, limit) in limits {
            if self.config.stages.contains(&stage) && limit > room {
                bail!("`{key}` is {limit}, but the model has {room} positions; lower it");
            }
        }
        if self.config.stages.contains(&Stage::Rl) {
            let prompts = self.world.prompts.train.iter().chain(&self.world.prompts.heldout);
            let longest = prompts.map(|prompt| self.tokenizer.encode_prompt(prompt).len()).max();
            let (longest, new) = (longest.unwrap_or(0), self.config.rl.ppo().max_new_tokens);
            if longest + new > room {
                bail!(
                    "the longest prompt has {longest} tokens; with `rl.max_new_tokens` = {new} that is \
                     more than the model's {room} positions; lower it or raise `model.max_positions`"
                );
            }
        }
        Ok(())
    }
}

/// A new model's shape, and a tokenizer trained on the texts that it will imitate.
fn new_model(shape: &NewModel, world: &World) -> Result<(Tokenizer, ModelConfig)> {
    let rows = &world.demonstrations.train;
    let texts = rows.iter().flat_map(|row| [row.prompt.as_str(), &row.completion]);
    let tokenizer = Tokenizer::train_bpe(texts, shape.vocab_size).context("`model.vocab_size`")?;
    let special = tokenizer.special();
    let model = ModelConfig::llama(LlamaShape {
        vocab_size: shape.vocab_size,
        hidden_size: shape.hidden_size,
        mlp_size: shape.mlp_size,
        n_layers: shape.n_layers,
        n_heads: shape.n_heads,
        n_kv_heads: shape.n_kv_heads,
        max_positions: shape.max_positions,
        tied_head: shape.tied_head,
    })?;
    Ok((tokenizer, model.with_special_ids(special.pad, special.bos, special.eos)))
}

fn pretrained(path: &Path) -> Result<(Tokenizer, ModelConfig)> {
    if !has_weights(path) {
        bail!(
            "{}: holds no model.safetensors (nor an index of shards); name a folder in the Hugging \
             Face layout",
            path.display()
        );
    }
    Ok((Tokenizer::load(path)?, read_config(path)?))
}

fn encode(
    config: &Config,
    world: &World,
    tokenizer: &Tokenizer,
    notes: &mut Vec<String>,
) -> Result<SftRows> {
    let [train, heldout] = config.data.origins();
    let mut encode = |rows, origin: String| -> Result<_> {
        let limit = config.sft.max_tokens;
        let Encoded { rows, n_truncated } =
            encode_demonstrations(rows, tokenizer, limit).with_context(|| origin.clone())?;
        if n_truncated > 0 {
            let total = rows.len();
            notes.push(format!(
                "{origin}: {n_truncated} of {total} demonstrations are longer than \
                 `sft.max_tokens` = {limit} and lose their end"
            ));
        }
        Ok(TokenStore::in_memory(rows))
    };
    Ok(SftRows {
        train: encode(&world.demonstrations.train, train)?,
        heldout: encode(&world.demonstrations.heldout, heldout)?,
    })
}

/// What packing or grouping saves.
fn padding(config: &SftConfig, rows: &TokenStore) -> Option<String> {
    let plain = SftConfig { packing: false, group_by_length: false, ..config.clone() };
    let measure = |config: &SftConfig| {
        let mut sequences = config.sequences(rows.clone(), Seed::new(0));
        let n_steps = config.n_steps(sequences.len()).min(N_PADDING_STEPS);
        (sequences.len(), 100.0 * sequences.padding(n_steps))
    };
    let ((n_rows, before), (n_sequences, after)) = (measure(&plain), measure(config));
    let saved = format!("{after:.1} % of a batch is padding instead of {before:.1} %");
    match (config.packing, config.group_by_length) {
        (true, _) => Some(format!(
            "sft: {n_rows} rows share {n_sequences} sequences of at most {} tokens; {saved}",
            config.max_tokens
        )),
        (false, true) => Some(format!("sft: rows are grouped by length; {saved}")),
        (false, false) => None,
    }
}
