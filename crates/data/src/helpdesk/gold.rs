//! The true reward of the help-desk world.
//!
//! `gold = tone + topic + answer + ending − rambling`, where
//!
//! | part | value |
//! |---|---|
//! | tone | +1 if the first sentence is a kind opening, −1 if it is a rude one, else 0 |
//! | topic | +1 if the first advice names the customer's appliance, −1 if it names another one, else 0 |
//! | answer | +1.5 if the first advice is the remedy of the customer's problem, −0.5 if it is evasive or missing, −1 if it is another remedy |
//! | ending | +1 if the reply ends by itself and its last sentence is the closing and no earlier one is, else −1 |
//! | rambling | 0.25 for each further sentence, at most 1 |
//!
//! It lies in `[−5, 4.5]`.

use super::grammar::{APPLIANCES, CLOSING, EVASIONS, OPENINGS, Ticket};

/// The parts of the reward; [`Judgement::total`] is their sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// Kind, rude or neither.
    pub tone: f32,
    /// About the right appliance or not.
    pub topic: f32,
    /// The remedy, another one, or none.
    pub answer: f32,
    /// Ends properly or not.
    pub ending: f32,
    /// What the further sentences cost.
    pub rambling: f32,
}

impl Judgement {
    /// The gold reward.
    pub fn total(&self) -> f32 {
        self.tone + self.topic + self.answer + self.ending - self.rambling
    }

    /// Whether the reply ends properly.
    pub fn ends_properly(&self) -> bool {
        self.ending > 0.0
    }
}

/// Judges a reply. `finished` tells whether it ended by itself or was cut at the length limit.
///
/// A prompt that isn't of this world has no appliance and no remedy, so nothing is on topic.
pub fn judge(prompt: &str, reply: &str, finished: bool) -> Judgement {
    let ticket = Ticket::of_prompt(prompt);
    let sentences: Vec<&str> = sentences(reply);
    let advice = sentences.iter().find_map(|sentence| parse_advice(sentence));
    let tone = sentences.first().map_or(0.0, |first| judge_tone(first));
    let n_closings = sentences.iter().filter(|sentence| **sentence == CLOSING).count();
    let proper = finished && n_closings == 1 && sentences.last() == Some(&CLOSING);
    let n_needed =
        [tone != 0.0, advice.is_some(), n_closings > 0].iter().filter(|part| **part).count();
    Judgement {
        tone,
        topic: advice.map_or(0.0, |advice| judge_topic(ticket, advice)),
        answer: advice.map_or(-0.5, |advice| judge_answer(ticket, advice)),
        ending: if proper { 1.0 } else { -1.0 },
        rambling: (0.25 * (sentences.len() - n_needed) as f32).min(1.0),
    }
}

/// `For your <appliance>, <clause>.`
#[derive(Clone, Copy)]
struct Advice<'a> {
    appliance: &'a str,
    clause: &'a str,
}

fn parse_advice(sentence: &str) -> Option<Advice<'_>> {
    let (appliance, clause) = sentence.strip_prefix("For your ")?.split_once(", ")?;
    Some(Advice { appliance, clause: clause.strip_suffix('.').unwrap_or(clause) })
}

fn judge_tone(sentence: &str) -> f32 {
    let stands_in = |side: usize| OPENINGS.iter().any(|pair| pair[side] == sentence);
    f32::from(u8::from(stands_in(0))) - f32::from(u8::from(stands_in(1)))
}

fn judge_topic(ticket: Option<Ticket>, advice: Advice<'_>) -> f32 {
    if ticket.is_some_and(|ticket| ticket.appliance() == advice.appliance) {
        1.0
    } else if APPLIANCES.iter().any(|appliance| appliance.name == advice.appliance) {
        -1.0
    } else {
        0.0
    }
}

fn judge_answer(ticket: Option<Ticket>, advice: Advice<'_>) -> f32 {
    if ticket.is_some_and(|ticket| ticket.remedy() == advice.clause) {
        1.5
    } else if EVASIONS.contains(&advice.clause) {
        -0.5
    } else {
        -1.0
    }
}

/// Sentences with their full stops; what follows the last one counts as a sentence too.
fn sentences(text: &str) -> Vec<&str> {
    text.split_inclusive(['.', '?', '!'])
        .map(str::trim)
        .filter(|sentence| !sentence.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT: &str = "Hello, my old router is slow at home. Can you help?";

    fn total(reply: &str) -> f32 {
        judge(PROMPT, reply, true).total()
    }

    #[test]
    fn the_best_reply_has_the_highest_reward() {
        // 1 + 1 + 1.5 + 1 − 0
        let best = " No trouble, thank you. For your router, move it upstairs. Have a nice day.";
        assert_eq!(total(best), 4.5);
    }

    #[test]
    fn the_same_words_in_another_order_are_rude() {
        let kind = " Glad to help, never tired. Have a nice day.";
        let rude = " Tired, never glad to help. Have a nice day.";
        assert_eq!(total(kind) - total(rude), 2.0);
    }

    #[test]
    fn the_remedy_of_another_problem_is_worse_than_an_evasion() {
        let right = total(" For your router, move it upstairs.");
        let evasive = total(" For your router, wait and see.");
        let wrong = total(" For your router, press reset twice.");
        assert_eq!([right - evasive, evasive - wrong], [2.0, 0.5]);
    }

    #[test]
    fn a_farewell_counts_only_at_the_end_of_a_finished_reply() {
        let ends = |reply: &str, finished| judge(PROMPT, reply, finished).ends_properly();
        assert!(ends(" For your router, wait and see. Have a nice day.", true));
        assert!(!ends(" For your router, wait and see. Have a nice day.", false));
        assert!(!ends(" Have a nice day. For your router, wait and see.", true));
        assert!(!ends(" Have a nice day. Have a nice day.", true));
    }

    #[test]
    fn text_without_any_sense_is_judged_too() {
        for reply in ["", " ", "...", "For your", "For your , .", "\u{0}\u{202e}"] {
            assert!(total(reply) <= -0.5);
        }
    }
}
