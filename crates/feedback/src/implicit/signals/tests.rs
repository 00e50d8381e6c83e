use serde_json::json;

use crate::implicit::events::Impression;
use crate::implicit::pairs::{ClickPairs, Harvest, HarvestConfig, Reason, harvest};
use crate::implicit::propensity::Propensities;
use crate::implicit::texts::Texts;

/// A list of responses to `p`, each in view for five seconds, and what one user did.
fn list(number: u64, responses: &[&str], events: serde_json::Value) -> Impression {
    let item = |(pos, id): (usize, &&str)| json!({"response_id": id, "pos": pos, "shown_ms": 5000});
    let items: Vec<_> = (1..).zip(responses).map(item).collect();
    let line = json!({
        "v": 1, "ts_ms": number * 60_000, "session": "s", "user_hash": "u", "prompt_id": "p",
        "request_id": number.to_string(), "items": items, "events": events,
    });
    let impression: Impression = serde_json::from_value(line).expect("is a line");
    impression.checked().expect("is a good one")
}

fn texts() -> Texts {
    let mut texts = Texts::default();
    for id in ["a", "b", "c", "d"] {
        texts.add("p", "P", id, id.to_uppercase()).expect("each has its text");
    }
    texts
}

fn found(log: &[Impression], config: &HarvestConfig) -> Harvest {
    harvest(log, &texts(), config).expect("is harvested")
}

/// `chosen>rejected weight reason`, row by row.
fn rows(log: &[Impression]) -> Vec<String> {
    described(&found(log, &HarvestConfig::default()))
}

fn described(found: &Harvest) -> Vec<String> {
    let row = |it: &crate::implicit::ImplicitPair| {
        let reason = serde_json::to_value(it.reason).expect("is a name");
        format!(
            "{}>{} {:.2} {}",
            it.chosen.to_text(),
            it.rejected.to_text(),
            it.weight,
            reason.as_str().expect("is text")
        )
    };
    found.pairs.iter().map(row).collect()
}

#[test]
fn clicks_beat_what_was_skipped_above_them() {
    let clicks = json!([
        {"type": "click", "response_id": "b", "t_ms": 900},
        {"type": "click", "response_id": "c", "t_ms": 2900, "visible_ms": 31_000},
    ]);
    let log = [list(1, &["a", "b", "c", "d"], clicks)];
    assert_eq!(rows(&log), ["B>A 0.20 skip_above", "C>A 0.20 skip_above"]);
}

#[test]
fn weighted_clicks_beat_all_others_by_the_propensity_of_their_place() {
    let clicks = json!([
        {"type": "click", "response_id": "a", "t_ms": 900},
        {"type": "click", "response_id": "d", "t_ms": 900},
    ]);
    let log = [list(1, &["a", "b", "d"], clicks)];
    let propensities = Propensities::PowerLaw { eta: 1.0 };
    let clicks = ClickPairs::InversePropensity { propensities, clip: 0.5 };
    let config = HarvestConfig { clicks, ..HarvestConfig::default() };
    let want = ["A>B", "A>D", "D>A", "D>B"].map(|it| {
        let weight = if it.starts_with('A') { "0.20" } else { "0.40" };
        format!("{it} {weight} inverse_propensity")
    });
    assert_eq!(described(&found(&log, &config)), want);
}

#[test]
fn clicks_that_were_left_at_once_lose_to_those_that_satisfied() {
    let clicks = json!([
        {"type": "click", "response_id": "b", "t_ms": 900, "visible_ms": 4000},
        {"type": "click", "response_id": "c", "t_ms": 5900},
        {"type": "close", "response_id": "c", "t_ms": 99_000, "visible_ms": 90_000},
    ]);
    let log = [list(1, &["a", "b", "c"], clicks)];
    assert_eq!(rows(&log), ["C>A 0.20 skip_above", "C>B 0.20 dwell"]);
    let alone = json!([{"type": "close", "response_id": "b", "t_ms": 1, "visible_ms": 90_000}]);
    assert_eq!(rows(&[list(1, &["a", "b"], alone)]), [""; 0]);
}

#[test]
fn copies_beat_what_was_in_view() {
    let mut list =
        list(1, &["a", "b", "c"], json!([{"type": "copy", "response_id": "a", "t_ms": 900}]));
    list.items[2].shown_ms = 999;
    assert_eq!(rows(&[list]), ["A>B 0.20 copy"]);
}

#[test]
fn the_last_edit_beats_the_original() {
    let edit = |t_ms: u64, text: &str| json!({"type": "edit", "response_id": "a", "t_ms": t_ms, "text": text});
    let log =
        [list(1, &["a"], json!([edit(9000, "better"), edit(5000, "good"), edit(9000, "best")]))];
    assert_eq!(rows(&log), ["best>A 0.20 edit"]);
    let same = [list(1, &["a"], json!([edit(9000, "A")]))];
    assert_eq!(rows(&same), [""; 0]);
    let by_id = json!([{"type": "edit", "response_id": "a", "t_ms": 1, "edited_id": "b"}]);
    assert_eq!(rows(&[list(1, &["a"], by_id)]), ["B>A 0.20 edit"]);
}

