//! The guards of a run.

use rein_data::log::Metrics;
use serde::{Deserialize, Serialize};

use super::{
    EarlyStop, EarlyStopConfig, NonFinite, NonFiniteConfig, NonFiniteState, SpikeConfig,
    SpikeState, Spikes, Verdict,
};
use crate::PpoError;
use crate::diagnostics::Diagnostics;
use crate::update::Norms;

/// What a run is guarded from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardsConfig {
    /// Numbers that aren't finite.
    pub non_finite: NonFiniteConfig,
    /// Gradients that are far longer than gradients are.
    pub spikes: SpikeConfig,
    /// Steps that lead too far, if it is said what that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stop: Option<EarlyStopConfig>,
}

impl GuardsConfig {
    /// What is wrong with these settings, each with its key below `section`.
    pub fn problems(&self, section: &str) -> Vec<String> {
        let mut problems = self.non_finite.problems(&format!("{section}.non_finite"));
        problems.extend(self.spikes.problems(&format!("{section}.spikes")));
        let early_stop = self.early_stop.iter();
        problems.extend(early_stop.flat_map(|it| it.problems(&format!("{section}.early_stop"))));
        problems
    }
}

/// All guards of a run. Their state outlives going back; see [`NonFinite`].
#[derive(Debug)]
pub(crate) struct Guards {
    max_nats_per_token: f64,
    updates: NonFinite,
    /// Steps with rewards that aren't numbers: going back helps nobody who gives such.
    rewards: NonFinite,
    policy: Spikes,
    value: Spikes,
    early_stop: Option<EarlyStop>,
    /// Whether the run is to be taken back to its last checkpoint.
    pub(crate) goes_back: bool,
    /// What was left out and why, for the log.
    pub(crate) notes: Vec<String>,
}

/// What has to be saved of guards.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GuardsState {
    updates: NonFiniteState,
    rewards: NonFiniteState,
    policy: SpikeState,
    value: SpikeState,
    n_early_stops: u64,
}

impl Guards {
    pub(crate) fn new(config: &GuardsConfig) -> Self {
        let GuardsConfig { non_finite, spikes, early_stop } = *config;
        Self {
            max_nats_per_token: non_finite.max_nats_per_token,
            updates: NonFinite::new(non_finite),
            rewards: NonFinite::new(NonFiniteConfig { max_rollbacks: 0, ..non_finite }),
            policy: Spikes::new(spikes),
            value: Spikes::new(spikes),
            early_stop: early_stop.map(EarlyStop::new),
            goes_back: false,
            notes: Vec::new(),
        }
    }

    pub(crate) fn state(&self) -> GuardsState {
        GuardsState {
            updates: self.updates.state().clone(),
            rewards: self.rewards.state().clone(),
            policy: self.policy.state().clone(),
            value: self.value.state().clone(),
            n_early_stops: self.early_stop.map_or(0, |it| it.n_stopped()),
        }
    }

    /// Continues from a saved state where a process begins; where a run goes back, goes on.
    pub(crate) fn restore(&mut self, state: GuardsState) {
        if std::mem::take(&mut self.goes_back) {
            return;
        }
        self.updates.restore(state.updates);
        self.rewards.restore(state.rewards);
        self.policy.restore(state.policy);
        self.value.restore(state.value);
        self.early_stop.iter_mut().for_each(|it| it.restore(state.n_early_stops));
    }

    /// What the learning rate is multiplied by.
    pub(crate) fn rate_scale(&self) -> f64 {
        self.updates.rate_scale()
    }

    /// Hears of a step's rewards; whether it may go on with them, without them, or not at all.
    pub(crate) fn judge_rewards(&mut self, scores: &[f64]) -> Verdict {
        self.rewards.judge(scores)
    }

    /// The gates of an update's two networks.
    pub(crate) fn gates(&mut self) -> (PolicyGate<'_>, ValueGate<'_>) {
        let limit = self.max_nats_per_token;
        let early_stop = self.early_stop.as_mut();
        let spikes = &mut self.policy;
        let of_policy =
            PolicyGate { spikes, early_stop, limit, stops: false, moves: false, is_spike: false };
        (of_policy, ValueGate { spikes: &mut self.value, is_spike: false })
    }

