//! What people said of a project's tasks, as rows that models learn from.

use std::collections::{BTreeMap, HashMap};

use rein_data::example::{Body, Content, Example};
use serde_json::{Map, json};

use crate::aggregate::{Aggregation, Vote, Votes};
use crate::error::FeedbackError;
use crate::records::{Answer, Judgement, Response, Split, Task};
use crate::store::{Store, Stored};

/// The column that names who said it.
pub const ANNOTATOR: &str = "annotator";
/// The column of what a row counts for.
const WEIGHT: &str = "weight";

/// The rows of one split of a project, in the order of its tasks; golden tasks aren't among them.
///
/// - Pairs: a row a task. `chosen_probability` is how probably what most prefer is better, by `aggregation`; of models, a
///   tie is a label of its own, which counts half for each, as does a vote for a tie in shares. It is left out where it
///   is 1. Where the sides are even, it is 0.5 and the first stands as chosen. A `margin` that all answers have stays where
///   they are of one mind and no model weighs them.
/// - Rankings: a row an answer.
/// - Scores: a row a task, with the mean score.
/// - Thumbs: a row an answer.
/// - Edits: what somebody wrote is preferred to what they were shown.
/// - Attacks: a row an answer, as of thumbs: what the model said is good if it withstood (`success` 0). `success` and `tags`
///   stand beside it.
///
/// Responses that were cut are said to be, see [`Example::finished`].
///
/// Answers of small weight count for less in shares and means; `weight` says what all of a row's together count for, where
/// that is less than one plain answer. Models count each vote once, whatever its weight, and learn from the answers to all
/// tasks of the project who errs how; a task of which only probabilities are known keeps their mean.
///
/// # Errors
/// What the store can't read, and votes of so many people on so many tasks that a model would take over 512 MiB.
pub fn judged(
    store: &Store,
    project: &str,
    split: Split,
    aggregation: Aggregation,
) -> Result<Vec<Example>, FeedbackError> {
    let answers = store.answers(project)?;
    let believed = match aggregation {
        Aggregation::Share => HashMap::new(),
        model => believed(model, &answers)?,
    };
    let mut by_task = by_task(answers);
    Ok(asked(store, project, split)?
        .flat_map(|task| {
            let said = by_task.remove(&task.id).unwrap_or_default();
            let answers: Vec<Answer> = said.into_iter().map(|it| it.answer).collect();
            rows(&task, &answers, believed.get(&task.id).copied())
        })
        .collect())
}

/// As [`judged`], but a row an answer, which says by whom it is (`annotator`). [`Import`](crate::rows::Import) reads them back.
///
/// Ties are rows whose `chosen_probability` is 0.5.
///
/// # Errors
/// What the store can't read.
pub fn said(store: &Store, project: &str, split: Split) -> Result<Vec<Example>, FeedbackError> {
    let mut by_task = by_task(store.answers(project)?);
    let of_task = |task: Task| -> Vec<Example> {
        let said = by_task.remove(&task.id).unwrap_or_default();
        let rows = said.into_iter().flat_map(|stored| {
            let mut rows = rows(&task, std::slice::from_ref(&stored.answer), None);
            for row in &mut rows {
                row.extra.insert(ANNOTATOR.into(), stored.annotator.clone().into());
            }
            rows
        });
        rows.collect()
    };
    Ok(asked(store, project, split)?.flat_map(of_task).collect())
}

fn asked(
    store: &Store,
    project: &str,
    split: Split,
) -> Result<impl Iterator<Item = Task>, FeedbackError> {
    Ok(store.tasks(project, split)?.into_iter().filter(|task| task.gold.is_none()))
}

fn by_task(answers: Vec<Stored>) -> BTreeMap<i64, Vec<Stored>> {
    let mut by_task: BTreeMap<i64, Vec<Stored>> = BTreeMap::new();
    for stored in answers {
        by_task.entry(stored.task).or_default().push(stored);
    }
    by_task
}

/// Labels of a pair: the first is better, the second is, neither is.
const LABELS: [usize; 3] = [0, 1, 2];

/// How probably the first of each pair is better, as a model believes.
fn believed(model: Aggregation, answers: &[Stored]) -> Result<HashMap<i64, f64>, FeedbackError> {
    let vote = |stored: &Stored| {
        let label = match stored.answer.judgement {
            Judgement::Preferred { choice, .. } => LABELS[choice.index()],
            Judgement::Tie | Judgement::BothBad => LABELS[2],
            _ => return None,
        };
        Some(Vote { task: stored.task, worker: stored.annotator.clone(), label })
    };
    let votes: Vec<Vote<i64, String, usize>> = answers.iter().filter_map(vote).collect();
    if votes.is_empty() {
        return Ok(HashMap::new());
    }
    let (votes, keys) = Votes::new(&votes)?;
    let of_label = |posterior: &[f64], label: usize| {
        keys.labels.binary_search(&label).map_or(0.0, |place| posterior[place])
    };
    let for_first = |it: &Vec<f64>| of_label(it, LABELS[0]) + of_label(it, LABELS[2]) / 2.0;
    let posterior = model.posterior(&votes);
    Ok(keys.tasks.iter().copied().zip(posterior.iter().map(for_first)).collect())
}

