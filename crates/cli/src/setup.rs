//! All that can go wrong before anything is written: data, tokenizer, model, lengths.

mod evaluation;
mod folders;
mod rewards;

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rein_data::chat::behind_replies;
use rein_data::encoder::Encoder;
use rein_data::encoding::{Encoded, Tally, encode_demonstrations};
use rein_data::seed::Seed;
use rein_data::store::TokenStore;
use rein_data::tokenizer::Tokenizer;
use rein_model::backend::LmBackend;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::guard::fits;
use rein_model::sft::{SftConfig, SftRows};
use rein_model::{moments_obstacle, obstacle, read_config, require_weights};
use rein_ppo::rollout::{Ends, Prompt};

use crate::annotated;
use crate::args::HubArgs;
use crate::chat_template::{chat_template, with_template};
use crate::config::{Config, ModelSource, NewModel, Stage};
use crate::files::{self, Files, RowsFolder, Stored};
use crate::reward::check_judgements;
use crate::suite::Suite;
use crate::world::{Judgements, Question, World};

pub(crate) use folders::Folders;

/// Steps that padding is measured on.
const N_PADDING_STEPS: usize = 64;

/// A run that is ready to begin.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) folders: Folders,
    pub(crate) world: World,
    pub(crate) tokenizer: Tokenizer,
    /// Turns examples of files into tokens.
    pub(crate) encoder: Encoder,
    /// The shape of the model that is trained.
    pub(crate) model: ModelConfig,
    pub(crate) rows: SftRows,
    /// Where rows lie that don't fit into memory.
    pub(crate) rows_folder: RowsFolder,
    /// Prompts with rules that replies to them must keep, where the config names a file of them.
    pub(crate) suite: Option<Suite>,
    /// What is worth a word: rows that were cut, for example.
    pub(crate) notes: Vec<String>,
}

impl Setup {
    /// Reads all that the config names and checks that it fits together, for a run that won't be kept.
    pub(crate) fn new(config: Config, hub: &HubArgs) -> Result<Self> {
        let name = format!("rein-{}", std::process::id());
        Self::for_run(config, &std::env::temp_dir().join(name), hub)
    }

    /// The same for the run that lies, or will lie, in `root`.
    pub(crate) fn for_run(mut config: Config, root: &Path, hub: &HubArgs) -> Result<Self> {
        let world =
            World::load(&config.data, config.columns(), Seed::new(config.seed).child("data"))?;
        let world = match &config.feedback.store {
            Some(store) => world.judged_in(store, &config.feedback)?,
            None => world,
        };
        if config.stages.contains(&Stage::Reward) && config.reward.demonstrations.is_none() {
            check_judgements(&config.reward, &world.judgements)?;
        }
        let folders = Folders::find(&mut config, hub)?;
        if let (Some(_), Some(files)) = (&config.reward.personal, &world.files)
            && config.stages.contains(&Stage::Reward)
            && let Some(path) = &files.config.preferences
        {
            annotated::check(path)?;
        }
        let (tokenizer, model) = match &config.model {
            ModelSource::New(shape) => new_model(shape, &world)?,
            ModelSource::Pretrained { path } => pretrained(folders.model.as_ref().unwrap_or(path))?,
        };
        fits(&model, &tokenizer).context(config.model.to_string())?;
        let template = world.files.as_ref().and_then(|it| it.config.chat_template.as_deref());
        let tokenizer = with_template(tokenizer, template).context("`data.chat_template`")?;
        let encoder = encoder(world.files.as_ref(), &tokenizer)?;
        let rows_folder = RowsFolder::of(root);
        let mut notes = world.notes.clone();
        let rows = match &world.files {
            Some(files) => {
                let Stored { train, heldout, tallies } =
                    files::encode(files, &encoder, &config, &rows_folder)?;
                notes.extend(cut_notes(&config, &tallies));
                SftRows { train, heldout }
            }
            None => encode(&config, &world, &tokenizer, &mut notes)?,
        };
        if config.stages.contains(&Stage::Sft) {
            ensure!(!rows.train.is_empty(), "there are no demonstrations to fine-tune on");
            notes.extend(padding(&config.sft, &rows.train));
        }
        if config.rounds.is_some() && !config.repeats() {
            notes.push(
                "`loop` repeats \"rl\" and \"evaluate\" without \"dpo\"; by `stages`, there is one round"
                    .into(),
            );
        }
        let setup = Self {
            config,
            folders,
            world,
            tokenizer,
            encoder,
            model,
            rows,
            rows_folder,
            suite: None,
            notes,
        };
        setup.checked()
    }

