//! The Hugging Face layout on disk: `config.json`, names and layouts of tensors, safetensors files.
//!
//! Reading goes from `shards` (which files) over `header` (what lies where in them) and `stored` (their
//! values) to `load` (a model); writing from `save` or `export` to `write`. `slots` and `layout` say what
//! each family calls its tensors and how they are packed.

mod adapter;
mod adapter_config;
mod config;
mod export;
mod float;
mod header;
mod json;
mod layout;
mod load;
mod places;
mod save;
mod shards;
mod slots;
mod stored;
mod write;

pub use adapter::{
    SavedAdapter, has_adapter, read_adapter_config, save_adapter, save_scalar_adapter,
};
pub use adapter_config::AdapterConfig;
pub(crate) use config::parse_config;
pub use export::{ExportOptions, export};
pub use float::FloatType;
pub use header::{Header, TensorInfo};
pub(crate) use json::parse_object;
pub use load::{
    check_causal_lm, check_scalar_model, generation_ends, load_causal_lm, load_scalar_model,
    read_config,
};
pub(crate) use places::{Part, Place, linear_places};
pub use save::{save_causal_lm, save_causal_lm_as, save_scalar_model};
pub use shards::require_weights;
pub(crate) use slots::decoder_slots;
pub use write::{SaveOptions, remove_weights};
