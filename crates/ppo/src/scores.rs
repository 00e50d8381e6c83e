//! What happens to a reward's scores before they are shaped into rewards of tokens.
//!
//! In this order: the score is centred and scaled by what scores have been so far, then clipped, then pays
//! for the completion's length. Penalties come last, so that they are in the units of the policy's reward,
//! and no clipping hides them.

use serde::{Deserialize, Serialize};

/// What happens to scores. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScoreConfig {
    /// What running statistics change.
    pub normalization: Normalization,
    /// What scores are clipped to, after normalization (±5 in "Secrets of RLHF I"; Zheng et al., 2023, §5.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<Range>,
    /// Taken off the score for each token.
    pub length_penalty: f64,
    /// The penalty for coming close to the length limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlong: Option<Overlong>,
}

/// What running statistics do to a score `s`, with the mean `μ` and the standard deviation `σ` of all scores
/// so far, those of this step included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalization {
    /// `s`
    #[default]
    None,
    /// `s − μ`
    Center,
    /// `s / σ`: keeps which scores are good and which bad (TRL's `use_score_scaling`).
    Scale,
    /// `(s − μ) / σ` (TRL's `use_score_norm`).
    Standardize,
}

/// The least and the greatest that a score can be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The least.
    pub low: f64,
    /// The greatest.
    pub high: f64,
}

/// A penalty that grows over the last tokens before the limit (Yu et al., 2025, DAPO, eq. 13).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlong {
    /// The length limit of completions, in tokens.
    pub max_tokens: usize,
    /// How many tokens before it the penalty begins.
    pub buffer_tokens: usize,
    /// The whole penalty, at the limit and beyond.
    pub factor: f64,
}

impl Overlong {
    /// `−min(n − (max − buffer), buffer) / buffer · factor`, and 0 up to `max − buffer` tokens.
    pub fn penalty(&self, n_tokens: usize) -> f64 {
        let n_over = n_tokens.saturating_sub(self.max_tokens.saturating_sub(self.buffer_tokens));
        let share = n_over.min(self.buffer_tokens) as f64 / self.buffer_tokens.max(1) as f64;
        -share * self.factor
    }
}

impl ScoreConfig {
    /// What is wrong with these settings, each with its key below `section`.
    pub fn problems(&self, section: &str) -> Vec<String> {
        let is_range = |it: Range| it.low < it.high;
        let fits = |it: Overlong| (1..=it.max_tokens).contains(&it.buffer_tokens);
        let positive = |value: f64| value >= 0.0 && value.is_finite();
        let rules = [
            (self.clip.is_none_or(is_range), "clip.low", "below `clip.high`"),
            (positive(self.length_penalty), "length_penalty", "at least 0"),
            (
                self.overlong.is_none_or(fits),
                "overlong.buffer_tokens",
                "above 0 and at most `max_tokens`",
            ),
            (self.overlong.is_none_or(|it| positive(it.factor)), "overlong.factor", "at least 0"),
        ];
        let broken = rules.into_iter().filter(|(fine, ..)| !fine);
        broken.map(|(_, key, rule)| format!("`{section}.{key}` must be {rule}")).collect()
    }
}

/// The rules of a run, and what scores have been so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRules {
    config: ScoreConfig,
    moments: RunningMoments,
}

impl ScoreRules {
    /// Rules before any score.
    pub fn new(config: ScoreConfig) -> Self {
        Self { config, moments: RunningMoments::default() }
    }

    /// The rules.
    pub fn config(&self) -> ScoreConfig {
        self.config
    }

    /// What scores have been so far: all that has to be saved.
    pub fn moments(&self) -> RunningMoments {
        self.moments
    }

    /// Continues from saved statistics.
    pub fn restore(&mut self, moments: RunningMoments) {
        self.moments = moments;
    }

    /// Hears of a step's raw scores, before they are [changed](Self::apply). Evaluations are not told.
    pub fn observe(&mut self, scores: &[f64]) {
        self.moments.observe(scores);
    }

    /// What normalization multiplies scores by, apart from what it takes off: scores of
    /// [turns](crate::episode) are in the same units as their sum.
    pub fn factor(&self) -> f64 {
        match self.config.normalization {
            Normalization::None | Normalization::Center => 1.0,
            Normalization::Scale | Normalization::Standardize => self.moments.divisor().recip(),
        }
    }

