use super::*;
use crate::records::{Choice, Judgement, Response, Shown};
use crate::store::Role;

fn task(id: i64, gold: Option<Choice>) -> Task {
    let response = |number: usize| Response {
        text: format!("response {number} to {id}"),
        finished: true,
        source: "m".into(),
    };
    Task {
        id,
        external_id: id.to_string(),
        prompt: format!("prompt {id}").into(),
        responses: vec![response(0), response(1)],
        overlap: 1,
        gold: gold.map(Judgement::preferred),
    }
}

fn answer(task: i64, choice: Choice, first: Choice, active_ms: i64) -> Stored {
    Stored {
        id: task,
        task,
        annotator: "ann".into(),
        role: Role::Person,
        answer: Judgement::preferred(choice).into(),
        shown: Shown::first(first),
        active_ms: Some(active_ms),
        submitted_at: task,
        is_ruled_out: false,
    }
}

/// What one rule says of answers to tasks with these golds.
fn said(rule: &str, golds: Option<Choice>, answers: &[Stored]) -> Vec<Ruling> {
    let tasks: Vec<Task> = answers.iter().map(|it| task(it.task, golds)).collect();
    let mut rulings = Gates::default().rulings(answers, &tasks);
    rulings.retain(|it| it.rule == rule);
    rulings
}

/// Alternating sides, so that no habit shows.
fn first(number: i64) -> Choice {
    if number % 2 == 0 { Choice::First } else { Choice::Second }
}

#[test]
fn golden_tasks_suspend_whoever_guesses_and_nobody_who_slips() {
    let of = |n_wrong: i64, n_golds: i64| {
        let answers: Vec<Stored> = (0..n_golds)
            .map(|number| {
                let choice = if number < n_wrong { Choice::Second } else { Choice::First };
                answer(number, choice, first(number), 5_000)
            })
            .collect();
        said("gold", Some(Choice::First), &answers)
    };
    assert!(of(3, 20).is_empty(), "17 of 20 is surely above 0.6");
    let ruling = &of(4, 20)[0];
    assert_eq!(ruling.verdict, Verdict::Suspend);
    assert_eq!(ruling.reason, "16 of 20 golden tasks right: the share may be 0.58, below 0.6");
    assert!(of(10, 19).is_empty(), "too few to tell");
}

#[test]
fn answers_faster_than_reading_are_dropped() {
    let mut answers: Vec<Stored> =
        (0..20).map(|number| answer(number, first(number), first(number / 2), 8_000)).collect();
    answers[3].active_ms = Some(1_400);
    answers[4].active_ms = Some(1_900);
    answers[5].active_ms = Some(2_100);
    answers[6].active_ms = None;
    let rulings = said("speed", None, &answers);
    let dropped: Vec<&Subject> = rulings.iter().map(|it| &it.subject).collect();
    assert_eq!(dropped, [&Subject::Annotation(3), &Subject::Annotation(4)]);
    assert_eq!(rulings[0].reason, "it took 1400 ms; a task of this length takes 2000 at least");
}

#[test]
fn whoever_always_takes_one_side_is_flagged_by_the_page_and_not_by_the_task() {
    let of = |choice: fn(i64) -> Choice| {
        let answers: Vec<Stored> =
            (0..60).map(|number| answer(number, choice(number), first(number), 5_000)).collect();
        ["side", "straight_line"].map(|rule| said(rule, None, &answers).len())
    };
    assert_eq!(of(first), [1, 1], "always the left side, wherever the items stand");
    assert_eq!(of(|_| Choice::First), [0, 0], "one item, on both sides");
}

#[test]
fn whoever_contradicts_themselves_is_flagged() {
    let of = |n_changed: i64| {
        let pair = |number: i64| {
            let again = if number < n_changed { Choice::Second } else { Choice::First };
            [
                answer(number, Choice::First, first(number), 5_000),
                answer(100 + number, again, first(number), 5_000),
            ]
        };
        let answers: Vec<Stored> = (0..10).flat_map(pair).collect();
        let tasks: Vec<Task> =
            answers.iter().map(|it| Task { id: it.task, ..task(it.task % 100, None) }).collect();
        let mut rulings = Gates::default().rulings(&answers, &tasks);
        rulings.retain(|it| it.rule == "repeats");
        rulings
    };
    assert!(of(3).is_empty());
    assert_eq!(of(4)[0].reason, "6 of 10 repeated tasks answered as before");
}

#[test]
fn nothing_is_said_of_nothing() {
    assert!(Gates::default().rulings(&[], &[]).is_empty());
    let none = Gates { min_habit: 0, min_repeats: 0, min_golds: 0, ..Gates::default() };
    assert!(none.rulings(&[], &[]).is_empty());
    // Answers to tasks that aren't there.
    let answers = [answer(1, Choice::First, Choice::First, 9_000)];
    none.rulings(&answers, &[]);
}
