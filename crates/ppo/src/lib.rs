//! Proximal policy optimisation (Schulman et al., 2017) for language models.
//!
//! One step of [`train::Ppo`] is one pass through this list:
//!
//! 1. [`rollout::collect`]: the policy completes prompts; policy and reference say how probable the
//!    completions were, the value model what it expects, a [`Reward`](rein_reward::Reward) how good
//!    they are.
//! 2. [`shaping::shape`]: scores become token rewards: a penalty for completions that don't end, a
//!    [KL penalty](kl) on each token, the score on the last one.
//! 3. [`advantage::gae`] and [`advantage::whiten`]: what each token gained over expectation.
//! 4. [`update`]: several epochs over shuffled minibatches of the clipped losses of [`loss`].
//! 5. [`kl::KlController`]: the KL coefficient follows the distance from the reference.
//!
//! Where another policy sampled than the one that is updated, of another precision or of the step before
//! ([`overlap`]), [`importance`] weighs the tokens.
//!
//! Advantages and losses are pure functions: no module, no optimiser, no config, no random numbers.

pub mod advantage;
pub mod config;
pub mod exploration;
pub mod importance;
pub mod kl;
pub mod loss;
pub mod overlap;
pub mod rollout;
pub mod scores;
pub mod shaping;
pub mod stability;
pub mod train;
pub mod update;

mod actor_critic;
mod checkpoint;
mod describe;
mod error;
mod halves;

pub use actor_critic::{ActorCritic, Learners};
pub use error::PpoError;
