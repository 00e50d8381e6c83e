//! What a run took: time, labels and tokens.

use std::ops::AddAssign;

use minijinja::{Value, context};
use rein_data::log::Record;

use super::{Round, grouped};
use crate::config::Stage;
use crate::pipeline::{Chosen, Counts};

/// What something took, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cost {
    /// Wall clock.
    seconds: Option<f64>,
    /// Pairs, or whatever else was judged, and answers.
    tasks: Option<usize>,
    answers: Option<usize>,
    /// Tokens of all rows that were trained on, each time they were.
    trained: Option<u64>,
    /// Tokens that models wrote to be learned from.
    sampled: Option<u64>,
}

/// Round by round and stage by stage, and all of it in the end.
pub(super) fn rows(rounds: &[Round]) -> Vec<Value> {
    let mut total = Cost::default();
    let mut rows = Vec::new();
    for round in rounds {
        for stage in Stage::ALL {
            let cost = Cost::of(round, stage);
            if cost != Cost::default() {
                total += cost;
                rows.push(cost.row(Some(round.number), stage.name()));
            }
        }
    }
    rows.push(total.row(None, "all"));
    rows
}

impl Cost {
    fn of(round: &Round, stage: Stage) -> Self {
        let is_told = |record: &&Record| stage_of(&record.stage) == Some(stage);
        let records: Vec<&Record> = round.records.iter().filter(is_told).collect();
        let sampled = sampled(&records);
        let trained = match stage {
            // Completions are what is learned from, in each epoch anew.
            Stage::Rl => sampled.map(|it| it * round.epochs as u64),
            _ => trained(&records),
        };
        let asked = round.asked.as_ref().filter(|it| stage == labelled(it.chosen));
        let count = |of: fn(&Counts) -> usize| asked.map(|it| of(&it.train) + of(&it.heldout));
        Self {
            seconds: round.seconds.get(stage.name()).copied(),
            tasks: count(|it| it.tasks),
            answers: count(|it| it.answers),
            trained,
            sampled,
        }
    }

    fn row(&self, round: Option<usize>, stage: &str) -> Value {
        let count = |it: Option<usize>| it.map(|it| grouped(it as u64));
        context! {
            round,
            stage,
            time => self.seconds.map(duration),
            tasks => count(self.tasks),
            answers => count(self.answers),
            trained => self.trained.map(grouped),
            sampled => self.sampled.map(grouped),
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        fn add<T: Default + AddAssign>(sum: &mut Option<T>, more: Option<T>) {
            if let Some(more) = more {
                *sum.get_or_insert_default() += more;
            }
        }
        add(&mut self.seconds, other.seconds);
        add(&mut self.tasks, other.tasks);
        add(&mut self.answers, other.answers);
        add(&mut self.trained, other.trained);
        add(&mut self.sampled, other.sampled);
    }
}

/// The stage in which labels come in.
fn labelled(chosen: Chosen) -> Stage {
    match chosen {
        Chosen::All | Chosen::By(_) => Stage::Feedback,
        Chosen::Given => Stage::Reward,
    }
}

/// The stage of the config to which something belongs that has steps of its own.
fn stage_of(name: &str) -> Option<Stage> {
    let is_of_reward = name.starts_with("reward-") || name.starts_with("search-");
    match name {
        _ if is_of_reward => Some(Stage::Reward),
        "samples" => Some(Stage::Reward),
        _ => Stage::ALL.into_iter().find(|it| it.name() == name),
    }
}

/// What each part of a stage has counted up to.
fn trained(records: &[&Record]) -> Option<u64> {
    let parts = records.chunk_by(|one, other| one.stage == other.stage);
    let counts = parts.filter_map(|part| part.iter().rev().find_map(|it| it.get("num_tokens")));
    counts.map(|it| it as u64).reduce(|sum, count| sum + count)
}

/// Completions of each step times their mean length.
fn sampled(records: &[&Record]) -> Option<u64> {
    let mut n_before = 0.0;
    let counts = records.iter().filter_map(|record| {
        let n_rows = record.get("completions").or_else(|| {
            let n_episodes = record.get("episode")?;
            let n_new = n_episodes - std::mem::replace(&mut n_before, n_episodes);
            // Another part of the stage counts anew.
            Some(if n_new > 0.0 { n_new } else { n_episodes })
        })?;
        Some((n_rows * record.get("completions/mean_length")?).round() as u64)
    });
    counts.reduce(|sum, count| sum + count)
}

/// As HTML wants it: `1h 2m`, `2m 3s`, `4.5s`.
fn duration(seconds: f64) -> String {
    match seconds.round() as u64 {
        all @ 3600.. => format!("{}h {}m", all / 3600, all % 3600 / 60),
        all @ 60.. => format!("{}m {}s", all / 60, all % 60),
        _ => format!("{seconds:.1}s"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::pipeline::Asked;

    fn record(stage: &str, step: usize, values: &[(&str, f64)]) -> Record {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).into()));
        Record { stage: stage.into(), step, values: values.collect() }
    }

