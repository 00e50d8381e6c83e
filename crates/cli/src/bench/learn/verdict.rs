//! What is asked of each algorithm, and whether it did it.

use std::fmt::Write;

use rein_data::seed::Seed;

use super::bootstrap::p_of_gain;
use super::examine::Findings;
use super::method::Method;
use super::task::Task;
use super::trial::{Region, Trial};

/// What part of a bandit's optimum an algorithm that samples shall reach.
const OF_OPTIMUM: f64 = 0.95;
/// What part of the best algorithm's success it shall reach on sums.
const OF_BEST: f64 = 0.9;
/// How probable an offline algorithm's gain may be by chance.
const LARGEST_P: f64 = 0.01;

/// A task's algorithms, judged.
#[derive(Debug)]
pub(super) struct Verdicts {
    task: Task,
    before: f64,
    /// What the ratios are of.
    best: f64,
    pub(super) rows: Vec<Verdict>,
}

/// An algorithm, judged.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) method: Method,
    reward: Spread,
    kl: f64,
    outcome: Outcome,
    /// Of all its seeds, the most and the least.
    region: Option<Region>,
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// The part of the best.
    Ratio { ratio: f64, wanted: f64 },
    /// What it gained over the fine-tuned model, and how probable that is by chance.
    Gain { gain: f64, p: f64 },
}

/// Mean, standard deviation and least of what seeds gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) mean: f64,
    pub(super) std: f64,
    least: f64,
}

impl Spread {
    /// Of one number, the deviation is 0.
    pub(super) fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares = values.iter().map(|it| (it - mean).powi(2)).sum::<f64>();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        Self { mean, std: (squares / (count - 1.0).max(1.0)).sqrt(), least }
    }
}

impl Verdicts {
    /// Judges a task's runs, of which those of an algorithm stand side by side.
    pub(super) fn new(task: Task, before: &Findings, trials: &[Trial]) -> Self {
        let groups: Vec<&[Trial]> = trials.chunk_by(|a, b| a.method == b.method).collect();
        let reward = |group: &[Trial]| {
            Spread::of(&group.iter().map(|it| it.findings.reward).collect::<Vec<f64>>())
        };
        let best = match task.is_bandit() {
            true => f64::from(task.optimum()),
            false => groups.iter().map(|it| reward(it).mean).fold(0.0, f64::max),
        };
        let wanted = if task.is_bandit() { OF_OPTIMUM } else { OF_BEST };
        let judge = |group: &&[Trial]| {
            let (method, reward) = (group[0].method, reward(group));
            let outcome = match method.is_on_policy() {
                true => Outcome::Ratio { ratio: reward.mean / best, wanted },
                false => gain(before, group),
            };
            let kl = group.iter().map(|it| it.findings.kl).sum::<f64>() / group.len() as f64;
            Verdict { method, reward, kl, outcome, region: whole_region(group) }
        };
        Self { task, before: before.reward, best, rows: groups.iter().map(judge).collect() }
    }

    /// Whether every algorithm did what is asked of it.
    pub(super) fn pass(&self) -> bool {
        self.rows.iter().all(Verdict::passes)
    }

    /// A table to read.
    pub(super) fn render(&self) -> String {
        let Self { task, before, best, rows } = self;
        let what = if task.is_bandit() { "optimum" } else { "best algorithm" };
        let mut text = format!(
            "\n{}: fine-tuned model {before:.3}, {what} {best:.3}\n{:<20} {:>15} {:>7} {:>7}  {}\n",
            task.name(),
            "algorithm",
            "reward (± std)",
            "least",
            "KL",
            "outcome"
        );
        rows.iter().for_each(|row| row.render(&mut text));
        text
    }
}

impl Verdict {
    fn passes(&self) -> bool {
        let within =
            self.region.is_none_or(|it| it.largest_kl <= it.max_kl && it.smallest_gain >= 0.0);
        within
            && match self.outcome {
                Outcome::Ratio { ratio, wanted } => ratio >= wanted,
                Outcome::Gain { p, .. } => p < LARGEST_P,
            }
    }

    fn render(&self, text: &mut String) {
        let Self { method, reward: Spread { mean, std, least }, kl, outcome, region } = self;
        let reward = format!("{mean:.3} ± {std:.3}");
        let outcome = match outcome {
            Outcome::Ratio { ratio, wanted } => format!("{ratio:.3} of it (at least {wanted})"),
            Outcome::Gain { gain, p } => format!("{gain:+.3}, p = {p:.4} (below {LARGEST_P})"),
        };
        let verdict = if self.passes() { "yes" } else { "NO" };
        let name = method.name();
        let _ =
            writeln!(text, "{name:<20} {reward:>15} {least:>7.3} {kl:>7.2}  {outcome}: {verdict}");
        if let Some(Region { n_steps, n_accepted, max_kl, largest_kl, smallest_gain }) = region {
            let _ = writeln!(
                text,
                "  {n_accepted} of {n_steps} steps accepted; KL at most {largest_kl:.5} of {max_kl} nats a \
                 token; the surrogate gained {smallest_gain:.1e} at least"
            );
        }
    }
}

