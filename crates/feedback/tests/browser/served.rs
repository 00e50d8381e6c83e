//! A server in this process, and what its store holds in the end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use rein_feedback::serve::{ServeOptions, Server, Stop};
use rein_feedback::{Answer, Judgement, NewTask, Response, Role, Settings, Split, Store, Stored};
use tempfile::TempDir;

/// A project to serve.
pub(crate) struct Project {
    pub(crate) name: &'static str,
    pub(crate) settings: Settings,
    pub(crate) tasks: Vec<NewTask>,
}

impl Project {
    /// A project named `p` that asks this.
    pub(crate) fn of(settings: Settings, tasks: Vec<NewTask>) -> Self {
        Self { name: "p", settings, tasks }
    }
}

/// A server that stops when this is dropped.
pub(crate) struct Served {
    pub(crate) store: PathBuf,
    /// As people type it.
    pub(crate) address: String,
    pub(crate) tokens: Vec<String>,
    socket: SocketAddr,
    running: Option<(Stop, JoinHandle<()>)>,
    _folder: TempDir,
}

impl Served {
    /// Serves projects to people, who get tokens in the same order.
    pub(crate) fn start(projects: &[Project], people: &[&str]) -> Self {
        Self::start_with(projects, people, |_| {})
    }

    pub(crate) fn start_with(
        projects: &[Project],
        people: &[&str],
        change: impl FnOnce(&mut ServeOptions),
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = folder.path().join("feedback.sqlite");
        let tokens = fill(&store, projects, people);
        let mut options = ServeOptions::local(store.clone());
        options.rate = 1000;
        change(&mut options);
        let (socket, running) = serve(&options);
        let address = format!("http://{socket}");
        Self { store, address, tokens, socket, running: Some(running), _folder: folder }
    }

    /// Goes away, as when its machine is switched off.
    pub(crate) fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            stop.stop();
            thread.join().expect("stops");
        }
    }

    /// Comes back at the same address.
    pub(crate) fn come_back(&mut self) {
        let mut options = ServeOptions::local(self.store.clone());
        options.address = self.socket;
        self.running = Some(serve(&options).1);
    }

    /// Answers that stand, in the order they came.
    pub(crate) fn stored(&self, project: &str) -> Vec<Stored> {
        let store = Store::read(&self.store).expect("opens");
        store.answers(project).expect("reads")
    }

    /// What they say.
    pub(crate) fn answers(&self, project: &str) -> Vec<Answer> {
        self.stored(project).into_iter().map(|it| it.answer).collect()
    }

    /// The judgements among that.
    pub(crate) fn judgements(&self, project: &str) -> Vec<Judgement> {
        self.answers(project).into_iter().map(|it| it.judgement).collect()
    }

    /// Skips and flags that stand.
    pub(crate) fn skipped_and_flagged(&self, project: &str) -> (u64, u64) {
        let store = Store::read(&self.store).expect("opens");
        let progress = store.progress(project).expect("reads");
        (progress.n_skipped, progress.n_flagged)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop();
    }
}

fn fill(path: &Path, projects: &[Project], people: &[&str]) -> Vec<String> {
    let mut store = Store::open(path).expect("opens");
    let filled = store.change(|it| {
        for project in projects {
            it.set_project(project.name, &project.settings)?;
            it.add_tasks(project.name, &project.tasks)?;
        }
        let mut tokens = Vec::new();
        for name in people {
            it.add_annotator(name, Role::Person)?;
            tokens.push(it.new_token(name)?);
        }
        Ok(tokens)
    });
    filled.expect("fills the store")
}

fn serve(options: &ServeOptions) -> (SocketAddr, (Stop, JoinHandle<()>)) {
    let server = Server::bind(options).expect("binds");
    let (socket, stop) = (server.address(), server.stop());
    let thread = std::thread::spawn(move || server.run().expect("serves"));
    (socket, (stop, thread))
}

/// A task of some responses.
pub(crate) fn task(name: &str, responses: &[&str]) -> NewTask {
    let response = |text: &&str| Response {
        text: (*text).into(),
        finished: true,
        source: "secret-model".into(),
    };
    NewTask {
        external_id: name.into(),
        prompt: format!("Prompt {name}").into(),
        split: Split::Train,
        responses: responses.iter().map(response).collect(),
        overlap: 1,
        priority: 0.0,
        gold: None,
    }
}

/// `n` tasks of `n_items` responses each; every text is another one.
pub(crate) fn tasks(n: usize, n_items: usize) -> Vec<NewTask> {
    let of = |number: usize| {
        let name = format!("{number}.");
        let texts: Vec<String> = (0..n_items).map(|it| format!("Answer {it} to {name}")).collect();
        task(&name, &texts.iter().map(String::as_str).collect::<Vec<_>>())
    };
    (1..=n).map(of).collect()
}
