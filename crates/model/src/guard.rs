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
    for (number, row) in rows.iter().enumerate() {
        row_fits(config, row.as_ref(), n_new)
            .map_err(|reason| ModelError::Row { row: number, reason })?;
    }
    Ok(())
}

/// [`rows_fit`] for one row: says what is wrong with it.
pub fn row_fits(config: &ModelConfig, row: &[u32], n_new: usize) -> Result<(), String> {
    let (n_tokens, room, n_ids) = (row.len(), config.max_positions, config.vocab_size);
    if n_tokens == 0 {
        return Err("has no tokens".into());
    }
    if n_new > room.saturating_sub(n_tokens) {
        let new = if n_new > 0 { format!(" and shall get {n_new} more") } else { String::new() };
        return Err(format!("has {n_tokens} tokens{new}, but the model has {room} positions"));
    }
    if n_tokens > room {
        return Err(format!("has {n_tokens} tokens, but the model has {room} positions"));
    }
    match row.iter().find(|token| **token as usize >= n_ids) {
        Some(token) => {
            Err(format!("holds the token {token}, but the model's vocabulary has {n_ids}"))
        }
        None => Ok(()),
    }
}

/// Refuses a number that isn't finite. `step` is counted from 0.
pub fn finite(step: usize, what: &'static str, value: f64) -> Result<(), ModelError> {
    if value.is_finite() { Ok(()) } else { Err(ModelError::NotFinite { step: step + 1, what }) }
}
