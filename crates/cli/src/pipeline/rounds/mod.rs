//! Rounds: sample from the current policy, choose what to ask, collect, learn a reward, optimise it, evaluate, decide.
//!
//! The first round is a run as it would be without a loop. Each later one has a folder of its own within the run's, and
//! begins with the policy of the last round that wasn't taken back. What people said lies in one store, and a round's reward
//! model learns from all of it.

mod attacked;
mod decide;
mod history;
mod past;

use anyhow::{Context, Result};
use rein_data::checkpoint::write_atomically;
use rein_data::log::RunLog;
use rein_data::run_dir::RunDir;
use rein_feedback::{Split, preferences};
use rein_model::backend::LmAutodiffBackend;
use rein_ppo::exploration::EntropyConfig;
use rein_ppo::kl::KlConfig;

use self::decide::{Evidence, decide};
use super::compare::Versus;
use super::evaluate::Evaluation;
use super::{Ended, PROJECT, Session};
use crate::config::{Config, GOLD, LoopConfig, REWARD, Stage};
use crate::setup::Setup;
use crate::world::Judgements;

pub(super) use history::within;
pub(crate) use history::{Attacked, History, RoundReport};
pub(super) use past::Earlier;
pub(crate) use past::Past;

/// Opens the log of a round.
pub(crate) type OpenLog<'a> = &'a dyn Fn(&RunDir) -> Result<RunLog>;

/// What a round is called where its number alone would say nothing.
pub(crate) fn name(number: usize) -> String {
    format!("round {number}")
}

impl<B: LmAutodiffBackend> Session<B> {
    /// Runs rounds until there are enough; those that are done already are passed over.
    pub(crate) fn run_rounds(&mut self, config: &LoopConfig, open: OpenLog<'_>) -> Result<Ended> {
        let root = self.run.root().to_path_buf();
        let mut history = self.workers.from_first(|| History::load(&root))?;
        while history.rounds.last().is_none_or(|it| it.verdict.goes_on()) {
            let number = history.rounds.len() + 1;
            let report = match number {
                1 => self.first_round(config)?,
                _ => self.later_round(config, &history, open)?,
            };
            let Some(mut report) = report else { return Ok(Ended::Interrupted) };
            if let Some(config) = &config.red_team {
                let workers = self.workers.clone();
                let measured = workers.from_first(|| self.attack_round(config, &report, open))?;
                let Some(measured) = measured else { return Ok(Ended::Interrupted) };
                report.red_team = Some(measured);
            }
            history.rounds.push(report);
            if self.workers.leads() {
                history.save(&root)?;
            }
            self.workers.meet();
        }
        Ok(Ended::Finished)
    }

    fn first_round(&mut self, config: &LoopConfig) -> Result<Option<RoundReport>> {
        let stages = self.setup.config.stages.clone();
        if self.run(&stages)? == Ended::Interrupted {
            return Ok(None);
        }
        self.round_report(config, &History::default()).map(Some)
    }

    fn later_round(
        &mut self,
        config: &LoopConfig,
        history: &History,
        open: OpenLog<'_>,
    ) -> Result<Option<RoundReport>> {
        let past = self.past_after(history)?;
        let folder = self.run.root().join("rounds").join(past.number.to_string());
        let mut setup = later_setup(&self.setup, config, history);
        if let Some(config) = &config.red_team {
            self.learn_from_attacks(config, &mut setup)?;
        }
        if self.workers.leads() {
            std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
            let saved = toml::to_string(&setup.config).context("the round's config")?;
            write_atomically(&folder.join("round.toml"), saved.as_bytes())?;
        }
        self.workers.meet();
        let run = RunDir::join(&folder);
        // A dashboard gives the terminal back before the next one takes it.
        self.log = RunLog::silent();
        let mut log = if self.workers.leads() { open(&run)? } else { RunLog::silent() };
        log.note(format!("{} of at most {}", name(past.number), config.rounds));
        let mut session = self.of_round(setup, run, log, past);
        let stages = session.setup.config.stages.clone();
        if session.run(&stages)? == Ended::Interrupted {
            return Ok(None);
        }
        session.round_report(config, history).map(Some)
    }

