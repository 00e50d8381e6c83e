use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;

use serde_json::json;

use super::*;
use crate::error::Refusal;
use crate::records::{Choice, Judgement, Kind, Response, Settings, Shown, Split};

const MINUTE: i64 = 60_000;

fn task(name: &str, overlap: u32) -> NewTask {
    let response = |text: &str| Response {
        text: format!("{text} {name}"),
        finished: true,
        source: "model".into(),
    };
    NewTask {
        external_id: name.into(),
        prompt: "p".into(),
        split: Split::Train,
        responses: vec![response("a"), response("b")],
        overlap,
        priority: 0.0,
        gold: None,
    }
}

fn annotation(task: i64, key: &str) -> Annotation {
    Annotation {
        task,
        annotator: "ann".into(),
        answer: Judgement::preferred(Choice::Second).into(),
        shown: Shown::first(Choice::Second),
        idem_key: key.into(),
        active_ms: None,
    }
}

fn submission(task: i64, key: &str) -> Submission {
    let said = Said::Answer(Judgement::preferred(Choice::First).into());
    Submission { task, said, idem_key: key.into(), opened_at: None, active_ms: Some(1) }
}

/// A store with these tasks and two people.
fn store(tasks: &[NewTask]) -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut store = Store::open(&folder.path().join("f.sqlite")).expect("opens");
    store.add_tasks("p", tasks).expect("adds");
    for name in ["ann", "bob"] {
        store.add_annotator(name, Role::Person).expect("adds");
    }
    (folder, store)
}

fn refusal(error: FeedbackError) -> Refusal {
    match error {
        FeedbackError::Refused(refusal) => refusal,
        other => panic!("{other}"),
    }
}

#[test]
fn adding_and_saying_things_twice_counts_once() {
    let (folder, mut store) = store(&[task("1", 1), task("2", 1)]);
    store.add_tasks("p", &[task("1", 1), task("2", 1)]).expect("adds");
    let tasks = store.tasks("p", Split::Train).expect("reads");
    assert_eq!(tasks.len(), 2);
    assert_eq!(tasks[1].responses, task("2", 1).responses);
    assert!(store.tasks("p", Split::Heldout).expect("reads").is_empty());
    for _ in 0..2 {
        store.annotate(&[annotation(tasks[0].id, "k")]).expect("stores");
    }
    drop(store);
    let store = Store::read(&folder.path().join("f.sqlite")).expect("opens again");
    assert_eq!(store.answers("p").expect("reads").len(), 1);
}

#[test]
fn an_answer_to_no_task_or_by_nobody_is_refused_and_takes_its_batch_along() {
    let (_folder, mut store) = store(&[task("1", 1)]);
    let id = store.tasks("p", Split::Train).expect("reads")[0].id;
    assert!(store.annotate(&[annotation(id, "k"), annotation(99, "l")]).is_err());
    let stranger = Annotation { annotator: "eve".into(), ..annotation(id, "k") };
    assert!(store.annotate(&[stranger]).is_err());
    assert!(store.answers("p").expect("reads").is_empty());
}

#[test]
fn a_store_of_a_newer_program_is_left_alone() {
    let (folder, store) = store(&[]);
    store.connection.pragma_update(None, "user_version", 7).expect("updates");
    drop(store);
    let path = folder.path().join("f.sqlite");
    let error = Store::open(&path).expect_err("is refused").to_string();
    assert!(error.ends_with("its schema is version 7; this program knows versions up to 3"));
}

