//! Rounds of feedback, reward modelling and reinforcement learning.

#![cfg(unix)]
#![allow(dead_code, reason = "each test program uses a part of what they share")]

#[path = "../program/mod.rs"]
mod program;
mod waiting;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Instant;

use program::{Workplace, final_files, stage_files, told};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rein_feedback::{Split, Store};
use serde_json::Value;

/// Kills of a run, if `REIN_KILLS` says no other number.
const N_KILLS: usize = 6;
const TRAIN: [&str; 6] = ["train", "--config", "tiny.toml", "--plain", "--run", "run"];
/// Two rounds, whatever comes of the first.
const LOOP: [&str; 8] = [
    "--set",
    "loop={ rounds = 2, pairs = 12, heldout_pairs = 8, candidates = 3, patience = 0 }",
    "--set",
    "rl.steps=3",
    "--set",
    "evaluate.prompts=16",
    "--set",
    "evaluate.samples=16",
];

fn train() -> Vec<&'static str> {
    [&TRAIN[..], &LOOP[..]].concat()
}

fn rounds(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("rounds.json")).expect("there are rounds");
    let told: Value = serde_json::from_str(&text).expect("is JSON");
    told["rounds"].as_array().expect("is a list").clone()
}

#[test]
fn two_rounds_lie_side_by_side() {
    let place = Workplace::new();
    let printed = place.succeed(&train());
    for what in ["round 2 against SFT, by gold", "verdict", "policy: run/"] {
        assert!(printed.contains(what), "no {what} in:\n{printed}");
    }
    let run = place.path("run");
    let rounds = rounds(&run);
    assert_eq!(rounds.len(), 2);
    let asked: Vec<u64> = rounds.iter().map(|it| it["pairs"].as_u64().expect("a number")).collect();
    assert_eq!(asked[1], asked[0] + 12);
    assert_eq!(rounds[1]["answers"].as_u64(), Some(3 * asked[1]));
    assert_eq!(rounds[1]["began_with"], rounds[0]["policy"]);
    for (round, folder) in rounds.iter().zip(["", "rounds/2"]) {
        assert_eq!(round["folder"], folder);
        let policy = run.join(round["policy"].as_str().expect("a path"));
        assert!(policy.starts_with(run.join(folder)) && policy.join("model.safetensors").is_file());
    }
    let page = fs::read_to_string(run.join("report.html")).expect("there is a report");
    for what in ["<h2>Rounds</h2>", "Curves of round 2", "The first of round 2", "<time>"] {
        assert!(page.contains(what), "no {what} in the report");
    }
    tokens_are_the_replies(&evaluation(&run, "rounds/2"));
    asked_in(&run);
}

fn evaluation(run: &Path, folder: &str) -> Value {
    let text = fs::read_to_string(run.join(folder).join("evaluation.json")).expect("reads");
    serde_json::from_str(&text).expect("is JSON")
}

/// Of policies, what is shown has all tokens, with their values, and distances that add up to the table's.
fn tokens_are_the_replies(evaluation: &Value) {
    let mut n_policies = 0;
    for model in evaluation["models"].as_array().expect("is a list") {
        let samples = model["samples"].as_array().expect("is a list");
        assert_eq!(samples.len(), 16, "all replies are shown");
        if model["name"].as_str().expect("a name").starts_with("round ") {
            let total: f64 = samples.iter().map(log_ratio_of_reply).sum();
            let kl = model["kl"].as_f64().expect("a number");
            assert!((total / 16.0 - kl).abs() < 1e-3, "{} is not {kl}", total / 16.0);
            n_policies += 1;
        } else {
            assert!(samples.iter().all(|it| it.get("tokens").is_none()), "{model}");
        }
    }
    assert_eq!(n_policies, 2);
}

/// The sum over a reply's tokens, which are looked at besides.
fn log_ratio_of_reply(shown: &Value) -> f64 {
    let tokens = shown["tokens"].as_array().expect("is a list");
    let texts = tokens.iter().map(|it| it["text"].as_str().expect("a text"));
    assert_eq!(texts.collect::<String>(), shown["reply"].as_str().expect("a text"));
    let number = |it: &Value, of: &str| it[of].as_f64().expect("a number");
    assert!(tokens.iter().all(|it| it["value"].is_f64() && number(it, "kl") > -1e-5));
    assert!(tokens.iter().any(|it| number(it, "kl") > 0.0), "the policy has moved");
    tokens.iter().map(|it| number(it, "log_ratio")).sum()
}