    /// Measures the models of a run once more; of several rounds, those that the last one has measured.
    pub(crate) fn evaluate_again(&mut self) -> Result<Ended> {
        let root = self.run.root().to_path_buf();
        let mut history = self.workers.from_first(|| History::load(&root))?;
        let (Some(last), Some(config)) = (history.rounds.pop(), self.setup.config.rounds.clone())
        else {
            return self.run(&[Stage::Evaluate]);
        };
        if history.rounds.is_empty() {
            return self.run(&[Stage::Evaluate]);
        }
        let past = self.past_after(&history)?;
        let setup = later_setup(&self.setup, &config, &history);
        let log = std::mem::replace(&mut self.log, RunLog::silent());
        self.of_round(setup, RunDir::join(&root.join(&last.folder)), log, past)
            .run(&[Stage::Evaluate])
    }

    /// The part of the run that a later round is. The run's folder is locked, and its rounds with it.
    pub(in crate::pipeline) fn of_round(
        &self,
        setup: Setup,
        run: RunDir,
        log: RunLog,
        past: Earlier,
    ) -> Self {
        let (interrupt, workers) = (self.interrupt.clone(), self.workers.clone());
        let (device, past) = (self.device.clone(), Past::of(past));
        Self { setup, run, log, interrupt, workers, device, past }
    }

    /// What the round after these knows.
    fn past_after(&self, history: &History) -> Result<Earlier> {
        let root = self.run.root();
        let fine_tuned = self.sft_model()?;
        let best = history.best();
        let policies = history.rounds.iter();
        let policies = policies.map(|it| (name(it.number), root.join(&it.policy))).collect();
        Ok(Earlier {
            number: history.rounds.len() + 1,
            root: root.to_path_buf(),
            policy: best.map_or_else(|| fine_tuned.clone(), |it| root.join(&it.policy)),
            reward: best.and_then(|it| it.reward_model.as_ref()).map(|it| root.join(it)),
            fine_tuned,
            policies,
        })
    }

    /// What this round came to, after those before.
    fn round_report(&mut self, config: &LoopConfig, history: &History) -> Result<RoundReport> {
        let root = self.root().to_path_buf();
        let number = history.rounds.len() + 1;
        // All read what the first worker wrote.
        self.workers.meet();
        let Evaluation { models, judge, versus, .. } = Evaluation::load(&self.run)?;
        let policy = self.result(Stage::Rl)?.context("the round has a policy")?;
        let began_with = self.policy_to_optimize()?;
        let known = if self.setup.world.has_gold() { GOLD } else { REWARD };
        let by = config.judge.as_deref().unwrap_or(known);
        let last = models.last().context("the round's policy was measured")?;
        let fine_tuned = self.fine_tuned_name()?;
        let name_before = self.past.name_of(&began_with).unwrap_or(fine_tuned);
        let against = |name: &str| {
            let is_it = |it: &&Versus| it.model == last.name && it.against == name && it.by == by;
            let found = versus.iter().find(is_it).cloned();
            found.with_context(|| format!("`loop` compares by {by}, which isn't measured"))
        };
        let against_before = against(name_before)?;
        let against_fine_tuned = against(fine_tuned)?;
        let before = models.iter().find(|it| it.name == name_before);
        let proxy_gain = before.and_then(|it| Some(last.reward? - it.reward?));
        let evidence = Evidence {
            number,
            against_fine_tuned: &against_fine_tuned,
            against_before: &against_before,
            proxy_gain,
            n_stale: history.n_stale(),
        };
        let verdict = decide(&evidence, config);
        self.log.note(format!("{}: {}", name(number), verdict.reason));
        let [pairs, answers] = self.n_asked()?;
        Ok(RoundReport {
            number,
            folder: within(&root, self.run.root()),
            began_with: within(&root, &began_with),
            policy: within(&root, &policy),
            reward_model: self.reward_folder()?.map(|it| within(&root, &it)),
            pairs,
            answers,
            gold: last.gold,
            reward: last.reward,
            kl: last.kl,
            accuracy: judge.map(|it| it.far.unwrap_or(it.all).accuracy),
            against_fine_tuned,
            against_before,
            learning_rate: self.setup.config.rl.optimizer.learning_rate,
            red_team: None,
            verdict,
        })
    }

