//! A server that is killed in the middle has stored whatever it acknowledged.

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rein_feedback::serve::{ServeOptions, Server};
use rein_feedback::{Role, Settings, Store};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::running::task;

/// Names the store of the process that is killed; without it, [`serves_until_it_is_killed`] does nothing.
const STORE: &str = "REIN_TEST_STORE";
const KILLS: u64 = 100;
const CLIENTS: usize = 4;

#[test]
fn serves_until_it_is_killed() {
    let Some(store) = env::var_os(STORE) else { return };
    let mut options = ServeOptions::local(store.into());
    options.rate = 1_000_000;
    let server = Server::bind(&options).expect("binds");
    println!("\nlistening {}", server.address());
    server.run().expect("serves");
}

/// This program again, as a server on this store; and its address.
fn serve(store: &Path) -> (Child, String) {
    let program = env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .args(["--exact", "durability::serves_until_it_is_killed", "--nocapture"])
        .env(STORE, store)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let lines = BufReader::new(child.stdout.take().expect("is piped")).lines();
    let mut addresses = lines
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix("listening ").map(str::to_owned));
    let address = addresses.next().expect("it says where it listens");
    (child, address)
}

/// Asks and answers until the server is gone; what it acknowledged.
fn answer_until_it_dies(
    address: &str,
    token: &str,
    round: u64,
    acknowledged: &Mutex<BTreeSet<String>>,
) {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).build().into();
    let bearer = format!("Bearer {token}");
    for number in 0_u64.. {
        let url = format!("http://{address}/api/next?project=p");
        let Ok(mut reply) = agent.get(&url).header("authorization", &bearer).call() else { return };
        let Ok(asked) = reply.body_mut().read_json::<Value>() else { return };
        let key = format!("{}/{round}/{number}", &token[..8]);
        let said = json!({ "do": "answer", "answer": { "kind": "preferred", "choice": "first" } });
        let body = json!({ "task": asked["task"]["id"], "idem_key": key, "said": said });
        let url = format!("http://{address}/api/annotations");
        let sent = agent.post(&url).header("authorization", &bearer).send_json(&body);
        let Ok(mut reply) = sent else { return };
        if reply.body_mut().read_json::<Value>().is_ok_and(|it| it["id"].is_i64()) {
            acknowledged.lock().expect("whole").insert(key);
        }
    }
}

#[test]
fn a_hundred_kills_lose_no_acknowledged_answer() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("feedback.sqlite");
    let tasks: Vec<_> = (0..10_000).map(|number| task(&number.to_string(), 2, 1)).collect();
    let mut store = Store::open(&path).expect("opens");
    let tokens = store.change(|it| {
        it.set_project("p", &Settings::default())?;
        it.add_tasks("p", &tasks)?;
        (0..CLIENTS)
            .map(|number| {
                it.add_annotator(&format!("c{number}"), Role::Person)?;
                it.new_token(&format!("c{number}"))
            })
            .collect::<Result<Vec<String>, _>>()
    });
    drop(store);
    let tokens = tokens.expect("fills the store");
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    for round in 0..KILLS {
        let (mut child, address) = serve(&path);
        let clients: Vec<_> = tokens
            .iter()
            .map(|token| {
                let (address, token) = (address.clone(), token.clone());
                let acknowledged = acknowledged.clone();
                thread::spawn(move || answer_until_it_dies(&address, &token, round, &acknowledged))
            })
            .collect();
        // At another moment each time, in the middle of the load.
        let before = acknowledged.lock().expect("whole").len();
        let wanted = before + 12 + (7 * round as usize) % 23;
        let mut n_waits = 0;
        while acknowledged.lock().expect("whole").len() < wanted {
            thread::sleep(Duration::from_millis(1));
            n_waits += 1;
            assert!(n_waits < 60_000, "no answer is stored any more in round {round}");
        }
        child.kill().expect("is killed");
        child.wait().expect("is gone");
        clients.into_iter().for_each(|it| it.join().expect("ends"));
        check(&path, &acknowledged.lock().expect("whole"), round);
    }
    let n_acknowledged = acknowledged.lock().expect("whole").len();
    assert!(n_acknowledged > 10 * KILLS as usize, "{n_acknowledged} answers are a load");
    println!("{n_acknowledged} answers were acknowledged");
}

/// All that was acknowledged is there, and the file is whole.
fn check(path: &Path, acknowledged: &BTreeSet<String>, round: u64) {
    let connection = Connection::open(path).expect("opens");
    let whole: String =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checks");
    assert_eq!(whole, "ok", "after kill {round}");
    let mut statement = connection.prepare("SELECT idem_key FROM annotation").expect("reads");
    let rows = statement.query_map([], |row| row.get(0)).expect("reads");
    let stored: BTreeSet<String> = rows.collect::<Result<_, _>>().expect("reads");
    let lost: Vec<&String> = acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "kill {round} lost {lost:?}");
}
