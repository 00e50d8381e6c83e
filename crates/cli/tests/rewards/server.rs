//! A small judge on this machine. It speaks HTTP by hand, so that it can misbehave.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

/// What the judge does with a request.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    /// It scores each completion by its length in bytes, a hundredth for each.
    Score,
    /// It says that it is overloaded.
    Refuse,
    /// It breaks the connection off.
    Cut,
    /// It says nothing more.
    Hang,
    /// It sends so many bytes.
    Flood(usize),
    /// It leads elsewhere.
    Lead,
}

/// A judge, which does one after the other of its acts, and the last one ever after.
pub(crate) struct Judge {
    pub(crate) url: String,
    pub(crate) n_asked: Arc<AtomicUsize>,
    /// The header `authorization` of each request.
    pub(crate) tokens: Arc<Mutex<Vec<Option<String>>>>,
}

impl Judge {
    pub(crate) fn start(acts: &[Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/score", listener.local_addr().expect("has an address"));
        let (n_asked, tokens) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let judge = Self { url, n_asked, tokens };
        let (acts, count, tokens) = (acts.to_vec(), judge.n_asked.clone(), judge.tokens.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let act = acts[count.fetch_add(1, Ordering::SeqCst).min(acts.len() - 1)];
                let tokens = tokens.clone();
                // Whoever was asked and hung up has ended.
                thread::spawn(move || drop(answer(stream, act, &tokens)));
            }
        });
        judge
    }

    pub(crate) fn n_asked(&self) -> usize {
        self.n_asked.load(Ordering::SeqCst)
    }
}

fn answer(
    mut stream: TcpStream,
    act: Act,
    tokens: &Mutex<Vec<Option<String>>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut length, mut token, mut line) = (0, None, String::new());
    while reader.read_line(&mut line)? > 2 {
        let (name, value) = line.split_once(':').unwrap_or_default();
        match name.to_lowercase().as_str() {
            "content-length" => length = value.trim().parse().expect("is a number"),
            "authorization" => token = Some(value.trim().to_owned()),
            _ => {}
        }
        line.clear();
    }
    tokens.lock().expect("nobody panicked").push(token);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, body) = match act {
        Act::Score => ("200 OK", scores(&body)),
        Act::Refuse => ("503 Busy\r\nRetry-After: 0", "later".into()),
        Act::Lead => ("302 Found\r\nLocation: http://127.0.0.1:1/", String::new()),
        Act::Flood(n_bytes) => ("200 OK", " ".repeat(n_bytes)),
        Act::Cut => return Ok(()),
        Act::Hang => {
            // Until the other side hangs up.
            let _ = reader.read(&mut [0])?;
            return Ok(());
        }
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close", body.len());
    write!(stream, "{head}\r\n\r\n{body}")
}

fn scores(body: &[u8]) -> String {
    let asked: Value = serde_json::from_slice(body).expect("is JSON");
    let score = |it: &Value| {
        let text = it["completion"].as_str().expect("is a text");
        json!({ "score": text.len() as f64 / 100.0, "reason": format!("{} bytes", text.len()) })
    };
    let completions = asked["completions"].as_array().expect("is a list");
    json!({ "scores": completions.iter().map(score).collect::<Vec<_>>() }).to_string()
}
