//! Scores of items from comparisons of two.
//!
//! [`Comparisons`] are who was compared with whom, and what came of it; [`BradleyTerry`] finds the items' scores with
//! their standard errors, with ties and with a liking for one side; [`NoisyBradleyTerry`] also finds out whose
//! answers mean nothing. Differences of scores are log-odds (nats): `P(i beats j) = σ(s_i − s_j)`.

mod bradley_terry;
mod comparisons;
mod log_linear;
mod noisy;

pub use bradley_terry::{BradleyTerry, BradleyTerryFit, PositionBias, Ties};
pub use comparisons::{Comparison, Comparisons, Outcome};
pub use noisy::{NoisyBradleyTerry, NoisyFit};