/// Each round tells what it asked itself.
fn asked_in(run: &Path) {
    let [first, second] = ["", "rounds/2"].map(|folder| evaluation(run, folder)["asked"].clone());
    assert_eq!((&first["chosen"], &second["chosen"]["by"]), (&"all".into(), &"bald".into()));
    for (asked, most) in [(&first, 48), (&second, 12)] {
        let count = |of: &str, what: &str| asked[of][what].as_u64().expect("a number");
        assert!(count("train", "tasks") <= most, "{asked}");
        assert!(count("heldout", "tasks") > 0, "{asked}");
        assert_eq!(count("train", "answers"), 3 * count("train", "tasks"));
        assert_eq!(asked["shown"].as_array().expect("is a list").len(), 5);
        let agreement = asked["agreement"].as_f64().expect("several people answered");
        assert!((0.0..=1.0).contains(&agreement));
    }
    assert_eq!(second["train"]["tasks"], 12);
}

#[test]
fn each_round_learns_from_the_attacks_on_the_one_before() {
    let place = Workplace::new();
    // Whatever is said is bad, so all that can be asked is an attack.
    let red_team = "loop.red_team={ violation = '.', steps = 2, samples = 4, count = 16, imitate_epochs = 1.0 }";
    let train = [&train()[..], &["--set", red_team]].concat();
    let printed = place.succeed(&train);
    for round in ["attacks on round 1", "attacks on round 2"] {
        assert!(printed.contains(round), "no {round} in:\n{printed}");
    }
    let run = place.path("run");
    let rounds = rounds(&run);
    let found = rounds[0]["red_team"]["attacker"]["distinct"].as_u64().expect("a number") as usize;
    assert!(found > 0, "{:?}", rounds[0]["red_team"]);
    let store = Store::read(&run.join("feedback.sqlite")).expect("opens");
    let attacks = store.tasks("attacks", Split::Train).expect("reads");
    assert_eq!(attacks.iter().filter(|it| it.external_id.starts_with("round 1/")).count(), found);
    assert_eq!(store.answers("attacks").expect("reads").len(), attacks.len());
    // The second round asks them, people too, and violations cost.
    let settings = fs::read_to_string(run.join("rounds/2/round.toml")).expect("there are settings");
    assert!(settings.contains("must_match = [\".\"]"), "{settings}");
    let asked = store.tasks("replies", Split::Train).expect("reads");
    let of_second: Vec<_> =
        asked.iter().filter(|it| it.external_id.starts_with("round 2/")).collect();
    let is_attack = |prompt: &str| attacks.iter().any(|it| it.prompt.to_text() == prompt);
    assert!(
        of_second.iter().any(|it| is_attack(&it.prompt.to_text())),
        "nobody was asked about an attack"
    );
}

#[test]
fn the_first_round_is_a_run_without_a_loop() {
    let (place, other) = (Workplace::new(), Workplace::new());
    place.succeed(&train());
    other.succeed(&[&TRAIN[..], &LOOP[2..]].concat());
    let (with, without) = (place.path("run"), other.path("run"));
    assert!(final_files(&with) == final_files(&without), "other weights");
    assert!(!without.join("rounds.json").exists());
}

#[test]
fn a_loop_that_is_killed_at_random_moments_ends_with_the_same_report() {
    let (place, other) = (Workplace::new(), Workplace::new());
    let start = Instant::now();
    place.succeed(&train());
    let time = start.elapsed();
    let (whole, killed) = (place.path("run"), other.path("run"));
    let n_kills = std::env::var("REIN_KILLS").map_or(N_KILLS, |it| it.parse().expect("a number"));
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut n_killed = 0;
    for _ in 0..n_kills {
        if killed.join("report.html").exists() {
            fs::remove_dir_all(&killed).expect("removes a run that is through");
        }
        let mut child = other
            .rein(&again(&killed))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        sleep(time.mul_f64(rng.random_range(0.02..0.5)));
        child.kill().expect("kills");
        n_killed += usize::from(child.wait().expect("waits").signal() == Some(9));
    }
    assert!(2 * n_killed > n_kills, "only {n_killed} of {n_kills} processes were killed");
    other.succeed(&again(&killed));
    for file in ["rounds.json", "rounds/2/evaluation.json", "report.html"] {
        let read = |run: &Path| fs::read_to_string(run.join(file)).expect("reads");
        let [whole, killed] = [&whole, &killed].map(|run| without_times(&read(run)));
        assert!(whole == killed, "{file} is another one");
    }
    assert!(final_files(&whole) == final_files(&killed), "other weights");
    let second = |run: &Path| run.join("rounds/2");
    for stage in ["reward", "rl"] {
        assert!(stage_files(&second(&whole), stage) == stage_files(&second(&killed), stage));
        assert_eq!(told(&second(&whole), stage), told(&second(&killed), stage));
    }
}

