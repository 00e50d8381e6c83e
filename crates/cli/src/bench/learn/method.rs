//! The algorithms and what each is set to.

use std::str::FromStr;

use anyhow::Result;
use rein_data::stage::Cadence;
use rein_model::optim::OptimizerConfig;
use rein_ppo::algorithm::Algorithm;
use rein_ppo::config::PpoConfig;
use rein_ppo::preference::DpoConfig;
use rein_ppo::preference::loss::LossType;
use rein_ppo::trpo::TrpoConfig;

use super::start::at_the_end;
use super::task::Task;
use crate::config::{Config, change};

/// How often the policy of a run that samples is looked at.
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

/// The losses of judgements, each an algorithm.
const LOSSES: [(&str, &str, LossType); 13] = [
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
    ("kto", "KTO", LossType::Kto),
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

    /// Whether it makes a difference to it that a task's reward is noisy: pairs are judged by the truth.
    pub(super) fn can_learn(self, task: Task) -> bool {
        self.is_on_policy() || task != Task::NoisyBandit
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
    let (learning_rate, steps) = pace(algorithm, task);
    let mut config = PpoConfig {
        steps,
        max_new_tokens: task.max_new_tokens(),
        // An arm is one token, and nothing ends it.
        missing_eos_penalty: if task.is_bandit() { 0.0 } else { own.missing_eos_penalty },
        optimizer: OptimizerConfig { learning_rate, ..own.optimizer },
        checkpoints: examined(steps / N_EXAMINATIONS),
        sample_every: 0,
        ..own
    };
    match algorithm {
        _ if task.is_bandit() => {}
        // A natural gradient is as good as what it is estimated from.
        Algorithm::Trpo => {
            config.prompts_per_step = 128;
            config.trpo = Some(TrpoConfig { cg_iterations: 6, ..TrpoConfig::default() });
        }
        // Of eight sums a step, too many would tell nothing: all or none of their answers are right.
        Algorithm::Grpo
        | Algorithm::DrGrpo
        | Algorithm::Dapo
        | Algorithm::Gspo
        | Algorithm::Cispo => (config.prompts_per_step, config.samples_per_prompt) = (16, 4),
        _ => {}
    }
    config
}

/// Learning rate and steps.
fn pace(algorithm: Algorithm, task: Task) -> (f64, usize) {
    let [of_bandit, of_sums] = match algorithm {
        Algorithm::Ppo => [(1e-3, 30), (1e-3, 60)],
        // The rate is the value model's; the policy's step follows from its region.
        Algorithm::Trpo => [(1e-3, 50), (1e-3, 80)],
        Algorithm::A2c => [(2e-3, 60), (2e-3, 150)],
        Algorithm::Reinforce | Algorithm::ReinforcePlusPlus => [(2e-3, 60), (2e-3, 120)],
        Algorithm::Rloo => [(2e-3, 80), (1e-3, 250)],
        Algorithm::Grpo
        | Algorithm::DrGrpo
        | Algorithm::Dapo
        | Algorithm::Gspo
        | Algorithm::Cispo
        | Algorithm::OnlineDpo => [(2e-3, 80), (1e-3, 250)],
    };
    if task.is_bandit() { of_bandit } else { of_sums }
}

fn offline(loss_type: LossType, task: Task) -> DpoConfig {
    let own = DpoConfig { loss_type, ..DpoConfig::default() };
    let beta = match loss_type {
        LossType::Simpo => 2.0,
        LossType::Cpo | LossType::Orpo | LossType::SppoHard => own.beta,
        LossType::Ipo => 0.5,
        // At 0.1, both completions of a pair lose probability to what neither holds.
        _ => 1.0,
    };
    let learning_rate = if task.is_bandit() { 1e-3 } else { 3e-4 };
    DpoConfig {
        beta,
        label_smoothing: if loss_type == LossType::Robust { 0.1 } else { 0.0 },
        nll_coefficient: imitates(loss_type, task).then_some(1.0),
        optimizer: OptimizerConfig { learning_rate, ..own.optimizer },
        checkpoints: examined(if task.is_bandit() { 6 } else { 10 }),
        ..own
    }
}

/// Whether the better completion has to be imitated beside the loss. By itself, `apo_down` makes it less
/// probable, too; and `ipo` asks for a difference of probabilities, which can be had, too, by giving some to
/// what neither completion holds.
fn imitates(loss_type: LossType, task: Task) -> bool {
    loss_type == LossType::ApoDown || loss_type == LossType::Ipo && task.is_bandit()
}

/// Looks at the policy every so many steps, and one checkpoint.
fn examined(every: usize) -> Cadence {
    Cadence { evaluate_every: every, ..at_the_end() }
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
        assert_eq!(Method::all().len(), Algorithm::ALL.len() + LOSSES.len());
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
