//! What the checkpoints of all stages have in common.

use std::fs;
use std::path::Path;

use burn::module::AutodiffModule;
use rein_data::DataError;
use rein_data::tokenizer::Tokenizer;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::LmAutodiffBackend;
use crate::lora::LoraConfig;
use crate::{
    AdapterConfig, CausalLm, Learner, ModelError, load_causal_lm, save_adapter, save_causal_lm,
};

/// The folder of the stage's model within a checkpoint.
pub const MODEL: &str = "model";
/// The folder of the model's adapters within a checkpoint, if it is trained by LoRA.
pub const ADAPTER: &str = "adapter";
/// The file of the optimiser's state within a checkpoint.
pub const OPTIMIZER: &str = "optimizer.safetensors";

const STATE: &str = "state.json";

impl<B: LmAutodiffBackend> Learner<B, CausalLm<B>> {
    /// Writes the language model, its adapters if `lora` says that it has any, and the optimiser.
    pub fn save(
        &self,
        lora: Option<&LoraConfig>,
        tokenizer: Option<&Tokenizer>,
        folder: &Path,
    ) -> Result<(), ModelError> {
        let model = self.module().valid();
        save_with_tokenizer(&folder.join(MODEL), tokenizer, |folder| {
            save_causal_lm(&model, folder)
        })?;
        if let Some(lora) = lora {
            let config = AdapterConfig::new(lora, model.config(), false);
            save_adapter(&model, &config, &folder.join(ADAPTER))?;
        }
        self.save_optimizer(&folder.join(OPTIMIZER))
    }

    /// Becomes what was saved; with adapters, the model below them stays as it is. `computed` says how the
    /// model is computed from here on.
    ///
    /// # Errors
    /// A folder that doesn't hold what [`save`](Self::save) writes of such a model.
    pub fn load(
        &mut self,
        lora: Option<&LoraConfig>,
        computed: impl FnOnce(CausalLm<B>) -> CausalLm<B>,
        folder: &Path,
        device: &B::Device,
    ) -> Result<(), ModelError> {
        let model = match lora {
            Some(_) => {
                let base = self.module().clone().without_lora();
                base.with_saved_lora(&folder.join(ADAPTER), device)?
            }
            None => load_causal_lm(&folder.join(MODEL), device)?,
        };
        self.restore(computed(model), &folder.join(OPTIMIZER), device)
    }
}

/// Saves a model, and its tokenizer if it has one, into a new folder.
pub fn save_with_tokenizer(
    folder: &Path,
    tokenizer: Option<&Tokenizer>,
    save: impl FnOnce(&Path) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    fs::create_dir_all(folder).map_err(|source| io(folder, source))?;
    save(folder)?;
    Ok(tokenizer.map_or(Ok(()), |tokenizer| tokenizer.save(folder))?)
}

/// Writes the small numbers of a stage: counters, coefficients, running statistics.
pub fn write_state(folder: &Path, state: &impl Serialize) -> Result<(), ModelError> {
    let path = folder.join(STATE);
    let bytes = serde_json::to_vec_pretty(state).expect("a state is plain JSON");
    fs::write(&path, bytes).map_err(|source| io(&path, source))
}

/// Reads what [`write_state`] wrote.
pub fn read_state<T: DeserializeOwned>(folder: &Path) -> Result<T, ModelError> {
    let path = folder.join(STATE);
    let bytes = fs::read(&path).map_err(|source| io(&path, source))?;
    serde_json::from_slice(&bytes).map_err(|error| ModelError::checkpoint(&path, error.to_string()))
}

fn io(path: &Path, source: std::io::Error) -> ModelError {
    DataError::Io { path: path.to_path_buf(), source }.into()
}