/// A task's rows; `believed` takes the place of its shares of votes.
fn rows(task: &Task, answers: &[Answer], believed: Option<f64>) -> Vec<Example> {
    let mut rows: Vec<Example> = answers.iter().filter_map(|it| row_of_one(task, it)).collect();
    if let Some((share, weight)) = mean(answers, Judgement::for_first) {
        let row = match believed {
            Some(believed) => preference(task, believed, None),
            None => preference(task, share, common_margin(answers)),
        };
        rows.push(weighted(row, weight));
    }
    let score = |judgement: &Judgement| match judgement {
        Judgement::Scored { score } => Some(*score),
        _ => None,
    };
    if let Some((mean, weight)) = mean(answers, score) {
        let completion = completion(task, &task.responses[0]);
        let body = Body::Scored { prompt: task.prompt.clone(), completion, score: mean as f32 };
        rows.push(weighted(example(body, &task.responses), weight));
    }
    rows
}

/// The weighted mean of what answers say, and their weight together.
fn mean(answers: &[Answer], value: impl Fn(&Judgement) -> Option<f64>) -> Option<(f64, f64)> {
    let values = answers.iter().filter_map(|it| Some((value(&it.judgement)?, it.weight)));
    let (sum, weight) = values
        .fold((0.0, 0.0), |(sum, weight), (value, of_one)| (sum + value * of_one, weight + of_one));
    (weight > 0.0).then(|| (sum / weight, weight))
}

/// The margin that all answers have, if they are of one mind.
fn common_margin(answers: &[Answer]) -> Option<f32> {
    let said = |it: &Answer| (it.margin, it.judgement.for_first());
    let first = said(answers.first()?);
    first.0.filter(|_| answers.iter().all(|it| said(it) == first))
}

fn preference(task: &Task, for_first: f64, margin: Option<f32>) -> Example {
    let (chosen, rejected) = if for_first >= 0.5 { (0, 1) } else { (1, 0) };
    let probability = for_first.max(1.0 - for_first) as f32;
    let [chosen, rejected] = [chosen, rejected].map(|place: usize| &task.responses[place]);
    let mut row = pair(task, chosen, rejected);
    if let Body::Preference { chosen_probability, margin: of_row, .. } = &mut row.body {
        *chosen_probability = (probability < 1.0).then_some(probability);
        *of_row = margin;
    }
    row
}

/// What one answer says without the others.
fn row_of_one(task: &Task, answer: &Answer) -> Option<Example> {
    let row = match &answer.judgement {
        Judgement::Ranked { ranks } => {
            let completions = task.responses.iter().map(|it| completion(task, it)).collect();
            let ranks = ranks.iter().map(|rank| u32::from(*rank)).collect();
            example(
                Body::Ranking { prompt: task.prompt.clone(), completions, ranks },
                &task.responses,
            )
        }
        Judgement::Thumb { up } => labelled(task, *up),
        Judgement::Attacked { success, tags } => {
            let mut row = labelled(task, *success == 0);
            row.extra.insert("success".into(), json!(success));
            row.extra.insert("tags".into(), json!(tags));
            row
        }
        Judgement::Edited { text } if *text != task.responses[0].text => {
            let edited = Response { text: text.clone(), finished: true, source: String::new() };
            pair(task, &edited, &task.responses[0])
        }
        _ => return None,
    };
    Some(weighted(row, answer.weight))
}

fn labelled(task: &Task, is_good: bool) -> Example {
    let completion = completion(task, &task.responses[0]);
    let prompt = task.prompt.clone();
    example(Body::UnpairedPreference { prompt, completion, label: is_good }, &task.responses)
}

/// A row that says what it counts for, where that is less than one plain answer.
fn weighted(mut row: Example, weight: f64) -> Example {
    if weight < 1.0 {
        row.extra.insert(WEIGHT.into(), json!(weight));
    }
    row
}

impl Task {
    /// That one response was preferred to the other, as a row.
    pub fn preferring(&self, chosen: &Response, rejected: &Response) -> Example {
        pair(self, chosen, rejected)
    }
}

/// That one response was surely preferred to the other.
fn pair(task: &Task, chosen: &Response, rejected: &Response) -> Example {
    let body = Body::Preference {
        prompt: task.prompt.clone(),
        chosen: completion(task, chosen),
        rejected: completion(task, rejected),
        margin: None,
        chosen_probability: None,
    };
    example(body, [chosen, rejected])
}

