//! Fused operations of language models, as an extension of Burn's backends.
//!
//! [`Kernels`] is a backend with these operations. Each has a body composed of ordinary tensor
//! operations, which serves any backend; Flex, the CPU backend, has kernels of its own ([`cpu`]).
//! Under `Autodiff` each records one step with a backward written by hand, so that a tape holds
//! inputs and little else.
//!
//! | operation | formula | kept for the backward |
//! |---|---|---|
//! | [`norm`](ops::norm) | `x / √(mean(x²) + ε) · w`, or layer normalisation | the input |
//! | [`rotate`](ops::rotate) | rotary position embedding | the angles |
//! | [`swiglu`](ops::swiglu), [`gelu`](ops::gelu) | `silu(a) · b`, `x Φ(x)` | the inputs |
//! | [`linear`](ops::linear) | `x W + b` | the inputs |
//! | [`attention`](ops::attention) | `softmax(q kᵀ / √d) v`, causal | inputs, output, one logarithm a head |
//! | [`token_stats`](ops::token_stats) | log-probability and entropy of `softmax(h W)` | inputs and five numbers a token |
//!
//! Features name the backends that are extended: `flex`, `ndarray`, `cubecl` (every GPU) and
//! `fusion`.

pub mod composed;
pub mod cpu;
pub mod ops;

mod autodiff;
mod backends;
#[cfg(feature = "flex")]
mod flex;
mod gather;
mod kernels;
mod settings;

pub use gather::{Gathers, GradientSum, gathered};
pub use kernels::{AttentionSeen, Kernels, StatsSeen, Wanted};
pub use settings::{AdamW, Gelu, HeadLayout, Heads, Precision};
