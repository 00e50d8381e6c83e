//! What else a reward model could be used for: to pick the best of several replies.

use std::iter::successors;

use anyhow::Result;
use rein_data::example::Completion;
use rein_data::helpdesk::gold;
use rein_model::backend::LmAutodiffBackend;
use rein_model::{CausalLm, load_causal_lm};
use rein_reward::Reward;
use rein_reward::best_of::{best_of_kl, best_places, expected_best};
use serde::{Deserialize, Serialize};

use super::judges::{Judges, Scores};
use super::{ModelReport, Session, mean};
use crate::config::REWARD;

/// What the best of so many replies comes to on average, by the reward model that picks it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BestOf {
    /// How many replies.
    pub(crate) n: usize,
    /// Nats from the model that gave them, at most.
    pub(crate) kl: f64,
    /// Mean score of the reward model.
    pub(crate) reward: f64,
    /// Mean gold reward, where the truth is known.
    pub(crate) gold: Option<f64>,
}

impl<B: LmAutodiffBackend> Session<B> {
    /// What the fine-tuned model's replies come to where the reward model picks the best of several, at which distance, at
    /// most; and the same for fewer of them.
    pub(super) fn measure_best(
        &self,
        judges: &Judges<B::InnerBackend>,
    ) -> Result<Option<(ModelReport, Vec<BestOf>)>> {
        let n_replies = self.setup.config.evaluate.best_of;
        let (Some(folder), Some(reward)) = (self.sft_folder()?, &judges.reward) else {
            return Ok(None);
        };
        if n_replies == 1 {
            return Ok(None);
        }
        let model: CausalLm<B::InnerBackend> = load_causal_lm(&folder, &self.device)?;
        let completions = self.complete(&model, n_replies)?;
        let scores = reward.score(&completions)?;
        let frontier = frontier(&scores, self.gold(&completions).as_deref(), n_replies);
        let firsts = (0..).step_by(n_replies);
        let best: Vec<usize> = scores
            .chunks(n_replies)
            .zip(firsts)
            .flat_map(|(of_a_prompt, first)| {
                best_places(of_a_prompt, 1).into_iter().map(move |place| first + place)
            })
            .collect();
        let completions: Vec<Completion> = best.iter().map(|it| completions[*it].clone()).collect();
        let scores = Scores::new(REWARD, best.iter().map(|it| scores[*it]));
        let name = format!("best of {n_replies}");
        let (report, _) = self.describe(&name, &completions, Some(scores), judges)?;
        Ok(Some((ModelReport { kl: best_of_kl(n_replies), ..report }, frontier)))
    }

    /// The truth of each completion, where it is known.
    fn gold(&self, completions: &[Completion]) -> Option<Vec<f64>> {
        let total =
            |it: &Completion| f64::from(gold::judge(&it.prompt, &it.text, it.finished).total());
        self.setup.world.has_gold().then(|| completions.iter().map(total).collect())
    }
}

/// The best of 1, 2, 4, … and of all `n_replies` to each prompt, in the mean over all ways to draw so many of them.
fn frontier(rewards: &[f32], gold: Option<&[f64]>, n_replies: usize) -> Vec<BestOf> {
    let own: Vec<f64> = rewards.iter().map(|it| f64::from(*it)).collect();
    let expected = |values: &[f64], n: usize| {
        let prompts = rewards.chunks(n_replies).zip(values.chunks(n_replies));
        mean(&prompts.map(|(scores, values)| expected_best(scores, values, n)).collect::<Vec<_>>())
    };
    let of = |n| BestOf {
        n,
        kl: best_of_kl(n),
        reward: expected(&own, n),
        gold: gold.map(|it| expected(it, n)),
    };
    let powers = successors(Some(1), |n| Some(2 * n)).take_while(|n| *n < n_replies);
    powers.chain([n_replies]).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frontier_goes_from_the_mean_to_the_best() {
        // Two prompts with three replies each, of which the truth likes other ones.
        let rewards = [0.0, 3.0, 6.0, 2.0, 2.0, 5.0];
        let gold = [9.0, 3.0, 0.0, 1.0, 1.0, 4.0];
        let told = frontier(&rewards, Some(&gold), 3);
        assert_eq!(told.iter().map(|it| it.n).collect::<Vec<_>>(), [1, 2, 3]);
        let close = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-9, "{found}");
        let means: [f64; 3] = [3.0, (5.0 + 4.0) / 2.0, 5.5];
        for (best, wanted) in told.iter().zip(means) {
            close(best.reward, wanted);
            close(best.kl, (best.n as f64).ln() - (best.n as f64 - 1.0) / best.n as f64);
        }
        let golds = [3.0, (1.0 + 3.0) / 2.0, 2.0];
        told.iter().zip(golds).for_each(|(it, wanted)| close(it.gold.expect("is known"), wanted));
        assert_eq!(
            frontier(&rewards, None, 6).iter().map(|it| it.n).collect::<Vec<_>>(),
            [1, 2, 4, 6]
        );
    }
}
