//! Gates that answers must pass: each is a rule that looks at all answers of a project and says, with reasons and figures,
//! which ones or whose shouldn't count.
//!
//! Nothing is deleted. What a rule says is a [`Ruling`]; when it looks again and finds otherwise, a ruling `keep` takes the
//! old one back. The thresholds are ours, but for golden tasks as such (Oleson et al., 2011) they come from no source.

mod gold;
mod habit;
mod repeats;
mod speed;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::FeedbackError;
use crate::records::{Split, Task};
use crate::store::{Ruling, Store, Stored, Subject, Verdict};

pub(crate) use gold::is_right;

/// What each gate lets pass.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gates {
    /// Golden tasks somebody must have answered before they are judged by them. With fewer, one slip would suspend.
    pub min_golds: usize,
    /// Whoever's share of right golden answers isn't surely above this is suspended: the lower end of its 95 % Wilson interval
    /// is below.
    pub gold_accuracy: f64,
    /// Answers given in less time than this, in milliseconds, are dropped.
    pub min_active_ms: i64,
    /// So are those given in less than this share of what tasks of their length usually take.
    pub min_active_share: f64,
    /// Answers after which somebody's habits are looked at.
    pub min_habit: usize,
    /// Whoever prefers one side of the page is flagged where chance would do so with less than this probability.
    pub side_p: f64,
    /// Whoever gives the same answer, by its place on the page, so often in a row is flagged.
    pub same_in_a_row: usize,
    /// Repeated tasks after which somebody's consistency is looked at.
    pub min_repeats: usize,
    /// Whoever answers a smaller share of them as before is flagged.
    pub consistency: f64,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            min_golds: 20,
            gold_accuracy: 0.6,
            min_active_ms: 1500,
            min_active_share: 0.25,
            min_habit: 50,
            side_p: 1e-3,
            same_in_a_row: 15,
            min_repeats: 8,
            consistency: 0.7,
        }
    }
}

/// Answers and tasks of a project.
struct Project<'a> {
    answers: &'a [Stored],
    tasks: BTreeMap<i64, &'a Task>,
}

type Rule = fn(&Gates, &Project<'_>) -> Vec<Ruling>;

/// The rules by name; [`Ruling::rule`] holds the name.
const RULES: [(&str, Rule); 5] = [
    ("gold", gold::rule),
    ("speed", speed::rule),
    ("side", habit::sides),
    ("straight_line", habit::straight_lines),
    ("repeats", repeats::rule),
];

impl Gates {
    /// What the rules say of these answers.
    pub fn rulings(&self, answers: &[Stored], tasks: &[Task]) -> Vec<Ruling> {
        let tasks = tasks.iter().map(|task| (task.id, task)).collect();
        let project = Project { answers, tasks };
        RULES.iter().flat_map(|(_, rule)| rule(self, &project)).collect()
    }

    /// What the rules say of a project, and what they say no longer, of which nothing is known yet.
    pub fn look(&self, store: &Store, project: &str) -> Result<Vec<Ruling>, FeedbackError> {
        let answers = store.all_answers(project)?;
        let mut tasks = store.tasks(project, Split::Train)?;
        tasks.extend(store.tasks(project, Split::Heldout)?);
        tasks.extend(store.repeats(project)?);
        let said = self.rulings(&answers, &tasks);
        let held = store.rulings()?;
        let lifted = lifted(&held, &said, &answers);
        Ok(said.into_iter().filter(|it| !held.contains(it)).chain(lifted).collect())
    }

    /// Looks at a project and writes down what the rules say, and what they say no longer. Tells what is new.
    pub fn apply(&self, store: &mut Store, project: &str) -> Result<Vec<Ruling>, FeedbackError> {
        let changes = self.look(store, project)?;
        store.change(|change| change.rule(&changes))?;
        Ok(changes)
    }
}

/// What takes back earlier rulings of ours, about answers and people of this project, that hold no longer.
fn lifted(held: &[Ruling], said: &[Ruling], answers: &[Stored]) -> Vec<Ruling> {
    let annotations: BTreeSet<i64> = answers.iter().map(|it| it.id).collect();
    let people: BTreeSet<&str> = answers.iter().map(|it| it.annotator.as_str()).collect();
    let is_ours = |it: &&Ruling| {
        let is_here = match &it.subject {
            Subject::Annotation(id) => annotations.contains(id),
            Subject::Annotator(name) => people.contains(name.as_str()),
        };
        is_here && RULES.iter().any(|(name, _)| *name == it.rule) && it.verdict != Verdict::Keep
    };
    let still =
        |it: &&Ruling| said.iter().any(|new| new.subject == it.subject && new.rule == it.rule);
    let gone = held.iter().filter(is_ours).filter(|it| !still(it));
    gone.map(|it| Ruling {
        verdict: Verdict::Keep,
        reason: "it holds no longer".into(),
        ..it.clone()
    })
    .collect()
}

/// The answers of each annotator, in the order they came.
fn by_annotator<'a>(project: &Project<'a>) -> BTreeMap<&'a str, Vec<&'a Stored>> {
    let mut people: BTreeMap<&str, Vec<&Stored>> = BTreeMap::new();
    for answer in project.answers {
        people.entry(&answer.annotator).or_default().push(answer);
    }
    people
}

fn about(name: &str, rule: &str, verdict: Verdict, reason: String) -> Ruling {
    Ruling { subject: Subject::Annotator(name.into()), rule: rule.into(), verdict, reason }
}

#[cfg(test)]
mod tests;
