//! Which model a name stands for, with the Hub and without.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use expect_test::expect;

use crate::desk::{Desk, INDEX, SINGLE, files, fixture, succeed};
use crate::server::{Commit, Hub, Repo};

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
fn further_models_of_an_ensemble_come_along() {
    let (config, weights) = (b"{}".as_slice(), b"weights".as_slice());
    let ensemble = Commit::of(&fixture("gpt2"), 'a')
        .with("members/2/config.json", config)
        .with("members/2/model.safetensors", weights)
        .with("members/2/optimizer.safetensors", weights)
        .with("members/4/config.json", config);
    let hub = Hub::serve(Repo::new(ensemble));
    let desk = Desk::new(&hub);
    desk.generate("owner/name", &[]);
    let members = desk.cache().join("snapshots").join("a".repeat(40)).join("members");
    let read = |name: &str| fs::read(members.join(name)).ok();
    assert_eq!(read("2/config.json").as_deref(), Some(config));
    assert_eq!(read("2/model.safetensors").as_deref(), Some(weights));
    assert!(read("2/optimizer.safetensors").is_none(), "not a model's");
    assert!(!members.join("4").exists(), "there is no third one");
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
    desk.refuse(
        &mut desk.command("owner/other", &[]),
        1,
        &expect![
            "error: owner/other: no folder of that name here, and HUB/api/models/owner/other/revision/main?blobs=true can't be reached (io: Connection refused (os error 111)); check the network and HF_ENDPOINT, or name a folder"
        ],
    );
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
    symlink(fixture("llama"), desk.place.path("folder")).expect("links");
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
    symlink(fixture("gpt2"), desk.place.path("owner/name")).expect("links");
    assert_eq!(desk.generate("owner/name", &[]), desk.expected("gpt2"));
    assert!(hub.requests().is_empty());
}

#[test]
fn a_run_keeps_to_the_commit_it_began_with() {
    let hub = Hub::serve(Repo::default());
    let desk = Desk::new(&hub);
    let sft = ["sft", "--config", "tiny.toml", "--plain", "--set", "sft.epochs=0.2"];
    succeed(&mut desk.rein(&[&sft[..], &["--run", "first"]].concat()));
    let model = last_model(&desk.place.path("first"));
    hub.change(|repo| *repo = Repo::new(Commit::of(&model, 'a')));
    let local = model.to_str().expect("a path is UTF-8");
    let [named, local] = [("owner/name", "named"), (local, "local")].map(|(model, run)| {
        succeed(&mut desk.rein(&[&sft[..], &["--model", model, "--run", run]].concat()));
        fs::read(last_model(&desk.place.path(run)).join(SINGLE)).expect("reads")
    });
    assert!(named == local, "the model of that name is another one");
    assert!(named != fs::read(model.join(SINGLE)).expect("reads"), "nothing was learned");
    let config = fs::read_to_string(desk.place.path("named/config.toml")).expect("reads");
    let pinned = format!("path = \"owner/name@{}\"", "a".repeat(40));
    assert!(config.contains(&pinned), "{config}");
    // Nobody is asked for what can't change.
    drop(hub);
    let (output, told) = succeed(&mut desk.rein(&["sft", "--run", "named", "--plain"]));
    assert!(output.contains("named") && !told.contains("reached"), "{output}{told}");
}

/// The model that fine-tuning left.
fn last_model(run: &Path) -> PathBuf {
    let stage = fs::read_dir(run.join("checkpoints/sft")).expect("reads");
    let last = stage.map(|it| it.expect("reads").path()).filter(|it| it.is_dir()).max();
    last.expect("a checkpoint").join("model")
}
