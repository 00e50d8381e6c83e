//! Files arrive whole, or not at all.

use std::fs;
use std::process::Stdio;

use expect_test::expect;

use crate::desk::{Desk, SINGLE, entries, fixture, weights};
use crate::program::wait_until;
use crate::server::{Commit, Fault, Hub, Repo, sha256};

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
    let hub = Hub::serve(Repo { fault: Some((SINGLE, Fault::Stall(cut))), ..repo });
    let desk = Desk::new(&hub);
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
    assert_eq!(desk.generate("owner/name", &[]), desk.expected("gpt2"));
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
