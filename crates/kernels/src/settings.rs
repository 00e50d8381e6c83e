//! What operations are told besides tensors.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What the factors of matrix products are rounded to; sums are f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Nothing is rounded.
    #[default]
    F32,
    /// bfloat16, see [`bf16`](crate::cpu::bf16), on backends that have it.
    Bf16,
}

/// How the Gaussian error linear unit is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// `x Φ(x)`, by the error function (Hendrycks and Gimpel, 2016).
    Erf,
    /// `x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))`
    Tanh,
}

/// The heads of a batch and who sees whom.
#[derive(Clone, Debug)]
pub struct Heads {
    /// Rows.
    pub n_batch: usize,
    /// Tokens of a row, pads included.
    pub n_time: usize,
    /// Heads of queries.
    pub n_heads: usize,
    /// Heads of keys and of values; each serves as many heads of queries.
    pub n_kv_heads: usize,
    /// Numbers of a head.
    pub head_dim: usize,
    /// The first column that each token sees, `[batch · time]`; the last one is its own. A token
    /// that begins after itself is a pad, whose output means nothing.
    pub begins: Arc<[usize]>,
}

impl Heads {
    /// Numbers of a token's queries.
    pub fn query_width(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Numbers of a token's keys.
    pub fn key_width(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    /// The key head that serves a query head.
    pub fn key_head(&self, head: usize) -> usize {
        head / (self.n_heads / self.n_kv_heads)
    }

    /// What scores are multiplied by, `1 / √d`.
    pub fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// How a head over the vocabulary lies in memory, and what its scores are divided by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadLayout {
    /// `[vocabulary, width]`, as the embedding, and not `[width, vocabulary]`.
    pub tied: bool,
    /// Divides the scores.
    pub temperature: f32,
    /// In which scores, and gradients through them, are computed.
    pub precision: Precision,
}

/// One step of AdamW: `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`,
/// `w ← keep · w − rate · m / (√v / root_correction + ε)`.
///
/// Moments may be bf16. The weight is computed from them in f32, and then they are rounded
/// [at random](crate::cpu::bf16::random).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// `1 − lr λ`, with the weight decay `λ`.
    pub keep: f32,
    /// `lr / (1 − β₁ᵗ)`
    pub rate: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// `√(1 − β₂ᵗ)`
    pub root_correction: f32,
    /// Is added to the root.
    pub epsilon: f32,
    /// Gradients are multiplied by it first: below 1 where they are clipped.
    pub grad_scale: f32,
    /// From which it follows how moments in bf16 are rounded: another number for each tensor and step.
    pub seed: u64,
}
