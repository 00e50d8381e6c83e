//! What a step does with its completions: epochs over shuffled minibatches. By TRPO, the policy takes one
//! step on all of them instead, and the value model alone goes through the epochs.

use burn::module::AutodiffModule;
use rein_data::batches::permutation;
use rein_data::encoding::TokenRow;
use rein_data::log::Metrics;
use rein_data::seed::Seed;
use rein_model::backend::LmAutodiffBackend;
use rein_model::logprobs::row_logprobs;
use rein_model::{Ema, ModelError};

use crate::PpoError;
use crate::actor_critic::Learners;
use crate::config::PpoConfig;
use crate::demonstrations::Demonstrations;
use crate::describe::describe_update;
use crate::diagnostics::Diagnostics;
use crate::experience::Experience;
use crate::hyperparameters::Hyperparameters;
use crate::stability::{Guards, Verdict, nats_per_token};
use crate::trpo::{self, TrpoConfig};
use crate::update::{Minibatch, Norms};

/// Before the first update a ratio may be off by rounding, and by no more.
pub(crate) const RATIO_TOLERANCE: f64 = 1e-2;

/// Completions, of each worker, that say how far a step has led.
const PROBE_ROWS: usize = 8;

/// A step's updates.
pub(crate) struct Optimisation<'a, B: LmAutodiffBackend> {
    pub(crate) experience: &'a [Experience],
    pub(crate) config: &'a PpoConfig,
    pub(crate) now: &'a Hyperparameters,
    /// Of the minibatches.
    pub(crate) seed: Seed,
    pub(crate) device: &'a B::Device,
}

/// What a step's updates change.
pub(crate) struct Changing<'a, B: LmAutodiffBackend> {
    pub(crate) learners: &'a mut Learners<B>,
    pub(crate) guards: &'a mut Guards,
    pub(crate) ema: Option<&'a mut Ema<B::InnerBackend>>,
    pub(crate) demonstrations: Option<&'a mut Demonstrations>,
}

impl<B: LmAutodiffBackend> Changing<'_, B> {
    /// Averages in the policy as it is after an update.
    fn average(&mut self) {
        if let Some(ema) = &mut self.ema {
            ema.update(&self.learners.policy.module().valid().without_value_head());
        }
    }
}

/// What became of some minibatches.
#[derive(Default)]
struct Tally {
    norms: Norms,
    n_updates: u32,
    seen: Diagnostics,
    /// Whether the policy was updated.
    moves: bool,
}

impl Tally {
    fn add(&mut self, norms: &Norms, seen: Diagnostics) {
        self.norms.policy += norms.policy;
        if let Some(norm) = norms.value {
            *self.norms.value.get_or_insert(0.0) += norm;
        }
        self.n_updates += 1;
        self.seen.add(seen);
    }

    fn mean_norms(&self) -> Norms {
        let mean = |sum: f64| sum / f64::from(self.n_updates.max(1));
        Norms { policy: mean(self.norms.policy), value: self.norms.value.map(mean) }
    }
}