    /// What becomes of a raw score of a completion of `n_tokens` tokens.
    pub fn apply(&self, score: f64, n_tokens: usize) -> f64 {
        let ScoreConfig { normalization, clip, length_penalty, overlong } = self.config;
        let RunningMoments { mean, .. } = self.moments;
        let score = match normalization {
            Normalization::None => score,
            Normalization::Center => score - mean,
            Normalization::Scale => score / self.moments.divisor(),
            Normalization::Standardize => (score - mean) / self.moments.divisor(),
        };
        let score = clip.map_or(score, |Range { low, high }| score.clamp(low, high));
        let overlong = overlong.map_or(0.0, |it| it.penalty(n_tokens));
        score - length_penalty * n_tokens as f64 + overlong
    }
}

/// Mean and spread of all numbers so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunningMoments {
    /// How many numbers there were.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// The sum of their squared distances from the mean.
    pub squares: f64,
}

impl RunningMoments {
    /// Takes in a batch (Welford, 1962; for batches, Chan, Golub and LeVeque, 1979, eq. 2.1): with
    /// `δ = mean_b − mean`, `mean ← mean + δ n_b / n` and `squares ← squares + squares_b + δ² n_a n_b / n`,
    /// of which `n = n_a + n_b`.
    ///
    /// The order within the batch changes no bit: numbers are sorted before they are added. Those that aren't
    /// finite are left out.
    pub fn observe(&mut self, numbers: &[f64]) {
        let mut sorted: Vec<f64> = numbers.iter().copied().filter(|it| it.is_finite()).collect();
        if sorted.is_empty() {
            return;
        }
        sorted.sort_unstable_by(f64::total_cmp);
        let (before, new) = (self.count as f64, sorted.len() as f64);
        let mean = sorted.iter().sum::<f64>() / new;
        let squares: f64 = sorted.iter().map(|it| (it - mean).powi(2)).sum();
        let (delta, total) = (mean - self.mean, before + new);
        self.count += sorted.len() as u64;
        self.mean += delta * new / total;
        self.squares += squares + delta * delta * before * new / total;
    }

    /// The standard deviation, of a sample: `√(squares / (n − 1))`; 0 for fewer than two numbers.
    pub fn std(&self) -> f64 {
        if self.count < 2 { 0.0 } else { (self.squares / (self.count - 1) as f64).sqrt() }
    }

