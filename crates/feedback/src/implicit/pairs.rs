//! From acts to rows for a reward model.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use rein_data::example::Content;
use serde::{Deserialize, Serialize};

use super::dwell::Dwell;
use super::events::Impression;
use super::propensity::Propensities;
use super::screening::{Suspicion, screen};
use super::share::bounded;
use super::signals::{Answer, Vote, for_each_vote};
use super::texts::{Texts, yes};
use crate::error::FeedbackError;

/// What becomes of a log.
#[derive(Clone, Debug, PartialEq)]
pub struct HarvestConfig {
    /// Weight of a plain vote beside a judgement that somebody was asked for, which has 1.
    pub weight: f64,
    /// How clicks are read.
    pub clicks: ClickPairs,
    /// Share of the total weight that one user may have; of fewer than `2/user_share` users, each may
    /// have twice an equal share ([`largest_share`](super::largest_share)).
    pub user_share: f64,
}

impl Default for HarvestConfig {
    /// A fifth of a judgement a vote, clicks over what was skipped above, a hundredth for a user.
    fn default() -> Self {
        Self { weight: 0.2, clicks: ClickPairs::SkipAbove, user_share: 0.01 }
    }
}

/// How clicks become pairs.
#[derive(Clone, Debug, PartialEq)]
pub enum ClickPairs {
    /// What was clicked over what stood above it and wasn't. Right as far as it goes, but such pairs
    /// only ever oppose the order that was shown, and training on them alone turns it round.
    SkipAbove,
    /// What was clicked over everything else in the list, `1/max(p, clip)` times: on average, a response
    /// wins as often as it would if everybody looked at everything.
    InversePropensity {
        /// How often each place is looked at.
        propensities: Propensities,
        /// Propensities below this count as this much; [`DEFAULT_CLIP`](super::DEFAULT_CLIP) is 0.1.
        clip: f64,
    },
}

/// A row for a reward model, with TRL's column names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImplicitPair {
    /// What both answer.
    pub prompt: Content,
    /// What was preferred.
    pub chosen: Content,
    /// The other.
    pub rejected: Content,
    /// Whether what was preferred ended by itself; false if it was cut.
    #[serde(default = "yes", skip_serializing_if = "bool::clone")]
    pub chosen_finished: bool,
    /// Whether the other did.
    #[serde(default = "yes", skip_serializing_if = "bool::clone")]
    pub rejected_finished: bool,
    /// What it counts for, summed over all who did so.
    pub weight: f64,
    /// What they did.
    pub reason: Reason,
    /// Always [`Source::Implicit`].
    pub source: Source,
}

/// What shows the preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Clicked, and the other, above, was not.
    SkipAbove,
    /// Clicked, weighted by how often its place is looked at.
    InversePropensity,
    /// Both were clicked, and only one was stayed with.
    Dwell,
    /// Copied, and the other, in view, was not.
    Copy,
    /// Kept after the other was asked to be replaced.
    Regenerate,
    /// The user's version of the other.
    Edit,
    /// Thumb up, and down for the other.
    Thumbs,
}

/// Tells these rows from judgements that somebody was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Read from what people did.
    Implicit,
}

/// What was found in a log.
#[derive(Clone, Debug, PartialEq)]
pub struct Harvest {
    /// The pairs, in the order of their texts.
    pub pairs: Vec<ImplicitPair>,
    /// Users who were passed over, and why.
    pub suspected: BTreeMap<String, Suspicion>,
    /// Users whose weight was lowered.
    pub n_bounded: usize,
    /// Votes lost because a text isn't known.
    pub n_without_text: usize,
}

