//! Rewards that are read off behaviour: what must an expert have wanted, who acted as observed?
//!
//! All start at one model of the expert, the reference policy tilted towards what it wants:
//! `p_E(y|x) = p_ref(y|x) · exp(r(x,y)/β) / Z(x)`. So only differences of `r` between completions of one
//! prompt can be known, and those in units of `β`; [`similarity`] compares rewards up to that.
//!
//! - [`LogRatio`] solves the model for `r`, with a policy that imitates the expert for `p_E`.
//! - [`max_ent`] looks for weights of named [`features`] under which the demonstrations are most probable:
//!   rewards that people can read ([`FeatureReward`]).
//! - [`demonstrations`] are better than the reference's own samples, on the whole: pairs of which
//!   [`train`](crate::train) makes a reward model.
//!
//! What people say when asked teaches such weights, too: [`comparisons`] knows how sure they are and what to ask next.
//!
//! Fine-tuning itself can be told to leave logits that are values: [`rein_model::iq_learn`].

pub mod comparisons;
pub mod demonstrations;
pub mod features;
pub mod max_ent;
pub mod similarity;

mod feature_reward;
mod lbfgs;
mod log_ratio;

pub use feature_reward::{FeatureReward, FeaturesSource, MaxEntConfig};
pub use log_ratio::{LogRatio, LogRatioConfig, LogRatioSource, Total};
