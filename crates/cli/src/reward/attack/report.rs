//! What came of an attack.

use rein_data::tokenizer::Tokenizer;
use rein_reward::adversarial::flips::Attacked;
use rein_reward::evaluate::Share;
use serde::Serialize;

use super::cases::Case;

/// What came of one pair.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Attempt {
    prompt: String,
    chosen: String,
    rejected: String,
    /// Scores of both, as the model gives them.
    scores: [f32; 2],
    /// Where the model judged the pair as people did.
    attack: Option<Outcome>,
}

/// What an attack made of a rejected reply.
#[derive(Clone, Debug, Serialize)]
struct Outcome {
    reply: String,
    score: f32,
    flips: usize,
    succeeded: bool,
}

impl Attempt {
    pub(super) fn new(
        case: &Case,
        scores: [f32; 2],
        attacked: Option<Attacked>,
        tokenizer: &Tokenizer,
    ) -> Self {
        let attack = attacked.map(|it| Outcome {
            reply: case.reply(&it.row, tokenizer),
            score: it.score,
            flips: it.n_flips,
            succeeded: it.succeeded,
        });
        let pair = case.pair.clone();
        let (prompt, chosen, rejected) = (pair.prompt, pair.chosen, pair.rejected);
        Self { prompt, chosen, rejected, scores, attack }
    }
}

/// What came of all of them.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    budget: usize,
    /// How often the model judged as people did, before any attack.
    accuracy: Interval,
    /// How often it no longer did, of those.
    attack_success_rate: Interval,
    /// Exchanges that a successful attack took on average.
    mean_flips: Option<f64>,
    attempts: Vec<Attempt>,
}

/// A share with its 95 % Wilson interval.
#[derive(Clone, Copy, Debug, Serialize)]
struct Interval {
    count: usize,
    of: usize,
    share: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
}

impl Interval {
    fn of(count: usize, of: usize) -> Self {
        let share = Share { n_right: count as f64, n_cases: of };
        let known = |value: f64| (of > 0).then_some(value);
        let (low, high) = share.interval();
        Self { count, of, share: known(share.value()), low: known(low), high: known(high) }
    }

    fn render(self) -> String {
        let percent = |share: Option<f64>| share.map_or(f64::NAN, |it| 100.0 * it);
        format!(
            "{:.1} % ({} of {}; 95 % interval {:.1} to {:.1} %)",
            percent(self.share),
            self.count,
            self.of,
            percent(self.low),
            percent(self.high)
        )
    }
}

impl Report {
    pub(super) fn new(attempts: &[Attempt], budget: usize) -> Self {
        let attacked: Vec<&Outcome> = attempts.iter().filter_map(|it| it.attack.as_ref()).collect();
        let flips: Vec<f64> =
            attacked.iter().filter(|it| it.succeeded).map(|it| it.flips as f64).collect();
        let mean = flips.iter().sum::<f64>() / flips.len() as f64;
        Self {
            budget,
            accuracy: Interval::of(attacked.len(), attempts.len()),
            attack_success_rate: Interval::of(flips.len(), attacked.len()),
            mean_flips: (!flips.is_empty()).then_some(mean),
            attempts: attempts.to_vec(),
        }
    }

    /// For people, with some of the replies that fooled the model.
    pub(super) fn render(&self, n_examples: usize) -> String {
        let mut text = format!(
            "accuracy             {}\nattack success rate  {} within {} exchanged tokens\n",
            self.accuracy.render(),
            self.attack_success_rate.render(),
            self.budget
        );
        if let Some(flips) = self.mean_flips {
            text += &format!("exchanged tokens     {flips:.1} where it succeeded\n");
        }
        let fooled = self.attempts.iter().filter_map(|attempt| {
            attempt.attack.as_ref().filter(|it| it.succeeded).map(|outcome| (attempt, outcome))
        });
        for (attempt, outcome) in fooled.take(n_examples) {
            let [chosen, rejected] = attempt.scores;
            text += &format!(
                "\nprompt    {:?}\npreferred {:?} ({chosen:.2})\nrejected  {:?} ({rejected:.2})\nbecame    {:?} ({:.2}, {} exchanged)\n",
                attempt.prompt,
                attempt.chosen,
                attempt.rejected,
                outcome.reply,
                outcome.score,
                outcome.flips
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(attack: Option<(usize, bool)>) -> Attempt {
        let text = String::new;
        let attack = attack.map(|(flips, succeeded)| Outcome {
            reply: "fooled \u{1b}[2J".into(),
            score: 1.5,
            flips,
            succeeded,
        });
        Attempt { prompt: text(), chosen: text(), rejected: text(), scores: [1.0, 0.0], attack }
    }

    #[test]
    fn success_is_counted_among_pairs_that_were_judged_rightly() {
        let attempts =
            [None, Some((3, true)), Some((20, false)), Some((5, true)), Some((2, false))]
                .map(attempt);
        let report = Report::new(&attempts, 20);
        let text = report.render(1);
        assert!(text.starts_with("accuracy             80.0 % (4 of 5;"), "{text}");
        assert!(
            text.contains("attack success rate  50.0 % (2 of 4; 95 % interval 15.0 to 85.0 %)"),
            "{text}"
        );
        assert!(text.contains("exchanged tokens     4.0 where"), "{text}");
        // Replies are a model's, and may hold what terminals obey.
        assert!(!text.contains('\u{1b}') && text.matches("became").count() == 1, "{text}");
        let none = Report::new(&[attempt(None)], 20);
        let json = serde_json::to_value(&none).expect("plain JSON");
        assert!(json["attack_success_rate"]["share"].is_null(), "{json}");
    }
}