/// The pairs of a log. The order of the impressions doesn't matter.
///
/// | reason | chosen over rejected | votes |
/// |---|---|---|
/// | `skip_above` | clicked over what stood above it and wasn't | 1 |
/// | `inverse_propensity` | clicked over all others of the list, instead of `skip_above` | `1/max(p, clip)` |
/// | `dwell` | of two that were clicked, the one that satisfied | 1 |
/// | `copy` | copied over what was in view for a second and wasn't | 1 |
/// | `regenerate` | the answer kept at last over those asked to be replaced, in one session | 0.5 |
/// | `edit` | the user's text over the model's | 1 |
/// | `thumbs` | up over down, by one user for one prompt | 1 |
///
/// A click that is known not to have satisfied ([`satisfied_after_ms`](super::satisfied_after_ms),
/// compared with the user's own habit) doesn't count as one; for how long something was open says
/// nothing by itself. Weights are votes times [`HarvestConfig::weight`]; suspected users have none, and
/// who would have more than their share of the total is scaled down to it.
///
/// # Errors
/// A config out of its range.
pub fn harvest(
    impressions: &[Impression],
    texts: &Texts,
    config: &HarvestConfig,
) -> Result<Harvest, FeedbackError> {
    check(config)?;
    let suspected = screen(impressions);
    let mut trusted: Vec<&Impression> =
        impressions.iter().filter(|it| !suspected.contains_key(&it.user_hash)).collect();
    trusted.sort_by_key(|it| (&it.user_hash, it.ts_ms, &it.request_id));
    let dwell = Dwell::of(&trusted, texts);

    let mut strengths: BTreeMap<&str, f64> = BTreeMap::new();
    let mut n_without_text = 0;
    for_each_vote(&trusted, &dwell, &config.clicks, |vote| match Pair::of(&vote, texts) {
        Some(pair) if pair.chosen == pair.rejected => {}
        Some(_) => *strengths.entry(vote.user).or_default() += vote.strength,
        None => n_without_text += 1,
    });
    let (factors, n_bounded) = factors(strengths, config.user_share);
    let mut weights: BTreeMap<Pair<'_>, f64> = BTreeMap::new();
    for_each_vote(&trusted, &dwell, &config.clicks, |vote| match Pair::of(&vote, texts) {
        Some(pair) if pair.chosen != pair.rejected => {
            let weight = config.weight * vote.strength * factors[vote.user];
            *weights.entry(pair).or_default() += weight;
        }
        _ => {}
    });
    let pairs = weights.into_iter().map(|(pair, weight)| pair.row(weight)).collect();
    Ok(Harvest { pairs, suspected, n_bounded, n_without_text })
}

fn check(config: &HarvestConfig) -> Result<(), FeedbackError> {
    let is_part = |it: f64| it > 0.0 && it <= 1.0;
    let refuse = |what: String| Err(FeedbackError::Invalid(what));
    if !(config.weight.is_finite() && config.weight > 0.0) {
        return refuse(format!("the weight of a vote is above 0, not {}", config.weight));
    }
    if !is_part(config.user_share) {
        return refuse(format!("a user's share is above 0 and up to 1, not {}", config.user_share));
    }
    match config.clicks {
        ClickPairs::InversePropensity { clip, .. } if !is_part(clip) => {
            refuse(format!("propensities are clipped above 0 and up to 1, not at {clip}"))
        }
        _ => Ok(()),
    }
}

/// A vote in texts.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Pair<'a> {
    prompt: &'a Content,
    chosen: &'a str,
    rejected: &'a str,
    /// Whether each of both ended by itself.
    finished: [bool; 2],
    reason: Reason,
}

impl PartialOrd for Pair<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pair<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl<'a> Pair<'a> {
    /// `None` if a text isn't known.
    fn of(vote: &Vote<'a>, texts: &'a Texts) -> Option<Self> {
        let (chosen, finished) = match vote.chosen {
            Answer::Response(id) => (texts.response(id)?, texts.finished(id)),
            Answer::Text(text) => (text, true),
        };
        let (prompt, rejected) = (texts.prompt(vote.prompt)?, texts.response(vote.rejected)?);
        let finished = [finished, texts.finished(vote.rejected)];
        Some(Self { prompt, chosen, rejected, finished, reason: vote.reason })
    }

    /// What pairs are ordered by; conversations stand behind texts.
    fn order(&self) -> (bool, Cow<'a, str>, [&'a str; 2], [bool; 2], Reason) {
        let prompt = match self.prompt {
            Content::Text(text) => Cow::Borrowed(text.as_str()),
            messages => Cow::Owned(serde_json::to_string(messages).expect("plain JSON")),
        };
        let texts = [self.chosen, self.rejected];
        (self.prompt.is_conversational(), prompt, texts, self.finished, self.reason)
    }

    fn row(self, weight: f64) -> ImplicitPair {
        ImplicitPair {
            prompt: self.prompt.clone(),
            chosen: self.prompt.reply(self.chosen),
            rejected: self.prompt.reply(self.rejected),
            chosen_finished: self.finished[0],
            rejected_finished: self.finished[1],
            weight,
            reason: self.reason,
            source: Source::Implicit,
        }
    }
}

/// What each user's votes are scaled by, and for how many that is less than 1.
fn factors(strengths: BTreeMap<&str, f64>, share: f64) -> (BTreeMap<&str, f64>, usize) {
    let all: Vec<f64> = strengths.values().copied().collect();
    let bounded = bounded(&all, share);
    let n_bounded = bounded.iter().zip(&all).filter(|(bounded, all)| bounded < all).count();
    let factors = strengths.into_iter().zip(bounded);
    (factors.map(|((user, all), bounded)| (user, bounded / all)).collect(), n_bounded)
}
