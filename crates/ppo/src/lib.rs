//! Policy optimisation for language models: PPO (Schulman et al., 2017) and its kin, which are
//! combinations of [advantages](advantage), [policy loss](loss) and [KL placement](config::KlPlacement); an
//! [`algorithm`] names one.
//!
//! One step of [`train::Ppo`] is one pass through this list:
//!
//! 1. [`rollout::collect`]: the policy completes prompts; policy and reference say how probable the
//!    completions were, the value model what it expects, a [`Reward`](rein_reward::Reward) how good
//!    they are.
//! 2. [`shaping::shape`]: scores become token rewards: a penalty for completions that don't end, a
//!    [KL penalty](kl) on each token, the score on the last one.
//! 3. [`experience::prepare`]: what each token gained over expectation, by one of the estimators of
//!    [`advantage`].
//! 4. [`update`]: some epochs over shuffled minibatches of the losses of [`loss`].
//! 5. [`kl::KlController`]: the KL coefficient follows the distance from the reference.
//!
//! Where another policy sampled than the one that is updated, of another precision or of the step before
//! ([`overlap`]), [`importance`] weighs the tokens.
//!
//! Rollouts have one turn. Conversations of several turns, scored at each or at the end, come from elsewhere as
//! [`episode`]s, and from the second point on all is the same.
//!
//! [`preference`] optimises a policy on judgements alone, without sampling: DPO and its relatives.
//!
//! Advantages and losses are pure functions: no module, no optimiser, no config, no random numbers.

pub mod advantage;
pub mod algorithm;
pub mod config;
pub mod constraints;
pub mod demonstrations;
pub mod diagnostics;
pub mod episode;
pub mod experience;
pub mod exploration;
pub mod hyperparameters;
pub mod importance;
pub mod kl;
pub mod loss;
pub mod overlap;
pub mod preference;
pub mod red_team;
pub mod rollout;
pub mod scheduled;
pub mod scores;
pub mod shaping;
pub mod stability;
pub mod train;
pub mod trpo;
pub mod update;

mod actor_critic;
mod checkpoint;
mod controllers;
mod describe;
mod error;
mod halves;
mod optimise;
mod watched;

pub use actor_critic::{ActorCritic, Learners};
pub use error::PpoError;
