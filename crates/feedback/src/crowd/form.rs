//! The fields that a task is answered with, on whichever platform: their names, and what can stand in them.

/// Names of fields, from which [`super::given`](super::given::given) reads.
pub(super) const CHOICE: &str = "choice";
pub(super) const SCORE: &str = "score";
pub(super) const THUMB: &str = "thumb";
pub(super) const TEXT: &str = "text";
pub(super) const SUCCESS: &str = "success";
pub(super) const COMMENT: &str = "comment";

/// The field of the place of a response, by its place on the page, from 1.
pub(super) fn rank(place: usize) -> String {
    format!("rank_{place}")
}

/// The field of a project's reason, from 0.
pub(super) fn reason(number: usize) -> String {
    format!("reason_{}", number + 1)
}

/// The field of a project's aspect, from 0.
pub(super) fn aspect(number: usize) -> String {
    format!("aspect_{}", number + 1)
}

/// What a response is called.
pub(super) fn name(place: usize, n_responses: usize) -> String {
    match (n_responses, place) {
        (1, _) => "Response".into(),
        (2, 1) => "Left".into(),
        (2, _) => "Right".into(),
        _ => format!("Response {place}"),
    }
}

/// The values of a pair's scale from left to right, and what they are called.
pub(super) fn sides(points: u8, ties: bool) -> Vec<(String, String)> {
    let most = (points / 2).max(1);
    let words = |strength: u8| match (most, strength) {
        (1, _) => "is better".into(),
        (_, 1) => "is slightly better".into(),
        (most, it) if it == most => "is much better".into(),
        (_, it) => format!("is better, {it} of {most}"),
    };
    let side = |value: &str, name: &str, strength: u8| {
        (format!("{value}_{strength}"), format!("{name} {}", words(strength)))
    };
    let left = (1..=most).rev().map(|it| side("left", "Left", it));
    let middle = [("tie", "Both are equally good"), ("both_bad", "Both are bad")].map(owned);
    let right = (1..=most).map(|it| side("right", "Right", it));
    left.chain(middle.into_iter().filter(|_| ties)).chain(right).collect()
}

pub(super) fn owned((value, name): (&str, &str)) -> (String, String) {
    (value.into(), name.into())
}
