//! What was planted is found, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rand::RngExt;
use rein_data::example::{Body, Content, Example};
use rein_data::seed::{Seed, shuffle};
use serde_json::{Map, Value};

use super::*;

/// Responses of some words drawn from many, so that no two are similar by chance.
fn response(rng: &mut impl rand::Rng, n_words: usize) -> String {
    const SYLLABLES: [&str; 12] =
        ["ba", "co", "di", "fu", "ge", "ha", "li", "mo", "nu", "pe", "ri", "so"];
    let word = |rng: &mut _| -> String {
        (0..3).map(|_| SYLLABLES[RngExt::random_range(rng, 0..SYLLABLES.len())]).collect()
    };
    (0..n_words).map(|_| word(&mut *rng)).collect::<Vec<_>>().join(" ")
}

fn pair(prompt: &str, chosen: &str, rejected: &str) -> Example {
    let text = |text: &str| Content::Text(text.into());
    Example {
        body: Body::Preference {
            prompt: text(prompt),
            chosen: text(chosen),
            rejected: text(rejected),
            margin: None,
            chosen_probability: None,
        },
        tools: None,
        template_arguments: Map::new(),
        extra: Map::new(),
    }
}

fn texts(row: &mut Example) -> [&mut String; 3] {
    let Body::Preference {
        prompt: Content::Text(prompt),
        chosen: Content::Text(chosen),
        rejected: Content::Text(rejected),
        ..
    } = &mut row.body
    else {
        panic!("a pair of texts")
    };
    [prompt, chosen, rejected]
}

/// Clean rows: prompts of 10 words, responses of 25.
fn clean(n_rows: usize) -> Vec<Example> {
    let rng = &mut Seed::new(1).child("clean").rng();
    let mut row = |_| pair(&response(rng, 10), &response(rng, 25), &response(rng, 25));
    (0..n_rows).map(&mut row).collect()
}

/// What is planted: rows behind those that they are made of, so that the first is kept.
fn planted(clean: &[Example]) -> Vec<(Rule, Example)> {
    let mut planted = Vec::new();
    let mut plant = |n: usize, rule: Rule, change: &dyn Fn(usize, &mut Example)| {
        for number in 0..n {
            let mut row = clean[planted.len()].clone();
            change(number, &mut row);
            planted.push((rule, row));
        }
    };
    plant(100, Rule::Duplicate, &|number, row| {
        // Half of them with other spaces.
        let [prompt, ..] = texts(row);
        *prompt = prompt.replace(' ', if number % 2 == 0 { " " } else { "\n " });
    });
    plant(100, Rule::NearDuplicate, &|number, row| {
        // One word of the 60 is another.
        let text = texts(row).into_iter().nth(number % 3).expect("three texts");
        let word = text.split(' ').nth(number % 10).expect("ten words").to_owned();
        *text = text.replacen(&word, "zzz", 1);
    });
    plant(50, Rule::Identity, &|number, row| {
        const LEAKS: [&str; 5] = [
            "As an AI language model, I can't say.",
            "I'm ChatGPT!",
            "I was trained by OpenAI, mind you.",
            "I am Claude, made by Anthropic.",
            "我是由百度开发的语言模型。",
        ];
        let [_, chosen, rejected] = texts(row);
        let text = if number % 2 == 0 { chosen } else { rejected };
        *text = format!("{text}. {}", LEAKS[number % 5]);
    });
    plant(50, Rule::ErrorText, &|number, row| {
        const ERRORS: [&str; 5] = [
            "**NETWORK ERROR DUE TO HIGH TRAFFIC. PLEASE REGENERATE OR REFRESH THIS PAGE.**",
            "YOUR INPUT VIOLATES OUR CONTENT MODERATION GUIDELINES. PLEASE TRY AGAIN.",
            "Rate limit exceeded, please try again in 20s.",
            "<html><head><title>502 Bad Gateway</title></head></html>",
            "Traceback (most recent call last):\n  File \"a.py\", line 1\nValueError: no",
        ];
        let [_, chosen, rejected] = texts(row);
        *(if number % 2 == 0 { chosen } else { rejected }) = ERRORS[number % 5].into();
    });
    plant(20, Rule::Identical, &|_, row| {
        let [_, chosen, rejected] = texts(row);
        *rejected = format!(" {}", chosen.replace(' ', "  "));
    });
    plant(40, Rule::Unfinished, &|_, row| {
        row.extra.insert("chosen_finished".into(), Value::Bool(false));
    });
    planted
}

