//! Models of the Hugging Face Hub: fetched once, whole, and only what is of use.

#![cfg(unix)]
#![allow(dead_code, reason = "each test program uses a part of what they share")]

mod hub_server;
mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use expect_test::{Expect, expect};
use hub_server::{Commit, Fault, Hub, Repo, Request, sha256};
use program::{Workplace, wait_until};
use serde_json::json;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
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

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models").join(name)
}

fn weights(folder: &str) -> Vec<u8> {
    fs::read(fixture(folder).join(SINGLE)).expect("reads")
}

/// A place with rows to complete, and the Hub it asks.
struct Desk {
    place: Workplace,
    endpoint: String,
}

impl Desk {
    fn new(hub: &Hub) -> Self {
        let place = Workplace::new();
        place.write("rows.jsonl", "{\"input_ids\":[5,6,7]}\n");
        Self { place, endpoint: hub.endpoint() }
    }

    fn rein(&self, args: &[&str]) -> Command {
        let mut command = self.place.rein(args);
        for name in VARIABLES {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", &self.endpoint).env("HF_HOME", self.place.path("hf"));
        command
    }

    /// Completes the rows with a model.
    fn command(&self, model: &str, flags: &[&str]) -> Command {
        let args = ["generate", "--model", model, "--input", "rows.jsonl", "--greedy"];
        self.rein(&[&args[..], &["--max-new-tokens", "4"], flags].concat())
    }

    fn generate(&self, model: &str, flags: &[&str]) -> String {
        succeed(&mut self.command(model, flags)).0
    }

    /// What the model in a folder of the fixtures gives.
    fn expected(&self, folder: &str) -> String {
        self.generate(fixture(folder).to_str().expect("a path is UTF-8"), &[])
    }

    /// The program ends with this code and this line.
    fn refuse(&self, command: &mut Command, code: i32, expected: &Expect) {
        let Output { status, stderr, stdout } = command.output().expect("starts");
        let told = String::from_utf8_lossy(&stderr).replace(&self.endpoint, "HUB");
        let told = told.replace(&self.place.path("").display().to_string(), "");
        assert_eq!(status.code(), Some(code), "{told}");
        assert!(stdout.is_empty(), "something was written");
        expected.assert_eq(told.trim_end());
    }

    fn cache(&self) -> PathBuf {
        self.place.path("hf/hub/models--owner--name")
    }
}

/// The names in a folder, sorted.
fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("reads").map(|it| it.expect("reads").file_name());
    let mut names: Vec<String> = entries.map(|it| it.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Standard output and standard error of a run that must be a good one.
fn succeed(command: &mut Command) -> (String, String) {
    let Output { status, stdout, stderr } = command.output().expect("starts");
    let told = String::from_utf8_lossy(&stderr).into_owned();
    assert!(status.success(), "{told}");
    (String::from_utf8(stdout).expect("prints text"), told)
}

fn files(requests: &[Request]) -> Vec<&str> {
    let paths = requests.iter().map(|it| it.path.as_str());
    paths.filter(|path| path.contains("/resolve/")).filter_map(|it| it.rsplit('/').next()).collect()
}

#[test]
fn a_name_gives_what_the_folder_gives() {
    for folder in ["llama_sharded", "gpt2"] {
        let pickled = Commit::of(&fixture(folder), 'a')
            .with("pytorch_model.bin", b"pickle")
            .with("optimizer.pt", b"pickle")
            .with("../../escaped.json", b"{}")
            .with("onnx/model.onnx", b"large");
        let hub = Hub::serve(Repo::new(pickled));
        let desk = Desk::new(&hub);
        let expected = desk.expected(folder);
        assert!(hub.requests().is_empty(), "a folder needs no Hub");
        assert_eq!(desk.generate("owner/name", &[]), expected);
        let requests = hub.requests();
        let wanted = |it: &&str| it.ends_with(".safetensors") && *it != "expected.safetensors";
        let n_weights = files(&requests).iter().copied().filter(|it| wanted(it)).count();
        assert_eq!(n_weights, if folder == "gpt2" { 1 } else { 6 });
        let is_other = |it: &&str| {
            !wanted(it) && !["config.json", "generation_config.json", INDEX].contains(it)
        };
        assert!(!files(&requests).iter().any(is_other), "{requests:?}");
        // Once it is here, only the branch is asked for.
        assert_eq!(desk.generate("owner/name", &[]), expected);
        let paths: Vec<String> = hub.requests().into_iter().map(|it| it.path).collect();
        assert_eq!(paths, ["/api/models/owner/name/revision/main?blobs=true"]);
    }
}

#[test]
fn the_cache_is_enough_when_the_hub_is_gone() {
    let hub = Hub::serve(Repo::new(Commit::of(&fixture("llama_sharded"), 'a')));
    let desk = Desk::new(&hub);
    let expected = desk.generate("owner/name", &[]);
    let asked = hub.requests().len();
    assert_eq!(desk.generate("owner/name", &["--offline"]), expected);
    assert_eq!(desk.generate(&format!("owner/name@{}", "a".repeat(40)), &["--offline"]), expected);
    assert!(asked > 0 && hub.requests().is_empty(), "it asked");
    drop(hub);
    let offline = &mut desk.command("owner/name", &[]);
    assert_eq!(succeed(offline.env("HF_HUB_OFFLINE", "1")).0, expected);
    let (output, told) = succeed(&mut desk.command("owner/name", &[]));
    assert_eq!(output, expected);
    assert!(told.contains("can't be reached; the cached copy is used"), "{told}");
    let mut other = desk.command("owner/other", &[]);
    let reached = other.output().expect("starts");
    assert_eq!(reached.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&reached.stderr).contains("check the network and HF_ENDPOINT"));
    desk.refuse(
        &mut desk.command("owner/other", &["--offline"]),
        2,
        &expect![
            "error: owner/other: the model is not in the cache hf/hub; run once without --offline and HF_HUB_OFFLINE"
        ],
    );
    let shard = "model-00004-of-00006.safetensors";
    let lost = fs::canonicalize(desk.cache().join("snapshots").join("a".repeat(40)).join(shard));
    fs::remove_file(lost.expect("is a link")).expect("removes");
    desk.refuse(
        &mut desk.command("owner/name", &["--offline"]),
        2,
        &expect![
            "error: owner/name: model-00004-of-00006.safetensors is not in the cache hf/hub; run once without --offline and HF_HUB_OFFLINE"
        ],
    );
}

#[test]
fn revisions_are_branches_tags_and_commits() {
    let [main, old] =
        [("llama", 'a'), ("gpt2", 'b')].map(|(it, digit)| Commit::of(&fixture(it), digit));
    let mut repo = Repo::new(main);
    repo.revisions.push(("refs/pr/1".into(), old.clone()));
    repo.revisions.push(("v1".into(), old.clone()));
    repo.revisions.push((old.sha.clone(), old.clone()));
    let hub = Hub::serve(repo);
    let desk = Desk::new(&hub);
    let (new, before) = (desk.expected("llama"), desk.expected("gpt2"));
    assert_ne!(new, before);
    assert_eq!(desk.generate("owner/name", &[]), new);
    assert_eq!(desk.generate("owner/name@refs/pr/1", &[]), before);
    assert_eq!(desk.generate("owner/name", &["--revision", "v1"]), before);
    assert_eq!(desk.generate(&format!("owner/name@{}", old.sha), &[]), before);
    // The branch moves on.
    hub.change(|repo| repo.revisions[0].1 = old);
    assert_eq!(desk.generate("owner/name", &[]), before);
    assert_eq!(desk.generate("owner/name", &["--offline"]), before);
    desk.refuse(
        &mut desk.command("owner/name@v2", &[]),
        2,
        &expect![
            "error: owner/name: has no revision `v2`; name a branch, a tag or a commit of HUB/owner/name"
        ],
    );
    desk.refuse(
        &mut desk.command("owner/name@v1", &["--revision", "v2"]),
        2,
        &expect!["error: `--revision v2`: the model's name holds another revision behind its `@`"],
    );
    desk.refuse(
        &mut desk.command("../name", &["--revision", "v2"]),
        2,
        &expect![
            "error: `--revision v2` needs a model of the Hub, but ../name is no name that the Hub allows (owner/name)"
        ],
    );
    std::os::unix::fs::symlink(fixture("llama"), desk.place.path("folder")).expect("links");
    desk.refuse(
        &mut desk.command("folder", &["--revision", "v2"]),
        2,
        &expect!["error: `--revision v2` needs a model of the Hub, but folder is a folder"],
    );
}

#[test]
fn a_folder_of_that_name_wins() {
    let hub = Hub::serve(Repo::new(Commit::of(&fixture("llama"), 'a')));
    let desk = Desk::new(&hub);
    fs::create_dir(desk.place.path("owner")).expect("makes a folder");
    std::os::unix::fs::symlink(fixture("gpt2"), desk.place.path("owner/name")).expect("links");
    assert_eq!(desk.generate("owner/name", &[]), desk.expected("gpt2"));
    assert!(hub.requests().is_empty());
}

#[test]
fn what_the_hub_refuses_is_told() {
    let hub =
        Hub::serve(Repo { token: Some("secret"), ..Repo::new(Commit::of(&fixture("gpt2"), 'a')) });
    let desk = Desk::new(&hub);
    desk.refuse(
        &mut desk.command("owner/name", &[]),
        2,
        &expect![
            "error: owner/name: access is refused (HTTP 401): the model is gated or private; accept its licence at HUB/owner/name and set HF_TOKEN to a token that may read it"
        ],
    );
    let command = &mut desk.command("owner/name", &[]);
    desk.refuse(
        command.env("HF_TOKEN", "wrong"),
        2,
        &expect![
            "error: owner/name: access is refused (HTTP 401): the model is gated or private; accept its licence at HUB/owner/name and set HF_TOKEN to a token that may read it (the one that was sent may not)"
        ],
    );
    hub.requests();
    let output = succeed(desk.command("owner/name", &[]).env("HF_TOKEN", "secret")).0;
    assert_eq!(output, desk.expected("gpt2"));
    let requests = hub.requests();
    assert!(requests.iter().any(|it| it.path.starts_with("/cdn/")));
    for Request { path, token, .. } in requests {
        assert_eq!(
            token.is_some(),
            !path.starts_with("/cdn/"),
            "{path}: the token goes to the Hub alone"
        );
    }
    hub.change(|repo| repo.is_private = true);
    fs::remove_dir_all(desk.cache()).expect("removes");
    desk.refuse(
        &mut desk.command("owner/name", &[]),
        2,
        &expect![
            "error: owner/name: no folder of that name here and no such model at HUB; check the name (a private model needs a token in HF_TOKEN)"
        ],
    );
    hub.change(|repo| (repo.token, repo.is_private) = (None, false));
    desk.refuse(
        &mut desk.command("owner/nowhere", &[]),
        2,
        &expect![
            "error: owner/nowhere: no folder of that name here and no such model at HUB; check the name (a private model needs a token in HF_TOKEN)"
        ],
    );
    let mut elsewhere = desk.command("owner/name", &[]);
    desk.refuse(
        elsewhere.env("HF_ENDPOINT", "huggingface.co"),
        2,
        &expect!["error: HF_ENDPOINT is `huggingface.co`; it must begin with https:// or http://"],
    );
}

/// Weights as a pickle, or a repository that is up to something.
#[test]
fn what_is_in_the_repository_is_not_trusted() {
    let hub = Hub::serve(Repo::default());
    let desk = Desk::new(&hub);
    let check = |commit: Commit, expected: Expect| {
        hub.change(|repo| *repo = Repo::new(commit));
        desk.refuse(&mut desk.command("owner/name", &[]), 2, &expected);
        let asked = hub.requests();
        assert!(
            !files(&asked).iter().any(|it| it.ends_with(".bin") || it.ends_with(".safetensors"))
        );
    };
    let sharded = |digit, shard: &str| {
        let index =
            json!({ "weight_map": { "a": shard, "b": "model-00001-of-00006.safetensors" } });
        Commit::of(&fixture("llama_sharded"), digit).with(INDEX, index.to_string().as_bytes())
    };
    let pickled = Commit::of(&fixture("gpt2"), 'a').without(|it| it.ends_with(".safetensors"));
    check(
        pickled.with("pytorch_model.bin", b"pickle").with("a\nb", b""),
        expect![[
            r#"error: owner/name: holds no safetensors, only config.json, config.v4.json, expected.json, generation_config.json, pytorch_model.bin, a\nb; Rein reads no pickled weights: name a repository with model.safetensors"#
        ]],
    );
    check(
        sharded('b', "../../../escaped.safetensors"),
        expect![
            "error: owner/name: model.safetensors.index.json names `../../../escaped.safetensors`, which is no shard"
        ],
    );
    check(
        sharded('c', "pytorch_model.bin").with("pytorch_model.bin", b"pickle"),
        expect![
            "error: owner/name: model.safetensors.index.json names `pytorch_model.bin`, which is no shard"
        ],
    );
    check(
        sharded('d', "lost.safetensors"),
        expect![
            "error: owner/name: model.safetensors.index.json names lost.safetensors, which isn't there"
        ],
    );
    let mut commit = Commit::of(&fixture("gpt2"), 'e');
    commit.sha = "../../escaped".into();
    check(commit, expect!["error: owner/name: the commit `../../escaped` is no commit's hash"]);
    check(
        Commit::of(&fixture("gpt2"), 'f').with("tokenizer.json", &vec![b' '; (64 << 20) + 1]),
        expect![
            "error: owner/name: tokenizer.json is larger than 64 MiB; it can't be what it says"
        ],
    );
    assert_eq!(entries(&desk.place.path("hf")), ["hub"]);
    assert_eq!(entries(&desk.place.path("hf/hub")), [".locks", "models--owner--name"]);
    assert_eq!(entries(&desk.cache()), ["blobs", "snapshots"], "no revision is remembered");
}

#[test]
fn two_at_once_share_one_download() {
    let hub = Hub::serve(Repo::new(Commit::of(&fixture("llama_sharded"), 'a')));
    let desk = Desk::new(&hub);
    let begin = || {
        let mut command = desk.command("owner/name", &[]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts")
    };
    let [first, second] = [begin(), begin()].map(|it| it.wait_with_output().expect("ends"));
    assert!(first.status.success() && second.status.success());
    assert_eq!(first.stdout, second.stdout);
    let large = hub.requests().into_iter().filter(|it| it.path.starts_with("/cdn/")).count();
    assert_eq!(large, 6, "a shard was fetched twice");
}

#[test]
fn what_broke_off_goes_on() {
    let cut = 1000;
    let repo = Repo::new(Commit::of(&fixture("gpt2"), 'a'));
    let hub = Hub::serve(Repo { fault: Some((SINGLE, Fault::Cut(cut))), ..repo });
    let desk = Desk::new(&hub);
    // Something comes with each attempt: the rest is asked for until it is there.
    let expected = desk.expected("gpt2");
    hub.change(|repo| repo.fault = Some((SINGLE, Fault::Stall(cut))));
    let mut command = desk.command("owner/name", &[]);
    let mut child = command.spawn().expect("starts");
    let part = desk.cache().join("blobs").join(format!("{}.incomplete", sha256(&weights("gpt2"))));
    wait_until("a part of the file", || fs::metadata(&part).is_ok_and(|it| it.len() == cut as u64));
    child.kill().expect("ends it");
    child.wait().expect("has ended");
    desk.refuse(
        &mut desk.command("owner/name", &["--offline"]),
        2,
        &expect![
            "error: owner/name: the model is not in the cache hf/hub; run once without --offline and HF_HUB_OFFLINE"
        ],
    );
    hub.requests();
    hub.change(|repo| repo.fault = None);
    assert_eq!(desk.generate("owner/name", &[]), expected);
    let ranges: Vec<_> = hub.requests().into_iter().filter_map(|it| it.range).collect();
    assert_eq!(ranges, [cut, cut], "the Hub and the host of large files are asked for the rest");
    assert!(!part.exists());
}

#[test]
fn what_comes_in_pieces_is_put_together() {
    let small = weights("gpt2").len() / 3 + 1;
    let repo = Repo::new(Commit::of(&fixture("gpt2"), 'a'));
    let hub = Hub::serve(Repo { fault: Some((SINGLE, Fault::Cut(small))), ..repo });
    let desk = Desk::new(&hub);
    assert_eq!(desk.generate("owner/name", &[]), desk.expected("gpt2"));
    let ranges =
        hub.requests().into_iter().filter(|it| it.path.starts_with("/cdn/")).map(|it| it.range);
    assert_eq!(ranges.collect::<Vec<_>>(), [None, Some(small), Some(2 * small)]);
}

#[test]
fn nothing_but_the_whole_file_passes() {
    let repo = Repo::new(Commit::of(&fixture("gpt2"), 'a'));
    let hub = Hub::serve(Repo { fault: Some((SINGLE, Fault::Cut(0))), ..repo });
    let desk = Desk::new(&hub);
    let told = |expected| desk.refuse(&mut desk.command("owner/name", &[]), 1, &expected);
    told(expect![
        "error: owner/name: model.safetensors: Peer disconnected; run the command again to go on"
    ]);
    hub.change(|repo| repo.fault = Some((SINGLE, Fault::Damage)));
    told(expect![
        "error: owner/name: model.safetensors: its content hasn't the hash that the Hub lists; it was removed; run the command again to go on"
    ]);
    hub.change(|repo| repo.fault = Some(("config.json", Fault::Damage)));
    fs::remove_dir_all(desk.cache()).expect("removes");
    told(expect![
        "error: owner/name: config.json: its content hasn't the hash that the Hub lists; it was removed; run the command again to go on"
    ]);
    hub.change(|repo| repo.fault = Some((SINGLE, Fault::Swell)));
    desk.refuse(
        &mut desk.command("owner/name", &[]),
        2,
        &expect![
            "error: owner/name: model.safetensors is longer than the 702384 bytes that the Hub lists"
        ],
    );
    let hash = sha256(&weights("gpt2"));
    assert!(!entries(&desk.cache().join("blobs")).contains(&hash), "a damaged file has its name");
    // A part that was damaged while nobody looked is fetched anew.
    hub.change(|repo| repo.fault = None);
    fs::write(desk.cache().join("blobs").join(format!("{hash}.incomplete")), [7; 500])
        .expect("writes");
    assert_eq!(desk.generate("owner/name", &[]), desk.expected("gpt2"));
}

#[test]
fn servers_that_list_no_hashes_are_asked_for_them() {
    let repo = Repo::new(Commit::of(&fixture("llama_sharded"), 'a'));
    let hub = Hub::serve(Repo { is_terse: true, ..repo });
    let desk = Desk::new(&hub);
    assert_eq!(desk.generate("owner/name", &[]), desk.expected("llama_sharded"));
    assert!(hub.requests().iter().any(|it| it.method == "HEAD"));
    hub.change(|repo| repo.fault = Some(("model-00002-of-00006.safetensors", Fault::Damage)));
    fs::remove_dir_all(desk.cache()).expect("removes");
    desk.refuse(
        &mut desk.command("owner/name", &[]),
        1,
        &expect![
            "error: owner/name: model-00002-of-00006.safetensors: its content hasn't the hash that the Hub lists; it was removed; run the command again to go on"
        ],
    );
}

#[test]
fn a_run_keeps_to_the_commit_it_began_with() {
    let hub = Hub::serve(Repo::default());
    let desk = Desk::new(&hub);
    let sft = ["sft", "--config", "tiny.toml", "--plain", "--set", "sft.epochs=0.2"];
    succeed(&mut desk.rein(&[&sft[..], &["--run", "first"]].concat()));
    let stage = fs::read_dir(desk.place.path("first/checkpoints/sft")).expect("reads");
    let last = stage.map(|it| it.expect("reads").path()).filter(|it| it.is_dir()).max();
    let model = last.expect("a checkpoint").join("model");
    hub.change(|repo| *repo = Repo::new(Commit::of(&model, 'a')));
    let from = |model: &str, run: &str| {
        succeed(&mut desk.rein(&[&sft[..], &["--model", model, "--run", run]].concat()));
        fs::read_to_string(desk.place.path(run).join("metrics.jsonl")).expect("reads")
    };
    let losses = |text: String| -> Vec<_> {
        let lines =
            text.lines().map(|it| serde_json::from_str::<serde_json::Value>(it).expect("is JSON"));
        lines.map(|it| it["loss"].clone()).collect()
    };
    let [named, local] = [("owner/name", "named"), (model.to_str().expect("is UTF-8"), "local")]
        .map(|(model, run)| losses(from(model, run)));
    assert_eq!(named, local);
    let config = fs::read_to_string(desk.place.path("named/config.toml")).expect("reads");
    let pinned = format!("path = \"owner/name@{}\"", "a".repeat(40));
    assert!(config.contains(&pinned), "{config}");
    // The branch moves on; the run doesn't, and needs nobody's leave.
    drop(hub);
    let (output, _) = succeed(&mut desk.rein(&["sft", "--run", "named", "--plain"]));
    assert!(output.contains("named"), "{output}");
}