    fn round() -> Round {
        let counts = |tasks, answers| Counts { tasks, answers };
        let asked = Asked {
            chosen: Chosen::All,
            train: counts(10, 30),
            heldout: counts(4, 11),
            agreement: None,
            shown: Vec::new(),
        };
        Round {
            number: 1,
            best_of: Vec::new(),
            records: vec![
                record("sft", 1, &[("num_tokens", 50.0)]),
                record("sft", 2, &[("num_tokens", 90.0)]),
                record("sft", 2, &[("eval_loss", 1.0)]),
                record("feedback", 1, &[("completions", 4.0), ("completions/mean_length", 2.5)]),
                record("reward-member-2", 1, &[("num_tokens", 7.0)]),
                record("reward", 1, &[("num_tokens", 8.0)]),
                record("rl", 1, &[("episode", 3.0), ("completions/mean_length", 10.0 / 3.0)]),
                record("rl", 2, &[("episode", 6.0), ("completions/mean_length", 11.0 / 3.0)]),
                // Of a step whose rewards were all bad, nothing is told.
                record("rl", 3, &[("episode", 9.0)]),
                record("rl", 4, &[("episode", 12.0), ("completions/mean_length", 1.0)]),
            ],
            seconds: BTreeMap::from([("sft".into(), 61.5), ("rl".into(), 2.0)]),
            asked: Some(asked),
            epochs: 2,
        }
    }

    #[test]
    fn each_stage_has_its_own_costs() {
        let of = |stage| Cost::of(&round(), stage);
        let sft = Cost { seconds: Some(61.5), trained: Some(90), ..Cost::default() };
        assert_eq!(of(Stage::Sft), sft);
        let feedback =
            Cost { tasks: Some(14), answers: Some(41), sampled: Some(10), ..Cost::default() };
        assert_eq!(of(Stage::Feedback), feedback);
        assert_eq!(of(Stage::Reward), Cost { trained: Some(15), ..Cost::default() });
        let rl =
            Cost { seconds: Some(2.0), trained: Some(48), sampled: Some(24), ..Cost::default() };
        assert_eq!(of(Stage::Rl), rl);
        assert_eq!(of(Stage::Dpo), Cost::default());
    }

    #[test]
    fn costs_add_up_and_unknown_ones_stay_so() {
        let mut total = Cost::default();
        for _ in 0..2 {
            Stage::ALL.into_iter().for_each(|stage| total += Cost::of(&round(), stage));
        }
        let want = Cost {
            seconds: Some(127.0),
            tasks: Some(28),
            answers: Some(82),
            trained: Some(306),
            sampled: Some(68),
        };
        assert_eq!(total, want);
        // Four stages of each round, and all.
        assert_eq!(rows(&[round(), round()]).len(), 2 * 4 + 1);
        assert_eq!(total.seconds.map(duration).as_deref(), Some("2m 7s"));
        assert_eq!([4.53, 7384.0].map(duration), ["4.5s", "2h 3m"]);
    }
}
