//! GSM8K's own solutions, and others that are wrong.

use std::path::{Path, PathBuf};

use rein_data::example::Completion;
use rein_data::rows::Rows;
use rein_reward::rules::{NumericAnswerConfig, Rule};
use serde_json::{Map, Value};

/// Ways to get a number wrong.
#[derive(Clone, Copy, Debug)]
enum Slip {
    OneMore,
    OneLess,
    SwappedDigits,
    OtherSign,
    TenTimes,
    MovedPoint,
}

const SLIPS: [Slip; 6] = [
    Slip::OneMore,
    Slip::OneLess,
    Slip::SwappedDigits,
    Slip::OtherSign,
    Slip::TenTimes,
    Slip::MovedPoint,
];

impl Slip {
    /// A wrong number; `None` where this slip makes none of it.
    fn of(self, number: &str) -> Option<String> {
        let value: f64 = number.parse().expect("an answer of GSM8K");
        let wrong = match self {
            Self::OneMore => (value + 1.0).to_string(),
            Self::OneLess => (value - 1.0).to_string(),
            Self::SwappedDigits => {
                let mut signs: Vec<char> = number.chars().collect();
                let digits =
                    |pair: &[char]| pair.iter().all(char::is_ascii_digit) && pair[0] != pair[1];
                let place = signs.windows(2).position(digits)?;
                signs.swap(place, place + 1);
                signs.into_iter().collect()
            }
            Self::OtherSign => (-value).to_string(),
            Self::TenTimes => (10.0 * value).to_string(),
            Self::MovedPoint => (value / 10.0).to_string(),
        };
        (wrong.parse() != Ok(value)).then_some(wrong)
    }
}

fn rows(folder: &Path, names: [&str; 2]) -> Vec<Map<String, Value>> {
    let name = names.map(|name| folder.join(name)).into_iter().find(|it| it.exists());
    let rows = Rows::open(&name.expect("a folder of GSM8K")).expect("opens");
    rows.map(|row| row.expect("reads").columns).collect()
}

/// Whether the rule accepts a completion of a row.
fn accepts(rule: &dyn Rule, row: &Map<String, Value>, text: String) -> bool {
    let completion = Completion { text, columns: row.clone().into(), ..Completion::default() };
    rule.judge(&completion).expect("judges").score == 1.0
}

/// `REIN_GSM8K=FOLDER cargo test --release -p rein-reward --test best_of -- --ignored --nocapture`
#[test]
#[ignore = "needs GSM8K's train.jsonl and test.jsonl, plain or gzipped"]
#[allow(clippy::print_stdout, reason = "it tells how many there were")]
fn all_solutions_are_accepted_and_none_that_is_wrong() {
    let folder = PathBuf::from(std::env::var("REIN_GSM8K").expect("REIN_GSM8K names a folder"));
    let rule = NumericAnswerConfig::default().build().expect("is a rule");
    let (mut n_right, mut n_wrong, mut n_accepted) = (0, 0, 0);
    for names in [["train.jsonl", "train.jsonl.gz"], ["test.jsonl", "test.jsonl.gz"]] {
        let rows = rows(&folder, names);
        for row in &rows {
            let solution = row["answer"].as_str().expect("is a text");
            let (steps, number) = solution.rsplit_once("#### ").expect("has a mark");
            assert!(accepts(&rule, row, solution.to_owned()), "{solution}");
            assert!(accepts(&rule, row, format!("So it is ${number}.00.")), "{solution}");
            assert!(accepts(&rule, row, format!(r"$\boxed{{{number}}}$ of 9")), "{solution}");
            n_right += 1;
            for wrong in SLIPS.iter().filter_map(|slip| slip.of(&number.replace(',', ""))) {
                n_wrong += 1;
                n_accepted += u32::from(accepts(&rule, row, format!("{steps}#### {wrong}")));
            }
        }
        println!("{}: {} solutions", names[0], rows.len());
    }
    println!("{n_right} solutions accepted; {n_accepted} of {n_wrong} wrong ones accepted");
    assert!(n_accepted == 0 && n_wrong > 1000);
}
