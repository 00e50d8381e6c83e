//! Ensembles of score heads: how heads come to differ, and what is made of it.
//!
//! Heads stand on one backbone ([`ScoreHeads`](rein_model::ScoreHeads)), or each on its own ([`Backbones`]). Each has
//! a random prior of its own and learns from a bootstrap of the judgements, so that they agree where judgements say
//! much and differ where they say little. A completion that only some heads like is one that a policy had better not
//! trust: [`Pessimism`] makes a score of that.
//!
//! A reward is known up to a constant of the prompt. Heads are compared after each was centred on the same rows,
//! the judged completions of the reference, and divided by the deviation of their mean there. What is left of a
//! prompt's constant is small, since centring (`center_rewards_coefficient`) pulls it to 0 for each head, and it
//! is the same for all completions of the prompt.

use std::path::{Path, PathBuf};
use std::{fs, io};

use burn::prelude::*;
use rand::{Rng, RngExt};
use rein_data::DataError;
use rein_data::seed::Seed;
use rein_model::backend::LmBackend;
use rein_model::tokens::matrix;
use serde::{Deserialize, Serialize};

/// The file of an ensemble's heads, beside the model.
pub const ENSEMBLE: &str = "ensemble.safetensors";

/// The folder of an ensemble's further models, beside the first one's files.
pub const MEMBERS: &str = "members";

/// More heads are refused.
pub const MAX_HEADS: usize = 256;

/// The folders of the further models of the ensemble in `folder`, in order: `members/2`, `members/3`, …
pub fn members(folder: &Path) -> Vec<PathBuf> {
    (2..=MAX_HEADS).map(|number| member(folder, number)).take_while(|it| it.exists()).collect()
}

/// The folder of the `number`-th model of an ensemble, of which the first lies in `folder` itself.
pub fn member(folder: &Path, number: usize) -> PathBuf {
    folder.join(MEMBERS).join(number.to_string())
}

/// Lays these models beside the one in `folder`.
pub(crate) fn add_members(folder: &Path, models: &[PathBuf]) -> Result<(), DataError> {
    (2..).zip(models).try_for_each(|(number, model)| {
        let to = member(folder, number);
        copy(model, &to).map_err(|source| DataError::Io { path: to, source })
    })
}

/// Copies a folder's files, or shares them where the file system can.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let file = entry?;
        let (from, to) = (file.path(), to.join(file.file_name()));
        if fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

/// How many heads there are and how they come to differ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnsembleConfig {
    /// Heads.
    pub heads: usize,
    /// What they stand on.
    pub backbones: Backbones,
    /// The size of the fixed random priors; at 1, they are drawn as a new score head is.
    pub prior_scale: f64,
    /// How often each head learns from a judgement.
    pub bootstrap: Bootstrap,
}

impl Default for EnsembleConfig {
    fn default() -> Self {
        let (backbones, bootstrap) = (Backbones::Shared, Bootstrap::Poisson);
        Self { heads: 5, backbones, prior_scale: 1.0, bootstrap }
    }
}

/// What the heads of an ensemble stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backbones {
    /// One backbone, which learns from all of them: as fast as one head. What the backbone gets wrong, though, all heads
    /// get wrong.
    Shared,
    /// Each its own: so many models, which err in ways of their own (Coste et al., 2024).
    Own,
}

impl EnsembleConfig {
    /// How many models there are.
    pub fn models(&self) -> usize {
        match self.backbones {
            Backbones::Shared => 1,
            Backbones::Own => self.heads,
        }
    }

    /// How many heads each of them has.
    pub fn heads_each(&self) -> usize {
        self.heads / self.models()
    }

    /// What is wrong with these settings, each with its key below `section`.
    pub(crate) fn problems(&self, section: &str) -> Vec<String> {
        let mut problems = Vec::new();
        if !(2..=MAX_HEADS).contains(&self.heads) {
            problems.push(format!("`{section}.heads` must be within 2..=256"));
        }
        if !(self.prior_scale >= 0.0 && self.prior_scale.is_finite()) {
            problems.push(format!("`{section}.prior_scale` must be at least 0"));
        }
        let are_alike = self.prior_scale == 0.0 && self.bootstrap == Bootstrap::None;
        if are_alike && self.backbones == Backbones::Shared {
            problems.push(format!(
                "`{section}`: without priors and without a bootstrap, all heads would be the same"
            ));
        }
        problems
    }

