//! What people were asked in a round, and what they said.

use anyhow::Result;
use rein_data::example::{Body, Content, Example, Labeled, Preference};
use rein_feedback::agreement::percent;
use rein_feedback::{Answered, Split, Task, preferences};
use rein_model::backend::LmAutodiffBackend;
use serde::{Deserialize, Serialize};

use super::feedback::PROJECT;
use super::{Past, Session};
use crate::config::{Query, Stage};
use crate::world::{Judgements, Parts};

/// How many judged replies are shown of a round.
const N_SHOWN: usize = 5;

/// What a round learned from people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) chosen: Chosen,
    /// To train on.
    pub(crate) train: Counts,
    /// To measure with.
    pub(crate) heldout: Counts,
    /// How often two people who were asked the same say the same; chance is in it.
    pub(crate) agreement: Option<f64>,
    /// The first that were asked.
    pub(crate) shown: Vec<Judged>,
}

/// How what was asked was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Chosen {
    /// All pairs that were sampled.
    All,
    /// Some of them, by `loop.query`.
    By(Query),
    /// Nobody was asked: the data have judgements.
    Given,
}

/// What was asked, and how many answers there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) tasks: usize,
    pub(crate) answers: usize,
}

/// Replies to a prompt that were judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Judged {
    pub(crate) prompt: String,
    /// Two that were compared, or one that was called good or bad.
    pub(crate) replies: Vec<JudgedReply>,
    pub(crate) n_answers: usize,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct JudgedReply {
    pub(crate) text: String,
    /// Share of the answers that were for it, a tie being half an answer for each; none without answers.
    pub(crate) share: Option<f64>,
}

impl<B: LmAutodiffBackend> Session<B> {
    /// What people were asked in this round; `None` where the run learns nothing from them.
    pub(super) fn what_was_asked(&self) -> Result<Option<Asked>> {
        if !self.workers.leads() || !self.learns_from_people() {
            return Ok(None);
        }
        if !self.asks() {
            return Ok(self.what_was_given());
        }
        if !self.root().join("feedback.sqlite").is_file() {
            return Ok(None);
        }
        let query = self.setup.config.rounds.as_ref().map(|it| it.query);
        let chosen = match query.filter(|_| self.past.is_later()) {
            Some(query) => Chosen::By(query),
            None => Chosen::All,
        };
        let (train, heldout) = (self.asked_of(Split::Train)?, self.asked_of(Split::Heldout)?);
        let is_empty = train.is_empty() && heldout.is_empty();
        Ok((!is_empty).then(|| Asked::of(chosen, &train, &heldout)))
    }

    fn learns_from_people(&self) -> bool {
        let config = &self.setup.config;
        config.stages.iter().any(|stage| match stage {
            Stage::Feedback | Stage::Dpo => true,
            Stage::Reward => config.reward.demonstrations.is_none(),
            Stage::Sft | Stage::Rl | Stage::Evaluate => false,
        })
    }

    /// The tasks of this round with the answers to each.
    fn asked_of(&self, split: Split) -> Result<Vec<(Task, Vec<Answered>)>> {
        let store = self.store()?;
        let mut tasks = store.tasks(PROJECT, split)?;
        tasks.retain(|it| is_of(&self.past, &it.external_id));
        let mut answers = preferences(&store, PROJECT, split)?.into_iter().peekable();
        // Both are in the order of the tasks.
        Ok(tasks
            .into_iter()
            .map(|task| {
                while answers.next_if(|it| it.task.id < task.id).is_some() {}
                let mut said = Vec::new();
                while let Some(answer) = answers.next_if(|it| it.task.id == task.id) {
                    said.push(answer);
                }
                (task, said)
            })
            .collect())
    }

    /// What the data tell in this round and didn't before.
    fn what_was_given(&self) -> Option<Asked> {
        Some(match &self.setup.world.judgements {
            Judgements::Pairs(it) => self.given(it, |row| Some(of_pair(row))),
            Judgements::Labels(it) => self.given(it, |row| Some(of_label(row))),
            Judgements::Examples(it) => self.given(it, of_example),
            Judgements::Simulated | Judgements::None => return None,
        })
    }

    fn given<T>(&self, rows: &Parts<T>, judged: impl Fn(&T) -> Option<Judged>) -> Asked {
        let Parts { train, heldout } = rows;
        let (told, n_before) = (self.told(train.len()), self.n_told_before());
        let new = &told[n_before.min(told.len())..];
        let counts = |n: usize| Counts { tasks: n, answers: n };
        Asked {
            chosen: Chosen::Given,
            train: counts(new.len()),
            heldout: counts(heldout.len()),
            agreement: None,
            shown: new.iter().filter_map(|row| judged(&train[*row])).take(N_SHOWN).collect(),
        }
    }
}

