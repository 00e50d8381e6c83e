use rein_model::CausalLm;
use rein_model::backend::LmAutodiffBackend;
use rein_model::flat::FlatParams;
use serde::{Deserialize, Serialize};

use super::search::Search;
use crate::PpoError;

/// How a policy takes a step within a trust region.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrpoConfig {
    /// `δ`: the largest mean divergence of a step, in nats a token.
    pub max_kl: f64,
    /// `λ`: added to the Fisher matrix's diagonal, since the matrix is singular.
    pub damping: f64,
    /// The most products with the Fisher matrix; each costs three forward passes and a backward one.
    pub cg_iterations: usize,
    /// How often a step that leads too far is shortened before the policy is left as it was.
    pub line_search_steps: usize,
    /// What a step is multiplied by to shorten it.
    pub backtrack: f64,
    /// What is trained. The step holds a few copies of it.
    pub parameters: Trained,
}

/// Which of a policy's trainable tensors a step changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trained {
    /// All that are trainable.
    #[default]
    All,
    /// Adapters.
    Lora,
    /// So many blocks before the end, the norm after them, and the head, unless it is the embedding.
    LastLayers(usize),
}

impl Default for TrpoConfig {
    /// The region of Schulman et al. (2015, appendix E), the damping of OmniSafe, ten products, ten halvings.
    fn default() -> Self {
        Self {
            max_kl: 0.01,
            damping: 0.1,
            cg_iterations: 10,
            line_search_steps: 10,
            backtrack: 0.5,
            parameters: Trained::All,
        }
    }
}

impl TrpoConfig {
    /// What is wrong with these settings, each with its key below `section`.
    pub fn problems(&self, section: &str) -> Vec<String> {
        let is_positive = |value: f64| value > 0.0 && value.is_finite();
        let is_part = self.backtrack > 0.0 && self.backtrack < 1.0;
        let has_layers = self.parameters != Trained::LastLayers(0);
        let rules = [
            (is_positive(self.max_kl), "max_kl", "above 0"),
            (self.damping >= 0.0 && self.damping.is_finite(), "damping", "at least 0"),
            (self.cg_iterations > 0, "cg_iterations", "above 0"),
            (is_part, "backtrack", "between 0 and 1"),
            (has_layers, "parameters.last_layers", "above 0"),
        ];
        let broken = rules.into_iter().filter(|(fine, ..)| !fine);
        broken.map(|(_, key, rule)| format!("`{section}.{key}` must be {rule}")).collect()
    }

    pub(super) fn search(&self) -> Search {
        let Self { max_kl, line_search_steps, backtrack, .. } = *self;
        Search { max_kl, max_cuts: line_search_steps, backtrack }
    }
}

impl Trained {
    /// Where the tensors lie in one vector.
    ///
    /// # Errors
    /// A policy that has none of them.
    pub(super) fn of<B: LmAutodiffBackend>(
        self,
        policy: &CausalLm<B>,
    ) -> Result<FlatParams, PpoError> {
        let n_layers = policy.config().n_layers;
        let params = FlatParams::of(policy, |name| self.wants(name, n_layers));
        if params.is_empty() {
            let reason = format!("the policy has nothing to train that is asked for: {self:?}");
            return Err(PpoError::Invalid(reason));
        }
        Ok(params)
    }

    fn wants(self, name: &str, n_layers: usize) -> bool {
        match self {
            Self::All => true,
            Self::Lora => name.contains(".adapter."),
            Self::LastLayers(n_last) => match block_of(name) {
                Some(block) => block + n_last >= n_layers,
                None => name.starts_with("norm.") || name.starts_with("head."),
            },
        }
    }
}

/// 3, of `blocks.3.mlp.up.weight`
fn block_of(name: &str) -> Option<usize> {
    name.strip_prefix("blocks.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_layers_are_blocks_norm_and_head() {
        let wanted = |name| Trained::LastLayers(2).wants(name, 12);
        for name in
            ["blocks.10.mlp.up.weight", "blocks.11.norm.weight", "norm.weight", "head.weight"]
        {
            assert!(wanted(name), "{name}");
        }
        for name in ["blocks.1.mlp.up.weight", "blocks.9.mlp.up.weight", "embedding", "positions"] {
            assert!(!wanted(name), "{name}");
        }
    }

    #[test]
    fn settings_are_read_strictly() {
        let read = serde_json::from_str::<TrpoConfig>;
        let config = read(r#"{"max_kl": 0.02, "parameters": {"last_layers": 2}}"#).expect("valid");
        let parameters = Trained::LastLayers(2);
        assert_eq!(config, TrpoConfig { max_kl: 0.02, parameters, ..TrpoConfig::default() });
        assert_eq!(read(r#"{"parameters": "lora"}"#).expect("valid").parameters, Trained::Lora);
        assert!(read(r#"{"max_kI": 0.02}"#).is_err());
    }

    #[test]
    fn problems_name_their_keys() {
        assert!(TrpoConfig::default().problems("rl.trpo").is_empty());
        let config = TrpoConfig {
            max_kl: 0.0,
            damping: f64::NAN,
            cg_iterations: 0,
            backtrack: 1.0,
            parameters: Trained::LastLayers(0),
            ..TrpoConfig::default()
        };
        let problems = config.problems("rl.trpo");
        assert_eq!(problems.len(), 5, "{problems:?}");
        assert_eq!(problems[0], "`rl.trpo.max_kl` must be above 0");
    }
}
