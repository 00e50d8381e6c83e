//! A model answers what people type, and what they say of its answers moves its reward at once.

#![allow(dead_code, reason = "each test program uses a part of what they share")]

mod program;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use program::{Workplace, link};
use rein_feedback::{Split, Store};
use serde_json::{Value, json};

const PROMPT: &str = "How much is it?";

/// The program, serving a model and its reward model.
struct Serving {
    child: Child,
    path: PathBuf,
    host: String,
    token: String,
}

impl Serving {
    fn start(place: &Workplace, store: &str, more: &[&str]) -> Self {
        let models = ["--model", "run", "--reward-model", "run", "--max-new-tokens", "12"];
        let mut child = place
            .rein(&["feedback", "serve", "--store", store, "--port", "0"])
            .args(["--ask-entropy", "0"])
            .args(models)
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let (address, token) = link(&mut child);
        let host = address.trim_start_matches("http://").to_owned();
        Self { child, path: place.path(store), host, token }
    }

    /// What it replies, whole.
    fn post(&self, path: &str, body: &Value) -> String {
        let Self { host, token, .. } = self;
        let body = body.to_string();
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.0\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let mut stream = TcpStream::connect(host).expect("connects");
        stream.write_all(request.as_bytes()).expect("sends");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("reads");
        assert!(reply.starts_with("HTTP/1.0 200"), "{reply}");
        reply
    }

    /// Asks the first question of a server; its answers follow from the seed.
    fn ask(&self) -> Asked {
        let question = json!({ "project": "people", "prompt": PROMPT, "idem_key": self.token });
        let reply = self.post("/api/live", &question);
        let mut events = reply.lines().filter_map(|line| line.strip_prefix("data: "));
        let done: Value = serde_json::from_str(events.next_back().expect("ends")).expect("JSON");
        let event = self.store().events("people").expect("reads").pop().expect("is kept");
        let texts =
            [0, 1].map(|place| event["items"][place].as_str().unwrap_or_default().to_owned());
        Asked {
            best: done["best"].as_u64().expect("scores") as usize,
            texts,
            task: done["task"].clone(),
        }
    }

    /// Says that this answer is better.
    fn prefer(&self, asked: &Asked, place: usize) {
        let is_first = asked.task["items"][0]["text"] == asked.texts[place];
        let choice = if is_first { "first" } else { "second" };
        self.say(asked, &json!({ "kind": "preferred", "choice": choice }));
    }

    fn say(&self, asked: &Asked, answer: &Value) {
        let said = json!({ "do": "answer", "answer": answer });
        let id = &asked.task["id"];
        self.post("/api/annotations", &json!({ "task": id, "idem_key": self.token, "said": said }));
    }

    fn take_back(&self) {
        self.post("/api/undo", &json!({ "project": "people", "idem_key": "not this one" }));
    }

    fn store(&self) -> Store {
        Store::read(&self.path).expect("opens")
    }
}

/// Two answers and what became of them.
struct Asked {
    texts: [String; 2],
    /// The place of the one that the reward prefers.
    best: usize,
    task: Value,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// With a model and a reward model in `run`.
fn with_models() -> Workplace {
    let place = Workplace::new();
    let stages = "stages=[\"sft\", \"feedback\", \"reward\"]";
    place.succeed(&["train", "--config", "tiny.toml", "--plain", "--run", "run", "--set", stages]);
    place
}

#[test]
fn what_somebody_prefers_is_what_the_reward_prefers_until_it_is_taken_back() {
    let place = with_models();
    for (store, more) in
        [("texts.sqlite", &[][..]), ("chats.sqlite", &["--chat-template", "chatml"])]
    {
        let start = || Serving::start(&place, store, more);
        let first = start();
        let asked = first.ask();
        assert_ne!(asked.texts[0], asked.texts[1]);
        first.prefer(&asked, 1 - asked.best);
        drop(first);
        // A server that starts anew samples the same answers, and knows what was said.
        let second = start();
        let again = second.ask();
        assert_eq!(again.texts, asked.texts);
        assert_eq!(again.best, 1 - asked.best, "{store}");
        let task = &second.store().tasks("people", Split::Train).expect("reads")[0];
        assert_eq!(task.prompt.is_conversational(), !more.is_empty());
        drop(second);
        let third = start();
        third.take_back();
        drop(third);
        let last = start().ask();
        assert_eq!((last.texts, last.best), (asked.texts, asked.best), "{store}");
    }
}

#[test]
fn how_an_attack_went_is_exported_and_learned_where_it_is_asked_for() {
    let place = with_models();
    let attacked = |success: u8| {
        let serving = Serving::start(&place, "attacks.sqlite", &["--kind", "red-team"]);
        let asked = serving.ask();
        serving.say(&asked, &json!({ "kind": "attacked", "success": success, "tags": ["rude"] }));
        asked
    };
    let asked = attacked(3);
    let store = ["--store", "attacks.sqlite"];
    let export = ["feedback", "export", "--each", "--output", "attacks.jsonl"];
    place.succeed(&[&export[..], &store].concat());
    let text = fs::read_to_string(place.path("attacks.jsonl")).expect("reads");
    let row: Value = serde_json::from_str(&text).expect("one row");
    assert_eq!((&row["prompt"], &row["label"]), (&json!(PROMPT), &json!(false)));
    assert_eq!((&row["success"], &row["tags"]), (&json!(3), &json!(["rude"])));
    assert_eq!((&row["completion"], &row["annotator"]), (&json!(asked.texts[0]), &json!("me")));

    let stages = ["--set", "stages=[\"reward\"]"];
    let train = ["train", "--config", "tiny.toml", "--plain", "--feedback", "attacks.sqlite"];
    let train = [&train[..], &stages].concat();
    let refused = place.output(&[&train[..], &["--run", "none"]].concat());
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(error.contains("holds attacks alone; name the project to learn from by"), "{error}");
    // With one that it withstood, there are good and bad answers.
    attacked(0);
    let models = fs::read_dir(place.path("run/checkpoints/sft")).expect("is there");
    let mut models =
        models.map(|it| it.expect("reads").path().join("model")).filter(|it| it.is_dir());
    let model = models.next().expect("a model").display().to_string();
    let project = ["--set", "feedback.project=people", "--model", &model, "--run", "warned"];
    place.succeed(&[&train[..], &project].concat());
}