impl Asked {
    fn of(
        chosen: Chosen,
        train: &[(Task, Vec<Answered>)],
        heldout: &[(Task, Vec<Answered>)],
    ) -> Self {
        let counts = |asked: &[(Task, Vec<Answered>)]| Counts {
            tasks: asked.len(),
            answers: asked.iter().map(|(_, said)| said.len()).sum(),
        };
        let units: Vec<Vec<u64>> = train
            .iter()
            .chain(heldout)
            .map(|(_, said)| votes(said).map(f64::to_bits).collect())
            .collect();
        Self {
            chosen,
            train: counts(train),
            heldout: counts(heldout),
            agreement: percent(&units),
            shown: train.iter().take(N_SHOWN).map(|(task, said)| of_task(task, said)).collect(),
        }
    }
}

/// Whether a task with this name is of a round; those of the first have no name before theirs.
fn is_of(past: &Past, task: &str) -> bool {
    match past.name() {
        Some(round) => task.starts_with(&format!("{round}/")),
        None => !task.starts_with("round "),
    }
}

/// What each said for the first of a pair.
fn votes(said: &[Answered]) -> impl Iterator<Item = f64> {
    said.iter().filter_map(|it| it.judgement.for_first())
}

fn of_task(task: &Task, said: &[Answered]) -> Judged {
    let n_answers = votes(said).count();
    let first = (n_answers > 0).then(|| votes(said).sum::<f64>() / n_answers as f64);
    let shares = [first, first.map(|it| 1.0 - it)];
    let replies = task.responses.iter().zip(shares);
    Judged {
        prompt: task.prompt.transcript(),
        replies: replies.map(|(it, share)| JudgedReply { text: it.text.clone(), share }).collect(),
        n_answers,
    }
}

fn of_pair(pair: &Preference) -> Judged {
    compared(&pair.prompt, [&pair.chosen, &pair.rejected], 1.0)
}

fn of_label(row: &Labeled) -> Judged {
    called(&row.prompt, &row.completion, row.label)
}

/// Rankings and grades aren't shown.
fn of_example(example: &Example) -> Option<Judged> {
    let text = Content::to_text;
    match &example.body {
        Body::Preference { prompt, chosen, rejected, chosen_probability, .. } => {
            let share = chosen_probability.map_or(1.0, f64::from);
            Some(compared(&text(prompt), [&text(chosen), &text(rejected)], share))
        }
        Body::UnpairedPreference { prompt, completion, label } => {
            Some(called(&text(prompt), &text(completion), *label))
        }
        _ => None,
    }
}

fn compared(prompt: &str, replies: [&String; 2], share: f64) -> Judged {
    let replies = replies.into_iter().zip([share, 1.0 - share]);
    Judged {
        prompt: prompt.to_owned(),
        replies: replies
            .map(|(text, share)| JudgedReply { text: text.clone(), share: Some(share) })
            .collect(),
        n_answers: 1,
    }
}

fn called(prompt: &str, reply: &str, is_good: bool) -> Judged {
    let share = Some(f64::from(u8::from(is_good)));
    let replies = vec![JudgedReply { text: reply.to_owned(), share }];
    Judged { prompt: prompt.to_owned(), replies, n_answers: 1 }
}

#[cfg(test)]
mod tests {
    use rein_feedback::{Choice, Judgement, Response};

    use super::*;

    fn asked(id: i64, said: &[Judgement]) -> (Task, Vec<Answered>) {
        let response =
            |text: &str| Response { text: text.into(), finished: true, source: String::new() };
        let responses = vec![response("one"), response("two")];
        let (prompt, external_id) = ("What now?".to_owned(), id.to_string());
        let task =
            Task { id, external_id, prompt: prompt.into(), responses, overlap: 3, gold: None };
        let answer = |judgement: &Judgement| Answered {
            task: task.clone(),
            annotator: "ann".into(),
            judgement: judgement.clone(),
        };
        (task.clone(), said.iter().map(answer).collect())
    }

    #[test]
    fn shares_agreement_and_answers_are_counted() {
        let [first, second] = [Choice::First, Choice::Second].map(Judgement::preferred);
        let train = [asked(1, &[first.clone(), first.clone(), second]), asked(2, &[])];
        let heldout = [asked(3, &[first.clone(), first, Judgement::Tie])];
        let told = Asked::of(Chosen::By(Query::Bald), &train, &heldout);
        assert_eq!(told.train, Counts { tasks: 2, answers: 3 });
        assert_eq!(told.heldout, Counts { tasks: 1, answers: 3 });
        // Of three pairs of people each, one says the same.
        assert_eq!(told.agreement, Some(1.0 / 3.0));
        let shares: Vec<Option<f64>> =
            told.shown.iter().flat_map(|it| &it.replies).map(|it| it.share).collect();
        assert_eq!(shares, [Some(2.0 / 3.0), Some(1.0 - 2.0 / 3.0), None, None]);
    }

    #[test]
    fn what_is_saved_is_read_again() {
        let told = Asked::of(Chosen::By(Query::Random), &[asked(1, &[Judgement::Tie])], &[]);
        let text = serde_json::to_string(&told).expect("is JSON");
        assert!(text.contains("{\"by\":\"random\"}"), "{text}");
        assert_eq!(serde_json::from_str::<Asked>(&text).expect("reads"), told);
    }
}
