//! Rewards that evaluations measure and nothing learns from.

use rein_data::example::Completion;
use rein_data::log::Metrics;
use rein_reward::overoptimization::{Look, Monitor, Warning};
use rein_reward::{Reward, RewardError};
use serde::{Deserialize, Serialize};

/// What follows from a reward that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MonitorConfig {
    /// A fall from its best by this share of it is worth a warning, if the optimised reward rose meanwhile.
    pub warn_fall: f64,
    /// Whether evaluations are good by what is watched, instead of by what is optimised: `checkpoints.use_best` and
    /// `checkpoints.patience` then stop over-optimisation.
    pub decides: bool,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        Self { warn_fall: 0.05, decides: false }
    }
}

impl MonitorConfig {
    /// What can't be watched for.
    pub(crate) fn problems(self) -> Option<String> {
        let is_share = self.warn_fall > 0.0 && self.warn_fall.is_finite();
        (!is_share).then(|| format!("`rl.monitor.warn_fall` is above 0, not {}", self.warn_fall))
    }
}

/// A reward that is watched: a truth that is known, say.
pub(crate) struct Watched {
    reward: Box<dyn Reward>,
    pub(crate) monitor: Monitor,
}

impl Watched {
    pub(crate) fn new(reward: Box<dyn Reward>) -> Self {
        Self { reward, monitor: Monitor::default() }
    }

    pub(crate) fn name(&self) -> &str {
        self.reward.name()
    }

    /// Measures completions of an evaluation; gives their mean, and what is to be said where it falls.
    pub(crate) fn measure(
        &mut self,
        completions: &[Completion],
        config: MonitorConfig,
        metrics: &mut Metrics,
    ) -> Result<(f64, Option<String>), RewardError> {
        let scores = self.reward.score(completions)?;
        let truth = scores.iter().map(|it| f64::from(*it)).sum::<f64>() / scores.len() as f64;
        let name = self.reward.name();
        metrics.push(format!("eval_rewards/{name}/mean"), truth);
        let of = |name: &str| metrics.get(name).unwrap_or(f64::NAN);
        let look = Look { kl: of("eval_objective/kl"), proxy: of("eval_objective/scores"), truth };
        let warning = self.monitor.observe(look, config.warn_fall);
        Ok((truth, warning.map(|it| told(name, &it))))
    }
}

fn told(name: &str, warning: &Warning) -> String {
    let Warning { best, now, n_falls, peak } = warning;
    let what = match warning.is_over_optimised() {
        true => format!(
            "over-optimisation: the optimised reward has risen by {:.2} since, to {:.2}",
            now.proxy - best.proxy,
            now.proxy
        ),
        false => format!("it has fallen {n_falls} evaluations in a row"),
    };
    let peak =
        peak.map_or_else(String::new, |it| format!(" (a curve through all has it at {it:.2})"));
    format!(
        "rl: `{name}` is {:.3}, {:.1} % below its best, {:.3} at √KL {:.2}{peak}: {what}; stop here \
         (`rl.monitor.decides`), raise the price of KL or use a pessimistic reward",
        now.truth,
        100.0 * warning.fall(),
        best.truth,
        best.kl.max(0.0).sqrt()
    )
}