#[test]
fn a_store_of_the_first_version_keeps_what_it_holds() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path: PathBuf = folder.path().join("f.sqlite");
    let old = Connection::open(&path).expect("opens");
    old.execute_batch(MIGRATIONS[0]).expect("makes the schema");
    old.execute_batch(
        "PRAGMA user_version = 1;
         INSERT INTO project VALUES (1, 'p', 'pair', 0);
         INSERT INTO prompt VALUES (1, 1, 'q', 'hash', 'train');
         INSERT INTO response VALUES (1, 1, 'a', 'ha', 1, 'm'), (2, 1, 'b', 'hb', 1, 'm');
         INSERT INTO task VALUES (1, 1, 1, 'one', 0, 1, 0);
         INSERT INTO task_item VALUES (1, 1, 0), (1, 2, 1);
         INSERT INTO annotator VALUES (1, 'ann', 'simulated', 0);
         INSERT INTO annotation VALUES
             (1, 1, 1, 1, 'k', '{\"kind\":\"preferred\",\"choice\":\"first\"}', '[1,0]', 0);",
    )
    .expect("fills");
    drop(old);
    let store = Store::open(&path).expect("brings it up to date");
    let answers = store.answers("p").expect("reads");
    assert_eq!(answers[0].answer, Judgement::preferred(Choice::First).into());
    assert_eq!(store.projects().expect("reads")[0].settings, Settings::default());
}

#[test]
fn what_is_held_is_asked_again_and_nobody_is_asked_twice() {
    let (_folder, mut store) = store(&[task("1", 2), task("2", 2)]);
    let mut next = |name: &str| store.change(|it| it.next("p", name)).expect("asks");
    let first = next("ann").expect("a task");
    assert_eq!(next("ann").expect("the same").task, first.task);
    let id = first.task.id;
    let mut submit =
        |task: i64, key: &str| store.change(|it| it.submit("ann", &submission(task, key)));
    submit(id, "k").expect("stores");
    assert!(submit(id, "k").expect("knows").is_replay);
    let other = store.change(|it| it.next("p", "ann")).expect("asks").expect("a task");
    assert_ne!(other.task.id, id);
    let key_taken = store.change(|it| it.submit("ann", &submission(other.task.id, "k")));
    assert_eq!(refusal(key_taken.expect_err("is refused")), Refusal::KeyTaken("k".into()));
    store.change(|it| it.submit("ann", &submission(other.task.id, "l"))).expect("stores");
    assert_eq!(store.change(|it| it.next("p", "ann")).expect("asks"), None);
    assert_eq!(store.progress("p").expect("reads").n_done, 0, "each wants two people");
}

#[test]
fn a_lease_holds_a_place_until_it_ends() {
    let (_folder, mut store) = store(&[task("1", 1)]);
    let ask = |store: &mut Store, name: &str, at| store.change_at(at, |it| it.next("p", name));
    let id = ask(&mut store, "ann", 0).expect("asks").expect("a task").task.id;
    assert_eq!(ask(&mut store, "bob", 14 * MINUTE).expect("asks"), None);
    assert!(ask(&mut store, "bob", 16 * MINUTE).expect("asks").is_some());
    let late = store.change_at(17 * MINUTE, |it| it.submit("ann", &submission(id, "late")));
    assert_eq!(refusal(late.expect_err("is refused")), Refusal::Full(id), "bob has the place");
    store.change_at(18 * MINUTE, |it| it.submit("bob", &submission(id, "k"))).expect("stores");
    let unasked = store.change(|it| it.submit("bob", &submission(99, "m")));
    assert_eq!(refusal(unasked.expect_err("is refused")), Refusal::NoTask(99));
    assert_eq!(store.progress("p").expect("reads").n_done, 1);
}

#[test]
fn an_answer_after_the_lease_counts_while_the_place_is_free() {
    let (_folder, mut store) = store(&[task("1", 1)]);
    let asked = store.change_at(0, |it| it.next("p", "ann")).expect("asks").expect("a task");
    let late = |it: &Change<'_>| it.submit("ann", &submission(asked.task.id, "late"));
    store.change_at(60 * MINUTE, late).expect("stores");
    assert_eq!(store.answers("p").expect("reads").len(), 1);
}