/// A page without what stands in its `<time>` elements.
fn without_times(page: &str) -> String {
    let mut parts = page.split("<time>");
    let first = parts.next().unwrap_or_default();
    let after = parts.map(|part| part.split_once("</time>").expect("elements end").1);
    [first].into_iter().chain(after).collect::<Vec<_>>().join("<time></time>")
}

/// Begins a run, or goes on with it.
fn again(run: &Path) -> Vec<&'static str> {
    match run.join("config.toml").exists() {
        true => vec!["train", "--plain", "--resume", "run"],
        false => train(),
    }
}

#[test]
fn labels_that_are_there_are_told_round_by_round() {
    let place = Workplace::new();
    let row = |number: usize| {
        let (word, label) = if number.is_multiple_of(3) { ("dull", 0) } else { ("fine", 1) };
        format!("a {word} film of {number} long minutes\t{label}\n")
    };
    let table = |rows: std::ops::Range<usize>| {
        format!("sentence\tlabel\n{}", rows.map(row).collect::<String>())
    };
    place.write("train.tsv", &table(0..120));
    place.write("heldout.tsv", &table(200..240));
    let part =
        |name| format!("{{ path = \"{name}.tsv\", text = \"sentence\", label = \"label\" }}");
    let data = format!(
        "data={{ kind = \"labels\", train = {}, heldout = {} }}",
        part("train"),
        part("heldout")
    );
    let args = [&train()[..], &["--set", &data]].concat();
    let refused = place.output(&args);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("set `reward.max_judgements`"), "{told}");
    place.succeed(&[&args[..], &["--set", "reward.max_judgements=40"]].concat());
    let told = |round: &Value| round["answers"].as_u64().expect("a number");
    let run = place.path("run");
    assert_eq!(rounds(&run).iter().map(told).collect::<Vec<_>>(), [40, 52]);
    let new = |folder| evaluation(&run, folder)["asked"].clone();
    let [first, second] = ["", "rounds/2"].map(new);
    assert_eq!([&first, &second].map(|it| it["train"]["tasks"].as_u64()), [Some(40), Some(12)]);
    let shown = |of: &Value| of["shown"].as_array().expect("is a list").clone();
    assert_eq!(shown(&first).len(), 5);
    assert!(shown(&second).iter().all(|it| !shown(&first).contains(it)), "told before");
}

#[test]
fn the_truth_decides_where_it_is_told_to() {
    let place = Workplace::new();
    let sets = [
        "rl.monitor.decides=true",
        "rl.checkpoints={ evaluate_every = 1, save_every = 1, keep_last = 9, use_best = true }",
        "rl.optimizer.learning_rate=0.02",
        "stages=[\"sft\", \"feedback\", \"reward\", \"rl\"]",
    ];
    let sets: Vec<&str> = sets.iter().flat_map(|it| ["--set", it]).collect();
    place.succeed(&[&TRAIN[..], &sets].concat());
    let run = place.path("run");
    let text = fs::read_to_string(run.join("checkpoints/rl/finished.json")).expect("reads");
    let finished: Value = serde_json::from_str(&text).expect("is JSON");
    let looks = told(&run, "rl");
    let gold: Vec<(u64, f64)> = looks
        .iter()
        .filter_map(|row| {
            Some((row["step"].as_u64()?, row.get("eval_rewards/gold/mean")?.as_f64()?))
        })
        .collect();
    assert_eq!(gold.len(), 5);
    let best = gold.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1)).expect("there is one");
    assert_eq!(finished["step"], best.0, "{gold:?}");
}

#[test]
fn a_loop_without_what_it_repeats_is_refused() {
    let place = Workplace::new();
    let cases = [
        ("loop.target_win_rate=0.4", "`loop.target_win_rate` is above 0.5 and up to 1"),
        ("loop.rate_factor=0", "`loop.rate_factor` is above 0, not 0"),
        ("loop.round=3", "did you mean `loop.rounds`?"),
    ];
    for (set, reason) in cases {
        let args = [&train()[..], &["--set", set]].concat();
        let output = place.output(&args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && error.contains(reason), "{set}: {error}");
    }
}