#[test]
fn all_that_was_planted_is_found_and_nothing_else() {
    let mut rows = clean(2000);
    let mut want: BTreeMap<usize, Rule> = BTreeMap::new();
    for (rule, row) in planted(&rows) {
        want.insert(rows.len(), rule);
        rows.push(row);
    }
    let report = Cleaning::default().run(&rows);
    let found: BTreeMap<usize, Rule> =
        report.set_aside.iter().map(|it| (it.row, it.rule)).collect();
    assert_eq!(found, want);
    assert_eq!(report.flagged, []);
    assert_eq!(report.kept, (0..2000).collect::<Vec<_>>());
}

#[test]
fn one_row_of_each_group_is_kept_in_whichever_order_they_come() {
    let mut rows = clean(400);
    let copies: Vec<Example> = planted(&rows).into_iter().take(200).map(|it| it.1).collect();
    rows.extend(copies);
    // Rows 400 to 599 are copies of rows 0 to 199, word for word or almost.
    let origin = |row: usize| if row < 400 { row } else { row - 400 };
    for seed in 0..3 {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        shuffle(&mut order, &mut Seed::new(seed).rng());
        let shuffled: Vec<Example> = order.iter().map(|row| rows[*row].clone()).collect();
        let report = Cleaning::default().run(&shuffled);
        let kept: BTreeSet<usize> = report.kept.iter().map(|row| origin(order[*row])).collect();
        assert_eq!(report.n_kept, 400, "one of each");
        assert_eq!(kept, (0..400).collect());
        let lengths = [report.length_before, Cleaning::default().run(&rows).length_before];
        let [a, b] = lengths.map(|it| it.expect("can be told").coefficient);
        assert!((a - b).abs() < 1e-9, "{a} {b}");
    }
}

fn any_row() -> impl Strategy<Value = Example> {
    let text = || prop_oneof![any::<String>(), "[ab ]{0,3}", "\\PC{0,80}"];
    let extra = prop_oneof![Just(false), Just(true)];
    (text(), text(), text(), extra, 0..5u8, any::<Option<f32>>()).prop_map(
        |(prompt, first, second, cut, kind, number)| {
            let mut row = pair(&prompt, &first, &second);
            if cut {
                row.extra.insert("rejected_finished".into(), Value::Bool(false));
            }
            let [prompt, first, second] = [prompt, first, second].map(Content::Text);
            row.body = match kind {
                0 => Body::UnpairedPreference { prompt, completion: first, label: cut },
                1 => {
                    let score = number.unwrap_or(0.0);
                    Body::Scored { prompt, completion: first, score }
                }
                2 => {
                    let completions = vec![first.clone(), second, first];
                    Body::Ranking { prompt, completions, ranks: vec![1, 2, u32::MAX] }
                }
                3 => Body::PromptCompletion { prompt, completion: first },
                _ => Body::Preference {
                    prompt,
                    chosen: first,
                    rejected: second,
                    margin: number,
                    chosen_probability: number,
                },
            };
            row
        },
    )
}

proptest! {
    #[test]
    fn every_row_is_kept_or_set_aside(rows in prop::collection::vec(any_row(), 0..12)) {
        let report = Cleaning::default().run(&rows);
        prop_assert_eq!(report.n_rows, rows.len());
        prop_assert_eq!(report.n_kept, report.kept.len());
        let set_aside = report.set_aside.iter().map(|it| it.row);
        let mut all: Vec<usize> = report.kept.iter().copied().chain(set_aside).collect();
        all.sort_unstable();
        prop_assert_eq!(all, (0..rows.len()).collect::<Vec<_>>());
        prop_assert!(report.flagged.iter().all(|it| report.kept.contains(&it.row)));
        let said = report.set_aside.iter().map(|it| &it.reason);
        let said = said.chain(report.flagged.iter().map(|it| &it.reason));
        prop_assert!(said.clone().all(|it| !it.chars().any(char::is_control)));
        report.merged(&rows);
        serde_json::to_string(&report).expect("is written");
        // What was kept is kept again.
        let kept: Vec<Example> = report.kept.iter().map(|row| rows[*row].clone()).collect();
        prop_assert_eq!(Cleaning::default().run(&kept).n_kept, kept.len());
    }
}
