//! A labelling server: people answer tasks in a browser, and other programs by the same HTTP interface.
//!
//! Everything it serves lies in the program. Tokens are random, stored as hashes, and shown once; nobody can register.
//! Requests must name a host that the server is known by (against DNS rebinding), changes must come from its own pages, and
//! what models wrote is sent as JSON and shown as text. [`Server::bind`] opens the door, [`Server::run`] stands in it.

mod api;
mod assets;
mod completions;
mod error;
mod guard;
mod lessons;
mod live;
mod model;
mod rate;
mod readers;
mod strict;
mod wire;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::{Semaphore, watch};

use self::live::Talk;
use self::rate::Rate;
use self::readers::Readers;
use crate::error::FeedbackError;
use crate::store::Writer;

pub use self::live::Live;
pub use self::model::{Answers, Ask, AskWhen, Message, Model, Sampled, Wishes};
pub use crate::store::{Lesson, Reply};

/// What is served, and to whom.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The store's file.
    pub store: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// Whether the address may be one that other machines reach.
    pub allow_remote: bool,
    /// Other names that the server is reached by, as in `labels.example.org`.
    pub hosts: Vec<String>,
    /// Requests a second that each token may send.
    pub rate: u32,
    /// A model that answers, if there is one.
    pub live: Option<Live>,
}

impl ServeOptions {
    /// Serves this machine alone, at a free port.
    pub fn local(store: PathBuf) -> Self {
        Self {
            store,
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            allow_remote: false,
            hosts: Vec::new(),
            rate: 20,
            live: None,
        }
    }
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    state: Arc<State>,
    stop: (watch::Sender<bool>, watch::Receiver<bool>),
}

/// Ends a server, from wherever.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

impl Stop {
    /// Lets it answer what it has begun, and no more.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// What all requests share.
#[derive(Debug)]
pub(crate) struct State {
    writer: Writer,
    readers: Arc<Readers>,
    rate: Rate,
    /// Names that requests may ask for, in lower case, without ports.
    hosts: Vec<String>,
    talk: Option<Talk>,
    /// Questions that the model may be at, or that wait for it.
    generations: Arc<Semaphore>,
    /// What the model was taught last. Held by whoever teaches it.
    lessons: Mutex<Vec<Lesson>>,
}

/// Questions at a time: a few may wait while one is answered.
const GENERATIONS: usize = 4;

impl Server {
    /// Opens the store and begins to listen.
    pub fn bind(options: &ServeOptions) -> Result<Self, FeedbackError> {
        let ip = options.address.ip();
        if !ip.is_loopback() && !options.allow_remote {
            let reason = format!(
                "{ip} can be reached from other machines; if that is what you want, allow it, \
                 and put a proxy that speaks TLS before it"
            );
            return Err(FeedbackError::Invalid(reason));
        }
        let writer = Writer::open(&options.store)?;
        let talk = options.live.as_ref().map(|live| Talk::find(&options.store, live));
        let refuse = |error| FeedbackError::Invalid(format!("{}: {error}", options.address));
        let listener = TcpListener::bind(options.address).map_err(refuse)?;
        listener.set_nonblocking(true).map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        let state = State {
            writer,
            readers: Arc::new(Readers::new(options.store.clone())),
            rate: Rate::new(options.rate),
            hosts: hosts(ip, &options.hosts),
            talk: talk.transpose()?,
            generations: Arc::new(Semaphore::new(GENERATIONS)),
            lessons: Mutex::default(),
        };
        Ok(Self { listener, address, state: Arc::new(state), stop: watch::channel(false) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What ends it.
    pub fn stop(&self) -> Stop {
        Stop(self.stop.0.clone())
    }

    /// Answers requests until it is stopped.
    pub fn run(self) -> Result<(), FeedbackError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("feedback-server")
            .enable_all()
            .build()
            .map_err(|error| FeedbackError::Invalid(format!("no runtime: {error}")))?;
        let mut stop = self.stop.1.clone();
        runtime
            .block_on(async move {
                // Before the first question: what was said while another server ran.
                lessons::teach(&self.state);
                let listener = tokio::net::TcpListener::from_std(self.listener)?;
                let stopped = async move {
                    // The sender lives in `self.stop` as long as this does.
                    let _ = stop.wait_for(|stop| *stop).await;
                };
                axum::serve(listener, api::router(self.state)).with_graceful_shutdown(stopped).await
            })
            .map_err(|error: std::io::Error| FeedbackError::Invalid(format!("the server: {error}")))
    }
}

/// The names that a server at this address is known by.
fn hosts(ip: IpAddr, others: &[String]) -> Vec<String> {
    let own = match ip {
        IpAddr::V6(ip) => format!("[{ip}]"),
        IpAddr::V4(ip) => ip.to_string(),
    };
    let local = ip.is_loopback() || ip.is_unspecified();
    let names = local.then_some(["localhost", "127.0.0.1", "[::1]"]).into_iter().flatten();
    let all = names.map(str::to_owned).chain([own]);
    all.chain(others.iter().map(|host| host.to_ascii_lowercase())).collect()
}