#[test]
fn undoing_adds_a_revision_and_reopens_the_task() {
    let (_folder, mut store) = store(&[task("1", 1), task("2", 1)]);
    let nothing = store.change(|it| it.undo("p", "ann", "u0")).expect_err("is refused");
    assert_eq!(refusal(nothing).code(), "nothing_to_undo");
    let first = store.change(|it| it.next("p", "ann")).expect("asks").expect("a task");
    store.change(|it| it.submit("ann", &submission(first.task.id, "k"))).expect("stores");
    let again = store.change(|it| it.undo("p", "ann", "u1")).expect("undoes");
    assert_eq!((again.task.id, &again.shown), (first.task.id, &first.shown));
    let said = Judgement::preferred(Choice::First).into();
    assert_eq!(again.answer, Some(said), "the page shows what was said");
    let replayed = store.change(|it| it.undo("p", "ann", "u1")).expect("knows");
    assert_eq!(replayed.task.id, first.task.id);
    assert!(store.answers("p").expect("reads").is_empty());
    let held = store.change(|it| it.next("p", "ann")).expect("asks").expect("a task");
    assert_eq!(held.task.id, first.task.id);
    store.change(|it| it.submit("ann", &submission(first.task.id, "l"))).expect("stores");
    let revisions = "SELECT count(*) FROM annotation";
    let count: i64 = store.connection.query_row(revisions, [], |row| row.get(0)).expect("counts");
    assert_eq!(count, 3, "all of it is kept");
    assert_eq!(store.answers("p").expect("reads").len(), 1);
}

#[test]
fn only_the_last_ten_answers_can_be_taken_back() {
    let tasks: Vec<NewTask> = (0..12).map(|number| task(&number.to_string(), 1)).collect();
    let (_folder, mut store) = store(&tasks);
    for number in 0..12 {
        let asked = store.change(|it| it.next("p", "ann")).expect("asks").expect("a task");
        let key = format!("k{number}");
        store.change(|it| it.submit("ann", &submission(asked.task.id, &key))).expect("stores");
    }
    let undone = (0..12).take_while(|number| {
        let key = format!("u{number}");
        store.change(|it| it.undo("p", "ann", &key)).is_ok()
    });
    assert_eq!(undone.count(), 10);
}

#[test]
fn drafts_come_back_and_skipped_and_flagged_tasks_do_not() {
    let (_folder, mut store) = store(&[task("1", 1), task("2", 1), task("3", 1)]);
    let say = |store: &mut Store, task, said, key: &str| {
        let sent = Submission { said, ..submission(task, key) };
        store.change(|it| it.submit("ann", &sent)).expect("stores");
    };
    let first = store.change(|it| it.next("p", "ann")).expect("asks").expect("a task").task.id;
    say(&mut store, first, Said::Draft(json!({ "comment": "hm" })), "d");
    let again = store.change(|it| it.next("p", "ann")).expect("asks").expect("a task");
    assert_eq!((again.task.id, again.draft), (first, Some(json!({ "comment": "hm" }))));
    say(&mut store, first, Said::Skip, "s");
    let second = store.change(|it| it.next("p", "ann")).expect("asks").expect("a task").task.id;
    say(&mut store, second, Said::Flag { reason: "no question".into() }, "f");
    let third = store.change(|it| it.next("p", "ann")).expect("asks").expect("a task").task.id;
    assert!(![first, second].contains(&third));
    let progress = store.progress("p").expect("reads");
    assert_eq!((progress.n_skipped, progress.n_flagged, progress.n_answers), (1, 1, 0));
    let bob = store.change(|it| it.next("p", "bob")).expect("asks").expect("a task").task.id;
    assert_eq!(bob, first, "others are asked what somebody skipped");
}

#[test]
fn what_tells_most_comes_first_but_for_a_tenth() {
    let tasks: Vec<NewTask> = (0..400).map(|number| task(&number.to_string(), 1)).collect();
    let (_folder, mut store) = store(&tasks);
    let ids: Vec<i64> =
        store.tasks("p", Split::Train).expect("reads").iter().map(|it| it.id).collect();
    let told: Vec<(i64, f64)> = ids.iter().map(|id| (*id, *id as f64)).collect();
    store.change(|it| it.set_information(&told)).expect("sets");
    let mut left: Vec<i64> = ids.clone();
    let mut n_random = 0;
    for number in 0..200 {
        let asked = store.change(|it| it.next("p", "ann")).expect("asks").expect("a task").task.id;
        n_random += usize::from(Some(&asked) != left.last());
        left.retain(|id| *id != asked);
        let key = format!("k{number}");
        store.change(|it| it.submit("ann", &submission(asked, &key))).expect("stores");
    }
    assert!((8..=36).contains(&n_random), "{n_random} of 200");
}

