//! `rein feedback serve`: the labelling server, and a model behind it.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use rein_feedback::serve::{AskWhen, Live, ServeOptions, Server};
use rein_feedback::{Kind, NewTask, Role, Settings, Split, Store};

use super::live::{LiveArgs, LiveModel};
use super::places::StoreArgs;
use super::prioritise::follow;
use crate::device::{BackendName, run_on};
use crate::pipeline::PROJECT;
use crate::speech::print;

/// Who serves, and to whom.
#[derive(Debug, Args)]
#[command(after_help = "\
A project's name is `people` unless `--project` says otherwise. If it isn't there, it is made: of a
run's store, from replies that the run sampled; else empty, for `--model` or for tasks that programs
send to `/api/tasks`. `/openapi.json` describes the interface for programs, docs/feedback.md the page.

Only this machine is served. To let others in, put a proxy that speaks TLS before the server and name it
by `--host`, or pass `--bind` and `--allow-remote` on a network that you trust.")]
pub(super) struct ServeArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The project that is served first
    #[arg(long, value_name = "NAME", default_value = "people")]
    project: String,
    /// What a new project asks; `pair` if left out
    #[arg(long, value_enum)]
    kind: Option<KindName>,
    /// How many of a run's pairs of replies a new project asks about
    #[arg(long, value_name = "N", default_value_t = 100)]
    pairs: usize,
    /// How many people shall judge each task of a new project
    #[arg(long, value_name = "N", default_value_t = 1)]
    overlap: u32,
    /// The share of pairs that a new project asks the same person a second time, with the sides exchanged
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    repeats: f64,
    /// What a new project's annotators shall know: a file of plain text
    #[arg(long, value_name = "FILE")]
    guidelines: Option<PathBuf>,
    /// Whoever starts the server, who gets a new link each time
    #[arg(long, value_name = "NAME", default_value = "me")]
    admin: String,
    /// Write the link to this file, which only its owner can read, instead of printing it
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The port; 0 takes a free one
    #[arg(long, default_value_t = 8765)]
    port: u16,
    /// The address to listen at
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
    /// Let other machines reach the server
    #[arg(long)]
    allow_remote: bool,
    /// Another name that the server is reached by. Can be given many times
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// After every N answers, let those pairs be asked first whose answers tell most, as `prioritise` does
    #[arg(long, value_name = "N")]
    prioritise: Option<NonZeroUsize>,
    /// Requests a second that each token may send
    #[arg(long, value_name = "N", default_value_t = 20)]
    rate: u32,
    #[command(flatten)]
    live: LiveArgs,
    /// Where the model computes; the build's first backend if left out
    #[arg(long, value_enum)]
    backend: Option<BackendName>,
}

/// What a project asks, with its usual settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KindName {
    /// Which of two responses is better
    Pair,
    /// The order of several responses
    Ranking,
    /// A grade from 1 to 7
    Score,
    /// Whether a response is good
    Thumbs,
    /// A better response
    Edit,
    /// How far an attack on the model went
    RedTeam,
}

impl KindName {
    fn kind(self) -> Kind {
        match self {
            Self::Pair => Kind::PAIR,
            Self::Ranking => Kind::Ranking { ties: true },
            Self::Score => Kind::Score { least: 1, most: 7 },
            Self::Thumbs => Kind::Thumbs,
            Self::Edit => Kind::Edit,
            Self::RedTeam => Kind::RedTeam,
        }
    }
}

