//! A small Hub on this machine. It speaks HTTP by hand, so that it can break off in the middle of a file.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// One repository, `owner/name`.
#[derive(Clone, Default)]
pub(crate) struct Repo {
    /// Branches, tags and commits, with the commit each stands for.
    pub(crate) revisions: Vec<(String, Commit)>,
    /// Who asks for a file without it gets 401.
    pub(crate) token: Option<&'static str>,
    /// Whether the list of files is kept back, too.
    pub(crate) is_private: bool,
    /// Whether the list of files leaves out sizes and hashes, as other servers' do.
    pub(crate) is_terse: bool,
    /// What happens to a file on its way.
    pub(crate) fault: Option<(&'static str, Fault)>,
}

#[derive(Clone)]
pub(crate) struct Commit {
    pub(crate) sha: String,
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// The connection ends after so many bytes of an answer.
    Cut(usize),
    /// Nothing more comes after so many bytes of an answer.
    Stall(usize),
    /// One byte is another.
    Damage,
    /// More comes than was listed.
    Swell,
}

/// What somebody asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) range: Option<usize>,
    pub(crate) token: Option<String>,
}

impl Commit {
    /// The files of a folder, under a commit's hash made of one digit.
    pub(crate) fn of(folder: &Path, digit: char) -> Self {
        let entries = fs::read_dir(folder).expect("reads").map(|it| it.expect("reads").path());
        let name =
            |path: &Path| path.file_name().expect("has a name").to_string_lossy().into_owned();
        let content = |path: &Path| fs::read(path).expect("reads");
        let mut files: Vec<_> = entries.map(|path| (name(&path), content(&path))).collect();
        files.sort();
        Self { sha: digit.to_string().repeat(40), files }
    }

    pub(crate) fn with(mut self, name: &str, content: &[u8]) -> Self {
        self.files.retain(|(it, _)| it != name);
        self.files.push((name.to_owned(), content.to_vec()));
        self
    }

    pub(crate) fn without(mut self, is_out: impl Fn(&str) -> bool) -> Self {
        self.files.retain(|(name, _)| !is_out(name));
        self
    }

    fn sibling((name, content): &(String, Vec<u8>)) -> Value {
        let (size, git) = (content.len(), git_hash(content));
        if is_large(name) {
            let lfs = json!({ "sha256": sha256(content), "size": size, "pointerSize": 134 });
            return json!({ "rfilename": name, "size": size, "blobId": git, "lfs": lfs });
        }
        json!({ "rfilename": name, "size": size, "blobId": git })
    }
}

impl Repo {
    pub(crate) fn new(main: Commit) -> Self {
        let sha = main.sha.clone();
        Self { revisions: vec![("main".into(), main.clone()), (sha, main)], ..Self::default() }
    }
}

pub(crate) fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

fn git_hash(content: &[u8]) -> String {
    hex(&Sha1::new()
        .chain_update(format!("blob {}\0", content.len()))
        .chain_update(content)
        .finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin")
}

/// The server, which ends with this value.
pub(crate) struct Hub {
    address: SocketAddr,
    repo: Arc<Mutex<Repo>>,
    requests: Arc<Mutex<Vec<Request>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Hub {
    pub(crate) fn serve(repo: Repo) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("has an address");
        let (repo, requests) = (Arc::new(Mutex::new(repo)), Arc::default());
        let ends = Arc::new(AtomicBool::new(false));
        let desk = Desk {
            repo: Arc::clone(&repo),
            requests: Arc::clone(&requests),
            address,
            ends: Arc::clone(&ends),
        };
        let thread = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if desk.ends.load(Ordering::SeqCst) {
                    return;
                }
                let desk = desk.clone();
                thread::spawn(move || desk.answer(stream));
            }
        });
        Self { address, repo, requests, ends, thread: Some(thread) }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Repo)) {
        change(&mut self.repo.lock().expect("nobody panicked"));
    }

    /// What was asked since the last time.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock().expect("nobody panicked"))
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.thread.take().map(JoinHandle::join);
    }
}

#[derive(Clone)]
struct Desk {
    repo: Arc<Mutex<Repo>>,
    requests: Arc<Mutex<Vec<Request>>>,
    address: SocketAddr,
    ends: Arc<AtomicBool>,
}

