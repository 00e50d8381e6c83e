//! The Hugging Face layout on disk: `config.json`, names and layouts of tensors, safetensors files.

mod config;
mod load;
mod save;
mod slots;

pub(crate) use config::parse_config;
pub use load::{generation_ends, has_weights, load_causal_lm, load_scalar_model, read_config};
pub use save::{save_causal_lm, save_scalar_model};
pub(crate) use slots::decoder_slots;