#[test]
fn the_answer_that_was_kept_beats_those_before() {
    let again = |id: &str| json!([{"type": "regenerate", "response_id": id, "t_ms": 4000}]);
    let down = json!([{"type": "thumb", "response_id": "c", "t_ms": 4000, "up": false}]);
    let log = [
        list(4, &["d"], json!([])),
        list(1, &["a"], again("a")),
        list(2, &["b"], again("b")),
        list(3, &["c"], down),
    ];
    assert_eq!(rows(&log), ["D>A 0.10 regenerate", "D>B 0.10 regenerate"]);
    assert_eq!(rows(&log[1..3]), [""; 0]);
    let mut two = log.clone();
    two[0] = list(4, &["c", "d"], json!([]));
    assert_eq!(rows(&two), [""; 0], "neither of two was kept");
    let mut elsewhere = log.clone();
    elsewhere[0].session = "another".into();
    assert_eq!(rows(&elsewhere), [""; 0]);
}

#[test]
fn the_last_thumb_of_a_user_counts() {
    let thumb = |id: &str, t_ms: u64, up: bool| json!({"type": "thumb", "response_id": id, "t_ms": t_ms, "up": up});
    let log = [
        list(1, &["a"], json!([thumb("a", 5000, false), thumb("a", 7000, true)])),
        list(2, &["b"], json!([thumb("b", 5000, true), thumb("b", 5000, false)])),
    ];
    assert_eq!(rows(&log), ["A>B 0.20 thumbs"]);
    let mut others = log.clone();
    others[1].user_hash = "another".into();
    assert_eq!(rows(&others), [""; 0]);
}

#[test]
fn thumbs_without_end_are_bounded() {
    let thumb = |number: u64| {
        let id = format!("{number:05}");
        let events = json!([{"type": "thumb", "response_id": id, "t_ms": 5000, "up": number.is_multiple_of(2)}]);
        list(number, &[&id], events)
    };
    let log: Vec<Impression> = (0..20_000).map(thumb).collect();
    assert_eq!(found(&log, &HarvestConfig::default()).n_without_text, 32 * 32);
}

/// Lists of many users, of whom one clicked often; every user clicked the second of two.
fn crowd(n_users: u64, n_lists_of_first: u64) -> Vec<Impression> {
    let click = || json!([{"type": "click", "response_id": "b", "t_ms": 900}]);
    let mut lists: Vec<Impression> = (0..n_users + n_lists_of_first - 1)
        .map(|number| list(number, &["a", "b"], click()))
        .collect();
    for (user, list) in (1..n_users).zip(&mut lists) {
        list.user_hash = format!("u{user}");
    }
    lists
}

#[test]
fn one_user_of_many_counts_for_a_hundredth() {
    let found = found(&crowd(400, 1000), &HarvestConfig::default());
    assert_eq!((found.pairs.len(), found.n_bounded), (1, 1));
    // 0.2 (399 + 399 · 0.01 / 0.99).
    assert!((found.pairs[0].weight - 0.2 * 399.0 / 0.99).abs() < 1e-9, "{found:?}");
}

#[test]
fn robots_count_for_nothing() {
    let mut log = crowd(3, 100);
    for (number, list) in log.iter_mut().filter(|it| it.user_hash == "u").enumerate() {
        list.ts_ms = number as u64;
    }
    let found = found(&log, &HarvestConfig::default());
    assert_eq!(found.suspected.keys().collect::<Vec<_>>(), ["u"]);
    assert_eq!(described(&found), ["B>A 0.40 skip_above"]);
}

#[test]
fn votes_without_texts_are_told() {
    let click = json!([{"type": "click", "response_id": "b", "t_ms": 900}]);
    let found = found(&[list(1, &["unknown", "a", "b"], click)], &HarvestConfig::default());
    assert_eq!((described(&found), found.n_without_text), (vec!["B>A 0.20 skip_above".into()], 1));
    assert_eq!(found.pairs[0].reason, Reason::SkipAbove);
}

#[test]
fn a_config_out_of_range_is_refused() {
    let clicks = |clip| ClickPairs::InversePropensity {
        propensities: Propensities::PowerLaw { eta: 1.0 },
        clip,
    };
    let good = HarvestConfig::default();
    let bad = [
        HarvestConfig { weight: f64::NAN, ..good.clone() },
        HarvestConfig { weight: 0.0, ..good.clone() },
        HarvestConfig { user_share: 1.1, ..good.clone() },
        HarvestConfig { clicks: clicks(0.0), ..good },
    ];
    for config in bad {
        assert!(harvest(&[], &texts(), &config).is_err(), "{config:?}");
    }
}

#[test]
fn rows_are_written_as_reward_models_read_them() {
    let click = json!([{"type": "click", "response_id": "b", "t_ms": 900}]);
    let found = found(&[list(1, &["a", "b"], click)], &HarvestConfig::default());
    let want = r#"{"prompt":"P","chosen":"B","rejected":"A","weight":0.2,"reason":"skip_above","source":"implicit"}"#;
    assert_eq!(serde_json::to_string(&found.pairs[0]).expect("is JSON"), want);
}