impl Desk {
    fn answer(&self, mut stream: TcpStream) {
        let Some(request) = read(&stream) else { return };
        self.requests.lock().expect("nobody panicked").push(request.clone());
        let repo = self.repo.lock().expect("nobody panicked").clone();
        let may_read = repo.token.is_none_or(|it| request.token.as_deref() == Some(it));
        let parts: Vec<&str> = request.path.split(['/', '?']).skip(1).collect();
        match parts[..] {
            ["cdn", hash] => self.send(&mut stream, &request, &repo, hash, &[]),
            _ if !may_read && repo.is_private => refuse(&mut stream, 401, "RepoNotFound"),
            ["owner", "name", "resolve", ..] if !may_read => refuse(&mut stream, 401, "GatedRepo"),
            ["api", "models", "owner", "name", "revision", revision, ..] => {
                list(&mut stream, &repo, &revision.replace("%2F", "/"));
            }
            ["owner", "name", "resolve", commit, ref name @ ..] => {
                self.resolve(&mut stream, &request, &repo, commit, &name.join("/"));
            }
            _ => refuse(&mut stream, 404, "RepoNotFound"),
        }
    }

    /// Small files are sent, large ones lie elsewhere: on another host, as far as names go.
    fn resolve(
        &self,
        stream: &mut TcpStream,
        request: &Request,
        repo: &Repo,
        commit: &str,
        name: &str,
    ) {
        let commit = repo.revisions.iter().find(|(it, _)| it == commit);
        let found =
            commit.and_then(|(_, it)| Some((it, it.files.iter().find(|(it, _)| it == name)?)));
        let Some((commit, (_, content))) = found else {
            return refuse(stream, 404, "EntryNotFound");
        };
        let sha = &commit.sha;
        if !is_large(name) {
            let hash = git_hash(content);
            let headers = [format!("etag: \"{hash}\""), format!("x-repo-commit: {sha}")];
            return self.send(stream, request, repo, &hash, &headers);
        }
        let (hash, size, port) = (sha256(content), content.len(), self.address.port());
        let head = format!(
            "HTTP/1.1 302 Found\r\nlocation: http://localhost:{port}/cdn/{hash}\r\nx-repo-commit: {sha}\r\n\
             x-linked-etag: \"{hash}\"\r\nx-linked-size: {size}\r\netag: \"elsewhere\"\r\n\
             content-length: 0\r\nconnection: close\r\n\r\n"
        );
        let _ = stream.write_all(head.as_bytes());
    }

    /// Sends the content with this hash, or a part of it.
    fn send(
        &self,
        stream: &mut TcpStream,
        request: &Request,
        repo: &Repo,
        hash: &str,
        headers: &[String],
    ) {
        let mut files = repo.revisions.iter().flat_map(|(_, it)| &it.files);
        let found = files.find(|(_, content)| sha256(content) == hash || git_hash(content) == hash);
        let Some((name, mut content)) = found.cloned() else { return refuse(stream, 404, "") };
        let fault = repo.fault.filter(|(it, _)| *it == name).map(|(_, fault)| fault);
        match fault {
            Some(Fault::Damage) => content[0] ^= 1,
            Some(Fault::Swell) => content.push(0),
            _ => {}
        }
        let (from, size) = (request.range.unwrap_or(0), content.len());
        if from > 0 && from >= size {
            return refuse(stream, 416, "");
        }
        let status = match request.range {
            Some(_) => {
                format!("206 Partial Content\r\ncontent-range: bytes {from}-{}/{size}", size - 1)
            }
            None => "200 OK".into(),
        };
        let headers: String = headers.iter().map(|it| format!("{it}\r\n")).collect();
        let head = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
            size - from
        );
        let body = if request.method == "HEAD" { &[][..] } else { &content[from..] };
        let body = match fault {
            Some(Fault::Cut(at) | Fault::Stall(at)) => &body[..at.min(body.len())],
            _ => body,
        };
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        while matches!(fault, Some(Fault::Stall(_))) && !self.ends.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(5));
        }
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ').map(str::to_owned);
    let mut request = Request { method: words.next()?, path: words.next()?, ..Request::default() };
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ")?;
        match &*name.to_lowercase() {
            "range" => {
                request.range = value.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok();
            }
            "authorization" => request.token = value.strip_prefix("Bearer ").map(str::to_owned),
            _ => {}
        }
    }
    Some(request)
}

fn list(stream: &mut TcpStream, repo: &Repo, revision: &str) {
    let Some((_, commit)) = repo.revisions.iter().find(|(it, _)| it == revision) else {
        return refuse(stream, 404, "RevisionNotFound");
    };
    let sibling = |file: &(String, Vec<u8>)| match repo.is_terse {
        true => json!({ "rfilename": file.0 }),
        false => Commit::sibling(file),
    };
    let siblings: Vec<Value> = commit.files.iter().map(sibling).collect();
    let body = json!({ "id": "owner/name", "sha": commit.sha, "siblings": siblings }).to_string();
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

fn refuse(stream: &mut TcpStream, status: u16, code: &str) {
    let head = format!(
        "HTTP/1.1 {status} No\r\nx-error-code: {code}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    let _ = stream.write_all(head.as_bytes());
}