    /// The standard deviation, or 1 where numbers differ by rounding alone.
    fn divisor(&self) -> f64 {
        let std = self.std();
        if std > 1e-6 * self.mean.abs().max(1e-6) { std } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-12, "{got} and {want}");
    }

    fn rules(normalization: Normalization) -> ScoreRules {
        ScoreRules::new(ScoreConfig { normalization, ..ScoreConfig::default() })
    }

    #[test]
    fn by_default_scores_stay_as_they_are() {
        let mut rules = rules(Normalization::None);
        rules.observe(&[1.0, 5.0]);
        assert_eq!(rules.apply(-3.25, 900), -3.25);
    }

    #[test]
    fn statistics_of_batches_are_those_of_all_numbers() {
        let mut moments = RunningMoments::default();
        moments.observe(&[2.0, 4.0, 4.0, 4.0]);
        moments.observe(&[]);
        moments.observe(&[5.0, 5.0, 7.0, f64::NAN, 9.0]);
        // Mean 40 / 8; squares 9 + 3 · 1 + 0 + 0 + 4 + 16; std √(32 / 7).
        close(moments.mean, 5.0);
        close(moments.squares, 32.0);
        close(moments.std(), 2.138_089_935_299_395);
        assert_eq!(moments.count, 8);
    }

    #[test]
    fn far_from_zero_nothing_cancels_out() {
        let mut moments = RunningMoments::default();
        for number in [1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0] {
            moments.observe(&[number]);
        }
        // Distances −6, −3, 3 and 6 from the mean: √(90 / 3).
        assert!((moments.std() - 30.0_f64.sqrt()).abs() < 1e-6, "{}", moments.std());
    }

    #[test]
    fn the_order_of_rows_changes_no_bit() {
        let numbers: Vec<f64> = (0..101).map(|i| (f64::from(i * 37 % 101) - 40.0) * 0.1).collect();
        let mut other = numbers.clone();
        other.reverse();
        other.rotate_left(17);
        let [mut one, mut two] = [RunningMoments::default(); 2];
        one.observe(&numbers);
        two.observe(&other);
        assert_eq!(one, two);
    }

    #[test]
    fn each_normalization_by_hand() {
        // Mean 3; std √((4 + 4) / 1) … of 1 and 5: √8.
        let root = 8.0_f64.sqrt();
        for (normalization, want) in [
            (Normalization::None, 5.0),
            (Normalization::Center, 2.0),
            (Normalization::Scale, 5.0 / root),
            (Normalization::Standardize, 2.0 / root),
        ] {
            let mut rules = rules(normalization);
            rules.observe(&[1.0, 5.0]);
            close(rules.apply(5.0, 10), want);
            // What two scores are apart is multiplied by the factor.
            close(rules.apply(5.0, 10) - rules.apply(4.0, 10), rules.factor());
        }
    }

    #[test]
    fn equal_scores_are_divided_by_one() {
        let mut rules = rules(Normalization::Standardize);
        close(rules.apply(2.0, 1), 2.0);
        rules.observe(&[0.1 + 0.2, 0.3, 0.3]);
        close(rules.apply(1.3, 1), 1.0);
    }

    #[test]
    fn scores_are_clipped_after_normalization_and_before_penalties() {
        let mut rules = ScoreRules::new(ScoreConfig {
            normalization: Normalization::Center,
            clip: Some(Range { low: -1.0, high: 0.5 }),
            length_penalty: 0.01,
            ..ScoreConfig::default()
        });
        rules.observe(&[1.0, 5.0]);
        // 5 − 3 = 2, clipped to 0.5, less 20 tokens; 1 − 3 = −2, to −1; 3.25 − 3 stays.
        close(rules.apply(5.0, 20), 0.3);
        close(rules.apply(1.0, 20), -1.2);
        close(rules.apply(3.25, 0), 0.25);
    }

    #[test]
    fn the_overlong_penalty_grows_over_the_buffer() {
        let overlong = Overlong { max_tokens: 20, buffer_tokens: 4, factor: 0.5 };
        // From 16 tokens on, an eighth a token.
        for (n_tokens, want) in
            [(0, 0.0), (16, 0.0), (17, -0.125), (19, -0.375), (20, -0.5), (25, -0.5)]
        {
            close(overlong.penalty(n_tokens), want);
        }
        let config = ScoreConfig { overlong: Some(overlong), ..ScoreConfig::default() };
        close(ScoreRules::new(config).apply(1.0, 18), 0.75);
    }

    #[test]
    fn restored_rules_go_on_as_if_nothing_had_happened() {
        let batches = [[0.5, -1.0, 2.0], [0.1, 0.2, 0.3], [9.0, -9.0, 1.0]];
        let mut whole = rules(Normalization::Standardize);
        batches.iter().for_each(|it| whole.observe(it));
        let mut first = rules(Normalization::Standardize);
        first.observe(&batches[0]);
        let saved = serde_json::to_string(&first.moments()).expect("is plain JSON");
        let mut second = rules(Normalization::Standardize);
        second.restore(serde_json::from_str(&saved).expect("reads"));
        batches[1..].iter().for_each(|it| second.observe(it));
        assert_eq!(second, whole);
    }

    #[test]
    fn settings_that_mean_nothing_are_refused_by_name() {
        let config = ScoreConfig {
            clip: Some(Range { low: 1.0, high: 1.0 }),
            length_penalty: f64::NAN,
            overlong: Some(Overlong { max_tokens: 4, buffer_tokens: 5, factor: -1.0 }),
            ..ScoreConfig::default()
        };
        assert_eq!(
            config.problems("rl.scores"),
            [
                "`rl.scores.clip.low` must be below `clip.high`",
                "`rl.scores.length_penalty` must be at least 0",
                "`rl.scores.overlong.buffer_tokens` must be above 0 and at most `max_tokens`",
                "`rl.scores.overlong.factor` must be at least 0",
            ]
        );
        assert!(ScoreConfig::default().problems("rl.scores").is_empty());
    }
}
