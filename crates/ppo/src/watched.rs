//! Rewards that evaluations measure and nothing learns from.

use rein_data::example::Completion;
use rein_data::log::Metrics;
use rein_reward::overoptimization::Decline;
use rein_reward::{Reward, RewardError};

/// A reward that is watched: a truth that is known, say.
pub(crate) struct Watched {
    reward: Box<dyn Reward>,
    decline: Decline,
}

impl Watched {
    pub(crate) fn new(reward: Box<dyn Reward>) -> Self {
        Self { reward, decline: Decline::default() }
    }

    pub(crate) fn name(&self) -> &str {
        self.reward.name()
    }

    /// Measures completions of an evaluation, and gives what is to be said where the reward has been falling for
    /// too long.
    pub(crate) fn measure(
        &mut self,
        completions: &[Completion],
        metrics: &mut Metrics,
    ) -> Result<Option<String>, RewardError> {
        let scores = self.reward.score(completions)?;
        let mean = scores.iter().map(|it| f64::from(*it)).sum::<f64>() / scores.len() as f64;
        let name = self.reward.name();
        metrics.push(format!("eval_rewards/{name}/mean"), mean);
        let n_falls = self.decline.observe(mean);
        Ok((n_falls >= Decline::LIMIT).then(|| {
            format!(
                "rl: `{name}` has fallen {n_falls} evaluations in a row, to {mean:.3}, while the reward is optimised; \
                 stop here, raise the price of KL or use a pessimistic reward"
            )
        }))
    }
}
