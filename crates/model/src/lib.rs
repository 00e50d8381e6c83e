//! A decoder language model on Burn, generic over the backend, and its supervised fine-tuning.
//!
//! One configurable decoder ([`config::ModelConfig`]) covers the GPT-2, Llama, Mistral, Qwen 2,
//! Qwen 3 and GPT-NeoX families. It stands under two heads: [`CausalLm`] over the vocabulary and
//! [`ScalarModel`] with one number, which serves as reward and value model. Both are loaded from and
//! saved to the Hugging Face layout ([`load_causal_lm`], [`save_causal_lm`]).
//!
//! Models take tensors of token ids ([`tokens`]) and never see a string. [`generate()`] samples
//! with a key-value cache while a [`Monitor`] may read along, a [`Sampler`] does so from a snapshot, a
//! [`Session`] goes on from where it was, [`logprobs`] says what a model thinks of given tokens, [`sft`] trains it with the optimiser
//! of [`optim`].
//!
//! This crate knows neither rewards nor reinforcement learning and enables no backend.

pub mod backend;
pub mod checkpoint;
pub mod config;
pub mod flat;
pub mod guard;
pub mod iq_learn;
pub mod logprobs;
pub mod lora;
pub mod optim;
pub mod sampling;
pub mod schedule;
pub mod sequences;
pub mod sft;
pub mod tokens;
mod value_head;
pub mod weights;

mod adamw;
mod all_reduce;
mod attention;
mod block;
mod causal_lm;
mod decoder;
mod decoding;
mod digest;
mod drawing;
mod ema;
mod engine;
mod error;
mod exploring;
mod frozen;
mod generate;
mod heads;
mod hf;
mod kv_cache;
mod learner;
mod linear;
mod monitor;
mod named;
mod norm;
mod perturbation;
mod precision;
mod recompute;
mod rotary;
mod sampler;
mod scalar_model;
mod session;

pub use attention::Attention;
pub use block::{Block, Mlp};
pub use causal_lm::CausalLm;
pub use decoder::Decoder;
pub use ema::{Ema, EmaConfig};
pub use error::ModelError;
pub use frozen::Frozen;
pub use generate::{Finish, Generated, generate};
pub use heads::{SavedHeads, ScoreHeads};
pub use hf::{
    AdapterConfig, ExportOptions, FloatType, Header, SaveOptions, SavedAdapter, TensorInfo,
    check_causal_lm, check_scalar_model, export, generation_ends, has_adapter, load_causal_lm,
    load_scalar_model, read_adapter_config, read_config, remove_weights, require_weights,
    save_adapter, save_causal_lm, save_causal_lm_as, save_scalar_adapter, save_scalar_model,
};
pub use kv_cache::KvCache;
pub use learner::Learner;
pub use linear::Linear;
pub use monitor::Monitor;
pub use norm::Norm;
pub use perturbation::Noise;
pub use precision::{Precisions, moments_obstacle, obstacle};
pub use rein_kernels::Precision;
pub use sampler::{Batches, Sampler};
pub use sampling::Sampling;
pub use scalar_model::ScalarModel;
pub use session::Session;
