//! Checks that turn nonsense into an error.

use rein_data::tokenizer::Tokenizer;

use crate::ModelError;
use crate::config::ModelConfig;

/// Refuses a tokenizer whose ids the model doesn't have.
pub fn fits(config: &ModelConfig, tokenizer: &Tokenizer) -> Result<(), ModelError> {
    let (n_ids, n_rows) = (tokenizer.vocab_size(), config.vocab_size);
    if n_ids > n_rows {
        return Err(ModelError::Invalid(format!(
            "the tokenizer has {n_ids} tokens, but the model has embeddings for {n_rows}: \
             they don't belong together; name a folder that holds a model with its own tokenizer.json"
        )));
    }
    Ok(())
}

/// Refuses a number that isn't finite. `step` is counted from 0.
pub fn finite(step: usize, what: &'static str, value: f64) -> Result<(), ModelError> {
    if value.is_finite() { Ok(()) } else { Err(ModelError::NotFinite { step: step + 1, what }) }
}