    /// Pairs to train on that people were asked about so far, and their answers.
    fn n_asked(&self) -> Result<[usize; 2]> {
        if !self.asks() {
            let most = self.setup.config.reward.max_judgements.unwrap_or(usize::MAX);
            let n_given = match &self.setup.world.judgements {
                Judgements::Labels(it) => it.train.len(),
                Judgements::Pairs(it) => it.train.len(),
                Judgements::Examples(it) => it.train.len(),
                Judgements::Simulated | Judgements::None => 0,
            };
            return Ok([most.min(n_given); 2]);
        }
        self.workers.from_first(|| -> Result<[usize; 2]> {
            let answers = preferences(&self.store()?, PROJECT, Split::Train)?;
            let n_pairs = answers.chunk_by(|one, other| one.task.id == other.task.id).count();
            Ok([n_pairs, answers.len()])
        })
    }
}

/// The settings of the round after these.
fn later_setup(setup: &Setup, config: &LoopConfig, history: &History) -> Setup {
    let mut setup = setup.clone();
    let n_before = history.rounds.len();
    let n_taken_back = history.n_taken_back();
    later_config(&mut setup.config, config, n_before, n_taken_back);
    setup.notes.clear();
    setup
}

/// A round that was taken back was too bold: the next one goes half as fast and half as far.
pub(crate) fn later_config(
    config: &mut Config,
    of_loop: &LoopConfig,
    n_before: usize,
    n_taken_back: usize,
) {
    config.stages.retain(|it| !matches!(it, Stage::Sft | Stage::Dpo));
    config.feedback.pairs = of_loop.pairs;
    config.feedback.heldout_pairs = of_loop.heldout_pairs;
    if let Some(most) = &mut config.reward.max_judgements {
        *most += n_before * of_loop.pairs;
    }
    let caution = 0.5_f64.powi(n_taken_back as i32);
    let factor = |it: f64| it.powi(n_before as i32);
    config.rl.optimizer.learning_rate *= factor(of_loop.rate_factor) * caution;
    let distance = factor(of_loop.kl_factor) * caution;
    match &mut config.rl.kl {
        KlConfig::Fixed { coefficient } => *coefficient /= distance,
        KlConfig::Adaptive { target_nats_per_completion, .. } => {
            *target_nats_per_completion *= distance;
        }
    }
    match &mut config.rl.entropy_coefficient {
        EntropyConfig::Fixed(coefficient) => *coefficient *= factor(of_loop.entropy_factor),
        EntropyConfig::Adaptive(it) => it.coefficient *= factor(of_loop.entropy_factor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn later_rounds_ask_less_and_after_a_setback_dare_less() {
        let sets = ["loop.rounds=3", "loop.pairs=77", "loop.rate_factor=0.9", "loop.kl_factor=2"];
        let first = config::load(None, &sets.map(String::from)).expect("loads");
        let of_loop = first.rounds.clone().expect("there is a loop");
        let mut third = first.clone();
        later_config(&mut third, &of_loop, 2, 1);
        assert_eq!(third.stages, [Stage::Feedback, Stage::Reward, Stage::Rl, Stage::Evaluate]);
        assert_eq!(third.feedback.pairs, 77);
        let rate = first.rl.optimizer.learning_rate * 0.81 / 2.0;
        assert!((third.rl.optimizer.learning_rate - rate).abs() < 1e-12);
        let target = |config: &Config| match config.rl.kl {
            KlConfig::Adaptive { target_nats_per_completion, .. } => target_nats_per_completion,
            KlConfig::Fixed { coefficient } => 1.0 / coefficient,
        };
        assert!((target(&third) / target(&first) - 2.0).abs() < 1e-12);
    }
}
