//! A person judges what a run's model says, in a real browser, and a run goes on with what they said.
//!
//! `REIN_RUN` names a run to go on from, instead of a tiny one that is made for this.

#![allow(dead_code, reason = "each test program uses a part of what they share")]
#![allow(clippy::print_stderr, reason = "a test tells what it skipped")]

#[path = "../../feedback/tests/browser/chromium.rs"]
mod chromium;
#[path = "../../feedback/tests/browser/page.rs"]
mod page;
mod program;

use std::env;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use rein_feedback::{Choice, Judgement, Split, Store};

use chromium::{Browser, DESKTOP, Driver};
use page::hook;
use program::{Workplace, link};

const ANSWERS: usize = 30;

/// The program, serving.
struct Serving {
    child: Child,
    address: String,
    token: String,
}

impl Serving {
    fn start(place: &Workplace, run: &str) -> Self {
        let pairs = ANSWERS.to_string();
        let mut child = place
            .rein(&["feedback", "serve", "--run", run, "--port", "0", "--pairs", &pairs])
            .args(["--repeats", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let (address, token) = link(&mut child);
        Self { child, address, token }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Whatever a failed test left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn thirty_answers_in_a_browser_and_a_run_goes_on_with_them() {
    let Some(driver) = Driver::start() else { return };
    let place = Workplace::new();
    let run = match env::var_os("REIN_RUN") {
        Some(run) => PathBuf::from(run),
        None => {
            place.succeed(&["train", "--config", "tiny.toml", "--plain", "--run", "first"]);
            place.path("first")
        }
    };
    let path = run.join("feedback.sqlite");
    let before = n_answers(&path);
    let serving = Serving::start(&place, run.to_str().expect("plain text"));
    let browser = driver.open(DESKTOP);
    browser.log_in(&serving.address, &serving.token);
    browser.open_project("people");
    let chosen: Vec<String> = (0..ANSWERS).map(|number| answer(&browser, number)).collect();
    browser.wait_for(&hook("nothing"));
    drop(serving);

    let store = Store::read(&path).expect("opens");
    let tasks = store.tasks("people", Split::Train).expect("reads");
    let said: Vec<String> = store
        .answers("people")
        .expect("reads")
        .iter()
        .map(|it| {
            let task = tasks.iter().find(|task| task.id == it.task).expect("is there");
            let Judgement::Preferred { choice, .. } = it.answer.judgement else {
                panic!("only sides were chosen")
            };
            let place = if choice == Choice::First { 0 } else { 1 };
            readable(&task.responses[place].text)
        })
        .collect();
    assert_eq!(said, chosen, "what stood on the chosen sides is what is stored");
    assert_eq!(n_answers(&path), before + ANSWERS);

    let store = path.to_str().expect("plain text");
    let told = place.succeed(&["train", "--plain", "--run", "second", "--feedback", store]);
    assert!(told.contains("run:"), "{told}");
    let config = std::fs::read_to_string(place.path("second/config.toml")).expect("reads");
    assert!(config.contains("kind = \"pretrained\""), "it goes on from the run's model:\n{config}");
    assert!(config.contains(store), "{config}");
    for stage in ["reward", "rl"] {
        assert!(place.path(&format!("second/checkpoints/{stage}")).is_dir(), "{stage} was run");
    }
    for stage in ["sft", "feedback"] {
        assert!(!place.path(&format!("second/checkpoints/{stage}")).is_dir(), "{stage} was done");
    }
    // What one project holds, alone.
    let only = ["--set", "feedback.project=\"people\"", "--set", "stages=[\"reward\"]"];
    let arguments =
        [&["train", "--plain", "--run", "third", "--feedback", store][..], &only].concat();
    place.succeed(&arguments);
}

/// Prefers the shorter reply, by the mouse and by the keyboard in turn; gives its text.
fn answer(browser: &Browser, number: usize) -> String {
    let texts = ["item-0", "item-1"].map(|item| readable(&browser.text_of(item)));
    let (hook, key) = if texts[0].len() <= texts[1].len() {
        ("choose-first", "1")
    } else {
        ("choose-second", "2")
    };
    browser.finish(|| {
        if number.is_multiple_of(2) {
            browser.click_on(hook);
            browser.click_on("submit");
        } else {
            browser.press(&[key, "Enter"]);
        }
    });
    texts[usize::from(key == "2")].clone()
}

/// A text without control characters, which the page shows as marks: the tiny model says anything.
fn readable(text: &str) -> String {
    let mut is_mark = false;
    let kept = text.chars().filter(|it| {
        is_mark = (is_mark || *it == '⟦') && *it != '⟧';
        !is_mark && *it != '⟧' && !it.is_control()
    });
    kept.collect()
}

fn n_answers(store: &std::path::Path) -> usize {
    let store = Store::read(store).expect("opens");
    let projects = store.projects().expect("reads");
    projects.iter().map(|it| store.answers(&it.name).expect("reads").len()).sum()
}
