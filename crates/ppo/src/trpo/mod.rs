//! Trust region policy optimisation (Schulman et al., 2015) for language models: the largest step along
//! the natural gradient that keeps the new policy within a distance of the old one.
//!
//! Maximise `L(θ) = Σ ρ(θ) A / n` subject to `KL(π_old ‖ π_θ) ≤ δ`, both means over the completions'
//! tokens. One [`update`](update()) is one pass through this list:
//!
//! 1. `g = ∇L`, by one backward pass.
//! 2. [`conjugate_gradient`] solves `(F + λ I) x = g` and needs of the [`fisher`] matrix only its
//!    products with vectors: three forward passes and a backward one each.
//! 3. [`step_length`]: as far along `x` as the quadratic model of the divergence allows.
//! 4. [`backtrack`]: half as far and half again, until the exact divergence over the whole vocabulary is
//!    within `δ` and `L` has grown; otherwise the policy stays as it was, to the last bit.
//!
//! What is added up over tokens is added up over micro-batches and workers, so neither changes the step.
//! The value model isn't part of it.

pub mod fisher;
pub mod logits;

mod config;
mod conjugate;
mod search;
mod update;

pub use config::{Trained, TrpoConfig};
pub use conjugate::{Solution, conjugate_gradient, step_length};
pub use search::{Accepted, Outlook, Search, backtrack};
pub use update::{Batch, Update, update};