    /// What a judgement counts for, for each head. It follows from the judgement's number alone, and has the
    /// mean 1.
    pub(crate) fn weights(&self, seed: Seed, judgement: usize) -> Vec<f32> {
        let mut rng = seed.index(judgement as u64).rng();
        (0..self.heads_each()).map(|_| self.bootstrap.draw(&mut rng)).collect()
    }
}

/// How often a head learns from a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bootstrap {
    /// Once: heads differ by their priors alone.
    None,
    /// As often as a Poisson draw of mean 1 says, as a large bootstrap would have it (Oza and Russell, 2001).
    Poisson,
    /// Twice or not at all, with equal chances (Owen and Eckles, 2012).
    DoubleOrNothing,
}

impl Bootstrap {
    fn draw(self, rng: &mut impl Rng) -> f32 {
        match self {
            Self::None => 1.0,
            Self::Poisson => poisson(rng),
            Self::DoubleOrNothing => 2.0 * f32::from(u8::from(rng.random_bool(0.5))),
        }
    }
}

/// A draw from the Poisson distribution of mean 1, by the product of uniform draws (Knuth, 1969).
fn poisson(rng: &mut impl Rng) -> f32 {
    let mut count = 0.0;
    let mut product: f64 = rng.random();
    while product > (-1.0_f64).exp() {
        count += 1.0;
        product *= rng.random::<f64>();
    }
    count
}

/// What judgements cost all heads: `1/M Σ_m w_im l_im`, with the loss `l_im` of judgement `i` by the scores of
/// head `m`.
///
/// # Shapes
/// - `head_scores`: `[rows, heads]`
/// - `weights`: a list for each judgement, a number for each head
/// - `losses`: from `[rows]` to `[judgements]`
/// - returns: `[judgements]`
pub fn ensemble_losses<B: LmBackend>(
    head_scores: Tensor<B, 2>,
    weights: &[Vec<f32>],
    losses: impl Fn(Tensor<B, 1>) -> Tensor<B, 1>,
) -> Tensor<B, 1> {
    let [n_rows, n_heads] = head_scores.dims();
    let n_judgements = weights.len();
    let weights = matrix::<B>(weights, &head_scores.device()) / n_heads as f64;
    let of_head = |head: usize| {
        let scores = head_scores.clone().narrow(1, head, 1).reshape([n_rows]);
        losses(scores) * weights.clone().narrow(1, head, 1).reshape([n_judgements])
    };
    (1..n_heads).map(of_head).fold(of_head(0), |sum, losses| sum + losses)
}

/// What is made of heads that differ. The default elsewhere is their mean.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Pessimism {
    /// The least of the heads' scores (worst-case optimisation; Coste et al., 2024).
    Minimum,
    /// `mean − k std`
    LowerBound {
        /// `k`
        #[serde(default = "one")]
        coefficient: f32,
    },
    /// `mean − λ std²` (uncertainty-weighted optimisation; Coste et al., 2024).
    Variance {
        /// `λ`
        #[serde(default = "one")]
        coefficient: f32,
    },
}

fn one() -> f32 {
    1.0
}

impl Pessimism {
    /// What is wrong with it, at this key.
    pub fn problem(self, key: &str) -> Option<String> {
        match self {
            Self::LowerBound { coefficient } | Self::Variance { coefficient }
                if !(coefficient >= 0.0 && coefficient.is_finite()) =>
            {
                Some(format!("`{key}.coefficient` must be at least 0"))
            }
            _ => None,
        }
    }

