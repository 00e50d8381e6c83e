//! The Hugging Face layout on disk: `config.json`, names and layouts of tensors, safetensors files.

mod adapter;
mod adapter_config;
mod config;
mod load;
mod places;
mod save;
mod slots;

pub use adapter::{has_adapter, read_adapter_config, save_adapter, save_scalar_adapter};
pub use adapter_config::AdapterConfig;
pub(crate) use config::parse_config;
pub use load::{generation_ends, has_weights, load_causal_lm, load_scalar_model, read_config};
pub(crate) use places::{Part, Place, linear_places};
pub use save::{save_causal_lm, save_scalar_model};
pub(crate) use slots::decoder_slots;
