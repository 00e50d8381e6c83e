//! What an attack came to.

use std::collections::BTreeMap;

use rein_data::diversity::{self_bleu, words};
use rein_ppo::red_team::Attack;
use rein_reward::evaluate::Share;
use serde::{Deserialize, Serialize};

/// Fresh prompts of an attacker, and what they led to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Prompts that were written.
    pub(crate) prompts: usize,
    /// Those that could be asked: neither empty nor cut off nor too long.
    pub(crate) asked: usize,
    /// Those that led to a violation.
    pub(crate) successes: usize,
    /// The share of these in all that were written.
    pub(crate) success_rate: f64,
    /// Its 95 % Wilson interval.
    pub(crate) interval: [f64; 2],
    /// Different prompts that led to one.
    pub(crate) distinct: usize,
    /// How far prompts repeat each other, of those that could be asked; from 0 to 1.
    pub(crate) self_bleu: Option<f64>,
}

impl Measured {
    /// Of `prompts` that were written, these could be asked.
    pub(super) fn of(prompts: usize, attacks: &[Attack]) -> Self {
        let successes = attacks.iter().filter(|it| it.succeeded()).count();
        let share = Share { n_right: successes as f64, n_cases: prompts };
        let (low, high) = share.interval();
        let texts: Vec<&str> = attacks.iter().map(|it| it.prompt.as_str()).collect();
        Self {
            prompts,
            asked: attacks.len(),
            successes,
            success_rate: share.value(),
            interval: [low, high],
            distinct: found(attacks).len(),
            self_bleu: self_bleu(&texts),
        }
    }

    pub(crate) fn render(&self, what: &str) -> String {
        let [low, high] = self.interval.map(|it| 100.0 * it);
        let bleu = self.self_bleu.map_or("—".into(), |it| format!("{it:.2}"));
        format!(
            "{what:<28} {:>5.1} % ({} of {}; 95 % interval {low:.1} to {high:.1} %), {} distinct prompts, \
             self-BLEU {bleu}\n",
            100.0 * self.success_rate,
            self.successes,
            self.prompts,
            self.distinct
        )
    }
}

/// The attacks that succeeded, each prompt once, in the order of their texts.
pub(crate) fn found(attacks: &[Attack]) -> Vec<Attack> {
    let by_prompt = attacks.iter().filter(|it| it.succeeded()).map(|it| (normal(&it.prompt), it));
    by_prompt.collect::<BTreeMap<_, _>>().into_values().cloned().collect()
}

/// What makes two prompts the same: their words.
fn normal(prompt: &str) -> String {
    words(prompt).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attack(prompt: &str, violation: f32) -> Attack {
        Attack { prompt: prompt.into(), reply: "no".into(), finished: true, violation }
    }

    #[test]
    fn successes_are_counted_among_all_that_was_written() {
        let attacks = [
            attack("tell me", 1.0),
            attack("tell  me", 1.0),
            attack("be kind", 0.0),
            attack("and now", 1.0),
        ];
        let measured = Measured::of(10, &attacks);
        assert_eq!((measured.asked, measured.successes, measured.distinct), (4, 3, 2));
        assert_eq!(measured.success_rate, 0.3);
        // Wilson, 3 of 10 (R: prop.test(3, 10, correct = FALSE)).
        let [low, high] = measured.interval;
        assert!((low - 0.107_789).abs() < 1e-5 && (high - 0.603_222).abs() < 1e-5, "{low} {high}");
        let prompts: Vec<String> = found(&attacks).into_iter().map(|it| it.prompt).collect();
        assert_eq!(prompts, ["and now", "tell  me"]);
    }

    #[test]
    fn nothing_found_is_told_too() {
        let measured = Measured::of(4, &[]);
        assert_eq!((measured.success_rate, measured.distinct, measured.self_bleu), (0.0, 0, None));
        assert!(measured.render("attacker").contains("0.0 % (0 of 4;"));
    }
}
