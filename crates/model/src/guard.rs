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

/// Refuses rows of tokens that the model can't take, `n_new` more each.
pub fn rows_fit(
    config: &ModelConfig,
    rows: &[impl AsRef<[u32]>],
    n_new: usize,
) -> Result<(), ModelError> {
    let (room, n_ids) = (config.max_positions, config.vocab_size);
    for (number, row) in (1..).zip(rows.iter().map(AsRef::as_ref)) {
        let n_tokens = row.len();
        if n_tokens == 0 {
            return Err(ModelError::Invalid(format!("row {number} has no tokens")));
        }
        if n_tokens + n_new > room {
            let new =
                if n_new > 0 { format!(" and shall get {n_new} more") } else { String::new() };
            return Err(ModelError::Invalid(format!(
                "row {number} has {n_tokens} tokens{new}, but the model has {room} positions"
            )));
        }
        if let Some(token) = row.iter().find(|token| **token as usize >= n_ids) {
            return Err(ModelError::Invalid(format!(
                "row {number} holds the token {token}, but the model's vocabulary has {n_ids}"
            )));
        }
    }
    Ok(())
}

/// Refuses a number that isn't finite. `step` is counted from 0.
pub fn finite(step: usize, what: &'static str, value: f64) -> Result<(), ModelError> {
    if value.is_finite() { Ok(()) } else { Err(ModelError::NotFinite { step: step + 1, what }) }
}
