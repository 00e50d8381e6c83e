//! Fused operations of language models, as an extension of Burn's backends.


pub mod cpu;

/// How the Gaussian error linear unit is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// `x Φ(x)`, by the error function (Hendrycks and Gimpel, 2016).
    Erf,
    /// `x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))`
    Tanh,
}