/// An example that judges these responses.
fn example<'a>(body: Body, responses: impl IntoIterator<Item = &'a Response>) -> Example {
    let finished: Vec<bool> = responses.into_iter().map(|it| it.finished).collect();
    let (template_arguments, extra) = (Map::new(), Map::new());
    Example { body, tools: None, template_arguments, extra }.with_finished(&finished)
}

fn completion(task: &Task, response: &Response) -> Content {
    task.prompt.reply(response.text.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::records::Choice;

    fn task(n_items: usize) -> Task {
        let response = |number: usize| Response {
            text: number.to_string(),
            finished: number != 1,
            source: "m".into(),
        };
        Task {
            id: 1,
            external_id: "t".into(),
            prompt: "p".into(),
            responses: (0..n_items).map(response).collect(),
            overlap: 3,
            gold: None,
        }
    }

    fn of(n_items: usize, said: &[Judgement]) -> Vec<Example> {
        let answers: Vec<Answer> = said.iter().cloned().map(Answer::from).collect();
        rows(&task(n_items), &answers, None)
    }

    #[test]
    fn votes_become_a_soft_label_where_people_differ() {
        let [first, second] = [Choice::First, Choice::Second].map(Judgement::preferred);
        let told = |said: &[Judgement]| match &of(2, said)[0].body {
            Body::Preference { chosen, chosen_probability, .. } => {
                (chosen.to_text(), *chosen_probability)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(told(&[first.clone(), first.clone()]), ("0".into(), None));
        assert_eq!(told(&[second.clone(), second.clone(), Judgement::Tie]).0, "1");
        let probability = told(&[second.clone(), second, Judgement::Tie]).1.expect("soft");
        assert!((probability - 5.0 / 6.0).abs() < 1e-6);
        assert_eq!(told(&[Judgement::BothBad]), ("0".into(), Some(0.5)));
        let cut = &of(2, &[first])[0].extra;
        assert_eq!(cut.get("rejected_finished"), Some(&Value::Bool(false)));
    }

    #[test]
    fn each_kind_of_answer_has_its_rows() {
        let bodies = |n_items, said: &[Judgement]| -> Vec<Body> {
            of(n_items, said).into_iter().map(|it| it.body).collect()
        };
        let ranking = Judgement::Ranked { ranks: vec![2, 1, 2] };
        let cut = &of(3, std::slice::from_ref(&ranking))[0].extra;
        assert_eq!(cut.get("completions_finished"), Some(&json!([true, false, true])));
        let ranked = bodies(3, &[ranking]);
        assert!(matches!(&ranked[..], [Body::Ranking { ranks, .. }] if *ranks == [2, 1, 2]));
        let scored = [4.0, 5.0].map(|score| Judgement::Scored { score });
        assert!(matches!(&bodies(1, &scored)[..], [Body::Scored { score, .. }] if *score == 4.5));
        let thumbs = [true, false].map(|up| Judgement::Thumb { up });
        assert_eq!(bodies(1, &thumbs).len(), 2);
        let edit = |text: &str| Judgement::Edited { text: text.into() };
        assert!(matches!(&bodies(1, &[edit("x")])[..], [Body::Preference { .. }]));
        assert!(bodies(1, &[edit("0")]).is_empty(), "nothing was changed");
        let attack = |success| Judgement::Attacked { success, tags: vec!["rude".into()] };
        let attacked = of(1, &[attack(0), attack(3)]);
        let told = attacked.iter().map(|it| match it.body {
            Body::UnpairedPreference { label, .. } => (label, it.extra["success"].clone()),
            _ => panic!("{it:?}"),
        });
        assert!(told.eq([(true, json!(0)), (false, json!(3))]));
        assert_eq!(attacked[0].extra["tags"], json!(["rude"]));
        assert!(bodies(2, &[]).is_empty(), "nobody said anything");
    }

    #[test]
    fn small_weights_count_for_less() {
        let [first, second] = [Choice::First, Choice::Second].map(Judgement::preferred);
        let of = |said: &[(&Judgement, f64)]| {
            let answer = |(said, weight): &(&Judgement, f64)| Answer {
                weight: *weight,
                ..(*said).clone().into()
            };
            let answers: Vec<Answer> = said.iter().map(answer).collect();
            let row = rows(&task(2), &answers, None).remove(0);
            let Body::Preference { chosen_probability, .. } = row.body else { panic!("a pair") };
            (chosen_probability, row.extra.get("weight").and_then(Value::as_f64))
        };
        assert_eq!(of(&[(&first, 0.25)]), (None, Some(0.25)));
        assert_eq!(of(&[(&first, 1.0), (&second, 0.25)]), (Some(0.8), None));
        assert_eq!(of(&[(&first, 0.25), (&second, 0.25)]), (Some(0.5), Some(0.5)));
        let leaning = Judgement::Leaning { first: 0.25 };
        assert_eq!(of(&[(&leaning, 1.0)]), (Some(0.75), None));
    }
}
