use rein_model::Sampling;
use rein_model::sampling::{Candidate, Choice, Filters};
use serde_json::Value;

use crate::golden::{assert_close, has, json, number, numbers, root};

fn sampling(settings: &Value) -> Sampling {
    let float = |key: &str, neutral: f32| settings.get(key).map_or(neutral, |it| number(it) as f32);
    Sampling {
        choice: Choice::Random(Filters {
            temperature: float("temperature", 1.0),
            top_k: settings.get("top_k").map(|it| number(it) as usize),
            top_p: float("top_p", 1.0),
            min_p: float("min_p", 0.0),
        }),
        repetition_penalty: float("repetition_penalty", 1.0),
        ..Sampling::greedy()
    }
}

/// All cases of the files below `sampling` that have these keys. None at all is a failure.
fn cases(keys: &[&str]) -> Vec<Value> {
    let folder = root().join("sampling");
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("a folder of fixtures") {
        let file = json(&entry.expect("is readable").path());
        let lists = file.as_object().expect("an object").values().filter_map(Value::as_array);
        cases.extend(lists.flatten().filter(|case| has(case, keys)).cloned());
    }
    assert!(!cases.is_empty(), "no case with {keys:?} in {}", folder.display());
    cases
}

fn floats(values: &Value) -> Vec<f32> {
    numbers(values).into_iter().map(|number| number as f32).collect()
}

fn tokens(values: &Value) -> Vec<u32> {
    numbers(values).into_iter().map(|number| number as u32).collect()
}

fn kept(candidates: &[Candidate]) -> Vec<u32> {
    candidates.iter().map(|candidate| candidate.token).collect()
}

#[test]
fn filters_keep_what_those_of_transformers_keep() {
    for case in cases(&["settings", "logits", "kept", "probs"]) {
        let what = case["settings"].to_string();
        let sampling = sampling(&case["settings"]);
        sampling.check().expect(&what);
        for (row, logits) in case["logits"].as_array().expect("a list of rows").iter().enumerate() {
            let history = case.get("history").map_or(Vec::new(), |it| tokens(&it[row]));
            let candidates = sampling.candidates(&floats(logits), &history);
            assert_eq!(kept(&candidates), tokens(&case["kept"][row]), "{what}, row {row}");
            let all = numbers(&case["probs"][row]);
            let want: Vec<f64> = candidates.iter().map(|it| all[it.token as usize]).collect();
            let got: Vec<f32> = candidates.iter().map(|it| it.probability as f32).collect();
            assert_close(&format!("{what}, row {row}"), &got, &want, 1e-5);
        }
    }
}

#[test]
fn ties_with_the_last_token_are_kept() {
    for case in cases(&["settings", "logits", "kept_transformers"]) {
        let candidates = sampling(&case["settings"]).candidates(&floats(&case["logits"][0]), &[]);
        assert_eq!(kept(&candidates), tokens(&case["kept_transformers"]));
    }
}

#[test]
fn settings_that_mean_nothing_are_refused_by_name() {
    for case in cases(&["settings", "outcome"]) {
        let error = sampling(&case["settings"]).check().expect_err("must be refused").to_string();
        let mut names = case["settings"].as_object().expect("an object").keys();
        assert!(names.all(|name| error.contains(name)), "{error}");
    }
}