#[test]
fn golden_tasks_are_asked_to_everybody_at_their_share() {
    let golden = |number: usize| NewTask {
        gold: Some(Judgement::preferred(Choice::First)),
        ..task(&format!("gold-{number}"), 1)
    };
    let mut tasks: Vec<NewTask> = (0..100).map(|number| task(&number.to_string(), 2)).collect();
    tasks.extend((0..20).map(golden));
    let (_folder, mut store) = store(&tasks);
    let settings = Settings { gold_share: 0.2, ..Settings::default() };
    store.change(|it| it.set_project("p", &settings).map(drop)).expect("sets");
    for name in ["ann", "bob"] {
        let mut n_golden = 0;
        for number in 0..60 {
            let asked = store.change(|it| it.next("p", name)).expect("asks").expect("a task");
            n_golden += usize::from(asked.task.gold.is_some());
            let key = format!("{name}{number}");
            store.change(|it| it.submit(name, &submission(asked.task.id, &key))).expect("stores");
        }
        assert!((5..=20).contains(&n_golden), "{name}: {n_golden} of 60");
    }
}

#[test]
fn what_a_rule_throws_out_comes_back_when_it_is_taken_back() {
    let (_folder, mut store) = store(&[task("1", 1)]);
    let id = store.tasks("p", Split::Train).expect("reads")[0].id;
    store.annotate(&[annotation(id, "k")]).expect("stores");
    let annotation = store.answers("p").expect("reads")[0].id;
    let mut rule = |subject: Subject, rule: &str, verdict| {
        let ruling = Ruling { subject, rule: rule.into(), verdict, reason: "why".into() };
        store.change(|it| it.rule(&[ruling])).expect("rules");
        (store.answers("p").expect("reads").len(), store.all_answers("p").expect("reads").len())
    };
    let ann = || Subject::Annotator("ann".into());
    assert_eq!(rule(Subject::Annotation(annotation), "fast", Verdict::Drop), (0, 1));
    assert_eq!(rule(ann(), "gold", Verdict::Suspend), (0, 1));
    assert_eq!(rule(Subject::Annotation(annotation), "fast", Verdict::Keep), (0, 1));
    assert_eq!(rule(ann(), "other", Verdict::Keep), (0, 1), "another rule's word");
    assert!(store.annotators().expect("reads")[0].is_suspended);
    let suspended = store.change(|it| it.next("p", "ann")).expect_err("is refused");
    assert_eq!(refusal(suspended), Refusal::Suspended("ann".into()));
    let ruling = Ruling {
        subject: ann(),
        rule: "gold".into(),
        verdict: Verdict::Keep,
        reason: "a mistake".into(),
    };
    store.change(|it| it.rule(std::slice::from_ref(&ruling))).expect("rules");
    assert_eq!(store.answers("p").expect("reads").len(), 1);
    assert_eq!(store.change(|it| it.rule(&[ruling])).expect("knows"), 0);
}

#[test]
fn tokens_are_known_by_their_hash_alone() {
    let (folder, mut store) = store(&[]);
    let token = store.change(|it| it.new_token("ann")).expect("a token");
    assert_eq!(token.len(), 64);
    assert_eq!(store.by_token(&token).expect("reads").expect("ann").name, "ann");
    assert_eq!(store.by_token("").expect("reads"), None);
    let newer = store.change(|it| it.new_token("ann")).expect("another");
    assert_eq!(store.by_token(&token).expect("reads"), None, "an old token is worth nothing");
    drop(store);
    for file in std::fs::read_dir(folder.path()).expect("reads") {
        let bytes = std::fs::read(file.expect("reads").path()).expect("reads");
        let found = bytes.windows(newer.len()).any(|it| it == newer.as_bytes());
        assert!(!found, "the token itself is nowhere");
    }
}

