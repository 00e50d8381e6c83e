//! What keeps a run from falling apart: small machines that decide and compute nothing else.
//!
//! - [`NonFinite`]: an update with a number that isn't finite is left out; too many of them, and the run
//!   goes back to its last checkpoint.
//! - [`Spikes`]: an update whose gradient is far longer than gradients are is left out.
//! - [`EarlyStop`]: a step's epochs end when the policy has gone far enough.
//! - [`KlRate`]: the learning rate follows the distance that a step goes.
//!
//! Each hears of plain numbers and answers; all of its state can be saved and restored.

mod early_stop;
mod guards;
mod kl_rate;
mod non_finite;
mod spikes;

pub use early_stop::{EarlyStop, EarlyStopConfig};
pub use guards::GuardsConfig;
pub(crate) use guards::{Guards, GuardsState, nats_per_token};
pub use kl_rate::{KlRate, KlRateConfig};
pub use non_finite::{NonFinite, NonFiniteConfig, NonFiniteState, Verdict};
pub use spikes::{SpikeConfig, SpikeState, Spikes};

/// Problems of settings, each with its key below `section`: those of `(key, is fine, rule)` that aren't.
fn broken(section: &str, rules: &[(&str, bool, &str)]) -> Vec<String> {
    let broken = rules.iter().filter(|(_, fine, _)| !fine);
    broken.map(|(key, _, rule)| format!("`{section}.{key}` must be {rule}")).collect()
}
