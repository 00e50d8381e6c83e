//! Several rewards as one.

use rein_data::example::Completion;

use crate::{Reward, RewardError};

/// A reward and what it counts for beside others.
pub struct Weighted {
    /// What its scores are multiplied by; below 0 it is a penalty, at 0 it is only measured.
    pub weight: f32,
    /// Says how good completions are.
    pub reward: Box<dyn Reward>,
}

/// What a reward gave to some completions.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// A score for each completion.
    pub total: Vec<f32>,
    /// Of a mixture, what each of its parts gave, before weights.
    pub parts: Vec<Vec<f32>>,
    /// Which completions couldn't be judged, by whom, and why.
    pub failures: Vec<Failure>,
}

/// A completion that a reward couldn't judge, and whose score is one that was agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which completion.
    pub row: usize,
    /// Which part of a mixture; 0 if there is no mixture.
    pub part: usize,
    /// Why not.
    pub reason: String,
}

/// The scores of a reward, with those of its parts if it is a mixture. Each part is asked once.
///
/// # Errors
/// Those of the reward, and a reward that doesn't give one score to each completion.
pub fn scores(reward: &dyn Reward, completions: &[Completion]) -> Result<Scores, RewardError> {
    let weighted = reward.parts();
    let mut failures = Vec::new();
    if weighted.is_empty() {
        let total = ask(reward, 0, completions, &mut failures)?;
        return Ok(Scores { total, parts: Vec::new(), failures });
    }
    let parts = weighted.iter().enumerate();
    let parts = parts.map(|(part, it)| ask(&*it.reward, part, completions, &mut failures));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    let weights: Vec<f32> = weighted.iter().map(|it| it.weight).collect();
    let total = (0..completions.len()).map(|row| weighted_sum(&weights, &parts, row));
    Ok(Scores { total: total.collect(), parts, failures })
}

fn ask(
    reward: &dyn Reward,
    part: usize,
    completions: &[Completion],
    failures: &mut Vec<Failure>,
) -> Result<Vec<f32>, RewardError> {
    let verdicts = reward.verdicts(completions)?;
    let failed = verdicts.iter().enumerate().filter(|(_, verdict)| verdict.failed);
    failures.extend(failed.map(|(row, it)| Failure { row, part, reason: it.reason.clone() }));
    let scores: Vec<f32> = verdicts.into_iter().map(|it| it.score).collect();
    let (name, n_scores, n_asked) = (reward.name(), scores.len(), completions.len());
    if n_scores != n_asked {
        let reason = format!("the reward `{name}` gave {n_scores} scores to {n_asked} completions");
        return Err(RewardError::Invalid(reason));
    }
    Ok(scores)
}

/// `Σ wᵢ rᵢ`, in double precision; NaN where one of them is.
fn weighted_sum(weights: &[f32], parts: &[Vec<f32>], row: usize) -> f32 {
    let products = weights.iter().zip(parts).map(|(w, part)| f64::from(*w) * f64::from(part[row]));
    products.sum::<f64>() as f32
}

/// The weighted sum of several rewards, `Σ wᵢ rᵢ`. What isn't a number in one of them isn't one in the
/// sum, whatever its weight.
pub struct Mixture(Vec<Weighted>);

impl Mixture {
    /// Mixes these rewards.
    ///
    /// # Errors
    /// No reward, two of one name, or a weight that isn't finite.
    pub fn new(parts: Vec<Weighted>) -> Result<Self, RewardError> {
        let refuse = |reason: String| Err(RewardError::Invalid(reason));
        if parts.is_empty() {
            return refuse("a mixture of rewards needs one at least".into());
        }
        for (place, part) in parts.iter().enumerate() {
            let name = part.reward.name();
            if !part.weight.is_finite() {
                return refuse(format!("the reward `{name}` has the weight {}", part.weight));
            }
            if parts[..place].iter().any(|it| it.reward.name() == name) {
                return refuse(format!("two rewards are called `{name}`"));
            }
        }
        Ok(Self(parts))
    }
}

impl Reward for Mixture {
    fn name(&self) -> &'static str {
        "mixture"
    }

    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
        Ok(scores(self, completions)?.total)
    }

    fn parts(&self) -> &[Weighted] {
        &self.0
    }
}

impl std::fmt::Debug for Weighted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.weight, self.reward.name())
    }
}

impl std::fmt::Debug for Mixture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Mixture").field(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(&'static str, Vec<f32>);

    impl Reward for Fixed {
        fn name(&self) -> &str {
            self.0
        }

        fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
            assert!(!completions.is_empty());
            Ok(self.1.clone())
        }
    }

    fn part(weight: f32, name: &'static str, scores: &[f32]) -> Weighted {
        Weighted { weight, reward: Box::new(Fixed(name, scores.to_vec())) }
    }

    fn completions(count: usize) -> Vec<Completion> {
        vec![Completion::default(); count]
    }

    #[test]
    fn scores_are_weighted_sums_and_parts_are_told() {
        let parts = vec![part(2.0, "a", &[1.0, 3.0]), part(-0.5, "b", &[4.0, -1.0])];
        let mixture = Mixture::new(parts).expect("mixes");
        let got = scores(&mixture, &completions(2)).expect("scores");
        // 2 · 1 − 0.5 · 4 and 2 · 3 + 0.5 · 1
        assert_eq!(got.total, [0.0, 6.5]);
        assert_eq!(got.parts, [[1.0, 3.0], [4.0, -1.0]]);
        assert_eq!(mixture.score(&completions(2)).expect("scores"), got.total);
        let alone = scores(&Fixed("a", vec![0.1]), &completions(1)).expect("scores");
        assert_eq!(alone, Scores { total: vec![0.1], parts: Vec::new(), failures: Vec::new() });
    }

    #[test]
    fn one_reward_of_weight_one_is_itself_to_the_bit() {
        let values: Vec<f32> = (1..200).map(|it| 1.0 / it as f32 - 0.05).collect();
        let mixture = Mixture::new(vec![part(1.0, "a", &values)]).expect("mixes");
        assert_eq!(mixture.score(&completions(values.len())).expect("scores"), values);
    }

    #[test]
    fn what_is_not_a_number_stays_so_whatever_its_weight() {
        let parts = vec![part(1.0, "a", &[1.0, 1.0]), part(0.0, "b", &[f32::NAN, 2.0])];
        let mixture = Mixture::new(parts).expect("mixes");
        let got = mixture.score(&completions(2)).expect("scores");
        assert!(got[0].is_nan() && got[1] == 1.0, "{got:?}");
    }

    #[test]
    fn each_completion_has_a_score_or_the_reward_is_told_of() {
        let error = scores(&Fixed("a", vec![1.0]), &completions(2)).expect_err("is refused");
        assert_eq!(error.to_string(), "the reward `a` gave 1 scores to 2 completions");
    }

    #[test]
    fn mixtures_that_mean_nothing_are_refused() {
        let refusal = |parts| Mixture::new(parts).expect_err("is refused").to_string();
        assert_eq!(refusal(Vec::new()), "a mixture of rewards needs one at least");
        let twice = vec![part(1.0, "a", &[]), part(2.0, "a", &[])];
        assert_eq!(refusal(twice), "two rewards are called `a`");
        let endless = vec![part(f32::INFINITY, "a", &[])];
        assert_eq!(refusal(endless), "the reward `a` has the weight inf");
    }
}
