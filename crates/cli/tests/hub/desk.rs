//! A place to work at, and what is seen from there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use expect_test::Expect;

use crate::program::Workplace;
use crate::server::{Hub, Request};

pub(crate) const SINGLE: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// What other tools set, and what must not get in here.
const VARIABLES: [&str; 14] = [
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_ENDPOINT",
    "XDG_CACHE_HOME",
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "HF_HOME",
];

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models").join(name)
}

pub(crate) fn weights(folder: &str) -> Vec<u8> {
    fs::read(fixture(folder).join(SINGLE)).expect("reads")
}

/// A place with rows to complete, and the Hub it asks.
pub(crate) struct Desk {
    pub(crate) place: Workplace,
    endpoint: String,
}

impl Desk {
    pub(crate) fn new(hub: &Hub) -> Self {
        let place = Workplace::new();
        place.write("rows.jsonl", "{\"input_ids\":[5,6,7]}\n");
        Self { place, endpoint: hub.endpoint() }
    }

    pub(crate) fn rein(&self, args: &[&str]) -> Command {
        let mut command = self.place.rein(args);
        for name in VARIABLES {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", &self.endpoint).env("HF_HOME", self.place.path("hf"));
        command
    }

    /// Completes the rows with a model.
    pub(crate) fn command(&self, model: &str, flags: &[&str]) -> Command {
        let args = ["generate", "--model", model, "--input", "rows.jsonl", "--greedy"];
        self.rein(&[&args[..], &["--max-new-tokens", "4"], flags].concat())
    }

    pub(crate) fn generate(&self, model: &str, flags: &[&str]) -> String {
        succeed(&mut self.command(model, flags)).0
    }

    /// What the model in a folder of the fixtures gives.
    pub(crate) fn expected(&self, folder: &str) -> String {
        self.generate(fixture(folder).to_str().expect("a path is UTF-8"), &[])
    }

    /// The program ends with this code and this line.
    pub(crate) fn refuse(&self, command: &mut Command, code: i32, expected: &Expect) {
        let Output { status, stderr, stdout } = command.output().expect("starts");
        let told = String::from_utf8_lossy(&stderr).replace(&self.endpoint, "HUB");
        let told = told.replace(&self.place.path("").display().to_string(), "");
        assert_eq!(status.code(), Some(code), "{told}");
        assert!(stdout.is_empty(), "something was written");
        expected.assert_eq(told.trim_end());
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.place.path("hf/hub/models--owner--name")
    }
}

/// The names in a folder, sorted.
pub(crate) fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("reads").map(|it| it.expect("reads").file_name());
    let mut names: Vec<String> = entries.map(|it| it.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Standard output and standard error of a run that must be a good one.
pub(crate) fn succeed(command: &mut Command) -> (String, String) {
    let Output { status, stdout, stderr } = command.output().expect("starts");
    let told = String::from_utf8_lossy(&stderr).into_owned();
    assert!(status.success(), "{told}");
    (String::from_utf8(stdout).expect("prints text"), told)
}

pub(crate) fn files(requests: &[Request]) -> Vec<&str> {
    let paths = requests.iter().map(|it| it.path.as_str());
    paths.filter(|path| path.contains("/resolve/")).filter_map(|it| it.rsplit('/').next()).collect()
}
