//! What a step does with its completions: epochs over shuffled minibatches. By TRPO, the policy takes one
//! step on all of them instead, and the value model alone goes through the epochs.

use rein_data::batches::permutation;
use rein_data::log::Metrics;
use rein_data::seed::Seed;
use rein_model::backend::LmAutodiffBackend;

use crate::PpoError;
use crate::actor_critic::Learners;
use crate::config::PpoConfig;
use crate::describe::describe_update;
use crate::diagnostics::Diagnostics;
use crate::experience::Experience;
use crate::trpo::{self, TrpoConfig};
use crate::update::{Norms, update_minibatch, update_value_on};

/// Before the first update a ratio may be off by rounding, and by no more.
const RATIO_TOLERANCE: f64 = 1e-2;

/// A step's updates. `step` is counted from 0.
pub(crate) struct Optimisation<'a, B: LmAutodiffBackend> {
    pub(crate) experience: &'a [Experience],
    pub(crate) config: &'a PpoConfig,
    pub(crate) learning_rate: f64,
    /// Of the minibatches.
    pub(crate) seed: Seed,
    pub(crate) step: usize,
    pub(crate) device: &'a B::Device,
}

impl<B: LmAutodiffBackend> Optimisation<'_, B> {
    /// Updates the networks and tells of it.
    pub(crate) fn run(
        &self,
        learners: &mut Learners<B>,
        metrics: &mut Metrics,
    ) -> Result<(), PpoError> {
        let region = self.config.trpo.as_ref();
        let of_region = region.map(|config| self.step_within(config, learners)).transpose()?;
        let (norms, seen) = self.epochs(learners)?;
        describe_update(&seen, metrics);
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
        Ok(())
    }

    fn step_within(
        &self,
        config: &TrpoConfig,
        learners: &mut Learners<B>,
    ) -> Result<trpo::Update, PpoError> {
        let rows: Vec<&Experience> = self.experience.iter().collect();
        let batch = trpo::Batch {
            rows: &rows,
            temperature: self.config.temperature,
            micro_batch_rows: self.config.micro_batch_rows,
            device: self.device,
        };
        trpo::update(&mut learners.policy, &batch, config, self.step)
    }

    /// Returns the mean norms of the gradients.
    fn epochs(&self, learners: &mut Learners<B>) -> Result<(Norms, Diagnostics), PpoError> {
        let mut all = Diagnostics::default();
        let (mut of_policy, mut of_value, mut n_updates) = (0.0, None, 0);
        for epoch in 0..self.config.epochs {
            let order = permutation(self.experience.len(), self.seed.index(epoch as u64));
            for rows in order.chunks(self.config.minibatch_rows()) {
                let rows: Vec<&Experience> =
                    rows.iter().map(|row| &self.experience[*row]).collect();
                let (norms, seen) = self.minibatch(learners, &rows)?;
                if n_updates == 0 && seen.ratio_error > RATIO_TOLERANCE {
                    let (step, error) = (self.step + 1, seen.ratio_error);
                    return Err(PpoError::RatioNotOne { step, error });
                }
                of_policy += norms.policy;
                of_value = norms.value.map(|norm| norm + of_value.unwrap_or(0.0));
                n_updates += 1;
                all.add(seen);
            }
        }
        let mean = |sum: f64| sum / f64::from(n_updates);
        Ok((Norms { policy: mean(of_policy), value: of_value.map(mean) }, all))
    }

    fn minibatch(
        &self,
        learners: &mut Learners<B>,
        rows: &[&Experience],
    ) -> Result<(Norms, Diagnostics), PpoError> {
        let Self { config, learning_rate, step, device, .. } = *self;
        if config.trpo.is_some() {
            return update_value_on(learners, rows, config, learning_rate, step, device);
        }
        update_minibatch(learners, rows, config, learning_rate, step, device)
    }
}