    /// Hears of an update of a step, counted from 0, that was done, or left out by one of the gates.
    pub(crate) fn judge(&mut self, step: usize, norms: &Norms, seen: &Diagnostics) -> Verdict {
        let losses = [seen.policy_loss, seen.value_loss, seen.imitation_loss];
        let gradients = [norms.policy, norms.value.unwrap_or(0.0)];
        let verdict = if self.is_astray(seen) {
            self.updates.astray()
        } else {
            self.updates.judge(&[&losses[..], &gradients].concat())
        };
        if verdict != Verdict::Apply {
            self.notes.push(format!(
                "rl: step {}: an update is left out: losses {losses:?}, gradients {gradients:?}, {} nats a \
                 token from where the step began",
                step + 1,
                nats_per_token(seen)
            ));
        }
        self.goes_back |= verdict == Verdict::RollBack;
        verdict
    }

    /// Hears that a network's update was left out because its gradient was far longer than usual. Of a step's, which are
    /// often many, the first is told; metrics count all.
    pub(crate) fn note_spike(&mut self, step: usize, whose: &str, norm: f64) {
        let update = format!("rl: step {}: an update of the {whose} is left out", step + 1);
        if !self.notes.iter().any(|it| it.starts_with(&update)) {
            self.notes.push(format!("{update}: its gradient is {norm:.3} long"));
        }
    }

    /// Hears of the policy after a step's updates.
    pub(crate) fn judge_end(&mut self, seen: &Diagnostics) -> Verdict {
        let verdict = if self.is_astray(seen) { self.updates.astray() } else { Verdict::Apply };
        self.goes_back |= verdict == Verdict::RollBack;
        verdict
    }

    fn is_astray(&self, seen: &Diagnostics) -> bool {
        let distance = nats_per_token(seen);
        distance > self.max_nats_per_token || distance.is_nan()
    }

    /// Why a run ends that has gone back as often as it may.
    pub(crate) fn given_up(&self, step: usize) -> PpoError {
        let state = self.updates.state();
        PpoError::Diverged {
            step: step + 1,
            n_skipped: state.n_skipped,
            n_rollbacks: state.n_rollbacks,
        }
    }

    /// How often a guard has done something, to be told of every step.
    pub(crate) fn describe(&self, metrics: &mut Metrics) {
        let (updates, rewards) = (self.updates.state(), self.rewards.state());
        let n_spikes = self.policy.state().n_skipped + self.value.state().n_skipped;
        metrics.push("guards/skipped", (updates.n_skipped + rewards.n_skipped) as f64);
        metrics.push("guards/spikes", n_spikes as f64);
        metrics.push("guards/rollbacks", updates.n_rollbacks);
        if let Some(early_stop) = &self.early_stop {
            metrics.push("guards/early_stops", early_stop.n_stopped() as f64);
        }
    }
}

/// The distance of the policy from itself at the step's beginning.
pub(crate) fn nats_per_token(seen: &Diagnostics) -> f64 {
    if seen.n_tokens > 0.0 { seen.approx_kl / seen.n_tokens } else { 0.0 }
}

/// Lets an update of the policy be, or not.
#[derive(Debug)]
pub(crate) struct PolicyGate<'a> {
    spikes: &'a mut Spikes,
    early_stop: Option<&'a mut EarlyStop>,
    limit: f64,
    /// Whether the step's epochs end here.
    pub(crate) stops: bool,
    /// Whether the update was let be.
    pub(crate) moves: bool,
    /// Whether its gradient was too long.
    pub(crate) is_spike: bool,
}

impl PolicyGate<'_> {
    pub(crate) fn lets(&mut self, seen: &Diagnostics, norm: f64) -> bool {
        let distance = nats_per_token(seen);
        let numbers = [seen.policy_loss, seen.value_loss, seen.imitation_loss, norm];
        if numbers.iter().any(|it| !it.is_finite()) || distance.is_nan() || distance > self.limit {
            return false;
        }
        self.stops = self.early_stop.as_mut().is_some_and(|it| it.stops(distance));
        self.is_spike = !self.stops && self.spikes.skips(norm);
        self.moves = !self.stops && !self.is_spike;
        self.moves
    }
}

/// Lets an update of the value model be, or not.
#[derive(Debug)]
pub(crate) struct ValueGate<'a> {
    spikes: &'a mut Spikes,
    /// Whether its gradient was too long.
    pub(crate) is_spike: bool,
}

impl ValueGate<'_> {
    pub(crate) fn lets(&mut self, seen: &Diagnostics, norm: f64) -> bool {
        let is_finite = seen.value_loss.is_finite() && norm.is_finite();
        self.is_spike = is_finite && self.spikes.skips(norm);
        is_finite && !self.is_spike
    }
}
