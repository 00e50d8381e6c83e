//! Which folders a model comes from: its own, and that of an adapter that is run on it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use rein_data::seed::Seed;
use rein_model::backend::LmBackend;
use rein_model::{
    CausalLm, ScalarModel, has_adapter, load_causal_lm, load_scalar_model, read_adapter_config,
    read_config, require_weights,
};
use rein_reward::meta::PersonalReward;
use rein_reward::{LearnedReward, Normalization};

use crate::args::{HubArgs, ModelArgs};
use crate::hub;

/// A model's folder, and an adapter's if one is run on it.
#[derive(Clone, Debug)]
pub(crate) struct ModelFolders {
    /// Where the config and the weights lie.
    pub(crate) base: PathBuf,
    pub(crate) adapter: Option<PathBuf>,
}

impl ModelFolders {
    /// What the command line names; an adapter alone is run on the model that it was trained on.
    pub(crate) fn find(args: &ModelArgs) -> Result<Self> {
        let folder = hub::resolve(&args.model, &args.hub)?;
        let other = HubArgs { revision: None, offline: args.hub.offline };
        let folders = match &args.adapter {
            Some(adapter) => Self { base: folder, adapter: Some(hub::resolve(adapter, &other)?) },
            None if has_adapter(&folder) && require_weights(&folder).is_err() => {
                Self { base: base_of(&folder, &other)?, adapter: Some(folder) }
            }
            None => Self { base: folder, adapter: None },
        };
        require_weights(&folders.base)?;
        if let Some(adapter) = folders.adapter.as_ref().filter(|folder| !has_adapter(folder)) {
            bail!("{}: holds no adapter_config.json", adapter.display());
        }
        Ok(folders)
    }

    /// Where the tokenizer lies: beside the adapter if it brings one.
    pub(crate) fn texts(&self) -> &Path {
        let with_tokenizer = |folder: &&PathBuf| folder.join("tokenizer.json").exists();
        self.adapter.as_ref().filter(with_tokenizer).unwrap_or(&self.base)
    }

    /// The language model, with the adapter merged into it.
    pub(crate) fn load_causal_lm<B: LmBackend>(&self, device: &B::Device) -> Result<CausalLm<B>> {
        let model = load_causal_lm(&self.base, device)?;
        Ok(match &self.adapter {
            Some(adapter) => model.with_saved_lora(adapter, device)?.merged(),
            None => model,
        })
    }

    /// The reward model, with the adapter merged into it. An adapter's scores are not normalised.
    pub(crate) fn load_reward<B: LmBackend>(
        &self,
        batch_rows: usize,
        device: &B::Device,
    ) -> Result<LearnedReward<B>> {
        let Some(adapter) = &self.adapter else {
            return Ok(LearnedReward::load(&self.base, batch_rows, device)?);
        };
        let model = if is_classifier(&self.base)? {
            load_scalar_model(&self.base, device)?
        } else if read_adapter_config(adapter)?.has_score {
            // The head that is drawn here makes room for the adapter's.
            ScalarModel::from_causal_lm(load_causal_lm(&self.base, device)?, Seed::new(0), device)?
        } else {
            bail!(
                "{}: has no score head, and neither has {}; it can't score",
                adapter.display(),
                self.base.display()
            );
        };
        let model = model.with_saved_lora(adapter, device)?.merged();
        Ok(LearnedReward::new(model, Normalization::NONE, batch_rows, device))
    }

    /// The reward model with one person's taste.
    pub(crate) fn load_personal<B: LmBackend>(
        &self,
        person: &Path,
        batch_rows: usize,
        device: &B::Device,
    ) -> Result<PersonalReward<B>> {
        if let Some(adapter) = &self.adapter {
            bail!(
                "{}: a person is scored by a whole reward model; merge the adapter with `rein export`, and train `reward.personal` on that",
                adapter.display()
            );
        }
        Ok(PersonalReward::load(&self.base, person, batch_rows, device)?)
    }
}

/// The model that an adapter names as its base: of the Hub, or a folder; a relative one begins at the
/// current folder or at the adapter's.
fn base_of(adapter: &Path, args: &HubArgs) -> Result<PathBuf> {
    let name = read_adapter_config(adapter)?.base_model_name_or_path;
    let name = name.filter(|name| !name.is_empty()).ok_or_else(|| {
        anyhow!(
            "{}: names no base model; give it, as in `--model BASE --adapter {}`",
            adapter.display(),
            adapter.display()
        )
    })?;
    let beside = adapter.join(&name);
    if !Path::new(&name).exists() && beside.exists() {
        return Ok(beside);
    }
    hub::resolve(Path::new(&name), args)
        .with_context(|| format!("the base model of {}", adapter.display()))
}

fn is_classifier(folder: &Path) -> Result<bool> {
    let config = read_config(folder)?;
    let architectures = config.raw.get("architectures").and_then(|it| it.get(0)?.as_str());
    Ok(architectures.is_some_and(|name| name.ends_with("ForSequenceClassification")))
}
