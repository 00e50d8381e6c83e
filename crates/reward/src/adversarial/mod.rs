//! Reward models that hold out: training against an attacker, and attackers to try them with.
//!
//! [`pgd`] moves the embeddings of a row within small balls to where the model judges worst; training on that
//! beside the clean rows makes the model smoother there (adversarial training in embedding space; Xhonneux et
//! al., 2024). [`flips`] is another attacker, which exchanges tokens; what was trained against the first is
//! measured by the second. [`exchange`] makes rows like the second's while a model learns, and [`search`] lets a
//! policy find what fools an ensemble.

pub mod exchange;
pub mod flips;
pub mod pgd;
pub mod search;

use serde::{Deserialize, Serialize};

/// How a reward model is trained against perturbed embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdversarialConfig {
    /// How far each token's embedding is moved at most, in mean norms of the model's embeddings.
    pub epsilon: f64,
    /// Steps of the attacker, each `2 epsilon / steps` long.
    pub steps: usize,
    /// What the perturbed rows' loss counts for: `(1 − w) clean + w perturbed`.
    pub weight: f64,
}

impl Default for AdversarialConfig {
    fn default() -> Self {
        Self { epsilon: 0.05, steps: 3, weight: 0.5 }
    }
}

impl AdversarialConfig {
    /// What is wrong with these settings, each with its key below `section`.
    pub(crate) fn problems(&self, section: &str) -> Vec<String> {
        let rules = [
            (self.epsilon > 0.0 && self.epsilon.is_finite(), "epsilon", "above 0"),
            (self.steps > 0, "steps", "above 0"),
            (self.weight > 0.0 && self.weight <= 1.0, "weight", "above 0 and at most 1"),
        ];
        let broken = rules.into_iter().filter(|(fine, ..)| !fine);
        broken.map(|(_, key, rule)| format!("`{section}.{key}` must be {rule}")).collect()
    }
}