/// What the policies of some seeds gained on average, problem by problem.
fn gain(before: &Findings, group: &[Trial]) -> Outcome {
    let count = group.len() as f64;
    let of_problem =
        |problem: usize| group.iter().map(|it| it.findings.problems[problem]).sum::<f64>() / count;
    let after: Vec<f64> = (0..before.problems.len()).map(of_problem).collect();
    let mean = after.iter().sum::<f64>() / after.len() as f64;
    let p = p_of_gain(&before.problems, &after, Seed::new(0).child("bootstrap"));
    Outcome::Gain { gain: mean - before.reward, p }
}

fn whole_region(group: &[Trial]) -> Option<Region> {
    group.iter().filter_map(|it| it.region).reduce(|a, b| Region {
        n_steps: a.n_steps + b.n_steps,
        n_accepted: a.n_accepted + b.n_accepted,
        max_kl: a.max_kl,
        largest_kl: a.largest_kl.max(b.largest_kl),
        smallest_gain: a.smallest_gain.min(b.smallest_gain),
    })
}

#[cfg(test)]
mod tests {
    use rein_ppo::algorithm::Algorithm;
    use rein_ppo::preference::loss::LossType;

    use super::*;

    fn findings(problems: &[f64]) -> Findings {
        let reward = problems.iter().sum::<f64>() / problems.len() as f64;
        Findings { reward, success: reward, kl: 1.0, problems: problems.to_vec() }
    }

    fn trial(method: Method, problems: &[f64], region: Option<Region>) -> Trial {
        Trial { method, points: Vec::new(), findings: findings(problems), region }
    }

    #[test]
    fn deviations_are_those_of_a_sample() {
        // (1 + 0 + 1) / 2 = 1.
        assert_eq!(Spread::of(&[1.0, 2.0, 3.0]), Spread { mean: 2.0, std: 1.0, least: 1.0 });
        assert_eq!(Spread::of(&[0.5]).std, 0.0);
    }

    #[test]
    fn what_samples_is_compared_with_the_best_and_what_learns_from_pairs_with_the_beginning() {
        let [ppo, grpo] = [Algorithm::Ppo, Algorithm::Grpo].map(Method::OnPolicy);
        let trials = [
            trial(ppo, &[1.0, 0.8], None),
            trial(ppo, &[1.0, 1.0], None),
            trial(grpo, &[0.9, 0.7], None),
            trial(Method::Offline(LossType::Sigmoid), &[0.6, 0.5], None),
            trial(Method::Offline(LossType::Ipo), &[0.5, 0.4], None),
        ];
        let verdicts = Verdicts::new(Task::Arithmetic, &findings(&[0.5, 0.4]), &trials);
        // The best is 0.95, of which 0.8 is 0.84.
        let passed: Vec<bool> = verdicts.rows.iter().map(Verdict::passes).collect();
        assert_eq!(passed, [true, false, true, false]);
        assert!(!verdicts.pass());
        // Of a bandit, it's the optimum of 0.9 that counts.
        let trials = [trial(ppo, &[0.86], None), trial(grpo, &[0.85], None)];
        let verdicts = Verdicts::new(Task::Bandit, &findings(&[0.4]), &trials);
        let passed: Vec<bool> = verdicts.rows.iter().map(Verdict::passes).collect();
        assert_eq!(passed, [true, false]);
        assert!(verdicts.render().contains("0.956 of it (at least 0.95): yes"));
    }

    #[test]
    fn a_step_beyond_the_region_or_downhill_is_told() {
        let region = |largest_kl, smallest_gain| {
            Some(Region { n_steps: 5, n_accepted: 4, max_kl: 0.01, largest_kl, smallest_gain })
        };
        let passes = |region| {
            let trials = [trial(Method::OnPolicy(Algorithm::Trpo), &[0.9], region)];
            Verdicts::new(Task::Bandit, &findings(&[0.4]), &trials).pass()
        };
        assert!(passes(region(0.01, 0.0)));
        assert!(!passes(region(0.0101, 0.0)) && !passes(region(0.01, -1e-9)));
    }
}
