//! What a round after the first will do.

use super::{Sizes, StagePlan};
use crate::config::{LoopConfig, Stage};
use crate::pipeline::later_config;
use crate::setup::Setup;

/// The stages of the second round; further ones learn from a little more.
pub(super) fn second(setup: &Setup, rounds: &LoopConfig) -> Vec<StagePlan> {
    let mut of_round = setup.clone();
    later_config(&mut of_round.config, rounds, 1, 0);
    let stages = of_round.config.stages.clone();
    let plan = |stage: &Stage| {
        // Many are sampled, some are asked, and all answers are learned from.
        of_round.config.feedback.pairs = match stage {
            Stage::Feedback => rounds.pairs * rounds.candidates,
            _ => setup.config.feedback.pairs + rounds.pairs,
        };
        Sizes::new(&of_round).stage(*stage)
    };
    stages.iter().map(plan).collect()
}
