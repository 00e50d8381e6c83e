//! The algorithms and what each is set to.

use std::str::FromStr;

use anyhow::Result;
use rein_data::stage::Cadence;
use rein_model::optim::OptimizerConfig;
use rein_ppo::algorithm::Algorithm;
use rein_ppo::config::PpoConfig;
use rein_ppo::preference::DpoConfig;
use rein_ppo::preference::loss::LossType;

use super::start::at_the_end;
use super::task::Task;
use crate::config::{Config, change};

/// Evaluations of a run, at least.
const N_EXAMINATIONS: usize = 10;

/// An algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// It samples what it learns from.
    OnPolicy(Algorithm),
    /// It learns from pairs of what the fine-tuned model sampled.
    Offline(LossType),
}

use Method::{Offline, OnPolicy};

/// The losses of pairs, each an algorithm.
const LOSSES: [(&str, &str, LossType); 12] = [
    ("dpo", "DPO", LossType::Sigmoid),
    ("robust", "Robust DPO", LossType::Robust),
    ("ipo", "IPO", LossType::Ipo),
    ("hinge", "Hinge", LossType::Hinge),
    ("exo_pair", "EXO", LossType::ExoPair),
    ("nca_pair", "NCA", LossType::NcaPair),
    ("sppo_hard", "SPPO", LossType::SppoHard),
    ("apo_zero", "APO zero", LossType::ApoZero),
    ("apo_down", "APO down", LossType::ApoDown),
    ("cpo", "CPO", LossType::Cpo),
    ("simpo", "SimPO", LossType::Simpo),
    ("orpo", "ORPO", LossType::Orpo),
];

impl Method {
    pub(super) fn all() -> Vec<Self> {
        let on_policy = Algorithm::ALL.into_iter().map(OnPolicy);
        on_policy.chain(LOSSES.map(|(_, _, loss)| Offline(loss))).collect()
    }

    /// As the command line and files name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            OnPolicy(algorithm) => algorithm.name(),
            Offline(loss) => named(loss).0,
        }
    }

    /// As papers write it.
    pub(super) fn title(self) -> &'static str {
        match self {
            OnPolicy(algorithm) => algorithm.title(),
            Offline(loss) => named(loss).1,
        }
    }

    pub(super) fn is_on_policy(self) -> bool {
        matches!(self, OnPolicy(_))
    }

    /// Its settings on a task: the algorithm's own, but for what is named here, changed by `sets`.
    pub(super) fn config(self, task: Task, sets: &[String]) -> Result<Config> {
        let config = match self {
            OnPolicy(algorithm) => Config { rl: on_policy(algorithm, task), ..Config::default() },
            Offline(loss) => Config { dpo: offline(loss, task), ..Config::default() },
        };
        change(&config, sets)
    }
}

fn named(loss: LossType) -> (&'static str, &'static str, LossType) {
    let found = LOSSES.into_iter().find(|(.., it)| *it == loss);
    found.expect("every loss has a name")
}

impl FromStr for Method {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::all().into_iter().find(|it| it.name() == name);
        found.ok_or_else(|| {
            let known: Vec<&str> = Self::all().iter().map(|it| it.name()).collect();
            format!("known are {}", known.join(", "))
        })
    }
}

fn on_policy(algorithm: Algorithm, task: Task) -> PpoConfig {
    let own = algorithm.config();
    let learning_rate = match algorithm {
        Algorithm::Ppo | Algorithm::Trpo => 1e-3,
        _ => 2e-3,
    };
    let steps = if task.is_bandit() { 50 } else { 80 };
    PpoConfig {
        steps,
        max_new_tokens: task.max_new_tokens(),
        // An arm is one token, and nothing ends it.
        missing_eos_penalty: if task.is_bandit() { 0.0 } else { own.missing_eos_penalty },
        optimizer: OptimizerConfig { learning_rate, ..own.optimizer },
        checkpoints: examined(steps),
        sample_every: 0,
        ..own
    }
}

fn offline(loss_type: LossType, task: Task) -> DpoConfig {
    let own = DpoConfig { loss_type, ..DpoConfig::default() };
    let (learning_rate, beta) = match loss_type {
        LossType::Simpo => (3e-4, 2.0),
        _ => (3e-4, own.beta),
    };
    DpoConfig {
        epochs: 1.0,
        beta,
        optimizer: OptimizerConfig { learning_rate, ..own.optimizer },
        checkpoints: examined(if task.is_bandit() { 50 } else { 100 }),
        ..own
    }
}

/// Ten looks at the policy in so many steps, and one checkpoint.
fn examined(n_steps: usize) -> Cadence {
    Cadence { evaluate_every: (n_steps / N_EXAMINATIONS).max(1), ..at_the_end() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_has_a_name_of_its_own_and_settings_that_fit_together() {
        for method in Method::all() {
            assert_eq!(method.name().parse(), Ok(method));
            for task in Task::ALL {
                method.config(task, &[]).expect("fits together");
            }
        }
        assert_eq!(Method::all().len(), 23);
        assert!("ppo2".parse::<Method>().expect_err("unknown").starts_with("known are ppo, a2c"));
    }

    #[test]
    fn settings_can_be_changed_and_wrong_ones_are_named() {
        let sets = |set: &str| [set.to_owned()];
        let grpo = OnPolicy(Algorithm::Grpo);
        let config = grpo.config(Task::Arithmetic, &sets("rl.steps=7")).expect("changes");
        assert_eq!((config.rl.steps, config.rl.algorithm), (7, Algorithm::Grpo));
        let wrong = grpo.config(Task::Arithmetic, &sets("rl.stepz=7")).expect_err("is refused");
        assert_eq!(
            wrong.to_string(),
            "--set rl.stepz=7: unknown key `rl.stepz`; did you mean `rl.steps`?"
        );
    }
}
