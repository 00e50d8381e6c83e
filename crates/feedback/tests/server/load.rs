//! Many people at once: nothing is lost, doubled, or asked too often.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rein_feedback::{Settings, Store};
use serde_json::{Value, json};

use crate::running::{Running, task};

const CLIENTS: usize = 32;
const ANSWERS: usize = 200;
const OVERLAP: usize = 3;

/// A connection that is kept.
struct Client {
    agent: ureq::Agent,
    base: String,
    bearer: String,
}

impl Client {
    fn new(running: &Running, token: &str) -> Self {
        let agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(60)));
        Self {
            agent: agent.build().into(),
            base: format!("http://{}", running.address),
            bearer: format!("Bearer {token}"),
        }
    }

    fn next(&self) -> Value {
        let url = format!("{}/api/next?project=p", self.base);
        let asked = self.agent.get(&url).header("authorization", &self.bearer).call();
        let reply: Value = asked.expect("asks").body_mut().read_json().expect("JSON");
        reply["task"].clone()
    }

    fn submit(&self, task: &Value, key: &str) -> Value {
        let said = json!({ "do": "answer", "answer": { "kind": "preferred", "choice": "first" } });
        let body = json!({ "task": task["id"], "idem_key": key, "said": said });
        let url = format!("{}/api/annotations", self.base);
        let sent = self.agent.post(&url).header("authorization", &self.bearer).send_json(&body);
        sent.expect("stores").body_mut().read_json().expect("JSON")
    }
}

/// Asks and answers; how long each answer took.
fn answer_all(client: &Client, name: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for number in 0..ANSWERS {
        let task = client.next();
        if task.is_null() {
            break;
        }
        let key = format!("{name}/{number}");
        let begin = Instant::now();
        let receipt = client.submit(&task, &key);
        times.push(begin.elapsed());
        assert_eq!(receipt["replay"], false);
        if number % 10 == 0 {
            let again = client.submit(&task, &key);
            assert_eq!((&again["id"], &again["replay"]), (&receipt["id"], &json!(true)));
        }
    }
    times
}

#[test]
fn thirty_two_people_at_once_lose_nothing() {
    let n_tasks = CLIENTS * ANSWERS / OVERLAP + 2 * CLIENTS;
    let tasks: Vec<_> =
        (0..n_tasks).map(|number| task(&number.to_string(), 2, OVERLAP as u32)).collect();
    let names: Vec<String> = (0..CLIENTS).map(|number| format!("c{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let settings = Settings::default();
    let (running, tokens) =
        Running::start(&settings, &tasks, &names, |options| options.rate = 100_000);
    let running = Arc::new(running);
    let clients: Vec<_> = tokens
        .into_iter()
        .enumerate()
        .map(|(number, token)| {
            let running = running.clone();
            thread::spawn(move || answer_all(&Client::new(&running, &token), number))
        })
        .collect();
    let mut times: Vec<Duration> =
        clients.into_iter().flat_map(|it| it.join().expect("ends")).collect();
    assert_eq!(times.len(), CLIENTS * ANSWERS);
    let store = Store::read(&running.store).expect("opens");
    let answers = store.answers("p").expect("reads");
    assert_eq!(answers.len(), CLIENTS * ANSWERS, "none lost, none doubled");
    let mut by_task: BTreeMap<i64, usize> = BTreeMap::new();
    answers.iter().for_each(|it| *by_task.entry(it.task).or_default() += 1);
    assert!(by_task.values().all(|count| *count <= OVERLAP), "none above the overlap");
    // Not asserted: a time says as much of the machine as of the program.
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "an answer took {:?} (median), {:?} (95 %), {:?} (longest)",
        at(0.5),
        at(0.95),
        at(1.0)
    );
}
