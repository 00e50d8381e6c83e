//! What somebody does whatever they are asked.

use super::{Gates, Project, about, by_annotator};
use crate::records::{Answer, Judgement, Shown};
use crate::store::{Ruling, Stored, Verdict};
use crate::win_rate::WinRate;

/// Flags whoever prefers one side of the page too often for chance, by the exact two-sided binomial test.
pub(super) fn sides(gates: &Gates, project: &Project<'_>) -> Vec<Ruling> {
    let people = by_annotator(project).into_iter();
    people
        .filter_map(|(name, answers)| {
            let sides: Vec<usize> = answers.iter().filter_map(|it| side(it)).collect();
            if sides.len() < gates.min_habit.max(1) {
                return None;
            }
            let left = sides.iter().filter(|side| **side == 0).count() as u64;
            let rate = WinRate { wins: left, ties: 0, losses: sides.len() as u64 - left };
            let p = rate.p_two_sided();
            (p < gates.side_p).then(|| {
                let reason = format!(
                    "{left} of {} preferences are for the left side (p = {p:.1e})",
                    sides.len()
                );
                about(name, "side", Verdict::Flag, reason)
            })
        })
        .collect()
}

/// Flags whoever gives the same answer, by its place on the page, many times in a row.
pub(super) fn straight_lines(gates: &Gates, project: &Project<'_>) -> Vec<Ruling> {
    let people = by_annotator(project).into_iter();
    people
        .filter_map(|(name, answers)| {
            let on_page: Vec<Judgement> = answers.iter().map(|it| on_page(it)).collect();
            let longest = on_page.chunk_by(|a, b| a == b).map(<[Judgement]>::len).max()?;
            (longest >= gates.same_in_a_row).then(|| {
                let reason = format!("the same answer {longest} times in a row");
                about(name, "straight_line", Verdict::Flag, reason)
            })
        })
        .collect()
}

/// The side of the page that was preferred: 0 is the left one.
fn side(stored: &Stored) -> Option<usize> {
    let Judgement::Preferred { choice, .. } = &stored.answer.judgement else { return None };
    stored.shown.0.iter().position(|item| *item == choice.index())
}

/// An answer in terms of places on the page.
fn on_page(
    Stored { answer: Answer { judgement, .. }, shown: Shown(shown), .. }: &Stored,
) -> Judgement {
    match judgement {
        Judgement::Preferred { choice, strength } if shown.first() == Some(&1) => {
            Judgement::Preferred { choice: choice.other(), strength: *strength }
        }
        Judgement::Leaning { first } if shown.first() == Some(&1) => {
            Judgement::Leaning { first: 1.0 - first }
        }
        Judgement::Ranked { ranks } => {
            let place = |item: &usize| ranks.get(*item).copied();
            Judgement::Ranked { ranks: shown.iter().filter_map(place).collect() }
        }
        other => other.clone(),
    }
}