    /// Refuses what doesn't fit together.
    fn checked(mut self) -> Result<Self> {
        self.check_lengths()?;
        self.check_adapters()?;
        self.check_prompts()?;
        self.check_rewards()?;
        self.check_red_team()?;
        self.check_evaluation()?;
        self.suite = self.read_suite()?;
        Ok(self)
    }

    /// Of what files hold, prompts that the model has no room for aren't asked.
    fn check_prompts(&mut self) -> Result<()> {
        let asks = |stage| self.config.stages.contains(&stage);
        let (samples, evaluates) = (asks(Stage::Rl), asks(Stage::Evaluate));
        if self.world.files.is_none() {
            return Ok(());
        }
        if samples {
            let train = std::mem::take(&mut self.world.prompts.train);
            self.world.prompts.train = self.with_room(train, "rl", "prompts")?;
            if self.world.prompts.train.is_empty() {
                bail!(
                    "no prompt leaves the model room to answer; lower `rl.max_new_tokens` or leave out \
                     the stage"
                );
            }
        }
        if samples || evaluates {
            let heldout = std::mem::take(&mut self.world.prompts.heldout);
            self.world.prompts.heldout = self.with_room(heldout, "evaluate", "held-out prompts")?;
        }
        if evaluates && self.world.prompts.heldout.is_empty() {
            bail!(
                "no held-out prompt leaves the model room to answer, so there is nothing to evaluate \
                 with: name `data.heldout`, raise `data.heldout_share`, or leave out the stage"
            );
        }
        Ok(())
    }

    /// Those of some questions that leave room for an answer; a note tells of the others.
    fn with_room(&mut self, all: Vec<Question>, who: &str, what: &str) -> Result<Vec<Question>> {
        let room = self.room();
        let fits = |it: &Question| -> Result<bool> {
            Ok((1..=room).contains(&self.prompt(it)?.tokens.len()))
        };
        let n_before = all.len();
        let fitting = all.iter().map(fits).collect::<Result<Vec<bool>>>()?;
        let kept = all.into_iter().zip(fitting).filter(|(_, fits)| *fits);
        let kept: Vec<Question> = kept.map(|(it, _)| it).collect();
        let n_left = n_before - kept.len();
        if n_left > 0 {
            self.notes.push(format!(
                "{who}: {n_left} of {n_before} {what} leave no room for `rl.max_new_tokens` and aren't \
                 asked"
            ));
        }
        Ok(kept)
    }

    /// Tokens that a prompt may have: those of an answer and what a template writes behind it come after.
    pub(crate) fn room(&self) -> usize {
        let behind = self.config.rl.max_new_tokens + self.behind_replies().len();
        self.model.max_positions.saturating_sub(behind)
    }

    /// A question as the model reads it.
    pub(crate) fn prompt(&self, question: &Question) -> Result<Prompt> {
        let text = question.text.clone();
        let tokens = match &question.chat {
            Some(chat) => self.encoder.question(chat).map_err(anyhow::Error::msg),
            None => Ok(self.tokenizer.encode_prompt(&text)),
        };
        Ok(Prompt { tokens: tokens?, text, columns: question.columns.clone() })
    }

    /// What ends a reply: the end of sequence and, in conversations, what their template writes there.
    pub(crate) fn ends(&self) -> Ends {
        match self.encoder.template().filter(|_| self.world.has_chats()) {
            Some(template) => Ends::of_turns(&self.tokenizer, template),
            None => Ends::of_texts(&self.tokenizer),
        }
    }

    /// The tokens that stand behind a reply where a reward model learned from conversations.
    pub(crate) fn behind_replies(&self) -> Vec<u32> {
        let judges_texts = match &self.world.judgements {
            Judgements::Pairs(_) | Judgements::Labels(_) => true,
            Judgements::Examples(all) => {
                all.train.first().is_some_and(|it| !it.body.is_conversational())
            }
            Judgements::Simulated | Judgements::None => false,
        };
        let has_chats = self.world.has_chats() && !judges_texts;
        let template = self.encoder.template().filter(|_| has_chats);
        template.map_or(Vec::new(), |template| behind_replies(template, &self.tokenizer))
    }

