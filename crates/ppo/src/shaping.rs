//! Scores of completions become rewards of tokens.

use crate::config::{KlPlacement, PpoConfig, ScorePlacement};
use crate::kl::KlEstimator;
use crate::rollout::Row;

/// The rewards of one completion's tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Shaped {
    /// The score after the penalty for a missing end.
    pub score: f64,
    /// The KL estimate at each token, in nats.
    pub kl: Vec<f64>,
    /// `−β kl`, unless that is a part of the loss, and the score in its slot, or those of turns in theirs.
    /// With [`ScorePlacement::PostEos`] one longer than the completion, where that ended short of the limit.
    pub rewards: Vec<f64>,
}

/// What shaping needs to know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shaping {
    /// Reward that a nat costs.
    pub kl_coefficient: f64,
    /// Whether the penalty is taken off rewards or is a part of the loss.
    pub kl_placement: KlPlacement,
    /// How nats are estimated.
    pub kl_estimator: KlEstimator,
    /// Taken off the score of a completion without an end.
    pub missing_eos_penalty: f64,
    /// Which token gets the score.
    pub score_at: ScorePlacement,
    /// The length limit of completions, or of turns.
    pub max_new_tokens: usize,
}

impl Shaping {
    /// The config's choices at this KL coefficient.
    pub fn new(config: &PpoConfig, kl_coefficient: f64) -> Self {
        Self {
            kl_coefficient,
            kl_placement: config.kl_placement,
            kl_estimator: config.kl_estimator,
            missing_eos_penalty: f64::from(config.missing_eos_penalty),
            score_at: config.score_at,
            max_new_tokens: config.max_new_tokens,
        }
    }
}

/// `r_t = −β kl_t`, plus the score at the last token (or in the slot after it). Where
/// [turns](crate::episode) are scored, each but the last is paid at its own last token, and the last one
/// gets the rest of the score.
pub fn shape(row: &Row, shaping: &Shaping) -> Shaped {
    let penalty = if row.finished { 0.0 } else { shaping.missing_eos_penalty };
    let score = f64::from(row.score) - penalty;
    let estimate = |(logprob, reference): (&f32, &f32)| {
        shaping.kl_estimator.estimate(f64::from(*logprob), f64::from(*reference))
    };
    let kl: Vec<f64> = row.logprobs.iter().zip(&row.reference_logprobs).map(estimate).collect();
    let price = match shaping.kl_placement {
        KlPlacement::Reward => shaping.kl_coefficient,
        KlPlacement::Loss => 0.0,
    };
    let mut rewards: Vec<f64> = kl.iter().map(|nats| -price * nats).collect();
    let turns = row.tokens.turns();
    rewards.resize(n_value_slots(&turns, shaping), 0.0);
    let (mut end, mut rest) = (0, score);
    let earlier = &turns[..turns.len().saturating_sub(1)];
    for (length, earned) in earlier.iter().zip(&row.turn_scores) {
        end += length;
        rewards[end - 1] += f64::from(*earned);
        rest -= f64::from(*earned);
    }
    *rewards.last_mut().expect("a completion has tokens") += rest;
    Shaped { score, kl, rewards }
}

/// How many values a completion with turns of these lengths needs.
pub fn n_value_slots(turns: &[usize], shaping: &Shaping) -> usize {
    let n_tokens = turns.iter().sum();
    let was_cut = turns.last().is_none_or(|last| *last >= shaping.max_new_tokens);
    match shaping.score_at {
        ScorePlacement::PostEos if !was_cut => n_tokens + 1,
        ScorePlacement::PostEos | ScorePlacement::LastToken => n_tokens,
    }
}