impl<B: LmAutodiffBackend> Optimisation<'_, B> {
    /// Updates the networks and tells of it. Returns how far the policy is then from where the step began, in
    /// nats a token, where that is asked for.
    pub(crate) fn run(
        &self,
        on: &mut Changing<'_, B>,
        metrics: &mut Metrics,
    ) -> Result<Option<f64>, PpoError> {
        let region = self.config.trpo.as_ref().filter(|_| !self.warms_up());
        let of_region = match region {
            Some(config) => self.step_within(config, on)?,
            None => None,
        };
        let tally = if on.guards.goes_back { Tally::default() } else { self.epochs(on)? };
        describe_update(&tally.seen, metrics);
        let norms = tally.mean_norms();
        let of_policy = of_region.map_or(norms.policy, |it| it.gradient_norm);
        metrics.push("policy/grad_norm", of_policy);
        if let Some(norm) = norms.value {
            metrics.push("critic/grad_norm", norm);
        }
        if let Some(told) = of_region {
            metrics.push("trpo/accepted", f64::from(u8::from(told.accepted)));
            metrics.push("trpo/kl", told.kl);
            metrics.push("trpo/surrogate_gain", told.surrogate_after - told.surrogate_before);
            metrics.push("trpo/cg_residual", told.cg_residual);
            metrics.push("trpo/cuts", told.n_cuts as f64);
        }
        if on.guards.goes_back || !tally.moves || !self.looks_back() {
            return Ok(None);
        }
        let seen = self.distance(on.learners);
        self.go_on(on.guards.judge_end(&seen), on.guards)?;
        Ok(Some(nats_per_token(&seen)))
    }

    /// Whether the policy is looked at after the updates: where its learning rate depends on it, and where it
    /// was updated but once, so that nobody has seen yet where that led.
    fn looks_back(&self) -> bool {
        self.config.kl_rate.is_some() || self.config.epochs * self.config.minibatches == 1
    }

    /// How far the policy has moved, by some of the step's completions.
    fn distance(&self, learners: &Learners<B>) -> Diagnostics {
        let Self { config, now, device, .. } = *self;
        let workers = learners.policy.workers();
        let rows = workers.share(self.experience);
        let rows = &rows[..rows.len().min(PROBE_ROWS)];
        let tokens: Vec<&TokenRow> = rows.iter().map(|row| &row.tokens).collect();
        let policy = learners.policy.module().valid();
        let all = row_logprobs(&policy, &tokens, now.temperature, PROBE_ROWS, device);
        let mut seen = Diagnostics::default();
        for (new, row) in all.iter().zip(rows) {
            seen.see_policy(new, &row.old_logprobs, &row.advantages, config.objective().clip);
        }
        seen.sum_over(workers);
        seen
    }

    fn warms_up(&self) -> bool {
        self.config.warms_value_up(self.now.step)
    }

    /// TRPO's step; `None` if its gradient isn't finite, and nothing has changed.
    fn step_within(
        &self,
        config: &TrpoConfig,
        on: &mut Changing<'_, B>,
    ) -> Result<Option<trpo::Update>, PpoError> {
        let rows: Vec<&Experience> = self.experience.iter().collect();
        let batch = trpo::Batch {
            rows: &rows,
            temperature: self.now.temperature,
            micro_batch_rows: self.config.micro_batch_rows,
            device: self.device,
        };
        match trpo::update(&mut on.learners.policy, &batch, config, self.now.step) {
            Err(PpoError::Model(ModelError::NotFinite { .. })) => {
                let norms = Norms { policy: f64::NAN, value: None };
                self.go_on(
                    on.guards.judge(self.now.step, &norms, &Diagnostics::default()),
                    on.guards,
                )?;
                Ok(None)
            }
            told => {
                on.average();
                told.map(Some)
            }
        }
    }

    /// Goes through the minibatches until the epochs, or a guard's patience, are at an end.
    fn epochs(&self, on: &mut Changing<'_, B>) -> Result<Tally, PpoError> {
        let mut tally = Tally::default();
        for epoch in 0..self.config.epochs {
            let order = permutation(self.experience.len(), self.seed.index(epoch as u64));
            let minibatches = order.chunks(self.config.minibatch_rows());
            for (number, rows) in minibatches.enumerate() {
                let rows: Vec<&Experience> =
                    rows.iter().map(|row| &self.experience[*row]).collect();
                let n_epochs = self.now.step * self.config.epochs + epoch;
                let update = n_epochs * self.config.minibatches + number;
                if !self.minibatch(on, &rows, update, &mut tally)? {
                    return Ok(tally);
                }
            }
        }
        Ok(tally)
    }

    /// Updates on a minibatch and says whether to go on. `update` is its number in the run.
    fn minibatch(
        &self,
        on: &mut Changing<'_, B>,
        rows: &[&Experience],
        update: usize,
        tally: &mut Tally,
    ) -> Result<bool, PpoError> {
        let Self { config, now, device, .. } = *self;
        let demonstrations: Vec<&TokenRow> =
            on.demonstrations.as_mut().map_or(Vec::new(), |it| it.of_update(update));
        let minibatch = Minibatch { rows, demonstrations: &demonstrations, config, now, device };
        let (mut of_policy, mut of_value) = on.guards.gates();
        let value_gate = &mut |seen: &_, norm| of_value.lets(seen, norm);
        let (norms, seen) = if config.trpo.is_some() || self.warms_up() {
            minibatch.update_value_alone(on.learners, value_gate)
        } else {
            minibatch.update(on.learners, &mut |seen, norm| of_policy.lets(seen, norm), value_gate)
        };
        let (stops, moves) = (of_policy.stops, of_policy.moves);
        let spikes = [of_policy.is_spike, of_value.is_spike];
        if tally.n_updates == 0 && seen.ratio_error > RATIO_TOLERANCE {
            let (step, error) = (now.step + 1, seen.ratio_error);
            return Err(PpoError::RatioNotOne { step, error });
        }
        if moves {
            on.average();
            tally.moves = true;
        }
        for (is_spike, whose, norm) in [
            (spikes[0], "policy", norms.policy),
            (spikes[1], "value model", norms.value.unwrap_or(0.0)),
        ] {
            if is_spike {
                on.guards.note_spike(now.step, whose, norm);
            }
        }
        let verdict = on.guards.judge(now.step, &norms, &seen);
        if verdict == Verdict::Apply {
            tally.add(&norms, seen);
        }
        Ok(self.go_on(verdict, on.guards)? && !stops)
    }

    /// Whether the step goes on.
    fn go_on(&self, verdict: Verdict, guards: &Guards) -> Result<bool, PpoError> {
        match verdict {
            Verdict::Apply | Verdict::Skip => Ok(true),
            Verdict::RollBack => Ok(false),
            Verdict::GiveUp => Err(guards.given_up(self.now.step)),
        }
    }
}
