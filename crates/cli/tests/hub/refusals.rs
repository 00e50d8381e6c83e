//! What the Hub refuses, and what is refused of what it gives.

use std::fs;

use expect_test::{Expect, expect};
use serde_json::json;

use crate::desk::{Desk, INDEX, entries, files, fixture, succeed};
use crate::server::{Commit, Hub, Repo, Request};

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
