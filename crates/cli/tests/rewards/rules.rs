//! Rules: of files that are scored, and of runs.

use std::fs;
use std::time::{Duration, Instant};

use expect_test::{Expect, expect};
use serde_json::Value;

use crate::program::Workplace;
use crate::server::{Act, Judge};
use crate::{number, told};

const ROWS: &str = concat!(
    r#####"{"prompt": "2 + 3?", "completion": "It is 5.\n#### 5", "answer": "#### 5.0"}"#####,
    "\n",
    r#"{"messages": [{"role": "user", "content": "1/2 of 3?"}, {"role": "assistant", "content": "\\boxed{\\frac{3}{2}}"}], "answer": 1.5}"#,
    "\n",
    r#"{"text": "many many many words", "answer": 7}"#,
    "\n",
);

/// What `rein score --rules` gives.
fn scored(place: &Workplace, rules: &str) -> Vec<Value> {
    place.write("rules.toml", rules);
    place.write("rows.jsonl", ROWS);
    let text = place.succeed(&["score", "--rules", "rules.toml", "--input", "rows.jsonl"]);
    text.lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect()
}

/// What it says where it can't, and its exit code.
fn refused(place: &Workplace, rules: &str, code: i32, expected: &Expect) {
    place.write("rules.toml", rules);
    place.write("rows.jsonl", ROWS);
    let output = place.output(&["score", "--rules", "rules.toml", "--input", "rows.jsonl"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{told}");
    expected.assert_eq(told.lines().last().expect("says something"));
}

#[test]
fn files_are_scored_and_each_rule_says_why() {
    let rules = r#"
[[rewards]]
kind = "numeric_answer"

[[rewards]]
kind = "length"
max = 2
weight = 0.5

[[rewards]]
kind = "command"
name = "shell"
command = ["sh", "-c", "while read -r row; do echo '{\"score\": -1, \"reason\": \"as always\"}'; done"]
weight = 0.1
"#;
    let lines = scored(&Workplace::new(), rules);
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    expect![[r##"
        {"score":0.75,"rules":{"numeric_answer":{"score":1.0,"reason":"5"},"length":{"score":-0.3,"reason":"5 of at most 2 words"},"shell":{"score":-1.0,"reason":"as always"}}}
        {"score":0.9,"rules":{"numeric_answer":{"score":1.0,"reason":"\\frac{3}{2}"},"length":{"score":0.0,"reason":"1 words"},"shell":{"score":-1.0,"reason":"as always"}}}
        {"score":-0.2,"rules":{"numeric_answer":{"score":0.0,"reason":"no number in the text"},"length":{"score":-0.2,"reason":"4 of at most 2 words"},"shell":{"score":-1.0,"reason":"as always"}}}
    "##]]
    .assert_eq(&text);
}

#[test]
fn endpoints_are_asked_again_and_hold_to_their_bounds() {
    let place = Workplace::new();
    place.write("token", "secret\n");
    let rules = |judge: &Judge, more: &str| {
        format!(
            "[[rewards]]\nkind = \"http\"\nurl = \"{}\"\nbackoff_secs = 0.01\n{more}\n",
            judge.url
        )
    };
    let judge = Judge::start(&[Act::Refuse, Act::Cut, Act::Score]);
    let lines = scored(&place, &rules(&judge, "token_file = \"token\""));
    assert_eq!(lines[2]["rules"]["http"]["reason"], "20 bytes");
    assert_eq!((lines[2]["score"].as_f64(), judge.n_asked()), (Some(0.2), 3));
    let tokens = judge.tokens.lock().expect("nobody panicked").clone();
    assert!(tokens.iter().all(|it| it.as_deref() == Some("Bearer secret")), "{tokens:?}");
    for (act, more, n_asked, reason) in [
        (Act::Refuse, "retries = 1", 2, "answers HTTP 503: later"),
        (Act::Lead, "", 1, "answers HTTP 302"),
        (Act::Flood(2000), "max_output_bytes = 1000", 1, "the answer has more than 1000 bytes"),
        (Act::Hang, "retries = 0\ntimeout_secs = 0.3", 1, "no answer within 0.3 s"),
        (Act::Cut, "retries = 2", 3, "can't be reached"),
    ] {
        let judge = Judge::start(&[act]);
        let lines = scored(&place, &rules(&judge, &format!("on_error = \"skip\"\n{more}")));
        let verdict = &lines[0]["rules"]["http"];
        let told = verdict["reason"].as_str().expect("is a text");
        assert!(told.contains(reason), "{told}");
        assert_eq!((&verdict["failed"], judge.n_asked()), (&true.into(), n_asked), "{told}");
    }
}

#[test]
fn rules_that_fail_are_told_of_with_file_and_line() {
    let place = Workplace::new();
    let script = |script: &str| {
        format!(
            "[[rewards]]\nkind = \"command\"\ntimeout_secs = 0.5\ncommand = [\"sh\", \"-c\", '{script}']\n"
        )
    };
    refused(
        &place,
        &script("echo 1; echo nan; echo 2"),
        1,
        &expect![
            "error: rows.jsonl, line 2: the rule `command` can't judge completion 2 (of the prompt \"1/2 of 3?\"): its score is NaN; scores must be finite; with `on_error = \"skip\"` the run would go on"
        ],
    );
    let start = Instant::now();
    refused(
        &place,
        &script("sleep 60"),
        1,
        &expect![
            "error: rows.jsonl, line 1: the rule `command` can't judge completion 1 (of the prompt \"2 + 3?\"): no answer within 0.5 s; with `on_error = \"skip\"` the run would go on"
        ],
    );
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    refused(
        &place,
        "[[rewards]]\nkind = \"exact_answer\"\ncolumn = \"truth\"\n",
        1,
        &expect![
            "error: rows.jsonl, line 1: the rule `exact_answer` can't judge completion 1 (of the prompt \"2 + 3?\"): the prompt's row has no column `truth`; name another with `column`; with `on_error = \"skip\"` the run would go on"
        ],
    );
}

#[test]
fn files_of_rules_are_read_strictly() {
    let place = Workplace::new();
    let length = "[[rewards]]\nkind = \"length\"\nmax = 3\n\n";
    refused(
        &place,
        &format!("{length}[[rewards]]\nkind = \"length\"\nmaxi = 3\n"),
        2,
        &expect![
            "error: rules.toml:7: unknown key `rewards[1].maxi`; did you mean `rewards[1].max`?"
        ],
    );
    refused(
        &place,
        "[[rewards]]\nkind = \"lenght\"\n",
        2,
        &expect![[
            r#"error: rules.toml:2: `rewards[0].kind` is "lenght", which isn't known; did you mean "length"?"#
        ]],
    );
    refused(
        &place,
        "[[rewards]]\nkind = \"length\"\nmax = \"three\"\n",
        2,
        &expect![[
            r#"error: rules.toml:3: `rewards[0].max`: invalid type: string "three", expected usize"#
        ]],
    );
    refused(
        &place,
        &format!("{length}{length}"),
        2,
        &expect![[
            r#"error: rules.toml: `rewards` holds "length" twice; give one of them a `name` of its own"#
        ]],
    );
    refused(
        &place,
        "[[rewards]]\nkind = \"json\"\nschema = { \"$ref\" = \"http://127.0.0.1:1/\" }\n",
        2,
        &expect![
            "error: rules.toml: `rewards[0].schema` is no JSON schema: Resource 'http://127.0.0.1:1/' is not present in a registry and retrieving it failed: a schema refers to its own parts only here; copy it into `$defs`"
        ],
    );
    refused(
        &place,
        "[[rewards]]\nkind = \"model\"\n",
        2,
        &expect![[
            r#"error: rules.toml: `rewards` holds "model", but here no model is asked; leave it out, or score with `--model`"#
        ]],
    );
}

/// Sums, with their answers beside.
fn sums(place: &Workplace) {
    let sum = |number: u32| {
        format!(
            "{{\"prompt\": \"{number}+1=\", \"completion\": \"{0}\", \"truth\": {0}}}\n",
            number + 1
        )
    };
    place.write("sums.jsonl", &(0..40).map(sum).collect::<String>());
    let tiny = fs::read_to_string(place.path("tiny.toml")).expect("reads");
    let world = tiny.find("[data]").expect("is there")..tiny.find("[model]").expect("is there");
    let data = "[data]\nkind = \"files\"\ndemonstrations = \"sums.jsonl\"\n\n";
    place.write("tiny.toml", &[&tiny[..world.start], data, &tiny[world.end..]].concat());
}

fn train(place: &Workplace, rewards: &str) -> std::process::Output {
    let rewards = format!("rl.rewards={rewards}");
    let stages = "stages=[\"sft\", \"rl\"]";
    let args = ["train", "--config", "tiny.toml", "--plain", "--run", "run"];
    place.output(&[&args[..], &["--set", stages, "--set", &rewards]].concat())
}

#[test]
fn runs_learn_from_rules_that_read_columns_and_count_what_fails() {
    let place = Workplace::new();
    sums(&place);
    // What the shell says of a completion follows from the answer that it is told: 1 or nothing.
    let shell = r#"while read -r row; do case $row in *'"truth":'[1-4]'}'*) echo oops;; *) echo 1;; esac; done"#;
    let output = train(
        &place,
        &format!(
            "[{{ kind = \"exact_answer\", column = \"truth\" }}, \
             {{ kind = \"command\", command = [\"sh\", \"-c\", '''{shell}'''], columns = [\"truth\"], \
             on_error = \"skip\", default = 0.25, weight = 0.5 }}]"
        ),
    );
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let steps = told(&place, "run");
    let mut n_failed = 0.0;
    for step in &steps {
        let [mixture, exact, shell, errors] =
            ["mixture/mean", "exact_answer/mean", "command/mean", "command/errors"]
                .map(|name| number(step, &format!("rewards/{name}")));
        assert!((mixture - exact - 0.5 * shell).abs() < 1e-5, "{step}");
        // Of 8 completions, those that failed have 0.25 and the others 1.
        assert!((shell - (1.0 - 0.75 * errors / 8.0)).abs() < 1e-6, "{step}");
        assert_eq!(number(step, "rewards/exact_answer/errors"), 0.0);
        assert!((-1.0..=1.0).contains(&number(step, "rewards/command/correlation")));
        n_failed += errors;
    }
    assert!(steps.len() == 5 && n_failed > 0.0, "{steps:?}");
    assert!(log.contains("the rule `command` couldn't judge "), "{log}");
    let saved = fs::read_to_string(place.path("run/config.toml")).expect("reads");
    assert!(
        saved.contains("on_error = \"skip\"") && saved.contains("column = \"truth\""),
        "{saved}"
    );
    let again = place.output(&["train", "--resume", "run", "--plain"]);
    assert!(again.status.success(), "the saved config is read again");
}

#[test]
fn runs_end_where_a_rule_fails_and_do_not_begin_where_it_must() {
    let place = Workplace::new();
    sums(&place);
    let failed = train(&place, "[{ kind = \"command\", command = [\"sh\", \"-c\", \"exit 7\"] }]");
    let log = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{log}");
    let last = log.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("error: the rule `command` can't judge completion 1 (of the prompt \""),
        "{last}"
    );
    assert!(last.contains("the program ended with exit status: 7"), "{last}");
    fs::remove_dir_all(place.path("run")).expect("removes");
    let refused = train(&place, "[{ kind = \"numeric_answer\", column = \"answer\" }]");
    let log = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{log}");
    let want = "error: sums.jsonl:1: has no column `answer`, which a rule of `rl.rewards` reads";
    assert_eq!(log.trim_end(), want);
    assert!(!place.path("run").exists());
    // The built-in world has no columns.
    let place = Workplace::new();
    let refused = train(&place, "[{ kind = \"numeric_answer\" }]");
    let log = String::from_utf8_lossy(&refused.stderr);
    assert!(
        log.contains("reads the column `answer`, but only prompts of `data.kind` \"files\""),
        "{log}"
    );
}