/// Serves until Ctrl-C.
pub(super) fn run(args: &ServeArgs) -> Result<()> {
    let path = args.store.path()?;
    prepare(args, &path)?;
    let (model, jobs) = match args.live.model()? {
        Some((model, jobs)) => (Some(model), Some(jobs)),
        None => (None, None),
    };
    let ask = AskWhen { disagreement: args.live.ask_disagreement, entropy: args.live.ask_entropy };
    let options = ServeOptions {
        address: SocketAddr::new(args.bind, args.port),
        allow_remote: args.allow_remote,
        hosts: args.host.clone(),
        rate: args.rate,
        live: model.map(|model| Live { model, project: args.project.clone(), ask }),
        ..ServeOptions::local(path.clone())
    };
    let server = Server::bind(&options).context(hint(args))?;
    drop(options);
    tell(args, &path, &server)?;
    if let Some(every) = args.prioritise {
        follow(&path, &args.project, every.get());
    }
    let stop = server.stop();
    ctrlc::set_handler(move || stop.stop())?;
    match jobs {
        None => server.run()?,
        // The model stays on this thread, where its backend is known; the server gets one of its own.
        Some(jobs) => {
            let serving = thread::spawn(move || server.run());
            let backend = args.backend.unwrap_or_else(BackendName::default_of_build);
            run_on(backend, LiveModel { args: &args.live, jobs })?;
            serving.join().map_err(|_| anyhow!("the server failed"))??;
        }
    }
    print("stopped; all answers are stored\n");
    Ok(())
}

fn hint(args: &ServeArgs) -> String {
    format!("port {}; `--port 0` takes a free one", args.port)
}

impl ServeArgs {
    fn kind(&self) -> KindName {
        self.kind.unwrap_or(KindName::Pair)
    }
}

/// A project that is there goes on asking what it asks.
fn check_kind(args: &ServeArgs, known: &Kind) -> Result<()> {
    let wanted = args.kind.map(KindName::kind);
    if wanted.is_some_and(|it| it.name() != known.name()) {
        bail!(
            "project `{}` is there and asks something else (`{}`); name another one by `--project`",
            args.project,
            known.name()
        );
    }
    Ok(())
}

/// Makes the project, unless it is there.
fn prepare(args: &ServeArgs, path: &Path) -> Result<()> {
    let mut store = Store::open(path)?;
    if let Some(known) = store.projects()?.iter().find(|it| it.name == args.project) {
        return check_kind(args, &known.settings.kind);
    }
    let guidelines = match &args.guidelines {
        Some(path) => std::fs::read_to_string(path).with_context(|| path.display().to_string())?,
        None => String::new(),
    };
    let settings =
        Settings { guidelines, repeat_share: args.repeats, ..Settings::of(args.kind().kind()) };
    let tasks = if args.store.is_of_run() { of_run(args, &store)? } else { Vec::new() };
    let n_new = store.change(|change| {
        change.set_project(&args.project, &settings)?;
        change.add_tasks(&args.project, &tasks)
    })?;
    if n_new > 0 {
        print(&format!("project {}: {n_new} tasks of the run's own replies\n", args.project));
    }
    Ok(())
}

/// What the run sampled to be judged, the first pairs first, as tasks of this kind.
fn of_run(args: &ServeArgs, store: &Store) -> Result<Vec<NewTask>> {
    let sampled = store.tasks(PROJECT, Split::Train)?;
    if sampled.is_empty() {
        bail!(
            "{}: the run sampled no replies yet; run its stage `feedback`",
            store.path().display()
        );
    }
    let n_items = match args.kind() {
        KindName::Pair | KindName::Ranking => 2,
        _ => 1,
    };
    let new = |task: rein_feedback::Task| NewTask {
        external_id: task.external_id,
        prompt: task.prompt,
        split: Split::Train,
        responses: task.responses.into_iter().take(n_items).collect(),
        overlap: args.overlap,
        priority: 0.0,
        gold: None,
    };
    Ok(sampled.into_iter().take(args.pairs).map(new).collect())
}

/// Gives whoever started the server their link.
fn tell(args: &ServeArgs, path: &Path, server: &Server) -> Result<()> {
    let token = Store::open(path)?.change(|change| {
        change.add_annotator(&args.admin, Role::Admin)?;
        change.new_token(&args.admin)
    })?;
    let address = server.address();
    let link = format!("http://{address}/#token={token}\n");
    match &args.token_file {
        None => print(&format!("open {link}")),
        Some(file) => {
            write_private(file, &link).with_context(|| file.display().to_string())?;
            print(&format!("the link lies in {}\n", file.display()));
        }
    }
    print(&format!("serving {} at http://{address}; Ctrl-C stops\n", path.display()));
    Ok(())
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}
