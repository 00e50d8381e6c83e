//! Optimisation on judgements: DPO (Rafailov et al., 2023) and its relatives.
//!
//! What a policy gives to a completion, compared with what the frozen reference gives to it, is read as a
//! reward, `β (log π(y|x) − log π_ref(y|x))`; the losses want it higher for what people preferred.
//! [`loss`] has those of pairs, [`unpaired`] that of single completions with a thumb up or down. They are
//! pure functions: no module, no optimiser, no config, no random numbers.
//!
//! [`Dpo`] trains a policy on [`pairs`] of completions by any loss of [`loss::LossType`] but KTO's, which
//! [`Kto`] takes for single [`labels`]. The two are one stage; what differs is the [`Judgement`]. [`online`] learns
//! from pairs of the policy's own completions, within reinforcement learning.

pub mod labels;
pub mod loss;
pub mod online;
pub mod pairs;
pub mod unpaired;

mod config;
mod judgement;
mod of_labels;
mod of_pairs;
mod reference;
mod train;

pub use config::DpoConfig;
pub use judgement::Judgement;
pub use train::{Dpo, Kto};
