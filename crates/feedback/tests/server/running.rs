//! A server in this process, and a client of it.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use rein_feedback::serve::{ServeOptions, Server, Stop};
use rein_feedback::{NewTask, Response, Role, Settings, Split, Store};
use serde_json::Value;
use tempfile::TempDir;

/// A server that stops when this is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) store: PathBuf,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
    _folder: TempDir,
}

/// A task of a project, with `n_items` responses.
pub(crate) fn task(name: &str, n_items: usize, overlap: u32) -> NewTask {
    let response = |number: usize| Response {
        text: format!("response {number} to {name}"),
        finished: true,
        source: "secret-model".into(),
    };
    NewTask {
        external_id: name.into(),
        prompt: format!("prompt {name}").into(),
        split: Split::Train,
        responses: (0..n_items).map(response).collect(),
        overlap,
        priority: 0.0,
        gold: None,
    }
}

impl Running {
    /// Serves a project named `p`; gives the tokens of these people, too.
    pub(crate) fn start(
        settings: &Settings,
        tasks: &[NewTask],
        people: &[&str],
        change: impl FnOnce(&mut ServeOptions),
    ) -> (Self, Vec<String>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("feedback.sqlite");
        let mut store = Store::open(&path).expect("opens");
        let tokens = store.change(|it| {
            it.set_project("p", settings)?;
            it.add_tasks("p", tasks)?;
            let mut tokens = Vec::new();
            for name in people {
                it.add_annotator(name, Role::Person)?;
                tokens.push(it.new_token(name)?);
            }
            Ok(tokens)
        });
        drop(store);
        let mut options = ServeOptions::local(path.clone());
        change(&mut options);
        let server = Server::bind(&options).expect("binds");
        let (address, stop) = (server.address(), server.stop());
        let thread = std::thread::spawn(move || server.run().expect("serves"));
        let running = Self { address, store: path, stop, thread: Some(thread), _folder: folder };
        (running, tokens.expect("fills the store"))
    }

    /// Sends a request of a program with this token, and leaves the response to whoever reads it.
    pub(crate) fn open(&self, line: &str, token: &str, body: &Value) -> BufReader<TcpStream> {
        let (host, body) = (self.address, body.to_string());
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let mut stream = TcpStream::connect(host).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("sets a timeout");
        stream.write_all(request.as_bytes()).expect("sends");
        BufReader::new(stream)
    }

    /// Sends a request as it stands, and reads all of the response.
    pub(crate) fn raw(&self, request: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.address).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("sets a timeout");
        // A server that refuses a body may close before it has read all of it.
        let _ = stream.write_all(request);
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        Reply::parse(&bytes)
    }

    /// A request with these headers.
    pub(crate) fn send(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let host = self.address.to_string();
        let mut request = format!("{line} HTTP/1.1\r\nconnection: close\r\n");
        if headers.iter().all(|(name, _)| *name != "host") {
            request += &format!("host: {host}\r\n");
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            request += "content-type: application/json\r\n";
        }
        request += &format!("content-length: {}\r\n\r\n{body}", body.len());
        self.raw(request.as_bytes())
    }

    /// A request of a program with this token.
    pub(crate) fn ask(&self, line: &str, token: &str, body: Option<&Value>) -> Reply {
        let body = body.map(Value::to_string).unwrap_or_default();
        self.send(line, &[("authorization", &format!("Bearer {token}"))], &body)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the server says.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find_map(|(known, value)| known.eq_ignore_ascii_case(name).then_some(value.trim()))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of the error, if it is one.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}