    /// Refuses limits that the model has no positions for.
    fn check_lengths(&self) -> Result<()> {
        let room = self.model.max_positions;
        let limits = [
            (Stage::Sft, "sft.max_tokens", self.config.sft.max_tokens),
            (Stage::Reward, "reward.max_tokens", self.config.reward.max_tokens),
            (Stage::Dpo, "dpo.max_tokens", self.config.dpo.max_tokens),
        ];
        for (stage, key, limit) in limits {
            if self.config.stages.contains(&stage) && limit > room {
                bail!("`{key}` is {limit}, but the model has {room} positions; lower it");
            }
        }
        // Of what files hold, those that don't fit aren't asked.
        if self.config.stages.contains(&Stage::Rl) && self.world.files.is_none() {
            let prompts = self.world.prompts.train.iter().chain(&self.world.prompts.heldout);
            let longest = prompts.map(|it| self.tokenizer.encode_prompt(&it.text).len()).max();
            let (longest, new) = (longest.unwrap_or(0), self.config.rl.max_new_tokens);
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

impl Setup {
    /// Refuses batches of which some worker would have nothing.
    pub(crate) fn check_workers(&self, stages: &[Stage], n_workers: usize) -> Result<()> {
        let Config { sft, reward, dpo, rl, .. } = &self.config;
        let batches = [
            (Stage::Sft, "`sft.batch_rows`", sft.batch_rows),
            (Stage::Reward, "`reward.batch_rows`", reward.batch_rows),
            (Stage::Dpo, "`dpo.batch_rows`", dpo.batch_rows),
            (Stage::Rl, "the size of a minibatch of `rl`", rl.minibatch_rows()),
        ];
        for (_, what, n_rows) in batches.into_iter().filter(|(stage, ..)| stages.contains(stage)) {
            if n_rows < n_workers {
                bail!(
                    "{what} is {n_rows} for {n_workers} workers; raise it, or start fewer workers"
                );
            }
        }
        Ok(())
    }

    /// Refuses precisions that the backend or the machine doesn't have.
    pub(crate) fn check_precision<B: LmBackend>(&self, device: &B::Device) -> Result<()> {
        let precision = &self.config.precision;
        let products = precision.products_by_key().map(|(key, it)| (key, obstacle::<B>(it)));
        let moments = ("moments", moments_obstacle::<B>(precision.moments, device));
        for (key, obstacle) in products.into_iter().chain([moments]) {
            if let Some(obstacle) = obstacle {
                bail!(
                    "`precision.{key}` is \"bf16\", but {obstacle}; set it to \"f32\" or leave it out"
                );
            }
        }
        Ok(())
    }

    /// Refuses adapters of layers that the model doesn't have.
    fn check_adapters(&self) -> Result<()> {
        let config = &self.config;
        let adapters = [
            (Stage::Sft, "sft.lora", &config.sft.lora),
            (Stage::Reward, "reward.lora", &config.reward.lora),
            (Stage::Dpo, "dpo.lora", &config.dpo.lora),
            (Stage::Rl, "rl.lora", &config.rl.lora),
        ];
        for (stage, key, lora) in adapters {
            if let Some(lora) = lora.as_ref().filter(|_| config.stages.contains(&stage)) {
                lora.n_params(&self.model).with_context(|| format!("`{key}`"))?;
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
    require_weights(path)?;
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
        let Encoded { rows, tally } =
            encode_demonstrations(rows, tokenizer, limit).with_context(|| origin.clone())?;
        notes.extend(tally.note("sft.max_tokens", limit).map(|note| format!("{origin}: {note}")));
        Ok(TokenStore::in_memory(rows))
    };
    Ok(SftRows {
        train: encode(&world.demonstrations.train, train)?,
        heldout: encode(&world.demonstrations.heldout, heldout)?,
    })
}

/// What the length limit did to the rows of files.
fn cut_notes(config: &Config, tallies: &[Tally; 2]) -> Vec<String> {
    let origins = config.data.origins().into_iter().zip(["", ", held out"]);
    let note = |((origin, part), tally): ((String, &str), &Tally)| {
        let note = tally.note("sft.max_tokens", config.sft.max_tokens)?;
        Some(format!("{origin}{part}: {note}"))
    };
    origins.zip(tallies).filter_map(note).collect()
}

/// What turns the rows of files into tokens.
fn encoder(files: Option<&Files>, tokenizer: &Tokenizer) -> Result<Encoder> {
    let config = files.map(|files| &files.config);
    let name = config.and_then(|config| config.chat_template.as_deref());
    let template = match config {
        Some(_) => chat_template(tokenizer, name).context("`data.chat_template`")?,
        None => None,
    };
    Ok(Encoder::new(tokenizer.clone(), template, config.and_then(|config| config.learn)))
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
