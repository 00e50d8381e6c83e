use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use rein_data::checkpoint::write_atomically;
use rein_data::example::Completion;
use rein_data::{DataError, model_folder};
use serde::{Deserialize, Serialize};

use super::features::{FeaturesConfig, Vocabulary};
use super::max_ent::{Choice, Fit, max_ent};
use crate::{Reward, RewardError};

/// Larger files are refused.
const MAX_BYTES: u64 = 16 << 20;

/// A reward that adds up weights of named [features](FeaturesConfig), as
/// [maximum-entropy inverse reinforcement learning](super::max_ent) finds them.
///
/// Its file says all of it and is made to be read:
///
/// ```json
/// {
///   "features": { "words": true, … },
///   "weights": {
///     "pair:<start> glad": 1.25,
///     "word:cousin": -0.75,
///     …
///   }
/// }
/// ```
///
/// with the largest weights first. What it doesn't name weighs nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureReward {
    config: FeaturesConfig,
    /// The largest first; of equally large ones, by name.
    weights: Vec<(String, f64)>,
    by_name: HashMap<String, f64>,
}

/// Where a [`FeatureReward`] comes from, as a config says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeaturesSource {
    /// The file that [`FeatureReward::save`] wrote; the run's own if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

/// How weights of features are found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaxEntConfig {
    /// Which features there are.
    pub features: FeaturesConfig,
    /// The price of large weights: `l2/2 · Σ θ²`, beside the mean over demonstrations.
    pub l2: f64,
    /// Steps of L-BFGS at most.
    pub steps: usize,
}

impl Default for MaxEntConfig {
    fn default() -> Self {
        Self { features: FeaturesConfig::default(), l2: 1e-3, steps: 100 }
    }
}

impl MaxEntConfig {
    /// What is wrong with these settings, each with its key below `section`.
    pub fn problems(&self, section: &str) -> Vec<String> {
        let mut problems = self.features.problems(&format!("{section}.features"));
        if !(self.l2 > 0.0 && self.l2.is_finite()) {
            problems.push(format!("`{section}.l2` must be above 0"));
        }
        if self.steps == 0 {
            problems.push(format!("`{section}.steps` must be above 0"));
        }
        problems
    }
}

impl FeatureReward {
    /// The weights under which these demonstrations are most probable, next to samples of the reference for
    /// the same prompts.
    ///
    /// # Errors
    /// No prompt that was both demonstrated and sampled, and no feature that is frequent enough.
    pub fn fit(
        demonstrations: &[Completion],
        samples: &[Completion],
        config: &MaxEntConfig,
    ) -> Result<Self, RewardError> {
        let counted = |side: &[Completion]| -> Vec<BTreeMap<String, f64>> {
            side.iter().map(|it| config.features.count(it)).collect()
        };
        let counts = [counted(demonstrations), counted(samples)];
        let vocabulary = Vocabulary::of(counts.iter().flatten(), &config.features);
        if vocabulary.names.is_empty() {
            return refuse("no feature is in enough completions; lower `min_count`");
        }
        let mut choices: BTreeMap<&str, Choice> = BTreeMap::new();
        for (completion, counts) in demonstrations.iter().zip(&counts[0]) {
            let choice = choices.entry(&completion.prompt).or_default();
            choice.demonstrated.push((1.0, vocabulary.sparse(counts)));
        }
        for (completion, counts) in samples.iter().zip(&counts[1]) {
            let choice = choices.entry(&completion.prompt).or_default();
            choice.sampled.push((1.0, vocabulary.sparse(counts)));
        }
        let choices: Vec<Choice> = choices.into_values().collect();
        if !choices.iter().any(|it| !it.demonstrated.is_empty() && !it.sampled.is_empty()) {
            return refuse("no prompt has both a demonstration and a sample of the reference");
        }
        let n_features = vocabulary.names.len();
        let theta = max_ent(&choices, &Fit { n_features, l2: config.l2, n_steps: config.steps });
        Ok(Self::new(config.features, vocabulary.names.into_iter().zip(theta)))
    }

