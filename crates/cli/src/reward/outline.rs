//! Whether judgements can be learned from, before anything is computed.

use anyhow::{Context, Result};
use rein_data::example::{Body, Example};
use rein_reward::encoding::{Judgements as Rows, Label, Scored};
use rein_reward::objective::Objective;
use rein_reward::train::RewardConfig;

use crate::world::Judgements;

/// Refuses labels of one kind only, and grades that are all equal or outside of their range.
pub(crate) fn check(config: &RewardConfig, judgements: &Judgements) -> Result<()> {
    let outline = match judgements {
        Judgements::Labels(parts) => {
            let labels = parts.train.iter().map(|it| it.label);
            Rows::Labels(labels.map(|is_good| Label { is_good, ..Label::default() }).collect())
        }
        Judgements::Examples(parts) => match outline(&parts.train) {
            Some(outline) => outline,
            None => return Ok(()),
        },
        _ => return Ok(()),
    };
    Objective::new(config, &outline).map(|_| ()).context("the judgements of `data`")
}

/// Labels or grades without their texts.
fn outline(examples: &[Example]) -> Option<Rows> {
    let label = |example: &Example| match example.body {
        Body::UnpairedPreference { label, .. } => {
            Some(Label { is_good: label, ..Label::default() })
        }
        _ => None,
    };
    let grade = |example: &Example| match example.body {
        Body::Scored { score, .. } => Some(Scored { score, ..Scored::default() }),
        _ => None,
    };
    match examples.first()?.body {
        Body::UnpairedPreference { .. } => {
            Some(Rows::Labels(examples.iter().filter_map(label).collect()))
        }
        Body::Scored { .. } => Some(Rows::Scores(examples.iter().filter_map(grade).collect())),
        _ => None,
    }
}
