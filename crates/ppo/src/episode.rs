//! Conversations in which the policy speaks in several turns, and what that earns.
//!
//! A turn is a run of learned tokens; between two turns, others speak: a user, a tool, the template's
//! beginning of a reply. What they say is read and never learned. It takes no time either: the token after
//! the last one of a turn is the first one of the next, whose value is what the value model expects having
//! read all that was said between. So discounts count the policy's own tokens only.

use rein_data::encoding::TokenRow;

use crate::PpoError;

/// A conversation that is scored, before policy, reference and value model
/// [look at it](crate::rollout::appraise).
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// The conversation; what the policy said is learned.
    pub tokens: TokenRow,
    /// Whether the last turn ended by itself.
    pub finished: bool,
    /// The reward of the whole.
    pub score: f32,
    /// What each turn earned of it; nothing if only the end is scored.
    pub turn_scores: Vec<f32>,
    /// What each part of a mixed reward gave, before weights.
    pub part_scores: Vec<f32>,
}

impl Episode {
    /// A conversation that is scored at its end.
    ///
    /// # Errors
    /// One in which the policy says nothing.
    pub fn scored_at_end(tokens: TokenRow, finished: bool, score: f32) -> Result<Self, PpoError> {
        if tokens.n_learned() == 0 {
            return Err(PpoError::Invalid("the policy says nothing in a conversation".into()));
        }
        let (turn_scores, part_scores) = (Vec::new(), Vec::new());
        Ok(Self { tokens, finished, score, turn_scores, part_scores })
    }

    /// A conversation of which each turn is scored; the score of the whole is their sum.
    ///
    /// # Errors
    /// One in which the policy says nothing, and another number of scores than of turns.
    pub fn scored_by_turn(
        tokens: TokenRow,
        finished: bool,
        turn_scores: Vec<f32>,
    ) -> Result<Self, PpoError> {
        let (n_turns, n_scores) = (tokens.turns().len(), turn_scores.len());
        if n_turns != n_scores {
            let reason = format!("a conversation has {n_turns} turns and {n_scores} scores");
            return Err(PpoError::Invalid(reason));
        }
        let score = turn_scores.iter().map(|it| f64::from(*it)).sum::<f64>() as f32;
        Ok(Self { turn_scores, ..Self::scored_at_end(tokens, finished, score)? })
    }
}