    /// A reward with these weights.
    pub fn new(config: FeaturesConfig, weights: impl IntoIterator<Item = (String, f64)>) -> Self {
        let mut weights: Vec<(String, f64)> = weights.into_iter().collect();
        weights.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then_with(|| a.0.cmp(&b.0)));
        Self { config, by_name: weights.iter().cloned().collect(), weights }
    }

    /// Features and their weights, the largest first.
    pub fn weights(&self) -> &[(String, f64)] {
        &self.weights
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Those of the system.
    pub fn save(&self, path: &Path) -> Result<(), RewardError> {
        let config = serde_json::to_string(&self.config).expect("settings are plain JSON");
        let quoted = |name: &str| serde_json::Value::from(name).to_string();
        let line = |(name, weight): &(String, f64)| format!("    {}: {weight:?}", quoted(name));
        let lines: Vec<String> = self.weights.iter().map(line).collect();
        let text = format!(
            "{{\n  \"features\": {config},\n  \"weights\": {{\n{}\n  }}\n}}\n",
            lines.join(",\n")
        );
        Ok(write_atomically(path, text.as_bytes())?)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// A file that isn't one of these, or a large one.
    pub fn load(path: &Path) -> Result<Self, RewardError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
        let bytes = model_folder::read(folder.unwrap_or(Path::new(".")), &name, MAX_BYTES)?;
        let refuse = |error: serde_json::Error| {
            let reason = format!("no reward of features: {error}");
            RewardError::Data(DataError::File { path: path.into(), reason })
        };
        let Saved { features, weights } = serde_json::from_slice(&bytes).map_err(refuse)?;
        Ok(Self::new(features, weights))
    }

    fn score_one(&self, completion: &Completion) -> f32 {
        let counts = self.config.count(completion);
        let weighed =
            counts.iter().filter_map(|(name, count)| Some(self.by_name.get(name)? * count));
        weighed.sum::<f64>() as f32
    }
}

impl Reward for FeatureReward {
    fn name(&self) -> &'static str {
        "features"
    }

    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
        Ok(completions.iter().map(|it| self.score_one(it)).collect())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    features: FeaturesConfig,
    weights: BTreeMap<String, f64>,
}

fn refuse<T>(reason: &str) -> Result<T, RewardError> {
    Err(RewardError::Invalid(reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(prompt: &str, text: &str) -> Completion {
        Completion {
            prompt: prompt.into(),
            text: text.into(),
            finished: true,
            ..Completion::default()
        }
    }

    fn fit(
        demonstrations: &[Completion],
        samples: &[Completion],
    ) -> Result<FeatureReward, RewardError> {
        let features = FeaturesConfig { min_count: 1, pairs: false, ..FeaturesConfig::default() };
        let config = MaxEntConfig { features, ..MaxEntConfig::default() };
        FeatureReward::fit(demonstrations, samples, &config)
    }

    #[test]
    fn what_experts_say_weighs_more_where_it_was_asked_for() {
        let prompts = ["cold", "hot"];
        let right = |prompt: &str| if prompt == "cold" { "heat" } else { "cool" };
        let shown: Vec<_> = prompts.iter().map(|it| says(it, right(it))).collect();
        let sampled: Vec<_> = prompts
            .iter()
            .flat_map(|prompt| ["heat", "cool"].map(|text| says(prompt, text)))
            .collect();
        let reward = fit(&shown, &sampled).expect("fits");
        // The words alone say nothing: both are shown once and sampled twice.
        let weight = |name: &str| reward.by_name[name];
        assert!(weight("given:cold word:heat") > 0.5 && weight("given:cold word:cool") < -0.5);
        assert!(weight("word:heat").abs() < 1e-6 && weight("finished").abs() < 1e-6);
        let score = |prompt, text| reward.score_one(&says(prompt, text));
        assert!(score("hot", "cool") > score("hot", "heat") + 1.0);
        assert_eq!(score("new", "words"), score("other", "texts"), "nothing is known of them");
    }

    #[test]
    fn a_reward_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("reward.json");
        let weights = [("word:a", 0.1), ("word:\"", -1.0 / 3.0), ("length", 1e-9)];
        let reward = FeatureReward::new(
            FeaturesConfig::default(),
            weights.map(|(name, weight)| (name.to_owned(), weight)),
        );
        reward.save(&path).expect("writes");
        assert_eq!(FeatureReward::load(&path).expect("reads"), reward);
        let text = std::fs::read_to_string(&path).expect("reads");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[3], "    \"word:\\\"\": -0.3333333333333333,");
        assert_eq!(lines[5], "    \"length\": 1e-9");
        for broken in ["", "[]", "{\"weights\": {}}", &text.replace("0.1", "1e999")] {
            std::fs::write(&path, broken).expect("writes");
            let error = FeatureReward::load(&path).expect_err("is refused").to_string();
            assert!(error.contains("no reward of features"), "{error}");
        }
    }

    #[test]
    fn nothing_to_compare_is_refused() {
        let error = fit(&[says("a", "b")], &[says("c", "b")]).expect_err("is refused");
        assert!(error.to_string().starts_with("no prompt has both"), "{error}");
        let error = fit(&[], &[]).expect_err("is refused");
        assert!(error.to_string().starts_with("no feature"), "{error}");
    }
}