    /// The score of a completion that heads score so.
    ///
    /// # Panics
    /// No heads.
    pub fn score(self, heads: &[f32]) -> f32 {
        let Spread { mean, std } = Spread::of(heads);
        match self {
            Self::Minimum => {
                // Not `f32::min`, which passes over what isn't a number.
                let least = |least: f32, it: &f32| {
                    if least.is_nan() || *it >= least { least } else { *it }
                };
                heads[1..].iter().fold(heads[0], least)
            }
            Self::LowerBound { coefficient } => (mean - f64::from(coefficient) * std) as f32,
            Self::Variance { coefficient } => (mean - f64::from(coefficient) * std * std) as f32,
        }
    }
}

/// What heads say of a completion together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The mean of their scores.
    pub mean: f64,
    /// The standard deviation of their scores, of a sample: `√(Σ (r_m − mean)² / (M − 1))`; 0 of a single head.
    pub std: f64,
}

impl Spread {
    /// Of these scores.
    ///
    /// # Panics
    /// No heads.
    pub fn of(heads: &[f32]) -> Self {
        assert!(!heads.is_empty(), "an ensemble has heads");
        let count = heads.len() as f64;
        let mean = heads.iter().map(|it| f64::from(*it)).sum::<f64>() / count;
        let squares: f64 = heads.iter().map(|it| (f64::from(*it) - mean).powi(2)).sum();
        Self { mean, std: (squares / (count - 1.0).max(1.0)).sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pessimistic_scores_by_hand() {
        // Mean 2, squares 4 + 0 + 4 of three: std 2.
        let heads = [0.0, 2.0, 4.0];
        assert_eq!(Spread::of(&heads), Spread { mean: 2.0, std: 2.0 });
        assert_eq!(Pessimism::Minimum.score(&heads), 0.0);
        assert_eq!(Pessimism::LowerBound { coefficient: 0.5 }.score(&heads), 1.0);
        assert_eq!(Pessimism::Variance { coefficient: 0.5 }.score(&heads), 0.0);
        for kind in [Pessimism::Minimum, Pessimism::LowerBound { coefficient: 0.0 }] {
            assert_eq!(kind.score(&[1.5; 4]), 1.5, "heads that agree lose nothing");
            assert!(kind.score(&[1.0, f32::NAN, 2.0]).is_nan());
        }
    }

    #[test]
    fn bootstraps_have_mean_one_and_belong_to_their_judgement() {
        for bootstrap in [Bootstrap::None, Bootstrap::Poisson, Bootstrap::DoubleOrNothing] {
            let config = EnsembleConfig { bootstrap, ..EnsembleConfig::default() };
            let seed = Seed::new(3);
            let drawn: Vec<f32> = (0..4_000).flat_map(|row| config.weights(seed, row)).collect();
            let mean = drawn.iter().sum::<f32>() / drawn.len() as f32;
            // Variance 1 of 20,000 draws: five deviations are 0.035.
            assert!((mean - 1.0).abs() < 0.036, "{bootstrap:?}: {mean}");
            assert_eq!(config.weights(seed, 7), config.weights(seed, 7));
            assert_ne!(bootstrap != Bootstrap::None, config.weights(seed, 7) == vec![1.0; 5]);
        }
    }

    #[test]
    fn settings_are_read_strictly_and_problems_name_their_keys() {
        let read = toml_like(r#"{"kind": "lower_bound", "coefficient": 2.0}"#);
        assert_eq!(read.expect("valid"), Pessimism::LowerBound { coefficient: 2.0 });
        assert!(toml_like(r#"{"kind": "lower_bound", "k": 2.0}"#).is_err());
        let same = EnsembleConfig {
            heads: 1,
            prior_scale: 0.0,
            bootstrap: Bootstrap::None,
            ..EnsembleConfig::default()
        };
        let problems = same.problems("reward.ensemble");
        assert_eq!(problems[0], "`reward.ensemble.heads` must be within 2..=256");
        assert!(problems[1].contains("all heads would be the same"), "{problems:?}");
    }

    fn toml_like(text: &str) -> serde_json::Result<Pessimism> {
        serde_json::from_str(text)
    }
}
