//! What people said of a project's tasks, as rows that models learn from.

use std::collections::BTreeMap;

use rein_data::example::{Body, Content, Example};
use serde_json::{Map, Value};

use crate::error::FeedbackError;
use crate::records::{Answer, Choice, Judgement, Response, Split, Task};
use crate::store::Store;

/// The rows of one split of a project, in the order of its tasks; golden tasks aren't among them.
///
/// - Pairs: a row a task. `chosen_probability` is the share of votes for what most prefer, a tie being half a vote for
///   each; it is left out where all agree. Where the votes are even, it is 0.5 and the first stands as chosen.
/// - Rankings: a row an answer.
/// - Scores: a row a task, with the mean score.
/// - Thumbs: a row an answer.
/// - Edits: what somebody wrote is preferred to what they were shown.
/// - Attacks give none: they say what to attack with, not what to prefer.
pub fn judged(store: &Store, project: &str, split: Split) -> Result<Vec<Example>, FeedbackError> {
    let mut by_task: BTreeMap<i64, Vec<Answer>> = BTreeMap::new();
    for stored in store.answers(project)? {
        by_task.entry(stored.task).or_default().push(stored.answer);
    }
    let tasks = store.tasks(project, split)?.into_iter().filter(|task| task.gold.is_none());
    Ok(tasks
        .flat_map(|task| {
            let answers = by_task.remove(&task.id).unwrap_or_default();
            rows(&task, &answers)
        })
        .collect())
}

fn rows(task: &Task, answers: &[Answer]) -> Vec<Example> {
    let said = || answers.iter().map(|it| &it.judgement);
    let scores: Vec<f64> = said()
        .filter_map(|it| match it {
            Judgement::Scored { score } => Some(*score),
            _ => None,
        })
        .collect();
    let votes: Vec<f64> = said().filter_map(vote).collect();
    let mut rows: Vec<Example> = said().filter_map(|it| row_of_one(task, it)).collect();
    if !votes.is_empty() {
        let for_first = votes.iter().sum::<f64>() / votes.len() as f64;
        rows.push(preference(task, for_first));
    }
    if !scores.is_empty() {
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        let (prompt, completion) = (prompt(task), text(&task.responses[0]));
        rows.push(example(Body::Scored { prompt, completion, score: mean as f32 }, &[]));
    }
    rows
}

/// A vote for the first of a pair.
fn vote(judgement: &Judgement) -> Option<f64> {
    match judgement {
        Judgement::Preferred { choice: Choice::First, .. } => Some(1.0),
        Judgement::Preferred { choice: Choice::Second, .. } => Some(0.0),
        Judgement::Tie | Judgement::BothBad => Some(0.5),
        _ => None,
    }
}

fn preference(task: &Task, for_first: f64) -> Example {
    let (chosen, rejected) = if for_first >= 0.5 { (0, 1) } else { (1, 0) };
    let probability = for_first.max(1.0 - for_first);
    let [chosen, rejected] = [chosen, rejected].map(|place: usize| &task.responses[place]);
    pair(task, chosen, rejected, (probability < 1.0).then_some(probability as f32))
}

/// What one answer says without the others.
fn row_of_one(task: &Task, judgement: &Judgement) -> Option<Example> {
    match judgement {
        Judgement::Ranked { ranks } => {
            let completions = task.responses.iter().map(text).collect();
            let ranks = ranks.iter().map(|rank| u32::from(*rank)).collect();
            Some(example(Body::Ranking { prompt: prompt(task), completions, ranks }, &[]))
        }
        Judgement::Thumb { up } => {
            let (prompt, completion) = (prompt(task), text(&task.responses[0]));
            Some(example(Body::UnpairedPreference { prompt, completion, label: *up }, &[]))
        }
        Judgement::Edited { text } if *text != task.responses[0].text => {
            let edited = Response { text: text.clone(), finished: true, source: String::new() };
            Some(pair(task, &edited, &task.responses[0], None))
        }
        _ => None,
    }
}

fn pair(task: &Task, chosen: &Response, rejected: &Response, probability: Option<f32>) -> Example {
    let body = Body::Preference {
        prompt: prompt(task),
        chosen: text(chosen),
        rejected: text(rejected),
        margin: None,
        chosen_probability: probability,
    };
    let finished = [("chosen_finished", chosen), ("rejected_finished", rejected)];
    let cut: Vec<&str> =
        finished.iter().filter(|(_, it)| !it.finished).map(|(name, _)| *name).collect();
    example(body, &cut)
}

/// An example, of which these columns are false: texts that were cut.
fn example(body: Body, cut: &[&str]) -> Example {
    let extra: Map<String, Value> =
        cut.iter().map(|name| ((*name).to_owned(), Value::Bool(false))).collect();
    Example { body, tools: None, template_arguments: Map::new(), extra }
}

fn prompt(task: &Task) -> Content {
    Content::Text(task.prompt.clone())
}

fn text(response: &Response) -> Content {
    Content::Text(response.text.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        rows(&task(n_items), &answers)
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
        let ranked = bodies(3, &[Judgement::Ranked { ranks: vec![2, 1, 2] }]);
        assert!(matches!(&ranked[..], [Body::Ranking { ranks, .. }] if *ranks == [2, 1, 2]));
        let scored = [4.0, 5.0].map(|score| Judgement::Scored { score });
        assert!(matches!(&bodies(1, &scored)[..], [Body::Scored { score, .. }] if *score == 4.5));
        let thumbs = [true, false].map(|up| Judgement::Thumb { up });
        assert_eq!(bodies(1, &thumbs).len(), 2);
        let edit = |text: &str| Judgement::Edited { text: text.into() };
        assert!(matches!(&bodies(1, &[edit("x")])[..], [Body::Preference { .. }]));
        assert!(bodies(1, &[edit("0")]).is_empty(), "nothing was changed");
        let attack = Judgement::Attacked { success: 4, tags: Vec::new() };
        assert!(bodies(1, &[attack]).is_empty());
        assert!(bodies(2, &[]).is_empty(), "nobody said anything");
    }
}
