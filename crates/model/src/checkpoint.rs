//! What the checkpoints of all stages have in common.

use std::fs;
use std::path::Path;

use rein_data::DataError;
use rein_data::tokenizer::Tokenizer;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ModelError;

/// The folder of the stage's model within a checkpoint.
pub const MODEL: &str = "model";
/// The folder of the model's adapters within a checkpoint, if it is trained by LoRA.
pub const ADAPTER: &str = "adapter";
/// The file of the optimiser's state within a checkpoint.
pub const OPTIMIZER: &str = "optimizer.safetensors";

const STATE: &str = "state.json";

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
