use rein_data::example::Completion;
use rein_data::helpdesk::gold;

use crate::{Reward, RewardError};

/// The truth of the help-desk world: [what it says](gold::judge) of completions there, in total.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gold;

impl Reward for Gold {
    fn name(&self) -> &'static str {
        "gold"
    }

    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
        let judge = |it: &Completion| gold::judge(&it.prompt, &it.text, it.finished).total();
        Ok(completions.iter().map(judge).collect())
    }
}