#[test]
fn projects_and_tasks_that_make_no_sense_are_refused() {
    let (_folder, mut store) = store(&[task("1", 1)]);
    let mut set = |name: &str, settings: Settings| {
        store.change(|it| it.set_project(name, &settings).map(drop)).err().map(|it| it.to_string())
    };
    assert_eq!(
        set("p", Settings::of(Kind::Thumbs)).expect("is refused"),
        "project `p`: it has tasks of kind `pair` already"
    );
    assert!(set("q", Settings::of(Kind::Pair { points: 3, ties: true })).is_some());
    assert!(set("", Settings::default()).is_some());
    assert!(set("q", Settings { gold_share: f64::NAN, ..Settings::default() }).is_some());
    assert_eq!(set("q", Settings::of(Kind::Thumbs)), None);
    let error = store.add_tasks("q", &[task("1", 1)]).expect_err("is refused").to_string();
    assert_eq!(error, "task `1`: a task of kind `thumbs` has 1 to 1 responses, not 2");
    let nan = NewTask { priority: f64::NAN, ..task("2", 1) };
    assert!(store.add_tasks("p", &[nan]).is_err());
}

/// Clients on threads of their own, who are all asked and all answer at once.
#[test]
fn many_at_once_lose_nothing_and_never_exceed_the_overlap() {
    const CLIENTS: usize = 8;
    const ANSWERS: usize = 30;
    let tasks: Vec<NewTask> =
        (0..CLIENTS * ANSWERS / 3).map(|number| task(&number.to_string(), 3)).collect();
    let (folder, mut store) = store(&tasks);
    for client in 0..CLIENTS {
        store.add_annotator(&format!("c{client}"), Role::Person).expect("adds");
    }
    let writer = Writer::open(&folder.path().join("f.sqlite")).expect("opens");
    let client = |client: usize| {
        let writer = writer.clone();
        thread::spawn(move || {
            let name = format!("c{client}");
            let mut n_stored = 0;
            for number in 0..ANSWERS {
                let who = name.clone();
                let Some(asked) = writer.change(move |it| it.next("p", &who)).expect("asks") else {
                    break;
                };
                let (who, key) = (name.clone(), format!("{client}/{number}"));
                for _ in 0..2 {
                    let (who, sent) = (who.clone(), submission(asked.task.id, &key));
                    writer.change(move |it| it.submit(&who, &sent)).expect("stores");
                }
                n_stored += 1;
            }
            n_stored
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    let n_stored: usize = clients.into_iter().map(|it| it.join().expect("ends")).sum();
    let answers = store.answers("p").expect("reads");
    assert_eq!(answers.len(), n_stored);
    let mut by_task: BTreeMap<i64, usize> = BTreeMap::new();
    answers.iter().for_each(|it| *by_task.entry(it.task).or_default() += 1);
    assert!(by_task.values().all(|count| *count <= 3));
    // A few places may be left to somebody who has answered the task already.
    assert!(n_stored >= CLIENTS * ANSWERS - 3 * CLIENTS, "{n_stored}");
}

#[test]
fn a_change_that_fails_leaves_those_beside_it_alone() {
    let (folder, _store) = store(&[task("1", 1)]);
    let writer = Writer::open(&folder.path().join("f.sqlite")).expect("opens");
    let bad = writer.change(|it| {
        it.add_annotator("eve", Role::Person)?;
        it.project("nowhere").map(drop)
    });
    assert!(bad.is_err());
    writer.change(|it| it.add_annotator("flo", Role::Person)).expect("adds");
    let names: Vec<String> = Store::read(&folder.path().join("f.sqlite"))
        .and_then(|it| it.annotators())
        .expect("reads")
        .into_iter()
        .map(|it| it.name)
        .collect();
    assert_eq!(names, ["ann", "bob", "flo"]);
}
